"""Maps beside an event loop, coroutine functions, and many calls at once, in real time."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import engine_functions as ef
import psutil
import pytest
from modes import ROOT
from programs import run_program
from test_import import loaded_by
from virtual_loop import run_virtually

import amorsize
from amorsize.backends import core_lease
from amorsize.backends.concurrent_calls import CALLS

LIMIT_S = 60.0  # for what should happen at once
CORES = max(1, -int(-amorsize.machine().usable_cores // 1))


@pytest.fixture(autouse=True)
def _quiet():
    """No warning of a task or coroutine that was not awaited, and no lease is left."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [w for w in caught if "await" in str(w.message) or "unclosed" in str(w.message)]
    assert not core_lease._leases
    assert not core_lease._budget.held
    assert not core_lease._budget.queue
    assert CALLS.size == 0


def until(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def run(coroutine):
    """Do the same as asyncio.run; an error that the loop reports fails the test."""
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        return await coroutine

    try:
        return asyncio.run(main())
    finally:
        assert not complaints


class Marks:
    """Files that items make, in any process or thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, x, seconds=LIMIT_S):
        (self.folder / f"{x}-{os.getpid()}").touch()
        time.sleep(seconds)
        return x

    @property
    def begun(self):
        return len(list(self.folder.iterdir()))


# -- beside an event loop --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "processes"])
def test_it_does_what_execute_does(backend):
    assert run(amorsize.execute_async(ef.square, range(100), backend=backend, max_workers=2)) == [
        x * x for x in range(100)
    ]


def test_func_never_runs_on_the_loops_thread():
    async def main():
        return (os.getpid(), threading.get_ident()), await amorsize.execute_async(ef.where, range(5))

    mine, places = run(main())
    # A thread of another process may have the same number.
    assert mine not in places


def test_the_loop_goes_on_meanwhile():
    async def main():
        gate = threading.Event()
        work = asyncio.create_task(amorsize.execute_async(lambda x: gate.wait(LIMIT_S) and x, [1]))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(gate.set)
        return await work

    assert run(main()) == [1]


def test_a_plan_comes_along():
    results, plan = run(amorsize.execute_async(abs, [-1], return_plan=True))
    assert results == [1]
    assert plan.backend == "serial"


def test_an_exception_keeps_its_type_and_note():
    with pytest.raises(ef.Refused) as caught:
        run(amorsize.execute_async(partial(ef.refuse, [3]), range(6)))
    assert any("item 3" in note for note in caught.value.__notes__)


def test_a_bad_argument_is_refused():
    with pytest.raises(ValueError, match=r"^max_workers: "):
        run(amorsize.execute_async(abs, [1], max_workers=0))


WHO = contextvars.ContextVar("WHO", default="nobody")


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_context_variables_of_the_caller_are_seen(backend):
    async def main():
        WHO.set("me")
        return await amorsize.execute_async(lambda _: WHO.get(), range(20), backend=backend, max_workers=2)

    assert run(main()) == ["me"] * 20


def test_context_variables_are_seen_by_threads_of_execute():
    token = WHO.set("me")
    try:
        assert set(amorsize.execute(lambda _: WHO.get(), range(20), backend="threads")) == {"me"}
    finally:
        WHO.reset(token)


# -- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_cancelling_kills_the_workers(tmp_path, method):
    marks = Marks(tmp_path)

    async def main():
        work = asyncio.create_task(
            amorsize.execute_async(marks, range(4), backend="processes", max_workers=2, start_method=method)
        )
        await asyncio.to_thread(until, lambda: marks.begun >= 2)
        pids = {int(path.name.split("-")[1]) for path in tmp_path.iterdir()}
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        # A fork server reaps its own.
        until(lambda: not any(map(psutil.pid_exists, pids)))
        assert not [t for t in threading.enumerate() if t.name.startswith("amorsize")]

    run(main())
    assert marks.begun == 2


@pytest.mark.parametrize("backend", ["auto", "serial", "threads"])
def test_cancelling_waits_for_items_that_run_in_this_process(backend):
    begun, gate, ended = threading.Event(), threading.Event(), []

    def item(x):
        begun.set()
        gate.wait(LIMIT_S)
        ended.append(x)

    async def main():
        work = asyncio.create_task(amorsize.execute_async(item, range(50), backend=backend, max_workers=2))
        await asyncio.to_thread(begun.wait, LIMIT_S)
        work.cancel()
        await asyncio.sleep(0)
        work.cancel()  # twice is once
        await asyncio.sleep(0)
        assert not work.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not [t for t in threading.enumerate() if t.name.startswith("amorsize")]

    run(main())
    assert 1 <= len(ended) < 50


def test_cancelling_before_it_began():
    async def main():
        work = asyncio.create_task(amorsize.execute_async(abs, [1]))
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    run(main())


def test_cancelling_a_slow_rate():
    async def main():
        begun = threading.Event()
        work = asyncio.create_task(amorsize.execute_async(lambda _: begun.set(), range(10), rate=0.001))
        await asyncio.to_thread(begun.wait, LIMIT_S)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    run(main())


def test_cancelling_one_that_waits_its_turn(tmp_path):
    marks = Marks(tmp_path)

    async def main():
        options = {"backend": "processes", "start_method": "fork", "max_workers": CORES}
        first = asyncio.create_task(amorsize.execute_async(marks, range(CORES), **options))
        await asyncio.to_thread(until, lambda: marks.begun == CORES)
        with core_lease._lock:  # no call is admitted meanwhile
            second = asyncio.create_task(amorsize.execute_async(marks, range(10, 14), **options))
            await asyncio.sleep(0)
        await asyncio.to_thread(until, lambda: len(core_lease._leases) == 2)
        for work in (second, first):
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    run(main())


def test_a_timeout_block_ends_it(tmp_path):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await amorsize.execute_async(Marks(tmp_path), range(4), backend="processes")

    run(main())


def test_a_task_group_ends_its_other_calls(tmp_path):
    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(amorsize.execute_async(Marks(tmp_path), range(4), backend="processes"))
            group.create_task(amorsize.execute_async(partial(ef.refuse, [3]), range(6)))

    with pytest.raises(ExceptionGroup) as caught:
        run(main())
    assert caught.group_contains(ef.Refused) if hasattr(caught, "group_contains") else True


INTERRUPTED = """
import asyncio, os, time, amorsize
def item(x):
    os.write(1, b"begun\\n")
    time.sleep(60)
if __name__ == "__main__":
    try: asyncio.run(amorsize.execute_async(item, range(4), backend="processes", max_workers=2))
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


# -- coroutine functions ---------------------------------------------------------------------------------------------


async def slowly(x, seconds=3e-3):
    await asyncio.sleep(seconds)
    return x * x


class Server:
    """Serves so many requests at a time."""

    def __init__(self, hands: int) -> None:
        self.hands = asyncio.Semaphore(hands)
        self.here = self.most = 0

    async def serve(self, x):
        self.here += 1
        self.most = max(self.most, self.here)
        async with self.hands:
            await asyncio.sleep(2e-3)
        self.here -= 1
        return x * x


def test_a_coroutine_function_runs_on_the_running_loop():
    async def main():
        loop = asyncio.get_running_loop()

        async def here(x):
            assert asyncio.get_running_loop() is loop
            return x

        return await amorsize.execute_async(here, range(20))

    assert run(main()) == list(range(20))


@pytest.mark.parametrize("func", [slowly, partial(slowly, seconds=0)])
def test_results_are_in_order_whatever_made_them(func):
    assert run(amorsize.execute_async(func, range(300))) == [x * x for x in range(300)]


def test_an_object_with_an_async_call_is_one():
    class Doubling:
        async def __call__(self, x):
            return 2 * x

    assert run(amorsize.execute_async(Doubling(), range(5))) == [0, 2, 4, 6, 8]


def test_a_lambda_around_one_is_refused():
    with pytest.raises(TypeError, match=r"^func: made coroutines"):
        run(amorsize.execute_async(lambda x: slowly(x), range(5)))


def test_execute_runs_it_in_a_loop_of_its_own():
    assert amorsize.execute(slowly, range(30)) == [x * x for x in range(30)]


def test_execute_beside_a_running_loop_says_what_to_use():
    async def main():
        return amorsize.execute(slowly, range(3))

    with pytest.raises(RuntimeError, match="execute_async"):
        run(main())


def test_it_finds_out_what_a_server_bears(monkeypatch):
    async def main():
        server = Server(40)
        results = await amorsize.execute_async(server.serve, range(3000))
        return results, server.most

    results, most = run_virtually(main(), monkeypatch)
    assert results == [x * x for x in range(3000)]
    assert most >= 32


def test_many_that_only_wait_are_many_at_a_time(monkeypatch):
    async def main():
        server = Server(10_000)
        await amorsize.execute_async(server.serve, range(4000))
        return server.most

    assert run_virtually(main(), monkeypatch) >= 64


def test_max_workers_caps_the_tasks():
    async def main():
        server = Server(10_000)
        await amorsize.execute_async(server.serve, range(200), max_workers=3)
        return server.most

    assert run(main()) == 3


async def counted(kinds, bad, x):
    kinds[x] = kinds.get(x, 0) + 1
    await asyncio.sleep(0)
    if x in bad:
        raise ef.Refused(x)
    return x


def test_errors_are_collected():
    results = run(amorsize.execute_async(partial(counted, {}, [3, 7]), range(10), on_error="collect"))
    assert [type(r).__name__ for r in results] == ["Failure" if x in (3, 7) else "int" for x in range(10)]
    assert (results[3].index, type(results[3].exception)) == (3, ef.Refused)


def test_the_first_error_ends_the_others():
    cancelled = []

    async def item(x):
        if x == 2:
            raise ef.Refused(x)
        try:
            await asyncio.sleep(LIMIT_S)
        except asyncio.CancelledError:
            cancelled.append(x)
            raise

    with pytest.raises(ef.Refused) as caught:
        run(amorsize.execute_async(item, range(50)))
    assert any("item 2: 2" in note for note in caught.value.__notes__)
    assert sorted(cancelled) == [0, 1, 3, 4, 5, 6, 7]


def test_items_are_repeated():
    tries = {}
    results = run(amorsize.execute_async(partial(counted, tries, [3]), range(6), retries=2, on_error="collect"))
    assert tries == {x: 3 if x == 3 else 1 for x in range(6)}
    assert type(results[3]).__name__ == "Failure"


def test_too_many_failures_end_it():
    with pytest.raises(ef.Refused) as caught:
        run(
            amorsize.execute_async(
                partial(counted, {}, range(100)), range(100), on_error="collect", max_failures=4, max_workers=1
            )
        )
    assert any("max_failures=4" in note for note in caught.value.__notes__)


def test_an_item_that_takes_too_long_is_ended():
    async def item(x):
        await asyncio.sleep(LIMIT_S if x == 2 else 0)
        return x

    with pytest.raises(amorsize.AmorsizeError, match=r"item 2 ran longer than timeout=0\.05 s") as caught:
        run(amorsize.execute_async(item, range(4), timeout=0.05))
    assert isinstance(caught.value, TimeoutError)


def test_a_timeout_of_func_itself_is_its_own():
    async def item(x):
        raise TimeoutError("the server's")

    with pytest.raises(TimeoutError, match="the server's") as caught:
        run(amorsize.execute_async(item, [1], timeout=LIMIT_S))
    assert not isinstance(caught.value, amorsize.AmorsizeError)


def test_no_more_begin_than_the_rate_allows(monkeypatch):
    began = []

    async def item(x):
        began.append(asyncio.get_running_loop().time())

    run_virtually(amorsize.execute_async(item, range(12), rate=100), monkeypatch)
    assert began[-1] - began[0] >= (12 - 100 * 0.05 - 1) / 100


@pytest.mark.parametrize("is_async", [False, True])
def test_the_initializer_is_called_once(is_async):
    seen = []

    async def later(word):
        seen.append(word)

    run(amorsize.execute_async(slowly, range(20), initializer=later if is_async else seen.append, initargs=("a",)))
    assert seen == ["a"]


def test_data_may_come_asynchronously():
    async def numbers():
        for x in range(50):
            await asyncio.sleep(0)
            yield x

    assert run(amorsize.execute_async(slowly, numbers())) == [x * x for x in range(50)]


@pytest.mark.parametrize("is_async", [False, True])
def test_data_that_raises_does_so_when_all_before_has_been_run(is_async):
    seen = []

    async def item(x):
        await asyncio.sleep(1e-3)
        seen.append(x)

    def numbers():
        yield from range(5)
        raise LookupError("no more")

    async def later():
        for x in numbers():
            yield x

    with pytest.raises(LookupError, match="no more"):
        run(amorsize.execute_async(item, later() if is_async else numbers()))
    assert sorted(seen) == list(range(5))


@pytest.mark.parametrize("call", [amorsize.execute, amorsize.stream])
def test_async_data_of_a_plain_function_needs_an_event_loop(call):
    async def numbers():
        yield 1

    with pytest.raises(TypeError, match=r"^data: is an async iterable.*execute_async"):
        call(abs, numbers())


def test_cancelling_cancels_the_items():
    cancelled, begun = [], []

    async def item(x):
        begun.append(x)
        try:
            await asyncio.sleep(LIMIT_S)
        finally:
            await asyncio.sleep(0)
            cancelled.append(x)

    async def main():
        work = asyncio.create_task(amorsize.execute_async(item, range(50)))
        while len(begun) < 8:
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert sorted(cancelled) == sorted(begun)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_nothing_to_do():
    assert run(amorsize.execute_async(slowly, [])) == []
    assert amorsize.execute(slowly, iter(())) == []


@pytest.mark.parametrize("bad", [{"backend": "threads"}, {"start_method": "fork"}, {"memory_limit": 1 << 30}])
def test_what_does_not_go_with_tasks_is_refused(bad):
    with pytest.raises(ValueError, match=f"^{next(iter(bad))}: "):
        run(amorsize.execute_async(slowly, range(3), **bad))


def test_the_plan_of_tasks_tells_how_many_there_were():
    for results, plan in (
        amorsize.execute(slowly, range(30), max_workers=3, return_plan=True),
        run(amorsize.execute_async(slowly, range(30), max_workers=3, return_plan=True)),
    ):
        assert results == [x * x for x in range(30)]
        assert (plan.backend, plan.n_jobs, plan.start_method) == ("async", 3, None)
        assert plan.took_s >= 10e-3
        assert len(plan.slowest) == 10
        assert "3 tasks at a time" in plan.explain()
        assert json.loads(plan.to_json())["backend"] == "async"
        with pytest.raises(ValueError, match="coroutine function"):
            plan.pool()


@pytest.mark.parametrize("call", [amorsize.optimize, amorsize.stream])
def test_who_cannot_run_it_says_who_can(call):
    with pytest.raises(TypeError, match=r"^func: is a coroutine function.*execute_async"):
        call(slowly, [1])


def test_a_run_leaves_a_row(tmp_path, monkeypatch):
    monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "runs.sqlite"))
    amorsize.execute(slowly, range(5))
    (row,) = amorsize.History().runs()
    assert (row.n_items, row.backend, row.outcome) == (5, "async", "ok")


