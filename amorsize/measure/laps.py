"""One lap: start an engine's workers, hand them chunks of almost nothing and some bytes, and leave, watch in hand.

An engine is ``"pool"`` (``multiprocessing.Pool``), ``"team"`` (amorsize's own workers), ``"threadpool"``
(``multiprocessing.pool.ThreadPool``) or ``"threads"`` (amorsize's own). Each is driven as `optimize` and `execute`
drive it, so that what is measured is what they will pay.

Workers start one after the other. From the mean of the moments at which they take items, ``p`` of them finish work of
W seconds in ``W / p``; so that mean counts as the start. Where there are more workers than cores, those that are up
share the cores with those that still start, nothing is gained by being early, and the last one's moment counts. (Not so
threads: there are more of them than cores only where they wait.)

Processes of a pool are up when all compute side by side, which the system's scheduler may take a while to see to: it
woke both of two workers on one core, and let them take turns of 1.4 ms there for up to 6 ms, while the other core was
idle (Linux 6.18; more often the more chunks there were, since each result wakes a thread of the caller). So the first
map of a lap is of `BUSY_CHUNKS` items a worker that compute for `BUSY_S` each; what it takes beyond that is told apart.

A chunk's item keeps its worker busy for `SPIN_S`: handing out empty items keeps the caller so busy that it never
sleeps, and the waking up, which real chunks pay for, would not show (13 µs a chunk instead of 30 in a pool, 1 instead
of 30 in a ``ThreadPool``).

Children import this module to find `task`, so it imports next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.system.clock import REAL, Clock

if TYPE_CHECKING:
    from amorsize.schedule.messages import Event, Instruction

SPIN_S: Final = 50e-6
BUSY_S: Final = 1e-3  # of CPU time
BUSY_CHUNKS: Final = 4  # for each worker
PAYLOAD_BYTES: Final = 1 << 20  # 16 pipefuls: large enough that what a message costs in itself does not show

NOTHING, SPIN, YIELD, BUSY = 0, -1, -2, -3  # items; a positive one asks for a result of so many bytes


class Lap(NamedTuple):
    """What one lap took. What was not asked for is 0.

    Attributes
    ----------
    start_s : float
        From the beginning until workers took items, plus what leaving them took.
    chunk_s : float
        CPU seconds of the caller for each chunk of one item.
    turn_s : float
        Wall seconds from the end of one chunk until the same worker was at its next; with one worker only.
    out_s_per_byte, back_s_per_byte : float
        For large items, and for large results, with pickling.
    settle_s : float
        Until processes of a pool that were up computed side by side.
    """

    start_s: float
    chunk_s: float = 0.0
    turn_s: float = 0.0
    out_s_per_byte: float = 0.0
    back_s_per_byte: float = 0.0
    settle_s: float = 0.0


def task(item: Any) -> Any:
    """What workers run."""
    if type(item) is not int:
        return None  # a payload: it is here, that is all
    if item > 0:
        return _blob(item)
    if item == SPIN:
        until = time.perf_counter() + SPIN_S
        while time.perf_counter() < until:
            pass
    elif item == YIELD:
        time.sleep(0)
    elif item == BUSY:
        until = time.thread_time() + BUSY_S
        while time.thread_time() < until:
            pass
    return None


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
        How many chunks of one short item to hand out.
    payloads : int
        How many items of `PAYLOAD_BYTES` to send each way, where they are pickled at all.
    clock : Clock
        The watch.
    """
    payloads = payloads if start_method is not None else 0
    drive = _pool if engine in ("pool", "threadpool") else _own
    return drive(start_method, workers, cores, chunks, payloads, clock)


def _started(arrivals_s: Sequence[float], cores: float) -> float:
    """When workers that arrived at these moments count as started (see the top of this page).

    Examples
    --------
    >>> _started([1.0, 3.0], cores=2), _started([1.0, 3.0], cores=1)
    (2.0, 3.0)
    """
    return max(arrivals_s) if len(arrivals_s) > cores else sum(arrivals_s) / len(arrivals_s)


def _short(start_method: str | None) -> int:
    """The item of a short chunk. In threads it may not use CPU time, which there is the caller's too."""
    return YIELD if start_method is None else SPIN


def _turn(wall_s: float, workers: int, start_method: str | None) -> float:
    return max(0.0, wall_s - (SPIN_S if start_method is not None else 0.0)) if workers == 1 else 0.0


# -- multiprocessing's pools -----------------------------------------------------------------------------------------


def _arrive(door: Any) -> None:
    door.put(None)


