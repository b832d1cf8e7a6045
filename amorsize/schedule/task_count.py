"""How many calls of a coroutine function should be under way at a time: found by climbing.

Nobody can know how many requests a server, a pool of connections or the event loop itself can bear, but what comes of
more of them can be measured. By Little's law the throughput of ``n`` items in flight is ``n`` over their mean latency,
which needs no window of time whose edges cut through a burst. So: run with ``n`` until a cohort of items that began
with so many in flight has ended, then try ``2 n``; keep it while throughput grows by a good part of what was added,
else fall back. Those of the new items that began first tell soonest: if they take no longer than fewer items did,
nobody need wait for more evidence, and each doubling takes but one latency. If the first doubling brings nothing, half
as many are tried: a server may suffer already. Once settled, it looks up again now and then, ever more seldom, and
climbs anew when throughput falls off.

Only items that went well count: errors that come back at once are no throughput. A pure state machine in whatever
clock the caller has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

START: Final = 8
MOST: Final = 1024  # where nobody says how many callers the other end can bear
COHORT: Final = 16  # items at the least that a number is judged by
CALM: Final = 4  # times as many once settled: then there is no hurry
MISSING: Final = 0.1  # of a cohort (at least one) need not have ended: one that hangs must not hold up the judgement
UNSLOWED: Final = 1.25  # times the latency before; a queue of twice the length makes it 1.5 for those who come first
GROWTH: Final = 1.15  # of the throughput, by twice as many, or it is not worth it
FALL: Final = 0.6  # of the throughput that it settled with: the world has changed
TRIES: Final = 2  # cohorts before a number is given up: latencies scatter
WEIGHT: Final = 0.3  # of the newest cohort in the throughput that it has settled with
REST: Final = 4  # cohorts after settling until it looks up again; twice as many each time


@dataclass(slots=True)
class _Cohort:
    """Some items that began one after the other, and how they fared."""

    size: int
    begun: dict[int, float] = field(default_factory=dict)  # when, by ticket, of those that have not ended
    n_begun: int = 0
    ended: int = 0
    well: int = 0
    spent_s: float = 0.0

    def begin(self, ticket: int, now_s: float) -> None:
        if self.n_begun < self.size:
            self.n_begun += 1
            self.begun[ticket] = now_s

    def end(self, ticket: int, now_s: float, well: bool) -> bool:
        """An item has ended, perhaps one of these: whether they can be judged now."""
        began_s = self.begun.pop(ticket, None)
        if began_s is None:
            return False
        self.ended += 1
        self.well += well
        self.spent_s += now_s - began_s
        return self.n_begun == self.size and len(self.begun) <= max(self.size >= START, int(MISSING * self.size))

    def latency_s(self, now_s: float) -> float:
        """Mean seconds per item; those that have not ended count with what they have taken so far."""
        return max(1e-9, (self.spent_s + sum(now_s - began_s for began_s in self.begun.values())) / self.size)


class Concurrency:
    """Says how many items may be in flight (`limit`), from when they begin and end.

    Parameters
    ----------
    most : int
        Never more than these.

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
        self._rates: list[float] = []  # of the cohorts at the number that is on trial
        self._base: tuple[int, float] | None = None  # what is known to be good, and its throughput
        self._steps: list[int] = []  # numbers still to be tried when the present trial has failed
        self._rest = REST
        self._rested = self._fallen = 0
        self._was_full = False  # since this limit was set
        self._first = self._cohort = _Cohort(max(START, self.limit))

    def began(self, now_s: float) -> int:
        """An item has begun; its ticket."""
        self._tickets += 1
        self.in_flight += 1
        (self._cohort if self._was_full or self._base is None else self._first).begin(self._tickets, now_s)
        self._was_full = self._was_full or self.in_flight >= self.limit
        return self._tickets

    def ended(self, ticket: int, now_s: float, *, well: bool) -> None:
        """An item has ended."""
        self.in_flight -= 1
        cohort = self._cohort
        if cohort.end(ticket, now_s, well):
            if self._was_full:  # else it was not the limit that held items back
                self._decide(self._rate(cohort, now_s))
            self._begin_cohorts()
        elif self._first.end(ticket, now_s, well) and self._are_unslowed(now_s):
            self.limit = min(2 * self.limit, self.most)
            self._begin_cohorts()

    def _are_unslowed(self, now_s: float) -> bool:
        """Whether the first of the new items took no longer than fewer items did, so that there may well be more."""
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
        """Judge a number on trial."""
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
        """Settled: see whether it is still as it was."""
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
