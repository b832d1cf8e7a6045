"""Fitting: what is learnt of the parts of a forecast, the widths of intervals, and the effect of a wrong history."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning import WORK, candidate, examples, run_of

from amorsize.history.history import History, Run
from amorsize.learn import pruner
from amorsize.learn.fit_file import fit_path
from amorsize.learn.fitting import LEAST_FUNCTIONS, MOST_ROWS, PER_FUNCTION, example_of, fit, learn, thinned
from amorsize.learn.pruner import MOST


def slower(found, factor, share=1.0):
    """Return the examples with clocks that are ``factor`` times as long, of a share of them."""
    draw = random.Random(1)
    return [one._replace(clock_s=one.clock_s * factor) if draw.random() < share else one for one in found]


def test_each_part_is_learnt():
    found, report = learn(examples(60))
    for one in report.engines:
        start, compute, *others = found.fits[one.engine].factors
        assert start == pytest.approx(2.0, rel=0.15)
        assert compute == pytest.approx(1.0, rel=0.05)
        assert others == [1.0, 1.0, 1.0]
        assert one.median[1] < 0.2 * one.median[0]
        assert one.p90[1] < one.p90[0]


def test_a_right_model_stays_as_it_is():
    found, _ = learn(examples(truth=lambda one: one.start_s + one.compute_s, noise=0.0))
    assert all(one.factors == (1.0,) * 5 for one in found.fits.values())


def test_what_holds_for_one_function_only_moves_little():
    draw = random.Random(0)
    of_each = {f"function {number}": draw.choice([0.5, 1.0, 1.0, 2.0]) for number in range(40)}
    right = examples(40, truth=lambda one: one.start_s + one.compute_s)
    found, report = learn([one._replace(clock_s=one.clock_s * of_each[one.function]) for one in right])
    assert report.engines
    for one in found.fits.values():
        assert all(abs(log(factor)) < 0.25 for factor in one.factors)


def test_few_functions_are_believed_less_than_many():
    few, many = (learn(examples(functions, noise=0.0))[0].fits["pool"].factors[0] for functions in (8, 80))
    assert 1.1 < few < many <= 2.0


def test_a_function_counts_once_however_many_rows_it_has():
    some = examples(20, each=6)
    many = [one._replace(function="wrong", clock_s=3 * one.clock_s) for one in examples(1, each=40)]
    alone = learn(some)[0].fits["pool"].factors
    assert learn([*some, *many])[0].fits["pool"].factors == pytest.approx(alone, rel=0.25)


@pytest.mark.parametrize("n_sampled", [1, 20])
@pytest.mark.parametrize("noise", [0.1, 0.8])
def test_the_interval_holds_four_fifths_of_unseen_functions(n_sampled, noise):
    inside = []
    for seed in range(6):
        draw = random.Random(seed)
        of_each = {f"function {number}": draw.gauss(0, noise) for number in range(120)}
        rows = [
            one._replace(clock_s=one.forecast.total_s * exp(of_each[one.function]), n_sampled=n_sampled)
            for one in examples(120, each=2, seed=seed)
        ]
        found, report = learn(rows[: len(rows) // 2])
        for one in rows[len(rows) // 2 :]:
            corrected = found.correct(one.forecast, one.engine, n_sampled)
            inside.append(corrected.low_s <= one.clock_s <= corrected.high_s)
        assert all(0.6 <= one.coverage[1] <= 0.98 for one in report.engines)
    assert 0.72 <= sum(inside) / len(inside) <= 0.9


def test_few_and_many_sampled_items_have_widths_of_their_own():
    draw = random.Random(0)
    rows = []
    for one in examples(40, each=10, truth=lambda parts: parts.start_s + parts.compute_s):
        n_sampled = draw.choice([1, 50])
        noise = draw.gauss(0, 0.8 if n_sampled == 1 else 0.05)
        rows.append(one._replace(clock_s=one.forecast.total_s * exp(noise), n_sampled=n_sampled))
    one = learn(rows)[0].fits["pool"]
    assert min(one.few) > 3 * max(one.many)


@pytest.mark.parametrize("few", [[], examples(functions=LEAST_FUNCTIONS - 1)], ids=["none", "functions"])
def test_of_too_little_nothing_is_learned(few):
    found, report = learn(few)
    assert not found.fits
    assert "left alone" in str(report)


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_history_wrong_by_a_hundred_corrects_nothing(share, factor):
    poisoned = slower(examples(each=20), factor, share)
    found, report = learn(poisoned)
    assert report.surprises == sum(abs(one.residual) > 2.0 for one in poisoned)
    assert not found.fits
    assert found.correct(candidate(), "pool", 5) == candidate()


@given(st.floats(0.15, 7.0), st.integers(6, 20), st.integers(0, 9))
@settings(max_examples=20)
def test_a_correction_is_bounded_and_smaller_than_the_error(factor, functions, seed):
    right = examples(functions, 4, truth=lambda one: one.start_s + one.compute_s, noise=0.0, seed=seed)
    found, _ = learn(slower(right, factor))
    for one in right:
        done = log(found.correct(one.forecast, one.engine, 5).total_s / one.forecast.total_s)
        assert abs(done) <= min(MOST, abs(log(factor))) + 0.05
        assert done * log(factor) >= -1e-9


def test_numbers_that_are_none_are_passed_over():
    good = run_of(examples()[0])
    assert example_of(good).residual == pytest.approx(examples()[0].residual)
    bad = [
        replace(good, sample=None),
        replace(good, sample={**good.sample, "item_s": "long"}),
        replace(good, extra={}),
        replace(good, extra={**good.extra, "tuned": True}),
        replace(good, extra={"parts": [1, 2]}),
        replace(good, extra={"parts": [-1, 0, 0, 0, 101]}),
        replace(good, sample={"colour": 3}),
        replace(good, predicted_s=None),
        replace(good, predicted_s=float("nan")),
        replace(good, clock_s=float("inf")),
        replace(good, clock_s=-1.0),
        replace(good, outcome="raised"),
        replace(good, n_items=None),
        Run(),
    ]
    assert [example_of(row) for row in bad] == [None] * len(bad)


def test_rows_of_execute_teach_of_its_own_engines():
    row = replace(run_of(examples()[0]), source="execute", backend="processes")
    assert example_of(row).engine == "team"
    assert example_of(replace(row, source="import")).engine == "team"
    assert example_of(replace(row, source="import", extra={**row.extra, "from": "optimize"})).engine == "pool"
    assert example_of(replace(row, backend="serial")) is None
    assert example_of(replace(row, backend="serial", source="tune", extra={})).engine == "loop"


def test_a_row_has_the_interval_of_todays_model():
    row = run_of(examples()[0])
    old = replace(row, predicted_interval_s=(0.001, 1000.0))
    assert example_of(old) == example_of(row)
    assert example_of(row).forecast.low_s > 0.1 * row.predicted_s


def test_one_function_cannot_outvote_the_others():
    one = examples()[0]
    many = [one] * 1000 + [one._replace(function=f"g{n}") for n in range(5)]
    assert len(thinned(many)) == PER_FUNCTION + 5
    assert len(thinned([one._replace(function=f"g{n}") for n in range(3 * MOST_ROWS)])) <= MOST_ROWS


def test_a_history_is_fitted_and_used(tmp_path):
    history = History(tmp_path / "history.sqlite")
    for example in examples():
        history.record(run_of(example))
    report = fit(history)
    assert report.rows == len(examples())
    assert report.file == fit_path(history)
    assert "rows of  12 functions: median error" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["rows"] == report.rows
    assert any(name.startswith("function 3") for name in report.functions)
    long_start = candidate(start=0.8)
    assert pruner.known(history).correct(long_start, "pool", WORK.n_sampled).total_s > 1.3 * long_start.total_s


def test_an_empty_history_gives_no_fit(tmp_path):
    history = History(tmp_path / "history.sqlite")
    report = fit(history)
    assert (report.rows, report.file) == (0, None)
    assert pruner.known(history) is None


def test_a_fit_that_has_become_worthless_is_forgotten(tmp_path):
    history = History(tmp_path / "history.sqlite")
    for example in examples():
        history.record(run_of(example))
    assert fit(history).file is not None
    for example in slower(examples(each=40), 100.0):
        history.record(run_of(example))
    assert fit(history).file is None
    assert pruner.known(history) is None
