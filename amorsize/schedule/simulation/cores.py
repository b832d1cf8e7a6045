"""Simulate processes that compute and wait, on cores that they share, in virtual time.

A discrete-event simulation with processor sharing. All computing processes run at the same speed. So one *virtual
clock*, which shows the CPU seconds that each of them has had so far, tells which process ends first: a step costs
O(log n) for n processes. One process may be *first*: it always has a core, because the kernel at once gives one to a
process that sleeps most of the time (the caller that sends chunks). The others share the cores that are left.

Under a quota no process computes for the rest of a period once the period's CPU seconds are spent, as in Linux's CFS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Final, Literal

from amorsize.facts import Scaling

# The default of cpu.max and cpu.cfs_period_us.
QUOTA_PERIOD_S: Final = 0.1
# Times that differ by less are equal: a step that ends with the allowance has ended, and so have steps of equal work.
ROUNDING_S: Final = 1e-9

Step = tuple[Literal["compute", "wait", "park"], float]
"""The next step of a process, and its seconds; ``park``: do nothing until woken."""

Program = Generator[Step, None, None]

PARK: Final[Step] = ("park", 0.0)


class Process:
    """A running program."""

    __slots__ = ("first", "is_parked", "over", "program")

    def __init__(self, program: Program, first: bool) -> None:
        self.program = program
        self.first = first
        self.is_parked = False
        self.over = False


class Cores:
    """Some cores, the processes on them, and the time.

    Parameters
    ----------
    cores : float
        Number of cores.
    quota : float, optional
        CPU seconds that may be used per second.
    scaling : Scaling
        Throughput of several busy cores together.
    lock_share : float
        Share of computing for which a process needs a lock that only one can hold (threads: the interpreter's lock).

    Examples
    --------
    Three processes of 2 s each on two cores:

    >>> cores = Cores(2)
    >>> for _ in range(3):
    ...     _ = cores.run(iter([("compute", 2.0)]))
    >>> while cores.advance():
    ...     pass
    >>> cores.now_s, cores.used_s
    (3.0, 6.0)
    """

    def __init__(
        self, cores: float, *, quota: float | None = None, scaling: Scaling | None = None, lock_share: float = 0.0
    ) -> None:
        self.now_s = 0.0
        # CPU seconds of all processes.
        self.used_s = 0.0
        self._cores, self._lock_share = cores, lock_share
        self._scaling = scaling if scaling is not None and len(scaling.points) > 1 else None
        self._tickets = 0
        self._timed: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._awake: deque[Process] = deque()
        self._sharing: list[tuple[float, int, Process]] = []
        # The virtual clock.
        self._had_s = 0.0
        self._first: Process | None = None
        self._first_left_s = 0.0
        self._rates: dict[tuple[int, bool], float] = {}
        self._allowance_s = inf if quota is None else quota * QUOTA_PERIOD_S
        self._left_s = self._allowance_s
        self._period_ends_s = inf if quota is None else QUOTA_PERIOD_S

    # -- for programs --------------------------------------------------------------------------------------------

    def run(self, program: Program, *, first: bool = False) -> Process:
        """Start a program."""
        process = Process(program, first)
        self._awake.append(process)
        return process

    def wake(self, process: Process) -> None:
        """Continue a parked process; do nothing if it is not parked."""
        if process.is_parked:
            process.is_parked = False
            self._awake.append(process)

    def stop(self, process: Process) -> None:
        """End a process at once, in the middle of any step."""
        process.over = True
        process.is_parked = False
        if process is self._first:
            self._first = None
        sharing = [entry for entry in self._sharing if entry[2] is not process]
        if len(sharing) < len(self._sharing):
            heapify(sharing)
            self._sharing = sharing

    def later(self, delay_s: float, what: Callable[..., object], *args: Any) -> None:
        """Call ``what`` with ``args`` after ``delay_s`` seconds."""
        self._tickets += 1
        heappush(self._timed, (self.now_s + delay_s, self._tickets, what, args))

    # -- time ----------------------------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Go on to the next event and continue the processes concerned. Return False if no event is to come."""
        if not self._awake and not self._to_next():
            return False
        while self._awake:
            self._go_on(self._awake.popleft())
        return True

    def _go_on(self, process: Process) -> None:
        """Begin the next step of a process."""
        if process.over:
            return
        for what, seconds in process.program:
            if what == "park":
                process.is_parked = True
                return
            if seconds <= 0.0:
                continue
            if what == "wait":
                self.later(seconds, self._awake.append, process)
            elif process.first:
                self._first, self._first_left_s = process, seconds
            else:
                self._tickets += 1
                heappush(self._sharing, (self._had_s + seconds, self._tickets, process))
            return
        process.over = True

    def _to_next(self) -> bool:
        """Move the time to the next event and take it in. Return False if there is none."""
        sharing, timed, first = self._sharing, self._timed, self._first
        if not sharing and not timed and first is None:
            return False
        throttled = self._left_s <= 0.0
        rate = 0.0 if throttled or not sharing else self._rate(len(sharing), first is not None)
        at_s, what = (timed[0][0], 0) if timed else (inf, 0)
        if rate > 0.0 and (end_s := self.now_s + (sharing[0][0] - self._had_s) / rate) < at_s:
            at_s, what = end_s, 1
        if first is not None and not throttled and (end_s := self.now_s + self._first_left_s) < at_s:
            at_s, what = end_s, 2
        in_use = 0.0
        if not throttled:
            in_use = min(len(sharing) + (first is not None), self._cores) if self._scaling else rate * len(sharing)
            in_use += (first is not None) if not self._scaling else 0.0
        if self._allowance_s < inf:
            if in_use > 0.0 and (end_s := self.now_s + self._left_s / in_use) < at_s - ROUNDING_S:
                at_s, what = end_s, 3
            if self._period_ends_s <= at_s:
                at_s, what = self._period_ends_s, 4
        elapsed_s = at_s - self.now_s
        self.now_s = at_s
        self._had_s += elapsed_s * rate
        self.used_s += elapsed_s * in_use
        self._left_s -= elapsed_s * in_use
        if not throttled:
            self._first_left_s -= elapsed_s
        if what == 0:
            _, _, call, args = heappop(timed)
            call(*args)
        elif what == 1:
            self._had_s = sharing[0][0]
            while sharing and sharing[0][0] <= self._had_s + ROUNDING_S:
                self._awake.append(heappop(sharing)[2])
        elif what == 2:
            assert first is not None
            self._first = None
            self._awake.append(first)
        elif what == 3:
            self._left_s = 0.0
        else:
            self._left_s = self._allowance_s
            self._period_ends_s += QUOTA_PERIOD_S
        return True

    def _rate(self, sharing: int, first: bool) -> float:
        """Return the speed of each of ``sharing`` processes; 1: as fast as alone."""
        if (known := self._rates.get((sharing, first))) is not None:
            return known
        busy = min(sharing + first, self._cores)
        room = (self._scaling.throughput(busy) if self._scaling else busy) - first
        rate = min(1.0, max(0.0, room) / sharing)
        if self._lock_share > 0.0:
            rate = min(rate, 1.0 / (self._lock_share * sharing))
        self._rates[sharing, first] = rate
        return rate
