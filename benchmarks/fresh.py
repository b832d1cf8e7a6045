"""First calls: ``python -m benchmarks.fresh [--rounds N] [--only TEXT …] [--without TEXT …] [--quick] [--out PATH]``.

Twenty-two workloads, each run of each contender in a fresh process, the contender's imports on the clock. Rounds go
A B C, then C B A. A rival that was far behind in a round sits out the rest.

The machine is known, the function is not: before the first round one process lets amorsize measure this machine, and
each run gets its own copy of what was kept.

``--choices N`` runs instead ``execute`` in N fresh processes a row, and counts how often it chose the same.
``--forecasts`` runs instead ``optimize`` and its plan's pool in one process, each function's first call.
"""

from __future__ import annotations

import argparse
import compileall
import datetime
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks import calibration, environment, results_files, session, statistics
from benchmarks.fresh_contenders import EXECUTE, LOOP, OPTIMIZE_POOL, RIVALS, SETTINGS, WITH_PLAN
from benchmarks.measure import hopeless, in_turn
from benchmarks.rivals import by_name
from benchmarks.workloads.first import twenty_two

HERE: Final = Path(__file__).parents[1]
FORMAT: Final = 1
ROUNDS: Final = 3
QUICK_STRIDE: Final = 16
# guess: the longest run takes some ten seconds
HUNG_S: Final = 120.0
# Seconds forgiven for each row: what is loaded before the first item; and for optimize, which may call an item twice.
FORGIVEN_S: Final = {EXECUTE: 8e-3, OPTIMIZE_POOL: 20e-3}
# A run that takes so many times its row's median is an outlier.
OUTLIER: Final = 1.5
# "The other costs more": by this share.
DEAR: Final = 1.1

# Lets amorsize measure the machine and start workers once, as on a machine where it has run before.
SEED: Final = """
import amorsize

def work(n):
    return sum(range(n))

if __name__ == "__main__":
    for backend in ("auto", ("serial", "processes"), ("serial", "threads")):
        # So much work that its costs are worth measuring, on any machine.
        amorsize.optimize(work, [2_000_000] * 100, backend=backend)
    amorsize.execute(work, [200_000] * 200)
"""

Row = dict[str, Any]


# -- figures, pure ----------------------------------------------------------------------------------------------------


def forgiven(took_s: float, best_s: float, forgiven_s: float) -> float:
    """Return a time over the best; what is forgiven makes no loss a gain.

    Examples
    --------
    >>> forgiven(0.5, 1.0, 0.25), forgiven(1.125, 1.0, 0.25), forgiven(2.25, 1.0, 0.25)
    (0.5, 1.0, 2.0)
    """
    return took_s / best_s if took_s <= best_s else max(best_s, took_s - forgiven_s) / best_s


def regret(row: Row, name: str, against: tuple[str, ...]) -> float | None:
    """Return the median over rounds of a contender's time over the best rival's; None if one of them has none."""
    times = row["times"]
    medians = {other: statistics.median(known) for other in against if (known := of(times.get(other)))}
    if not medians or not of(times.get(name)):
        return None
    rival = times[statistics.best(medians)]
    pairs = zip(times[name], rival, strict=True)
    return statistics.median([forgiven(a, b, FORGIVEN_S[name]) for a, b in pairs if a and b] or [math.nan])


def of(times: list[float | None] | None) -> list[float]:
    return [each for each in times or [] if each is not None]


