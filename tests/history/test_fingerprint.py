"""Fingerprints: the same for the same function anywhere, another one for any change."""

from __future__ import annotations

import collections
import copy
import enum
import functools
import json
import math
import operator
import os
import re
import subprocess
import sys
import threading
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from amorsize.history import fingerprint as module
from amorsize.history.fingerprint import fingerprint, name_of, outline
from amorsize.system.looks import keeps_nothing

ROOT = Path(module.__file__).parents[2]


def make(source: str, name: str = "f", **namespace):
    """Return the function that a source defines, as in a module."""
    space = {"__name__": "mod", **namespace}
    exec(compile(source, "somewhere.py", "exec"), space)
    return space[name]


def closed(value, name="g"):
    def g(x):
        return x, value

    return g


def one(x):
    return x + 1


SAME = [
    ("def f(x): return x + 1", "\n\n# a comment\ndef f(x):\n    return x + 1"),
    ("def f(x):\n  y = x\n  return y", "def f(x):\n  z = x\n  return z"),
    ("def f(x): return x in {'a', 'b', 'c'}", "def f(x): return x in {'c', 'b', 'a'}"),
]

DIFFERENT = [
    ("def f(x): return x + 1", "def f(x): return x - 1"),
    ("def f(x): return x + 1", "def f(x): return x + 2"),
    ("def f(x): return x + 1", "def f(x): return x + 1.0"),
    ("def f(x): return 0.0", "def f(x): return -0.0"),
    ("def f(x): return 1", "def f(x): return True"),
    ("def f(x): return x", "def g(x): return x\nf = g"),
    ("def f(x): return abs(x)", "def f(x): return int(x)"),
    ("def f(x): return x.real", "def f(x): return x.imag"),
    ("def f(x, y=1): return x", "def f(x, y=2): return x"),
    ("def f(x, *, y=1): return x", "def f(x, *, y=2): return x"),
    ("def f(x, *, y): return x", "def f(x, *, z): return x"),
    ("def f(x): return (lambda: 1)()", "def f(x): return (lambda: 2)()"),
    ("def f(x): return [y + 1 for y in x]", "def f(x): return [y + 2 for y in x]"),
    ("def f(x): return x in {'a', 'b'}", "def f(x): return x in {'a', 'c'}"),
    ("def f(x): return (1, (2, 3))", "def f(x): return (1, (2, 4))"),
    ("def f(x): yield x", "def f(x): return x"),
    ("def f(x):\n try: g()\n except A: pass", "def f(x):\n try: g()\n except B: pass"),
    (f"def f(x): return {'a' * 2000!r}", f"def f(x): return {'a' * 1000 + 'b' + 'a' * 999!r}"),
    (f"def f(x): return {7**9000:#x}", f"def f(x): return {7**9000 + 1:#x}"),
    (f"def f(x): return {[*range(500)]}", f"def f(x): return {[*range(499), 7]}"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_same(first, second):
    assert fingerprint(make(first)) == fingerprint(make(second))


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different(first, second):
    assert fingerprint(make(first)) != fingerprint(make(second))


def test_module_counts():
    source = "def f(x): return x"
    assert fingerprint(make(source)) != fingerprint(make(source, __name__="other"))
    assert fingerprint(make(source, __name__="__main__")) == fingerprint(make(source, __name__="__mp_main__"))


def test_form():
    assert re.fullmatch("[0-9a-f]{32}", fingerprint(one))


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True, slots=True)
class Settings:
    depth: int
    names: tuple[str, ...] = ()


class Token(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("nobody should ask")


Pair = collections.namedtuple("Pair", "left right")

VALUES = [
    None, True, False, 0, 1, -1, 2**300, 2**300 + 1, 0.5, 1.0, float("nan"), 1j, "", "a", "a" * 600, "a" * 599 + "b",
    "a" * 100_000, "a" * 99_999 + "b", b"", b"a", b"b" * 600, (), (1,), (1, 2), [1, 2], [2, 1], {1, 2}, {1, 3},
    frozenset({1, 2}), {(1, 2)}, {(1, 3)}, {}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": {"b": [1]}}, {"a": {"b": [2]}},
    bytearray(b"a"), bytearray(b"b"), bytearray(2), range(3), range(4), slice(1), Pair(1, 2), Pair(1, 3),
    Colour.RED, Colour.BLUE, Settings(1), Settings(2), Settings(1, ("a",)), Token("a"), Token("b"), Path("a"),
    Path("b"), re.compile("a"), re.compile("b"), re.compile("a", re.I), re.compile("x" * 300 + "y"),
    re.compile("x" * 300 + "z"),
    operator.itemgetter(1), operator.itemgetter(2), operator.attrgetter("a"), operator.methodcaller("a", 1, key=2),
    operator.methodcaller("a", 1, key=3), collections.deque([1]), collections.Counter("a"), collections.Counter("b"),
    math, os, int, str, len, abs, math.sqrt, math.sin, "a".join, "b".join, str.upper, str.lower, dict.fromkeys, one,
    functools.partial(one, 1), functools.partial(one, 2), functools.partial(one, x=1), functools.lru_cache(one),
    functools.lru_cache(closed), object(), Settings, Colour, [None] * 70, [None] * 71,
]  # fmt: skip


def test_every_value_of_a_closure_counts():
    marks = [fingerprint(closed(value)) for value in VALUES]
    alike = [(VALUES[i], VALUES[j]) for i in range(len(marks)) for j in range(i) if marks[i] == marks[j]]
    assert alike == []


@pytest.mark.parametrize("value", [value for value in VALUES if not isinstance(value, type(os) | functools.partial)])
def test_equal_values_of_a_closure_are_one(value):
    assert fingerprint(closed(copy.deepcopy(value))) == fingerprint(closed(value))


def test_arrays():
    numpy = pytest.importorskip("numpy")
    values = [
        numpy.zeros(3), numpy.ones(3), numpy.zeros(4), numpy.zeros((3, 1)), numpy.zeros(3, "f4"), numpy.float64(1.0),
        numpy.float64(2.0), numpy.float32(2.0), numpy.int64(2), numpy.sqrt, numpy.exp, numpy.zeros(10**5),
        numpy.zeros(10**5 + 1), numpy.array([object()]), numpy.array([object(), None]), numpy.str_("a"),
    ]  # fmt: skip
    marks = [fingerprint(closed(value)) for value in values]
    assert len(set(marks)) == len(marks)
    assert fingerprint(closed(numpy.zeros(3))) == marks[0]
    assert fingerprint(numpy.zeros(3).dot) != fingerprint(numpy.ones(3).dot)


class Model:
    def __init__(self):
        self.calls = 0
        self.lock = threading.Lock()

    def predict(self, x):
        self.calls += 1
        return x

    def other(self, x):
        return x

    @classmethod
    def make(cls, x):
        return cls()

    @staticmethod
    def still(x):
        return x

    def __call__(self, x):
        return x


class Heir(Model):
    pass


class TestCallables:
    def test_methods_go_by_class_and_code(self):
        model = Model()
        mark = fingerprint(model.predict)
        model.predict(1)
        assert fingerprint(model.predict) == fingerprint(Model().predict) == mark
        others = [Heir().predict, model.other, Model.predict, Model.make, Heir.make, Model.still, model, Heir(), Model]
        assert len({mark, *map(fingerprint, others)}) == len(others) + 1

    def test_partial(self):
        assert fingerprint(functools.partial(one, 1)) == fingerprint(functools.partial(one, 1))
        assert fingerprint(functools.partial(one, 1)) != fingerprint(functools.partial(closed, 1))

    def test_wrapped_functions_count(self):
        def logged(func):
            @functools.wraps(func)
            def inner(*args):
                return func(*args)

            return inner

        first, second = make("def f(x): return 1"), make("def f(x): return 2")
        assert fingerprint(logged(first)) != fingerprint(logged(second))
        assert fingerprint(functools.lru_cache(first)) != fingerprint(functools.lru_cache(second))

    def test_running_a_function_does_not_change_it(self):
        """The interpreter rewrites code as it runs, and a debugger does so too."""
        func = make("def f(x):\n    total = 0\n    for y in range(x): total += y * 2\n    return total")
        mark = fingerprint(func)
        for _ in range(200):
            func(50)
        assert fingerprint(func) == mark
        before = sys.gettrace()
        sys.settrace(lambda *_: lambda *_: None)
        try:
            func(50)
            assert fingerprint(func) == mark
        finally:
            sys.settrace(before)

    def test_function_that_holds_itself(self):
        def mill(step):
            def f(n):
                return n and f(n - step)

            return f

        assert fingerprint(mill(1)) == fingerprint(mill(1)) != fingerprint(mill(2))

    def test_cell_that_is_still_empty(self):
        def f():
            return late

        mark = fingerprint(f)
        late = 3
        assert fingerprint(f) != mark


class Liar:
    """Raises at every attribute."""

    @property
    def __class__(self):
        raise RuntimeError

    def __getattr__(self, name):
        raise RuntimeError

    def __len__(self):
        raise RuntimeError

    def __repr__(self):
        raise RuntimeError

    def __call__(self):
        raise RuntimeError

    shape = property(lambda self: 1 / 0)


class LiarList(list):
    def __len__(self):
        raise RuntimeError

    def __iter__(self):
        raise RuntimeError

    def __getitem__(self, key):
        raise RuntimeError


class TestNothingRaises:
    def test_liars(self):
        assert fingerprint(Liar()) == fingerprint(Liar())
        assert fingerprint(closed(Liar())) != fingerprint(closed(None))
        assert fingerprint(closed(LiarList([1]))) != fingerprint(closed(LiarList([2])))
        assert name_of(Liar())

    @pytest.mark.parametrize("value", [None, 3, "text", [], object()])
    def test_what_is_no_function(self, value):
        assert fingerprint(value)
        assert name_of(value)

    def test_deep_and_wide_values_are_bounded(self):
        nest: list[object] = []
        for _ in range(100_000):
            nest = [nest]
        wide = [[[[0] * 100] * 100] * 100] * 100
        loop: list[object] = []
        loop.append(loop)
        for value in (nest, wide, loop, {str(i): wide for i in range(1000)}, set(range(10**5)), b"x" * 10**7):
            assert len(outline(closed(value))) < 20_000

    def test_outline_keeps_no_address(self):
        for value in VALUES:
            assert not re.search("0x[0-9a-f]{6}", outline(closed(value)))


CODE = """
import functools, pathlib, re
def closed(value):
    def g(x, *, names={"b", "a", "c"}):
        return x in {"one", "two", "three", "four"} or [y for y in value if y in {"p", "q", "r"}]
    return g
class Model:
    def predict(self, x): return x
from amorsize.history.fingerprint import fingerprint
values = [{"x", "y", "z"}, {"k": {"s", "t"}}]
values += [frozenset({("a", 1), ("b", 2)}), object(), Model(), pathlib.PurePosixPath("a")]
funcs = [closed(value) for value in values]
print(*map(fingerprint, [*funcs, functools.partial(funcs[0], 3), Model().predict, Model(), re.compile("a").match]))
"""


def test_processes_agree_whatever_their_hash_seed():
    def run(seed: str) -> str:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        return subprocess.run([sys.executable, "-c", CODE], env=env, check=True, capture_output=True, text=True).stdout

    assert run("1") == run("2") == run("3")


class TestNames:
    @pytest.mark.parametrize(
        ("func", "name"),
        [
            (len, "len"),
            (math.sqrt, "math.sqrt"),
            (str.upper, "str.upper"),
            (int, "int"),
            (json.loads, "json.loads"),
            (functools.partial(json.loads, cls=None), "partial(json.loads)"),
            (functools.partial(functools.partial(len)), "partial(len)"),
            (make("def f(x): return x", __name__="__mp_main__"), "__main__.f"),
        ],
    )
    def test_names(self, func, name):
        assert name_of(func) == name

    def test_names_of_one_s_own(self):
        assert name_of(one) == f"{__name__}.one"
        assert name_of(Model().predict) == f"{__name__}.Model.predict"
        assert name_of(Model()) == f"{__name__}.Model()"
        assert name_of(Model) == f"{__name__}.Model"
        assert name_of(closed(1)) == f"{__name__}.closed.<locals>.g"


def test_what_keeps_nothing():
    assert keeps_nothing(one)
    assert keeps_nothing(lambda x: x)
    assert keeps_nothing(math.sqrt)
    others = [
        closed(1),
        lambda x=1: x,
        lambda *, x=1: x,
        Model().predict,
        Model(),
        "a".join,
        functools.partial(one),
        None,
    ]
    assert not any(map(keeps_nothing, others))


class TestVersions:
    @pytest.fixture
    def versioned(self, monkeypatch):
        """Return a function of a package that has a version."""
        package, module = types.ModuleType("weighty"), types.ModuleType("weighty.part")
        monkeypatch.setitem(sys.modules, "weighty", package)
        monkeypatch.setitem(sys.modules, "weighty.part", module)
        exec("def func(x): return x", module.__dict__)
        return package, module.func

    def test_another_version_is_another_function(self, versioned):
        package, func = versioned
        marks = [fingerprint(func)]
        for version in ("1.0", "1.1"):
            package.__version__ = version
            marks.append(fingerprint(func))
            assert fingerprint(func) == marks[-1]
        assert len(set(marks)) == 3
        package.__version__ = "1.0"
        assert fingerprint(functools.partial(func, 1)) != marks[1]
        assert fingerprint(func) == marks[1]

    def test_also_of_what_it_is_made_of(self, versioned):
        package, func = versioned
        before = fingerprint(functools.partial(func, 1))
        package.__version__ = "2"
        assert fingerprint(functools.partial(func, 1)) != before

    def test_versions_that_are_no_text_do_not_count(self, versioned):
        package, func = versioned
        before = fingerprint(func)
        package.__version__ = object()
        assert fingerprint(func) == before

    def test_what_a_package_would_compute_is_not_asked_for(self, versioned):
        package, func = versioned
        package.__getattr__ = lambda name: 1 / 0
        assert fingerprint(func)
