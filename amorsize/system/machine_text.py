"""A machine's facts as text and as HTML, each with its source: for ``print(machine())``, notebooks and diagnostics."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from amorsize.facts import Machine, Scaling
from amorsize.formatting import printable, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Columns of the text.
WIDTH: Final = 100
# A load beyond this share of the cores disturbs measurements (a guess).
BUSY: Final = 0.5
# Precedes what could not be read in the sources of a Machine.
UNKNOWN: Final = "; unknown: "

Rows = list[tuple[str, str, str]]


def text(machine: Machine) -> str:
    """Return the facts as text of at most `WIDTH` columns."""
    lines = [f"{machine.python} on {machine.system}", "", *facts(machine)]
    if found := doubts(machine):
        lines += ["", "Warnings", *bullets(found)]
    return printable("\n".join(lines), lines=True)


def html(machine: Machine) -> str:
    """Return the facts as a table, without scripts and style sheets."""
    from html import escape

    def line(cells: Iterable[str], kind: str = "td") -> str:
        row = "".join(f"<{kind} style='text-align:left'>{escape(cell)}</{kind}>" for cell in cells)
        return f"<tr>{row}</tr>"

    body = "".join(
        line((title, "", ""), "th") + "".join(map(line, rows)) for title, rows in sections(machine, Scaling()).items()
    )
    body += "".join(line(("warning", "", found)) for found in doubts(machine))
    return printable(f"<p>{escape(machine.python)} on {escape(machine.system)}</p><table>{body}</table>")


def facts(machine: Machine, scaling: Scaling | None = None) -> list[str]:
    """Return lines with each fact and its source; with the curve's last point, if there is a curve."""
    lines: list[str] = []
    for title, rows in sections(machine, scaling or Scaling()).items():
        lines += ["", title]
        # A long source continues below its first column.
        for name, value, source in rows:
            lines += wrapped(source, first=f"  {name:<11}{value:<12}", rest=" " * 25)
    return lines[1:]


def sections(machine: Machine, scaling: Scaling) -> dict[str, Rows]:
    """Return rows of name, value and source, by the title above them."""
    return {"Cores": _cores(machine, scaling), "Memory": _memory(machine), "Interpreter": _interpreter(machine)}


def doubts(machine: Machine) -> list[str]:
    """Return warnings: facts that could not be read, a high load."""
    found = [f"{name}: unknown: {why}" for name, told in machine.sources.items() for why in told.split(UNKNOWN)[1:]]
    if machine.load is not None and machine.load > BUSY * machine.logical_cores:
        found.append(
            f"The load of {machine.load:.2f} is high for {number(machine.logical_cores)} cores: what is measured now "
            "is worth less, and a parallel run will get less than the usable cores."
        )
    return found


def _cores(machine: Machine, scaling: Scaling) -> Rows:
    rows = [
        ("usable", number(machine.usable_cores), _bounds(machine)),
        ("quota", number(machine.quota_cores), _source(machine, "quota_cores")),
        ("affinity", number(machine.affinity_cores), _source(machine, "affinity_cores")),
        ("logical", number(machine.logical_cores), _source(machine, "logical_cores")),
        ("physical", number(machine.physical_cores), _source(machine, "physical_cores")),
        ("load", "unknown" if machine.load is None else f"{machine.load:.2f}", _source(machine, "load")),
    ]
    busy, speed = scaling.points[-1]
    if busy > 1:
        rows.append(("scaling", f"{speed:.2f}", f"times as much done by {busy} busy processes as by one (measured)"))
    return rows


def _memory(machine: Machine) -> Rows:
    return [
        (name, size(getattr(machine, f"memory_{name}_bytes")), _source(machine, f"memory_{name}_bytes"))
        for name in ("total", "limit", "available")
    ]


def _interpreter(machine: Machine) -> Rows:
    methods = f"the default of {', '.join(machine.start_methods)}; {_source(machine, 'default_start_method')}"
    lock = "on" if machine.gil_enabled else "off"
    return [("start", machine.default_start_method, methods), ("GIL", lock, _source(machine, "gil_enabled"))]


def _source(machine: Machine, name: str) -> str:
    return machine.sources.get(name, "").split(UNKNOWN)[0]


def _bounds(machine: Machine) -> str:
    """Return the bounds on the usable cores, the tightest first."""
    affinity = f"affinity {number(machine.affinity_cores)}"
    if machine.quota_cores is None:
        return f"{affinity}, no quota"
    both = [f"quota {number(machine.quota_cores)} from {_source(machine, 'quota_cores')}", affinity]
    return ", ".join(both if machine.quota_cores < machine.affinity_cores else both[::-1])


def number(value: float | None) -> str:
    """Return a number of cores as text."""
    return "none" if value is None else f"{value:.4g}"


def bullets(sentences: Iterable[str]) -> list[str]:
    """Return sentences as indented lines."""
    return [line for each in sentences for line in wrapped(each, first="  ", rest="    ")]


def wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """Wrap at `WIDTH`; a path is broken only if it is longer than a line."""
    folded = textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line.rstrip() for line in folded] or [first.rstrip()]
