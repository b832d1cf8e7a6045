"""The savings of a right history, and the cost of a wrong one: ``python -m benchmarks.poisoned``.

Each turn calls `optimize` and runs its plan's pool, and is timed as a whole. Each way has its own file:

* ``sampled``: nothing is known;
* ``known``: five rows that are right;
* ``up`` and ``down``: five rows that agree with each other, and are wrong by 100 times. ``again``: the next call after
  that, which should have detected it;
* ``elsewhere``: five rows of a machine with 512 cores, wrong as well;
* ``execute`` beside ``execute up`` and ``execute down``: `execute` whose memory was told the same.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import environment, results_files, workloads

WORKLOADS = (
    "100 × 0.1 ms",
    "20 ms in all",
    "50 ms in all",
    "uniform, 0.5 to 1.5 ms",
    "log-normal, heavy tail",
    "500 × wait 5 ms",
    "zlib, 120 × 400 kB",
    "sum of 120 arrays of 4 MB",
    "json.loads, 100 kB strings",
)
FACTOR = 100.0
TIMES = ("item_s", "item_std_s", "item_max_s", "item_cpu_s", "last_s", "error_s", "first_call_s", "worker_s")


def told(sample: Any, factor: float) -> Any:
    """Return a sample whose items take ``factor`` times as long."""
    return replace(sample, **{name: (getattr(sample, name) or 0.0) * factor or None for name in ("worker_s",)}, **{
        name: getattr(sample, name) * factor for name in TIMES if name != "worker_s"
    })  # fmt: skip


class Case:
    """One workload, with its true sample and results."""

    def __init__(self, name: str, folder: Path) -> None:
        import amorsize

        self.name, self.folder = name, folder
        self.func, data = workloads.REGISTRY[name].make()
        assert isinstance(data, list)
        self.data: list[Any] = data
        self.expected = list(map(self.func, data))
        os.environ["AMORSIZE_HISTORY"] = "off"
        self.plan = amorsize.optimize(self.func, data)
        self.files = 0

    def rows(self, factor: float, machine: Any) -> None:
        """Point history at a new file with five rows that are wrong by ``factor``."""
        from amorsize.history.history import History
        from amorsize.history.shape import shape_of

        self.files += 1
        os.environ["AMORSIZE_HISTORY"] = str(self.folder / f"{self.files}.sqlite")
        for at in range(5):
            sample = told(self.plan.sample, factor * (1 + at / 100))
            History().record({
                "function": self.func, "shape": shape_of(self.data), "n_items": len(self.data), "sample": sample,
                "machine": machine, "clock_s": len(self.data) * sample.item_s, "source": "execute",
            })  # fmt: skip
        History().flush()

    def ask_and_run(self) -> dict[str, Any]:
        """Call `optimize`, and run its plan."""
        import amorsize

        began = time.perf_counter()
        plan = amorsize.optimize(self.func, self.data)
        asked = time.perf_counter()
        with plan.pool() as pool:
            results = pool.map(self.func, plan.data)
        ended = time.perf_counter()
        assert len(results) == len(self.expected)
        how = plan.backend, plan.n_jobs, plan.chunksize
        return {"s": ended - began, "asked_s": asked - began, "plan": how, "known": plan.known_runs}

    def execute(self, factor: float | None) -> dict[str, Any]:
        """Run `execute`, whose memory is wrong by ``factor``; None: it has none."""
        import amorsize
        from amorsize.history.this_process import THIS_PROCESS

        os.environ["AMORSIZE_HISTORY"] = "off"
        THIS_PROCESS.forget()
        if factor is not None:
            THIS_PROCESS.keep(self.func, self.data, told(self.plan.sample, factor), n_items=len(self.data))
        began = time.perf_counter()
        amorsize.execute(self.func, self.data)
        return {"s": time.perf_counter() - began}

    def turn(self) -> dict[str, dict[str, Any]]:
        """Run each way once, in random order."""
        import amorsize
        from amorsize.history.history import History

        here = amorsize.machine()
        there = replace(here, logical_cores=512, affinity_cores=512, usable_cores=512.0)
        found: dict[str, dict[str, Any]] = {}

        def asked(name: str, factor: float, machine: Any = here, *, again: bool = False) -> None:
            self.rows(factor, machine)
            found[name] = self.ask_and_run()
            if again:
                found[f"{name}, again"] = self.ask_and_run()
                rows = History().runs(source="optimize")
                found[name]["surprise"] = bool(rows and rows[0].extra.get("surprise"))

        def sampled() -> None:
            self.rows(1.0, there)
            found["sampled"] = self.ask_and_run()

        def ran(name: str, factor: float | None) -> None:
            found[name] = self.execute(factor)

        ways: list[Callable[[], None]] = [
            sampled,
            lambda: asked("known", 1.0),
            lambda: asked("up", FACTOR, again=True),
            lambda: asked("down", 1 / FACTOR, again=True),
            lambda: asked("elsewhere", 1 / FACTOR, there),
            lambda: ran("execute", None),
            lambda: ran("execute, known", 1.0),
            lambda: ran("execute, up", FACTOR),
            lambda: ran("execute, down", 1 / FACTOR),
        ]
        random.shuffle(ways)
        for way in ways:
            way()
        return found


BASES = {"execute, known": "execute", "execute, up": "execute", "execute, down": "execute"}


def summary(turns: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the median of each way, and the medians of its ratio to and difference from its base, by turn."""
    found: dict[str, Any] = {}
    for way in turns[0]:
        base = BASES.get(way, "sampled")
        seconds = [turn[way]["s"] for turn in turns]
        more = [turn[way]["s"] - turn[base]["s"] for turn in turns]
        ratios = [turn[way]["s"] / turn[base]["s"] for turn in turns]
        found[way] = {
            "s": round(statistics.median(seconds), 5),
            "ratio": round(statistics.median(ratios), 3),
            "more_ms": round(statistics.median(more) * 1e3, 2),
            "surprises": sum(bool(turn[way].get("surprise")) for turn in turns),
            "known": [turn[way]["known"] for turn in turns if "known" in turn[way]],
            "plans": sorted({" ".join(map(str, turn[way]["plan"])) for turn in turns if "plan" in turn[way]}),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", help="a workload; several times")
    parser.add_argument("--out", type=Path, help="where the result goes; by default among the others")
    given = parser.parse_args()
    random.seed(0)
    started = datetime.now(UTC)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="amorsize-benchmark-") as folder:
        for number, name in enumerate(given.only or WORKLOADS):
            place = Path(folder) / str(number)
            place.mkdir()
            case = Case(name, place)
            case.turn()
            found[name] = summary([case.turn() for _ in range(given.rounds)])
            print(name)
            for way, what in found[name].items():
                print(f"  {way:16} {what}")
    result = {
        "instrument": "poisoned",
        "started": started.isoformat(timespec="seconds"),
        "commit": environment.commit(),
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        "turns": given.rounds,
        "rows": found,
    }
    stem = environment.file_stem(f"{started:%Y-%m-%d}") + "-poisoned"
    path = given.out or results_files.free_path(results_files.FOLDER, stem)
    results_files.write(path, result)
    print(path)


if __name__ == "__main__":
    main()
