"""The function of a plan's pool reaches each of its workers once, as itself, and is let go of with the pool."""

import gc
import os
import sys
import threading
import weakref
from functools import partial

import pytest

import amorsize
from amorsize.backends.workers import handed
from amorsize.errors import TransferError
from amorsize.plan.pools import open_pool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork here")

METHODS = ["fork", "forkserver", "spawn"]


class Heavy:
    """Counts how often this process has pickled it."""

    pickled = 0

    def __init__(self):
        self.table = bytes(100_000)
        self.add = 1

    def __getstate__(self):
        Heavy.pickled += 1
        return vars(self)

    def __call__(self, x, y=0):
        return x + y + self.add


def heavy_pool(func, method, workers=2):
    return open_pool("processes", workers, 3, method, uses=[func], func_bytes=1e6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_pool_sends_a_token(method, monkeypatch):
    monkeypatch.setattr(Heavy, "pickled", 0)
    func = Heavy()
    with heavy_pool(func, method) as pool:
        assert pool.map(func, range(20)) == list(range(1, 21))
        assert list(pool.imap(func, range(20))) == list(range(1, 21))
        assert sorted(pool.imap_unordered(func, range(20), chunksize=1)) == list(range(1, 21))
        assert pool.starmap(func, [(1, 2), (3, 4)]) == [4, 8]
        assert pool.apply(func, (1,), {"y": 5}) == 7
        assert pool.map_async(func, [1]).get() == [2]
        assert Heavy.pickled == (method != "fork")
        # Another one goes as in any Pool.
        assert pool.map(Heavy(), range(4), 1) == [1, 2, 3, 4]
        assert Heavy.pickled > (method != "fork")


def die(x):
    os._exit(1)


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_replaces_another_has_it_too(method):
    func = Heavy()
    with heavy_pool(func, method, workers=1) as pool:
        assert pool.map(func, range(3)) == [1, 2, 3]
        pool.apply_async(die, (1,))
        assert pool.map(func, range(3)) == [1, 2, 3]


def held_of(numbers, x):
    numbers[0] += 1
    return float(numbers.sum()) - numbers[0]


@pytest.mark.parametrize("method", METHODS)
def test_arrays_arrive_whole_and_may_be_written_to(method):
    numpy = pytest.importorskip("numpy")
    numbers = numpy.arange(50_001.0)
    func = partial(held_of, numbers)
    with heavy_pool(func, method) as pool:
        assert pool.map(func, range(8)) == [50_000 * 50_001 / 2] * 8
    assert numbers[0] == 0


def test_what_cannot_be_pickled_is_inherited_by_forked_workers():
    lock = threading.Lock()
    func = partial(lambda held, x: (held.locked(), x), lock)
    for func_bytes in (0.0, 1e6):
        with open_pool("processes", 2, 3, "fork", uses=[func], func_bytes=func_bytes) as pool:
            assert pool.map(func, range(4)) == [(False, x) for x in range(4)]
            assert list(pool.imap(func, range(2))) == [(False, 0), (False, 1)]
            with pytest.raises(TransferError, match="func"):
                pool.map(partial(func, threading.Lock()), range(4))


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_elsewhere_it_raises(method):
    func = partial(Heavy(), threading.Lock())
    with heavy_pool(func, method, workers=1) as pool, pytest.raises(TransferError, match="func"):
        pool.map(func, range(4))


def refuse(*args):
    raise SystemExit("not here")


class Poisoned(Heavy):
    def __reduce__(self):
        return refuse, ()


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_what_does_not_come_out_of_its_pickle_raises_instead_of_hanging(method):
    func = Poisoned()
    with heavy_pool(func, method, workers=1) as pool, pytest.raises(TransferError, match="not here"):
        pool.map(func, range(4))


def descriptors():
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


@pytest.mark.parametrize("ends", ["terminate", "join"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_closed_pool_holds_nothing_of_it(method, ends):
    heavy_pool(abs, method, workers=1).terminate()
    before = descriptors()
    func = Heavy()
    gone = weakref.ref(func)
    pool = heavy_pool(func, method, workers=1)
    assert pool.map(func, range(2)) == [1, 2]
    if ends == "join":
        pool.close()
        pool.join()
    else:
        pool.terminate()
    del func
    gc.collect()
    assert gone() is None
    del pool
    gc.collect()
    assert len(descriptors()) <= len(before)


def test_the_token_of_another_pool_leads_nowhere():
    with pytest.raises(RuntimeError, match="is closed"):
        handed.found(os.urandom(16))(1)


def test_a_light_function_goes_with_every_chunk_as_it_is_then():
    func = Heavy()
    with open_pool("processes", 1, 3, "fork", uses=[func], func_bytes=100.0) as pool:
        assert pool.map(func, [1]) == [2]
        func.add = 10
        assert pool.map(func, [1]) == [11]


def test_a_plan_says_what_a_plain_pool_would_take():
    """In virtual figures: the machine may be busy."""
    func = Heavy()
    func.table = bytes(30_000_000)
    plan = amorsize.optimize(func, range(400), backend="processes", start_method="fork", max_workers=2)
    assert 29e6 < plan.sample.func_bytes < 32e6
    (warning,) = [text for text in plan.warnings if "a plain Pool" in text]
    assert "pickles func (30.0 MB) with each of" in warning
    assert warning.endswith("plan.pool() sends it once")
    Heavy.pickled = 0
    with plan.pool() as pool:
        assert pool.map(func, plan.data) == list(range(1, 401))
    assert Heavy.pickled == 0
