"""Dask: ``backend=client``, a ``distributed.Client`` or what its ``get_executor()`` returns.

Results live on Dask's workers until they are fetched, and the loss of a worker has all of them run again. So each is
fetched at once. A task has a key of its own: with ``pure=True``, Dask's default, a repeat would be answered by the
exception that the first run left.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final
from uuid import uuid4

from amorsize.backends.engines import Engine, Loss
from amorsize.backends.remote import HALF

# Exceptions of `distributed` that say what has happened to the cluster. Told by their names: some have moved.
LOST: Final = ("KilledWorker",)
CANCELLED: Final = ("CancelledError", "FutureCancelledError", "FuturesCancelledError")
DEAD: Final = (*CANCELLED, "CommClosedError", "TimeoutError")


class Dask(Engine):
    """A Dask cluster, seen by its client."""

    lazy = False
    near = False

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        # ClientExecutor has its client.
        self.client: Any = getattr(executor, "_client", executor)
        if self.client.asynchronous:
            raise ValueError(
                "backend: the Dask client is asynchronous, and results are waited for here: make one without"
            )
        self._run = uuid4().hex[:12]
        self._numbers = count()
        # What was fetched: for each future a result, or an exception.
        self._fetched: dict[Any, tuple[Any, BaseException | None]] = {}

    def places(self) -> int | None:
        """Return the threads of all workers; 0 if there is no worker yet."""
        return int(sum(self.client.nthreads().values()))

    def submit(self, *args: Any) -> Any:
        """Submit a task under a key of its own. Its prefix gives amorsize's tasks a line in Dask's dashboard."""
        return self.client.submit(HALF, *args, pure=False, key=f"amorsize-{self._run}-{next(self._numbers)}")

    def when_done(self, future: Any, callback: Callable[[Any], object]) -> None:
        """Fetch the answer in Dask's own thread, let the cluster forget it, and call ``callback``.

        To fetch takes a round trip to the worker, in which the caller can do other work.
        """

        def fetch(future: Any) -> None:
            try:
                self._fetched[future] = future.result(), None
            except BaseException as exc:  # noqa: BLE001  (`result` raises it)
                self._fetched[future] = None, exc
            future.release()
            callback(future)

        future.add_done_callback(fetch)

    def result(self, future: Any) -> Any:
        """Return what was fetched, or raise."""
        answer, exc = self._fetched.pop(future)
        if exc is not None:
            raise exc
        return answer

    def cancel(self, futures: list[Any]) -> None:
        """Cancel tasks in one message."""
        if futures and self.client.status == "running":
            try:
                self.client.cancel(futures)
            except Exception:  # noqa: BLE001  (the error of the run counts)
                return

    def share(self, func: Any) -> Any:
        """Put a large function on all workers, once."""
        # hash=False: with a hash, equal data of an earlier map may be cancelled meanwhile.
        return self.client.scatter([func], broadcast=True, hash=False)[0]

    def lost_data(self, exc: BaseException) -> bool:
        """Return True if a task failed because what was shared is gone: no worker has it any more."""
        return type(exc).__name__ in CANCELLED and self.client.status == "running"

    def loss(self, exc: BaseException) -> Loss | None:
        """Return what an exception says: Dask gives a task up after it has cost several workers, with their tasks."""
        name = type(exc).__name__
        if name in LOST:
            return "shared"
        return "engine" if name in DEAD or self.client.status != "running" else None
