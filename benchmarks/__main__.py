"""``python -m benchmarks run`` measures; ``table``, ``targets`` and ``plots`` show a result file."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import calibration, environment, results_files, rivals, table
from benchmarks.record import Row
from benchmarks.row import Job
from benchmarks.session import measure_all
from benchmarks.summary import summarise, summarise_row
from benchmarks.workloads import REGISTRY, Workload

FORMAT = 1
DRAWINGS = Path(__file__).parent.parent / "docs" / "why" / "img"
ROUNDS = 5
BRIEF_ROUNDS = 3
BRIEF_LIMIT_S = 8.0  # of a row's rounds: after this no third one begins
QUICK_ROUNDS = 2
QUICK_STRIDE = 8


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and write a result file")
    run.add_argument("--rounds", type=int, help="rounds per workload (default 5, brief 3, quick 2)")
    run.add_argument(
        "--brief", action="store_true", help="2 or 3 rounds, without the contenders that take longest and lose"
    )
    run.add_argument("--quick", action="store_true", help="an eighth of the items: only shows that it works")
    run.add_argument(
        "--only", "--workloads", nargs="+", metavar="REGEX", help="rows whose name or tag matches any (default: all)"
    )
    run.add_argument("--contenders", metavar="REGEX", help="only those that match")
    run.add_argument("--without", metavar="REGEX", help="leave out those that match")
    run.add_argument("--grid", action="store_true", help="also fixed settings, the best of them as the oracle")
    run.add_argument("--all-rounds", action="store_true", help="nobody sits out or is left out, however far behind")
    run.add_argument("--out", type=Path, help="the result file (default: a new one in benchmarks/results)")
    show = commands.add_parser("table", help="print a result file as Markdown")
    show.add_argument("path", nargs="?", type=Path, help="default: the newest")
    goals = commands.add_parser("targets", help="print what was promised, and whether a result file shows it")
    goals.add_argument("path", nargs="?", type=Path, help="default: the newest")
    draw = commands.add_parser("plots", help="draw a result file")
    draw.add_argument("path", nargs="?", type=Path, help="default: the newest")
    draw.add_argument("--out", type=Path, default=DRAWINGS, help="folder (default: docs/why/img)")
    return top


def chosen_workloads(patterns: list[str] | None) -> list[Workload]:
    """Return the workloads with this name or tag."""
    if patterns is None:
        return list(REGISTRY.values())
    return [
        workload
        for workload in REGISTRY.values()
        if any(re.search(pattern, text) for pattern in patterns for text in (workload.name, *workload.tags))
    ]


def chosen_contenders(
    pattern: str | None, without: str | None, *, brief: bool = False
) -> tuple[list[str], dict[str, str]]:
    """Return the contenders to run, the loop always first; and those that are missing here, with the reason."""
    names, skipped = [], {}
    for rival in rivals.ALL:
        wanted = pattern is None or re.search(pattern, rival.name) is not None
        if brief and rival.most_items is not None:
            wanted = False
        if without is not None and re.search(without, rival.name):
            wanted = False
        if rival.name == rivals.LOOP:
            wanted = True
        if wanted:
            why = rival.missing()
            if why is None:
                names.append(rival.name)
            else:
                skipped[rival.name] = why
    return names, skipped


def tell(row: Row) -> None:
    """Print one line for each row."""
    summary = summarise_row(row)
    best = summary["best"]
    text = f"{row['workload']:32}"
    text += f" best: {best} {table.seconds(summary['medians'][best])} s" if best else f" no result: {row['wrong']}"
    if rivals.EXECUTE in summary["regret"]:
        text += f"; execute / best rival {table.ratio(summary['regret'][rivals.EXECUTE]['to_best_rival'])}"
    failed = [name for name, each in row["contenders"].items() if each["failed"]]
    text += f"; failed: {', '.join(failed)}" if failed else ""
    if row["busy"]["too_busy"]:
        shares = [row["busy"][when] for when in ("before", "during", "after")]
        text += "; WARNING, busy machine: others and steal " + ", ".join(
            f"{100 * (share['others'] + share['steal']):.0f} %" for share in shares
        )
    print(text, flush=True)


def out_path(arguments: argparse.Namespace, date: str) -> Path:
    """Return the path of the result; quick or partial runs are kept out of the results, unless a path is given."""
    if arguments.out is not None:
        return Path(arguments.out)
    partial = arguments.quick or arguments.only or arguments.contenders or arguments.without
    folder = Path(tempfile.gettempdir()) if partial else results_files.FOLDER
    return results_files.free_path(folder, environment.file_stem(date))


def run(arguments: argparse.Namespace) -> int:
    workloads = chosen_workloads(arguments.only)
    names, skipped = chosen_contenders(arguments.contenders, arguments.without, brief=arguments.brief)
    if not workloads:
        print("no workload matches", file=sys.stderr)
        return 2
    for name, why in skipped.items():
        print(f"not run: {name} ({why})")
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else BRIEF_ROUNDS if arguments.brief else ROUNDS)
    started = datetime.datetime.now(datetime.UTC)
    rate = calibration.measure()

    def job_for(workload: Workload) -> Job:
        return Job(
            workload=workload.name,
            contenders=tuple(names),
            rounds=rounds,
            iterations_per_s=rate,
            stride=QUICK_STRIDE if arguments.quick else 1,
            grid=arguments.grid,
            thrifty=not arguments.all_rounds,
            limit_s=BRIEF_LIMIT_S if arguments.brief and not arguments.rounds else None,
        )

    rows = measure_all(workloads, job_for, tell)
    result: dict[str, Any] = {
        "format": FORMAT,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.datetime.now(datetime.UTC) - started).total_seconds(), 1),
        "quick": arguments.quick,
        "brief": arguments.brief,
        "rounds": rounds,
        "iterations_per_s": rate,
        "history": os.environ.get("AMORSIZE_HISTORY", "off"),
        "commit": environment.commit(),
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        "skipped": skipped,
        "summary": summarise(rows),
        "rows": rows,
    }
    path = out_path(arguments, started.date().isoformat())
    results_files.write(path, result)
    print(f"{result['seconds']:.0f} s; written: {path}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    path = arguments.path or results_files.newest()
    if path is None:
        print("there is no result file yet: python -m benchmarks run", file=sys.stderr)
        return 1
    result = results_files.read(path)
    # Computed again, so that today's rules judge an older file.
    result["summary"] = summarise(result["rows"])
    if arguments.command == "plots":
        from benchmarks import plots

        for drawn in plots.draw(result, arguments.out):
            print(drawn)
    else:
        print((table.render if arguments.command == "table" else table.target_table)(result))
    return 0


def main() -> int:
    arguments = parser().parse_args()
    return run(arguments) if arguments.command == "run" else show(arguments)


if __name__ == "__main__":
    sys.exit(main())
