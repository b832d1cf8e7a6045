"""Invalid arguments raise before func is called, with their names."""

from __future__ import annotations

import asyncio
import inspect
import io
import re
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import hands
import numpy as np
import pytest

import amorsize
from amorsize import options


def never(_: object) -> None:
    raise AssertionError("func was called")


async def coroutine(_: object) -> None:
    raise AssertionError("func was called")


class Whole:
    """A whole number by ``__index__``, like those of numpy."""

    def __index__(self) -> int:
        return 1


def shown(arguments: dict[str, object]) -> str:
    """Return the arguments without addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(arguments))


BAD_FOR_BOTH = [
    ("func", TypeError, {"func": None}),
    ("func", TypeError, {"func": "never"}),
    ("data", TypeError, {"data": 3}),
    ("data", TypeError, {"data": None}),
    ("data", TypeError, {"data": np.array(3.0)}),
    ("backend", ValueError, {"backend": "process"}),
    ("backend", ValueError, {"backend": ""}),
    ("backend", ValueError, {"backend": ()}),
    ("backend", ValueError, {"backend": ("serial", "fibres")}),
    ("backend", ValueError, {"backend": ("auto",)}),
    ("backend", TypeError, {"backend": None}),
    ("backend", TypeError, {"backend": 4}),
    ("backend", TypeError, {"backend": ("serial", 4)}),
    ("max_workers", ValueError, {"max_workers": 0}),
    ("max_workers", ValueError, {"max_workers": -1}),
    ("max_workers", TypeError, {"max_workers": 2.0}),
    ("max_workers", TypeError, {"max_workers": "2"}),
    ("max_workers", TypeError, {"max_workers": True}),
    ("start_method", ValueError, {"start_method": "thread"}),
    ("start_method", TypeError, {"start_method": 1}),
    ("memory_limit", ValueError, {"memory_limit": 0}),
    ("memory_limit", TypeError, {"memory_limit": 1e9}),
    ("memory_limit", TypeError, {"memory_limit": "1GB"}),
    ("sample", ValueError, {"sample": "tail"}),
    ("sample", ValueError, {"sample": None}),
    ("history", TypeError, {"history": "runs.sqlite"}),
]

BAD_FOR_EXECUTE = [
    ("retries", ValueError, {"retries": -1}),
    ("retries", TypeError, {"retries": None}),
    ("retries", TypeError, {"retries": 1.0}),
    ("retries", TypeError, {"retries": False}),
    ("retry_on", TypeError, {"retry_on": None}),
    ("retry_on", TypeError, {"retry_on": "OSError"}),
    ("retry_on", TypeError, {"retry_on": int}),
    ("retry_on", TypeError, {"retry_on": ValueError()}),
    ("retry_on", TypeError, {"retry_on": [OSError]}),
    ("retry_on", TypeError, {"retry_on": (OSError, 3)}),
    ("retry_on", TypeError, {"retry_on": (OSError, (KeyError,))}),
    ("backoff", ValueError, {"backoff": -1.0}),
    ("backoff", ValueError, {"backoff": float("nan")}),
    ("backoff", ValueError, {"backoff": float("inf")}),
    ("backoff", ValueError, {"backoff": 10**400}),
    ("rate", ValueError, {"rate": 10**400}),
    ("backoff", ValueError, {"backoff": -float("inf")}),
    ("backoff", TypeError, {"backoff": True}),
    ("backoff", TypeError, {"backoff": "1"}),
    ("backoff", TypeError, {"backoff": None}),
    ("backoff", TypeError, {"backoff": 1j}),
    ("on_error", ValueError, {"on_error": "ignore"}),
    ("on_error", ValueError, {"on_error": None}),
    ("initializer", TypeError, {"initializer": 3}),
    ("initargs", TypeError, {"initargs": 3}),
    ("initargs", TypeError, {"initargs": "abc"}),
    ("initargs", TypeError, {"initargs": None}),
]

BAD_FOR_OPTIMIZE = [("func", TypeError, {"func": coroutine})]

PLANNING = [amorsize.optimize, amorsize.tune, amorsize.validate]
ALL = [(call, *bad) for call in PLANNING for bad in BAD_FOR_BOTH + BAD_FOR_OPTIMIZE] + [
    (amorsize.execute, *bad) for bad in BAD_FOR_BOTH + BAD_FOR_EXECUTE
]


@pytest.mark.parametrize(
    ("call", "name", "error", "bad"), ALL, ids=[f"{call.__name__}-{shown(bad)}" for call, _, _, bad in ALL]
)
def test_a_bad_argument_is_named(call, name, error, bad):
    arguments = {"func": never, "data": [1, 2], **bad}
    with pytest.raises(error, match=rf"^{name}: ") as caught:
        call(arguments.pop("func"), arguments.pop("data"), **arguments)
    assert type(caught.value) is error


def test_an_iterator_is_not_touched_when_an_argument_is_bad():
    data = iter([1, 2])
    with pytest.raises(ValueError, match="max_workers"):
        amorsize.execute(never, data, max_workers=0)
    assert list(data) == [1, 2]


@pytest.mark.parametrize("call", [amorsize.execute, *PLANNING])
def test_all_but_func_and_data_are_keywords(call):
    with pytest.raises(TypeError):
        call(abs, [1], "serial")


@pytest.mark.parametrize("call", [amorsize.execute, *PLANNING])
def test_an_unknown_argument_is_refused(call):
    with pytest.raises(TypeError, match="chunksize"):
        call(abs, [1], chunksize=3)


@pytest.mark.parametrize(
    "good",
    [
        {"max_workers": Whole()},
        {"max_workers": np.int64(3)},
        {"backend": ["serial", "threads"]},
        {"backend": ("serial",)},
        {"memory_limit": 1 << 40},
        {"retries": np.int8(1)},
        {"retry_on": ()},
        {"retry_on": (OSError, KeyError), "retries": 1},
        {"retry_on": KeyboardInterrupt},
        {"backoff": 0},
        {"backoff": np.float32(0.5), "retries": 1},
        {"backoff": Fraction(1, 2)},
        {"initializer": list, "initargs": [(1, 2)]},
        {"sample": "head"},
        {"history": None},
    ],
    ids=shown,
)
def test_what_is_as_good(good):
    assert amorsize.execute(abs, [-1, 2], **good) == [1, 2]


CALLS = [amorsize.execute, amorsize.stream, amorsize.optimize, amorsize.tune, amorsize.validate]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"n_jobs": 2}, "max_workers="), ({"processes": 2}, "max_workers="), ({"chunksize": 3}, "leave it out"),
        ({"mp_context": "fork"}, "start_method="), ({"max_workerz": 2}, "max_workers="),
        ({"n_job": 2}, "max_workers="), ({"chunk_sizes": 3}, "leave it out"), ({"itmes": 3}, "data, the second"),
    ],
)  # fmt: skip
def test_the_name_that_another_library_has_is_answered_with_ours(call, wrong, hint):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(wrong))}'.*{hint}"):
        call(abs, [1], **wrong)


def test_an_async_call_is_answered_so_too():
    with pytest.raises(TypeError, match="max_workers="):
        asyncio.run(amorsize.execute_async(abs, [1], n_jobs=2))


@pytest.mark.parametrize("wrong", ["n_jobs", "processes", "max_workerz", "workers"])
def test_an_executor_is_answered_so_too(wrong):
    with pytest.raises(TypeError, match=rf"^Executor\(\) got an unexpected keyword argument '{wrong}'.*max_workers="):
        amorsize.Executor(**{wrong: 2})
    assert next(iter(inspect.signature(amorsize.Executor).parameters)) == "max_workers"


def test_signatures_are_as_they_are_written():
    for call in (*CALLS, amorsize.execute_async):
        kinds = {one.kind for one in inspect.signature(call).parameters.values()}
        assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert inspect.iscoroutinefunction(amorsize.execute_async)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("backend", "hint"),
    [
        ("process", "'processes'"), ("multiprocessing", "'processes'"), ("thread", "'threads'"),
        ("spawn", "start_method"),
        ("loky", "get_reusable_executor"), ("dask", "Client"), ("seriel", "'serial'"),
        (("serial", "thread"), "'threads'"),
    ],
)  # fmt: skip
def test_the_backend_of_another_library_is_answered_with_ours(call, backend, hint):
    with pytest.raises(ValueError, match=f"^backend: .*Did you mean .*{hint}"):
        call(abs, [1], backend=backend)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"start_method": "spwan"}, "'spawn'"), ({"on_error": "colect"}, "'collect'"), ({"sample": "heda"}, "'head'"),
        ({"progress": {"totl": 3}}, "'total'"), ({"backend": "proceses"}, "'processes'"),
    ],
)  # fmt: skip
def test_a_misspelt_value_is_answered_with_the_near_one(wrong, right):
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: .*\. Did you mean {right}\?$"):
        amorsize.execute(abs, [1], **wrong)


@pytest.mark.parametrize("call", [amorsize.execute, amorsize.stream])
def test_initargs_without_an_initializer_are_refused(call):
    with pytest.raises(ValueError, match=r"^initargs: "):
        call(abs, [1], initargs=(1,))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("backend", ["threads", "serial", ("serial", "threads")])
def test_a_start_method_where_no_process_starts_is_refused(call, backend):
    with pytest.raises(ValueError, match=r"^start_method: "):
        call(abs, [1], backend=backend, start_method="spawn")


def generates(item):
    yield item


async def generates_later(item):
    yield item


class Generates:
    def __call__(self, item):
        yield item


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("func", [generates, generates_later, Generates(), partial(generates)])
def test_a_generator_function_is_refused_since_a_call_runs_nothing(call, func):
    with pytest.raises(TypeError, match=r"^func: is a generator function"):
        call(func, [1])


def columns(monkeypatch, package):
    """A data frame of a library that is not installed here: its iterator gives the names of its columns."""

    class DataFrame:
        def __len__(self):
            return 5

        def __iter__(self):
            return iter(["a", "b"])

    monkeypatch.setitem(sys.modules, package, SimpleNamespace(DataFrame=DataFrame))
    return DataFrame()


@pytest.mark.parametrize(("package", "rows"), [("pandas", "itertuples"), ("polars", "iter_rows")])
def test_a_data_frame_is_mapped_over_its_columns_with_one_warning(monkeypatch, package, rows):
    frame = columns(monkeypatch, package)
    with pytest.warns(UserWarning, match=rf"df\.{rows}\(\)") as told:
        assert amorsize.execute(str.upper, frame) == ["A", "B"]
    assert [Path(one.filename) for one in told] == [Path(__file__)]
    with pytest.warns(UserWarning, match=rows) as told:
        assert list(amorsize.stream(str.upper, frame)) == ["A", "B"]
    assert len(told) == 1


def throws(*args):
    raise LookupError("why")


def breaks():
    yield 1
    yield 2
    raise LookupError("why")


class Breaks:
    def __iter__(self):
        raise LookupError("why")


BACKENDS = ["auto", "serial", "threads", "processes"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_initializer_that_raises_is_named(backend):
    for run in (amorsize.execute, lambda *a, **k: list(amorsize.stream(*a, **k))):
        with pytest.raises(LookupError) as caught:
            run(abs, range(4), backend=backend, initializer=throws, initargs=(1,), max_workers=2)
        assert any("initializer=" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_iterator_that_raises_is_named(backend):
    for run in (amorsize.execute, lambda *a, **k: list(amorsize.stream(*a, **k))):
        with pytest.raises(LookupError) as caught:
            run(abs, breaks(), backend=backend, max_workers=2)
        assert caught.value.__notes__ == ["amorsize: raised by the iterator of data, after 2 items"]
        with pytest.raises(LookupError) as caught:
            run(abs, Breaks(), backend=backend, max_workers=2)
        assert caught.value.__notes__ == ["amorsize: raised by the iterator of data, after 0 items"]


# How far optimize reads ahead depends on the time that items take; tune and validate read all.
READERS = [(amorsize.optimize, items) for items in (0, 1, 2)] + [
    (call, items) for call in (amorsize.tune, amorsize.validate) for items in (0, 1, 2, 3, 40)
]


@pytest.mark.parametrize(("call", "items"), READERS)
def test_an_iterator_that_raises_is_named_while_planning(call, items, monkeypatch):
    def breaks():
        yield from range(items)
        raise LookupError("why")

    # An item that stands still would leave no time to read on.
    with hands.virtual_time(monkeypatch), pytest.raises(LookupError) as caught:
        call(abs, breaks())
    assert caught.value.__notes__ == [
        f"amorsize: raised by the iterator of data, after {items} item{'s' if items != 1 else ''}"
    ]


def test_an_async_initializer_or_iterator_that_raises_is_named():
    async def task(item):
        return item

    async def later():
        yield 1
        raise LookupError("why")

    with pytest.raises(LookupError) as caught:
        asyncio.run(amorsize.execute_async(task, later()))
    assert caught.value.__notes__ == ["amorsize: raised by the iterator of data, after 1 item"]
    with pytest.raises(LookupError) as caught:
        asyncio.run(amorsize.execute_async(task, [1], initializer=throws))
    assert "initializer=" in caught.value.__notes__[0]


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError(text)

    def flush(self):
        raise BrokenPipeError


class Closed(io.StringIO):
    def __init__(self):
        super().__init__()
        self.close()


@pytest.mark.parametrize("stream", [lambda: None, Closed, Broken])
@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_stderr_to_draw_on_there_is_no_bar(monkeypatch, backend, stream):
    """As in pythonw and in services; the run was lost."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", stream())
    options = {"backend": backend, "progress": True, "max_workers": 2}
    assert amorsize.execute(abs, [-1, 2], **options) == [1, 2]
    assert list(amorsize.stream(abs, [-1, 2], **options)) == [1, 2]


