"""Fingerprints of functions, from name, code, constants, defaults, closure, and the package's version.

A fingerprint identifies a function in the history, so that its measurements can be reused. It is the same in every
process that runs the same source under the same Python version, whatever the hash seed and the addresses of objects.
It changes with the body, a constant, a default, a bound argument or a closure's value, and with the ``__version__`` of
the function's package (if it has one; no metadata are read for it).

It does not cover the functions that a function calls, its module's globals, files, the attributes of an object that is
called or whose method is called (its class and code count), and values beyond the bounds below.

It is made in two steps. `outline` describes the function as text, without a reference to the user's objects; `digest`
shortens the text to 32 hexadecimal digits. Loading a hash function takes up to 2 ms, so history outlines at once
whatever might change or hold memory, and digests when the process ends.

No code of the user's objects runs, except the ``repr`` of the standard types listed here and the ``shape`` of what has
one. So an outline takes about 5 µs for a plain function and 10 to 20 µs for a closure, whatever the size of its values.
"""

from __future__ import annotations

import sys
from itertools import islice
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)

from amorsize.system.looks import is_interrupt, is_partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

# Bounds of an outline (guesses): nesting; items of a container, whose length counts in full; values in all, besides a
# function's own code; characters or bytes of a text, of which a longer one counts by length and checksum; and bytes at
# each end of it that the checksum covers.
_MAX_DEPTH: Final = 6
_MAX_ITEMS: Final = 64
_MAX_NODES: Final = 400
_LONG: Final = 512
_CHECKED: Final = 1 << 14

_PLAIN: Final = frozenset((type(None), bool, float, complex, type(...), type(NotImplemented)))
# repr() of these is short, quick and complete.
_TRUSTED: Final = frozenset(("datetime", "decimal", "fractions", "ipaddress", "pathlib", "uuid", "zoneinfo"))


def fingerprint(func: Callable[..., object]) -> str:
    """Return 32 hexadecimal digits that identify a function; it never raises.

    Examples
    --------
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)
    True
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
    False
    """
    return digest(outline(func))


def digest(text: str) -> str:
    """Shorten an outline to a fingerprint."""
    from amorsize.system.blake2 import blake2b

    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def outline(func: Callable[..., object]) -> str:
    """Describe a function as text that differs from every other function's; it never raises."""
    try:
        return repr(_Outline().of(func, 0))
    except BaseException as exc:  # a proxy or a broken __class__: use its type
        if is_interrupt(exc):
            raise
        return repr(("unknown", _type_name(type(func))))


def name_of(func: Callable[..., object]) -> str:
    """Return a function's readable name: ``"pkg.mod.parse"``, ``"partial(pkg.mod.parse)"``, ``"pkg.mod.Model()"``."""
    try:
        if is_partial(type(func)):
            return f"{type(func).__name__}({name_of(func.func)})"  # type: ignore[attr-defined]
        if type(func) is MethodType:
            return f"{_type_name(type(func.__self__))}.{func.__name__}"
        qualname = getattr(func, "__qualname__", None) or getattr(func, "__name__", None)
        if not isinstance(qualname, str):
            return f"{_type_name(type(func))}()"
        module = _module(getattr(func, "__module__", None))
        return qualname if module in ("", "builtins") else f"{module}.{qualname}"
    except BaseException as exc:  # a name is not worth an error
        if is_interrupt(exc):
            raise
        return _type_name(type(func))


