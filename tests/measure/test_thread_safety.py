"""A look at a function says if it is safe in threads, and runs nothing of it."""

from __future__ import annotations

import copy
import dis
import functools
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import types

import pytest
import thread_implied
import thread_overridden
import thread_special
from hypothesis import given
from hypothesis import strategies as st
from modes import ROOT
from thread_safe import SAFE as RIGHT
from thread_unsafe import UNSAFE as WRONG

from amorsize.facts import Breakdown, Forecast
from amorsize.measure import thread_safety
from amorsize.measure.safety import ground, tables
from amorsize.measure.thread_safety import Safety, examples, left_of, look, warning

SAFE = {**RIGHT, **thread_implied.SAFE, **thread_special.SAFE}
UNSAFE = {**WRONG, **thread_implied.UNSAFE, **thread_overridden.UNSAFE, **thread_special.UNSAFE}
# Functions whose results depend on the items before: each process would have a state of its own.
CARRIED = (
    "adds_to_a_global",
    "writes a nonlocal",
    "appends to a cell",
    "writes_an_element",
    "writes_a_nested_element",
    "a bound method that counts",
    "a_mutable_default",
    "a dataclass's method",
    "tallies",
    "takes_the_next",
    "counts_on",
    "draws",
    "asks_a_server",
    "a client with a connection",
    "pops_left",
    "writes_an_array_in_place",
    "writes_under_a_lock",
)
# Functions that write before they read: processes give what the loop gives.
SCRATCH = (
    "writes_a_global",
    "writes_out",
    "writes_a_slice",
    "writes_an_array",
    "fills_an_array",
    "memoises",
    "a bound method with a buffer",
    "an object that is called",
    "a partial with a list",
    "writes_behind_a_decorator",
    "changes_the_folder",
    "sets_the_environment",
    "redirects",
    "seeds",
    "packs_into",
    "makes_a_table_once",
    "a table made once",
    "writes_through_a_list",
)


def test_the_corpus_is_large():
    assert len(SAFE) >= 60
    assert len(UNSAFE) >= 60


@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_wrong_in_threads_is_not_called_safe(name):
    func, items = UNSAFE[name]
    found = look(func, items, items)
    assert not found.is_safe
    assert found.why


@pytest.mark.parametrize("name", SAFE)
def test_what_is_right_in_threads_is_called_safe(name):
    func, items = SAFE[name]
    assert str(look(func, items, items)) == ""


def test_what_is_handed_from_item_to_item_is_told_from_scratch():
    found = {name: look(*UNSAFE[name], UNSAFE[name][1]) for name in (*CARRIED, *SCRATCH)}
    assert [name for name in CARRIED if not found[name].carries] == []
    assert [name for name in SCRATCH if found[name].carries] == []
    backends = ("serial", "threads", "processes")
    assert left_of(backends, found["counts_on"]) == ("serial",)
    assert left_of(backends, found["memoises"]) == ("serial", "processes")
    assert left_of(("threads",), found["memoises"]) == ("serial",)


def test_the_answer_says_why_and_where():
    line = UNSAFE["adds_to_a_global"][0].__code__.co_firstlineno + 3
    assert str(look(*UNSAFE["adds_to_a_global"])) == f"writes the global `COUNT` (line {line})"
    assert "in `_helper`" in look(*UNSAFE["writes_a_global_in_a_helper"]).where
    forecast = Forecast(
        backend="threads", workers=8, chunksize=1, start_method=None, total_s=2.0, low_s=1.0, high_s=3.0,
        breakdown=Breakdown(),
    )  # fmt: skip
    text = warning(Safety(answer="unsafe", why="writes the global `n`", where="line 3"), forecast)
    assert text.startswith("8 threads should take 2 s, but are out: func is not shown to be safe in threads, since it ")
    assert "writes the global `n` (line 3)" in text
    assert "backend='threads'" in text


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ([[1], [2]], "safe"),
        ([[1]] * 2, "unknown"),
        (iter([[1], [2]]), "unknown"),
    ],
)
def test_an_item_is_written_safely_only_if_it_comes_once(data, answer):
    assert look(lambda item: item.append(1), examples(data) or [[1]], data).answer == answer


def test_arrays_that_share_memory_are_not_written_in_threads():
    np = pytest.importorskip("numpy")
    rows = np.zeros((4, 3))

    def write(row):
        row[0] = 1

    assert look(write, list(rows), rows).is_safe
    assert not look(write, list(rows), [rows[0], rows[0:1]]).is_safe
    assert not look(write, list(rows), rows[::-1]).is_safe


