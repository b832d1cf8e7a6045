"""Leases of one budget: no call waits for ever, however the other calls end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections import Counter
from types import SimpleNamespace

import engine_functions as ef
import modes
import pytest

import amorsize
from amorsize.backends import core_lease
from amorsize.backends.core_lease import Lease

WATCHDOG_S = 120.0
CORES = 2


@pytest.fixture(autouse=True)
def none_is_left():
    yield
    gc.collect()
    assert not core_lease._leases
    assert not core_lease._budget.held
    assert not core_lease._budget.queue


def in_a_thread(call):
    """Return the result of ``call``, run in a thread that must end within `WATCHDOG_S`."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(WATCHDOG_S)
    assert not thread.is_alive(), "it waits for ever"
    return found[0]


def squares_of(data, **options):
    return amorsize.execute(ef.square, data, **{"backend": "processes", "max_workers": CORES, **options})


METHODS = modes.METHODS if hasattr(modes, "METHODS") else ["fork", "forkserver", "spawn"]


@pytest.mark.parametrize("method", METHODS)
def test_a_call_in_the_body_of_a_stream_never_waits_for_the_stream(method):
    async def body():
        options = {"backend": "processes", "start_method": method, "max_workers": CORES}
        results = amorsize.stream(ef.square, range(6), max_ahead=2, **options)
        return [(x, await amorsize.execute_async(ef.square, range(4), **options)) for x in results]

    expected = [(x * x, [0, 1, 4, 9]) for x in range(6)]
    assert in_a_thread(lambda: asyncio.run(body())) == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_left_half_read_holds_up_no_other_thread(method):
    results = amorsize.stream(
        ef.square, range(1000), backend="processes", start_method=method, max_workers=CORES, max_ahead=4
    )
    try:
        assert next(results) == 0
        assert in_a_thread(lambda: squares_of(range(8), start_method=method)) == [x * x for x in range(8)]
    finally:
        results.close()


def test_a_stream_that_is_over_but_not_read_to_its_end_holds_up_no_other_thread():
    results = amorsize.stream(ef.square, range(4), backend="processes", start_method="fork", max_workers=CORES)
    try:
        assert next(results) == 0
        assert in_a_thread(lambda: squares_of(range(8), start_method="fork")) == [x * x for x in range(8)]
        assert list(results) == [1, 4, 9]
    finally:
        results.close()


def team(handles=(), leaving=()):
    return SimpleNamespace(
        handles={n: SimpleNamespace(pid=pid) for n, pid in enumerate(handles)}, leaving=list(leaving), on_left=None
    )


@pytest.mark.parametrize("theirs", [None, team(), team(leaving=["one"])])
def test_a_call_is_admitted_beside_a_team_that_has_no_worker_any_more(theirs):
    with Lease(CORES, CORES) as first:
        first.team = theirs

        def second():
            with Lease(CORES, CORES) as lease:
                return lease.workers

        assert in_a_thread(second) == 1


def test_a_call_is_admitted_in_the_end_though_the_others_use_all_cores_for_ever(monkeypatch):
    monkeypatch.setattr(core_lease, "UNFAIR_S", 0.3)
    monkeypatch.setattr(core_lease._Look, "sees_idle_core", lambda look, before: False)
    with Lease(CORES, CORES) as first:
        first.team = team(handles=[os.getpid()])

        def second():
            with Lease(CORES, CORES) as lease:
                return lease.workers

        assert in_a_thread(second) == 1


def test_a_finalizer_may_end_a_lease_while_its_own_thread_holds_the_budget():
    def within():
        with Lease(CORES, CORES) as lease, core_lease._locked():
            lease.close()
        return dict(core_lease._budget.held)

    assert in_a_thread(within) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")
def test_an_interrupt_at_any_line_leaves_no_lease():
    """A real signal is sent at the k-th line, for each k; of a line that is run again and again, at two times only."""

    def interrupted_at(k):
        lines = 0
        seen = Counter()

        def trace(frame, event, arg):
            nonlocal lines
            if "/amorsize/" not in frame.f_code.co_filename:
                return None
            line = frame.f_code, frame.f_lineno
            if event == "line" and seen[line] < 2:
                seen[line] += 1
                lines += 1
                if lines == k:
                    os.kill(os.getpid(), signal.SIGINT)
            return trace

        def call():
            lease = Lease(CORES, CORES)
            try:
                with lease:
                    return lease.workers
            finally:
                lease.close()

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return lines >= k

    k = 1
    # A collection then visits what the calls leave, not all that the tests have loaded.
    gc.freeze()
    try:
        while interrupted_at(k):
            gc.collect()
            assert not core_lease._budget.held, k
            assert not core_lease._leases, k
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            k += 1
    finally:
        gc.unfreeze()
    assert k > 20
