"""A picture of a plan: the forecast of every candidate against its number of workers, and where the seconds would go.

An axis with a wide range is logarithmic: perfect scaling is then a straight line. The colours are of Okabe and Ito
(https://jfly.uni-koeln.de/color/), safe for the colour-blind; markers, line styles and hatches tell the same in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from amorsize.events import Event
from amorsize.facts import Breakdown, Forecast
from amorsize.formatting import seconds
from amorsize.plan.drawing import INK, new_figure, plain_text, scale_time
from amorsize.plan.plan_lanes import MOST_LANES, draw_lanes, lanes_of
from amorsize.plan.plan_text import describe, forecast_of, happened, sum_of, way
from amorsize.plan.record import PlanRecord


class Style(NamedTuple):
    """The look of one backend."""

    colour: str
    marker: str
    line: str


STYLES: Final = {
    "serial": Style("#7f7f7f", "s", "--"),
    "threads": Style("#e69f00", "^", "-."),
    "processes": Style("#0072b2", "o", "-"),
    "executor": Style("#009e73", "D", ":"),
    "async": Style("#cc79a7", "v", (0, (3, 1, 1, 1))),  # type: ignore[arg-type]
}
# Colour and hatch of each part of the seconds.
PARTS: Final = {
    "compute": ("#0072b2", ""),
    "start": ("#e69f00", "//"),
    "transfer": ("#56b4e9", "\\\\"),
    "dispatch": ("#cc79a7", ".."),
    "tail": ("#d9d9d9", "xx"),
}
# Beyond so many workers, and beyond this ratio of longest to shortest time, an axis is logarithmic.
# guess
WIDE_WORKERS: Final = 8
# guess
WIDE_SECONDS: Final = 8.0


def plot_plan(plan: PlanRecord, path: str | None = None, *, events: Iterable[Event] = (), narrow: bool = False) -> Any:
    """Draw the candidates of a plan with their 80 % intervals, and the parts of the best of each backend.

    The chosen one has a ring, those ruled out are crosses, what was measured are stars. A line marks the usable cores.
    ``events``: of the run, for a lane per worker.
    ``narrow``: without a title and with legends below, so that its text can be read on a phone.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    chosen = forecast_of(plan)
    forecasts = [*plan.alternatives, chosen]
    bars = _bars(chosen, plan.alternatives) if plan.predicted_s is not None else []
    lanes = lanes_of(events)
    # The height of each picture, in inches.
    heights = [5.2 if narrow else 4.4]
    heights += [1.1 + 0.3 * len(bars)] if bars else []
    heights += [1.1 + 0.25 * min(len(lanes), MOST_LANES)] if lanes else []
    figure = new_figure(5 if narrow else 7, sum(heights))
    curve, *beneath = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if bars:
        _draw_parts(beneath[0], bars)
    if lanes:
        draw_lanes(beneath[-1], lanes)
    measured = _measured(plan)
    _mark(curve, plan, chosen, measured)
    for backend, style in STYLES.items():
        _draw(curve, [f for f in forecasts if f.backend == backend], backend, style)
    _scale_workers(curve, max([f.workers for f in forecasts] + [workers for workers, _ in measured]))
    _scale_seconds(curve, [f.total_s for f in forecasts] + [took_s for _, took_s in measured])
    curve.grid(alpha=0.25, linewidth=0.8)
    if not narrow:
        curve.set_title(_title(plan), loc="left", fontsize=11)
    for axes, (below, columns) in zip(figure.axes, ((-0.15, 2), (-0.3, 3), (-0.3, 2)), strict=False):
        axes.spines[["top", "right"]].set_visible(False)
        look = {"loc": "upper center", "bbox_to_anchor": (0.45, below), "ncols": columns}
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        axes.legend(frameon=False, fontsize=9, **(look if narrow else beside))
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def words(plan: PlanRecord) -> str:
    """Return what the picture shows, in words, for those that cannot see it."""
    chosen = forecast_of(plan)
    text = f"Forecast against the number of workers. Chosen: {describe(chosen)}"
    text += f", {seconds(chosen.total_s)}." if chosen.total_s > 0.0 else "."
    shown = [f for f in plan.alternatives if f.refused is None]
    if shown:
        text += f" The best of the others: {describe(shown[0])}, {seconds(shown[0].total_s)}."
    took = dict(happened(plan)).get("took")
    return f"{text} Measured: {took}." if took else text


# -- the curve --------------------------------------------------------------------------------------------------------


