"""Send functions to a worker, so that it gets this very function and not another one of the same name.

pickle sends a method as ``getattr(self, __name__)`` and a function as the name of its module and its own. Both may lead
elsewhere: to the override of ``super().m``, to what a decorator or a patch has put there, to nothing at all for
``__private`` methods and lambdas in a class. So a method travels as its function and its object, and a function that
was not compiled under the name that it is found by takes its parts along: where the worker finds another one under
that name, it is put together again there.
"""

from __future__ import annotations

import copyreg
import io
import marshal
import pickle
import sys
from functools import lru_cache, partial
from types import CellType, FunctionType, MethodType
from weakref import WeakKeyDictionary

from amorsize.backends.workers import by_value
from amorsize.system.looks import ATOMS
from amorsize.system.starred import starred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

MAIN: Final = ("__main__", "__mp_main__")  # the second in a child that multiprocessing has started


class Pickling:
    """Pickles as pickle does, but for methods: again and again, since to make a pickler takes 2 µs of 3.

    Parameters
    ----------
    least_bytes : int, optional
        Size from which buffers stay out of the pickle; None: all of them are in it.

    Attributes
    ----------
    buffers : list of pickle.PickleBuffer
        Those that are not in the latest pickle.
    """

    def __init__(self, least_bytes: int | None = None) -> None:
        self.buffers: list[pickle.PickleBuffer] = []
        self._stream = io.BytesIO()
        # The callback must not hold this object, which would be a cycle then. Buffers in a cycle keep their memory
        # until the collector runs, and CPython (seen: 3.11) can crash when it collects a PickleBuffer of a memoryview.
        on_buffer = None if least_bytes is None else keeping(self.buffers, least_bytes)
        self._pickler = pickle.Pickler(self._stream, protocol=5, buffer_callback=on_buffer)

    def dumps(self, obj: object) -> bytes:
        """Return the pickle of an object. After an exception this one is of no more use."""
        pickler, stream = self._pickler, self._stream
        self.buffers.clear()
        pickler.dispatch_table = _table()
        pickler.dump(obj)
        pickler.clear_memo()
        pickled = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return pickled


def keeping(buffers: list[pickle.PickleBuffer], least_bytes: int) -> Callable[[pickle.PickleBuffer], bool]:
    """Return a pickler's callback that appends buffers of so many bytes to a list; smaller ones are in the pickle."""

    def stays_in(buffer: pickle.PickleBuffer) -> bool:
        if memoryview(buffer).nbytes < least_bytes:
            return True
        buffers.append(buffer)
        return False

    return stays_in


def pickled_by_name(obj: object) -> bytes:
    """Pickle ``obj`` as pickle does, but for methods."""
    return Pickling().dumps(obj)


def pickle_by_name(obj: object, stream: Any, on_buffer: Callable[[pickle.PickleBuffer], object]) -> None:
    """Write the same to a stream; buffers go to ``on_buffer``."""
    pickler = pickle.Pickler(stream, protocol=5, buffer_callback=on_buffer)
    pickler.dispatch_table = _table()
    pickler.dump(obj)


def _table() -> dict[Any, Any]:
    # The program may add to pickle's own table.
    return {**copyreg.dispatch_table, MethodType: reduce_method}


# -- methods ----------------------------------------------------------------------------------------------------------


def reduce_method(method: MethodType) -> tuple[Any, ...]:
    """Reduce a method for pickle: its function, found in its class by identity, and its object."""
    func, owner = method.__func__, method.__self__
    if type(func) is not FunctionType:
        return MethodType, (func, owner)
    for klass in (*_mro(owner), *type(owner).__mro__):
        for name, value in list(vars(klass).items()):
            if _unwrapped(value) is func:
                return _method, (klass, name, owner, None if _is_of_body(func, klass, name) else Parts(func))
    return MethodType, (sent(func), owner)


def _mro(owner: object) -> tuple[type, ...]:
    """Return the classes of a class method's class; none for an instance."""
    return owner.__mro__ if issubclass(type(owner), type) else ()  # type: ignore[attr-defined]


def _unwrapped(value: Any) -> Any:
    return value.__func__ if type(value) in (classmethod, staticmethod) else value


def _is_of_body(func: FunctionType, klass: type, name: str) -> bool:
    """Return True if this class was compiled with this function under this name: its import brings the function."""
    written = func.__code__.co_name
    if written.startswith("__") and not written.endswith("__"):
        written = f"_{klass.__name__.lstrip('_')}{written}"
    return name == written and func.__code__.co_qualname == f"{klass.__qualname__}.{func.__code__.co_name}"


