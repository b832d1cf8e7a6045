"""Received pickles: the garbage collector is paused while a large one is loaded, and then restored."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from amorsize.backends.workers import protocol


class Watched:
    """Unpickled, it becomes True if the collector was enabled meanwhile."""

    def __reduce__(self):
        return gc.isenabled, ()


class Broken:
    def __reduce__(self):
        return refuse, ()


def refuse() -> None:
    raise OSError("not here")


@pytest.fixture(params=[True, False], ids=["enabled", "disabled"])
def enabled(request) -> Iterator[bool]:
    was = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("size", [0, 2 * protocol.PAUSE_BYTES], ids=["small", "large"])
def test_the_collector_is_left_as_it_was(enabled, size):
    assert protocol.loads(protocol.dumps([b"x" * size, Watched()])) == [b"x" * size, enabled and not size]
    assert gc.isenabled() == enabled


@pytest.mark.parametrize("size", [0, 2 * protocol.PAUSE_BYTES], ids=["small", "large"])
def test_it_is_left_as_it_was_when_unpickling_raises(enabled, size):
    parts = protocol.dumps([b"x" * size, Broken()])
    with pytest.raises(OSError, match="not here"):
        protocol.loads(parts)
    assert gc.isenabled() == enabled
