"""The canary: a thread that measures how much of the time the user's function holds the interpreter's lock.

It sleeps 0.2 ms at a time beside the running items. While the lock is free it wakes about 4,000 times a second; while
it is held, it waits up to a switch interval (5 ms) each time. The share of the time in which it could run: pure Python
0.04, sorting 0.03, ``json.loads`` 0.02, many tiny numpy calls 0.04 | sums over 4 MB 0.3-0.5, matmul 0.7, zlib 0.8,
sha256 of 500 kB 0.9, ``time.sleep`` 0.9.
"""

from __future__ import annotations

import threading
import time
from _weakref import ref

from amorsize.system.clock import late_s
from amorsize.system.critical import held_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final, Self

# guess
NAP_S: Final = 0.2e-3
# Duration of a nap of 0.2 ms on an idle Linux machine (timer slack 50 µs).
CYCLE_S: Final = 0.27e-3


class Canary:
    """Context manager that measures how long the lock is held while its block runs.

    Entering and leaving it takes 0.15 ms.

    Attributes
    ----------
    rounds : int
        Number of times that the canary's thread has woken up so far.
    gil_held : float
        After the block: share of the time in which the lock was held, 0 to 1.
    late_s : float
        After the block: seconds for which the caller's thread and the canary's thread were ready to run and had to wait
        for a core. While the canary's thread waits, it is the next to get the lock, so the items wait as well.
    is_blind : bool
        True if the system does not let this process have one more thread.

    Examples
    --------
    >>> with Canary() as canary:
    ...     _ = sum(range(500_000))
    >>> canary.gil_held > 0.5
    True
    """

    gil_held: float = 1.0
    is_blind = False
    late_s = 0.0

    def __init__(self) -> None:
        self.rounds = 0
        self._home = threading.Lock()
        self._began = self._late_before_s = 0.0
        # The thread holds only a weak reference to the canary. If an interrupt loses the canary, the thread ends as
        # soon as the canary is collected.
        self._thread = threading.Thread(
            target=_watch, args=(ref(self), self._home), daemon=True, name="amorsize-canary"
        )

    def __enter__(self) -> Self:
        self._home.acquire()
        try:
            self._late_before_s = late_s()
            with held_signals():
                try:
                    self._thread.start()
                except RuntimeError:
                    # No thread can be started here. The result is the same as if the lock were held all the time.
                    self._home.release()
                    self.is_blind = True
            self._began = time.perf_counter()
            return self
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the watch. Nothing happens the second time."""
        if not self._home.locked():
            return
        rounds, elapsed = self.rounds, time.perf_counter() - self._began
        # This ends the nap of the canary's thread.
        self._home.release()
        if self._thread.ident is not None:
            self._thread.join()
        self.late_s += late_s() - self._late_before_s
        self.gil_held = held_share(rounds, elapsed)


def _watch(canary: ref[Canary], home: threading.Lock) -> None:
    while not home.acquire(timeout=NAP_S):
        owner = canary()
        if owner is None:
            return
        owner.rounds += 1
        del owner
    home.release()
    if (owner := canary()) is not None:
        owner.late_s = late_s()


def held_share(rounds: int, elapsed_s: float) -> float:
    """Return the share of the time in which the lock was held, from a canary's rounds.

    Examples
    --------
    >>> held_share(2, 0.0108), held_share(40, 0.0108)
    (0.95, 0.0)
    """
    if elapsed_s <= 0:
        return 1.0
    return min(1.0, max(0.0, 1.0 - rounds * CYCLE_S / elapsed_s))
