"""Fits the pruner: rows of history in, a `Pruner` and a report of its errors out. The only module with scikit-learn.

The residual ``log(clock / forecast)`` is fitted by gradient boosting of shallow trees (Friedman 2001) for the absolute
error. The fit is judged on functions that were left out (grouped cross-validation): an engine's gate opens if its
corrected forecasts were better than the model's by more than chance.

The time is bounded for any number of rows: `PER_FUNCTION` of each function and engine, `MOST_ROWS` in all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import log
from statistics import median
from typing import Any, Final, NamedTuple

from amorsize.facts import Breakdown, Forecast
from amorsize.history.history import ALL, History, Run
from amorsize.history.run_row import sample_of
from amorsize.learn import pruner
from amorsize.learn.features import ENGINES, Case, Cores, breakdown_of, engine_of, features
from amorsize.learn.fit_file import fit_path
from amorsize.learn.pruner import MOST, Pruner, Region
from amorsize.learn.trees import LEAF, Tree, Trees, is_number

# Fewest rows and functions of an engine (guesses): with fewer functions, unseen ones cannot be judged.
LEAST_ROWS: Final = 30
LEAST_FUNCTIONS: Final = 6
# Share of a feature's range by which a case may lie outside it (a guess).
WIDER: Final = 0.25
# Chosen on the corpus, functions held out (docs/why/learning.md): more or deeper trees, forests, ridge regression,
# nearest neighbours and one fit for all engines were no better. What functions have in common is simple.
TREES, RATE, LEAST_LEAF, MOST_LEAF = 30, 0.04, 5, 30
# The newest rows are read: 1 s, and 200 MB for a moment.
MOST_READ: Final = 20_000
# The newest rows of a function on one engine, rows in all, and folds of the cross-validation (guesses).
PER_FUNCTION: Final = 40
MOST_ROWS: Final = 4_000
FOLDS: Final = 10
# A clock this far from its forecast has another cause, and is not fitted (a guess).
SURPRISE: Final = log(8.0)
# Share of surprises among an engine's rows; with more its gate stays shut (a guess).
MOST_SURPRISES: Final = 0.2
# The gate opens if the median error is at most this share of the model's (a guess).
BETTER: Final = 0.9
# Standard errors by which functions must be better on average (a guess).
SURE: Final = 1.0
# Quantiles of the 80 % interval.
COVERED: Final = (0.1, 0.9)
# The clock of a shorter run is mostly noise (a guess).
BRIEF_S: Final = 2e-3


class Example(NamedTuple):
    """A case, its residual, and the function's fingerprint."""

    case: Case
    residual: float
    function: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One engine's errors on unseen functions, ``|log(forecast / clock)|``, without and with the pruner."""

    engine: str
    rows: int
    functions: int
    # Share of surprises among its rows.
    strange: float
    median: tuple[float, float]
    p90: tuple[float, float]
    open: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a fit.

    Attributes
    ----------
    rows, used, surprises : int
        Rows of history; rows in the fit; rows whose clock was too far from the forecast.
    engines : tuple of Judged
    functions : Mapping
        By name: rows, and the median error without and with a pruner that has not seen the function.
    file : str or None
        Path of the fit; None if it is not written.
    took_s : float
    """

    rows: int
    used: int
    surprises: int
    engines: tuple[Judged, ...] = ()
    functions: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)
    file: str | None = None
    took_s: float = 0.0

    @property
    def speaks(self) -> bool:
        """True if any gate is open."""
        return any(one.open for one in self.engines)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self) | {"speaks": self.speaks}

    def __str__(self) -> str:
        lines = [f"{self.rows:,} rows, {self.used:,} used, {self.surprises:,} surprises; {self.took_s:.1f} s"]
        for one in self.engines:
            (before, after), (before_90, after_90) = one.median, one.p90
            lines.append(
                f"  {one.engine:10} {one.rows:5} rows of {one.functions:3} functions: median error {before:.1%} -> "
                f"{after:.1%}, 90th percentile {before_90:.1%} -> {after_90:.1%}: "
                + ("corrected from now on" if one.open else "left to the model")
            )
        if not self.engines:
            lines.append("  too few rows: the model is left alone")
        return "\n".join(lines)


def fit(history: History | None = None) -> Report:
    """Fit a pruner to a history's rows, write it beside them, and report its errors.

    Needs scikit-learn (``pip install amorsize[ml]``), and takes some seconds.

    Parameters
    ----------
    history : History, optional
        By default the one that ``AMORSIZE_HISTORY`` names.

    Raises
    ------
    ImportError
        When scikit-learn is not installed.
    """
    # First, so that a missing scikit-learn is reported before the rows are read.
    import sklearn.ensemble  # noqa: F401

    began = time.perf_counter()
    history = History() if history is None else history
    runs = history.runs(limit=MOST_READ, source=ALL)
    names = {str(run.function): run.name or str(run.function)[:12] for run in runs}
    examples = [example for example in map(example_of, runs) if example is not None]
    found, report = learn(examples)
    file = fit_path(history)
    if file is not None and found is not None:
        pruner.keep(file, found)
    return replace(
        report,
        rows=len(runs),
        functions={f"{names.get(key, key)} {key[:8]}": value for key, value in report.functions.items()},
        file=file if found is not None else None,
        took_s=time.perf_counter() - began,
    )


# -- from rows to examples -------------------------------------------------------------------------------------------

OWN_ENGINES: Final = {"processes": "team", "threads": "threads", "executor": "executor"}


def engine_in(run: Run) -> str | None:
    """Return a row's engine: a plan's or a trial's pool, or one of ``execute()``'s own; None if it cannot be fitted."""
    source = run.extra.get("from", "execute") if run.source == "import" else run.source
    return OWN_ENGINES.get(run.backend) if source == "execute" else engine_of(run.backend)


def example_of(run: Run) -> Example | None:
    """Make an example from a row of history; None if something is missing, or the run is too short.

    Loops of ``execute()`` and tuned plans are left out: their forecasts come from the run itself, or from its trials.
    """
    n, predicted_s, clock_s = run.n_items, run.predicted_s, run.clock_s
    if run.outcome != "ok" or not n or not is_number(predicted_s) or not is_number(clock_s):
        return None
    if min(predicted_s, clock_s) < BRIEF_S:
        return None
    sample, cores, engine = sample_of(run), _cores(run.machine), engine_in(run)
    parts = breakdown_of(run.extra.get("parts"), predicted_s)
    if engine == "loop" and parts is None:
        parts = Breakdown(compute_s=predicted_s)
    if sample is None or cores is None or engine is None or parts is None or run.extra.get("tuned"):
        return None
    forecast = Forecast(
        backend=run.backend,  # type: ignore[arg-type]
        workers=run.n_jobs,
        chunksize=run.chunksize,
        start_method=run.start_method,
        total_s=predicted_s,
        low_s=predicted_s,
        high_s=predicted_s,
        breakdown=parts,
    )
    return Example(Case(sample, cores, n, engine, forecast), log(clock_s / predicted_s), str(run.function))


def _cores(machine: Mapping[str, Any] | None) -> Cores | None:
    usable, logical = (machine or {}).get("usable_cores"), (machine or {}).get("logical_cores")
    return Cores(usable, logical) if is_number(usable) and isinstance(logical, int) else None


# -- from examples to a pruner ---------------------------------------------------------------------------------------


def learn(examples: Sequence[Example]) -> tuple[Pruner | None, Report]:
    """Fit, and judge on functions that were left out. None if there are too few rows."""
    import numpy as np

    kept = thinned([one for one in examples if abs(one.residual) <= SURPRISE])
    report = Report(rows=len(examples), used=len(kept), surprises=sum(abs(one.residual) > SURPRISE for one in examples))
    regions: dict[str, Region] = {}
    judged: list[Judged] = []
    errors: dict[str, list[tuple[float, float]]] = {}
    for engine in ENGINES:
        here = [one for one in kept if one.case.engine == engine]
        if len(here) < LEAST_ROWS or len({one.function for one in here}) < LEAST_FUNCTIONS:
            continue
        table = np.array([features(one.case) for one in here])
        residuals = np.array([one.residual for one in here])
        functions = np.array([one.function for one in here])
        left = residuals - out_of_fold(table, residuals, functions)
        verdict = judge(engine, residuals, left, functions, strange(examples, engine))
        low, high = np.quantile(left, COVERED)
        regions[engine] = Region(verdict.open, as_trees(grown(table, residuals)), *seen(table), float(low), float(high))
        judged.append(verdict)
        for name, before, after in zip(functions.tolist(), residuals, left, strict=True):
            errors.setdefault(name, []).append((abs(before), abs(after if verdict.open else before)))
    by_name = {name: _medians(pairs) for name, pairs in sorted(errors.items())}
    report = replace(report, engines=tuple(judged), functions=by_name)
    return (Pruner(regions, len(kept), len(by_name)) if regions else None), report


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[int, float, float]:
    before, after = zip(*pairs, strict=True)
    return len(pairs), float(median(before)), float(median(after))


def strange(examples: Sequence[Example], engine: str) -> float:
    """Return the share of surprises among an engine's rows."""
    here = [abs(one.residual) > SURPRISE for one in examples if one.case.engine == engine]
    return sum(here) / len(here)


