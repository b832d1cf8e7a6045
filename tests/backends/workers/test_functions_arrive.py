"""The very function arrives at a worker, by every start method, and so do the globals of the main module it names."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import pickle
import sys
import threading
import types
from concurrent.futures import ProcessPoolExecutor

import pytest
from programs import run_program

import amorsize
from amorsize.backends.workers import functions, main_module, protocol

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork here")


def without_wraps(func):
    def wrapper(self, x):
        return ("decorated", func(self, x))

    return wrapper


def retry(func, times=3):
    @functools.wraps(func)
    def wrapper(*args):
        wrapper.calls += 1
        return ("retried", times, func(*args))

    wrapper.calls = 0
    return wrapper


class Base:
    def work(self, x):
        return ("base", x)


class Model(Base):
    def __init__(self):
        self.scale = 2

    def work(self, x):
        return ("model", x)

    def of_base(self):
        return super().work

    def __hidden(self, x):
        return ("hidden", self.scale * x)

    def hidden(self):
        return self.__hidden

    @without_wraps
    def decorated(self, x):
        return x

    nameless = lambda self, x: ("nameless", x)  # noqa: E731

    @classmethod
    def named(cls, x):
        return (cls.__name__, x)

    def predict(self, x):
        return ("predicted", x)


class Patched(Model):
    """Its methods are changed when this module is imported by a test, not when a worker imports it."""

    def swapped(self, x):
        return ("swapped", x)


def outside(self, x):
    return ("outside", self.scale, x)


def methods():
    model, own, bare, hers = Model(), Model(), Model(), Model()
    own.predict = retry(own.predict)
    bare.outside = types.MethodType(outside, bare)
    hers.nameless = types.MethodType(lambda self, x: ("hers", self.scale, x), hers)
    first = Model()
    before = first.predict
    first.predict = retry(first.predict, 5)
    return {
        "super().m": model.of_base(),
        "private": model.hidden(),
        "decorated without wraps": model.decorated,
        "lambda in a class": model.nameless,
        "class method": model.named,
        "replaced under its own name": own.predict,
        "what was replaced": before,
        "patched on an instance": bare.outside,
        "lambda patched on an instance": hers.nameless,
        "partial of super().m": functools.partial(model.of_base()),
    }


WAYS = ("fork", "forkserver", "spawn", "async", "Executor.map", "Executor.submit")


def mapped(way, func, data):
    options = {"backend": "processes", "max_workers": 1}
    if way == "async":
        return asyncio.run(amorsize.execute_async(func, data, **options))
    if way == "pool":
        plan = amorsize.optimize(abs, [-1] * 9, start_method="fork", **options)
        with plan.pool() as pool:
            return pool.map(func, data)
    if way == "ProcessPoolExecutor":
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return amorsize.execute(func, data, backend=pool)
    if way.startswith("Executor"):
        with amorsize.Executor(1) as executor:
            if way == "Executor.map":
                return list(executor.map(func, data))
            return [executor.submit(func, item).result() for item in data]
    return amorsize.execute(func, data, start_method=way, **options)


@pytest.mark.parametrize("way", WAYS)
def test_another_method_of_the_same_name_never_runs(way):
    """super().m, partials, decorated and private methods, lambdas in classes, patches on an instance."""
    # One function tells of all: the same pickles, in one map.
    cases = methods()
    assert mapped(way, call, [(case, 3) for case in cases.values()]) == [case(3) for case in cases.values()]


def call(case):
    return case[0](case[1])


@pytest.mark.parametrize("name", methods())
@pytest.mark.parametrize("way", ["spawn", "Executor.submit", "ProcessPoolExecutor", "pool"])
def test_the_same_method_runs_when_it_is_the_function(way, name):
    func = methods()[name]
    assert mapped(way, func, range(3)) == [func(x) for x in range(3)]


@pytest.mark.parametrize("way", ["spawn", "Executor.submit"])
def test_a_class_that_was_patched_at_run_time_has_its_patch_in_workers(way, monkeypatch):
    for name, patch in (("predict", retry(Model.predict, 4)), ("work", Patched.swapped), ("swapped", lambda s, x: x)):
        monkeypatch.setattr(Patched, name, patch)
    model = Patched()
    for func in (model.predict, model.work, model.swapped):
        assert mapped(way, func, range(3)) == [func(x) for x in range(3)]


@pytest.mark.parametrize(
    "way", ["spawn", "forkserver", "async", "Executor.map", "Executor.submit", "ProcessPoolExecutor"]
)
def test_a_function_that_was_patched_at_run_time_is_the_one_that_runs(way, monkeypatch):
    """Under its own name, which leads to another one where a worker imports its module."""
    monkeypatch.setattr(sys.modules[__name__], "plain", retry(plain, 7))
    assert mapped(way, plain, range(3)) == [("retried", 7, ("plain", x)) for x in range(3)]


def plain(x):
    return ("plain", x)


def test_a_function_in_parts_is_found_again_where_it_is_the_same_one():
    again = protocol.loads(protocol.dumps([functions.Sent(outside), Model().decorated]))
    assert again[0] is outside
    assert again[1].__func__ is Model.decorated


def test_what_a_function_holds_that_cannot_be_pickled_is_missed_only_where_it_is_needed():
    held = functions._held(threading.Lock(), ())
    assert held.kind == "lost"
    with pytest.raises(TypeError, match="lock"):
        pickle.loads(pickle.dumps(held)).value(())


# -- globals of the main module ---------------------------------------------------------------------------------------

MAIN = """
import asyncio, functools, sys, threading
import amorsize
T = 1
TABLE = {"a": 1}
alias = TABLE
stream = None
model = None
class Scale:
    def of(self, x): return x * T
