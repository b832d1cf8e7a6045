"""Core leases: concurrent calls of this process share one budget of cores (`amorsize.schedule.core_budget`).

A call that waits for its turn sleeps and does not hold the GIL. The call that is first in the queue checks now and then
if the workers of the other calls use their cores.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Sequence
from math import ceil
from time import perf_counter
from typing import Final

from amorsize.backends.stop import Stop
from amorsize.backends.workers.team import Team
from amorsize.schedule.core_budget import Budget
from amorsize.schedule.messages import Event, Resize
from amorsize.schedule.schedule import Schedule

# Seconds between two looks at the workers of other calls: the period of a CPU quota.
LOOK_S: Final = 0.1
# guess: so many looks in succession must find an idle core
LOOKS: Final = 3
# guess: cores that the other calls leave unused before one more call is admitted
IDLE_CORES: Final = 0.75
# guess: looks before a call is admitted where the CPU time of a process cannot be read
BLIND_LOOKS: Final = 10
# guess: seconds of work left per worker, below which the number of workers stays as it is
CHANGE_S: Final = 1.0


class Lease:
    """The number of workers that a call may have. Close it when its workers have ended.

    Parameters
    ----------
    wanted : int
        Number of workers that the call asks for.
    cores : float
        Cores that this process may use.
    stop : Stop, optional
        Can end the wait.

    Attributes
    ----------
    workers : int
        Number of workers that the call may have now.
    cores : float
        Cores that its workers may use together: all cores if there is no other call.
    is_nested : bool
        True if another call of the same thread has workers too: a stream whose results are the items of this call.
    """

    def __init__(self, wanted: int, cores: float, stop: Stop | None = None) -> None:
        self.thread = threading.get_ident()
        self.ticket = next(_tickets)
        self.workers = 0
        self.team: Team | None = None
        self.schedule: Schedule | None = None
        self._called = threading.Event()
        with _lock:
            self.is_nested = any(lease.thread == self.thread and lease.workers for lease in _leases.values())
            _leases[self.ticket] = self
            _serve(_budget.ask(self.ticket, wanted, max(1, ceil(cores))))
            if self.is_nested and not self.workers:
                # This thread holds the workers it would wait for: the wait would never end.
                _tell(_budget.let_in(self.ticket))
        if not self.workers:
            self._wait(stop)
        self.cores = cores if len(_leases) == 1 else min(cores, float(self.workers))

    def _wait(self, stop: Stop | None) -> None:
        if stop is not None:
            stop.wake(self._called.set)
        idle = 0
        look = _Look(perf_counter())
        try:
            while True:
                with _lock:
                    if self.workers:
                        return
                    first = next(iter(_budget.queue)) == self.ticket
                    if first and idle >= (BLIND_LOOKS if look.is_blind else LOOKS):
                        _tell(_budget.let_in(self.ticket))
                        return
                    self._called.clear()
                if stop is not None:
                    stop.check()
                if self._called.wait(LOOK_S if first else None) or not first:
                    idle, look = 0, _Look(perf_counter())
                    continue
                before, look = look, _Look(perf_counter())
                idle = idle + 1 if look.sees_idle_core(before) else 0
        except BaseException:
            self.close()
            raise

    def serve(self, schedule: Schedule, team: Team) -> None:
        """Set the schedule and the team that use this lease."""
        self.schedule, self.team = schedule, team
        team.on_left = self._left

    def _left(self) -> None:
        with _lock:
            self.workers = max(1, self.workers - 1)
            _tell(_budget.give_back(self.ticket))

    def tick(self, now_s: float, pids: Sequence[int]) -> Iterable[Event]:
        """Return a Resize if the share of this call has changed; see `amorsize.backends.ticks.Ticker`."""
        schedule = self.schedule
        if schedule is None:
            return ()
        if len(_leases) > 1:
            # The search for a better number of workers would count the load and the cores of other calls as its own.
            schedule.crew = None
        if not _takes_long(schedule):
            return ()
        with _lock:
            share = _budget.share(self.ticket)
            before, self.workers = self.workers, max(share, self.workers)
        if share == before:
            return ()
        return (Resize(share),)

    def close(self) -> None:
        """Give all workers of this call back to the budget."""
        with _lock:
            if _leases.pop(self.ticket, None) is not None:
                self.workers = 0
                _tell(_budget.leave(self.ticket))


def _takes_long(schedule: Schedule) -> bool:
    """Return True if enough work is left to be worth the start of a worker."""
    left, lot = schedule.backlog.remaining, schedule.backlog.lots.get(0)
    return left is None or (lot is not None and left * lot.item_s > CHANGE_S * max(1, schedule.wanted))


class _Look:
    """CPU seconds that the workers of all calls have used so far."""

    def __init__(self, now_s: float) -> None:
        self.at_s = now_s
        with _lock:
            teams = [lease.team for lease in _leases.values() if lease.workers]
        crews = [[handle.pid for handle in list(team.handles.values())] if team is not None else [] for team in teams]
        # False: a call is about to start its workers, or to end its last one.
        self.is_complete = all(crews)
        pids = sorted(pid for crew in crews for pid in crew)
        self.used_s = {pid: _wanted_cpu_s(pid) for pid in pids}
        self.is_blind = None in self.used_s.values()

    def sees_idle_core(self, before: _Look) -> bool:
        """Return True if a core was idle since ``before``: the workers are the same and did not use all cores."""
        if not self.is_complete or self.used_s.keys() != before.used_s.keys():
            return False
        elapsed = self.at_s - before.at_s
        used = 0.0
        for pid, now_s in self.used_s.items():
            then_s = before.used_s[pid]
            used += 0.0 if now_s is None or then_s is None else (now_s - then_s) / elapsed
        return used < _budget.cores - IDLE_CORES


def _wanted_cpu_s(pid: int) -> float | None:
    """Return the CPU seconds that a process has used or has waited for; None: unknown."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as stream:
            ran, queued, _ = stream.read().split()
    except (OSError, ValueError):
        return None
    return (int(ran) + int(queued)) * 1e-9


def _serve(served: dict[int, int]) -> None:
    """Set the number of workers of the leases that were served, and wake their calls."""
    for ticket, workers in served.items():
        _leases[ticket].workers = workers
        _leases[ticket]._called.set()


def _tell(served: dict[int, int]) -> None:
    """Wake the calls that were served, and the call that is now first in the queue."""
    _serve(served)
    if _budget.queue:
        _leases[next(iter(_budget.queue))]._called.set()


_lock = threading.Lock()
_budget = Budget()
_leases: dict[int, Lease] = {}
_tickets = itertools.count()


def _start_afresh() -> None:
    """Reset the budget in a forked child: the leases belong to the parent's threads."""
    global _lock, _budget
    _lock = threading.Lock()
    _budget = Budget()
    _leases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
