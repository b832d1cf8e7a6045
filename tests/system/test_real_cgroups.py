"""Real control groups, made for the test and joined by a child that prints the facts that it finds.

Works on v1 and v2, whichever has the controller here; skipped with the reason where groups cannot be made. A child
joins by writing its own id and only then becomes Python, so that all its memory belongs to the group.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from amorsize.system.cgroups import own_groups

pytestmark = [
    pytest.mark.cgroup,
    pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's"),
]

MIB = 1 << 20
JOIN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
MACHINE = """
import dataclasses, json
from amorsize.system.machine import machine
print(json.dumps(dataclasses.asdict(machine())))
"""
FILL_CACHE = """
import os, sys
file = open(sys.argv[1], "w+b")
for _ in range(64):
    file.write(bytes(1 << 20))
file.flush(), os.fsync(file.fileno())
"""
KILL_ONE = """
import json, subprocess, sys
from amorsize.system.cgroups import oom_kills, own_groups, read_text
groups = own_groups()
before = oom_kills(read_text, groups)
hog = subprocess.run([sys.executable, "-c", "open('/proc/self/oom_score_adj', 'w').write('1000'); b'x' * (256 << 20)"])
print(json.dumps([before, hog.returncode, oom_kills(read_text, groups)]))
"""


class Group:
    """A group of the test's own; a directory that is removed at the end."""

    def __init__(self, path: Path, v2: bool) -> None:
        self.path, self.v2 = path, v2
        self.quota_file = str(path / ("cpu.max" if v2 else "cpu.cfs_quota_us"))
        self.limit_file = str(path / ("memory.max" if v2 else "memory.limit_in_bytes"))

    def set_quota(self, quota: int, period: int = 100_000) -> None:
        if self.v2:
            (self.path / "cpu.max").write_text(f"{quota} {period}")
        else:
            (self.path / "cpu.cfs_period_us").write_text(str(period))
            (self.path / "cpu.cfs_quota_us").write_text(str(quota))

    def set_limit(self, limit: int) -> None:
        """Set the limit, without swap, which would weaken it."""
        Path(self.limit_file).write_text(str(limit))
        swap = self.path / ("memory.swap.max" if self.v2 else "memory.memsw.limit_in_bytes")
        if swap.exists():
            swap.write_text("0" if self.v2 else str(limit))

    def run(self, code: str, *args: str, before: tuple[str, ...] = ()) -> object:
        """Run Python in the group; return its output, which is JSON."""
        command = ["sh", "-c", JOIN, str(self.path), *before, sys.executable, "-c", code, *args]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout) if done.stdout else None


def parent_for(controller: str) -> tuple[Path, bool]:
    """Return the parent of a new group with this controller: our own group in v1; in v2 one that delegates it."""
    mine = own_groups()
    for directory in {"cpu": mine.cpu, "memory": mine.memory}.get(controller, ()):
        if Path(directory, "cgroup.procs").exists():
            return Path(directory), False
    for directory in mine.unified:
        shared = Path(directory, "cgroup.subtree_control")
        if shared.exists() and (controller == "unified" or controller in shared.read_text().split()):
            return Path(directory), True
    return pytest.skip(f"no hierarchy that is mounted here shares out the {controller} controller")


@pytest.fixture
def nested():
    """Make groups inside one another, outermost first: ``nested(controller, depth)``."""
    with ExitStack() as stack:

        def make(controller: str, depth: int) -> list[Group]:
            parent, v2 = parent_for(controller)
            made: list[Group] = []
            for _ in range(depth):
                try:
                    if v2 and made and controller != "unified":
                        (parent / "cgroup.subtree_control").write_text(f"+{controller}")
                    parent = Path(tempfile.mkdtemp(prefix="amorsize test:", dir=parent))
                    stack.callback(parent.rmdir)
                    subprocess.run(["sh", "-c", JOIN, str(parent), "true"], capture_output=True, check=True)
                except (OSError, subprocess.CalledProcessError) as error:
                    pytest.skip(f"may not make control groups here: {error}")
                made.append(Group(parent, v2))
            return made

        yield make


