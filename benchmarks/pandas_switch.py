"""pandas with and without amorsize's engine: ``python -m benchmarks.pandas_switch [--rounds N] [--out PATH]``.

Each row is the same call of pandas, plain and with the one changed line, in turn. The figures are median seconds, and
the median of the ratios by round. Target: 40 groups of 10 ms on 2 cores take at most 0.70 of pandas' time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import pandas

from amorsize.integrations.pandas import engine, groupby_apply
from benchmarks import environment, results_files
from benchmarks.functions import burn

TARGET: Final = 0.70
FRAME: Final = pandas.DataFrame({"key": np.repeat(np.arange(40), 50), "value": np.arange(2000.0), "name": "abc"})
GROUPS: Final = FRAME.groupby("key")
ROWS: Final = FRAME[["key", "value"]]


def steps_per_ms() -> int:
    """Return the steps of `burn` that take a millisecond here, of the quickest of several runs."""
    took_s = []
    for _ in range(9):
        began = perf_counter()
        burn(100_000)
        took_s.append(perf_counter() - began)
    return round(100_000 * 1e-3 / min(took_s))


STEPS: Final = steps_per_ms()


def of_group(group: Any) -> float:
    burn(10 * STEPS)
    return float(group["value"].sum())


def of_row_1ms(row: Any) -> float:
    burn(STEPS)
    return float(row["value"])


def of_row_50us(row: Any) -> float:
    burn(STEPS // 20)
    return float(row["value"])


def of_row(row: Any) -> float:
    return float(row["key"] + row["value"])


def of_value_1ms(value: float) -> float:
    burn(STEPS)
    return value


def of_value(value: float) -> float:
    return value + 1


# The pandas call, and the same with the switch.
USES: Final[dict[str, tuple[Callable[[], Any], Callable[[], Any]]]] = {
    "40 groups of 10 ms": (lambda: GROUPS.apply(of_group), lambda: groupby_apply(GROUPS, of_group)),
    "400 rows of 1 ms": (
        lambda: ROWS[:400].apply(of_row_1ms, axis=1),
        lambda: ROWS[:400].apply(of_row_1ms, axis=1, engine=engine),
    ),
    "10,000 rows of 50 µs": (
        lambda: pandas.concat([ROWS] * 5).apply(of_row_50us, axis=1),
        lambda: pandas.concat([ROWS] * 5).apply(of_row_50us, axis=1, engine=engine),
    ),
    "2,000 rows of an addition": (
        lambda: ROWS.apply(of_row, axis=1),
        lambda: ROWS.apply(of_row, axis=1, engine=engine),
    ),
    "map of 400 values of 1 ms": (
        lambda: FRAME["value"][:400].map(of_value_1ms),
        lambda: FRAME["value"][:400].map(of_value_1ms, engine=engine),
    ),
    "map of 2,000 values of an addition": (
        lambda: FRAME["value"].map(of_value),
        lambda: FRAME["value"].map(of_value, engine=engine),
    ),
}


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Return a row: both calls in turn, after one round off the record in which the results are compared."""
    plain, switched = USES[name]
    pandas.testing.assert_series_equal(plain(), switched())
    took: dict[str, list[float]] = {"pandas": [], "amorsize": []}
    for turn in range(rounds):
        for way, call in [("pandas", plain), ("amorsize", switched)][:: 1 if turn % 2 else -1]:
            began = perf_counter()
            call()
            took[way].append(round(perf_counter() - began, 5))
    ratios = [b / a for a, b in zip(took["pandas"], took["amorsize"], strict=True)]
    return {
        "row": name,
        "median_s": {way: statistics.median(seconds) for way, seconds in took.items()},
        "ratio": round(statistics.median(ratios), 3),
        "seconds": took,
    }


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="regular expression: only these rows")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started = datetime.now(UTC)
    rows = [measure(name, arguments.rounds) for name in USES if re.search(arguments.only, name)]
    for row in rows:
        times = row["median_s"]
        print(f"{row['row']:36} {times['pandas']:8.4f} s {times['amorsize']:8.4f} s   {row['ratio']:.2f}")
    result = {
        "started": started.isoformat(timespec="seconds"),
        "machine": environment.machine_facts(),
        "versions": {**environment.versions(), "pandas": importlib.metadata.version("pandas")},
        "commit": environment.commit(),
        "turns": arguments.rounds,
        "steps_per_ms": STEPS,
        "target": TARGET,
        "uses": rows,
    }
    stem = f"{environment.file_stem(started.date().isoformat())}-pandas-switch"
    results_files.write(arguments.out or results_files.free_path(results_files.FOLDER, stem), result)


if __name__ == "__main__":
    main()
