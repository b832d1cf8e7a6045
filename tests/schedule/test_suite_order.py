"""The order of tests for workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.schedule.suite_order import WHOLE_GROUPS, arranged, group_of

DISTS = ["worksteal", "load", "each", "no", *WHOLE_GROUPS]
suites = st.lists(st.tuples(st.integers(0, 6), st.floats(0, 10)), min_size=0, max_size=60)


def named(suite):
    """Tests of up to seven files, side by side as pytest collects them."""
    rows = sorted(suite, key=lambda row: row[0])
    tests = [f"test_{file}.py::test[{at}]" for at, (file, _) in enumerate(rows)]
    return tests, {test: seconds for test, (_, seconds) in zip(tests, rows, strict=True)}


@given(suites, st.integers(0, 9), st.sampled_from(DISTS), st.none() | st.integers(1, 8))
def test_every_test_stands_in_it_once(suite, workers, dist, most):
    tests, seconds = named(suite)
    assert sorted(arranged(tests, seconds, workers, dist, most)) == list(range(len(tests)))


@given(suites, st.integers(0, 9), st.sampled_from(DISTS))
def test_nothing_known_changes_nothing(suite, workers, dist):
    tests, _ = named(suite)
    assert arranged(tests, {}, workers, dist) == list(range(len(tests)))


@given(suites, st.integers(2, 9), st.sampled_from(WHOLE_GROUPS))
def test_groups_stay_together_and_the_slowest_come_first(suite, workers, dist):
    tests, seconds = named(suite)
    order = [tests[at] for at in arranged(tests, seconds, workers, dist)]
    totals: dict[str, float] = {}
    for test in order:
        group = group_of(test, dist)
        assert group not in totals or group == next(reversed(totals))
        totals[group] = totals.get(group, 0.0) + seconds[test]
    if any(seconds.values()):
        assert all(one >= other - 1e-9 for one, other in zip(totals.values(), [*totals.values()][1:], strict=False))


@given(suites, st.integers(2, 9), st.sampled_from(DISTS))
def test_tests_of_a_group_keep_their_order_in_a_block(suite, workers, dist):
    """pytest has put tests with the same parameter of a fixture side by side."""
    tests, seconds = named(suite)
    share_s = sum(seconds.values()) / workers
    order = arranged(tests, seconds, workers, dist)
    groups: dict[str, list[int]] = {}
    for at in order:
        groups.setdefault(group_of(tests[at], dist), []).append(at)
    for group in groups.values():
        if sum(seconds[tests[at]] for at in group) <= share_s and dist in WHOLE_GROUPS:
            assert group == sorted(group)


def blocks(tests, workers):
    """Return the blocks that pytest-xdist's worksteal gives out at the start."""
    left, found = len(tests), []
    for at in range(workers):
        found.append(left // (workers - at))
        left -= found[-1]
    starts = [sum(found[:at]) for at in range(workers)]
    return [range(start, start + size) for start, size in zip(starts, found, strict=True)]


@given(st.lists(st.floats(0.01, 10), min_size=8, max_size=60), st.integers(2, 4))
def test_the_longest_test_begins_first_in_its_block(times, workers):
    tests = [f"a.py::test_{at}" for at in range(len(times))]
    seconds = dict(zip(tests, times, strict=True))
    order = [tests[at] for at in arranged(tests, seconds, workers, "worksteal")]
    longest = max(times)
    if longest > sum(times) / workers:
        assert any(seconds[order[block[0]]] == longest for block in blocks(tests, workers))


def test_slow_groups_go_to_different_workers():
    tests = [f"{file}.py::test_{at}" for file in "abcd" for at in range(4)]
    seconds = {test: {"a": 0.1, "b": 1.0, "c": 0.1, "d": 1.0}[test[0]] for test in tests}
    order = [tests[at] for at in arranged(tests, seconds, 2, "worksteal")]
    for block in blocks(tests, 2):
        assert {order[at][0] for at in list(block)[:4]} in ({"b"}, {"d"})


def test_a_large_group_is_cut_and_the_times_of_the_blocks_are_even():
    tests = [f"a.py::test_{at}" for at in range(100)]
    seconds = {test: 1.0 if at % 10 == 0 else 0.01 for at, test in enumerate(tests)}
    order = [tests[at] for at in arranged(tests, seconds, 2, "worksteal")]
    first, second = (sum(seconds[order[at]] for at in block) for block in blocks(tests, 2))
    assert first == pytest.approx(second, rel=0.3)


def test_load_hands_out_small_blocks_first():
    tests = [f"{file}.py::test_{at}" for file in "abcdefgh" for at in range(4)]
    seconds = {test: 1.0 + "abcdefgh".index(test[0]) for test in tests}
    order = [tests[at] for at in arranged(tests, seconds, 2, "load")]
    # 32 tests, 2 workers: 4 each at the start.
    assert {test[0] for test in order[:4]} == {"h"}
    assert {test[0] for test in order[4:8]} == {"g"}
    assert order[-1][0] == "a"


@pytest.mark.parametrize(
    ("test", "dist", "group"),
    [
        ("a.py::t", "load", "a.py"),
        ("a.py::C::t[1::2]", "worksteal", "a.py::C"),
        ("a.py::C::t", "loadfile", "a.py"),
        ("a.py::t@db", "loadgroup", "@db"),
        ("a.py::t[x@y]", "loadgroup", "a.py"),
        ("a.py::t[x@y]@db", "loadgroup", "@db"),
        ("doc.rst", "load", "doc.rst"),
    ],
)
def test_groups(test, dist, group):
    assert group_of(test, dist) == group
