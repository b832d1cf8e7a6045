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
    """Something has happened. New kinds may come with any release: pass over those that you do not know."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run begins with ``items`` items; None: the number is unknown.

    ``skipped``: the number of them that a checkpoint holds already.
    """

    items: int | None
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChosen(Event):
    """This backend runs the items from now on. ``"auto"`` begins with the loop (``"serial"``), and may choose again."""

    backend: str
    workers: int
    start_method: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """A worker is being started; ``pid``: its process id, None for a thread."""

    worker: int
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRetired(Event):
    """A worker was ended: there is nothing more to do, there were too many workers, or its item ran too long."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost(Event):
    """A worker process died, while it ran item ``index`` (None: no item, or unknown).

    ``oom``: True if the kernel ended it because memory ran out. The items that it was running are repeated.
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
    """

    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDone(Event):
    """``items`` items from ``start`` on have been run in ``wall_s`` seconds (``cpu_s`` of CPU time).

    ``failed`` of them raised: they are repeated (``retries=``), now or after a backoff, or have failed. ``rss_bytes``:
    the most memory that the worker has held so far; 0 where it was not read. In the plain loop, chunks are what it runs
    between two looks at the clock.
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
    """An item raised, or ran too long, and is repeated (``retries=``) in ``wait_s`` seconds (``backoff=``) or later.

    ``tries``: the number of its runs that have ended so. An item whose worker died is told by `WorkerLost`.
    """

    index: int
    tries: int
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFailed(Event):
    """An item has failed for good."""

    index: int
    exception: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """Every item has been run, and ``failed`` of them have failed. A run that raises sends no such event."""

    items: int
    failed: int