class _Outline:
    """One pass over a function: nested tuples of plain values, whose ``repr`` cannot be mistaken for another's."""

    def __init__(self) -> None:
        self.nodes = 0
        # Ids of the values being outlined, outermost first: a function may refer to itself.
        self.path: list[int] = []

    def of(self, value: Any, depth: int) -> object:
        """Outline any value."""
        self.nodes += 1
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is str or kind is bytes:
            return value if len(value) <= _LONG else _long(value)
        if kind is int:
            return value if -(1 << 256) < value < 1 << 256 else ("int", value.bit_length(), hash(value))
        if issubclass(kind, type):
            return ("type", _type_name(value))
        if kind is ModuleType:
            return ("module", value.__name__, *package_version(value.__name__))
        if id(value) in self.path:
            return ("again", self.path.index(id(value)))
        if depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            return ("deep", _type_name(kind))
        self.path.append(id(value))
        try:
            return self._compound(value, kind, depth + 1)
        except BaseException as exc:  # an object with broken attributes: use its type
            if is_interrupt(exc):
                raise
            return ("opaque", _type_name(kind))
        finally:
            self.path.pop()

    def _compound(self, value: Any, kind: type, depth: int) -> object:
        if kind is FunctionType:
            return self._function(value, depth)
        if kind is MethodType:
            owner = value.__self__ if isinstance(value.__self__, type) else type(value.__self__)
            return ("method", _type_name(owner), self.of(value.__func__, depth))
        if issubclass(kind, BuiltinFunctionType | MethodWrapperType):
            return ("builtin", value.__qualname__, self.of(value.__self__, depth))
        if kind in (MethodDescriptorType, WrapperDescriptorType, ClassMethodDescriptorType):
            return ("descriptor", _type_name(value.__objclass__), value.__name__)
        if is_partial(kind):
            return (_type_name(kind), *(self.of(part, depth) for part in (value.func, value.args, value.keywords)))
        for base in (tuple, list, dict, set, frozenset):
            if issubclass(kind, base):
                return self._container(value, _type_name(kind), base, depth)
        return self._object(value, kind, depth)

    def _function(self, func: FunctionType, depth: int) -> object:
        cells = func.__closure__
        return (
            "function",
            _module(func.__module__),
            *package_version(func.__module__),
            func.__qualname__,
            _code(func.__code__),
            func.__defaults__ and self.of(func.__defaults__, depth),
            func.__kwdefaults__ and self.of(func.__kwdefaults__, depth),
            None if cells is None else [self._cell(cell, depth) for cell in cells],
        )

    def _cell(self, cell: Any, depth: int) -> object:
        try:
            value = cell.cell_contents
        except ValueError:
            # The variable is not assigned yet.
            return ("empty",)
        return self.of(value, depth)

    def _container(self, value: Any, name: str, base: Any, depth: int) -> object:
        """Length and the first items; of a set, all items or none, in an order independent of the hash seed."""
        length = base.__len__(value)
        if base in (set, frozenset):
            return (name, length, sorted(self._members(value, base, depth)) if length <= _MAX_ITEMS else None)
        items = base.items(value) if base is dict else base.__iter__(value)
        return (name, length, [self._item(item, base, depth) for item in islice(items, _MAX_ITEMS)])

    def _item(self, item: Any, base: type, depth: int) -> object:
        return (self.of(item[0], depth), self.of(item[1], depth)) if base is dict else self.of(item, depth)

    def _members(self, value: Any, base: Any, depth: int) -> Iterator[str]:
        nodes = self.nodes
        for item in base.__iter__(value):
            yield repr(self.of(item, depth))
            # The same bound for each member: their order is not fixed.
            self.nodes = nodes
        self.nodes = nodes + base.__len__(value)

    def _object(self, value: Any, kind: type, depth: int) -> object:
        """Outline an object by its type and, where that is quick and safe, by its value."""
        name, top = _type_name(kind), kind.__module__.partition(".")[0]
        if kind is CodeType:
            return _code(value)
        if top in _TRUSTED or kind is range or kind is slice:
            return (name, _without_addresses(repr(value))[:_LONG])
        if name == "re.Pattern":
            return (name, self.of(value.pattern, depth), value.flags)
        if top in ("operator", "_operator"):
            return (name, self.of(value.__reduce__(), depth))
        if hasattr(kind, "__members__"):  # a member of an enumeration
            return (name, _own(value, "_name_"), self.of(_own(value, "_value_"), depth))
        if hasattr(kind, "__dataclass_fields__"):
            return (
                name,
                [self.of(_own(value, field), depth) for field in list(kind.__dataclass_fields__)[:_MAX_ITEMS]],
            )
        if top == "numpy":
            return (name, *self._numpy(value, depth))
        if hasattr(kind, "shape"):  # tables and tensors
            return (name, _shape(value))
        for base, plain in _BASES:
            if issubclass(kind, base):
                return (name, self.of(plain(value), depth))
        if kind is bytearray:
            return (name, len(value), self.of(bytes(value[:_CHECKED]), depth))
        if top in ("collections", "array"):
            return (name, len(value))
        inner = next((found for attribute in _INNER if (found := _own(value, attribute)) is not None), None)
        call = getattr(kind, "__call__", None)  # noqa: B004  (its code counts, not whether it is there)
        return (name, self.of(inner, depth), self.of(call, depth) if type(call) is FunctionType else None)

    def _numpy(self, value: Any, depth: int) -> tuple[object, ...]:
        """Arrays by type and shape, small ones by content; scalars by value; ufuncs by name."""
        dtype = getattr(value, "dtype", None)
        if dtype is None:
            return (str(getattr(value, "__name__", "")),)
        if dtype.hasobject or value.nbytes > _CHECKED:
            return (str(dtype), _shape(value))
        return (str(dtype), _shape(value), self.of(value.tobytes(), depth))


