"""A plan as HTML for notebooks, without scripts and style sheets."""

from __future__ import annotations

from html import escape

from amorsize.formatting import printable, seconds
from amorsize.plan.plan_text import describe, happened, parts_of
from amorsize.plan.record import PlanRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Rejected candidates in the table.
# guess
SHOWN = 6


def plan_html(plan: PlanRecord, also: Iterable[tuple[str, str]] = ()) -> str:
    """Return a table of the plan, its forecast, the rows of ``also``, and the best of the rejected candidates."""
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
        ]
        rows.append(("of which", parts_of(plan.breakdown) or "nothing"))
    rows += happened(plan)
    rows += also
    rows += [("warning", text) for text in plan.warnings]
    rows += [
        ("rejected", f"{describe(f)}: {seconds(f.total_s)}" + (f" ({f.refused})" if f.refused else ""))
        for f in plan.alternatives[:SHOWN]
    ]
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return printable(f"<p>amorsize: {escape(plan.reason)}.</p><table>{body}</table>")
