"""The pruner corrects the model's forecasts by what past runs took, and chooses among the candidates again.

It predicts the residual ``log(clock / forecast)`` of a candidate from `amorsize.learn.features`. Without a fit there is
no pruner, and forecasts stay as they are. A fit corrects a forecast only where it has been shown to help:

* the *gate* of an engine is open only if, on functions that were not in the fit, the corrected forecasts were better
  than the model's (`amorsize.learn.fitting`);
* each engine has a *range* of every feature, seen in its rows: a candidate outside keeps the model's forecast;
* a correction is bounded by `MOST`, and only candidates whose forecast by the model is within `WILD` of the model's
  choice may be preferred, so a wrong history costs little.

The intervals have the width of the fit's errors on unseen functions (jackknife+, Barber, Candès, Ramdas & Tibshirani
2021, in its simplest form: one width for each engine).

Fitting needs scikit-learn (extra ``ml``) and happens on request (`amorsize.learn.fitting.fit`). The result is a JSON
file beside the history: it is checked when it is read, never unpickled, and used without importing anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.facts import MARGIN, Breakdown, Forecast, Machine, Sample
from amorsize.frozen import field_names, replace
from amorsize.learn.features import NAMES, Case, engine_of, features
from amorsize.learn.fit_file import fit_path
from amorsize.learn.trees import Trees, is_number

if TYPE_CHECKING:
    from amorsize.history.history import History

FORMAT: Final = 1
# The largest correction of a forecast: a factor of three (a guess).
MOST: Final = log(3.0)
# No candidate beyond this factor of the model's best forecast is preferred. On the corpus (docs/why/learning.md) 1.05
# to 1.3 give the same result, and at 2 a workload loses 19 %.
WILD: Final = 1.15
# Share of time that another candidate must save over the model's choice: at 0.01 a workload loses 4 %, at 0.03 none
# loses anything, and at 0.05 next to nothing is gained. Over a plain loop it is `MARGIN`, as the model has it.
GAIN: Final = 0.03


class Region(NamedTuple):
    """The fit of one engine.

    Attributes
    ----------
    open : bool
        True if its gate is open.
    trees : Trees
        Predict the residual.
    least, most : tuple of float
        Range of each feature in its rows.
    low, high : float
        80 % of ``log(clock / corrected forecast)`` on unseen functions lay between these.
    """

    open: bool
    trees: Trees
    least: tuple[float, ...]
    most: tuple[float, ...]
    low: float
    high: float


class Narrowed(NamedTuple):
    """A corrected choice as of `amorsize.model.search.choose`, the model's forecast of it, and a text for the user.

    The latter two are None if history corrected nothing.
    """

    best: Forecast
    others: list[Forecast]
    model_s: float | None
    said: str | None


@dataclass(frozen=True, slots=True)
class Pruner:
    """A fit of history.

    Attributes
    ----------
    regions : Mapping of str to Region
        By engine.
    runs, functions : int
        Number of rows and functions in the fit.
    """

    regions: Mapping[str, Region]
    runs: int = 0
    functions: int = 0

    def residual(self, case: Case) -> float | None:
        """Predict ``log(clock / forecast)``; None if the gate is closed or the case is out of range."""
        region = self.regions.get(case.engine)
        if region is None or not region.open or case.forecast.refused is not None or case.forecast.total_s <= 0:
            return None
        row = features(case)
        if any(not low <= value <= high for low, value, high in zip(region.least, row, region.most, strict=True)):
            return None
        return max(-MOST, min(MOST, region.trees.predict(row)))

    def correct(self, case: Case) -> Forecast:
        """Return the corrected forecast; the same object if there is no correction."""
        residual = self.residual(case)
        if residual is None:
            return case.forecast
        region = self.regions[case.engine]
        return corrected(case.forecast, residual, region.low, region.high)

    def narrow(
        self, best: Forecast, others: Sequence[Forecast], sample: Sample, machine: Machine, n_items: int
    ) -> Narrowed:
        """Choose again among the candidates of `amorsize.optimize`, by corrected forecasts.

        Parameters
        ----------
        best, others
            As `amorsize.model.search.choose` returns them.
        """
        new = {
            id(one): self.correct(Case(sample, machine, n_items, engine_of(one.backend), one))
            for one in (best, *others)
        }
        if all(new[id(one)] is one for one in (best, *others)):
            return Narrowed(best, list(others), None, None)
        allowed = [one for one in others if one.refused is None and one.total_s <= WILD * best.total_s]
        rival = min(allowed, key=lambda one: new[id(one)].total_s, default=best)
        gain = MARGIN if best.backend == "serial" else GAIN
        if new[id(rival)].total_s > (1 - gain) * new[id(best)].total_s:
            rival = best
        rest = [new[id(one)] for one in (best, *others) if one is not rival]
        rest.sort(key=lambda one: (one.refused is not None, one.total_s))
        return Narrowed(new[id(rival)], rest, rival.total_s, self._said(rival is not best))

    def _said(self, other: bool) -> str:
        what = "chose another candidate than the model" if other else "corrected the forecast"
        return f"history ({self.runs:,} runs of {self.functions} functions) {what}"

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {
            "format": FORMAT,
            "features": list(NAMES),
            "regions": {name: [one.trees.to_dict() if part is one.trees else part for part in one]
                        for name, one in self.regions.items()},
            "runs": self.runs,
            "functions": self.functions,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, row: object) -> Pruner | None:
        """Read what `to_dict` wrote; None if it is invalid, or has other features."""
        if not isinstance(row, Mapping) or row.get("format") != FORMAT or row.get("features") != list(NAMES):
            return None
        listed = row.get("regions")
        if not isinstance(listed, Mapping):
            return None
        regions = {str(name): _region(one) for name, one in listed.items()}
        known = {name: one for name, one in regions.items() if one is not None}
        runs, functions = row.get("runs"), row.get("functions")
        if len(known) < len(regions) or not isinstance(runs, int) or not isinstance(functions, int):
            return None
        return cls(known, runs, functions)


def corrected(one: Forecast, residual: float, low: float, high: float) -> Forecast:
    """Multiply a forecast by ``exp(residual)``; its parts keep their shares."""
    factor = exp(residual)
    parts = {name: getattr(one.breakdown, name) * factor for name in field_names(Breakdown)}
    total_s = one.total_s * factor
    return replace(
        one,
        total_s=total_s,
        low_s=total_s * exp(min(low, 0.0)),
        high_s=total_s * exp(max(high, 0.0)),
        breakdown=Breakdown(**parts),
    )


def _region(row: object) -> Region | None:
    if not isinstance(row, list) or len(row) != len(Region._fields):
        return None
    is_open, grown, least, most, low, high = row
    trees = Trees.from_dict(grown, len(NAMES))
    if trees is None or not isinstance(is_open, bool) or not all(isinstance(part, list) for part in (least, most)):
        return None
    if len(least) != len(NAMES) or len(most) != len(NAMES):
        return None
    if not all(is_number(one) for one in (*least, *most, low, high)) or not -9 <= low <= high <= 9:
        return None
    return Region(is_open, trees, tuple(map(float, least)), tuple(map(float, most)), float(low), float(high))


# -- where it is kept ------------------------------------------------------------------------------------------------

# By file: its date and size when it was read, and the fit.
_known: dict[str, tuple[tuple[int, int], Pruner | None]] = {}


def known(history: History | None) -> Pruner | None:
    """Return a history's fit, or None. Reading it takes 2 ms, once; the check for changes 10 µs."""
    try:
        file = fit_path(history)
        if file is None:
            return None
        status = os.stat(file)
    except OSError:
        return None
    seen = (status.st_mtime_ns, status.st_size)
    if file not in _known or _known[file][0] != seen:
        _known[file] = seen, read(file)
    return _known[file][1]


def read(file: str) -> Pruner | None:
    """Read a fit; None if it was made by another version, None with a warning if it is damaged."""
    import json
    import warnings

    try:
        with open(file, encoding="utf-8") as stream:
            row = json.load(stream)
        pruner = Pruner.from_dict(row)
    except (OSError, ValueError, RecursionError):
        row, pruner = None, None
    same = isinstance(row, Mapping) and (row.get("format"), row.get("features")) != (FORMAT, list(NAMES))
    if pruner is None and not same:
        warnings.warn(f"amorsize: {file} is damaged and not used; make it anew", RuntimeWarning, stacklevel=2)
    return pruner


def keep(file: str, pruner: Pruner) -> None:
    """Write a fit atomically."""
    import json

    draft = f"{file}.{os.getpid()}.part"
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    try:
        with open(draft, "w", encoding="utf-8") as stream:
            json.dump(pruner.to_dict(), stream, allow_nan=False, separators=(",", ":"))
        os.replace(draft, file)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise


def forget(history: History | None = None) -> bool:
    """Delete a history's fit; return True if there was one."""
    file = fit_path(history)
    if file is None or not os.path.exists(file):
        return False
    os.unlink(file)
    return True
