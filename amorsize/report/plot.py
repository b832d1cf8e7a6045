"""A picture of a plan: the forecast of every candidate against its number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amorsize.facts import Forecast
from amorsize.report.text import seconds

if TYPE_CHECKING:
    from amorsize.plans import Plan

COLOURS = {"serial": "#555555", "threads": "#d97706", "processes": "#2563eb"}


def plot_plan(plan: Plan, path: str | None = None) -> Any:
    """Draw the candidates of a plan with their 80 % intervals; the chosen one is ringed.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, MaxNLocator
    except ImportError as exc:
        raise ImportError("plot() needs matplotlib: pip install 'amorsize[plot]'") from exc

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    chosen = _chosen(plan)
    forecasts = [*plan.alternatives, chosen]
    for backend, colour in COLOURS.items():
        row = sorted((f for f in forecasts if f.backend == backend and f.refused is None), key=lambda f: f.workers)
        if not row:
            continue
        x, y = [f.workers for f in row], [f.total_s for f in row]
        if backend == "serial":
            axes.axhline(y[0], color=colour, linestyle="--", linewidth=1.2, label=f"plain loop, {seconds(y[0])}")
            continue
        axes.plot(x, y, "o-", color=colour, markersize=4, label=backend)
        axes.fill_between(x, [f.low_s for f in row], [f.high_s for f in row], color=colour, alpha=0.15, linewidth=0)
    label = f"chosen: {plan.backend}, {seconds(chosen.total_s)}"
    axes.plot([chosen.workers], [chosen.total_s], "o", markersize=13, fillstyle="none", color="#dc2626", label=label)
    axes.set_xlabel("workers")
    axes.set_ylabel("forecast, start to end")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value) if value else "0"))
    axes.grid(alpha=0.25)
    axes.set_title(f"{plan.backend}, n_jobs {plan.n_jobs}, chunksize {plan.chunksize}")
    axes.legend(frameon=False)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _chosen(plan: Plan) -> Forecast:
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
