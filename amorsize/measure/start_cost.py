"""What an engine costs here: some laps of it, and some forks.

Laps are run with one worker and with as many as there are cores (at most `MOST_WORKERS`); `amorsize.measure.figures`
draws the line through them.

Forking also copies the page tables of the caller. What a byte of touched memory adds is measured on bare forks, with
and without a ballast. Memory in huge pages, as numpy asks for with large arrays, costs next to nothing.
"""

from __future__ import annotations

import os
from math import ceil
from typing import Final, Protocol

from amorsize.frozen import replace
from amorsize.measure.figures import Found, assemble, channel_of
from amorsize.measure.laps import PAYLOAD_BYTES, Lap, lap
from amorsize.measure.timer import UNKNOWN, Timing, quantile, steady, timed
from amorsize.system.clock import REAL, Clock
from amorsize.system.memory import resident_bytes

MOST_WORKERS: Final = 8  # beyond it the line is drawn on; more would not fit into 0.3 s
CHUNKS: Final = 200  # 5-10 ms
CHUNKS_AGAIN: Final = 100  # in each later lap: which core the caller shares with whom differs from lap to lap
LONE_CHUNKS: Final = 60  # a lone worker is slow
PAYLOADS: Final = 4

BALLAST_BYTES: Final = 16 << 20  # 4,096 page table entries: 0.1-0.6 ms more for each fork


class RunLap(Protocol):
    """`laps.lap`, or a test's stand-in."""

    def __call__(
        self,
        engine: str,
        start_method: str | None,
        workers: int,
        *,
        cores: float,
        chunks: int = 0,
        payloads: int = 0,
        clock: Clock = REAL,
    ) -> Lap:
        """Run one lap."""


def team_size(cores: float) -> int:
    """How many workers the larger laps start.

    Examples
    --------
    >>> team_size(0.5), team_size(2.5), team_size(64)
    (2, 3, 8)
    """
    return max(2, min(ceil(cores), MOST_WORKERS))


def measure(
    engine: str,
    start_method: str | None,
    cores: float,
    budget_s: float,
    *,
    clock: Clock = REAL,
    run: RunLap = lap,
) -> Found:
    """Measure an engine in this process.

    Parameters
    ----------
    engine, start_method : str, str or None
        What to measure, as in `amorsize.facts.BackendCost`.
    cores : float
        How many cores there are to use.
    budget_s : float
        Seconds for all of it; one lap with one worker and one with more are always made.
    clock : Clock
        The watch.
    run : callable
        Runs a lap.

    Raises
    ------
    Exception
        Whatever keeps this engine from starting here.
    """
    # Of threads there may be far more than cores: with 1 and 2 the line to 20 was anything from 2 to 30 ms.
    many = team_size(cores) if start_method is not None else MOST_WORKERS
    fulls: list[Lap] = []

    def start_many() -> float:
        chunks, payloads = (CHUNKS_AGAIN, 0) if fulls else (CHUNKS, PAYLOADS)
        fulls.append(run(engine, start_method, many, cores=cores, chunks=chunks, payloads=payloads, clock=clock))
        return fulls[-1].start_s

    def start_one() -> float:
        return run(engine, start_method, 1, cores=cores, clock=clock).start_s

    if start_method is None:
        start_one()  # imports what the engine needs: no part of what a start costs
    began = clock.wall()
    start_many()  # the larger team first: the very first lap of processes finds out what a cold start adds
    lone = run(engine, start_method, 1, cores=cores, chunks=LONE_CHUNKS, clock=clock)
    per_byte_s = fork_byte_s(min(2.0, cores), clock) if start_method == "fork" else 0.0
    pickling = pickling_s_per_byte(clock) if fulls[0].back_s_per_byte > 0 else (0.0, 0.0)
    left_s = began + budget_s - clock.wall()
    if left_s > fulls[0].start_s + lone.start_s:
        of_many, of_one = steady([start_many, start_one], left_s, warm_up=0, clock=clock)
    else:
        of_many, of_one = (Timing(one.start_s, UNKNOWN, 1, False) for one in (fulls[0], lone))
    held_s = per_byte_s * resident_bytes()
    cost = assemble(
        engine,
        start_method,
        many,
        _without(held_s, of_one),
        _without(many * held_s, of_many),
        channel_of(fulls, lone, pickling),
        per_byte_s,
    )
    settle_s = quantile([full.settle_s for full in fulls], 0.5)
    cost = replace(cost, start=replace(cost.start, settle_s=settle_s))
    cold_s = max(0.0, fulls[0].start_s - of_many.median_s) if start_method in ("forkserver", "spawn") else 0.0
    return Found(cost, cold_s)


def _without(memory_s: float, timing: Timing) -> Timing:
    """A start as it would be from a caller that holds nothing: the caller's memory is added by whoever forecasts."""
    return timing._replace(median_s=max(timing.median_s - memory_s, timing.median_s / 2))


def pickling_s_per_byte(clock: Clock = REAL) -> tuple[float, float]:
    """Seconds per byte to pickle and to unpickle a payload, which is little more than a copy."""
    import pickle

    blob = b"\1" * PAYLOAD_BYTES
    pickled = pickle.dumps(blob)
    dump, load = steady([timed(lambda: pickle.dumps(blob), clock), timed(lambda: pickle.loads(pickled), clock)], 5e-3)
    return dump.median_s / PAYLOAD_BYTES, load.median_s / PAYLOAD_BYTES


def fork_byte_s(side_by_side: float = 1.0, clock: Clock = REAL) -> float:
    """Seconds that each byte of memory adds to a fork and to its child's end.

    Forks follow one another in the caller, but children end side by side on as many cores as there are.
    """
    import mmap

    plain = _fork_s(side_by_side, clock)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, BALLAST_BYTES, flags=flags) as ballast:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            try:
                ballast.madvise(mmap.MADV_NOHUGEPAGE)
            except OSError:  # a kernel without huge pages
                pass
        for at in range(0, BALLAST_BYTES, mmap.PAGESIZE):
            ballast[at] = 1
        return max(0.0, _fork_s(side_by_side, clock) - plain) / BALLAST_BYTES


def _fork_s(side_by_side: float, clock: Clock) -> float:
    def fork() -> float:
        began = clock.wall()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        forked = clock.wall()
        os.waitpid(pid, 0)
        return forked - began + (clock.wall() - forked) / max(1.0, side_by_side)

    (timing,) = steady([fork], 15e-3, warm_up=2, clock=clock)
    return timing.median_s
