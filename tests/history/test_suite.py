"""What history keeps of the tests of a folder."""

from __future__ import annotations

import json
import threading

from hypothesis import given
from hypothesis import strategies as st

from amorsize.history import sqlite_file
from amorsize.history.sqlite_file import Store
from amorsize.history.suite import FAMILY, Suite, Timing, key_of, pack, selected, unpack

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ids = st.builds("{}::{}".format, names, names) | names
numbers = st.floats(0, 1e6).map(lambda value: float(f"{value:.4g}"))
timings = st.builds(
    Timing,
    numbers,
    numbers,
    st.integers(0, 1 << 40),
    st.booleans(),
    st.lists(names, max_size=3).map(tuple),
    st.integers(3, 99),
)
suites = st.builds(
    Suite,
    tests=st.dictionaries(ids, timings, max_size=8),
    worker_s=st.none() | numbers,
    collect_s=st.none() | numbers,
    process_bytes=st.integers(0, 1 << 40),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(suites)
def test_what_is_packed_is_read_again(suite):
    read = unpack(json.loads(json.dumps(pack(suite))))
    assert read == suite
    assert dict(read.tests) == dict(suite.tests)


@given(anything, anything, anything, anything)
def test_any_body_is_read(whole, files, words, row):
    unpack(whole)
    unpack({"files": files, "words": words, "worker_s": whole, "bytes": whole})
    for known in unpack({"files": {"a.py": {"t": row}}, "words": words}).tests.values():
        assert known.wall_s >= 0
        assert known.cpu_s >= 0


def test_a_run_that_stops_leaves_what_it_has_not_reached_as_not_passed():
    suite = Suite().updated(
        {"a": Timing(1.0, passed=True), "b": Timing(1.0, passed=True), "c": Timing(1.0, passed=True)}
    )
    stopped = suite.updated({"a": Timing(1.0, passed=True)}, begun=["a", "b", "new"])
    assert {test for test, known in stopped.tests.items() if known.passed} == {"a", "c"}
    resumed = stopped.updated({"b": Timing(1.0, passed=True)}, begun=["b"])
    assert all(known.passed for known in resumed.tests.values())


def test_times_are_blended_and_vanished_tests_go():
    suite = Suite().updated({"a": Timing(2.0, 1.0, 5), "b": Timing(1.0)}, worker_s=1.0, process_bytes=7)
    later = suite.updated({"a": Timing(1.0, 0.5, 3)}, gone={"b"}, worker_s=2.0)
    assert later.tests == {"a": Timing(1.5, 0.75, 5)}
    assert (later.worker_s, later.collect_s, later.process_bytes) == (1.5, None, 7)


@given(st.dictionaries(ids, timings, max_size=8), st.lists(ids, max_size=3))
def test_a_selection_is_a_part_of_what_is_known(tests, places):
    found = selected(tests, places)
    assert found.items() <= tests.items()
    assert not found.keys() & selected(tests, ignored=places or [""]).keys()
    assert not selected(tests, wanted=lambda *_: False)


def test_places_are_folders_files_classes_and_tests():
    tests = dict.fromkeys(["d/a.py::C::t[1]", "d/a.py::C::t2", "d/ab.py::t", "e.py::t"], Timing(1.0))
    assert [*selected(tests, ["d"])] == ["d/a.py::C::t[1]", "d/a.py::C::t2", "d/ab.py::t"]
    assert [*selected(tests, ["d/a.py"])] == ["d/a.py::C::t[1]", "d/a.py::C::t2"]
    assert [*selected(tests, ["d/a.py::C::t"])] == ["d/a.py::C::t[1]"]
    assert [*selected(tests, [""], ["d"])] == ["e.py::t"]


def test_runs_at_the_same_time_lose_nothing(tmp_path, monkeypatch):
    # Another writer may stand still while it holds the file.
    monkeypatch.setattr(sqlite_file, "STALLED_S", 300.0)
    store = Store(tmp_path / "history.sqlite", patience_s=300.0)

    def keep(number):
        change = Suite().updated({f"a.py::{number}": Timing(1.0)}).tests
        store.change_cost(
            key_of("/root"), lambda body: pack(unpack(body).updated(change)), number, family=FAMILY, keep=4
        )

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(unpack(store.get_cost(key_of("/root"))).tests) == 12


def test_the_roots_used_last_are_kept(tmp_path):
    store = Store(tmp_path / "history.sqlite")
    store.put_cost("another cost", {"x": 1}, 0.0)
    for number in range(6):
        store.change_cost(key_of(f"/{number}"), lambda _: {}, number, family=FAMILY, keep=4)
    kept = [number for number in range(6) if store.get_cost(key_of(f"/{number}")) is not None]
    assert kept == [2, 3, 4, 5]
    assert store.get_cost("another cost") is not None


def test_without_a_file_nothing_is_kept():
    store = Store(None)
    assert not store.change_cost("key", lambda _: {}, 0.0, family=FAMILY, keep=4)
    assert unpack(store.get_cost("key")) == Suite()
