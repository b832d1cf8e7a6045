"""Compares two trees of amorsize: ``python -m benchmarks.before_after OTHER [--rounds N] [--out PATH]``.

Each round runs the same calls of the public functions in fresh processes of this tree and of OTHER (a checkout of an
earlier commit) in turn. Prints, for each call, the median of both and of their ratio by round, and the geometric mean
of all ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.environment import machine_facts, versions

HERE: Final = Path(__file__).resolve().parents[1]

CALLS: Final = HERE / "benchmarks" / "public_calls.py"


def run(tree: Path) -> dict[str, float]:
    """Return the seconds of each call, in a fresh process of this tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "AMORSIZE_HISTORY": "off"}
    done = subprocess.run(
        # -P: the folder of the script must not come before the standard library.
        [sys.executable, "-P", str(CALLS)],
        env=environment,
        cwd=tree,
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def main() -> None:
    """Measure, print, and write a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    trees = [arguments.other.resolve(), HERE]
    for tree in trees:
        run(tree)
    rounds = []
    for k in range(arguments.rounds):
        pair = {tree: run(tree) for tree in trees[:: 1 if k % 2 else -1]}
        rounds.append((pair[trees[0]], pair[trees[1]]))
    found: dict[str, dict[str, float]] = {}
    for name in rounds[0][0]:
        ratios = sorted(after[name] / before[name] for before, after in rounds)
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {
            "before_ms": statistics.median(before[name] for before, _ in rounds) * 1e3,
            "after_ms": statistics.median(after[name] for _, after in rounds) * 1e3,
            "ratio": middle,
            "low": low,
            "high": high,
        }
        print(
            f"{name:34} {found[name]['before_ms']:9.3f} ms {found[name]['after_ms']:9.3f} ms"
            f"   {middle:.3f} ({low:.3f}-{high:.3f})"
        )
    mean = math.exp(statistics.fmean(math.log(one["ratio"]) for one in found.values()))
    print(f"geometric mean of the ratios: {mean:.3f}")
    if arguments.out is not None:
        commits = [
            subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True).stdout.strip()
            for tree in trees
        ]
        body = {"machine": machine_facts(), "versions": versions(), "commits": commits, "calls": found, "mean": mean}
        arguments.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
