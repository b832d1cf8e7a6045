"""Pure Python: it holds the GIL throughout, with small arguments and results."""

from __future__ import annotations

import functools


def square(x: int) -> int:
    return x * x


def burn(iterations: int) -> int:
    """Hold the GIL for a fixed number of steps. It reads no clock, so a busy machine shows as slower."""
    x = iterations
    for _ in range(iterations):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    return x


def smallest_factor(number: int) -> int:
    """Return the smallest factor of an odd number by trial division: a prime's takes longest."""
    factor = 3
    while factor * factor <= number:
        if number % factor == 0:
            return factor
        factor += 2
    return number


def burn_silently(iterations: int) -> None:
    """Do the same, without a result."""
    burn(iterations)


@functools.cache
def table(iterations: int) -> list[int]:
    """Return the table that a first call builds, once in each process."""
    return [burn(iterations) & 0xFF]


def look_up(build: int, iterations: int) -> int:
    """Build the table if there is none yet, then run the steps of the item."""
    return table(build)[0] + burn(iterations)
