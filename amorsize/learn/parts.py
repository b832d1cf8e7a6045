"""The engines that run maps, and the parts of a forecast as history stores them."""

from __future__ import annotations

from amorsize.facts import Breakdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.history.run_row import Run

ENGINES: Final = ("loop", "pool", "threadpool", "team", "threads", "executor")
"""Engines that run a map. Forecasts of a ``Pool`` and of amorsize's own workers err differently: each has a fit."""

PARTS: Final = ("start_s", "compute_s", "transfer_s", "dispatch_s", "tail_s")
"""Order of the parts in a row of history and in a fit."""


def engine_of(backend: str) -> str:
    """Return the engine that `amorsize.optimize` opens for a backend.

    Examples
    --------
    >>> engine_of("processes")
    'pool'
    """
    return {"serial": "loop", "processes": "pool", "threads": "threadpool"}.get(backend, "executor")


def engine_in(run: Run) -> tuple[str, str]:
    """Return what made a row of history ("execute", "optimize" or "tune", also if it was imported), and its engine."""
    source = str(run.extra.get("from", "execute")) if run.source == "import" else run.source
    own = {"processes": "team", "threads": "threads"} if source == "execute" else {}
    return source, own.get(run.backend) or engine_of(run.backend)


def seconds_of(parts: Breakdown) -> tuple[float, ...]:
    """Return the parts in the order of `PARTS`."""
    return tuple(getattr(parts, name) for name in PARTS)


def shares(parts: Breakdown) -> list[int] | None:
    """Return the parts of a forecast in percent, as history stores them; None if all is computing, or nothing is known.

    Examples
    --------
    >>> shares(Breakdown(start_s=0.1, compute_s=0.3))
    [25, 75, 0, 0, 0]
    """
    values = seconds_of(parts)
    total = sum(values)
    return [round(100 * value / total) for value in values] if total > parts.compute_s else None


def breakdown_of(percent: object, total_s: float) -> Breakdown | None:
    """Convert `shares` back to seconds; None if they are invalid or missing.

    Examples
    --------
    >>> breakdown_of([25, 75, 0, 0, 0], 2.0).start_s
    0.5
    """
    if not isinstance(percent, list | tuple) or len(percent) != len(PARTS):
        return None
    if not all(isinstance(one, int | float) and 0 <= one <= 100 for one in percent):
        return None
    return Breakdown(**{name: total_s * one / 100 for name, one in zip(PARTS, percent, strict=True)})
