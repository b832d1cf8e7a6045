"""The cost of the history: ``python -m benchmarks.history``. See docs/why/learning.md.

The time of `optimize` for a known function, with few rows in the file and with 100,000; the size of the file; the times
of writes and reads; and the time of a read in an `execute` that has not loaded SQLite yet.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import environment, results_files

ROWS = 100_000
FUNCTIONS = 200
BATCH = 2_500
TURNS = 60


def milliseconds(call: Callable[[], object], turns: int = TURNS) -> dict[str, float]:
    """Return the median and 90th percentile of a call in ms, after three calls that do not count."""
    took = []
    for turn in range(turns + 3):
        began = time.perf_counter()
        call()
        if turn >= 3:
            took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return {"median": round(statistics.median(took), 3), "p90": round(took[int(0.9 * len(took))], 3)}


def computes(x: int) -> int:
    raise AssertionError("nobody may call it")


def waits(x: int) -> int:
    raise AssertionError("nobody may call it")


KINDS: dict[str, tuple[Callable[[int], int], dict[str, float]]] = {
    "computes for 1 ms": (computes, {"item_cpu_s": 1e-3, "gil_held": 1.0}),
    "waits for 1 ms": (waits, {"item_cpu_s": 1e-5, "gil_held": 0.01}),
}
DATA = list(range(2_000))


def row(function: Any, at: int, cpu: dict[str, float], machine: Any) -> dict[str, Any]:
    """Return a full row, of a run on processes."""
    from amorsize.facts import Sample
    from amorsize.history.shape import shape_of

    def near(value: float) -> float:
        return value * random.uniform(0.95, 1.05)

    sample = Sample(
        n_sampled=31, item_s=near(1e-3), item_std_s=near(1e-4), item_max_s=near(2e-3), last_s=near(1e-3),
        error_s=near(1e-5), arg_bytes=near(12), result_bytes=near(102), arg_pickle_s=near(1e-6),
        arg_unpickle_s=near(1e-6), result_pickle_s=near(1e-6), result_unpickle_s=near(1e-6), own_threads=near(1.0),
        rss_growth_bytes=near(12), **cpu,
    )  # fmt: skip
    return {
        "function": function, "name": f"package.module.function_{function}" if isinstance(function, str) else "",
        "at_s": time.time() - at, "shape": shape_of(DATA), "n_items": len(DATA), "backend": "processes", "n_jobs": 2,
        "chunksize": 31, "start_method": "fork", "predicted_s": near(1.1), "predicted_interval_s": (near(1), near(1.2)),
        "serial_s": near(2), "clock_s": near(1.1), "work_s": near(2), "work_cpu_s": near(2), "work_items": len(DATA),
        "sample": sample, "machine": machine,
    }  # fmt: skip


def decisions(path: Path) -> dict[str, Any]:
    """Return the times of `optimize` for functions that are known."""
    import amorsize
    from amorsize.history import history
    from amorsize.history.history import History

    def afresh(func: Any) -> None:
        history._recent.clear()  # as if another process had written to the file since
        amorsize.optimize(func, DATA)

    found: dict[str, Any] = {}
    for name, (func, cpu) in KINDS.items():
        for at in range(30):
            History().record(row(func, at, cpu, amorsize.machine()))
        History().flush()
        plan = amorsize.optimize(func, DATA)
        assert plan.known_runs
        found[name] = {
            "read anew": milliseconds(lambda f=func: afresh(f)),
            "file unchanged": milliseconds(lambda f=func: amorsize.optimize(f, DATA)),
            "backend": plan.backend,
        }
    return found


FIRST = """
import sys, time
import sqlite3
from amorsize import optimize
from amorsize.run import deciding as engine
from benchmarks.history import computes, DATA
import multiprocessing.pool, amorsize.plan.optimize, amorsize.measure.calibrate
began = time.perf_counter()
plan = optimize(computes, DATA)
print((time.perf_counter() - began) * 1e3)
assert plan.known_runs
"""

SQLITE = """
import time
from amorsize import execute
execute(abs, [1])
began = time.perf_counter()
import sqlite3
print((time.perf_counter() - began) * 1e3)
"""

READ = """
import sys, time
from amorsize import execute
from benchmarks.history import computes
from amorsize.history.history import History
execute(abs, [1])
began = time.perf_counter()
list(History().recall(computes, sys.argv[1], 16))
print((time.perf_counter() - began) * 1e3)
"""


def fresh(code: str, path: Path, *arguments: str, turns: int = 7) -> float:
    """Return the median of the times that fresh processes print, in ms."""
    environment_ = {**os.environ, "AMORSIZE_HISTORY": str(path)}
    command = [sys.executable, "-c", code, *arguments]
    told = [subprocess.check_output(command, env=environment_, cwd=Path(__file__).parent.parent) for _ in range(turns)]
    return round(statistics.median(float(each) for each in told), 3)


def fill(path: Path, rows: int) -> dict[str, float]:
    """Write so many rows, of `FUNCTIONS` functions."""
    import amorsize
    from amorsize.history.run_row import pack
    from amorsize.history.sqlite_file import Store

    machine, spent = amorsize.machine(), 0.0
    for begin in range(0, rows, BATCH):
        some = [
            pack(row(f"{at % FUNCTIONS:032x}", at, KINDS["computes for 1 ms"][1], machine))
            for at in range(begin, begin + BATCH)
        ]
        began = time.perf_counter()
        assert Store(path).add_runs(some)
        spent += time.perf_counter() - began
    kept = Store(path)
    return {
        "rows": kept.count(),
        "megabytes": round(kept.size_bytes() / 1e6, 2),
        "write_us_per_row": round(spent / rows * 1e6, 2),
        "count_ms": milliseconds(kept.count, 5)["median"],
    }


def measure(folder: Path, rows: int) -> dict[str, Any]:
    import amorsize
    from amorsize.history.machine_id import digest_of, features

    small, large = folder / "small.sqlite", folder / "large.sqlite"
    digest = str(digest_of(features(amorsize.machine())))
    os.environ["AMORSIZE_HISTORY"] = str(small)
    result: dict[str, Any] = {"known_ms": {"60 rows": decisions(small)}}
    result["sampled_ms"] = milliseconds(lambda: amorsize.optimize(abs, DATA, sample="head"), 30)
    result["first_in_a_process_ms"] = fresh(FIRST, small)
    result["import_sqlite3_ms"] = fresh(SQLITE, small)
    result["execute_would_read_ms"] = fresh(READ, small, digest)
    os.environ["AMORSIZE_HISTORY"] = str(large)
    result["file"] = fill(large, rows)
    result["known_ms"][f"{rows:,} rows"] = decisions(large)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path, help="where the result goes; by default among the others")
    given = parser.parse_args()
    random.seed(0)
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="amorsize-benchmark-") as folder:
        found = measure(Path(folder), given.rows)
    result = {
        "instrument": "history",
        "started": started.isoformat(timespec="seconds"),
        "commit": environment.commit(),
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        **found,
    }
    stem = environment.file_stem(f"{started:%Y-%m-%d}") + "-history"
    path = given.out or results_files.free_path(results_files.FOLDER, stem)
    results_files.write(path, result)
    for name, value in found.items():
        print(f"{name:24} {value}")
    print(path)


if __name__ == "__main__":  # by its own name, which is part of the functions' fingerprints
    from benchmarks import history

    history.main()
