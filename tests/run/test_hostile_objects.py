"""Objects that dislike being looked at cost no result: a map of them gives what ``map`` gives."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from unittest.mock import MagicMock, Mock

import hostile
import pytest
from hostile import ERRORS, Caller, Hostile, Sendable, SendableCaller, burn, fails_at_three, liar, number_of
from modes import ROOT

import amorsize

MODES = [("auto", None), ("serial", None), ("threads", None), ("processes", "fork"), ("processes", "forkserver")]
HERE = ["auto", "serial", "threads"]


def numbers(results):
    return [object.__getattribute__(one, "number") for one in results]


@pytest.mark.parametrize("backend", HERE)
class TestResultsAndItems:
    def test_results_that_raise_when_looked_at_are_handed_over(self, backend):
        assert numbers(amorsize.execute(hostile.hostile, range(100), backend=backend)) == list(range(100))

    def test_results_that_raise_when_looked_at_are_streamed(self, backend):
        assert numbers(amorsize.stream(hostile.hostile, range(100), backend=backend)) == list(range(100))

    def test_results_that_lie_about_their_size_are_streamed(self, backend):
        assert len(list(amorsize.stream(liar, range(100), backend=backend))) == 100

    def test_items_that_raise_when_looked_at_are_run(self, backend):
        items = [Hostile(number) for number in range(100)]
        assert amorsize.execute(number_of, items, backend=backend) == list(range(100))
        assert amorsize.execute(number_of, iter(items), backend=backend) == list(range(100))

    @pytest.mark.parametrize("make", [Mock, MagicMock, lambda: Mock(spec=list), lambda: Mock(nbytes="many")])
    def test_mocks_are_items_and_results_like_any_other(self, backend, make):
        items = [make() for _ in range(60)]
        results = amorsize.execute(burn, items, backend=backend)
        assert len(results) == 60


def read_all(func, data, **options):
    return list(amorsize.stream(func, data, **options))


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("call", [amorsize.execute, read_all, amorsize.optimize])
def test_nothing_that_the_user_wrote_is_run_to_look_at_items_and_results(call, backend):
    """It may take long: a lazy object loads itself, say."""
    hostile.ASKED.clear()
    call(hostile.watched, range(30), backend=backend)
    call(number_of, [hostile.Watched(number) for number in range(30)], backend=backend)
    assert not hostile.ASKED


@pytest.mark.parametrize("ask", [amorsize.optimize, amorsize.tune, amorsize.validate])
def test_planning_with_hostile_results_and_items_raises_nothing(ask):
    options = {} if ask is amorsize.optimize else {"max_seconds": 0.2}
    ask(hostile.hostile, range(40), **options)
    ask(number_of, [Hostile(number) for number in range(40)], **options)


def test_hostile_results_of_an_async_map_are_handed_over():
    async def main():
        # asyncio.run() itself takes the repr of what it returns.
        return numbers(await amorsize.execute_async(hostile.hostile, range(40)))

    assert asyncio.run(main()) == list(range(40))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_hostile_results_in_processes_are_failures_one_by_one(method):
    results = amorsize.execute(
        hostile.hostile, range(4), backend="processes", start_method=method, max_workers=2, on_error="collect"
    )
    assert [type(one.exception).__name__ for one in results] == ["TransferError"] * 4


@pytest.mark.parametrize(("backend", "method"), MODES)
@pytest.mark.parametrize("func", [Mock, MagicMock])
def test_a_mock_as_the_function_does_not_hang(backend, method, func):
    if method == "forkserver":
        pytest.skip("a mock cannot be sent")
    results = amorsize.execute(func(return_value=3), range(5), backend=backend, start_method=method)
    assert results == [3] * 5


@pytest.mark.parametrize("backend", [*HERE, "processes"])
def test_a_function_that_raises_when_looked_at_is_called(backend):
    assert amorsize.execute(Caller(), range(5), backend=backend) == [0, -1, -2, -3, -4]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_function_and_items_that_raise_when_looked_at_are_sent(method):
    options = {"backend": "processes", "start_method": method, "max_workers": 2}
    assert amorsize.execute(SendableCaller(), range(5), **options) == [0, -1, -2, -3, -4]
    items = [Sendable(number) for number in range(5)]
    assert amorsize.execute(number_of, items, **options) == list(range(5))
    assert sorted(amorsize.stream(number_of, iter(items), ordered=False, **options)) == list(range(5))


def test_calls_of_hostile_functions_and_arguments_break_no_executor():
    with amorsize.Executor(1) as executor:
        assert executor.submit(SendableCaller(), 3).result() == -3
        assert list(executor.map(number_of, [Sendable(number) for number in range(5)])) == list(range(5))
        for refused in (
            executor.submit(Caller(), 3),
            executor.submit(number_of, Hostile()),
            executor.submit(Hostile, 3),
        ):
            with pytest.raises(amorsize.errors.TransferError):
                refused.result()
        for kind in ERRORS:
            assert name_of(executor.submit(fails_at_three, (kind, 3)).exception()) == kind.__name__
            results = executor.map(fails_at_three, [(kind, number) for number in range(6)])
            assert [next(results) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(Exception) as caught:  # noqa: PT011
                next(results)
            assert name_of(caught.value) == kind.__name__
        assert executor.submit(abs, -1).result() == 1


def test_hostile_results_of_coroutines_are_handed_over():
    assert numbers(amorsize.execute(hostile.hostile_later, range(5))) == list(range(5))


@pytest.mark.parametrize("kind", ERRORS)
def test_exceptions_of_coroutines_keep_their_type(kind):
    """`asyncio.run` takes the repr of what its coroutine raises: it must see neither that nor any result."""
    items = [(kind, number) for number in range(6)]
    with pytest.raises(kind):
        amorsize.execute(hostile.fails_later, items)
    results = amorsize.execute(hostile.fails_later, items, on_error="collect")
    assert [*results[:3], type(results[3].exception), *results[4:]] == [0, 1, 2, kind, 4, 5]


@pytest.mark.parametrize("backend", [*HERE, "processes"])
@pytest.mark.parametrize("kind", ERRORS)
def test_exceptions_of_iterators_keep_their_type(kind, backend):
    def data():
        yield 1
        raise kind(3)

    for run in (amorsize.execute, lambda *a, **k: list(amorsize.stream(*a, **k))):
        with pytest.raises(kind):
            run(abs, data(), backend=backend, max_workers=2)


def test_the_history_takes_a_function_that_raises_when_looked_at(tmp_path):
    history = amorsize.History(tmp_path / "history.sqlite")
    amorsize.execute(Caller(), range(5), history=history)
    assert [run.n_items for run in history.runs()] == [5]


@pytest.mark.parametrize(("backend", "method"), MODES)
@pytest.mark.parametrize("kind", ERRORS)
class TestExceptions:
    def test_the_users_exception_keeps_its_type(self, kind, backend, method):
        items = [(kind, number) for number in range(6)]
        with pytest.raises(Exception) as caught:  # noqa: PT011
            amorsize.execute(fails_at_three, items, backend=backend, start_method=method, max_workers=2)
        assert name_of(caught.value) == kind.__name__

    def test_the_others_are_collected(self, kind, backend, method):
        items = [(kind, number) for number in range(6)]
        results = amorsize.execute(
            fails_at_three, items, backend=backend, start_method=method, max_workers=2, on_error="collect"
        )
        assert [*results[:3], *results[4:]] == [0, 1, 2, 4, 5]
        assert results[3].index == 3

    def test_one_that_the_initializer_raises_is_told(self, kind, backend, method):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            amorsize.execute(
                abs, range(3), backend=backend, start_method=method, initializer=throw, initargs=(kind,), max_workers=2
            )
        assert name_of(caught.value) == kind.__name__


def name_of(exc):
    """The type of an exception, or of the one that it stands for."""
    return exc.type_name.rpartition(".")[2] if type(exc) is amorsize.errors.RemoteError else type(exc).__name__


def throw(kind):
    raise kind(1)


def test_a_note_takes_no_attribute_where_it_would_be_refused_and_is_there_all_the_same():
    with pytest.raises(hostile.FrozenError) as caught:
        amorsize.execute(fails_at_three, [(hostile.FrozenError, 3)])
    assert "raised at item 0" in caught.value.__notes__[0]


HUGE = """
import resource, sys, amorsize
from dataclasses import dataclass
@dataclass
class Page:
    body: bytes