def _pool(start_method: str | None, workers: int, cores: float, chunks: int, payloads: int, clock: Clock) -> Lap:
    import multiprocessing.pool

    make: Callable[..., Any]
    door: Any
    if start_method is None:
        from queue import SimpleQueue

        make, door = multiprocessing.pool.ThreadPool, SimpleQueue()
    else:
        context = multiprocessing.get_context(start_method)
        make, door = context.Pool, context.SimpleQueue()
    wall = clock.wall
    began = wall()
    with make(workers, _arrive, (door,)) as pool:
        arrivals = []
        for _ in range(workers):
            door.get()
            arrivals.append(wall())
        settle_s = _settle(pool, workers, cores, clock) if start_method is not None and workers > 1 else 0.0
        first_s, _ = _watch_map(pool, [NOTHING], clock)
        chunk = _watch_map(pool, [_short(start_method)] * chunks, clock)
        out_s = back_s = 0.0
        if payloads:
            blob = _blob(PAYLOAD_BYTES)
            _watch_map(pool, [blob, PAYLOAD_BYTES] * workers, clock)  # workers make their blobs, buffers grow
            out_s, _ = _watch_map(pool, [blob] * payloads, clock)
            back_s, _ = _watch_map(pool, [PAYLOAD_BYTES] * payloads, clock)
        left = wall()
    leaving_s = wall() - left
    pool.join()  # threads of a ThreadPool have been told to go, but nobody has waited for them
    if start_method is not None:
        door.close()
    moved = max(1, payloads) * PAYLOAD_BYTES
    return Lap(
        start_s=_started(arrivals, cores if start_method is not None else workers) - began + first_s + leaving_s,
        chunk_s=chunk[1] / max(1, chunks),
        turn_s=_turn(chunk[0] / chunks, workers, start_method) if chunks else 0.0,
        out_s_per_byte=out_s / moved,
        back_s_per_byte=back_s / moved,
        settle_s=settle_s,
    )


def _settle(pool: Any, workers: int, cores: float, clock: Clock) -> float:
    """What the first map of processes that compute takes beyond their computing."""
    took_s, _ = _watch_map(pool, [BUSY] * (BUSY_CHUNKS * workers), clock)
    return max(0.0, took_s - BUSY_CHUNKS * BUSY_S * max(1.0, workers / cores))


def _watch_map(pool: Any, items: list[Any], clock: Clock) -> tuple[float, float]:
    """Wall time and the caller's CPU time of a map, in chunks of one."""
    if not items:
        return 0.0, 0.0
    wall, cpu = clock.wall(), clock.process_cpu()
    pool.map(task, items, 1)
    return clock.wall() - wall, clock.process_cpu() - cpu


# -- amorsize's own workers ------------------------------------------------------------------------------------------


def _own(start_method: str | None, workers: int, cores: float, chunks: int, payloads: int, clock: Clock) -> Lap:
    from amorsize.backends.processes import ProcessDriver
    from amorsize.backends.results import Outcome
    from amorsize.backends.source import source_of
    from amorsize.backends.threads import ThreadDriver
    from amorsize.backends.workers.child import Setup
    from amorsize.backends.workers.team import Team
    from amorsize.schedule.messages import Done, Lost, Ready
    from amorsize.schedule.schedule import Schedule

    marks: list[tuple[float, float]] = []  # wall and CPU when all were ready, and at each chunk's end
    arrivals: list[float] = []
    # One worker alone is to show how long it waits for its next chunk: none may lie in its pipe already, and none does
    # where chunks take long.
    told_s = 1.0 if workers == 1 else SPIN_S

    class Watched(Schedule):
        """Looks at the watch; is told of the workers when all are ready, and of chunks that all take equally long."""

        def handle(self, event: Event, now_s: float = 0.0) -> list[Instruction]:
            match event:
                case Done():
                    marks.append((clock.wall(), clock.process_cpu()))
                    return super().handle(event._replace(wall_s=told_s), now_s)
                case Ready():
                    arrivals.append(clock.wall())
                    if len(arrivals) < workers:
                        return []
                    marks.append((clock.wall(), clock.process_cpu()))
                    instructions: list[Instruction] = []
                    for number in range(workers):
                        instructions += super().handle(Ready(number), now_s)
                    return instructions
                case Lost():
                    raise ChildProcessError("a worker ended while it was measured")
            return super().handle(event, now_s)

    inherits = start_method == "fork"
    short = max(chunks, workers)
    sends = 0 if inherits else payloads
    items = [_short(start_method)] * short + [_blob(PAYLOAD_BYTES)] * sends + [PAYLOAD_BYTES] * payloads
    schedule = Watched([(0, len(items))], workers, item_s=told_s, fixed=1)
    source, outcome = source_of(items), Outcome("raise")
    began = clock.wall()
    if start_method is None:
        ThreadDriver(schedule, source, outcome, task).run()
    else:
        team = Team(Setup(task), items if inherits else None, start_method, keep_warm=False)
        ProcessDriver(schedule, team, source, outcome, None).run()
    ended = clock.wall()
    outcome.finish()
    chunk_wall_s, chunk_s = ((marks[short][k] - marks[0][k]) / short for k in (0, 1))
    moved = max(1, payloads) * PAYLOAD_BYTES
    return Lap(
        start_s=_started(arrivals, cores if start_method is not None else workers) - began + ended - marks[-1][0],
        chunk_s=chunk_s if chunks else 0.0,
        turn_s=_turn(chunk_wall_s, workers, start_method) if chunks else 0.0,
        out_s_per_byte=(marks[short + sends][0] - marks[short][0]) / moved,
        back_s_per_byte=(marks[-1][0] - marks[short + sends][0]) / moved,
    )
