"""Who looks after a run, made from what can be measured here: the guard, the limits, and those that listen."""

from __future__ import annotations

import os
import time
from functools import partial

from amorsize.backends.oom import OomCount
from amorsize.backends.ticks import Later
from amorsize.system.cgroups import Groups, oom_kills, own_groups, read_text
from amorsize.system.memory import cpu_seconds, resident_bytes, resident_bytes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from amorsize.backends.limiter import Limiter
    from amorsize.backends.notify import News
    from amorsize.backends.ticks import Ticker
    from amorsize.backends.workers.team import Team
    from amorsize.limits import Limits
    from amorsize.options import Request
    from amorsize.schedule.schedule import Schedule


def news_for(request: Request) -> News:
    """Who tells those that listen."""
    from amorsize.backends.notify import News

    theirs = [] if request.on_event is None else [request.on_event]
    if not request.progress:
        return News(theirs)
    from amorsize.run.progress import Bar

    bar = Bar()
    return News([bar, *theirs], bar.close)


def limiter_for(limits: Limits, began_s: float) -> Limiter:
    """What stops a run that exceeds these."""
    from amorsize.backends.limiter import Limiter
    from amorsize.system.machine import machine

    cores = 1.0 if limits.max_cpu_percent is None else machine().usable_cores
    return Limiter(limits, began_s, memory=memory_reader(own_groups()), cpu_s=tree_cpu_seconds, cores=cores)


def guard_for(team: Team, schedule: Schedule, note: Callable[[str], object]) -> Ticker:
    """What looks after the memory of a team; it is made only when the run has gone on for a while."""
    return Later(partial(_guard_for, team, schedule, note))


def _guard_for(team: Team, schedule: Schedule, note: Callable[[str], object]) -> Ticker:
    from amorsize.backends.watchers import Guard

    groups = own_groups()
    return Guard(
        team,
        schedule,
        memory=memory_reader(groups),
        resident=resident_bytes_of,
        kills=partial(oom_kills, read_text, groups),
        shared_bytes=resident_bytes() if team.start_method == "fork" else 0,
        note=note,
    )


def oom_count() -> OomCount:
    """The kernel's count of its kills, from now on; 0.1 ms."""
    return OomCount(partial(oom_kills, read_text, own_groups()))


def memory_reader(groups: Groups) -> Callable[[], tuple[int, int]]:
    """Reads the bytes that may still be used, and those that might be in all."""
    from amorsize.system.machine import SYSTEM, memory_now

    def read() -> tuple[int, int]:
        now = memory_now(read_text, SYSTEM, groups)
        return now.available.value, now.limit.value or now.total.value

    return read


def tree_cpu_seconds(pids: Sequence[int]) -> dict[int, float]:
    """CPU seconds of this process and of these."""
    used = {os.getpid(): time.process_time()}
    for pid in pids:
        seconds = cpu_seconds(pid)
        if seconds is not None:
            used[pid] = seconds
    return used
