"""Corrects the model's forecasts by what past runs took, and chooses among the candidates again.

Two kinds of rows correct a forecast. With neither it stays exactly what the model says.

* *Other functions*: a fit (`amorsize.learn.fitting`) has a factor for each part of each engine's forecast (start,
  compute, transfer, dispatch, tail) and for the widths of its interval: how far clocks lay from the corrected forecasts
  of functions that were not in the fit (conformal prediction, in units of the model's own widths: Lei, G'Sell, Rinaldo,
  Tibshirani & Wasserman 2018), where few items were sampled and where more were.
* *The same map*: its rows tell how far the forecast of what they ran is off (`Pruner.knowing`). Three quarters of the
  variance of errors lie between maps, so that one row helps more than all other functions.

A correction is bounded by `MOST`, and only candidates whose forecast by the model is within `WILD` of the model's
choice may be preferred, so a wrong history costs little.

A fit is a small JSON file beside the history: it is checked when it is read, never unpickled, and used without numpy.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

from amorsize.facts import MARGIN, Breakdown, Forecast
from amorsize.formatting import count
from amorsize.frozen import replace
from amorsize.learn.fit_file import fit_path
from amorsize.learn.parts import PARTS, engine_of, seconds_of
from amorsize.model.intervals import FEW
from amorsize.model.statistics import median

if TYPE_CHECKING:
    from amorsize.history.history import History

FORMAT: Final = 2
# The largest correction of a forecast: a factor of three (a guess).
MOST: Final = log(3.0)
# A clock this far from its forecast has another cause, and corrects nothing (a guess).
SURPRISE: Final = log(8.0)
# Largest factor of an interval's width (a guess).
WIDEST: Final = 20.0
# No candidate beyond this factor of the model's best forecast is preferred (benchmarks/pruning.py).
WILD: Final = 1.15
# Share of time that another candidate must save over the model's choice (benchmarks/pruning.py). Over a plain loop it
# is `MARGIN`, as the model has it.
GAIN: Final = 0.03
# Share of the error of one row that another setting of the same map has, on the same engine and on another one. On
# the corpus one row beside a fit gives a median error of 12.7 and 15.2 % instead of 16.0, and a 90th percentile of 38
# and 63 instead of 76.
SAME, OTHER = 0.9, 0.3
# Half the width of the interval around a forecast that rows of the same map and engine have corrected: of the clocks,
# 80 % lay within e**-0.22 and e**0.26 of it where few items were sampled, e**-0.30 and e**0.32 where more were.
OWN_WIDTH: Final = 0.28


class Fit(NamedTuple):
    """What other functions tell of one engine; a factor of 1 leaves the model alone.

    Attributes
    ----------
    factors : tuple of float
        Factors of the parts of a forecast, in the order of `PARTS`.
    few, many : (float, float)
        Factors of the model's widths below and above, where at most `FEW` items were sampled, and where more were.
    """

    factors: tuple[float, ...] = (1.0,) * len(PARTS)
    few: tuple[float, float] = (1.0, 1.0)
    many: tuple[float, float] = (1.0, 1.0)

    def parts(self, one: Forecast) -> tuple[float, ...]:
        """Return the corrected parts of a forecast, in seconds."""
        return tuple(part * factor for part, factor in zip(seconds_of(one.breakdown), self.factors, strict=True))


MODEL: Final = Fit()


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
    """What history tells of forecasts.

    Attributes
    ----------
    fits : Mapping of str to Fit
        By engine.
    runs, functions : int
        Number of rows and functions in the fit.
    own : tuple of (str, float)
        Engine and ``log(clock / corrected forecast)`` of each row of the same map.
    other : float
        Share of that error on engines where the map has not run.
    """

    fits: Mapping[str, Fit] = field(default_factory=dict)
    runs: int = 0
    functions: int = 0
    own: tuple[tuple[str, float], ...] = ()
    other: float = OTHER

    def knowing(self, ran: Sequence[tuple[str, Forecast, float]], other: float = OTHER) -> Pruner:
        """Return the same with rows of the map itself: the engine, today's forecast of what ran, and the clock."""
        own = [
            (engine, log(clock_s / self.correct(one, engine, 0).total_s))
            for engine, one, clock_s in ran
            if clock_s > 0 and one.total_s > 0
        ]
        usual = tuple((engine, off) for engine, off in own if abs(off) <= SURPRISE)
        return dataclasses.replace(self, own=usual, other=other)

    def correct(self, one: Forecast, engine: str, n_sampled: int) -> Forecast:
        """Return the corrected forecast; the same object if there is no correction."""
        fit = self.fits.get(engine, MODEL)
        off, is_same = self._own_off(engine)
        if one.refused is not None or one.total_s <= 0 or (fit is MODEL and not off and not is_same):
            return one
        parts = fit.parts(one)
        fitted_s = one.total_s + sum(parts) - sum(seconds_of(one.breakdown))
        total_s = one.total_s * exp(max(-MOST, min(MOST, log(fitted_s / one.total_s) + off)))
        below, above = self._widths(one, fit, n_sampled)
        if is_same:
            below, above = min(below, OWN_WIDTH), min(above, OWN_WIDTH)
        return replace(
            one,
            total_s=total_s,
            low_s=total_s * exp(-below),
            high_s=total_s * exp(above),
            breakdown=Breakdown(**dict(zip(PARTS, (part * total_s / fitted_s for part in parts), strict=True))),
        )

    def _own_off(self, engine: str) -> tuple[float, bool]:
        """Return what the map's own rows add to the logarithm of a forecast, and whether they ran on this engine.

        k rows of the engine are believed ``k / (k + 1 / SAME - 1)`` of their median.
        """
        same = [off for name, off in self.own if name == engine]
        if same:
            return median(same) * len(same) / (len(same) + 1 / SAME - 1), True
        return (self.other * median([off for _, off in self.own]), False) if self.own else (0.0, False)

    @staticmethod
    def _widths(one: Forecast, fit: Fit, n_sampled: int) -> tuple[float, float]:
        below, above = fit.few if n_sampled <= FEW else fit.many
        model = widths_of(one)
        return below * model[0], above * model[1]

    def narrow(self, best: Forecast, others: Sequence[Forecast], n_sampled: int) -> Narrowed:
        """Choose again among the candidates of `amorsize.optimize`, by corrected forecasts.

        Parameters
        ----------
        best, others
            As `amorsize.model.search.choose` returns them.
        n_sampled : int
            Items that the forecasts rest on.
        """
        new = {id(one): self.correct(one, engine_of(one.backend), n_sampled) for one in (best, *others)}
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
        known = [f"{self.runs:,} runs of {self.functions} functions"] if self.fits else []
        known += [f"{count(len(self.own), 'run')} of this map"] if self.own else []
        return f"history ({', '.join(known)}) {what}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as a dict for JSON."""
        fits = {name: fit._asdict() for name, fit in self.fits.items()}
        return {"format": FORMAT, "parts": PARTS, "fits": fits, "runs": self.runs, "functions": self.functions}

    @classmethod
    def from_dict(cls, row: object) -> Pruner | None:
        """Read what `to_dict` wrote; None if it is invalid, or has other parts."""
        if not isinstance(row, Mapping) or not _is_ours(row) or not isinstance(listed := row.get("fits"), Mapping):
            return None
        fits = {str(name): _fit(one) for name, one in listed.items()}
        known = {name: one for name, one in fits.items() if one is not None}
        runs, functions = row.get("runs"), row.get("functions")
        if len(known) < len(fits) or not isinstance(runs, int) or not isinstance(functions, int):
            return None
        return cls(known, runs, functions)


