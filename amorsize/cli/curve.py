"""Curves in the terminal: the forecast of a plan, and the throughput of a machine, by the number of workers.

A bar for each number of workers, of block characters where the output's encoding has them. There are no colours, so
``NO_COLOR`` has nothing to turn off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from amorsize.formatting import seconds
from amorsize.plan.plan_text import forecast_of, way

if TYPE_CHECKING:
    from amorsize.cli.diagnostics import Diagnosis
    from amorsize.cli.output import Output
    from amorsize.facts import Forecast
    from amorsize.plan.plan import Plan

# Rows of one backend.
MOST_ROWS: Final = 10
# guess: a longer bar is not easier to read
LONGEST: Final = 60
# Full blocks and the parts of one, in eighths.
BLOCKS: Final = " ▏▎▍▌▋▊▉█"


class Row(NamedTuple):
    """A bar with its name, its figure, and a remark."""

    name: str
    value: float
    figure: str
    remark: str = ""


def of_plan(plan: Plan, out: Output) -> str:
    """Return the forecast by the number of workers, to be added to a plan's text; empty if there is nothing to compare.

    Each backend has at most `MOST_ROWS` rows. Candidates that are ruled out have none.
    """
    if plan.predicted_s is None:
        return ""
    chosen = forecast_of(plan)
    others = [f for f in plan.alternatives if f.refused is None]
    rows: list[Row] = []
    for backend in dict.fromkeys(f.backend for f in (*others, chosen)):
        found = sorted((f for f in (*others, chosen) if f.backend == backend), key=lambda f: f.workers)
        rows += [_row(f, f is chosen) for f in _some(found, keep=(chosen, min(found, key=lambda f: f.total_s)))]
    # The loop first.
    rows.sort(key=lambda row: row.name != way("serial", 1))
    return _drawn("Forecast by the number of workers", rows, out) if len(rows) > 1 else ""


def of_machine(diagnosis: Diagnosis, out: Output) -> str:
    """Return the scaling curve, to be added to the text of diagnostics; empty if it has not been measured."""
    rows = [Row(f"{busy}", speed, f"{speed:.2f}") for busy, speed in diagnosis.scaling.points]
    title = "Processes that compute at a time, and the work that they do (1: of one alone)"
    return _drawn(title, rows, out) if len(rows) > 1 else ""


def _row(f: Forecast, is_chosen: bool) -> Row:
    return Row(way(f.backend, f.workers, f.start_method), f.total_s, seconds(f.total_s), "chosen" if is_chosen else "")


def _some(found: Sequence[Forecast], keep: Iterable[Forecast]) -> list[Forecast]:
    """Return at most `MOST_ROWS`, evenly from the first to the last, and those to keep."""
    if len(found) <= MOST_ROWS:
        return list(found)
    step = (len(found) - 1) / (MOST_ROWS - 3)
    taken = {round(k * step) for k in range(MOST_ROWS - 2)}
    return [f for at, f in enumerate(found) if at in taken or any(f is one for one in keep)]


def _drawn(title: str, rows: Sequence[Row], out: Output) -> str:
    names, figures = max(len(row.name) for row in rows), max(len(row.figure) for row in rows)
    remarks = max(len(row.remark) for row in rows)
    room = out.columns() - names - figures - remarks - 8
    longest, most = max(8, min(LONGEST, room)), max(row.value for row in rows)
    is_unicode = out.has(BLOCKS)
    lines = ["", "", title]
    for name, value, figure, remark in rows:
        bar = _bar(longest * value / most if most > 0 else 0.0, is_unicode)
        lines.append(f"  {name:<{names}}  {bar:<{longest}}  {figure:>{figures}}  {remark}".rstrip())
    return "\n".join(lines)


def _bar(length: float, is_unicode: bool) -> str:
    """Return a bar of so many columns, one at least.

    Examples
    --------
    >>> _bar(2.5, True), _bar(2.5, False), _bar(0.0, True)
    ('██▌', '###', '▏')
    """
    if not is_unicode:
        return "#" * max(1, ceil(length))
    whole, part = divmod(max(1, round(8 * length)), 8)
    return "█" * whole + BLOCKS[part].strip()
