"""Threads and processes that carry out joblib's calls, and report to one inbox."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from importlib import import_module
from math import ceil
from queue import SimpleQueue
from time import perf_counter
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from joblib.parallel import SequentialBackend, ThreadingBackend, parallel_config

from amorsize.backends.workers import fork_server
from amorsize.executor.calls import NO_KEYWORDS, Call, run
from amorsize.executor.pending import Batch as Group
from amorsize.facts import Observation
from amorsize.integrations.joblib_arrays import Shares, can_map, pack
from amorsize.options import check
from amorsize.system.clock import PAGE_BYTES, REAL, busy_s
from amorsize.system.critical import held_signals, load
from amorsize.system.looks import ATOMS
from amorsize.system.start_methods import main_is_interactive, share_of, start_method_beside_threads

if TYPE_CHECKING:
    from amorsize.executor.manager import Manager


class Batch:
    """One batch of joblib's calls and what came of it. To joblib it is the future."""

    def __init__(self, calls: Sequence[Call], callback: Callable[[Batch], object]) -> None:
        self.calls = calls
        self.callback = callback
        self.results: list[Any] = [None] * len(calls)
        self.error: BaseException | None = None
        self.left = len(calls)
        self.is_over = False

    def tasks(self) -> list[Task]:
        """Return its calls one by one."""
        return [Task(self, at) for at in range(len(self.calls))]

    def result(self) -> list[Any]:
        """Return the results, once, or raise the first error."""
        if self.error is not None:
            raise self.error
        results, self.results = self.results, []
        return results


class Task(NamedTuple):
    """One call of a batch."""

    batch: Batch
    at: int


Errors = list[tuple[Task, BaseException]]


class Done(NamedTuple):
    """A report: tasks that have run, those that raised, and the seconds for all; or why no worker can run."""

    tasks: Sequence[Task]
    errors: Errors
    wall_s: float = 0.0
    cpu_s: float = 0.0
    broken: BaseException | None = None


def carry_out(tasks: Sequence[Task]) -> tuple[Errors, Observation]:
    """Run tasks here; stop at the first error of a batch. Return the errors and the time that it took."""
    errors: Errors = []
    counts = REAL.counts()
    wall, cpu, process = REAL.wall(), REAL.thread_cpu(), REAL.process_cpu()
    for task in tasks:
        batch, at = task
        function, args, keywords = batch.calls[at]
        try:
            batch.results[at] = function(*args, **keywords)
        # joblib raises it in the caller, whatever it is.
        except BaseException as exc:  # noqa: BLE001
            errors.append((task, exc))
            break
    wall, cpu, process = REAL.wall() - wall, REAL.thread_cpu() - cpu, REAL.process_cpu() - process
    after = REAL.counts()
    if errors:
        failed = errors[0][0]
        others = [task for task in tasks[tasks.index(failed) + 1 :] if task.batch is not failed.batch]
        errors += carry_out(others)[0] if others else []
    new_bytes = float((after[2] - counts[2]) * PAGE_BYTES)
    return errors, Observation(0, len(tasks), wall, busy_s(wall, cpu, counts, after), process, new_bytes)


class Nested(NamedTuple):
    """The backend that ``Parallel`` finds within a call: threads at the first level, and a loop below, as in joblib."""

    level: int

    def config(self) -> Any:
        """Return the context manager in which a call runs."""
        kind = ThreadingBackend if self.level == 1 else SequentialBackend
        return parallel_config(backend=kind(nesting_level=self.level), n_jobs=None)


# -- threads ----------------------------------------------------------------------------------------------------------


class Threads:
    """Daemon threads, as joblib's own: one that a time-out leaves behind does not keep the program from ending.

    ``limit``: OpenMP threads of each; their number is a setting of the thread, while that of BLAS is the process's.
    """

    is_ready = True

    def __init__(self, number: int, inbox: SimpleQueue[Done | None], nested: Nested, limit: int | None) -> None:
        self.number = number
        self._todo: SimpleQueue[list[Task] | None] = SimpleQueue()
        # Here and once: looking for the libraries takes 3 ms of computing, which would count as the first task's.
        libraries = None if limit is None else _native_libraries()
        self._threads = [
            threading.Thread(
                target=_serve, args=(self._todo, inbox, nested, libraries, limit), daemon=True, name="amorsize-joblib"
            )
            for _ in range(number)
        ]
        with held_signals():
            for thread in self._threads:
                thread.start()

    def post(self, tasks: list[Task], size: int | None) -> None:
        """Have tasks run, ``size`` at a time."""
        for at in range(0, len(tasks), size or 1):
            self._todo.put(tasks[at : at + (size or 1)])

    def kill(self) -> None:
        """Begin nothing more. What runs goes on: a thread cannot be ended."""
        while not self._todo.empty():
            self._todo.get_nowait()
        self._dismiss()

    def close(self) -> None:
        """Let the threads end, when all is done."""
        self._dismiss()
        for thread in self._threads:
            thread.join()

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._todo.put(None)


def _native_libraries() -> Any:
    """Return what sets the number of native threads of the libraries that are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _serve(
    todo: SimpleQueue[list[Task] | None],
    inbox: SimpleQueue[Done | None],
    nested: Nested,
    libraries: Any,
    limit: int | None,
) -> None:
    # Both hold for this thread, until it ends.
    nested.config()
    if libraries is not None:
        libraries.limit(limits=limit, user_api="openmp")
    while (tasks := todo.get()) is not None:
        errors, seen = carry_out(tasks)
        inbox.put(Done(tasks, errors, seen.wall_s, seen.cpu_s))
        # While it waits it must not hold what it has worked with.
        del tasks, errors


# -- processes --------------------------------------------------------------------------------------------------------


class Runner:
    """Carries out calls in a worker process: with joblib's limits of native threads, and its nested backend."""

    def __init__(self, nested: Nested, environment: Mapping[str, str]) -> None:
        self.nested = nested
        self.environment = environment
        self._has_begun = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Runner, (self.nested, self.environment)

    def __call__(self, call: Call) -> Any:
        """Carry out a call."""
        if not self._has_begun:
            # Libraries that are loaded only now read their number of threads there.
            os.environ.update(self.environment)
            # A call may name the backend, which this registers.
            import_module("amorsize.integrations.joblib")
            self._has_begun = True
        with self.nested.config():
            return run(call)