def test_views_of_blocks_apart_are_written_in_threads_and_others_are_not():
    np = pytest.importorskip("numpy")

    def write(block):
        block[0] = 1

    apart = [np.arange(6).reshape(2, 3) for _ in range(3)]
    assert look(write, apart, apart).is_safe
    memory = bytearray(8)
    for shared in ([memoryview(memory)[:4], memoryview(memory)[2:]], [memory, memoryview(memory)]):
        assert not look(write, shared, shared).is_safe
    boxes = np.empty(3, dtype=object)
    boxes[:] = [[0]] * 3
    assert not look(write, list(boxes), boxes).is_safe


def test_more_items_than_are_compared_are_not_known_to_be_apart():
    items = [[i] for i in range(thread_safety.MOST_COMPARED + 1)]
    assert look(lambda item: item.append(1), examples(items), items[1:]).is_safe
    found = look(lambda item: item.append(1), examples(items), items)
    assert (found.answer, found.carries) == ("unknown", False)
    assert look(lambda item: item.append(1), examples(items), [items[0]] * 3).carries


@pytest.mark.parametrize("name", ["u_tl_count", "u_tl_try", "u_cv_count", "tl_list", "tl_sub", "u_dec_count", "u_ids"])
def test_what_a_thread_keeps_from_item_to_item_stays_in_the_loop(name):
    found = look(*UNSAFE[name], UNSAFE[name][1])
    assert left_of(("serial", "threads", "processes"), found) == ("serial",)


def test_a_special_method_is_named_with_its_object():
    why = look(*UNSAFE["sn_not"]).why
    assert why == "may call `__len__` of the global `SN`, which writes the attribute `v` of the global `Holder`"


def test_handlers_of_a_logger_count_only_if_they_write_what_is_read():
    name = "amorsize.test.handlers"
    written = []

    class Keeps(logging.Handler):
        def emit(self, record):
            written.append(record)

    log = logging.getLogger(name)
    log.addHandler(Keeps())

    def logs(x):
        log.info("x")
        return x

    def counts(x):
        log.info("x")
        return len(written)

    assert look(logs, [1]).is_safe
    assert look(counts, [1]).why == "reads what a handler of its logger writes"


def test_every_row_of_the_tables_has_its_source():
    for table in (tables.CALLS_TABLE, tables.KINDS_TABLE):
        for row in table.strip().splitlines():
            module, names, what, source = row.split(" | ")
            assert module
            assert names
            assert what.isalpha()
            assert source


def test_a_long_function_is_not_looked_at_to_its_end():
    scope = {}
    exec("def f(x):\n" + "".join(f"    a{i} = x + {i}\n" for i in range(1000)) + "    return x", scope)
    assert look(scope["f"], [1]).why == "reaches more code than is looked at"

    def endless(x, depth=0):
        return endless([x], depth)

    assert look(endless, [1]).answer in ("unknown", "safe")


