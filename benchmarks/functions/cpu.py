"""Pure Python at work: the interpreter's lock is held throughout, and nothing large goes in or out."""

from __future__ import annotations

import functools


def square(x: int) -> int:
    return x * x


def burn(iterations: int) -> int:
    """Hold the interpreter's lock for a fixed number of steps; no clock inside, so a busy machine shows as slower."""
    x = iterations
    for _ in range(iterations):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    return x


def burn_silently(iterations: int) -> None:
    """The same, for what it does rather than for what it returns."""
    burn(iterations)


@functools.cache
def table(iterations: int) -> list[int]:
    """What a first call builds, once in each process."""
    return [burn(iterations) & 0xFF]


def look_up(build: int, iterations: int) -> int:
    """Steps to build the table, where it is not built yet; steps of the item itself."""
    return table(build)[0] + burn(iterations)
