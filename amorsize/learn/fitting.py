"""Fits the pruner: rows of history in, a `Pruner` and a report of its errors out.

For each engine five factors, of the parts of the model's forecast, minimise the absolute error of its logarithm, by
iteratively reweighted least squares (Beaton & Tukey 1974); a penalty on their logarithms shrinks them to 1, so that a
few functions move them little. Every function counts alike, however many rows it has. Errors and widths of intervals
are those of functions that were left out (grouped cross-validation).

The time is bounded for any number of rows: `PER_FUNCTION` of each function and engine, `MOST_ROWS` in all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import log
from statistics import median
from typing import Any, Final, NamedTuple

from amorsize.facts import Breakdown, Forecast, Sample
from amorsize.history.history import ALL, History, Run
from amorsize.history.run_row import sample_of
from amorsize.learn import pruner
from amorsize.learn.fit_file import fit_path
from amorsize.learn.parts import ENGINES, PARTS, breakdown_of, engine_in, seconds_of
from amorsize.learn.pruner import MOST, SURPRISE, WIDEST, Fit, Pruner, is_number, widths_of
from amorsize.model.intervals import FEW, interval

# Fewest functions of an engine, and of its runs with few or with more sampled items (a guess): with fewer, errors on
# unseen ones cannot be told.
LEAST_FUNCTIONS: Final = 6
# Weight of the factors' logarithms, against one for each function. On the corpus 1 to 8 give the same errors.
SHRINK: Final = 5.0
# Errors below this count by their squares, so that the solution moves smoothly. 0.02 to 0.3 give the same errors.
SMALL: Final = 0.1
# Steps of the solution, and the largest of one (guesses: 5 to 8 steps reach 1e-4).
STEPS, MOST_STEP, CLOSE = 15, 0.5, 1e-4
# The newest rows are read: 1 s, and 200 MB for a moment.
MOST_READ: Final = 20_000
# The newest rows of a function on one engine, rows in all, and folds of the cross-validation (guesses).
PER_FUNCTION: Final = 40
MOST_ROWS: Final = 4_000
FOLDS: Final = 10
# An engine with a larger share of surprises among its rows is left to the model (a guess).
MOST_SURPRISES: Final = 0.2
# Share of clocks that may lie below the 80 % interval, and above it.
OUTSIDE: Final = 0.1
# The clock of a shorter run is mostly noise (a guess).
BRIEF_S: Final = 2e-3
# Uncertainty of the start of workers, which rows do not hold: that of `amorsize.facts.StartCost`.
START_SPREAD: Final = 0.25


class Example(NamedTuple):
    """The model's forecast of a run on an engine, from so many sampled items; the clock; the function's fingerprint."""

    engine: str
    forecast: Forecast
    n_sampled: int
    clock_s: float
    function: str

    @property
    def residual(self) -> float:
        """``log(clock / forecast)``."""
        return log(self.clock_s / self.forecast.total_s)


@dataclass(frozen=True, slots=True)
class Judged:
    """One engine on unseen functions, without and with the pruner.

    ``median``, ``p90``: errors ``|log(forecast / clock)|``. ``coverage``: share of clocks within the interval.
    """

    engine: str
    rows: int
    functions: int
    median: tuple[float, float]
    p90: tuple[float, float]
    coverage: tuple[float, float]


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

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.rows:,} rows, {self.used:,} used, {self.surprises:,} surprises; {self.took_s:.1f} s"]
        for one in self.engines:
            errors = [f"{before:.1%} -> {after:.1%}" for before, after in (one.median, one.p90, one.coverage)]
            lines.append(
                f"  {one.engine:10} {one.rows:5} rows of {one.functions:3} functions: median error {errors[0]}, "
                f"90th percentile {errors[1]}, within the 80 % interval {errors[2]}"
            )
        lines.append(
            "  (errors on functions that were left out of the fit)"
            if self.engines
            else f"  an engine needs rows of {LEAST_FUNCTIONS} functions: the model is left alone"
        )
        return "\n".join(lines)


def fit(history: History | None = None) -> Report:
    """Fit a pruner to a history's rows, write it beside them, and report its errors.

    Parameters
    ----------
    history : History, optional
        By default the one that ``AMORSIZE_HISTORY`` names.
    """
    began = time.perf_counter()
    history = History() if history is None else history
    runs = history.runs(limit=MOST_READ, source=ALL)
    names = {str(run.function): run.name or str(run.function)[:12] for run in runs}
    found, report = learn([example for example in map(example_of, runs) if example is not None])
    file = fit_path(history)
    if file is not None:
        if found.fits:
            pruner.keep(file, found)
        else:
            pruner.forget(history)
    return replace(
        report,
        rows=len(runs),
        functions={f"{names.get(key, key)} {key[:8]}": value for key, value in report.functions.items()},
        file=file if found.fits else None,
        took_s=time.perf_counter() - began,
    )


# -- from rows to examples -------------------------------------------------------------------------------------------


def example_of(run: Run) -> Example | None:
    """Make an example from a row of history; None if something is missing, or the run is too short.

    Loops of ``execute()`` and tuned plans are left out: their forecasts come from the run itself, or from its trials.
    """
    n, predicted_s, clock_s = run.n_items, run.predicted_s, run.clock_s
    if run.outcome != "ok" or not n or not is_number(predicted_s) or not is_number(clock_s):
        return None
    if min(predicted_s, clock_s) < BRIEF_S:
        return None
    source, engine = engine_in(run)
    if run.extra.get("tuned") or (source == "execute" and engine == "loop"):
        return None
    sample = sample_of(run)
    parts = breakdown_of(run.extra.get("parts"), predicted_s)
    if engine == "loop" and parts is None:
        parts = Breakdown(compute_s=predicted_s)
    if sample is None or engine is None or parts is None or run.extra.get("tuned"):
        return None
    return Example(
        engine, _forecast(run, predicted_s, parts, sample, engine), sample.n_sampled, clock_s, str(run.function)
    )


def _forecast(run: Run, total_s: float, parts: Breakdown, sample: Sample, engine: str) -> Forecast:
    """Return a row's forecast, with the interval of today's model: an older one's widths were others."""
    low_s, high_s = interval(total_s, parts.start_s, START_SPREAD, sample, run.n_items or 0, engine)
    return Forecast(
        backend=run.backend,  # type: ignore[arg-type]
        workers=run.n_jobs,
        chunksize=run.chunksize,
        start_method=run.start_method,
        total_s=total_s,
        low_s=low_s,
        high_s=high_s,
        breakdown=parts,
    )


