"""``stream_async()``: results one by one to an event loop, no further ahead than allowed, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from functools import partial

import engine_functions as ef
import psutil
import pytest
from async_runs import run
from modes import ROOT

import amorsize
from amorsize.backends.concurrent_calls import CALLS

LIMIT_S = 60.0
HANGS = partial(ef.nap, seconds=LIMIT_S)


async def square_later(x):
    await asyncio.sleep(0)
    return x * x


async def fails_later(x):
    await asyncio.sleep(0)
    return ef.raise_at(7, ef.Refused, x)


HOW = {
    "auto": (ef.square, {}),
    "serial": (ef.square, {"backend": "serial"}),
    "threads": (ef.square, {"backend": "threads"}),
    "processes": (ef.square, {"backend": "processes", "max_workers": 2}),
    "tasks": (square_later, {}),
}


@pytest.fixture(params=HOW)
def how(request):
    return HOW[request.param]


@pytest.fixture(autouse=True)
def _no_call_is_left():
    yield
    gc.collect()
    assert CALLS.size == 0


class Numbers:
    """An async iterator that counts what is read, and notes that it was closed."""

    def __init__(self, stop=None, pause=False):
        self.stop, self.pause = stop, pause
        self.read, self.closed = 0, False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.pause:
            await asyncio.sleep(0)
        if self.read == self.stop:
            raise StopAsyncIteration
        self.read += 1
        return self.read - 1

    async def aclose(self):
        self.closed = True


class Counted:
    """An endless iterator that counts what is read."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.read += 1
        return self.read - 1


async def take(results, count):
    return [await anext(results) for _ in range(count)]


class TestResults:
    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("data", [range, lambda n: iter(range(n)), Numbers], ids=["range", "iterator", "async"])
    @pytest.mark.parametrize("n", [0, 1, 500])
    def test_all_of_them_come(self, how, data, n, ordered):
        func, options = how

        async def main():
            return [one async for one in amorsize.stream_async(func, data(n), ordered=ordered, **options)]

        results = run(main())
        assert (results if ordered else sorted(results)) == [x * x for x in range(n)]

    @pytest.mark.parametrize("data", [itertools.count, Numbers, partial(Numbers, pause=True)])
    def test_data_may_be_endless(self, how, data):
        func, options = how

        async def main():
            async with aclosing(amorsize.stream_async(func, data(), **options)) as results:
                return await take(results, 300)

        assert run(main()) == [x * x for x in range(300)]

    def test_a_plain_function_never_runs_on_the_loops_thread(self):
        async def main():
            mine = os.getpid(), threading.get_ident()
            return mine, [one async for one in amorsize.stream_async(ef.where, Numbers(50))]

        mine, places = run(main())
        # A thread of another process may have the same number.
        assert mine not in places

    def test_context_variables_of_the_reader_are_seen(self):
        who = contextvars.ContextVar("who", default="nobody")

        async def main():
            who.set("me")
            return [one async for one in amorsize.stream_async(lambda _: who.get(), range(20), backend="threads")]

        assert run(main()) == ["me"] * 20

    @pytest.mark.parametrize("name", ["auto", "threads", "processes", "tasks"])
    def test_the_next_item_may_depend_on_a_result(self, name):
        """No read waits for an item, while a result waits to be handed on."""
        func, options = HOW[name]

        async def main():
            answers = asyncio.Queue()

            async def asks():
                yield 2
                for _ in range(30):
                    yield await answers.get() % 100

            found = []
            async for one in amorsize.stream_async(func, asks(), **options):
                found.append(one)
                await answers.put(one)
            return found

        found = run(main())
        assert found == [4, 16, 256, *[x * x for x in [56, 36, 96, 16] * 7]][: len(found)]
        assert len(found) == 31

    @pytest.mark.parametrize("backend", ["serial", "threads"])
    def test_the_loop_goes_on_while_items_block(self, backend):
        """Each item ends only when the loop has run some more, which another process would not see."""
        ticks = []

        def item(x):
            before = len(ticks)
            while len(ticks) < before + 3:
                time.sleep(1e-3)
            return x

        async def tick():
            while True:
                ticks.append(None)
                await asyncio.sleep(0)

        async def main():
            ticking = asyncio.create_task(tick())
            try:
                return [one async for one in amorsize.stream_async(item, range(5), backend=backend)]
            finally:
                ticking.cancel()
                await asyncio.wait([ticking])

        assert run(main()) == list(range(5))

    @pytest.mark.parametrize("data", [itertools.count, Numbers], ids=["iterator", "async"])
    def test_other_tasks_run_though_results_are_always_ready(self, how, data):
        func, options = how
        ticks = []

        async def tick():
            while True:
                ticks.append(None)
                await asyncio.sleep(0)

        async def main():
            ticking = asyncio.create_task(tick())
            try:
                async for _ in amorsize.stream_async(func, data(), **options):
                    if len(ticks) > 100:
                        return
            finally:
                ticking.cancel()
                await asyncio.wait([ticking])
                gc.collect()
                while len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(1e-3)

        run(main())

    @pytest.mark.parametrize("name", ["serial", "threads", "processes", "tasks"])
    def test_the_map_goes_on_while_the_reader_is_busy(self, name, tmp_path):
        async def later(x):
            return touch(str(tmp_path), x)

        func = later if name == "tasks" else partial(touch, str(tmp_path))

        async def main():
            results = amorsize.stream_async(func, itertools.count(), max_ahead=50, **HOW[name][1])
            async with aclosing(results):
                assert await anext(results) == 0
                while len(list(tmp_path.iterdir())) < 40:
                    await asyncio.sleep(1e-3)

        run(main())


