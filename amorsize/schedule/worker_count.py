"""How many workers pay, seen from what their spans took: more, fewer, or none at all.

The forecast that chose the workers may be wrong: a server serves eight callers and lets the others queue, items wait
where the sample computed, what must be carried to and fro costs more than the work. Throughput tells. A period lasts
until enough has been done to judge by; then, with ``w`` workers,

- *nothing is won* if fewer than one of them was busy on average (the caller would have done it alone), or if alike
  items come no faster than they did in the plain loop;
- *fewer* would do if an item takes much longer than it did alone though it does not compute: by Little's law whoever
  serves them works at ``w * alone / now`` items at a time (the gradient of TCP Vegas and of Netflix's
  concurrency-limits);
- *more* would help if the items leave cores idle.

A change is kept only if the next period bears it out.
"""

from __future__ import annotations

from math import ceil
from typing import Final

PERIOD_S: Final = 0.1  # a scheduler's time slice is 1-4 ms, a quota's period 100: a shorter look would see neither
LOSING: Final = 0.95  # of the loop's speed; twice in a row, since a neighbour may have had the cores for a moment
SATURATED: Final = 1.6  # times what an item takes alone
WAITS: Final = 0.5  # below that share of computing, items that take longer than alone are kept waiting by another
IDLE: Final = 0.7  # of the cores in use: more workers could use the others
KEEP_MORE: Final = 1.1  # times the throughput, or the additional workers go again
KEEP_FEWER: Final = 0.9  # of the throughput, or those that went come again
MAX_CHANGES: Final = 6


class WorkerCount:
    """Judges a crew by its periods; see the module.

    Parameters
    ----------
    cores : float
        Cores that may be used.
    most : int
        Workers that there may be.
    alone_s : float
        Seconds that an item took in the plain loop; 0: nobody knows, or items differ too much to compare.
    may_lose : bool
        Whether anybody could go on without workers.
    read_s : float
        Seconds that it takes to come by an item, where an iterator makes them. The caller alone would need that time,
        too, so that workers which are kept waiting for items may be worth it all the same.
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
        self.trial: tuple[int, float, float] | None = None  # workers before, throughput then, and the share to be kept
        self.history: list[tuple[int, float]] = []

    def begin(self, now_s: float) -> None:
        """Start a new period: the crew has changed."""
        self.began_s = now_s
        self.items = self.spans = 0
        self.wall_s = self.cpu_s = 0.0
        self.starved = False

    def saw(self, items: int, wall_s: float, cpu_s: float) -> None:
        """Take in a span."""
        self.items += items
        self.spans += 1
        self.wall_s += wall_s
        self.cpu_s += cpu_s

    def advice(self, workers: int, now_s: float) -> int | None:
        """How many workers there should be: None as they are, 0 the caller alone."""
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
                self.changes = MAX_CHANGES  # as it was, and no more experiments
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
        self.trial = (workers, speed, KEEP_MORE if wanted > workers else KEEP_FEWER)
        return wanted

    def _loses(self, speed: float, busy: float) -> bool:
        """Whether the caller alone would have got as much done, as far as one can tell."""
        if self.alone_s > 0 and speed * (self.alone_s + self.read_s) < LOSING:
            return True
        return busy < LOSING and not self.read_s

    def _wanted(self, workers: int) -> int | None:
        computing = min(1.0, self.cpu_s / self.wall_s) if self.wall_s > 0 else 1.0
        slowed = self.wall_s / self.items / self.alone_s if self.alone_s > 0 else 1.0
        if slowed > SATURATED and computing < WAITS:
            return max(2, min(workers, ceil(1.25 * workers / slowed)))
        if slowed < SATURATED and computing * workers < IDLE * self.cores:
            return max(workers, min(self.most, 2 * workers, ceil(self.cores / max(computing, 1e-3))))
        return None
