"""Items that raised are set aside and repeated when they are due, in virtual time: none lost, none early, none idle."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.schedule.failures import LONGEST_BACKOFF_S, Repeats, backoff_s
from amorsize.schedule.messages import Done, Fail, Finish, Ready, Retire, Running, Send, Span, Start, Tick
from amorsize.schedule.rate_limit import Pace
from amorsize.schedule.schedule import Schedule
from amorsize.testing import VirtualDriver

ROUNDING_S = 1e-9


class Noting(Repeats):
    """Notes each item that is set aside: when, and until when."""

    __slots__ = ("noted", "now_s")

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.noted = defaultdict(list)
        self.now_s = lambda: 0.0

    def set_aside(self, index, due_s, lot=0):
        self.noted[index].append((self.now_s(), due_s))
        super().set_aside(index, due_s, lot)


class Watched(VirtualDriver):
    """Asserts that no worker that is ready idles while an item may begin."""

    def _tell(self, event):
        yield from super()._tell(event)
        schedule = self.schedule
        if self._depth or self.is_over or schedule.pace is not None:
            return
        idle = [number for number in self.ready if not self.sent[number]]
        assert not (idle and schedule.backlog.is_due), f"{idle} idle after {event}"


def watched(n, workers, repeats, raises, *, item_s=0.01, **options):
    """Run a map, and check what holds for any; return the driver and its record."""
    driver = Watched(Schedule([(0, n)], workers, retries=repeats, **options), [item_s] * n, raises=raises)
    repeats.now_s = lambda: driver.machine.now_s
    record = driver.run()
    assert driver.finished
    assert sorted([*driver.done, *driver.failed]) == list(range(n))
    assert driver.failed == {i: "raised" for i in range(n) if raises.get(i, 0) > repeats.retries}
    assert all(driver.runs[i] == min(raises.get(i, 0), repeats.retries) + 1 for i in range(n))
    assert repeats.tries == {}
    assert repeats.aside == []
    begins = defaultdict(list)
    for chunk in record.chunks:
        for index in range(chunk.start, chunk.stop):
            begins[index].append(chunk.began_s)
    for index, noted in repeats.noted.items():
        for tries, ((at_s, due_s), again_s) in enumerate(zip(noted, begins[index][1:], strict=True), 1):
            assert 0.0 < due_s - at_s <= backoff_s(tries, repeats.base_s) + ROUNDING_S
            assert again_s >= due_s - ROUNDING_S
    return driver, record


@given(
    n=st.integers(1, 80),
    workers=st.integers(1, 6),
    retries=st.integers(0, 4),
    base_s=st.sampled_from([1e-3, 0.03, 1.0, 500.0]),
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.05, 0.5, 1.0]),
    fixed=st.sampled_from([None, 1, 7]),
    prefetch=st.booleans(),
    rate=st.sampled_from([None, None, 30.0]),
)
@settings(max_examples=150, deadline=None)
def test_no_item_is_lost_or_early_or_repeated_too_often(
    n, workers, retries, base_s, seed, share, fixed, prefetch, rate
):
    chance = random.Random(seed)
    raises = {i: chance.randrange(1, 7) for i in range(n) if chance.random() < share}
    repeats = Noting(retries, base_s=base_s, draw=chance.random)
    pace = None if rate is None else Pace(rate)
    driver, record = watched(n, workers, repeats, raises, fixed=fixed, prefetch=prefetch, pace=pace)
    if rate is None:
        # The caller wakes when an item is due, and not in between; by rounding it may wake a moment too early.
        wakes = sum(isinstance(what, Tick) for _, what in driver.log)
        assert wakes <= 2 * sum(map(len, repeats.noted.values()))
    if rate is not None:
        begun = sorted(chunk.began_s for chunk in record.chunks for _ in range(chunk.start, chunk.stop))
        assert all(
            later - sooner >= (k - pace.burst) / rate - ROUNDING_S
            for at, sooner in enumerate(begun)
            for k, later in enumerate(begun[at:])
        )


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    def begins(seed):
        repeats = Noting(3, base_s=1.0, draw=random.Random(seed).random)
        return [chunk.began_s for chunk in watched(30, 2, repeats, dict.fromkeys(range(30), 2))[1].chunks]

    assert begins(1) == begins(1) != begins(2)


def test_a_worker_goes_on_while_items_are_set_aside():
    repeats = Noting(1, base_s=10.0)
    driver, record = watched(100, 1, repeats, {0: 1}, item_s=1.0, fixed=1)
    # Item 0 is due after 11 s, and takes its second.
    assert record.makespan_s == 101.0
    assert [chunk.start for chunk in record.chunks][10:13] in ([10, 0, 11], [10, 11, 0])
    assert driver.runs[0] == 2


def test_a_map_whose_last_items_are_set_aside_sleeps_until_they_are_due():
    driver, record = watched(3, 2, Noting(2, base_s=20.0), {1: 2}, item_s=1.0, fixed=1)
    assert record.makespan_s == pytest.approx(1 + 20 + 1 + 40 + 1)
    assert sum(isinstance(what, Tick) for _, what in driver.log) == 2
    assert record.dispatcher_s == 0.0


def test_a_rate_does_not_wake_the_caller_while_all_items_are_set_aside():
    driver, record = watched(3, 2, Noting(1, base_s=50.0), dict.fromkeys(range(3), 1), fixed=1, pace=Pace(100.0))
    assert 50.0 < record.makespan_s < 51.0
    assert sum(isinstance(what, Tick) for _, what in driver.log) < 10


def test_no_worker_leaves_before_the_last_repeat():
    schedule = Schedule([(0, 1)], 1, retries=Repeats(1, base_s=5.0))
    assert schedule.begin(0.0) == [Start(0)]
    assert schedule.handle(Ready(0), 0.0) == [Send(0, Span(0, 1))]
    assert schedule.handle(Done(0, 1.0, failed=(0,)), 1.0) == []
    assert schedule.counts() == (1, 0, 0)
    assert schedule.wait_s(1.0) == 5.0
    assert schedule.handle(Tick(), 5.9) == []
    assert schedule.handle(Tick(), 6.0) == [Send(0, Span(0, 1))]
    assert schedule.wait_s(6.0) is None
    assert schedule.handle(Done(0, 1.0), 7.0) == [Retire(0), Finish()]


def test_a_late_item_is_set_aside_as_one_that_raised():
    schedule = Schedule([(0, 1)], 1, retries=Repeats(1, (), base_s=5.0), timeout_s=1.0)
    schedule.begin(0.0)
    schedule.handle(Ready(0), 0.0)
    (_, start) = schedule.handle(Tick((Running(0, 0, 1.5),)), 1.5)
    assert start == Start(1)
    schedule.handle(Ready(1), 2.0)
    assert schedule.wait_s(2.0) == 4.5
    assert schedule.handle(Tick(), 6.5) == [Send(1, Span(0, 1))]


def test_what_no_repeat_is_allowed_for_fails_at_once():
    schedule = Schedule([(0, 2)], 1, retries=Repeats(5, base_s=5.0), fixed=2)
    schedule.begin(0.0)
    schedule.handle(Ready(0), 0.0)
    assert schedule.handle(Done(0, 1.0, failed=(0, 1), final=(0,)), 1.0) == [Fail(0)]
    assert [index for _, index, _ in schedule.repeats.aside] == [1]


@pytest.mark.parametrize("backoff", [0.0, 0.05])
def test_an_endless_stream_comes_to_its_repeats_although_there_is_always_a_next_chunk(backoff):
    schedule = Schedule([(0, None)], 1, retries=Repeats(1, base_s=backoff), fixed=3, item_s=1e-4, evidence=50)
    schedule.begin(0.0)
    out, now_s, sent = schedule.handle(Ready(0), 0.0), 0.0, []
    while now_s < 0.1:
        sent += [(now_s, one.span.start) for one in out if isinstance(one, Send)]
        assert len(schedule.workers[0].flying) > 1, "the worker waits for its next chunk"
        now_s += 0.0003
        failed = (0,) if schedule.oldest(0).start == 0 and len(schedule.oldest(0)) == 3 else ()
        out = schedule.handle(Done(0, 0.0003, failed), now_s)
    (again_s,) = [at_s for at_s, start in sent if start == 0][1:]
    assert backoff < again_s < backoff + 0.002


def test_items_that_are_set_aside_count_as_ahead_of_the_reader():
    schedule = Schedule([(0, None)], 2, retries=Repeats(1, base_s=100.0), fixed=1, window=5)
    out = [*schedule.begin(0.0), *schedule.handle(Ready(0), 0.0), *schedule.handle(Ready(1), 0.0)]
    sent = [one for one in out if isinstance(one, Send)]
    for at, one in enumerate(sent):
        sent += [o for o in schedule.handle(Done(one.worker, 1.0, (one.span.start,)), at + 1.0) if isinstance(o, Send)]
    assert [one.span.start for one in sent] == [0, 1, 2, 3, 4]
    assert len(schedule.repeats.aside) == 5


@given(tries=st.integers(1, 10_000), base_s=st.floats(0.0, 1e300), share=st.floats(0.0, 1.0))
def test_the_backoff_is_doubled_up_to_a_minute(tries, base_s, share):
    longest = min(LONGEST_BACKOFF_S, base_s * 2.0 ** min(1023, tries - 1))
    assert 0.0 <= backoff_s(tries, base_s, share) == share * longest <= LONGEST_BACKOFF_S
