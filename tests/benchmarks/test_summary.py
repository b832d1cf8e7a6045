from __future__ import annotations

import json

import pytest

from benchmarks import results_files, table
from benchmarks.record import contender_record
from benchmarks.summary import PLAN_MAP, summarise, summarise_row

FORECAST = {"map_s": 1.0, "optimize_s": 0.1, "predicted_s": 1.1, "predicted_interval_s": [0.9, 1.2], "serial_s": 2.0}


def record(*seconds, **known):
    return {**contender_record(len(seconds)), "seconds": list(seconds), **known}


def row(name="w", **contenders):
    share = {"others": 0.0, "steal": 0.0}
    busy = {"before": share, "during": share, "after": share, "too_busy": False}
    return {"workload": name, "contenders": contenders, "wrong": None, "busy": busy, "plan": None}


def measured():
    return row(
        **{
            "loop": record(2.0, 2.0),
            "Pool": record(1.0, 2.0),
            "mpire": record(4.0, None, sat_out_after_round=0),
            "bad": record(None, None, failed="OSError: no"),
            "amorsize.execute": record(1.1, 2.2),
            "amorsize.optimize": record(1.1, 1.1, facts=[FORECAST, FORECAST]),
        }
    )


def test_regret_pairs_rounds_with_the_best_rival():
    summary = summarise_row(measured())
    assert summary["best_rival"] == "Pool"
    assert summary["regret"]["amorsize.execute"]["to_best_rival"]["median"] == pytest.approx(1.1)
    assert summary["regret"]["amorsize.execute"]["to_loop"]["median"] == pytest.approx(0.825)
    assert "bad" not in summary["medians"]


def test_the_plans_own_map_is_shown_but_is_never_the_best():
    summary = summarise_row(measured())
    assert summary["medians"][PLAN_MAP] == 1.0
    assert summary["best"] == "amorsize.optimize"


def test_a_row_without_a_loop_says_nothing():
    assert summarise_row(row(loop=record(None, failed="hung")))["best"] is None
    assert summarise([row(loop=record(None, failed="hung"))])["contenders"] == {}


def test_all_rows_come_to_one_figure_for_each_contender():
    whole = summarise([measured(), row("v", loop=record(1.0), Pool=record(4.0))])
    assert whole["contenders"]["Pool"]["geometric_mean"] == pytest.approx((1.5 / 1.1 * 4.0) ** 0.5)
    assert whole["contenders"]["Pool"]["slower_than_loop"] == 1
    assert whole["contenders"]["loop"]["near_best"] == 1
    assert whole["forecast"]["coverage"] == 1.0
    assert whole["forecast"]["median_log_error"] == pytest.approx(0.0953, abs=1e-3)
    assert whole["serial_median_log_error"] == 0.0


def result(rows):
    return {
        "started": "2030-01-31T00:00:00+00:00",
        "quick": False,
        "rounds": 2,
        "machine": {"system": "Linux", "usable_cores": 2, "cpu": "", "python": "CPython 3.12.1"},
        "versions": {"joblib": "1.5"},
        "skipped": {"amorsize.optimize": "not yet"},
        "summary": summarise(rows),
        "rows": rows,
    }


def test_the_table_marks_best_failed_and_resting_contenders():
    page = table.render(result([measured()]))
    line = next(line for line in page.splitlines() if line.startswith("| w |"))
    assert "**1.10**" in line
    assert "4.00°" in line
    assert "failed" in line
    assert "bad failed on w: OSError: no" in page
    assert "held 100 %" in page


def test_rivals_grid_and_pool_have_a_best_of_their_own():
    contenders = {"loop": record(2.0), "Pool": record(1.5), "threads": record(1.2), "amorsize.execute": record(0.1)}
    settings = {"grid: Pool(2), chunks of 9": record(1.3), "grid: ThreadPool(8), chunks of 1": record(1.1)}
    summary = summarise_row(row(**contenders, **settings))
    assert summary["best_rival"] == "threads"
    assert summary["best_by_hand"] == "grid: ThreadPool(8), chunks of 1"
    assert summary["best_pool"] == "grid: Pool(2), chunks of 9"
    assert summary["best"] == "amorsize.execute"
    assert summary["regret"]["amorsize.execute"]["to_best_pool"]["extra_s"]["median"] == pytest.approx(-1.2)


def test_execute_of_an_unknown_function_is_no_rival():
    unknown = "execute, unknown function"
    times = {"loop": record(2.0), "Pool": record(1.5), "amorsize.execute": record(1.0), unknown: record(0.5)}
    summary = summarise_row(row(**times))
    assert (summary["best_rival"], summary["best_by_hand"]) == ("Pool", "Pool")
    assert summary["regret"]["amorsize.execute"]["to_best_rival"]["median"] == pytest.approx(2 / 3)
    assert summary["regret"][unknown]["to_best_rival"]["median"] == pytest.approx(1 / 3)
    page = table.render(result([row(**times)]))
    assert "| execute, unknown function / best rival, geometric mean |  | 0.333 over 1 rows |  |" in page


def test_the_loop_counts_as_a_setting_of_the_grid():
    grid = {"seconds": {}, "skipped": {}, "best": "loop", "best_pool": "loop"}
    page = table.render(result([{**row(loop=record(2.0), Pool=record(3.0)), "grid": grid}]))
    assert "| w | **2.00** | 3.00 | **2.00** |" in page


def test_who_is_left_out_is_marked():
    page = table.render(result([row(loop=record(2.0), slow=record(None, left_out="more than 10 items"))]))
    assert "| w | **2.00** | –† |" in page
    assert "† Left out" in page


def test_the_table_ends_with_the_targets():
    page = table.render(result([measured()]))
    assert "| rows where execute is slower than the loop by more than 3 % + 2 ms | 0 | 0 | met |" in page


def test_the_grid_is_one_column():
    rows = [row(**{"loop": record(2.0), "grid: Pool(2), chunks of 1": record(1.0), "grid: x": record(3.0)})]
    line = next(line for line in table.render(result(rows)).splitlines() if line.startswith("| w |"))
    assert line == "| w | 2.00 | **1.00** |"


def test_results_are_never_overwritten_and_the_newest_is_found(tmp_path):
    first = results_files.free_path(tmp_path, "s")
    results_files.write(first, result([measured()]))
    second = results_files.free_path(tmp_path, "s")
    assert second != first
    results_files.write(second, {"started": "2029-01-01"})
    assert results_files.newest(tmp_path) == first
    assert json.loads(first.read_text(encoding="utf-8"))["rounds"] == 2
