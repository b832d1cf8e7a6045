"""The command line as a program of its own, and a module of functions for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # a program that hangs must not hang the tests

FUNCTIONS = """
import atexit, os, sys, threading

def square(x):
    return x * x

def square_and_say_goodbye(x):
    if x == 0:
        atexit.register(print, "goodbye")
    return x * x

def shout(line):
    return line.upper()

def fails_at_3(x):
    if x == 3:
        raise LookupError("three is missing")
    return x

tried = []

def fails_once_at_3(x):
    tried.append(x)
    return fails_at_3(x) if tried.count(3) < 2 else x

def leaves(x):
    sys.exit(0)

def odd(x):
    return {1, 2} if x % 2 else (x, None, "é")

def where(x):
    return os.getpid()

def noted(x):
    with open("ran", "a") as file:
        file.write(f"{x}\\n")
    return x * x

def stands_still_at_30(x):
    if x == 30:
        stands_still(x)
    return noted(x)

def stands_still(x):
    os.write(2, b"here\\n")  # at once: several workers write
    threading.Event().wait()

async def later(x):
    return x

class Tools:
    @staticmethod
    def half(x):
        return x / 2

not_a_function = 3
"""


def python_m(*arguments: str, history: str = "off", **env: str) -> dict:
    """Return keywords for `subprocess.run` and `subprocess.Popen`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "AMORSIZE_HISTORY": history, **env}
    return {"args": [sys.executable, "-m", "amorsize", *arguments], "env": environment, "encoding": "utf-8"}


def run(*arguments: str, code: int = 0, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(**python_m(*arguments, **env), capture_output=True, check=False, input=stdin)
    assert done.returncode == code, done.stderr
    return done
