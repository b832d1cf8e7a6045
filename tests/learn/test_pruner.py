"""The pruner's corrections, its silence, and the effect of a wrong history."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp, inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning import HERE, WORK, candidate, case, fit_of

import amorsize
from amorsize.history.history import History
from amorsize.learn import pruner
from amorsize.learn.fit_file import SUFFIX
from amorsize.learn.pruner import MOST, WILD, Pruner

ENGINES = ["loop", "pool", "threadpool"]
BACKENDS = ["serial", "processes", "threads"]

residuals = st.fixed_dictionaries({}, optional={name: st.floats(-20, 20) for name in ENGINES})
candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from(BACKENDS),
        st.integers(1, 64),
        st.floats(1e-3, 1e3),
        st.integers(1, 1000),
        st.sampled_from([None, None, "too much memory"]),
    ),
    min_size=1,
    max_size=8,
)


def narrowed(fit, found):
    found = sorted(found, key=lambda one: (one.refused is not None, one.total_s))
    return found, fit.narrow(found[0], found[1:], WORK, HERE, 1000)


@given(candidates)
def test_without_a_region_nothing_changes(found):
    found, (best, others, model_s, said) = narrowed(fit_of({}), found)
    assert best is found[0]
    assert all(one is other for one, other in zip(others, found[1:], strict=True))
    assert (model_s, said) == (None, None)


@given(residuals, candidates)
def test_a_closed_gate_never_speaks(said_of, found):
    found, (best, others, model_s, said) = narrowed(fit_of(said_of, is_open=False), found)
    assert (best is found[0], model_s, said) == (True, None, None)
    assert all(one is other for one, other in zip(others, found[1:], strict=True))


@given(residuals, candidates)
def test_what_is_far_from_all_that_was_seen_is_left_to_the_model(said_of, found):
    found, (best, _, _, said) = narrowed(fit_of(said_of, reach=1e-6), found)
    assert (best is found[0], said) == (True, None)


@given(residuals, candidates)
def test_a_history_that_lies_prefers_nothing_wild_and_nothing_refused(said_of, found):
    found, (best, others, *_) = narrowed(fit_of(said_of), found)
    model = found[0]
    chosen = [one for one in found if key(one) == key(best)]
    assert min(one.total_s for one in chosen) <= WILD * model.total_s
    assert best.refused is None or any(one is model for one in chosen)
    assert min(abs(log(best.total_s / one.total_s)) for one in chosen) <= MOST + 1e-9
    assert sorted(map(key, [best, *others])) == sorted(map(key, found))


def key(one):
    """Return the fields that a correction does not change."""
    return one.backend, one.workers, one.chunksize, str(one.refused)


@given(residuals, candidates)
def test_forecasts_stay_forecasts(said_of, found):
    _, (best, others, *_) = narrowed(fit_of(said_of), found)
    for one in (best, *others):
        assert one.low_s <= one.total_s <= one.high_s
        parts = one.breakdown
        assert sum(getattr(parts, name) for name in parts.__dataclass_fields__) == pytest.approx(one.total_s)


def test_another_candidate_is_chosen_when_history_is_clear_about_it():
    model, rival = candidate("processes", total_s=0.5), candidate("threads", total_s=0.55)
    best, others, model_s, said = fit_of({"pool": 0.5}).narrow(model, [rival], WORK, HERE, 1000)
    assert best is rival
    assert others[0].total_s == pytest.approx(0.5 * exp(0.5))
    assert model_s == 0.55
    assert "chose another candidate" in said
    assert "100 runs of 10 functions" in said


def test_a_small_gain_changes_the_forecast_only():
    model, rival = candidate("processes", total_s=0.5), candidate("threads", total_s=0.51)
    best, _, model_s, said = fit_of({"pool": 0.01}).narrow(model, [rival], WORK, HERE, 1000)
    assert best.backend == "processes"
    assert best.total_s == pytest.approx(0.5 * exp(0.01))
    assert model_s == 0.5
    assert "corrected the forecast" in said


def test_a_loop_is_left_for_a_clear_gain_only():
    loop, pool = candidate("serial", 1, 0.5), candidate("processes", total_s=0.5)
    assert fit_of({"pool": log(0.92)}).narrow(loop, [pool], WORK, HERE, 1000).best.backend == "serial"
    assert fit_of({"pool": log(0.88)}).narrow(loop, [pool], WORK, HERE, 1000).best.backend == "processes"


def test_intervals_are_those_of_unseen_functions():
    one = fit_of({"pool": 0.2}).correct(case(candidate(total_s=1.0)))
    assert one.total_s == pytest.approx(exp(0.2))
    assert (one.low_s, one.high_s) == (pytest.approx(exp(0.1)), pytest.approx(exp(0.3)))


# -- kept ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "history.sqlite") + SUFFIX


def test_a_fit_comes_back_as_it_was(file):
    fit = fit_of({"pool": 0.3, "threadpool": -0.2})
    pruner.keep(file, fit)
    assert pruner.read(file) == fit


def changed(row, **changes):
    """Return the JSON of a fit, with changes in its region of pools."""
    names = ("open", "trees", "least", "most", "low", "high")
    region = [changes.get(name, value) for name, value in zip(names, row["regions"]["pool"], strict=True)]
    return json.dumps({**row, "regions": {"pool": region}})


LOOP = {"base": 0, "trees": [[[0], [0.0], [0], [0], [0.0]]]}
BEYOND = {"base": 0, "trees": [[[99, -1, -1], [0, 0, 0], [1, -1, -1], [2, -1, -1], [0, 1, 2]]]}

DAMAGE = {
    "not JSON": lambda row: "{",
    "another thing": lambda row: json.dumps({**row, "regions": [1]}),
    "no trees": lambda row: changed(row, trees=None),
    "a walk in circles": lambda row: changed(row, trees=LOOP),
    "a feature too many": lambda row: changed(row, trees=BEYOND),
    "not finite": lambda row: changed(row, trees={"base": nan, "trees": []}),
    "infinite": lambda row: changed(row, low=-inf),
    "a short range": lambda row: changed(row, least=[0.0]),
    "text": lambda row: changed(row, most=["a"] * len(row["features"])),
    "no gate": lambda row: changed(row, open="yes"),
    "no region": lambda row: json.dumps({**row, "regions": {"pool": "open"}}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_a_warning_at_most(file, kind):
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(DAMAGE[kind](fit_of({"pool": 0.3}).to_dict()))
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert pruner.read(file) is None


@pytest.mark.parametrize("other", [{"format": 0}, {"features": ["colour"]}])
def test_another_versions_fit_is_not_used(file, other, recwarn):
    with open(file, "w", encoding="utf-8") as stream:
        json.dump({**fit_of({"pool": 0.3}).to_dict(), **other}, stream)
    assert pruner.read(file) is None
    assert not recwarn.list


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["regions", "runs", "functions", "features"]), json_values)
def test_nothing_that_json_can_hold_gets_through(name, value):
    row = fit_of({"pool": 0.3}).to_dict()
    found = Pruner.from_dict({**row, name: value})
    assert found is None or isinstance(found.correct(case(candidate())).total_s, float)


def test_a_fit_is_read_anew_when_it_changes(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    assert pruner.known(history) is None
    pruner.keep(file, fit_of({"pool": 0.3}))
    assert list(pruner.known(history).regions) == ["pool"]
    pruner.keep(file, fit_of({"pool": 0.3, "loop": 0.1}))
    assert set(pruner.known(history).regions) == {"pool", "loop"}
    assert pruner.forget(history)
    assert pruner.known(history) is None
    assert not pruner.forget(history)


def test_off_is_off(monkeypatch):
    assert pruner.known(History("off")) is None
    monkeypatch.setenv("AMORSIZE_HISTORY", "off")
    assert pruner.known(None) is None


# -- in optimize() ---------------------------------------------------------------------------------------------------


def spin(x):
    return sum(range(5_000 + x % 3))


def test_optimize_says_what_history_says(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    silent = amorsize.optimize(spin, range(400), history=history)
    assert "history" not in silent.reason
    pruner.keep(file, fit_of({"pool": 0.3, "loop": 0.3, "threadpool": 0.3}))
    plan = amorsize.optimize(spin, range(400), history=history)
    assert "history (100 runs of 10 functions) corrected the forecast" in plan.reason
    assert plan.reason in plan.explain()
    low, high = plan.predicted_interval_s
    assert (low / plan.predicted_s, high / plan.predicted_s) == (pytest.approx(exp(-0.1)), pytest.approx(exp(0.1)))
    off = amorsize.optimize(spin, range(400), history=History("off"))
    assert "history" not in off.reason


def test_what_a_plans_pool_takes_is_held_against_the_model_too(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    pruner.keep(file, fit_of({"pool": 0.3, "loop": 0.3, "threadpool": 0.3}))
    plan = amorsize.optimize(spin, list(range(400)), history=history)
    assert plan.predicted_s == pytest.approx(plan.model_s * exp(0.3))
    with plan.pool() as pool:
        pool.map(spin, plan.data)
    (row,) = history.runs(source="optimize")
    assert row.predicted_s == pytest.approx(plan.model_s, rel=1e-4)
    assert row.extra["pruned_s"] == pytest.approx(plan.predicted_s, rel=1e-4)
    assert plan.backend == "serial" or 98 <= sum(row.extra["parts"]) <= 102


def test_next_to_nothing_is_planned_without_history(tmp_path, file):
    pruner.keep(file, fit_of({"loop": 1.0}))
    plan = amorsize.optimize(abs, range(10), history=History(tmp_path / "history.sqlite"))
    assert "history" not in plan.reason


def test_a_trial_of_tune_is_a_row_and_knows_what_history_said(tmp_path, file):
    history = History(tmp_path / "history.sqlite")
    pruner.keep(file, fit_of({"pool": 0.3, "threadpool": 0.3}))
    plan = amorsize.tune(spin, range(60), max_workers=2, max_seconds=0.3, history=history)
    rows = history.runs(source="tune")
    assert [row.clock_s for row in rows] == pytest.approx([trial.seconds for trial in plan.trials], rel=1e-4)
    for row in rows:
        factor = row.extra.get("pruned_s", row.predicted_s) / row.predicted_s
        assert factor == pytest.approx(1.0 if row.backend == "serial" else exp(0.3), rel=1e-4)


def test_trials_are_at_most_a_quarter_of_the_grid_where_history_speaks(tmp_path, file):
    from amorsize.options import check
    from amorsize.plan.trials.subset import Subset
    from amorsize.plan.trials.tune import Field

    history = History(tmp_path / "history.sqlite")
    pruner.keep(file, fit_of({"pool": 0.1}))
    plan = amorsize.optimize(spin, range(400), max_workers=2, history=history)
    request = check(spin, range(400), max_workers=2, history=history)
    field = Field(request, Subset(plan=plan, items=range(400), n_items=400))
    tuned = amorsize.tune(spin, range(400), max_workers=2, max_seconds=0.3, history=history)
    assert len(tuned.trials) <= max(1, len(field.grid) // 4)


def test_a_refused_candidate_is_not_corrected():
    one = candidate(refused="too much memory")
    assert fit_of({"pool": -1.0}).correct(case(one)) is one
    assert fit_of({"pool": -1.0}).correct(case(replace(one, refused=None))) is not one
