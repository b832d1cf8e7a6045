"""Times of the first calls in a fresh process: ``python -m benchmarks.first_call [--rounds N] [TREE …]``.

Each round starts a fresh interpreter for every tree (a folder that holds a package ``amorsize``; by default this one),
by turns, so that a busy moment hits all of them. Bytecode is written before the first
round, as an installer would. Times are in milliseconds: medians, and in brackets the quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import quantiles
from typing import Final

HERE: Final = Path(__file__).parents[1]

PROBE: Final = """
import sys
from time import perf_counter

def took(call):
    began = perf_counter()
    call()
    return (perf_counter() - began) * 1e3

def load():
    import amorsize

def loop():
    import amorsize
    assert amorsize.execute(abs, range(100)) == list(range(100))

def forked():
    import amorsize
    assert amorsize.execute(abs, range(100), backend="processes", start_method="fork", max_workers=2)[9] == 9

found = {"import": took(load), "first loop": took(loop), "second loop": took(loop)}
found["import + first loop"] = found["import"] + found["first loop"]
found |= {"first fork": took(forked), "second fork": min(took(forked) for _ in range(3))}
found["first fork - second"] = found["first fork"] - found["second fork"]
found["modules"] = len(sys.modules)
import json
print(json.dumps(found))
"""


def probe(tree: Path, cache: Path) -> dict[str, float]:
    """Run one fresh process on one tree."""
    settings = {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache), "AMORSIZE_HISTORY": "off"}
    environment = {**os.environ, **settings}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, cwd=cache, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trees", nargs="*", type=Path, default=[HERE], metavar="TREE")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    from tempfile import TemporaryDirectory

    trees = [tree.resolve() for tree in options.trees]
    with TemporaryDirectory() as cache:
        for tree in trees:
            probe(tree, Path(cache))  # bytecode is there from now on, and the files have been read once
        rounds = [[probe(tree, Path(cache)) for tree in trees] for _ in range(options.rounds)]
    for number, tree in enumerate(trees):
        print(f"{tree}, {options.rounds} fresh processes of Python {sys.version.split()[0]}")
        for name in rounds[0][number]:
            low, middle, high = quantiles([one[number][name] for one in rounds], n=4)
            print(f"  {name:22} {middle:7.2f}  [{low:.2f}-{high:.2f}]")


if __name__ == "__main__":
    main()
