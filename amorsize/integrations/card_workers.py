"""Workers of ``kind: local``: processes of this machine whose environment is set before their interpreter starts.

Each is a new interpreter, begun by ``worker_init`` in a shell if there is one, and served by a thread of the caller
through its standard input and output. What the workers print goes to the caller's output. They end with the caller:
their input ends then.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final

from amorsize.backends.engines import Engine, Loss
from amorsize.system.critical import held_signals

# What a worker runs. Tasks and answers are pickles of pickles: one that cannot be read leaves the stream in order.
PROGRAM: Final = """
def work():
    import os, sys
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(int(sys.argv.pop()), 1)
    import pickle, queue, signal, threading
    # The caller ends its workers; programs that an item starts get Ctrl-C as usual.
    signal.signal(signal.SIGINT, lambda *_: None)
    waiting = queue.SimpleQueue()

    def read():
        while True:
            try:
                waiting.put(pickle.load(tasks))
            except BaseException:
                os._exit(0)

    def answer(*parts):
        pickle.dump(pickle.dumps(parts, 5), answers, 5)
        answers.flush()

    threading.Thread(target=read, daemon=True).start()
    answer(True, "ready")
    while True:
        try:
            parts = True, pickle.loads(waiting.get())()
        except BaseException as exc:
            parts = False, exc
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        try:
            answer(*parts)
        except Exception as exc:
            answer(False, RuntimeError(f"{type(exc).__name__}: {exc}"))


