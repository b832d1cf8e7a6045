"""Builds the watchers of a run: resource limits, the memory guard, and the count of the out-of-memory killer."""

from __future__ import annotations

import os
from collections import deque
from functools import partial

from amorsize.backends.ticks import Later, OomCount
from amorsize.errors import ResourceLimitError
from amorsize.system.cgroups import Groups, oom_kills, own_groups, read_text
from amorsize.system.clock import process_cpu
from amorsize.system.critical import load
from amorsize.system.memory import cpu_seconds, resident_bytes, resident_bytes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Final

    from amorsize.backends.ticks import Ticker
    from amorsize.backends.workers.team import Team
    from amorsize.limits import Limits
    from amorsize.schedule.messages import Event
    from amorsize.schedule.schedule import Schedule

# Seconds over which the CPU use is averaged, so that a shorter burst does not count (a guess).
CPU_WINDOW_S: Final = 3.0


class Limiter:
    """A ticker that raises `ResourceLimitError` when a limit is exceeded.

    Parameters
    ----------
    limits : Limits
    began_s : float
        Start of the run, on the clock of the ticks.
    memory : callable
        Returns the available and the total bytes.
    cpu_s : callable
        Returns the CPU seconds that this process and each of the given ones have used so far.
    cores : float
        Usable cores.
    """

    def __init__(
        self,
        limits: Limits,
        began_s: float,
        *,
        memory: Callable[[], tuple[int, int]],
        cpu_s: Callable[[Sequence[int]], dict[int, float]],
        cores: float,
    ) -> None:
        self.limits = limits
        self.began_s = began_s
        self.memory = memory
        self.cpu_s = cpu_s
        self.cores = cores
        self._cpu_before: dict[int, float] = {}
        self._used_s = 0.0
        self._track: deque[tuple[float, float]] = deque()  # (time, CPU seconds used until then)

    def tick(self, now_s: float, pids: Sequence[int] = ()) -> Iterable[Event]:
        """Compare what is used with the limits; raise `ResourceLimitError` above one."""
        limits = self.limits
        self._compare("max_seconds", now_s - self.began_s, limits.max_seconds)
        if limits.max_memory_percent is not None:
            available, capacity = self.memory()
            if capacity > 0:
                used = 100.0 * (1.0 - available / capacity)
                self._compare("max_memory_percent", used, limits.max_memory_percent)
        if limits.max_cpu_percent is not None and (percent := self._cpu_percent(now_s, pids)) is not None:
            self._compare("max_cpu_percent", percent, limits.max_cpu_percent)
        return ()

    def _cpu_percent(self, now_s: float, pids: Sequence[int]) -> float | None:
        """Return the mean over the window; None until the window is full."""
        used = self.cpu_s(pids)
        # All CPU time of a new process counts. The CPU time between the last check and the end of a process does not.
        first = not self._track
        self._used_s += 0.0 if first else sum(s - self._cpu_before.get(pid, 0.0) for pid, s in used.items())
        self._cpu_before = used
        self._track.append((now_s, self._used_s))
        while len(self._track) > 2 and now_s - self._track[1][0] >= CPU_WINDOW_S:
            self._track.popleft()
        since_s, before_s = self._track[0]
        if now_s - since_s < CPU_WINDOW_S:
            return None
        return 100.0 * (self._used_s - before_s) / (now_s - since_s) / self.cores

    @staticmethod
    def _compare(name: str, value: float, limit: float | None) -> None:
        if limit is not None and value > limit:
            raise ResourceLimitError(name, value, limit)


def limiter(limits: Limits, began_s: float) -> Limiter:
    """Return the ticker that ends a run which exceeds these limits."""
    from amorsize.system.machine import machine

    cores = 1.0 if limits.max_cpu_percent is None else machine().usable_cores
    return Limiter(limits, began_s, memory=memory_reader(own_groups()), cpu_s=tree_cpu_seconds, cores=cores)


def memory_guard(team: Team, schedule: Schedule, warn: Callable[[str], object]) -> Ticker:
    """Return the ticker that guards the memory of a team. It is made only if the run takes long."""
    return Later(partial(_memory_guard, team, schedule, warn))


def _memory_guard(team: Team, schedule: Schedule, warn: Callable[[str], object]) -> Ticker:
    # An interrupt while this module is loaded beside workers could be lost in one of importlib's own callbacks.
    load("amorsize.backends.memory_guard")
    from amorsize.backends.memory_guard import Guard

    groups = own_groups()
    return Guard(
        team,
        schedule,
        memory=memory_reader(groups),
        resident=resident_bytes_of,
        kills=partial(oom_kills, read_text, groups),
        shared_bytes=resident_bytes() if team.start_method == "fork" else 0,
        note=warn,
    )


def oom_count() -> OomCount:
    """Return a counter of the kernel's out-of-memory kills from now on. Takes 0.1 ms."""
    return OomCount(partial(oom_kills, read_text, own_groups()))


def memory_reader(groups: Groups) -> Callable[[], tuple[int, int]]:
    """Return a function that reads the available and the total bytes of memory."""
    load("amorsize.system.machine")
    from amorsize.system.machine import SYSTEM, memory_now

    def read() -> tuple[int, int]:
        now = memory_now(read_text, SYSTEM, groups)
        return now.available.value, now.limit.value or now.total.value

    return read


def tree_cpu_seconds(pids: Sequence[int]) -> dict[int, float]:
    """Return the CPU seconds of this process and of those in ``pids``, by process id; unknown ones are left out."""
    used = {os.getpid(): process_cpu()}
    for pid in pids:
        seconds = cpu_seconds(pid)
        if seconds is not None:
            used[pid] = seconds
    return used
