"""A call of ``Parallel`` that begins as a loop in the caller, and goes to workers when the decider says so.

The first results are kept, and the decider of ``execute()`` looks at what they took. The caller runs the tasks, or
waits for them, in `LoopFirst.drain`; joblib then has nothing to poll for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from amorsize.backends.concurrent_calls import CALLS
from amorsize.errors import TransferError
from amorsize.facts import Observation
from amorsize.integrations import joblib_memory
from amorsize.integrations.joblib_arrays import Light
from amorsize.integrations.joblib_call import Options, native_limit
from amorsize.integrations.joblib_start import StartsWorkers, rent_s
from amorsize.integrations.joblib_watch import Watch
from amorsize.integrations.joblib_workers import Batch, Done, Errors, Processes, Task, Threads, carry_out
from amorsize.measure.gil import Canary
from amorsize.model.decide import (
    WEIGHED,
    Go,
    RunMore,
    TryThreads,
    WatchLock,
    Weigh,
)
from amorsize.model.head import LONG_BATCH_S
from amorsize.system.clock import late_s
from amorsize.system.critical import LONGEST_WAIT_S
from amorsize.system.start_methods import main_is_interactive, start_method_beside_threads

if TYPE_CHECKING:
    from amorsize.facts import Backend
    from amorsize.model.decide import Step

# guess: a warm worker that has not answered by then is not waited for
ANSWER_S: Final = 20e-3
# The canary's share for pure Python, sorting and JSON is 0.96 and more (amorsize.measure.gil), for sums over 4 MB 0.7.
SURELY_HELD: Final = 0.9
# After a shorter batch it is not read how long the caller has waited for a core, which takes 30 µs.
LATE_S: Final = 1e-3


class LoopFirst(StartsWorkers):
    """The same for a call that returns a list and has no timeout.

    Attributes
    ----------
    decider : Decider
    """

    def __init__(self, parallel: Any, options: Options) -> None:
        super().__init__(parallel, options)
        # Batches that joblib has not got back.
        self._open = 0
        # From now on workers get all tasks, as far as they can be sent.
        self.is_committed = False
        # Batches with tasks that threads may not run; they run here when nothing else does.
        self._strangers: deque[Batch] = deque()
        # A few, to weigh them.
        self._results: deque[Any] = deque(maxlen=WEIGHED)
        self._watch = Watch(self)
        self._late_s = 0.0
        # What similar calls have in common, and what is known of them.
        self._key: object = None
        self._known: joblib_memory.Known | None = None
        # When the workers got all tasks, and how many they have run.
        self._committed_s, self._n_sent = 0.0, 0

    def submit(self, calls: Sequence[Any], callback: Any) -> Batch:
        """Take a batch, for `drain`."""
        batch = Batch(calls, callback)
        self._open += 1
        self._queue.append(batch)
        return batch

    def batch_size(self) -> int:
        """Return how many tasks the next batch is to hold: as much as the loop runs before it looks at the clock."""
        decider = self.decider
        if self._item_s > 0.0 or decider.items < 2 or self.is_committed:
            return super().batch_size()
        return max(1, min(2 * decider.items, int(LONG_BATCH_S / max(decider.rate_s, 1e-9))))

    # -- the loop ------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Run all tasks, in the thread that called ``Parallel``. Raises what the first failing task raises."""
        self._began_s, self._late_s = perf_counter(), late_s()
        CALLS.begin(self)
        try:
            with native_limit(self.options.limit):
                may_share = len(self._queue) > 1 and self.options.cores > 1 and len(self.backends) > 1
                if may_share:
                    self._begin_at_workers()
                if may_share and not self.is_committed:
                    self._watch.start()
                if self.may_use_threads and "threads" in self.backends and len(self._queue) > 1:
                    self._watched_run(1)
                while self._queue and not self.is_committed and not self._is_aborted():
                    self._answer(self._next())
                    self._consider()
            self.is_over.set()
            with self._limit_of_threads():
                while self._open and not self._is_aborted():
                    self._flush()
                    if self._flying:
                        self._take(_received(self._inbox))
                    elif self._strangers:
                        self._run_here(self._strangers.popleft().tasks())
            if self.is_committed:
                self._remember()
            else:
                if self.decider.items:
                    joblib_memory.note_loop(self._key, self.decider.item_s)
                if self._would_pay(self.decider.items):
                    rent_s[0] += self.decider.wall_s
        finally:
            self.is_over.set()
            CALLS.end(self)
            self._watch.join()

    def _begin_at_workers(self) -> None:
        """Give all tasks to threads or warm processes, if these were faster in an earlier call like this one."""
        self._key = joblib_memory.key_of(self._queue[0].calls[0])
        self._known = known = joblib_memory.recall(self._key)
        if known is None or (known.backend or "processes") not in self.backends:
            return
        if known.backend is None:
            self.backends, self.may_use_threads = tuple(one for one in self.backends if one != "threads"), False
        elif known.backend == "threads" and self.options.is_threadsafe:
            self.open_workers("threads")
        elif known.backend == "processes" and self._are_warm(start_method_beside_threads()):
            self._is_warm = True
            self.open_workers("processes")
            # They answer within 2 ms. A loop beside them would hold the interpreter's lock.
            with suppress(Empty):
                self._take(self._inbox.get(timeout=ANSWER_S))
            # Late workers cost a start again.
            self._is_warm = self.workers is not None and self.workers.is_ready
        if self.workers is not None and self.workers.is_ready:
            self._commit()

    def _remember(self) -> None:
        """Note what the tasks took at the workers, for later calls like this one."""
        if self._key is not None and self.workers is not None:
            backend: Backend = "processes" if isinstance(self.workers, Processes) else "threads"
            took_s = perf_counter() - self._committed_s
            joblib_memory.note(self._key, backend, self._loop_s(), took_s, self._n_sent, self._item_s)

    def _loop_s(self) -> float:
        """Return the seconds per task in the loop."""
        if self.decider.items or self._known is None:
            return self.decider.item_s
        return self._known.loop_s

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

    def _answer(self, step: Step) -> None:
        if isinstance(step, RunMore):
            self._see(self._run(step.items))
        elif isinstance(step, Weigh):
            self._weigh()
        elif isinstance(step, WatchLock):
            self._watched_run(step.items)
        elif isinstance(step, TryThreads) and self._hint_holds():
            # A few milliseconds on two threads tell less than the calling code; `_remember` looks at the whole call.
            self._go("threads")
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
            return None if self.is_committed or not self._queue else self._queue.popleft()

    def _run_here(self, tasks: Sequence[Task]) -> Observation:
        with self.nested.config():
            self._watch.begins()
            errors, seen = carry_out(tasks)
            self._watch.ends()
        self._settle(tasks, errors)
        return seen

    def _failed(self, task: Task, error: BaseException) -> None:
        # With its traceback, which joblib would remove.
        raise error

    def _give_back(self, batch: Batch) -> None:
        self._open -= 1
        self._results.extend(batch.results[: WEIGHED // 4])
        super()._give_back(batch)

    def _watched_run(self, items: int) -> None:
        with Canary() as canary:
            self._watch.canary = canary
            seen = self._run(items)
            self._watch.canary = None
        self.decider.watched(canary.gil_held, seen)
        self.decider.were_late(canary.late_s)
        if self._hint_holds() and "processes" in self.backends:
            # The caller wants threads, and is right: nothing need be sent.
            self.backends = tuple(one for one in self.backends if one != "processes")
            if self.decider.choices is not None:
                self.decider.withdraw("processes")

    def _hint_holds(self) -> bool:
        """Return True if the calling code wants threads, and the lock is not held all the time."""
        held = self.decider.gil_held
        return self.options.is_threadsafe and held is not None and held < SURELY_HELD

    def _weigh(self) -> None:
        from amorsize.measure.transfer import weigh

        by_value = main_is_interactive()
        calls = [call for batch in list(self._queue) for call in batch.calls][:WEIGHED]
        results = [one for one in self._results if one is not None][:WEIGHED]
        self.decider.weighed(weigh([Light(call, self.shares, by_value) for call in calls], results))

    # -- threads in the caller's process -------------------------------------------------------------------------

    def _try_threads(self, items: int) -> None:
        """Run the next tasks on two threads."""
        tasks: list[Task] = []
        while len(tasks) < items and (batch := self._pop()) is not None:
            tasks += batch.tasks()
        inbox: SimpleQueue[Done | None] = SimpleQueue()
        ran: list[Done] = []
        limit = self.options.limit_in_threads
        with native_limit(limit):
            threads, began_s = Threads(2, inbox, self.nested, limit), perf_counter()
            threads.post(tasks, max(1, ceil(len(tasks) / 4)))
            try:
                while sum(len(one.tasks) for one in ran) < len(tasks) and (done := _received(inbox)) is not None:
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
            self.open_workers(backend)
        if self.workers is not None and self.workers.is_ready:
            self._commit()
        else:
            self._see(self._run(1))

    def _commit(self) -> None:
        with self._lock:
            self.is_committed = True
            self._committed_s = perf_counter()
        self._flush()

    def _flush(self) -> None:
        """Send all tasks that wait to the workers; run here those that these cannot have."""
        with self._lock:
            has_threads = isinstance(self.workers, Threads)
            batches, can_send = list(self._queue), has_threads or (self._can_send and self.workers is not None)
            self._queue.clear()
            if has_threads and not self.options.is_threadsafe:
                self._strangers += [one for one in batches if not all(map(self._is_looked_at, one.calls))]
                batches = [one for one in batches if one not in self._strangers]
            if can_send:
                tasks = [task for batch in batches for task in batch.tasks()]
                self._n_sent += len(tasks)
                self._post(tasks, self._item_s or self._loop_s())
        if not can_send:
            for batch in batches:
                self._run_here(batch.tasks())

    def _ended(self, tasks: Sequence[Task], errors: Errors) -> None:
        unsent = [task for task, error in errors if isinstance(error, TransferError) and error.what == "call"]
        if not unsent:
            self._settle(tasks, errors)
            return
        # What cannot be sent runs here.
        self._can_send = False
        self._settle([one for one in tasks if one not in unsent], [one for one in errors if one[0] not in unsent])
        self._run_here(unsent)

    def _is_broken(self, tasks: Sequence[Task], why: BaseException) -> None:
        self._stay_here("processes")
        self._run_here(tasks)

    # -- asked by the thread that watches ------------------------------------------------------------------------

    def has_more(self) -> bool:
        """Return True if tasks wait."""
        return bool(self._queue)

    def take_to_workers(self, item_s: float) -> bool:
        """Give all tasks that wait, of so many seconds, to the workers; return False if none is ready."""
        if self.workers is None or not self.workers.is_ready:
            return False
        self._item_s = item_s
        self._commit()
        return True


def _received(inbox: SimpleQueue[Done | None]) -> Done | None:
    """Wait for what workers have done, with a look at the signals now and then."""
    while True:
        with suppress(Empty):
            return inbox.get(timeout=LONGEST_WAIT_S)
