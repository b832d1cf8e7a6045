"""Measurements of functions' items in this process, reused by the next map of the same function.

They are kept in memory only: a few numbers for each function, no item, no result, no function that could hold much
memory. The key is the function's code, constants, closure and defaults (`amorsize.history.fingerprint`); data match by
their type, the type of their items, and the items' approximate size. The caller checks a recalled measurement against
the first items that run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType

from amorsize.facts import Backend, Sample, StartCost
from amorsize.frozen import Frozen, replace
from amorsize.history.fingerprint import fingerprint
from amorsize.history.shape import Shape, shape_of
from amorsize.system.looks import keeps_nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


# Functions that are remembered (a guess).
MOST: Final = 256
# Weight of the newest run in the mean (a guess).
NEWEST: Final = 0.5
# The most maps for which a backend that was unprofitable again and again is not tried (a guess).
REST: Final = 10
# A map of less work is run as if nothing were known: what is remembered could not make it shorter, and to look takes 10
# to 150 µs.
WORTH_RECALLING_S: Final = 1e-3
# If items took this factor more or less than remembered, the mean starts anew (a guess).
SURPRISE: Final = 3.0


class Known(Frozen, kw_only=False):
    """Memory of one function.

    Attributes
    ----------
    shape : Shape
        The data it was measured on.
    sample : Sample
        Mean of its runs, weighted towards the newest.
    threads_gain : float or None
        Speedup of two threads over one, if measured.
    lost : tuple of str
        Unprofitable backends: slower than the loop.
    rest : int
        Maps until they may be tried again.
    losses : int
        Unprofitable parallel runs in a row.
    n_items : int or None
        Number of items of the newest run; expected again if the length of the data is unknown.
    settled : int
        Maps, of no more items, that use the loop without a new forecast: the loop was best of all backends.
    settlings : int
        How often in a row the loop was best.
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
    """Measurements of the functions that were mapped lately.

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
        # The longest item of any function with this code.
        self._longest_s: dict[object, float] = {}
        # Costs of starting workers in this process, by engine and start method. `unsaved` holds those that are not in a
        # file yet; its keys also have the main module that the workers import.
        self.starts: dict[tuple[str, str | None], StartCost] = {}
        self.unsaved: dict[tuple[str, str | None, str], StartCost] = {}

    def recall(self, func: Callable[..., Any], data: object) -> Known | None:
        """Return what is remembered of this function over data like these; None if nothing is.

        None is also returned if the map is known to be so short that nothing could be gained. Takes about 1 µs if the
        function is unknown or the map is short, otherwise 10 µs, and 30 to 150 µs if the function holds values.
        """
        longest_s = self._longest_s.get(code_of(func)) if self._longest_s else None
        if longest_s is None:
            return None
        if type(data) in (list, tuple, range) and longest_s * len(data) < WORTH_RECALLING_S:  # type: ignore[arg-type]
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
        """Remember a run.

        ``lost``: the backend that was unprofitable, if one was; ``won``: the one that was not. ``settled``: no backend
        was better than the loop (None: none was considered, since that is settled).

        A backend that is unprofitable for the first time is left out of the next map only, since the machine may have
        been busy; each further time in a row it is left out for longer, up to `REST` maps (exponential backoff). The
        forecast is left out in the same way while the loop is best.
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
        code = code_of(func)
        self._longest_s[code] = max(sample.item_s, self._longest_s.pop(code, 0.0))
        while len(self._longest_s) > MOST:
            del self._longest_s[next(iter(self._longest_s))]
        while len(self._known) > MOST:
            self._known.popitem(last=False)

    def forget(self, func: Callable[..., Any] | None = None) -> None:
        """Forget one function, or all."""
        if func is None:
            self._known.clear()
            self._longest_s.clear()
            self.starts.clear()
            self.unsaved.clear()
        else:
            self._known.pop(key_of(func), None)


def _blended(before: Sample, now: Sample) -> Sample:
    """Return the newest run's sample, with its means averaged with earlier ones."""
    item_s = before.item_s + NEWEST * (now.item_s - before.item_s)
    scale = item_s / now.item_s if now.item_s > 0 else 1.0
    worker_s = now.worker_s
    if worker_s is not None and before.worker_s is not None:
        worker_s = before.worker_s + NEWEST * (worker_s - before.worker_s)
    elif worker_s is None:
        worker_s = before.worker_s
    return replace(now, item_s=item_s, item_cpu_s=now.item_cpu_s * scale, worker_s=worker_s)


def code_of(func: Callable[..., Any]) -> object:
    """Return a function's code, whatever values it holds, or the class of another callable. 0.3 µs.

    Nothing that the user wrote is called.
    """
    inner: Any = func
    if issubclass(type(inner), partial):
        inner = inner.func
    if type(inner) is MethodType:
        inner = inner.__func__
    return inner.__code__ if type(inner) is FunctionType else type(inner)


def key_of(func: Callable[..., Any]) -> object:
    """Key of a function: its code, which equals that of any function with the same body, or its fingerprint."""
    if keeps_nothing(func):
        return getattr(func, "__code__", func), getattr(func, "__module__", None)
    return fingerprint(func)


THIS_PROCESS: Final = Memory()
