"""The schedule in virtual time: every order of completions, losses and errors, with its counts checked after each."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import OpenRun, Run, is_whole

from amorsize.schedule.messages import (
    CALLER,
    Closed,
    Done,
    Fail,
    Finish,
    GiveUp,
    ItemsAdded,
    ItemsDropped,
    Kill,
    Lost,
    Ready,
    Retire,
    Running,
    Send,
    Span,
    Start,
    Tick,
)
from amorsize.schedule.rate_limit import Pace
from amorsize.schedule.schedule import ASK_AGAIN_S, IDLE_LOOK_S, MAX_RESTARTS, Schedule
from amorsize.schedule.worker_count import WorkerCount

RUNS = int(os.environ.get("AMORSIZE_SIMULATED_RUNS", "60"))  # 1000 in the long lane


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(0, 300),
    workers=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    death=st.sampled_from([0.0, 0.05, 0.3]),
    error=st.sampled_from([0.0, 0.02, 0.5]),
    straggle=st.sampled_from([0.0, 0.1]),
    unready=st.sampled_from([0.0, 0.2, 1.0]),
    hides=st.booleans(),
    retries=st.integers(0, 2),
    backoff=st.sampled_from([0.0, 0.0, 0.05, 3.0]),
    helps=st.booleans(),
    open_end=st.booleans(),
    item_s=st.sampled_from([0.0, 1e-5, 0.01, 1.0]),
    fixed=st.sampled_from([None, 1, 7]),
    first=st.sampled_from([None, 1, 3]),
)
def test_no_item_is_lost_or_run_twice_whatever_happens(
    n, workers, seed, death, error, straggle, unready, hides, retries, backoff, helps, open_end, item_s, fixed, first
):
    run = Run(
        n,
        workers,
        seed,
        death=death,
        error=error,
        straggle=straggle,
        unready=unready,
        hides=hides,
        retries=retries,
        backoff=backoff,
        caller_helps=helps,
        open_end=open_end,
        item_s=item_s,
        fixed=fixed,
        first=first,
    ).go()
    is_whole(run)


@pytest.mark.parametrize("seed", range(RUNS))
def test_long_runs_with_losses_time_outs_and_stragglers(seed):
    run = Run(
        2000, 2 + seed % 7, seed, death=0.02, error=0.001, straggle=0.02, late=0.02, timeout_s=20.0, retries=1
    ).go()
    assert run.finished
    is_whole(run)


def test_the_same_seed_gives_the_same_run():
    chances = {"death": 0.1, "error": 0.05, "straggle": 0.1, "late": 0.1, "timeout_s": 20.0, "retries": 1}
    logs = [Run(500, 4, seed, **chances).go().log for seed in (7, 7, 8)]
    assert logs[0] == logs[1] != logs[2]


@pytest.mark.parametrize("hides", [False, True])
def test_an_item_that_kills_its_worker_twice_fails_once_and_alone(hides):
    run = Run(200, 3, 1, deadly={17, 150}, hides=hides).go()
    assert run.finished
    assert run.failed == {17: "lost", 150: "lost"}
    assert sorted(run.done) == [i for i in range(200) if i not in (17, 150)]


def test_all_items_deadly_still_ends():
    run = Run(12, 3, 1, deadly=range(12)).go()
    assert run.finished
    assert run.failed == dict.fromkeys(range(12), "lost")


def test_an_item_is_repeated_as_often_as_allowed_and_then_fails():
    schedule = Schedule([(0, 1)], 1, retries=2)
    schedule.begin()
    assert schedule.handle(Ready(0)) == [Send(0, Span(0, 1))]
    for _ in range(2):
        assert schedule.handle(Done(0, 1.0, failed=(0,))) == [Send(0, Span(0, 1))]
    assert schedule.handle(Done(0, 1.0, failed=(0,))) == [Fail(0), Retire(0), Finish()]


def test_an_item_that_went_well_at_last_is_forgotten():
    schedule = Schedule([(0, None)], 1, retries=2, fixed=3)
    schedule.begin()
    schedule.handle(Ready(0))
    for _ in range(100):
        schedule.handle(Done(0, 1.0, failed=(schedule.oldest(0).start,)))
        while len(schedule.oldest(0)) == 1:
            schedule.handle(Done(0, 1.0))
    assert schedule.repeats.tries == schedule.losses == {}


def test_workers_that_cannot_begin_are_not_replaced_for_ever():
    run = Run(10, 4, 1, unready=1.0).go()
    assert run.abandoned
    assert sum(isinstance(e, Start) for _, e in run.log) <= 4
    assert run.schedule.left_over() == [(0, 10)]


def test_the_caller_works_only_until_a_worker_is_ready():
    schedule = Schedule([(0, 100)], 1, item_s=1e-4, evidence=50, caller_helps=True)
    first = schedule.begin()
    assert [i for i in first if isinstance(i, Send)] == [Send(CALLER, Span(0, 10))]
    schedule.handle(Ready(0))
    assert not any(isinstance(i, Send) and i.worker == CALLER for i in schedule.handle(Done(CALLER, 1e-3)))


def test_chunks_shrink_towards_the_end():
    run = Run(4000, 4, 3, item_s=1e-4, evidence=1000).go()
    sizes = [len(i.span) for _, i in run.log if isinstance(i, Send)]
    assert sizes[0] > 10 * sizes[-1]


def test_a_fast_prefix_does_not_end_in_one_huge_batch():
    """One chunk never holds more than twice the items of the largest that has ended."""
    schedule = Schedule([(0, 1_000_000)], 1, item_s=1e-9)
    schedule.begin()
    (send,) = schedule.handle(Ready(0))[:1]
    largest, size = 0, len(send.span)
    for _ in range(8):
        assert size <= max(2 * largest, 2)
        largest = max(largest, size)
        sends = [i for i in schedule.handle(Done(0, 1e-9 * size)) if isinstance(i, Send)]
        size = max((len(i.span) for i in sends), default=size)


def test_a_lost_worker_leaves_other_spans_untouched():
    schedule = Schedule([(0, 8)], 2, fixed=4)
    schedule.begin()
    schedule.handle(Ready(0))
    schedule.handle(Ready(1))
    out = schedule.handle(Lost(0, item=1))
    assert list(schedule.workers[1].flying) == [Span(4, 8)]
    assert Start(2) in out
    assert sorted((s.start, s.stop, s.alone) for s in schedule.backlog.again) == [
        (0, 1, False),
        (1, 2, True),
        (2, 4, False),
    ]


class TestTimeOuts:
    def test_only_the_item_that_is_late_fails_and_the_rest_goes_back(self):
        schedule = Schedule([(0, 8)], 2, fixed=4, timeout_s=1.0)
        schedule.begin()
        schedule.handle(Ready(0))
        schedule.handle(Ready(1))
        assert schedule.handle(Tick((Running(0, 1, 0.9),))) == []
        out = schedule.handle(Tick((Running(0, 1, 1.1), Running(1, 4, 0.2))))
        assert out == [Kill(0), Fail(1, "late"), Start(2)]
        assert [(s.start, s.stop) for s in schedule.backlog.again] == [(0, 1), (2, 4)]
        assert list(schedule.workers[1].flying) == [Span(4, 8)]

    def test_it_is_repeated_as_often_as_allowed(self):
        schedule = Schedule([(0, 1)], 1, timeout_s=1.0, retries=1)
        schedule.begin()
        schedule.handle(Ready(0))
        assert schedule.handle(Tick((Running(0, 0, 2.0),))) == [Kill(0), Start(1)]
        schedule.handle(Ready(1))
        assert schedule.handle(Tick((Running(1, 0, 2.0),))) == [Kill(1), Fail(0, "late"), Finish()]

    def test_a_look_that_comes_too_late_ends_nobody(self):
        schedule = Schedule([(0, 2)], 1, fixed=1, timeout_s=1.0)
        schedule.begin()
        schedule.handle(Ready(0))
        schedule.handle(Done(0, 1.5))
        assert schedule.handle(Tick((Running(0, 0, 1.5),))) == []


class TestPace:
    @given(rate=st.floats(0.5, 500), n=st.integers(1, 200), workers=st.integers(1, 8), seed=st.integers(0, 99))
    @settings(max_examples=60, deadline=None)
    def test_no_time_sees_more_items_begin_than_the_rate_allows(self, rate, n, workers, seed):
        run = Run(n, workers, seed, error=0.05, retries=1, pace=Pace(rate))
        run.go()
        is_whole(run)
        begun = [(at, len(i.span)) for at, i in run.log if isinstance(i, Send)]
        burst = max(1.0, rate * 0.05)
        for k, (since, _) in enumerate(begun):
            items = 0
            for at, size in begun[k:]:
                items += size
                assert items <= rate * (at - since) + burst + 1e-6


class TestCrew:
    def grow(self, speed_of, workers=2, most=16, cpu=0.05, alone=1.0, periods=12):
        """Run a `WorkerCount` for some periods; ``speed_of`` a number of workers is in items per second."""
        worker_count, now, sizes = WorkerCount(cores=2.0, most=most, alone_s=alone, may_lose=True), 0.0, [workers]
        worker_count.begin(now)
        for _ in range(periods):
            wall = workers / speed_of(workers)
            n = 4 * workers
            for _ in range(n):
                worker_count.saw(1, wall, min(wall, cpu))
            now += max(n / speed_of(workers), 3.1 * wall, 0.11)
            worker_count.items = max(1, round(speed_of(workers) * (now - worker_count.began_s)))
            worker_count.wall_s = worker_count.items * wall
            advice = worker_count.advice(workers, now)
            if advice == 0:
                return 0
            workers = workers if advice is None else advice
            sizes.append(workers)
        return workers

    def test_workers_are_added_while_items_wait_and_throughput_grows(self):
        assert self.grow(lambda w: w / 1.0) == 16

    def test_no_more_are_added_when_a_server_is_saturated(self):
        assert self.grow(lambda w: min(w, 4) / 1.0) in (4, 5, 8)

    def test_a_crowd_at_a_small_server_is_thinned_out(self):
        assert self.grow(lambda w: min(w, 4) / 1.0, workers=16) <= 8

    def test_it_gives_up_when_the_loop_is_faster(self):
        assert self.grow(lambda w: 0.5, cpu=1.0) == 0

    def test_computing_items_on_busy_cores_change_nothing(self):
        assert self.grow(lambda w: min(w, 2) / 1.0, cpu=1.0) == 2

    @pytest.mark.parametrize(("read_s", "advice"), [(0.0, 0), (2.0, None)])
    def test_workers_that_wait_for_items_are_worth_it_if_the_caller_must_make_these_too(self, read_s, advice):
        """A second's work for an item that takes two to make: workers do one in two seconds, the caller in three."""
        worker_count = WorkerCount(cores=2.0, most=2, alone_s=1.0, may_lose=True, read_s=read_s)
        for period in range(2):
            worker_count.begin(period * 100.0)
            for _ in range(50):
                worker_count.saw(1, 1.0, 1.0)
            said = worker_count.advice(2, period * 100.0 + 100.0)
        assert said == advice

    def test_starvation_is_no_evidence(self):
        worker_count = WorkerCount(cores=2.0, most=8, alone_s=1.0, may_lose=True)
        for period in range(5):
            worker_count.begin(period * 100.0)
            for _ in range(10):
                worker_count.saw(1, 1.0, 1.0)
            worker_count.starved = True
            assert worker_count.advice(2, period * 100.0 + 99) is None


