"""Where the system lets a process have no more threads, the loop serves."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import amorsize
from amorsize.measure.gil import Canary
from amorsize.model.decide import Decider, RunMore, TryThreads

DATA = list(range(40))


def nap(x):
    time.sleep(1e-3)
    return x


def spin(x):
    until = time.perf_counter() + 1e-3
    while time.perf_counter() < until:
        pass
    return x


@pytest.fixture(autouse=True)
def _no_thread(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    for name in ("_start_new_thread", "_start_joinable_thread"):
        if hasattr(threading, name):
            monkeypatch.setattr(threading, name, refuse)


def test_a_canary_that_cannot_start_sees_nothing():
    with Canary() as canary:
        spin(0)
    assert canary.is_blind
    assert canary.gil_held == 1.0


@pytest.mark.parametrize("backend", ["auto", "threads", ("serial", "threads")])
@pytest.mark.parametrize("func", [nap, spin])
def test_execute_and_stream_run_without_a_thread(func, backend):
    """It was a RuntimeError: can't start new thread."""
    assert amorsize.execute(func, DATA, backend=backend) == DATA
    assert list(amorsize.stream(func, DATA, backend=backend)) == DATA


class TriesThreads(Decider):
    """Goes on to a trial on two threads after five items."""

    def wants_choices(self, backends):
        return self.items > 0

    def next(self):
        return TryThreads(17) if self.items == 5 and "threads" in self.choices.backends else RunMore(1)


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize("entry", [amorsize.execute, amorsize.stream])
def test_items_of_a_trial_that_no_thread_can_run_are_run_by_the_loop(monkeypatch, entry, kind):
    """Their results were missing, or None."""
    monkeypatch.setattr("amorsize.run.deciding.Decider", TriesThreads)
    assert list(entry(abs, kind(DATA), backend=("serial", "threads"))) == DATA


@pytest.mark.parametrize("backend", ["auto", "serial", "processes"])
def test_execute_async_runs_nothing_on_the_loops_own_thread_and_says_so(backend):
    """It ran func there, with a warning, and the loop stood still."""
    ran = []

    async def run():
        return await amorsize.execute_async(ran.append, DATA, backend=backend)

    with pytest.raises(RuntimeError, match=r"no thread can be started here.*nothing was run.*execute\(\)"):
        asyncio.run(run())
    assert ran == []
    assert asyncio.run(coroutines()) == DATA


async def coroutines():
    async def same(x):
        return x

    return await amorsize.execute_async(same, DATA)


@pytest.mark.parametrize("func", [nap, spin])
def test_optimize_plans_the_loop(func):
    plan = amorsize.optimize(func, DATA)
    assert plan.backend == "serial" or plan.machine.usable_cores == 1
    with plan.pool() as pool:
        assert pool.map(func, DATA) == DATA


def test_a_pool_without_threads_is_a_loop_and_says_so():
    plan = amorsize.optimize(nap, DATA, backend="threads")
    with pytest.warns(RuntimeWarning, match="plain loop"), plan.pool() as pool:
        assert pool.map(nap, DATA) == DATA


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_validate_runs_without_a_thread():
    assert amorsize.validate(nap, DATA, max_seconds=0.5)


@pytest.mark.parametrize("backend", ["serial", ("serial", "threads"), ("serial", "processes")])
def test_no_process_is_advised_where_no_thread_starts(backend):
    """Each pool of processes has threads in the caller."""
    plan = amorsize.optimize(spin, DATA, backend=backend, history=amorsize.History("off"))
    assert "processes" not in plan.basis.excluded
    assert not [one for one in plan.advice if "processes" in one.what]
