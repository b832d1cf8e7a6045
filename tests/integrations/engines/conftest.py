"""A cluster that serves a whole module has processes, threads and descriptors of its own between the tests."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from amorsize.testing import left_behind
from tests.conftest import PATIENCE_S, descendants


@pytest.fixture(autouse=True)
def _nothing_survives() -> Iterator[None]:
    """After a test nothing of amorsize is left."""
    yield
    left = {what: names for what, names in left_behind(PATIENCE_S).items() if names}
    assert not left


@pytest.fixture(autouse=True, scope="module")
def _no_process_survives() -> Iterator[None]:
    """After the module no process of its clusters is left, but those that track resources until this one ends."""
    before = descendants()
    yield
    fresh = [process for process in descendants() - before if not _is_tracker(process)]
    _, alive = psutil.wait_procs(fresh, timeout=PATIENCE_S)
    for process in alive:
        process.kill()
    assert not alive


def _is_tracker(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return True