def touch(folder, x):
    with open(f"{folder}/{x}", "w"):
        return x


class TestWindow:
    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("source", [Counted, Numbers])
    def test_it_reads_no_further_ahead_than_allowed(self, how, source, ordered):
        func, options = how
        data = source()

        async def main():
            results = amorsize.stream_async(func, data, max_ahead=20, ordered=ordered, **options)
            async with aclosing(results):
                for taken in range(1, 200):
                    await anext(results)
                    # One item of an async iterable may be on its way.
                    assert data.read <= taken + 20 + (source is Numbers)
                    if taken % 50 == 0:
                        await asyncio.sleep(0.02)
                        assert data.read <= taken + 20 + (source is Numbers)

        run(main())

    def test_large_results_are_counted_in_bytes(self, how):
        data = Counted()
        func = big_later if how[0] is square_later else ef.big

        async def main():
            async with aclosing(amorsize.stream_async(func, data, max_ahead_bytes=16_000_000, **how[1])) as results:
                for _ in range(30):
                    assert await anext(results) is not None
                await asyncio.sleep(0.02)

        run(main())
        assert data.read <= 30 + 16


async def big_later(x):
    await asyncio.sleep(0)
    return ef.big(x)


class TestEnds:
    def test_closing_it_ends_the_work(self, how):
        func, options = how
        data = Numbers()

        async def main():
            results = amorsize.stream_async(func, data, **options)
            assert await anext(results) == 0
            await results.aclose()
            assert await anext(results, "over") == "over"

        run(main())
        assert data.closed

    def test_dropping_it_ends_the_work(self, how):
        func, options = how
        data = Numbers()

        async def main():
            async for _ in amorsize.stream_async(func, data, **options):
                break
            gc.collect()
            while not data.closed or len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(1e-3)

        run(main())

    def test_the_end_of_the_loop_ends_the_work(self, how):
        func, options = how
        data = Numbers()
        kept = []

        async def main():
            kept.append(amorsize.stream_async(func, data, **options))
            await anext(kept[0])

        asyncio.run(main())
        assert data.closed

    def test_never_begun(self, how):
        func, options = how

        async def main():
            amorsize.stream_async(func, itertools.count(), **options)
            await amorsize.stream_async(func, itertools.count(), **options).aclose()

        run(main())

    @pytest.mark.parametrize("name", ["serial", "processes", "tasks"])
    def test_cancelling_the_reader_ends_the_work(self, name):
        options = HOW[name][1]
        data = Numbers()

        async def main():
            gate = threading.Event()

            async def never(x):
                await asyncio.sleep(LIMIT_S)

            func = {"serial": lambda x: gate.wait(LIMIT_S), "processes": HANGS, "tasks": never}[name]

            async def read():
                async for _ in amorsize.stream_async(func, data, **options):
                    pass

            reading = asyncio.create_task(read())
            while not data.read:
                await asyncio.sleep(1e-3)
            reading.cancel()
            await asyncio.sleep(0)
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await reading

        run(main())
        assert data.closed

    def test_a_timeout_block_ends_the_work(self):
        async def main():
            async with asyncio.timeout(0.3):
                async for _ in amorsize.stream_async(HANGS, itertools.count(), backend="processes"):
                    pass

        with pytest.raises(TimeoutError):
            run(main())

    def test_an_exception_comes_after_the_results_before_it(self, how):
        func = fails_later if how[0] is square_later else partial(ef.raise_at, 7, ef.Refused)

        async def main():
            results = amorsize.stream_async(func, range(100), **how[1])
            assert await take(results, 7) == [x * x for x in range(7)]
            with pytest.raises(ef.Refused) as caught:
                await anext(results)
            assert "item 7" in caught.value.__notes__[0]
            assert await anext(results, "over") == "over"

        run(main())

    def test_failures_may_be_collected(self, how):
        func = fails_later if how[0] is square_later else partial(ef.raise_at, 7, ef.Refused)

        async def main():
            return [one async for one in amorsize.stream_async(func, Numbers(10), on_error="collect", **how[1])]

        got = run(main())
        assert isinstance(got[7], amorsize.Failure)
        assert got[7].index == 7
        assert [*got[:7], *got[8:]] == [x * x for x in range(10) if x != 7]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_what_the_source_raises_comes_after_the_results_before_it(self, how, is_async):
        func, options = how

        def source():
            yield from range(5)
            raise LookupError("the source")

        async def later():
            for x in source():
                yield x

        async def main():
            results = amorsize.stream_async(func, later() if is_async else source(), **options)
            assert await take(results, 5) == [0, 1, 4, 9, 16]
            with pytest.raises(LookupError, match="the source") as caught:
                await anext(results)
            assert any("iterator of data" in note for note in caught.value.__notes__)

        run(main())

    def test_a_lost_worker_loses_nothing(self, tmp_path):
        dies_once = partial(ef.die_once_at, os.getpid(), "SIGKILL", (30,), str(tmp_path))

        async def main():
            return [one async for one in amorsize.stream_async(dies_once, Numbers(100), backend="processes")]

        assert run(main()) == [x * x for x in range(100)]

    def test_a_lambda_around_a_coroutine_function_is_refused(self):
        async def main():
            async for _ in amorsize.stream_async(lambda x: square_later(x), range(5)):
                pass

        with pytest.raises(TypeError, match=r"^func: made coroutines"):
            run(main())