def figures(rows: list[Row]) -> dict[str, Any]:
    """Return the figures of each of amorsize's two ways over all rows."""
    found: dict[str, Any] = {}
    for name, against in ((EXECUTE, (LOOP, *RIVALS)), (OPTIMIZE_POOL, (LOOP, "Pool", *SETTINGS))):
        regrets = {row["workload"]: value for row in rows if (value := regret(row, name, against)) is not None}
        if not regrets:
            continue
        worst = max(regrets, key=lambda workload: regrets[workload])
        found[name] = {
            "rows": len(regrets),
            "forgiven_s": FORGIVEN_S[name],
            "geometric_mean": statistics.geometric_mean(list(regrets.values())),
            "worst": regrets[worst],
            "worst_row": worst,
            "slower_than_loop": [row["workload"] for row in rows if slower(row, name)],
            "outliers": [row["workload"] for row in rows for _ in range(outliers(row, name))],
            "runs": sum(len(of(row["times"].get(name))) for row in rows),
            "regrets": regrets,
        }
    return found


def slower(row: Row, name: str) -> bool:
    """Return True if the median is above the loop's by 3 % and what is forgiven."""
    ours, loop = of(row["times"].get(name)), of(row["times"].get(LOOP))
    if not ours or not loop:
        return False
    return statistics.median(ours) > statistics.median(loop) * statistics.LOOP_TOLERANCE + FORGIVEN_S[name]


def outliers(row: Row, name: str) -> int:
    """Return the number of runs that took 1.5 times the row's median."""
    ours = of(row["times"].get(name))
    return sum(each > OUTLIER * statistics.median(ours) for each in ours) if ours else 0


def choices(row: Row) -> dict[str, Any]:
    """Return how often each choice was made, and whether the others took longer than the commonest."""
    by_choice: dict[str, list[float]] = {}
    for run in row["runs"]:
        by_choice.setdefault(choice(run["plan"]), []).append(run["seconds"])
    commonest = max(by_choice, key=lambda made: len(by_choice[made]))
    medians = {made: statistics.median(times) for made, times in by_choice.items()}
    best = min(medians.values())
    return {
        "choices": {made: [len(by_choice[made]), medians[made]] for made in by_choice},
        "same": len(by_choice[commonest]),
        "of": len(row["runs"]),
        "matters": max(medians.values()) > DEAR * best,
    }


def choice(plan: dict[str, Any]) -> str:
    """Return the backend of a plan: what costs 10 % and more is a choice between these, not one worker more."""
    return str(plan["backend"])


def forecast_figures(rows: list[Row]) -> dict[str, Any]:
    """Return how far the forecasts of each function's first ``optimize`` were off, in all and where items are even."""
    known = [row for row in rows if row.get("plan", {}).get("predicted_s") and row.get("map_s")]
    if not known:
        return {}
    off = {row["workload"]: statistics.log_error(row["plan"]["predicted_s"], row["map_s"]) for row in known}
    even = [off[row["workload"]] for row in known if is_even(row["plan"]["sample"])]
    worst = max(off, key=lambda workload: off[workload])
    intervals = [(row["plan"]["predicted_interval_s"], row["map_s"]) for row in known]
    return {
        "rows": len(known),
        "even_rows": len(even),
        "median": math.expm1(statistics.median(even)) if even else None,
        "percentile_90": math.expm1(statistics.percentile(even, 90)) if even else None,
        "worst": math.expm1(off[worst]),
        "worst_row": worst,
        "held": sum(low <= map_s <= high for (low, high), map_s in intervals),
    }


def is_even(sample: dict[str, Any]) -> bool:
    """Return True if the sampled items vary by less than their mean."""
    return bool(sample["item_std_s"] < sample["item_s"])


# -- runs -------------------------------------------------------------------------------------------------------------