def test_a_schedule_retreats_when_workers_only_lose_time():
    """Each chunk takes four times as long to come back as it was worked at: the caller alone would be faster."""
    worker_count = WorkerCount(cores=2.0, most=2, alone_s=0.0, may_lose=True)
    schedule = Schedule([(0, 100_000)], 2, item_s=1e-3, evidence=1000, worker_count=worker_count)
    now, flying, out = 0.0, [], schedule.begin(0.0)
    out += schedule.handle(Ready(0), 0.0) + schedule.handle(Ready(1), 0.0)
    for _ in range(500):
        flying += [i for i in out if isinstance(i, Send)]
        if not flying:
            break
        send = flying.pop(0)
        now += 4e-3 * len(send.span)
        out = schedule.handle(Done(send.worker, 1e-3 * len(send.span), cpu_s=1e-3 * len(send.span)), now)
    assert out[-1] == GiveUp(slow=True)
    assert {type(i) for i in out[:-1]} == {Retire}
    assert schedule.counts()[1] == 0
    assert schedule.backlog.done < 20_000
    assert sum(b - a for a, b in schedule.left_over()) + schedule.backlog.done == 100_000


# --- while more may come ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    lots=st.lists(st.tuples(st.integers(1, 60), st.sampled_from([None, None, 1, 5])), max_size=8),
    workers=st.integers(1, 5),
    seed=st.integers(0, 2**32),
    death=st.sampled_from([0.0, 0.05, 0.3]),
    error=st.sampled_from([0.0, 0.1]),
    unready=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_lots_that_come_and_go_are_run_whole(lots, workers, seed, death, error, unready):
    run = OpenRun(lots, workers, seed, death=death, error=error, unready=unready).go()
    if run.finished:
        is_whole(run)
        assert set(run.schedule.backlog.lots) == {0}
        for lot, (_, fixed) in enumerate(lots):
            assert fixed is None or max(run.sizes[lot]) <= fixed
    else:
        assert unready, "workers that come to work are never too few"


