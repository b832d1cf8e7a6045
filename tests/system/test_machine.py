"""The machine's facts: on recorded trees, with sources that fail one after the other, and on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import platform
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_trees import (
    FREE,
    GIB,
    LAYOUTS,
    MEMINFO,
    MIB,
    ROOT,
    TOTAL,
    groups,
    merged,
    mounts,
    patient,
    reader,
    v2_memory,
    v2_mount,
)

from amorsize.facts import Machine
from amorsize.system import machine as module
from amorsize.system.cgroups import own_groups, read_text
from amorsize.system.machine import machine, memory_now, parse_cpus, parse_lscpu, parse_meminfo, read_machine

CPUS = "/sys/devices/system/cpu"


def topology(cpus: int, *, threads: int = 1, name: str = "core_cpus_list") -> dict[str, str]:
    """Hardware threads of one core are numbered as x86 does: 0 and n/2 belong together."""
    cores = cpus // threads
    siblings = {cpu: ",".join(str(cpu % cores + cores * n) for n in range(threads)) for cpu in range(cpus)}
    lists = {f"{CPUS}/cpu{cpu}/topology/{name}": f"{text}\n" for cpu, text in siblings.items()}
    return {f"{CPUS}/online": f"0-{cpus - 1}\n", **lists}


@pytest.fixture
def mask(monkeypatch):
    """Set the affinity mask."""

    def set_mask(cpus):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(cpus), raising=False)

    return set_mask


@pytest.fixture
def no_helpers(monkeypatch):
    """Hide lscpu and psutil."""

    def fail(*args, **kwargs):
        raise FileNotFoundError("not here")

    monkeypatch.setattr(module, "_lscpu", fail)
    monkeypatch.setattr(psutil, "cpu_count", fail)
    monkeypatch.setattr(psutil, "virtual_memory", fail)


# ----------------------------------------------------------------------------------------------- on recorded trees


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout(layout, mask):
    mask(range(8))
    seen = read_machine(reader(merged(MEMINFO, topology(8, threads=2), layout.tree)), "Linux")
    assert seen.quota_cores == layout.quota
    assert seen.usable_cores == min(8.0, layout.quota or 8.0)
    assert seen.memory_limit_bytes == layout.limit
    assert seen.memory_available_bytes == min(FREE, FREE if layout.available is None else layout.available)
    assert (seen.memory_total_bytes, seen.logical_cores, seen.affinity_cores, seen.physical_cores) == (TOTAL, 8, 8, 4)
    assert set(seen.sources) == {field.name for field in dataclasses.fields(Machine)} - {"sources"}
    for warning in layout.warns:
        assert any(f"unknown: {part}" for part in seen.sources.values() if warning in part)


def test_limit_at_or_above_the_machine_is_none_and_says_so():
    tree = merged(MEMINFO, groups("0::/a\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a", TOTAL))
    limit = memory_now(reader(tree), "Linux").limit
    assert limit.value is None
    assert limit.source == f"{ROOT}/a/memory.max is no less than the machine's memory"


def test_machine_short_of_memory_bounds_more_than_its_groups():
    tree = merged(MEMINFO, groups("0::/a\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a", 14 * GIB, MIB))
    now = memory_now(reader(tree), "Linux")
    assert (now.limit.value, now.available.value) == (14 * GIB, FREE)
    assert now.available.source == "/proc/meminfo MemAvailable"


def test_memory_now_with_kept_groups_reads_no_lists():
    tree = merged(MEMINFO, groups("0::/a\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a", 2 * GIB, GIB))
    kept = own_groups(reader(tree))
    asked = []

    def read(path):
        asked.append(path)
        return reader(tree)(path)

    assert memory_now(read, "Linux", kept).available.value == GIB
    assert not [path for path in asked if path.startswith("/proc/self")]


def test_quota_above_affinity_does_not_count(mask):
    mask([3])
    seen = read_machine(reader({}), "Linux")
    assert (seen.affinity_cores, seen.usable_cores, seen.sources["usable_cores"]) == (1, 1.0, "affinity_cores")


# -------------------------------------------------------------------------------------------------- physical cores


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [(range(8), 4), ([0, 4], 1), ([0, 1], 2), ([5], 1), ([0, 1, 4, 5], 2), ([0, 4, 1], 2)],
    ids=str,
)
@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
def test_only_cores_behind_the_mask_count(mask, cpus, expected, name):
    mask(cpus)
    seen = read_machine(reader(topology(8, threads=2, name=name)), "Linux")
    assert seen.physical_cores == expected
    assert seen.sources["physical_cores"] == f"{CPUS}/cpu*/topology"


def test_core_ids_are_unique_in_their_package_only(mask):
    mask(range(4))
    ids = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (1, 0)}
    tree = {f"{CPUS}/cpu{cpu}/topology/physical_package_id": f"{package}\n" for cpu, (package, _) in ids.items()}
    tree |= {f"{CPUS}/cpu{cpu}/topology/core_id": f"{core}\n" for cpu, (_, core) in ids.items()}
    assert read_machine(reader(tree), "Linux").physical_cores == 3


def test_no_core_id_asks_lscpu(mask, monkeypatch):
    mask([0, 1])
    monkeypatch.setattr(module, "_lscpu", lambda: "# CPU,Core,Socket\n0,0,0\n1,0,0\n2,1,0\n")
    ids = {f"{CPUS}/cpu{cpu}/topology/{name}": "-1\n" for cpu in (0, 1) for name in ("physical_package_id", "core_id")}
    seen = read_machine(reader(ids), "Linux")
    assert (seen.physical_cores, seen.sources["physical_cores"].split(";")[0]) == (1, "lscpu")


def test_lscpu_failing_asks_psutil_bounded_by_affinity(mask, monkeypatch, no_helpers):
    mask([0, 1])
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 64)
    seen = read_machine(reader({}), "Linux")
    assert seen.physical_cores == 2
    assert seen.sources["physical_cores"].startswith("psutil.cpu_count(logical=False); unknown: ")
    assert "lscpu: not here" in seen.sources["physical_cores"]


def test_nobody_knows_the_topology(mask, no_helpers):
    mask([0, 1, 2])
    seen = read_machine(reader({}), "Linux")
    assert seen.physical_cores == 3
    assert seen.sources["physical_cores"].startswith("a guess: no source knows; unknown: ")


@pytest.mark.parametrize("text", ["", "x", "0-", "1,,2", "3-1", "0-99999999999", "-1", "9", "0x1"])
def test_malformed_topology_is_not_believed(mask, no_helpers, text):
    mask([0, 1])
    tree = {f"{CPUS}/cpu{cpu}/topology/core_cpus_list": text for cpu in (0, 1)} | {f"{CPUS}/online": text}
    seen = read_machine(reader(tree), "Linux")
    assert seen.physical_cores == 2
    assert seen.logical_cores >= 2


def test_parse_cpus():
    assert parse_cpus("0\n") == {0}
    assert parse_cpus("0-2,8,10-11\n") == {0, 1, 2, 8, 10, 11}


def test_parse_lscpu_wants_every_cpu_of_the_mask():
    text = "# a comment\n0,0,0\n1,1,\n2,,\n"
    assert parse_lscpu(text, frozenset({0, 1})) == 2
    with pytest.raises(ValueError, match="every CPU"):
        parse_lscpu(text, frozenset({0, 2}))


@pytest.mark.skipif(sys.platform != "linux", reason="lscpu is Linux's")
def test_lscpu_itself_agrees_where_it_is_installed():
    try:
        text = module._lscpu()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no lscpu here: {error}")
    assert parse_lscpu(text, frozenset(os.sched_getaffinity(0))) >= 1


def test_container_that_shows_fewer_cpus_than_its_mask_holds(mask):
    mask([4, 5, 6])
    seen = read_machine(reader({f"{CPUS}/online": "0-1\n"}), "Linux")
    assert (seen.logical_cores, seen.affinity_cores) == (3, 3)


# --------------------------------------------------------------------------------------- where there is no affinity


def test_without_affinity_python_counts(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 6, raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 10)
    seen = read_machine(reader({}), "Darwin")
    assert (seen.logical_cores, seen.affinity_cores, seen.physical_cores, seen.usable_cores) == (12, 6, 6, 6.0)
    assert seen.sources["quota_cores"] == "Darwin has no control groups"
    assert seen.sources["physical_cores"] == "psutil.cpu_count(logical=False)"


def test_affinity_that_the_system_refuses(monkeypatch):
    def refuse(pid):
        raise OSError("refused")

    monkeypatch.setattr(os, "sched_getaffinity", refuse, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(os, "process_cpu_count", lambda: None, raising=False)
    seen = read_machine(reader({}), "Linux")
    assert (seen.logical_cores, seen.affinity_cores, seen.physical_cores) == (1, 1, 1)
    assert seen.sources["affinity_cores"] == "a guess: no source knows"


def test_other_systems_read_no_files(monkeypatch):
    def read(path):
        raise AssertionError(path)

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=GIB))
    seen = read_machine(read, "Windows")
    assert (seen.system, seen.memory_total_bytes, seen.memory_limit_bytes) == ("Windows", 8 * GIB, None)
    assert seen.memory_available_bytes == GIB
    assert seen.sources["memory_total_bytes"] == "psutil.virtual_memory().total"


def test_load_where_there_is_none(monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert read_machine(reader({}), "Windows").load is None


def test_load_that_cannot_be_had(monkeypatch):
    def fail():
        raise OSError("no load")

    monkeypatch.setattr(os, "getloadavg", fail, raising=False)
    seen = read_machine(reader({}), "Linux")
    assert seen.load is None
    assert seen.sources["load"] == "no source knows; unknown: os.getloadavg(): no load"


# ------------------------------------------------------------------------------------------------------------ memory


def test_meminfo_before_it_told_what_is_available():
    text = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 10 kB\nCached: 200 kB\nShmem: 50 kB\n"
    assert parse_meminfo(text) == (1000 * 1024, 260 * 1024)


@pytest.mark.parametrize("text", ["", "MemTotal: many kB\n", "MemTotal: 0 kB\n", "MemFree: 5 kB\n"])
def test_malformed_meminfo_asks_psutil(monkeypatch, text):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=4 * GIB, available=3 * GIB))
    now = memory_now(reader({"/proc/meminfo": text}), "Linux")
    assert (now.total.value, now.available.value) == (4 * GIB, 3 * GIB)
    assert now.total.said().startswith("psutil.virtual_memory().total; unknown: /proc/meminfo holds ")


def test_memory_of_the_machine_unknown_its_groups_still_count(no_helpers):
    tree = merged(groups("0::/a\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a", 2 * GIB, GIB))
    now = memory_now(reader(tree), "Linux")
    assert (now.total.value, now.limit.value, now.available.value) == (0, 2 * GIB, GIB)
    assert now.total.source == "no source knows"


# ----------------------------------------------------------------------------------------------------- never raises


@patient
@given(
    text=st.text() | st.sampled_from([OSError("odd"), ValueError("odd"), PermissionError(13, "Permission denied")]),
    layout=st.sampled_from(LAYOUTS),
    data=st.data(),
)
def test_garbage_in_any_file_never_raises(text, layout, data):
    whole = merged(MEMINFO, topology(8, threads=2), layout.tree)
    spoilt = data.draw(st.sets(st.sampled_from(sorted(whole)), min_size=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_lscpu", lambda: text if isinstance(text, str) else "")
        patch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
        seen = read_machine(reader({**whole, **dict.fromkeys(spoilt, text)}), "Linux")
    assert 1 <= seen.physical_cores <= seen.affinity_cores == 8 <= seen.logical_cores
    assert 0 < seen.usable_cores <= 8
    assert seen.memory_available_bytes >= 0


def test_nothing_can_be_read_and_nobody_helps(monkeypatch, no_helpers):
    def read(path):
        raise PermissionError(13, "Permission denied", path)

    seen = read_machine(read, "Linux")
    assert seen.memory_total_bytes == 0
    assert "unknown: cannot read /proc/self/cgroup: Permission denied" in seen.sources["quota_cores"]


# ---------------------------------------------------------------------------------------------------- start methods


def child(code: str) -> str:
    """Return the output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


