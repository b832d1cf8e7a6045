"""Tokenise every file of the running interpreter's standard library, with and without amorsize (``make demo``).

Prints the forecast of ``amorsize.optimize``, the times of a plain loop, of the plan's pool and of ``amorsize.execute``,
and the diagnostics of this machine. Needs no network; takes about half a minute on two cores.
"""

from __future__ import annotations

import argparse
import platform
import sys
import sysconfig
import tokenize
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import amorsize
from amorsize.cli.main import main as command_line

NOT_PYTHON = -1


def tokens_in(path: str) -> int:
    """Return the number of tokens of a file; some files of the library's own tests are broken on purpose."""
    try:
        with tokenize.open(path) as source:
            return sum(1 for _ in tokenize.generate_tokens(source.readline))
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
        return NOT_PYTHON


def library_files() -> list[str]:
    """Return the Python files of the standard library, without installed packages."""
    library = Path(sysconfig.get_path("stdlib"))
    found = (path for path in library.rglob("*.py") if "site-packages" not in path.relative_to(library).parts)
    return sorted(str(path) for path in found)


def timed(run: Callable[[], list[int]]) -> tuple[list[int], float]:
    """Return the result of a call, and the seconds that it took."""
    began = perf_counter()
    return run(), perf_counter() - began


def in_pool(plan: amorsize.Plan) -> list[int]:
    """Run the map in the plan's pool: a ``multiprocessing.Pool``, a ``ThreadPool`` or a loop; open and close it."""
    with plan.pool() as pool:
        return pool.map(tokens_in, plan.data)


def compare(files: list[str]) -> bool:
    """Run the map in three ways and print the time of each; return True if the results agree."""
    began = perf_counter()
    plan = amorsize.optimize(tokens_in, files)
    print(f"The forecast of amorsize.optimize(), which took {perf_counter() - began:.2f} s:\n\n{plan.explain()}\n")
    assert plan.predicted_s is not None
    assert plan.predicted_interval_s is not None
    low, high = plan.predicted_interval_s
    ways: list[tuple[str, Callable[[], list[int]], str]] = [
        ("a plain loop", lambda: list(map(tokens_in, files)), f"{plan.serial_s:.2f} s"),
        ("plan.pool().map", lambda: in_pool(plan), f"{plan.predicted_s:.2f} s (80 %: {low:.2f} to {high:.2f})"),
        ("amorsize.execute", lambda: amorsize.execute(tokens_in, files), "decides while it runs"),
    ]
    print(f"{'':18}{'clock':>10}{'speedup':>10}   forecast")
    loop_s, counts = 0.0, list[list[int]]()
    for name, run, forecast in ways:
        found, took_s = timed(run)
        counts.append(found)
        loop_s = loop_s or took_s
        print(f"{name:18}{took_s:8.2f} s{loop_s / took_s:10.2f}   {forecast}", flush=True)
    tokens = sum(count for count in counts[0] if count != NOT_PYTHON)
    same = counts[0] == counts[1] == counts[2]
    print(f"\n{tokens:,} tokens; {counts[0].count(NOT_PYTHON)} files are broken on purpose.", end=" ")
    print("All three ways agree." if same else "THE RESULTS DIFFER.")
    return same


def main() -> int:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, metavar="N", help="only so many files, spread over the library")
    limit = parser.parse_args().limit
    files = library_files()
    if limit is not None:
        files = files[:: max(1, len(files) // max(1, limit))][:limit]
    read = sum(len(Path(file).read_bytes()) for file in files)  # so that every way finds the files in memory
    print(f"{len(files):,} files of the standard library of Python {platform.python_version()}, {read / 1e6:.1f} MB\n")
    same = compare(files)
    print("\nThis machine, as python -m amorsize shows it:\n", flush=True)
    return max(command_line(["diagnostics"]), 0 if same else 1)


if __name__ == "__main__":  # processes that are started by spawn import this module too
    sys.exit(main())