# -- from examples to a pruner ---------------------------------------------------------------------------------------


def learn(examples: Sequence[Example]) -> tuple[Pruner, Report]:
    """Fit, and judge on functions that were left out. An engine with too few functions is left to the model."""
    usual = [one for one in examples if abs(one.residual) <= SURPRISE]
    kept = thinned(usual)
    report = Report(rows=len(examples), used=len(kept), surprises=len(examples) - len(usual))
    fits: dict[str, Fit] = {}
    judged: list[Judged] = []
    errors: dict[str, list[tuple[float, float]]] = {}
    for engine in ENGINES:
        here = [one for one in kept if one.engine == engine]
        if len({one.function for one in here}) < LEAST_FUNCTIONS or strange(examples, engine) > MOST_SURPRISES:
            continue
        table = Table(engine, here)
        off = table.left_out()
        fits[engine] = table.fit(off)
        judged.append(table.judged(off))
        for one, after in zip(here, off.tolist(), strict=True):
            errors.setdefault(one.function, []).append((abs(one.residual), abs(after)))
    by_name = {name: _medians(pairs) for name, pairs in sorted(errors.items())}
    return Pruner(fits, len(kept), len(by_name)), replace(report, engines=tuple(judged), functions=by_name)


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[int, float, float]:
    before, after = zip(*pairs, strict=True)
    return len(pairs), float(median(before)), float(median(after))


def strange(examples: Sequence[Example], engine: str) -> float:
    """Return the share of surprises among an engine's rows."""
    here = [abs(one.residual) > SURPRISE for one in examples if one.engine == engine]
    return sum(here) / len(here)


