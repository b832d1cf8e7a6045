"""Measured costs as plain dicts, for the store and for the pipe of the helper process; and back, trusting nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import pairwise
from math import isfinite
from typing import Any, Final, TypeVar

from amorsize.facts import BackendCost, ChannelCost, Scaling, StartCost
from amorsize.measure.figures import Found
from amorsize.measure.scaling import Curve

R = TypeVar("R", StartCost, ChannelCost)

FOREVER_S: Final = 1e6  # no part of a cost is as much as eleven days


def to_dict(value: Found | Curve) -> dict[str, Any]:
    """A plain dict of numbers, strings, lists and dicts."""
    if isinstance(value, Curve):
        return {"points": [list(point) for point in value.scaling.points], "warnings": list(value.warnings)}
    return {"cost": {**asdict(value.cost), "warnings": list(value.cost.warnings)}, "cold_s": value.cold_s}


def found_from(row: object, engine: str, start_method: str | None) -> Found | None:
    """The cost that a dict tells of; None when it is damaged, or of something else.

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
    """The scaling curve that a dict tells of; None when it is damaged.

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
    """A record of numbers (and truth values), none of them missing."""
    if not isinstance(value, Mapping):
        return None
    found: dict[str, Any] = {}
    for field in fields(kind):
        given = value.get(field.name)
        found[field.name] = given if isinstance(field.default, bool) and isinstance(given, bool) else _number(given)
        if found[field.name] is None or (not isinstance(given, bool) and found[field.name] > FOREVER_S):
            return None
    return kind(**found)


def _number(value: object) -> float | None:
    """A number from 0 on; ``True`` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        return None
    return float(value)


def _texts(row: Mapping[Any, Any]) -> tuple[str, ...] | None:
    listed = row.get("warnings")
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        return None
    return tuple(listed)
