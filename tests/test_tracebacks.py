"""Tracebacks of the user's exceptions hold the user's frames alone; those of our own errors hold all."""

from __future__ import annotations

import asyncio
import json
import linecache
import signal
import sys
import time
import traceback
from dataclasses import dataclass

import pytest

import amorsize
from amorsize.errors import ItemTimeoutError, StopRun, WorkerLostError
from amorsize.hints import below, fold, with_sources


def inner(x):
    return 1 / (x - 3)


def outer(x):
    return inner(x)


async def waits(x):
    return inner(x)


def broken_data():
    yield 1
    raise LookupError("in data")


@dataclass(frozen=True)
class FrozenError(Exception):
    why: str


def raises_frozen(x):
    raise FrozenError("no attribute can be set")


def nested(x):
    return amorsize.execute(outer, 5)


def interrupts(x):
    signal.raise_signal(signal.SIGINT)


def frames(exc: BaseException) -> list[str]:
    """Return the modules and functions of a traceback, without those of this test and of asyncio."""
    steps = [(frame.f_globals["__name__"].partition(".")[0], frame.f_code.co_name) for frame, _ in walk(exc)]
    return [
        f"{name}" if package != "amorsize" else f"amorsize {name}" for package, name in steps if package != "asyncio"
    ]


def walk(exc: BaseException):
    return traceback.walk_tb(exc.__traceback__)


def raised(call) -> BaseException:
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError("it did not raise")


async def streamed(func):
    return [x async for x in amorsize.stream_async(func, range(9))]


async def executed(func):
    return await amorsize.execute_async(func, range(9))


