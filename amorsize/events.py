"""Events passed to ``on_event=`` during a run: small frozen records.

``on_event`` is called in the thread that called `execute`, or that takes the results of `stream`, between two chunks:
what it does holds up handing out work. If it raises, that is logged once (a warning of ``amorsize.observers``), it is
called no more, and the run goes on; `amorsize.errors.StopRun` ends the run in order, and is raised to the caller. No
record is made unless there is a listener.

Each record has ``at_s``: seconds since the run began. ``worker`` is a number that is used once in a run; None stands
for the caller itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something has happened. New kinds may come with any release: pass over those that you do not know.

    Attributes
    ----------
    at_s : float
        Seconds since the run began.
    """

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run begins.

    Attributes
    ----------
    items : int or None
        Number of items; None if it is unknown.
    skipped : int
        Number of them that a checkpoint holds already.
    """

    items: int | None
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChosen(Event):
    """This backend runs the items from now on. ``"auto"`` begins with the loop (``"serial"``), and may choose again.

    Attributes
    ----------
    backend : str
        ``"serial"``, ``"threads"``, ``"processes"``, ``"executor"`` or ``"async"``.
    workers : int
        Number of workers; of a coroutine function the most tasks at a time.
    start_method : str or None
        Of processes; None for all others.
    """

    backend: str
    workers: int
    start_method: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """A worker is being started.

    Attributes
    ----------
    worker : int
        Its number.
    pid : int or None
        Its process id; None for a thread.
    """

    worker: int
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRetired(Event):
    """A worker was ended: there is nothing more to do, there were too many workers, or its item ran too long.

    Attributes
    ----------
    worker : int
        Its number.
    """

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost(Event):
    """A worker process died. The items that it was running are repeated.

    Attributes
    ----------
    worker : int
        Its number.
    index : int or None
        Item that it was at; None if at none, or unknown.
    exitcode : int or None
        Its exit code; None if a signal ended it, or if it is unknown.
    signal : int or None
        Number of the signal that ended it.
    oom : bool
        True if the kernel ended it because memory ran out.
    """

    worker: int
    index: int | None
    exitcode: int | None
    signal: int | None
    oom: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersResized(Event):
    """The wanted number of workers has changed; for a coroutine function, the number of tasks that may run at a time.

    It follows the throughput and the latency of the items; and fewer are wanted while memory is tight, or if no more
    can be started.

    Attributes
    ----------
    workers : int
        The number wanted from now on.
    """

    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDone(Event):
    """Neighbouring items have been run. In the plain loop, a chunk is what it runs between two looks at the clock.

    Attributes
    ----------
    worker : int or None
        Number of the worker that ran them; None for the caller.
    start : int
        Index of the first one.
    items : int
        How many.
    failed : int
        Number of them that raised: they are repeated (``retries=``), now or after a backoff, or have failed.
    wall_s, cpu_s : float
        Seconds for all of them: by the clock, and of CPU.
    rss_bytes : int
        The most memory that the worker has held so far; 0 where it was not read.
    """

    worker: int | None
    start: int
    items: int
    failed: int
    wall_s: float
    cpu_s: float
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRepeated(Event):
    """An item raised, or ran too long, and is repeated (``retries=``). One whose worker died is told by `WorkerLost`.

    Attributes
    ----------
    index : int
        The item.
    tries : int
        Number of its runs that have ended so.
    wait_s : float
        Seconds until the repeat, or more (``backoff=``).
    """

    index: int
    tries: int
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFailed(Event):
    """An item has failed for good.

    Attributes
    ----------
    index : int
        The item.
    exception : BaseException
        What it raised, or `WorkerLostError`, `TransferError`, `ItemTimeoutError`.
    """

    index: int
    exception: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """Every item has been run. A run that raises sends no such event.

    Attributes
    ----------
    items : int
        Number of items.
    failed : int
        Number of them that have failed.
    """

    items: int
    failed: int
