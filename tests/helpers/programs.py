"""Programs of their own, with a main module that workers import again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from modes import ROOT

WATCHDOG_S = 300.0


def run_program(folder: Path, text: str, *arguments: str, **environment: str) -> str:
    """Run a program from a file; it must end well, and without a word on stderr. What it printed."""
    (folder / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "program.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=WATCHDOG_S,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
