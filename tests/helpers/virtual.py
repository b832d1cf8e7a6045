"""Simulated runs with chance: `VirtualDriver`, with speeds, deaths, errors and hangs that are drawn from a seed."""

import random

from amorsize.schedule.failures import Repeats
from amorsize.schedule.messages import CALLER, Closed, Done, ItemsAdded, Ready
from amorsize.schedule.schedule import Schedule
from amorsize.testing import VirtualDriver


class Run(VirtualDriver):
    """One simulated run of ``n`` items; mishaps are drawn from ``seed``."""

    def __init__(self, n, workers, seed, *, death=0.0, error=0.0, straggle=0.0, unready=0.0, hides=False, **options):
        self.random = random.Random(seed)
        if backoff := options.pop("backoff", 0.0):
            options["retries"] = Repeats(options.get("retries", 0), base_s=backoff, draw=self.random.random)
        self.death, self.error, self.straggle, self.unready, self.hides = death, error, straggle, unready, hides
        is_open_end = options.pop("open_end", False)
        self.late = options.pop("late", 0.0)
        deadly = set(options.pop("deadly", ()))
        super().__init__(Schedule([(0, None if is_open_end else n)], workers, **options), [0.0] * n, deadly=deadly)

    @property
    def n(self):
        return self.work.length

    def go(self):
        self.run()
        return self

    # -- workers and their faults --------------------------------------------------------------------------------

    def _boot(self, number):
        dies = self.random.random() < self.unready
        yield "wait", self.random.random()
        if dies:
            yield from self._die(number)
        self._post(Ready(number))

    def _run(self, number, span):
        slow = 50.0 if self.random.random() < self.straggle else 1.0
        wall_s = len(span) * 0.01 * slow * (0.5 + self.random.random())
        if number == CALLER:
            yield "wait", wall_s
            return
        if self.late and self.random.random() < self.late:
            yield from self._hang(number, self.random.randrange(span.start, span.stop))
        victim = next((i for i in range(span.start, span.stop) if i in self.deadly), None)
        if victim is None and self.random.random() < self.death:
            victim = self.random.randrange(span.start, span.stop)
        yield "wait", wall_s
        if victim is not None:
            yield from self._die(number, None if self.hides else victim)

    def _done(self, number, span, wall_s):
        failed = tuple(i for i in range(span.start, span.stop) if self.random.random() < self.error)
        return Done(number, wall_s, failed)


class OpenRun(Run):
    """Lots of items that come one after the other: ``lots`` holds how many items, and how many of them per chunk."""

    def __init__(self, lots, workers, seed, **options):
        super().__init__(0, workers, seed, is_open=True, **options)
        self.sizes = {}  # lot -> sizes of the chunks sent
        for number, (items, fixed) in enumerate(lots):
            self.machine.later(
                self.random.random() * len(lots) * 0.02, self._arrive, ItemsAdded(0, items, number, fixed)
            )
        self.machine.later(0.03 * len(lots), self._arrive, Closed())

    def _tell(self, event):
        if isinstance(event, ItemsAdded):
            first, self.work.length = self.n, self.n + event.stop
            event = ItemsAdded(first, self.n, event.lot, event.fixed)
        yield from super()._tell(event)

    def _send(self, number, span):
        assert all(other.lot == span.lot for other in self.sent[number])
        self.sizes.setdefault(span.lot, []).append(len(span))
        yield from super()._send(number, span)


def is_whole(run):
    """Assert that each item is done or failed, once; or left over if the run gave up."""
    assert run.finished + run.abandoned == 1, "neither finished nor gave up"
    if run.finished:
        assert sorted([*run.done, *run.failed]) == list(range(run.n))
    else:
        left = [i for a, b in run.schedule.left_over() for i in range(a, run.n if b is None else b)]
        left += [index for _, index, _ in run.schedule.repeats.aside]
        assert sorted([*run.done, *run.failed, *left]) == list(range(run.n))
