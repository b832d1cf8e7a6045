"""Threads that only spin while they wait, or that compute whatever func does, are told from func's own."""

import hashlib
import threading
import time
from contextlib import contextmanager

import pytest

import amorsize.measure.spinning as spinning
from amorsize.backends.source import source_of
from amorsize.backends.workers import native_threads
from amorsize.facts import Observation
from amorsize.measure.sample import Sampler

BLOCK = bytes(1 << 20)


def compute_until(stop: threading.Event) -> None:
    while not stop.is_set():
        hashlib.sha256(BLOCK).digest()


@pytest.fixture
def computing():
    stop = threading.Event()
    thread = threading.Thread(target=compute_until, args=(stop,))
    thread.start()
    yield stop
    stop.set()
    thread.join()


def test_where_nothing_else_computes_one_look_is_enough(monkeypatch):
    naps = []
    monkeypatch.setattr(spinning.time, "sleep", naps.append)
    for clock in ("process_cpu", "thread_cpu"):
        monkeypatch.setattr(spinning, clock, lambda: 1.0)
    assert spinning.busy_at_rest() == 0.0
    assert naps == [spinning.LOOK_S]


def test_a_thread_that_computes_on_is_told(computing, monkeypatch):
    # Other programs may take its core, but not for so long.
    monkeypatch.setattr(spinning, "LOOK_S", 0.3)
    monkeypatch.setattr(spinning, "BUSY", -1.0)
    monkeypatch.setattr(spinning, "LONGEST_S", 0.0)
    assert spinning.busy_at_rest() > 0.0


def test_a_thread_that_falls_asleep_is_waited_for(computing, monkeypatch):
    naps = []
    sleep = time.sleep

    def nap(seconds):
        naps.append(seconds)
        sleep(seconds)
        if len(naps) == 3:
            computing.set()

    monkeypatch.setattr(spinning.time, "sleep", nap)
    monkeypatch.setattr(spinning, "LONGEST_S", 60.0)
    # A look in which it gets no tick ends the wait before.
    assert spinning.busy_at_rest() == 0.0
    assert len(naps) >= 1


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize(("others", "then"), [(0.0, 1.0), (1.0, 2.0), (0.0, 2.0)])
def test_what_looked_like_threads_of_its_own_is_looked_at_again(monkeypatch, others, then, spread):
    """They spun, or they are the program's, or they are func's, of little use."""
    sample, ran = looked_at(monkeypatch, spread, others, then, alone=1.0)
    assert sample.own_threads == pytest.approx(then - others)
    assert len(ran) == len(set(ran)) <= 10_000


@pytest.mark.parametrize("sizes", [range(1, 201), [10, 20, 30] * 70])
def test_items_of_known_sizes_are_looked_at_again(monkeypatch, sizes):
    sample, ran = looked_at(monkeypatch, True, others=0.0, then=1.0, alone=1.0, data=[[0] * n for n in sizes])
    assert sample.own_threads == pytest.approx(1.0)
    assert len(ran) == len(set(ran))


@pytest.mark.parametrize("spread", [True, False])
def test_threads_that_make_it_faster_are_its_own(monkeypatch, spread):
    sample, ran = looked_at(monkeypatch, spread, others=None, then=0.0, alone=1.5)
    assert sample.own_threads == pytest.approx(2.0)
    assert len(ran) == len(set(ran)) <= 10_000


def looked_at(monkeypatch, spread, others, then, alone, data=range(10_000)):
    """Return the sample of items on two cores, and what ran; ``alone``: how much longer they take on one.

    Numbers take 2 ms each, lists 1 ms for each element.
    """
    sampler = Sampler(abs, source_of(data), spread=spread, watch=True)
    ran, own, longer = [], 2.0, 1.0

    def run(start, stop):
        ran.extend(range(start, stop))
        # So long that the canary beside it is believed.
        time.sleep(2e-3)
        wall_s = sum(2e-3 if type(data) is range else 1e-3 * len(data[k]) for k in range(start, stop)) * longer
        return Observation(start, stop - start, wall_s, wall_s, wall_s * own)

    def busy_at_rest():
        nonlocal own
        own = then
        return others

    @contextmanager
    def one_native_thread():
        nonlocal longer
        longer = alone
        yield
        longer = 1.0

    monkeypatch.setattr(sampler.loop, "run", run)
    monkeypatch.setattr(spinning, "busy_at_rest", busy_at_rest)
    monkeypatch.setattr(native_threads, "one_native_thread", one_native_thread)
    return sampler.take(), ran