# -- many calls at once ----------------------------------------------------------------------------------------------


class Census:
    """Counts worker processes alive at a time, from a thread."""

    def __enter__(self):
        self.most, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.count)
        self.thread.start()
        return self

    def count(self):
        me = psutil.Process()
        helpers = {"resource_tracker", "forkserver"}
        while not self.ended.wait(2e-3):
            alive = 0
            for child in me.children(recursive=True):
                try:
                    line = " ".join(child.cmdline()) if child.ppid() == me.pid else ""
                    alive += child.status() != psutil.STATUS_ZOMBIE and not any(h in line for h in helpers)
                except psutil.Error:
                    continue
            self.most = max(self.most, alive)

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def at_once(calls, call):
    """Return the results of ``call(number)``, run in so many threads at once."""
    out = {}

    def go(number):
        out[number] = call(number)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [out[number] for number in range(calls)]


busy = partial(ef.spin, seconds=2e-3)


def squares(first, count):
    return [x * x for x in range(first, first + count)]


def test_twelve_threads_at_once():
    out = at_once(12, lambda n: amorsize.execute(busy, range(n, n + 30)))
    assert out == [squares(n, 30) for n in range(12)]


@pytest.mark.parametrize("backend", ["auto", "processes"])
def test_forty_calls_share_the_cores(backend, monkeypatch):
    # Given facts: on a busy machine computing items look like waiting ones, and workers that get no items look idle.
    monkeypatch.setattr(core_lease._Look, "sees_idle_core", lambda look, before: False)
    options = {"backend": backend, "max_workers": CORES}
    multiprocessing.get_context("forkserver")
    amorsize.execute(ef.square, range(4), backend="processes", start_method="forkserver")  # the server is no worker
    with Census() as census:
        out = at_once(40, lambda n: amorsize.execute(busy, range(n, n + 30), **options))
    assert out == [squares(n, 30) for n in range(40)]
    assert census.most <= CORES


