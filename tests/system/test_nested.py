"""A copy of this process that an item has forked ends after that item, whatever the items are held in."""

from __future__ import annotations

import array
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import amorsize
from amorsize.system import nested
from amorsize.system.machine import lately
from amorsize.system.start_methods import share_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


class Lazy:
    """Gives its items by an iterator that has a state of another kind."""

    def __iter__(self):
        return zip(range(5), range(5), strict=True)


KINDS = (
    [1, 2, 3, 4, 5],
    (1, 2, 3, 4, 5),
    range(5),
    range(10**30, 10**30 + 5),
    "abcde",
    "äbcde",
    b"abcde",
    bytearray(b"abcde"),
    memoryview(b"abcde"),
    array.array("d", range(5)),
    Lazy(),
)


@pytest.mark.parametrize("items", KINDS, ids=lambda items: type(items).__name__)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_copy_gets_no_further_item(items, at):
    forks, walk, seen, pid = nested.forks, nested.walk_over(items), 0, -1
    for index, _ in enumerate(walk):
        seen += 1
        if index == at:
            pid = os.fork()
    if pid == 0:
        os._exit(seen if nested.forks == forks + 1 else 99)
    nested.walks.remove(walk)
    assert seen == 5
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == at + 1


def test_nothing_is_left_of_a_walk():
    assert nested.walks == []


def test_a_call_within_a_task_of_an_executor_has_one_core():
    def cores(_):
        return share_of(lately()).usable_cores

    with ThreadPoolExecutor(2) as pool:
        assert set(amorsize.execute(cores, range(20), backend=pool)) == {1.0}
        assert pool.submit(nested.share).result() is None
    assert nested.share() is None


def test_so_has_one_within_a_task_that_dask_runs(monkeypatch):
    class Worker:
        is_one = True

        @classmethod
        def get_worker(cls):
            if not cls.is_one:
                raise ValueError("No worker found")

    monkeypatch.setitem(sys.modules, "distributed.worker", Worker)
    assert nested.share() == 1.0
    Worker.is_one = False
    assert nested.share() is None
