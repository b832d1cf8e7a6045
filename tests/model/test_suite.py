"""How many workers a test suite gets."""

from __future__ import annotations

from math import ceil, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.model.suite import (
    GAIN,
    MOST_PER_CORE,
    UNKNOWN,
    Choice,
    Start,
    Work,
    choose,
    computing_cores,
    forecast_s,
    most_by_memory,
)

seconds = st.floats(0, 1e4, allow_nan=False)
cores = st.floats(0.25, 128, allow_nan=False)
starts = st.builds(
    lambda boot, collect: Start(worker_s=boot + collect, collect_s=collect), st.floats(0.05, 20), seconds
)


@st.composite
def works(draw):
    """Tests whose times fit together: the CPU time of a single thread, and no test longer than all."""
    wall_s = draw(seconds)
    tests = draw(st.integers(1, 50_000))
    longest_s = draw(st.floats(wall_s / tests, wall_s)) if wall_s else 0.0
    return Work(tests=tests, wall_s=wall_s, cpu_s=wall_s * draw(st.floats(0, 1)), longest_s=longest_s)


@given(st.none() | works(), starts, cores, st.integers(0, 2_000))
def test_it_is_never_one_and_never_more_than_allowed(work, start, usable, most):
    workers = choose(work, start, usable, most).workers
    assert workers != 1
    assert workers <= max(0, min(most, (work or UNKNOWN).tests, ceil(usable * MOST_PER_CORE)))


@given(works(), starts, cores, st.integers(2, 64))
def test_its_forecast_is_the_least_but_for_the_margins(work, start, usable, most):
    choice = choose(work, start, usable, most)
    highest = min(most, work.tests, ceil(usable * MOST_PER_CORE))
    least_s = min(forecast_s(n, work, start, usable) for n in [0, *range(2, highest + 1)])
    # Each step from one best number to the next leaves less than the margin unused.
    assert choice.predicted_s <= forecast_s(0, work, start, usable)
    assert choice.predicted_s * (1 - 0.12) <= least_s + 1e-9


@given(works(), starts, st.floats(0.25, 1.0))
def test_on_one_core_tests_that_compute_get_no_workers(work, start, usable):
    computes = Work(tests=work.tests, wall_s=work.wall_s, cpu_s=work.wall_s, longest_s=work.longest_s)
    assert choose(computes, start, usable, 64).workers == 0


@given(works(), starts, cores, st.integers(2, 64))
def test_workers_cost_their_start(work, start, usable, workers):
    assert forecast_s(workers, work, start, usable) >= start.worker_s + work.longest_s
    assert forecast_s(workers, work, start, usable) >= work.cpu_s / usable
    dearer = Start(worker_s=start.worker_s + 1.0, collect_s=start.collect_s)
    assert forecast_s(workers, work, dearer, usable) >= forecast_s(workers, work, start, usable) + 1.0 - 1e-6


@given(works(), starts, cores, st.integers(0, 64))
def test_more_cores_never_take_longer(work, start, usable, workers):
    assert forecast_s(workers, work, start, 2 * usable) <= forecast_s(workers, work, start, usable)


def test_a_short_suite_runs_in_one_process_and_a_long_one_on_all_cores():
    start = Start(worker_s=0.6, collect_s=0.1)
    assert choose(Work(tests=30, wall_s=0.3, cpu_s=0.3, longest_s=0.1), start, 4.0, 64).workers == 0
    assert choose(Work(tests=300, wall_s=300.0, cpu_s=290.0, longest_s=2.0), start, 4.0, 64).workers == 4


def test_tests_that_wait_get_more_workers_than_cores():
    start = Start(worker_s=0.5)
    assert choose(Work(tests=300, wall_s=60.0, cpu_s=3.0, longest_s=1.0), start, 2.0, 64).workers > 4


def test_one_long_test_gets_no_more_workers_than_help():
    assert choose(Work(tests=30, wall_s=20.0, cpu_s=20.0, longest_s=19.0), Start(worker_s=1.0), 8.0, 64).workers == 0
    assert choose(Work(tests=30, wall_s=20.0, cpu_s=20.0, longest_s=10.0), Start(worker_s=1.0), 8.0, 64).workers in (
        2,
        3,
    )


@pytest.mark.parametrize(("usable", "workers"), [(1.0, 0), (1.5, 2), (2.0, 2), (8.0, 8)])
def test_an_unknown_suite_gets_the_cores(usable, workers):
    choice = choose(None, Start(worker_s=0.5), usable, 64)
    assert (choice.workers, choice.is_known) == (workers, False)


def test_the_reason_names_the_room_for_workers():
    assert "room" in choose(None, Start(worker_s=0.5), 8.0, 1).reason
    assert choose(None, Start(worker_s=0.5), 8.0, 1).workers == 0


@given(st.none() | works(), starts, cores, st.integers(0, 100))
def test_the_reason_fits_the_number(work, start, usable, most):
    choice = choose(work, start, usable, most)
    assert choice.reason.startswith(f"{choice.workers} workers" if choice.workers else "no workers")
    assert isinstance(choice, Choice)
    assert dict(choice.forecasts_s)[0] == forecast_s(0, work or UNKNOWN, start, usable)


@given(st.floats(1, 256), st.integers(1, 128))
def test_threads_of_one_core_count_in_part(usable, physical):
    assert min(usable, physical) <= computing_cores(usable, physical) <= usable


def test_memory_bounds_the_number():
    assert most_by_memory(8e9, 1e9) == 8
    assert most_by_memory(5e8, 1e9) == 0
    assert most_by_memory(inf, 1e9) >= 1_000
    assert 0 < GAIN < 0.1
