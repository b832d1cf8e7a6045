"""The first map of a process: it begins before anything is loaded that a decision needs, and is a map like any other.

A name is taken out of what counts as loaded, so that a map of this process begins as the first one of a fresh one does.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial

import hands
import pytest
from disturbed import again_if_disturbed, forget
from measure_functions import busy
from programs import run_program

import amorsize
from amorsize.options import check
from amorsize.run import execute as engine
from amorsize.run.execute import Execution


@pytest.fixture(autouse=True)
def first_call(monkeypatch):
    """Nothing of amorsize counts as loaded but what a loop needs."""
    monkeypatch.setattr(engine, "modules", {})


def square(x):
    return x * x


def refuse(x):
    if x == 30:
        raise ValueError(x)
    return x


def nap(x):
    time.sleep(2e-3)
    return x


class Few:
    def __len__(self):
        return 50

    def __getitem__(self, at):
        if at >= 50:
            raise IndexError(at)
        return at


DATA = {
    "list": lambda: list(range(400)),
    "tuple": lambda: tuple(range(400)),
    "range": lambda: range(3, 400, 7),
    "iterator": lambda: iter(range(400)),
    "dict": lambda: dict.fromkeys(range(40)),
    "own sequence": Few,
    "nothing": list,
    "one": lambda: [5],
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("backend", ["auto", "serial", ("serial", "threads")])
def test_the_results_are_those_of_map(kind, backend):
    assert amorsize.execute(square, DATA[kind](), backend=backend) == list(map(square, DATA[kind]()))


@pytest.mark.parametrize("kind", DATA)
def test_a_stream_yields_the_same(kind):
    assert list(amorsize.stream(square, DATA[kind]())) == list(map(square, DATA[kind]()))


def test_a_short_map_ends_without_a_decision(monkeypatch):
    with hands.virtual_time(monkeypatch):
        execution = Execution(check(square, range(100)))
        assert execution.run() == [x * x for x in range(100)]
    assert execution._deciding is None
    assert execution.head.items == 100


def test_what_an_item_raises_is_told():
    with pytest.raises(ValueError, match="30") as raised:
        amorsize.execute(refuse, range(100))
    assert "raised at item 30" in raised.value.__notes__[0]


def test_failures_are_collected_and_items_repeated():
    found = amorsize.execute(refuse, range(100), on_error="collect", retries=2)
    assert isinstance(found[30], amorsize.Failure)
    assert found[:30] + found[31:] == [x for x in range(100) if x != 30]


def test_an_item_that_waits_for_its_repeat_comes_back():
    left = [2]

    def sometimes(x):
        if x == 3 and left[0]:
            left[0] -= 1
            raise ValueError(x)
        return x

    assert amorsize.execute(sometimes, range(8), retries=3, backoff=1e-3) == list(range(8))


def test_data_that_grow_are_mapped_to_their_end():
    data = list(range(20))

    def grow(x):
        if x < 5:
            data.append(100 + x)
        return x

    assert amorsize.execute(grow, data) == data
    assert len(data) == 25


@again_if_disturbed
def test_a_map_that_is_worth_it_goes_on_with_the_decider():
    execution = Execution(check(nap, range(300), backend=("serial", "threads")))
    assert execution.run() == list(range(300))
    deciding = execution._deciding
    assert deciding is not None
    assert deciding.decider is execution.head
    assert deciding.summary.go.backend == "threads"
    assert deciding.summary.n_items == 300


def test_without_a_file_descriptor_to_load_the_decision_the_loop_goes_on(monkeypatch):
    def fails(name):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(engine, "load", fails)
    assert amorsize.execute(nap, range(60)) == list(range(60))


def test_the_plan_of_a_short_map_says_what_happened():
    results, plan = amorsize.execute(nap, range(4), backend="serial", return_plan=True)
    assert results == [0, 1, 2, 3]
    assert (plan.backend, plan.n_jobs, plan.sample.n_sampled) == ("serial", 1, 4)
    assert plan.took_s >= 8e-3
    assert [item.index for item in plan.slowest]


class TestTheRow:
    def rows(self, tmp_path, monkeypatch, func, data, **options):
        """Return the rows of a first map, and of one for which everything was loaded."""
        found = []
        for name, modules in (("first", {}), ("later", sys.modules)):
            monkeypatch.setattr(engine, "modules", modules)
            history = amorsize.History(tmp_path / name)
            try:
                amorsize.execute(func, data, history=history, **options)
            except ValueError:
                pass
            found.append(history.runs()[0])
        return found

    @pytest.mark.parametrize(
        ("func", "data"),
        [(square, range(100)), (partial(pow, 2), [1, 2]), (refuse, range(60)), (square, [])],
    )
    def test_is_the_one_of_any_other_map(self, tmp_path, monkeypatch, func, data):
        # A busy machine may make a map look as if it waited, and send it to workers, which may be let go again: one
        # quiet try must do. Workers may have run items behind one that raised.
        for number in range(50):
            forget()
            first, later = self.rows(tmp_path / str(number), monkeypatch, func, data)
            if first.backend == later.backend == "serial" and first.n_items == later.n_items:
                break
        for name in ("function", "name", "source", "shape", "n_items", "backend", "n_jobs", "chunksize", "outcome"):
            assert getattr(first, name) == getattr(later, name), name
        assert first.machine == later.machine
        assert first.predicted_s is later.predicted_s is None
        assert (first.serial_s is None) == (later.serial_s is None)

    def test_has_the_sample_of_a_longer_one(self, tmp_path, monkeypatch):
        first, _ = self.rows(tmp_path, monkeypatch, nap, [1, 2, 3], backend="serial")
        assert first.sample["n_sampled"] == 3
        assert first.sample["item_s"] >= 2e-3
        assert first.clock_s >= first.serial_s >= 6e-3

    def test_of_a_map_that_failed_says_so(self, tmp_path, monkeypatch):
        assert [row.outcome for row in self.rows(tmp_path, monkeypatch, refuse, range(60))] == ["raised", "raised"]


MANY_SHORT_MAPS = """
import sys, time
import amorsize

def busy(x):
    until = time.thread_time() + 1e-3
    while time.thread_time() < until:
        pass
    return x

if __name__ == "__main__":
    for k in range(100):
        assert amorsize.execute(busy, range(50)) == [*range(50)]
        if "amorsize.run.choices" in sys.modules:
            print(k)
            break
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one core there is nothing to gain")
def test_many_short_maps_together_are_worth_asking_about(tmp_path):
    """None of them alone is: what is to load would take half of it."""
    assert run_program(tmp_path, MANY_SHORT_MAPS, AMORSIZE_HISTORY="off").strip().isdigit()


def test_a_settled_map_that_did_not_ask_stays_settled(monkeypatch):
    """Though nothing has been loaded that asks: else every second map would."""
    from amorsize.history.this_process import THIS_PROCESS

    kept = []
    monkeypatch.setattr(THIS_PROCESS, "keep", lambda *known: kept.append(known))
    execution = Execution(check(partial(busy, seconds=0.3e-3), range(30)))
    execution.deciding.is_settled = True
    execution.deciding.load_s = {"threads": 1.0}
    execution.run()
    assert [known[6] for known in kept] == [None]
