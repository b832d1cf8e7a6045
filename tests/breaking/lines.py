"""Ctrl-C at each line that a call reaches in the main thread, of amorsize and of the standard library.

A call is run once to see which lines it reaches. Then, in each trial, the process sends itself SIGINT when one of them
is reached. Seeds go through the calls in turn, and through the lines of each at an even pace.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modes
from interrupted import leaves_a_with

import amorsize

from . import functions as fn
from . import harness
from .faults import METHODS, turned
from .harness import demand
from .interrupts import Gun, later_calls_work, nap

HERE = str(Path(amorsize.__file__).parent) + os.sep
# A lock that an interrupt leaves taken in `logging` or `threading` makes our later calls hang all the same.
LIBRARY = str(Path(os.__file__).parent) + os.sep
STRIDE = 0.618033988749895  # the golden section: any number of steps covers the lines evenly

Line = tuple[str, int]


def _execute(mode: modes.Mode, data: Any, func: Callable[[Any], Any] = nap, **more: Any) -> Callable[[], None]:
    def run() -> None:
        with turned(mode):
            found = amorsize.execute(func, data, **{**mode.arguments, **more})
        demand(found == [fn.plain(item) for item in data], "wrong results")

    return run


def _stream(mode: modes.Mode, half: bool) -> Callable[[], None]:
    def run() -> None:
        with turned(mode):
            results = amorsize.stream(nap, range(12), **mode.arguments)
            found = [next(results) for _ in range(6)] if half else list(results)
            results.close()
        demand(found == [fn.plain(item) for item in range(len(found))], "wrong results")

    return run


def _executor(method: str) -> Callable[[], None]:
    def run() -> None:
        with amorsize.Executor(2, mp_context=multiprocessing.get_context(method)) as executor:
            demand(executor.submit(fn.plain, 1).result() == fn.plain(1), "wrong result")
            demand(list(executor.map(fn.plain, range(9))) == [fn.plain(item) for item in range(9)], "wrong results")

    return run


def _pool(method: str) -> Callable[[], None]:
    def run() -> None:
        right = [fn.plain(item) for item in range(9)]
        with amorsize.Pool(2, context=multiprocessing.get_context(method)) as pool:
            demand(pool.apply(fn.plain, (1,)) == right[1], "wrong result")
            demand(pool.map_async(fn.plain, range(9)).get() == right, "wrong results")
            demand(list(pool.imap(fn.plain, range(9), 2)) == right, "wrong results")
            demand(sorted(pool.imap_unordered(fn.plain, iter(range(9)))) == right, "wrong results")
            pool.close()
            pool.join()

    return run


def _crash() -> None:
    """A worker that dies, and one that is replaced."""
    found = amorsize.execute(_die_at_three, range(8), backend="processes", max_workers=2, on_error="collect")
    demand(isinstance(found[3], amorsize.Failure), "item 3 did not fail")


def _die_at_three(item: int) -> int:
    if item == 3:
        os._exit(1)
    return item


CALLS: dict[str, Callable[[], None]] = {
    "fork": _execute(modes.Mode("processes", METHODS[0]), range(12)),
    "auto": _execute(modes.AUTO, range(30)),
    "threads": _execute(modes.THREADS, range(12)),
    "to threads": _execute(modes.TO_THREADS, range(12)),
    "to fork": _execute(modes.TO_PROCESSES[0], range(12)),
    "spawn": _execute(modes.Mode("processes", METHODS[-1]), range(8)),
    "stream of fork": _stream(modes.Mode("processes", METHODS[0]), half=False),
    "half a stream of fork": _stream(modes.Mode("processes", METHODS[0]), half=True),
    "half a stream of threads": _stream(modes.THREADS, half=True),
    "executor of fork": _executor(METHODS[0]),
    "executor of spawn": _executor(METHODS[-1]),
    "a worker that dies": _crash,
    "pool of fork": _pool(METHODS[0]),
    "pool of spawn": _pool(METHODS[-1]),
}
NAMES = list(CALLS)
_lines: dict[str, list[Line]] = {}


class _Seen:
    """All lines of amorsize and the standard library that are reached while it is the trace function."""

    def __init__(self) -> None:
        self.lines: dict[Line, None] = {}

    def __call__(self, frame: Any, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        ours = name.startswith(HERE) or (name.startswith(LIBRARY) and "site-packages" not in name)
        return self._line if ours else None

    def _line(self, frame: Any, event: str, _: object) -> Any:
        if event == "line":
            self.lines[frame.f_code.co_filename, frame.f_lineno] = None
        return self._line


class _Mine:
    """Sends SIGINT when a line is reached for the n-th time."""

    def __init__(self, line: Line, times: int) -> None:
        self.line, self.times = line, times

    def __call__(self, frame: Any, event: str, _: object) -> Any:
        return self._line if frame.f_code.co_filename == self.line[0] else None

    def _line(self, frame: Any, event: str, _: object) -> Any:
        if event == "line" and frame.f_lineno == self.line[1] and not leaves_a_with(frame):
            self.times -= 1
            if self.times == 0:
                sys.settrace(None)
                os.kill(os.getpid(), signal.SIGINT)
        return self._line


def lines_of(name: str) -> list[Line]:
    if name not in _lines:
        CALLS[name]()  # what is loaded only once, and what a first call measures
        seen = _Seen()
        sys.settrace(seen)
        try:
            CALLS[name]()
        finally:
            sys.settrace(None)
        _lines[name] = sorted(seen.lines)
    return _lines[name]


def trial(seed: int, folder: str) -> None:
    name = NAMES[seed % len(NAMES)]
    lines = lines_of(name)
    line = lines[int(len(lines) * (seed // len(NAMES) * STRIDE % 1.0))]
    times = random.Random(seed).choice((1, 1, 1, 2, 3))
    mine = _Mine(line, times)
    where = f"in {name!r}, at {line[0]}:{line[1]} reached the {times}. time"

    def run() -> None:
        sys.settrace(mine)
        try:
            CALLS[name]()
        finally:
            sys.settrace(None)

    try:
        with Gun(signal.SIGINT) as gun:
            # Where the line is not reached this time, the shot comes at the end.
            gun.judge(lambda: (run(), _at_the_end(gun)), lambda: None)
        later_calls_work()
    except BaseException as exc:
        exc.add_note(where)
        raise


def _at_the_end(gun: Gun) -> None:
    if gun.fired is None:
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    harness.main("lines")
