"""Decide what happens to an item after its function raised, its time ran out, or its worker was lost.

The schedule, the plain loop and the coroutines all ask here. The answers are pure functions; `Repeats` keeps the counts
of one map and the items that are set aside, for whatever runs the map at the moment. A span that fails is *split*: only
the item at fault is judged, and the others go back to the queue unblamed.

The loop imports this module before its first item runs, so the module itself imports nothing: only `Repeats` does, if
items may be repeated at all.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from amorsize.schedule.messages import Span

    Kinds = type[BaseException] | tuple[type[BaseException], ...]

MAX_LOSSES: Final = 2
"""Workers that one item may cost before it fails. The first may have died for another reason, such as a signal."""

# Source: the contract of `backoff=`. A server that is down for a minute is found again within the next.
LONGEST_BACKOFF_S: Final = 60.0
"""Longest time for which an item is set aside, in seconds."""

# 2.0 to a higher power is no float.
_MOST_DOUBLINGS: Final = 1023

# The bases of a class, whatever its metaclass makes of them.
_mro: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__


def covers(exc: BaseException, kinds: Kinds = Exception) -> bool:
    """Return True if an item that raised this may be repeated, where ``kinds`` (``retry_on=``) are.

    The class counts, as in an ``except`` clause. An exception that could not be rebuilt (`RemoteError`) counts as what
    it was in its worker, by the names of its classes. One that is no `Exception` (`SystemExit`, `KeyboardInterrupt`)
    ends the run.

    Examples
    --------
    >>> covers(ConnectionResetError(), OSError), covers(ValueError(), (OSError, KeyError)), covers(SystemExit())
    (True, False, False)
    """
    classes = _mro(type(exc))
    if Exception not in classes:
        return False
    if kinds is Exception:
        return True
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if any(kind in classes for kind in wanted):
        return True
    from amorsize.errors import RemoteError

    if not isinstance(exc, RemoteError):
        return False
    names = (f"{kind.__module__}.{kind.__qualname__}".replace("__mp_main__.", "__main__.") for kind in wanted)
    return any(name in exc.class_names for name in names)


def after_error(tries: int, retries: int, exc: BaseException | None = None, kinds: Kinds = Exception) -> bool:
    """Return True if an item is repeated after it raised or its time ran out, False if it has failed for good.

    Parameters
    ----------
    tries : int
        Number of runs of the item that have ended with an error or a time-out, this one included.
    retries : int
        Number of times that an item may be repeated.
    exc : BaseException, optional
        The exception raised; None: its time ran out, which counts whatever ``kinds`` are.
    kinds : type or tuple of types
        Exceptions after which an item is repeated; see `covers`.

    Examples
    --------
    >>> after_error(1, 1), after_error(2, 1), after_error(1, 1, SystemExit())
    (True, False, False)
    """
    return tries <= retries and (exc is None or covers(exc, kinds))


def backoff_s(tries: int, base_s: float, share: float = 1.0) -> float:
    """Return the seconds for which an item is set aside before it is repeated.

    Exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015):
    items that failed together must not come back together.

    Parameters
    ----------
    tries : int
        Number of runs of the item that have ended with an error or a time-out, this one included.
    base_s : float
        Most seconds before the first repeat; doubled for each further one, up to `LONGEST_BACKOFF_S`.
    share : float
        Drawn evenly from 0 to 1.

    Examples
    --------
    >>> [backoff_s(tries, 0.5) for tries in (1, 2, 3, 9)], backoff_s(3, 0.5, 0.25)
    ([0.5, 1.0, 2.0, 60.0], 0.5)
    """
    return share * min(LONGEST_BACKOFF_S, base_s * 2.0 ** min(tries - 1, _MOST_DOUBLINGS))


def after_loss(losses: int) -> bool:
    """Return True if an item is repeated after it has cost so many workers, False if it has failed for good.

    It is repeated alone in its worker; after a lack of memory, while no other worker is busy. A worker that the memory
    guard ended does not count. If the item at fault is unknown (`at_fault`), each item of the span is repeated alone.

    Examples
    --------
    >>> after_loss(1), after_loss(2)
    (True, False)
    """
    return losses < MAX_LOSSES


def at_fault(span: Span, reported: int | None) -> int | None:
    """Return the item at which a worker was lost while it ran this span; None: unknown, so no item is blamed.

    ``reported`` is the item that the worker was last seen to run. If it is not of this span, the report is stale.

    Examples
    --------
    >>> from amorsize.schedule.messages import Span
    >>> at_fault(Span(3, 9), 5), at_fault(Span(3, 9), 12), at_fault(Span(3, 9), None), at_fault(Span(3, 4), None)
    (5, None, None, 3)
    """
    if reported is None and len(span) == 1:
        return span.start
    return reported if reported is not None and span.start <= reported < span.stop else None


class Repeats:
    """The rule by which the items of one map are repeated, their failures so far, and those that are set aside.

    One object goes with a map from the loop to the schedule of its workers and back, so that no item is repeated too
    often or too early because something else runs it now.

    Parameters
    ----------
    retries : int
        Number of times that an item that raised, or ran too long, is repeated.
    kinds : type or tuple of types
        Exceptions after which an item is repeated; see `covers`.
    base_s : float
        Backoff before the first repeat, in seconds; see `backoff_s`.
    draw : callable, optional
        Returns the next share for `backoff_s`, as ``random.Random(seed).random`` does; None: always 1.

    Attributes
    ----------
    tries : dict of int to int
        Of items that are not done: runs that ended with an error or a time-out.
    aside : list of (float, int, int)
        A heap of the items that are set aside: the time from which each may be repeated, its index and its lot.
    waited : bool
        True if any item has been set aside so far.
    on_repeat : callable or None
        Called with the index of each item that is to be repeated, the number of its runs that have failed, and the
        seconds until then.

    Examples
    --------
    >>> repeats = Repeats(2, base_s=0.5)
    >>> repeats.set_aside(7, 10.0 + repeats.failed(7))
    >>> repeats.wait_s(10.2), repeats.take_due(10.4), repeats.take_due(10.5)
    (0.3000000000000007, [], [(7, 0)])
    >>> repeats.failed(7), repeats.failed(7), repeats.tries
    (1.0, None, {})
    """

    __slots__ = ("aside", "base_s", "draw", "kinds", "on_repeat", "retries", "tries", "waited")

    def __init__(
        self,
        retries: int = 0,
        kinds: Kinds = Exception,
        base_s: float = 0.0,
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.retries = retries
        self.kinds = kinds
        if retries:
            # Now: when an item has failed, no file may be had any more.
            import heapq  # noqa: F401

            from amorsize import errors  # noqa: F401
        self.base_s = base_s
        self.draw = draw
        self.tries: dict[int, int] = {}
        self.aside: list[tuple[float, int, int]] = []
        self.waited = False
        self.on_repeat: Callable[[int, int, float], object] | None = None

    @classmethod
    def of(cls, retries: int | Repeats) -> Repeats:
        """Return a rule as it is; of a number of retries, the rule without more."""
        return cls(retries) if isinstance(retries, int) else retries

    def covers(self, exc: BaseException) -> bool:
        """Return True if an item that raised this may be repeated, as far as the exception goes."""
        return self.retries > 0 and covers(exc, self.kinds)

    def failed(self, index: int, *, is_covered: bool = True) -> float | None:
        """Count a run of an item that raised or ran too long. Return the seconds until its repeat; None: no repeat.

        ``is_covered``: whether the rule `covers` what it raised.
        """
        tries = self.tries.pop(index, 0) + 1
        if not (is_covered and after_error(tries, self.retries)):
            return None
        self.tries[index] = tries
        wait_s = 0.0
        if self.base_s:
            wait_s = backoff_s(tries, self.base_s, 1.0 if self.draw is None else self.draw())
        if self.on_repeat is not None:
            self.on_repeat(index, tries, wait_s)
        return wait_s

    def set_aside(self, index: int, due_s: float, lot: int = 0) -> None:
        """Keep an item until ``due_s``, on any steady clock."""
        from heapq import heappush

        heappush(self.aside, (due_s, index, lot))
        self.waited = True

    def take_due(self, now_s: float, most: int | None = None) -> list[tuple[int, int]]:
        """Remove and return the items that may be repeated now, with their lot, in the order in which they were due."""
        due: list[tuple[int, int]] = []
        if self.aside and self.aside[0][0] <= now_s:
            from heapq import heappop

            while self.aside and self.aside[0][0] <= now_s and (most is None or len(due) < most):
                _, index, lot = heappop(self.aside)
                due.append((index, lot))
        return due

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until the next item may be repeated; None: none is set aside."""
        return max(0.0, self.aside[0][0] - now_s) if self.aside else None
