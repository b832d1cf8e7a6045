"""The effect of learning from history: ``python -m benchmarks.pruning [--out PATH] [--plots FOLDER]``.

On a corpus of runs (`benchmarks.cells`), with today's model: forecast errors, coverage of the intervals, and regret
without and with a pruner that has seen neither the function that it corrects, nor (on simulated machines) any machine
of that shape; with one row of the same map; the trials of `amorsize.tune`; the cost of poisoned histories; the time of
a fit.
"""

from __future__ import annotations

import argparse
import datetime
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from amorsize.facts import Forecast
from amorsize.learn.fitting import Example, learn
from amorsize.learn.pruner import Pruner
from amorsize.model.intervals import FEW
from amorsize.model.search import _with_margin
from amorsize.plan.trials.halving import SHARE, rungs, shortlist
from benchmarks import cells
from benchmarks.cells import Cell, Slice
from benchmarks.environment import commit, file_stem, machine_facts, versions
from benchmarks.results_files import FOLDER, free_path, write

MODEL = Pruner()
OPTIMIZE = ("loop", "pool", "threadpool")
IMAGES = Path(__file__).parent.parent / "docs" / "why" / "img"


@cache
def forecasts(one: Slice) -> list[tuple[Cell, Forecast]]:
    """Return all settings of a slice, with today's forecasts."""
    return [(cell, one.expected(cell)) for cell in one.cells]


def examples(slices: Iterable[Slice]) -> list[Example]:
    """Return the examples that history would hold: one for each run."""
    return [
        Example(cell.engine, forecast, one.sample.n_sampled, clock_s, one.function)
        for one in slices
        for cell, forecast in forecasts(one)
        for clock_s in cell.clocks_s
    ]


Key = Callable[[Slice], str]


def left_out(slices: Sequence[Slice], key: Key) -> dict[str, Pruner]:
    """Return, for each function (or shape), the pruner that is fitted to all others."""
    return {
        name: learn(examples(one for one in slices if key(one) != name))[0] for name in dict.fromkeys(map(key, slices))
    }


# -- forecasts -------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A clock against its forecast, without and with the pruner."""

    function: str
    engine: str
    sampled: str
    picked: bool  # the setting is the model's choice for `optimize`
    errors: tuple[float, ...]
    inside: tuple[bool, ...]

    @classmethod
    def of(cls, one: Slice, engine: str, picked: bool, clock_s: float, *told: Forecast) -> Held:
        """Compare a clock with the forecasts without and with the pruner."""
        sampled = f"1-{FEW} sampled" if one.sample.n_sampled <= FEW else "more sampled"
        errors = tuple(abs(log(each.total_s / clock_s)) for each in told)
        return cls(
            one.function, engine, sampled, picked, errors, tuple(each.low_s <= clock_s <= each.high_s for each in told)
        )


def held(slices: Sequence[Slice], pruners: dict[str, Pruner], key: Key) -> list[Held]:
    """Return all runs, with their errors without and with the pruner."""
    found = []
    for one in slices:
        model = chosen(one, MODEL)[0]
        for cell, old in forecasts(one):
            new = pruners[key(one)].correct(old, cell.engine, one.sample.n_sampled)
            found += [Held.of(one, cell.engine, cell == model, clock_s, old, new) for clock_s in cell.clocks_s]
    return found


def with_own_rows(slices: Sequence[Slice], pruners: dict[str, Pruner], key: Key) -> list[Held]:
    """Return all runs, where one run of another setting of the same map, drawn at random, is known beforehand."""
    found = []
    draw = random.Random(0)
    for one in slices:
        rows = [(cell, (cell.engine, forecast, clock)) for cell, forecast in forecasts(one) for clock in cell.clocks_s]
        for cell, old in forecasts(one):
            others = [row for other, row in rows if other != cell]
            for clock_s in cell.clocks_s if others else ():
                known = draw.choice(others)
                new = pruners[key(one)].knowing([known]).correct(old, cell.engine, one.sample.n_sampled)
                engine = "same engine" if known[0] == cell.engine else "another engine"
                found.append(Held.of(one, engine, False, clock_s, old, new))
    return found


