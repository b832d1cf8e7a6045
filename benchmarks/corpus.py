"""Makes a corpus of runs to learn from (`benchmarks.cells` has its format).

``python -m benchmarks.corpus record`` makes one on this machine, ``simulate`` one of simulated machines, ``join``
puts the parts of a long recording together.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cells import Slice, describe, read, write
from benchmarks.results_files import FOLDER


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
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
