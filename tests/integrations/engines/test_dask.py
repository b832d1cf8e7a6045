"""``backend=client``: a real LocalCluster of two worker processes."""

from __future__ import annotations

import pytest
from engine_contract import CHECKS, LOSSES, name_of, square

import amorsize
from amorsize.integrations.dask import Dask

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def in_process():
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster) as made:
        yield made


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract(check, client, tmp_path):
    check(client, tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract_in_one_process(check, in_process, tmp_path):
    check(in_process, tmp_path)


def test_what_get_executor_returns_is_the_same_cluster(client):
    results, plan = amorsize.execute(square, range(50), backend=client.get_executor(), return_plan=True)
    assert results == [x * x for x in range(50)]
    assert plan.n_jobs == 2


def test_the_places_are_those_of_the_cluster(client):
    assert amorsize.execute(square, range(50), backend=client, return_plan=True)[1].n_jobs == 2


def test_a_time_limit_is_refused_with_the_reason(client):
    with pytest.raises(ValueError, match=r"timeout: .*cannot"):
        amorsize.execute(square, range(5), backend=client, timeout=1)


@pytest.mark.parametrize("check", LOSSES, ids=name_of)
def test_losses(check, client, tmp_path):
    check(client, tmp_path)


def test_a_large_function_that_is_lost_with_its_workers_goes_with_the_tasks(client, monkeypatch):
    share = Dask.share

    def share_and_lose(self, func):
        handle = share(self, func)
        client.cancel([handle], force=True)
        return handle

    monkeypatch.setattr(Dask, "share", share_and_lose)
    table = bytes(1 << 20)
    assert amorsize.execute(lambda x: len(table) + x, range(20), backend=client) == [x + (1 << 20) for x in range(20)]


def test_a_closed_client_says_so(client):
    other = distributed.Client(client.scheduler.address)
    other.close()
    with pytest.raises(Exception, match=r".") as caught:
        amorsize.execute(square, range(5), backend=other)
    assert any("yours to mend" in text for text in getattr(caught.value, "__notes__", ()))