work()
"""
# Runs ``worker_init`` where it can neither read tasks nor write answers, then becomes the worker.
SHELL: Final = '{{\n{init}\n}} </dev/null >&2\nexec "$@"'


class WorkerEndedError(Exception):
    """A worker has ended while it had a task."""


class Busy:
    """A worker that has a task: since when, and if it was ended for that."""

    __slots__ = ("process", "since_s", "was_ended")

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.since_s = time.perf_counter()
        self.was_ended = False


class Workers(Executor):
    """An executor of fresh interpreters.

    Parameters
    ----------
    label : str
        Names the workers in errors.
    workers : int
    env : dict
        Variables that the workers have besides the caller's.
    worker_init : str
        Lines for the shell, run before the interpreter starts.
    """

    def __init__(self, label: str, workers: int, env: dict[str, str], worker_init: str = "") -> None:
        self.label = label
        self.max_workers = workers
        self._env = env
        self._init = worker_init
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        self._lock = Lock()
        # Workers that have a task, by its future, and those that start. Why no task runs any more.
        self._busy: dict[Future[Any], Busy] = {}
        self._starting: set[subprocess.Popen[bytes]] = set()
        self._over = ""
        self._threads = [Thread(target=self._serve, name=f"amorsize {label}", daemon=True) for _ in range(workers)]
        with held_signals():
            for thread in self._threads:
                thread.start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` in a worker."""
        future: Future[Any] = Future()
        # Once it is over, no task comes behind those that are dropped.
        with self._lock:
            if self._over:
                raise BrokenExecutor(self._over)
            self._tasks.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """End the workers, those that have a task included."""
        with self._lock:
            self._over = self._over or f"the workers of {self.label!r} have been shut down"
            for process in (*self._starting, *(busy.process for busy in self._busy.values())):
                process.kill()
        self._drop()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def end(self, future: Future[Any]) -> None:
        """End the worker that runs a task; another one takes its place."""
        with self._lock:
            if (busy := self._busy.get(future)) is not None:
                busy.was_ended = True
                busy.process.kill()

    def runs_for_s(self, future: Future[Any]) -> float | None:
        """Return the seconds for which a task has run; None: it does not run."""
        busy = self._busy.get(future)
        return None if busy is None else time.perf_counter() - busy.since_s

    def _drop(self) -> None:
        """Fail the tasks that wait."""
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task is None:
                # Another thread is to end.
                self._tasks.put(None)
                return
            if task[0].set_running_or_notify_cancel():
                task[0].set_exception(BrokenExecutor(self._over))

    # -- in the thread of a worker ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        process = None
        try:
            process = self._start()
            while (task := self._tasks.get()) is not None:
                future, call = task
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    process = process or self._start()
                    future.set_result(self._run(process, future, call))
                except WorkerEndedError as exc:
                    # `_exchange` has waited for it.
                    process = None
                    future.set_exception(exc)
                except BaseException as exc:  # noqa: BLE001
                    future.set_exception(exc)
                    if isinstance(exc, BrokenExecutor):
                        break
        except BrokenExecutor:
            pass
        finally:
            if process is not None:
                _end(process)
        if self._over:
            self._drop()

    def _run(self, process: subprocess.Popen[bytes], future: Future[Any], call: Any) -> Any:
        pickled = pickle.dumps(call, 5)
        with self._lock:
            if self._over:
                raise BrokenExecutor(self._over)
            busy = self._busy[future] = Busy(process)
        try:
            is_result, value = _exchange(process, pickled)
        finally:
            with self._lock:
                del self._busy[future]
        if busy.was_ended:
            # It had answered already.
            _end(process)
            raise WorkerEndedError("it was ended")
        if is_result:
            return value
        raise value

    def _start(self) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it is ready.

        Raises
        ------
        BrokenExecutor
            If it ends before: the next one would, too.
        """
        process = None
        try:
            process = _popen(self._env, self._init)
            with self._lock:
                self._starting.add(process)
            _exchange(process)
        except (OSError, WorkerEndedError) as exc:
            text = f"a worker of {self.label!r} has not started: {exc}"
            text += "; its worker_init has failed, or its environment breaks Python" if process is not None else ""
            with self._lock:
                self._over = self._over or text
            if process is not None:
                _end(process)
            raise BrokenExecutor(self._over) from exc
        finally:
            if process is not None:
                with self._lock:
                    self._starting.discard(process)
        return process


def _popen(env: dict[str, str], init: str) -> subprocess.Popen[bytes]:
    shown, kept = 2, None
    if os.name == "posix":
        try:
            shown = kept = os.dup(1)
        except OSError:
            # The caller has no output.
            pass
    command = [sys.executable, "-c", PROGRAM, str(shown)]
    if init:
        shell = shutil.which("bash") or shutil.which("sh")
        if shell is None:
            raise OSError("worker_init is for a shell, and there is neither bash nor sh")
        command = [shell, "-c", SHELL.format(init=init), "amorsize", *command]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | env,
            pass_fds=() if kept is None else (kept,),
        )
    finally:
        if kept is not None:
            os.close(kept)


def _exchange(process: subprocess.Popen[bytes], task: bytes | None = None) -> tuple[bool, Any]:
    """Send a task, if there is one; return the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if task is not None:
            pickle.dump(task, process.stdin, 5)
            process.stdin.flush()
        answer = pickle.load(process.stdout)
    # Killed while it was writing, maybe.
    except (OSError, EOFError, pickle.UnpicklingError):
        _end(process)
        raise WorkerEndedError(f"it has ended with exit code {process.returncode}") from None
    is_result, value = pickle.loads(answer)
    return is_result, value


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a worker that has no task."""
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        try:
            stream.close()
        except OSError:
            # It has ended, and left what was for it.
            continue
    process.kill()
    process.wait()


class Local(Engine):
    """Our own workers, as an engine."""

    lazy = False
    near = False
    can_end = True

    def keep_time(self) -> None:
        """Do nothing: the workers keep the time of their tasks."""

    def end(self, future: Any) -> None:
        """End a running task, and its worker with it."""
        self.executor.end(future)

    def runs_for_s(self, future: Any) -> float | None:
        """Return how long a task has run."""
        seconds: float | None = self.executor.runs_for_s(future)
        return seconds

    def loss(self, exc: BaseException) -> Loss | None:
        """Return what an exception says: a worker has one task."""
        return "worker" if isinstance(exc, WorkerEndedError) else super().loss(exc)
