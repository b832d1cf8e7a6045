"""``backend=executor``: the workers of the user's executor, driven by the same schedule."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import engine_functions as ef
import pytest

import amorsize
from amorsize.errors import TransferError
from amorsize.testing import HostileExecutor


@pytest.fixture(params=["processes", "threads", "hostile"])
def executor(request) -> Iterator[Executor]:
    if request.param == "threads":
        made: Executor = ThreadPoolExecutor(3)
    elif request.param == "hostile":
        made = HostileExecutor(3, delays=0.2, reorders=0.5, delay_s=1e-3)
    else:
        made = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    with made:
        yield made


@pytest.mark.parametrize("among", [lambda e: e, lambda e: (e,), lambda e: (e, "serial")], ids=["it", "in", "or-serial"])
class TestResults:
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_are_those_of_map(self, executor, among, kind):
        assert amorsize.execute(ef.square, kind(range(300)), backend=among(executor)) == [x * x for x in range(300)]

    def test_of_a_stream(self, executor, among):
        assert list(amorsize.stream(ef.square, range(300), backend=among(executor))) == [x * x for x in range(300)]

    def test_of_a_lambda(self, executor, among):
        by = 3
        assert amorsize.execute(lambda x: x + by, range(5), backend=among(executor)) == [3, 4, 5, 6, 7]

    def test_of_nothing(self, executor, among):
        assert amorsize.execute(ef.square, [], backend=among(executor)) == []

    def test_an_exception_keeps_its_type_and_names_the_item(self, executor, among):
        with pytest.raises(ef.Refused) as caught:
            amorsize.execute(partial(ef.refuse, (7,)), range(20), backend=among(executor))
        assert "item 7" in caught.value.__notes__[0]

    def test_failures_may_be_collected_or_repeated(self, executor, among, tmp_path):
        got = amorsize.execute(partial(ef.refuse, (7,)), range(20), backend=among(executor), on_error="collect")
        assert [i for i, r in enumerate(got) if isinstance(r, amorsize.Failure)] == [7]
        fails_once = partial(ef.fail_first, str(tmp_path), 1)
        assert amorsize.execute(fails_once, [3], backend=among(executor), retries=1) == [9]


def test_it_alone_runs_everything(executor):
    here = (os.getpid(), threading.get_ident())
    ran, plan = amorsize.execute(ef.where, range(30), backend=executor, return_plan=True)
    assert here not in ran
    assert plan.backend == "executor"
    assert plan.n_jobs <= 3


def test_it_is_not_shut_down(executor):
    amorsize.execute(ef.square, range(10), backend=executor)
    assert executor.submit(ef.square, 3).result() == 9


def test_a_stream_that_is_closed_leaves_it_usable(executor):
    results = amorsize.stream(ef.square, iter(range(10_000)), backend=executor)
    next(results)
    results.close()
    assert executor.submit(ef.square, 3).result() == 9


def test_an_item_that_cannot_be_sent_fails_alone():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        data = [1, threading.Lock(), 3]
        got = amorsize.execute(ef.text, data, backend=executor, on_error="collect")
        assert (got[0], got[2]) == ("<1>", "<3>")
        assert isinstance(got[1].exception, TransferError)


def test_one_that_breaks_says_so():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        with pytest.raises(BrokenExecutor) as caught:
            amorsize.execute(partial(ef.die_at, os.getpid(), "SIGKILL", (2,)), range(5), backend=executor)
        assert "under way" in caught.value.__notes__[0]


def test_one_that_is_broken_or_shut_when_it_is_asked_says_so():
    """``submit()`` itself raises then, and the exception had no note."""
    with HostileExecutor(loses=1.0) as executor:
        with pytest.raises(BrokenExecutor):
            executor.submit(abs, -1).result()
        with pytest.raises(BrokenExecutor) as caught:
            amorsize.execute(ef.square, range(5), backend=executor)
        assert "the executor is yours to mend" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError) as caught:
        amorsize.execute(ef.square, range(5), backend=executor)
    assert "items 0 to" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda e: {"backend": (e, e)}, ValueError),
        (lambda e: {"backend": (e, 5)}, TypeError),
        (lambda e: {"backend": (e, "threads", "processes")}, ValueError),
        (lambda e: {"backend": "executor"}, ValueError),
        (lambda e: {"backend": e, "timeout": 1}, ValueError),
    ],
)
def test_wrong_ones_are_refused(executor, wrong, error):
    with pytest.raises(error):
        amorsize.execute(ef.square, [1], **wrong(executor))


def test_optimize_plans_for_it(executor):
    plan = amorsize.optimize(ef.square, range(40), backend=executor)
    assert plan.backend == "executor"
    assert plan.predicted_s > 0
    with pytest.raises(ValueError, match=r"backend: an executor can be planned for alone.*execute"):
        amorsize.validate(ef.square, range(40), backend=(executor, "serial"))


def test_the_rest_of_a_task_that_ends_early_runs_elsewhere_and_nothing_twice(monkeypatch):
    monkeypatch.setattr("amorsize.backends.futures.LONG", 0.0)
    seen = []
    with ThreadPoolExecutor(2) as pool:
        results = amorsize.execute(lambda x: seen.append(x) or -x, range(300), backend=pool)
    assert results == [-x for x in range(300)]
    assert sorted(seen) == list(range(300))


def test_the_first_tasks_hold_several_small_items_but_one_large_one():
    sizes = []

    class Counting:
        def submit(self, func, *args):
            if args and args[0] is not None:
                sizes.append(len(args[2].held))
            return pool.submit(func, *args)

    with ThreadPoolExecutor(2) as pool:
        amorsize.execute(abs, range(1000), backend=Counting(), max_workers=2)
        assert sizes[0] == 16
        del sizes[:]
        amorsize.execute(abs, [7] * 20, backend=Counting(), max_workers=2)
        assert sizes[0] == 2
        del sizes[:]
        amorsize.execute(len, [bytes(2_000_000)] * 100, backend=Counting(), max_workers=2)
        assert sizes[0] == 1
