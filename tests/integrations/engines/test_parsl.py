"""``backend=`` a DataFlowKernel or a ParslPoolExecutor: two HTEX of one worker each, with their own environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from engine_contract import CHECKS, LOSSES, name_of, square

import amorsize

parsl = pytest.importorskip("parsl")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    # Parsl starts its programs by their names.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", path)
    executors = [
        HighThroughputExecutor(
            label=label,
            address="127.0.0.1",
            max_workers_per_node=1,
            cores_per_worker=0.5,
            encrypted=False,
            heartbeat_period=1,
            heartbeat_threshold=5,
            provider=LocalProvider(init_blocks=1, max_blocks=1, worker_init=f"export KIND={label}; export PATH={path}"),
        )
        for label in ("f64", "f32")
    ]
    config = Config(
        executors=executors,
        run_dir=str(tmp_path_factory.mktemp("runinfo")),
        strategy="none",
        usage_tracking=0,
        initialize_logging=False,
    )
    made = parsl.load(config)
    try:
        yield made
    finally:
        made.cleanup()
        parsl.clear()
        patch.undo()


@pytest.fixture(scope="module")
def pool(kernel):
    from parsl.concurrent import ParslPoolExecutor

    return ParslPoolExecutor(dfk=kernel, executors=["f32"])


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract(check, kernel, tmp_path):
    check(kernel, tmp_path)


def test_a_label_has_its_own_environment_and_places(pool, kernel):
    results, plan = amorsize.execute(lambda x: os.environ["KIND"], range(20), backend=pool, return_plan=True)
    assert set(results) == {"f32"}
    assert plan.n_jobs == 1
    assert amorsize.execute(square, range(40), backend=kernel, return_plan=True)[1].n_jobs == 2


@pytest.mark.parametrize("check", LOSSES, ids=name_of)
def test_losses(check, kernel, tmp_path):
    check(kernel, tmp_path)


def test_nothing_is_left_in_the_working_directory(kernel):
    assert not Path("runinfo").exists()
