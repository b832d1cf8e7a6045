"""Stops a run that uses more than it may."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from amorsize.errors import ResourceLimitError
from amorsize.limits import Limits
from amorsize.schedule.messages import Event

CPU_WINDOW_S: Final = 3.0  # as long must the limit be exceeded on average: shorter bursts are what cores are for


class Limiter:
    """A ticker that raises `ResourceLimitError` when a limit is exceeded.

    Parameters
    ----------
    limits : Limits
    began_s : float
        When the run began, on the clock of the ticks.
    memory : callable
        Gives the bytes that may still be used, and those that might be in all.
    cpu_s : callable
        Gives the CPU seconds that each of these processes has used so far, this one among them.
    cores : float
        How many may be used.
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
        self._track: deque[tuple[float, float]] = deque()  # CPU seconds used until then, over the last few seconds

    def tick(self, now_s: float, pids: Sequence[int] = ()) -> Iterable[Event]:
        """Look; raises when it is too much."""
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
        """Mean over the window; None until it is full."""
        used = self.cpu_s(pids)
        # Of who came in between, all that he has used; what the dead used after the last look is lost.
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
