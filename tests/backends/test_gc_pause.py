"""Full collections wait while a loop keeps results, and the thresholds are as they were afterwards."""

import gc
import os
import threading
from contextlib import contextmanager

import pytest

import amorsize
from amorsize.backends.gc_pause import PATIENCE, Collector
from amorsize.backends.source import Indexable
from amorsize.measure.sample import Sampler

BEFORE = gc.get_threshold()

pytestmark = pytest.mark.skipif(not 0 < BEFORE[2] < PATIENCE, reason="this collector has no third threshold")


@pytest.fixture(autouse=True)
def as_before():
    yield
    try:
        assert gc.get_threshold() == BEFORE
    finally:
        gc.set_threshold(*BEFORE)


@contextmanager
def within(collector):
    loop = object()
    try:
        collector.begin(loop)
        yield
    finally:
        collector.end(loop)
        collector.end(loop)


@pytest.fixture
def collector():
    gc.collect()
    return Collector()


def test_the_third_threshold_is_raised_within_and_set_back(collector):
    with within(collector):
        assert gc.get_threshold() == (*BEFORE[:2], PATIENCE)
        with within(collector):
            assert gc.get_threshold() == (*BEFORE[:2], PATIENCE)
        assert gc.get_threshold() == (*BEFORE[:2], PATIENCE)


def test_what_earlier_loops_owe_waits_as_well(collector):
    """A full collection in the first items would count as their time, and all others be taken for as dear."""
    for _ in range(PATIENCE - 1):
        gc.collect(1)
    owed = gc.get_count()[2]
    assert owed >= PATIENCE - 1
    with within(collector):
        assert gc.get_threshold() == (*BEFORE[:2], owed + PATIENCE)
        collector.look()
        gc.collect()
        collector.look()
        assert gc.get_threshold() == (*BEFORE[:2], 2 * PATIENCE)


@pytest.mark.parametrize("call", ["execute", "sample"])
def test_no_full_collection_falls_into_the_sample(call):
    """One that is owed came within its first items, where millions of objects make it as long as hundreds of them."""
    seen = set()

    def rows(_):
        made = [[j] for j in range(2_000)]
        seen.add(gc.get_stats()[2]["collections"])
        return made

    gc.collect()
    # They survive two collections and are gone, but a full collection is due for them.
    gc.set_threshold(BEFORE[0], BEFORE[1], 1_000)
    for _ in range(60):
        kept = [[j] for j in range(2_000)]
        gc.collect(1)
    del kept
    source = Indexable(list(range(20)))
    sampler = Sampler(rows, source, spread=True, watch=False)
    before = gc.get_stats()[2]["collections"]
    gc.set_threshold(*BEFORE)
    if call == "sample":
        sampler.take()
    else:
        amorsize.execute(rows, source.data, backend="serial")
    assert seen == {before}


def test_it_doubles_after_each_full_collection(collector):
    with within(collector):
        collector._last = 5  # middle collections seen since the last full one …
        gc.collect()  # … which now comes
        collector.look()
        assert gc.get_threshold() == (*BEFORE[:2], 2 * PATIENCE)
        collector.look()
        assert gc.get_threshold() == (*BEFORE[:2], 2 * PATIENCE)


def test_what_somebody_else_sets_meanwhile_stays(collector):
    with within(collector):
        gc.set_threshold(500, 5, 5)
        collector._last = 5
        gc.collect()
        collector.look()
        assert gc.get_threshold() == (500, 5, 5)
    assert gc.get_threshold() == (500, 5, 5)
    gc.set_threshold(*BEFORE)


@pytest.mark.parametrize("own", [(0, 10, 10), (700, 10, 0), (700, 10, 1_000)])
def test_thresholds_of_somebody_who_knows_better_stay(collector, own):
    gc.set_threshold(*own)
    with within(collector):
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own
    gc.set_threshold(*BEFORE)


def test_where_collection_is_off_nothing_is_done(collector):
    gc.disable()
    try:
        with within(collector):
            assert gc.get_threshold() == BEFORE
    finally:
        gc.enable()


def test_it_is_set_back_when_an_item_raises():
    with pytest.raises(ZeroDivisionError):
        amorsize.execute(lambda x: 1 / x, [2, 1, 0])


def test_within_execute_it_is_raised_and_threads_may_overlap():
    seen = []
    barrier = threading.Barrier(3)

    def look(x):
        seen.append(gc.get_threshold()[2])
        return x

    def run():
        barrier.wait()
        amorsize.execute(look, range(50), backend="serial")

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 150
    assert min(seen) >= PATIENCE


def test_a_stream_leaves_it_alone():
    seen = set(amorsize.stream(lambda x: gc.get_threshold(), range(20), backend="serial"))
    assert seen == {BEFORE}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_worker_it_is_as_it_was():
    found = amorsize.execute(lambda x: gc.get_threshold()[2], range(4), backend="processes", start_method="fork")
    assert set(found) == {BEFORE[2]}


def test_fewer_full_collections_while_results_are_kept():
    def rows(n):
        return [{"n": i} for i in range(n)]

    def collections():
        return gc.get_stats()[2]["collections"]

    gc.collect()
    before = collections()
    kept = amorsize.execute(rows, [2_000] * 60, backend="serial")
    assert collections() == before
    assert len(kept) == 60