def test_own_group_of_v2_is_found_without_any_controller(nested):
    inner = nested("unified", 2)[-1]
    code = "import json; from amorsize.system.cgroups import own_groups; print(json.dumps(own_groups().unified))"
    assert inner.run(code)[:2] == [str(inner.path), str(inner.path.parent)]


def test_quota_of_the_own_group(nested):
    (group,) = nested("cpu", 1)
    group.set_quota(150_000)
    seen = group.run(MACHINE)
    assert seen["quota_cores"] == 1.5
    assert seen["usable_cores"] == min(1.5, seen["affinity_cores"])
    assert seen["sources"]["quota_cores"] == group.quota_file


def test_quota_of_an_ancestor_is_tighter(nested):
    outer, middle, inner = nested("cpu", 3)
    outer.set_quota(150_000)
    middle.set_quota(60_000, 50_000)
    if inner.v2:  # v1 takes no quota above the parent's
        inner.set_quota(900_000)
    seen = inner.run(MACHINE)
    assert seen["quota_cores"] == 1.2
    assert seen["sources"]["quota_cores"] == middle.quota_file


def test_no_quota_of_our_own(nested):
    """The limits above our own group hold for the child, and no others."""
    here = subprocess.run([sys.executable, "-c", MACHINE], capture_output=True, text=True, check=True)
    assert nested("cpu", 2)[1].run(MACHINE)["quota_cores"] == json.loads(here.stdout)["quota_cores"]


def test_quota_that_changes_is_read_anew(nested):
    (group,) = nested("cpu", 1)
    for quota in (50_000, 250_000):
        group.set_quota(quota)
        assert group.run(MACHINE)["quota_cores"] == quota / 100_000


def test_memory_limit_of_the_own_group(nested):
    (group,) = nested("memory", 1)
    group.set_limit(256 * MIB)
    seen = group.run(MACHINE)
    assert seen["memory_limit_bytes"] == 256 * MIB < seen["memory_total_bytes"]
    assert seen["sources"]["memory_limit_bytes"] == group.limit_file
    assert 128 * MIB < seen["memory_available_bytes"] < 256 * MIB


def test_memory_limit_of_an_ancestor_is_tighter(nested):
    outer, inner = nested("memory", 2)
    outer.set_limit(192 * MIB)
    inner.set_limit(512 * MIB)
    seen = inner.run(MACHINE)
    assert seen["memory_limit_bytes"] == 192 * MIB
    assert seen["memory_available_bytes"] < 192 * MIB


def test_file_cache_does_not_count_as_used(nested, tmp_path):
    (group,) = nested("memory", 1)
    group.set_limit(192 * MIB)
    group.run(FILL_CACHE, str(tmp_path / "big"))
    usage = group.path / ("memory.current" if group.v2 else "memory.usage_in_bytes")
    stat = (group.path / "memory.stat").read_text()
    cache = sum(
        int(line.split()[1]) for line in stat.splitlines() if line.startswith(("inactive_file ", "active_file "))
    )
    if cache < 48 * MIB:
        pytest.skip("this file system's cache is not charged to the group, or is shared memory")
    assert int(usage.read_text()) > 48 * MIB
    assert group.run(MACHINE)["memory_available_bytes"] > 152 * MIB  # 192 - 64 would be 128


def test_kill_for_want_of_memory_is_counted(nested):
    (group,) = nested("memory", 1)
    group.set_limit(96 * MIB)
    before, exitcode, after = group.run(KILL_ONE)
    assert (before, exitcode, after) == (0, -9, 1)


def test_mount_from_outside_the_namespace(nested):
    """The kernel hides the name of the own group: the mount point is the nearest group that can be read."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1) here")
    if subprocess.run(["unshare", "-C", "true"], capture_output=True).returncode:
        pytest.skip("may not make a cgroup namespace here")
    (group,) = nested("cpu", 1)
    group.set_quota(150_000)
    seen = group.run(MACHINE, before=("unshare", "-C"))
    assert seen["quota_cores"] is None or seen["quota_cores"] > 0
    assert "unknown: group / is not below /.." in seen["sources"]["quota_cores"]
