"""The figures of first calls, from made-up times; and one run in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from math import expm1, log
from pathlib import Path

import pytest

from benchmarks import fresh, fresh_row
from benchmarks.fresh_contenders import EXECUTE, LOOP, OPTIMIZE_POOL, by_name
from benchmarks.workloads.first import twenty_two

ROOT = Path(__file__).parents[2]


def a_row(name="a", **times):
    known = {"loop": LOOP, "execute": EXECUTE, "optimize": OPTIMIZE_POOL, "pool": "Pool", "threads": "threads"}
    return {"workload": name, "times": {known[key]: value for key, value in times.items()}}


def test_there_are_twenty_two_rows():
    assert len(twenty_two()) == 22


@pytest.mark.parametrize("name", ["20,000 hashes of 7 µs", "3,000 smallest factors"])
def test_a_row_made_for_it_returns_the_same_each_time(name):
    func, data = twenty_two()[name].make()
    assert len(data) == int(name.split()[0].replace(",", ""))
    assert [func(item) for item in data[:3]] == [func(item) for item in data[:3]]


def test_eight_milliseconds_are_forgiven_and_a_win_is_a_win():
    row = a_row(loop=[1.0], execute=[1.108], pool=[2.0])
    assert fresh.regret(row, EXECUTE, (LOOP, "Pool")) == pytest.approx(1.1)
    assert fresh.regret(a_row(loop=[1.0], execute=[0.5]), EXECUTE, (LOOP,)) == 0.5
    assert fresh.regret(a_row(loop=[1.0], execute=[1.004]), EXECUTE, (LOOP,)) == 1.0


def test_the_best_rival_is_compared_round_by_round():
    row = a_row(loop=[4.0, 4.0, 4.0], execute=[1.008, 2.008, 9.008], pool=[1.0, 2.0, 3.0], threads=[2.5, None, None])
    assert fresh.regret(row, EXECUTE, (LOOP, "Pool", "threads")) == pytest.approx(1.0)


def test_without_a_result_there_is_no_regret():
    assert fresh.regret(a_row(loop=[1.0], execute=[None]), EXECUTE, (LOOP,)) is None
    assert fresh.regret(a_row(execute=[1.0]), EXECUTE, (LOOP,)) is None


def test_the_figures():
    rows = [
        a_row("fine", loop=[1.0] * 3, execute=[0.5] * 3, optimize=[1.02] * 3),
        a_row("slow", loop=[0.1] * 3, execute=[0.208] * 3, optimize=[0.2, 0.2, 0.31]),
        a_row("torn", loop=[1.0] * 3, execute=[0.5, 0.5, 0.8], optimize=[1.0] * 3),
    ]
    found = fresh.figures(rows)
    ours, pool = found[EXECUTE], found[OPTIMIZE_POOL]
    assert (ours["worst_row"], ours["worst"]) == ("slow", pytest.approx(2.0))
    assert ours["geometric_mean"] == pytest.approx((0.5 * 2.0 * 0.5) ** (1 / 3))
    assert ours["slower_than_loop"] == ["slow"]
    assert (ours["outliers"], ours["runs"]) == (["torn"], 9)
    assert pool["regrets"] == pytest.approx({"fine": 1.0, "slow": 1.8, "torn": 1.0})
    assert pool["slower_than_loop"] == ["slow"]
    assert pool["outliers"] == ["slow"]
    fresh.report(found)


def test_choices_matter_where_the_other_takes_longer():
    runs = [{"plan": {"backend": "threads"}, "seconds": 1.0}] * 7 + [
        {"plan": {"backend": "serial"}, "seconds": 3.0}
    ] * 3
    found = fresh.choices({"runs": runs})
    assert (found["same"], found["of"], found["matters"]) == (7, 10, True)
    assert not fresh.choices({"runs": runs[:7]})["matters"]


def test_forecasts_are_judged_where_items_are_even():
    def row(name, predicted_s, std_s):
        sample = {"item_s": 1.0, "item_std_s": std_s}
        plan = {"predicted_s": predicted_s, "predicted_interval_s": [0.9, 1.2], "sample": sample}
        return {"workload": name, "plan": plan, "map_s": 1.0}

    found = fresh.forecast_figures([row("even", 1.1, 0.1), row("uneven", 4.0, 2.0), {"workload": "none"}])
    assert (found["rows"], found["even_rows"], found["held"]) == (2, 1, 2)
    assert found["median"] == pytest.approx(expm1(log(1.1)))
    assert (found["worst_row"], found["worst"]) == ("uneven", pytest.approx(3.0))
    assert fresh.forecast_figures([]) == {}


def test_equal_results_have_equal_marks():
    assert fresh_row.mark([1.0, 2.0]) == fresh_row.mark([1.0 + 1e-12, 2.0])
    assert fresh_row.mark([1, 2]) != fresh_row.mark([2, 1])
    assert fresh_row.mark([1, 2]) != fresh_row.mark([1, 2, 2])


def test_nothing_of_a_contender_is_loaded_before_its_clock_starts():
    code = (
        "from benchmarks import fresh_row; print(fresh_row.run({'workload': '100 × 0.1 ms', 'contender': 'loop', "
        "'iterations_per_s': 1e6, 'stride': 10})['loaded'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["Pool, chunks of 1", "Pool, a chunk each"])
def test_settings_of_a_pool_return_what_the_loop_does(name):
    assert by_name()[name](abs, range(-3, 4), {}) == [3, 2, 1, 0, 1, 2, 3]