def widths_of(one: Forecast) -> tuple[float, float]:
    """Return by how much a forecast's interval reaches below and above it, in logarithms."""
    return log(one.total_s / one.low_s), log(one.high_s / one.total_s)


def _is_ours(row: Mapping[Any, Any]) -> bool:
    return row.get("format") == FORMAT and row.get("parts") in (PARTS, list(PARTS))


def _fit(row: object) -> Fit | None:
    if not isinstance(row, Mapping) or set(row) != set(Fit._fields):
        return None
    factors, widths = row["factors"], [row["few"], row["many"]]
    if not _are_within(factors, len(PARTS), exp(-MOST), exp(MOST)):
        return None
    if not all(_are_within(pair, 2, 0.0, WIDEST) for pair in widths):
        return None
    few, many = ((float(below), float(above)) for below, above in widths)
    return Fit(tuple(map(float, factors)), few, many)


def _are_within(values: object, length: int, least: float, most: float) -> bool:
    if not isinstance(values, list | tuple) or len(values) != length:
        return False
    return all(is_number(one) and 0.999 * least <= one <= 1.001 * most for one in values)


def is_number(value: object) -> TypeGuard[float]:
    """True for a finite number that is no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


# -- where it is kept ------------------------------------------------------------------------------------------------

# By file: its date and size when it was read, and the fit.
_known: dict[str, tuple[tuple[int, int], Pruner | None]] = {}


def known(history: History | None) -> Pruner | None:
    """Return a history's fit, or None. Reading it takes 0.1 ms, once; the check for changes 10 µs."""
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
    if pruner is None and not (isinstance(row, Mapping) and not _is_ours(row)):
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
