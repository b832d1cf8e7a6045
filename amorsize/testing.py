"""Stand-ins for tests of programs that use amorsize: machine, events, matcher, virtual driver, hostile executor.

Each stand-in passes the tests of the object that it stands for (``tests/test_testing.py`` and the tests that it names).
`left_behind` tells what has not been cleaned up.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, InvalidStateError
from contextlib import suppress
from dataclasses import fields
from math import inf
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar

from amorsize import events
from amorsize.backends.left_behind import look_until
from amorsize.facts import Machine
from amorsize.schedule.messages import (
    CALLER,
    Done,
    Event,
    Fail,
    Finish,
    GiveUp,
    Instruction,
    Kill,
    Lost,
    Ready,
    Retire,
    Running,
    Span,
    Start,
    Tick,
    Why,
)
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.simulation.cores import PARK, Cores, Program
from amorsize.schedule.simulation.overheads import Overheads
from amorsize.schedule.simulation.simulate import Simulation, Simulator, Work

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=events.Event)

# guess
LOOKS_PER_TIMEOUT: Final = 4
"""Number of times per time limit at which a `VirtualDriver` reports the running items."""


def a_machine(
    cores: float = 2, *, memory_bytes: int = 8 << 30, default_start_method: str = "fork", gil: bool = True
) -> Machine:
    """Return a plain Linux machine with ``cores`` usable cores (a fraction stands for a quota) and this free memory.

    Examples
    --------
    >>> a_machine(cores=1.5).usable_cores
    1.5
    """
    whole = max(1, -int(-cores // 1))
    return Machine(
        system="Linux",
        logical_cores=whole,
        physical_cores=whole,
        affinity_cores=whole,
        quota_cores=None if cores == whole else cores,
        usable_cores=float(cores),
        memory_total_bytes=memory_bytes,
        memory_limit_bytes=None,
        memory_available_bytes=memory_bytes,
        load=0.0,
        start_methods=("fork", "spawn", "forkserver"),
        default_start_method=default_start_method,
        python="CPython 3.11.0",
        gil_enabled=gil,
        sources={},
    )


# --- events -----------------------------------------------------------------------------------------------------

_DUMMY: Final[dict[str, Any]] = {
    "at_s": 0.0,
    "skipped": 0,
    "items": 1,
    "failed": 0,
    "backend": "serial",
    "workers": 1,
    "start_method": None,
    "worker": 0,
    "pid": None,
    "index": 0,
    "tries": 1,
    "wait_s": 0.0,
    "exitcode": None,
    "signal": None,
    "oom": False,
    "start": 0,
    "wall_s": 0.0,
    "cpu_s": 0.0,
    "rss_bytes": 0,
    "exception": ValueError("a dummy"),
}


def an_event(kind: type[E], **values: Any) -> E:
    """Return an event of `amorsize.events` with these values, and with dummy values for all other fields.

    Examples
    --------
    >>> an_event(events.ItemFailed, index=7)
    ItemFailed(at_s=0.0, index=7, exception=ValueError('a dummy'))
    """
    return kind(**{one.name: _DUMMY[one.name] for one in fields(kind)} | values)


def a_run(items: int = 4, *, workers: int = 2, chunksize: int = 1, failed: Collection[int] = ()) -> list[events.Event]:
    """Return the events of a whole run on threads, in the order in which ``on_event`` gets them.

    Parameters
    ----------
    items : int
        Number of items.
    workers : int
        Number of threads; they take chunks in turn.
    chunksize : int
        Number of items in each chunk. A chunk takes 1 s of the run's time.
    failed : collection of int
        Indexes of the items that raise.

    Examples
    --------
    >>> [type(event).__name__ for event in a_run(items=2, workers=1, failed=[1])]
    ['RunStarted', 'BackendChosen', 'WorkerStarted', 'ChunkDone', 'ChunkDone', 'ItemFailed', 'WorkerRetired',
     'RunFinished']
    """
    told: list[events.Event] = [
        an_event(events.RunStarted, items=items),
        an_event(events.BackendChosen, backend="threads", workers=workers),
        *(an_event(events.WorkerStarted, worker=number) for number in range(workers)),
    ]
    now_s = 0.0
    for turn, start in enumerate(range(0, items, chunksize)):
        now_s += 1.0
        chunk = range(start, min(items, start + chunksize))
        raised = [index for index in chunk if index in failed]
        told.append(
            an_event(
                events.ChunkDone,
                at_s=now_s,
                worker=turn % workers,
                start=start,
                items=len(chunk),
                failed=len(raised),
                wall_s=1.0,
                cpu_s=1.0,
            )
        )
        told += [an_event(events.ItemFailed, at_s=now_s, index=index) for index in raised]
    told += [an_event(events.WorkerRetired, at_s=now_s, worker=number) for number in range(workers)]
    return [*told, an_event(events.RunFinished, at_s=now_s, items=items, failed=len(set(failed)))]


# --- a matcher --------------------------------------------------------------------------------------------------


class Like:
    """Equal to each record of one class with these values; fields that are not named may hold anything.

    Works for the instructions and events of `amorsize.schedule.messages` and for those of `amorsize.events`. A value
    may be a `Like` or any other object with a tolerant ``==``, such as ``pytest.approx(1.0)``.

    Parameters
    ----------
    kind : type
        Class of the record.
    **values
        Values by field name.

    Raises
    ------
    TypeError
        If the class has no such field.

    Examples
    --------
    >>> Schedule([(0, 10)], workers=2).begin() == [Like(Start, worker=0), Like(Start)]
    True
    >>> Span(0, 5, alone=True) == Like(Span, start=0, alone=False)
    False
    """

    __slots__ = ("kind", "values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: type[Any], /, **values: object) -> None:
        names = kind._fields if issubclass(kind, tuple) else [one.name for one in fields(kind)]  # type: ignore[attr-defined]
        if unknown := [name for name in values if name not in names]:
            raise TypeError(f"{kind.__name__} has no field {', '.join(map(repr, unknown))}")
        self.kind = kind
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self.kind) and all(
            getattr(other, name) == value for name, value in self.values.items()
        )

    def __repr__(self) -> str:
        return f"Like({', '.join([self.kind.__name__, *(f'{name}={v!r}' for name, v in self.values.items())])})"


# --- a driver in virtual time -----------------------------------------------------------------------------------


class VirtualDriver(Simulator):
    """Carries out a schedule in virtual time, with mishaps, and checks the books after each event.

    The books say which spans are in flight at which worker. An instruction that contradicts them raises
    `AssertionError`: a span for a worker that is not ready, an item that fails twice, an end after the end. So does a
    schedule whose own counts differ from the books.

    Parameters
    ----------
    schedule : Schedule
    item_s : sequence of float
        Seconds that each item takes.
    raises : collection of int, or dict of int to int
        Indexes of the items that raise, at each attempt; or how many attempts of each raise before it goes well.
    deadly : collection of int
        Indexes of the items at which a worker is lost, at each attempt. In the caller they do no harm.
    hangs : collection of int
        Indexes of the items that never end; the schedule then needs ``timeout_s``. In the caller they do no harm.
    machine : Cores, optional
        Where items run; by default each worker has a core of its own.
    overheads : Overheads, optional
        What starting, sending and receiving take; by default nothing.

    Attributes
    ----------
    log : list of (float, Event or Instruction)
        Each event and instruction with the virtual time in seconds.
    done : list of int
        Indexes of the items that have a result, in the order of completion.
    failed : dict of int to str
        Why an item failed for good, by index: ``"raised"``, ``"lost"`` or ``"late"``.
    sent : dict of int to list of Span
        Spans in flight by worker, oldest first.
    runs : dict of int to int
        How often an item has begun, by index.

    Examples
    --------
    Item 3 kills its worker. It is repeated once, alone, and then fails; the other items are not affected:

    >>> driver = VirtualDriver(Schedule([(0, 6)], workers=2, fixed=2), [1.0] * 6, deadly=[3])
    >>> driver.run().makespan_s
    4.0
    >>> driver.failed, sorted(driver.done)
    ({3: 'lost'}, [0, 1, 2, 4, 5])
    >>> [what.worker for _, what in driver.log if what == Like(Lost, item=3)]
    [1, 0]
    """

    def __init__(
        self,
        schedule: Schedule,
        item_s: Sequence[float],
        *,
        raises: Collection[int] | Mapping[int, int] = (),
        deadly: Collection[int] = (),
        hangs: Collection[int] = (),
        machine: Cores | None = None,
        overheads: Overheads | None = None,
    ) -> None:
        super().__init__(schedule, Work(item_s), machine or Cores(inf), overheads)
        self.schedule = schedule
        self.raises = raises if isinstance(raises, Mapping) else dict.fromkeys(raises, inf)
        self.deadly, self.hangs = deadly, hangs
        self.log: list[tuple[float, Event | Instruction]] = []
        self.done: list[int] = []
        self.failed: dict[int, Why] = {}
        self.sent: dict[int, list[Span]] = {}
        self.runs: Counter[int] = Counter()
        self.ready: set[int] = set()
        # By worker: the item that hangs, and the time at which it began.
        self.stuck: dict[int, tuple[int, float]] = {}
        # Depth of nested events. One event may lead to another, and the books are complete only after the outermost
        # one.
        self._depth = 0

    def run(self) -> Simulation:
        """Run to the end."""
        if self.schedule.timeout_s is not None:
            self.machine.later(self.schedule.timeout_s / LOOKS_PER_TIMEOUT, self._look, self.schedule.timeout_s)
        return super().run()

    def check(self) -> None:
        """Compare the books with the counts of the schedule.

        Raises
        ------
        AssertionError
            If they differ.
        """
        queued, flying, done = self.schedule.counts()
        if queued is not None:
            _hold(queued + flying + done == self.work.length, f"{queued} + {flying} + {done} is not {self.work.length}")
        mine = sum(len(span) for spans in self.sent.values() for span in spans)
        _hold(flying == mine, f"{mine} items are in flight, and the schedule counts {flying}")

    # -- the caller ----------------------------------------------------------------------------------------------

    def _receive(self, event: Event) -> Program:
        # A worker may die after it was sent away.
        if not isinstance(event, Lost) or event.worker in self.sent:
            yield from super()._receive(event)

    def _tell(self, event: Event) -> Program:
        self.log.append((self.machine.now_s, event))
        if isinstance(event, Ready):
            self.ready.add(event.worker)
        elif isinstance(event, Lost):
            del self.sent[event.worker]
            self.ready.discard(event.worker)
        elif isinstance(event, Done):
            span = self.sent[event.worker].pop(0)
            self.done.extend(index for index in range(span.start, span.stop) if index not in event.failed)
        self._depth += 1
        yield from super()._tell(event)
        self._depth -= 1
        if not self._depth:
            self.check()

    def _carry_out(self, instruction: Instruction) -> Program:
        self.log.append((self.machine.now_s, instruction))
        _hold(not (self.is_over and isinstance(instruction, Finish | GiveUp)), f"{instruction} after the end")
        match instruction:
            case Start(number):
                _hold(number not in self.sent, f"worker {number} was started twice")
                self.sent[number] = []
            case Retire(number):
                _hold(not self.sent.pop(number), f"worker {number} was retired with items in flight")
                self.ready.discard(number)
            case Kill(number):
                del self.sent[number]
                del self.stuck[number]
                self.ready.discard(number)
            case Fail(index, why):
                _hold(index not in self.failed, f"item {index} failed twice")
                self.failed[index] = why
            case GiveUp():
                # The span that the caller was about to run is left over with the rest.
                self.sent.pop(CALLER, None)
        yield from super()._carry_out(instruction)

    def _send(self, number: int, span: Span) -> Program:
        length = self.work.length
        _hold(len(span) > 0, f"an empty span was sent to worker {number}")
        # A span beyond the end was cut before the length was known.
        if span.start < length:
            if number == CALLER:
                self.sent.setdefault(CALLER, [])
            else:
                _hold(number in self.ready, f"{span} was sent to worker {number}, which is not ready")
            flying = self.sent[number]
            _hold(not (span.alone and flying), f"{span} was sent behind others")
            _hold(not any(other.alone for other in flying), f"{span} was sent behind an item to be alone")
            flying.append(span if span.stop <= length else Span(span.start, length, span.alone, span.quiet))
        yield from super()._send(number, span)

    def _take_over(self) -> Program:
        yield from super()._take_over()
        for due_s, index, _ in sorted(self.schedule.repeats.aside):
            yield "wait", max(0.0, due_s - self.machine.now_s)
            yield from self._run(CALLER, Span(index, index + 1))

    def _look(self, timeout_s: float) -> None:
        now_s = self.machine.now_s
        running = [Running(n, item, now_s - began_s) for n, (item, began_s) in self.stuck.items() if n in self.sent]
        self._arrive(Tick(tuple(running)))
        self.machine.later(timeout_s / LOOKS_PER_TIMEOUT, self._look, timeout_s)

    # -- a worker ------------------------------------------------------------------------------------------------

    def _run(self, number: int, span: Span) -> Program:
        bad = [i for i in range(span.start, span.stop) if i in self.deadly or i in self.hangs]
        if number == CALLER or not bad:
            for index in range(span.start, span.stop):
                self.runs[index] += 1
            yield from super()._run(number, span)
            return
        for index in range(span.start, bad[0] + 1):
            self.runs[index] += 1
        yield from self.work.steps(span.start, bad[0])
        yield from self._hang(number, bad[0]) if bad[0] in self.hangs else self._die(number, bad[0])

    def _hang(self, number: int, item: int) -> Program:
        self.stuck[number] = (item, self.machine.now_s)
        while True:
            yield PARK

    def _die(self, number: int, item: int | None = None) -> Program:
        del self.workers[number]
        self._post(Lost(number, item))
        yield PARK

    def _done(self, number: int, span: Span, wall_s: float) -> Event:
        failed = tuple(index for index in range(span.start, span.stop) if self.runs[index] <= self.raises.get(index, 0))
        return Done(number, wall_s, failed, len(span), cpu_s=self.work.cpu_s(span.start, span.stop))


def _hold(is_true: bool, otherwise: str) -> None:
    """Raise `AssertionError`; a statement would be without effect under ``python -O``."""
    if not is_true:
        raise AssertionError(otherwise)


# --- an executor ------------------------------------------------------------------------------------------------


class HostileExecutor(Executor):
    """An executor of threads that delays and reorders results, loses workers, and raises what its tasks did not raise.

    Without hostility it does what ``ThreadPoolExecutor`` does. Delays and reordering are within the contract of an
    executor: a correct program gets the same results. The mishaps are drawn from a seed, one draw for each task in the
    order of submission; a share of 0.0 means never, 1.0 always.

    Parameters
    ----------
    max_workers : int
        Number of threads.
    seed : int
        Seed of the draws.
    delays : float
        Share of tasks that begin ``delay_s`` late.
    reorders : float
        Share of tasks whose future is settled only after that of another task, as long as another is open. Tasks must
        not wait for each other.
    raises : float
        Share of tasks that do not run, and whose future raises `pickle.PicklingError`.
    loses : float
        Share of tasks that do not run, and break the executor as a dead worker breaks a ``ProcessPoolExecutor``: the
        futures of all open tasks raise `concurrent.futures.BrokenExecutor`, and so does `submit`.
    delay_s : float
        Seconds of a delay.

    Examples
    --------
    >>> import amorsize
    >>> with HostileExecutor(3, seed=1, delays=0.5, reorders=0.5) as executor:
    ...     amorsize.execute(abs, range(-3, 3), backend=executor)
    [3, 2, 1, 0, 1, 2]
    >>> with HostileExecutor(loses=1.0) as executor:
    ...     executor.submit(abs, -1).result()
    Traceback (most recent call last):
    concurrent.futures._base.BrokenExecutor: a worker was lost
    """

    def __init__(
        self,
        max_workers: int = 2,
        *,
        seed: int = 0,
        delays: float = 0.0,
        reorders: float = 0.0,
        raises: float = 0.0,
        loses: float = 0.0,
        delay_s: float = 5e-3,
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._max_workers = max_workers
        self._shares = {"lose": loses, "raise": raises, "delay": delays, "reorder": reorders}
        self._delay_s = delay_s
        self._random = random.Random(seed)
        self._threads = ThreadPoolExecutor(max_workers)
        self._lock = Lock()
        self._open: set[Future[Any]] = set()
        self._withheld: list[Callable[[], None]] = []
        self._broken = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run ``fn(*args, **kwargs)`` in a thread, unless a mishap is drawn for it."""
        future: Future[R] = Future()
        with self._lock:
            if self._broken:
                raise BrokenExecutor("a worker was lost")
            mishaps = {name for name, share in self._shares.items() if self._random.random() < share}
            self._threads.submit(self._run, future, mishaps, fn, args, kwargs)
            self._open.add(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; see `concurrent.futures.Executor.shutdown`."""
        with self._lock:
            waiting = list(self._open) if cancel_futures else []
        for future in waiting:
            future.cancel()
        self._threads.shutdown(wait)

    def _run(self, future: Future[Any], mishaps: set[str], fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        from pickle import PicklingError
        from time import sleep

        if "lose" in mishaps:
            self._break()
        if self._broken or not future.set_running_or_notify_cancel():
            self._settle(future, lambda: None, False)
            return
        if "delay" in mishaps:
            sleep(self._delay_s)
        try:
            if "raise" in mishaps:
                raise PicklingError("a task that cannot be pickled")
            result = fn(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001
            error = exc
            self._settle(future, lambda: future.set_exception(error), "reorder" in mishaps)
        else:
            self._settle(future, lambda: future.set_result(result), "reorder" in mishaps)

    def _settle(self, future: Future[Any], settle: Callable[[], None], is_late: bool) -> None:
        """Settle a future and those that were withheld for it, or withhold it for the next one."""
        with self._lock:
            self._open.discard(future)
            if is_late and self._open and not self._broken:
                self._withheld.append(settle)
                return
            ready, self._withheld = [settle, *self._withheld], []
        for one in ready:
            # The executor may have broken meanwhile.
            with suppress(InvalidStateError):
                one()

    def _break(self) -> None:
        with self._lock:
            self._broken = True
            victims = list(self._open)
        for future in victims:
            with suppress(InvalidStateError):
                future.set_exception(BrokenExecutor("a worker was lost"))


# --- what is left -----------------------------------------------------------------------------------------------


def left_behind(patience_s: float = 5.0) -> dict[str, list[str]]:
    """Return what amorsize has not cleaned up in this process. To be called while no call of amorsize is at work.

    All lists are empty unless something is left. What is still in use counts, too: an `Executor` that has not been shut
    down, a stream that has neither ended nor been closed, a call in another thread. These do not count: workers that
    wait for the next map on purpose, multiprocessing's resource tracker and fork server, and whatever the main program
    has started, opened or blocked itself.

    Parameters
    ----------
    patience_s : float
        Seconds that what is on its way out may take. If nothing is left, the function returns at once.

    Returns
    -------
    dict of str to list of str
        What is left, in words:

        ``"processes"``: workers that live or have not been reaped, and programs of their items that live on although
        the worker was killed. ``"threads"``: names of threads. ``"descriptors"``: sockets, pipes and files.
        ``"leases"``: shares of the core budget, calls that count as being at work, and a changed threshold of the
        garbage collector. ``"blocked_signals"``: signals that are held back, and handlers that were not put back.
        ``"shared_memory"``: memory shared with workers.

    Examples
    --------
    As a fixture of pytest, for all tests of a program:

    >>> import pytest
    >>> @pytest.fixture(autouse=True)
    ... def nothing_is_left():
    ...     yield
    ...     assert not any(left_behind().values())
    """
    return look_until(patience_s)
