"""The type of a row of the comparison, and the list of all rows.

A workload's data is made in the process that measures it, by ``make()``. CPU work of t seconds is a number of loop
steps, which the item holds (`benchmarks.calibration`). Neighbours differ a little even if their costs are equal, so
that results in a wrong order are found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import functions
from benchmarks.calibration import iterations

Data = list[Any] | Callable[[], Iterable[Any]]
Task = tuple[Callable[[Any], Any], Data]

AT_END = ExitStack()  # what `make` has started besides (a server); the caller of `make` closes it


@dataclass(frozen=True, slots=True)
class Workload:
    """One row: a function and its data.

    Attributes
    ----------
    name : str
        Unique; the row's name in tables and result files.
    make : callable
        Returns ``(func, data)``. Data is a list, or a function that returns a fresh generator (see `fresh`).
    note : str
        The case that the row stands for, and why it is hard.
    tags : tuple of str
        Groups that it belongs to; ``"table"``: the fourteen rows of the first comparison.
    before_turn : callable or None
        Called in the measuring process before each turn of a contender, off the clock.
    """

    name: str
    make: Callable[[], Task]
    note: str
    tags: tuple[str, ...] = ("table",)
    before_turn: Callable[[], None] | None = None


REGISTRY: dict[str, Workload] = {}


def register(
    name: str, note: str, *tags: str, before_turn: Callable[[], None] | None = None
) -> Callable[[Callable[[], Task]], Callable[[], Task]]:
    """Add a row to the registry; the decorated function makes its task."""

    def add(make: Callable[[], Task]) -> Callable[[], Task]:
        if name in REGISTRY:
            raise ValueError(f"two workloads are named {name!r}")
        REGISTRY[name] = Workload(name, make, note, tags or ("table",), before_turn)
        return make

    return add


def tagged(tag: str) -> list[Workload]:
    """Return all rows with that tag, in the order of their registration."""
    return [workload for workload in REGISTRY.values() if tag in workload.tags]


def fresh(data: Data) -> Iterable[Any]:
    """Return the data for one turn of a contender: the list itself, or a new generator."""
    return data() if callable(data) else data


def thinned(data: Data, stride: int) -> Data:
    """Return each ``stride``-th item only."""
    if stride == 1:
        return data
    return (lambda: itertools.islice(data(), 0, None, stride)) if callable(data) else data[::stride]


def burn_for(seconds: Iterable[float]) -> Task:
    """Return CPU work of these durations; up to two more steps make neighbours differ."""
    return functions.burn, steps_for(seconds)


def steps_for(seconds: Iterable[float]) -> list[int]:
    return [iterations(s) + i % 3 for i, s in enumerate(seconds)]


def scaled_to(total_s: float, weights: list[float]) -> list[float]:
    """Return durations in proportion to the weights, with the sum ``total_s``."""
    factor = total_s / sum(weights)
    return [weight * factor for weight in weights]
