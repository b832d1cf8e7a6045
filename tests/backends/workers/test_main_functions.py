"""Functions and classes of every kind of ``__main__``, with workers of every kind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from modes import ROOT

PROGRAM = """
import sys
import amorsize
FACTOR = 3
class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Point and other.x == self.x
class Refused(Exception):
    def __init__(self, item):
        super().__init__(item)
        self.item = item
def times(x): return FACTOR * x
def move(point): return Point(point.x + FACTOR)
def refuse(x):
    if x == 5: raise Refused(x)
    return x
def check(method):
    options = dict(backend="processes", start_method=method, max_workers=2)
    assert amorsize.execute(times, range(20), **options) == [3 * x for x in range(20)]
    assert amorsize.execute(lambda x: times(x) + 1, iter(range(20)), **options) == [3 * x + 1 for x in range(20)]
    assert amorsize.execute(move, map(Point, range(20)), **options) == [Point(x + 3) for x in range(20)]
    try: amorsize.execute(refuse, range(20), **options)
    except Refused as exc: assert exc.item == 5, exc
    else: raise AssertionError("nothing was raised")
    assert amorsize.execute(times, range(20), start_method=method) == [3 * x for x in range(20)]
    print(method, "is well", flush=True)
"""

CALL = 'for method in sys.argv[1:] or ["fork", "forkserver", "spawn"]: check(method)\n'
GUARDED = PROGRAM + 'if __name__ == "__main__":\n    ' + CALL
WELL = ["fork is well", "forkserver is well", "spawn is well"]


def python(*arguments: str, stdin: str | None = None, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, text=True, cwd=folder, env=environment
    )


def assert_well(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.stdout.splitlines(), done.stderr) == (WELL, "")


def test_of_a_script(tmp_path):
    (tmp_path / "script.py").write_text(GUARDED)
    assert_well(python("script.py", folder=tmp_path))


def test_of_a_module_run_with_m(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "module.py").write_text(GUARDED)
    assert_well(python("-m", "package.module", folder=tmp_path))


def test_of_a_package_run_with_m(tmp_path):
    """Children of multiprocessing do not import a ``__main__.py``: its functions must be pickled by value."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(GUARDED)
    assert_well(python("-m", "package", folder=tmp_path))


def test_of_a_command():
    assert_well(python("-c", PROGRAM + CALL))


def test_of_a_guarded_command():
    assert_well(python("-c", GUARDED))


def test_of_standard_input():
    assert_well(python("-", stdin=PROGRAM + CALL))


def typed(folder: Path) -> str:
    """Return one line that runs the program at a prompt, which indents and prints in its own way."""
    (folder / "program.py").write_text(PROGRAM + CALL)
    return f"exec(open({str(folder / 'program.py')!r}).read())\n"


def test_of_a_prompt(tmp_path):
    done = python("-i", "-q", stdin=typed(tmp_path))
    assert done.stdout.splitlines() == WELL, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_of_a_prompt_at_a_terminal(tmp_path):
    """From Python 3.13 on, input from a terminal is read by another prompt than input from a pipe."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "PYTHON_HISTORY": os.devnull}
    child = subprocess.Popen(
        [sys.executable, "-q"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    os.write(ours, f"{typed(tmp_path)}exit()\n".encode())
    shown = b""
    while block := read_terminal(ours):
        shown += block
    child.wait()
    os.close(ours)
    text = shown.decode(errors="replace")
    assert "Traceback" not in text, text
    assert re.findall("[a-z]+ is well", text) == WELL, text


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end has been closed
        return b""
