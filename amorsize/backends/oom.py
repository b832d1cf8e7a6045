"""Whether the kernel's out-of-memory killer was at work, told by its own count."""

from __future__ import annotations

from collections.abc import Callable


class OomCount:
    """Compares the kernel's count of its kills before and after a death.

    Parameters
    ----------
    read : callable
        Gives the count; None when nobody can tell.
    """

    def __init__(self, read: Callable[[], int | None]) -> None:
        self.read = read
        self._accounted = read()

    def struck(self) -> bool:
        """Whether there was a kill that no death has been put down to yet; it is now."""
        now = self.read()
        if now is None or self._accounted is None or now <= self._accounted:
            return False
        self._accounted += 1
        return True
