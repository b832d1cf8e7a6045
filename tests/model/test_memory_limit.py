"""Candidates that are refused for memory or for items that cannot be pickled, however fast they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.facts import Breakdown, Costs, Forecast, Sample
from amorsize.model.default_costs import recorded
from amorsize.model.memory_limit import WORKER_BYTES, memory_budget, refusal, results_warning, worker_bytes
from amorsize.model.search import choose
from amorsize.testing import a_machine

GB = 1 << 30
WORK = Sample(n_sampled=8, item_s=1e-2, item_cpu_s=1e-2, gil_held=0.95)
FORK = recorded("pool", "fork")


def candidate(backend="processes", workers=4, chunksize=10):
    return Forecast(
        backend=backend,
        workers=workers,
        chunksize=chunksize,
        start_method="fork" if backend == "processes" else None,
        total_s=1.0,
        low_s=1.0,
        high_s=1.0,
        breakdown=Breakdown(),
    )


@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1e10), st.floats(0, 1e7), st.integers(1, 1000))
def test_more_workers_never_need_less(few, more, growth, result, chunksize):
    sample = replace(WORK, rss_growth_bytes=growth, result_bytes=result)
    few, more = sorted((few, more))
    here = a_machine(64, memory_bytes=4 * GB)
    if refusal(candidate(workers=more, chunksize=chunksize), sample, FORK, here, None) is None:
        assert refusal(candidate(workers=few, chunksize=chunksize), sample, FORK, here, None) is None


@given(st.none() | st.integers(1, 100 * GB), st.integers(1, 100 * GB))
def test_the_budget_is_the_lesser_of_what_is_left_and_what_is_allowed(limit, available):
    budget = memory_budget(a_machine(2, memory_bytes=available), limit)
    assert budget < available
    assert limit is None or budget <= limit
    assert budget == limit or budget > 0.5 * available


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_weighs_what_its_start_method_costs(method):
    assert worker_bytes(WORK, method, 1) == WORKER_BYTES[method]
    assert worker_bytes(WORK, "fork", 1) < worker_bytes(WORK, "spawn", 1)


def test_what_is_in_flight_counts():
    sample = replace(WORK, arg_bytes=1e6, result_bytes=2e6)
    assert worker_bytes(sample, "fork", 10) - worker_bytes(WORK, "fork", 10) == pytest.approx(2 * 10 * 3e6)


def test_the_loop_is_never_refused():
    hungry = replace(WORK, rss_growth_bytes=1e15, transfer_error="a lock")
    assert refusal(candidate("serial", 1), hungry, None, a_machine(1, memory_bytes=1), 1) is None


def test_what_cannot_be_pickled_may_still_go_to_threads():
    stuck = replace(WORK, transfer_error="results cannot be pickled: a lock")
    here = a_machine(4)
    assert refusal(candidate("processes"), stuck, FORK, here, None) == "results cannot be pickled: a lock"
    assert refusal(candidate("threads"), stuck, recorded("threadpool", None), here, None) is None


def test_the_refusal_says_how_much_and_how_much_there_is():
    hungry = replace(WORK, rss_growth_bytes=float(GB))
    why = refusal(candidate(workers=8), hungry, FORK, a_machine(8, memory_bytes=4 * GB), None)
    assert why is not None
    assert why.startswith("8 workers would take 8,")
    assert "MB may be used" in why


@given(st.integers(1, 40).map(lambda quarters: quarters * GB // 4))
def test_the_choice_fits_into_any_memory(available):
    hungry = replace(WORK, rss_growth_bytes=float(GB))
    here = a_machine(16, memory_bytes=available)
    costs = Costs(threads=recorded("threadpool", None), processes=FORK)
    best, others = choose(hungry, costs, here, n_items=10_000, backends=("serial", "processes"))
    assert best.refused is None
    need = best.workers * worker_bytes(hungry, best.start_method, best.chunksize)
    assert best.backend == "serial" or need <= memory_budget(here, None)
    assert available > 2 * GB or best.backend == "serial" or best.workers == 1
    limited, _ = choose(
        hungry, costs, here, n_items=10_000, backends=("serial", "processes"), memory_limit_bytes=1 << 20
    )
    assert limited.backend == "serial"
    assert all(f.refused for f in others if f.workers > best.workers and f.workers * GB > available)


def test_when_nothing_is_allowed_the_best_of_it_is_told_with_its_refusal():
    hungry = replace(WORK, rss_growth_bytes=float(GB))
    best, _ = choose(
        hungry, Costs(processes=FORK), a_machine(4, memory_bytes=GB), n_items=1000, backends=("processes",)
    )
    assert best.backend == "processes"
    assert best.refused is not None


def test_unknown_memory_is_not_none():
    """WebAssembly: no source knows. A machine whose memory is known to be used up is another thing."""
    unknown = replace(a_machine(4, memory_bytes=0))
    full = replace(a_machine(4, memory_bytes=8 * GB), memory_available_bytes=0)
    work = replace(WORK, rss_growth_bytes=GB)
    assert refusal(candidate(), work, FORK, unknown, None) is None
    assert refusal(candidate(), work, FORK, unknown, GB) is not None
    assert refusal(candidate(), work, FORK, full, None) is not None
    best, _ = choose(WORK, Costs(processes=FORK), unknown, n_items=4000, backends=("serial", "processes"))
    assert best.backend == "processes"


def test_results_that_together_exceed_the_memory_are_refused_and_told():
    here, large = a_machine(4, memory_bytes=4 * GB), replace(WORK, result_bytes=1e6)
    costs = Costs(processes=FORK)
    best, others = choose(large, costs, here, n_items=10_000, backends=("serial", "processes"), kept_items=10_000)
    assert best.backend == "serial"
    assert all(one.refused for one in others)
    assert "results" in (refusal(candidate(), large, FORK, here, None, 10_000) or "")
    assert "amorsize.stream" in (results_warning(large, 10_000, here) or "")
    few, _ = choose(large, costs, here, n_items=1000, backends=("serial", "processes"), kept_items=1000)
    assert few.backend == "processes"
    assert results_warning(large, 1000, here) is None


def test_results_that_are_taken_away_as_they_come_need_no_room():
    here, large = a_machine(4, memory_bytes=4 * GB), replace(WORK, result_bytes=1e6)
    best, _ = choose(large, Costs(processes=FORK), here, n_items=10_000, backends=("serial", "processes"))
    assert best.backend == "processes"
