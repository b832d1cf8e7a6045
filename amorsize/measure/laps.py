"""One lap: start an engine's workers, hand them chunks of nothing and some bytes, and leave, with a watch in hand.

An engine is ``"pool"`` (``multiprocessing.Pool``), ``"team"`` (amorsize's own workers), ``"threadpool"``
(``multiprocessing.pool.ThreadPool``) or ``"threads"`` (amorsize's own). Each is driven as `optimize` and `execute`
drive it, so that what is measured is what they will pay.

When workers take items, one after the other, ``p`` of them finish work of W seconds at the mean of those moments plus
``W / p``; hence "started" is that mean. Where there are more workers than cores, those that are up share their cores
with those that still start, nothing is gained by being early, and the last one's moment counts.

Children import this module to find `task`, so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.clock import REAL, Clock

if TYPE_CHECKING:
    from amorsize.model.schedule import Event, Instruction

PAYLOAD_BYTES: Final = 1 << 20  # 16 pipefuls: large enough that what a message costs in itself does not show
NOTHING: Final = 0  # an item whose result is empty, too


class Lap(NamedTuple):
    """What one lap took.

    Attributes
    ----------
    start_s : float
        From the beginning until workers took items, plus what leaving them took.
    chunk_s : float
        For each chunk of one item; 0 when none was asked for.
    out_s_per_byte, back_s_per_byte : float
        For large items, and for large results, with pickling; 0 when not asked for.
    """

    start_s: float
    chunk_s: float = 0.0
    out_s_per_byte: float = 0.0
    back_s_per_byte: float = 0.0


def task(item: Any) -> Any:
    """What workers run: an int asks for a result of so many bytes; anything else is swallowed."""
    return _blob(item) if item and type(item) is int else None


def _blob(size: int) -> bytes:
    blob = _blobs.get(size)
    if blob is None:
        blob = _blobs[size] = b"\1" * size  # memory that was touched: the kernel reads untouched pages for nothing
    return blob


_blobs: dict[int, bytes] = {}


def lap(
    engine: str,
    start_method: str | None,
    workers: int,
    *,
    cores: float,
    chunks: int = 0,
    payloads: int = 0,
    clock: Clock = REAL,
) -> Lap:
    """Run one lap.

    Parameters
    ----------
    engine : {"pool", "team", "threadpool", "threads"}
        Whose workers.
    start_method : str or None
        None for threads.
    workers : int
        How many to start.
    cores : float
        How many of them can run at once.
    chunks : int
        How many chunks of one tiny item to hand out.
    payloads : int
        How many items of `PAYLOAD_BYTES` to send each way, where they are pickled at all.
    clock : Clock
        The watch.
    """
    if engine in ("pool", "threadpool"):
        return _pool(start_method, workers, cores, chunks, payloads, clock)
    return _own(start_method, workers, cores, chunks, payloads, clock)


def _started(arrivals_s: Sequence[float], cores: float) -> float:
    """When workers that arrived at these moments count as started (see the top of this page).

    Examples
    --------
    >>> _started([1.0, 3.0], cores=2), _started([1.0, 3.0], cores=1)
    (2.0, 3.0)
    """
    return max(arrivals_s) if len(arrivals_s) > cores else sum(arrivals_s) / len(arrivals_s)


# -- multiprocessing's pools -----------------------------------------------------------------------------------------


def _arrive(queue: Any) -> None:
    queue.put(None)


def _pool(start_method: str | None, workers: int, cores: float, chunks: int, payloads: int, clock: Clock) -> Lap:
    import multiprocessing.pool

    if start_method is None:
        from queue import SimpleQueue

        door: Any = SimpleQueue()
        make: Callable[..., Any] = multiprocessing.pool.ThreadPool
        payloads = 0
    else:
        context = multiprocessing.get_context(start_method)
        door = context.SimpleQueue()
        make = context.Pool
    wall = clock.wall
    began = wall()
    with make(workers, _arrive, (door,)) as pool:
        arrivals = []
        for _ in range(workers):
            door.get()
            arrivals.append(wall())
        asked = wall()
        pool.map(task, [NOTHING], 1)
        first_s = wall() - asked
        chunk_s = _timed(pool, [NOTHING] * chunks, wall) / chunks if chunks else 0.0
        out = back = 0.0
        if payloads:
            for item in (_blob(PAYLOAD_BYTES), PAYLOAD_BYTES):
                pool.map(task, [item] * workers, 1)  # workers make their blobs, buffers grow
            out = _timed(pool, [_blob(PAYLOAD_BYTES)] * payloads, wall) / payloads / PAYLOAD_BYTES
            back = _timed(pool, [PAYLOAD_BYTES] * payloads, wall) / payloads / PAYLOAD_BYTES
        left = wall()
    leaving_s = wall() - left
    pool.join()  # threads of a ThreadPool are told to go, and nobody waits for them
    if start_method is not None:
        door.close()
    return Lap(_started(arrivals, cores) - began + first_s + leaving_s, chunk_s, out, back)


def _timed(pool: Any, items: list[Any], wall: Callable[[], float]) -> float:
    began = wall()
    pool.map(task, items, 1)
    return wall() - began


# -- amorsize's own workers ------------------------------------------------------------------------------------------


def _own(start_method: str | None, workers: int, cores: float, chunks: int, payloads: int, clock: Clock) -> Lap:
    from amorsize.model.schedule import Done, Ready, Schedule
    from amorsize.run.drive import ProcessDriver
    from amorsize.run.outcome import Outcome
    from amorsize.run.source import source_of
    from amorsize.run.team import Team
    from amorsize.run.threads import ThreadDriver
    from amorsize.worker import Setup

    wall = clock.wall
    arrivals: list[float] = []
    ends: list[float] = []
    deep = workers > 1  # one worker alone shows how long it waits when no second chunk is in its pipe

    class Watched(Schedule):
        def handle(self, event: Event) -> list[Instruction]:
            if isinstance(event, Ready):
                arrivals.append(wall())
            elif isinstance(event, Done):
                ends.append(wall())
            return super().handle(event)

        def _learn(self, items: int, wall_s: float) -> None:
            """Keep the depth of the pipes as it is."""

    chunks = max(chunks, 2 * workers)
    items: list[Any] = [NOTHING] * chunks
    sends = payloads and start_method not in (None, "fork")
    gets = payloads and start_method is not None
    items += [_blob(PAYLOAD_BYTES)] * payloads if sends else []
    items += [PAYLOAD_BYTES] * payloads if gets else []
    schedule = Watched([(0, len(items))], workers, item_s=1e-6 if deep else 1.0, fixed=1)
    source, outcome = source_of(items), Outcome("raise")
    began = wall()
    if start_method is None:
        ThreadDriver(schedule, source, outcome, task).run()
    else:
        team = Team(Setup(task), items if start_method == "fork" else None, start_method, workers)
        ProcessDriver(schedule, team, source, outcome, None).run()
    outcome.finish()
    ended = wall()
    started = _started(arrivals, cores)
    begun = max(0, sum(end <= max(arrivals) for end in ends))  # while some still start, others work
    begun = min(begun, chunks - 2)
    chunk_s = (ends[chunks - 1] - ends[begun]) / (chunks - 1 - begun)
    out = back = 0.0
    at = chunks
    if sends:
        out = (ends[at + payloads - 1] - ends[at - 1]) / payloads / PAYLOAD_BYTES
        at += payloads
    if gets:
        back = (ends[at + payloads - 1] - ends[at - 1]) / payloads / PAYLOAD_BYTES
    return Lap(started - began + ended - ends[-1], chunk_s, out, back)