def served(workers=2):
    schedule = Schedule([], workers, is_open=True)
    for start in schedule.begin(eager=True):
        schedule.handle(Ready(start.worker))
    return schedule


def test_workers_start_as_they_are_needed():
    schedule = Schedule([], 3, is_open=True)
    assert schedule.begin() == []
    assert schedule.handle(ItemsAdded(0, 1, 0, 1)) == [Start(0)]
    assert schedule.handle(ItemsAdded(1, 2, 0, 1)) == [Start(1)]
    assert schedule.handle(Ready(0)) == [Send(0, Span(0, 1))]
    assert schedule.handle(Ready(1)) == [Send(1, Span(1, 2))]
    assert schedule.handle(Done(0, 1.0)) == []
    assert schedule.handle(ItemsAdded(2, 3, 0, 1)) == [Send(0, Span(2, 3))]
    assert schedule.handle(ItemsAdded(3, 9, 0, 1)) == [Start(2)]


def test_single_calls_do_not_queue_behind_anything_even_after_the_end_was_announced():
    schedule = served(1)
    assert schedule.handle(ItemsAdded(0, 2, 0, 1)) == [Send(0, Span(0, 1))]
    assert schedule.handle(Closed()) == []
    assert schedule.handle(Done(0, 1e-6)) == [Send(0, Span(1, 2))]
    assert schedule.handle(Done(0, 1e-6)) == [Retire(0), Finish()]


