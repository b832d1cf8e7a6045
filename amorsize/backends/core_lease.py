"""Core leases: concurrent calls of this process share one budget of cores (`amorsize.schedule.core_budget`).

Who waits for his turn sleeps: he holds no lock of the interpreter's. He who is first in line looks now and then
whether those who have workers use them.
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

LOOK_S: Final = 0.1  # between two looks at what others' workers do; a quota's period
LOOKS: Final = 3  # that must have seen an idle core, one after the other
IDLE_CORES: Final = 0.75  # unused by those who have workers: then one more is let in
BLIND_LOOKS: Final = 10  # the same where nobody can see what a process does
CHANGE_S: Final = 1.0  # of work left per worker, or nobody's number of workers is worth a change any more


class Lease:
    """Workers that a call may have; close it when they have gone.

    Parameters
    ----------
    wanted : int
        Workers that it would like to have.
    cores : float
        Cores that this process may use.
    stop : Stop, optional
        Who may end the waiting.

    Attributes
    ----------
    workers : int
        Workers that it may have now.
    cores : float
        What they may use together: all, if no other call has workers.
    is_nested : bool
        Whether another call in the same thread has workers, too: a stream whose results are the items of this one.
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
                _tell(_budget.let_in(self.ticket))  # to wait for what this very thread holds would be for ever
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
        """From now on these are the workers."""
        self.schedule, self.team = schedule, team
        team.on_left = self._left

    def _left(self) -> None:
        with _lock:
            self.workers = max(1, self.workers - 1)
            _tell(_budget.give_back(self.ticket))

    def tick(self, now_s: float, pids: Sequence[int]) -> Iterable[Event]:
        """See whether others wait, or have gone; see `amorsize.backends.ticks.Ticker`."""
        schedule = self.schedule
        if schedule is None:
            return ()
        if len(_leases) > 1:
            schedule.crew = None  # it would take what others do for its own workers' doing, and their cores for its own
        if not _takes_long(schedule):
            return ()
        with _lock:
            share = _budget.share(self.ticket)
            before, self.workers = self.workers, max(share, self.workers)
        if share == before:
            return ()
        return (Resize(share),)

    def close(self) -> None:
        """The workers have gone."""
        with _lock:
            if _leases.pop(self.ticket, None) is not None:
                self.workers = 0
                _tell(_budget.leave(self.ticket))


def _takes_long(schedule: Schedule) -> bool:
    """Whether so much is left to do that it is worth a worker's start."""
    left, lot = schedule.backlog.remaining, schedule.backlog.lots.get(0)
    return left is None or (lot is not None and left * lot.item_s > CHANGE_S * max(1, schedule.wanted))


class _Look:
    """What the workers of all calls have used of the cores so far."""

    def __init__(self, now_s: float) -> None:
        self.at_s = now_s
        with _lock:
            teams = [lease.team for lease in _leases.values() if lease.workers]
        crews = [[handle.pid for handle in list(team.handles.values())] if team is not None else [] for team in teams]
        self.is_complete = all(crews)  # else somebody is just about to start his workers, or to let the last go
        pids = sorted(pid for crew in crews for pid in crew)
        self.used_s = {pid: _wanted_cpu_s(pid) for pid in pids}
        self.is_blind = None in self.used_s.values()

    def sees_idle_core(self, before: _Look) -> bool:
        """Whether there was one since then: nobody has come or gone, and they have not used all cores."""
        if not self.is_complete or self.used_s.keys() != before.used_s.keys():
            return False
        elapsed = self.at_s - before.at_s
        used = 0.0
        for pid, now_s in self.used_s.items():
            then_s = before.used_s[pid]
            used += 0.0 if now_s is None or then_s is None else (now_s - then_s) / elapsed
        return used < _budget.cores - IDLE_CORES


def _wanted_cpu_s(pid: int) -> float | None:
    """CPU seconds that a process has had or has waited for; None: nobody knows."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as stream:
            ran, queued, _ = stream.read().split()
    except (OSError, ValueError):
        return None
    return (int(ran) + int(queued)) * 1e-9


def _serve(served: dict[int, int]) -> None:
    """Wake those who have been served."""
    for ticket, workers in served.items():
        _leases[ticket].workers = workers
        _leases[ticket]._called.set()


def _tell(served: dict[int, int]) -> None:
    """Wake those who have been served, and him who is first in line now."""
    _serve(served)
    if _budget.queue:
        _leases[next(iter(_budget.queue))]._called.set()


_lock = threading.Lock()
_budget = Budget()
_leases: dict[int, Lease] = {}
_tickets = itertools.count()


def _start_afresh() -> None:
    """In a forked child: what the caller's threads hold is not ours."""
    global _lock, _budget
    _lock = threading.Lock()
    _budget = Budget()
    _leases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
