"""Rows of history as text and as JSON: the runs, and the errors of their forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from amorsize.formatting import count, date, printable, seconds, size
from amorsize.history.run_row import is_number
from amorsize.plan.plan_text import way

if TYPE_CHECKING:
    from amorsize.history.run_row import Run

ALL: Final = "all functions"


def listing(runs: Sequence[Run]) -> str:
    """Return one line for each run, the newest last."""
    if not runs:
        return "no runs"
    head = ("when", "what", "function", "items", "how", "forecast", "took", "")
    rows = [
        (
            date(run.at_s),
            run.source,
            named(run),
            "?" if run.n_items is None else f"{run.n_items:,}",
            way(run.backend, run.n_jobs, run.start_method),
            "" if run.predicted_s is None else seconds(run.predicted_s),
            seconds(run.clock_s),
            " ".join(notes(run)),
        )
        for run in runs
    ]
    return table([head, *rows], right=(3, 5, 6))


def named(run: Run) -> str:
    """Return the function's name, and the first digits of its fingerprint."""
    return f"{printable(run.name) or 'a function'} [{str(run.function)[:SHOWN]}]"


# Digits of a fingerprint that are shown (a guess).
SHOWN: Final = 8


def notes(run: Run) -> list[str]:
    """Return remarks on a run."""
    found = [] if run.outcome == "ok" else [run.outcome]
    if run.extra.get("known"):
        found.append("from history")
    if run.extra.get("surprise"):
        found.append("surprise")
    return found


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Format columns as wide as their widest cell; those in ``right`` are aligned to the right.

    Examples
    --------
    >>> print(table([("a", "n"), ("bc", "10")], right=[1]))
    a    n
    bc  10
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[at].rjust(w) if at in tuple(right) else row[at].ljust(w) for at, w in enumerate(widths)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


# -- errors of forecasts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The errors of the forecasts of some runs.

    Attributes
    ----------
    name : str
        The function's, and the first digits of its fingerprint.
    runs, forecasts : int
        Number of rows, and of rows that had a forecast and ended well.
    median, p90 : float or None
        Error of the forecast as a share: 0.25 is 25 % too high or too low (see `error`).
    coverage : float or None
        Share of clocks within the 80 % interval.
    pruned_median, pruned_p90 : float or None
        The same errors of forecasts corrected by the pruner; None if it corrected none.
    pruned : int
        Number of corrected forecasts.
    surprises : int
        Number of answers from history that the clock contradicted.
    """

    name: str
    runs: int
    forecasts: int
    median: float | None
    p90: float | None
    coverage: float | None
    pruned: int
    pruned_median: float | None
    pruned_p90: float | None
    surprises: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of a history and the quality of its forecasts: ``overall``, and by function, most runs first."""

    path: str | None
    size_bytes: int
    runs: int
    by_source: Mapping[str, int]
    machines: int
    overall: Quality
    functions: tuple[Quality, ...]


def stats(runs: Sequence[Run], path: str | None, size_bytes: int) -> Stats:
    """Compute all that `to_text` shows."""
    by_function: dict[object, list[Run]] = {}
    by_source: dict[str, int] = {}
    for run in runs:
        by_function.setdefault(run.function, []).append(run)
        by_source[run.source] = by_source.get(run.source, 0) + 1
    each = sorted(by_function.values(), key=len, reverse=True)
    return Stats(
        path=path,
        size_bytes=size_bytes,
        runs=len(runs),
        by_source=by_source,
        machines=len({run.machine_digest for run in runs} - {None}),
        overall=quality(ALL, runs),
        functions=tuple(quality(named(rows[-1]), rows) for rows in each),
    )


