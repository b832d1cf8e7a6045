"""One lap: start an engine's workers, send them tiny chunks and some bytes, and end them, all of it timed.

An engine is ``"pool"`` (``multiprocessing.Pool``), ``"team"`` (amorsize's own workers), ``"threadpool"``
(``multiprocessing.pool.ThreadPool``) or ``"threads"`` (amorsize's own). Each is driven as `optimize` and `execute`
drive it, so that the lap costs the same as a map.

Workers start one after the other. Counted from the mean of their moments of readiness, ``p`` of them finish work of W
seconds in ``W / p``; so that mean counts as the start. With more workers than cores, early workers share the cores with
those that still start and gain nothing, so that the last moment counts. (Not for threads: there are more of them than
cores only where they wait.)

Processes of a pool have settled when all compute at the same time. The system's scheduler may delay that: it woke two
workers on one core, and let them take turns of 1.4 ms there for up to 6 ms, while the other core was idle (Linux 6.18;
the more chunks, the more often, since each result wakes a thread of the caller). So the first map of a lap has
`BUSY_CHUNKS` items a worker that compute for `BUSY_S` each; its excess over that is reported apart.

A chunk's item keeps its worker busy for `SPIN_S`: with empty items the caller would be so busy that it never sleeps,
and the cost of waking up, which real chunks have, would not show (13 µs a chunk instead of 30 in a pool, 1 instead of
30 in a ``ThreadPool``).

Children import this module to find `task`, so it imports next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.system.clock import REAL, Clock, thread_cpu

if TYPE_CHECKING:
    from amorsize.schedule.messages import Event, Instruction

# guess
SPIN_S: Final = 50e-6
# CPU seconds of a `BUSY` item (a guess).
BUSY_S: Final = 1e-3
# Number of `BUSY` items for each worker (a guess).
BUSY_CHUNKS: Final = 4
# 16 pipefuls: so large that the fixed cost of a message does not show.
PAYLOAD_BYTES: Final = 1 << 20

# Kinds of items. A positive item asks for a result of that many bytes.
NOTHING, SPIN, YIELD, BUSY = 0, -1, -2, -3


class Lap(NamedTuple):
    """The costs found by one lap. Figures that were not asked for are 0.

    Attributes
    ----------
    start_s : float
        Until workers took items, plus the time to leave them.
    chunk_s : float
        CPU seconds of the caller for each chunk of one item.
    turn_s : float
        Wall seconds from the end of one chunk until the same worker began its next; with one worker only.
    out_s_per_byte, back_s_per_byte : float
        For large items, and for large results, with pickling.
    settle_s : float
        Until all started processes of a pool computed at the same time.
    """

    start_s: float
    chunk_s: float = 0.0
    turn_s: float = 0.0
    out_s_per_byte: float = 0.0
    back_s_per_byte: float = 0.0
    settle_s: float = 0.0


def task(item: Any) -> Any:
    """Run an item of a lap; the function of the workers."""
    if type(item) is not int:
        return None
    if item > 0:
        return _blob(item)
    if item == SPIN:
        until = time.perf_counter() + SPIN_S
        while time.perf_counter() < until:
            pass
    elif item == YIELD:
        time.sleep(0)
    elif item == BUSY:
        until = thread_cpu() + BUSY_S
        while thread_cpu() < until:
            pass
    return None


def _blob(size: int) -> bytes:
    blob = _blobs.get(size)
    if blob is None:
        # Touched memory: the kernel reads untouched pages at no cost.
        blob = _blobs[size] = b"\1" * size
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
    start_method : str or None
        None for threads.
    workers : int
        Number of workers to start.
    cores : float
        Number of them that can run at once.
    chunks : int
        Number of chunks of one short item to send.
    payloads : int
        Number of items of `PAYLOAD_BYTES` to send each way, if the engine pickles at all.
    clock : Clock
    """
    payloads = payloads if start_method is not None else 0
    drive = _pool if engine in ("pool", "threadpool") else _own
    return drive(start_method, workers, cores, chunks, payloads, clock)


def _started(arrivals_s: Sequence[float], cores: float) -> float:
    """Return the moment at which workers that were ready at these moments count as started (see the module).

    Examples
    --------
    >>> _started([1.0, 3.0], cores=2), _started([1.0, 3.0], cores=1)
    (2.0, 3.0)
    """
    return max(arrivals_s) if len(arrivals_s) > cores else sum(arrivals_s) / len(arrivals_s)


def _short(start_method: str | None) -> int:
    """Return the item of a short chunk. Threads must not use CPU time, since it would count as the caller's."""
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
            # Workers make their blobs, and buffers grow.
            _watch_map(pool, [blob, PAYLOAD_BYTES] * workers, clock)
            out_s, _ = _watch_map(pool, [blob] * payloads, clock)
            back_s, _ = _watch_map(pool, [PAYLOAD_BYTES] * payloads, clock)
        left = wall()
    leaving_s = wall() - left
    # The end of the block tells threads of a ThreadPool to end, but does not wait for them.
    pool.join()
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
    """Return by how much the first map of computing processes exceeds their computing."""
    took_s, _ = _watch_map(pool, [BUSY] * (BUSY_CHUNKS * workers), clock)
    return max(0.0, took_s - BUSY_CHUNKS * BUSY_S * max(1.0, workers / cores))


def _watch_map(pool: Any, items: list[Any], clock: Clock) -> tuple[float, float]:
    """Return wall time and the caller's CPU time of a map, in chunks of one."""
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

    # Wall and CPU time when all were ready, and at each chunk's end.
    marks: list[tuple[float, float]] = []
    arrivals: list[float] = []
    # A lone worker shows how long it waits for its next chunk: none may be in its pipe already, and the schedule sends
    # none ahead where chunks take long.
    told_s = 1.0 if workers == 1 else SPIN_S

    class Watched(Schedule):
        """Notes the times of events; the schedule hears of the workers once all are ready, and of equal chunks."""

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
