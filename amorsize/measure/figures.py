"""A measured cost from raw figures, held against what is plausible.

Starting and leaving ``p`` workers is modelled as ``base_s + p * per_worker_s``: the line through the medians for one
worker and for many. A figure further than a factor of `amorsize.model.default_costs.PLAUSIBLE` from what other machines
showed has read noise: then the recorded one stands, and the cost says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final, NamedTuple

from amorsize.facts import BackendCost, ChannelCost, StartCost
from amorsize.frozen import replace
from amorsize.measure.laps import Lap
from amorsize.measure.timer import Timing, quantile, relative_spread
from amorsize.model.default_costs import BYTE_S, PLAUSIBLE, plausible, recorded

LEAST_SPREAD: Final = 0.05  # of starts: quiet machines repeat them within 5 %, and the next day is another day
CHUNK_SPREAD: Final = 0.1  # of what a chunk costs, at least
BUSY_SPREAD: Final = 0.5  # a spread of starts above it is worth a warning
MOST_PER_BYTE_S: Final = 100e-12  # of the caller's memory, per fork: 6-36 were seen


class Found(NamedTuple):
    """A measured cost, and what the first start in a process takes on top (forkserver: the server)."""

    cost: BackendCost
    cold_s: float = 0.0


class Channel(NamedTuple):
    """Raw figures of handing over work, as `ChannelCost` calls them."""

    per_chunk_s: float
    latency_s: float
    send_s_per_byte: float
    recv_s_per_byte: float
    spread: float = CHUNK_SPREAD


def channel_of(fulls: Sequence[Lap], lone: Lap, pickling: tuple[float, float]) -> Channel:
    """What laps told, with many workers and with a lone one; less ``pickling`` (seconds per byte, both ways)."""
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
    """Put a cost together from raw figures; what is not plausible is replaced by the recorded figure, and said.

    Parameters
    ----------
    engine, start_method : str, str or None
        Whose cost.
    workers : int
        How many ``many`` were; ``one`` is one.
    one, many : Timing
        Of starting and leaving.
    channel : Channel
        Of handing over work.
    per_caller_byte_s : float
        Of forking, per byte of the caller; 0: not measured.
    """
    known = recorded(engine, start_method)
    start, warnings = known.start, []
    if plausible(engine, start_method, workers, many.median_s):
        one_s = one.median_s if plausible(engine, start_method, 1, one.median_s) else many.median_s
        base_s, per_worker_s = fit(one_s, many.median_s, workers)
        spread = min(1.0, max(one.spread, many.spread, LEAST_SPREAD))
        start = StartCost(base_s=base_s, per_worker_s=per_worker_s, spread=spread)
        if spread > BUSY_SPREAD:
            warnings.append(f"starts differed by ±{spread:.0%} from one to the next: the machine is busy")
    else:
        warnings.append(f"starting {workers} workers seemed to take {many.median_s:.3g} s, which cannot be: recorded")
    if start_method == "fork":
        per_byte_s = _within(per_caller_byte_s, MOST_PER_BYTE_S, known.start.per_caller_byte_s)
        start = replace(start, per_caller_byte_s=per_byte_s)
    per_chunk_s = channel.per_chunk_s
    if not known.channel.per_chunk_s / PLAUSIBLE <= per_chunk_s <= known.channel.per_chunk_s * PLAUSIBLE:
        warnings.append(f"a chunk seemed to cost {per_chunk_s:.3g} s, which cannot be: recorded")
        per_chunk_s = known.channel.per_chunk_s
    return replace(
        known,
        start=start,
        channel=_channel(known.channel, per_chunk_s, channel),
        measured=True,
        warnings=tuple(warnings),
    )


def _channel(known: ChannelCost, per_chunk_s: float, found: Channel) -> ChannelCost:
    most = PLAUSIBLE * BYTE_S
    recv = _within(found.recv_s_per_byte, most, known.recv_s_per_byte)
    send = _within(found.send_s_per_byte, most, known.send_s_per_byte)
    return ChannelCost(
        per_chunk_s=per_chunk_s,
        send_s_per_byte=send,
        recv_s_per_byte=recv,
        # While a message is larger than the pipe, both ends are at it for as long as it takes.
        worker_s_per_byte=recv if known.inherits else (send + recv) / 2,
        latency_s=_within(found.latency_s, PLAUSIBLE * known.latency_s, known.latency_s),
        spread=found.spread,
        inherits=known.inherits,
    )


def _within(value: float, most: float, otherwise: float) -> float:
    """``value`` if it is above 0, but not above ``most``; ``otherwise`` if it was not measured or is not a number."""
    return min(value, most) if isfinite(value) and value > 0 else otherwise


def fit(one_s: float, many_s: float, workers: int) -> tuple[float, float]:
    """``base_s`` and ``per_worker_s``, neither below 0, from the times for one worker and for many.

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


def corrected(
    cost: BackendCost, workers: int, seen_start_s: float, weight: float = 0.3, *, caller_rss_bytes: int = 0
) -> BackendCost:
    """Move a start cost towards what a real run has shown, no further than is plausible.

    Parameters
    ----------
    cost : BackendCost
        What was believed.
    workers : int
        How many were started.
    seen_start_s : float
        What starting and leaving them took.
    weight : float
        Of what was seen: 0 changes nothing, 1 believes it wholly.
    caller_rss_bytes : int
        The caller's size, whose part of the start is left as it is.
    """
    start = cost.start
    memory_s = start.total_s(workers, caller_rss_bytes) - start.total_s(workers)
    expected = start.total_s(workers)
    usual = recorded(cost.engine, cost.start_method).start.total_s(workers)
    if not isfinite(seen_start_s) or seen_start_s <= 0 or workers < 1:
        return cost
    seen = min(max(seen_start_s - memory_s, usual / PLAUSIBLE), usual * PLAUSIBLE)
    wanted = expected + weight * (seen - expected)
    if expected <= 0:
        moved = replace(start, base_s=wanted)
    else:
        factor = wanted / expected
        off = min(1.0, abs(seen - expected) / expected)
        moved = replace(
            start,
            base_s=start.base_s * factor,
            per_worker_s=start.per_worker_s * factor,
            spread=max(LEAST_SPREAD, (1 - weight) * start.spread + weight * off),
        )
    return replace(cost, start=moved)
