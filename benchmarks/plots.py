"""Plots of a result file: the ratio of each contender to the best, and the errors of forecasts.

The colours are those of Okabe and Ito, which colour-blind people can tell apart; each series has its own marker, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import forecasts, statistics
from benchmarks.rivals import EXECUTE, LOOP
from benchmarks.summary import Summary, times_of

BLUE, ORANGE, GREEN, RED, PURPLE, GREY, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#666666",
    "#56B4E9",
)
MOST_RATIO = 30.0  # larger ratios are drawn at the edge
# name, marker, colour; the last one is drawn on top
SERIES = (
    ("joblib loky", "v", PURPLE),
    ("mpire", "^", ORANGE),
    ("64 threads", "d", SKY),
    ("Pool", "s", GREEN),
    (LOOP, "D", GREY),
    (EXECUTE, "o", BLUE),
)
BACKENDS = (("serial", "D", GREY), ("threads", "s", ORANGE), ("processes", "o", BLUE))


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write all plots; return their paths. A plot for which the file has no figures is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    pictures: tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...] = (
        ("benchmark-regret.png", regret_figure),
        ("benchmark-forecast.png", forecast_figure),
    )
    for name, picture in pictures:
        figure = picture(result)
        if figure is not None:
            figure.savefig(folder / name, dpi=110)
            drawn.append(folder / name)
    return drawn


def to_best_rival(row: dict[str, Any], summary: Summary, name: str) -> dict[str, Any] | None:
    """Return a contender's time over the best rival's, in the same rounds."""
    times = times_of(row)
    if name not in times:
        return None
    values = statistics.paired_ratios(times[name], times[summary["best_rival"]])
    return statistics.estimate(values)._asdict() if values else None


def regret_points(result: dict[str, Any]) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Return the rows with each series' ratio to the best rival, execute's worst row last."""
    found = []
    for row in result["rows"]:
        summary = result["summary"]["rows"][row["workload"]]
        if EXECUTE not in summary["medians"]:
            continue
        ratios = {name: to_best_rival(row, summary, name) for name, _, _ in SERIES}
        found.append((row["workload"], {name: each for name, each in ratios.items() if each is not None}))
    return sorted(found, key=lambda point: point[1][EXECUTE]["median"])


def figure_of(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def regret_figure(result: dict[str, Any]) -> Any:
    """Plot a line for each workload, with a dot for each contender; the best rival is at 1."""
    points = regret_points(result)
    if not points:
        return None
    figure, axes = figure_of(9.5, 1.6 + 0.27 * len(points))
    axes.axvline(1.0, color="black", linewidth=1.1, label="best rival of the row")
    axes.axvspan(0.01, 1.0, color=BLUE, alpha=0.05, linewidth=0)
    for rank, (name, marker, colour) in enumerate(SERIES):
        on_top = name == EXECUTE
        for y, (_, ratios) in enumerate(points):
            if name in ratios:
                draw_ratio(axes, ratios[name], y, marker, colour, 3 + rank, with_interval=on_top)
        axes.plot([], [], marker, color=colour, markersize=7 if on_top else 5, label=name)
    least = min(each["low"] or each["median"] for _, ratios in points for each in ratios.values())
    axes.set_xscale("log")
    axes.set_xlim(max(0.05, min(0.5, least * 0.93)), MOST_RATIO * 1.1)
    ticks = [t for t in (0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20) if axes.get_xlim()[0] <= t]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(points)), [workload for workload, _ in points])
    axes.set_ylim(-0.7, len(points) - 0.3)
    axes.grid(axis="both", alpha=0.25, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(
        f"seconds / the best rival's seconds in the same round (log scale; beyond {MOST_RATIO:.0f}: at the edge)"
    )
    axes.set_title(f"Time against the best rival of each row: {conditions(result)}", loc="left", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def draw_ratio(
    axes: Any, found: dict[str, Any], y: float, marker: str, colour: str, order: int, *, with_interval: bool
) -> None:
    """Draw a dot, with the 95 % interval of the median for amorsize; hollow and at the edge if it is off the scale."""
    x = min(found["median"], MOST_RATIO)
    if with_interval and found["low"] is not None:
        axes.plot(
            [found["low"], min(found["high"], MOST_RATIO)], [y, y], "-", color=colour, linewidth=2.2, zorder=order
        )
    axes.plot(
        [x],
        [y],
        marker,
        color=colour,
        markersize=7 if with_interval else 5,
        markerfacecolor="white" if found["median"] > MOST_RATIO else colour,
        zorder=order,
    )


def forecast_points(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the median round of each row: its forecast, with the interval, and its time by the clock."""
    found = []
    for row in result["rows"]:
        known = sorted(forecasts.known(row), key=lambda each: each["predicted_s"] / each["map_s"])
        if known:
            found.append({**known[len(known) // 2], "workload": row["workload"]})
    return found


def forecast_figure(result: dict[str, Any]) -> Any:
    """Plot forecast against clock, with the interval; in red if the interval missed the clock."""
    points = forecast_points(result)
    if not points:
        return None
    figure, axes = figure_of(7.5, 6.8)
    clocks = [each["map_s"] for each in points]
    ends = [min(clocks) / 1.6, max(clocks) * 1.6]
    axes.plot(ends, ends, color="black", linewidth=1.1, label="forecast = clock")
    axes.fill_between(
        ends,
        [e / 1.25 for e in ends],
        [e * 1.25 for e in ends],
        color=GREY,
        alpha=0.13,
        linewidth=0,
        label="within 25 %",
    )
    for each in points:
        low, high = each.get("predicted_interval_s") or (each["predicted_s"], each["predicted_s"])
        missed = not low <= each["map_s"] <= high
        marker, colour = next(((m, c) for name, m, c in BACKENDS if name == each["backend"]), ("x", GREY))
        axes.plot([each["map_s"]] * 2, [low, high], "-", color=RED if missed else colour, linewidth=1.3, alpha=0.75)
        axes.plot(
            [each["map_s"]],
            [each["predicted_s"]],
            marker,
            color=colour,
            markersize=6,
            markeredgecolor=RED if missed else "white",
        )
        if abs(statistics.log_error(each["predicted_s"], each["map_s"])) > 0.3:
            axes.annotate(
                each["workload"],
                (each["map_s"], each["predicted_s"]),
                xytext=(7, -3),
                textcoords="offset points",
                fontsize=7.5,
            )
    for name, marker, colour in BACKENDS:
        if any(each["backend"] == name for each in points):
            axes.plot([], [], marker, color=colour, label=f"plan: {name}")
    axes.plot([], [], "-", color=RED, label="interval missed the clock")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    shown = [*ends, *(each["predicted_s"] * f for each in points for f in (0.8, 1.25))]
    axes.set_ylim(min(shown), max(shown))
    axes.set_xlabel("seconds by the clock, pool opened and closed")
    axes.set_ylabel("seconds forecast by optimize, with the interval meant to hold 80 %")
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.set_title(
        f"Forecast against clock, the middle round of each row: {conditions(result)}", loc="left", fontsize=10
    )
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def conditions(result: dict[str, Any]) -> str:
    machine = result["machine"]
    quick = " (quick: shows nothing)" if result.get("quick") else ""
    return f"{machine['usable_cores']} cores, {machine['python']}, {result['started'][:10]}{quick}"