class Fresh:
    """Starts fresh processes, each with its own copy of what amorsize knows of this machine.

    Parameters
    ----------
    folder : Path
        For the copies.
    rate : float
        Steps per second of `functions.burn`, the same for all.
    stride : int
        Take each so many-th item only.
    """

    def __init__(self, folder: Path, rate: float, stride: int = 1) -> None:
        self.folder, self.rate, self.stride = folder, rate, stride
        self.seed = folder / "seed"
        self.seed.mkdir()
        program = folder / "measure_machine.py"
        program.write_text(SEED)
        subprocess.run([sys.executable, str(program)], env=self._environment(self.seed), cwd=folder, check=True)

    def run(self, workload: str, contender: str, module: str = "benchmarks.fresh_row") -> dict[str, Any]:
        """Run once; return what the process tells, or ``{"failed": why}``."""
        job = {
            "workload": workload,
            "contender": contender,
            "iterations_per_s": self.rate,
            "stride": self.stride,
        }
        cache = self.folder / "run"
        shutil.copytree(self.seed, cache)
        process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(job)],
            env=self._environment(cache),
            cwd=HERE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=HUNG_S)
        except subprocess.TimeoutExpired:
            return {"failed": f"hung: no result after {HUNG_S:.0f} s"}
        finally:
            session.end_family(process.pid)
            process.wait()
            shutil.rmtree(cache, ignore_errors=True)
        if process.returncode:
            return {"failed": f"ended with exit code {process.returncode}"}
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    @staticmethod
    def _environment(cache: Path) -> dict[str, str]:
        known = {**os.environ, "PYTHONPATH": str(HERE), "XDG_CACHE_HOME": str(cache)}
        for name in ("AMORSIZE_HISTORY", "PYTHONDONTWRITEBYTECODE"):
            known.pop(name, None)
        return known


def measure(fresh: Fresh, workload: str, contenders: list[str], rounds: int) -> Row:
    """Run one row in rounds."""
    times: dict[str, list[float | None]] = {name: [] for name in contenders}
    row: Row = {"workload": workload, "times": times, "plans": [], "failed": {}, "loaded": {}}
    marks: dict[str, Any] = {}
    out: set[str] = set()
    for round_ in range(rounds):
        for name in in_turn(contenders, round_):
            found = {} if name in out else fresh.run(workload, name)
            times[name].append(found.get("seconds"))
            if "failed" in found:
                row["failed"][name] = found["failed"]
                out.add(name)
            if found.get("loaded"):
                row["loaded"][name] = found["loaded"]
            if "plan" in found:
                row["plans"].append({key: found[key] for key in ("plan", "optimize_s", "map_s") if key in found})
            if "mark" in found:
                marks[name] = found["mark"]
        run_until_now = {name: of(known) for name, known in times.items() if name not in (*out, *SETTINGS)}
        out |= set(hopeless(run_until_now, round_ + 1))
    row["wrong"] = [name for name, mark in marks.items() if mark != marks.get(LOOP)]
    return row


def repeat(fresh: Fresh, workload: str, runs: int) -> Row:
    """Run ``execute`` in fresh processes, and note what it chose."""
    found = [fresh.run(workload, WITH_PLAN) for _ in range(runs)]
    row: Row = {"workload": workload, "runs": [one for one in found if "plan" in one]}
    return row | choices(row) if row["runs"] else row


def tell(row: Row) -> None:
    """Print a line for each row."""
    text = f"{row['workload']:28}"
    for name, known in row["times"].items():
        seconds = of(known)
        text += f" {name} {statistics.median(seconds):.3f}" if seconds else f" {name} –"
    for key in ("failed", "wrong", "loaded"):
        text += f"; {key.upper()}: {row[key]}" if row[key] else ""
    print(text, flush=True)


def report(found: dict[str, Any]) -> None:
    """Print the figures."""
    for name, one in found.items():
        slow = one["slower_than_loop"]
        print(
            f"{name} / best rival, {one['rows']} rows, {one['forgiven_s'] * 1e3:.0f} ms forgiven: geometric mean "
            f"{one['geometric_mean']:.3f}, worst {one['worst']:.2f} ({one['worst_row']}); slower than the loop by 3 % "
            f"+ {one['forgiven_s'] * 1e3:.0f} ms: {len(slow)}{' (' + ', '.join(slow) + ')' if slow else ''}; runs of "
            f"{OUTLIER} times their row's median: {len(one['outliers'])} of {one['runs']}"
            + (f" ({dict(Counter(one['outliers']))})" if one["outliers"] else "")
        )


