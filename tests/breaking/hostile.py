"""Objects whose special methods raise, lie or dawdle: as items, results, exceptions, data and func.

Hypothesis draws which methods do what. What must come out is what ``list(map(func, data))`` gives with objects that
misbehave in the same way; where objects must travel to another process and will not, a failure that names the item.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import modes
from hypothesis import strategies as st

import amorsize

from . import functions as fn
from . import harness
from .faults import turned
from .harness import demand

# Not KeyboardInterrupt: it is Ctrl-C wherever it is raised, and ends the map.
ERRORS: Mapping[str, type[BaseException]] = {
    "ValueError": ValueError,
    "AttributeError": AttributeError,
    "StopIteration": StopIteration,
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
    "SystemExit": SystemExit,
    "GeneratorExit": GeneratorExit,
    "Own": fn.Own,
}
METHODS = [
    f"__{name}__"
    for name in (
        *("len", "sizeof", "length_hint", "repr", "str", "format", "bool", "hash", "dir", "fspath", "buffer", "array"),
        *("eq", "ne", "lt", "gt", "le", "ge", "index", "int", "float", "abs", "add", "mul", "round", "contains"),
        *("iter", "next", "getitem", "call", "enter", "await", "aiter", "getattr", "class_getitem", "del"),
        *("reduce", "reduce_ex", "getstate", "copy", "deepcopy"),
    )
]
# What is asked for by name rather than by a special method.
ATTRIBUTES = ["nbytes", "size", "shape", "dtype", "ndim"]
ATTRIBUTES += ["__name__", "__module__", "__self__", "__wrapped__", "__notes__"]
LIES: tuple[Any, ...] = (0, -1, 1 << 62, 10**400, float("nan"), None, "", "x" * 100_000, (), object, b"\0", True)
CALLERS = [modes.SERIAL, modes.AUTO, modes.THREADS, modes.TO_THREADS, modes.EITHER, modes.TO_PROCESSES[0]]
WORKERS = modes.PROCESSES[:1]


def misbehave(how: Any) -> Any:
    """Do what was drawn: raise, dawdle, or lie."""
    kind, value = how
    if kind == "raise":
        raise ERRORS[value](value)
    if kind == "slow":
        time.sleep(0.02)
        raise ValueError(value)
    return LIES[value]


def kind_of(methods: Mapping[str, Any], base: type = object) -> type:
    """A class whose methods misbehave so; ``number_`` of an instance is what our own functions read."""

    def method(how: Any) -> Any:
        return lambda self, *args, **kwargs: misbehave(how)

    space: dict[str, Any] = {}
    for name, how in methods.items():
        space[name] = method(how) if name in METHODS else property(method(how))
    space.setdefault("__hash__", object.__hash__)
    if base is object:
        space["__slots__"] = ("number_",)
        space["__init__"] = lambda self, number: object.__setattr__(self, "number_", number)
    return type("Hostile", (base,), space)


def number(item: Any) -> int:
    return item if type(item) is int else object.__getattribute__(item, "number_")


# -- what is drawn ---------------------------------------------------------------------------------------------------

behaviours = st.one_of(
    st.tuples(st.just("raise"), st.sampled_from(sorted(ERRORS))),
    st.tuples(st.just("lie"), st.integers(0, len(LIES) - 1)),
    st.tuples(st.just("slow"), st.just("slow")),
)
methods_drawn = st.dictionaries(st.sampled_from(METHODS + ATTRIBUTES), behaviours, min_size=1, max_size=6)
everything = st.builds(lambda how: dict.fromkeys([*METHODS, *ATTRIBUTES], how), behaviours)
kinds_drawn = st.one_of(methods_drawn, methods_drawn, everything)
roles = st.sampled_from(("item", "result", "exception", "func", "data"))


def run(entry: str, func: Any, data: Any, mode: modes.Mode, **more: Any) -> Any:
    with turned(mode):
        if entry == "stream":
            return list(amorsize.stream(func, data, **mode.arguments, **more))
        return amorsize.execute(func, data, **mode.arguments, **more)


def as_item(entry: str, kind: type, mode: modes.Mode) -> None:
    """Our function reads the number alone; so the results are those of plain items."""
    data = [kind(i) if i % 3 == 0 else i for i in range(9)]
    demand(run(entry, number, data, mode) == list(range(9)), "wrong results")


def as_result(entry: str, kind: type, mode: modes.Mode) -> None:
    made = [kind(i) if i % 3 == 0 else i for i in range(9)]
    # A worker must send what it has made: an object of a class that no other process knows does not travel.
    travels = mode.backend == "processes" or mode == modes.EITHER
    found = run(entry, made.__getitem__, range(9), mode, **({"on_error": "collect"} if travels else {}))
    demand(len(found) == 9, f"{len(found)} results")
    for index, (one, wanted) in enumerate(zip(found, made, strict=True)):
        if one is wanted or (type(wanted) is int and type(one) is int and one == wanted):
            continue
        if travels and type(wanted) is not int:
            demand(type(one) is amorsize.Failure or type(one).__name__ == "Hostile", f"item {index}: {type(one)}")
            continue
        demand(mode.turns == "processes" and type(one).__name__ == "Hostile", f"item {index}: {type(one)}")
        demand(number(one) == index, f"item {index}: the result of {number(one)}")


def as_exception(entry: str, methods: Mapping[str, Any], mode: modes.Mode) -> None:
    kind = kind_of({name: how for name, how in methods.items() if name not in ("__init__", "__class__")}, Exception)

    def func(item: int) -> int:
        if item == 5:
            raise kind()
        return item

    found = run(entry, func, range(9), mode, on_error="collect")
    rest = [one for index, one in enumerate(found) if index != 5]
    demand(rest == [0, 1, 2, 3, 4, 6, 7, 8], f"the other results: {rest!r}"[:200])
    demand(type(found[5]) is amorsize.Failure, f"item 5: {type(found[5])}")
    exc = found[5].exception
    mine = type(exc).__name__ == "Hostile"
    demand(
        mine or (mode.name not in ("serial", "threads") and type(exc).__name__ == "RemoteError"), f"item 5: {type(exc)}"
    )
    try:
        run(entry, func, range(9), mode)
    except BaseException as raised:
        demand(type(raised) is kind or type(raised).__name__ in ("RemoteError", "Hostile"), f"{type(raised)}")


def as_func(entry: str, methods: Mapping[str, Any], mode: modes.Mode) -> None:
    space = {name: how for name, how in methods.items() if name not in ("__call__", "__await__")}
    kind = kind_of(space)
    kind.__call__ = lambda self, item: item * 2  # type: ignore[operator]
    demand(run(entry, kind(0), range(9), mode) == [2 * i for i in range(9)], "wrong results")


def as_data(entry: str, methods: Mapping[str, Any], mode: modes.Mode) -> None:
    space = {name: how for name, how in methods.items() if name not in ("__iter__", "__next__", "__aiter__")}
    kind = kind_of(space)

    def walk(self: Any) -> Iterator[int]:
        yield from range(9)

    kind.__iter__ = walk  # type: ignore[attr-defined]
    demand(run(entry, fn.plain, kind(0), mode) == [fn.plain(i) for i in range(9)], "wrong results")


def one(role: str, entry: str, methods: Mapping[str, Any], mode: modes.Mode) -> None:
    hypothesis.note(f"{role} {entry} {mode.name} {methods}")
    if role == "exception":
        as_exception(entry, methods, mode)
    elif role == "func":
        as_func(entry, methods, mode)
    elif role == "data":
        as_data(entry, methods, mode)
    else:
        (as_item if role == "item" else as_result)(entry, kind_of(methods), mode)


def trial(seed: int, folder: str) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=20,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(
        roles, st.sampled_from(("execute", "execute", "stream")), kinds_drawn, st.sampled_from([*CALLERS, *WORKERS])
    )
    def examples(role: str, entry: str, methods: Mapping[str, Any], mode: modes.Mode) -> None:
        one(role, entry, methods, mode)

    random.seed(seed)
    examples()


if __name__ == "__main__":
    harness.main("hostile")