def test_calls_that_wait_in_threads_do_not_take_turns():
    meeting = threading.Barrier(6)

    def call(number):
        return amorsize.execute(lambda x: meeting.wait(LIMIT_S) >= 0, [number], backend="threads")

    assert at_once(6, call) == [[True]] * 6


def test_twenty_in_a_gather():
    async def main():
        return await asyncio.gather(
            *(amorsize.execute_async(busy, range(n, n + 20)) for n in range(20)),
            *(amorsize.execute_async(ef.nap, range(20)) for _ in range(5)),
            *(amorsize.execute_async(slowly, range(20)) for _ in range(5)),
        )

    out = run(main())
    assert out[:20] == [squares(n, 20) for n in range(20)]
    assert out[20:] == [squares(0, 20)] * 10


def test_a_call_within_a_call_of_the_same_thread_does_not_wait_for_it():
    options = {"backend": "processes", "max_workers": CORES}
    inner = amorsize.stream(ef.square, range(50), **options)
    assert amorsize.execute(ef.square, inner, **options) == [x**4 for x in range(50)]


def test_a_call_between_two_results_of_a_stream_does_not_wait_for_it():
    results = amorsize.stream(ef.square, range(500), backend="processes", max_workers=CORES, max_ahead=50)
    assert next(results) == 0
    with Census() as census:
        assert amorsize.execute(busy, range(100), max_workers=CORES) == squares(0, 100)
    assert census.most <= CORES + 1
    assert list(results) == squares(1, 499)


