"""Other packages' executors: loky, and executorlib."""

from __future__ import annotations

import pytest
from engine_contract import CHECKS, name_of, square

import amorsize


@pytest.fixture(scope="module")
def of_loky():
    loky = pytest.importorskip("loky")
    executor = loky.ProcessPoolExecutor(2)
    yield executor
    executor.shutdown(wait=True)


@pytest.fixture(scope="module")
def of_executorlib():
    executorlib = pytest.importorskip("executorlib")
    with executorlib.SingleNodeExecutor(max_workers=2, block_allocation=True) as executor:
        yield executor


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract_of_loky(check, of_loky, tmp_path):
    check(of_loky, tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract_of_executorlib(check, of_executorlib, tmp_path):
    check(of_executorlib, tmp_path)


def test_places(of_loky, of_executorlib):
    for executor in (of_loky, of_executorlib):
        assert amorsize.execute(square, range(50), backend=executor, return_plan=True)[1].n_jobs == 2
