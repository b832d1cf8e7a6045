"""Real files that every machine with Python has: the standard library's sources."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

TESTS = {"test", "tests"}
NOT_PLAIN_SOURCE = {"site-packages", "lib2to3", "idlelib", "__pycache__"}


def longest_sources(count: int, *, tests: bool = False) -> list[str]:
    """Return the paths of the longest ones, in alphabetical order; the library's own tests only on request."""
    leave_out = NOT_PLAIN_SOURCE if tests else NOT_PLAIN_SOURCE | TESTS
    files: list[Path] = []
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in leave_out]
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    longest = sorted(files, key=lambda path: (-path.stat().st_size, str(path)))[:count]
    return sorted(str(path) for path in longest)
