"""Find the number of concurrent calls of a function that waits: as many as its server bears, and no more.

The capacity of a server, a connection pool or the event loop is unknown, but the effect of more calls can be measured.
By Little's law the throughput of ``n`` items in flight is ``n`` over their mean latency. This needs no time window,
whose edges could cut through a burst.

- *Slow start*, as in TCP (Jacobson, "Congestion avoidance and control", 1988): the number doubles as long as the first
  new items take no longer than fewer items did, so each doubling takes one latency. Of these the last ones tell most:
  they wait behind the others, if any does.
- *Latency is the warning*, as in TCP Vegas (Brakmo & Peterson 1995) and Netflix's concurrency-limits: it rises when
  items queue. Then the throughput of a whole cohort decides. If half of what was added came through, the capacity lies
  half way: the number returns to a little more than that, long before a server has to reject calls.
- *Failures halve the number at once*, but once for each latency, not once for each failure. If they came from load
  (`amorsize.schedule.overload`), a ceiling stays below the number at which they came. The number grows slowly up to
  it, and the ceiling itself is raised less and less often. If not, the search goes on where it was.
- A settled search tries a quarter more from time to time, less and less often, as BBR does (Cardwell et al. 2016);
  each success makes the next step larger. If latency rises well above the least one, it tries fewer: if throughput
  stays, the items had only queued; if it falls, the items themselves take longer now.

A failed item keeps its place until a good one would have ended. Else a server that refuses at once would be asked the
more often, the more it refuses. This is a pure state machine; the caller supplies the time from any clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil

from amorsize.schedule.overload import Case, Failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Items in flight at the start.
# guess
START: Final = 8
# Most items in flight, if the user gives no limit.
# guess
MOST: Final = 1024
# Seconds until the number doubles on the way to one that a forecast recommends. Servers that refuse do so within it;
# 64 are reached in 3 ms; it takes 3-5 to start as many threads. With 3e-3 a map of 500 × 5 ms took a tenth longer.
RAMP_S: Final = 1e-3
# Fewest items by which a number is judged.
# guess
COHORT: Final = 16
# A settled search uses cohorts this many times as large, because it need not be quick.
# guess
CALM: Final = 2
# Share of a cohort (at least one item) that need not have ended, so that a hanging item does not delay the judgement.
# guess
MISSING: Final = 0.1
# The first new items are unslowed below this multiple of the earlier latency. A queue of twice the length makes it 1.5.
UNSLOWED: Final = 1.25
# If the first new items take so many times less than the earlier ones, those met a cold start.
# guess
COLD: Final = 4.0
# A larger number is kept if this share of what was added came through.
# guess
PAYS: Final = 0.6
# A smaller number is kept if it has this share of the throughput.
# guess
ENOUGH: Final = 0.9
# So few that a queue does no harm are kept only if the throughput rises by this factor: the server crumbles with more.
# guess
GAINS: Final = 1.15
# Items in flight above what the throughput needs, so that the server has some while answers are on their way.
# guess
HEADROOM: Final = 1.25
# Above this multiple of the least latency a settled search tries fewer.
# guess
SLOWED: Final = 1.5
# Above this multiple of the settled throughput the conditions have changed.
# guess
RISE: Final = 1.3
# Cohorts before a number is given up, because latencies scatter.
# guess
TRIES: Final = 2
# Weight of the newest cohort in the settled throughput.
# guess
WEIGHT: Final = 0.3
# Cohorts after settling until a larger number is tried; twice as many each time, up to the second figure.
# guess
REST: Final = 2
LONGEST_REST: Final = 64
# Growth of a settled search at each step; after a success the next step is larger, up to doubling.
# guess
STEP: Final = 1.25
# A ceiling is this share of the smallest number at which load made items fail.
# guess
CEILING: Final = 0.85
# A failed item keeps its place unless so many fail whatever the load.
# guess
MOSTLY: Final = 0.5
# The failure at the first alarm came alone if no more than this share of the items in flight then failed, too.
# guess
ALONE: Final = 0.01
# Items until a ceiling is raised for the first time; twice as many after each further overload.
# guess
CEILING_REST: Final = 250
LONGEST_CEILING_REST: Final = 4000


class _Cohort:
    """Some items that began one after the other, from the ticket ``first`` on, and their latencies."""

    __slots__ = ("ended", "first", "size", "spent_s", "well")

    def __init__(self, first: int, size: int) -> None:
        self.first = first
        self.size = size
        self.ended = self.well = 0
        self.spent_s = 0.0

    def end(self, ticket: int, newest: int, spent_s: float, well: bool) -> bool:
        """Record the end of an item, if it is one of these. Return True if the cohort can be judged now."""
        last = self.first + self.size - 1
        if not self.first <= ticket <= last:
            return False
        self.ended += 1
        if well:
            self.well += 1
            self.spent_s += spent_s
        return newest >= last and self.size - self.ended <= max(self.size >= START, int(MISSING * self.size))


class Concurrency:
    """Set the number of items that may be in flight (`limit`) from the times at which items begin and end.

    Parameters
    ----------
    most : int
        Largest allowed ``limit``.
    alone_s : float
        Seconds of an item that ran alone; 0 if unknown.
    sure : int
        Number that a forecast recommends: up to there the limit doubles each `RAMP_S`, unless items fail.

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

    def __init__(self, most: int = MOST, *, alone_s: float = 0.0, sure: int = 0) -> None:
        self.most = most
        self.sure = sure
        self.limit = min(START, most)
        self.failures = Failures()
        self._tickets = 0
        # Of those in flight: when they began, how many were in flight then, and how many items they stand for.
        self._flying: dict[int, tuple[float, int, int]] = {}
        # When the places are free again that failed items keep.
        self._kept_s: list[float] = []
        # Mean seconds of the items that succeed.
        self._typical_s: float | None = None
        # Throughputs of the cohorts at the number on trial.
        self._rates: list[float] = []
        # The best known number and its throughput.
        self._base: tuple[int, float] | None = (1, 1 / alone_s) if alone_s > 0 else None
        # The least latency of a cohort.
        self._least_s = alone_s or float("inf")
        # When the limit doubles next, on its way to the number that is sure.
        self._doubles_s: float | None = None
        # Growth at the next step.
        self._factor = 2.0
        # Items that took their time, and their seconds, as long as the number doubles.
        self._unslowed = (0, 0.0)
        # A larger number given up: it, its throughput, and the share that came through of what was added.
        self._given_up: tuple[int, float, float] | None = None
        # True as long as no larger number has paid, so that a smaller one may do.
        self._may_be_fewer = True
        # True until the search has settled, or met an overload.
        self._is_climbing = True
        self._ceiling = self._failed_at = MOST
        self._ceiling_rest, self._ceiling_rested = CEILING_REST, 0
        self._rest = REST
        self._rested = self._slow = 0
        self._case: Case | None = None
        # The items up to this ticket have been judged.
        self._judged = 0
        # True if ``limit`` was reached since it was set.
        self._was_full = False
        self._begin_cohorts()

    @property
    def in_flight(self) -> int:
        """Number of items in flight."""
        return len(self._flying)

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until an item may begin: 0 if one may now, None if that depends on the end of another."""
        while self._kept_s and self._kept_s[0] <= now_s:
            heappop(self._kept_s)
        if self._doubles_s is not None and self._is_ramping() and self._doubles_s <= now_s:
            self.limit = min(2 * self.limit, self.sure, self.most)
            self._doubles_s = now_s + RAMP_S
            self._begin_cohorts()
        return 0.0 if len(self._flying) + len(self._kept_s) < self.limit else self.due_s(now_s)

    def due_s(self, now_s: float) -> float | None:
        """Return the seconds until time alone lets more items begin; None: it never does."""
        due = self._kept_s[:1]
        if self._doubles_s is not None and self._is_ramping():
            due.append(self._doubles_s)
        return max(0.0, min(due) - now_s) if due else None

    def _is_ramping(self) -> bool:
        return self.limit < min(self.sure, self.most) and self._is_climbing and self._case is None

    def cap(self, most: int) -> None:
        """Change the largest allowed limit."""
        was, was_capped, self.most = self.limit, self.limit >= self.most, most
        if self.limit > most:
            self.limit = most
            self._base = self._given_up = None
            self._rates = []
        elif was_capped and self._case is None and self._is_climbing:
            if self._base is not None:
                self._go_on()
            else:
                self.limit = max(self.limit, min(START, most))
        if self.limit != was:
            self._begin_cohorts()

    # -- events --------------------------------------------------------------------------------------------------

    def began(self, now_s: float, items: int = 1) -> int:
        """Record that an item begins, or so many one after the other. Return the ticket."""
        self._tickets += 1
        self._flying[self._tickets] = (now_s, len(self._flying) + 1, items)
        if self._doubles_s is None:
            self._doubles_s = now_s + RAMP_S
        if not self._was_full and len(self._flying) + len(self._kept_s) >= self.limit:
            self._was_full = True
            # The items from here on began with all others in flight.
            if self._base is not None:
                self._cohort.first = self._tickets + 1
        return self._tickets

    def dropped(self, ticket: int) -> None:
        """Record that an item has been cancelled, which says nothing about the server."""
        del self._flying[ticket]
        if self._case is not None and ticket <= self._case.last:
            self._case.awaited -= 1

    def ended(self, ticket: int, now_s: float, *, well: bool) -> None:
        """Record that an item has ended."""
        began_s, number, items = self._flying.pop(ticket)
        spent_s = (now_s - began_s) / items
        if well:
            typical_s = self._typical_s
            self._typical_s = spent_s if typical_s is None else typical_s + 0.1 * (spent_s - typical_s)
        elif self._typical_s is not None and spent_s < self._typical_s and self.failures.share < MOSTLY:
            heappush(self._kept_s, began_s + self._typical_s)
        if self._case is not None:
            self._case.saw(ticket, number, not well)
            self._hear(self._case)
        elif ticket > self._judged and self.failures.saw(number, not well, len(self._flying)):
            self._accuse(number)
        elif self._cohort.end(ticket, self._tickets, spent_s, well):
            # If it was not full, the limit did not hold items back, so the cohort says nothing about it.
            if self._was_full:
                self._decide(self._latency_s(self._cohort, now_s))
            self._begin_cohorts()
        elif self._first.end(ticket, self._tickets, spent_s, well) and self._are_unslowed(now_s):
            self._go_on()
            self._begin_cohorts()

    # -- failures ------------------------------------------------------------------------------------------------

    def _accuse(self, number: int) -> None:
        """Halve the number, because more items failed than expected."""
        self.failures.quiet()
        base = self._base
        if base is not None and not self._is_climbing and base[0] < self.limit and number > base[0]:
            # It was only a try.
            self._overloaded(number, base[0])
            return
        self._case = Case(self.limit, self._tickets, len(self._flying), number, self.failures.below(number))
        self.limit = max(1, self.limit // 2)

    def _hear(self, case: Case) -> None:
        if case.since is None:
            if not case.heard:
                return
            if not self.failures.acquitted and case.failed <= ALONE * case.ended:
                self._acquit(case)
                return
            self._test(case, case.for_test())
        caused = case.verdict()
        if caused:
            # Without certainty a little less must do.
            number = self.limit if case.is_certain else max(self.limit, int(CEILING * case.lowest))
            self._overloaded(case.lowest, number)
        elif caused is not None:
            if self._typical_s is not None and 2 * case.later_failed > case.later_ended and self.limit > 1:
                # Hardly any succeeds: the server may bear still fewer, or no calls at the moment.
                self._test(case, max(1, self.limit // 4))
            else:
                self._acquit(case)

    def _test(self, case: Case, number: int) -> None:
        """Judge by the items that begin with this number, or those that began with the halved one."""
        case.since = case.last
        if number < self.limit:
            self.limit, case.since = number, self._tickets
            case.later_ended = case.later_failed = 0

    def _acquit(self, case: Case) -> None:
        self.failures.acquitted = True
        self.failures.count(case.number, case.ended, case.failed)
        self.failures.count(self.limit, case.later_ended, case.later_failed)
        self._kept_s.clear()
        self.limit, self._case = min(case.number, self.most), None
        self._begin_cohorts()

    def _overloaded(self, failed_at: int, number: int) -> None:
        """Go on with a number that load does not make fail, and stay well below the one that did."""
        if self._ceiling < MOST:
            self._ceiling_rest = min(4 * self._ceiling_rest, LONGEST_CEILING_REST)
        self._ceiling, self._failed_at = max(number, int(CEILING * failed_at)), failed_at
        self._ceiling_rested = 0
        self._case = self._base = self._given_up = None
        self._judged = self._tickets
        self._factor, self._may_be_fewer, self._is_climbing = STEP, False, False
        self.limit, self._rates = min(number, self.most), []
        self._begin_cohorts()

    # -- throughput ----------------------------------------------------------------------------------------------

    def _latency_s(self, cohort: _Cohort, now_s: float) -> float:
        """Return the mean seconds per item that succeeded; items that have not ended count with their time so far."""
        missing = range(cohort.first, cohort.first + cohort.size) if cohort.ended < cohort.size else ()
        flying = [self._flying[ticket] for ticket in missing if ticket in self._flying]
        so_far = [(now_s - began_s) / items for began_s, _, items in flying]
        n = cohort.well + len(so_far)
        return max(1e-9, (cohort.spent_s + sum(so_far)) / n) if n else float("inf")

    def _are_unslowed(self, now_s: float) -> bool:
        """Return True if the first new items took no longer than fewer items did, so that the limit may rise."""
        if self._base is None or not self._base[0] < self.limit or self._first.well < self._first.ended:
            return False
        number, rate = self._base
        latency_s, known_s = self._latency_s(self._first, now_s), number / rate if rate > 0 else float("inf")
        if latency_s >= UNSLOWED * (known_s if self._is_climbing else min(known_s, self._least_s)):
            return False
        items, spent_s = self._unslowed
        if COLD * latency_s < known_s or not items:
            items, spent_s = 0, 0.0
        items, spent_s = items + self._first.ended, spent_s + self._first.ended * latency_s
        self._unslowed = (items, spent_s)
        self._base = self.limit, self.limit * items / spent_s
        self._may_be_fewer = False
        return True

    def _begin_cohorts(self) -> None:
        self._was_full = False
        size = max(START if self._base is None else COHORT, self.limit)
        if not self._is_climbing and self._base is not None and self._ceiling == MOST:
            size *= CALM
        begins = self._tickets + 1
        # Those that begin last wait behind the others, if any do.
        added = max(1, min(size, self.limit - self.in_flight))
        self._first = _Cohort(begins + added // 2, max(1, added // 2))
        # Without a base any item counts; else those that begin when the limit has been reached.
        self._cohort = _Cohort(begins, size)

    def _decide(self, latency_s: float) -> None:
        rate = self.limit / latency_s
        self._least_s = min(self._least_s, latency_s)
        if self._base is None:
            self._base = (self.limit, rate)
            self._unslowed = (self._cohort.well, self._cohort.well * latency_s)
            self._go_on()
        elif self.limit == self._base[0]:
            self._watch(latency_s, rate, self._base[1])
        else:
            self._rates.append(rate)
            mean = sum(self._rates) / len(self._rates)
            (self._try_more if self.limit > self._base[0] else self._try_fewer)(mean, *self._base)

    def _try_more(self, rate: float, base: int, base_rate: float) -> None:
        added = self.limit / base - 1
        came = (rate / base_rate - 1) / added if base_rate > 0 else 1.0
        if came >= PAYS:
            self._base, self._may_be_fewer = (self.limit, rate), False
            self._unslowed = (self._cohort.ended, self._cohort.ended * self.limit / rate if rate > 0 else 0.0)
            self._go_on()
        elif len(self._rates) >= TRIES:
            self._factor, self._is_climbing = STEP, False
            self._given_up = (self.limit, rate, came)
            if came < 1 - PAYS and self._may_be_fewer:
                self._fewer(base // 2)
            else:
                # The capacity lies between.
                number = ceil(HEADROOM * base * (1 + came * added)) if came > 0 else base
                self._settle(min(self.limit, max(base, number)), max(rate, base_rate))

    def _try_fewer(self, rate: float, base: int, base_rate: float) -> None:
        if rate >= (ENOUGH if self.limit >= START else GAINS) * base_rate:
            self._base = (self.limit, rate)
            if self._may_be_fewer:
                self._fewer(self.limit // 2)
            else:
                self._settle(*self._base)
        elif len(self._rates) >= TRIES:
            # Fewer take as long, so the items take longer now.
            self._least_s = base / base_rate
            self._settle(min(base, ceil(HEADROOM * self.limit * base_rate / max(rate, 1e-9))), base_rate)

    def _fewer(self, number: int) -> None:
        self._rates = []
        if number < 1:
            assert self._base is not None
            self._settle(*self._base)
        else:
            self.limit = number

    def _go_on(self) -> None:
        """Try the next larger number."""
        assert self._base is not None
        if self._is_climbing and self.limit >= self.sure > 0:
            # More than a forecast recommends is tried with care.
            self._is_climbing, self._rest = False, 1
            self._settle(*self._base)
            return
        self._rates = []
        self._slow = self._rested = 0
        wanted = max(self.limit + 1, int(self._factor * self.limit))
        self._factor = min(2.0, 2 * self._factor - 1)
        self.limit = max(self._base[0], min(wanted, self.most, self._ceiling))

    def _settle(self, number: int, rate: float) -> None:
        self._rates = []
        self._slow = self._rested = 0
        self.limit = max(1, min(number, self.most))
        self._base = (self.limit, rate)

    def _watch(self, latency_s: float, rate: float, base_rate: float) -> None:
        """Check that the settled throughput still holds; start a new search if not."""
        if self._was_unfair(latency_s):
            return
        rises = rate > RISE * base_rate
        # After settling the throughput was a guess.
        rate = rate if rises or not self._rested else base_rate + WEIGHT * (rate - base_rate)
        self._base = (self.limit, rate)
        latency_s = self.limit / rate if rate > 0 else self._least_s
        self._rested += 1
        self._ceiling_rested += self._cohort.size
        self._slow = self._slow + 1 if latency_s > SLOWED * self._least_s else 0
        if self._slow >= TRIES and self.limit > 1:
            self._slow, self._rest = 0, REST
            self._may_be_fewer = False
            self._fewer(max(self.limit // 2, ceil(HEADROOM * self.limit * self._least_s / latency_s)))
        elif self.limit >= self._ceiling:
            if self._ceiling_rested >= self._ceiling_rest:
                # Each success makes the next one come sooner.
                self._ceiling_rested, self._ceiling_rest = 0, max(self.limit, self._ceiling_rest // 2)
                self._factor = STEP
                # Where items failed, none do any more.
                self._ceiling = MOST if self.limit >= self._failed_at else self._ceiling + max(1, self._ceiling // 6)
                self._go_on()
        elif rises or self._rested >= self._rest:
            self._rest = REST if rises else min(2 * self._rest, LONGEST_REST)
            self._go_on()

    def _was_unfair(self, latency_s: float) -> bool:
        """Return True, and go back to the larger number given up last, if items take longer now at a smaller one.

        Then they did so during that trial, too: items that cost more and more look like a queue.
        """
        if self._given_up is None:
            return False
        (number, rate, came), self._given_up = self._given_up, None
        if number < STEP * self.limit or number > min(self.most, self._ceiling):
            return False
        came_now = (rate * latency_s / self.limit - 1) / (number / self.limit - 1)
        if not (came + came_now) / 2 >= PAYS:
            return False
        self._factor, self._is_climbing = 2.0, True
        self._base, self.limit = (number, rate), number
        self._go_on()
        return True
