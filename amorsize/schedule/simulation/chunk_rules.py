"""Schedule items as in the literature, for comparison: self-scheduling by a rule, and the shared queue of a ``Pool``.

A rule fixes all chunk sizes in advance, from the numbers of items and workers alone:

- `equal`: chunks of one size (``Pool.map(chunksize=)``; 1 is pure self-scheduling, N/p static scheduling);
- `guided`: a p-th of the remaining items (Polychronopoulos & Kuck 1987);
- `factoring`: half of the remaining items in p equal chunks, round by round (Flynn Hummel, Schonberg & Flynn 1992);
- `trapezoid`: from N/2p down to 1 in equal steps (Tzen & Ni 1993).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import ceil, inf

from amorsize.facts import Scaling
from amorsize.schedule.messages import Done, Event, Finish, Instruction, Ready, Retire, Send, Span, Start
from amorsize.schedule.simulation.cores import PARK, Cores, Program
from amorsize.schedule.simulation.overheads import Overheads
from amorsize.schedule.simulation.simulate import Simulation, Simulator, Work

Rule = Callable[[int, int], Iterator[int]]
"""Yields the sizes of all chunks, given the numbers of items and of workers."""


def equal(size: int) -> Rule:
    """Return the rule of chunks of ``size`` items.

    Examples
    --------
    >>> list(equal(4)(10, 2))
    [4, 4, 2]
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")

    def sizes(n_items: int, workers: int) -> Iterator[int]:
        for start in range(0, n_items, size):
            yield min(size, n_items - start)

    return sizes


def guided(n_items: int, workers: int) -> Iterator[int]:
    """Yield chunk sizes: a p-th of the remaining items.

    Examples
    --------
    >>> list(guided(10, 2))
    [5, 3, 1, 1]
    """
    while n_items > 0:
        size = ceil(n_items / workers)
        yield size
        n_items -= size


def factoring(n_items: int, workers: int) -> Iterator[int]:
    """Yield chunk sizes: half of the remaining items in as many equal chunks as there are workers.

    Examples
    --------
    >>> list(factoring(10, 2))
    [3, 3, 1, 1, 1, 1]
    """
    while n_items > 0:
        size = ceil(n_items / (2 * workers))
        for _ in range(workers):
            if n_items > 0:
                yield min(size, n_items)
                n_items -= size


def trapezoid(n_items: int, workers: int) -> Iterator[int]:
    """Yield chunk sizes: from N/2p down to 1 in equal steps.

    Examples
    --------
    >>> list(trapezoid(20, 2))
    [5, 4, 3, 3, 2, 1, 1, 1]
    """
    first = ceil(n_items / (2 * workers))
    steps = max(1, ceil(2 * n_items / (first + 1)) - 1)
    size = float(first)
    while n_items > 0:
        yield min(n_items, max(1, int(size)))
        n_items -= max(1, int(size))
        size -= (first - 1) / steps


class SelfScheduling:
    """Give each idle worker the next chunk.

    Parameters
    ----------
    n_items, workers : int
        Numbers of items and of workers.
    rule : Rule
        Sizes of the chunks.
    depth : int
        Chunks in flight at each worker.
    """

    def __init__(self, n_items: int, workers: int, rule: Rule, *, depth: int = 1) -> None:
        self.workers = workers
        self.depth = depth
        self.spans: deque[Span] = deque()
        start = 0
        for size in rule(n_items, workers):
            self.spans.append(Span(start, start + size))
            start += size
        self.in_flight: dict[int, int] = {}

    def begin(self, now_s: float = 0.0) -> list[Instruction]:
        """Return the instructions to start the workers."""
        self.in_flight = dict.fromkeys(range(self.workers), 0)
        return [Start(number) for number in self.in_flight] if self.spans else [Finish()]

    def handle(self, event: Event, now_s: float = 0.0) -> list[Instruction]:
        """Send more chunks to the worker of this event."""
        if not isinstance(event, Ready | Done):
            return []
        number = event.worker
        self.in_flight[number] -= isinstance(event, Done)
        out: list[Instruction] = []
        while self.spans and self.in_flight[number] < self.depth:
            out.append(Send(number, self.spans.popleft()))
            self.in_flight[number] += 1
        if not self.spans and not any(self.in_flight.values()):
            out += [*(Retire(number) for number in self.in_flight), Finish()]
        return out

    def wait_s(self, now_s: float) -> float | None:
        """Return None: no `Tick` is needed."""
        return None

    def left_over(self) -> list[tuple[int, int | None]]:
        """Return the ranges never sent."""
        return [(span.start, span.stop) for span in self.spans]


def simulate_pool(
    item_s: Sequence[float],
    workers: int,
    chunksize: int,
    *,
    item_cpu_s: Sequence[float] | None = None,
    cores: float | None = None,
    quota: float | None = None,
    scaling: Scaling | None = None,
    lock_share: float = 0.0,
    overheads: Overheads | None = None,
) -> Simulation:
    """Run ``Pool.map`` in virtual time; parameters as in `amorsize.schedule.simulation.simulate.simulate`.

    Examples
    --------
    Seven items of 300 ms on two workers take four rounds:

    >>> round(simulate_pool([0.3] * 7, 2, 1).makespan_s, 3)
    1.2
    """
    machine = Cores(inf if cores is None else cores, quota=quota, scaling=scaling, lock_share=lock_share)
    policy = SelfScheduling(len(item_s), workers, equal(chunksize))
    return PoolSimulator(policy, Work(item_s, item_cpu_s), machine, overheads).run()


class PoolSimulator(Simulator):
    """A ``multiprocessing.Pool``: the caller puts all chunks into one queue, from which the workers take them."""

    def __init__(self, policy: SelfScheduling, work: Work, machine: Cores, overheads: Overheads | None = None) -> None:
        self._queue: deque[Span] = deque()
        self._hungry: deque[int] = deque()
        self._spans, self._n_workers = policy.spans, policy.workers
        super().__init__(policy, work, machine, overheads)

    def _dispatch(self) -> Program:
        yield "compute", self.overheads.once_s
        for number in range(self._n_workers):
            yield from self._start(number)
        spans, out = self._spans, 0
        while spans or out:
            if self.mail:
                if isinstance(event := self.mail.popleft(), Done):
                    out -= 1
                    yield "compute", self.overheads.receive_s + self.overheads.receive_item_s * (event.ran or 0)
            elif spans:
                span = spans.popleft()
                out += 1
                yield "compute", self.overheads.send_s + self.overheads.send_item_s * len(span)
                self.machine.later(self.overheads.latency_s, self._fill, span)
            else:
                yield PARK
        for number in list(self.workers):
            self._end(number)
        while self.leaving:
            yield PARK

    def _start(self, number: int) -> Program:
        yield from super()._start(number)
        self.inboxes[number] = self._queue

    def _tell(self, event: Event) -> Program:
        yield from ()

    def _starve(self, number: int) -> None:
        self._hungry.append(number)

    def _fill(self, span: Span) -> None:
        self._queue.append(span)
        if self._hungry:
            self.machine.wake(self.workers[self._hungry.popleft()])