def fail(item):
    raise {error}
item = {item}
amorsize.execute(abs, range(3), backend={backend!r})
try:
    amorsize.execute(lambda x: 1 / 0, [0], backend={backend!r})
except ZeroDivisionError:
    pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    amorsize.execute(fail, [item], backend={backend!r})
except Exception as exc:
    assert len(exc.__notes__[0]) < 500
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in other units")
@pytest.mark.parametrize("backend", ["serial", "processes"])
@pytest.mark.parametrize("error", ["ValueError('no')", "KeyError(item)"])
@pytest.mark.parametrize("item", ["b'x' * 100_000_000", "Page(b'x' * 100_000_000)", "['x' * 100_000_000]"])
def test_the_note_of_a_huge_item_costs_no_memory(backend, error, item):
    done = subprocess.run(
        [sys.executable, "-c", HUGE.format(error=error, item=item, backend=backend)],
        env={"PYTHONPATH": str(ROOT), "AMORSIZE_HISTORY": "off"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert int(done.stdout) < 40_000  # KiB; a repr of the item would take 390 MB


HEAVY = """
import resource, sys, amorsize
class Heavy(Exception): pass
def fail(x):
    blob = bytes(50_000_000)
    error = Heavy("no", x)
    if {how!r} == "argument": error = Heavy("no", x, [blob])
    elif {how!r} == "attribute": error.blob, error.small = blob, [x]
    elif {how!r} == "array": import numpy; error.blob = numpy.ones(6_000_000)
    elif {how!r} == "many": error = Heavy("no", x, list(range(4_000_000)))
    elif {how!r} == "cause": raise error from ValueError(blob)
    elif {how!r} == "context":
        try: raise ValueError({{"page": blob}})
        except ValueError: raise error
    elif {how!r} == "group": raise ExceptionGroup("all", [error, ValueError(blob)])
    raise error
if __name__ == "__main__":
    import numpy
    options = dict(backend="processes", start_method={method!r}, max_workers=1)
    amorsize.execute(fail, [0], on_error="collect", **options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = amorsize.execute(fail, range(12), on_error="collect", retries=1, **options)
    for x, one in enumerate(found):
        exc = one.exception.exceptions[0] if {how!r} == "group" else one.exception
        assert type(exc) is Heavy and exc.args[:2] == ("no", x), exc
        assert len(one.traceback) < 5_000 and "Heavy" in one.traceback, one.traceback[:500]
        if {how!r} == "attribute": assert exc.small == [x] and len(exc.blob) < 200
        if {how!r} in ("argument", "attribute", "array", "many"): assert "too large to be sent" in exc.__notes__[0]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in other units")
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("how", ["argument", "attribute", "array", "many", "cause", "context", "group"])
def test_a_huge_exception_is_not_sent_whole(tmp_path, how, method):
    """Each was sent whole, each time that its item was tried: 50 MB here, in the worker several times over."""
    (tmp_path / "program.py").write_text(HEAVY.format(how=how, method=method))
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "AMORSIZE_HISTORY": "off"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    caller, worker = map(int, done.stdout.split())
    assert caller < 30_000  # KiB
    assert worker < 600_000
