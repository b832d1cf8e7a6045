"""Control groups on recorded trees: quota, limit, available memory and kills in every layout; no garbage raises."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_trees import (
    CPU,
    GIB,
    LAYOUTS,
    MIB,
    ROOT,
    groups,
    merged,
    mounts,
    patient,
    reader,
    v1_cpu,
    v1_memory,
    v2_memory,
    v2_mount,
)

from amorsize.system.cgroups import (
    Files,
    Finding,
    Groups,
    cpu_quota,
    memory,
    oom_kills,
    own_groups,
    parse_cgroup,
    parse_mountinfo,
    read_text,
)

every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
TRUE_BOUND = 15 * GIB  # what is left by groups that the machine's own memory undercuts is no matter here


def test_names_of_layouts_differ():
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) >= 30


@every_layout
def test_quota(layout):
    read = reader(layout.tree)
    found = cpu_quota(read, own_groups(read))
    assert found.value == layout.quota
    if layout.quota is not None:
        path = found.source
        assert path in layout.tree


@every_layout
def test_memory(layout):
    read = reader(layout.tree)
    found = memory(read, own_groups(read))
    limit, left = found.limit, found.available
    assert (limit.value if limit.value is None or limit.value < TRUE_BOUND else None) == layout.limit
    assert (left.value if left.value is None or left.value < TRUE_BOUND else None) == layout.available
    if layout.limit is not None:
        assert limit.source.split(" ")[0] in layout.tree


@every_layout
def test_oom_kills(layout):
    assert oom_kills(reader(layout.tree)) == layout.oom_kills


@every_layout
def test_warnings_and_nothing_else(layout):
    read = reader(layout.tree)
    mine = own_groups(read)
    found = memory(read, mine)
    limit, left = found.limit, found.available
    told = "\n".join({*cpu_quota(read, mine).warnings, *limit.warnings, *left.warnings})
    assert bool(told) == bool(layout.warns), told
    for warning in layout.warns:
        assert warning in told


# ------------------------------------------------------------------------------------------------- one fact at a time


def test_chain_runs_from_own_group_to_mount_point():
    read = reader(
        merged(groups("2:cpu:/docker/c1/x/y\n"), mounts(f"33 31 0:30 /docker/c1 {CPU} rw - cgroup cgroup rw,cpu"))
    )
    assert own_groups(read).cpu == (f"{CPU}/x/y", f"{CPU}/x", CPU)


def test_kept_groups_are_not_looked_up_again():
    tree = merged(groups("0::/a\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a", GIB, MIB, oom=5))
    mine = own_groups(reader(tree))
    del tree["/proc/self/cgroup"], tree["/proc/self/mountinfo"]
    assert memory(reader(tree), mine).limit.value == GIB
    assert oom_kills(reader(tree), mine) == 5


def test_kills_of_neighbours_are_not_counted():
    tree = merged(v2_memory(f"{ROOT}/pod/mine", oom=0), v2_memory(f"{ROOT}/pod", oom=7))
    assert oom_kills(reader(tree), Groups(unified=(f"{ROOT}/pod/mine", f"{ROOT}/pod"))) == 0


def test_malformed_count_of_kills_leaves_it_to_the_next():
    tree = merged({f"{ROOT}/a/b/memory.events": "?"}, v2_memory(f"{ROOT}/a", oom=2))
    assert oom_kills(reader(tree), Groups(unified=(f"{ROOT}/a/b", f"{ROOT}/a"))) == 2


def test_sources_name_the_file_of_the_tightest_group():
    tree = merged(v1_cpu(f"{CPU}/a", 100_000), v1_cpu(f"{CPU}/a/b", 400_000))
    found = cpu_quota(reader(tree), Groups(cpu=(f"{CPU}/a/b", f"{CPU}/a", CPU)))
    assert found.said() == f"{CPU}/a/cpu.cfs_quota_us"


def test_sources_of_memory_tell_limit_and_throttle_apart():
    tree = v2_memory(f"{ROOT}/a", 2 * GIB, high=GIB, used=MIB)
    found = memory(reader(tree), Groups(unified=(f"{ROOT}/a",)))
    limit, left = found.limit, found.available
    assert limit.source == f"{ROOT}/a/memory.max"
    assert left == Finding(GIB - MIB, f"{ROOT}/a/memory.high less what is used")


def test_none_says_where_it_was_looked_for():
    assert cpu_quota(reader({}), Groups(cpu=("/x/y", "/x"))).said() == "none set from /x/y up"
    assert cpu_quota(reader({}), Groups()).said() == "no control group is mounted"


def test_said_marks_what_is_unknown():
    tree = {"/x/cpu.max": "xyz"}
    assert (
        cpu_quota(reader(tree), Groups(unified=("/x",))).said()
        == "none set from /x up; unknown: /x/cpu.max holds 'xyz'"
    )


def test_long_garbage_is_cut_in_warnings():
    files = Files(lambda path: "x" * 1000)
    assert files.get("/f", parse_cgroup) is None
    assert len(files.warnings[0]) < 60


def test_optional_fields_of_mountinfo_may_be_many_or_none():
    lines = "".join(f"1 2 0:3 / /m{n} rw{' shared:1' * n} - cgroup2 none rw\n" for n in range(4))
    assert [mount.point for mount in parse_mountinfo(lines)] == ["/m0", "/m1", "/m2", "/m3"]


def test_mountinfo_unescapes_root_and_point():
    (mount,) = parse_mountinfo("1 2 0:3 /a\\134b\\011c /d\\012e\\040f\\043 rw - cgroup2 cgroup2 rw\n")
    assert (mount.root, mount.point) == ("/a\\b\tc", "/d\ne f#")


@pytest.mark.parametrize(
    "line",
    [
        "1 2 0:3 / /m rw - 9p drvfs path=C:\\a - cgroup2 cgroup2 rw",
        "1 2 0:3 / /m rw - cgroup",
        "1 2 0:3 / - cgroup2 cgroup2 rw",
        "1 2 0:3 / /m rw - cgroup3 cgroup2 rw",
    ],
)
def test_lines_that_are_no_cgroup_mount(line):
    assert [mount for mount in parse_mountinfo(line) if mount.controllers & {"", "cpu", "memory"}] == []


def test_v1_without_options_is_not_v2():
    (mount,) = parse_mountinfo("1 2 0:3 / /m rw - cgroup cgroup \n")
    assert mount.controllers == set()


def test_no_limit_in_v1_is_none_not_a_large_number():
    limit = memory(reader(v1_memory("/x", used=MIB)), Groups(memory=("/x",))).limit
    assert limit.said() == "none set from /x up"


def test_options_are_whole_words():
    (mount,) = parse_mountinfo("1 2 0:3 / /m rw - cgroup cgroup rw,cpuset,cpuacct\n")
    assert "cpu" not in mount.controllers


# ------------------------------------------------------------------------------------------------------ real reading


def test_read_text_keeps_bytes_that_are_not_text(tmp_path):
    (tmp_path / "f").write_bytes(b"a\r\n\xff\x00")
    assert read_text(str(tmp_path / "f")).encode("utf-8", "surrogateescape") == b"a\r\n\xff\x00"


def test_read_text_raises_as_open_does(tmp_path):
    with pytest.raises(OSError) as caught:  # noqa: PT011
        read_text(str(tmp_path / "none"))
    assert caught.value.errno == errno.ENOENT


def test_impossible_paths_are_unknown_not_an_error():
    files = Files(read_text)
    assert files.get("/a\0b", str) is None
    assert "cannot read" in files.warnings[0]


# ----------------------------------------------------------------------------------------------------------- garbage

PIECES = [
    "0::",
    "/",
    "/a",
    "..",
    " (deleted)",
    "max",
    "-1",
    "0",
    "100000",
    "9" * 30,
    " ",
    "\n",
    " - cgroup2 x rw",
    ":",
    "-",
]
garbage = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*PIECES, "1 2 0:3 / /sys/fs/cgroup rw", "2:cpu:/a", "oom_kill 1"]), max_size=12).map(
        "".join
    ),
    st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.sampled_from([FileNotFoundError(2, "No such file"), PermissionError(13, "Permission denied"), OSError("odd")]),
    st.just(ValueError("embedded null byte")),
)


@patient
@given(data=st.data())
def test_garbage_in_any_file_never_raises(data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    spoilt = data.draw(st.dictionaries(st.sampled_from(sorted(layout.tree)), garbage, min_size=1, max_size=4))
    read = reader({**layout.tree, **spoilt})
    mine = own_groups(read)
    quota, found, kills = cpu_quota(read, mine), memory(read, mine), oom_kills(read, mine)
    limit, left = found.limit, found.available
    assert quota.value is None or quota.value > 0
    assert limit.value is None or limit.value >= 0
    assert left.value is None or left.value >= 0
    assert kills is None or kills >= 0
    assert all(isinstance(finding.said(), str) for finding in (quota, limit, left))


@patient
@given(text=st.text())
def test_any_text_at_all_in_every_file_never_raises(text):
    mine = own_groups(lambda path: text)
    cpu_quota(lambda path: text, mine)
    memory(lambda path: text, mine)
    oom_kills(lambda path: text)


@patient
@given(quotas=st.lists(st.none() | st.integers(1_000, 10**9), min_size=1, max_size=6))
def test_quota_is_the_minimum_over_the_chain(quotas):
    chain = tuple(f"{CPU}/{'/'.join('abcdefg'[: n + 1])}" for n in range(len(quotas)))
    tree = merged(*(v1_cpu(group, -1 if quota is None else quota) for group, quota in zip(chain, quotas, strict=True)))
    known = [quota / 100_000 for quota in quotas if quota is not None]
    assert cpu_quota(reader(tree), Groups(cpu=chain)).value == min(known, default=None)
