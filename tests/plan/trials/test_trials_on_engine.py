"""``validate()`` and ``tune()`` on the user's executor: tasks of several sizes, and func never in the caller."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

import amorsize
from amorsize.backends.engines import Facts


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


class Seen:
    """A function that notes the threads that call it."""

    def __init__(self, nap_s=0.0):
        self.threads = set()
        self.nap_s = nap_s

    def __call__(self, item):
        time.sleep(self.nap_s)
        self.threads.add(threading.get_ident())
        return item + 1


def test_validate_compares_the_plans_tasks_with_execute_and_one_task_for_each_item(pool):
    func = Seen()
    found = amorsize.validate(func, range(200), backend=pool, max_seconds=1, rounds=2)
    assert [one.name for one in found.contenders] == ["loop", "plan", "execute", "tasks"]
    assert [len(one.times_s) for one in found.contenders] == [0, 2, 2, 2]
    assert "may not be called" in found["loop"].why_not
    assert found.same_results
    assert found.plan.backend == "executor"
    assert found.forecast_error is not None
    assert "one task for each item" in found.explain()
    assert threading.get_ident() not in func.threads


def test_validate_takes_as_many_items_as_fit(pool):
    found = amorsize.validate(Seen(), range(10**9), backend=pool, max_seconds=0.2, rounds=1)
    assert 2 <= found.n_used < 10**6
    assert amorsize.validate(Seen(), [], backend=pool).n_used == 0


def test_a_profile_is_not_made_where_func_may_not_run(pool):
    found = amorsize.validate(Seen(), range(20), backend=pool, max_seconds=0.2, rounds=1, profile="cProfile")
    assert found.profile is None
    assert any("no profile" in text for text in found.warnings)


def test_tune_tries_sizes_of_tasks(pool, monkeypatch):
    # A task costs as much as an item, so that several sizes are about as good.
    monkeypatch.setattr("amorsize.plan.trials.tune.facts_of", lambda *_: Facts(2, True, 1e-3, 1e-3))
    func = Seen(nap_s=1e-3)
    plan = amorsize.tune(func, range(100), backend=pool, max_seconds=1)
    assert plan.backend == "executor"
    assert len({trial.chunksize for trial in plan.trials}) > 1
    assert {trial.backend for trial in plan.trials} == {"executor"}
    assert plan.chunksize in {trial.chunksize for trial in plan.trials}
    low_s, high_s = plan.predicted_interval_s
    assert low_s < plan.predicted_s < high_s
    assert threading.get_ident() not in func.threads


def test_tune_gives_back_the_items_of_an_iterator(pool):
    plan = amorsize.tune(Seen(), (number for number in count()), backend=pool, max_seconds=0.2)
    assert plan.predicted_s is None
    data = iter(plan.data)
    assert [next(data) for _ in range(50)] == list(range(50))


def test_a_trial_sends_tasks_of_its_size_and_none_ends_early(pool, monkeypatch):
    monkeypatch.setattr("amorsize.backends.futures.LONG", 0.0)
    seen = []

    class Counting:
        def submit(self, func, *args):
            seen.append(args)
            return pool.submit(func, *args)

    from amorsize.options import check
    from amorsize.plan.trials.ways import on_engine

    request = check(abs, range(100), backend=Counting())
    assert on_engine(request, range(100), 7) == list(range(100))
    sizes = [len(args[2].held) for args in seen if args and args[0] is not None]
    assert sizes == [7] * 14 + [2]
