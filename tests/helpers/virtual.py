"""Simulated runs with chance and mishap: speeds, deaths, errors and hangs are drawn from a seed; books are kept."""

import random

from amorsize.schedule.messages import (
    CALLER,
    Closed,
    Done,
    Fail,
    Finish,
    GiveUp,
    ItemsAdded,
    Kill,
    Lost,
    Ready,
    Retire,
    Running,
    Start,
    Tick,
)
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.simulation.cores import PARK, Cores
from amorsize.schedule.simulation.simulate import Simulator, Work


class Run(Simulator):
    """One simulated run of ``n`` items; checks the books after every event."""

    def __init__(self, n, workers, seed, *, death=0.0, error=0.0, straggle=0.0, unready=0.0, hides=False, **options):
        self.random = random.Random(seed)
        self.death, self.error, self.straggle, self.unready, self.hides = death, error, straggle, unready, hides
        is_open_end = options.pop("open_end", False)
        self.late, self.timeout_s = options.pop("late", 0.0), options.get("timeout_s")
        self.deadly = set(options.pop("deadly", ()))
        self.schedule = Schedule([(0, None if is_open_end else n)], workers, **options)
        self.begun = {}  # worker -> the item that hangs, and since when
        self.sent = {}  # worker -> spans in flight, oldest first
        self.ready = set()
        self.done, self.failed, self.log = [], {}, []
        self.depth = 0
        super().__init__(self.schedule, Work([0.0] * n), Cores(float("inf")))

    @property
    def n(self):
        return self.work.length

    def go(self):
        if self.timeout_s is not None:
            self.machine.later(self.timeout_s / 4, self.look)
        while not self.is_over:
            assert self.machine.advance(), "a standstill"
        return self

    # -- the caller, with its books ------------------------------------------------------------------------------

    def _receive(self, event):
        if not isinstance(event, Lost) or event.worker in self.sent:  # else it was sent away just before it died
            yield from super()._receive(event)

    def _tell(self, event):
        self.log.append((self.machine.now_s, event))
        if isinstance(event, Ready):
            self.ready.add(event.worker)
        elif isinstance(event, Lost):
            del self.sent[event.worker]
            self.ready.discard(event.worker)
        elif isinstance(event, Done):
            span = self.sent[event.worker].pop(0)
            self.done.extend(i for i in range(span.start, span.stop) if i not in event.failed)
        self.depth += 1
        yield from super()._tell(event)
        self.depth -= 1
        if not self.depth:
            self.check()

    def _carry_out(self, instruction):
        self.log.append((self.machine.now_s, instruction))
        assert not (self.is_over and isinstance(instruction, Finish | GiveUp)), "it had come to its end already"
        match instruction:
            case Start(number):
                assert number not in self.sent
                self.sent[number] = []
            case Retire(number):
                assert not self.sent.pop(number)
                self.ready.discard(number)
            case Kill(number):
                del self.sent[number]
                del self.begun[number]
                self.ready.discard(number)
            case Fail(index, why):
                assert index not in self.failed
                self.failed[index] = why
            case GiveUp():
                self.sent.pop(CALLER, None)  # what the caller was about to run is left over with the rest
        yield from super()._carry_out(instruction)

    def _send(self, number, span):
        assert len(span) > 0
        if span.start < self.n:  # else it is beyond the end, which was unknown when it was decided
            if number == CALLER:
                self.sent.setdefault(CALLER, [])
            else:
                assert number in self.ready, "sent to a worker that is not ready"
            flying = self.sent[number]
            assert not (span.alone and flying), "an item to be alone was sent behind others"
            assert not any(other.alone for other in flying), "something was sent behind an item to be alone"
            flying.append(span if span.stop <= self.n else type(span)(span.start, self.n, span.alone, span.quiet))
        yield from super()._send(number, span)

    def check(self):
        queued, flying, done = self.schedule.counts()
        if queued is not None:
            assert queued + flying + done == self.n
        mine = sum(len(span) for spans in self.sent.values() for span in spans)
        assert flying == mine

    def look(self):
        now = self.machine.now_s
        running = [Running(n, item, now - since) for n, (item, since) in self.begun.items() if n in self.sent]
        self._arrive(Tick(tuple(running)))
        self.machine.later(self.timeout_s / 4, self.look)

    # -- workers, and what befalls them --------------------------------------------------------------------------

    def _boot(self, number):
        dies = self.random.random() < self.unready
        yield "wait", self.random.random()
        if dies:
            yield from self.die(number)
        self._post(Ready(number))

    def _run(self, number, span):
        slow = 50.0 if self.random.random() < self.straggle else 1.0
        wall_s = len(span) * 0.01 * slow * (0.5 + self.random.random())
        if number == CALLER:
            yield "wait", wall_s
            return
        if self.late and self.random.random() < self.late:
            self.begun[number] = (self.random.randrange(span.start, span.stop), self.machine.now_s)
            while True:  # nothing more is heard of it
                yield PARK
        victim = next((i for i in range(span.start, span.stop) if i in self.deadly), None)
        if victim is None and self.random.random() < self.death:
            victim = self.random.randrange(span.start, span.stop)
        yield "wait", wall_s
        if victim is not None:
            yield from self.die(number, None if self.hides else victim)

    def die(self, number, item=None):
        del self.workers[number]
        self._post(Lost(number, item))
        yield PARK

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
    """Every item is done or failed, once, if the run came to its end."""
    assert run.finished + run.abandoned == 1, "neither finished nor gave up"
    if run.finished:
        assert sorted([*run.done, *run.failed]) == list(range(run.n))
    else:
        left = [i for a, b in run.schedule.left_over() for i in range(a, run.n if b is None else b)]
        assert sorted([*run.done, *run.failed, *left]) == list(range(run.n))
