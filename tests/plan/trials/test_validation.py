"""Conclusions from invented times: the verdict and its words."""

from __future__ import annotations

import json

import pytest

from amorsize.plan.plan import Plan
from amorsize.plan.trials.race import Contender
from amorsize.plan.trials.validation import Validation

JITTER = (1.0, 1.01, 0.99, 1.02, 0.98)
NAMES = {
    "loop": "a plain loop",
    "plan": "optimize(): 2 processes (fork), chunks of 10",
    "execute": "execute()",
    "pool": "multiprocessing.Pool(2) (fork)",
    "threads": "ThreadPoolExecutor()",
}


def a_plan(predicted_s=0.5, interval=(0.45, 0.55), backend="processes"):
    return Plan(
        backend=backend, n_jobs=2, chunksize=10, start_method="fork", predicted_s=predicted_s, serial_s=1.0,
        predicted_interval_s=interval, estimated_speedup=2.0,
    )  # fmt: skip


def a_validation(*, said=None, rounds=5, same=(), rest=None, **seconds):
    """Return a validation of a plan that ``said`` this, with the seconds of each contender; None: not run."""
    taken = {"loop": 1.0, "plan": 0.5, "execute": 0.5, "pool": 0.52, "threads": 1.1, **seconds}
    contenders = tuple(
        Contender(
            name=name,
            what=NAMES[name],
            times_s=tuple(took * jitter for jitter in JITTER[:rounds]) if took else (),
            why_not=None if took else "it may not",
            same=None if not took else name not in same,
        )
        for name, took in taken.items()
    )
    return Validation(
        func="f", n_used=100, n_items=100, plan=said or a_plan(), contenders=contenders, took_s=3.0, **(rest or {})
    )


def test_all_well():
    found = a_validation()
    assert found.ok
    assert found.verdict == (
        "Processes on 2 workers: forecast 500 ms, clock 500 ms (0% off, inside the interval). "
        "execute() took 500 ms, 2.0 times as fast as the loop; nothing tried was faster."
    )
    assert (found.regret_execute, found.regret_plan, found.forecast_error) == pytest.approx((1.0, 1.0, 0.0))
    assert found.slower_than_loop is False
    assert found.rounds == 5


@pytest.mark.parametrize(
    ("clock", "ok", "said"),
    [
        (0.52, True, "clock 520 ms (4% off, inside the interval)."),
        (0.60, True, "clock 600 ms (20% off, outside the interval)."),
        (0.70, False, "The forecast was wrong: 1.4 times too short."),
        (0.25, False, "The forecast was wrong: 2.0 times too long."),
    ],
)
def test_the_forecast(clock, ok, said):
    found = a_validation_with_clock(clock)
    assert said in found.verdict
    assert found.forecast_right is ok
    assert found.ok is ok


def a_validation_with_clock(clock):
    """Return a validation in which the plan's pool takes so long, and no rival is faster."""
    return a_validation(plan=clock, execute=clock, pool=clock, loop=2 * clock)


def test_twice_too_long_is_as_wrong_as_twice_too_short():
    assert a_validation_with_clock(0.25).forecast_error == pytest.approx(a_validation_with_clock(1.0).forecast_error)
    assert a_validation_with_clock(1.0).forecast_factor == pytest.approx(2.0)


def test_two_milliseconds_do_not_make_a_forecast_wrong():
    said = a_plan(50e-6, (45e-6, 55e-6), backend="serial")
    found = a_validation(said=said, loop=1e-4, plan=1e-4, execute=3e-4, pool=None, threads=None)
    assert found.ok
    assert "execute() took 300 µs, 200 µs longer than the loop, which does not matter" in found.verdict


def test_slower_than_the_loop_is_named_once():
    found = a_validation(loop=0.4)
    assert not found.ok
    assert found.slower_than_loop
    assert "execute() took 500 ms; the plain loop was faster: 400 ms, execute() took 25% longer." in found.verdict
    assert "The plan lost to the plain loop (400 ms): its pool took 25% longer." in found.verdict
    assert found.best is found["loop"]


