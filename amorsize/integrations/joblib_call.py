"""One call of ``Parallel``: a loop in the caller at first, then threads or processes when the decider says so.

joblib hands over batches and gets them back one by one; each that is back makes it hand over the next. A call that
returns a list and has no timeout begins in the caller (`Call.drain`): the first results are kept, and the decider of
``execute()`` looks at what they took. All others go to workers at once (`Call.serve`): a time-out must be able to end
what runs, and the reader of a generator waits for the first result.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.results import failure_here
from amorsize.backends.table import row_named
from amorsize.backends.workers import warm
from amorsize.errors import RemoteTraceback, TransferError
from amorsize.facts import RATE_WEIGHT, Observation
from amorsize.frozen import replace
from amorsize.integrations.joblib_arrays import Light, Shares
from amorsize.integrations.joblib_workers import Batch, Done, Errors, Nested, Processes, Start, Task, Threads, carry_out
from amorsize.measure.gil import Canary, held_share
from amorsize.measure.own_start import learn
from amorsize.model.decide import (
    LOCK_FREE,
    LONG_BATCH_S,
    ONE_WAIT_S,
    WEIGHED,
    Decider,
    Go,
    RunMore,
    TryThreads,
    WatchLock,
    Weigh,
)
from amorsize.model.evidence import WATCH_LONGEST_S
from amorsize.options import check
from amorsize.run.choices import WARM_START, choices_for
from amorsize.run.run_summary import RunSummary
from amorsize.schedule.chunk_size import next_chunk
from amorsize.system.clock import late_s
from amorsize.system.start_methods import main_is_interactive, start_method_beside_threads

if TYPE_CHECKING:
    from amorsize.facts import Backend
    from amorsize.model.decide import Choices, Step

# guess: the longest interval between two looks at the item that runs in the caller
LOOK_S: Final = 50e-3
# guess: tasks per worker of which nothing is known, and that are sent one at a time
FEW: Final = 16
# After a shorter batch it is not read how long the caller has waited for a core, which takes 30 µs.
LATE_S: Final = 1e-3

_rent_s: list[float] = [0.0]
"""Seconds that calls of this process have spent in the loop, though warm workers would have been faster. Workers are
started once that exceeds the cost of their start, over calls as within one (ski rental), and stay warm from then on."""


class Options(NamedTuple):
    """What `configure` was told.

    Attributes
    ----------
    n_jobs : int
        Most workers.
    backends : tuple of str
        Those allowed.
    is_threadsafe : bool
        True if the calling code has said so.
    begins_here : bool
        True if the first tasks may run in the caller.
    cores : int
    shares : tuple
        Arguments of `Shares`.
    start : Start
        How worker processes start.
    limit : int or None
        Native threads that the user allows each task.
    """

    n_jobs: int
    backends: tuple[Backend, ...]
    is_threadsafe: bool
    begins_here: bool
    cores: int
    shares: tuple[int | None, str | None, str | None]
    start: Start
    limit: int | None


class Call:
    """One call of ``Parallel``, from its first batch to its last.

    Parameters
    ----------
    parallel : joblib.Parallel
    options : Options
    """

    def __init__(self, parallel: Any, options: Options) -> None:
        self.parallel = parallel
        self.options = options
        self.nested: Nested = options.start.nested
        self.backends = options.backends
        self.workers: Threads | Processes | None = None
        self.shares = Shares(*options.shares)
        # Batches that no worker has, and what workers report; None: look again.
        self._queue: deque[Batch] = deque()
        self._inbox: SimpleQueue[Done | None] = SimpleQueue()
        # Batches that joblib has not got back; used only where the call begins here.
        self._open = 0
        self._flying = 0
        # From now on workers get all tasks.
        self._is_committed = False
        self._can_send = True
        self._is_over = threading.Event()
        self._is_closed = False
        # Batches with tasks that threads may not run; they run here when nothing else does.
        self._strangers: deque[Batch] = deque()
        # A few, to weigh them.
        self._results: deque[Any] = deque(maxlen=WEIGHED)
        # Held while batches leave the queue, and while workers start.
        self._lock = threading.RLock()
        self._server: threading.Thread | None = None
        # Seconds per task at the workers, and the most tasks that one of them has got at a time.
        self._item_s, self._evidence = 0.0, 1
        # When the task that runs in the caller began, and the canary beside it.
        self._since_s: float | None = None
        self._canary: Canary | None = None
        self._may_use_threads: bool | None = True if options.is_threadsafe else None
        self._looked_at: Any = None
        # The costs before workers have started, and if those of warm ones are in `Decider.choices`.
        self._cold: Choices | None = None
        self._is_warm = False
        self._began_s = self._late_s = 0.0
        # Seconds in the loop at which the next look is due if workers would pay.
        self._look_s = ONE_WAIT_S
        n = parallel.n_tasks
        self.decider = Decider(
            n,
            indexable=False,
            most_cores=options.cores,
            spread=False,
            load_threads_s=row_named("threads").left_to_load_s(),
            load_processes_s=row_named("processes").left_to_load_s(),
        )
        self.decider.begin(n, pieces=1)

    # -- joblib's side -------------------------------------------------------------------------------------------

    def submit(self, calls: Sequence[Any], callback: Any) -> Batch:
        """Take a batch. `drain` runs it, or the thread that `serve` runs in."""
        batch = Batch(calls, callback)
        self._queue.append(batch)
        if self.options.begins_here:
            self._open += 1
            return batch
        if self._server is None:
            self._server = threading.Thread(target=self.serve, daemon=True, name="amorsize-joblib")
            self._server.start()
        self._inbox.put(None)
        return batch

    def batch_size(self) -> int:
        """Return how many tasks the next batch is to hold: as much as the loop runs before it looks at the clock."""
        decider = self.decider
        if self._item_s > 0.0:
            return next_chunk(None, self.options.n_jobs, self._item_s, self._evidence)
        if decider.items < 2 or self._is_committed:
            return 1
        return max(1, min(2 * decider.items, int(LONG_BATCH_S / max(decider.rate_s, 1e-9))))

    def close(self) -> None:
        """End the call. Workers that have nothing left to do stay warm; others are killed."""
        self._is_over.set()
        self._inbox.put(None)
        with self._lock:
            self._is_closed = True
            workers, self.workers = self.workers, None
            self._queue.clear()
        if workers is not None:
            (workers.kill if self._flying else workers.close)()

    # -- in the caller -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Run all tasks, in the thread that called ``Parallel``. Raises what the first failing task raised."""
        watcher: threading.Thread | None = None
        self._began_s, self._late_s = perf_counter(), late_s()
        CALLS.begin(self)
        try:
            with native_limit(self.options.limit):
                if len(self._queue) > 1 and self.options.cores > 1 and len(self.backends) > 1:
                    watcher = threading.Thread(target=self._watch, daemon=True, name="amorsize-joblib-watch")
                    watcher.start()
                if self._may_use_threads and "threads" in self.backends and len(self._queue) > 1:
                    self._watched_run(1)
                while self._queue and not self._is_committed and not self._is_aborted():
                    self._answer(self._next())
                    self._consider()
            self._is_over.set()
            with self._limit_of_threads():
                while self._open and not self._is_aborted():
                    self._flush()
                    if self._flying:
                        self._take(self._inbox.get())
                    elif self._strangers:
                        self._run_here(self._strangers.popleft().tasks())
            if not self._is_committed and self._would_pay(self.decider.items):
                _rent_s[0] += self.decider.wall_s
        finally:
            self._is_over.set()
            CALLS.end(self)
            if watcher is not None:
                watcher.join()

    def _is_aborted(self) -> bool:
        """Return True if joblib takes no more results: the iterator of the tasks has raised."""
        return bool(getattr(self.parallel, "_aborting", False))

    def _next(self) -> Step:
        """Return the decider's next step, as far as threads may run these tasks."""
        decider = self.decider
        waiting = sum(len(batch.calls) for batch in list(self._queue))
        decider.n_before = max(decider.n_before, decider.items + waiting)
        if decider.choices is None and decider.wants_choices(self.backends):
            decider.choices = self._choices()
        if self.workers is not None and self.workers.is_ready and not self._is_warm:
            self._are_ready()
        while True:
            step = decider.next()
            threads = isinstance(step, TryThreads) or (isinstance(step, Go) and step.forecast.backend == "threads")
            if not threads or self._threads_are_safe():
                return step
            decider.withdraw("threads")
            self.backends = tuple(one for one in self.backends if one != "threads") or ("serial",)

    def _choices(self) -> Choices:
        options = self.options
        method = start_method_beside_threads() if "processes" in self.backends else None
        request = check(callable, (), max_workers=options.n_jobs, start_method=method)
        choices = choices_for(request, self.backends, RunSummary(self.decider))
        if method is not None and warm.count(method) >= min(options.n_jobs, options.cores):
            self._is_warm = True
            return with_warm_workers(choices)
        return choices

    # -- workers that are not there yet --------------------------------------------------------------------------

    def _would_pay(self, n_items: int) -> bool:
        """Return True if warm workers would be the best for so many tasks."""
        choices = self.decider.choices
        if choices is None or "processes" not in choices.backends or not self.decider.items or self.options.cores < 2:
            return False
        best, _ = self.decider.candidates(with_warm_workers(choices), self.decider.sample(), max(1, n_items))
        return best.backend == "processes"

    def _consider(self) -> None:
        """Start processes once the loop has taken as long as that does; they are used when they are ready."""
        decider = self.decider
        choices, spent_s = decider.choices, decider.wall_s
        if self.workers is not None or choices is None or choices.costs.processes is None or spent_s < self._look_s:
            return
        self._look_s = 2 * spent_s
        if _rent_s[0] + spent_s > choices.costs.processes.start.total_s(2) and self._would_pay(decider.left):
            self._open_workers("processes")

    def _are_ready(self) -> None:
        """Note what the start of processes has taken, and decide anew with workers that are warm."""
        self._is_warm, choices = True, self.decider.choices
        if not isinstance(self.workers, Processes):
            return
        if self._cold is not None and self._cold.costs.processes is not None and self.workers.ready_s is not None:
            cores, ready_s = self._cold.machine.usable_cores, self.workers.ready_s
            # The caller computes meanwhile.
            learn(self._cold.costs.processes, self.options.n_jobs + 1, cores, ready_s, ready_s)
        if choices is not None:
            self.decider.choices = with_warm_workers(choices)
            self.decider.look_at_s = self.decider.looked_item_s = 0.0

    def _answer(self, step: Step) -> None:
        if isinstance(step, RunMore):
            self._see(self._run(step.items))
        elif isinstance(step, Weigh):
            self._weigh()
        elif isinstance(step, WatchLock):
            self._watched_run(step.items)
        elif isinstance(step, TryThreads):
            self._try_threads(step.items)
        elif isinstance(step, Go):
            self._go(step.forecast.backend)

    def _run(self, items: int) -> list[Observation]:
        """Run batches of so many tasks, and give them back to joblib."""
        ran: list[Observation] = []
        while items > 0 and (batch := self._pop()) is not None:
            ran.append(CALLS.observe(lambda _, __, batch=batch: self._run_here(batch.tasks()), 0, 0))  # type: ignore[misc]
            items -= ran[-1].items
        return ran

    def _see(self, ran: list[Observation]) -> None:
        for seen in ran:
            self.decider.saw(seen)
        if sum(seen.wall_s for seen in ran) > LATE_S:
            # The thread that watches makes the caller give the lock up now and then, which is no waiting of the task's.
            before_s, self._late_s = self._late_s, late_s()
            self.decider.were_late(self._late_s - before_s)

    def _pop(self) -> Batch | None:
        with self._lock:
            return None if self._is_committed or not self._queue else self._queue.popleft()

    def _run_here(self, tasks: Sequence[Task]) -> Observation:
        with self.nested.config():
            self._since_s = perf_counter()
            errors, seen = carry_out(tasks)
            self._since_s = None
        self._settle(tasks, errors)
        return seen

    def _settle(self, tasks: Sequence[Task], errors: Errors) -> None:
        """Note what has become of tasks, and give their batches back."""
        for task, error in errors:
            if self.options.begins_here:
                # With its traceback, which joblib would remove.
                raise error
            if task.batch.error is None:
                if error.__traceback__ is not None:
                    error.__cause__ = RemoteTraceback(failure_here(0, error).traceback)
                task.batch.error = error
        for batch, _ in tasks:
            batch.left -= 1
            if (batch.left == 0 or batch.error is not None) and not batch.is_over:
                batch.is_over = True
                self._open -= 1
                self._results.extend(batch.results[: WEIGHED // 4])
                # joblib holds the batch until its results are read; what it worked with may go before.
                batch.calls = ()
                batch.callback(batch)

    def _watched_run(self, items: int) -> None:
        with Canary() as canary:
            self._canary = canary
            seen = self._run(items)
            self._canary = None
        self.decider.watched(canary.gil_held, seen)
        self.decider.were_late(canary.late_s)

    def _weigh(self) -> None:
        from amorsize.measure.transfer import weigh

        by_value = main_is_interactive()
        calls = [call for batch in list(self._queue) for call in batch.calls][:WEIGHED]
        results = [one for one in self._results if one is not None][:WEIGHED]
        self.decider.weighed(weigh([Light(call, self.shares, by_value) for call in calls], results))

    # -- threads in the caller's process -------------------------------------------------------------------------

    def _threads_are_safe(self) -> bool:
        """Return True if threads may run the tasks that wait: the caller has said so, or a look at them shows it."""
        if self.options.is_threadsafe:
            return True
        if self._may_use_threads is None:
            from amorsize.measure.thread_safety import look

            calls = [call for batch in list(self._queue) for call in batch.calls]
            self._looked_at = calls[0][0] if calls else None
            if not all(map(self._is_looked_at, calls)):
                self._may_use_threads = False
            else:
                self._may_use_threads = look(self._looked_at, [args[0] for _, args, _ in calls]).is_safe
        return self._may_use_threads

    def _is_looked_at(self, call: Any) -> bool:
        """Return True if a call is of the function that was looked at, with one argument, as that of a map has."""
        function, args, keywords = call
        return function is self._looked_at and len(args) == 1 and not keywords

    def _try_threads(self, items: int) -> None:
        """Run the next tasks on two threads."""
        tasks: list[Task] = []
        while len(tasks) < items and (batch := self._pop()) is not None:
            tasks += batch.tasks()
        inbox: SimpleQueue[Done | None] = SimpleQueue()
        ran: list[Done] = []
        with native_limit(self.options.limit or self.options.start.native):
            threads, began_s = Threads(2, inbox, self.nested), perf_counter()
            threads.post(tasks, max(1, ceil(len(tasks) / 4)))
            try:
                while sum(len(one.tasks) for one in ran) < len(tasks) and (done := inbox.get()) is not None:
                    ran.append(done)
            finally:
                threads.kill()
            took_s = perf_counter() - began_s
        self.decider.tried(max(1, len(tasks)), took_s, sum(one.cpu_s for one in ran))
        for one in ran:
            self._settle(one.tasks, one.errors)

    # -- going parallel ------------------------------------------------------------------------------------------

    def _go(self, backend: Backend) -> None:
        """Give workers all that is left; until one is ready, run the next task here."""
        if backend == "serial":
            return
        if self.workers is None:
            self._open_workers(backend)
        if self.workers is not None and self.workers.is_ready:
            self._commit()
        else:
            self._see(self._run(1))

    def _open_workers(self, backend: Backend) -> None:
        with self._lock:
            if self.workers is not None or self._is_closed:
                return
            try:
                if backend == "processes" and not self._is_warm:
                    _rent_s[0], self._cold = 0.0, self.decider.choices
                if backend == "threads":
                    self.workers = Threads(self.options.n_jobs, self._inbox, self.nested)
                else:
                    self.workers = Processes(self.options.start, self._inbox, self.shares)
            # No memory, no more processes, no more descriptors; or what initializes them cannot be pickled.
            except (OSError, RuntimeError, TransferError):
                if not self.options.begins_here or self.options.start.initializer is not None:
                    raise
                self._can_send = False
                self.backends = ("serial",)
                if self.decider.choices is not None:
                    self.decider.withdraw(backend)

    def _commit(self) -> None:
        with self._lock:
            self._is_committed = True
        self._flush()

    def _flush(self) -> None:
        """Send all tasks that wait to the workers; run here those that these cannot have."""
        with self._lock:
            batches, workers = list(self._queue), self.workers
            self._queue.clear()
            if isinstance(workers, Threads) and not self.options.is_threadsafe:
                self._strangers += [one for one in batches if not all(map(self._is_looked_at, one.calls))]
                batches = [one for one in batches if one not in self._strangers]
            tasks = [task for batch in batches for task in batch.tasks()]
            if tasks and workers is not None and self._can_send:
                self._flying += len(tasks)
                item_s = self._item_s or self.decider.item_s
                size: int | None = 1
                if item_s > 0:
                    size = next_chunk(len(tasks), workers.number, item_s, len(tasks))
                # Few tasks go one by one: any of them may be long, and none is to wait behind it.
                elif len(tasks) > FEW * workers.number:
                    size = None
                workers.post(tasks, size)
                return
        for batch in batches:
            self._run_here(batch.tasks())

    def _take(self, done: Done | None) -> None:
        """Take in a report of the workers."""
        if done is None:
            return
        with self._lock:
            self._flying -= len(done.tasks)
        if done.broken is not None:
            self._is_broken(done)
            return
        if done.tasks:
            item_s = done.wall_s / len(done.tasks)
            self._item_s = item_s if self._item_s <= 0 else self._item_s + RATE_WEIGHT * (item_s - self._item_s)
            self._evidence = max(self._evidence, len(done.tasks))
        unsent = [task for task, error in done.errors if self._never_ran(error)]
        if not unsent:
            self._settle(done.tasks, done.errors)
            return
        # What cannot be sent runs here.
        self._can_send = False
        self._settle(
            [task for task in done.tasks if task not in unsent], [e for e in done.errors if e[0] not in unsent]
        )
        self._run_here(unsent)

    def _never_ran(self, error: BaseException) -> bool:
        return self.options.begins_here and isinstance(error, TransferError) and error.what == "call"

    def _is_broken(self, done: Done) -> None:
        """Go on in the caller: no worker can begin. Not if its initializer is to blame."""
        assert done.broken is not None
        if not self.options.begins_here or self.options.start.initializer is not None:
            self._settle(done.tasks, [(task, done.broken) for task in done.tasks])
            return
        self._can_send = False
        self._run_here(done.tasks)

    # -- beside the caller ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Go parallel while a task runs in the caller for longer than it takes to start workers (in a thread).

        That task goes on in the caller meanwhile. So a long first task costs no more than a start.
        """
        wait_s = WATCH_LONGEST_S if self._may_use_threads else ONE_WAIT_S
        while not self._is_over.wait(wait_s) and not self._is_committed:
            since_s, canary = self._since_s, self._canary
            ran_s = 0.0 if since_s is None else perf_counter() - since_s
            if ran_s < WATCH_LONGEST_S or not self._queue:
                wait_s = min(2 * wait_s, LOOK_S)
                continue
            if canary is not None and held_share(canary.rounds, ran_s) < LOCK_FREE:
                self._open_workers("threads")
            elif self.workers is None:
                wait_s = self._left_to_wait_s(perf_counter() - self._began_s)
                if wait_s > 0.0:
                    continue
                self._open_workers("processes")
            if self.workers is not None and self.workers.is_ready:
                self._item_s = ran_s
                self._commit()
                return
            wait_s = ONE_WAIT_S

    def _left_to_wait_s(self, spent_s: float) -> float:
        """Return the seconds until ``spent_s`` seconds in the loop have become as long as a start of workers."""
        choices = self.decider.choices or self._choices()
        if "processes" not in self.backends or choices.costs.processes is None:
            return LOOK_S
        return max(0.0, choices.costs.processes.start.total_s(2) - spent_s - _rent_s[0])

    def serve(self) -> None:
        """Run all tasks at workers, until the call is over; in a thread of its own."""
        backend: Backend = "processes" if "processes" in self.backends else "threads"
        if self.options.is_threadsafe and "threads" in self.backends:
            backend = "threads"
        try:
            self._open_workers(backend)
        except BaseException as exc:  # noqa: BLE001  (joblib raises it in the caller)
            self._fail_all(exc)
            return
        self._is_committed = True
        with self._limit_of_threads():
            while not self._is_over.is_set():
                self._take(self._inbox.get())
                while not self._inbox.empty():
                    self._take(self._inbox.get())
                if not self._is_over.is_set():
                    self._flush()

    def _fail_all(self, exc: BaseException) -> None:
        while not self._is_over.is_set():
            while self._queue:
                batch = self._queue.popleft()
                self._settle(batch.tasks(), [(task, exc) for task in batch.tasks()])
            self._inbox.get()

    def _limit_of_threads(self) -> AbstractContextManager[Any]:
        """Cap the native threads of this process while its threads run tasks."""
        limit = self.options.limit
        return native_limit(limit or self.options.start.native if isinstance(self.workers, Threads) else limit)


def native_limit(limit: int | None) -> AbstractContextManager[Any]:
    """Cap the BLAS and OpenMP threads of this process; None: do not."""
    if limit is None:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    capped: AbstractContextManager[Any] = threadpool_limits(limits=limit)
    return capped


def with_warm_workers(choices: Choices) -> Choices:
    """Return the choices as if worker processes were warm."""
    processes = choices.costs.processes
    if processes is None:
        return choices
    return replace(choices, costs=replace(choices.costs, processes=replace(processes, start=WARM_START)))
