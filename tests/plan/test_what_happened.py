"""A plan that has run knows what it took, and shows it beside its forecast; and what was tried and left again."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest

import amorsize
from amorsize.facts import Attempt, Breakdown, Forecast, Observation, Ran, Sample
from amorsize.frozen import replace
from amorsize.model.decide import Decider
from amorsize.plan import pool_watch
from amorsize.plan.plan import Plan
from amorsize.run.run_summary import SLOWER, TRIAL, RunSummary
from tests.helpers import engine_functions as ef

ATTEMPT = Attempt(
    backend="processes", workers=2, start_method="fork", items=12, wall_s=0.3, cost_s=0.18, ready_s=0.01, why=SLOWER
)


def a_plan(**changes) -> Plan:
    facts = {
        "backend": "processes",
        "n_jobs": 2,
        "chunksize": 5,
        "start_method": "spawn",
        "estimated_speedup": 2.0,
        "serial_s": 1.0,
        "predicted_s": 0.5,
        "predicted_interval_s": (0.45, 0.55),
        "took_s": 2.0,
        "workers_ready_s": 1.5,
        "withdrawn": (ATTEMPT,),
    }
    return Plan(**{**facts, **changes})


class TestAPool:
    @staticmethod
    def ticks(monkeypatch):
        """Let each look at the clock take a second."""
        at_s = iter(range(100))
        monkeypatch.setattr(pool_watch, "perf_counter", lambda: float(next(at_s)))

    @pytest.mark.parametrize("history", [None, amorsize.History("off")])
    def test_start_map_and_end_count_and_not_what_is_between_them(self, monkeypatch, history):
        data = list(range(10))
        plan = amorsize.optimize(ef.square, data, history=history)
        assert plan.took_s is None
        self.ticks(monkeypatch)
        with plan.pool() as pool:
            pool.map(ef.square, plan.data)
            assert plan.took_s == 2.0
        assert plan.took_s == 3.0

    def test_of_a_generator_too(self):
        plan = amorsize.optimize(ef.square, iter(range(10)))
        with plan.pool() as pool:
            assert pool.map(ef.square, plan.data) == [x * x for x in range(10)]
        assert plan.took_s > 0

    def test_by_real_workers(self):
        plan = amorsize.optimize(ef.square, range(10), backend="processes", max_workers=2)
        with plan.pool() as pool:
            pool.map(ef.square, plan.data)
        assert plan.took_s > 0
        assert "took" in plan.explain()

    @pytest.mark.parametrize(
        "use",
        [
            lambda pool, plan: pool.map(abs, plan.data),
            lambda pool, plan: pool.map(ef.square, [1]),
            lambda pool, plan: pool.map(ef.square, plan.data, plan.chunksize + 1),
            lambda pool, plan: [pool.map(ef.square, plan.data) for _ in range(2)],
            lambda pool, plan: (pool.apply(abs, (1,)), pool.map(ef.square, plan.data)),
        ],
    )
    def test_other_work_is_not_what_the_plan_took(self, use):
        plan = amorsize.optimize(ef.square, range(1000))
        with plan.pool() as pool:
            use(pool, plan)
        assert plan.took_s is None

    def test_a_plan_that_has_run_equals_itself_before(self):
        plan = a_plan(took_s=None)
        copy = pickle.loads(pickle.dumps(plan))
        plan.ran(3.0)
        assert plan == copy
        assert hash(plan) == hash(copy)
        assert pickle.loads(pickle.dumps(plan)).took_s == 3.0


class TestARun:
    def test_of_a_loop_there_is_a_clock(self):
        _, plan = amorsize.execute(ef.square, range(100), backend="serial", return_plan=True)
        assert plan.took_s > 0
        assert plan.withdrawn == ()
        assert plan.workers_ready_s is None
        interval = plan.predicted_interval_s
        assert interval is None or interval[0] < interval[1]

    @pytest.mark.parametrize("backend", ["threads", "processes"])
    def test_of_workers_there_is_when_they_were_ready(self, backend):
        _, plan = amorsize.execute(ef.square, range(100), backend=backend, return_plan=True)
        assert 0 < plan.workers_ready_s <= plan.took_s

    def test_async(self):
        _, plan = asyncio.run(amorsize.execute_async(ef.square, range(100), return_plan=True))
        assert plan.took_s > 0


def decided(item_s: float, items: int = 10) -> Decider:
    decider = Decider(1000, indexable=True, most_cores=2)
    decider.saw(Observation(0, items, items * item_s, items * item_s, items * item_s))
    return decider


GO = Forecast(
    backend="processes", workers=2, chunksize=1, start_method="fork", total_s=1.0, low_s=0.9, high_s=1.1,
    breakdown=Breakdown(),
)  # fmt: skip


class TestWhatAnAttemptCost:
    @pytest.mark.parametrize(
        ("wall_s", "ran", "cost_s", "why"),
        [
            (0.5, Ran(items=10, ready_s=0.1), 0.4, SLOWER),
            (0.05, Ran(items=10, ready_s=0.1), 0.0, SLOWER),
            (0.5, Ran(items=10, ready_s=0.1, lost=4), 0.4, "its workers died"),
            (0.5, Ran(), 0.5, "no worker could start"),
            (0.5, None, 0.5, "no worker could start"),
        ],
    )
    def test_is_what_the_loop_would_not_have_taken(self, wall_s, ran, cost_s, why):
        attempt = RunSummary(decided(0.01)).attempt(GO, wall_s, ran)
        assert attempt.cost_s == pytest.approx(cost_s)
        assert attempt.why == why

    def test_of_a_map_without_a_sample_nothing_is_made_up(self):
        summary = RunSummary(Decider(10, indexable=True, most_cores=2))
        assert summary.attempt(GO, 0.5, Ran(items=5, ready_s=0.1)).cost_s == 0.0

    def test_a_trial_of_threads_is_withdrawn_unless_threads_are_chosen(self):
        summary = RunSummary(decided(0.01))
        summary.trials.append(summary.attempt(GO, 0.5, Ran(items=2, ready_s=0.0), TRIAL))
        assert [each.why for each in summary.withdrawn()] == [TRIAL]
        summary.go = GO
        assert summary.withdrawn()
        summary.go = Forecast(
            backend="threads", workers=2, chunksize=1, start_method=None, total_s=1.0, low_s=0.9, high_s=1.1,
            breakdown=Breakdown(),
        )  # fmt: skip
        assert summary.withdrawn() == ()

    @pytest.mark.parametrize(
        ("why", "weighed"), [(SLOWER, ("serial", "processes")), ("no worker could start", ("serial",))]
    )
    def test_a_backend_that_was_slow_here_may_pay_on_more_cores(self, why, weighed):
        summary = RunSummary(decided(0.01))
        summary.attempts.append(summary.attempt(GO, 0.5, Ran(items=10, ready_s=0.1), why))
        assert summary.weighed(("serial",)) == weighed
        assert summary.weighed(("serial", "processes")) == ("serial", "processes")


class TestThreadsThatTakeTurns:
    @pytest.mark.parametrize(
        ("backend", "workers", "items", "wall_s", "turns"),
        [
            # 100 items of 10 ms one after the other, or eight at a time.
            ("threads", 8, 100, 1.0, True),
            ("threads", 8, 100, 0.125, False),
            ("threads", 1, 100, 1.0, False),
            ("processes", 8, 100, 1.0, False),
            ("threads", 8, 4, 0.04, False),
            ("threads", 8, 100, 0.0, False),
            # Two at a time, each of which took 40 ms.
            ("threads", 2, 100, 2.0, False),
        ],
    )
    def test_is_seen_by_the_clock(self, backend, workers, items, wall_s, turns):
        summary = RunSummary(decided(0.01))
        summary.go = replace(GO, backend=backend, workers=workers)
        summary.sample = Sample(n_sampled=3, item_s=0.01)
        assert not summary.took_turns
        summary.ran = Ran(items=items, wall_s=wall_s, ready_s=0.0)
        assert summary.took_turns == turns

    @pytest.mark.parametrize("other", [{"was_held_back": True}, {"read_item_s": 0.01}])
    def test_is_not_said_where_something_else_held_them_back(self, other):
        """A rate, or an iterator that takes as long as an item."""
        summary = RunSummary(decided(0.01))
        summary.go, summary.sample = replace(GO, backend="threads", workers=8), Sample(n_sampled=3, item_s=0.01)
        summary.ran = Ran(items=100, wall_s=1.0, ready_s=0.0)
        for name, value in other.items():
            setattr(summary, name, value)
        assert not summary.took_turns


class TestShown:
    def test_in_explain(self):
        told = [line.split(None, 1) for line in a_plan().explain().splitlines()[2:]]
        assert ["took", "2 s, 4.00 times the forecast, outside its interval"] in told
        assert ["ready", "the first worker 1.5 s after its start"] in told
        assert [
            "withdrawn",
            "2 processes (fork): 12 items in 300 ms, which cost 180 ms (slower than the loop)",
        ] in told

    def test_within_the_interval(self):
        assert "510 ms, 1.02 times the forecast, within its interval" in a_plan(took_s=0.51).explain()

    def test_without_a_forecast(self):
        told = a_plan(predicted_s=None, predicted_interval_s=None, withdrawn=()).explain()
        assert "took       2 s\n" in told

    def test_nothing_before_it_has_run(self):
        told = a_plan(took_s=None, workers_ready_s=None, withdrawn=()).explain()
        assert not {"took", "ready", "withdrawn"} & {line.split()[0] for line in told.splitlines() if line.strip()}

    def test_in_html(self):
        assert "outside its interval" in a_plan()._repr_html_()
        assert "which cost 180 ms" in a_plan()._repr_html_()

    def test_as_json(self):
        found = json.loads(a_plan().to_json())
        assert (found["took_s"], found["workers_ready_s"]) == (2.0, 1.5)
        assert found["withdrawn"][0]["cost_s"] == 0.18
