"""Limit the rate at which items begin: a token bucket (as in ATM's generic cell rate algorithm, ITU-T I.371)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Seconds for which unused tokens are kept, so that short items can be sent in chunks.
# guess
BURST_S: Final = 0.05
# Tolerance for rounding when a token has just become complete.
ROUNDING: Final = 1e-9


class Pace:
    """Allow items to begin at a limited rate.

    In any ``t`` seconds at most ``rate * t + burst`` items may begin; ``burst`` is ``rate * BURST_S``, at least one.

    Parameters
    ----------
    rate : float
        Items per second.

    Examples
    --------
    >>> pace = Pace(2.0)
    >>> pace.allowed(0.0), pace.wait_s(0.0)
    (1, 0.0)
    >>> pace.spend(1, 0.0)
    >>> pace.allowed(0.25), pace.wait_s(0.25)
    (0, 0.25)
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.burst = max(1.0, rate * BURST_S)
        self._tokens = self.burst
        self._at_s: float | None = None

    def _fill(self, now_s: float) -> None:
        if self._at_s is not None:
            self._tokens = min(self.burst, self._tokens + max(0.0, now_s - self._at_s) * self.rate)
        self._at_s = now_s

    def allowed(self, now_s: float) -> int:
        """Return the number of items that may begin now."""
        self._fill(now_s)
        return int(self._tokens + ROUNDING)

    def spend(self, items: int, now_s: float) -> None:
        """Record that so many items begin."""
        self._fill(now_s)
        self._tokens -= items

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next item may begin."""
        self._fill(now_s)
        return max(0.0, (1.0 - self._tokens) / self.rate)
