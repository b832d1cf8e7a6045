"""What this process has measured of a function's items, so that the next map of it need not begin from nothing.

It lies in memory only, and holds a few numbers for each function: no item, no result, no function that could hold
something large. A function is known by its code, constants, closure and defaults (`amorsize.history.fingerprint`), the
data by its type, the type of its items, and roughly how large these are. Whoever is told something from here checks it
against the first items that run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from amorsize.facts import Backend, Sample
from amorsize.frozen import Frozen, replace
from amorsize.history.fingerprint import fingerprint, keeps_nothing
from amorsize.system.object_sizes import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


MOST: Final = 256  # functions
PEEKED: Final = 16  # items at spread positions whose size is looked at: 5-10 µs
ALIKE: Final = 2.0  # data whose items are on average up to so many times larger or smaller counts as the same
NEWEST: Final = 0.5  # weight of the newest run in the mean
REST: Final = 10  # maps for which what has lost time and again is not tried again
SURPRISE: Final = 3.0  # items that took so many times more or less than is remembered: the mean begins anew


class Shape(Frozen, kw_only=False):
    """What data looks like from outside. ``size``: of its items, on average; None: nobody can tell."""

    kind: str
    items: str
    size: float | None

    def resembles(self, other: Shape, alike: float = ALIKE) -> bool:
        """Whether what was measured of one may hold for the other: items larger by less than ``alike`` times.

        Examples
        --------
        >>> Shape("list", "int", 100.0).resembles(Shape("list", "int", 150.0))
        True
        >>> Shape("list", "int", 100.0).resembles(Shape("list", "int", 1000.0))
        False
        """
        if (self.kind, self.items) != (other.kind, other.items) or (self.size is None) != (other.size is None):
            return False
        if self.size is None or other.size is None or self.size == other.size:
            return True
        low, high = sorted((self.size, other.size))
        return high <= alike * low


class Known(Frozen, kw_only=False):
    """What is remembered of a function.

    Attributes
    ----------
    shape : Shape
        The data it was measured on.
    sample : Sample
        Of all its runs, the latest ones counting most.
    threads_gain : float or None
        How much faster two threads were than one, where that was tried.
    lost : tuple of str
        Backends that turned out slower than the loop.
    rest : int
        For so many maps more: then they may try again.
    losses : int
        How often in a row something has lost.
    n_items : int or None
        How many items the newest run had: as many are expected where nobody can say.
    settled : int
        For so many maps more, of no more items, nobody need ask again: the loop was best, whatever was allowed.
    settlings : int
        How often in a row that was the answer.
    """

    shape: Shape
    sample: Sample
    threads_gain: float | None = None
    lost: tuple[Backend, ...] = ()
    rest: int = 0
    losses: int = 0
    n_items: int | None = None
    settled: int = 0
    settlings: int = 0


class Memory:
    """What is known of the functions that were mapped lately.

    Examples
    --------
    >>> memory = Memory()
    >>> memory.keep(len, ["ab", "c"], Sample(n_sampled=2, item_s=1e-3))
    >>> memory.recall(len, ["de", "f"]).sample.item_s
    0.001
    >>> memory.recall(len, ["d" * 1000])
    """

    def __init__(self) -> None:
        self._known: OrderedDict[object, Known] = OrderedDict()

    def recall(self, func: Callable[..., Any], data: object) -> Known | None:
        """What is known of this function over such data. About 10 µs; 30 where the function holds values."""
        if not self._known:
            return None
        key = key_of(func)
        found = self._known.get(key)
        if found is None or not found.shape.resembles(shape_of(data)):
            return None
        if found.settled:
            self._known[key] = replace(found, settled=found.settled - 1)
        return found

    def keep(
        self,
        func: Callable[..., Any],
        data: object,
        sample: Sample,
        threads_gain: float | None = None,
        lost: Backend | None = None,
        n_items: int | None = None,
        settled: bool | None = False,
        won: Backend | None = None,
    ) -> None:
        """Remember what a run has shown.

        ``lost``: the backend that made it slower than the loop, if one did; ``won``: the one that did not. ``settled``:
        nothing was better than the loop (None: nobody asked, since that is settled).

        Who loses for the first time sits out the next map only, since the machine may have been busy; each further time
        in a row it rests for longer, as in exponential backoff, up to `REST` maps. So does the question, where the loop
        is the answer.
        """
        key, shape = key_of(func), shape_of(data)
        before = self._known.pop(key, None)
        out: tuple[Backend, ...] = () if lost is None else (lost,)
        losses = rest = 0
        settlings, quiet = int(bool(settled)), int(bool(settled))
        if before is not None and before.shape.resembles(shape):
            losses = 0 if won is not None else before.losses
            if settled is None:
                settlings, quiet = before.settlings, before.settled
            elif settled:
                settlings = before.settlings + 1
                quiet = min(REST, 2**settlings - 1)
            if before.rest > 0:
                out, rest = tuple(dict.fromkeys((*before.lost, *out))), max(rest, before.rest - 1)
            if before.sample.item_s / SURPRISE < sample.item_s < SURPRISE * before.sample.item_s:
                sample = _blended(before.sample, sample)
        if lost is not None:
            losses += 1
            rest = max(rest, min(REST, 2**losses - 2))
        self._known[key] = Known(shape, sample, threads_gain, out, rest, losses, n_items, quiet, settlings)
        while len(self._known) > MOST:
            self._known.popitem(last=False)

    def forget(self, func: Callable[..., Any] | None = None) -> None:
        """Forget one function, or all."""
        if func is None:
            self._known.clear()
        else:
            self._known.pop(key_of(func), None)


def _blended(before: Sample, now: Sample) -> Sample:
    """The newest run's sample, with means that earlier ones have a say in."""
    item_s = before.item_s + NEWEST * (now.item_s - before.item_s)
    scale = item_s / now.item_s if now.item_s > 0 else 1.0
    worker_s = now.worker_s
    if worker_s is not None and before.worker_s is not None:
        worker_s = before.worker_s + NEWEST * (worker_s - before.worker_s)
    elif worker_s is None:
        worker_s = before.worker_s
    return replace(now, item_s=item_s, item_cpu_s=now.item_cpu_s * scale, worker_s=worker_s)


def key_of(func: Callable[..., Any]) -> object:
    """A plain function's code is equal to that of any other with the same body, and quicker to come by."""
    if keeps_nothing(func):
        return getattr(func, "__code__", func), getattr(func, "__module__", None)
    return fingerprint(func)


def shape_of(data: object) -> Shape:
    """What data looks like, from its type and a few items of it. Only lists, tuples and ranges are looked into.

    Nothing else: to index a user's own sequence, a subclass of these too, may take long, or have side effects.

    Examples
    --------
    >>> shape_of(["ab", "cdef"])
    Shape(kind='list', items='str', size=3.0)
    >>> shape_of(iter([1, 2]))
    Shape(kind='list_iterator', items='', size=None)
    """
    kind = type(data).__name__
    if type(data) not in (list, tuple, range) or not data:
        return Shape(kind, "", None)
    assert isinstance(data, list | tuple | range)
    stride = max(1, len(data) // PEEKED)
    items = data[stride // 2 :: stride]
    types = {type(item) for item in items}
    if len(types) > 1:
        return Shape(kind, "several", None)
    sizes = [size_of(item) for item in items]
    size = None if None in sizes else sum(one for one in sizes if one is not None) / len(sizes)
    return Shape(kind, types.pop().__name__, size)


MEMORY: Final = Memory()
