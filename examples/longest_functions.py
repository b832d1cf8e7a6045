"""The longest functions of the standard library: plan first, then your own ``multiprocessing.Pool``.

``backend=`` lets ``optimize`` choose between a pool of processes and a plain loop only. ``plan.pool()`` then opens one
or the other, with the number of workers, the chunksize and the start method of the plan.
"""

from __future__ import annotations

import argparse
import ast
import sysconfig
import warnings
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import amorsize


class Function(NamedTuple):
    """A function and its number of lines."""

    lines: int
    name: str
    file: str


def functions_in(path: str) -> list[Function]:
    """Return all functions that a file defines; none if it is not valid Python (some tests are broken on purpose)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escape sequences
            tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError):
        return []
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [Function((node.end_lineno or node.lineno) - node.lineno + 1, node.name, path) for node in functions]


def main() -> None:
    """Parse all files and print the longest functions."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N files")
    library = Path(sysconfig.get_path("stdlib"))
    inside = (path for path in library.rglob("*.py") if not {"site-packages", "test", "tests"}.intersection(path.parts))
    files = sorted(map(str, inside))[: parser.parse_args().limit]

    plan = amorsize.optimize(functions_in, files, backend=("serial", "processes"))
    print(plan.explain(), end="\n\n")
    began = perf_counter()
    with plan.pool() as pool:
        found = pool.map(functions_in, plan.data)
    took_s = perf_counter() - began

    print(f"forecast {plan.predicted_s:.2f} s, clock {took_s:.2f} s")
    functions = [function for each in found for function in each]
    print(f"{len(functions):,} functions in {len(files):,} files; the longest:")
    for lines, name, file in sorted(functions, reverse=True)[:5]:
        print(f"{lines:5} lines  {name}  ({Path(file).relative_to(library)})")


if __name__ == "__main__":  # processes that are started by spawn import this module too
    main()
