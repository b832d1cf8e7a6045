"""Set the globals of the main module in a worker that imports it anew to the values that they have in the caller.

A worker that is not forked runs the main module again, up to ``if __name__ == "__main__":``. What the program has set
since (a parameter, a loaded table) is not there. So the values of those globals travel that the user's function names,
and the functions of the main module that it calls. In the worker only what differs from the import is replaced:
functions, classes and objects that are the same stay the very same objects. Classes that the program has made since
travel, too, by cloudpickle, and are set where the worker has none of that name.
"""

from __future__ import annotations

import opcode
import pickle
import re
import sys
from _thread import LockType, allocate_lock
from collections.abc import Iterable
from functools import lru_cache, partial
from importlib import import_module
from types import CodeType, FunctionType, MethodType, ModuleType

from amorsize.backends.workers.by_value import dumps
from amorsize.backends.workers.functions import MAIN, Sent, cells_of, found, pickled_by_name, scope_of
from amorsize.system.looks import ATOMS, attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

MOST: Final = 2_000  # guess: objects looked at, to find what a function names
FEW: Final = 64  # guess: elements of a container that may hold functions
LARGE_BYTES: Final = 10_000_000  # a value of more is sent to a worker once
# Instructions that read a global, and by how many bits their argument is shifted.
LOADS: Final = {opcode.opmap["LOAD_GLOBAL"]: 1, opcode.opmap["LOAD_NAME"]: 0}
STORE: Final = opcode.opmap["STORE_GLOBAL"]
# Prefix that marks the name of a class among the names of values.
CLASS: Final = "class "


class Values:
    """Values of globals of the main module, on their way to a worker: to unpickle them is to set them there.

    Parameters
    ----------
    pickled : dict of str to bytes
        Values by name.
    kept : dict of str to str
        Why the other globals that are named stay as the worker imports them.
    """

    __slots__ = ("kept", "pickled")

    def __init__(self, pickled: dict[str, bytes], kept: dict[str, str]) -> None:
        self.pickled = pickled
        self.kept = kept

    def __reduce__(self) -> tuple[Any, ...]:
        return set_values, (self.pickled,)

    def warnings(self) -> list[str]:
        """Return a warning for each global that cannot travel."""
        return [
            f"workers use the global {name.removeprefix(CLASS)!r} as the main module sets it when it is imported: {why}"
            for name, why in self.kept.items()
        ]


# -- in the caller ----------------------------------------------------------------------------------------------------


def values_of(funcs: Iterable[Any], but: Iterable[str] = ()) -> Values | None:
    """Return the values of the globals of the main module that these functions name; None if they name none."""
    return _values(named_by(funcs), but)


def _values(values: dict[str, Any], but: Iterable[str]) -> Values | None:
    """Return these values, pickled, without those in ``but``; None: none are left."""
    for name in but:
        values.pop(name, None)
    if not values:
        return None
    pickled: dict[str, bytes] = {}
    kept: dict[str, str] = {}
    for name, value in values.items():
        try:
            pickled[name] = pickled_class(value) if name.startswith(CLASS) else pickled_value(value)
        except Exception as exc:  # noqa: BLE001  (pickle raises anything)
            kept[name] = f"a {type(value).__name__} cannot be pickled ({type(exc).__name__})"
    return Values(pickled, kept) if pickled or kept else None


def used(func: Any, data: Any) -> list[Any]:
    """Return a function and an item of each type among the first ones: their methods may name globals, too."""
    first = data[:FEW] if type(data) in (list, tuple) else ()
    return [func, *{type(one): one for one in reversed(first)}.values()]


class Updates:
    """The values of globals that each lasting worker has, so that a call brings only those that have changed.

    ``initializer`` may have made something of the globals that it names in each worker: these are left alone.
    """

    def __init__(self, initializer: Any) -> None:
        self.but = named_by([initializer], sets=True).keys() if initializer is not None else ()
        self.known: dict[int, dict[str, bytes]] = {}

    def of(self, worker: int, objects: Iterable[Any]) -> Values | None:
        """Return the values that a worker needs before it is sent these functions and arguments; None: none."""
        if not (named := named_by(objects)):
            return None
        known = self.known.setdefault(worker, {})
        large = [name for name, pickled in known.items() if len(pickled) > LARGE_BYTES]
        values = _values(named, (*self.but, *large))
        if values is None:
            return None
        fresh = {name: pickled for name, pickled in values.pickled.items() if known.get(name) != pickled}
        known |= fresh
        return Values(fresh, {}) if fresh else None

    def forget(self, worker: int) -> None:
        """Forget a worker that has gone."""
        self.known.pop(worker, None)


class _Carried:
    """Something with the values that must be set before it is unpickled."""

    def __init__(self, values: Values, what: Any) -> None:
        self.values = values
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return _second, (self.values, self.what)


def carried(values: Values | None, what: Any) -> Any:
    """Return what to pickle so that the values are set before ``what`` is unpickled."""
    return what if values is None else _Carried(values, what)


def _second(_: object, what: Any) -> Any:
    return what


def pickled_value(value: Any) -> bytes:
    """Pickle a value; with cloudpickle where need be."""
    value = _portable(value)
    try:
        return pickled_by_name(value)
    except Exception:  # noqa: BLE001
        return dumps(value)


