"""CPU quotas in real control groups: ``python -m benchmarks.quotas [--rounds N] [--out PATH] [TREE …]``.

Each run is a fresh process that joins a group with a quota of 0.5 or 1.5 cores, asks for a plan, and then runs the
loop, ``execute`` and the plan's pool. A round runs every quota on every tree (a folder that holds a package
``amorsize``; by default this one). Figures are medians, with the least and the largest. Skipped where groups cannot be
made: that takes root and a writable controller of the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.environment import commit, machine_facts, versions

HERE: Final = Path(__file__).parents[1]
QUOTAS: Final = (0.5, 1.5)
PERIOD_US: Final = 100_000
# The shell joins the group and only then becomes Python.
JOIN: Final = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
# What the issue of the forecast asks for: the loop's forecast over the clock.
HELD: Final = (0.7, 1.4)

PROBE: Final = """
import json
from time import perf_counter, thread_time

def work(n):
    total = 0
    for i in range(n):
        total += i
    return total

def took(call):
    began = perf_counter()
    call()
    return perf_counter() - began

if __name__ == "__main__":
    import amorsize

    began = thread_time()
    work(1_000_000)
    # Items of 10 ms, 1.5 s in all on a core of one's own.
    data = [int(1e4 / (thread_time() - began))] * 150
    plan = amorsize.optimize(work, data, backend=("serial", "processes"))
    loop = took(lambda: list(map(work, data)))
    execute = took(lambda: amorsize.execute(work, data))

    def by_plan():
        with plan.pool() as pool:
            pool.map(work, plan.data)

    pool = took(by_plan)
    print(json.dumps({
        "usable cores": plan.machine.usable_cores, "loop, s": loop, "forecast / loop": plan.serial_s / loop,
        "execute / loop": execute / loop, "plan / loop": pool / loop, "forecast / plan": plan.predicted_s / pool,
    }))
"""


class NotHereError(Exception):
    """No group can be made here."""


@contextmanager
def group(quota: float) -> Iterator[Path]:
    """Make a control group with this quota, in cores; it goes at the end.

    Raises
    ------
    NotHereError
        With the reason.
    """
    parent, v2 = parent_of_groups()
    try:
        path = Path(tempfile.mkdtemp(prefix="amorsize-benchmark-", dir=parent))
    except OSError as error:
        raise NotHereError(f"no group can be made in {parent}: {error.strerror}") from error
    try:
        try:
            if v2:
                (path / "cpu.max").write_text(f"{int(quota * PERIOD_US)} {PERIOD_US}")
            else:
                (path / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (path / "cpu.cfs_quota_us").write_text(str(int(quota * PERIOD_US)))
        except OSError as error:
            raise NotHereError(f"no quota can be set in {parent}: {error.strerror}") from error
        yield path
    finally:
        path.rmdir()


def parent_of_groups() -> tuple[Path, bool]:
    """Return the group in which others with a quota can be made, and if it is of version 2."""
    from amorsize.system.cgroups import own_groups

    mine = own_groups()
    for directory in mine.cpu:
        if Path(directory, "cgroup.procs").exists():
            return Path(directory), False
    for directory in mine.unified:
        shared = Path(directory, "cgroup.subtree_control")
        if shared.exists() and "cpu" in shared.read_text().split():
            return Path(directory), True
    raise NotHereError("no hierarchy that is mounted here shares out the CPU")


def probe(tree: Path, quota: float, cache: Path) -> dict[str, float]:
    """Run one fresh process in a group with this quota."""
    program = cache / "quota_probe.py"
    program.write_text(PROBE)
    settings = {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache), "AMORSIZE_HISTORY": "off"}
    environment = {**os.environ, **settings}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with group(quota) as path:
        command = ["sh", "-c", JOIN, str(path), sys.executable, str(program)]
        done = subprocess.run(command, env=environment, cwd=cache, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise NotHereError(f"a process could not join the group, or failed there: exit code {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trees", nargs="*", type=Path, default=[HERE], metavar="TREE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write a result file")
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.trees]
    runs: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory() as cache:
            for _ in range(options.rounds):
                for number, tree in enumerate(trees):
                    runs += [{"tree": number, "quota": q, **probe(tree, q, Path(cache))} for q in QUOTAS]
    except NotHereError as reason:
        print(f"skipped: {reason}")
        return 0
    for number, tree in enumerate(trees):
        print(tree)
        for quota in QUOTAS:
            mine = [run for run in runs if (run["tree"], run["quota"]) == (number, quota)]
            shown = []
            for name in [key for key in mine[0] if key not in ("tree", "quota")]:
                values = [run[name] for run in mine]
                shown.append(f"{name} {median(values):.2f} ({min(values):.2f}-{max(values):.2f})")
            print(f"  quota {quota}: {', '.join(shown)}")
    print(f"loop's forecast / loop should be {HELD[0]} to {HELD[1]}")
    if options.out is not None:
        from benchmarks import results_files

        result = {
            "kind": "quotas",
            "commit": commit(),
            "machine": machine_facts(),
            "versions": versions(),
            "runs": runs,
        }
        results_files.write(options.out, result)
        print(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
