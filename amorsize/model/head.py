"""The head of a map: its first items, which run in the caller's loop before anything else is loaded.

They show if it could pay to ask for workers (`Head.worth_asking`). Until then nothing is loaded that only a decision
needs, since a short program would wait for that (`amorsize.model.decide`: 10 ms), and most short maps end there. The
`Decider` is a head, too: it goes on from the one that has run before it was loaded.
"""

from __future__ import annotations

from amorsize.loop_facts import MARGIN, RATE_WEIGHT, WAITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.loop_facts import Observation

# guess: fewer items are not enough evidence for a decision
EVIDENCE_ITEMS: Final = 3
# The clock is read about once per millisecond.
BATCH_S: Final = 1e-3
# Batches once nothing can beat the loop any more; between two of them the run can still be ended.
LONG_BATCH_S: Final = 10e-3
# guess: after so much of the loop, items that take as long as in earlier runs may go in long batches
SETTLED_S: Final = 0.2e-3
# If the first call took this many times as long as the others, the excess is a cost of the first call alone (a guess).
DEAR: Final = 5.0
# The same factor for a first call that touched `COLD_BYTES` more new memory than the others (a guess).
WARM: Final = 1.2
# Imports and allocators touch as much: a first hash took 5.3 ms and 1.5 MB, the others 0.65 ms.
COLD_BYTES: Final = 1 << 19
# The CPU time of other threads is counted by the system's ticks of 4 ms.
STRETCH_S: Final = 20e-3
# Seconds to pickle and unpickle the smallest result, as one of many (a guess).
RESULT_S: Final = 0.1e-6
# Lower bound of starting two threads.
CHEAP_THREADS_S: Final = 0.4e-3
# Lower bound of starting and leaving two forked workers.
CHEAP_PROCESSES_S: Final = 4.5e-3
# The same with cold caches and copied pages: 6.5-9 ms from a small process, 10-14 from one with scikit-learn in it.
WORTH_PROCESSES_S: Final = 9e-3
# guess: what is loaded to ask is often loaded in vain. 90 fits of 1.15 ms beside a thread, where workers would take a
# second to start: 1.3 times as long as the loop.
IN_VAIN: Final = 1.4
# The same where nothing is left to load. Maps of 12 items of 1.2 ms are not worth 1.1 ms of asking each time.
WARM_PROCESSES_S: Final = 7e-3
# Cost of a useless start that is accepted without further evidence, as a share of the time spent and in seconds.
# Source: the project's promise, never slower than the loop by more than 5 % and 2 ms.
SURE_SHARE: Final = 0.05
SURE_S: Final = 2e-3
# guess: with fewer items left per core, to run one more alone takes a tenth of the map or more
FEW_LEFT: Final = 5
# A single item that waits longer is enough evidence; a shorter wait may have been another program's turn.
ONE_WAIT_S: Final = 4.5e-3
# guess: a loop that is busy for a smaller share of the time keeps up with the rate limit
KEEPS_UP: Final = 0.7


