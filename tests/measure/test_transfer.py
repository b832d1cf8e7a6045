"""What it takes to send a function with all that it holds, estimated from parts of it."""

import pickle
import threading
from collections import OrderedDict, deque
from functools import partial

import pytest

from amorsize.measure import transfer
from amorsize.measure.transfer import BIG_BYTES, FUNC, touched_bytes, weigh, weigh_func


def look_up(held, x):
    return held


class Model:
    def __init__(self, held):
        self.held = held

    def predict(self, x):
        return x

    def __call__(self, x):
        return x


TABLES = {
    "numbers by number": lambda: {i: float(i) for i in range(300_000)},
    "texts by text": lambda: {f"key {i}": f"value {i}" for i in range(100_000)},
    "a list": lambda: [float(i) for i in range(400_000)],
    "a set": lambda: {float(i) for i in range(300_000)},
    "records": lambda: [{"name": str(i), "x": float(i), "y": i} for i in range(60_000)],
    "dicts in a dict": lambda: {k: {i: float(i) for i in range(50_000)} for k in range(6)},
    "many lists": lambda: [list(map(float, range(5_000))) for _ in range(80)],
    "objects": lambda: [Model([float(i)] * 3) for i in range(30_000)],
    "heavy objects": lambda: [Model(list(map(float, range(20_000)))) for i in range(20)],
    "an ordered dict": lambda: OrderedDict((i, float(i)) for i in range(200_000)),
    "a deque": lambda: deque(map(float, range(300_000))),
    "bytes": lambda: b"x" * 8_000_000,
    "a tuple of bytes": lambda: tuple(bytes(1_000_000) for _ in range(8)),
}


@pytest.mark.parametrize("in_band", [True, False])
@pytest.mark.parametrize("name", TABLES)
def test_the_size_of_a_heavy_function_is_known_without_pickling_all_of_it(name, in_band):
    table = TABLES[name]()
    for func in (partial(look_up, table), Model(table).predict, Model(table)):
        found = weigh_func(func, in_band=in_band)
        size = len(pickle.dumps(func, 4))
        assert 0.6 * size < found.func_bytes < 1.5 * size
        assert found.transfer_error is None
        assert found.func_pickle_s >= 0
        assert found.func_unpickle_s >= 0


class Counted:
    pickled = 0

    def __reduce__(self):
        Counted.pickled += 1
        return Counted, ()


def test_few_of_many_objects_are_pickled():
    func = partial(look_up, [Counted() for _ in range(200_000)])
    weigh_func(func, in_band=True)
    assert Counted.pickled < 100_000


def test_nests_of_small_containers_are_not_looked_at_one_by_one():
    nest = 1.0
    for _ in range(5):
        nest = dict.fromkeys(range(60), nest)
    # Each holds the same one, so that the pickle is small.
    assert weigh_func(partial(look_up, nest), in_band=True).func_bytes < BIG_BYTES


def test_arrays():
    numpy = pytest.importorskip("numpy")
    for held in (numpy.zeros(1_000_000), [numpy.zeros(100_000) for _ in range(10)], {"a": numpy.zeros(1_000_000)}):
        for in_band in (True, False):
            found = weigh_func(partial(look_up, held), in_band=in_band)
            assert 7.9e6 < found.func_bytes < 9e6


def test_what_a_light_function_holds_is_tried_as_a_whole():
    found = weigh([1], [2], in_band=True, func=partial(look_up, threading.Lock()))
    assert "the function cannot be pickled" in found.transfer_error
    assert found.func_bytes == 0


def test_a_function_is_weighed_once_where_it_is_known():
    known = weigh([1], [2], in_band=True, func=partial(look_up, bytes(5_000)))
    assert known.func_bytes > 5_000
    again = weigh([1], [2], in_band=True, func=threading.Lock(), known=known)
    assert all(getattr(again, name) == getattr(known, name) for name in FUNC)
    assert again.transfer_error is None


def test_a_forked_worker_copies_the_page_that_a_text_begins_in():
    """For 20,000 hashes of texts of 5.6 kB that is a third of the time of two workers."""
    assert touched_bytes("x" * 5600) == touched_bytes(b"x" * 10**6) == 600
    assert 5 < touched_bytes("x" * 20) < 20
    # Their data lie apart.
    assert touched_bytes(bytearray(10**6)) == 0


def test_the_call_itself_is_no_part_of_the_cost_of_an_item(monkeypatch):
    """It is paid once per chunk: numbers looked ten times as dear as they are in a chunk of thousands."""
    monkeypatch.setattr(
        transfer, "_timed", lambda objects, in_band: (6, 1.2e-6 + 5e-9 * len(objects), 0.8e-6 + 60e-9 * len(objects))
    )
    found = weigh([], list(range(16)))
    assert found.result_pickle_s == pytest.approx(10e-9)
    assert found.result_unpickle_s == pytest.approx(60e-9)
