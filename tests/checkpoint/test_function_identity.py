"""A checkpoint takes over the results of the same function only, whatever process asks."""

from __future__ import annotations

import collections
import copy
import enum
import functools
import json
import logging
import operator
import os
import random
import re
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modes import ROOT

import amorsize
from amorsize.checkpoint.function_identity import UnreadableError, identity
from amorsize.errors import CheckpointError, CheckpointMismatchError


def closing_over(value):
    def func(x):
        return value, x

    return func


def with_default(value):
    def func(x, held=value):
        return held, x

    return func


def with_keyword(value):
    def func(x, *, held=value):
        return held, x

    return func


class Held:
    def __init__(self, value):
        self.value = value

    def method(self, x):
        return self.value, x

    def __call__(self, x):
        return self.value, x


@dataclass
class Record:
    value: object
    other: object = None


@dataclass(frozen=True, slots=True)
class Slotted:
    value: object


class Slots:
    __slots__ = ("__private", "unset")

    def __init__(self, value):
        self.__private = value


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Option(enum.Flag):
    A = 1
    B = 2


class Words(set):
    pass


class Rows(np.ndarray):
    pass


Pair = collections.namedtuple("Pair", "a b")


def nested(value):
    return closing_over([{"deep": (closing_over(partial(Held(value).method, 1)),)}])


def attribute(value):
    func = closing_over(None)
    func.held = value
    return func


WAYS = {
    "closure": closing_over,
    "default": with_default,
    "keyword default": with_keyword,
    "partial": lambda value: partial(max, value),
    "partial's keyword": lambda value: partial(max, key=value),
    "partial of a partial": lambda value: partial(partial(max, value), 1),
    "bound method": lambda value: Held(value).method,
    "bound builtin": lambda value: [value].index,
    "callable object": Held,
    "dataclass": lambda value: closing_over(Record(value)),
    "frozen dataclass with slots": lambda value: closing_over(Slotted(value)),
    "slots": lambda value: closing_over(Slots(value)),
    "dict's key or value": lambda value: closing_over({"a": value}),
    "function that it calls": lambda value: closing_over(closing_over(value)),
    "far inside": nested,
    "decorated": lambda value: functools.wraps(len)(closing_over(value)),
    "cached": lambda value: functools.lru_cache(closing_over(value)),
    "attribute of the function": attribute,
    "class": lambda value: type("Local", (), {"__module__": __name__, "value": value}),
    "numpy object array": lambda value: closing_over(np.array([None, value], dtype=object)),
    "deque": lambda value: closing_over(collections.deque([value])),
}


def table(at=None):
    rows = np.random.default_rng(0).normal(size=(100, 100))
    if at is not None:
        rows[at] += 1
    return rows


def padded(fill):
    kind = np.dtype([("flag", "i1"), ("number", "f8")], align=True)
    rows = np.frombuffer(bytes([fill]) * 32, kind).copy()
    rows["flag"], rows["number"] = 1, 0.5
    return rows


def ring(length, odd=None):
    parts = [Held(None) for _ in range(length)]
    for at, part in enumerate(parts):
        part.value = [at == odd, parts[at - 1]]
    return parts[0]