def _draw(axes: Any, candidates: Sequence[Forecast], backend: str, style: Style) -> None:
    """Draw the forecasts of one backend; the loop, which has one worker only, is a level line."""
    row = sorted((f for f in candidates if f.refused is None), key=lambda f: f.workers)
    out = [f for f in candidates if f.refused is not None]
    colour = style.colour
    if row and backend == "serial":
        axes.axhline(row[0].total_s, color=colour, linestyle=style.line, linewidth=1.2, label="plain loop")
    elif row:
        x = [f.workers for f in row]
        axes.fill_between(x, [f.low_s for f in row], [f.high_s for f in row], color=colour, alpha=0.16, linewidth=0)
        look: dict[str, Any] = {"marker": style.marker, "linestyle": style.line, "markersize": 5, "label": backend}
        axes.plot(x, [f.total_s for f in row], color=colour, **look)
    if out:
        x = [f.workers for f in out]
        axes.plot(x, [f.total_s for f in out], "x", color=colour, label=f"{backend}, ruled out")


def _ring(axes: Any, chosen: Forecast) -> None:
    """Mark the chosen candidate with its interval."""
    low, high = (max(0.0, chosen.total_s - chosen.low_s), max(0.0, chosen.high_s - chosen.total_s))
    ring: dict[str, Any] = {"marker": "o", "markersize": 13, "fillstyle": "none", "markeredgewidth": 1.8}
    label = f"chosen: {seconds(chosen.total_s)}"
    axes.plot([chosen.workers], [chosen.total_s], color=INK, linestyle="none", clip_on=False, label=label, **ring)
    if low or high:
        bar: dict[str, Any] = {"capsize": 4, "linewidth": 1, "fmt": "none", "label": "80 % interval"}
        axes.errorbar([chosen.workers], [chosen.total_s], [[low], [high]], color=INK, **bar)


def _mark(axes: Any, plan: PlanRecord, chosen: Forecast, measured: Sequence[tuple[int, float]]) -> None:
    """Mark the chosen candidate with its interval, what was measured, and the usable cores."""
    if chosen.total_s > 0.0:
        _ring(axes, chosen)
    if measured:
        x, y = zip(*measured, strict=True)
        axes.plot(x, y, "*", color=INK, markersize=9, linestyle="none", clip_on=False, label="measured")
    if plan.machine is not None:
        cores = plan.machine.usable_cores
        axes.axvline(cores, color=INK, linestyle=":", linewidth=1, label=f"{cores:g} usable core{'s' * (cores != 1)}")


def _measured(plan: PlanRecord) -> list[tuple[int, float]]:
    """Return workers and seconds of what the clock has shown: trials, scaled to all items, and the run itself."""
    found = [(trial.workers, trial.total_s) for trial in plan.trials]
    return found + ([(plan.n_jobs, plan.took_s)] if plan.took_s is not None else [])


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
    return plain_text(f"{plan.backend}{how}, n_jobs {plan.n_jobs}, chunksize {plan.chunksize}{gain}")


# -- the parts --------------------------------------------------------------------------------------------------------


def _bars(chosen: Forecast, others: Sequence[Forecast]) -> list[tuple[str, Breakdown]]:
    """Return the parts of the chosen candidate, and of the best of each other backend; empty if none is known."""
    best = {chosen.backend: chosen}
    for other in others:
        if other.refused is None:
            best.setdefault(other.backend, other)
    named = [(way(f.backend, f.workers, f.start_method), f.breakdown) for f in best.values()]
    return [(name, parts) for name, parts in named if sum_of(parts) > 0] if sum_of(chosen.breakdown) > 0 else []


def _draw_parts(axes: Any, bars: Sequence[tuple[str, Breakdown]]) -> None:
    """Draw a bar for each candidate, the chosen one at the top, of its parts."""
    names = [name for name in PARTS if any(getattr(parts, f"{name}_s") > 0 for _, parts in bars)]
    left = [0.0] * len(bars)
    rows = range(len(bars))[::-1]
    for name in names:
        width = [getattr(parts, f"{name}_s") for _, parts in bars]
        colour, hatch = PARTS[name]
        look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.6}
        axes.barh(list(rows), width, left=left, height=0.6, label=name, **look)
        left = [a + b for a, b in zip(left, width, strict=True)]
    axes.set_yticks(list(rows), [plain_text(name) for name, _ in bars])
    axes.set_xlim(0, max(left) * 1.02)
    scale_time(axes)
    axes.set_title("where the time would go", loc="left", fontsize=10)
