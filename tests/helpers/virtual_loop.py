"""An event loop in virtual time: its clock moves when all of its tasks wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from amorsize.backends import coroutines


class VirtualClock:
    """A clock that moves when something sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves when all of its tasks wait."""

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.clock = clock
        select = self._selector.select

        def jump(timeout: float | None) -> Any:
            found = select(0)
            if not found and timeout is None:
                raise AssertionError("the tasks wait for nothing")
            clock.sleep(0.0 if found else timeout)
            return found

        self._selector.select = jump

    def time(self) -> float:
        return self.clock.now_s


def run_virtually(coroutine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a coroutine, and the tasks of a map, in virtual time."""
    clock = VirtualClock()
    monkeypatch.setattr(coroutines, "perf_counter", clock)
    loop = VirtualLoop(clock)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