kind = Scale
def helper(x): return x * T
def nested(x): return helper(x)
def names_new(x): return x + NEW
def calls_late(x): return late(x)
def keeps_identity(x): return alias is TABLE and kind is Scale
def of_item(scale): return scale.of(2)
def loads(x):
    global model
    model = (model or 0) + 1
    return model
def reads_stream(x): return stream is None
def initialize(value):
    global model
    model = value
def with_model(x): return (model, x, T)
"""

VALUES = (
    MAIN
    + """
if __name__ == "__main__":
    T, NEW = 10, 5
    import math as maths
    LOCK = threading.Lock()
    def late(x): return x + T + NEW
    def here(x): return late(x)
    def with_module(x): return maths.floor(x + 0.5) + T
    def locked(x):
        with LOCK: return x
    cases = [nested, names_new, calls_late, keeps_identity, here, with_module, locked, Scale().of,
             functools.partial(nested), lambda x: late(x)]
    options = dict(backend="processes", max_workers=2)
    way = sys.argv[1]
    def run(func, data):
        if way == "async": return asyncio.run(amorsize.execute_async(func, data, **options))
        if way == "pool":
            with amorsize.optimize(func, data, start_method="spawn", **options).pool() as pool:
                return pool.map(func, data)
        if way == "Executor":
            with amorsize.Executor(1) as executor: return list(executor.map(func, data))
        return amorsize.execute(func, data, start_method=way, **options)
    for func in cases:
        assert run(func, range(6)) == list(map(func, range(6))), func
    assert run(of_item, [Scale()] * 3) == [20] * 3
    T = 12  # a worker that has been kept is told, too
    assert run(nested, range(6)) == [12 * x for x in range(6)]
    print("well")
"""
)


@pytest.mark.parametrize("way", ["spawn", "forkserver", "async", "Executor", "pool"])
def test_globals_that_the_main_module_set_at_run_time_hold_in_workers(way, tmp_path):
    """Spawned workers saw what an import of the main module gives."""
    assert run_program(tmp_path, VALUES, way) == "well\n"


LATE = (
    MAIN
    + """
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
import enum, multiprocessing
class Base:
    def name(self): return "base"
def make(x): return Late(x).value()
def is_base(x): return isinstance(Late(x), Base), Late(x).name()
def of(late): return late.value()
def more(x): return Late(x + 1)
def fails(x):
    if x == 4: raise Odd(x)
    return x
def makes_rest(x): return Point(x, Color.RED).x, Point(1, Color.RED).color.name, Late.Inner.k
if __name__ == "__main__":
    T = 10
    class Late(Base):
        class Inner: k = 3
        def __init__(self, x): self.x = x
        def value(self): return self.x * T
        def name(self): return "late " + super().name()
        def __eq__(self, other): return type(other) is Late and other.x == self.x
        def __hash__(self): return self.x
    class Odd(Exception): pass
    class Color(enum.Enum):
        RED = 1
    @dataclass
    class Point:
        x: int
        color: Color
    way = sys.argv[1]
    def run(func, data):
        options = dict(backend="processes", max_workers=2)
        if way == "async": return asyncio.run(amorsize.execute_async(func, data, **options))
        if way == "pool":
            with amorsize.optimize(func, data, start_method="spawn", **options).pool() as pool:
                return pool.map(func, data)
        if way == "Executor":
            with amorsize.Executor(1) as executor: return list(executor.map(func, data))
        if way.startswith("theirs"):
            context = multiprocessing.get_context(way.partition(" ")[2])
            with ProcessPoolExecutor(2, mp_context=context) as executor:
                return amorsize.execute(func, data, backend=executor)
        return amorsize.execute(func, data, start_method=way, **options)
    for func in (make, is_base, more, makes_rest):
        assert run(func, range(6)) == list(map(func, range(6))), func
    assert run(of, [Late(2)] * 3) == [20] * 3
    assert run(of, [Base, Late(2)][1:] * 3) == [20] * 3
    try: run(fails, range(6))
    except Odd as exc: print("well")
"""
)


@pytest.mark.parametrize(
    "way", ["spawn", "forkserver", "async", "Executor", "pool", "theirs spawn", "theirs forkserver", "theirs fork"]
)
def test_classes_that_the_main_module_made_at_run_time_are_there_in_workers(way, tmp_path):
    """Of a class under ``if __name__ == "__main__":`` an import of the main module knows nothing: NameError."""
    assert run_program(tmp_path, LATE, way) == "well\n"


THEIRS = (
    MAIN
    + """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