class Head:
    """The measurements of the first items of one map, and what follows from them alone.

    Parameters
    ----------
    n_items : int or None
        Items in all; None if unknown: then as many are expected to come as have run.
    most_cores : int
        Upper bound of the cores, used until the machine has been read.
    rate : float, optional
        Items per second that may begin.
    load_threads_s, load_processes_s : float
        Seconds for modules that are yet to be loaded before threads, or processes, can start.

    Examples
    --------
    >>> from amorsize.facts import Observation
    >>> head = Head(100, most_cores=4, load_processes_s=20e-3)
    >>> head.saw(Observation(0, 1, 50e-6, 50e-6, 50e-6))
    >>> head.left * head.item_s < 20e-3, head.worth_asking()
    (True, False)
    """

    def __init__(
        self,
        n_items: int | None,
        *,
        most_cores: int = 1,
        rate: float | None = None,
        load_threads_s: float = 0.0,
        load_processes_s: float = 0.0,
    ) -> None:
        self.n_items = n_items
        self.most_cores = most_cores
        self.rate = rate
        self.expect_load(load_threads_s, load_processes_s)
        self.items = 0
        self.wall_s = self.cpu_s = self.process_cpu_s = self.new_bytes = 0.0
        self.head_items = 0
        self.head_s = 0.0
        # Of the first call: seconds, of CPU time of its thread and of the process, and bytes of new memory.
        self.first_s = self.first_cpu_s = self.first_process_cpu_s = self.first_bytes = 0.0
        # CPU seconds of the process in a second of the loop, over the latest stretch of `STRETCH_S`; and of one that
        # has begun since: seconds, and CPU seconds of the process.
        self.lately_busy = float("inf")
        self._stretch = (0.0, 0.0)
        # Moving average of seconds per item, exponentially weighted.
        self.rate_s = 0.0
        # The first batches, for the spread between items.
        self.batches: list[tuple[int, float]] = []
        # Of the loop, by other calls that compete for the interpreter's lock.
        self.slowdown = 1.0

    def expect_load(self, threads_s: float, processes_s: float) -> None:
        """Take in the seconds that modules for threads, or for processes, still take to load."""
        self.worth_threads_s = CHEAP_THREADS_S + IN_VAIN * threads_s
        start_s = WORTH_PROCESSES_S if processes_s > 0 else WARM_PROCESSES_S
        self.worth_processes_s = start_s + IN_VAIN * processes_s

    def take_over(self, head: Head) -> None:
        """Go on from the measurements of a head: it has run the first items of this map."""
        vars(self).update(vars(head))

    def saw(self, seen: Observation) -> None:
        """Take in a batch of head items."""
        if not seen.items:
            return
        if not self.items:
            self.first_s, self.first_bytes = seen.wall_s / seen.items, seen.new_bytes / seen.items
            self.first_cpu_s, self.first_process_cpu_s = seen.cpu_s / seen.items, seen.process_cpu_s / seen.items
        self._add(seen)
        self.head_items += seen.items
        self.head_s += seen.wall_s
        rate = seen.wall_s / seen.items
        # The second batch replaces the first, since the first call may have been expensive. A batch that is larger
        # than all before it counts by its share of the items: the first ones mostly timed cold caches.
        blend = max(RATE_WEIGHT, seen.items / self.head_items) if len(self.batches) > 1 else 1.0
        self.rate_s += blend * (rate - self.rate_s)
        if len(self.batches) < 64:
            self.batches.append((seen.items, seen.wall_s))

    def _add(self, seen: Observation) -> None:
        self.items += seen.items
        self.wall_s += seen.wall_s
        self.cpu_s += seen.cpu_s
        self.process_cpu_s += seen.process_cpu_s
        self.new_bytes += seen.new_bytes
        wall_s, cpu_s = self._stretch[0] + seen.wall_s, self._stretch[1] + seen.process_cpu_s
        if wall_s >= STRETCH_S:
            self.lately_busy, wall_s, cpu_s = cpu_s / wall_s, 0.0, 0.0
        self._stretch = wall_s, cpu_s
        self.slowdown += RATE_WEIGHT * (seen.slowdown - self.slowdown)
        # What is counted are runs of items.
        if self.n_items is not None:
            self.n_items += seen.aside

    # -- estimates -----------------------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Number of items expected to come."""
        return self.items if self.n_items is None else max(0, self.n_items - self.items)

    @property
    def item_s(self) -> float:
        """Expected seconds per item of those left."""
        return self._expect() if self.items else 0.0

    def _expect(self) -> float:
        head = self._head_mean()
        return max(head, self.rate_s) if self.n_items is None or self.rate_s > 2 * head else head

    def _head_mean(self) -> float:
        """Return seconds per item of the head, without the excess of an expensive first call."""
        return (self.head_s - self.first_call_s) / self.head_items

    @property
    def first_call_s(self) -> float:
        """Seconds by which the first call exceeded the others; 0 if that is no more than chance."""
        if self.head_items < 2:
            return 0.0
        others_s = (self.head_s - self.first_s) / (self.head_items - 1)
        return self._excess(others_s, WARM if self._was_cold() else DEAR)

    def _excess(self, others_s: float, dear: float) -> float:
        """Return how much longer the first call took than the others; 0 if not ``dear`` times as long."""
        return self.first_s - others_s if self.first_s > dear * others_s and self.first_s > BATCH_S else 0.0

    def _was_cold(self) -> bool:
        """Return True if the first item touched far more new memory than the others."""
        others_bytes = (self.new_bytes - self.first_bytes) / (self.items - 1) if self.items > 1 else 0.0
        return self.first_bytes - others_bytes > COLD_BYTES

    def _waits(self) -> bool:
        return self.cpu_s < (1 - WAITS) * self.wall_s

    # -- what follows --------------------------------------------------------------------------------------------

    def worth_asking(self) -> bool:
        """Return True if going parallel could pay, and the items are evidence enough to ask."""
        return self._may_ask() and self._has_evidence()

    def _may_ask(self) -> bool:
        """Return True if there may be something to be gained."""
        if self._is_blank() or (self.rate is not None and self.rate * self.item_s < KEEPS_UP):
            return False
        return self._may_gain()

    def _is_blank(self) -> bool:
        """Return True if nothing is known of the items yet."""
        return not self.items

    def _may_gain(self) -> bool:
        """Return True if workers could gain more than it takes to ask for them, to load what they need and to start."""
        left_s = self.left * self.item_s
        if self._waits():
            return left_s >= self.worth_threads_s
        return left_s * (1 - MARGIN - 1 / self.most_cores) - self.left * RESULT_S >= self.worth_processes_s

    def missed_s(self) -> float:
        """Return the seconds that workers could have gained on the items that ran, with nothing left to load."""
        wall_s = self.wall_s - self.first_call_s
        if self.items < 2:
            return 0.0
        if self._waits():
            return max(0.0, wall_s * (1 - 1 / self.items) - CHEAP_THREADS_S)
        at_a_time = min(self.most_cores, self.items)
        return max(0.0, wall_s * (1 - MARGIN - 1 / at_a_time) - self.items * RESULT_S - WORTH_PROCESSES_S)

    def _has_evidence(self) -> bool:
        """Return True if enough items have run, or a useless start would stay within the promised bound."""
        if self._is_sure(self._start_s()):
            return True
        # A first hash of a process took 2.9 ms, the next one 24 µs, and all others 4: what the first call alone takes
        # shows nothing of them.
        return self.items >= EVIDENCE_ITEMS and self.wall_s - self.first_call_s >= BATCH_S

    def _start_s(self) -> float:
        """Return the least seconds in which workers start."""
        return CHEAP_THREADS_S if self._waits() else CHEAP_PROCESSES_S

    def _is_sure(self, start_s: float) -> bool:
        """Return True if a useless start would stay within the promised bound.

        A single item may have been an expensive first call, so that it counts for less; but not where so few are left
        that to run one more alone takes a large part of the map.
        """
        if self.items == 1 and self._waits():
            return self.wall_s > ONE_WAIT_S
        if self.items == 1 and self.left >= FEW_LEFT * self.most_cores:
            return self.wall_s * SURE_SHARE / 2 > start_s
        return self.wall_s * SURE_SHARE + SURE_S > start_s and self.wall_s > start_s

    def next_items(self, limit_s: float = BATCH_S) -> int:
        """Return the size of the next batch of the loop: twice as many items each time, for at most ``limit_s``."""
        if self.items < 2:
            return 1
        rate = max(self.rate_s, 1e-9)
        if self.items >= EVIDENCE_ITEMS and self._is_hopeless():
            return max(1, min(self.left, int(LONG_BATCH_S / rate)))
        return max(1, min(2 * self.items, int(limit_s / rate)))

    def _is_hopeless(self) -> bool:
        """Return True if too little is left for workers ever to pay.

        Reading the clock each millisecond costs 4 % of it, since the caches have lost this code every time.
        """
        known = self.n_items is not None and self.wall_s > SETTLED_S and not self._waits()
        return known and not self._may_gain()
