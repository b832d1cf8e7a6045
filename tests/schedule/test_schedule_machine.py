"""The schedule against a second account: hypothesis tries orders of all events that a driver may report."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lanes import repeats

from amorsize.schedule.failures import Repeats
from amorsize.schedule.messages import (
    CALLER,
    Closed,
    Done,
    Event,
    Fail,
    Finish,
    GiveUp,
    Instruction,
    ItemsAdded,
    ItemsDropped,
    Kill,
    Lost,
    Ready,
    Recycle,
    Resize,
    ResultsTaken,
    Retire,
    Running,
    Send,
    SourceEnded,
    Span,
    Start,
    Tick,
)
from amorsize.schedule.rate_limit import Pace
from amorsize.schedule.schedule import MAX_RESTARTS, Schedule
from amorsize.schedule.worker_count import WorkerCount


class Machine(RuleBasedStateMachine):
    """Keeps its own account of the spans in flight, and compares the schedule with it."""

    @initialize(
        n=st.integers(0, 60),
        workers=st.integers(1, 5),
        retries=st.integers(0, 2),
        backoff=st.sampled_from([0.0, 0.0, 0.03, 5.0]),
        shares=st.randoms(use_true_random=False),
        helps=st.booleans(),
        open_end=st.booleans(),
        holes=st.booleans(),
        item_s=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
        evidence=st.integers(1, 50),
        fixed=st.sampled_from([None, None, 1, 5]),
        window=st.sampled_from([None, None, 1, 7]),
        rate=st.sampled_from([None, None, None, 10.0]),
        worker_count=st.booleans(),
    )
    def begin(
        self,
        n,
        workers,
        retries,
        backoff,
        shares,
        helps,
        open_end,
        holes,
        item_s,
        evidence,
        fixed,
        window,
        rate,
        worker_count,
    ):
        self.backoff = backoff
        self.now = 0.0
        self.most, self.untaken, self.window = 2 * workers if worker_count else workers, 0, window
        self.handed: set[int] = set()
        self.resized = False
        self.n, self.retries, self.asked = n, retries, workers
        segments = [(0, None if open_end else n)]
        self.left = set(range(n))
        if holes and n > 20:  # as spread positions that were looked at leave it
            segments = [(0, 10), (12, 19), (20, None if open_end else n)]
            self.left -= {10, 11, 19}
        self.taken_on = len(self.left)
        self.flying: dict[int, list[Span]] = {}
        self.ready: set[int] = set()
        self.done: set[int] = set()
        self.failed: set[int] = set()
        self.raised: Counter[int] = Counter()
        self.blamed: Counter[int] = Counter()
        self.due: dict[int, float] = {}
        self.ends: list[Instruction] = []
        self.started = 0
        self.losses = 0
        self.schedule = Schedule(
            segments,
            workers,
            retries=Repeats(retries, base_s=backoff, draw=shares.random),
            caller_helps=helps,
            item_s=item_s,
            evidence=evidence,
            fixed=fixed,
            timeout_s=1.0,
            window=window,
            pace=None if rate is None else Pace(rate),
            worker_count=WorkerCount(cores=2.0, most=self.most, alone_s=item_s, may_lose=True)
            if worker_count
            else None,
        )
        self.obey(self.schedule.begin(self.now))

    # -- what a driver does with instructions ----------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        self.now += 0.01
        out = self.schedule.handle(event, self.now)
        for due, index, _ in self.schedule.repeats.aside:
            most = self.backoff * 2.0 ** (self.raised[index] - 1)
            # Sums of seconds are exact to 15 digits only.
            assert 0.0 < due - self.now <= most + 1e-9 or self.due.get(index) == due, (
                "due at another time than the rule says"
            )
            self.due[index] = due
        self.obey(out)

    def obey(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            beyond = isinstance(instruction, Send) and instruction.span.start >= self.n
            assert beyond or not self.ends, f"{instruction} after {self.ends}"
            match instruction:
                case Send() if beyond:  # decided when the end of the source was unknown
                    self.tell(SourceEnded(self.n))
                case Start(number):
                    assert number not in self.flying
                    self.flying[number] = []
                    self.started += 1
                case Send(number, span):
                    self.on_send(number, span)
                case Retire(number):
                    assert self.flying.pop(number) == []
                    self.ready.discard(number)
                case Kill(number):
                    assert number not in self.flying, "only who is late is killed, and the books say so already"
                case Fail(index, why):
                    self.on_fail(index, why == "lost")
                case Finish() | GiveUp():
                    self.ends.append(instruction)

    def on_send(self, number: int, span: Span) -> None:
        if number == CALLER:
            assert not self.ready
            self.flying.setdefault(CALLER, [])
        else:
            assert number in self.ready
        if span.stop > self.n:  # the source has fewer items than asked for
            self.take(number, Span(span.start, self.n, span.alone))
            self.tell(SourceEnded(self.n))
        else:
            self.take(number, span)

    def take(self, number: int, span: Span) -> None:
        flying = self.flying[number]
        assert len(span) > 0
        assert not (span.alone and flying), "an item to be alone was sent behind others"
        assert not any(other.alone for other in flying), "sent behind an item to be alone"
        items = set(range(span.start, span.stop))
        self.untaken += len(items - self.handed)
        self.handed |= items
        assert self.window is None or self.untaken <= self.window, "too far ahead of the reader"
        if span.quiet:
            assert not any(self.flying[n] for n in self.flying if n != number), "an item to be quiet was not alone"
        else:
            assert not any(s.quiet for spans in self.flying.values() for s in spans), "sent beside an item to be quiet"
        assert items <= self.left, "sent what is done, or in another place"
        assert not any(self.due.pop(i, 0.0) > self.now for i in items), "sent while it was set aside"
        flying.append(span)
        self.left -= items
        assert len(span) <= 1 or not any(self.blamed[i] for i in items), "a killer was sent in company"

    def on_fail(self, index: int, lost: bool) -> None:
        assert index not in self.failed
        assert index not in self.done
        if lost:
            assert self.blamed[index] == 2
            self.left.discard(index)
        else:
            assert self.raised[index] == self.retries + 1
        self.failed.add(index)

    # -- what may happen -------------------------------------------------------------------------------------------

    def is_on(self) -> bool:
        return not self.ends

    @precondition(lambda self: self.is_on() and set(self.flying) - self.ready - {CALLER})
    @rule(data=st.data())
    def a_worker_is_ready(self, data):
        number = data.draw(st.sampled_from(sorted(set(self.flying) - self.ready - {CALLER})))
        self.ready.add(number)
        self.tell(Ready(number))

    @precondition(lambda self: self.is_on() and any(self.flying.values()))
    @rule(data=st.data(), wall_s=st.sampled_from([0.0, 1e-6, 1e-3, 10.0]))
    def a_span_has_ended(self, data, wall_s):
        number = data.draw(st.sampled_from(sorted(n for n, spans in self.flying.items() if spans)))
        self.end_span(number, wall_s, *self.draw_fate(data, number))

    def draw_fate(self, data, number: int) -> tuple[int | None, set[int]]:
        """Draw the number of items that were run (None: all), and those that raised."""
        span = self.flying[number][0]
        if number == CALLER or data.draw(st.booleans()):
            return None, set()
        raising = data.draw(st.sets(st.integers(span.start, span.stop - 1)))
        stops_early = raising and data.draw(st.booleans())
        return (min(raising) + 1 - span.start, {min(raising)}) if stops_early else (None, raising)

    def end_span(self, number: int, wall_s: float, ran: int | None, raising: set[int]) -> None:
        span = self.flying[number].pop(0)
        stop = span.stop if ran is None else span.start + ran
        self.left |= set(range(stop, span.stop))
        for index in range(span.start, stop):
            if index not in raising:
                self.done.add(index)
                continue
            self.raised[index] += 1
            if self.raised[index] <= self.retries:
                self.left.add(index)
        if number == CALLER and not self.flying[CALLER]:
            del self.flying[CALLER]
        self.tell(Done(number, wall_s, tuple(sorted(raising)), ran))

    @precondition(lambda self: self.is_on() and any(spans for n, spans in self.flying.items() if n != CALLER))
    @rule(data=st.data())
    def a_span_got_lost_on_its_way(self, data):
        number = data.draw(st.sampled_from(sorted(n for n, spans in self.flying.items() if spans and n != CALLER)))
        if len(self.flying[number][0]) == 1:
            return  # a driver tells then whose fault it is
        span = self.flying[number].pop(0)
        self.left |= set(range(span.start, span.stop))
        self.tell(Done(number, 0.0, apart=True))
        assert not any(span.start <= s.start < span.stop and len(s) > 1 for s in self.schedule.backlog.again)

    @precondition(lambda self: self.is_on() and set(self.flying) - {CALLER})
    @rule(
        data=st.data(),
        kind=st.sampled_from(["at an item", "nobody knows", "idle", "nonsense"]),
        oom=st.booleans(),
    )
    def a_worker_is_lost(self, data, kind, oom):
        number = data.draw(st.sampled_from(sorted(set(self.flying) - {CALLER})))
        spans = self.flying[number]
        item = None
        if kind == "at an item" and spans:
            item = data.draw(st.integers(spans[0].start, spans[0].stop - 1))
        elif kind == "nonsense":
            item = self.n + 3
        self.lose(number, item, idle=kind == "idle", oom=oom)

    def lose(self, number: int, item: int | None, idle: bool, oom: bool) -> None:
        spans = self.flying.pop(number)
        self.losses += 1
        if spans and not idle:
            oldest = spans[0]
            if item is None and len(oldest) == 1:
                item = oldest.start
            if item is not None and item in range(oldest.start, oldest.stop):
                self.blamed[item] += 1
        for span in spans:
            self.left |= set(range(span.start, span.stop))
        self.left -= {i for i, times in self.blamed.items() if times > 1}
        self.ready.discard(number)
        self.tell(Lost(number, item, idle, oom))

    @precondition(lambda self: not self.is_on())
    @rule(number=st.integers(0, 9), idle=st.booleans())
    def a_loss_is_told_after_the_end(self, number, idle):
        assert self.schedule.handle(Lost(number, None, idle)) == []

    @precondition(lambda self: self.is_on() and any(spans for n, spans in self.flying.items() if n != CALLER))
    @rule(data=st.data(), for_s=st.sampled_from([0.5, 2.0]), stale=st.booleans())
    def somebody_looks_who_is_at_what(self, data, for_s, stale):
        number = data.draw(st.sampled_from(sorted(n for n, spans in self.flying.items() if spans and n != CALLER)))
        span = self.flying[number][0]
        item = self.n + 5 if stale else data.draw(st.integers(span.start, span.stop - 1))
        if for_s > 1.0 and not stale:
            spans = self.flying.pop(number)
            self.ready.discard(number)
            self.losses += 1
            self.left |= {i for s in spans for i in range(s.start, s.stop)} - {item}
            self.raised[item] += 1
            if self.raised[item] <= self.retries:
                self.left.add(item)
        self.tell(Tick((Running(number, item, for_s),)))

    @precondition(lambda self: self.is_on() and self.window is not None and self.untaken > 0)
    @rule(data=st.data())
    def results_are_taken(self, data):
        most = len((self.done | self.failed) & self.handed) - (len(self.handed) - self.untaken)
        if most > 0:
            items = data.draw(st.integers(1, most))
            self.untaken -= items
            self.tell(ResultsTaken(items))

    @precondition(lambda self: self.is_on())
    @rule(workers=st.integers(1, 6))
    def so_many_workers_are_wanted(self, workers):
        self.resized = True
        self.most = max(self.most, workers)
        self.tell(Resize(workers))

    @precondition(lambda self: self.is_on() and set(self.flying) - {CALLER})
    @rule(data=st.data())
    def a_worker_is_worn_out(self, data):
        self.losses += 1
        self.tell(Recycle(data.draw(st.sampled_from(sorted(set(self.flying) - {CALLER})))))

    @precondition(lambda self: self.is_on())
    @rule(wait_s=st.sampled_from([0.0, 0.1, 5.0]))
    def time_passes(self, wait_s):
        self.now += wait_s
        self.tell(Tick())

    # -- what must hold at any time --------------------------------------------------------------------------------

    @invariant()
    def every_item_is_in_one_place(self):
        if not hasattr(self, "schedule"):
            return
        queued, flying, done = self.schedule.counts()
        mine = [i for spans in self.flying.values() for span in spans for i in range(span.start, span.stop)]
        if self.ends and isinstance(self.ends[0], GiveUp):
            left = [i for a, b in self.schedule.left_over() for i in range(a, self.n if b is None else b)]
            left += [index for _, index, _ in self.schedule.repeats.aside]
            assert sorted([*left, *self.done, *self.failed]) == sorted(self.all_items())
            return
        assert flying == len(mine) == len(set(mine))
        assert done == len(self.done) + len(self.failed)
        if queued is not None:
            assert queued == len(self.left)
            assert queued + flying + done == self.taken_on
        assert sorted([*mine, *self.left, *self.done, *self.failed]) == sorted(self.all_items())

    @invariant()
    def of_items_that_are_done_no_failures_are_kept(self):
        """Else a stream that retries would keep an entry for each item that ever raised."""
        if hasattr(self, "schedule"):
            assert not {*self.schedule.repeats.tries, *self.schedule.losses} & (self.done | self.failed)

    def all_items(self) -> set[int]:
        return {*range(self.n)} - ({10, 11, 19} if self.taken_on == self.n - 3 and self.n > 20 else set())

    @invariant()
    def there_is_always_somebody_to_wait_for(self):
        """Else the driver would wait for ever."""
        if hasattr(self, "schedule") and not self.ends:
            waits_for_time = self.schedule.wait_s(self.now) is not None
            assert self.flying or waits_for_time, "nothing is to come, and neither Finish nor Abandon was said"

    @invariant()
    def there_are_never_more_workers_than_asked_for(self):
        if hasattr(self, "schedule"):
            assert len(set(self.flying) - {CALLER}) <= self.most + len(self.schedule.workers.leaving)
            if self.most == self.asked and not self.resized:
                assert self.started <= self.asked + self.losses

    @invariant()
    def the_end_is_said_when_all_is_done(self):
        if hasattr(self, "schedule") and self.ends == [Finish()]:
            assert self.done | self.failed == self.all_items()
            assert not self.done & self.failed

    def teardown(self):
        """Without further faults, the run comes to its end."""
        if not hasattr(self, "schedule"):
            return
        for _ in range(40 * self.n + 200):
            if self.ends:
                break
            asleep = sorted(set(self.flying) - self.ready - {CALLER})
            if asleep:
                self.ready.add(asleep[0])
                self.tell(Ready(asleep[0]))
            elif any(self.flying.values()):
                number = next(n for n, spans in sorted(self.flying.items()) if spans)
                self.end_span(number, 1e-3, None, set())
            elif self.window is not None and self.untaken:
                items, self.untaken = self.untaken, 0
                self.tell(ResultsTaken(items))
            else:
                assert self.schedule.wait_s(self.now) is not None, "nobody is at work, and there is nothing to wait for"
                self.time_passes(1.0)
            self.every_item_is_in_one_place()
        assert len(self.ends) == 1
        self.the_end_is_said_when_all_is_done()


Machine.TestCase.settings = settings(max_examples=repeats(60, 150), stateful_step_count=40, deadline=None)
TestScheduleMachine = Machine.TestCase


class OpenMachine(Machine):
    """Items come in lots, some are dropped before they are sent, and at some time no more will come."""

    @initialize(
        workers=st.integers(1, 5),
        retries=st.integers(0, 2),
        backoff=st.sampled_from([0.0, 0.5]),
        shares=st.randoms(use_true_random=False),
        eager=st.booleans(),
    )
    def begin(self, workers, retries, backoff, shares, eager):
        self.backoff, self.due = backoff, {}
        self.n, self.retries, self.asked, self.taken_on = 0, retries, workers, 0
        self.left: set[int] = set()
        self.fresh: set[int] = set()
        self.lot_of: dict[int, int] = {}
        self.fixed = {0: 1}
        self.closed = False
        self.flying, self.ready = {}, set()
        self.done, self.failed, self.raised, self.blamed = set(), set(), Counter(), Counter()
        self.ends, self.started, self.losses = [], 0, 0
        self.now, self.most, self.untaken, self.window = 0.0, workers, 0, None
        self.handed, self.resized = set(), False
        repeats = Repeats(retries, base_s=backoff, draw=shares.random)
        self.schedule = Schedule([], workers, retries=repeats, is_open=True, timeout_s=1.0)
        self.obey(self.schedule.begin(self.now, eager=eager))
        assert self.started == (workers if eager else 0)

    def take(self, number: int, span: Span) -> None:
        assert {self.lot_of[i] for i in range(span.start, span.stop)} == {span.lot}
        assert {other.lot for other in self.flying[number]} <= {span.lot}, "sent behind what may wait for it"
        assert self.fixed[span.lot] != 1 or not self.flying[number], "single calls must not queue"
        self.fresh -= set(range(span.start, span.stop))
        super().take(number, span)

    def is_on(self) -> bool:
        return not self.ends

    @precondition(lambda self: self.is_on() and not self.closed)
    @rule(items=st.integers(1, 20), single=st.booleans(), fixed=st.sampled_from([None, 1, 4]))
    def more_items_come(self, items, single, fixed):
        lot = 0 if single else len(self.fixed)
        self.fixed.setdefault(lot, fixed)
        fresh = range(self.n, self.n + items)
        self.lot_of.update(dict.fromkeys(fresh, lot))
        self.left.update(fresh)
        self.fresh.update(fresh)
        self.n = self.taken_on = self.n + items
        self.tell(ItemsAdded(fresh.start, fresh.stop, lot, self.fixed[lot]))

    @precondition(lambda self: self.is_on())
    @rule(data=st.data())
    def items_are_dropped(self, data):
        lot = data.draw(st.sampled_from([None, *self.fixed]))
        gone = {i for i in self.fresh if lot in (None, self.lot_of[i])}
        assert {i for a, b, _ in self.schedule.backlog.never_sent(lot) for i in range(a, b)} == gone
        self.fresh -= gone
        self.left -= gone
        self.done |= gone
        self.tell(ItemsDropped(lot))

    @precondition(lambda self: self.is_on() and not self.closed)
    @rule()
    def it_is_closed(self):
        self.closed = True
        self.tell(Closed())

    @invariant()
    def lots_that_are_done_are_forgotten(self):
        if hasattr(self, "schedule") and not self.ends:
            undone = {lot for i, lot in self.lot_of.items() if i not in self.done | self.failed}
            assert set(self.schedule.backlog.lots) == {0} | undone

    @invariant()
    def there_is_always_somebody_to_wait_for(self):
        if hasattr(self, "schedule") and (self.left or self.closed):
            super().there_is_always_somebody_to_wait_for()

    def all_items(self) -> set[int]:
        return {*range(self.n)}

    def teardown(self):
        if hasattr(self, "schedule") and not self.ends and not self.closed:
            self.closed = True
            self.tell(Closed())
        super().teardown()


OpenMachine.TestCase.settings = Machine.TestCase.settings
TestOpenScheduleMachine = OpenMachine.TestCase


def test_idle_deaths_are_not_an_items_fault_but_have_an_end():
    """Idle workers are killed: no item is lost, and after some restarts in a row the schedule gives up."""
    schedule = Schedule([(0, 10)], 1, fixed=2)
    (start,) = schedule.begin()
    number, deaths = start.worker, 0
    while True:
        schedule.handle(Ready(number))
        deaths += 1
        out = schedule.handle(Lost(number, idle=True))
        if GiveUp() in out:
            break
        number = next(i.worker for i in out if isinstance(i, Start))
    assert deaths == MAX_RESTARTS + 1
    assert sorted(schedule.left_over()) == [(0, 2), (2, 10)]
    assert schedule.losses == {}


def test_what_the_caller_was_at_is_left_over_when_nobody_can_be_started():
    schedule = Schedule([(0, 10)], 1, item_s=1e-3, caller_helps=True)
    assert schedule.begin() == [Start(0), Send(CALLER, Span(0, 1))]
    assert schedule.handle(Lost(0)) == [GiveUp()]
    assert schedule.left_over() == [(0, 1), (1, 10)]
