"""Correct the number of workers from the measured times of their spans: more, fewer, or none at all.

The forecast that chose the number may be wrong. A server may serve eight callers and queue the others. Items may wait
where the sample computed. The transfer of items and results may cost more than the work. The throughput shows this. A
period lasts until there is enough data to judge. Then, with ``w`` workers:

- the backend is *unprofitable* if on average fewer than one worker was busy (the caller alone would do as much), or if
  alike items come no faster than in the plain loop;
- *fewer* workers suffice if an item takes much longer than alone. By Little's law its server works at
  ``w * alone / now`` items at a time (the gradient of TCP Vegas and of Netflix's concurrency-limits). Items that wait
  queue at a service; items that compute queue for what cores share: memory's bandwidth, caches, the units of one core;
- *more* workers help if the items leave cores idle.

A change is kept only if the throughput of the next period confirms it.
"""

from __future__ import annotations

from math import ceil

from amorsize.facts import WAITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Shortest period. The time slice of an OS scheduler is 1-4 ms, the period of a quota 100 ms; a shorter one misses both.
PERIOD_S: Final = 0.1
# Below this share of the loop's speed the workers are unprofitable. It takes two periods in a row, because another
# process may have used the cores for a moment.
# guess
LOSING: Final = 0.95
# An item that takes more than this many times its time alone is slowed down.
# guess
SATURATED: Final = 1.6
# Below this share of cores in use, more workers could use the other cores.
# guess
IDLE: Final = 0.7
# Below this multiple of the earlier throughput, the additional workers are removed again.
# guess
KEEP_MORE: Final = 1.1
# Below this share of the earlier throughput, the removed workers are added again.
# guess
KEEP_FEWER: Final = 0.9
# The same for items that compute: a second hyper-thread adds 0.1-0.3 of a core, which is not to be given up.
# guess
KEEP_FEWER_COMPUTING: Final = 0.95
# Most changes of the number of workers in one run.
# guess
MAX_CHANGES: Final = 6


class WorkerCount:
    """Judge the number of workers period by period; see the module.

    Parameters
    ----------
    cores : float
        Cores that may be used.
    most : int
        Largest allowed number of workers.
    alone_s : float
        Seconds that an item took in the plain loop; 0 if unknown, or if items differ too much to compare.
    may_lose : bool
        True if the caller can go on without workers.
    read_s : float
        Seconds to read one item from an iterator. The caller alone needs that time, too, so workers that wait for
        items may still be profitable.
    """

    def __init__(
        self, cores: float, most: int, alone_s: float = 0.0, may_lose: bool = False, read_s: float = 0.0
    ) -> None:
        self.cores = cores
        self.most = most
        self.alone_s = alone_s
        self.may_lose = may_lose
        self.read_s = read_s
        self.began_s: float | None = None
        self.items = self.spans = 0
        self.wall_s = self.cpu_s = 0.0
        self.starved = self.lost_before = False
        self.changes = 0
        # Number of workers before the change, throughput before it, share of that throughput to keep.
        self.trial: tuple[int, float, float] | None = None
        self.history: list[tuple[int, float]] = []

    def begin(self, now_s: float) -> None:
        """Start a new period, because the workers have changed."""
        self.began_s = now_s
        self.items = self.spans = 0
        self.wall_s = self.cpu_s = 0.0
        self.starved = False

    def saw(self, items: int, wall_s: float, cpu_s: float) -> None:
        """Record the times of one span."""
        self.items += items
        self.spans += 1
        self.wall_s += wall_s
        self.cpu_s += cpu_s

    def advice(self, workers: int, now_s: float) -> int | None:
        """Return the number of workers that there should be: None for no change, 0 for the caller alone."""
        if self.began_s is None:
            self.begin(now_s)
            return None
        elapsed = now_s - self.began_s
        if elapsed < PERIOD_S or self.spans < 3 * workers or elapsed < 3 * self.wall_s / self.spans:
            return None
        speed, starved = self.items / elapsed, self.starved
        said = None if starved else self._judge(workers, speed, self.wall_s / elapsed)
        self.history.append((workers, speed))
        self.begin(now_s)
        return said

    def _judge(self, workers: int, speed: float, busy: float) -> int | None:
        if self.trial is not None:
            before, then, share = self.trial
            self.trial = None
            if speed < share * then:
                # Undo the change, and make no further ones.
                self.changes = MAX_CHANGES
                return before
            return None
        loses = self.may_lose and self._loses(speed, busy)
        if loses and self.lost_before:
            return 0
        self.lost_before = loses
        if self.changes >= MAX_CHANGES or loses:
            return None
        wanted = self._wanted(workers)
        if wanted is None or wanted == workers:
            return None
        self.changes += 1
        fewer = KEEP_FEWER if self._computing() < 1 - WAITS else KEEP_FEWER_COMPUTING
        self.trial = (workers, speed, KEEP_MORE if wanted > workers else fewer)
        return wanted

    def _loses(self, speed: float, busy: float) -> bool:
        """Return True if the caller alone would have done as much, as far as can be measured."""
        if self.alone_s > 0 and speed * (self.alone_s + self.read_s) < LOSING:
            return True
        return busy < LOSING and not self.read_s

    def _computing(self) -> float:
        return min(1.0, self.cpu_s / self.wall_s) if self.wall_s > 0 else 1.0

    def _wanted(self, workers: int) -> int | None:
        computing = self._computing()
        slowed = self.wall_s / self.items / self.alone_s if self.alone_s > 0 else 1.0
        if slowed > SATURATED:
            return max(2, min(workers, ceil(1.25 * workers / slowed)))
        if computing * workers < IDLE * self.cores:
            return max(workers, min(self.most, 2 * workers, ceil(self.cores / max(computing, 1e-3))))
        return None
