from __future__ import annotations

import functools
import itertools
import json
import pickle

import lanes
import pytest

from amorsize.measure.thread_safety import look
from benchmarks import calibration, functions, server, verify, workloads
from benchmarks.workloads import REGISTRY, fresh, register, scaled_to, tagged, thinned

FEW = 3
LARGE = {"sum of 120 arrays of 4 MB", "array to array, 4 MB each", "sines of 100 kB arrays"}  # hundreds of megabytes
# Data of some rows takes seconds to make.
SOME = [name for name in REGISTRY if name not in LARGE and (lanes.is_long() or "table" in REGISTRY[name].tags)]
NEW_EACH_TIME = {"server, 8 callers at a time"}  # the port differs


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(calibration, "_adopted", 1_000_000.0)


@pytest.fixture
def make():
    """Make a workload's task; its server, if any, ends with the test."""
    with workloads.AT_END:
        yield lambda name: REGISTRY[name].make()


def test_at_least_thirty_rows_and_the_first_fourteen_among_them():
    assert len(REGISTRY) >= 30
    assert len(tagged("table")) == 14


@pytest.mark.parametrize("name", SOME)
def test_a_workload_makes_its_data_and_its_function_returns_the_same_each_time(name, make):
    func, data = make(name)
    items = list(itertools.islice(fresh(data), FEW))
    assert len(items) == FEW
    again = pickle.loads(pickle.dumps(func))
    assert again is func or again.func is func.func
    assert pickle.loads(pickle.dumps(items)) == items
    if REGISTRY[name].before_turn is not None:
        REGISTRY[name].before_turn()
    results = [func(item) for item in items]
    assert verify.difference([again(item) for item in items], verify.essences(results)) is None
    if name not in NEW_EACH_TIME:
        assert list(itertools.islice(fresh(make(name)[1]), FEW)) == items


@pytest.mark.parametrize("name", SOME)
def test_neighbours_differ_so_that_a_wrong_order_shows(name, make):
    first, second = itertools.islice(fresh(make(name)[1]), 2)
    assert first != second


def test_functions_return_what_they_say(tmp_path):
    import numpy as np

    path = tmp_path / "x.py"
    path.write_text("a = 1\n")
    assert functions.burn_silently(10) is None
    assert functions.look_up(5, 7) == (functions.burn(5) & 0xFF) + functions.burn(7)
    assert functions.wait_and_burn(0.0, 7) == functions.burn(7)
    assert functions.records("7,a b,1.5,x|y") == {"7": {"name": "A B", "price": 1.5, "tags": ["x", "y"]}}
    assert functions.count_matches("h INFO path=/items/1?x took=250ms\nh DEBUG path=/items/1?x took=250ms") == 250
    assert functions.count_words(b"a b a") == 2
    assert functions.parse(str(path)) == 5
    assert functions.digest_file(str(path)) != functions.digest_file(__file__)
    assert functions.touch(3) == 3 + -(-80_000_000 // 4096)
    assert functions.roots(np.array([4.0, 9.0])).tolist() == [2.0, 3.0]
    assert functions.sines(np.zeros(3)) == 0.0


def test_the_server_answers_and_is_ended(make):
    func, data = make("server, 8 callers at a time")
    assert [func(item) for item in data[:5]] == [server.answer(item) for item in data[:5]]


def test_a_generator_is_new_for_each_turn(make):
    _, data = make("generator, 20,000 × 20 µs")
    assert len(list(fresh(data))) == 20_000
    assert next(iter(fresh(data))) == next(iter(fresh(data)))
    assert len(list(fresh(thinned(data, 1000)))) == 20


def test_the_first_call_is_dear_before_each_turn_and_only_then(make):
    func, data = make("dear first call")
    REGISTRY["dear first call"].before_turn()
    func(data[0])
    func(data[1])
    assert functions.table.cache_info().misses == 1


def test_the_giant_is_15_percent(make):
    _, data = make("one giant at 70 %")
    assert data[210] / sum(data) == pytest.approx(0.15, abs=0.001)


def test_work_follows_the_calibration_of_whoever_leads():
    calibration.adopt(2_000_000.0)
    assert calibration.iterations(0.5) == 1_000_000
    assert calibration.iterations(0.0) == 1


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="two workloads"):
        register("7 × 300 ms", "")(lambda: (abs, []))


def test_durations_add_up():
    assert sum(scaled_to(2.0, [1.0, 5.0, 0.1])) == pytest.approx(2.0)


# Functions by what they take; the others take a number.
BYTES = ("compress", "count_words", "digest", "pack")
TEXTS = ("count_matches", "digest_file", "digest_text", "parse", "records", "tokenise")
ARRAYS = ("total", "roots", "sines")


def test_no_workload_loses_its_threads():
    np = pytest.importorskip("numpy")
    items = dict.fromkeys((name for name in functions.__all__ if name != "ARRAY_LENGTH"), 3)
    items |= {**dict.fromkeys(BYTES, b"a"), **dict.fromkeys(TEXTS, "a"), **dict.fromkeys(ARRAYS, np.ones(3))}
    for name, item in items.items():
        assert str(look(getattr(functions, name), [item], [item])) == "", name
    partials = [functools.partial(functions.ask, 80), functools.partial(functions.wait_and_burn, 0.1)]
    for func, item in [*((func, 1) for func in partials), (json.loads, "1"), (json.dumps, [1]), (sorted, [1])]:
        assert str(look(func, [item], [item])) == "", func