def thinned(examples: Sequence[Example]) -> list[Example]:
    """Keep the newest rows of each function on each engine; of more than `MOST_ROWS` an evenly spaced subset."""
    taken: dict[tuple[str, str], int] = {}
    kept = []
    for one in reversed(examples):
        key = (one.function, one.engine)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= PER_FUNCTION:
            kept.append(one)
    kept.reverse()
    step = -(-len(kept) // MOST_ROWS)
    return kept[:: max(1, step)]


class Table:
    """The examples of one engine as arrays: seconds of the parts, clocks, widths of the intervals, weights."""

    def __init__(self, engine: str, examples: Sequence[Example]) -> None:
        import numpy as np

        self.engine = engine
        self.parts = np.array([seconds_of(one.forecast.breakdown) for one in examples])
        self.rest = np.array([one.forecast.total_s for one in examples]) - self.parts.sum(axis=1)
        self.clock = np.log([one.clock_s for one in examples])
        self.residual = np.array([one.residual for one in examples])
        self.widths = np.array([widths_of(one.forecast) for one in examples])
        self.few = np.array([one.n_sampled <= FEW for one in examples])
        names, self.function, rows = np.unique(
            [one.function for one in examples], return_inverse=True, return_counts=True
        )
        self.functions = len(names)
        self.weight = (1 / rows)[self.function]
        self.folds = min(FOLDS, self.functions)
        self.fold = self.function % self.folds

    def factors(self, rows: Any) -> Any:
        """Return the logarithms of the parts' factors, from some of the rows; the loop's are 0.

        The loop has one part, and its error is the sample's alone, which is no other function's.
        """
        import numpy as np

        logs = np.zeros(len(PARTS))
        if self.engine == "loop":
            return logs
        parts, rest, clock, weight = self.parts[rows], self.rest[rows], self.clock[rows], self.weight[rows]
        for _ in range(STEPS):
            seconds = parts * np.exp(logs)
            total = seconds.sum(axis=1) + rest
            slope, off = seconds / total[:, None], clock - np.log(total)
            weights = weight / np.maximum(abs(off), SMALL)
            normal = (slope.T * weights) @ slope + SHRINK * np.eye(len(PARTS))
            step = np.linalg.solve(normal, slope.T @ (weights * off) - SHRINK * logs)
            logs = logs + np.clip(step, -MOST_STEP, MOST_STEP)
            if np.max(abs(step)) < CLOSE:
                break
        return np.clip(logs, -MOST, MOST)

    def left_out(self) -> Any:
        """Return ``log(clock / corrected forecast)`` of each row, by factors from other functions' rows."""
        import numpy as np

        off = np.zeros(len(self.clock))
        for fold in range(self.folds):
            out = self.fold == fold
            total = (self.parts[out] * np.exp(self.factors(~out))).sum(axis=1) + self.rest[out]
            off[out] = self.clock[out] - np.log(total)
        return off

    def fit(self, off: Any) -> Fit:
        """Return the fit to all rows; ``off``: as from `left_out`."""
        import numpy as np

        return Fit(
            tuple(np.exp(self.factors(self.fold >= 0)).tolist()),
            self.widths_of(off, self.fold >= 0, True),
            self.widths_of(off, self.fold >= 0, False),
        )

    def widths_of(self, off: Any, among: Any, few: bool) -> tuple[float, float]:
        """Return the factors of the model's widths that hold 80 % of such rows, or of all where these are too few."""
        import numpy as np

        rows = among & (self.few == few)
        if len(set(self.function[rows].tolist())) < LEAST_FUNCTIONS:
            rows = among
        functions = len(set(self.function[rows].tolist()))
        off, widths = off[rows], self.widths[rows]
        ratio = off / np.where(off < 0, widths[:, 0], widths[:, 1])
        order = np.argsort(ratio)
        share = np.cumsum(self.weight[rows][order])
        # Half a function lies beyond the outermost one (Hazen's plotting position).
        beyond = max(0.0, 1 - (1 - OUTSIDE) * (functions + 0.5) / functions)
        low, high = (ratio[order][np.searchsorted(share, part * share[-1])] for part in (beyond, 1 - beyond))
        return float(min(WIDEST, max(0.0, -low))), float(min(WIDEST, max(0.0, high)))

    def judged(self, off: Any) -> Judged:
        """Return errors and coverage without and with the fit, each function by a fit of the others."""
        import numpy as np

        inside = np.zeros(len(off), dtype=bool)
        for fold in range(self.folds):
            for few in (True, False):
                out = (self.fold == fold) & (self.few == few)
                below, above = self.widths_of(off, self.fold != fold, few)
                inside[out] = within(off, self.widths * (below, above))[out]
        errors = [abs(self.residual), abs(off)]
        before, after = (float(np.median(one)) for one in errors)
        before_90, after_90 = (float(np.quantile(one, 0.9)) for one in errors)
        model = within(self.residual, self.widths)
        coverage = float(model.mean()), float(inside.mean())
        return Judged(self.engine, len(off), self.functions, (before, after), (before_90, after_90), coverage)


def within(off: Any, widths: Any) -> Any:
    """Return which clocks lie within their intervals."""
    return (-widths[:, 0] <= off) & (off <= widths[:, 1])
