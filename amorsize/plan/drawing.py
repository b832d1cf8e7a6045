"""What the pictures of a plan, of a run and of a validation share."""

from __future__ import annotations

from typing import Any, Final

from amorsize.formatting import printable, seconds
from amorsize.hints import Needs

# Of what is marked. Not black, which matplotlib leaves out of an SVG where it is the default.
INK: Final = "#111111"


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of so many inches.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    with Needs("plot()", "matplotlib", "plot"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def plain_text(text: str) -> str:
    """Return text that matplotlib draws as it is: a dollar sign would begin a formula."""
    return printable(text).replace("$", r"\$")


def scale_time(axes: Any) -> None:
    """Label a horizontal axis with durations, few enough that they do not overlap on a phone."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: seconds(value) if value else "0")
