"""Costs of engines: the arithmetic on made-up laps, and laps of threads. Processes are measured in test_calibrate."""

import math
import threading
from dataclasses import replace
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_trees import patient

from amorsize.facts import BackendCost
from amorsize.measure import laps, start_cost
from amorsize.measure.laps import Lap, lap
from amorsize.measure.start_cost import MOST_PER_BYTE_S, Channel, assemble, channel_of, fit
from amorsize.measure.timer import Timing
from amorsize.model.default_costs import PLAUSIBLE, START_S, recorded
from amorsize.model.starts import corrected
from amorsize.system.clock import Clock

ENGINES = sorted(START_S, key=str)
seconds = st.floats(1e-6, 1e2)
anything = st.one_of(st.floats(), st.floats(-1.0, 1.0), st.floats(0.0, 0.1))


def usual(engine, method, workers=2):
    """Return a timing of the recorded cost, without noise."""
    return Timing(recorded(engine, method).start.total_s(workers), 0.01, 5, True)


def a_channel(engine, method):
    known = recorded(engine, method).channel
    return Channel(known.per_chunk_s, 50e-6, 1e-9, 2e-9)


# -- the line through two points -------------------------------------------------------------------------------------


@patient
@given(seconds, seconds, st.integers(2, 64))
def test_the_line_never_goes_below_zero(one_s, many_s, workers):
    base_s, per_worker_s = fit(one_s, many_s, workers)
    assert base_s >= 0
    assert per_worker_s >= 0
    for p in (1, workers):
        total = base_s + p * per_worker_s
        assert min(one_s, many_s) * 0.999 - 1e-9 <= total or one_s < per_worker_s
        assert total <= max(one_s, many_s) * 1.001 + 1e-9


@patient
@given(st.floats(1e-4, 1.0), st.floats(1e-5, 0.1), st.integers(2, 8))
def test_the_line_goes_through_both_points(base_s, per_worker_s, workers):
    found = fit(base_s + per_worker_s, base_s + workers * per_worker_s, workers)
    assert found == pytest.approx((base_s, per_worker_s), rel=1e-3, abs=1e-8)


# -- what is plausible -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "method"), ENGINES)
def test_plausible_figures_are_taken(engine, method):
    cost = assemble(
        engine, method, 2, usual(engine, method, 1), usual(engine, method), a_channel(engine, method), 20e-12
    )
    known = recorded(engine, method)
    assert cost.measured
    assert cost.warnings == ()
    assert cost.start.total_s(2) == pytest.approx(known.start.total_s(2))
    assert cost.start.per_caller_byte_s == (20e-12 if method == "fork" else 0.0)
    assert cost.channel.inherits == known.channel.inherits
    assert cost.channel.recv_s_per_byte == 2e-9
    assert cost.channel.worker_s_per_byte == pytest.approx(2e-9 if cost.channel.inherits else 1.5e-9)


@pytest.mark.parametrize("seen_s", [0.0, -1.0, 1e-7, 1e3, math.nan, math.inf])
def test_a_start_that_cannot_be_is_not_believed(seen_s):
    cost = assemble(
        "pool", "fork", 2, Timing(seen_s, 0, 5, True), Timing(seen_s, 0, 5, True), a_channel("pool", "fork"), 0
    )
    assert cost.start == recorded("pool", "fork").start
    assert "recorded" in cost.warnings[0]


def test_a_start_that_is_slow_in_every_round_is_the_sandboxs_own():
    """0.3 s for two forked workers: twenty times the recorded figure."""
    slow, slow_one = Timing(0.3, 0.1, 5, False), Timing(0.16, 0.1, 5, False)
    cost = assemble("pool", "fork", 2, slow_one, slow, a_channel("pool", "fork"), 0)
    assert cost.start.total_s(2) == pytest.approx(0.3)
    assert cost.warnings == ()
    restless = assemble("pool", "fork", 2, slow_one, slow._replace(spread=0.8), a_channel("pool", "fork"), 0)
    assert restless.start == recorded("pool", "fork").start


