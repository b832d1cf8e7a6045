"""The effect of learning from history: ``python -m benchmarks.pruning [--out PATH] [--plots FOLDER]``.

On a corpus of runs (`benchmarks.cells`), with today's model: forecast errors and regret without and with a pruner
that has seen neither the function that it corrects, nor (on simulated machines) any machine of that shape; the trials
of `amorsize.tune`; and the cost of poisoned histories.
"""

from __future__ import annotations

import argparse
import datetime
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from amorsize.facts import Forecast
from amorsize.learn.features import Case
from amorsize.learn.fitting import Example, learn
from amorsize.learn.pruner import Pruner, Region
from amorsize.model.search import _with_margin
from amorsize.plan.trials.halving import SHARE, rungs, shortlist
from benchmarks import cells
from benchmarks.cells import Cell, Slice
from benchmarks.environment import commit, file_stem, machine_facts, versions
from benchmarks.results_files import FOLDER, free_path, write

NOBODY = Pruner({})
OPTIMIZE = ("loop", "pool", "threadpool")
IMAGES = Path(__file__).parent.parent / "docs" / "why" / "img"


def case_of(one: Slice, cell: Cell) -> Case:
    """Return a setting as the pruner sees it."""
    return Case(one.sample, one.place.machine, one.n_items, cell.engine, one.expected(cell))


@cache
def cases(one: Slice) -> list[tuple[Cell, Case]]:
    """Return all settings of a slice, with today's forecasts."""
    return [(cell, case_of(one, cell)) for cell in one.cells]


def examples(slices: Iterable[Slice]) -> list[Example]:
    """Return the examples that history would hold: one for each run."""
    return [
        Example(case, log(clock_s / case.forecast.total_s), one.function)
        for one in slices
        for cell, case in cases(one)
        for clock_s in cell.clocks_s
    ]


Key = Callable[[Slice], str]


def left_out(slices: Sequence[Slice], key: Key) -> dict[str, Pruner]:
    """Return, for each function (or shape), the pruner that is fitted to all others."""
    return {
        name: learn(examples(one for one in slices if key(one) != name))[0] or NOBODY
        for name in dict.fromkeys(map(key, slices))
    }


# -- forecasts -------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A clock against its forecast, without and with the pruner."""

    function: str
    engine: str
    before: float
    after: float
    spoke: bool
    picked: bool  # the setting is the model's choice for `optimize`
    inside: tuple[bool, bool]


def held(slices: Sequence[Slice], pruners: dict[str, Pruner], key: Key) -> list[Held]:
    """Return all runs, with their errors without and with the pruner."""
    found = []
    for one in slices:
        model = chosen(one, NOBODY)[0]
        for cell, case in cases(one):
            old, new = case.forecast, pruners[key(one)].correct(case)
            for clock_s in cell.clocks_s:
                inside = (old.low_s <= clock_s <= old.high_s, new.low_s <= clock_s <= new.high_s)
                errors = (abs(log(old.total_s / clock_s)), abs(log(new.total_s / clock_s)))
                found.append(Held(one.function, cell.engine, *errors, new is not old, cell == model, inside))
    return found


def summary(found: Sequence[Held]) -> dict[str, Any]:
    """Return errors without and with the pruner, in all runs and in those that it corrected."""
    spoken = [one for one in found if one.spoke]
    return {"runs": len(found), "spoke": round(len(spoken) / len(found), 3)} | both(found) | {
        "where_it_spoke": both(spoken) if spoken else None,
        "of_what_the_model_picks": both(picked) if (picked := [one for one in found if one.picked]) else None,
    }  # fmt: skip


def both(found: Sequence[Held]) -> dict[str, Any]:
    """Return figures without and with the pruner."""
    result = {}
    for number, name in enumerate(("without", "with")):
        errors = [one[2 + number] for one in found]
        result[name] = {
            "median": round(float(np.median(errors)), 4),
            "p90": round(float(np.quantile(errors, 0.9)), 4),
            "coverage": round(statistics.fmean(one.inside[number] for one in found), 3),
        }
    result["median_lower_by"] = round(1 - result["with"]["median"] / result["without"]["median"], 3)  # type: ignore[assignment]
    return result


def by(found: Sequence[Held], name: str) -> dict[str, Any]:
    """Return a summary for each function or engine."""
    values = sorted({getattr(one, name) for one in found})
    return {value: summary([one for one in found if getattr(one, name) == value]) for value in values}


# -- choices ---------------------------------------------------------------------------------------------------------


