"""A machine that is not here: its facts, and the costs that were measured there, from a file.

The file holds what ``python -m amorsize --json`` printed on that machine. Costs that it lacks are the recorded ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from amorsize.facts import BackendCost, Costs, Machine, Scaling
from amorsize.frozen import field_names
from amorsize.measure.cost_cache import curve_from, found_from
from amorsize.model.default_costs import recorded

HOW: Final = "Run there: python -m amorsize --json > FILE, and pass FILE"
# How a machine's facts come back from JSON, besides whole numbers above 0.
TEXTS: Final = ("system", "default_start_method", "python")
OR_NONE: Final = ("quota_cores", "memory_limit_bytes", "load")
NUMBERS: Final = ("quota_cores", "usable_cores", "load")
MAY_BE_ZERO: Final = ("memory_total_bytes", "memory_available_bytes", "load")


class Elsewhere(NamedTuple):
    """A machine and its costs.

    Attributes
    ----------
    machine : Machine
    costs : tuple of BackendCost
        As measured there; empty if nothing is known.
    scaling : Scaling
        Its curve; by default a line.
    source : str
        Where that is from.
    """

    machine: Machine
    costs: tuple[BackendCost, ...] = ()
    scaling: Scaling = Scaling()
    source: str = "a Machine"

    def start_method(self, asked: str | None) -> str:
        """Return how processes start there: as asked, else fork on Linux, else the interpreter's own.

        Raises
        ------
        ValueError
            If that machine does not have it.
        """
        methods = self.machine.start_methods
        if asked is not None:
            if asked not in methods:
                raise ValueError(f"start_method: {asked!r} is not to be had there, but {', '.join(methods) or 'none'}")
            return asked
        return "fork" if self.machine.system == "Linux" and "fork" in methods else self.machine.default_start_method

    def costs_for(self, *, threads: bool, start_method: str | None) -> Costs:
        """Return the costs of a plan's pools there."""
        return Costs(
            threads=self._cost("threadpool", None) if threads else None,
            processes=self._cost("pool", start_method) if start_method is not None else None,
            scaling=self.scaling,
        )

    def _cost(self, engine: str, start_method: str | None) -> BackendCost:
        known = (one for one in self.costs if (one.engine, one.start_method) == (engine, start_method))
        return next(known, None) or recorded(engine, start_method)


def elsewhere(machine: object) -> Elsewhere:
    """Return the machine of ``optimize(machine=)``.

    Parameters
    ----------
    machine : Machine or path
        A `Machine`, or the path of what ``python -m amorsize --json`` printed there.

    Raises
    ------
    TypeError, ValueError
        With "machine" first, what is wrong, and how to get such a file.
    """
    if isinstance(machine, Machine):
        return Elsewhere(machine)
    if isinstance(machine, bytes) or not isinstance(machine, str | os.PathLike):
        raise TypeError(f"machine: must be an amorsize.Machine, a path or None, not {type(machine).__name__}. {HOW}")
    path = os.fspath(machine)
    try:
        with open(path, encoding="utf-8") as file:
            body = json.load(file)
    except OSError as exc:
        raise ValueError(f"machine: cannot read {path!r}: {exc.strerror or exc}. {HOW}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"machine: {path!r} holds no JSON. {HOW}") from None
    rows = body.get("costs") if isinstance(body, Mapping) else None
    found = Elsewhere(
        machine=_machine(body.get("machine") if isinstance(body, Mapping) else None, path),
        costs=tuple(_costs(rows if isinstance(rows, list) else [], path)),
        source=path,
    )
    curve = curve_from({"points": body.get("scaling"), "warnings": []}) if "scaling" in body else None
    if curve is None and "scaling" in body:
        raise ValueError(f"machine: {path!r} holds a scaling curve that cannot be: {body['scaling']!r}. {HOW}")
    return found if curve is None else found._replace(scaling=curve.scaling)


def _machine(row: object, path: str) -> Machine:
    if not isinstance(row, Mapping):
        raise ValueError(f"machine: {path!r} holds no machine. {HOW}")
    facts: dict[str, Any] = {}
    for name in field_names(Machine):
        if name == "sources":
            continue
        if name not in row:
            raise ValueError(f"machine: {path!r} does not tell {name}. {HOW}")
        facts[name] = tuple(row[name]) if name == "start_methods" and isinstance(row[name], list) else row[name]
        if not _is_sound(name, facts[name]):
            raise ValueError(f"machine: in {path!r}, {name} cannot be {row[name]!r}. {HOW}")
    sources = row.get("sources")
    known = {str(k): str(v) for k, v in sources.items()} if isinstance(sources, Mapping) else {}
    return Machine(**facts, sources=known)


def _is_sound(name: str, value: object) -> bool:
    if name in OR_NONE and value is None:
        return True
    if name in TEXTS:
        return isinstance(value, str)
    if name == "start_methods":
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    if name == "gil_enabled":
        return isinstance(value, bool)
    kinds = (int, float) if name in NUMBERS else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value < 1 << 62:
        return False
    return value > 0 or (value == 0 and name in MAY_BE_ZERO)


def _costs(rows: list[Any], path: str) -> list[BackendCost]:
    """Return the costs; a row of an engine that this version does not know is left out, a damaged one an error."""
    found = []
    for row in rows:
        engine, method = (row.get("engine"), row.get("start_method")) if isinstance(row, Mapping) else (None, None)
        if engine not in ("pool", "threadpool"):
            continue
        known = found_from({"cost": row, "cold_s": 0.0}, engine, method)
        if known is None:
            raise ValueError(f"machine: {path!r} holds damaged costs of {engine} by {method}. {HOW}")
        found.append(known.cost)
    return found