def test_a_rival_that_wins_is_named():
    found = a_validation(threads=0.1)
    assert not found.ok
    assert "ThreadPoolExecutor() was faster: 100 ms, execute() took 5.0 times as long." in found.verdict
    assert found.regret_execute == pytest.approx(5.0)


def test_the_plan_is_not_held_against_execute():
    found = a_validation(execute=0.3)
    assert found.ok
    assert found.regret_plan == pytest.approx(5 / 3)
    assert found.lost_to("plan") == ()


def test_a_difference_within_noise_is_none():
    found = a_validation(pool=0.49)
    assert found.ok
    assert "nothing tried was noticeably faster" in found.verdict


def test_a_loop_that_backend_rules_out_only_serves_to_compare():
    contenders = tuple(
        Contender(
            name=name, what=NAMES[name], times_s=tuple(took * j for j in JITTER), same=True, allowed=name != "loop"
        )
        for name, took in (("loop", 0.1), ("plan", 0.5), ("execute", 0.5))
    )
    found = Validation(func="f", n_used=1, n_items=1, plan=a_plan(), contenders=contenders)
    assert found.best is not found["loop"]
    assert found.lost_to("execute") == ()
    assert "execute() took 500 ms, 5.0 times as long as the loop" in found.verdict
    assert found.ok


def test_other_results_are_the_worst():
    found = a_validation(same=("pool", "threads"))
    assert not found.ok
    assert found.same_results is False
    assert found.verdict.startswith(
        "The results differ: those of multiprocessing.Pool(2) (fork) and ThreadPoolExecutor() are not the first run's."
    )
    assert "(results differ)" in found.explain()


def test_a_busy_machine_is_a_doubt():
    found = a_validation(rest={"busy": 0.4})
    assert "Other programs had 40% of the machine meanwhile" in found.verdict
    assert "had 40% of the machine's CPU time" in found.explain()
    assert not a_validation(rest={"busy": 0.05}).too_busy


def test_few_rounds_are_a_doubt():
    assert "There was time for 1 round only" in a_validation(rounds=1).verdict
    assert "only" not in a_validation(rounds=3).verdict


def test_without_the_loop_nothing_is_said_of_it():
    found = a_validation(loop=None)
    assert (found.speedup, found.slower_than_loop) == (None, None)
    assert "loop" not in found.verdict
    assert "not run: it may not" in found.explain()
    assert found.ok


def test_without_items():
    found = Validation(func="f", n_used=0, n_items=0, plan=a_plan(0.0, (0.0, 0.0)))
    assert (found.ok, found.rounds, found.best, found.clock_s) == (True, 0, None, None)
    assert found.verdict == "There are no items: nothing could be timed."
    assert json.loads(found.to_json())["contenders"] == []


@pytest.mark.parametrize(
    ("used", "items", "said"), [(9, 9, "all 9"), (9, None, "the first 9 of an iterator"), (9, 5000, "9 of 5,000")]
)
def test_how_many_items_is_said(used, items, said):
    found = Validation(func="f", n_used=used, n_items=items, plan=a_plan(), contenders=a_validation().contenders)
    assert said in found.explain()


def test_it_can_be_stored_and_shown():
    found = a_validation(threads=None, rest={"warnings": ("beware <of> this",)})
    told = json.loads(found.to_json())
    assert told["verdict"] == found.verdict
    assert told["contenders"][1]["times_s"] == list(found["plan"].times_s)
    assert told["plan"]["n_jobs"] == 2
    page = found._repr_html_()
    assert "beware &lt;of&gt; this" in page
    assert "not run: it may not" in page
    assert str(found) == found.explain()
    assert "warning    beware" in str(found)
    with pytest.raises(KeyError):
        found["joblib"]


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        a_validation().n_used = 3
