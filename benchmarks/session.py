"""Runs a whole comparison: row after row, each in a fresh process that is watched from outside.

A row that hangs or dies costs the contender that was running, not the row: it is run again without that contender.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks import busy, rivals
from benchmarks.record import Event, Row, contender_record, fold, in_flight, rounds_run
from benchmarks.row import Job
from benchmarks.workloads import Workload

ROOT = Path(__file__).parent.parent
SILENCE_S = 120.0  # The longest map takes some ten seconds; a row without an event for this long hangs


def read_events(log: Path) -> list[Event]:
    """Return the events so far; an incomplete last line is left out."""
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def end_family(pid: int) -> None:
    """Kill a process that leads its own group, and all its descendants, orphans included."""
    family: list[psutil.Process] = []
    try:
        root = psutil.Process(pid)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        pass
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    if hasattr(os, "killpg"):
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def watch(process: subprocess.Popen[bytes], log: Path, silence_s: float) -> str | None:
    """Wait for the end of a row's process; return why it failed, or None."""
    size, since = -1, time.monotonic()
    while True:
        try:
            code = process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            now = log.stat().st_size if log.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > silence_s:
                end_family(process.pid)
                process.wait()
                return f"hung: no result after {silence_s:.0f} s"
        else:
            return None if code == 0 else f"the process that called it ended with exit code {code}"


def attempt(job: Job, silence_s: float) -> tuple[list[Event], str | None]:
    """Run a job in its own process; return its events, and why it failed, or None."""
    with tempfile.TemporaryDirectory(prefix="amorsize-benchmark-") as folder:
        log = Path(folder) / "events.jsonl"
        job = replace(job, log=str(log))
        environment = {"AMORSIZE_HISTORY": "off", **os.environ}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
        command = [sys.executable, "-m", "benchmarks.row", job.to_json()]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        wrong: str | None = "interrupted"
        try:
            wrong = watch(process, log, silence_s)
        finally:
            if wrong is not None:
                end_family(process.pid)
        return read_events(log), wrong


def measure_row(workload: Workload, job: Job, silence_s: float = SILENCE_S) -> Row:
    """Return one row of the result file, raw."""
    failures: dict[str, str] = {}
    before = busy.probe()
    load_before = busy.load()
    began = time.monotonic()
    while True:
        start = busy.read()
        events, wrong = attempt(job, silence_s)
        during = busy.between(start, busy.read())
        culprit = in_flight(events)
        if wrong is None or culprit in (None, rivals.LOOP) or culprit not in job.contenders:
            break
        failures[culprit] = wrong
        job = replace(job, contenders=tuple(name for name in job.contenders if name != culprit))
    row = fold(events, rounds_run(events, job.rounds))
    for name, message in failures.items():
        row["contenders"][name] = {**contender_record(rounds_run(events, job.rounds)), "failed": message}
    after = busy.probe()
    return {
        "workload": workload.name,
        "note": workload.note,
        "tags": list(workload.tags),
        **row,
        "wrong": wrong,
        "seconds": round(time.monotonic() - began, 1),
        "busy": {
            "before": before._asdict(),
            "during": during._asdict(),
            "after": after._asdict(),
            "load_before": load_before,
            "load_after": busy.load(),
            "too_busy": busy.too_busy([before, during, after]),
        },
    }


def measure_all(
    workloads: list[Workload], job_for: Callable[[Workload], Job], tell: Callable[[Row], None]
) -> list[dict[str, Any]]:
    """Return all rows; ``tell`` is called with each at its end."""
    rows = []
    for workload in workloads:
        row = measure_row(workload, job_for(workload))
        rows.append(row)
        tell(row)
    return rows
