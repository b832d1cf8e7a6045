"""A validation as HTML, for notebooks, and as a picture."""

from __future__ import annotations

from html import escape
from typing import Any

from amorsize.formatting import seconds
from amorsize.plan.plan_plot import CHOSEN
from amorsize.plan.trials.race import Contender, Race
from amorsize.plan.trials.verdict import items_line, words

COLOURS = {"loop": "#555555", "plan": "#2563eb", "execute": "#dc2626"}
OTHER = "#9ca3af"


def validation_html(v: Race) -> str:
    """Return the verdict and a table of all contenders' times, without scripts and style sheets."""
    best = v.best
    least = best.seconds.median if best is not None and best.seconds is not None else 0.0
    rows = "".join(_row(one, least) for one in v.contenders)
    head = "".join(f"<th>{name}</th>" for name in ("", "median", "95 % interval", "/ best", "results"))
    notes = "".join(f"<p>{escape(text)}</p>" for text in v.warnings)
    return (
        f"<p>amorsize: {escape(words(v))}</p><p>{escape(items_line(v))}</p><table><tr>{head}</tr>{rows}</table>{notes}"
    )


def _row(one: Contender, least: float) -> str:
    found = one.seconds
    name = f"<th style='text-align:left'>{escape(one.what)}</th>"
    if found is None:
        return f"<tr>{name}<td colspan='4'>not run: {escape(one.why_not or '')}</td></tr>"
    same = {True: "same", False: "differ", None: "cannot be told"}[one.same]
    cells = (
        seconds(found.median),
        f"{seconds(found.low)} to {seconds(found.high)}",
        f"{found.median / least:.2f}" if least > 0 else "",
        same,
    )
    return f"<tr>{name}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def plot_validation(v: Race, path: str | None = None) -> Any:
    """Draw every round of every contender, its median, and the forecast with its interval.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ImportError("plot() needs matplotlib: pip install 'amorsize[plot]'") from exc

    run = [one for one in v.contenders if one.seconds is not None][::-1]
    figure = Figure(figsize=(7, 1.4 + 0.5 * len(run)), layout="constrained")
    axes = figure.add_subplot()
    interval = v.plan.predicted_interval_s
    if interval is not None and v.predicted_s is not None:
        axes.axvspan(*interval, color=CHOSEN, alpha=0.1, linewidth=0)
        axes.axvline(v.predicted_s, color=CHOSEN, linewidth=1, linestyle="--", label="forecast of the plan (80 %)")
    for row, one in enumerate(run):
        colour = COLOURS.get(one.name, OTHER)
        assert one.seconds is not None
        axes.barh(row, one.seconds.median, height=0.55, color=colour, alpha=0.35)
        axes.plot(one.times_s, [row] * len(one.times_s), "o", color=colour, markersize=4)
    axes.set_yticks(range(len(run)), [one.what for one in run])
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: seconds(value) if value else "0")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{v.func}: {items_line(v)}", loc="left", fontsize=10)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(framealpha=0.8, edgecolor="none", fontsize=9)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