MACHINE = "import multiprocessing as mp; from amorsize.system.machine import machine; "


def test_default_start_method_is_told_and_not_fixed():
    code = "m = machine(); mp.set_start_method('spawn'); print(m.default_start_method, machine().default_start_method)"
    first, then = child(MACHINE + code).split()
    assert first == child("import multiprocessing; print(multiprocessing.get_start_method())")
    assert then == "spawn"


def test_start_method_that_the_program_has_set_is_the_default():
    code = "mp.set_start_method('spawn'); m = machine(); print(m.default_start_method, m.sources)"
    told = child(MACHINE + code)
    assert told.startswith("spawn ")
    assert "'default_start_method': 'multiprocessing.get_start_method()'" in told


def test_start_methods_are_those_of_multiprocessing():
    import multiprocessing

    seen = machine()
    assert seen.start_methods == tuple(multiprocessing.get_all_start_methods())
    assert seen.default_start_method in seen.start_methods


# --------------------------------------------------------------------------------------------------------------- here


def test_here_is_plausible():
    seen = machine()
    assert seen.system == platform.system()
    assert 1 <= seen.physical_cores <= seen.affinity_cores <= seen.logical_cores
    assert 0 < seen.usable_cores <= seen.affinity_cores
    assert 0 < seen.memory_available_bytes <= seen.memory_total_bytes
    assert seen.memory_limit_bytes is None or seen.memory_limit_bytes < seen.memory_total_bytes
    assert seen.python == f"{platform.python_implementation()} {platform.python_version()}"
    assert seen.gil_enabled is getattr(sys, "_is_gil_enabled", lambda: True)()


