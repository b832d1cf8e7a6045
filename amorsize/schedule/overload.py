"""Tell failures that come from too many items in flight from those that would have come anyway.

Two sequential tests on the items in the order in which they end:

- *Alarm*: a cumulative sum (Page, "Continuous inspection schemes", 1954) of failures beyond the share that is known to
  fail whatever the load. At first no failure is expected, so the first one raises the alarm.
- *Verdict*: after an alarm fewer items are in flight. If load was the cause, a smaller share must fail now. A Bayes
  factor compares "more failed at the alarm, and now no more than ever with so few" with "as many as ever" and with "as
  many now", item by item, until one is likely enough (Wald, "Sequential tests of statistical hypotheses", 1945). An
  acquittal raises the share that is expected, so the same failures raise no further alarm.

A server that bears L items and fails the others fails a share of 1 - L/n of n items. So the share that failed says how
few must be in flight for the test.
"""

from __future__ import annotations

from math import lgamma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Failures beyond the expected ones that raise the alarm: the first one, as long as none is expected. Later a failure
# must not come alone: with 5 % at random, 2.5 gives a false alarm in about 1,000 items (simulated).
FIRST_ALARM: Final = 0.5
LATER_ALARM: Final = 2.5
# Failures to come, over the number expected of the items in flight, that raise no alarm.
# guess
PENDING: Final = 1.5
# Share of failures that raises no alarm.
# guess
TOLERATED: Final = 0.02
# Logarithm of the Bayes factor from which load is the cause, and up to which it is not: 95 and 18 %.
LOAD: Final = 3.0
NO_LOAD: Final = -1.5
# Pseudo-counts of failures and of successes: any share, and the few that fail with fewer in flight.
# guess
ANY: Final = (0.5, 1.0)
FEW: Final = (0.2, 4.8)
# Fewest items after which there is no verdict for lack of evidence.
# guess
LACKING: Final = 128
# Fewest items in flight during the test, as a share of those at the alarm; few would cost too much time.
LEAST_SHARE: Final = 0.125
# After so many items the older ones count half.
# guess
MEMORY: Final = 2000


class Failures:
    """The share of items that fail whatever the load, and the alarm if more fail."""

    def __init__(self) -> None:
        # Items ended and failed, by the binary digits of the number in flight when they began.
        self._by_digits: dict[int, list[int]] = {}
        self.acquitted = False
        self._sum = 0.0

    def below(self, number: int) -> tuple[int, int]:
        """Return the items that ended, and those that failed, of those that began with about half as many in flight."""
        found = [counts for digits, counts in self._by_digits.items() if digits < number.bit_length()]
        return sum(ended for ended, _ in found), sum(failed for _, failed in found)

    @property
    def share(self) -> float:
        """Share of items that are expected to fail."""
        if not self.acquitted:
            return 0.0
        ended, failed = self.below(1 << 62)
        return failed / ended if ended else 0.0

    def saw(self, number: int, failed: bool, in_flight: int) -> bool:
        """Record an item that began with ``number`` in flight and has ended. True: more have failed than expected."""
        self.count(number, 1, int(failed))
        if not failed and not self._sum:
            return False
        share = self.share
        allowed = min(2 * share + TOLERATED, (1 + share) / 2)
        self._sum = max(0.0, self._sum + failed - allowed)
        # Items that fail may end before those that succeed.
        return self._sum > (LATER_ALARM + PENDING * share * in_flight if self.acquitted else FIRST_ALARM)

    def count(self, number: int, ended: int, failed: int) -> None:
        """Add items to those by which the share is known."""
        counts = self._by_digits.setdefault(number.bit_length(), [0, 0])
        counts[0] += ended
        counts[1] += failed
        if counts[0] > MEMORY:
            counts[:] = counts[0] // 2, counts[1] // 2

    def quiet(self) -> None:
        """End the alarm."""
        self._sum = 0.0


class Case:
    """An alarm on which no verdict has been given.

    Parameters
    ----------
    number : int
        Items in flight allowed at the alarm.
    last : int
        Ticket of the last item that began before the alarm.
    awaited : int
        Items that began before the alarm and have not ended.
    lowest : int
        Smallest number in flight at which an item began that failed.
    known : tuple of int
        Items that have ended of those that began with fewer in flight, and those of them that failed.
    """

    def __init__(self, number: int, last: int, awaited: int, lowest: int, known: tuple[int, int] = (0, 0)) -> None:
        self.number = number
        self.last = last
        self.awaited = awaited
        self.lowest = lowest
        self.known = known
        self.ended = self.failed = 0
        # The items of the test have later tickets than this one; None: there is no test yet.
        self.since: int | None = None
        self.later_ended = self.later_failed = 0
        # True if the evidence is enough.
        self.is_certain = False

    def saw(self, ticket: int, in_flight: int, failed: bool) -> None:
        """Record an item that has ended; ``in_flight``: items in flight when it began."""
        if ticket <= self.last:
            self.awaited -= 1
            self.ended += 1
            self.failed += failed
            if failed:
                self.lowest = min(self.lowest, in_flight)
        elif ticket > (self.last if self.since is None else self.since):
            self.later_ended += 1
            self.later_failed += failed

    @property
    def heard(self) -> bool:
        """True if the items that began before the alarm have ended; a tenth of them may hang."""
        return self.awaited <= self.ended // 9

    def for_test(self) -> int:
        """Return the number in flight at which fewer items must fail, if load was the cause."""
        bears = self.number * (1 - self.failed / max(1, self.ended))
        return max(1, min(self.number // 2, max(int(0.75 * bears), int(LEAST_SHARE * self.number))))

    def verdict(self) -> bool | None:
        """Return True if load was the cause, False if not, None if it is too early; by the balance if that lasts."""
        now = self.failed, self.ended - self.failed
        later = self.later_failed, self.later_ended - self.later_failed
        both = now[0] + later[0], now[1] + later[1]
        known = self.known[1], self.known[0] - self.known[1]
        by_load = _log_odds(now, ANY) + _log_odds(later, (known[0] + FEW[0], known[1] + FEW[1]))
        as_ever = _log_odds(both, (known[0] + ANY[0], known[1] + ANY[1]))
        evidence = by_load - max(as_ever, _log_odds(both, ANY))
        if self.failed * (known[0] + known[1]) <= known[0] * self.ended and known[0]:
            # As many failed with fewer in flight.
            evidence = NO_LOAD
        self.is_certain = not NO_LOAD < evidence < LOAD
        return evidence > 0 if self.is_certain or self.later_ended >= max(LACKING, self.number) else None


def _log_odds(ends: tuple[int, int], prior: tuple[float, float]) -> float:
    """Return the logarithm of the probability of so many failures and successes, if their share is beta distributed."""
    return _log_beta(ends[0] + prior[0], ends[1] + prior[1]) - _log_beta(*prior)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
