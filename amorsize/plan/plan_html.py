"""A plan as HTML for notebooks, without scripts and style sheets."""

from __future__ import annotations

from html import escape

from amorsize.formatting import count, printable, seconds
from amorsize.plan.plan_text import describe, happened, parts_of
from amorsize.plan.record import PlanRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from amorsize.facts import Forecast

# Rejected candidates in the table.
# guess
SHOWN: Final = 12
# Notebooks have a style of their own for cells, and align all of them alike.
TEXT: Final = "text-align:left"
NUMBER: Final = "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap"


def plan_html(plan: PlanRecord, also: Iterable[tuple[str, str]] = ()) -> str:
    """Return a table of the plan, its forecast and the rows of ``also``, and the best of the rejected, folded away."""
    rows = [
        ("backend", plan.backend + (f" ({plan.start_method})" if plan.start_method else "")),
        ("n_jobs", str(plan.n_jobs)),
        ("chunksize", str(plan.chunksize)),
    ]
    if plan.predicted_s is not None and plan.predicted_interval_s is not None:
        low, high = plan.predicted_interval_s
        rows += [
            ("forecast", f"{seconds(plan.predicted_s)} (80 %: {seconds(low)} to {seconds(high)})"),
            ("plain loop", f"{seconds(plan.serial_s)}, speedup {plan.estimated_speedup:.2f}"),
            ("of which", parts_of(plan.breakdown) or "nothing"),
        ]
    rows += happened(plan)
    rows += also
    rows += [("warning", text) for text in plan.warnings]
    body = "".join(_row(row, (TEXT, TEXT)) for row in rows)
    return printable(f"<p>amorsize: {escape(plan.reason)}.</p><table>{body}</table>{_rejected(plan)}", lines=True)


def _rejected(plan: PlanRecord) -> str:
    """Return the candidates that lost, as a table behind a line to click on."""
    others = plan.alternatives
    if not others:
        return ""
    shown = f"; the best {SHOWN} of them:" if len(others) > SHOWN else ""
    styles = (TEXT, NUMBER, NUMBER, TEXT)
    head = _row(("rejected", "forecast", "80 % interval", "why"), styles, "th")
    body = "".join(_row(_told(other, plan), styles) for other in others[:SHOWN])
    summary = f"<summary>{count(len(others), 'candidate')} rejected{shown}</summary>"
    return f"<details>{summary}<table>{head}{body}</table></details>"


def _told(f: Forecast, plan: PlanRecord) -> tuple[str, ...]:
    why = f.refused or ""
    if not why and plan.predicted_s:
        why = f"{f.total_s / plan.predicted_s:.2f} times as long"
    return describe(f), seconds(f.total_s), f"{seconds(f.low_s)} to {seconds(f.high_s)}", why


def _row(cells: tuple[str, ...], styles: tuple[str, ...], tag: str = "td") -> str:
    """Return a row whose first cell is its head."""
    tags = ("th", *[tag] * (len(cells) - 1))
    made = (
        f"<{tag} style='{style}'>{escape(text)}</{tag}>" for text, style, tag in zip(cells, styles, tags, strict=True)
    )
    return f"<tr>{''.join(made)}</tr>"
