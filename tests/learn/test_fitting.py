"""Fitting: the gates, the effect of a poisoned history, and plain numbers that predict like scikit-learn."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from pruning import HERE, WORK, candidate, case, examples, run_of

from amorsize.history.history import History, Run
from amorsize.learn import pruner
from amorsize.learn.fitting import LEAST_ROWS, MOST_ROWS, PER_FUNCTION, Example, example_of, fit, learn, thinned

pytest.importorskip("sklearn")
from amorsize.learn.fitting import as_trees, grown


def test_what_the_model_gets_wrong_is_learned():
    fit, report = learn(examples())
    assert report.speaks
    many, few = candidate(workers=8, total_s=0.5), candidate(workers=2, total_s=0.5)
    assert 0.2 < fit.residual(case(many)) < 0.65
    assert -0.45 < fit.residual(case(few)) < -0.1
    for one in report.engines:
        assert one.median[1] < one.median[0]


def test_where_the_model_is_right_the_gate_stays_shut():
    _, report = learn(examples(truth=lambda one: 0.0, noise=0.1))
    assert report.engines
    assert not report.speaks


def test_what_holds_for_one_function_only_is_not_believed():
    of_each = {}

    def truth(one):
        return of_each.setdefault(one.sample.item_s, random.Random(str(one.sample.item_s)).choice([-0.5, 0.5]))

    _, report = learn(examples(truth=truth))
    assert not report.speaks


@pytest.mark.parametrize("few", [[], examples(functions=2), examples(each=1)], ids=["none", "functions", "rows"])
def test_of_too_little_nothing_is_learned(few):
    fit, report = learn(few)
    assert fit is None
    assert not report.speaks
    assert "left alone" in str(report)


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("factor", [4.6, -4.6])
def test_a_history_wrong_by_a_hundred_shuts_the_gates(share, factor):
    draw = random.Random(1)
    poisoned = [
        one._replace(residual=one.residual + factor) if draw.random() < share else one for one in examples(each=20)
    ]
    fit, report = learn(poisoned)
    assert not report.speaks
    assert report.surprises == sum(abs(one.residual) > 2.0 for one in poisoned)
    assert fit is None or fit.correct(case(candidate())) == candidate()


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
        replace(good, machine={}),
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
    assert example_of(row).case.engine == "team"
    assert example_of(replace(row, source="import")).case.engine == "team"
    assert example_of(replace(row, source="import", extra={**row.extra, "from": "optimize"})).case.engine == "pool"
    assert example_of(replace(row, backend="serial")) is None
    assert example_of(replace(row, backend="serial", source="tune", extra={})).case.engine == "loop"


def test_plain_numbers_say_what_scikit_learn_says():
    np = pytest.importorskip("numpy")
    draw = np.random.default_rng(0)
    table = np.exp(draw.normal(size=(400, 6)))
    fitted = grown(table, np.sin(table[:, 0]) + table[:, 1] + draw.normal(size=400) / 10)
    trees = as_trees(fitted)
    again = type(trees).from_dict(json.loads(json.dumps(trees.to_dict())), 6)
    assert again == trees
    rows = np.exp(draw.normal(size=(300, 6)))
    assert [again.predict(row) for row in rows.tolist()] == pytest.approx(fitted.predict(rows).tolist(), abs=1e-9)


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
    assert report.used >= LEAST_ROWS
    assert report.speaks
    assert "corrected from now on" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["speaks"] is True
    assert any(name.startswith("function 3") for name in report.functions)
    many = candidate(workers=8, total_s=0.5)
    assert pruner.known(history).correct(case(many)).total_s > 0.6


def test_an_empty_history_gives_no_fit(tmp_path):
    history = History(tmp_path / "history.sqlite")
    report = fit(history)
    assert (report.rows, report.file, report.speaks) == (0, None, False)
    assert pruner.known(history) is None


def test_a_fit_that_has_become_worthless_is_forgotten(tmp_path):
    history = History(tmp_path / "history.sqlite")
    for example in examples():
        history.record(run_of(example))
    assert fit(history).speaks
    for example in examples(truth=lambda one: 4.6, each=40):
        history.record(run_of(example))
    assert not fit(history).speaks
    assert pruner.known(history) is None or pruner.known(history).correct(case(candidate())) == candidate()


def test_other_machines_rows_say_nothing_of_this_one():
    far = [
        Example(
            one.case._replace(machine=replace(HERE, usable_cores=64.0, logical_cores=64)), one.residual, one.function
        )
        for one in examples()
    ]
    fit, report = learn(far)
    assert report.speaks
    assert fit.residual(case(candidate(workers=8), WORK)) is None