def test_a_look_loads_nothing():
    script = """
import sys, amorsize.measure.thread_safety as safety
before = set(sys.modules)
assert safety.look(lambda x: [x], [1]).is_safe
assert set(sys.modules) == before
assert not before & {"inspect", "dis", "typing", "re", "enum", "ast"}, before
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-S", "-c", script], env=env, check=True)


NOP = dis.opmap["NOP"]

# -- objects that bite ------------------------------------------------------------------------------------------------


class Bites(BaseException):
    """Raised by everything below."""


BITTEN = []


def bite(*_, **__):
    BITTEN.append(1)
    raise Bites


def hostile():
    """Return objects that bite; pytest must not see their classes."""

    class Meta(type):
        __instancecheck__ = __subclasscheck__ = __call__ = __iter__ = __len__ = __eq__ = bite
        __hash__ = bite

        def __getattribute__(cls, name):
            bite()

    class Hostile(metaclass=Meta):
        __getattribute__ = __getattr__ = __eq__ = __bool__ = __len__ = __iter__ = __call__ = __getitem__ = bite
        __hash__ = __repr__ = __str__ = __add__ = __enter__ = __next__ = __index__ = __contains__ = bite

    class Trap:
        """A descriptor that bites."""

        def __get__(self, owner, kind=None):
            bite()

    class Quiet:
        name = property(bite)
        trap = Trap()
        __class__ = property(bite)
        __dict__ = property(bite)

    return [object.__new__(Hostile), Hostile, Quiet(), object.__new__(Quiet)]


def uses(thing):
    def use(x):
        with thing:
            thing.name, thing.trap, thing[x], len(thing), thing + x, list(thing), thing(x), x in thing, str(thing)
            thing.name = f"{thing}"
        return [x for x in thing if thing]

    return use


def uses_without_a_name(thing):
    def use(x):
        try:
            assert not thing, {thing}
            raise thing
        except ValueError:
            pass
        match thing:
            case {"a": a}:
                return a
            case Named(one):
                return one
        table = {thing: 1, **thing}
        numbers = sorted([thing, thing]), max(thing, x), sum([thing]), -thing, hash(thing), bool(thing), abs(thing)
        texts = repr([thing]), f"{(thing,)}", f"{thing.a}", "{0.a}".join(thing)
        copies = copy.deepcopy(thing), pickle.dumps([thing]), json.dumps(thing, default=thing)
        getattr(thing, str(x)), hasattr(thing, "name"), isinstance(x, thing), issubclass(thing, int), thing[x:thing]
        del thing.name, thing[x]
        return table, numbers, texts, copies, [*thing], print(x, file=thing), list(map(thing, [x])), thing in [thing]

    return use


class Named:
    __match_args__ = ("name",)


@pytest.mark.parametrize("index", range(4))
def test_nothing_of_a_hostile_object_runs(index):
    thing = hostile()[index]
    BITTEN.clear()
    funcs = (uses(thing), uses_without_a_name(thing), thing, functools.partial(uses(thing)), lambda x, y=thing: y(x))
    answers = [look(func, [1]).answer for func in funcs]
    answers.append(look(lambda x: x.name + len(x), [thing]).answer)
    assert "safe" not in answers
    assert not BITTEN


class Odd(dict):
    get = keys = values = items = __iter__ = __contains__ = __getitem__ = __missing__ = bite


def test_a_scope_that_bites_is_not_asked():
    func = types.FunctionType(UNSAFE["adds_to_a_global"][0].__code__, Odd(COUNT=bite))
    assert not look(func, [1]).is_safe


# Others crash the interpreter as soon as the code is read: they stand for what only the interpreter itself writes.
KNOWN = sorted(
    number for name, number in dis.opmap.items() if number < 256 and not name.startswith(("INSTRUMENTED", "ENTER_"))
)
STEPS = st.lists(st.tuples(st.sampled_from(KNOWN), st.integers(0, 255)), max_size=40)


def test_a_table_of_handlers_without_end_is_read_to_the_end_of_the_code():
    # Start 0, a length of 64**8, target 0, depth 0.
    code = look.__code__.replace(co_exceptiontable=bytes([0x80, *[0x7F] * 8, 0x3F, 0, 0]))
    assert look(types.FunctionType(code, globals()), [1]).answer in ("safe", "unknown", "unsafe")


@given(STEPS, st.binary(max_size=12))
def test_made_up_code_never_raises(steps, table):
    # The padding: CPython itself reads beyond the end of code whose last instruction should have caches.
    raw = bytes(byte for step in steps for byte in step) + bytes((NOP, 0)) * 32
    code = look.__code__.replace(co_code=raw, co_exceptiontable=table)
    assert look(types.FunctionType(code, globals()), [1]).answer in ("safe", "unknown", "unsafe")


@given(st.sampled_from([*SAFE, *UNSAFE]), st.integers(0, 2**32))
def test_code_with_other_instructions_never_raises(name, seed):
    func = {**SAFE, **UNSAFE}[name][0]
    if not isinstance(func, types.FunctionType):
        return
    source = random.Random(seed)
    raw = bytearray(func.__code__.co_code)
    for _ in range(source.randrange(1, 6)):
        at = source.randrange(len(raw) // 2) * 2
        raw[at : at + 2] = source.choice(KNOWN), source.randrange(256)
    changed = func.__code__.replace(co_code=bytes(raw) + bytes((NOP, 0)) * 32)
    odd = types.FunctionType(changed, func.__globals__, "odd", None, func.__closure__)
    assert look(odd, [1]).answer in ("safe", "unknown", "unsafe")


def test_no_code_is_unknown():
    assert look(print, ["x"]).is_safe
    assert look(sys.settrace, [1]).answer == "unsafe"
    assert look(dis.dis, [1]).answer in ("unknown", "unsafe")
    assert look(object(), [1]).answer == "unknown"
    assert look(None, [1]).answer == "unknown"
    assert look(type("Odd", (), {"__call__": 3})(), [1]).answer == "unknown"


def test_the_budget_bounds_a_look(monkeypatch):
    monkeypatch.setattr(ground, "MOST_STEPS", 5)
    assert look(lambda x: [i + 1 for i in range(x)], [1]).answer == "unknown"
