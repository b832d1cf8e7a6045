"""What a row of the comparison is, and the list of all of them.

A workload's data is made in the process that measures it, by ``make()``. CPU work of t seconds is a number of loop
steps, carried by the item itself (`benchmarks.calibration`). Items differ a little from one to the next even where
their cost does not, so that results in a wrong order cannot pass for right ones.
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

AT_END = ExitStack()  # what `make` has started besides (a server); whoever called `make` closes it


@dataclass(frozen=True, slots=True)
class Workload:
    """One row: what is mapped over what.

    Attributes
    ----------
    name : str
        Unique; the row's name in tables and result files.
    make : callable
        Returns ``(func, data)``. Data is a list, or a function that returns a fresh generator (see `fresh`).
    note : str
        What the row stands for, and why it is hard.
    tags : tuple of str
        What it belongs to; ``"table"``: the fourteen rows of the first comparison.
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
    """All rows with that tag, in the order in which they were registered."""
    return [workload for workload in REGISTRY.values() if tag in workload.tags]


def fresh(data: Data) -> Iterable[Any]:
    """What one contender maps over in one turn: the list itself, or a generator that nobody has drawn from yet."""
    return data() if callable(data) else data


def thinned(data: Data, stride: int) -> Data:
    """Every so many-th item only."""
    if stride == 1:
        return data
    return (lambda: itertools.islice(data(), 0, None, stride)) if callable(data) else data[::stride]


def burn_for(seconds: Iterable[float]) -> Task:
    """CPU work of these durations; up to two steps more tell neighbours apart."""
    return functions.burn, steps_for(seconds)


def steps_for(seconds: Iterable[float]) -> list[int]:
    return [iterations(s) + i % 3 for i, s in enumerate(seconds)]


def scaled_to(total_s: float, weights: list[float]) -> list[float]:
    """Durations in proportion to the weights that add up to ``total_s``."""
    factor = total_s / sum(weights)
    return [weight * factor for weight in weights]