@pytest.mark.parametrize("seen_s", [0.0, -1.0, 1.0, math.nan, math.inf])
def test_a_chunk_that_cannot_be_is_not_believed(seen_s):
    channel = a_channel("pool", "fork")._replace(per_chunk_s=seen_s)
    cost = assemble("pool", "fork", 2, usual("pool", "fork", 1), usual("pool", "fork"), channel, 0)
    assert cost.channel.per_chunk_s == recorded("pool", "fork").channel.per_chunk_s
    assert "chunk" in cost.warnings[0]


def test_a_busy_machine_is_told_of():
    restless = usual("pool", "spawn")._replace(spread=0.8)
    cost = assemble("pool", "spawn", 2, usual("pool", "spawn", 1), restless, a_channel("pool", "spawn"), 0)
    assert cost.start.spread == 0.8
    assert "busy" in cost.warnings[0]


@patient
@given(st.sampled_from(ENGINES), anything, anything, anything, anything, anything, anything, st.integers(2, 8))
def test_whatever_was_read_the_cost_is_sound(which, one, many, chunk, byte, latency, per_byte, workers):
    timings = Timing(one, 0.1, 3, False), Timing(many, abs(many) if math.isfinite(many) else 0.2, 3, False)
    cost = assemble(*which, workers, *timings, Channel(chunk, latency, byte, byte), per_byte)
    assert_sound(cost)


def assert_sound(cost: BackendCost):
    known = recorded(cost.engine, cost.start_method)
    numbers = [getattr(part, name) for part in (cost.start, cost.channel) for name in part.__dataclass_fields__]
    assert all(math.isfinite(number) and number >= 0 for number in numbers)
    assert cost.start.total_s(1) > 0
    assert 0 < cost.start.spread <= 1
    assert cost.start.per_caller_byte_s <= MOST_PER_BYTE_S
    expected = known.channel.per_chunk_s
    assert expected / PLAUSIBLE <= cost.channel.per_chunk_s <= expected * PLAUSIBLE


@patient
@given(st.lists(st.builds(Lap, *[st.floats(0, 1)] * 5), min_size=1), st.builds(Lap, *[st.floats(0, 1)] * 5))
def test_pickling_is_taken_off(fulls, lone):
    found = channel_of(fulls, lone, (0.5, 0.25))
    assert min(found) >= 0
    assert found.send_s_per_byte == pytest.approx(max(0.0, fulls[0].out_s_per_byte - 0.5))
    assert found.recv_s_per_byte == pytest.approx(max(0.0, fulls[0].back_s_per_byte - 0.25))


# -- corrected by real runs ------------------------------------------------------------------------------------------


@patient
@given(st.sampled_from(ENGINES), st.integers(1, 64), st.floats(1e-6, 1e3), st.floats(0, 1))
def test_a_correction_goes_towards_what_was_seen(which, workers, seen_s, weight):
    cost = recorded(*which)
    before_s, after_s = cost.start.total_s(workers), corrected(cost, workers, seen_s, weight).start.total_s(workers)
    bounded = min(max(seen_s, before_s / PLAUSIBLE), before_s * PLAUSIBLE)
    assert after_s == pytest.approx(before_s + weight * (bounded - before_s))


@patient
@given(st.sampled_from(ENGINES), st.lists(st.floats(1e-9, 1e9), max_size=30))
def test_no_number_of_corrections_leaves_what_is_plausible(which, seen):
    cost = recorded(*which)
    for seen_s in seen:
        cost = corrected(cost, 4, seen_s, 1.0)
    usual_s = recorded(*which).start.total_s(4)
    assert usual_s / PLAUSIBLE * 0.999 <= cost.start.total_s(4) <= usual_s * PLAUSIBLE * 1.001
    assert_sound(cost)


