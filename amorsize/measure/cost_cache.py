"""Known costs: in this process's memory, and in the store.

A figure is used for `FRESH_S`, or for `DOUBTFUL_S` if it has warnings (it was measured on a busy machine, or is a
default in place of a measurement). The key names the machine, the interpreter and the start method, so that a container
with another quota, or the next Python, measures anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from amorsize.facts import BackendCost, ChannelCost, Machine, Scaling, StartCost
from amorsize.frozen import defaults, field_names, plain
from amorsize.system.machine import processor

if TYPE_CHECKING:
    from amorsize.history.sqlite_file import Store

R = TypeVar("R", StartCost, ChannelCost)

SCHEMA: Final = 1
"""To be raised when a figure changes its meaning: stored figures are then measured again."""

DAY_S: Final = 86_400.0
# guess
FRESH_S: Final = 30 * DAY_S
# guess
DOUBTFUL_S: Final = 300.0

SCALING: Final = "scaling"

# No part of a cost takes eleven days.
FOREVER_S: Final = 1e6


class Found(NamedTuple):
    """A measured cost, and the excess of the first start in a process (forkserver: the server)."""

    cost: BackendCost
    cold_s: float = 0.0


# The end of a warning that is no doubt: the limit was seen while a lone worker was undisturbed.
LIMIT: Final = "something limits them"


class Curve(NamedTuple):
    """A scaling curve and the doubts about it."""

    scaling: Scaling
    warnings: tuple[str, ...] = ()

    @property
    def is_doubtful(self) -> bool:
        """True if other programs may have made it: a curve without such doubt is this machine's own, however low."""
        return not all(warning.endswith(LIMIT) for warning in self.warnings)


class Wish(NamedTuple):
    """A cost to look up: an engine's, or (engine `SCALING`) the machine's scaling curve."""

    engine: str
    start_method: str | None = None
    program: str = ""
    """The main module whose imports are part of the cost; empty: that of a process without any."""

    def read(self, row: object) -> Found | Curve | None:
        """Return the cost from a row of the store or a line of the helper; None if it is damaged."""
        return curve_from(row) if self.engine == SCALING else found_from(row, self.engine, self.start_method)

    def key(self, machine: Machine) -> str:
        """Return the key in the store: kind of cost, version of the rules, machine."""
        what = f"{self.engine} {self.start_method or '-'}{self.program and f' of {self.program}'}"
        where = f"{machine.system}; {processor()}; {machine.logical_cores} cores, {machine.usable_cores:g} usable"
        return f"{what}; {SCHEMA}; {where}; {machine.python}{'' if machine.gil_enabled else ' without GIL'}"


class Known(NamedTuple):
    """A cost or a curve, and the time when it was measured (or could not be)."""

    value: Found | Curve
    at_s: float

    @property
    def measured(self) -> bool:
        """True if the value was measured on this machine, and is not a default."""
        if isinstance(self.value, Curve):
            return len(self.value.scaling.points) > 1
        return self.value.cost.measured

    def believed(self, now_s: float) -> bool:
        """Return True if it need not be measured again. A time in the future was stored under another clock."""
        warnings = self.value.warnings if isinstance(self.value, Curve) else self.value.cost.warnings
        return -DAY_S < now_s - self.at_s < (DOUBTFUL_S if warnings else FRESH_S)


_memory: dict[str, Known] = {}
_locks: list[threading.RLock] = [threading.RLock()]


def turn() -> threading.RLock:
    """Return the lock to hold while measuring: of concurrent calls one measures, and the others wait for its result."""
    return _locks[0]


def remembered(key: str) -> Known | None:
    """Return the cost in this process's memory."""
    return _memory.get(key)


def recalled(wish: Wish, key: str, store: Store, now_s: float) -> Known | None:
    """Return the cost in the store, if it is undamaged and believed, and keep it in memory."""
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
    """Keep a cost in memory, and in the store if it was measured."""
    _memory[key] = known
    if known.measured and store is not None:
        store.put_cost(key, to_dict(known.value), known.at_s)
    return known


