"""Threads that only spin after their start are told from those that compute."""

import hashlib
import sys
import threading
import time

import pytest

import amorsize.measure.spinning as spinning
from amorsize.backends.source import source_of
from amorsize.facts import Observation
from amorsize.measure.sample import Sampler

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the age of threads")
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


def test_no_other_thread_or_none_that_is_young_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(spinning, "YOUNG_S", -1.0)
    monkeypatch.setattr(time, "sleep", None)
    assert not spinning.rest()


def test_a_young_thread_that_computes_on_does_not_rest(computing, monkeypatch):
    # Another program may take its core for some of the looks, but not for all of them.
    monkeypatch.setattr(spinning, "BUSY", 0.0)
    assert not spinning.rest()


def test_a_young_thread_that_falls_asleep_is_waited_for(computing, monkeypatch):
    naps = []
    sleep = time.sleep

    def nap(seconds):
        naps.append(seconds)
        sleep(seconds)
        if len(naps) == 3:
            computing.set()

    monkeypatch.setattr(spinning.time, "sleep", nap)
    monkeypatch.setattr(spinning, "LONGEST_S", 60.0)
    # The thread ends; that it was here is what the age of another one, asleep, would say.
    monkeypatch.setattr(spinning, "_has_young_threads", lambda: True)
    assert spinning.rest()
    assert len(naps) >= 1


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("rests", [True, False])
def test_what_looked_like_threads_of_its_own_is_looked_at_again(monkeypatch, rests, spread):
    monkeypatch.setattr(spinning, "rest", lambda: rests)
    sampler = Sampler(abs, source_of(range(10_000)), spread=spread, watch=True)
    ran = []

    def run(start, stop):
        ran.append((start, stop))
        time.sleep(2e-3)
        # Once it was waited for, only the caller's own thread computes.
        wall_s = 2e-3 * (stop - start)
        return Observation(start, stop - start, wall_s, wall_s, wall_s * (1.0 if len(ran) > before else 2.0))

    before = 1 << 60
    monkeypatch.setattr(sampler.loop, "run", run)
    rest = spinning.rest

    def look() -> bool:
        nonlocal before
        before = len(ran)
        return rest()

    monkeypatch.setattr(spinning, "rest", look)
    sample = sampler.take()
    assert sample.own_threads == pytest.approx(1.0 if rests else 2.0)
    assert len(ran) == before + rests
    assert all(0 <= start < stop <= 10_000 for start, stop in ran)
