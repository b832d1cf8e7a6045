"""Times of contenders as HTML, for notebooks and reports, and as a picture."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from amorsize.formatting import printable, seconds
from amorsize.plan.drawing import INK, new_figure, plain_text, scale_time
from amorsize.plan.plan_html import NUMBER, TEXT
from amorsize.plan.trials.profiling import lines_of
from amorsize.plan.trials.race import Contender, Race, Timings
from amorsize.plan.trials.verdict import items_line, words

# Each bar has its name beside it, so that no colour need be told from another.
COLOURS: Final = {"loop": "#7f7f7f", "plan": "#0072b2", "execute": "#d55e00"}
OTHER: Final = "#b3b3b3"


def validation_html(v: Race) -> str:
    """Return the verdict and a table of all contenders' times, without scripts and style sheets."""
    notes = "".join(f"<p>{escape(text)}</p>" for text in v.warnings)
    profile = getattr(v, "profile", None)
    if profile is not None:
        head, *lines = lines_of(profile)
        text = "\n".join(lines)
        notes += f"<details><summary>{escape(head)}</summary><pre>{escape(text)}</pre></details>"
    return printable(f"<p>amorsize: {escape(words(v))}</p>{times_html(v)}{notes}", lines=True)


def times_html(v: Timings) -> str:
    """Return a table of all contenders' times."""
    least = min((one.seconds.median for one in v.contenders if one.seconds is not None), default=0.0)
    rows = "".join(_row(one, least) for one in v.contenders)
    names = (("", TEXT), ("median", NUMBER), ("95 % interval", NUMBER), ("/ best", NUMBER), ("results", TEXT))
    head = "".join(f"<th style='{style}'>{name}</th>" for name, style in names)
    return printable(f"<p>{escape(items_line(v))}</p><table><tr>{head}</tr>{rows}</table>", lines=True)


def _row(one: Contender, least: float) -> str:
    found = one.seconds
    name = f"<th style='{TEXT}'>{escape(one.what)}</th>"
    if found is None:
        return f"<tr>{name}<td colspan='4' style='{TEXT}'>not run: {escape(one.why_not or '')}</td></tr>"
    same = {True: "same", False: "differ", None: "cannot be told"}[one.same]
    cells = (
        (seconds(found.median), NUMBER),
        (f"{seconds(found.low)} to {seconds(found.high)}", NUMBER),
        (f"{found.median / least:.2f}" if least > 0 else "", NUMBER),
        (same, TEXT),
    )
    tds = "".join(f"<td style='{style}'>{escape(cell)}</td>" for cell, style in cells)
    return f"<tr>{name}{tds}</tr>"


def plot_validation(v: Timings, path: str | None = None, *, narrow: bool = False) -> Any:
    """Draw every round of every contender, its median, and of a `Race` the forecast with its interval.

    ``narrow``: without a title, and with names above the bars, so that its text can be read on a phone.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    run = [one for one in v.contenders if one.seconds is not None][::-1]
    figure = new_figure(5 if narrow else 7, 1.6 + 0.5 * len(run))
    axes = figure.add_subplot()
    plan = v.plan if isinstance(v, Race) else None
    if plan is not None and plan.predicted_interval_s is not None and plan.predicted_s is not None:
        axes.axvspan(*plan.predicted_interval_s, color=INK, alpha=0.08, linewidth=0)
        axes.axvline(plan.predicted_s, color=INK, linewidth=1, linestyle="--", label="forecast of the plan (80 %)")
    for row, one in enumerate(run):
        colour = COLOURS.get(one.name, OTHER)
        assert one.seconds is not None
        axes.barh(row, one.seconds.median, height=0.35 if narrow else 0.55, color=colour, alpha=0.4)
        axes.plot(one.times_s, [row] * len(one.times_s), "o", color=colour, markersize=4)
    names = [plain_text(one.what) for one in run]
    if narrow:
        axes.set_yticks([])
        for row, name in enumerate(names):
            axes.annotate(name, (0, row), (4, 8), textcoords="offset points", va="bottom", fontsize=9)
        axes.set_ylim(-0.5, len(run) - 0.25)
    else:
        axes.set_yticks(range(len(run)), names)
    scale_time(axes)
    axes.spines[["top", "right"]].set_visible(False)
    if not narrow:
        axes.set_title(plain_text(f"{v.func}: {items_line(v)}"), loc="left", fontsize=10)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def picture_words(v: Timings) -> str:
    """Return what the picture shows, in words, for those that cannot see it."""
    times = [f"{one.what} {seconds(one.seconds.median)}" for one in v.contenders if one.seconds is not None]
    return f"Median seconds of each: {', '.join(times)}." if times else "Nothing was run."