class TestArguments:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"max_ahead": 0}, ValueError),
            ({"max_ahead_bytes": 1.5}, TypeError),
            ({"backend": "gpu"}, ValueError),
            ({"timeout": 1, "backend": "threads"}, ValueError),
            ({"max_failures": 3}, ValueError),
            ({"n_jobs": 3}, TypeError),
            ({"checkpoint": 1}, TypeError),
        ],
    )
    def test_are_refused_at_the_call(self, wrong, error):
        with pytest.raises(error, match=next(iter(wrong))):
            amorsize.stream_async(ef.square, [1], **wrong)

    @pytest.mark.parametrize("data", [5, None])
    def test_data_that_cannot_be_iterated_over_is_refused(self, data):
        with pytest.raises(TypeError, match=r"^data: "):
            amorsize.stream_async(ef.square, data)


@pytest.mark.parametrize("name", ["auto", "processes", "tasks"])
def test_memory_stays_bounded(name):
    func, options = HOW[name]
    process = psutil.Process()
    n = 20_000 if name == "tasks" else 200_000

    async def main():
        results = amorsize.stream_async(func, Numbers(n), **options)
        await anext(results)
        before = process.memory_info().rss
        count = 1
        async for _ in results:
            count += 1
        return count, process.memory_info().rss - before

    count, more = run(main())
    assert count == n
    assert more < 30e6


INTERRUPTED = """
import asyncio, os, time, amorsize
def item(x):
    os.write(1, b"begun\\n")
    time.sleep(60)
async def main():
    async for one in amorsize.stream_async(item, range(4), backend="processes", max_workers=2):
        pass
if __name__ == "__main__":
    try: asyncio.run(main())
    except KeyboardInterrupt: print("interrupted", flush=True)
"""


def test_ctrl_c_in_the_loop_ends_it(tmp_path):
    (tmp_path / "script.py").write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == process.stdout.readline() == "begun\n"
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert (out, err) == ("interrupted\n", "")
    psutil.wait_procs(children, timeout=LIMIT_S)
    assert not [child for child in children if child.is_running()]


def test_a_loop_that_is_closed_under_it_ends_the_work():
    loop = asyncio.new_event_loop()
    results = amorsize.stream_async(ef.square, itertools.count(), backend="threads")
    assert loop.run_until_complete(anext(results)) == 0
    for task in asyncio.all_tasks(loop):
        # Else asyncio says that it was destroyed.
        task._log_destroy_pending = False
    loop.close()
    del results, task
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "amorsize":
            thread.join(LIMIT_S)
            assert not thread.is_alive()
