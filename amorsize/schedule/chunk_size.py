"""How many items the next chunk holds: shrinking towards the end, and no larger than the evidence carries.

Three bounds, the least of which counts:

- **factoring** (Flynn Hummel, Schonberg & Flynn 1992): each round hands out half of what is left, so a worker takes
  ``ceil(remaining / (2 p))``, and the last chunks are small enough to level out what the first ones got wrong;
- **time**: no chunk is expected to take longer than `target_chunk_s`. Longer ones save nothing (dispatching costs
  some 50 µs a chunk) and hold back news, errors and corrections;
- **evidence**: at most twice the items of the largest chunk seen to end, so that a fast prefix followed by slow items
  cannot end up in one huge batch.

From below a chunk is worth `MIN_CHUNK_S` of work, as far as the evidence carries that.
"""

from __future__ import annotations

from math import ceil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MIN_CHUNK_S: Final = 1e-3  # twenty times the cost of dispatching a chunk (40-50 µs)
TARGET_CHUNK_S: Final = 30e-3  # dispatching 50 µs each is then nothing, and news is never older than this
DISPATCHER_SHARE: Final = 0.1  # of the one dispatcher's time may go into chunks, however many workers ask
DEEP_CHUNK_S: Final = 2e-3  # below it a worker's wait for its next chunk (60-100 µs) would show


def target_chunk_s(workers: int, per_chunk_s: float) -> float:
    """Longest worthwhile chunk in seconds: grows with the number of workers that share one dispatcher.

    Examples
    --------
    >>> target_chunk_s(2, 50e-6)
    0.03
    >>> round(target_chunk_s(64, 50e-6), 3)
    0.032
    """
    return max(TARGET_CHUNK_S, workers * per_chunk_s / DISPATCHER_SHARE)


def next_chunk(remaining: int | None, workers: int, item_s: float, evidence: int, per_chunk_s: float = 50e-6) -> int:
    """Number of items for the next chunk, at least 1.

    Parameters
    ----------
    remaining : int or None
        Items not handed out yet; None when nobody knows.
    workers : int
        Workers that share them.
    item_s : float
        Expected seconds per item; 0 when nothing is known.
    evidence : int
        Items in the largest chunk seen to end.
    per_chunk_s : float
        The dispatcher's cost per chunk, in seconds.

    Examples
    --------
    >>> next_chunk(1000, 2, 1e-3, evidence=100), next_chunk(8, 2, 1e-3, evidence=100), next_chunk(3, 2, 0.3, 1)
    (30, 2, 1)
    """
    if item_s <= 0:
        return max(1, min(evidence, remaining if remaining is not None else evidence))
    most = min(target_chunk_s(workers, per_chunk_s) / item_s, 2 * evidence)
    if remaining is None:
        return max(1, int(most))
    least = min(MIN_CHUNK_S / item_s, remaining / workers)
    return max(1, min(ceil(min(max(remaining / (2 * workers), least), most)), remaining))


def depth(chunk_s: float) -> int:
    """Chunks in flight per worker: a second one hides the wait for short chunks, and would be stuck behind long ones.

    Examples
    --------
    >>> depth(1e-4), depth(1.0)
    (2, 1)
    """
    return 2 if chunk_s < DEEP_CHUNK_S else 1