# What the history's fingerprint takes for the same, and other pairs that differ in one place only.
DIFFERENT = {
    "a retrained array": (table(), table((50, 50))),
    "its type": (np.zeros(3, "f4"), np.zeros(3, "f8")),
    "its shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "a strided array": (table()[::2, ::2], table((98, 98))[::2, ::2]),
    "objects in an array": (np.array([1, "a", [1]], object), np.array([1, "a", [2]], object)),
    "a structured array": (np.zeros(3, "i1,f8"), np.ones(3, "i1,f8")),
    "numpy's number": (np.float64(0.5), 0.5),
    "80th element": (list(range(100)), [*range(79), -1, *range(80, 100)]),
    "middle of a text": ("a" * 50_000 + "b" + "a" * 50_000, "a" * 50_000 + "c" + "a" * 50_000),
    "middle of bytes": (b"a" * 50_000 + b"b" + b"a" * 50_000, b"a" * 50_000 + b"c" + b"a" * 50_000),
    "a dict of 80": ({at: at for at in range(80)}, {at: at if at != 70 else 0 for at in range(80)}),
    "order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "a set of 80": (set(range(80)), set(range(1, 81))),
    "a long integer": (1 << 4000, (1 << 4000) + (1 << 2000)),
    "a number's type": (1, 1.0),
    "truth": (1, True),
    "a zero's sign": (0.0, -0.0),
    "list or tuple": ([1, [2]], [1, (2,)]),
    "empty or none": ((), None),
    "depth": ([[[[[[[[[[1]]]]]]]]]], [[[[[[[[[[2]]]]]]]]]]),
    "a member of an enumeration": (Colour.RED, Colour.BLUE),
    "a lambda": (lambda x: x + 1, lambda x: x + 2),
    "a pattern": (re.compile("a"), re.compile("a", re.I)),
    "a slice": (slice(1, 2), slice(1, 3)),
    "a range": (range(9), range(8)),
    "a path": (Path("a"), Path("b")),
    "a number of decimal": (Decimal("1.0"), Decimal("1.00")),
    "a generator of numbers": (random.Random(1), random.Random(2)),
    "a numpy generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "bytes in memory": (BytesIO(b"a"), BytesIO(b"b")),
    "a module": (json, re),
    "a logger": (logging.getLogger("a"), logging.getLogger("b")),
    "an operator": (operator.itemgetter(1), operator.itemgetter(2)),
    "a ufunc": (np.sin, np.cos),
    "a builtin": (max, min),
    "a view of memory": (memoryview(b"ab"), memoryview(b"ac")),
    "a counter": (collections.Counter("ab"), collections.Counter("abb")),
    "a namespace": (SimpleNamespace(a=1), SimpleNamespace(a=2)),
    "a proxy": (MappingProxyType({"a": 1}), MappingProxyType({"a": 2})),
    "a named tuple": (Pair(1, 2), Pair(1, 3)),
    "one place in a circle": (ring(60), ring(60, odd=37)),
    "length of a circle": (ring(3, odd=0), ring(4, odd=0)),
    "a masked array": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
}


@pytest.mark.parametrize("way", WAYS)
def test_results_of_a_function_that_holds_other_values_are_refused(way, tmp_path):
    """Two functions that differ in what they hold, wherever they hold it."""
    path = tmp_path / "checkpoint"
    make = WAYS[way]
    first, other, same = (
        make({"weights": [*range(79), last, *range(20)], "none": None}.__getitem__) for last in (79, 80, 79)
    )
    assert identity(first) == identity(same) != identity(other)

    def run(func):
        return amorsize.execute(functools.partial(_call, func), range(3), checkpoint=path, backend="serial")

    run(first)
    with pytest.raises(CheckpointMismatchError):
        run(other)
    run(same)


def _call(func, x):
    return x


@pytest.mark.parametrize("what", DIFFERENT)
def test_each_difference_counts(what):
    one, other = DIFFERENT[what]
    for make in (closing_over, with_default, Held, nested):
        assert identity(make(one)) != identity(make(other))
        assert identity(make(one)) == identity(make(one))


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_copy_counts_alike(what):
    for value in DIFFERENT[what]:
        if not isinstance(value, memoryview | MappingProxyType) and value is not json and value is not re:
            assert identity(closing_over(copy.deepcopy(value))) == identity(closing_over(value))


EQUAL = {
    "order in memory": (table(), np.asfortranarray(table())),
    "strided or not": (table()[::2].copy(), table()[::2]),
    "bytes between fields": (padded(0), padded(255)),
    "a shared part": ([[1, [2]]] * 2, [[1, [2]], [1, [2]]]),
    "attributes in another order": (SimpleNamespace(a=1, b=[2]), SimpleNamespace(b=[2], a=1)),
    "texts that are one object or several": (["ab" * 9] * 2, ["ab" * 9, "".join(["ab"] * 9)]),
    "locks": (threading.Lock(), threading.Lock()),
    "weak references": (weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary({Held(1): 1})),
    "thread-locals": (threading.local(), threading.local()),
    "events": (threading.Event(), threading.Event()),
}


@pytest.mark.parametrize("what", EQUAL)
def test_equal_values_count_alike(what):
    one, other = EQUAL[what]
    assert identity(closing_over(one)) == identity(closing_over(other))


def test_keyword_arguments_count_in_any_order():
    assert identity(partial(max, a=1, b=[2])) == identity(partial(max, b=[2], a=1)) != identity(partial(max, a=1))


def test_the_arrangement_of_what_is_held_counts():
    a, b = [1, [0]], [2, [0]]
    assert identity(closing_over((a, b))) != identity(closing_over((b, a)))
    assert identity(with_default(3)) != identity(closing_over(3)) != identity(with_keyword(3))


