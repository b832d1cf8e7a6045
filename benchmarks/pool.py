"""`amorsize.Pool` against ``multiprocessing.Pool``: ``python -m benchmarks.pool [--rounds N] [--out PATH]``.

Each row is a small program's use of a pool, from entering it to leaving it, in interleaved rounds of both. The figures
are medians in milliseconds, with the quartiles, and the target: 10 % and 5 ms more than the original at most.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any, Final

os.environ.setdefault("AMORSIZE_HISTORY", "off")

import amorsize
from benchmarks.environment import machine_facts, versions
from benchmarks.functions import burn, square

# The target: so much more than the original.
SHARE: Final = 1.10
FORGIVEN_MS: Final = 5.0

METHODS: Final = ("fork", "forkserver", "spawn")

Use = Callable[[Any], Iterable[Any]]

USES: Final[dict[str, tuple[Use, int]]] = {
    # With the number of results.
    "map of 1,000 trivial items": (lambda pool: pool.map(square, range(1000)), 1000),
    "map of 100,000 trivial items": (lambda pool: pool.map(square, range(100_000)), 100_000),
    "map of 1,000 trivial items, chunks of 1": (lambda pool: pool.map(square, range(1000), 1), 1000),
    "map of 200 items of 1 ms": (lambda pool: pool.map(burn, [1000] * 200), 200),
    "imap of 1,000 trivial items": (lambda pool: list(pool.imap(square, range(1000))), 1000),
    "imap of 1,000 trivial items of a generator": (lambda pool: list(pool.imap(square, iter(range(1000)))), 1000),
    "100 calls of apply": (lambda pool: [pool.apply(square, (x,)) for x in range(100)], 100),
    "1,000 calls of apply_async": (
        lambda pool: [one.get() for one in [pool.apply_async(square, (x,)) for x in range(1000)]],
        1000,
    ),
}


def timed(kind: Callable[..., Any], method: str, use: Use, results: int) -> float:
    """Return the milliseconds of one use of a pool of two workers."""
    context = multiprocessing.get_context(method)
    began = perf_counter()
    with kind(2, context=context) as pool:
        found = use(pool)
    took_ms = (perf_counter() - began) * 1e3
    assert len(list(found)) == results
    return took_ms


def original(processes: int, context: Any) -> Any:
    """Return multiprocessing's own pool."""
    return context.Pool(processes)


def measure(name: str, method: str, rounds: int) -> dict[str, Any]:
    """Return a row: both kinds of pool in interleaved rounds, after one round off the record."""
    use, results = USES[name]
    kinds: dict[str, Callable[..., Any]] = {"amorsize": amorsize.Pool, "multiprocessing": original}
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for k in range(rounds + 1):
        for kind in list(kinds)[:: 1 if k % 2 else -1]:
            took_ms = timed(kinds[kind], method, use, results)
            if k:
                took[kind].append(took_ms)
    most_ms = SHARE * median(took["multiprocessing"]) + FORGIVEN_MS
    return {
        "row": name,
        "start_method": method,
        "median_ms": {kind: round(median(values), 2) for kind, values in took.items()},
        "most_ms": round(most_ms, 2),
        "meets": median(took["amorsize"]) <= most_ms,
        "values_ms": {kind: [round(one, 3) for one in values] for kind, values in took.items()},
    }


def told(values: list[float]) -> str:
    """Return a median with its quartiles."""
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.1f} ({low:.1f}–{high:.1f})"


def main() -> None:
    """Measure, print a table, and write the rows where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--methods", nargs="*", default=["fork"], choices=METHODS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = [measure(name, method, asked.rounds) for method in asked.methods for name in USES if asked.only in name]
    print("| use | start method | amorsize.Pool, ms | multiprocessing.Pool, ms | target, ms | |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        ours, theirs = (told(row["values_ms"][kind]) for kind in ("amorsize", "multiprocessing"))
        verdict = "meets" if row["meets"] else "misses"
        print(f"| {row['row']} | {row['start_method']} | {ours} | {theirs} | {row['most_ms']:.1f} | {verdict} |")
    if asked.out is not None:
        found = {"machine": machine_facts(), "versions": versions(), "rounds": asked.rounds, "rows": rows}
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
