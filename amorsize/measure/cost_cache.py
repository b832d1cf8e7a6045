"""Costs that are known: in this process's memory, and in the store.

A figure is believed for `FRESH_S`; one that was measured on a busy machine, and says so in its warnings, for
`DOUBTFUL_S`, and so is what stands in for one that could not be measured. The key names the machine, the interpreter
and the way of starting workers, so that a container with another quota, or the next Python, measures for itself.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from amorsize.facts import Machine
from amorsize.measure.figures import Found
from amorsize.measure.rows import curve_from, found_from, to_dict
from amorsize.measure.scaling import Curve
from amorsize.system.machine import processor

if TYPE_CHECKING:
    from amorsize.history.sqlite_file import Store

SCHEMA: Final = 1
"""To be raised when a figure changes its meaning: what was stored before is then measured again."""

DAY_S: Final = 86_400.0
FRESH_S: Final = 30 * DAY_S
DOUBTFUL_S: Final = 300.0

SCALING: Final = "scaling"


class Wish(NamedTuple):
    """What is to be known: an engine's cost, or (engine `SCALING`) the machine's scaling curve."""

    engine: str
    start_method: str | None = None

    def read(self, row: object) -> Found | Curve | None:
        """What a row of the store, or a line of the helper, says about it; None when that is damaged."""
        return curve_from(row) if self.engine == SCALING else found_from(row, self.engine, self.start_method)

    def key(self, machine: Machine) -> str:
        """Under which name it is kept: what it is, by which rules it was measured, and where."""
        what = f"{self.engine} {self.start_method or '-'}"
        where = f"{machine.system}; {processor()}; {machine.logical_cores} cores, {machine.usable_cores:g} usable"
        return f"{what}; {SCHEMA}; {where}; {machine.python}{'' if machine.gil_enabled else ' without GIL'}"


class Known(NamedTuple):
    """A cost or a curve, and when it was measured (or when that failed)."""

    value: Found | Curve
    at_s: float

    @property
    def measured(self) -> bool:
        """Whether it is more than a stand-in."""
        if isinstance(self.value, Curve):
            return len(self.value.scaling.points) > 1
        return self.value.cost.measured

    def believed(self, now_s: float) -> bool:
        """Whether it need not be measured again. What seems to come from the future was stored under another clock."""
        warnings = self.value.warnings if isinstance(self.value, Curve) else self.value.cost.warnings
        return -DAY_S < now_s - self.at_s < (DOUBTFUL_S if warnings else FRESH_S)


_memory: dict[str, Known] = {}
_locks: list[threading.RLock] = [threading.RLock()]


def turn() -> threading.RLock:
    """The lock to hold while measuring: of many calls at once, one measures and the others wait for what it finds."""
    return _locks[0]


def remembered(key: str) -> Known | None:
    """What this process's memory holds."""
    return _memory.get(key)


def recalled(wish: Wish, key: str, store: Store, now_s: float) -> Known | None:
    """What the store holds, if it is whole and can be believed; then memory holds it, too."""
    row = store.get_cost(key)
    if row is None or (value := wish.read(row)) is None:
        return None
    at_s = row.get("measured_at_s")
    known = Known(value, float(at_s)) if isinstance(at_s, int | float) else None
    if known is None or not known.measured or not known.believed(now_s):
        return None
    _memory[key] = known
    return known


def keep(key: str, known: Known, store: Store | None) -> Known:
    """Remember it, and store it if it was measured."""
    _memory[key] = known
    if known.measured and store is not None:
        store.put_cost(key, to_dict(known.value), known.at_s)
    return known


def forget() -> None:
    """Empty this process's memory of costs; the store keeps its own."""
    with turn():
        _memory.clear()


def _after_fork() -> None:
    _locks[0] = threading.RLock()  # another thread of the parent may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
