"""One contract for repeats on every backend and start method: how often, after what, and not before they are due."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import engine_functions as ef
import modes
import pytest
from disturbed import until_it_holds
from modes import Mode

import amorsize
from amorsize import options
from amorsize.errors import ItemTimeoutError, RemoteError, StopRun
from amorsize.facts import Failure
from amorsize.model.decide import Decider, TryThreads
from amorsize.run import deciding as engine
from amorsize.schedule.failures import Repeats

N = 12
BUSY = [x for x in range(N) if x % 4 == 1]
BACKOFF_S = 0.04

# Calls by other ways than `execute` in a mode.
OTHERS = ("threads of an executor", "processes of an executor", "coroutines", "beside a loop", "stream", "unordered")


@pytest.fixture(params=[*modes.ALL, *OTHERS], ids=lambda way: way if isinstance(way, str) else way.name)
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run ``busy_first`` over some items; each way of doing so in turn."""
    # What raises in a trial on threads is run again by the loop, whatever the arguments say; no clock must cause one.
    monkeypatch.setattr("amorsize.model.decide.TRY_LEFT", 1 << 62)
    way = request.param
    if isinstance(way, Mode):
        run = modes.runner(way, monkeypatch)
        yield lambda args, data, **asked: run(partial(ef.busy_first, *args), data, **asked)
    elif "executor" in way:
        with (ThreadPoolExecutor if "threads" in way else ProcessPoolExecutor)(2) as executor:
            yield lambda args, data, **asked: amorsize.execute(
                partial(ef.busy_first, *args), data, backend=executor, **asked
            )
    elif way == "coroutines":
        yield lambda args, data, **asked: amorsize.execute(partial(ef.busy_first_async, *args), data, **asked)
    elif way == "beside a loop":
        yield lambda args, data, **asked: asyncio.run(
            amorsize.execute_async(partial(ef.busy_first, *args), data, **asked)
        )
    else:
        ordered = way == "stream"

        def stream(args: Any, data: Any, **asked: Any) -> list[Any]:
            found = list(amorsize.stream(partial(ef.busy_first, *args), data, ordered=ordered, **asked))
            return found if ordered else sorted(found, key=lambda x: x.index**2 if isinstance(x, Failure) else x)

        yield stream


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item that is set aside waits for as long as it may."""
    repeats = options.Request.repeats
    monkeypatch.setattr(options.Request, "repeats", lambda request: without_chance(repeats(request)))


def without_chance(repeats: Repeats) -> Repeats:
    repeats.draw = None
    return repeats


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
@pytest.mark.usefixtures("longest")
def test_items_are_repeated_when_they_are_due_and_not_before(call, tmp_path, kind):
    found = call((str(tmp_path), 2, "busy"), kind(range(N)), retries=3, retry_on=ef.Busy, backoff=BACKOFF_S)
    assert found == [x * x for x in range(N)]
    for x in range(N):
        times = ef.times_of(str(tmp_path), x)
        assert len(times) == (3 if x in BUSY else 1)
        for tries, ((_, ended_s), (again_s, _)) in enumerate(pairwise(times)):
            assert again_s - ended_s >= BACKOFF_S * 2**tries


def test_repeats_come_to_an_end(call, tmp_path):
    found = call((str(tmp_path), 9, "busy"), range(N), retries=1, backoff=1e-3, on_error="collect")
    assert [x for x in range(N) if isinstance(found[x], Failure)] == BUSY
    assert [ef.attempts(str(tmp_path), x) for x in range(N)] == [2 if x in BUSY else 1 for x in range(N)]


def test_only_what_is_named_is_repeated(call, tmp_path):
    found = call((str(tmp_path), 1, "refused"), range(N), retries=5, retry_on=(OSError, KeyError), on_error="collect")
    assert [x for x in range(N) if isinstance(found[x], Failure)] == BUSY
    assert [ef.attempts(str(tmp_path), x) for x in range(N)] == [1] * N


def test_an_exception_that_cannot_be_rebuilt_counts_as_what_it_was(call, tmp_path):
    assert call((str(tmp_path), 1, "twisted"), range(N), retries=1, retry_on=OSError) == [x * x for x in range(N)]
    assert [ef.attempts(str(tmp_path), x) for x in range(N)] == [2 if x in BUSY else 1 for x in range(N)]


@pytest.mark.usefixtures("longest")
def test_what_is_set_aside_delays_no_exception(call, tmp_path, request):
    if "[stream]" in request.node.name:
        pytest.skip("results in order: the exception comes after those of all items before")
    with pytest.raises(TypeError):
        call((str(tmp_path), 9, "busy"), [1, "no number"], retries=9, retry_on=OSError, backoff=60.0)
    # Another thread may have raised before this item began.
    assert ef.attempts(str(tmp_path), 1) <= 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_time_out_is_repeated_whatever_is_named(tmp_path, method):
    def check(limit_s):
        (folder := tmp_path / str(limit_s)).mkdir()
        asked = {"timeout": limit_s, "start_method": method, "max_workers": 2, "retry_on": (), "backoff": 1e-3}
        func = partial(ef.busy_first, str(folder), 1, "late")
        assert amorsize.execute(func, range(3), retries=1, **asked) == [0, 1, 4]
        with pytest.raises(ItemTimeoutError):
            amorsize.execute(partial(ef.busy_first, str(folder), 99, "late"), [5], retries=1, **asked)
        assert ef.attempts(str(folder), 5) == 2

    # A worker that stands still for so long takes too long, too.
    until_it_holds(check, (0.3, 3.0, 15.0))


def test_a_time_out_of_a_task_is_repeated_whatever_is_named():
    runs = []

    async def hang(x):
        runs.append(x)
        if len(runs) < 3:
            await asyncio.sleep(3600)
        return x

    asked = {"timeout": 0.05, "retry_on": (), "backoff": 1e-3}
    assert amorsize.execute(hang, [7], retries=2, **asked) == [7]
    assert runs == [7, 7, 7]


def test_the_programs_own_chance_is_left_alone(tmp_path):
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    amorsize.execute(partial(ef.busy_first, str(tmp_path), 2, "busy"), range(N), retries=2, backoff=1e-3)
    assert [random.random() for _ in range(3)] == expected


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_stream_can_be_closed_while_items_are_set_aside(tmp_path, backend):
    func = partial(ef.busy_first, str(tmp_path), 99, "busy")
    results = amorsize.stream(func, range(1000), ordered=False, retries=9, backoff=3600.0, backend=backend)
    assert next(results) % 4 < 2
    results.close()


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_what_is_set_aside_is_missing_in_the_checkpoint_until_it_is_done(tmp_path, backend):
    (tmp_path / "notes").mkdir()
    func = partial(ef.busy_first, str(tmp_path / "notes"), 1, "busy")
    asked = {"backend": backend, "checkpoint": tmp_path / "journal", "checkpoint_key": "busy", "retries": 1}
    with pytest.raises(StopRun):
        amorsize.execute(func, range(N), backoff=60.0, on_event=StopAfter(N), **asked)
    assert amorsize.execute(func, range(N), backoff=1e-3, **asked) == [x * x for x in range(N)]
    assert [ef.attempts(str(tmp_path / "notes"), x) for x in range(N)] == [2 if x in BUSY else 1 for x in range(N)]


class StopAfter:
    """A listener that ends the run when so many items have been run at least once."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.seen: set[int] = set()

    def __call__(self, event: object) -> None:
        if isinstance(event, amorsize.events.ChunkDone):
            self.seen.update(range(event.start, event.start + event.items))
            if len(self.seen) == self.items:
                raise StopRun


def test_a_remote_error_has_the_names_of_its_classes(tmp_path):
    with pytest.raises(RemoteError) as caught:
        amorsize.execute(partial(ef.busy_first, str(tmp_path), 9, "twisted"), range(3), backend="processes")
    assert caught.value.class_names[:3] == (
        "engine_functions.TwistedBusy",
        "engine_functions.Busy",
        "builtins.ConnectionError",
    )


class Tries(Decider):
    """Tries threads once, after two items."""

    def wants_choices(self, backends):
        return self.items >= 1

    def next(self):
        if self.choices is None or self.items < 2 or self.threads_gain is not None:
            return self.batch()
        return TryThreads(20)


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("retries", [0, 1])
def test_items_that_fail_in_a_trial_on_threads_are_there_for_the_loop(monkeypatch, tmp_path, kind, retries):
    monkeypatch.setattr(engine, "Decider", Tries)
    func = partial(ef.busy_first, str(tmp_path), 1, "busy")
    found = amorsize.execute(
        func, kind(range(60)), retries=retries, on_error="collect", backend=("serial", "threads"), max_workers=2
    )
    assert found == [x * x for x in range(60)] if retries else len(found) == 60