def pickled_class(kind: type) -> bytes:
    """Pickle a class of the main module that an import does not make, by its value."""
    import io

    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """A pickler that pickles other objects of the main module by name, and gives methods the worker's globals."""

        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is FunctionType and _is_mine(obj):
                if "." not in obj.__qualname__ and found("__main__", obj.__qualname__) is obj:
                    return Sent(obj).__reduce__()
                make, made_of, state, *rest = super().reducer_override(obj)
                state[1]["__globals__"] = {}
                return make, (made_of[0], _Made(scope_of, "__main__"), *made_of[2:]), state, *rest
            if issubclass(type(obj), type) and obj.__module__ in MAIN and not is_late(obj):
                return obj.__qualname__
            return super().reducer_override(obj)

    stream = io.BytesIO()
    Pickler(stream, 5).dump(kind)
    return stream.getvalue()


def is_late(kind: type) -> bool:
    """Return True for a class of the main module that may not be there after an import: one not written at its margin.

    It is written under ``if __name__ == "__main__":``, made by a call, or typed at a prompt.
    """
    name = kind.__qualname__.partition(".")[0]
    return "<" in kind.__qualname__ or not re.search(rf"^(class\s+)?{re.escape(name)}\b", _source(), re.MULTILINE)


def _source() -> str:
    path = getattr(sys.modules["__main__"], "__file__", None)
    return _text(path) if type(path) is str else ""


@lru_cache(maxsize=1)
def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _portable(value: Any) -> Any:
    if type(value) is FunctionType and _is_mine(value):
        return Sent(value)
    if type(value) is LockType:
        return _Made(allocate_lock)
    return _Made(import_module, value.__name__) if type(value) is ModuleType else value


class _Made:
    """Stands for what pickle does not take, and a worker can make for itself: a module, a lock."""

    def __init__(self, make: Any, *args: Any) -> None:
        self.how = make, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.how


def _is_mine(func: FunctionType) -> bool:
    return func.__globals__.get("__name__") in MAIN


def named_by(funcs: Iterable[Any], *, sets: bool = False) -> dict[str, Any]:
    """Return the globals of the main module that functions read, with all functions and classes of it that they use.

    ``sets``: those that they set, too.
    Classes of the main module are among them, as ``class NAME``, only if a worker may not have them by its import.
    """
    main = scope_of("__main__")
    values: dict[str, Any] = {}
    seen: set[int] = set()
    todo: list[Any] = [one for one in funcs if type(one) not in ATOMS]
    while todo and len(seen) < MOST:
        one = todo.pop()
        if type(one) in ATOMS or id(one) in seen:
            continue
        seen.add(id(one))
        if type(one) is FunctionType:
            if one.__globals__ is main:
                for name in global_names(one.__code__, sets):
                    if name in main and not (issubclass(type(main[name]), type) and main[name].__module__ in MAIN):
                        values[name] = main[name]
                    todo.append(main.get(name))
            if one.__closure__ or one.__defaults__ or one.__kwdefaults__:
                todo += [*cells_of(one), *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()]
        elif type(one) is MethodType:
            todo += [one.__func__, one.__self__]
        elif issubclass(type(one), partial):
            todo += [one.func, *one.args, *one.keywords.values()]
        elif type(one) is Sent:
            todo.append(one.func)
        elif issubclass(type(one), type):
            if one.__module__ in MAIN:
                name = one.__qualname__
                if is_late(one) and main.get(name) is one:
                    values[CLASS + name] = one
                todo += [*vars(one).values(), *one.__bases__]
        elif type(one) in (classmethod, staticmethod):
            todo.append(one.__func__)
        elif type(one) is property:
            todo += [one.fget, one.fset]
        elif type(one) in (list, tuple, dict, set) and len(one) <= FEW:
            todo += one.values() if type(one) is dict else one
        elif type(one).__module__ in MAIN:
            todo += [type(one), *(attribute(one, "__dict__") or {}).values()][: FEW + 1]
        elif type(one).__name__ == "_lru_cache_wrapper":
            todo.append(one.__wrapped__)
    return values


@lru_cache(maxsize=1024)
def global_names(code: CodeType, sets: bool = False) -> frozenset[str]:
    """Return the names of the globals that code reads, and the code within it."""
    names: set[str] = set()
    argument, raw = 0, code.co_code
    for at in range(0, len(raw), 2):
        op, argument = raw[at], argument << 8 | raw[at + 1]
        if op == opcode.EXTENDED_ARG:
            continue
        if op in LOADS:
            names.add(code.co_names[argument >> LOADS[op]])
        elif sets and op == STORE:
            names.add(code.co_names[argument])
        argument = 0
    for value in code.co_consts:
        if type(value) is CodeType:
            names |= global_names(value, sets)
    return frozenset(names)


# -- in a worker ------------------------------------------------------------------------------------------------------

_seen: dict[str, bytes] = {}
"""The latest pickles. A value that a function has changed since stays as it is, as in any pool's worker."""


def set_values(pickled: dict[str, bytes]) -> None:
    """Set globals of the main module, where they are not as they should be."""
    main, module = scope_of("__main__"), vars(sys.modules["__main__"])
    # Classes first: values may be instances of them.
    for name, wanted in sorted(pickled.items(), key=lambda one: not one[0].startswith(CLASS)):
        if _seen.get(name) == wanted:
            continue
        if name.startswith(CLASS):
            kind = name.removeprefix(CLASS)
            if kind not in main:
                main[kind] = pickle.loads(wanted)
            if kind not in module:
                setattr(sys.modules["__main__"], kind, main[kind])
            _seen[name] = wanted
            continue
        if not (name in main and name not in _seen and _is_as(main[name], wanted)):
            value = pickle.loads(wanted)
            if main.get(name, _seen) is not value:
                main[name] = module[name] = value
        _seen[name] = wanted


def _is_as(value: Any, wanted: bytes) -> bool:
    if type(value) is FunctionType:
        # Only unpickling it shows if the value is the same.
        return False
    try:
        return pickled_by_name(_portable(value)) == wanted
    except Exception:  # noqa: BLE001
        return False