def quality(name: str, runs: Sequence[Run]) -> Quality:
    """Compute the errors of the forecasts of these runs.

    Examples
    --------
    >>> from amorsize.history.run_row import Run
    >>> rows = [Run(predicted_s=1.0, clock_s=2.0), Run(predicted_s=1.0, clock_s=0.8), Run(clock_s=3.0)]
    >>> found = quality("f", rows)
    >>> found.forecasts, round(found.median, 3), round(found.p90, 3)
    (2, 0.625, 0.925)
    """
    told = [run for run in runs if run.outcome == "ok" and run.predicted_s and run.predicted_s > 0 and run.clock_s > 0]
    errors = [error(run.predicted_s, run.clock_s) for run in told]
    pruned = [error(run.extra["pruned_s"], run.clock_s) for run in told if _is_positive(run.extra.get("pruned_s"))]
    inside = [ends[0] <= run.clock_s <= ends[1] for run in told if (ends := _interval_of(run))]
    return Quality(
        name=name,
        runs=len(runs),
        forecasts=len(told),
        median=quantile(errors, 0.5),
        p90=quantile(errors, 0.9),
        coverage=sum(inside) / len(inside) if inside else None,
        pruned=len(pruned),
        pruned_median=quantile(pruned, 0.5),
        pruned_p90=quantile(pruned, 0.9),
        surprises=sum(bool(run.extra.get("surprise")) for run in runs),
    )


def error(predicted_s: float | None, clock_s: float) -> float:
    """Return the share by which forecast and clock, both above 0, differ: the larger by the smaller one, less 1.

    Examples
    --------
    >>> error(1.0, 1.25), error(1.0, 0.8)
    (0.25, 0.25)
    """
    low, high = sorted((clock_s, predicted_s or clock_s))
    return high / low - 1


def _interval_of(run: Run) -> Sequence[float] | None:
    """Return the interval that the user was told: around the corrected forecast, if there was one."""
    pruned = run.extra.get("pruned_interval_s")
    if isinstance(pruned, list | tuple) and len(pruned) == 2 and all(map(is_number, pruned)):
        return pruned
    return run.predicted_interval_s


def _is_positive(value: object) -> bool:
    return is_number(value) and bool(value)


def quantile(values: Iterable[float], share: float) -> float | None:
    """Return a quantile, interpolated between neighbours; None if there are no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    at = share * (len(ordered) - 1)
    low = ordered[int(at)]
    return low + (ordered[min(int(at) + 1, len(ordered) - 1)] - low) * (at - int(at))


def to_dict(found: Stats) -> dict[str, Any]:
    """Return everything as a dict for JSON."""
    return asdict(found)


def to_text(found: Stats) -> str:
    """Return a summary, and a table by function."""
    if not found.runs:
        return f"{found.path or 'history is off'}: no runs"
    sources = ", ".join(f"{number:,} {name}" for name, number in sorted(found.by_source.items()))
    held = f"{count(found.runs, 'row')} ({sources}), {count(found.machines, 'machine')}, {size(found.size_bytes)}"
    lines = [f"{found.path}: {held}", ""]
    with_pruner = found.overall.pruned > 0
    head = ["function", "runs", "forecasts", "median error", "90 %", "within 80 %", "surprises"]
    head[5:5] = ["pruned: median", "90 %"] if with_pruner else []
    rows = [head] + [_cells(one, with_pruner) for one in (found.overall, *found.functions)]
    lines.append(table(rows, right=range(1, len(head))))
    lines.append("")
    lines.append(
        "error: how far apart forecast and clock were; within 80 %: clocks inside the interval meant to hold 80 %"
    )
    return "\n".join(lines)


def _cells(one: Quality, with_pruner: bool) -> list[str]:
    cells = [one.name, f"{one.runs:,}", f"{one.forecasts:,}", percent(one.median), percent(one.p90)]
    cells += [percent(one.pruned_median), percent(one.pruned_p90)] if with_pruner else []
    return [*cells, percent(one.coverage), f"{one.surprises:,}"]


def percent(value: float | None) -> str:
    """Format a share in percent; a large one as a factor.

    Examples
    --------
    >>> percent(0.257), percent(99.0), percent(None)
    ('26 %', '100 times', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0%}".replace("%", " %") if value < 10 else f"{value + 1:.0f} times"
