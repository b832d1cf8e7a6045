"""``execute_async()`` has every argument of ``execute()``, for plain functions and for coroutine functions."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import engine_functions as ef
import pytest
from async_runs import run
from virtual_loop import run_virtually

import amorsize
from amorsize import events

LIMIT_S = 60.0


def note(folder, x):
    """Leave a file for each call."""
    for number in itertools.count():
        try:
            with open(f"{folder}/call-{x}-{number}", "x"):
                return x * x
        except FileExistsError:
            continue
    return None


async def note_later(folder, x):
    await asyncio.sleep(0)
    return note(folder, x)


def calls(folder):
    return sorted(path.name for path in folder.glob("call-*"))


KINDS = {"plain": note, "coroutine": note_later}


@pytest.fixture(params=KINDS)
def noting(request, tmp_path):
    return partial(KINDS[request.param], str(tmp_path))


class Numbers:
    """An async iterable that notes what is read, in which thread and task, and that it was closed."""

    def __init__(self, n, raises=None):
        self.n, self.raises = n, raises
        self.read, self.closed, self.threads, self.tasks = 0, 0, set(), set()

    async def __aiter__(self):
        try:
            while self.read < self.n:
                self.threads.add(threading.get_ident())
                self.tasks.add(asyncio.current_task())
                await asyncio.sleep(0)
                self.read += 1
                yield self.read - 1
            if self.raises is not None:
                raise self.raises
        finally:
            await asyncio.sleep(0)
            self.closed += 1


def test_the_arguments_are_those_of_execute():
    ours, theirs = (inspect.signature(one).parameters for one in (amorsize.execute_async, amorsize.execute))
    assert ours == theirs


# -- async iterables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "processes"])
@pytest.mark.parametrize("n", [0, 1, 700])
def test_data_of_a_plain_function_may_come_asynchronously(backend, n):
    numbers = Numbers(n)

    async def main():
        return threading.get_ident(), await amorsize.execute_async(ef.square, numbers, backend=backend, max_workers=2)

    thread, results = run(main())
    assert results == [x * x for x in range(n)]
    assert numbers.threads <= {thread}
    # One task reads them all: an async generator may hold what belongs to a task.
    assert len(numbers.tasks) <= 1
    assert numbers.closed == 1


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_async_data_raises_comes_when_all_before_has_been_run(kind):
    numbers = Numbers(5, LookupError("no more"))
    seen = []

    async def later(x):
        await asyncio.sleep(1e-3)
        seen.append(x)

    with pytest.raises(LookupError, match="no more") as caught:
        run(amorsize.execute_async(seen.append if kind == "plain" else later, numbers))
    assert sorted(seen) == list(range(5))
    assert "after 5 items" in caught.value.__notes__[0]
    assert numbers.closed == 1


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_async_data_are_closed_when_the_map_fails(kind):
    numbers = Numbers(10**9)

    async def later(x):
        await asyncio.sleep(0)
        return ef.refuse([300], x)

    with pytest.raises(ef.Refused) as caught:
        run(amorsize.execute_async(partial(ef.refuse, [300]) if kind == "plain" else later, numbers))
    assert "item 300: 300" in caught.value.__notes__[0]
    assert numbers.closed == 1


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_async_data_are_closed_when_the_map_is_cancelled(kind):
    numbers = Numbers(10**9)

    async def main():
        work = asyncio.create_task(amorsize.execute_async(ef.square if kind == "plain" else square_later, numbers))
        while numbers.read < 100:
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    run(main())
    assert numbers.closed == 1


async def square_later(x):
    await asyncio.sleep(0)
    return x * x


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_async_data_that_never_come_can_be_cancelled(kind):
    async def never():
        yield 1
        await asyncio.sleep(LIMIT_S)

    async def main():
        async with asyncio.timeout(0.2):
            await amorsize.execute_async(ef.square if kind == "plain" else square_later, never())

    with pytest.raises(TimeoutError):
        run(main())


def test_async_data_are_read_no_further_ahead_than_tasks_need():
    numbers = Numbers(10**9)
    most = []

    async def item(x):
        most.append(numbers.read)
        await asyncio.sleep(0)
        if x == 50:
            raise ef.Refused(x)

    with pytest.raises(ef.Refused):
        run(amorsize.execute_async(item, numbers, max_workers=4))
    assert max(most) <= 51 + 5


# -- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [lambda: range(40), lambda: iter(range(40)), lambda: Numbers(40)])
def test_a_checkpoint_skips_what_is_finished(noting, data, tmp_path):
    path = tmp_path / "run.ckpt"

    def some(func, x):
        if x % 7 == 3 and not (tmp_path / "mended").exists():
            raise ef.Refused(x)
        return func(x)

    async def some_later(func, x):
        if x % 7 == 3 and not (tmp_path / "mended").exists():
            raise ef.Refused(x)
        return await func(x)

    func = partial(some if noting.func is note else some_later, noting)
    options = {"checkpoint": path, "checkpoint_key": "v1", "on_error": "collect"}
    if noting.func is note:
        options["backend"] = "serial"
    results = run(amorsize.execute_async(func, data(), **options))
    assert [type(one).__name__ for one in results] == ["Failure" if x % 7 == 3 else "int" for x in range(40)]
    (tmp_path / "mended").touch()
    results, plan = run(amorsize.execute_async(func, data(), return_plan=True, **options))
    assert results == [x * x for x in range(40)]
    assert calls(tmp_path) == sorted(f"call-{x}-0" for x in range(40))
    assert not plan.warnings


def test_a_checkpoint_of_a_coroutine_function_belongs_to_it(tmp_path):
    path = tmp_path / "run.ckpt"
    assert amorsize.execute(square_later, range(5), checkpoint=path) == [0, 1, 4, 9, 16]
    with pytest.raises(amorsize.errors.CheckpointMismatchError):
        amorsize.execute(partial(note_later, str(tmp_path)), range(5), checkpoint=path)
    with pytest.raises(amorsize.errors.CheckpointMismatchError):
        run(amorsize.execute_async(square_later, [0, 1, 5], checkpoint=path))


def test_what_was_finished_before_a_cancellation_is_kept(tmp_path):
    path = tmp_path / "run.ckpt"

    async def item(x):
        await asyncio.sleep(LIMIT_S if x == 20 and not (tmp_path / "mended").exists() else 0)
        return note(str(tmp_path), x)

    async def main():
        work = asyncio.create_task(
            amorsize.execute_async(item, Numbers(30), checkpoint=path, checkpoint_key="v1", max_workers=4)
        )
        while len(calls(tmp_path)) < 25:
            await asyncio.sleep(1e-3)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    run(main())
    (tmp_path / "mended").touch()
    results = run(amorsize.execute_async(item, Numbers(30), checkpoint=path, checkpoint_key="v1"))
    assert results == [x * x for x in range(30)]
    # Of the four tasks at a time, those that had just ended were not taken yet when the call was cancelled.
    again = [call for call in calls(tmp_path) if not call.endswith("-0")]
    assert len(calls(tmp_path)) - len(again) == 30
    assert len(again) <= 4


# -- events, progress, limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_events_tell_what_happens(kind):
    heard, threads = [], set()

    def on_event(event):
        heard.append(event)
        threads.add(threading.get_ident())

    async def later(x):
        await asyncio.sleep(2e-3)
        return ef.refuse([7], x)

    async def main():
        func = partial(ef.refuse, [7]) if kind == "plain" else later
        # Where items have stood still, "auto" may choose threads for the rest.
        where = {"backend": "serial"} if kind == "plain" else {}
        await amorsize.execute_async(func, range(30), on_event=on_event, on_error="collect", **where)
        return threading.get_ident()

    mine = run(main())
    assert isinstance(heard[0], events.RunStarted)
    assert heard[0].items == 30
    assert heard[-1] == events.RunFinished(at_s=heard[-1].at_s, items=30, failed=1)
    assert sum(one.items for one in heard if isinstance(one, events.ChunkDone)) == 30
    assert [one.index for one in heard if isinstance(one, events.ItemFailed)] == [7]
    (chosen,) = [one.backend for one in heard if isinstance(one, events.BackendChosen)]
    assert chosen == ("async" if kind == "coroutine" else "serial")
    assert (threads == {mine}) is (kind == "coroutine")
    assert len(threads) == 1
    if kind == "coroutine":
        assert min(one.wall_s for one in heard if isinstance(one, events.ChunkDone)) > 1e-3


def test_events_tell_of_repeats(tmp_path):
    heard = []

    async def later(x):
        await asyncio.sleep(2e-3)
        return ef.fail_first(str(tmp_path), 1, x)

    assert run(amorsize.execute_async(later, range(20), retries=1, on_event=heard.append)) == [x * x for x in range(20)]
    told = [(one.index, one.tries, one.wait_s) for one in heard if isinstance(one, events.ItemRepeated)]
    assert sorted(told) == [(x, 1, 0.0) for x in range(1, 20, 2)]


def test_events_tell_of_tasks_at_a_time(monkeypatch):
    heard = []

    async def later(x):
        await asyncio.sleep(2e-3)

    run_virtually(amorsize.execute_async(later, range(400), on_event=heard.append), monkeypatch)
    numbers = [8, *(one.workers for one in heard if isinstance(one, events.WorkersResized))]
    assert len(numbers) > 1
    assert all(before != after for before, after in itertools.pairwise(numbers))


def test_stop_run_ends_the_tasks():
    def listen(event):
        if isinstance(event, events.ChunkDone) and event.start >= 5:
            raise amorsize.errors.StopRun("mine")

    with pytest.raises(amorsize.errors.StopRun, match="mine"):
        run(amorsize.execute_async(square_later, itertools.count(), on_event=listen))


def test_a_bar_is_drawn_for_tasks(capfd):
    pytest.importorskip("tqdm")
    assert run(amorsize.execute_async(square_later, range(30), progress=True)) == [x * x for x in range(30)]
    assert "30/30" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_limit_ends_the_run(kind):
    async def later(x):
        await asyncio.sleep(0.02)

    func = partial(ef.nap, seconds=0.02) if kind == "plain" else later
    with pytest.raises(amorsize.errors.ResourceLimitError, match="max_seconds"):
        run(amorsize.execute_async(func, itertools.repeat(1), limits=amorsize.Limits(max_seconds=0.1), max_workers=2))


# -- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [ThreadPoolExecutor, partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("forkserver"))],
    ids=["threads", "processes"],
)
def test_an_executor_may_run_the_items(make):
    async def main(executor):
        return await amorsize.execute_async(ef.square, Numbers(50), backend=executor, return_plan=True)

    with make(2) as executor:
        results, plan = run(main(executor))
    assert results == [x * x for x in range(50)]
    assert plan.backend == "executor"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_items_are_repeated_after_a_backoff(kind, tmp_path):
    async def later(x):
        return ef.fail_first(str(tmp_path), 2, x)

    func = partial(ef.fail_first, str(tmp_path), 2) if kind == "plain" else later
    results = run(amorsize.execute_async(func, range(5), retries=2, backoff=0.01, retry_on=ef.Refused))
    assert results == [x * x for x in range(5)]
    assert [ef.attempts(str(tmp_path), x) for x in range(5)] == [1, 3, 1, 3, 1]


def test_several_maps_of_all_kinds_at_once(tmp_path):
    dies_once = partial(ef.die_once_at, os.getpid(), "SIGKILL", (30,), str(tmp_path))

    async def read(stream):
        return [one async for one in stream]

    async def main():
        return await asyncio.gather(
            amorsize.execute_async(ef.square, range(100)),
            amorsize.execute_async(square_later, Numbers(100)),
            amorsize.execute_async(ef.square, Numbers(100), backend="threads"),
            amorsize.execute_async(dies_once, Numbers(100), backend="processes", max_workers=2),
            read(amorsize.stream_async(ef.square, Numbers(100))),
            read(amorsize.stream_async(square_later, range(100))),
        )

    assert run(main()) == [[x * x for x in range(100)]] * 6
