"""Data that change while they are mapped, and data whose indices are dear."""

from __future__ import annotations

from array import array
from collections import UserList, deque
from functools import partial
from multiprocessing import get_all_start_methods

import pytest
from hostile import Chain, Lazy, burn

import amorsize
from amorsize.system.looks import goes_by_index

LOOPS = ["auto", "serial"]


def taking(data, least=3):
    def func(item):
        if len(data) > least:
            data.pop()
        return item

    return func


def taking_slowly(data):
    func = taking(data)
    return lambda item: func(burn(item, 0.5e-3))


def adding(data, most):
    def func(item):
        if len(data) < most:
            data.append(item + 100)
        return item

    return func


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("n", [4, 20, 5_000])
@pytest.mark.parametrize("make", [taking, taking_slowly])
@pytest.mark.parametrize("kind", [list, bytearray, UserList, lambda items: Lazy(list(items))])
def test_func_takes_items_off_the_data(backend, n, make, kind):
    """The map ends where ``map`` ends; it ran for ever."""
    n = min(n, 250 if make is taking_slowly or kind is bytearray else n)
    data, again = kind(range(n)), kind(range(n))
    whole = getattr(data, "items", data), getattr(again, "items", again)
    expected = list(map(make(whole[0]), data))
    try:
        results = amorsize.execute(make(whole[1]), again, backend=backend)
    except RuntimeError as exc:
        # Items far ahead had run before the length of the user's own sequence was asked for again.
        assert kind not in (list, bytearray)
        assert "another length" in str(exc)  # noqa: PT017
    else:
        assert results == expected


@pytest.mark.parametrize("backend", LOOPS)
def test_func_takes_items_off_a_streamed_list(backend):
    data = list(range(50))
    assert list(amorsize.stream(taking(data), data, backend=backend)) == list(range(25))


@pytest.mark.parametrize("backend", LOOPS)
def test_func_adds_items_to_the_data(backend):
    data, again = list(range(20)), list(range(20))
    expected = list(map(adding(data, 50), data))
    assert len(expected) == 50
    assert amorsize.execute(adding(again, 50), again, backend=backend) == expected


@pytest.mark.parametrize("method", ["fork", "forkserver"])
@pytest.mark.parametrize("change", [taking, lambda data: adding(data, 500)])
def test_a_worker_that_changes_the_data_is_told_so(method, change):
    """An index would mean another item there: a clear error, or what ``map`` gives of data that do not change."""
    data = list(range(200))
    call = partial(amorsize.execute, change(data), data, backend="processes", start_method=method, max_workers=2)
    if method == "fork":
        with pytest.raises(RuntimeError, match="another length"):
            call()
    else:
        assert call() == list(range(200))


@pytest.mark.parametrize("ask", [amorsize.optimize, amorsize.tune, amorsize.validate])
def test_planning_ends_though_func_takes_items_off_the_data(ask):
    data = list(range(2_000))
    ask(taking(data), data, **({} if ask is amorsize.optimize else {"max_seconds": 0.2}))


class Short(Lazy):
    """It says that it is longer than it is."""

    def __len__(self):
        return 2 * len(self.items)


@pytest.mark.parametrize("n", [0, 1, 10, 301])
@pytest.mark.parametrize(
    "how",
    [
        {"backend": "serial"},
        {"backend": "auto"},
        {"backend": "threads", "max_workers": 2},
        *({"backend": "processes", "start_method": name, "max_workers": 2} for name in get_all_start_methods()),
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_a_sequence_that_is_shorter_than_it_says_ends_as_in_a_map(how, n):
    """Iterating over it ends at the IndexError; workers took that for a failure of the item."""
    data = Short(list(range(n)))
    assert amorsize.execute(abs, data, **how) == list(map(abs, data))
    assert list(amorsize.stream(abs, data, **how)) == list(range(n))
    assert sorted(amorsize.stream(abs, data, ordered=False, **how)) == list(range(n))


def lookup(index):
    return [1, 2, 3][index]


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_an_index_error_of_func_is_no_end_of_the_data(backend):
    with pytest.raises(IndexError):
        amorsize.execute(lookup, Lazy(list(range(10))), backend=backend, max_workers=2)


class Broken(Lazy):
    def __getitem__(self, index):
        if index == 5:
            raise ValueError("item five")
        return super().__getitem__(index)


@pytest.mark.parametrize("backend", ["auto", "serial", "processes"])
def test_an_item_that_a_sequence_cannot_make_has_failed_alone(backend):
    results = amorsize.execute(abs, Broken(list(range(10))), backend=backend, on_error="collect")
    assert [one if isinstance(one, int) else str(one.exception) for one in results] == [
        *range(5),
        "item five",
        *range(6, 10),
    ]


@pytest.mark.parametrize(
    ("data", "by_index"),
    [
        ([1], True), ((1,), True), (range(3), True), ("ab", True), (b"ab", True), (bytearray(b"a"), True),
        (memoryview(b"ab"), True), (array("i", [1]), True), (UserList([1]), True), (Lazy([1]), True),
        (deque([1]), False), (Chain(3), False), ({1: 2}, False), ({1}, False), (iter([1]), False),
    ],
)  # fmt: skip
def test_what_says_that_it_goes_by_index_is_indexed(data, by_index):
    assert goes_by_index(data) is by_index


def test_arrays_go_by_index_but_for_those_that_iterate_as_they_like():
    numpy = pytest.importorskip("numpy")

    class Mine(numpy.ndarray):
        def __iter__(self):
            return iter(())

    assert goes_by_index(numpy.zeros(3))
    assert not goes_by_index(numpy.array(3))
    assert not goes_by_index(numpy.zeros(3).view(Mine))


class Reversed(list):
    def __iter__(self):
        return reversed(self)


@pytest.mark.parametrize("backend", ["auto", "threads", "processes"])
def test_a_subclass_that_iterates_as_it_likes_is_mapped_so(backend):
    assert amorsize.execute(abs, Reversed([1, 2, 3]), backend=backend) == [3, 2, 1]


@pytest.mark.parametrize("backend", ["auto", "threads", "processes"])
def test_a_linked_list_is_walked_once(backend):
    """Indexed, it took time that grows with the square of its length."""
    data = Chain(3_000)
    assert amorsize.execute(abs, data, backend=backend) == list(range(3_000))
    assert data.walked == 3_000


def test_small_buffers_travel_within_the_pickle():
    """Each as a part of its own, they took time that grows with the square of their number."""
    numpy = pytest.importorskip("numpy")
    from amorsize.backends.workers.protocol import dumps, loads

    parts = dumps([numpy.zeros(4) for _ in range(1_000)] + [numpy.zeros(100_000)])
    assert len(parts) == 2
    assert len(loads(parts)) == 1_001