def chosen(one: Slice, pruner: Pruner) -> tuple[Cell, Cell, Cell]:
    """Return, of the measured settings open to `optimize`, the model's choice, the pruner's, and the best."""
    known = [(cell, case.forecast) for cell, case in cases(one) if cell.engine in OPTIMIZE]
    found = sorted((forecast for _, forecast in known), key=lambda f: f.total_s)
    model = _with_margin(found, one.sample.own_threads)
    others = [f for f in found if f is not model]
    best, *_ = pruner.narrow(model, others, one.sample, one.place.machine, one.n_items)

    def cell_of(f: Forecast) -> Cell:
        return next(
            cell
            for cell, other in known
            if (other.backend, other.workers, other.chunksize) == (f.backend, f.workers, f.chunksize)
        )

    return cell_of(model), cell_of(best), min((cell for cell, _ in known), key=clock)


def clock(cell: Cell) -> float:
    """Return the median of a setting's runs."""
    return statistics.median(cell.clocks_s)


def regrets(slices: Sequence[Slice], pruners: dict[str, Pruner], key: Key) -> dict[str, Any]:
    """Return, by function, the time of the choice over that of the best, without and with the pruner."""
    rows: dict[str, list[tuple[float, float]]] = {}
    changed = 0
    for one in slices:
        model, pruned, best = chosen(one, pruners[key(one)])
        changed += model != pruned
        rows.setdefault(one.function, []).append((clock(model) / clock(best), clock(pruned) / clock(best)))
    means = {
        name: [round(statistics.geometric_mean(values), 4) for values in zip(*pairs, strict=True)]
        for name, pairs in rows.items()
    }
    worse = {name: round(after / before, 4) for name, (before, after) in means.items()}
    return {
        "geometric_mean": [round(statistics.geometric_mean(values), 4) for values in zip(*means.values(), strict=True)],
        "worst": [max(values) for values in zip(*means.values(), strict=True)],
        "choices_changed": changed,
        "choices": len(slices),
        "worse_by_most": max(worse.values()),
        "worse_than_2_percent": {name: value for name, value in worse.items() if value > 1.02},
        "by_function": means,
    }


# -- tune ------------------------------------------------------------------------------------------------------------


class Tuned(NamedTuple):
    """The result of trials."""

    trials: int
    settings: int
    regret: float
    spoke: bool


def tuned(one: Slice, pruner: Pruner | None) -> Tuned:
    """Return the result of trials of all items, where each trial is a run of the corpus."""
    known = [(cell, case) for cell, case in cases(one) if cell.engine in OPTIMIZE]
    grid = [case.forecast for _, case in known]
    new = grid if pruner is None else [pruner.correct(case) for _, case in known]
    spoke = any(a is not b for a, b in zip(grid, new, strict=True))
    short = shortlist(new, share=SHARE / 2 if spoke else SHARE)
    tried = [cell for f in short for (cell, _), other in zip(known, new, strict=True) if other is f]
    picked = min(tried, key=lambda cell: cell.clocks_s[0])  # the other runs give its true time
    worth = {cell: statistics.median(cell.clocks_s[1:] or cell.clocks_s) for cell, _ in known}
    return Tuned(sum(rungs(len(short))), len(grid), worth[picked] / min(worth.values()), spoke)


def tuning(slices: Sequence[Slice], pruners: dict[str, Pruner], key: Key) -> dict[str, Any]:
    """Return the regret and the number of trials of `tune`, without and with the pruner, and where it corrected."""
    without = [tuned(one, None) for one in slices]
    with_it = [tuned(one, pruners[key(one)]) for one in slices]
    spoken = [(a, b) for a, b in zip(without, with_it, strict=True) if b.spoke]
    result = {"without": told(without), "with": told(with_it)}
    if spoken:
        result["where_it_spoke"] = {
            "slices": len(spoken),
            "without": told([a for a, _ in spoken]),
            "with": told([b for _, b in spoken]),
        }
    return result


def told(runs: Sequence[Tuned]) -> dict[str, float]:
    """Return the figures of many results."""
    return {
        "trials_share": round(sum(r.trials for r in runs) / sum(r.settings for r in runs), 3),
        "most_trials_share": round(max(r.trials / r.settings for r in runs), 3),
        "within_5_percent": round(statistics.fmean(r.regret <= 1.05 for r in runs), 3),
        "geometric_regret": round(statistics.geometric_mean([r.regret for r in runs]), 4),
    }


# -- poison ----------------------------------------------------------------------------------------------------------

Poison = Callable[[list[Example]], list[Example]]


def poisons(elsewhere: list[Example]) -> dict[str, Poison]:
    """Return the ways in which a history can be wrong."""
    hundred = log(100.0)

    def some(share: float, by_: float, which: Callable[[Example], bool] = lambda one: True) -> Poison:
        def poison(found: list[Example]) -> list[Example]:
            draw = random.Random(0)
            return [
                one._replace(residual=one.residual + by_) if which(one) and draw.random() < share else one
                for one in found
            ]

        return poison

    def processes(one: Example) -> bool:
        return one.case.forecast.backend == "processes"

    return {
        "all x100": some(1.0, hundred),
        "all /100": some(1.0, -hundred),
        "half x100": some(0.5, hundred),
        "a tenth x100": some(0.1, hundred),
        "processes x100": some(1.0, hundred, processes),
        "processes x3": some(1.0, log(3.0), processes),
        "processes /3": some(1.0, -log(3.0), processes),
        "loop x3": some(1.0, log(3.0), lambda one: one.case.engine == "loop"),
        "other machines' rows": lambda found: elsewhere,
    }


