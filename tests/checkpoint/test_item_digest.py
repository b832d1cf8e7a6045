"""Equal items have the same digest in every process; other items have other digests."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modes import ROOT

from amorsize.checkpoint.item_digest import ItemDigest
from amorsize.history.fingerprint import fingerprint

digest = ItemDigest(fingerprint)


@dataclass
class Point:
    x: object
    y: object = None


class Tags(set):
    pass


class Broken:
    def __reduce__(self):
        raise RuntimeError


ITEMS = {
    "none": None,
    "number": 17,
    "text": "é\udc80",
    "tuple": ("a", 1, 2.5),
    "nested": {"a": [1, {"b": (2, 3)}], "c": b"x"},
    "set": {f"word {i}" for i in range(50)},
    "set in a set": {frozenset({"a", "b"}), frozenset({"c", "d", "e"})},
    "set in a dict": {"tags": {"red", "green", "blue"}, "n": [1]},
    "set's subclass": Tags(f"word {i}" for i in range(50)),
    "object": Point(1, {"x", "y", "z"}),
    "path": PurePosixPath("a/b"),
    "date": datetime(2020, 1, 2),
    "decimal": Decimal("1.5"),
    "counter": Counter("hello"),
    "ordered": OrderedDict(a=1),
    "default": defaultdict(list, a=[1]),
    "array": np.arange(6.0).reshape(2, 3),
    "strided": np.arange(20)[::2],
    "scalar": np.float64(0.1),
    "class": Point,
    "function": json.dumps,
    "lambda": lambda x: x + 1,
    "partial": partial(max, 3),
    "method": [].append,
    "module": json,
    "lock": threading.Lock(),
    "lock inside": Point(threading.Lock(), "text"),
    "broken": Broken(),
    "generator": (x for x in ()),
}


def test_the_same_in_processes_with_other_hash_seeds():
    code = (
        "import json, sys; sys.path[:0] = sys.argv[1:]; import test_item_digest as t\n"
        "print(json.dumps({name: t.digest(item).hex() for name, item in t.ITEMS.items()}))"
    )
    places = [str(ROOT), str(ROOT / "tests" / "helpers"), str(Path(__file__).parent)]
    told = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code, *places],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for seed in ("1", "2", "3")
    ]
    assert told[0] == told[1] == told[2]
    assert len(set(told[0].values())) == len(ITEMS)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.integers() | st.text())
        | inner.map(Point)
    ),
    max_leaves=12,
)


@given(plain)
def test_a_copy_has_the_same(item):
    assert digest(copy.deepcopy(item)) == digest(item)


@given(plain, plain)
def test_others_have_others(one, other):
    if repr(one) != repr(other) and one != other:
        assert digest(one) != digest(other)


@given(st.sets(st.text()), st.sets(st.text()))
def test_sets(one, other):
    assert (digest(one) == digest(other)) is (one == other)
    assert (digest([frozenset(one)]) == digest([frozenset(other)])) is (one == other)


def test_what_differs_differs():
    different = [1, True, 1.0, "1", b"1", (1,), [1], {1}, frozenset({1}), {1: 1}, np.int64(1), np.array([1]), Tags({1})]
    assert len({digest(item) for item in different}) == len(different)
    assert digest({"a": 1, "b": 2}) != digest({"b": 2, "a": 1})  # func may ask for their order
    assert digest(lambda x: x + 1) != digest(lambda x: x + 2)


def test_which_of_equal_strings_are_one_object_is_of_no_account():
    word = "".join(["wo", "rd"])
    other = "".join(["wo", "rd"])
    assert word is not other
    for make in (
        lambda a, b: (a, b),
        lambda a, b: [a, [b]],
        lambda a, b: Point(a, b),
        lambda a, b: [{a: 1}, {b: (a,)}],
    ):
        assert digest(make(word, word)) == digest(make(word, other))


def test_what_holds_itself():
    def knot(x):
        item = [x]
        item.append({"self": item})
        return item

    assert digest(knot(1)) == digest(knot(1)) != digest(knot(2))


def test_what_shares_its_parts_over_and_over():
    def graph(x):
        item = [x]
        for _ in range(60):
            item = [item, item]
        return item

    assert digest(graph(1)) == digest(graph(1)) != digest(graph(2))


def test_nested_deeply():
    item = []
    for _ in range(100_000):
        item = [item]
    assert len(digest(item)) == 16
    while item:  # freeing it at once would go as deep
        item = item.pop()


def test_nothing_is_changed():
    source = iter([1, 2, 3])
    digest(source)
    assert list(source) == [1, 2, 3]


@pytest.mark.parametrize("name", ["lock", "lock inside", "broken", "generator"])
def test_what_cannot_be_pickled_counts_by_its_type(name):
    fresh = {
        "lock": threading.Lock(),
        "lock inside": Point(threading.Lock(), "text"),
        "broken": Broken(),
        "generator": (x for x in "other"),
    }[name]
    assert digest(fresh) == digest(ITEMS[name])
    assert digest(Point(threading.Lock(), "other")) != digest(ITEMS["lock inside"])
