from __future__ import annotations

import pytest

from benchmarks import targets
from benchmarks.record import contender_record
from benchmarks.summary import summarise

EXECUTE, OPTIMIZE, POOL = "amorsize.execute", "amorsize.optimize", "optimize + Pool"
UNKNOWN = "execute, unknown function"
MIDDLING = {"predicted_s": 1.0, "predicted_interval_s": [0.9, 1.1], "map_s": 1.0, "optimize_s": 0.004, "serial_s": 2.0}


def record(*seconds, **known):
    return {**contender_record(len(seconds)), "seconds": list(seconds), **known}


def row(name, *, item=None, grid=None, **contenders):
    item = {
        "mean_s": 0.001,
        "longest_s": 0.001,
        "first_s": 0.001,
        "first_call_s": 0.0,
        "variation": 0.1,
        **(item or {}),
    }
    return {"workload": name, "items": 100, "item": item, "grid": grid, "contenders": contenders, "wrong": None}


def asked(**changed):
    return record(1.0, 1.0, 1.0, facts=[{**MIDDLING, **changed}] * 3)


def judged(*rows):
    return {each.what: each for each in targets.targets(summarise(rows))}


def one(found, start):
    return next(each for what, each in found.items() if what.startswith(start))


def test_without_figures_nothing_is_met_nor_missed():
    found = judged(row("w", loop=record(1.0)))
    assert {each.met for each in found.values()} == {None}


def test_execute_against_the_best_rival():
    good = row("good", **{"loop": record(2.0, 2.0), "Pool": record(1.0, 1.0), EXECUTE: record(0.7, 0.7)})
    slow = row("slow", **{"loop": record(2.0, 2.0), "Pool": record(1.0, 1.0), EXECUTE: record(1.2, 1.3)})
    found = judged(good, slow)
    mean = one(found, "execute / best rival")
    assert mean.figure.startswith(f"{(0.7 * 1.25) ** 0.5:.3f}")
    assert mean.met is False
    assert found["the same, worst row"].met is None  # of the grid: it did not run
    worst = targets.against_rivals(summarise([good, slow])["rows"])[1]
    assert worst.rows == ("slow",)
    assert worst.met is False
    assert all(each.met for each in targets.against_rivals(summarise([good])["rows"]))


@pytest.mark.parametrize(
    ("seconds", "breaks"),
    [
        ((1.09, 1.09, 1.09), False),
        ((1.2, 1.2, 1.2), True),
        ((1.05, 1.2, 1.3), False),  # the interval reaches down to 1.05
    ],
)
def test_the_worst_row_goes_by_the_lower_end_of_the_interval(seconds, breaks):
    rows = summarise([row("w", **{"loop": record(1.0, 1.0, 1.0), EXECUTE: record(*seconds)})])["rows"]
    assert (targets.against_rivals(rows)[1].met is False) is breaks


def test_two_milliseconds_are_forgiven():
    rows = summarise([row("w", **{"loop": record(0.001, 0.001), EXECUTE: record(0.0029, 0.0029)})])["rows"]
    assert targets.against_rivals(rows)[1].met
    assert targets.against_loop(rows).met


def test_the_oracle_counts_only_where_the_grid_ran():
    grid = {"seconds": {}, "skipped": {}, "best": "grid: ThreadPool(8), chunks of 1", "best_pool": "loop"}
    contenders = {"loop": record(2.0), "Pool": record(1.0), EXECUTE: record(0.9)}
    with_grid = row("w", grid=grid, **contenders, **{"grid: ThreadPool(8), chunks of 1": record(0.5)})
    mean, worst = targets.against_oracle(summarise([with_grid, row("v", **contenders)])["rows"])
    assert mean.figure == "1.800 over 1 rows"
    assert worst.rows == ("w",)


def test_slower_than_the_loop():
    rows = summarise([row("w", **{"loop": record(1.0), EXECUTE: record(1.04)})])["rows"]
    found = targets.against_loop(rows)
    assert (found.met, found.figure, found.rows) == (False, "1", ("w",))