def test_an_executor_of_interpreters_takes_the_place_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a ThreadPoolExecutor by inheritance (CPython 3.14), but its items are pickled."""
    from concurrent.futures import ThreadPoolExecutor

    from amorsize.options import check

    class InterpreterPoolExecutor(ThreadPoolExecutor):
        pass

    module = SimpleNamespace(InterpreterPoolExecutor=InterpreterPoolExecutor)
    monkeypatch.setitem(sys.modules, "concurrent.futures.interpreter", module)  # type: ignore[arg-type]
    with InterpreterPoolExecutor(1) as apart, ThreadPoolExecutor(1) as beside:
        assert check(str, [1], backend=("serial", apart)).executor_as == "processes"
        assert check(str, [1], backend=("serial", beside)).executor_as == "threads"


class TestBackendsOfTheEnvironment:
    @pytest.mark.parametrize(
        ("text", "backends"),
        [
            ("serial,processes", ("serial", "processes")),
            (" processes , serial ", ("serial", "processes")),
            ("serial", ("serial",)),
            ("threads", ("threads",)),
            ("", ("serial", "threads", "processes")),
        ],
    )
    def test_it_narrows_auto(self, monkeypatch, text, backends):
        monkeypatch.setenv("AMORSIZE_BACKENDS", text)
        assert options.check(str, [1]).backends == backends

    def test_a_backend_that_is_named_beats_it(self, monkeypatch):
        monkeypatch.setenv("AMORSIZE_BACKENDS", "serial")
        assert options.check(str, [1], backend="threads").backends == ("threads",)
        assert options.check(str, [1], backend=("threads", "processes")).backends == ("threads", "processes")

    @pytest.mark.parametrize("text", ["bogus", "serial,", "threads;serial", "auto"])
    def test_a_wrong_value_names_the_variable(self, monkeypatch, text):
        monkeypatch.setenv("AMORSIZE_BACKENDS", text)
        with pytest.raises(ValueError, match=r"^AMORSIZE_BACKENDS: must hold names out of"):
            options.check(str, [1])

    def test_a_timeout_needs_processes(self, monkeypatch):
        monkeypatch.setenv("AMORSIZE_BACKENDS", "serial,threads")
        with pytest.raises(ValueError, match=r"timeout: .*AMORSIZE_BACKENDS"):
            options.check(str, [1], timeout=1)
        assert options.check(str, [1], timeout=1, backend="processes").backends == ("processes",)
        monkeypatch.setenv("AMORSIZE_BACKENDS", "serial,processes")
        assert options.check(str, [1], timeout=1).backends == ("processes",)

    def test_a_narrowed_map_teaches_nothing_about_others(self, monkeypatch):
        assert options.check(str, [1]).is_free
        monkeypatch.setenv("AMORSIZE_BACKENDS", "serial")
        assert not options.check(str, [1]).is_free
