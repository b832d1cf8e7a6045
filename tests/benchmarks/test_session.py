from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import busy, calibration, session
from benchmarks.row import Job
from benchmarks.workloads import REGISTRY


@pytest.fixture
def job(tmp_path):
    return Job(
        workload="100 × 0.1 ms",
        contenders=("loop", "threads"),
        rounds=2,
        thrifty=False,
        iterations_per_s=1e6,
        log=str(tmp_path / "log"),
    )


def test_a_row_in_its_own_process_comes_back_whole(job):
    row = session.measure_row(REGISTRY[job.workload], job)
    assert row["done"]
    assert row["wrong"] is None
    assert row["items"] == 100
    assert all(seconds > 0 for seconds in row["contenders"]["threads"]["seconds"])


def test_a_contender_that_never_returns_costs_itself_only(job, monkeypatch):
    attempts = []

    def attempt(job, silence_s):
        attempts.append(job.contenders)
        begin = {"event": "begin", "contender": "threads", "round": 0}
        ready = {"event": "ready", "items": 1, "contenders": list(job.contenders)}
        time = {"event": "time", "contender": "loop", "round": 0, "seconds": 1.0, "facts": {}}
        return ([ready, time, begin], "hung") if "threads" in job.contenders else ([ready, time], None)

    monkeypatch.setattr(session, "attempt", attempt)
    row = session.measure_row(REGISTRY[job.workload], job)
    assert attempts == [("loop", "threads"), ("loop",)]
    assert row["contenders"]["threads"]["failed"] == "hung"
    assert row["contenders"]["loop"]["seconds"] == [1.0, None]


def test_a_silent_process_is_ended(tmp_path):
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    process = subprocess.Popen(command, start_new_session=True)
    assert "hung" in (session.watch(process, tmp_path / "log", silence_s=0.0) or "")
    assert process.poll() is not None


def test_a_line_cut_off_in_writing_is_left_out(tmp_path):
    log = tmp_path / "log"
    log.write_text('{"event": "ready"}\n{"eve', encoding="utf-8")
    assert session.read_events(log) == [{"event": "ready"}]
    assert session.read_events(tmp_path / "none") == []


def test_others_are_what_neither_idle_nor_steal_nor_we_had():
    before = busy.Reading(total_s=100.0, idle_s=50.0, steal_s=1.0, ours_s=9.0)
    after = busy.Reading(total_s=110.0, idle_s=53.0, steal_s=2.0, ours_s=13.0)
    assert busy.between(before, after) == busy.Busy(0.2, 0.1)
    assert busy.too_busy([busy.Busy(0.0, 0.0), busy.Busy(0.06, 0.05)])
    assert busy.between(before, before) == busy.Busy(0.0, 0.0)


def test_calibration_counts_steps():
    assert calibration.measure(repeats=3, iterations=1_000) > 0