def wait_for(path, x):
    until(path.exists)
    return x


def test_a_call_that_others_wait_for_is_let_in(tmp_path):
    flag = tmp_path / "flag"
    options = {"backend": "processes", "start_method": "fork", "max_workers": CORES}

    def call(number):
        if not number:
            return amorsize.execute(partial(wait_for, flag), range(CORES), **options)
        # A copy: another thread adds to it.
        until(lambda: any(lease.workers for lease in list(core_lease._leases.values())))
        return amorsize.execute(flag.touch, [0o644], **options)

    assert at_once(2, call) == [list(range(CORES)), [None]]


def test_a_forked_child_has_a_budget_of_its_own():
    with core_lease.Lease(CORES, CORES):
        pid = os.fork()
        if pid == 0:
            free = not core_lease._leases and not core_lease._budget.held and core_lease._lock.acquire(blocking=False)
            os._exit(0 if free and CALLS.size == 0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_plain_calls_load_no_asyncio():
    assert "asyncio" not in loaded_by("import amorsize")
    assert "asyncio" not in loaded_by("import amorsize\namorsize.execute(abs, range(-100, 0))")


STARTING = """
import asyncio, os, signal, threading
import amorsize

def nap(x):
    done.append(x)
    ended.wait(0.01)
    return x

def start(self, begin=threading.Thread.start):
    begin(self)
    if self.name == "amorsize":
        threads.append(self)
        os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    signal.alarm(240)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done, ended, threads, threading.Thread.start = [], threading.Event(), [], start
    try:
        asyncio.new_event_loop().run_until_complete(amorsize.execute_async(nap, range(100_000), backend="serial"))
    except KeyboardInterrupt:
        threads[0].join()
        print("ended", len(done) < 100_000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")
def test_an_interrupt_at_the_start_of_the_thread_ends_the_run(tmp_path):
    """The run went on behind the program's back."""
    assert run_program(tmp_path, STARTING) == "ended True\n"
