"""``backend=ray``: a real cluster of two CPUs on this machine."""

from __future__ import annotations

import time

import pytest
from engine_contract import CHECKS, LOSSES, name_of, square

import amorsize
from amorsize.errors import ItemTimeoutError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def context():
    made = ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
    yield made
    ray.shutdown()


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract(check, context, tmp_path):
    check(ray, tmp_path)


@pytest.mark.parametrize("check", LOSSES, ids=name_of)
def test_losses(check, context, tmp_path):
    check(ray, tmp_path)


def test_the_context_means_the_same_and_the_places_are_its_cpus(context):
    results, plan = amorsize.execute(square, range(50), backend=context, return_plan=True)
    assert results == [x * x for x in range(50)]
    assert plan.n_jobs == 2


def test_an_item_that_runs_too_long_is_ended_alone(context):
    got = amorsize.execute(
        lambda x: time.sleep(600 if x == 3 else 0) or x, range(8), backend=ray, timeout=1.0, on_error="collect"
    )
    assert got[:3] + got[4:] == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(got[3].exception, ItemTimeoutError)


def test_without_a_cluster_it_is_refused(context):
    from amorsize.integrations.ray import Ray

    class NotConnected:
        @staticmethod
        def is_initialized():
            return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "is_initialized", NotConnected.is_initialized)
        with pytest.raises(ValueError, match=r"backend: .*ray\.init"):
            Ray(ray)
