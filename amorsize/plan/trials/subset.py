"""As many of the items as can be afforded: all of them, or some that lie evenly over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

from amorsize.backends.source import is_indexable
from amorsize.frozen import Frozen, replace
from amorsize.options import Request
from amorsize.plan.optimize import plan_for
from amorsize.plan.plan import Plan

UNSEEN: Final = 1000  # items that are read of an iterator when nothing is known about them
MEMORY_SHARE: Final = 0.25  # of what is left may go into items that are read of an iterator
OBJECT_BYTES: Final = 64  # what an object takes at least

Afford = Callable[[Plan], int]
"""How many items there is time for, after a plan for some."""


class Subset(Frozen):
    """Some of the items.

    Attributes
    ----------
    plan : Plan
        For just these items.
    items : sequence
    n_items : int or None
        How many there are in all; None: nobody knows, since not all of an iterator was read.
    rest : iterator or None
        What is left of the iterator after ``items``.
    """

    plan: Plan
    items: Sequence[Any]
    n_items: int | None
    rest: Iterator[Any] | None = None

    @property
    def whole(self) -> bool:
        """Whether these are all items."""
        return self.n_items == len(self.items)

    def index_of(self, at: int) -> int:
        """The index in all the data of an item of this portion."""
        return at if self.n_items is None else spread_index(at, len(self.items), self.n_items)


def portion_of(request: Request, afford: Afford) -> Subset:
    """As many items as ``afford`` says; those of an iterator are read only so far."""
    found = read(request, afford)
    most = max(1, afford(found.plan))
    if most >= len(found.items):
        return found
    items = spread_items(found.items, most)
    return replace(found, plan=plan_for(replace(request, data=items)), items=items)


def read(request: Request, afford: Afford) -> Subset:
    """All items of data that can be indexed or counted; of an iterator as many as ``afford`` says."""
    plan = plan_for(request)
    if is_indexable(plan.data):
        items: Any = plan.data
        return Subset(plan=plan, items=items, n_items=len(items))
    items, rest = _read(plan, afford)
    plan = plan_for(replace(request, data=items))
    return Subset(plan=plan, items=items, n_items=len(items) if rest is None else None, rest=rest)


def planned_anew(request: Request, portion: Subset) -> Subset:
    """The same items, with a plan from another sample: when they have run once, files are read and caches filled."""
    return replace(portion, plan=plan_for(replace(request, data=portion.items)))


def _read(plan: Plan, afford: Afford) -> tuple[list[Any], Iterator[Any] | None]:
    """The first items of an iterator, and what is left of it; None: nothing is."""
    known = plan.sample is not None and plan.sample.n_sampled > 0
    most = afford(plan) if known else UNSEEN
    if plan.machine is not None and plan.sample is not None:
        room = MEMORY_SHARE * plan.machine.memory_available_bytes
        most = min(most, int(room / max(OBJECT_BYTES, plan.sample.arg_bytes)))
    source = iter(plan.data)
    items = list(islice(source, max(1, most)))
    beyond = list(islice(source, 1))
    return items, chain(beyond, source) if beyond else None


def spread_items(data: Sequence[Any], count: int) -> list[Any]:
    """So many items that lie evenly over the data.

    Examples
    --------
    >>> spread_items("abcdefghi", 3)
    ['b', 'e', 'h']
    """
    return [data[spread_index(at, count, len(data))] for at in range(count)]


def spread_index(at: int, count: int, n: int) -> int:
    """The index of the ``at``-th of ``count`` items that lie evenly over ``n``: in the middle of its share.

    Examples
    --------
    >>> [spread_index(at, 4, 4) for at in range(4)]
    [0, 1, 2, 3]
    """
    return (2 * at + 1) * n // (2 * count)
