"""``stream(checkpoint=)``: kept results come without running, each at its place, and the window counts none of them."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import checkpoint_functions as cf
import pytest

import amorsize
from amorsize.checkpoint.journal import read
from amorsize.facts import Failure

N = 60


@pytest.fixture
def notes(tmp_path) -> cf.Notes:
    return cf.Notes(tmp_path)


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "checkpoint")


@pytest.fixture
def step(tmp_path):
    return partial(cf.step, str(tmp_path))


SOURCES = {"range": lambda: range(N), "iterator": lambda: iter(range(N))}
WAYS = {
    "serial": {"backend": "serial"},
    "threads": {"backend": "threads", "max_workers": 2},
    "processes": {"backend": "processes", "max_workers": 2},
    "a narrow window": {"backend": "processes", "max_workers": 2, "max_ahead": 2},
}


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_only_what_is_missing_runs(notes, step, path, way, source, ordered):
    bad = (7, 8, 30, N - 1)
    notes.fail_at(*bad)
    first = list(amorsize.stream(step, source(), checkpoint=path, on_error="collect", ordered=ordered, **way))
    assert sum(isinstance(one, Failure) for one in first) == len(bad)
    assert (read(path)[0].done, read(path)[0].failed) == (N - len(bad), len(bad))
    notes.fail_at()
    notes.forget()
    found = list(amorsize.stream(step, source(), checkpoint=path, ordered=ordered, **way))
    assert (found if ordered else sorted(found)) == [x * x for x in range(N)]
    assert sorted(notes.ran()) == list(bad)
    if not ordered:
        assert found[: N - len(bad)] == [x * x for x in range(N) if x not in bad]


def test_kept_results_come_before_a_missing_item_runs(notes, step, path):
    amorsize.execute(step, range(20), checkpoint=path)
    notes.forget()
    results = amorsize.stream(step, itertools.count(), checkpoint=path)
    assert [next(results) for _ in range(20)] == [x * x for x in range(20)]
    assert notes.ran() == []
    assert next(results) == 400
    results.close()


def test_a_stream_that_is_left_goes_on_where_it_was(notes, step, path):
    results = amorsize.stream(step, itertools.count(), checkpoint=path, backend="serial")
    assert [next(results) for _ in range(30)] == [x * x for x in range(30)]
    results.close()
    ran = len(notes.ran())
    assert read(path)[0].done == ran
    results = amorsize.stream(step, itertools.count(), checkpoint=path, backend="serial")
    assert [next(results) for _ in range(ran + 5)] == [x * x for x in range(ran + 5)]
    results.close()
    assert sorted(notes.ran()) == sorted(set(notes.ran()))


def test_a_failure_that_func_returns_is_a_result(path):
    made = [Failure(3, LookupError("mine"), "")]
    again = []

    def give(x):
        again.append(x)
        return made[0] if x == 3 else x

    for _ in range(2):
        found = list(
            amorsize.stream(give, range(6), checkpoint=path, checkpoint_key="1", backend="serial", on_error="collect")
        )
        assert isinstance(found[3], Failure)
    assert again == list(range(6))


def test_other_data_are_refused_before_anything_runs(notes, step, path):
    amorsize.execute(step, range(5), checkpoint=path)
    notes.forget()
    with pytest.raises(amorsize.errors.CheckpointMismatchError, match="item 4"):
        list(amorsize.stream(step, [0, 1, 2, 3, 7], checkpoint=path))
    assert notes.ran() == []


async def later(folder, x):
    await asyncio.sleep(0)
    return cf.step(folder, x)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("func", [cf.step, later], ids=["in a thread", "tasks"])
def test_an_asynchronous_stream_does_the_same(notes, tmp_path, path, func, ordered):
    func = partial(func, str(tmp_path))
    more = {"max_ahead": 3} if ordered else {}

    async def run():
        options = {"checkpoint": path, "on_error": "collect", "ordered": ordered, **more}
        return [one async for one in amorsize.stream_async(func, range(N), **options)]

    notes.fail_at(5, 40)
    assert sum(isinstance(one, Failure) for one in asyncio.run(run())) == 2
    notes.fail_at()
    notes.forget()
    found = asyncio.run(run())
    assert (found if ordered else sorted(found)) == [x * x for x in range(N)]
    assert sorted(notes.ran()) == [5, 40]
