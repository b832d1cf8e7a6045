"""Functions whose use of time and memory is known; children import this module by its name."""

from __future__ import annotations

import time
from typing import Any

kept: list[Any] = []


def leak(x: int) -> int:
    """Keeps 1 MB for good."""
    kept.append(bytearray(1 << 20))
    time.sleep(5e-3)
    return x


def busy(x: int, seconds: float = 5e-3) -> int:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return x


def slow_at(places: tuple[int, ...], x: int) -> int:
    """5 ms, but 60 ms at these items."""
    return busy(x, 60e-3 if x in places else 5e-3)


def hungry_at(places: tuple[int, ...], x: int) -> int:
    """5 ms, and 80 MB for that time at these items."""
    held = b"x" * ((80 << 20) if x in places else 1)
    return busy(x) + 0 * len(held)


def forever(x: int) -> int:
    busy(x, 20e-3)
    return x
