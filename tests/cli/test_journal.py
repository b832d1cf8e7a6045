"""``python -m amorsize journal``, and ``execute --checkpoint``."""

from __future__ import annotations

import json
import os
import sys
from functools import partial

import checkpoint_functions as cf
import pytest

import amorsize
from amorsize.cli import main as cli

FUNCTIONS = """
import os

def square(x):
    if x == 3 and os.path.exists("bad"):
        raise LookupError("three is missing")
    return x * x
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """Make a module of functions in the current directory; return its name."""
    name = f"journal_functions_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def call(capsys):
    """Run the command line, which must exit with ``code``; return its output on both streams."""

    def call(*arguments, code=0):
        assert cli.main(arguments) == code
        return capsys.readouterr()

    return call


@pytest.fixture
def checkpoint(tmp_path) -> str:
    """Make a checkpoint with twelve failures among forty items."""
    path = str(tmp_path / "checkpoint")
    cf.Notes(tmp_path).fail_at(*range(12))
    amorsize.execute(partial(cf.step, str(tmp_path)), range(40), checkpoint=path, on_error="collect")
    return path


def test_texts_of_a_journal_are_tame(call, tmp_path):
    """Escapes in the messages of failures, in keys, and in what results show."""
    evil = "\x1b[2J\u202egnp\r\n\x9b31m"

    class Shown(Exception):
        pass

    def fail(x):
        if x:
            raise Shown(evil)
        return [evil]

    path = str(tmp_path / "checkpoint")
    amorsize.execute(fail, range(3), checkpoint=path, checkpoint_key=f"key {evil}", on_error="collect")
    for options in ((), ("--failures",), ("--results",), ("--json",)):
        told = call("journal", path, *options).out
        assert told.replace("\n", "").isprintable(), options
    assert r"\x1b[2J\u202egnp\r\n\x9b31m" in call("journal", path).out


def test_a_summary(call, checkpoint):
    lines = call("journal", checkpoint).out.splitlines()
    assert lines[0] == f"{checkpoint}: 28 of 40 items done, 12 failed, 0 not run yet"
    assert lines[1].startswith("function partial(checkpoint_functions.step), begun 2")
    assert len(lines) == 2 + 10 + 1
    assert lines[2].startswith("item 0 failed at ")
    assert lines[2].endswith(": LookupError: 0 is bad")
    assert lines[-1] == "and 2 more failed"


def test_failures_with_their_tracebacks(call, checkpoint):
    told = call("journal", checkpoint, "--failures").out
    assert told.count("Traceback (most recent call last)") == 12
    assert told.count('raise LookupError(f"{x} is bad")') == 12
    told = call("journal", checkpoint, "--failures", "--limit", "1").out
    assert told.count("Traceback (most recent call last)") == 1
    assert "and 11 more failed" in told


def test_json(call, checkpoint):
    told = json.loads(call("journal", checkpoint, "--json", "--limit", "3", "--results").out)
    assert (told["items"], told["done"], told["failed"], told["missing"]) == (40, 28, 12, 0)
    assert [(one["index"], one["type"], one["text"]) for one in told["failures"]] == [
        (x, "LookupError", f"{x} is bad") for x in range(3)
    ]
    assert "LookupError: 1 is bad" in told["failures"][1]["traceback"]
    assert told["results"] == [{"index": x, "repr": str(x * x)} for x in (12, 13, 14)]
    assert "results" not in json.loads(call("journal", checkpoint, "--json").out)


def test_results(call, checkpoint):
    assert "item 39: 1521" in call("journal", checkpoint, "--results").out.splitlines()


class Spy:
    def __reduce__(self):
        return print, ("it was rebuilt",)


def test_nothing_is_unpickled_unless_results_are_asked_for(call, tmp_path):
    path = str(tmp_path / "checkpoint")
    amorsize.execute(lambda _: Spy(), range(2), checkpoint=path, backend="serial")
    assert "it was rebuilt" not in call("journal", path, "--failures").err
    # What the user's code prints stays out of the document.
    told = call("journal", path, "--results")
    assert "it was rebuilt" in told.err
    assert "it was rebuilt" not in told.out


def test_of_an_unfinished_run_whose_length_nobody_knows(call, tmp_path):
    path = str(tmp_path / "checkpoint")

    def breaks():
        yield 1
        yield 0

    with pytest.raises(ZeroDivisionError):
        amorsize.execute(lambda x: 1 // x, breaks(), checkpoint=path, backend="serial")
    assert "1 items done, 1 failed\n" in call("journal", path).out


@pytest.mark.parametrize("what", ["nothing", "text", "empty", "folder", "database"])
def test_what_is_no_journal(call, tmp_path, what):
    path = tmp_path / "it"
    if what == "text":
        path.write_text("Dear Ada")
    elif what == "empty":
        path.touch()
    elif what == "folder":
        path.mkdir()
    elif what == "database":
        amorsize.History(path).record(amorsize.history.history.Run())
        amorsize.history.history.flush(str(path))
    told = call("journal", str(path), code=2)
    assert told.out == ""
    assert told.err.startswith(f"amorsize: checkpoint {path}: ")
    assert len(told.err.splitlines()) == 1


def test_execute_with_a_checkpoint(call, module, tmp_path):
    (tmp_path / "bad").touch()
    arguments = ("execute", f"{module}:square", "--range", "6", "--checkpoint", "kept")
    assert "LookupError: three is missing" in call(*arguments, code=1).err
    (tmp_path / "bad").unlink()
    assert "of 6 items done, 1 failed" in call("journal", "kept").out
    assert call(*arguments, "--resume").out.split() == ["0", "1", "4", "9", "16", "25"]
    assert "6 of 6 items done, 0 failed, 0 not run yet" in call("journal", "kept").out


def test_a_mismatch_is_told_in_one_line(call, module):
    call("execute", f"{module}:square", "--range", "6", "--checkpoint", "kept", "--checkpoint-key", "k")
    told = call("execute", "math:sqrt", "--range", "6", "--checkpoint", "kept", code=2)
    assert told.out == ""
    assert "results of another function" in told.err
    assert len(told.err.splitlines()) == 1
    told = call("execute", "math:sqrt", "--range", "1:7", "--checkpoint", "kept", "--checkpoint-key", "k", code=2)
    assert "item 0 (1) is not what it was" in told.err


def test_resume_needs_something_to_resume(call, module):
    arguments = ("execute", f"{module}:square", "--range", "6", "--resume")
    assert "say with --checkpoint PATH from what" in call(*arguments, code=2).err
    assert "there is nothing at kept to go on with" in call(*arguments, "--checkpoint", "kept", code=2).err
    assert not os.path.exists("kept")


def test_a_key_without_a_checkpoint(call, module):
    assert (
        "--checkpoint-key" in call("execute", f"{module}:square", "--range", "6", "--checkpoint-key", "k", code=2).err
    )
