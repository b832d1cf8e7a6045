"""A subset of the items that fits the time budget: all items, or items spread evenly over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from amorsize.backends.source import read_on
from amorsize.frozen import Frozen, replace
from amorsize.options import Request
from amorsize.plan.optimize import plan_for
from amorsize.plan.plan import Plan
from amorsize.system.looks import goes_by_index

# Items read of an iterator when nothing was sampled.
# guess
UNSEEN: Final = 1000
# Share of the available memory that items read of an iterator may take.
# guess
MEMORY_SHARE: Final = 0.25
# Bytes of an object, at least.
# guess
OBJECT_BYTES: Final = 64

Afford = Callable[[Plan], int]
"""Takes a plan for some items; returns the number of items that the time allows."""


class Subset(Frozen):
    """A subset of the items.

    Attributes
    ----------
    plan : Plan
        Plan for these items only.
    items : sequence
    n_items : int or None
        Number of items in all; None if not all of an iterator was read.
    rest : iterator or None
        The rest of the iterator after ``items``.
    """

    plan: Plan
    items: Sequence[Any]
    n_items: int | None
    rest: Iterator[Any] | None = None

    @property
    def whole(self) -> bool:
        """True if these are all items."""
        return self.n_items == len(self.items)

    def index_of(self, at: int) -> int:
        """Return the index in all the data of this subset's item ``at``."""
        return at if self.n_items is None else spread_index(at, len(self.items), self.n_items)


def subset_of(request: Request, afford: Afford) -> Subset:
    """Return a subset of ``afford(plan)`` items; an iterator is read only so far."""
    found = read(request, afford)
    most = max(1, afford(found.plan))
    if most >= len(found.items):
        return found
    items = spread_items(found.items, most)
    return replace(found, plan=plan_for(replace(request, data=items), for_trials=True), items=items)


def read(request: Request, afford: Afford) -> Subset:
    """Return all items of data that can be indexed or counted; of an iterator, ``afford(plan)`` items."""
    plan = plan_for(request, for_trials=True)
    if goes_by_index(plan.data):
        items: Any = plan.data
        return Subset(plan=plan, items=items, n_items=len(items))
    items, rest = _read(plan, afford)
    plan = plan_for(replace(request, data=items), for_trials=True)
    return Subset(plan=plan, items=items, n_items=len(items) if rest is None else None, rest=rest)


def planned_anew(request: Request, subset: Subset) -> Subset:
    """Return the same items with a plan from a new sample: after one run files are read and caches filled."""
    return replace(subset, plan=plan_for(replace(request, data=subset.items), for_trials=True))


def _read(plan: Plan, afford: Afford) -> tuple[list[Any], Iterator[Any] | None]:
    """Return the first items of an iterator and the rest of it; None if there is no rest."""
    known = plan.sample is not None and plan.sample.n_sampled > 0
    most = afford(plan) if known else UNSEEN
    if plan.machine is not None and plan.sample is not None:
        room = MEMORY_SHARE * plan.machine.memory_available_bytes
        most = min(most, int(room / max(OBJECT_BYTES, plan.sample.arg_bytes)))
    source = iter(plan.data)
    items: list[Any] = []
    most = max(1, most)
    read_on(items, source, most + 1)
    beyond = items[most:]
    del items[most:]
    return items, chain(beyond, source) if beyond else None


def spread_items(data: Sequence[Any], count: int) -> list[Any]:
    """Return ``count`` items spread evenly over the data.

    Examples
    --------
    >>> spread_items("abcdefghi", 3)
    ['b', 'e', 'h']
    """
    return [data[spread_index(at, count, len(data))] for at in range(count)]


def spread_index(at: int, count: int, n: int) -> int:
    """Return the index of the ``at``-th of ``count`` items spread evenly over ``n``: the middle of its share.

    Examples
    --------
    >>> [spread_index(at, 4, 4) for at in range(4)]
    [0, 1, 2, 3]
    """
    return (2 * at + 1) * n // (2 * count)
