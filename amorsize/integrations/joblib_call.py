"""One call of ``Parallel``, whose tasks run at workers: threads or processes.

joblib hands over batches and gets them back one by one; each that is back makes it hand over the next. A call that
returns a list begins in the caller (`amorsize.integrations.joblib_loop`). All others go to workers at once: a time-out
must be able to end what runs, and the reader of a generator waits for the first result.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.backends.results import failure_here
from amorsize.errors import RemoteTraceback
from amorsize.facts import RATE_WEIGHT
from amorsize.integrations.joblib_arrays import Shares
from amorsize.integrations.joblib_workers import Batch, Done, Errors, Nested, Processes, Start, Task, Threads
from amorsize.schedule.chunk_size import next_chunk
from amorsize.system.critical import Latch, held_signals

if TYPE_CHECKING:
    from amorsize.facts import Backend

# guess: tasks per worker of which nothing is known, and that are sent one at a time
FEW: Final = 16


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

    @property
    def limit_in_threads(self) -> int | None:
        """Native threads of each thread that runs tasks."""
        return self.limit or self.start.native


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
        # Tasks that workers have.
        self._flying = 0
        self.is_over = Latch()
        self._is_closed = False
        # Held while batches leave the queue, and while workers start.
        self._lock = threading.RLock()
        self._server: threading.Thread | None = None
        # Seconds per task at the workers, and the most tasks that one of them has got at a time.
        self._item_s, self._evidence = 0.0, 1

    # -- joblib's side -------------------------------------------------------------------------------------------

    def submit(self, calls: Sequence[Any], callback: Any) -> Batch:
        """Take a batch."""
        batch = Batch(calls, callback)
        self._queue.append(batch)
        if self._server is None:
            self._server = threading.Thread(target=self._serve, daemon=True, name="amorsize-joblib")
            with held_signals():
                self._server.start()
        self._inbox.put(None)
        return batch

    def batch_size(self) -> int:
        """Return how many tasks the next batch is to hold."""
        if self._item_s <= 0.0:
            return 1
        return next_chunk(None, self.options.n_jobs, self._item_s, self._evidence)

    def drain(self) -> None:
        """Run in the caller what is to run there."""

    def close(self) -> None:
        """End the call. Workers that have nothing left to do stay warm; others are killed."""
        self.is_over.set()
        self._inbox.put(None)
        with self._lock:
            self._is_closed = True
            workers, self.workers = self.workers, None
            self._queue.clear()
        if workers is not None:
            (workers.kill if self._flying else workers.close)()

    # -- tasks ---------------------------------------------------------------------------------------------------

    def _settle(self, tasks: Sequence[Task], errors: Errors) -> None:
        """Note what has become of tasks, and give their batches back."""
        for task, error in errors:
            self._failed(task, error)
        for batch, _ in tasks:
            batch.left -= 1
            if (batch.left == 0 or batch.error is not None) and not batch.is_over:
                batch.is_over = True
                self._give_back(batch)

    def _failed(self, task: Task, error: BaseException) -> None:
        """Note what a task has raised. Its traceback, which joblib removes, goes along as a text."""
        if task.batch.error is None:
            if error.__traceback__ is not None:
                error.__cause__ = RemoteTraceback(failure_here(0, error).traceback)
            task.batch.error = error

    def _give_back(self, batch: Batch) -> None:
        # joblib holds the batch until its results are read; what it worked with may go before.
        batch.calls = ()
        batch.callback(batch)

    # -- workers -------------------------------------------------------------------------------------------------

    def open_workers(self, backend: Backend) -> None:
        with self._lock:
            if self.workers is not None or self._is_closed:
                return
            if backend == "threads":
                self.workers = Threads(self.options.n_jobs, self._inbox, self.nested, self.options.limit_in_threads)
            else:
                self.workers = Processes(self.options.start, self._inbox, self.shares)

    def _flush(self) -> None:
        """Send all tasks that wait to the workers."""
        with self._lock:
            tasks = [task for batch in self._queue for task in batch.tasks()]
            self._queue.clear()
            self._post(tasks, self._item_s)

    def _post(self, tasks: list[Task], item_s: float) -> None:
        if not tasks or self.workers is None:
            return
        self._flying += len(tasks)
        size: int | None = 1
        if item_s > 0:
            size = next_chunk(len(tasks), self.workers.number, item_s, len(tasks))
        # Few tasks go one by one: any of them may be long, and none is to wait behind it.
        elif len(tasks) > FEW * self.workers.number:
            size = None
        self.workers.post(tasks, size)

    def _take(self, done: Done | None) -> None:
        """Take in a report of the workers."""
        if done is None:
            return
        with self._lock:
            self._flying -= len(done.tasks)
        if done.broken is not None:
            self._is_broken(done.tasks, done.broken)
            return
        if done.tasks:
            item_s = done.wall_s / len(done.tasks)
            self._item_s = item_s if self._item_s <= 0 else self._item_s + RATE_WEIGHT * (item_s - self._item_s)
            self._evidence = max(self._evidence, len(done.tasks))
        self._ended(done.tasks, done.errors)

    def _ended(self, tasks: Sequence[Task], errors: Errors) -> None:
        self._settle(tasks, errors)

    def _is_broken(self, tasks: Sequence[Task], why: BaseException) -> None:
        """No worker can begin."""
        self._settle(tasks, [(task, why) for task in tasks])

    def _serve(self) -> None:
        """Run all tasks at workers, until the call is over; in a thread of its own."""
        backend: Backend = "processes" if "processes" in self.backends else "threads"
        if self.options.is_threadsafe and "threads" in self.backends:
            backend = "threads"
        try:
            self.open_workers(backend)
        # joblib raises it in the caller.
        except BaseException as exc:  # noqa: BLE001
            self._fail_all(exc)
            return
        with self._limit_of_threads():
            while not self.is_over.is_set:
                self._take(self._inbox.get())
                while not self._inbox.empty():
                    self._take(self._inbox.get())
                if not self.is_over.is_set:
                    self._flush()

    def _fail_all(self, exc: BaseException) -> None:
        while not self.is_over.is_set:
            while self._queue:
                tasks = self._queue.popleft().tasks()
                self._settle(tasks, [(task, exc) for task in tasks])
            self._inbox.get()

    def _limit_of_threads(self) -> AbstractContextManager[Any]:
        """Cap the native threads of this process while its threads run tasks."""
        options = self.options
        return native_limit(options.limit_in_threads if isinstance(self.workers, Threads) else options.limit)


def native_limit(limit: int | None) -> AbstractContextManager[Any]:
    """Cap the BLAS and OpenMP threads of this process; None: do not."""
    if limit is None:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    capped: AbstractContextManager[Any] = threadpool_limits(limits=limit)
    return capped
