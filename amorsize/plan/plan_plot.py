"""A picture of a plan: the forecast of every candidate against its number of workers.

An axis with a wide range is logarithmic: perfect scaling is then a straight line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from amorsize.facts import Forecast
from amorsize.formatting import seconds
from amorsize.plan.record import PlanRecord

COLOURS: Final = {"serial": "#555555", "threads": "#d97706", "processes": "#2563eb", "executor": "#2563eb"}
CHOSEN: Final = "#dc2626"
# Beyond so many workers, and beyond this ratio of longest to shortest time, an axis is logarithmic.
# guess
WIDE_WORKERS: Final = 8
# guess
WIDE_SECONDS: Final = 8.0


def plot_plan(plan: PlanRecord, path: str | None = None) -> Any:
    """Draw the candidates of a plan with their 80 % intervals; the chosen one has a ring, those ruled out are crosses.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ImportError("plot() needs matplotlib: pip install 'amorsize[plot]'") from exc

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    chosen = _chosen(plan)
    forecasts = [*plan.alternatives, chosen]
    for backend, colour in COLOURS.items():
        _draw(axes, [f for f in forecasts if f.backend == backend], backend, colour)
    label = f"chosen: {seconds(chosen.total_s)}"
    ring: dict[str, Any] = {"marker": "o", "markersize": 13, "fillstyle": "none", "markeredgewidth": 1.8}
    axes.plot([chosen.workers], [chosen.total_s], color=CHOSEN, linestyle="none", clip_on=False, label=label, **ring)
    _scale_workers(axes, max(f.workers for f in forecasts))
    _scale_seconds(axes, [f.total_s for f in forecasts])
    axes.grid(alpha=0.25, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(plan), loc="left", fontsize=11)
    axes.legend(framealpha=0.8, edgecolor="none", fontsize=9)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _draw(axes: Any, candidates: Sequence[Forecast], backend: str, colour: str) -> None:
    """Draw the forecasts of one backend; the loop, which has one worker only, is a level line."""
    row = sorted((f for f in candidates if f.refused is None), key=lambda f: f.workers)
    out = [f for f in candidates if f.refused is not None]
    if row and backend == "serial":
        axes.axhline(row[0].total_s, color=colour, linestyle="--", linewidth=1.2, label="plain loop")
    elif row:
        x = [f.workers for f in row]
        axes.fill_between(x, [f.low_s for f in row], [f.high_s for f in row], color=colour, alpha=0.13, linewidth=0)
        axes.plot(x, [f.total_s for f in row], "o-", color=colour, markersize=4, label=backend)
    if out:
        x = [f.workers for f in out]
        axes.plot(x, [f.total_s for f in out], "x", color=colour, label=f"{backend}, ruled out")


def _scale_workers(axes: Any, most: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("workers")
    if most <= WIDE_WORKERS:
        axes.set_xlim(0.75, max(most, 2) + 0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axes.set_xscale("log", base=2)
    axes.set_xticks([1 << k for k in range(most.bit_length())], minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xlim(0.9, most * 1.12)


def _scale_seconds(axes: Any, totals: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_ylabel("forecast, start to end")
    least, most = min(totals), max(totals)
    if least > 0 and most > WIDE_SECONDS * least:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: seconds(value) if value else "0")


def _title(plan: PlanRecord) -> str:
    if plan.backend == "serial":
        return "a plain loop"
    how = f" ({plan.start_method})" if plan.start_method else ""
    gain = "" if plan.estimated_speedup is None else f": {plan.estimated_speedup:.1f} times as fast as the loop"
    return f"{plan.backend}{how}, n_jobs {plan.n_jobs}, chunksize {plan.chunksize}{gain}"


def _chosen(plan: PlanRecord) -> Forecast:
    parts = plan.breakdown
    total = sum((parts.start_s, parts.compute_s, parts.transfer_s, parts.dispatch_s, parts.tail_s))
    low, high = plan.predicted_interval_s or (total, total)
    return Forecast(
        backend=plan.backend,
        workers=plan.n_jobs,
        chunksize=plan.chunksize,
        start_method=plan.start_method,
        total_s=plan.predicted_s if plan.predicted_s is not None else total,
        low_s=low,
        high_s=high,
        breakdown=parts,
    )
