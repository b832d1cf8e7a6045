"""The facts that a plain loop needs: what its items took, and how they failed.

They are part of `amorsize.facts`. They stand apart because a short program waits for what its first map loads: all the
other records would take 0.4 ms.
"""

from __future__ import annotations

from amorsize.frozen import Frozen, field

# guess
WAITS: float = 0.5
"""Share of an item's time from which on it mostly waits: it does not hold the interpreter's lock then."""

# guess
RATE_WEIGHT: float = 0.3
"""Weight of the newest batch or chunk in a running mean of seconds per item (exponential weights)."""

# guess
MARGIN: float = 0.1
"""A parallel plan must promise at least this much less time than the loop."""


class Observation(Frozen, kw_only=False):
    """Measured time of neighbouring items in the caller.

    Attributes
    ----------
    start, items : int
        The first one's index, and how many.
    wall_s, cpu_s, process_cpu_s : float
        Seconds for all of them: by the clock, CPU of the calling thread (with those in which it waited for nothing but
        its turn on a core), CPU of all threads of the process.
    new_bytes : float
        Memory that they were the first to touch.
    slowdown : float
        Factor by which other calls of this process slowed them down; ``wall_s`` is without it.
    aside : int
        Number of them that raised and were set aside: each is still to come once more.
    """

    start: int
    items: int
    wall_s: float
    cpu_s: float
    process_cpu_s: float
    new_bytes: float = 0.0
    slowdown: float = 1.0
    aside: int = 0


class ItemRecord(Frozen, kw_only=False):
    """Measured time of one item, where items were long enough (2 ms) to be looked at one by one.

    Attributes
    ----------
    index : int
        Position in ``data``.
    wall_s, cpu_s : float
        Seconds by the clock, and of CPU of the thread that ran it.
    rss_bytes : int
        The most memory that its process had held when it ended; 0 in threads, and where it is unknown.
    growth_bytes : int
        By how much the item raised that; 0 in threads, which share their memory.
    """

    index: int
    wall_s: float
    cpu_s: float
    rss_bytes: int = 0
    growth_bytes: int = 0


class Failure(Frozen, kw_only=False):
    """Stands in an item's place in the results when ``on_error="collect"`` and the item failed for good.

    Attributes
    ----------
    index : int
        Position in ``data``.
    exception : BaseException
        What was raised (or `WorkerLostError`, `TransferError`).
    traceback : str
        Where, as text.
    """

    index: int
    exception: BaseException
    traceback: str = field(default="", repr=False)
