"""So many items a second, and no more: a token bucket (as in ATM's generic cell rate algorithm, ITU-T I.371)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


BURST_S: Final = 0.05  # tokens of so many seconds may be saved up, so that short items can go out in chunks


class Pace:
    """Hands out the right to begin items.

    In any ``t`` seconds at most ``rate * t + burst`` items may begin, ``burst`` being what `BURST_S` brings, at
    least one.

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
        """Items that may begin now."""
        self._fill(now_s)
        return int(self._tokens + 1e-9)

    def spend(self, items: int, now_s: float) -> None:
        """So many items begin."""
        self._fill(now_s)
        self._tokens -= items

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next item may begin."""
        self._fill(now_s)
        return max(0.0, (1.0 - self._tokens) / self.rate)
