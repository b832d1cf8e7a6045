"""``pytest -n auto`` with the plugin against ``-n 0, 1, 2, 4`` by hand: ``python -m benchmarks.pytest_switch``.

A suite of so many seconds is generated: 12 files; five tests of six compute (10 to 300 ms each), one of six sleeps, and
a fixture of each module takes 20 ms. One run with the plugin fills its history; then rounds in turn. ``--quota 1`` runs
each pytest in a control group with that many cores (root on Linux with cgroup v1 or v2). ``--rows`` measures the
promise, three rows: a suite of 3 s, one of 30 s, and that of 3 s with one core (a control group, or the affinity).
Promised: from the second run on ``-n auto`` takes at most 10 % longer than the best by hand, by the medians.

``--overhead`` compares one process with and without the plugin on 1,000 tests of 2 ms. ``--constants`` prints what
`amorsize.model.suite` needs to know of pytest and pytest-xdist: seconds per empty test, from runs of 200 and of 2,200.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import environment, results_files

HERE: Final = Path(__file__).parents[1]
PLUGIN: Final = ("-p", "amorsize.integrations.pytest")
BY_HAND: Final = (0, 1, 2, 4)
FILES: Final = 12
SHARE: Final = 1.1
# Name, seconds of the suite, rounds, and cores (None: all). Some nine minutes on two cores.
ROWS: Final = (("3 s", 3.0, 5, None), ("30 s", 30.0, 3, None), ("3 s, one core", 3.0, 5, 1.0))

HEAD: Final = """
import time
import pytest

@pytest.fixture(scope="module", autouse=True)
def prepared():
    compute(0.02)