def test_the_code_of_the_users_own_classes_counts():
    def made(answer, limit=3):
        class Model:
            bound = limit

            def __call__(self, x):
                return self.helper(x)

            def helper(self, x):
                return answer + x

            @property
            def shown(self):
                return super().__repr__()

        return Model()

    assert identity(made(1)) == identity(made(1)) != identity(made(2))
    assert identity(made(1, limit=4)) != identity(made(1))
    assert identity(type(made(1))) == identity(type(made(1))) != identity(type(made(2)))


def test_what_a_call_leaves_behind_does_not_count():
    """Counters in attributes, caches of functions, properties and flags that were made on the way."""

    class Model:
        @functools.cached_property
        def table(self):
            return [1, 2]

        def __call__(self, x):
            return self.table[0] + x

    def counted(func):
        @functools.wraps(func)
        def wrapper(x):
            wrapper.calls += 1
            return func(x)

        wrapper.calls = 0
        return wrapper

    @functools.singledispatch
    def shown(x):
        return x

    for func in (
        Model(),
        counted(abs),
        functools.lru_cache(lambda x: x),
        np.vectorize(lambda x: x, otypes=[int]),
        shown,
        closing_over(Option.A),
        closing_over(Slotted(Slots(1))),
    ):
        before = identity(func)
        func(3)
        Option.A | Option.B
        copy.copy(Slots(1))
        assert identity(func) == before


def test_globals_do_not_count(tmp_path):
    made = {}
    source = "LIMIT = 1\ndef func(x): return x + LIMIT"
    exec(source, made)
    before = identity(made["func"])
    made["LIMIT"] = 2
    assert identity(made["func"]) == before


def test_functions_of_a_global_random_generator_count_by_name():
    """They are methods of an object whose state each draw changes."""
    for func in (random.random, random.gauss, np.random.normal):
        before = identity(func)
        random.random()
        np.random.normal()
        assert identity(func) == before
        assert identity(closing_over(func)) == identity(closing_over(func))
    assert identity(random.gauss) != identity(random.random)


def test_a_function_that_ran_often_is_the_same():
    def func(x):
        return sum(y.real for y in range(x)) + len(str(x))

    before = identity(func)
    for _ in range(3000):
        func(3)
    assert identity(func) == before


def test_depth_and_shared_parts_cost_no_recursion_and_little_time():
    deep: list[object] = []
    for _ in range(50_000):
        deep = [deep]
    doubled: object = Held(1)
    for _ in range(200):
        doubled = [doubled, doubled]
    for value in (deep, doubled, ring(2000)):
        assert len(identity(closing_over(value))) == 32


def recursive(value):
    def func(x):
        return value if x <= 0 else func(x - 1)

    return func


def test_a_function_that_calls_itself():
    assert identity(recursive(1)) == identity(recursive(1)) != identity(recursive(2))


# ---------------------------------------------------------------------------------------------- parts without a state


def test_open_files_count_by_name(tmp_path):
    with open(tmp_path / "a", "w") as a, open(tmp_path / "a") as again, open(tmp_path / "b", "w") as b:
        assert identity(a.write) != identity(b.write)
        assert identity(closing_over(a)) == identity(closing_over(again)) != identity(closing_over(b))


class Broken:
    """Holds something, and does not say what."""

    __slots__ = ()

    def __reduce_ex__(self, protocol):
        raise RuntimeError("no")