def missing() -> dict[str, str]:
    """Return the rivals that are not installed here, and why."""
    known = by_name()
    return {name: why for name in RIVALS if (why := known[name].missing()) is not None}


def run_rounds(fresh: Fresh, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    skipped = missing()
    for name, why in skipped.items():
        print(f"not run: {name} ({why})")
    contenders = [
        name
        for name in (LOOP, *RIVALS, *SETTINGS, EXECUTE, OPTIMIZE_POOL)
        if name not in skipped and (name == LOOP or not any(text in name for text in options.without))
    ]
    rows = []
    for name in names:
        rows.append(measure(fresh, name, contenders, options.rounds))
        tell(rows[-1])
    found = figures(rows)
    report(found)
    return {"skipped": skipped, "figures": found, "rows": rows}


def run_choices(fresh: Fresh, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for name in names:
        rows.append(repeat(fresh, name, options.choices))
        made = rows[-1].get("choices", "no result")
        print(f"{name:28} {made}{' MATTERS' if rows[-1].get('matters') else ''}", flush=True)
    torn = [row["workload"] for row in rows if row.get("matters") and row["same"] < 0.9 * row["of"]]
    print(f"rows with less than 9 of 10 equal choices, where the other costs 10 % more: {torn or 'none'}")
    return {"torn": torn, "rows": rows}


def run_forecasts(fresh: Fresh, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    told = fresh.run("\n".join(names), "", "benchmarks.fresh_forecasts")
    rows = told.get("rows", [])
    for row in rows:
        plan = row["plan"]
        print(f"{row['workload']:28} forecast {plan['predicted_s']:.4f}, clock {row['map_s']:.4f} by {choice(plan)}")
    found = forecast_figures(rows)
    if found:
        print(
            f"forecasts of first optimizes in one process; of {found['even_rows']} rows whose items vary by less than "
            f"their mean: median error {found['median']:.0%}, 90th percentile {found['percentile_90']:.0%}; of all: "
            f"worst {found['worst']:.0%} ({found['worst_row']}), interval held {found['held']} of {found['rows']}"
        )
    return {"figures": found, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="rows whose name holds one of these")
    parser.add_argument("--without", nargs="+", default=[], metavar="TEXT", help="leave out contenders that hold one")
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the items: only shows that it works")
    parser.add_argument("--choices", type=int, metavar="N", help="count the choices of N fresh processes a row")
    parser.add_argument("--forecasts", action="store_true", help="forecasts of first optimizes in one process")
    parser.add_argument("--out", type=Path, help="the result file (default: a new one in the temporary folder)")
    options = parser.parse_args()
    names = [name for name in twenty_two() if any(text in name for text in options.only)]
    if not names:
        print("no workload matches", file=sys.stderr)
        return 2
    what: Callable[[Fresh, list[str], argparse.Namespace], dict[str, Any]] = run_rounds
    if options.choices or options.forecasts:
        what = run_choices if options.choices else run_forecasts
    # As an installer would.
    for folder in ("amorsize", "benchmarks"):
        compileall.compile_dir(HERE / folder, quiet=2)
    started = datetime.datetime.now(datetime.UTC)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Fresh(Path(folder), calibration.measure(), QUICK_STRIDE if options.quick else 1)
        found = what(fresh, names, options)
    result = {
        "format": FORMAT,
        "kind": what.__name__.removeprefix("run_"),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.datetime.now(datetime.UTC) - started).total_seconds(), 1),
        "quick": options.quick,
        "fresh_rounds": options.rounds,
        "iterations_per_s": fresh.rate,
        "commit": environment.commit(),
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        **found,
    }
    stem = environment.file_stem(started.date().isoformat()) + f"-fresh-{result['kind']}"
    path = options.out or results_files.free_path(Path(tempfile.gettempdir()), stem)
    results_files.write(path, result)
    print(f"{result['seconds']:.0f} s; written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
