"""Decide what happens to an item after its function raised, its time ran out, or its worker was lost.

The schedule, the plain loop and the coroutines all ask here. They keep the counts; the answers are pure functions of
them. A span that fails is *split*: only the item at fault is judged, and the others go back to the queue unblamed.

The loop imports this module before its first item runs, so the module itself imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.schedule.messages import Span

MAX_LOSSES: Final = 2
"""Workers that one item may cost before it fails. The first may have died for another reason, such as a signal."""


def after_error(tries: int, retries: int, exc: BaseException | None = None) -> bool:
    """Return True if an item is repeated after its function raised, False if the item has failed for good.

    Parameters
    ----------
    tries : int
        Number of runs of the item that have ended with an error or a time-out, this one included.
    retries : int
        Number of times that an item may be repeated.
    exc : BaseException, optional
        The exception raised. One that is no `Exception` (`SystemExit`, `KeyboardInterrupt`) ends the run: no repeat.

    Examples
    --------
    >>> after_error(1, 1), after_error(2, 1), after_error(1, 1, SystemExit())
    (True, False, False)
    """
    return tries <= retries and (exc is None or isinstance(exc, Exception))


def after_timeout(tries: int, retries: int) -> bool:
    """Return True if an item is repeated after its time ran out: a time-out counts as an error."""
    return after_error(tries, retries)


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
