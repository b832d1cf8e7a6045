"""``--html FILE``: a plan, a validation or a comparison as one page, which needs no network and no other file."""

from __future__ import annotations

import argparse
import io
import os
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from amorsize import __version__
from amorsize.cli.failing import UsageError
from amorsize.formatting import count, date, printable, seconds
from amorsize.hints import missing

if TYPE_CHECKING:
    from amorsize.events import Event
    from amorsize.plan.plan import Plan
    from amorsize.plan.trials.race import Timings

STYLE: Final = """\
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --faint: #666; --rule: #ccc;
  --blue: #0072b2; --grey: #707070 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181d; --ink: #e8e8e8; --faint: #a8a8a8; --rule: #444;
    --blue: #3d9bdc; --grey: #a0a0a0 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 46rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; line-height: 1.25 }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
table { border-collapse: collapse; font-size: .9rem }
th, td { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top }
th { font-weight: 600 }
.wide { overflow-x: auto; overflow-wrap: normal }
@media (max-width: 32rem) {
  th, td { padding-right: .5rem; font-size: .8rem; white-space: normal !important }
  .wide th:first-child { overflow-wrap: anywhere; min-width: 6rem }
}
pre { overflow-x: auto; overflow-wrap: normal; font-size: .8rem }
summary { cursor: pointer; padding: .6rem 0 }
figure { margin: 1.5rem 0 }
figcaption, footer { color: var(--faint); font-size: .85rem }
svg { display: block; width: 100%; max-width: 36rem; height: auto; margin: 0 auto }
svg text { fill: var(--ink); font-family: system-ui, sans-serif !important }
"""

# Colours of figures that differ in the light and in the dark.
COLOURS: Final = {
    "#000000": "var(--ink)",
    "#111111": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#0072b2": "var(--blue)",
    "#7f7f7f": "var(--grey)",
}


def add_option(command: argparse.ArgumentParser) -> None:
    """Add ``--html FILE``."""
    command.add_argument(
        "--html", type=_place, metavar="FILE", help="also write a page with figures there (extra: plot)"
    )


def _place(path: str) -> str:
    """Check, before anything runs, that a page can be made and written; as an argparse type."""
    folder = os.path.dirname(path) or "."
    if not path or os.path.isdir(path) or not os.path.isdir(folder):
        raise argparse.ArgumentTypeError(f"must be a file in a folder that is there, not {path!r}")
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError(missing("a figure", "matplotlib", "plot"))
    return path


def write(arguments: argparse.Namespace, command: str, found: Any, events: Sequence[Event] = ()) -> None:
    """Write the page of a plan or of timings, if ``--html`` asks for one; with the ``events`` of its run, if any.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    if arguments.html is None:
        return
    from time import time

    from amorsize.plan.plan import Plan

    heading = f"{command} {arguments.function}"
    body = _plan(found, events) if isinstance(found, Plan) else _timings(found)
    save("--html", arguments.html, page(heading, body, f"amorsize {__version__}, {date(time())}"))


def save(option: str, place: str, text: str) -> None:
    """Write a file that an option names.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    try:
        with open(place, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as exc:
        raise UsageError(f"{option} {place}: {exc.strerror or exc}") from exc


def page(heading: str, body: str, foot: str) -> str:
    """Return a page; ``body`` is HTML, the others are text."""
    title = escape(printable(heading))
    return (
        f"<!DOCTYPE html>\n<html lang='en'>\n<head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{title}</title>"
        # Without it a browser asks the server for an icon.
        f"<link rel='icon' href='data:,'><style>\n{STYLE}</style></head>\n"
        f"<body>\n<main><h1>{title}</h1>\n{body}\n</main>\n<footer>{escape(printable(foot))}</footer>\n</body>\n</html>\n"
    )


def _plan(plan: Plan, events: Sequence[Event] = ()) -> str:
    from amorsize.plan.plan_plot import plot_plan, words

    parts = [_wide(plan._repr_html_()), figure(plot_plan(plan, events=events, narrow=True), words(plan))]
    there = plan.what_if()
    if there:
        rows = [(f"{one.cores}", seconds(one.predicted_s), one.backend, f"{one.workers}") for one in there]
        more = f"More than {count(plan.useful_cores or 1, 'core')} would not pay."
        parts.append("<h2>On machines that are otherwise like this one</h2>")
        parts.append(_table(("cores", "forecast", "backend", "workers"), rows) + f"<p>{escape(more)}</p>")
    if plan.trials:
        tried = [
            (one.backend, f"{one.workers}", f"{one.chunksize}", f"{one.items:,}", seconds(one.seconds))
            for one in plan.trials
        ]
        parts.append("<h2>Trials</h2>" + _table(("backend", "workers", "chunksize", "items", "took"), tried))
    return "\n".join(parts)


def _timings(v: Timings) -> str:
    from amorsize.plan.trials.race import Race
    from amorsize.plan.trials.validation_plot import picture_words, plot_validation, times_html, validation_html

    table = validation_html(v) if isinstance(v, Race) else times_html(v)
    parts = [_wide(table)]
    if any(one.times_s for one in v.contenders):
        parts.append(figure(plot_validation(v, narrow=True), picture_words(v)))
    if isinstance(v, Race):
        parts.append(f"<h2>The plan</h2>{_plan(v.plan)}")
    return "\n".join(parts)


def _wide(table: str) -> str:
    return f"<div class='wide'>{table}</div>"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    from amorsize.plan.plan_html import NUMBER, TEXT

    styles = [TEXT if name == "backend" else NUMBER for name in head]
    lines = [("th", head), *(("td", row) for row in rows)]
    made = (
        "".join(f"<{tag} style='{style}'>{escape(text)}</{tag}>" for text, style in zip(row, styles, strict=True))
        for tag, row in lines
    )
    return _wide(printable(f"<table>{''.join(f'<tr>{row}</tr>' for row in made)}</table>"))


def figure(drawn: Any, name: str) -> str:
    """Return a figure of matplotlib as inline SVG, in the page's colours, with a name for those that cannot see it."""
    from matplotlib import rc_context

    file = io.StringIO()
    # The salt keeps the marks of two figures of one page apart.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": printable(name)}):
        drawn.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub("(?<=: )#[0-9a-f]{6}", lambda found: COLOURS.get(found[0], found[0]), drawing)
    (left, top, right, bottom) = re.search(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', drawing).groups()  # type: ignore[union-attr]
    label = escape(printable(name))
    opened = f"<svg viewBox='{left} {top} {right} {bottom}' role='img' aria-label='{label}' xmlns:xlink='{XLINK}'>"
    drawing = opened + drawing.partition(">")[2]
    return f"<figure>{drawing}<figcaption>{label}</figcaption></figure>"


XLINK: Final = "http://www.w3.org/1999/xlink"
