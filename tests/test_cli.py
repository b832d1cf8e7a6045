"""``python -m amorsize``: what is printed where, and the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

import amorsize
from amorsize import cli
from amorsize.facts import Scaling
from amorsize.model.recorded import recorded
from amorsize.report.diagnostics import WIDTH
from amorsize.store import Store

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60.0  # a program that hangs must not hang the tests

FUNCTIONS = '''
import os, sys, threading

def square(x):
    return x * x

def shout(line):
    return line.upper()

def fails_at_3(x):
    if x == 3:
        raise LookupError("three is missing")
    return x

def leaves(x):
    sys.exit(0)

def odd(x):
    return {1, 2} if x % 2 else (x, None, "é")

def where(x):
    return os.getpid()

def stands_still(x):
    print("here", file=sys.stderr, flush=True)
    threading.Event().wait()

async def later(x):
    return x

class Tools:
    @staticmethod
    def half(x):
        return x / 2

not_a_function = 3
'''
names = count()


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """The name of a module of functions in the current directory; the interpreter is put back afterwards."""
    name = f"cli_functions_{next(names)}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", sys.modules)
    yield name
    sys.modules.pop(name, None)


def python_m(*arguments: str, history: str = "off", **env: str) -> dict:
    """Keywords for `subprocess.run` and `subprocess.Popen`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "AMORSIZE_HISTORY": history, **env}
    return {"args": [sys.executable, "-m", "amorsize", *arguments], "env": environment, "encoding": "utf-8"}


def run(*arguments: str, code: int = 0, input: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(**python_m(*arguments, **env), capture_output=True, check=False, input=input)
    assert done.returncode == code, done.stderr
    return done


# -------------------------------------------------------------------------------------------------------- diagnostics


def test_bare_it_tells_what_this_machine_offers():
    done = run()
    assert done.stderr == ""
    here = amorsize.machine()
    told = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert told[0] == f"amorsize {amorsize.__version__} with {here.python} on {here.system}"
    assert any(line.startswith(f"affinity {here.affinity_cores} ") for line in told)
    for method in here.start_methods:
        assert sum(line.startswith(f"Pool {method} ") for line in told) == 1
        assert sum(line.startswith(f"execute() {method} ") for line in told) == 1
    assert "What that means" in told
    assert max(map(len, done.stdout.splitlines())) <= WIDTH
    assert "\x1b" not in done.stdout


def test_what_was_measured_is_kept_until_fresh_figures_are_asked_for(tmp_path):
    history = str(tmp_path / "history.sqlite")

    def starts(*arguments: str) -> dict[tuple[str, str], float]:
        costs = json.loads(run("diagnostics", "--json", *arguments, history=history).stdout)["costs"]
        return {(c["engine"], c["start_method"]): c["measured_at_s"] for c in costs if c["measured"]}

    # A figure that could not be measured is not kept: then everything is measured again.
    first = starts()
    methods = amorsize.machine().start_methods
    again = starts()
    if {("pool", method) for method in methods} <= set(first) and again.keys() == first.keys():
        assert again == first
    fresh = starts("--fresh")
    assert all(fresh[way] > at_s for way, at_s in again.items() if way in fresh)