def forget() -> None:
    """Empty this process's memory of costs; the store keeps its own."""
    with turn():
        _memory.clear()


def _after_fork() -> None:
    # Another thread of the parent may have held the old one.
    _locks[0] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# -- rows: costs as plain dicts, for the store and the helper's pipe; checked when read back --------------------------


def to_dict(value: Found | Curve) -> dict[str, Any]:
    """Return a plain dict of numbers, strings, lists and dicts."""
    if isinstance(value, Curve):
        return {"points": [list(point) for point in value.scaling.points], "warnings": list(value.warnings)}
    return {"cost": {**plain(value.cost), "warnings": list(value.cost.warnings)}, "cold_s": value.cold_s}


def found_from(row: object, engine: str, start_method: str | None) -> Found | None:
    """Return the cost in a row; None if the row is damaged or belongs to another engine.

    Examples
    --------
    >>> from amorsize.model.default_costs import recorded
    >>> row = to_dict(Found(recorded("pool", "fork"), 0.5))
    >>> found_from(row, "pool", "fork") == Found(recorded("pool", "fork"), 0.5)
    True
    >>> print(found_from(row, "pool", "spawn"), found_from({"cost": None}, "pool", "fork"))
    None None
    """
    if not isinstance(row, Mapping) or not isinstance(cost := row.get("cost"), Mapping):
        return None
    if cost.get("engine") != engine or cost.get("start_method") != start_method:
        return None
    start, channel = _record(StartCost, cost.get("start")), _record(ChannelCost, cost.get("channel"))
    at_s, cold_s, warnings = _number(cost.get("measured_at_s")), _number(row.get("cold_s")), _texts(cost)
    measured = cost.get("measured")
    if start is None or channel is None or at_s is None or cold_s is None or warnings is None:
        return None
    if start.total_s(1) <= 0 or channel.per_chunk_s <= 0 or not isinstance(measured, bool):
        return None
    found = BackendCost(
        engine=engine,
        start_method=start_method,
        start=start,
        channel=channel,
        measured=measured,
        measured_at_s=at_s,
        warnings=warnings,
    )
    return Found(found, cold_s)


def curve_from(row: object) -> Curve | None:
    """Return the scaling curve in a row; None if the row is damaged.

    Examples
    --------
    >>> curve_from({"points": [[1, 1.0], [2, 1.9]], "warnings": []}).scaling.throughput(2)
    1.9
    >>> print(curve_from({"points": [[1, 1.0], [2, 7.5]], "warnings": []}))
    None
    """
    if not isinstance(row, Mapping) or not isinstance(listed := row.get("points"), list | tuple):
        return None
    warnings = _texts(row)
    points = [_point(one) for one in listed]
    known = [point for point in points if point is not None]
    if warnings is None or not points or len(known) < len(points) or known[0] != (1, 1.0):
        return None
    for (p, y), (p_next, y_next) in pairwise(known):
        if not (p < p_next and y <= y_next <= p_next):
            return None
    return Curve(Scaling(points=tuple(known)), warnings)


def _point(value: object) -> tuple[int, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    busy, throughput = (_number(one) for one in value)
    return None if busy is None or throughput is None or busy != int(busy) else (int(busy), throughput)


def _record(kind: type[R], value: object) -> R | None:
    """Return a record of numbers and booleans; None if one is missing or wrong."""
    if not isinstance(value, Mapping):
        return None
    found: dict[str, Any] = {}
    usual = defaults(kind)
    for name in field_names(kind):
        # Rows of earlier versions lack fields that were added with a default.
        given = value.get(name, usual.get(name))
        found[name] = given if isinstance(usual.get(name), bool) and isinstance(given, bool) else _number(given)
        if found[name] is None or (not isinstance(given, bool) and found[name] > FOREVER_S):
            return None
    return kind(**found)


def _number(value: object) -> float | None:
    """Return a number that is at least 0; None for anything else, booleans included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
        return None
    return float(value)


def _texts(row: Mapping[Any, Any]) -> tuple[str, ...] | None:
    listed = row.get("warnings")
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        return None
    return tuple(listed)