def _method(klass: type, name: str, owner: object, parts: Parts | None) -> MethodType:
    func = _unwrapped(vars(klass).get(name))
    if parts is not None:
        func = parts.function(func)
    elif func is None:
        raise AttributeError(f"{klass.__qualname__} has no {name} here")
    return MethodType(func, owner)


def is_same(one: Any, other: Any) -> bool:
    """Return True if a callable came out of a pickle as it went in, as far as methods are concerned."""
    if issubclass(type(one), partial) and issubclass(type(other), partial):
        return is_same(one.func, other.func)
    return type(one) is not MethodType or one.__func__ is getattr(other, "__func__", None)


class Portable:
    """A callable that is unpickled as the same callable, also if another library pickles it."""

    def __init__(self, func: Any, parts: Sequence[Any]) -> None:
        self.func = func
        self.parts = [bytes(part) for part in parts]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self.func(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _portable, (self.parts,)


def _portable(parts: list[bytes]) -> Any:
    return by_value.loads(parts)


# -- functions --------------------------------------------------------------------------------------------------------


def sent(func: Any, by_value: bool = False) -> Any:
    """Return the object to pickle in the place of a function; the function itself where its name suffices.

    ``by_value``: the worker cannot import the main module, so cloudpickle sends the functions of that.
    """
    if type(func) in (partial, starred):
        inner = sent(func.func, by_value)
        return func if inner is func.func else type(func)(inner, *func.args, **func.keywords)
    if type(func) is not FunctionType or (by_value and func.__module__ in MAIN):
        return func
    is_own = func.__code__.co_qualname == func.__qualname__ and func.__module__ not in MAIN
    if is_own or found(func.__module__, func.__qualname__) is not func:
        return func
    return Sent(func)


class Sent:
    """A placeholder that is pickled in place of a function and unpickled as that function."""

    __slots__ = ("func",)

    def __init__(self, func: FunctionType) -> None:
        self.func = func

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it: a partial takes nothing that cannot be called."""
        return self.func(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        func = self.func
        if func.__closure__ or func.__defaults__ or func.__kwdefaults__ or func.__dict__:
            return _function, (Parts(func),)
        is_named = found(func.__module__, func.__qualname__) is func
        holds = func.__code__, func.__module__, func.__name__, func.__qualname__, is_named
        known = _plain.get(func)
        if known is None or known[0] != holds:
            known = _plain[func] = holds, pickle.dumps(Parts(func), protocol=5)
        return _plain_function, (known[1],)


# What a plain function holds, and what is sent for it. To take it apart for each call of an executor took a tenth of
# the call's 500 µs.
_plain: WeakKeyDictionary[FunctionType, tuple[tuple[Any, ...], bytes]] = WeakKeyDictionary()


def _function(parts: Parts) -> Any:
    return parts.function()


@lru_cache(maxsize=256)
def _plain_function(pickled: bytes) -> Any:
    return _function(pickle.loads(pickled))


def found(module: str | None, qualname: str) -> Any:
    """Return the object that has this name; None if there is none."""
    try:
        value = _module(module or "")
    except Exception:  # noqa: BLE001  (an import runs anything)
        return None
    for name in qualname.split("."):
        value = getattr(value, name, None)
    return value


class Parts:
    """A function taken apart: its code, the module of its globals, its defaults, and what it closes over.

    ``above``: the functions that this one was found in, as a decorator's function that counts its calls in itself is.
    """

    __slots__ = ("attributes", "code", "held", "is_named", "keywords", "n_cells", "names")

    def __init__(self, func: FunctionType, above: tuple[FunctionType, ...] = ()) -> None:
        self.code = func.__code__
        self.names = (str(func.__globals__.get("__name__")), func.__module__, func.__name__, func.__qualname__)
        self.is_named = found(func.__module__, func.__qualname__) is func
        above = (*above, func)
        cells = func.__closure__ or ()
        self.n_cells = len(cells)
        self.held = [_in_cell(cell, above) for cell in cells] + [_held(one, above) for one in func.__defaults__ or ()]
        self.keywords = {name: _held(value, above) for name, value in (func.__kwdefaults__ or {}).items()}
        self.attributes = {name: _held(value, above) for name, value in vars(func).items()}

    def __getstate__(self) -> tuple[Any, ...]:
        code = marshal.dumps(self.code)
        return code, self.names, self.is_named, self.n_cells, self.held, self.keywords, self.attributes

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        code, self.names, self.is_named, self.n_cells, self.held, self.keywords, self.attributes = state
        self.code = marshal.loads(code)

    def function(self, there: Any = None, above: tuple[FunctionType, ...] = ()) -> FunctionType:
        """Return ``there``, or the function that its name leads to, if that is the same one; else a new function."""
        if there is None and self.is_named:
            there = found(self.names[1], self.names[3])
        if type(there) is FunctionType and self.equals(Parts(there)):
            return there
        scope, module, name, qualname = self.names
        cells = tuple(CellType() for _ in range(self.n_cells))
        func = FunctionType(self.code, scope_of(scope), name, None, cells or None)
        func.__module__, func.__qualname__ = module, qualname
        above = (*above, func)
        for cell, one in zip(cells, self.held, strict=False):
            if one.kind != "empty":
                cell.cell_contents = one.value(above)
        func.__defaults__ = tuple(one.value(above) for one in self.held[self.n_cells :]) or None
        func.__kwdefaults__ = {key: one.value(above) for key, one in self.keywords.items()} or None
        for key, one in self.attributes.items():
            if one.kind != "lost":
                setattr(func, key, one.value(above))
        return func

    def equals(self, other: Parts) -> bool:
        """Return True if both are the same function, as far as code, atoms and pickles tell."""
        if (
            self.code != other.code
            or len(self.held) != len(other.held)
            or self.keywords.keys() != other.keywords.keys()
        ):
            return False
        pairs = [*zip(self.held, other.held, strict=True)]
        pairs += [(self.keywords[name], other.keywords[name]) for name in self.keywords]
        return all(one.equals(another) for one, another in pairs)


class Held:
    """A value that a function holds.

    Its ``kind`` is ``function`` (in parts), ``atom``, ``up`` (so many functions above this one), ``empty``, ``pickle``
    (opened only where it is needed) or ``lost`` (why it cannot be pickled).
    """

    __slots__ = ("kind", "what")

    def __init__(self, kind: str, what: Any = None) -> None:
        self.kind = kind
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return Held, (self.kind, self.what)

    def value(self, above: tuple[FunctionType, ...]) -> Any:
        """Return the value; raise TypeError if it could not be pickled."""
        if self.kind == "function":
            return self.what.function(above=above)
        if self.kind == "up":
            return above[self.what]
        if self.kind == "pickle":
            return pickle.loads(self.what)
        if self.kind == "lost":
            raise TypeError(self.what)
        return self.what

    def equals(self, other: Held) -> bool:
        """Return True if both stand for the same value; values that cannot be pickled are compared by type."""
        if self.kind != other.kind:
            return False
        if self.kind == "function":
            return bool(self.what.equals(other.what))
        return type(self.what) is type(other.what) and bool(self.what == other.what)


def _held(value: Any, above: tuple[FunctionType, ...]) -> Held:
    if type(value) in ATOMS:
        return Held("atom", value)
    if type(value) is FunctionType:
        places = [place for place, func in enumerate(above) if func is value]
        return Held("up", places[0]) if places else Held("function", Parts(value, above))
    try:
        return Held("pickle", pickled_by_name(value))
    except Exception as exc:  # noqa: BLE001  (pickle raises anything)
        return Held("lost", f"it holds a {type(value).__name__}, which cannot be pickled ({type(exc).__name__})")


def _in_cell(cell: CellType, above: tuple[FunctionType, ...]) -> Held:
    try:
        return _held(cell.cell_contents, above)
    except ValueError:  # the variable is not assigned yet
        return Held("empty")


def cells_of(func: FunctionType) -> list[Any]:
    """Return what a function closes over."""
    found = []
    for cell in func.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # the variable is not assigned yet
            continue
    return found


def scope_of(module: str) -> dict[str, Any]:
    """Return the globals of the functions of a module.

    multiprocessing runs the main module in a namespace of which its module then holds a copy.
    """
    names: dict[str, Any] = vars(_module(module))
    if module in MAIN and names.get("__name__") != "__main__":
        values = list(names.values())
        values += [one for value in values if issubclass(type(value), type) for one in vars(value).values()]
        funcs = (value for value in values if type(value) is FunctionType)
        names = next((func.__globals__ for func in funcs if func.__globals__.get("__name__") in MAIN), names)
    return names


def _module(name: str) -> Any:
    if (module := sys.modules.get(name)) is None:
        from importlib import import_module

        module = import_module(name)
    return module
