"""Ctrl-C at a random moment, from another process, and alarms whose handler raises: over all entry points.

Even seeds are Ctrl-C, odd ones alarms. Each shot must come out as what its handler raised (the very object), leave
nothing, and later calls must work.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import math
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import modes

import amorsize

from . import functions as fn
from . import harness
from .faults import METHODS, turned
from .harness import Wrong, demand

LATER_S = 120.0  # guess: a call of some milliseconds that takes longer than this hangs
# Finalizers that are not ours, but for the one of a stream's generator that is dropped.
FINALIZERS = (
    "__del__",
    "<locals>._remove",
    "<locals>.remove",
    "_get_module_lock.<locals>.cb",
    "finalize",
    "stream_results",
)
OURS = ("IMapIterator.__del__", "Pool.__del__")
LEAST_S, MOST_S = 1e-4, 0.3  # guess: from the first lines of a call to beyond the end of most
VOLLEY, VOLLEY_MOST_S = 12, 4e-3  # guess: shots of a volley, and the last moment of one


class Shot(BaseException):
    """What the handler raises."""


class Gun:
    """Takes one signal, whose handler raises a `Shot`; ``fired`` is that object once it has been raised."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.fired: Shot | None = None
        self.spent = False
        self.times = 0
        self.where = traceback.StackSummary()

    def __enter__(self) -> Gun:
        self._before = signal.signal(self.number, self._handler)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._hook
        signal.signal(self.number, self._before)

    def _handler(self, number: int, frame: Any) -> None:
        self.times += 1
        # Its lines are read later, and only if they are told.
        self.where = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=12, lookup_lines=False)
        self.fired = Shot()
        raise self.fired

    def _unraisable(self, what: Any) -> None:
        # Python ignores what is raised in a finalizer, and nothing can be done about it.
        name = getattr(what.object, "__qualname__", type(what.object).__qualname__)
        theirs = not str(getattr(what.object, "__module__", "")).startswith("amorsize")
        if isinstance(what.exc_value, Shot) and (name in OURS or (theirs and name.endswith(FINALIZERS))):
            self.spent = True
        self._hook(what)

    def judge(self, action: Callable[[], object], aim: Callable[[], object]) -> None:
        """Run ``action`` under fire: what it raises must be the shot, and it must not swallow one."""
        caught: BaseException | None = None
        try:
            aim()
            action()
        except BaseException as exc:
            caught = exc
        if caught is None and self.fired is not None and not self.spent:
            raise Wrong("the signal was swallowed, which came at\n" + "".join(reversed(self.where.format())))
        if caught is not None and caught is not self.fired:
            raise Wrong(f"{caught!r} came out instead of {self.fired!r}") from caught
        try:
            while self.fired is None:
                time.sleep(1.0)
        except Shot:
            pass
        demand(self.times == 1, f"the handler ran {self.times} times for one signal")


@contextlib.contextmanager
def shooter(number: int, delay_s: float) -> Iterator[Callable[[], object]]:
    """A process that sends the signal this long after it has been told to."""
    hears, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(tells)
            if os.read(hears, 1):
                time.sleep(delay_s)
                os.kill(os.getppid(), number)
        os._exit(0)
    os.close(hears)
    try:
        yield lambda: os.write(tells, b"x")
    finally:
        os.close(tells)
        os.waitpid(pid, 0)


# -- what is interrupted ---------------------------------------------------------------------------------------------


def spin(item: Any) -> int:
    until = time.perf_counter() + 0.3e-3
    while time.perf_counter() < until:
        pass
    return fn.plain(item)


def nap(item: Any) -> int:
    time.sleep(1e-3)
    return fn.plain(item)


def run_a_program(item: Any) -> int:
    import subprocess

    subprocess.run(["sleep", "0.01"], check=True)
    return fn.plain(item)


FUNCTIONS = (spin, nap, fn.plain, spin, nap, run_a_program)