@pytest.mark.parametrize("seen_s", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_nonsense_corrects_nothing(seen_s):
    cost = recorded("team", "fork")
    assert corrected(cost, 2, seen_s) is cost


def test_the_callers_memory_is_not_mistaken_for_the_start():
    cost = recorded("team", "fork")
    held = 1 << 30
    seen_s = cost.start.total_s(4, held)
    assert corrected(cost, 4, seen_s, caller_rss_bytes=held).start.total_s(4) == pytest.approx(cost.start.total_s(4))


def test_a_cost_of_nothing_can_be_corrected():
    cost = recorded("threads", None)
    free = replace(cost, start=replace(cost.start, base_s=0.0, per_worker_s=0.0))
    assert corrected(free, 2, 1e-3).start.total_s(2) > 0


# -- a measurement, on made-up laps ----------------------------------------------------------------------------------


class Bench:
    """Runs laps that take what they are told to, by its own clock."""

    def __init__(self, starts_s, fails_at=None):
        self.now = 0.0
        self.starts_s = iter(starts_s)
        self.asked = []
        self.fails_at = fails_at
        wall = lambda: self.now  # noqa: E731
        self.clock = Clock(wall, wall, wall)

    def run(self, engine, start_method, workers, *, cores, chunks=0, payloads=0, clock):
        if len(self.asked) == self.fails_at:
            raise BlockingIOError("no more processes")
        self.asked.append((workers, chunks > 0, payloads > 0))
        start_s = next(self.starts_s)
        self.now += start_s
        return Lap(start_s, 50e-6 * (chunks > 0), 60e-6, 3e-9, 4e-9)

    def measure(self, engine="pool", method="spawn", cores=2.0, budget_s=0.0):
        return start_cost.measure(engine, method, cores, budget_s, clock=self.clock, run=self.run)


def test_two_laps_are_made_whatever_the_budget():
    bench = Bench([0.2, 0.1])
    cost, cold_s = bench.measure()
    assert bench.asked == [(2, True, True), (1, True, False)]
    assert cost.start.total_s(2) == pytest.approx(0.2)
    assert cost.start.total_s(1) == pytest.approx(0.1)
    assert cost.start.spread >= 0.3
    assert cold_s == 0.0


def test_more_laps_are_made_while_the_budget_lasts():
    bench = Bench([0.3, 0.1] + [0.12, 0.1] * 100)
    cost, cold_s = bench.measure(budget_s=2.0)
    assert bench.now <= 2.0
    assert cost.start.total_s(2) == pytest.approx(0.12)
    assert cost.start.spread < 0.3
    assert cold_s == pytest.approx(0.18), "the first start took so much longer than those after it"


def test_as_many_workers_as_cores():
    bench = Bench([0.2, 0.1])
    bench.measure(cores=3.5)
    assert [workers for workers, _, _ in bench.asked] == [4, 1]


def test_what_keeps_an_engine_from_starting_is_raised():
    with pytest.raises(BlockingIOError):
        Bench([0.2, 0.1], fails_at=1).measure()


@patient
@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.floats(0, 5))
def test_any_laps_make_a_sound_cost(starts_s, budget_s):
    cost, cold_s = Bench(cycle(starts_s)).measure(budget_s=budget_s)
    assert_sound(cost)
    assert cold_s >= 0


# -- laps of threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["threads", "threadpool"])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_lap_of_threads(engine, workers):
    before = set(threading.enumerate())
    found = lap(engine, None, workers, cores=2, chunks=20, payloads=3)
    assert 0 < found.start_s < math.inf
    assert 0 < found.chunk_s < math.inf
    assert (found.turn_s > 0) == (workers == 1)
    assert (found.out_s_per_byte, found.back_s_per_byte) == (0.0, 0.0)
    for thread in set(threading.enumerate()) - before:
        thread.join(60.0)
        assert not thread.is_alive()


def test_a_lap_without_chunks():
    assert lap("threads", None, 2, cores=2)[1:] == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_tasks():
    assert laps.task(3) == b"\1\1\1"
    assert [laps.task(item) for item in (laps.NOTHING, laps.SPIN, laps.YIELD, b"payload")] == [None] * 4


def test_pickling_bytes_is_cheap_but_not_free():
    assert all(0 < per_byte < 1e-6 for per_byte in start_cost.pickling_s_per_byte())