class Start(NamedTuple):
    """How worker processes start."""

    number: int
    nested: Nested
    environment: dict[str, str]
    native: int | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]


class Processes:
    """The workers of an `amorsize.Executor`; those that an earlier call has left warm, if there are any.

    Parameters
    ----------
    start : Start
    inbox : SimpleQueue
        Gets a `Done` for each span of tasks, and None when the first worker is ready.
    shares : Shares

    Attributes
    ----------
    is_ready : bool
        True once a worker can run something.
    ready_s : float or None
        Seconds until then.
    """

    def __init__(self, start: Start, inbox: SimpleQueue[Done | None], shares: Shares) -> None:
        self.number = start.number
        self.inbox = inbox
        self.shares = shares
        self.is_ready = False
        self.ready_s: float | None = None
        self.by_value = main_is_interactive()
        self._began_s = perf_counter()
        method = start_method_beside_threads()
        if method == "forkserver":
            # It boots while the rest is loaded.
            fork_server.start()
        load("amorsize.executor.opening")
        from amorsize.executor.opening import Special, manager_of
        from amorsize.system.machine import lately

        request = check(callable, (), initializer=start.initializer, initargs=start.initargs)
        with held_signals():
            self._manager: Manager = manager_of(
                request,
                method,
                start.number,
                share_of(lately()).usable_cores,
                strict=False,
                special=Special(Runner(start.nested, start.environment), start.native, keeps_warm=True),
            )
            self._manager.begin()
        for _ in range(start.number):
            future = self._manager.add_call((can_map, (os.getpid(),), NO_KEYWORDS))
            future.add_done_callback(self._on_ready)

    def _on_ready(self, future: Any) -> None:
        if not future.cancelled() and future.exception() is None:
            if not future.result():
                self.shares.least_bytes = None
            if not self.is_ready:
                self.ready_s = perf_counter() - self._began_s
                self.is_ready = True
                self.inbox.put(None)

    def post(self, tasks: list[Task], size: int | None) -> None:
        """Have tasks run, ``size`` at a time; None: the schedule chooses."""
        try:
            self._manager.post(_Sent(tasks, size, self))
        except RuntimeError as exc:
            # No worker can begin.
            self.inbox.put(Done(tasks, [], broken=exc))

    def kill(self) -> None:
        """End the workers at once, whatever they are at."""
        self._manager.end_now()
        self._manager.join()
        self.shares.close()

    def close(self) -> None:
        """Leave the workers to later calls, also those that still start. All is done."""
        self._manager.shut(cancel=True)
        self._manager.join()
        self.shares.close()


class _Sent(Group):
    """Tasks on their way through the executor's workers. All methods run in the executor's thread."""

    def __init__(self, tasks: list[Task], size: int | None, home: Processes) -> None:
        super().__init__(run, tasks, size)
        self._home = home
        # When the span that begins with this index was sent.
        self._since_s: dict[int, float] = {}

    def take(  # type: ignore[override]  # its calls are of many functions
        self, start: int, stop: int, as_sent: Callable[[Any], Any]
    ) -> list[Call]:
        self._since_s[start] = perf_counter()
        calls: list[Call] = []
        for batch, number in self.arguments[start - self.first : stop - self.first]:
            function, args, keywords = batch.calls[number]
            call = as_sent(function), args, keywords or NO_KEYWORDS
            calls.append(call if _is_light(call) else pack(call, self._home.shares, self._home.by_value))
        return calls

    def put(self, start: int, results: list[Any], errors: Mapping[int, BaseException]) -> None:
        at, n = start - self.first, len(results)
        tasks: list[Task] = self.arguments[at : at + n]
        raised = [(tasks[index - start], error) for index, error in errors.items()]
        for (batch, number), result in zip(tasks, results, strict=True):
            batch.results[number] = result
        self.arguments[at : at + n] = [None] * n
        self.left -= n
        now_s = perf_counter()
        self._home.inbox.put(Done(tasks, raised, now_s - self._since_s.pop(start, now_s)))

    def cancel(self, start: int, stop: int) -> None:
        self.put(start, [None] * (stop - start), {index: CancelledError() for index in range(start, stop)})

    def abort(self, error: Callable[[], BaseException]) -> None:
        left = [task for task in self.arguments if task is not None]
        self._home.inbox.put(Done(left, [], broken=error()))

    def place(self, index: int) -> tuple[int | None, str]:
        from amorsize.executor.calls import name_of

        batch, number = self.arguments[index - self.first]
        return None, name_of(batch.calls[number][0])


def _is_light(call: Call) -> bool:
    """Return True if nothing in a call can be large."""
    function, args, keywords = call
    holds_nothing = type(function) is BuiltinFunctionType or (
        type(function) is FunctionType and not function.__closure__
    )
    return holds_nothing and all(type(one) in ATOMS for one in (*args, *keywords.values()))


def workers_load_numpy() -> bool:
    """Return True if workers may run native threads: this process has loaded numpy."""
    return "numpy" in sys.modules


def cores_here() -> int:
    """Return the cores that this process may use, inside a worker its share."""
    from amorsize.system.machine import lately

    return max(1, ceil(share_of(lately()).usable_cores))