CALLS = {
    "a loop": lambda: amorsize.execute(outer, range(9), backend="serial"),
    "threads": lambda: amorsize.execute(outer, range(9), backend="threads"),
    "starmap": lambda: amorsize.starmap(outer, [(1,), (3,)]),
    "a stream": lambda: list(amorsize.stream(outer, range(9), backend="serial")),
    "a sample": lambda: amorsize.optimize(outer, [3, 3]),
    "a validation": lambda: amorsize.validate(outer, [3], max_seconds=1),
    "async": lambda: asyncio.run(executed(outer)),
    "an async stream": lambda: asyncio.run(streamed(outer)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_frames_of_the_user_alone_are_left(call):
    exc = raised(call)
    assert frames(exc)[-2:] == ["outer", "inner"]
    assert not [name for name in frames(exc) if name.startswith("amorsize")]


@pytest.mark.parametrize("call", [lambda: amorsize.execute(waits, range(9)), lambda: asyncio.run(executed(waits))])
def test_coroutine_functions_too(call):
    exc = raised(call)
    assert frames(exc)[-2:] == ["waits", "inner"]
    assert not [name for name in frames(exc) if name.startswith("amorsize")]
    assert exc.__context__ is None


def test_the_line_of_the_call_comes_right_before_the_function():
    exc = raised(lambda: amorsize.execute(outer, range(9), backend="serial"))
    assert frames(exc) == ["raised", "<lambda>", "outer", "inner"]


def test_an_exception_of_a_builtin_function_has_the_line_of_the_call_alone():
    exc = raised(lambda: amorsize.execute(int, ["1", "x"]))
    assert frames(exc) == ["raised", "<lambda>"]
    assert exc.__notes__ == ["amorsize: raised at item 1: 'x'"]


def test_frames_within_a_function_of_the_standard_library_are_left():
    assert frames(raised(lambda: amorsize.execute(json.loads, ["x"])))[:3] == ["raised", "<lambda>", "loads"]


def test_the_iterator_of_data_is_the_users():
    assert frames(raised(lambda: amorsize.execute(outer, broken_data()))) == ["raised", "<lambda>", "broken_data"]


def test_the_exception_stays_the_same_object_with_its_cause():
    cause, error = KeyError("cause"), ValueError("own")
    error.__cause__ = cause

    def func(x):
        raise error

    exc = raised(lambda: amorsize.execute(func, range(9), backend="serial"))
    assert exc is error
    assert exc.__cause__ is cause


def test_an_exception_that_takes_no_attributes_is_folded_too():
    exc = raised(lambda: amorsize.execute(raises_frozen, range(9), backend="serial"))
    assert type(exc) is FrozenError
    assert frames(exc)[-2:] == ["<lambda>", "raises_frozen"]


class NotesRaiseError(Exception):
    @property
    def __notes__(self):
        raise SystemExit("no notes")


class CauseRaisesError(Exception):
    @property
    def __cause__(self):
        raise SystemExit("no cause")

    @property
    def __traceback__(self):
        raise SystemExit("no traceback")


@pytest.mark.parametrize("kind", [NotesRaiseError, CauseRaisesError])
def test_an_exception_whose_attributes_raise_is_raised_as_it_is(kind):
    def func(x):
        raise error

    error = kind("own")
    exc = raised(lambda: amorsize.execute(func, range(3), backend="serial"))
    assert exc is error
    assert exc.__context__ is None


@pytest.mark.parametrize("start_method", amorsize.machine().start_methods)
def test_the_text_from_a_worker_holds_frames_of_the_user_alone(start_method):
    exc = raised(lambda: amorsize.execute(outer, range(9), backend="processes", start_method=start_method))
    assert frames(exc) == ["raised", "<lambda>"]
    text = str(exc.__cause__)
    assert "in outer" in text
    assert "return 1 / (x - 3)" in text
    assert "amorsize" not in text.replace("tests/test_tracebacks", "").replace(__file__, "")


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_so_does_the_text_of_a_collected_failure(backend):
    text = amorsize.execute(outer, [3], backend=backend, on_error="collect")[0].traceback
    places = [line for line in text.splitlines() if line.startswith("  File ")]
    assert [line.rpartition(" ")[2] for line in places] == ["outer", "inner"]


def test_an_executors_map_is_folded():
    with amorsize.Executor(1) as executor:
        exc = raised(lambda: list(executor.map(outer, range(9))))
    assert frames(exc) == ["raised", "<lambda>"]


WAYS_OUT = {
    "map": lambda pool: pool.map(outer, range(9)),
    "starmap": lambda pool: pool.starmap(outer, [(1,), (3,)]),
    "apply": lambda pool: pool.apply(outer, (3,)),
    "get": lambda pool: pool.map_async(outer, range(9)).get(60),
    "imap": lambda pool: list(pool.imap(outer, range(9))),
    "imap_unordered": lambda pool: list(pool.imap_unordered(outer, range(9))),
    "next": lambda pool: pool.imap(outer, [3]).next(60),
}


def test_a_pool_and_a_future_are_folded():
    with amorsize.Pool(1) as pool:
        for way, call in WAYS_OUT.items():
            assert frames(raised(lambda call=call: call(pool))) == ["raised", "<lambda>", "<lambda>"], way
    with amorsize.Executor(1) as executor:
        assert frames(raised(lambda: executor.submit(outer, 3).result())) == ["raised", "<lambda>"]
        assert frames(raised(lambda: executor.submit(outer, 3).result(timeout=60))) == ["raised", "<lambda>"]


def test_a_pool_and_a_future_show_the_whole_chain_if_asked(monkeypatch):
    monkeypatch.setenv("AMORSIZE_TRACEBACK", "full")
    with amorsize.Pool(1) as pool:
        exc = raised(lambda: pool.map(outer, range(9)))
        assert "amorsize map" in frames(exc)
        assert "amorsize get" in frames(exc)
    with amorsize.Executor(1) as executor:
        assert "amorsize result" in frames(raised(lambda: executor.submit(outer, 3).result()))


def test_an_error_of_ours_keeps_its_frames_and_leaves_no_cycle():
    with amorsize.Executor(1, timeout=0.05) as executor:
        future = executor.submit(time.sleep, 60)
        exc = raised(future.result)
    assert type(exc) is ItemTimeoutError
    assert "amorsize result" in frames(exc)
    held = [step.tb_frame.f_locals for step in steps(exc.__traceback__)]
    assert not any(value is future for names in held for value in (*names.values(), *names.get("args", ())))


def steps(trace):
    while trace is not None:
        yield trace
        trace = trace.tb_next


def test_our_own_errors_keep_all_frames():
    assert "amorsize check" in frames(raised(lambda: amorsize.execute(outer, 5)))
    assert "amorsize _exception" not in frames(raised(lambda: amorsize.execute(outer, range(9))))
    lost = WorkerLostError(3, exitcode=1)
    lost.__notes__ = ["amorsize: raised at item 3"]
    assert frames(folded(lost))[-1] == "amorsize deep"


def test_an_own_error_within_the_users_function_keeps_its_frames_from_there():
    names = frames(raised(lambda: amorsize.execute(nested, range(9), backend="serial")))
    assert names[:4] == ["raised", "<lambda>", "nested", "amorsize call"]
    assert names[-1] == "amorsize check"


def test_the_environment_shows_the_whole_chain(monkeypatch):
    monkeypatch.setenv("AMORSIZE_TRACEBACK", "full")
    exc = raised(lambda: amorsize.execute(outer, [3], backend="processes"))
    assert "amorsize finish" in frames(exc)
    assert "run_items" in str(exc.__cause__)
    assert "amorsize finish" in frames(raised(lambda: amorsize.execute(outer, [3])))


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to oneself")
def test_ctrl_c_shows_where_the_user_was():
    exc = raised(lambda: amorsize.execute(interrupts, range(9), backend="serial"))
    assert type(exc) is KeyboardInterrupt
    assert frames(exc) == ["raised", "<lambda>", "interrupts"]


def at(module: str, call, name: str):
    """Return a function of a module that calls another."""
    space = {"__name__": module, "call": call}
    exec(f"def {name}(): call()", space)
    return space[name]


def thrower(exc: BaseException):
    def throw():
        raise exc

    return throw


def folded(exc: BaseException, *inside: tuple[str, str]) -> BaseException:
    """Raise an exception deep within amorsize (or ``inside`` that), fold it where it leaves, and return it."""
    space = {"__name__": "amorsize.x", "exc": exc, "fold": fold}
    exec("def deep(): raise exc", space)
    call = space["deep"]
    for module, name in inside:
        call = at(module, call, name)
    space["call"] = call
    exec("def entry():\n    try: call()\n    except BaseException as e:\n        fold(e)\n        raise", space)
    return raised(space["entry"])


def test_ctrl_c_while_we_wait_shows_the_line_of_the_call_alone():
    assert frames(folded(KeyboardInterrupt())) == ["raised"]
    assert frames(folded(KeyboardInterrupt(), ("selectors", "select"), ("amorsize.z", "wait"))) == ["raised"]


def test_what_is_neither_the_users_nor_an_interrupt_keeps_its_frames():
    assert frames(folded(RuntimeError("a bug of ours"))) == ["raised", "amorsize entry", "amorsize deep"]


def test_a_callback_that_stops_the_run_is_the_users():
    assert below(None) is None
    assert frames(folded(StopRun(), ("theirs", "callback"))) == ["raised", "callback", "amorsize deep"]


def test_a_cell_shows_its_source_from_a_spawned_worker():
    source = "def cell(x):\n    return 1 / x  # a cell\n"
    name = "<cell 1>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space = {"__name__": "a_notebook"}
    exec(compile(source, name, "exec"), space)
    exc = raised(lambda: amorsize.execute(space["cell"], [0], backend="processes", start_method="spawn"))
    assert '  File "<cell 1>", line 2, in cell\n    return 1 / x  # a cell\n' in str(exc.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no traceback",
        '  File "<unknown>", line 3, in f',
        '  File "<unknown>", line x',
        '  File "',
        "ValueError: 1\n",
    ],
)
def test_text_without_known_sources_stays(text):
    assert with_sources(text) == text


def test_a_source_that_is_there_is_not_added_again():
    text = f'  File "{__file__}", line 3, in f\n    something else\nValueError'
    assert with_sources(text) == text


@pytest.mark.parametrize(("package", "progress"), [("tqdm", True), ("rich", "rich")])
def test_a_missing_extra_has_the_line_of_the_call_alone(monkeypatch, package, progress):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exc = raised(lambda: amorsize.execute(outer, range(3), progress=progress))
    assert type(exc) is ImportError
    assert package in str(exc)
    assert frames(exc) == ["raised", "<lambda>"]
    monkeypatch.setenv("AMORSIZE_TRACEBACK", "full")
    assert len(frames(raised(lambda: amorsize.execute(outer, range(3), progress=progress)))) > 2
