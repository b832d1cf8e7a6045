"""Caps by the user's and the scheduler's variables, ``ulimit -v`` and Windows' job object: recorded facts."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_trees import FREE, GIB, MEMINFO, TOTAL, reader

import amorsize
from amorsize.options import check
from amorsize.system import caps
from amorsize.system import machine as module
from amorsize.system.cgroups import Finding
from amorsize.system.job_object import (
    CPU_RATE,
    ENABLED,
    EXTENDED_LIMITS,
    HARD_CAP,
    JOB_MEMORY,
    MIN_MAX,
    PROCESS_MEMORY,
    job_memory,
    job_quota,
)
from amorsize.system.machine import lately, read_machine


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(caps, "address_space", lambda: Finding(None, "no RLIMIT_AS"))
    for name in caps.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def seen(environ=None, options=None, **more):
    return read_machine(reader(MEMINFO), "Linux", environ or {}, options or {}, **more)


# -- cores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [caps.PYTHON, *caps.CORES])
def test_a_cap_lowers_the_usable_cores_and_is_named(name):
    found = seen({name: "3"})
    assert (found.usable_cores, found.affinity_cores) == (3.0, 8)
    assert found.sources["usable_cores"] == name


@pytest.mark.parametrize("name", [caps.PYTHON, *caps.CORES])
def test_a_cap_above_the_affinity_changes_nothing(name):
    found = seen({name: "64"})
    assert (found.usable_cores, found.sources["usable_cores"]) == (8.0, "affinity_cores")
    assert seen({name: "8"}).sources["usable_cores"] == "affinity_cores"


@pytest.mark.parametrize("text", ["", "0", "-2", "two", "1.5", "9" * 30, "٣"])
def test_a_value_that_makes_no_sense_sets_no_cap_and_is_told(text):
    found = seen({"NSLOTS": text})
    assert found.usable_cores == 8.0
    assert "NSLOTS holds" in found.sources["usable_cores"]


def test_the_interpreters_option_overrules_its_variable():
    environ = {caps.PYTHON: "2"}
    assert seen(environ, {"cpu_count": "5"}).usable_cores == 5.0
    assert seen(environ, {"cpu_count": "5"}).sources["usable_cores"] == "-X cpu_count"
    assert seen(environ, {"cpu_count": "default"}).usable_cores == 8.0
    assert seen({caps.PYTHON: "default"}).sources["usable_cores"] == "affinity_cores"


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(caps.VARIABLES), st.text(max_size=6) | st.integers(0, 99).map(str)))
def test_caps_only_ever_lower(environ):
    found = caps.core_cap(environ, {})
    assert found.value is None or found.value >= 1
    assert found.value is None or found.source in environ
    memory = caps.memory_cap(environ, 4)
    assert memory.value is None or memory.value > 0


def test_a_cap_counts_at_the_next_call(monkeypatch):
    before = lately().usable_cores
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert lately().usable_cores == 1.0
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT")
    assert lately().usable_cores == before


# -- memory ----------------------------------------------------------------------------------------------------------


def test_slurm_caps_the_memory(monkeypatch):
    monkeypatch.setattr(module, "resident_bytes", lambda: GIB)
    found = seen({"SLURM_MEM_PER_NODE": "2048"})
    assert (found.memory_limit_bytes, found.memory_available_bytes) == (2 * GIB, GIB)
    assert found.sources["memory_limit_bytes"].startswith("SLURM_MEM_PER_NODE")
    each = seen({"SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "4"})
    assert each.memory_limit_bytes == 2 * GIB
    assert each.sources["memory_available_bytes"].startswith("SLURM_MEM_PER_CPU")
    assert seen({"SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_PER_TASK": "2"}).memory_limit_bytes == GIB
    assert seen({"SLURM_MEM_PER_CPU": "64"}).memory_limit_bytes == 8 * 64 << 20


def test_all_of_the_nodes_memory_is_no_cap():
    for text in ("0", str(TOTAL >> 19)):
        found = seen({"SLURM_MEM_PER_NODE": text})
        assert (found.memory_limit_bytes, found.memory_available_bytes) == (None, FREE)


def test_the_address_space_caps_the_memory(monkeypatch):
    monkeypatch.setattr(caps, "address_space", lambda: Finding(GIB, "RLIMIT_AS"))
    monkeypatch.setattr(caps, "used_address_space", lambda read: GIB // 4)
    found = seen()
    assert (found.memory_limit_bytes, found.memory_available_bytes) == (GIB, GIB - GIB // 4)
    assert found.sources["memory_limit_bytes"].startswith("RLIMIT_AS")


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v")
def test_a_real_ulimit_is_seen():
    code = "import amorsize, json; m = amorsize.machine(); print(json.dumps([m.memory_limit_bytes, m.sources]))"
    command = ["sh", "-c", f"ulimit -v 4000000; exec {sys.executable} -c '{code}'"]
    limit, sources = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if sources["memory_limit_bytes"] == "RLIMIT_AS":
        assert limit == 4_000_000 * 1024
    else:
        assert limit < 4_000_000 * 1024, "a group limits this machine more"


# -- Windows' job object ---------------------------------------------------------------------------------------------


def rate(flags, value):
    return lambda kind, size: {CPU_RATE: struct.pack("<II", flags, value)}[kind]


def limits(flags, *, process=0, job=0, peak=0):
    answer = bytearray(144)
    struct.pack_into("<I", answer, 16, flags)
    struct.pack_into("<QQQQ", answer, 112, process, job, 0, peak)
    return lambda kind, size: {EXTENDED_LIMITS: bytes(answer)}[kind]


def no_job(kind, size):
    raise OSError("no job")


def test_a_jobs_cpu_rate_is_a_quota():
    assert job_quota(rate(ENABLED | HARD_CAP, 1875), 8).value == 1.5
    assert job_quota(rate(ENABLED | MIN_MAX, 5000 << 16 | 100), 8).value == 4.0
    assert job_quota(rate(ENABLED, 1875), 8).value is None, "a weight, or a soft cap"
    assert job_quota(rate(HARD_CAP, 1875), 8).value is None
    assert job_quota(rate(ENABLED | HARD_CAP, 0), 8).value is None
    assert job_quota(no_job, 8).value is None
    assert job_quota(lambda kind, size: b"", 8).warnings


def test_a_jobs_memory_is_a_limit():
    assert job_memory(limits(JOB_MEMORY, job=2 * GIB, process=GIB, peak=5)) == (
        Finding(2 * GIB, "the job object's JobMemoryLimit"), 5,
    )  # fmt: skip
    assert job_memory(limits(PROCESS_MEMORY, process=GIB))[0].value == GIB
    assert job_memory(limits(0, job=GIB))[0].value is None
    assert job_memory(no_job) == (Finding(None, "no job object limits memory"), 0)


def test_a_job_shows_in_the_machine(monkeypatch):
    monkeypatch.setattr(module, "_machine_memory", lambda *_: (Finding(TOTAL, "psutil"), Finding(FREE, "psutil")))

    def query(kind, size):
        return (rate(ENABLED | HARD_CAP, 2500) if kind == CPU_RATE else limits(JOB_MEMORY, job=GIB, peak=GIB // 2))(
            kind, size
        )

    found = read_machine(reader({}), "Windows", {}, {}, query)
    assert found.quota_cores == found.logical_cores / 4
    assert found.sources["quota_cores"] == "the job object's CPU rate"
    assert (found.memory_limit_bytes, found.memory_available_bytes) == (GIB, GIB // 2)
    assert found.most_processes == 61


# -- AMORSIZE_MAX_WORKERS --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "9" * 12])
def test_a_wrong_cap_of_our_own_names_the_variable(monkeypatch, text):
    monkeypatch.setenv("AMORSIZE_MAX_WORKERS", text)
    for call in (amorsize.execute, amorsize.optimize, amorsize.stream):
        with pytest.raises(ValueError, match="AMORSIZE_MAX_WORKERS"):
            call(abs, [1])
    with pytest.raises(ValueError, match="AMORSIZE_MAX_WORKERS"):
        amorsize.Executor()


@pytest.mark.parametrize(
    ("text", "given", "most"), [("3", None, 3), ("3", 2, 2), ("3", 7, 3), ("", 7, 7), (" ", None, None)]
)
def test_the_lesser_of_the_calls_and_the_environments_cap_counts(monkeypatch, text, given, most):
    monkeypatch.setenv("AMORSIZE_MAX_WORKERS", text)
    assert check(abs, [1], max_workers=given).most_workers == most


def test_it_caps_executors_and_starts_no_more_workers_than_there_are_cores(monkeypatch):
    monkeypatch.setenv("AMORSIZE_MAX_WORKERS", "1")
    with amorsize.Executor() as few, amorsize.Executor(5) as asked:
        assert (few._max_workers, asked._max_workers) == (1, 1)
    monkeypatch.setenv("AMORSIZE_MAX_WORKERS", "500")
    with amorsize.Executor() as executor:
        assert executor._max_workers <= 8


def test_it_is_read_at_each_call(monkeypatch):
    monkeypatch.setenv("AMORSIZE_HISTORY", "off")
    monkeypatch.setenv("AMORSIZE_MAX_WORKERS", "1")
    _, plan = amorsize.execute(abs, range(40), backend="processes", return_plan=True)
    assert plan.n_jobs == 1
    monkeypatch.setenv("AMORSIZE_MAX_WORKERS", "2")
    _, plan = amorsize.execute(abs, range(40), backend="processes", return_plan=True)
    assert plan.n_jobs == 2
