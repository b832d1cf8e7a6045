"""A copy of this process that an item has forked ends after that item, whatever the items are held in."""

from __future__ import annotations

import array
import os

import pytest

from amorsize.system import nested

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
