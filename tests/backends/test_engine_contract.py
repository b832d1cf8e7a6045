"""The contract that every engine is held to, over executors that need no other package."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from engine_contract import CHECKS

from amorsize.testing import HostileExecutor

# Threads get the objects themselves.
PICKLING = ("what_cannot_be_pickled_is_named",)


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_contract(kind, tmp_path):
    """In one test, since the workers take longer to start than all of it."""
    if kind == "processes":
        executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    else:
        executor = HostileExecutor(2, delays=0.05, reorders=0.3, delay_s=1e-3)
    with executor:
        for check in CHECKS:
            if kind == "threads" and check.__name__ in PICKLING:
                continue
            folder = tmp_path / check.__name__
            folder.mkdir()
            check(executor, folder)
