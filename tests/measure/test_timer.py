"""Measurements in rounds, by a fake clock."""

from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_trees import patient

from amorsize.measure import timer
from amorsize.measure.timer import quantile, relative_spread, steady, timed
from amorsize.system.clock import Clock

seconds = st.floats(1e-6, 1e3)


class FakeClock:
    """A clock that only measurements advance."""

    def __init__(self):
        self.now = 0.0
        self.clock = Clock(wall=lambda: self.now, thread_cpu=lambda: self.now, process_cpu=lambda: self.now)

    def taking(self, durations):
        """Return a measurement that takes and returns these seconds, one after the other."""
        rest = iter(durations)

        def measure():
            duration = next(rest)
            self.now += duration
            return duration

        return measure


def test_the_warm_up_is_left_out():
    fake = FakeClock()
    (timing,) = steady([fake.taking([9.0, 1.0, 1.0, 1.0])], 100.0, clock=fake.clock)
    assert timing == (1.0, 0.0, 3, True)


def test_the_warm_up_counts_when_nothing_else_fits():
    fake = FakeClock()
    (timing,) = steady([fake.taking([9.0])], 10.0, clock=fake.clock)
    assert timing == (9.0, timer.UNKNOWN, 1, False)


def test_it_goes_on_until_all_are_steady():
    fake = FakeClock()
    restless = fake.taking([5.0, 1.0, 2.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    timings = steady([fake.taking(cycle([1.0])), restless], 1e6, clock=fake.clock)
    assert [timing.steady for timing in timings] == [True, True]
    assert timings[0].rounds == timings[1].rounds > timer.LEAST


def test_measurements_take_turns():
    order = []
    steady([lambda: order.append("a") or 1.0, lambda: order.append("b") or 1.0], 1.0, most=3, clock=FakeClock().clock)
    assert order == ["a", "b"] * 4


def test_what_never_gets_steady_ends_at_the_most():
    (timing,) = steady([iter(cycle([1.0, 5.0])).__next__], 1.0, most=20, clock=FakeClock().clock)
    assert (timing.rounds, timing.steady) == (20, False)


def test_what_a_measurement_raises_is_raised():
    def broken():
        raise OSError("no more processes")

    with pytest.raises(OSError, match="no more processes"):
        steady([broken], 1.0, clock=FakeClock().clock)


def test_timed_reads_the_clock():
    fake = FakeClock()
    assert timed(fake.taking([0.25]), fake.clock)() == 0.25


@patient
@given(st.floats(1e-3, 10.0), st.floats(0.0, 100.0))
def test_rounds_of_equal_length_stay_within_the_budget(duration, budget_s):
    fake = FakeClock()
    restless = iter(cycle([1.0, 5.0])).__next__

    def measure():
        fake.now += duration
        return restless()

    (timing,) = steady([measure], budget_s, most=500, clock=fake.clock)
    assert fake.now <= max(budget_s, duration) * (1 + 1e-9)
    assert timing.rounds >= 1


@patient
@given(st.lists(seconds, min_size=1, max_size=40), st.floats(0, 1e4))
def test_any_measurement_ends(values, budget_s):
    fake = FakeClock()
    (timing,) = steady([fake.taking([*values, *[values[-1]] * 60])], budget_s, clock=fake.clock)
    assert min(values) <= timing.median_s <= max(values)
    assert timing.spread >= 0
    assert not timing.steady or timing.spread <= 0.05


@patient
@given(st.lists(seconds, min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_within_the_values(values, one, other):
    low, high = quantile(values, min(one, other)), quantile(values, max(one, other))
    assert min(values) <= low <= high <= max(values)
    assert (quantile(values, 0), quantile(values, 1)) == (min(values), max(values))


@patient
@given(st.lists(seconds, min_size=3), st.randoms(use_true_random=False))
def test_the_spread_does_not_depend_on_the_order(values, random):
    shuffled = random.sample(values, len(values))
    assert relative_spread(shuffled) == relative_spread(values) >= 0


@patient
@given(st.lists(st.floats(1e-3, 1.0), min_size=3), st.sampled_from([2.0, 8.0, 0.25]))
def test_the_spread_has_no_unit(values, factor):
    assert relative_spread([value * factor for value in values]) == pytest.approx(relative_spread(values))


@patient
@given(st.integers(5, 30), st.floats(1e-3, 1.0), st.data())
def test_a_few_disturbed_rounds_change_nothing(rounds, quiet_s, data):
    disturbed = data.draw(st.lists(st.floats(1.0, 1e6), max_size=(rounds - 1) // 4))
    values = [quiet_s] * (rounds - len(disturbed)) + disturbed
    assert (quantile(values, 0.5), relative_spread(values)) == (quiet_s, 0.0)


def test_the_spread_of_little_is_not_believed():
    assert relative_spread([1.0]) == relative_spread([1.0, 1.0]) == timer.UNKNOWN
    assert relative_spread([0.0, 0.0, 0.0]) == 0.0
    assert relative_spread([0.0, 0.0, 0.0, 5.0, 5.0]) == 1.0