def test_unknown_functions_have_figures_but_no_goal():
    times = {"loop": record(1.0, 1.0), "Pool": record(2.0, 2.0)}
    whole = summarise([row("w", **times, **{EXECUTE: record(0.5, 0.5), UNKNOWN: record(1.2, 1.2)})])
    mean, slower = targets.of_unknown_functions(whole["rows"])
    assert (mean.figure, mean.goal, mean.met) == ("1.200 over 1 rows", "", None)
    assert (slower.figure, slower.met, slower.rows) == ("1", None, ("w",))
    assert targets.against_loop(whole["rows"]).met  # of a function that is known
    assert targets.against_rivals(whole["rows"])[0].figure == "0.500 over 1 rows"
    assert mean in targets.targets(whole)


def test_optimize_and_pool_against_the_best_pool_or_loop_but_not_threads():
    choice = record(1.4, 1.4, 1.4, facts=[{**MIDDLING, "map_s": 1.05}] * 3)
    three = {"loop": record(2.0, 2.0, 2.0), "Pool": record(1.0, 1.0, 1.0), "threads": record(0.1, 0.1, 0.1)}
    alone, alone_worst, whole, whole_worst = targets.pool_choice(
        summarise([row("w", **three, **{POOL: choice})])["rows"]
    )
    assert alone.figure == "1.050 over 1 rows"
    assert (alone.met, alone_worst.met, whole.met, whole_worst.met) == (True, True, False, False)


def test_forecasts_of_uneven_items_count_for_coverage_only():
    even = row("even", loop=record(2.0, 2.0, 2.0), **{OPTIMIZE: asked(map_s=1.05)})
    uneven = row("uneven", loop=record(2.0, 2.0, 2.0), item={"variation": 3.0}, **{OPTIMIZE: asked(map_s=5.0)})
    unknown = row("unknown", loop=record(2.0, 2.0, 2.0), item={"variation": None}, **{OPTIMIZE: asked(map_s=5.0)})
    median, p90, coverage = targets.forecast_error(summarise([even, uneven, unknown])["rows"])
    assert median.figure == "5 % over 1 rows"
    assert median.met
    assert p90.met
    assert coverage.figure == "33 % of 9 maps"
    assert coverage.met is False
    assert set(coverage.rows) == {"uneven", "unknown"}


def test_too_wide_an_interval_is_a_miss_too():
    rows = summarise([row("w", loop=record(2.0, 2.0, 2.0), **{OPTIMIZE: asked()})])["rows"]
    assert targets.forecast_error(rows)[2].met is False


@pytest.mark.parametrize(
    ("took_s", "item", "met"),
    [
        (0.0059, {}, True),  # 1 ms of it is the item
        (0.0259, {}, True),  # 1 % of 2 s
        (0.0261, {}, False),
        (0.3, {"first_s": 0.3}, True),
        (0.3, {"first_call_s": 0.3}, True),
    ],
)
def test_asking_may_cost_an_item_a_first_call_and_five_milliseconds_or_one_percent(took_s, item, met):
    serial = 0.2 if took_s < 0.01 else 2.5
    seconds = [
        {**MIDDLING, "optimize_s": 9.0},
        *[{**MIDDLING, "optimize_s": took_s}] * 2,
    ]  # the first finds the machine
    asked_ = record(1.0, 1.0, 1.0, facts=seconds)
    rows = summarise([row("w", loop=record(serial, serial, serial), item=item, **{OPTIMIZE: asked_})])["rows"]
    assert targets.asking(rows).met is met


def test_the_floor_is_the_loop_on_all_cores_or_the_best_of_anyone():
    rows = {
        "computes": {"medians": {"loop": 2.0, "Pool": 1.25}, "best": "Pool", "best_rival": "Pool"},
        "waits": {"medians": {"loop": 2.0, "64 threads": 0.1}, "best": "64 threads", "best_rival": "64 threads"},
    }
    found = targets.floor(rows, 2.0)
    assert found.met is None
    assert found.figure.startswith("0.896")  # the root of 1.0045 / 1.25
