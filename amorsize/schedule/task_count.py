"""Find the number of concurrent calls of a coroutine function by hill climbing.

The capacity of a server, a connection pool or the event loop is unknown, but the effect of more calls can be measured.
By Little's law the throughput of ``n`` items in flight is ``n`` over their mean latency. This needs no time window,
whose edges could cut through a burst. The search runs with ``n`` until a cohort of items that began with ``n`` in
flight has ended, then tries ``2 n``. It keeps the larger number while throughput grows by a good part of what was
added; else it falls back. The first new items give the earliest evidence: if they take no longer than fewer items did,
the number is doubled at once, so each doubling takes only one latency. If the first doubling brings nothing, half the
number is tried, because the server may be overloaded already. A settled search tries a larger number from time to
time, less and less often, and climbs again when throughput falls.

Only items that succeed count: errors that return at once are no throughput. This is a pure state machine; the caller
supplies the time from any clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# Items in flight at the start.
# guess
START: Final = 8
# Most items in flight, if the user gives no limit.
# guess
MOST: Final = 1024
# Fewest items by which a number is judged.
# guess
COHORT: Final = 16
# A settled search uses cohorts this many times as large, because it need not be quick.
# guess
CALM: Final = 4
# Share of a cohort (at least one item) that need not have ended, so that a hanging item does not delay the judgement.
# guess
MISSING: Final = 0.1
# The first new items are unslowed below this multiple of the earlier latency. A queue of twice the length makes it 1.5.
UNSLOWED: Final = 1.25
# Twice as many items must raise the throughput by this factor.
# guess
GROWTH: Final = 1.15
# Below this share of the settled throughput the conditions have changed.
# guess
FALL: Final = 0.6
# Cohorts before a number is given up, because latencies scatter.
# guess
TRIES: Final = 2
# Weight of the newest cohort in the settled throughput.
# guess
WEIGHT: Final = 0.3
# Cohorts after settling until a larger number is tried; twice as many each time.
# guess
REST: Final = 4


@dataclass(slots=True)
class _Cohort:
    """Some items that began one after the other, and their latencies."""

    size: int
    # Time of beginning by ticket, for the items that have not ended.
    begun: dict[int, float] = field(default_factory=dict)
    n_begun: int = 0
    ended: int = 0
    well: int = 0
    spent_s: float = 0.0

    def begin(self, ticket: int, now_s: float) -> None:
        if self.n_begun < self.size:
            self.n_begun += 1
            self.begun[ticket] = now_s

    def end(self, ticket: int, now_s: float, well: bool) -> bool:
        """Record the end of an item, if it is one of these. Return True if the cohort can be judged now."""
        began_s = self.begun.pop(ticket, None)
        if began_s is None:
            return False
        self.ended += 1
        self.well += well
        self.spent_s += now_s - began_s
        return self.n_begun == self.size and len(self.begun) <= max(self.size >= START, int(MISSING * self.size))

    def latency_s(self, now_s: float) -> float:
        """Return the mean seconds per item; items that have not ended count with their time so far."""
        return max(1e-9, (self.spent_s + sum(now_s - began_s for began_s in self.begun.values())) / self.size)


class Concurrency:
    """Set the number of items that may be in flight (`limit`) from the times at which items begin and end.

    Parameters
    ----------
    most : int
        Largest allowed ``limit``.

    Examples
    --------
    A server that takes a second for each request, however many there are:

    >>> climb = Concurrency()
    >>> for second in range(4):
    ...     print(climb.limit, end=" ")
    ...     tickets = [climb.began(second) for _ in range(climb.limit)]
    ...     for ticket in tickets:
    ...         climb.ended(ticket, second + 1, well=True)
    8 16 32 64
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.limit = min(START, most)
        self.in_flight = 0
        self._tickets = 0
        # Throughputs of the cohorts at the number on trial.
        self._rates: list[float] = []
        # The best known number and its throughput.
        self._base: tuple[int, float] | None = None
        # Numbers to try next if the present trial fails.
        self._steps: list[int] = []
        self._rest = REST
        self._rested = self._fallen = 0
        # True if ``limit`` was reached since it was set.
        self._was_full = False
        self._first = self._cohort = _Cohort(max(START, self.limit))

    def began(self, now_s: float) -> int:
        """Record that an item begins. Return its ticket."""
        self._tickets += 1
        self.in_flight += 1
        (self._cohort if self._was_full or self._base is None else self._first).begin(self._tickets, now_s)
        self._was_full = self._was_full or self.in_flight >= self.limit
        return self._tickets

    def ended(self, ticket: int, now_s: float, *, well: bool) -> None:
        """Record that an item has ended."""
        self.in_flight -= 1
        cohort = self._cohort
        if cohort.end(ticket, now_s, well):
            # If it was not full, the limit did not hold items back, so the cohort says nothing about it.
            if self._was_full:
                self._decide(self._rate(cohort, now_s))
            self._begin_cohorts()
        elif self._first.end(ticket, now_s, well) and self._are_unslowed(now_s):
            self.limit = min(2 * self.limit, self.most)
            self._begin_cohorts()

    def _are_unslowed(self, now_s: float) -> bool:
        """Return True if the first new items took no longer than fewer items did, so that the limit may rise."""
        first = self._first
        if self._base is None or not self._base[0] < self.limit < self.most or first.well < first.ended:
            return False
        number, rate = self._base
        return first.latency_s(now_s) < UNSLOWED * number / rate

    def _rate(self, cohort: _Cohort, now_s: float) -> float:
        return self.limit / cohort.latency_s(now_s) * cohort.well / cohort.ended

    def _begin_cohorts(self) -> None:
        self._was_full = False
        is_settled = self._base is not None and self.limit == self._base[0]
        size = CALM * max(COHORT, self.limit // 2) if is_settled else max(COHORT, self.limit)
        self._first, self._cohort = _Cohort(max(1, min(size, self.limit - self.in_flight))), _Cohort(size)

    def _decide(self, rate: float) -> None:
        if self._base is None:
            self._base = (self.limit, rate)
            self._steps = [self.limit * 2, self.limit // 2]
            self._step()
        elif self.limit == self._base[0]:
            self._watch(rate, self._base[1])
        else:
            self._try(rate, *self._base)

    def _try(self, rate: float, base: int, base_rate: float) -> None:
        """Judge the number on trial."""
        self._rates.append(rate)
        mean = sum(self._rates) / len(self._rates)
        if mean > GROWTH * base_rate:
            self._steps = [self.limit * 2 if self.limit > base else self.limit // 2]
            self._base = (self.limit, mean)
            self._step()
        elif len(self._rates) >= TRIES:
            self.limit = base
            self._step()

    def _step(self) -> None:
        """Go on to the next number to be tried, or settle."""
        self._rates = []
        self._rested = self._fallen = 0
        while self._steps:
            wanted = max(1, min(self._steps.pop(0), self.most))
            if wanted != self.limit:
                self.limit = wanted
                return

    def _watch(self, rate: float, base_rate: float) -> None:
        """Check that the settled throughput still holds; start a new search if not."""
        rate = base_rate + WEIGHT * (rate - base_rate) if rate > FALL * base_rate else rate
        self._rested += 1
        self._fallen = self._fallen + 1 if rate < FALL * base_rate else 0
        if self._fallen >= TRIES:
            self._base = (self.limit, rate)
            self._steps = [self.limit // 2, self.limit * 2]
            self._step()
            return
        if not self._fallen:
            self._base = (self.limit, rate)
        if self._rested >= self._rest:
            self._rest *= 2
            self._steps = [self.limit * 2]
            self._step()