def test_psutil_agrees_on_total_memory():
    assert machine().memory_total_bytes == psutil.virtual_memory().total


def test_record_can_be_stored():
    seen = machine()
    assert json.loads(json.dumps(dataclasses.asdict(seen)))["python"] == seen.python
    assert pickle.loads(pickle.dumps(seen)) == seen


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_affinity_is_read_anew_at_each_call():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        one = machine()
    finally:
        os.sched_setaffinity(0, before)
    assert (one.affinity_cores, one.physical_cores) == (1, 1)
    assert one.usable_cores <= 1.0
    assert machine().affinity_cores == len(before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil is the source")
def test_linux_needs_no_psutil():
    code = (
        "from amorsize.system.machine import machine; import sys; late = 'multiprocessing' in sys.modules; machine(); "
    )
    assert child(code + "print(late, 'psutil' in sys.modules, 'subprocess' in sys.modules)") == "False False False"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil is the source")
def test_python_s_own_override_does_not_change_what_the_machine_has():
    done = subprocess.run(
        [sys.executable, "-c", "from amorsize.system.machine import machine; print(machine().affinity_cores)"],
        env={**os.environ, "PYTHON_CPU_COUNT": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == len(os.sched_getaffinity(0))


def test_default_reader_reads_files(tmp_path):
    (tmp_path / "f").write_text("5\n")
    assert read_text(str(tmp_path / "f")) == "5\n"


def test_the_processor_has_a_name(tmp_path):
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n")
    assert module._processor_in(str(listed)) == "Some CPU @ 3 GHz"
    assert isinstance(module._processor_in(str(tmp_path / "none")), str)