UNREADABLE = {
    "a generator": lambda: (x for x in ()),
    "an object without attributes that refuses": Broken,
    "a function that numpy has made": lambda: np.frompyfunc(lambda x: x + 1, 1, 1),
    "a match": lambda: re.match("a", "a"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_part_that_cannot_be_read_is_refused_by_name(what, tmp_path):
    rows = [{"made": UNREADABLE[what]()}]
    ran = []

    def func(x):
        ran.append(x)
        return rows

    path = tmp_path / "checkpoint"
    with pytest.raises(
        CheckpointError, match=r"the 'rows' that it closes over, element 0, element 'made' \(a .*checkpoint_key="
    ):
        amorsize.execute(func, range(3), checkpoint=path)
    assert ran == []
    assert not path.exists()
    amorsize.execute(lambda x: rows and x, range(3), checkpoint=path, checkpoint_key="v1", backend="serial")
    assert len(identity(func, strict=False)) == 32
    with pytest.raises(UnreadableError, match="the 'rows'"):
        identity(func)


def test_what_a_class_holds_and_cannot_be_read_counts_by_type():
    class Model:
        source = (x for x in ())

        def __call__(self, x):
            return x

    assert identity(Model()) == identity(Model())


def test_it_is_taken_before_the_first_item(tmp_path):
    state = [0] * 50

    def func(x):
        state[-1] += 1
        return x

    amorsize.execute(func, range(3), checkpoint=tmp_path / "checkpoint", backend="serial")
    state[-1] = 0
    assert amorsize.execute(func, range(4), checkpoint=tmp_path / "checkpoint", backend="serial") == [0, 1, 2, 3]


# ------------------------------------------------------------------------------------------------- in another process


def samples():
    """Functions of all kinds, made anew."""
    words = {f"word {at}" for at in range(50)}
    values = {
        "set": words,
        "set in a set": {frozenset({"a", "b"}), frozenset({"c", "d", "e"})},
        "set in an object": Record({"tags": {"red", "green"}}, Words(words)),
        "objects in a set": {Slotted("a"), Slotted("b"), Slotted(("c", frozenset({"x", "y"})))},
        "dates": [datetime(2020, 1, 2), Decimal("1.5"), Fraction(1, 3), Path("a/b")],
        "enumerations": (Colour.RED, Option.A | Option.B),
        "array": table(),
        "array's subclass": np.arange(6.0).view(Rows),
        "objects": np.array([{"a", "b"}, None], dtype=object),
        "stateless": [threading.Lock(), logging.getLogger("x"), json, sys.stderr, threading.local()],
        "functions": [len, [].append, np.sin, json.dumps, lambda x: x in {"p", "q", "r"}, operator.attrgetter("a")],
        "classes": [Record, Held, Colour, Path, Pair],
        "circle": ring(20, odd=3),
        "defaults": collections.defaultdict(list, a=[1]),
        "type hints": [list[int], dict[str, int] | None],
        "exceptions": ValueError("a", 1),
    }
    made = {f"{way}, {name}": WAYS[way](value) for way in WAYS for name, value in values.items()}
    made["tenacity"] = retried()
    return made


def retried():
    import tenacity

    return tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_random(0, 1))(closing_over(1))


def test_the_same_in_processes_with_other_hash_seeds():
    code = (
        "import json, sys; sys.path[:0] = sys.argv[1:]; import test_function_identity as t\n"
        "print(json.dumps({name: t.identity(func) for name, func in t.samples().items()}))"
    )
    found = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent), str(ROOT / "tests" / "helpers"), str(ROOT)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout))
    differ = sorted(name for name in found[0] if found[0][name] != found[1][name])
    assert differ == []
    assert len(set(found[0].values())) == len(found[0])


def test_a_retried_function_is_the_same_after_it_ran():
    func = retried()
    before = identity(func)
    func(1)
    assert identity(func) == before


ATOM_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4)
VALUES = st.recursive(
    ATOM_VALUES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.frozensets(ATOM_VALUES, max_size=4)
        | st.builds(Record, inner)
        | st.builds(Held, inner)
    ),
    max_leaves=12,
)


def shape_of(value):
    """Text that two values share only if they are the same to the last bit."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(shape_of, value))})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({[*map(shape_of, value)]})"
    if isinstance(value, dict):
        return f"dict({[(shape_of(key), shape_of(each)) for key, each in value.items()]})"
    if isinstance(value, Record | Held):
        return f"{type(value).__name__}({shape_of(vars(value))})"
    return f"{type(value).__name__} {value.hex() if isinstance(value, float) else value!r}"


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES, st.sampled_from(sorted(WAYS)))
def test_two_values_have_one_digest_only_if_they_are_the_same(one, other, way):
    make = WAYS[way]
    assert identity(make(one)) == identity(make(copy.deepcopy(one)))
    assert (identity(make(one)) == identity(make(other))) == (shape_of(one) == shape_of(other))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_one_change_anywhere_is_seen(data):
    """Whatever is held, an array or text inside it that differs in one place is another function."""
    size = data.draw(st.integers(1, 3000))
    at = data.draw(st.integers(0, size - 1))
    one = data.draw(st.sampled_from([list, tuple, bytes, np.array, lambda values: "".join(map(chr, values))]))
    values = [7] * size
    before = one(values)
    values[at] = 8
    way = WAYS[data.draw(st.sampled_from(sorted(WAYS)))]
    assert identity(way([before, 1])) != identity(way([one(values), 1]))
