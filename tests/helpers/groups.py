"""Control groups with a memory limit, for a program of a test; the test is skipped where they cannot be made."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from system.test_real_cgroups import JOIN, Group, parent_for

PATIENCE_S = 60


@contextmanager
def limited(limit_bytes: int) -> Iterator[Group]:
    """Make a group whose processes together may use so much memory, and no swap."""
    parent, v2 = parent_for("memory")
    try:
        path = Path(tempfile.mkdtemp(prefix="amorsize test:", dir=parent))
    except OSError as error:
        pytest.skip(f"may not make control groups here: {error}")
    try:
        group = Group(path, v2)
        try:
            subprocess.run(["sh", "-c", JOIN, str(path), "true"], capture_output=True, check=True)
            group.set_limit(limit_bytes)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"may not use control groups here: {error}")
        yield group
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Remove a group once the last of its processes (a resource tracker, for example) has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return path.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def run(group: Group, program: str, *arguments: str) -> Any:
    """Run a program in the group; return its output, which is JSON."""
    return group.run(program, *arguments)