def summary(found: Sequence[Held]) -> dict[str, Any]:
    """Return figures without and with the pruner."""
    result: dict[str, Any] = {"runs": len(found)}
    for number, name in enumerate(("without", "with")):
        errors = [one.errors[number] for one in found]
        result[name] = {
            "median": round(float(np.median(errors)), 4),
            "mean": round(statistics.fmean(errors), 4),
            "p90": round(float(np.quantile(errors, 0.9)), 4),
            "coverage": round(statistics.fmean(one.inside[number] for one in found), 3),
        }
    return result


def by(found: Sequence[Held], name: str) -> dict[str, Any]:
    """Return a summary for each function, engine, or number of sampled items."""
    values = sorted({getattr(one, name) for one in found})
    return {value: summary([one for one in found if getattr(one, name) == value]) for value in values}


# -- choices ---------------------------------------------------------------------------------------------------------


def chosen(one: Slice, pruner: Pruner) -> tuple[Cell, Cell, Cell]:
    """Return, of the measured settings open to `optimize`, the model's choice, the pruner's, and the best."""
    known = [(cell, forecast) for cell, forecast in forecasts(one) if cell.engine in OPTIMIZE]
    found = sorted((forecast for _, forecast in known), key=lambda f: f.total_s)
    model = _with_margin(found, one.sample.own_threads)
    others = [f for f in found if f is not model]
    best, *_ = pruner.narrow(model, others, one.sample.n_sampled)

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


def regrets(slices: Sequence[Slice], pruners: dict[str, Pruner], key: Key, own: bool = False) -> dict[str, Any]:
    """Return, by function, the time of the choice over that of the best, without and with the pruner.

    ``own``: the pruner knows one run of the model's choice for the same map.
    """
    rows: dict[str, list[tuple[float, float]]] = {}
    changed = 0
    for one in slices:
        pruner = pruners[key(one)]
        if own:
            model = chosen(one, MODEL)[0]
            pruner = pruner.knowing([(model.engine, dict(forecasts(one))[model], model.clocks_s[0])])
        model, pruned, best = chosen(one, pruner)
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


def tuned(one: Slice, pruner: Pruner | None) -> Tuned:
    """Return the result of trials of all items, where each trial is a run of the corpus."""
    known = [(cell, forecast) for cell, forecast in forecasts(one) if cell.engine in OPTIMIZE]
    grid = [forecast for _, forecast in known]
    new = grid if pruner is None else [pruner.correct(f, cell.engine, one.sample.n_sampled) for cell, f in known]
    short = shortlist(new, share=SHARE if pruner is None else SHARE / 2)
    tried = [cell for f in short for (cell, _), other in zip(known, new, strict=True) if other is f]
    picked = min(tried, key=lambda cell: cell.clocks_s[0])  # the other runs give its true time
    worth = {cell: statistics.median(cell.clocks_s[1:] or cell.clocks_s) for cell, _ in known}
    return Tuned(sum(rungs(len(short))), len(grid), worth[picked] / min(worth.values()))


def tuning(slices: Sequence[Slice], pruners: dict[str, Pruner], key: Key) -> dict[str, Any]:
    """Return the regret and the number of trials of `tune`, without and with the pruner."""
    return {
        "without": told([tuned(one, None) for one in slices]),
        "with": told([tuned(one, pruners[key(one)]) for one in slices]),
    }


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

    def some(share: float, factor: float, engines: Sequence[str] = ()) -> Poison:
        def poison(found: list[Example]) -> list[Example]:
            draw = random.Random(0)
            return [
                one._replace(clock_s=one.clock_s * factor)
                if (not engines or one.engine in engines) and draw.random() < share
                else one
                for one in found
            ]

        return poison

    return {
        "all x100": some(1.0, 100.0),
        "all /100": some(1.0, 0.01),
        "half x100": some(0.5, 100.0),
        "a tenth x100": some(0.1, 100.0),
        "processes x100": some(1.0, 100.0, ("pool", "team")),
        "processes x3": some(1.0, 3.0, ("pool", "team")),
        "processes /3": some(1.0, 1 / 3, ("pool", "team")),
        "other machines' rows": lambda found: elsewhere,
    }