def compute(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(500))
"""


def write_suite(folder: Path, seconds: float) -> None:
    """Write tests that take so many seconds, one after the other."""
    draw = random.Random(16)
    left, tests = seconds, [[] for _ in range(FILES)]  # type: ignore[var-annotated]
    while left > 0:
        took = min(left, draw.choice((0.01, 0.02, 0.05, 0.1, 0.3)) * max(1.0, seconds / 30))
        left -= took
        kind = "time.sleep" if draw.random() < 1 / 6 else "compute"
        file = draw.choice(tests)
        file.append(f"def test_{len(file)}(): {kind}({took:.4f})\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    for at, lines in enumerate(tests):
        (folder / f"test_{at}.py").write_text(HEAD + "".join(lines))


def write_many(folder: Path, tests: int, body: str) -> None:
    (folder / "pytest.ini").write_text("[pytest]\n")
    lines = [f"def test_{at}(): {body}\n" for at in range(tests)]
    (folder / "test_many.py").write_text(HEAD.replace("compute(0.02)", "pass") + "".join(lines))
    # The process that the user started tells its CPU time.
    told = "import os, time\ndef pytest_unconfigure(config):\n"
    told += "    if not hasattr(config, 'workerinput'): open('cpu', 'w').write(str(time.process_time()))\n"
    (folder / "conftest.py").write_text(told)


def run(folder: Path, *options: str, group: Path | None = None) -> tuple[float, float, str]:
    """Return the seconds and CPU seconds of one pytest, and what it printed."""
    variables = {**os.environ, "PYTHONPATH": str(HERE), "AMORSIZE_HISTORY": str(folder.parent / "history.sqlite")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    # Bytecode of other packages, with asserts rewritten by pytest, is kept beside the suite.
    variables["PYTHONPYCACHEPREFIX"] = str(folder.parent / "bytecode")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=enter
    )
    took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout)
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def group_of(cores: float | None) -> Path | None:
    """Make a control group with a quota."""
    if cores is None:
        return None
    first = Path("/sys/fs/cgroup/cpu")
    group = (first if first.is_dir() else first.parent) / f"amorsize-bench-{os.getpid()}"
    group.mkdir()
    try:
        if first.is_dir():
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))
        else:
            (group / "cpu.max").write_text(f"{int(cores * 100_000)} 100000")
    except OSError:
        group.rmdir()
        raise
    return group


def compare(folder: Path, rounds: int, group: Path | None) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {f"-n {n}": [] for n in BY_HAND} | {"-n auto": []}
    run(folder, "--collect-only")  # bytecode is there from now on
    print(told(run(folder, *PLUGIN, "-n", "auto", group=group)[2]), flush=True)
    for _ in range(rounds):
        for n in BY_HAND:
            took[f"-n {n}"].append(run(folder, "-n", str(n), group=group)[0])
        seconds, _, said = run(folder, *PLUGIN, "-n", "auto", group=group)
        took["-n auto"].append(seconds)
        print(told(said), *(f"{name} {each[-1]:.2f}" for name, each in took.items()), sep="; ", flush=True)
    return took


def told(said: str) -> str:
    lines = said.splitlines()
    at = next(at for at, line in enumerate(lines) if "= amorsize =" in line)
    return "; ".join(line for line in lines[at + 1 : at + 3] if "slowest" not in line)


def measured_row(seconds: float, rounds: int, cores: float | None) -> dict[str, Any]:
    """Measure one row of the promise; without the right to make a control group, by the affinity."""
    group, allowed = None, os.sched_getaffinity(0)
    try:
        group = group_of(cores)
    except OSError:
        os.sched_setaffinity(0, sorted(allowed)[:1])
    try:
        with TemporaryDirectory() as place:
            folder = Path(place) / "suite"
            folder.mkdir()
            write_suite(folder, seconds)
            took = compare(folder, rounds, group)
    finally:
        limited_by = "group" if group is not None else "affinity" if cores else None
        os.sched_setaffinity(0, allowed)
        if group is not None:
            group.rmdir()
    median_s = {name: median(each) for name, each in took.items()}
    most_s = SHARE * min(median_s[f"-n {n}"] for n in BY_HAND)
    return {
        "suite_s": seconds,
        "rounds": rounds,
        "cores": cores,
        "limited_by": limited_by,
        "median_s": median_s,
        "seconds": took,
        "most_s": most_s,
        "kept": median_s["-n auto"] <= most_s,
    }


def promise(only: str, rounds: int | None, out: Path | None) -> None:
    """Measure the rows of the promise, print them as a table, and write a result file."""
    started = datetime.now(UTC)
    rows = {
        name: measured_row(seconds, rounds or of_row, cores) for name, seconds, of_row, cores in ROWS if only in name
    }
    names = [f"-n {n}" for n in BY_HAND] + ["-n auto"]
    print(f"{'seconds':16}" + "".join(f"{name:>10}" for name in names) + f"{'at most':>10}")
    for name, one in rows.items():
        figures = [*(one["median_s"][each] for each in names), one["most_s"]]
        print(f"{name:16}" + "".join(f"{each:10.2f}" for each in figures), "" if one["kept"] else "  *")
    result = {
        "started": started.isoformat(timespec="seconds"),
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        "commit": environment.commit(),
        "workloads": rows,
    }
    stem = f"{environment.file_stem(started.date().isoformat())}-pytest-switch"
    path = out or results_files.free_path(results_files.FOLDER, stem)
    results_files.write(path, result)
    print(json.dumps({"file": path.name}))


def overhead(folder: Path, rounds: int) -> None:
    write_many(folder, 1_000, "compute(0.002)")
    run(folder, *PLUGIN)
    found = [(run(folder)[:2], run(folder, *PLUGIN)[:2]) for _ in range(rounds)]
    for at, name in enumerate(("clock", "CPU")):
        without, with_plugin = (median(each[which][at] for each in found) for which in (0, 1))
        print(f"{name}: {without:.3f} s without, {with_plugin:.3f} s with the plugin: {with_plugin / without - 1:+.2%}")


def constants(folder: Path, rounds: int) -> None:
    tests = (200, 2_200)
    found: dict[str, list[float]] = {"collection": [], "one process": [], "two workers": [], "controller": []}
    for _ in range(rounds):
        collection, single, cpu, controller = [], [], [], []
        for number in tests:
            write_many(folder, number, "pass")
            run(folder, "--collect-only")
            collection.append(run(folder, "--collect-only")[1])
            single.append(run(folder)[1])
            cpu.append(run(folder, "-n", "2", "--dist", "worksteal")[1])
            controller.append(float((folder / "cpu").read_text()))
        for name, (few, many) in zip(found, (collection, single, cpu, controller), strict=True):
            found[name].append((many - few) / (tests[1] - tests[0]))
    collect, own, together, receive = (1e3 * median(each) for each in found.values())
    # The two workers collect each test, which one process does once.
    own, send = own - collect, together - own - collect - receive
    print(f"ms per test: collection {collect:.2f}, own {own:.2f}, sending {send:.2f}, receiving {receive:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rows", action="store_true", help="measure the rows of the promise; 9 minutes")
    parser.add_argument("--only", default="", help="of --rows: those whose name contains this text")
    parser.add_argument("--out", type=Path, help="of --rows: the result file")
    parser.add_argument("--quota", type=float)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--constants", action="store_true")
    parser.add_argument("--json", type=Path, help="append the rounds to this file, and sum up all that it holds")
    options = parser.parse_args()
    if options.rows:
        promise(options.only, options.rounds, options.out)
        return
    options.rounds = options.rounds or 5
    group = group_of(options.quota)
    try:
        with TemporaryDirectory() as place:
            folder = Path(place) / "suite"
            folder.mkdir()
            if options.overhead or options.constants:
                (overhead if options.overhead else constants)(folder, options.rounds)
                return
            write_suite(folder, options.seconds)
            took = compare(folder, options.rounds, group)
    finally:
        if group is not None:
            group.rmdir()
    if options.json is not None:
        held = json.loads(options.json.read_text()) if options.json.exists() else {name: [] for name in took}
        took = {name: held[name] + took[name] for name in took}
        options.json.write_text(json.dumps(took))
    best = min(median(each) for name, each in took.items() if name != "-n auto")
    for name, each in took.items():
        print(f"{name:8} {median(each):7.2f} s  {median(each) / best:.2f}   {len(each)} rounds")


if __name__ == "__main__":
    main()
