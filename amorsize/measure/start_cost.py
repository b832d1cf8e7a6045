"""The cost of an engine on this machine, measured by some laps and some forks.

Laps run with one worker and with one per core (at most `MOST_WORKERS`); the cost of starting ``p`` workers is the line
through the medians of both, ``base_s + p * per_worker_s``, and a part of ``base_s`` is the workers' boot (`apart`). A
figure that differs from the recorded one by more than a factor of `amorsize.model.default_costs.PLAUSIBLE`, and from
round to round, is noise: the recorded one is taken, with a warning.

Forking also copies the page tables of the caller. The cost of a byte of touched memory is measured on bare forks, with
and without a ballast. Memory in huge pages, as numpy requests for large arrays, costs next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import ceil, isfinite
from typing import Final, NamedTuple, Protocol

from amorsize.facts import BackendCost, ChannelCost, StartCost
from amorsize.frozen import replace
from amorsize.measure.cost_cache import Found
from amorsize.measure.laps import PAYLOAD_BYTES, Lap, lap
from amorsize.measure.timer import LEAST, UNKNOWN, Timing, quantile, relative_spread, steady, timed
from amorsize.model.default_costs import BYTE_S, PLAUSIBLE, plausible, recorded
from amorsize.model.starts import LEAST_SPREAD
from amorsize.system.clock import REAL, Clock
from amorsize.system.memory import resident_bytes

# Beyond it the line is extended; more workers would not fit into 0.3 s.
MOST_WORKERS: Final = 8
# Number of chunks in the first lap, which take 5-10 ms.
CHUNKS: Final = 200
# Number of chunks in each later lap, because the cores that the caller shares differ from lap to lap (a guess).
CHUNKS_AGAIN: Final = 100
# Number of chunks for a lone worker, which is slow (a guess).
LONE_CHUNKS: Final = 60
# guess
PAYLOADS: Final = 4

# 4,096 page table entries: 0.1-0.6 ms more for each fork.
BALLAST_BYTES: Final = 16 << 20

# guess: least spread of the cost of a chunk
CHUNK_SPREAD: Final = 0.1
# A larger spread of starts causes a warning (a guess).
BUSY_SPREAD: Final = 0.5
# Per byte of the caller's memory and fork: 6-36 ps were seen.
MOST_PER_BYTE_S: Final = 100e-12


class Channel(NamedTuple):
    """Raw figures of sending work, named as in `ChannelCost`."""

    per_chunk_s: float
    latency_s: float
    send_s_per_byte: float
    recv_s_per_byte: float
    spread: float = CHUNK_SPREAD


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
    """Return how many workers the larger laps start.

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
        As in `amorsize.facts.BackendCost`.
    cores : float
        Number of usable cores.
    budget_s : float
        Seconds for all of it; one lap with one worker and one with more always run.
    clock : Clock
    run : callable
        Runs a lap.

    Raises
    ------
    Exception
        If this engine cannot start here.
    """
    # There may be far more threads than cores: from 1 and 2, the line gave 2 to 30 ms for 20.
    many = team_size(cores) if start_method is not None else MOST_WORKERS
    fulls: list[Lap] = []

    def start_many() -> float:
        chunks, payloads = (CHUNKS_AGAIN, 0) if fulls else (CHUNKS, PAYLOADS)
        fulls.append(run(engine, start_method, many, cores=cores, chunks=chunks, payloads=payloads, clock=clock))
        return fulls[-1].start_s

    def start_one() -> float:
        return run(engine, start_method, 1, cores=cores, clock=clock).start_s

    if start_method is None:
        # Loads the engine's modules, which is no part of a start's cost.
        start_one()
    began = clock.wall()
    # The larger team first: the very first lap of processes shows the excess of a cold start.
    start_many()
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
    """Return a start from a caller without memory: the forecast adds the cost of the caller's memory."""
    return timing._replace(median_s=max(timing.median_s - memory_s, timing.median_s / 2))


def pickling_s_per_byte(clock: Clock = REAL) -> tuple[float, float]:
    """Return the seconds per byte to pickle and to unpickle a payload, which is little more than a copy."""
    import pickle

    blob = b"\1" * PAYLOAD_BYTES
    pickled = pickle.dumps(blob)
    dump, load = steady([timed(lambda: pickle.dumps(blob), clock), timed(lambda: pickle.loads(pickled), clock)], 5e-3)
    return dump.median_s / PAYLOAD_BYTES, load.median_s / PAYLOAD_BYTES


def fork_byte_s(side_by_side: float = 1.0, clock: Clock = REAL) -> float:
    """Return the seconds that each byte of memory adds to a fork and to its child's end.

    The caller forks one child after the other, but children end in parallel on all cores.
    """
    import mmap

    plain = _fork_s(side_by_side, clock)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, BALLAST_BYTES, flags=flags) as ballast:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            try:
                ballast.madvise(mmap.MADV_NOHUGEPAGE)
            except OSError:
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


# -- from raw figures to a cost --------------------------------------------------------------------------------------


