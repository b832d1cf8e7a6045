"""The scaling curve, from made-up rounds; the real one is measured in test_calibrate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_trees import patient

from amorsize.measure import scaling
from amorsize.measure.scaling import busy_counts, conclude, curve
from amorsize.system.clock import Clock

seconds = st.floats(1e-4, 1.0)
pairs = st.tuples(seconds, st.one_of(st.just(0.0), seconds))


@patient
@given(st.floats(0.1, 1000.0), st.integers(1, 500))
def test_counts_rise_to_the_cores(cores, physical):
    counts = busy_counts(cores, physical)
    assert counts == sorted(set(counts))
    assert all(1 < count <= scaling.MOST_WORKERS for count in counts)
    assert (cores <= 1) == (not counts)
    assert not 1 < physical < min(cores, scaling.MOST_WORKERS) or physical in counts


@patient
@given(st.lists(pairs, min_size=1, max_size=5), st.data())
def test_any_rounds_make_a_curve(alone, data):
    counts = data.draw(st.sets(st.integers(2, 9), min_size=1, max_size=3))
    together = {p: data.draw(st.lists(st.lists(pairs, min_size=p, max_size=p), min_size=1, max_size=4)) for p in counts}
    points = conclude(alone, together).scaling.points
    assert points[0] == (1, 1.0)
    assert [p for p, _ in points] == [1, *sorted(counts)]
    throughputs = [throughput for _, throughput in points]
    assert throughputs == sorted(throughputs)
    assert all(1.0 <= throughput <= p for p, throughput in points)


def test_quiet_cores_scale():
    found = conclude([(5.0, 5.0)] * 5, {2: [[(5.1, 5.0)] * 2] * 5, 4: [[(5.5, 5.4)] * 4] * 5})
    assert found.scaling.points == ((1, 1.0), (2, 1.961), (4, 3.636))
    assert found.warnings == ()


def test_where_a_process_alone_is_disturbed_its_cpu_time_counts():
    found = conclude([(8.0, 5.0)] * 3, {2: [[(20.0, 5.0), (9.0, 5.0)]] * 3})
    assert found.scaling.points == ((1, 1.0), (2, 2.0))
    assert "busy" in found.warnings[0]


def test_where_busy_processes_must_share_their_cores_with_others_cpu_time_counts():
    found = conclude([(5.0, 5.0)] * 3, {2: [[(10.0, 5.0), (9.0, 5.0)]] * 3})
    assert found.scaling.points == ((1, 1.0), (2, 2.0))
    assert "busy" in found.warnings[0]


def test_a_limit_that_no_file_tells_of_shows():
    # Eight workers take turns on two cores: the first two are done when others begin.
    burnt = [(done_s, 5.0) for done_s in (5.0, 10.0, 15.0, 20.0) for _ in range(2)]
    found = conclude([(5.0, 5.0)] * 3, {8: [burnt] * 3})
    assert found.scaling.points == ((1, 1.0), (8, 2.0))
    assert "limits" in found.warnings[0]


def test_rounds_that_differ_are_doubtful():
    rounds = [[(s, s), (s, s)] for s in (5.0, 9.0, 5.0, 9.0, 7.0)]
    found = conclude([(5.0, 5.0)] * 5, {2: rounds})
    assert 1.0 < found.scaling.throughput(2) <= 2.0
    assert "differed" in found.warnings[0]


def test_a_coarse_watch_for_cpu_time_is_left_alone():
    found = conclude([(5.0, 0.0)] * 3, {2: [[(5.0, 0.0), (5.0, 15.6)]] * 3})
    assert found.scaling.points == ((1, 1.0), (2, 2.0))


@pytest.mark.parametrize("budget_s", [0.0, 0.1, 1e6])
def test_rounds_are_made_within_the_budget(budget_s):
    now, asked = [0.0], []

    def burn(workers):
        asked.append(workers)
        now[0] += 5e-3
        return [(5e-3, 5e-3)] * workers

    wall = lambda: now[0]  # noqa: E731
    found = curve(burn, [2, 4], budget_s, Clock(wall, wall, wall))
    assert found.scaling.points == ((1, 1.0), (2, 2.0), (4, 4.0))
    assert asked[0] == 4, "the first burn warms all of them up"
    assert asked[1:] == [1, 2, 4] * (len(asked[1:]) // 3)
    assert scaling.LEAST_ROUNDS <= len(asked[1:]) // 3 <= scaling.MOST_ROUNDS
    assert now[0] <= max(budget_s, 5e-3 * (1 + 3 * scaling.LEAST_ROUNDS)) + 1e-9


def test_one_core_is_known_without_measuring():
    def burn(workers):
        raise AssertionError("nothing to measure")

    assert curve(burn, [], 1.0).scaling.throughput(7) == 1.0


def test_burning_is_plain_python():
    assert scaling.burn(10) == 45


def test_only_what_other_programs_may_have_done_is_in_doubt():
    """Turbo, cores of two sorts and limits that no file shows are the machine's own, however low the curve."""
    turbo = conclude([(5.0, 5.0)] * 5, {4: [[(9.0, 9.0)] * 4] * 5})
    limited = conclude([(5.0, 5.0)] * 5, {4: [[(40.0, 5.0)] * 4] * 5})
    busy = conclude([(9.0, 5.0)] * 5, {4: [[(9.0, 5.0)] * 4] * 5})
    assert turbo.scaling.throughput(4) < 2.3
    assert limited.scaling.throughput(4) < 1.0 + 1e-9
    assert (turbo.is_doubtful, limited.is_doubtful, busy.is_doubtful) == (False, False, True)
