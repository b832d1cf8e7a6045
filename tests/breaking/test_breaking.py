"""Few trials of each driver; ``make test-long`` runs thousands. A failure prints the line that repeats it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .harness import ROOT

# Some 60 s together (2 cores, Linux, CPython 3.11).
LANES = {
    "faults": 10,
    "decisions": 40,
    "interrupts": 40,
    "lines": 24,
    "kills": 1,
    "hostile": 6,
    "files": 6,
    "streams": 11,
    "pools": 12,
    "soak": 100,
}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("name", LANES)
def test_a_short_lane(name):
    done = subprocess.run(
        [sys.executable, "-m", f"tests.breaking.{name}", "--seed", "1", "--runs", str(LANES[name]), "--most", "2"],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("COV_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout
