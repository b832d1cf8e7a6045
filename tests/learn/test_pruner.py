"""The pruner's corrections, its silence, and the effect of a wrong history."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning import candidate, fit_of

import amorsize
from amorsize.history.history import History
from amorsize.learn import pruner
from amorsize.learn.fit_file import SUFFIX
from amorsize.learn.pruner import MOST, OTHER, OWN_WIDTH, SAME, WILD, Fit, Pruner

ENGINES = ["loop", "pool", "threadpool"]
BACKENDS = ["serial", "processes", "threads"]

factors = st.floats(1 / 3, 3)
fits = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            Fit, st.tuples(*[factors] * 5), *[st.tuples(st.floats(0, 20), st.floats(0, 20)) for _ in range(2)]
        )
        for name in ENGINES
    },
)
candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from(BACKENDS),
        st.integers(1, 64),
        st.floats(1e-3, 1e3),
        st.integers(1, 1000),
        st.sampled_from([None, None, "too much memory"]),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=8,
)
# Engines that ran the same map, and their clocks over the forecast.
own_rows = st.lists(st.tuples(st.sampled_from([*ENGINES, "team", "threads"]), st.floats(1e-3, 1e3)), max_size=6)


def knowing(fit, rows):
    return fit.knowing([(engine, one := candidate(), factor * one.total_s) for engine, factor in rows])


def narrowed(fit, found, n_sampled=5):
    found = sorted(found, key=lambda one: (one.refused is not None, one.total_s))
    return found, fit.narrow(found[0], found[1:], n_sampled)


@given(candidates, st.integers(1, 100))
def test_without_any_row_nothing_changes(found, n_sampled):
    found, (best, others, model_s, said) = narrowed(Pruner(), found, n_sampled)
    assert best is found[0]
    assert all(one is other for one, other in zip(others, found[1:], strict=True))
    assert (model_s, said) == (None, None)


@given(fits, own_rows, candidates)
def test_a_history_that_lies_prefers_nothing_wild_and_nothing_refused(fit, rows, found):
    found, (best, others, *_) = narrowed(knowing(Pruner(fit), rows), found)
    model = found[0]
    chosen = [one for one in found if key(one) == key(best)]
    assert min(one.total_s for one in chosen) <= WILD * model.total_s
    assert best.refused is None or any(one is model for one in chosen)
    assert min(abs(log(best.total_s / one.total_s)) for one in chosen) <= MOST + 1e-9
    assert sorted(map(key, [best, *others])) == sorted(map(key, found))


def key(one):
    """Return the fields that a correction does not change."""
    return one.backend, one.workers, one.chunksize, str(one.refused)


@given(fits, own_rows, candidates, st.integers(1, 100))
def test_forecasts_stay_forecasts(fit, rows, found, n_sampled):
    _, (best, others, *_) = narrowed(knowing(Pruner(fit), rows), found, n_sampled)
    for one in (best, *others):
        assert one.low_s <= one.total_s <= one.high_s
        parts = one.breakdown
        assert sum(getattr(parts, name) for name in parts.__dataclass_fields__) == pytest.approx(one.total_s)


def test_another_candidate_is_chosen_when_history_is_clear_about_it():
    model, rival = candidate("processes", total_s=0.5), candidate("threads", total_s=0.55)
    best, others, model_s, said = fit_of({"pool": 1.6}).narrow(model, [rival], 5)
    assert best is rival
    assert others[0].total_s == pytest.approx(0.8)
    assert model_s == 0.55
    assert said == "history (100 runs of 10 functions) chose another candidate than the model"


def test_a_small_gain_changes_the_forecast_only():
    model, rival = candidate("processes", total_s=0.5), candidate("threads", total_s=0.51)
    best, _, model_s, said = fit_of({"pool": 1.01}).narrow(model, [rival], 5)
    assert best.backend == "processes"
    assert best.total_s == pytest.approx(0.505)
    assert model_s == 0.5
    assert "corrected the forecast" in said


def test_a_loop_is_left_for_a_clear_gain_only():
    loop, pool = candidate("serial", 1, 0.5), candidate("processes", total_s=0.5)
    assert fit_of({"pool": 0.92}).narrow(loop, [pool], 5).best.backend == "serial"
    assert fit_of({"pool": 0.88}).narrow(loop, [pool], 5).best.backend == "processes"


def test_each_part_has_its_own_factor():
    fit = Pruner({"pool": Fit((3.0, 0.5, 1.0, 1.0, 1.0))})
    long_start, short_start = (fit.correct(candidate(total_s=1.0, start=share), "pool", 5) for share in (0.8, 0.2))
    assert long_start.total_s == pytest.approx(0.8 * 3 + 0.2 * 0.5)
    assert short_start.total_s == pytest.approx(0.2 * 3 + 0.8 * 0.5)
    assert (long_start.breakdown.start_s, long_start.breakdown.compute_s) == (pytest.approx(2.4), pytest.approx(0.1))


@pytest.mark.parametrize(("n_sampled", "below", "above"), [(1, 1.0, 2.0), (3, 1.0, 2.0), (4, 0.5, 0.7)])
def test_intervals_are_those_of_unseen_functions_of_whom_as_much_was_sampled(n_sampled, below, above):
    model = candidate(total_s=1.0)
    one = fit_of({"pool": 1.2}).correct(model, "pool", n_sampled)
    assert one.total_s == pytest.approx(1.2)
    assert log(one.total_s / one.low_s) == pytest.approx(below * log(1.0 / model.low_s))
    assert log(one.high_s / one.total_s) == pytest.approx(above * log(model.high_s))


# -- rows of the same map --------------------------------------------------------------------------------------------


def test_a_row_of_the_same_map_is_believed_most_where_it_ran():
    known = knowing(Pruner(), [("pool", 1.5)])
    model = candidate(total_s=1.0)
    same, other = known.correct(model, "pool", 1), known.correct(candidate("threads", total_s=1.0), "threadpool", 1)
    assert same.total_s == pytest.approx(1.5**SAME)
    assert other.total_s == pytest.approx(1.5**OTHER)
    assert log(same.high_s / same.total_s) == pytest.approx(OWN_WIDTH)
    assert other.high_s / other.total_s == pytest.approx(candidate("threads", total_s=1.0).high_s)
    assert "history (1 run of this map) corrected" in known.narrow(model, [], 1).said


def test_more_rows_are_believed_more_and_one_of_them_may_be_off():
    one, three = (knowing(Pruner(), [("pool", 1.5)] * number).correct(candidate(), "pool", 1) for number in (1, 3))
    assert one.total_s < three.total_s < 1.5 * candidate().total_s
    mixed = knowing(Pruner(), [("pool", 1.5), ("pool", 7.0), ("pool", 1.5)]).correct(candidate(), "pool", 1)
    assert mixed.total_s == pytest.approx(three.total_s)


def test_what_other_functions_tell_comes_first():
    fit = fit_of({"pool": 1.5})
    right = fit.knowing([("pool", candidate(), 1.5 * candidate().total_s)])
    assert right.correct(candidate(), "pool", 1).total_s == pytest.approx(1.5 * candidate().total_s)
    assert "history (100 runs of 10 functions, 1 run of this map)" in right.narrow(candidate(), [], 1).said


@pytest.mark.parametrize("factor", [100.0, 0.01, 0.0])
def test_a_row_that_is_wrong_by_a_hundred_corrects_nothing(factor):
    one = candidate()
    assert knowing(Pruner(), [("pool", factor)]).correct(one, "pool", 1) is one


# -- kept ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "history.sqlite") + SUFFIX


def test_a_fit_comes_back_as_it_was(file):
    fit = fit_of({"pool": 1.3, "threadpool": 0.8})
    pruner.keep(file, fit)
    assert pruner.read(file) == fit


@given(fits)
def test_any_fit_passes_through_json(fit):
    one = Pruner(fit, 3, 2)
    assert Pruner.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def changed(row, **changes):
    """Return the JSON of a fit, with changes in its fit of pools."""
    return json.dumps({**row, "fits": {"pool": {**row["fits"]["pool"], **changes}}})


DAMAGE = {
    "not JSON": lambda row: "{",
    "a list": lambda row: "[1]",
    "too deep": lambda row: "[" * 100_000,
    "another thing": lambda row: json.dumps({**row, "fits": [1]}),
    "no factors": lambda row: changed(row, factors=None),
    "a factor too few": lambda row: changed(row, factors=[1.0] * 4),
    "not finite": lambda row: changed(row, factors=[nan] * 5),
    "a wild factor": lambda row: changed(row, factors=[9.0] * 5),
    "infinite": lambda row: changed(row, few=[1.0, inf]),
    "negative": lambda row: changed(row, many=[-1.0, 1.0]),
    "text": lambda row: changed(row, few="ab"),
    "a field too many": lambda row: changed(row, colour="red"),
    "no fit": lambda row: json.dumps({**row, "fits": {"pool": "open"}}),
    "no numbers": lambda row: json.dumps({**row, "runs": "many"}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_a_warning_at_most(file, kind):
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(DAMAGE[kind](fit_of({"pool": 1.3}).to_dict()))
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert pruner.read(file) is None


@pytest.mark.parametrize("other", [{"format": 1, "features": ["item_s"], "regions": {}}, {"parts": ["colour"]}])
def test_another_versions_fit_is_not_used(file, other, recwarn):
    with open(file, "w", encoding="utf-8") as stream:
        json.dump({**fit_of({"pool": 1.3}).to_dict(), **other}, stream)
    assert pruner.read(file) is None
    assert not recwarn.list


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["fits", "runs", "functions", "parts"]), json_values)
def test_nothing_that_json_can_hold_gets_through(name, value):
    row = fit_of({"pool": 1.3}).to_dict()
    found = Pruner.from_dict({**row, name: value})
    assert found is None or isinstance(found.correct(candidate(), "pool", 5).total_s, float)


def test_a_fit_is_read_anew_when_it_changes(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    assert pruner.known(history) is None
    pruner.keep(file, fit_of({"pool": 1.3}))
    assert list(pruner.known(history).fits) == ["pool"]
    pruner.keep(file, fit_of({"pool": 1.3, "loop": 1.1}))
    assert set(pruner.known(history).fits) == {"pool", "loop"}
    assert pruner.forget(history)
    assert pruner.known(history) is None
    assert not pruner.forget(history)


def test_off_is_off(monkeypatch):
    assert pruner.known(History("off")) is None
    monkeypatch.setenv("AMORSIZE_HISTORY", "off")
    assert pruner.known(None) is None


# -- in optimize() ---------------------------------------------------------------------------------------------------


def spin(x):
    """So long that workers might pay for some hundreds of them, on a far quicker machine, too."""
    return sum(range(40_000 + x % 3))


def test_optimize_says_what_history_says(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    silent = amorsize.optimize(spin, range(400), history=history)
    assert "history" not in silent.reason
    pruner.keep(file, fit_of({"pool": 1.3, "loop": 1.3, "threadpool": 1.3}))
    plan = amorsize.optimize(spin, range(400), history=history)
    assert "history (100 runs of 10 functions) corrected the forecast" in plan.reason
    assert plan.reason in plan.explain()
    low, high = plan.predicted_interval_s
    assert low < plan.predicted_s < high
    off = amorsize.optimize(spin, range(400), history=History("off"))
    assert "history" not in off.reason


def test_what_a_plans_pool_takes_is_held_against_the_model_too(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    pruner.keep(file, fit_of({"pool": 1.3, "loop": 1.3, "threadpool": 1.3}))
    plan = amorsize.optimize(spin, list(range(400)), history=history)
    assert plan.predicted_s == pytest.approx(plan.model_s * 1.3)
    with plan.pool() as pool:
        pool.map(spin, plan.data)
    (row,) = history.runs(source="optimize")
    assert row.predicted_s == pytest.approx(plan.model_s, rel=1e-4)
    assert row.extra["pruned_s"] == pytest.approx(plan.predicted_s, rel=1e-4)
    assert row.extra["pruned_interval_s"] == pytest.approx(list(plan.predicted_interval_s), rel=1e-4)
    assert plan.backend == "serial" or 98 <= sum(row.extra["parts"]) <= 102


def test_next_to_nothing_is_planned_without_history(tmp_path, file):
    pruner.keep(file, fit_of({"loop": 2.0}))
    plan = amorsize.optimize(abs, range(10), history=History(tmp_path / "history.sqlite"))
    assert "history" not in plan.reason


def test_a_trial_of_tune_is_a_row_and_knows_what_history_said(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    pruner.keep(file, fit_of({"pool": 1.3, "threadpool": 1.3}))
    plan = amorsize.tune(spin, range(60), max_workers=2, max_seconds=0.3, history=history)
    rows = history.runs(source="tune")
    assert [row.clock_s for row in rows] == pytest.approx([trial.seconds for trial in plan.trials], rel=1e-4)
    for row in rows:
        factor = row.extra.get("pruned_s", row.predicted_s) / row.predicted_s
        assert factor == pytest.approx(1.0 if row.backend == "serial" else 1.3, rel=1e-4)


def test_trials_are_at_most_a_quarter_of_the_grid_where_history_speaks(tmp_path, file):
    from amorsize.options import check
    from amorsize.plan.trials.subset import Subset
    from amorsize.plan.trials.tune import Field

    history = History(tmp_path / "history.sqlite")
    pruner.keep(file, fit_of({"pool": 1.1}))
    request = check(spin, range(400), max_workers=2, history=history)
    tuned = amorsize.tune(spin, range(400), max_workers=2, max_seconds=0.3, history=history)
    # The grid of the same sample.
    field = Field(request, Subset(plan=tuned, items=range(400), n_items=400))
    assert len(tuned.trials) <= max(1, len(field.grid) // 4)


def test_a_refused_candidate_is_not_corrected():
    one = candidate(refused="too much memory")
    assert fit_of({"pool": 0.4}).correct(one, "pool", 5) is one
    assert fit_of({"pool": 0.4}).correct(replace(one, refused=None), "pool", 5) is not one