def poisoned(slices: Sequence[Slice], elsewhere: list[Example]) -> dict[str, Any]:
    """Return the effect of each wrong history on the time of all choices, and on the worst one."""
    result = {}
    for name, poison in poisons(elsewhere).items():
        fit, report = learn(poison(examples(slices)))
        times = [chosen(one, fit)[:2] for one in slices]
        by_function: dict[str, list[float]] = {}
        for one, (model, pruned) in zip(slices, times, strict=True):
            by_function.setdefault(one.function, []).append(clock(pruned) / clock(model))
        result[name] = {
            "run_time": round(sum(clock(new) for _, new in times) / sum(clock(old) for old, _ in times), 4),
            "worst_function": round(max(map(statistics.geometric_mean, by_function.values())), 4),
            "surprises": report.surprises,
            "rows": report.rows,
            "engines": [one.engine for one in report.engines],
        }
    return result


# -- the time of a fit -----------------------------------------------------------------------------------------------


def times(slices: Sequence[Slice], rows: int = 100_000) -> dict[str, float]:
    """Return milliseconds: of a fit to the corpus, to ``rows`` examples, and of all of `fit` on such a history."""
    from amorsize.history.history import History
    from amorsize.history.run_row import Run
    from amorsize.learn.fitting import fit
    from amorsize.learn.parts import shares

    some = examples(slices)
    many = [some[at % len(some)]._replace(function=f"{at % 997}") for at in range(rows)]
    found = {f"{len(these):,} examples": milliseconds(lambda these=these: learn(these)) for these in (some, many)}  # type: ignore[misc]
    sample, machine = slices[0].sample, slices[0].place.machine
    with tempfile.TemporaryDirectory(prefix="amorsize-benchmark-") as folder:
        history = History(Path(folder) / "history.sqlite")
        for at in range(rows):
            one = some[at % len(some)]
            extra = {"parts": shares(one.forecast.breakdown)}
            run = Run.of_call(
                len, None, 100, one.clock_s, forecast=one.forecast, source="tune", sample=sample, machine=machine,
                extra=extra, at_s=time.time() + at / 1e3,
            )  # fmt: skip
            history.record({**run.to_dict(), "function": f"{at % 997:032x}", "name": ""})
        history.flush()
        found[f"history of {rows:,} rows"] = milliseconds(lambda: fit(history), 1)
    return found


def milliseconds(call: Callable[[], object], turns: int = 5) -> float:
    """Return the median time of a call."""
    took = []
    for _ in range(turns):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e3)
    return round(statistics.median(took), 1)


# -- all of it -------------------------------------------------------------------------------------------------------


def evaluate(real: Sequence[Slice], simulated: Sequence[Slice]) -> dict[str, Any]:
    """Return all results, in a minute of CPU time."""
    by_function: Key = lambda one: one.function  # noqa: E731
    by_shape: Key = lambda one: one.place.name  # noqa: E731
    result: dict[str, Any] = {}
    for name, slices, key in (
        ("unseen functions", real, by_function),
        ("unseen functions, simulated", simulated, by_function),
        ("unseen shapes, simulated", simulated, by_shape),
    ):
        pruners = left_out(slices, key)
        found = held(slices, pruners, key)
        own = with_own_rows(slices, pruners, key)
        result[name] = {
            "corpus": cells.describe(slices),
            "forecast": summary(found),
            "of_what_the_model_picks": summary([one for one in found if one.picked]),
            "by_engine": by(found, "engine"),
            "by_sampled": by(found, "sampled"),
            "by_function": by(found, "function"),
            "one_own_row": summary(own),
            "one_own_row_of": by(own, "engine"),
            "regret": regrets(slices, pruners, key),
            "regret_with_one_own_row": regrets(slices, pruners, key, own=True),
            "tune": tuning(slices, pruners, key),
        }
    fit = learn(examples(real))[0]
    result["fit"] = fit.to_dict()
    result["real to simulated"] = summary(held(simulated, {"": fit}, lambda one: ""))
    result["poisoned"] = poisoned(real, examples(simulated))
    result["fit_ms"] = times(real)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the figures, in lines."""
    for name, part in result.items():
        for key, value in part.items() if isinstance(part, dict) else ():
            if key != "by_function":
                shown = {k: v for k, v in value.items() if k != "by_function"} if isinstance(value, dict) else value
                print(f"{name}: {key}: {shown}")


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

        print(draw(result, arguments.plots))


if __name__ == "__main__":
    main()
