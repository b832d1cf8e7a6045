"""The data format of a corpus of runs: the facts known before each run, and its time by the clock.

A file is gzipped JSON lines. A *place* is a machine with its costs; a *slice* is a function with some of its data, and
the sample that `amorsize.optimize` took of it; a *cell* is one setting, with a clock for each time it ran. It holds
everything that a forecast needs, so that a changed model can forecast the same runs.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from amorsize.facts import BackendCost, ChannelCost, Costs, Forecast, Machine, Sample, Scaling, StartCost
from amorsize.model.cost import forecast
from benchmarks.results_files import FOLDER

# The engines that plans of optimize() open; the others are execute()'s own.
POOLS = ("pool", "threadpool")


class Cell(NamedTuple):
    """One setting and its seconds, run by run."""

    engine: str  # "loop", "pool", "threadpool", "team", "threads"
    backend: str
    workers: int
    chunksize: int
    start_method: str | None
    clocks_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A machine and the costs of its backends, by engine."""

    name: str
    machine: Machine
    costs: dict[str, BackendCost]
    scaling: Scaling
    simulated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def costs_for(self, engine: str) -> Costs:
        """Return the costs that `optimize` has measured, or those that `execute` starts from: recorded figures."""
        if engine in (*POOLS, "loop"):
            return Costs(threads=self.costs.get("threadpool"), processes=self.costs.get("pool"), scaling=self.scaling)
        scaling = self.scaling if self.simulated else Scaling()
        return Costs(threads=self.costs.get("threads"), processes=self.costs.get("team"), scaling=scaling)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """A part of a workload's items, with all settings that were tried on it."""

    place: Place
    function: str
    n_items: int
    sample: Sample
    caller_rss_bytes: int
    plan: tuple[str, int, int]  # what optimize() chose when this was recorded
    cells: tuple[Cell, ...]

    def expected(self, cell: Cell) -> Forecast:
        """Return today's forecast for a cell."""
        return forecast(
            self.sample,
            self.place.costs_for(cell.engine),
            self.place.machine,
            cell.backend,  # type: ignore[arg-type]
            cell.workers,
            cell.chunksize,
            n_items=self.n_items,
            caller_rss_bytes=self.caller_rss_bytes,
            shrinking=cell.engine in ("team", "threads"),
        )


def describe(slices: Sequence[Slice]) -> str:
    """Count runs, functions, slices and settings."""
    cells = [cell for one in slices for cell in one.cells]
    runs = sum(len(cell.clocks_s) for cell in cells)
    functions = len({one.function for one in slices})
    return f"{runs} runs: {functions} functions, {len(slices)} slices, {len(cells)} settings"


# -- files -----------------------------------------------------------------------------------------------------------


def write(path: Path, slices: Iterable[Slice]) -> None:
    """Write a corpus, each place once."""
    numbers: dict[str, int] = {}
    with gzip.GzipFile(path, "wb", mtime=0) as stream:
        for one in slices:
            place = json.dumps(_place_row(one.place))
            if place not in numbers:
                numbers[place] = len(numbers)
                stream.write(f"{place}\n".encode())
            stream.write(f"{json.dumps(_slice_row(one, numbers[place]), separators=(',', ':'))}\n".encode())


def read(path: Path) -> list[Slice]:
    """Read the slices of a corpus."""
    places: list[Place] = []
    slices = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if "machine" in row:
                places.append(_place(row))
            else:
                slices.append(_slice(row, places))
    return slices


def _place_row(place: Place) -> dict[str, Any]:
    machine = asdict(place.machine) | {"sources": {}}
    costs = {name: asdict(cost) for name, cost in place.costs.items()}
    return {
        "name": place.name,
        "machine": machine,
        "costs": costs,
        "scaling": place.scaling.points,
        "simulated": place.simulated,
        "facts": place.facts,
    }


def _place(row: dict[str, Any]) -> Place:
    def cost(one: dict[str, Any]) -> BackendCost:
        start, channel = StartCost(**one["start"]), ChannelCost(**one["channel"])
        return BackendCost(**{**one, "start": start, "channel": channel, "warnings": tuple(one["warnings"])})

    machine = row["machine"]
    return Place(
        name=row["name"],
        machine=Machine(**{**machine, "start_methods": tuple(machine["start_methods"])}),
        costs={name: cost(one) for name, one in row["costs"].items()},
        scaling=Scaling(points=tuple((p, y) for p, y in row["scaling"])),
        simulated=row["simulated"],
        facts=row["facts"],
    )


def _slice_row(one: Slice, place: int) -> dict[str, Any]:
    values = ((f.name, getattr(one.sample, f.name)) for f in fields(one.sample))
    return {
        "place": place,
        "function": one.function,
        "n": one.n_items,
        "sample": {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in values if v},
        "rss": one.caller_rss_bytes,
        "plan": one.plan,
        "cells": [[*cell[:5], [float(f"{s:.6g}") for s in cell.clocks_s]] for cell in one.cells],
    }


def _slice(row: dict[str, Any], places: Sequence[Place]) -> Slice:
    return Slice(
        place=places[row["place"]],
        function=row["function"],
        n_items=row["n"],
        sample=Sample(**{"n_sampled": 0, "item_s": 0.0, **row["sample"]}),
        caller_rss_bytes=row["rss"],
        plan=tuple(row["plan"]),
        cells=tuple(Cell(*cell[:5], tuple(cell[5])) for cell in row["cells"]),
    )


def newest(simulated: bool, folder: Path = FOLDER) -> Path | None:
    """Return the path of the latest corpus, real or simulated; None if there is none."""
    found = sorted(folder.glob("*corpus*.jsonl.gz"))
    found = [path for path in found if ("simulated" in path.name) == simulated]
    return found[-1] if found else None