def test_a_map_does_not_queue_behind_a_call_that_may_wait_for_it():
    schedule = served(1)
    schedule.handle(ItemsAdded(0, 1, 0, 1))
    assert schedule.handle(ItemsAdded(1, 1000, 1)) == []
    assert schedule.handle(Done(0, 60.0)) == [Send(0, Span(1, 2, lot=1))]


def test_each_lot_learns_its_own_chunks():
    schedule = served(1)
    schedule.handle(ItemsAdded(0, 1000, 1))
    schedule.handle(ItemsAdded(1000, 1003, 2))
    sizes = {1: [], 2: []}
    while schedule.workers[0].flying:
        span = schedule.oldest(0)
        sizes[span.lot].append(len(span))
        schedule.handle(Done(0, 1e-6 if span.lot == 1 else 9.0))
    assert len(sizes[1]) < 50
    assert sizes[2] == [1, 1, 1]
    assert schedule.backlog.lots.keys() == {0}


def test_what_was_dropped_is_not_sent_and_what_was_sent_is_finished():
    schedule = served(1)
    schedule.handle(ItemsAdded(0, 10, 1, 1))
    schedule.handle(ItemsAdded(10, 12, 0, 1))
    assert schedule.backlog.never_sent(1) == [(1, 10, 1)]
    assert schedule.handle(ItemsDropped(1)) == []
    assert schedule.handle(Done(0, 1.0)) == [Send(0, Span(10, 11))]
    assert schedule.handle(ItemsDropped()) == []
    assert schedule.handle(Closed()) == []
    assert schedule.handle(Done(0, 1.0)) == [Retire(0), Finish()]
    assert schedule.counts() == (0, 0, 12)


