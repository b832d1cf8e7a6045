"""Threads that only spin while they wait, or that compute whatever func does, are told from func's own."""

import hashlib
import threading
import time

import pytest

import amorsize.measure.spinning as spinning
from amorsize.backends.source import source_of
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


def test_where_nothing_else_computes_one_look_is_enough():
    assert spinning.busy_at_rest() == 0.0


def test_a_thread_that_computes_on_is_told(computing, monkeypatch):
    # Other programs may take its core, but not all the time.
    monkeypatch.setattr(spinning, "BUSY", 0.0)
    monkeypatch.setattr(spinning, "LONGEST_S", 0.5)
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
    assert spinning.busy_at_rest() == 0.0


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize(("others", "then"), [(0.0, 1.0), (1.0, 2.0), (0.0, 2.0)])
def test_what_looked_like_threads_of_its_own_is_looked_at_again(monkeypatch, others, then, spread):
    """They spun, or they are the program's, or they are func's."""
    sampler = Sampler(abs, source_of(range(10_000)), spread=spread, watch=True)
    ran, own = [], 2.0

    def run(start, stop):
        ran.append((start, stop))
        # So long that the canary beside it is believed.
        time.sleep(2e-3)
        wall_s = 2e-3 * (stop - start)
        return Observation(start, stop - start, wall_s, wall_s, wall_s * own)

    def busy_at_rest():
        nonlocal own
        own = then
        return others

    monkeypatch.setattr(sampler.loop, "run", run)
    monkeypatch.setattr(spinning, "busy_at_rest", busy_at_rest)
    assert sampler.take().own_threads == pytest.approx(then - others)
    assert all(0 <= start < stop <= 10_000 for start, stop in ran)