def action(rng: random.Random, *, with_a_loop: bool) -> tuple[str, Callable[[], Any]]:
    """A call of any kind, and its name. An event loop answers SIGINT itself, and is not safe from other handlers."""
    mode = rng.choice(
        [modes.AUTO, modes.SERIAL, modes.THREADS, modes.TO_THREADS, *modes.TO_PROCESSES, *modes.PROCESSES]
    )
    # A program that this very process starts may be lost by `subprocess` itself.
    func = rng.choice(FUNCTIONS if mode.backend == "processes" else FUNCTIONS[:-1])
    n = rng.choice((3, 20, 100))
    if func is run_a_program:
        n = 8
    arguments = {**mode.arguments, "max_workers": rng.choice((1, 2, 4))}
    data: Any = range(n) if rng.random() < 0.7 else [*range(n)]
    entries = ["execute", "execute", "stream", "half a stream", "dropped stream", "submit", "map"]
    entry = rng.choice(entries + ["async"] * with_a_loop)
    right = [fn.plain(item) for item in data]

    def execute() -> None:
        with turned(mode):
            demand(amorsize.execute(func, data, **arguments) == right, "wrong results")

    def stream() -> None:
        with turned(mode):
            demand(list(amorsize.stream(func, iter(data), **arguments)) == right, "wrong results")

    def half() -> None:
        with turned(mode):
            results = amorsize.stream(func, data, **arguments)
            for _ in range(n // 2):
                next(results)
            if entry == "half a stream":
                results.close()

    def executor() -> None:
        context = multiprocessing.get_context(mode.start_method or METHODS[0])
        with amorsize.Executor(arguments["max_workers"], mp_context=context) as pool:
            found = pool.map(func, data) if entry == "map" else [pool.submit(func, item) for item in data]
            values = list(found) if entry == "map" else [one.result() for one in found]
            demand(values == right, "wrong results")

    async def task() -> None:
        with turned(mode):
            demand(await amorsize.execute_async(func, data, **arguments) == right, "wrong results")

    run = {"execute": execute, "stream": stream, "submit": executor, "map": executor, "async": task}.get(entry, half)
    return f"{entry} {mode.name} {func.__name__} {n} items {arguments}", run


def later_calls_work() -> None:
    """In another thread, a call gets its cores."""
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(amorsize.execute(fn.plain, range(5), backend="threads", max_workers=2)), daemon=True
    )
    thread.start()
    _joined(thread, "a later call")
    demand(found == [[fn.plain(item) for item in range(5)]], "a later call gave", found)
    a_fork_works()


def a_fork_works() -> None:
    """In another thread: it takes the locks that an interrupted thread may have left taken."""
    thread = threading.Thread(target=lambda: os.waitpid(os.fork() or os._exit(0), 0), daemon=True)
    thread.start()
    _joined(thread, "a later fork")


def _joined(thread: threading.Thread, what: str) -> None:
    thread.join(LATER_S)
    if thread.is_alive():
        faulthandler.dump_traceback(all_threads=True)
        raise Wrong(f"{what} in another thread hangs")


# -- trials ----------------------------------------------------------------------------------------------------------


def trial(seed: int, folder: str) -> None:
    rng = random.Random(seed)
    number = signal.SIGALRM if seed % 2 else signal.SIGINT
    name, run = action(rng, with_a_loop=number == signal.SIGINT)
    if name.startswith("async"):
        asyncio_trial(rng, name, run)
        return
    # The first lines of a call take and give back the most locks.
    is_volley = rng.random() < 0.3
    for _ in range(VOLLEY if is_volley else 1):
        delay_s = math.exp(rng.uniform(math.log(LEAST_S), math.log(VOLLEY_MOST_S if is_volley else MOST_S)))
        _shoot(number, delay_s, threading.Event() if rng.random() < 0.3 else None, name, run)


def _shoot(number: int, delay_s: float, beside: threading.Event | None, name: str, run: Callable[[], Any]) -> None:
    name += f", {signal.Signals(number).name} after {delay_s * 1e3:.2f} ms{' beside a thread' if beside else ''}"
    try:
        with Gun(number) as gun:
            if number == signal.SIGALRM:
                with _company(beside):
                    gun.judge(run, lambda: signal.setitimer(signal.ITIMER_REAL, delay_s))
            else:
                with shooter(number, delay_s) as aim, _company(beside):
                    gun.judge(run, aim)
        later_calls_work()
    except BaseException as exc:
        exc.add_note(f"in {name}")
        raise


@contextlib.contextmanager
def _company(event: threading.Event | None) -> Iterator[None]:
    """Another thread, as long as this lasts: signals cannot be held by a mask of one thread then."""
    if event is None:
        yield
        return
    thread = threading.Thread(target=event.wait, name="company")
    thread.start()
    try:
        yield
    finally:
        event.set()
        thread.join()


async def _aimed(aim: Callable[[], object], run: Callable[[], Any]) -> None:
    aim()  # not before: a loop that is interrupted while it is made leaves its own sockets
    await run()
    await asyncio.sleep(1000.0)


def asyncio_trial(rng: random.Random, name: str, run: Callable[[], object]) -> None:
    delay_s = math.exp(rng.uniform(math.log(LEAST_S), math.log(MOST_S)))
    try:
        with shooter(signal.SIGINT, delay_s) as aim, contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_aimed(aim, run))
        later_calls_work()
    except BaseException as exc:
        exc.add_note(f"in {name}, SIGINT after {delay_s * 1e3:.2f} ms")
        raise


if __name__ == "__main__":
    harness.main("interrupts")