def channel_of(fulls: Sequence[Lap], lone: Lap, pickling: tuple[float, float]) -> Channel:
    """Return the channel from laps with many workers and a lone one; less ``pickling`` (seconds per byte)."""
    dump_s, load_s = pickling
    chunks = [full.chunk_s for full in fulls]
    return Channel(
        per_chunk_s=quantile(chunks, 0.5),
        latency_s=lone.turn_s,
        send_s_per_byte=max(0.0, fulls[0].out_s_per_byte - dump_s),
        recv_s_per_byte=max(0.0, fulls[0].back_s_per_byte - load_s),
        spread=min(1.0, max(CHUNK_SPREAD, relative_spread(chunks))),
    )


def assemble(
    engine: str,
    start_method: str | None,
    workers: int,
    one: Timing,
    many: Timing,
    channel: Channel,
    per_caller_byte_s: float,
) -> BackendCost:
    """Return the cost from raw figures; an implausible one is replaced by the recorded figure, with a warning.

    Parameters
    ----------
    engine, start_method : str, str or None
    workers : int
        Number of workers of ``many``.
    one, many : Timing
        Starting and leaving one worker, and many.
    channel : Channel
    per_caller_byte_s : float
        Cost of forking per byte of the caller; 0: not measured.
    """
    known = recorded(engine, start_method)
    start, warnings = known.start, []
    if _is_true(engine, start_method, workers, many):
        one_s = one.median_s if _is_true(engine, start_method, 1, one) else many.median_s
        base_s, per_worker_s = fit(one_s, many.median_s, workers)
        spread = min(1.0, max(one.spread, many.spread, LEAST_SPREAD))
        start = apart(StartCost(base_s=base_s, per_worker_s=per_worker_s, spread=spread), known.start)
        if spread > BUSY_SPREAD:
            warnings.append(f"starts differed by ±{spread:.0%} from one to the next: the machine is busy")
    else:
        took = f"{workers} workers were measured to start in {many.median_s:.3g} s"
        warnings.append(f"{took}, far from what is usual: the recorded cost is used instead")
    if start_method == "fork":
        per_byte_s = _within(per_caller_byte_s, MOST_PER_BYTE_S, known.start.per_caller_byte_s)
        start = replace(start, per_caller_byte_s=per_byte_s)
    per_chunk_s = channel.per_chunk_s
    if not known.channel.per_chunk_s / PLAUSIBLE <= per_chunk_s <= known.channel.per_chunk_s * PLAUSIBLE:
        took = f"a chunk was measured to cost {per_chunk_s:.3g} s"
        warnings.append(f"{took}, far from what is usual: the recorded cost is used instead")
        per_chunk_s = known.channel.per_chunk_s
    return replace(
        known,
        start=start,
        channel=_channel(known.channel, per_chunk_s, channel),
        measured=True,
        warnings=tuple(warnings),
    )


def _is_true(engine: str, start_method: str | None, workers: int, timing: Timing) -> bool:
    """Return True if a start is plausible, or farther off (up to the square) in every round: a slow sandbox."""
    is_steady = timing.rounds >= LEAST and timing.spread <= BUSY_SPREAD
    factor = PLAUSIBLE**2 if is_steady else PLAUSIBLE
    return plausible(engine, start_method, workers, timing.median_s, factor)


def _channel(known: ChannelCost, per_chunk_s: float, found: Channel) -> ChannelCost:
    most = PLAUSIBLE * BYTE_S
    recv = _within(found.recv_s_per_byte, most, known.recv_s_per_byte)
    send = _within(found.send_s_per_byte, most, known.send_s_per_byte)
    return ChannelCost(
        per_chunk_s=per_chunk_s,
        send_s_per_byte=send,
        recv_s_per_byte=recv,
        # A message larger than the pipe keeps both ends busy until it has passed.
        worker_s_per_byte=recv if known.inherits else (send + recv) / 2,
        latency_s=_within(found.latency_s, PLAUSIBLE * known.latency_s, known.latency_s),
        spread=found.spread,
        inherits=known.inherits,
    )


def _within(value: float, most: float, otherwise: float) -> float:
    """Return ``value`` if above 0, but at most ``most``; ``otherwise`` if it was not measured or is not finite."""
    return min(value, most) if isfinite(value) and value > 0 else otherwise


def apart(start: StartCost, known: StartCost) -> StartCost:
    """Return the start with the workers' boot apart from the caller's part, in the proportion of a known start.

    Starts of one and of as many workers as cores differ by the caller's serial part alone: all boot at the same time.
    """
    both_s = known.base_s + known.boot_s
    boot_s = start.base_s * known.boot_s / both_s if both_s > 0 else 0.0
    return replace(start, base_s=start.base_s - boot_s, boot_s=boot_s)


def fit(one_s: float, many_s: float, workers: int) -> tuple[float, float]:
    """Fit ``base_s`` and ``per_worker_s``, neither below 0, to the times for one worker and for many.

    Examples
    --------
    >>> fit(2.0, 3.0, 3), fit(3.0, 2.0, 2), fit(1.0, 4.0, 2)
    ((1.5, 0.5), (2.5, 0.0), (0.0, 2.0))
    """
    slope = (many_s - one_s) / (workers - 1)
    if slope <= 0:
        return (one_s + many_s) / 2, 0.0
    if one_s < slope:
        return 0.0, many_s / workers
    return one_s - slope, slope