def test_idle_workers_may_leave_as_often_as_they_like():
    schedule = served(2)
    for round_ in range(3 * MAX_RESTARTS):
        for number in list(schedule.workers):
            assert schedule.handle(Lost(number, idle=True)) == []
        out = schedule.handle(ItemsAdded(round_, round_ + 1, 0, 1))
        (start,) = out
        (send,) = schedule.handle(Ready(start.worker))
        schedule.handle(Done(send.worker, 1.0))


def test_after_a_while_it_asks_for_all_workers_again():
    schedule = Schedule([], 2, is_open=True)
    schedule.handle(ItemsAdded(0, 2, 0, 1), 0.0)
    schedule.handle(Lost(1), 0.0)
    schedule.handle(Ready(0), 0.0)
    assert schedule.handle(ItemsAdded(2, 3, 0, 1), ASK_AGAIN_S / 2) == []
    assert schedule.handle(ItemsAdded(3, 4, 0, 1), 2 * ASK_AGAIN_S) == [Start(2)]


def test_when_no_worker_can_begin_it_gives_up():
    schedule = Schedule([], 2, is_open=True)
    todo, started = schedule.handle(ItemsAdded(0, 9, 0, 1)), 0
    while isinstance(todo[0], Start):
        started += 1
        todo += schedule.handle(Lost(todo.pop(0).worker))
    assert todo == [GiveUp()]
    assert started == MAX_RESTARTS + 1


def test_an_events_cost_does_not_grow_with_what_is_queued():
    """The cost is counted in steps of the interpreter, not in seconds."""

    def steps(queued):
        import sys

        schedule = served(2)
        for lot in range(1, queued):
            schedule.handle(ItemsAdded(10 * lot, 10 * lot + 10, lot))
        seen = 0

        def count(*_):
            nonlocal seen
            seen += 1
            return count

        sys.settrace(count)
        try:
            schedule.handle(Done(0, 1.0))
            schedule.handle(ItemsAdded(10**6, 10**6 + 1, 0, 1))
        finally:
            sys.settrace(None)
        return seen

    assert steps(2000) <= 2 * steps(20)


def paced(rate, workers=2, **options):
    schedule = Schedule([(0, 1000)], workers, pace=Pace(rate), item_s=1.0, evidence=10, fixed=1, **options)
    schedule.begin(0.0)
    return schedule


def test_while_all_are_busy_there_is_no_use_in_asking_again_at_once():
    """More items may begin than the workers can take: with no wait the caller would spin until one is done."""
    schedule = paced(1000.0)
    now_s = 0.0
    for number in range(2):
        schedule.handle(Ready(number), now_s)
    assert schedule.workers.in_flight >= 2
    for _ in range(5):
        wait_s = schedule.wait_s(now_s)
        assert wait_s >= IDLE_LOOK_S
        now_s += wait_s
        assert schedule.handle(Tick(()), now_s) == []


def test_who_was_held_back_is_told_when_the_next_item_may_begin():
    schedule = paced(1.0)  # one item may begin at once
    assert Send(0, Span(0, 1)) in schedule.handle(Ready(0), 0.0)
    assert schedule.handle(Ready(1), 0.25) == []
    assert schedule.wait_s(0.25) == pytest.approx(0.75)
    assert any(isinstance(each, Send) for each in schedule.handle(Tick(()), 1.0))


