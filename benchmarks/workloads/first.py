"""The twenty-two rows of first calls (`benchmarks.fresh`): the fourteen of the first comparison and eight others.

Three of these are made for it. They are not in the registry: the comparison at home keeps its rows.
"""

from __future__ import annotations

import random

from benchmarks import functions
from benchmarks.workloads.registry import REGISTRY, Task, Workload, burn_for, tagged

OTHERS = (
    "4 × 250 ms",
    "5 % cost 60 times as much",
    "wait 4 ms + compute 2 ms",
    "array to array, 4 MB each",
    "json.loads, 100 kB strings",
)
TEXT_LENGTH = 5_600


def short_texts() -> Task:
    source = random.Random(3)
    page = "".join(chr(source.randrange(97, 123)) for _ in range(2 * TEXT_LENGTH))
    starts = (source.randrange(TEXT_LENGTH) for _ in range(20_000))
    return functions.digest_text, [page[start : start + TEXT_LENGTH] for start in starts]


def primes() -> Task:
    # A prime takes 0.1 ms or so, most other numbers next to nothing: odd numbers without small factors are left.
    source = random.Random(5)
    return functions.smallest_factor, [400_000_003 + 2 * source.randrange(500_000) for _ in range(3_000)]


def ten() -> Task:
    return burn_for([50e-6] * 200)


MADE = (
    Workload("20,000 hashes of 7 µs", short_texts, "items of 5.6 kB: sending one takes as long as hashing it"),
    Workload("3,000 smallest factors", primes, "half of the items take next to nothing, primes 0.1 ms"),
    Workload("10 ms in all", ten, "200 × 50 µs: whatever is loaded costs more"),
)


def twenty_two() -> dict[str, Workload]:
    """Return the rows by name, in the order in which they are run."""
    rows = [*tagged("table"), *(REGISTRY[name] for name in OTHERS), *MADE]
    return {row.name: row for row in rows}
