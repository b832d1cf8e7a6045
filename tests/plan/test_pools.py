"""The pools that a plan opens are interchangeable."""

import multiprocessing.pool
import signal
import sys
import time

import pytest
from programs import run_program

import amorsize
from amorsize import optimize
from amorsize.plan.pools import LoopPool, open_pool

POOLS = {
    "serial": lambda: open_pool("serial", 1, 3, None),
    "threads": lambda: open_pool("threads", 2, 3, None),
    "processes": lambda: open_pool("processes", 2, 3, "fork"),
    "capped": lambda: open_pool("processes", 2, 3, "fork", native_threads=1),
}


def double(x):
    return 2 * x


def fail(x):
    raise ValueError(x)


@pytest.mark.parametrize("kind", POOLS)
def test_all_pools_do_the_same(kind):
    seen = []
    with POOLS[kind]() as pool:
        assert pool.map(double, range(10)) == [2 * x for x in range(10)]
        assert list(pool.imap(double, range(10))) == [2 * x for x in range(10)]
        assert sorted(pool.imap_unordered(double, range(10))) == [2 * x for x in range(10)]
        assert pool.starmap(divmod, [(7, 2), (9, 3)]) == [(3, 1), (3, 0)]
        assert pool.apply(double, (4,)) == 8
        assert pool.apply_async(double, (4,), callback=seen.append).get() == 8
        assert pool.map_async(double, [1, 2]).get() == [2, 4]
        assert pool.starmap_async(divmod, [(7, 2)]).get() == [(3, 1)]
        failed = pool.apply_async(fail, (1,))
        failed.wait()
        assert failed.ready()
        assert not failed.successful()
        with pytest.raises(ValueError, match="1"):
            failed.get()
        with pytest.raises(ValueError, match="1"):
            pool.map(fail, [1])
    with pytest.raises(ValueError, match="not running"):
        pool.map(double, [1])
    pool.close()
    pool.join()
    assert seen == [8]


def test_a_plan_opens_what_it_says():
    plan = optimize(double, range(100), backend="processes", start_method="fork", max_workers=2)
    with plan.pool() as pool:
        assert isinstance(pool, multiprocessing.pool.Pool)
        assert pool.map(double, plan.data) == [2 * x for x in range(100)]
    with optimize(double, range(100), backend="threads").pool() as pool:
        assert isinstance(pool, multiprocessing.pool.ThreadPool)
    with optimize(double, range(100), backend="serial").pool() as pool:
        assert isinstance(pool, LoopPool)


def test_a_map_without_a_chunksize_uses_the_plans(monkeypatch):
    seen = []
    monkeypatch.setattr(
        multiprocessing.pool.ThreadPool, "map", lambda self, func, items, chunksize=None: seen.append(chunksize)
    )
    with open_pool("threads", 2, 37, None) as pool:
        pool.map(double, range(100))
        pool.map(double, range(100), 5)
    assert seen == [37, 5]


def test_a_running_loop_pool_cannot_be_joined():
    with pytest.raises(ValueError, match="still running"):
        LoopPool().join()


class Hidden:
    """Has a method that pickles, yet no process finds."""

    def __work(self, x):
        time.sleep(1e-3)
        return -x

    def work(self):
        return self.__work


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_method_that_does_not_unpickle_rules_processes_out(start_method):
    """A pool waited for it without end."""
    func = Hidden().work()
    options = {"start_method": start_method, "max_workers": 2}
    plan = amorsize.optimize(func, range(20_000), backend=("serial", "processes"), **options)
    assert plan.backend == "serial"
    assert any("processes are out" in warning and "cannot be unpickled" in warning for warning in plan.warnings)
    tuned = amorsize.tune(func, range(50), backend=("serial", "processes"), max_seconds=0.5, **options)
    assert tuned.backend == "serial"
    validation = amorsize.validate(func, range(50), max_seconds=0.5, **options)
    assert "cannot be unpickled" in str(validation)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_pool_of_ours_runs_a_method_that_does_not_unpickle(start_method):
    func = Hidden().work()
    with open_pool("processes", 1, 3, start_method) as pool:
        assert pool.map(func, range(4)) == [0, -1, -2, -3]
        assert list(pool.imap(func, range(4))) == [0, -1, -2, -3]
        assert sorted(pool.imap_unordered(func, range(4), chunksize=1)) == [-3, -2, -1, 0]
        assert pool.apply(func, (3,)) == -3


def sigterm_is(_):
    return signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_do_not_inherit_a_handler_of_the_signal_that_ends_them(method):
    """A worker that waited for its queue's lock did not call it, and the pool waited for the worker for ever."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        plan = amorsize.optimize(sigterm_is, range(4), backend="processes", start_method=method, max_workers=2)
        with plan.pool() as pool:
            assert pool.map(sigterm_is, plan.data) == [True] * 4
    finally:
        signal.signal(signal.SIGTERM, before)


AT_ONCE = """
import os, signal
from amorsize.plan.pools import open_pool

def end(number, frame):
    if os.getpid() == owner: raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    signal.alarm(240)
    owner = os.getpid()
    signal.signal(signal.SIGTERM, end)
    for _ in range(40):
        with open_pool("processes", 3, 1, "fork"):
            pass
    print("well")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork here")
def test_a_pool_that_is_left_at_once_beside_a_handler_of_sigterm_ends(tmp_path):
    """CPython forgets a signal that comes to a fresh fork before its first line, and the pool waited for ever."""
    assert run_program(tmp_path, AT_ONCE) == "well\n"