def test_without_a_rate_nobody_waits_for_time():
    schedule = Schedule([(0, 1000)], 2, item_s=1.0)
    schedule.begin()
    assert schedule.wait_s(0.0) is None


@pytest.mark.parametrize("prefetch", [True, False])
def test_a_worker_is_sent_its_next_span_ahead_unless_that_is_not_wanted(prefetch):
    schedule = Schedule([(0, 1000)], 1, item_s=1e-4, evidence=10, fixed=1, prefetch=prefetch)
    schedule.begin()
    sent = sum(isinstance(each, Send) for each in schedule.handle(Ready(0)))
    assert sent > 1 if prefetch else sent == 1


# -- workers that take long to start ----------------------------------------------------------------------------------


def started(instructions):
    return sum(isinstance(one, Start) for one in instructions)


def test_the_caller_keeps_a_core_until_it_is_known_how_long_a_worker_takes():
    schedule = Schedule([(0, 100)], 4, item_s=1.0, caller_helps=True, first=3)
    assert started(schedule.begin(10.0)) == 3
    assert started(schedule.handle(Ready(0), 12.0)) == 1, "the others have 100 s of work"
    assert started(schedule.handle(Ready(1), 12.5)) == 0
    assert schedule.wanted == 4


def test_workers_that_would_be_ready_too_late_are_not_started():
    schedule = Schedule([(0, 10)], 2, item_s=0.1, caller_helps=True, first=1)
    schedule.begin(0.0)
    assert started(schedule.handle(Ready(0), 5.0)) == 0, "1 s of work is left, and a worker takes 5 s"
    assert schedule.wanted == 1


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.0, 1.0), st.floats(0.01, 10.0))
def test_no_more_workers_start_than_wanted(workers, first, item_s, took_s):
    schedule = Schedule([(0, 50)], workers, item_s=item_s, first=first)
    begun = started(schedule.begin(0.0))
    assert begun == min(first, workers)
    later = started(schedule.handle(Ready(0), took_s))
    assert begun + later <= workers
    assert begun + later == schedule.wanted


def test_a_caller_that_waits_loses_its_patience():
    schedule = Schedule([(0, 10)], 2, item_s=1.0, patience_s=3.0)
    assert not [one for one in schedule.begin(0.0) if isinstance(one, Send)]
    assert schedule.wait_s(1.0) == 2.0
    assert schedule.handle(Tick(()), 2.9) == []
    assert schedule.handle(Tick(()), 3.0) == [Send(CALLER, Span(0, 1))]
    assert schedule.wait_s(3.0) is None
    assert schedule.handle(Ready(1), 3.5) != []
    assert schedule.handle(Done(CALLER, 1.0), 4.0) == [], "workers do the rest"


def test_patience_ends_when_a_worker_is_ready():
    schedule = Schedule([(0, 10)], 2, item_s=1.0, patience_s=3.0)
    schedule.begin(0.0)
    schedule.handle(Ready(0), 1.0)
    assert schedule.wait_s(2.0) is None
    assert CALLER not in schedule.workers


def test_the_seconds_until_one_more_item_is_done():
    schedule = Schedule([(0, 100)], 2, item_s=0.5)
    assert schedule.per_item_s() is None
    schedule.begin()
    schedule.handle(Ready(0))
    assert schedule.per_item_s() == 0.5
    schedule.handle(Ready(1))
    assert schedule.per_item_s() == 0.25
    # Of an executor's tasks some only wait for a place.
    assert schedule.per_item_s(most=1) == 0.5


def test_they_are_no_fewer_than_the_rate_allows():
    schedule = Schedule([(0, 100)], 2, item_s=0.1, pace=Pace(3.0))
    schedule.begin()
    schedule.handle(Ready(0))
    assert schedule.per_item_s() == 1 / 3
