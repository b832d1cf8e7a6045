"""Choose the number of items in the next chunk: smaller towards the end, and limited by the evidence.

Three upper bounds, of which the smallest holds:

- **factoring** (Flynn Hummel, Schonberg & Flynn 1992): each round sends half of the remaining items, so a chunk holds
  ``ceil(remaining / (2 p))`` of them for ``p`` workers. The last chunks are then small enough to even out differences
  between the workers;
- **time**: no chunk is expected to take longer than `target_chunk_s`. Longer ones save nothing (sending costs some
  50 µs a chunk) and delay progress, errors and corrections;
- **evidence**: at most twice the items of the largest chunk that has ended, so that slow items after a fast prefix
  cannot all be sent in one huge chunk.

Lower bound: a chunk holds work of `MIN_CHUNKS` times the cost of sending it, if the evidence allows that.

Where the answer to a chunk takes long (a cluster), items that are expected to take no longer than that go out together
without evidence: to wait for it would cost as much as they may. There the last chunks, too, take half as long as an
answer: smaller ones would delay the end. Chunks are longer there, since each costs other programs time, too: the
transport, and a scheduler on the caller's machine.
"""

from __future__ import annotations

from math import ceil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The caller's cost per chunk sent, 40-50 µs.
PER_CHUNK_S: Final = 50e-6
# Sending a chunk of that many times its cost takes 5 % of the work.
MIN_CHUNKS: Final = 20
MIN_CHUNK_S: Final = MIN_CHUNKS * PER_CHUNK_S
# Progress is never older. Where workers use all cores, each answer interrupts an item: 2,000 items of 1 ms on two cores
# took 1.066 times as long as by a Pool with 30 ms, 1.056 with 60 and 1.053 with 100 (medians of 11 turns).
TARGET_CHUNK_S: Final = 60e-3
# Share of the caller's time that may go into sending chunks, for any number of workers.
# guess
DISPATCHER_SHARE: Final = 0.1
# The same where answers take long: an engine's own processes need several times the caller's time. 4,000 items of 1 ms
# on Parsl: 2.32 s with 0.05, 2.10 with 0.03, 2.02 with 0.02, and 1.98 in batches of 100 by hand (medians of 7 turns).
CLUSTER_SHARE: Final = 0.02
# Below it a worker's wait for its next chunk (60-100 µs) would take 3-5 % of the time or more.
DEEP_CHUNK_S: Final = 2e-3


def target_chunk_s(workers: int, per_chunk_s: float, round_trip_s: float = 0.0) -> float:
    """Return the longest worthwhile chunk in seconds: it grows with the number of workers that one caller serves.

    Examples
    --------
    >>> target_chunk_s(2, 50e-6)
    0.06
    >>> round(target_chunk_s(256, 50e-6), 3)
    0.128
    """
    share = CLUSTER_SHARE if round_trip_s > 0 else DISPATCHER_SHARE
    return max(TARGET_CHUNK_S, workers * per_chunk_s / share)


def longest_s(workers: int, per_chunk_s: float, round_trip_s: float) -> float:
    """Return the seconds that a chunk is meant to take at most.

    Examples
    --------
    >>> longest_s(2, 50e-6, 0.0), longest_s(2, 50e-6, 0.1)
    (0.06, 0.1)
    """
    return max(target_chunk_s(workers, per_chunk_s, round_trip_s), round_trip_s)


def next_chunk(
    remaining: int | None,
    workers: int,
    item_s: float,
    evidence: int,
    per_chunk_s: float = PER_CHUNK_S,
    round_trip_s: float = 0.0,
) -> int:
    """Return the number of items for the next chunk, at least 1.

    Parameters
    ----------
    remaining : int or None
        Items never sent; None if unknown.
    workers : int
        Workers that share them.
    item_s : float
        Expected seconds per item; 0 if unknown.
    evidence : int
        Items in the largest chunk that has ended.
    per_chunk_s : float
        The caller's cost per chunk, in seconds.
    round_trip_s : float
        Seconds from sending a chunk to its answer, beside its work.

    Examples
    --------
    >>> next_chunk(1000, 2, 1e-3, evidence=100), next_chunk(8, 2, 1e-3, evidence=100), next_chunk(3, 2, 0.3, 1)
    (60, 2, 1)
    """
    if item_s <= 0:
        return max(1, min(evidence, remaining if remaining is not None else evidence))
    most = min(target_chunk_s(workers, per_chunk_s, round_trip_s) / item_s, max(2 * evidence, round_trip_s / item_s))
    if remaining is None:
        return max(1, int(most))
    least = min(max(MIN_CHUNK_S, MIN_CHUNKS * per_chunk_s) / item_s, remaining / workers)
    if round_trip_s > 0:
        least = max(least, per_chunk_s / item_s, round_trip_s / 2 / item_s)
    return max(1, min(ceil(min(max(remaining / (2 * workers), least), most)), remaining))


def depth(chunk_s: float) -> int:
    """Return the number of chunks in flight per worker.

    A second chunk hides the wait between short ones; behind a long one it would only be delayed.

    Examples
    --------
    >>> depth(1e-4), depth(1.0)
    (2, 1)
    """
    return 2 if chunk_s < DEEP_CHUNK_S else 1
