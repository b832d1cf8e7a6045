"""A thread that watches the task which joblib's caller runs: if it takes long, the others do not wait for it."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING, Final

from amorsize.facts import WAITS
from amorsize.measure.gil import Canary, held_share
from amorsize.model.decide import LOCK_FREE
from amorsize.model.evidence import WATCH_LONGEST_S
from amorsize.model.head import ONE_WAIT_S
from amorsize.system.clock import ready_s
from amorsize.system.critical import held_signals

if TYPE_CHECKING:
    from amorsize.integrations.joblib_loop import LoopFirst

# guess: the longest interval between two looks at the task that runs in the caller
LOOK_S: Final = 50e-3
# guess: five ticks of the kernel's clock (4 ms), at which it accounts for what a thread has run
ACCOUNTED_S: Final = 20e-3


class Watch:
    """Has a call go parallel while a task runs in the caller for longer than it takes to start workers.

    That task goes on in the caller meanwhile. So a long first task costs no more than a start.

    Parameters
    ----------
    call : LoopFirst
        The call of this thread.

    Attributes
    ----------
    canary : Canary or None
        The one beside the task that runs.
    """

    def __init__(self, call: LoopFirst) -> None:
        self._call = call
        self.canary: Canary | None = None
        # When the task began that runs in the caller, and what the caller's thread had run by then.
        self._since_s: float | None = None
        self._ready_s: float | None = None
        self._caller = threading.get_native_id()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._thread = threading.Thread(target=self._watch, daemon=True, name="amorsize-joblib-watch")
        with held_signals():
            self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, as it does when the call's loop is over."""
        if self._thread is not None:
            self._thread.join()

    def begins(self) -> None:
        """Note that a task begins."""
        self._ready_s = ready_s(self._caller) if self.canary is not None else None
        self._since_s = perf_counter()

    def ends(self) -> None:
        """Note that it has ended."""
        self._since_s = None

    def _watch(self) -> None:
        call = self._call
        wait_s = WATCH_LONGEST_S if call.may_use_threads else ONE_WAIT_S
        while not call.is_over.wait(wait_s) and not call.is_committed:
            since_s, canary = self._since_s, self.canary
            ran_s = 0.0 if since_s is None else perf_counter() - since_s
            if ran_s < WATCH_LONGEST_S or not call.has_more():
                wait_s = min(2 * wait_s, LOOK_S)
                continue
            if canary is not None and (held_share(canary.rounds, ran_s) < LOCK_FREE or self._waits(ran_s)):
                call.open_workers("threads")
            elif canary is not None and ran_s < ACCOUNTED_S:
                # It is not known yet if the task waits.
                wait_s = ACCOUNTED_S - ran_s
                continue
            elif call.workers is None:
                wait_s = min(call.left_to_wait_s(), LOOK_S)
                if wait_s > 0.0:
                    continue
                call.open_workers("processes")
            if call.take_to_workers(ran_s):
                return
            wait_s = ONE_WAIT_S

    def _waits(self, ran_s: float) -> bool:
        """Return True if the task that runs has waited for most of its time, so that the lock was free.

        On a busy machine the canary gets too few turns to tell.
        """
        before_s, now_s = self._ready_s, ready_s(self._caller) if ran_s >= ACCOUNTED_S else None
        return before_s is not None and now_s is not None and now_s - before_s < (1 - WAITS) * ran_s