class M:
    def __init__(self, k): self.k = k
    def __secret(self): return self.k * 3
    def secret(self): return self.__secret
    def value(self): return self.k
class N(M):
    def value(self): return -1
    def above(self): return super().value
def call(method): return method()
def back(x): return N(x).above()
def bad(): raise ValueError("no such thing")
class Broken:
    def __reduce__(self): return bad, ()
def breaks(x): return Broken() if x == 2 else x
if __name__ == "__main__":
    T, NEW = 10, 5
    way = sys.argv[1]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(way)) as executor:
        def run(func, data, **kw): return amorsize.execute(func, data, backend=executor, **kw)
        assert run(call, [M(3).secret(), N(4).above(), N(4).value]) == [9, 4, -1]
        assert [method() for method in run(back, [1, 2])] == [1, 2]
        assert run(nested, range(6)) == [10 * x for x in range(6)]
        assert run(names_new, range(6)) == [5 + x for x in range(6)]
        assert list(amorsize.stream(nested, iter(range(6)), backend=executor)) == [10 * x for x in range(6)]
        T = 12
        assert run(nested, range(6)) == [12 * x for x in range(6)]
        # What cannot be rebuilt costs its item, and not the executor.
        found = run(str, [1, Broken(), 3], on_error="collect")
        assert (found[0], found[2]) == ("1", "3") and "no such thing" in str(found[1].exception), found
        found = run(breaks, range(4), on_error="collect")
        assert (found[:2], found[3]) == ([0, 1], 3) and "no such thing" in str(found[2].exception), found
        stream = (x for x in ())
        _, plan = run(reads_stream, range(4), return_plan=True)
        assert any("'stream'" in warning for warning in plan.warnings), plan.warnings
        try: run(functools.partial(max, Broken()), range(3))
        except amorsize.errors.TransferError as exc: assert "func" in str(exc) and "no such thing" in str(exc), exc
        assert run(abs, [-3]) == [3]
    print("well")
"""
)


@pytest.mark.parametrize("way", ["spawn", "forkserver", "fork"])
def test_the_users_own_process_pool_gets_the_same_functions_methods_and_globals(way, tmp_path):
    """It saw what an import gives, ran other methods, and broke on what could not be rebuilt."""
    assert run_program(tmp_path, THEIRS, way) == "well\n"


KEPT = (
    MAIN
    + """
if __name__ == "__main__":
    T = 10
    stream = (x for x in ())
    options = dict(backend="processes", start_method="spawn", max_workers=1, return_plan=True)
    results, plan = amorsize.execute(reads_stream, range(4), **options)
    assert results == [True] * 4
    assert any("'stream'" in warning and "cannot be pickled" in warning for warning in plan.warnings), plan.warnings
    plan = amorsize.optimize(reads_stream, range(9), backend="processes", start_method="spawn")
    assert any("'stream'" in warning for warning in plan.warnings), plan.warnings
    # What a function makes of a global in its worker stays, as in any pool's worker.
    assert amorsize.execute(loads, range(3), **options)[0] == [1, 2, 3]
    assert amorsize.execute(loads, range(3), **options)[0] == [4, 5, 6]
    with amorsize.Executor(1, initializer=initialize, initargs=(3,)) as executor:
        assert executor.submit(with_model, 1).result() == (3, 1, 10)
        T = 11
        assert list(executor.map(with_model, range(2))) == [(3, 0, 11), (3, 1, 11)]
    print("well")
"""
)


def test_what_cannot_travel_stays_as_imported_and_is_named(tmp_path):
    assert run_program(tmp_path, KEPT) == "well\n"


def test_globals_are_found_in_the_code_and_not_among_its_attributes():
    code = compile("def f(x):\n return x.data + limit + (lambda: other)()", "", "exec").co_consts[0]
    assert main_module.global_names(code) == {"limit", "other"}


REMOTE = """
import sys
import amorsize
class Bad(Exception):
    def __init__(self, one, two): super().__init__("bad")
def fail(x):
    if x == 3: raise Bad(1, 2)
    return x
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        try: amorsize.execute(fail, range(6), backend="processes", start_method=method, max_workers=2)
        except amorsize.errors.RemoteError as exc: print(exc.type_name, exc.index, "__mp_main__" in str(exc.__cause__))
    with amorsize.Executor(1) as executor:
        executor.submit(abs, 1).result()
        try: list(executor.map(fail, range(6)))
        except amorsize.errors.RemoteError as exc: print(exc.type_name, exc.index, "__mp_main__" in str(exc.__cause__))
"""


def test_an_exception_that_cannot_be_rebuilt_names_its_item_and_its_type_as_the_program_does(tmp_path):
    assert run_program(tmp_path, REMOTE) == "__main__.Bad 3 False\n" * 4