# How to convert an instance of a subclass to its base, whatever it overrides.
_BASES: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (int, int.__int__),
    (float, float.__float__),
)
# Where lru_cache, staticmethod and numba keep the function.
_INNER: Final = ("__wrapped__", "__func__", "py_func")


def _code(code: CodeType) -> object:
    """Outline a code object, without its file, its lines and the names of its locals."""
    return (
        "code",
        code.co_code,
        code.co_flags,
        code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_names,
        code.co_freevars,
        code.co_exceptiontable,
        [_constant(value) for value in code.co_consts],
    )


def _constant(value: Any) -> object:
    """Outline a constant as a whole: constants stand in source code, so they are bounded."""
    kind = type(value)
    if kind is str or kind is bytes:
        return value if len(value) <= _LONG else _long(value)
    if kind is CodeType:
        return _code(value)
    if kind is tuple:
        return ("tuple", [_constant(item) for item in value])
    if kind is frozenset:
        return ("frozenset", sorted([repr(_constant(item)) for item in value]))
    if kind is int and value.bit_length() > 2048:
        return ("int", value.bit_length(), hash(value))
    return repr(value) if kind is slice else value


def _long(value: str | bytes) -> object:
    """Return length, both ends, and a checksum over at most 16 KiB from each end."""
    from zlib import crc32

    ends = value if len(value) <= 2 * _CHECKED else value[:_CHECKED] + value[-_CHECKED:]  # type: ignore[operator]
    data = ends.encode("utf-8", "surrogatepass") if isinstance(ends, str) else ends
    return (type(value).__name__, len(value), value[:32], value[-32:], crc32(data))


def _own(value: object, attribute: str) -> object:
    """Return an attribute or None, without calling ``__getattr__``, which may have side effects."""
    try:
        return object.__getattribute__(value, attribute)
    except BaseException as exc:  # a property of the user's, say
        if is_interrupt(exc):
            raise
        return None


def _shape(value: Any) -> object:
    shape = value.shape
    return tuple(length if type(length) is int else None for length in shape) if isinstance(shape, tuple) else None


def _without_addresses(text: str) -> str:
    # Here, since it takes 3 ms, which a short program would pay before its first item runs.
    import re

    return re.sub(" at 0x[0-9a-fA-F]+", "", text)


def _type_name(kind: type) -> str:
    return f"{_module(kind.__module__)}.{kind.__qualname__}"


def package_version(module: object) -> tuple[str, ...]:
    """Return a tuple with the ``__version__`` of a module's top-level package; an empty one if there is none."""
    package = sys.modules.get(str(module or "").partition(".")[0])
    version = getattr(package, "__dict__", {}).get("__version__")
    return (version,) if isinstance(version, str) else ()


def _module(name: object) -> str:
    """Return a module's name; the main module has another name in spawned children."""
    return "__main__" if name == "__mp_main__" else str(name or "")