def thinned(examples: Sequence[Example]) -> list[Example]:
    """Keep the newest rows of each function on each engine; of more than `MOST_ROWS` an evenly spaced subset."""
    taken: dict[tuple[str, str], int] = {}
    kept = []
    for one in reversed(examples):
        key = (one.function, one.case.engine)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= PER_FUNCTION:
            kept.append(one)
    kept.reverse()
    step = -(-len(kept) // MOST_ROWS)
    return kept[:: max(1, step)]


def seen(table: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the range of each feature, widened by `WIDER`."""
    least, most = table.min(axis=0), table.max(axis=0)
    wider = WIDER * (most - least)
    return tuple((least - wider).tolist()), tuple((most + wider).tolist())


def out_of_fold(table: Any, residuals: Any, functions: Any) -> Any:
    """Predict each row by a fit without the row's function."""
    import numpy as np
    from sklearn.model_selection import GroupKFold

    predicted = np.zeros(len(residuals))
    folds = GroupKFold(min(FOLDS, len(set(functions.tolist()))))
    for known, unseen in folds.split(table, residuals, functions):
        predicted[unseen] = np.clip(grown(table[known], residuals[known]).predict(table[unseen]), -MOST, MOST)
    return predicted


def judge(engine: str, residuals: Any, left: Any, functions: Any, strange: float) -> Judged:
    """Judge an engine: its gate opens if errors are better in the median, no worse in the tail, and not by chance.

    ``left`` is the rest of each residual after the correction by a fit without the row's function. Not by chance: the
    mean gain over the functions is more than `SURE` times its standard error.
    """
    import numpy as np

    before, after = abs(residuals), abs(left)
    names = sorted(set(functions.tolist()))
    gains = np.array([before[functions == name].mean() - after[functions == name].mean() for name in names])
    middle = (float(np.median(before)), float(np.median(after)))
    p90 = (float(np.quantile(before, 0.9)), float(np.quantile(after, 0.9)))
    sure = strange <= MOST_SURPRISES and gains.mean() > SURE * gains.std(ddof=1) / np.sqrt(len(gains))
    better = middle[1] <= BETTER * middle[0] and p90[1] <= p90[0]
    return Judged(engine, len(before), len(names), strange, middle, p90, bool(sure and better))


def grown(table: Any, residuals: Any) -> Any:
    """Fit the trees."""
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(
        loss="absolute_error",
        n_estimators=TREES,
        max_depth=3,
        learning_rate=RATE,
        subsample=0.7,
        min_samples_leaf=max(LEAST_LEAF, min(MOST_LEAF, len(residuals) // 20)),
        max_features=0.5,
        random_state=0,
    ).fit(table, residuals)


def as_trees(fitted: Any) -> Trees:
    """Convert a fit of scikit-learn to plain numbers."""
    import numpy as np

    trees = []
    for one in fitted.estimators_[:, 0]:
        tree = one.tree_
        feature = [int(asked) if asked >= 0 else LEAF for asked in tree.feature]
        value = (fitted.learning_rate * tree.value[:, 0, 0]).tolist()
        left, right = tree.children_left.tolist(), tree.children_right.tolist()
        trees.append(Tree(tuple(feature), tuple(tree.threshold.tolist()), tuple(left), tuple(right), tuple(value)))
    return Trees(float(np.ravel(fitted.init_.constant_)[0]), tuple(trees))
