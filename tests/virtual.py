"""A driver in virtual time: the very Schedule, with workers whose speed, deaths and errors are drawn from a seed."""

import heapq
import random
from dataclasses import replace

from amorsize.model.events import (
    CALLER,
    Abandon,
    Closed,
    Done,
    Ended,
    Fail,
    Finish,
    Kill,
    Lost,
    More,
    Ready,
    Retire,
    Running,
    Send,
    Start,
    Tick,
)
from amorsize.model.schedule import Schedule


class Run:
    """One simulated run of ``n`` items; checks the books after every event."""

    def __init__(self, n, workers, seed, *, death=0.0, error=0.0, straggle=0.0, unready=0.0, hides=False, **options):
        self.n = n
        self.random = random.Random(seed)
        self.death, self.error, self.straggle, self.unready, self.hides = death, error, straggle, unready, hides
        self.open = options.pop("open_end", False)
        self.late, self.timeout_s = options.pop("late", 0.0), options.get("timeout_s")
        self.begun = {}  # worker -> the item that will hang, and since when
        self.deadly = set(options.pop("deadly", ()))
        self.schedule = Schedule([(0, None if self.open else n)], workers, **options)
        self.now = 0.0
        self.queue = []
        self.ticket = 0
        self.sent = {}  # worker -> spans in flight, oldest first
        self.ready = set()
        self.done, self.failed, self.log = [], {}, []
        self.finished = self.abandoned = 0

    def later(self, delay, what, *args):
        self.ticket += 1
        heapq.heappush(self.queue, (self.now + delay, self.ticket, what, args))

    def go(self):
        self.obey(self.schedule.begin(self.now))
        if self.timeout_s is not None:
            self.later(self.timeout_s / 4, self.on_look)
        while self.queue and not self.finished and not self.abandoned:
            self.now, _, what, args = heapq.heappop(self.queue)
            what(*args)
            self.check()
        return self

    def tell(self, event):
        self.log.append((self.now, event))
        self.obey(self.schedule.handle(event, self.now))

    def obey(self, instructions):
        for instruction in instructions:
            self.log.append((self.now, instruction))
            match instruction:
                case Start(number):
                    assert number not in self.sent
                    self.sent[number] = []
                    dies = self.random.random() < self.unready
                    self.later(self.random.random(), self.on_lost if dies else self.on_ready, number)
                case Send(number, span):
                    self.on_send(number, span)
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
                case Finish():
                    self.finished += 1
                case Abandon(_):
                    self.abandoned += 1
                    self.sent.pop(CALLER, None)  # what the caller was about to run is left over with the rest

    def on_send(self, number, span):
        assert len(span) > 0
        if span.start >= self.n:  # beyond the end, which nobody knew of when it was decided
            self.tell(Ended(self.n))
            return
        if number == CALLER:
            self.sent.setdefault(CALLER, [])
        else:
            assert number in self.ready, "sent to a worker that is not ready"
        flying = self.sent[number]
        assert not (span.alone and flying), "an item to be alone was sent behind others"
        assert not any(other.alone for other in flying), "something was sent behind an item to be alone"
        flying.append(replace(span, stop=min(span.stop, self.n)))
        if span.stop > self.n:
            self.tell(Ended(self.n))
        if len(flying) == 1:
            self.begin(number)

    def begin(self, number):
        span = self.sent[number][0]
        slow = 50.0 if self.random.random() < self.straggle else 1.0
        wall = len(span) * 0.01 * slow * (0.5 + self.random.random())
        if number != CALLER and self.late and self.random.random() < self.late:
            self.begun[number] = (self.random.randrange(span.start, span.stop), self.now)
            return  # nothing more is heard of it
        victim = next((i for i in range(span.start, span.stop) if i in self.deadly), None)
        if number != CALLER and victim is None and self.random.random() < self.death:
            victim = self.random.randrange(span.start, span.stop)
        if number != CALLER and victim is not None:
            self.later(wall, self.on_lost, number, None if self.hides else victim)
        else:
            self.later(wall, self.on_done, number, wall)

    def on_look(self):
        running = [Running(n, item, self.now - since) for n, (item, since) in self.begun.items() if n in self.sent]
        self.tell(Tick(tuple(running)))
        self.later(self.timeout_s / 4, self.on_look)

    def on_wake(self):
        self.tell(Tick())
        wait = self.schedule.wait_s(self.now)
        self.later(0.05 if wait is None else max(wait, 1e-4), self.on_wake)

    def on_ready(self, number):
        if number in self.sent:
            self.ready.add(number)
            self.tell(Ready(number))

    def on_done(self, number, wall):
        span = self.sent[number].pop(0)
        if number == CALLER and not self.sent[CALLER]:
            del self.sent[CALLER]
        failed = tuple(i for i in range(span.start, span.stop) if self.random.random() < self.error)
        self.done.extend(i for i in range(span.start, span.stop) if i not in failed)
        waiting = bool(self.sent.get(number))
        self.tell(Done(number, wall, failed))
        if waiting:
            self.begin(number)

    def on_lost(self, number, item=None):
        if number in self.sent:
            del self.sent[number]
            self.ready.discard(number)
            self.tell(Lost(number, item))

    def check(self):
        queued, flying, done = self.schedule.counts()
        if queued is not None:
            assert queued + flying + done == self.n
        mine = sum(len(span) for spans in self.sent.values() for span in spans)
        assert flying == mine


class OpenRun(Run):
    """Lots of items that come one after the other: ``lots`` holds how many items, and how many of them per chunk."""

    def __init__(self, lots, workers, seed, **options):
        super().__init__(0, workers, seed, is_open=True, **options)
        self.coming = list(lots)
        self.sizes = {}  # lot -> sizes of the chunks sent

    def go(self):
        for number, (items, fixed) in enumerate(self.coming):
            self.later(self.random.random() * len(self.coming) * 0.02, self.on_more, number, items, fixed)
        self.later(0.03 * len(self.coming), self.tell, Closed())
        return super().go()

    def on_more(self, number, items, fixed):
        first, self.n = self.n, self.n + items
        self.tell(More(first, self.n, number, fixed))

    def on_send(self, number, span):
        assert all(other.lot == span.lot for other in self.sent[number])
        self.sizes.setdefault(span.lot, []).append(len(span))
        super().on_send(number, span)


def is_whole(run):
    """Every item is done or failed, once, if the run came to its end."""
    assert run.finished + run.abandoned == 1, "neither finished nor gave up"
    if run.finished:
        assert sorted([*run.done, *run.failed]) == list(range(run.n))
    else:
        left = [i for a, b in run.schedule.left_over() for i in range(a, run.n if b is None else b)]
        assert sorted([*run.done, *run.failed, *left]) == list(range(run.n))
