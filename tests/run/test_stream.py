"""``stream()``: results one by one, from data of any length, and no further ahead than allowed."""

from __future__ import annotations

import gc
import itertools
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import engine_functions as ef
import psutil
import pytest
from disturbed import until_it_holds

import amorsize
from amorsize.options import check
from amorsize.run import stream as stream_module
from amorsize.run.stream import Streaming

LIMIT_S = 60.0
FAILS_AT_7 = partial(ef.raise_at, 7, ef.Refused)

BACKENDS = [
    {"backend": "serial"},
    {"backend": "threads"},
    {"backend": "processes", "start_method": "fork"},
    {"backend": "processes", "start_method": "forkserver"},
    {"backend": "processes", "start_method": "spawn"},
    {},
]


@pytest.fixture(params=BACKENDS, ids=lambda b: "-".join(b.values()) or "auto")
def where(request) -> dict:
    return request.param


class Counted:
    """An endless iterator that counts the items read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.read += 1
        return self.read - 1


class TestResults:
    @pytest.mark.parametrize(
        "data",
        [range(1000), iter(range(1000)), [], iter([])],
        ids=["range", "iterator", "empty", "empty iterator"],
    )
    def test_in_order(self, where, data):
        items, data = itertools.tee(data) if isinstance(data, Iterator) else (data, data)
        expected = [x * x for x in items]
        assert list(amorsize.stream(ef.square, data, **where)) == expected

    def test_as_they_come(self, where):
        assert sorted(amorsize.stream(ef.square, range(1000), ordered=False, **where)) == [x * x for x in range(1000)]

    def test_an_endless_source(self, where):
        squares = amorsize.stream(ef.square, itertools.count(), **where)
        assert list(itertools.islice(squares, 500)) == [x * x for x in range(500)]
        squares.close()

    def test_what_is_ready_is_had_though_the_source_stalls(self, where):
        """The source goes on only after a result was read."""
        may_go_on = threading.Event()

        def stalling() -> Iterator[int]:
            yield 1
            assert may_go_on.is_set(), "the second item was asked for before anybody had the first one's result"
            yield 2

        def slow_at_first() -> Iterator[int]:
            yield from stalling()

        where = {**where, "max_ahead": 1}
        results = amorsize.stream(ef.square, slow_at_first(), **where)
        assert next(results) == 1
        may_go_on.set()
        assert list(results) == [4]


class TestWindow:
    @pytest.mark.parametrize("ordered", [True, False])
    def test_it_reads_no_further_ahead_than_allowed(self, where, ordered):
        source = Counted()
        results = amorsize.stream(ef.square, source, max_ahead=20, ordered=ordered, **where)
        for taken in range(1, 200):
            next(results)
            assert source.read <= taken + 20
        results.close()

    def test_no_loop_begins_before_its_reader_has_taken_what_a_driver_left(self, monkeypatch):
        """The loop reads as many items ahead as it may, and takes the results so far for taken."""

        class Run:
            goes_on = True
            steps = 0

            def __init__(self, *_, **__):
                self.flow, self.state = self, SimpleNamespace(driver=object())
                self.ready = [list(range(10))]

            def step(self, *, poll=False):
                self.steps += 1
                assert not (poll and self.state.driver is None)
                self.goes_on = self.steps < 5
                if poll:
                    self.state.driver = None

            def take(self):
                return self.ready.pop() if self.ready else []

            weigh = taken = lambda self, _: None
            end = close = lambda self: None

        monkeypatch.setattr(stream_module, "Streaming", Run)
        monkeypatch.setattr(stream_module, "LOOK_S", -1.0)
        found = stream_module.stream_results(None, ordered=False, max_ahead=None, max_ahead_bytes=None)
        assert list(found) == list(range(10))

    def test_large_results_are_counted_in_bytes(self, where):
        source = Counted()
        results = amorsize.stream(ef.big, source, max_ahead_bytes=16_000_000, **where)
        for _ in range(30):
            assert next(results) is not None
        assert source.read <= 30 + 16
        results.close()


class TestEnds:
    def test_closing_it_ends_the_workers(self, where):
        results = amorsize.stream(ef.square, itertools.count(), **where)
        assert next(results) == 0
        results.close()  # and the fixture looks that nothing is left
        assert next(results, "over") == "over"

    def test_dropping_it_ends_the_workers(self, where):
        results = amorsize.stream(ef.square, itertools.count(), **where)
        next(results)
        del results
        gc.collect()

    def test_never_begun(self, where):
        amorsize.stream(ef.square, itertools.count(), **where).close()

    def test_an_exception_comes_after_the_results_before_it(self, where):
        results = amorsize.stream(FAILS_AT_7, range(100), **where)
        assert [next(results) for _ in range(7)] == [x * x for x in range(7)]
        with pytest.raises(ef.Refused) as caught:
            next(results)
        assert "item 7" in caught.value.__notes__[0]
        assert next(results, "over") == "over"

    def test_failures_may_be_collected(self, where):
        got = list(amorsize.stream(FAILS_AT_7, iter(range(10)), on_error="collect", **where))
        assert isinstance(got[7], amorsize.Failure)
        assert got[7].index == 7
        assert [*got[:7], *got[8:]] == [x * x for x in range(10) if x != 7]

    def test_what_the_source_raises_comes_after_the_results_before_it(self, where):
        def source() -> Iterator[int]:
            yield from range(5)
            raise LookupError("the source")

        results = amorsize.stream(ef.square, source(), **where)
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        with pytest.raises(LookupError, match="the source"):
            next(results)

    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    def test_a_lost_worker_loses_nothing(self, method, tmp_path):
        dies_once = partial(ef.die_once_at, os.getpid(), "SIGKILL", (30,), str(tmp_path))
        got = list(amorsize.stream(dies_once, iter(range(100)), backend="processes", start_method=method))
        assert got == [x * x for x in range(100)]


class TestArguments:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"max_ahead": 0}, ValueError),
            ({"max_ahead": 1.5}, TypeError),
            ({"max_ahead_bytes": 0}, ValueError),
            ({"backend": "gpu"}, ValueError),
            ({"timeout": -1}, ValueError),
            ({"timeout": 1, "backend": "threads"}, ValueError),
            ({"rate": 0}, ValueError),
            ({"max_failures": 3}, ValueError),
        ],
    )
    def test_are_refused_at_the_call(self, wrong, error):
        with pytest.raises(error, match=next(iter(wrong))):
            amorsize.stream(ef.square, [1], **wrong)


def test_memory_stays_bounded_over_many_items():
    """A million results are never held at a time (each is 56 bytes or more)."""
    process = psutil.Process()
    stream = amorsize.stream(ef.square, itertools.repeat(10**9, 1_000_000))
    next(stream)
    before = process.memory_info().rss
    assert sum(1 for _ in stream) == 999_999
    assert process.memory_info().rss - before < 30e6


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("backend", "method"), [("threads", None), ("processes", "fork"), ("processes", "forkserver")])
def test_a_finished_result_is_handed_on_before_a_slow_source_is_read_on(backend, method, ordered, tmp_path):
    """One read may be under way meanwhile; it was one for each place that a worker had for an item."""

    def check(read_s):
        (folder := tmp_path / str(read_s)).mkdir()
        reads = []

        def slow():
            for number in range(8):
                until_s = time.monotonic() + LIMIT_S
                while number and not (folder / f"{number - 1}-1").exists() and time.monotonic() < until_s:
                    # The workers start, say.
                    time.sleep(1e-3)
                time.sleep(read_s)
                reads.append(number)
                yield number

        func = partial(ef.busy_first, str(folder), 0, "busy")
        results = amorsize.stream(
            func, slow(), backend=backend, start_method=method, max_workers=4, ordered=ordered, max_ahead=64
        )
        ahead = [len(reads) - 1 - math.isqrt(result) for result in results]
        assert len(ahead) == 8
        # A busy machine may let a result take longer than a read: then it is behind by one more.
        assert sorted(ahead)[len(ahead) // 2] <= 1, ahead
        # After the last one there is nothing to read.
        assert min(ahead[:-1]) == 0, ahead

    until_it_holds(check, (0.05, 0.2, 1.0))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms here")
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_an_item_is_raised_before_results_that_are_ready(exception):
    """A reader that takes no more would never see it."""
    came = []

    def handler(*_):
        came.append(exception())
        raise came[0]

    def func(item):
        if item == 5:
            signal.raise_signal(signal.SIGALRM)
        return item

    before = signal.signal(signal.SIGALRM, handler)
    try:
        results = amorsize.stream(func, range(100), backend="serial")
        with pytest.raises(exception) as caught:
            list(itertools.takewhile(lambda _: not came, results))
        assert caught.value is came[0]
        results.close()
    finally:
        signal.signal(signal.SIGALRM, before)


class Held:
    """An item of which it is known whether it is still there."""

    alive: ClassVar[weakref.WeakSet[Held]] = weakref.WeakSet()

    def __init__(self, number: int) -> None:
        self.number = number
        Held.alive.add(self)


def raise_for_a_third(item: Held) -> int:
    if item.number % 3 == 0:
        raise ef.Refused(item.number)
    return item.number


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_an_endless_stream_does_not_keep_items_that_failed(backend):
    data = map(Held, itertools.count())
    results = amorsize.stream(raise_for_a_third, data, backend=backend, on_error="collect", max_ahead=50)
    for _ in range(1000):
        next(results)
    gc.collect()
    assert len(Held.alive) < 200
    results.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_too_many_failures_end_in_the_first_of_them(ordered):
    def fail_at_odd(x):
        if x % 2:
            raise ef.Refused(x)
        return x

    results = amorsize.stream(
        fail_at_odd, range(100), on_error="collect", max_failures=2, backend="serial", ordered=ordered
    )
    with pytest.raises(ef.Refused) as caught:
        list(results)
    assert caught.value.item == 1


def test_an_interrupt_of_the_reader_waits_for_no_item_in_a_thread():
    first, release, ended = threading.Lock(), threading.Event(), threading.Event()
    first.acquire()

    def stand_once(x):
        time.sleep(1e-3)
        if threading.current_thread() is not threading.main_thread() and first.acquire(blocking=False):
            release.wait(60)
            ended.set()
        return x

    request = check(stand_once, itertools.count(), backend="threads", max_workers=2)
    stream = Streaming(request, ordered=False)
    pieces = stream.pieces()
    while stream.state.driver is None:
        # Trials wait for their items.
        next(pieces)
    first.release()
    while not first.locked():
        next(pieces)
    stream.close(KeyboardInterrupt())
    assert not ended.is_set()
    release.set()
