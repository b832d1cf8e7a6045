"""The schedule in virtual time: every order of completions, losses and errors, and the books right after each."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import Run, is_whole

from amorsize.model.events import CALLER, Done, Fail, Finish, Lost, Ready, Retire, Send, Span, Start
from amorsize.model.schedule import Schedule

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
    helps=st.booleans(),
    open_end=st.booleans(),
    item_s=st.sampled_from([0.0, 1e-5, 0.01, 1.0]),
    fixed=st.sampled_from([None, 1, 7]),
)
def test_no_item_is_lost_or_run_twice_whatever_happens(
    n, workers, seed, death, error, straggle, unready, hides, retries, helps, open_end, item_s, fixed
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
        caller_helps=helps,
        open_end=open_end,
        item_s=item_s,
        fixed=fixed,
    ).go()
    is_whole(run)


@pytest.mark.parametrize("seed", range(RUNS))
def test_long_runs_with_losses_and_stragglers(seed):
    run = Run(2000, 2 + seed % 7, seed, death=0.02, error=0.001, straggle=0.02, retries=1).go()
    assert run.finished
    is_whole(run)


def test_the_same_seed_gives_the_same_run():
    logs = [Run(500, 4, 7, death=0.1, error=0.05, straggle=0.1, retries=1).go().log for _ in range(2)]
    assert logs[0] == logs[1]
    assert logs[0] != Run(500, 4, 8, death=0.1, error=0.05, straggle=0.1, retries=1).go().log


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
    assert sorted((s.start, s.stop, s.alone) for s in schedule.again) == [(0, 1, False), (1, 2, True), (2, 4, False)]
