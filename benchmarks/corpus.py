"""A corpus of runs to learn from: what was known before each, and what the clock showed.

A file is gzipped JSON lines. A *place* is a machine with its costs; a *slice* is a function with some of its data, and
the sample that `amorsize.optimize` took of it; a *cell* is one setting, with a clock for each time it ran. Everything
that a forecast needs is there, so that the model may change and be asked again.

``python -m benchmarks.corpus record`` makes one here, ``simulate`` one of machines that nobody here owns, ``join``
puts the parts of a long recording together.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from amorsize.facts import BackendCost, ChannelCost, Costs, Forecast, Machine, Sample, Scaling, StartCost
from amorsize.model.cost import forecast
from benchmarks.results_files import FOLDER

POOLS = ("pool", "threadpool")  # what optimize()'s plans open; the others are execute()'s own


class Cell(NamedTuple):
    """One setting, and what it took each time."""

    engine: str  # "loop", "pool", "threadpool", "team", "threads"
    backend: str
    workers: int
    chunksize: int
    start_method: str | None
    clocks_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A machine, and what its backends cost; ``costs`` by engine."""

    name: str
    machine: Machine
    costs: dict[str, BackendCost]
    scaling: Scaling
    simulated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def costs_for(self, engine: str) -> Costs:
        """As `optimize` knows them, or as `execute` does, which starts from recorded figures."""
        if engine in (*POOLS, "loop"):
            return Costs(threads=self.costs.get("threadpool"), processes=self.costs.get("pool"), scaling=self.scaling)
        scaling = self.scaling if self.simulated else Scaling()
        return Costs(threads=self.costs.get("threads"), processes=self.costs.get("team"), scaling=scaling)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """Some of a workload's items, in all the settings that were tried on them."""

    place: Place
    function: str
    n_items: int
    sample: Sample
    caller_rss_bytes: int
    plan: tuple[str, int, int]  # what optimize() chose when this was recorded
    cells: tuple[Cell, ...]

    def expected(self, cell: Cell) -> Forecast:
        """What today's model expects of a cell."""
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


# -- files -----------------------------------------------------------------------------------------------------------


def write(path: Path, slices: Iterable[Slice]) -> None:
    """Write a corpus; places once each."""
    numbers: dict[str, int] = {}
    with gzip.GzipFile(path, "wb", mtime=0) as stream:
        for one in slices:
            place = json.dumps(_place_row(one.place))
            if place not in numbers:
                numbers[place] = len(numbers)
                stream.write(f"{place}\n".encode())
            stream.write(f"{json.dumps(_slice_row(one, numbers[place]), separators=(',', ':'))}\n".encode())


def read(path: Path) -> list[Slice]:
    """The slices of a corpus."""
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
    """The corpus of the latest date, real or simulated."""
    found = sorted(folder.glob("*corpus*.jsonl.gz"))
    found = [path for path in found if ("simulated" in path.name) == simulated]
    return found[-1] if found else None


# -- the command -----------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Arguments."""
    top = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="run every setting of every workload (some 12 minutes, quiet machine)")
    record.add_argument("--only", nargs="+", metavar="REGEX", help="workloads whose name or tag matches any")
    record.add_argument("--part", default="1/1", metavar="K/M", help="only the K-th of M parts of the workloads")
    record.add_argument("--rounds", type=int, default=2)
    record.add_argument("--out", type=Path)
    simulate = commands.add_parser("simulate", help="the same on simulated machines (minutes of CPU, no clock)")
    simulate.add_argument("--out", type=Path)
    join = commands.add_parser("join", help="one file of several")
    join.add_argument("parts", nargs="+", type=Path)
    join.add_argument("--out", type=Path, required=True)
    show = commands.add_parser("show", help="what a corpus holds")
    show.add_argument("path", type=Path)
    return top


def describe(slices: Sequence[Slice]) -> str:
    """Counts."""
    cells = [cell for one in slices for cell in one.cells]
    runs = sum(len(cell.clocks_s) for cell in cells)
    functions = len({one.function for one in slices})
    return f"{runs} runs: {functions} functions, {len(slices)} slices, {len(cells)} settings"


def _recorded(arguments: argparse.Namespace) -> Iterator[Slice]:
    if arguments.command == "join":
        for path in arguments.parts:
            yield from read(path)
    elif arguments.command == "simulate":
        from benchmarks.shapes import simulated

        yield from simulated()
    else:
        from benchmarks.recording import recorded

        yield from recorded(arguments.only, arguments.part, arguments.rounds)


def main() -> int:
    """Record, simulate, join or show."""
    arguments = parser().parse_args()
    if arguments.command == "show":
        print(describe(read(arguments.path)))
        return 0
    kind = "simulated-corpus" if arguments.command == "simulate" else "corpus"
    path = arguments.out or FOLDER / f"{datetime.date.today().isoformat()}-{kind}.jsonl.gz"
    slices = list(_recorded(arguments))
    write(path, slices)
    print(f"{describe(slices)}; {path}, {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