def poisoned(slices: Sequence[Slice], elsewhere: list[Example]) -> dict[str, Any]:
    """Return the effect of each wrong history on the time of all choices, and on the worst one."""
    result = {}
    for name, poison in poisons(elsewhere).items():
        fit, report = learn(poison(examples(slices)))
        times = [chosen(one, fit or NOBODY)[:2] for one in slices]
        by_function: dict[str, list[float]] = {}
        for one, (model, pruned) in zip(slices, times, strict=True):
            by_function.setdefault(one.function, []).append(clock(pruned) / clock(model))
        result[name] = {
            "run_time": round(sum(clock(new) for _, new in times) / sum(clock(old) for old, _ in times), 4),
            "worst_function": round(max(map(statistics.geometric_mean, by_function.values())), 4),
            "surprises": report.surprises,
            "rows": report.rows,
            "gates_open": [one.engine for one in report.engines if one.open],
        }
    return result


# -- all of it -------------------------------------------------------------------------------------------------------


def evaluate(real: Sequence[Slice], simulated: Sequence[Slice]) -> dict[str, Any]:
    """Return all results, in some minutes of CPU time."""
    by_function: Key = lambda one: one.function  # noqa: E731
    by_shape: Key = lambda one: one.place.name  # noqa: E731
    result: dict[str, Any] = {}
    for name, slices, key in (
        ("unseen functions", real, by_function),
        ("unseen functions, simulated", simulated, by_function),
        ("unseen shapes, simulated", simulated, by_shape),
    ):
        began = time.perf_counter()
        pruners = left_out(slices, key)
        found = held(slices, pruners, key)
        result[name] = {
            "corpus": cells.describe(slices),
            "forecast": summary(found),
            "by_engine": by(found, "engine"),
            "by_function": by(found, "function"),
            "regret": regrets(slices, pruners, key),
            "tune": tuning(slices, pruners, key),
            "seconds": round(time.perf_counter() - began, 1),
        }
    result["another machine"] = elsewhere(real, simulated)
    result["poisoned"] = poisoned(real, examples(simulated))
    return result


def elsewhere(real: Sequence[Slice], simulated: Sequence[Slice]) -> dict[str, Any]:
    """Return errors of one machine's fit on others, without its limits and with them: could it be a default?"""
    result = {}
    for name, theirs, ours in (("real to simulated", real, simulated), ("simulated to real", simulated, real)):
        fit = learn(examples(theirs))[0] or NOBODY
        wide = replace(fit, regions={engine: without_limits(region) for engine, region in fit.regions.items()})
        result[name] = summary(held(ours, {"": wide}, lambda one: ""))
        result[f"{name}, as it is"] = summary(held(ours, {"": fit}, lambda one: ""))
    return result


def without_limits(region: Region) -> Region:
    """Return a region without limits."""
    return region._replace(least=tuple(-1e9 for _ in region.least), most=tuple(1e9 for _ in region.most))


def show(result: dict[str, Any]) -> None:
    """Print the figures, in lines."""
    for name in ("unseen functions", "unseen functions, simulated", "unseen shapes, simulated"):
        part = result[name]
        print(f"{name}: {part['corpus']} ({part['seconds']} s)")
        print("   forecast", part["forecast"])
        for engine, one in part["by_engine"].items():
            print("     ", engine, one)
        print("   regret", {key: value for key, value in part["regret"].items() if key != "by_function"})
        print("   tune", part["tune"])
    for name, one in result["another machine"].items():
        print(name, one)
    for name, one in result["poisoned"].items():
        print("poisoned:", name, one)


def main() -> None:
    """Evaluate, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=cells.newest(simulated=False))
    parser.add_argument("--simulated", type=Path, default=cells.newest(simulated=True))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plots", type=Path, help=f"folder, such as {IMAGES.relative_to(IMAGES.parents[2])}")
    arguments = parser.parse_args()
    real, simulated = cells.read(arguments.real), cells.read(arguments.simulated)
    result = evaluate(real, simulated)
    show(result)
    date = datetime.date.today().isoformat()
    head = {
        "what": "the pruner, on functions and machines that it has not seen",
        "corpora": [arguments.real.name, arguments.simulated.name],
        "machine": machine_facts(),
        "versions": versions(),
        "commit": commit(),
    }
    write(arguments.out or free_path(FOLDER, f"{file_stem(date)}-pruning"), head | result)
    if arguments.plots:
        from benchmarks.pruning_plots import draw

        for path in draw(result, arguments.plots):
            print(path)


if __name__ == "__main__":
    main()
