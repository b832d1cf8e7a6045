"""Core leases: concurrent calls of this process share one budget of cores (`amorsize.schedule.core_budget`).

A call that waits for its turn sleeps and does not hold the GIL. The call that is first in the queue checks now and then
if the workers of the other calls use their cores.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from queue import Empty, SimpleQueue
from time import perf_counter
from types import TracebackType

from amorsize.backends.stop import Stop
from amorsize.backends.workers.team import Team
from amorsize.schedule.core_budget import Budget
from amorsize.schedule.messages import Event, Resize
from amorsize.schedule.schedule import Schedule
from amorsize.system.clock import ready_s
from amorsize.system.critical import at_most, held_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Seconds between two checks of the workers of other calls. This is the period of a CPU quota.
LOOK_S: Final = 0.1
# Number of successive checks that must find an idle core before one more call is admitted (a guess).
LOOKS: Final = 3
# Number of cores that the other calls must leave unused before one more call is admitted (a guess).
IDLE_CORES: Final = 0.75
# Number of checks before a call is admitted if the CPU time of a worker is unknown (a guess).
BLIND_LOOKS: Final = 10
# Seconds after which the first call in the queue gets one worker even if all cores are used, because the other calls
# may never end (a guess).
UNFAIR_S: Final = 10.0
# If fewer seconds of work than this are left per worker, the number of workers is not changed any more (a guess).
CHANGE_S: Final = 1.0


class Lease:
    """The number of workers that a call may have, from entering ``with Lease(...)`` until its workers have ended.

    Parameters
    ----------
    wanted : int
        Number of workers that the call asks for.
    cores : float
        Cores that this process may use.
    stop : Stop, optional
        Ends the wait from another thread.

    Attributes
    ----------
    cores : float
        Cores that its workers may use together: all cores if there is no other call.
    is_nested : bool
        True if another call of the same thread has workers too: a stream whose results are the items of this call.
    """

    def __init__(self, wanted: int, cores: float, stop: Stop | None = None) -> None:
        self.thread = threading.get_ident()
        self.ticket = next(_tickets)
        self.wanted = wanted
        self.cores = cores
        self.stop = stop
        self.is_nested = False
        self.team: Team | None = None
        self.schedule: Schedule | None = None
        # Not an Event: a finalizer may wake this call while its own thread is about to wait, and only a SimpleQueue
        # can be entered twice.
        self._called: SimpleQueue[None] = SimpleQueue()

    @property
    def workers(self) -> int:
        """Number of workers that the call may have now."""
        return _budget.held.get(self.ticket, 0)

    def __enter__(self) -> Lease:
        # An interrupt may come at any line, also at the last one. A lease that is not closed would block all later
        # calls.
        try:
            with _locked():
                self.is_nested = any(lease.thread == self.thread and lease.workers for lease in _leases.values())
                _leases[self.ticket] = self
                _wake(_budget.ask(self.ticket, self.wanted, max(1, ceil(self.cores))))
                if self.is_nested and not self.workers:
                    # This thread itself holds the workers that the call would wait for, so the wait would never end.
                    _wake(_budget.let_in(self.ticket))
            if not self.workers:
                self._wait()
            if len(_leases) > 1:
                self.cores = min(self.cores, float(self.workers))
            return self
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self) -> None:
        if self.stop is not None:
            self.stop.wake(partial(self._called.put, None))
        idle, look = 0, _Look(perf_counter())
        first_since_s: float | None = None
        while True:
            if self.stop is not None:
                self.stop.check()
            with _locked():
                if self.workers:
                    return
                while not self._called.empty():
                    self._called.get_nowait()
                first = next(iter(_budget.queue)) == self.ticket
                if not first:
                    first_since_s = None
                elif first_since_s is None:
                    first_since_s = look.at_s
                waited = first_since_s is not None and look.at_s - first_since_s > UNFAIR_S
                if first and (waited or idle >= (BLIND_LOOKS if look.is_blind else LOOKS)):
                    _wake(_budget.let_in(self.ticket))
                    return
            try:
                self._called.get(timeout=at_most(LOOK_S if first else None))
                idle, look = 0, _Look(perf_counter())
            except Empty:
                if first:
                    before, look = look, _Look(perf_counter())
                    idle = idle + 1 if look.sees_idle_core(before) else 0

    def serve(self, schedule: Schedule, team: Team) -> None:
        """Set the schedule and the team that use this lease."""
        self.schedule, self.team = schedule, team
        team.on_left = self._left

    def _left(self) -> None:
        with _locked():
            _wake(_budget.give_back(self.ticket))

    def tick(self, now_s: float, pids: Sequence[int]) -> Iterable[Event]:
        """Return a Resize if the share of this call has changed; see `amorsize.backends.ticks.Ticker`."""
        schedule = self.schedule
        if schedule is None:
            return ()
        if len(_leases) > 1:
            # The search for a better number of workers would take the load and the cores of other calls for those of
            # this call.
            schedule.worker_count = None
        if not _takes_long(schedule):
            return ()
        with _locked():
            before = self.workers
            share = _budget.share(self.ticket)
        return () if share == before else (Resize(share),)

    def close(self) -> None:
        """Give all workers of this call back to the budget.

        May be called from a finalizer, and more than once.
        """
        if self.ticket not in _leases:
            return
        _ended.append(self.ticket)
        # A finalizer may run while this same thread holds the lock. Then the lease is removed when the thread unlocks.
        if not _lock._is_owned():  # type: ignore[attr-defined]
            with _locked():
                pass


@contextmanager
def _locked() -> Iterator[None]:
    """Lock the budget and hold signals. Leases that have ended are removed at the begin and at the end."""
    with held_signals(), _lock:
        _bury()
        yield
        _bury()


def _bury() -> None:
    while _ended:
        ticket = _ended.popleft()
        if _leases.pop(ticket, None) is not None:
            _wake(_budget.leave(ticket))


def _wake(served: dict[int, int]) -> None:
    """Wake the calls that were given workers, and the one that is first in the queue now."""
    for ticket in [*served, *itertools.islice(_budget.queue, 1)]:
        _leases[ticket]._called.put(None)


def _takes_long(schedule: Schedule) -> bool:
    """Return True if enough work is left to be worth the start of a worker."""
    left, lot = schedule.backlog.remaining, schedule.backlog.lots.get(0)
    return left is None or (lot is not None and left * lot.item_s > CHANGE_S * max(1, schedule.wanted))


class _Look:
    """CPU seconds that the workers of all calls have used so far."""

    def __init__(self, now_s: float) -> None:
        self.at_s = now_s
        with _locked():
            teams = [lease.team for lease in _leases.values() if lease.workers]
        pids = [handle.pid for team in teams if team is not None for handle in list(team.handles.values())]
        self.used_s = {pid: ready_s(pid) for pid in sorted(pids)}
        # A team without workers is about to start one, or its workers have ended and the results of its call are never
        # taken. In both cases the CPU seconds do not show if a core is idle.
        has_all_teams = all(team is not None and (team.handles or team.leaving) for team in teams)
        self.is_blind = None in self.used_s.values() or not has_all_teams

    def sees_idle_core(self, before: _Look) -> bool:
        """Return True if a core was idle since ``before``: the workers are the same and did not use all cores."""
        if self.used_s.keys() != before.used_s.keys():
            return False
        elapsed = self.at_s - before.at_s
        used = 0.0
        for pid, now_s in self.used_s.items():
            then_s = before.used_s[pid]
            used += 0.0 if now_s is None or then_s is None else (now_s - then_s) / elapsed
        return used < _budget.cores - IDLE_CORES


_lock = threading.RLock()
_budget = Budget()
_leases: dict[int, Lease] = {}
# Tickets of leases that have ended and are to be removed.
_ended: deque[int] = deque()
_tickets = itertools.count()


def _start_afresh() -> None:
    """Reset the budget in a forked child: the leases belong to the parent's threads."""
    global _lock, _budget
    _lock = threading.RLock()
    _budget = Budget()
    _leases.clear()
    _ended.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
