"""A module that takes a second to import, for `benchmarks.advice`."""

from __future__ import annotations

from benchmarks.advice import burned

burned(2_000_000)


def heavy(x: int) -> int:
    """Compute for 10 ms."""
    return burned(10_000)
