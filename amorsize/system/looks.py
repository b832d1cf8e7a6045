"""Inspect the user's objects: their length, their size, their text, and if they can be read by index.

An object is inspected to learn about its costs, to make a choice, or for a message. No result may be lost by that, so
an inspection does not raise, whatever an object's special methods raise, `SystemExit` included. Only Ctrl-C passes, and
an exception that the handler of a signal raises meanwhile (`is_interrupt`). An inspection does not run long either. To
learn about costs, only built-in types and compiled attributes are used, never a method that the user wrote in Python: a
lazy object would load itself, and a mock would return something for any name. An object's ``__class__`` is not relied
upon. A few elements of a container stand for all. For a message an object's own ``__repr__`` runs, once per failure.
"""

from __future__ import annotations

import sys
from itertools import islice
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

from amorsize.formatting import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Final
else:
    # Both are loaded with the interpreter. ``collections`` would take 1.5 ms, before the first item of a short program.
    from _collections import deque
    from _collections_abc import Sequence

# guess: no cost goes with a number beyond these bounds, and the squares of those within them can be added up
LEAST_SIZE: Final = 1e-30
MOST_SIZE: Final = 1e30
PARTS: Final = 8  # elements of a container that stand for all
DEPTH: Final = 4  # containers within containers
MEASURED: Final = 2  # guess: results whose memory stands for that of all
TEXT_CHARS: Final = 60  # of one object in a message
SHOWN: Final = 6  # elements of a container in a message
LONG_CHARS: Final = 100_000  # guess: a longer text of an exception is no text to read
CHAIN: Final = 20  # guess: exceptions behind an exception that are looked at
OURS: Final = 4  # references to an element: the container, a list, a variable and a call hold one each

# Properties written in Python that are known to be quick: those of these packages' own classes.
_KNOWN: Final = frozenset(("numpy", "pandas", "polars", "torch", "xarray", "pyarrow", "scipy"))

_mro: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
_namespace: Final[Callable[[type], Any]] = type.__dict__["__dict__"].__get__
_type_name: Final[Callable[[type], str]] = type.__dict__["__name__"].__get__
_qualified_name: Final[Callable[[type], str]] = type.__dict__["__qualname__"].__get__
_module_of: Final[Callable[[type], object]] = type.__dict__["__module__"].__get__
_traceback: Final[Callable[[BaseException], Any]] = BaseException.__dict__["__traceback__"].__get__
_cause: Final[Callable[[BaseException], Any]] = BaseException.__dict__["__cause__"].__get__
_context: Final[Callable[[BaseException], Any]] = BaseException.__dict__["__context__"].__get__


# -- what passes ------------------------------------------------------------------------------------------------------


def is_interrupt(exc: BaseException) -> bool:
    """Return True for Ctrl-C and for an exception that a signal handler raised: neither comes from the object."""
    if issubclass(type(exc), KeyboardInterrupt):
        return True
    handlers = _handlers()
    step = _traceback(exc) if handlers else None
    while step is not None:
        if step.tb_frame.f_code in handlers:
            return True
        step = step.tb_next
    return False


def _handlers() -> set[CodeType]:
    """Return the code of all handlers of signals that are written in Python."""
    # Built into the interpreter: it needs no file, which may not be had any more.
    import _signal  # type: ignore[import-not-found]  # its types are those of signal

    found = set()
    for number in _signal.valid_signals():
        handler: Any = _signal.getsignal(number)
        if callable(handler) and (code := _code_of(handler)) is not None:
            found.add(code)
    return found


def _code_of(func: Any) -> CodeType | None:
    kind = type(func)
    if kind is FunctionType:
        return func.__code__  # type: ignore[no-any-return]
    if kind is MethodType:
        return _code_of(func.__func__)
    if is_partial(kind):
        return _code_of(sys.modules["functools"].partial.__dict__["func"].__get__(func))
    call = defined(kind, "__call__")
    return call.__code__ if type(call) is FunctionType else None


# -- attributes -------------------------------------------------------------------------------------------------------


def kind_of(obj: object) -> str:
    """Return the name of an object's type, whatever its metaclass makes of it."""
    return _type_name(type(obj))


def full_kind_of(obj: object) -> str:
    """Return the qualified name of an object's type, with its module as the program names it."""
    name = f"{_module_of(type(obj))}.{_qualified_name(type(obj))}"
    return name.removeprefix("builtins.").replace("__mp_main__.", "__main__.")


def class_names_of(obj: object) -> tuple[str, ...]:
    """Return the qualified names of an object's type and of the bases of that, as the program names them."""
    names = [f"{_module_of(kind)}.{_qualified_name(kind)}" for kind in _mro(type(obj))]
    return tuple(name.replace("__mp_main__.", "__main__.") for name in names)


def defined(kind: type, name: str) -> Any:
    """Return what a class or its bases define under this name, without calling anything; None if nothing."""
    for base in _mro(kind):
        found = _namespace(base).get(name)
        if found is not None:
            return found
    return None


def attribute(obj: object, name: str) -> Any:
    """Return an attribute that stands ready or that compiled code makes; None for any other."""
    kind = type(obj)
    try:
        found = defined(kind, name)
        if found is None:
            held = defined(kind, "__dict__")
            return held.__get__(obj).get(name) if type(held) is GetSetDescriptorType else None
        if type(found) in (GetSetDescriptorType, MemberDescriptorType):
            return found.__get__(obj)
        if type(found) is property and _is_quick(found.fget):
            return found.__get__(obj)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
    return None


def _is_quick(getter: Any) -> bool:
    return type(getter) is not FunctionType or str(getter.__module__).partition(".")[0] in _KNOWN


def code_flags(func: Any) -> int:
    """Return the flags of the code that a call of ``func`` runs (`inspect.CO_COROUTINE` and the like); 0 if unknown."""
    try:
        while is_partial(type(func)):
            func = func.func
        code = getattr(func, "__code__", None) or getattr(defined(type(func), "__call__"), "__code__", None)
        flags = getattr(code, "co_flags", 0)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return 0
    return flags if type(flags) is int else 0


def keeps_nothing(func: object) -> bool:
    """True if a function is code alone: it holds no values that may change, or that would keep memory in use."""
    return (
        type(func) is FunctionType
        and func.__closure__ is None
        and func.__defaults__ is None
        and func.__kwdefaults__ is None
    ) or (type(func) is BuiltinFunctionType and type(func.__self__) is ModuleType)


def is_partial(kind: type) -> bool:
    """Return True for `functools.partial` and its subclasses. While functools, 2 ms, is not loaded there are none."""
    partial = getattr(sys.modules.get("functools"), "partial", None)
    return partial is not None and issubclass(kind, partial)


# -- data -------------------------------------------------------------------------------------------------------------

_BY_INDEX: Final = Sequence.__dict__["__iter__"]
_BUILT_IN: Final = (list, tuple, range, str, bytes, bytearray, memoryview)
_METHODS: Final = ("__iter__", "__getitem__", "__len__")


def is_array(obj: object) -> bool:
    """Return True for numpy's arrays: those of the user's own classes iterate as they like."""
    kind = type(obj)
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array is not None and issubclass(kind, array) and str(kind.__module__).partition(".")[0] == "numpy"


def dimensions(obj: object) -> int | None:
    """Return the number of dimensions of one of numpy's arrays; None for other objects."""
    number = attribute(obj, "ndim") if is_array(obj) else None
    return number if type(number) is int else None


def goes_by_index(data: object) -> bool:
    """Return True if any item of ``data`` can be read quickly by its index.

    This holds for the built-in sequences, numpy's arrays, and subclasses that do not override their methods. It also
    holds for a class of the user's that derives from `collections.abc.Sequence` and has no ``__iter__`` of its own,
    because iterating over it reads one index after the other. A class with its own ``__iter__`` is read by that: in a
    linked list or a deque, for example, each access by index walks through the list.
    """
    kind = type(data)
    try:
        if kind in _BUILT_IN:
            return True
        if is_array(data):
            return bool(dimensions(data))
        if not issubclass(kind, Sequence):
            return False
        if defined(kind, "__iter__") is _BY_INDEX:
            return True
        bases = [*_BUILT_IN, *_array_type()]
        return any(issubclass(kind, b) and all(defined(kind, m) is defined(b, m) for m in _METHODS) for b in bases)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return False


def is_sliced(data: object) -> bool:
    """Return True if a slice of ``data`` is quick and holds the same items as its indices."""
    kind = type(data)
    return kind in _BUILT_IN or kind in _array_type() or is_array(data)


def is_growing(data: object) -> bool:
    """Return True for the built-in sequences whose length may change."""
    kind = type(data)
    return kind is list or kind is bytearray or kind in _array_type()


def _array_type() -> tuple[type, ...]:
    array = getattr(sys.modules.get("array"), "array", None)
    return () if array is None else (array,)


def has_length(obj: object) -> bool:
    """Return True if an object's class has a ``__len__``."""
    return defined(type(obj), "__len__") is not None


def length(data: Any) -> int | None:
    """Return ``len(data)``; None if it raises, or is no length."""
    try:
        return len(data)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return None


def is_async(data: object) -> bool:
    """Return True for what an ``async for`` goes over."""
    return defined(type(data), "__aiter__") is not None


def is_table(data: object) -> str | None:
    """Return how to iterate over the rows of a data frame, whose own iterator gives its columns; None: it is none."""
    for package, rows in (("pandas", "itertuples"), ("polars", "iter_rows")):
        frame: Any = getattr(sys.modules.get(package), "DataFrame", None)
        if issubclass(type(frame), type) and issubclass(type(data), frame):
            return rows
    return None


# -- sizes ------------------------------------------------------------------------------------------------------------

_CONTAINERS: Final = (list, tuple, dict, set, frozenset, deque)
# Types whose objects hold nothing but their value.
ATOMS: Final = frozenset((type(None), bool, int, float, complex, str, bytes))
_TEXTS: Final = (str, bytes, bytearray)


def size_of(item: Any) -> float | None:
    """Return what an item's cost may go with: a number's value, a container's length, an array's bytes; None: unknown.

    Examples
    --------
    >>> size_of(-3), size_of("abc"), size_of(object()), size_of(10**40)
    (3.0, 3.0, None, None)
    """
    kind = type(item)
    try:
        if issubclass(kind, int):
            return _bounded(int.__index__(item))
        if issubclass(kind, float):
            return _bounded(float.__float__(item))
        base = _base(kind, (*_TEXTS, *_CONTAINERS))
        if base is not None:
            return float(base.__len__(item))
        size = attribute(item, "nbytes")
        return _bounded(size) if issubclass(type(size), int) and size >= 0 else None
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return None


def _bounded(number: float) -> float | None:
    size = abs(number)
    return float(size) if LEAST_SIZE <= size <= MOST_SIZE or not size else None


def _base(kind: type, bases: Iterable[Any]) -> Any:
    """Return the built-in type that a class is, or derives from; None if there is none."""
    return next((base for base in bases if kind is base or issubclass(kind, base)), None)


def block_bytes(obj: Any) -> int:
    """Return the bytes of an object that is one block of memory, as text and arrays are; 0 if it has parts."""
    kind = type(obj)
    if issubclass(kind, str | int | float | complex | None):
        return _own_bytes(obj)
    return plain_bytes(obj)


def plain_bytes(obj: Any) -> int:
    """Return the bytes of an object whose pickle is a copy of its memory: bytes, and arrays of plain values; else 0."""
    kind = type(obj)
    try:
        base = _base(kind, (bytes, bytearray))
        if base is not None:
            return int(base.__len__(obj))
        if attribute(attribute(obj, "dtype"), "kind") in (None, "O"):
            return 0
        size = attribute(obj, "nbytes")
        return size if type(size) is int and size > 0 else 0
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return 0


def is_larger(obj: Any, most_bytes: int) -> bool:
    """Return True if an object without its parts takes more than so many bytes."""
    kind = type(obj)
    if kind in _CONTAINERS:
        return 8 * len(obj) > most_bytes
    return kind is not float and block_bytes(obj) > most_bytes


def held_bytes(obj: Any, depth: int = DEPTH) -> float:
    """Return the memory that an object takes, with what belongs to it alone; about 30 µs.

    Of a container's elements a few at even distances stand for all. One that is held elsewhere, too (an item that was
    handed on, a small number), takes none.

    Examples
    --------
    >>> held_bytes([1, 2, 3]) < 200 < 150_000 < held_bytes([{"x": float(i)} for i in range(1_000)]) < 400_000
    True
    """
    try:
        return _held_bytes(obj, depth)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return 0.0


def mean_held_bytes(results: Iterable[Any]) -> float:
    """Return the mean of `held_bytes` of the first `MEASURED` results. None, as in an open place, does not count.

    Examples
    --------
    >>> mean_held_bytes([None, 1.5, 2.5, "x" * 1_000]) == held_bytes(1.5)
    True
    """
    some = list(islice((result for result in results if result is not None), MEASURED))
    return sum(map(held_bytes, some)) / max(1, len(some))


def _held_bytes(obj: Any, depth: int) -> float:
    size = attribute(obj, "nbytes")
    own = float(size) if type(size) is int and size > 0 else float(_own_bytes(obj))
    base = _base(type(obj), _CONTAINERS) if depth else None
    if base is None or not (count := base.__len__(obj)):
        return own
    stride = -(-count // PARTS) if base in (list, tuple) else 1
    for part in (dict.keys(obj), dict.values(obj)) if base is dict else (base.__iter__(obj),):
        looked = list(islice(part, 0, PARTS * stride, stride))
        own += count * sum(_held_bytes(one, depth - 1) for one in looked if sys.getrefcount(one) <= OURS) / len(looked)
    return own


def _own_bytes(obj: object) -> int:
    """Return what `sys.getsizeof` says of an object without its parts; a ``__sizeof__`` of the user's is not asked."""
    if type(defined(type(obj), "__sizeof__")) is FunctionType:
        return object.__sizeof__(obj)
    return sys.getsizeof(obj, 64)


# -- texts ------------------------------------------------------------------------------------------------------------


def shorten(obj: object) -> str:
    """Return a short repr of an object, in time that does not grow with its size.

    Examples
    --------
    >>> shorten([1, "a", None, {"b": 2.5}]), shorten(range(9)), len(shorten(b"x" * 1_000_000)) < 80
    ("[1, 'a', None, {'b': 2.5}]", 'range(0, 9)', True)
    """
    try:
        return printable(_cut(_shown(obj, 3)))
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return f"a {kind_of(obj)} (its repr cannot be shown)"


def _cut(text: str, most: int = 4 * TEXT_CHARS) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-(most // 2) :]}"


def _shown(obj: Any, depth: int) -> str:
    kind = type(obj)
    if kind in _TEXTS:
        if len(obj) <= TEXT_CHARS:
            return _cut(repr(obj), TEXT_CHARS)
        half = TEXT_CHARS // 2 - 3
        return f"{repr(obj[:half])[:half]}...{repr(obj[-half:])[-half:]}"
    if kind is int:
        return repr(obj) if obj.bit_length() < 4 * TEXT_CHARS else f"<an int of {obj.bit_length():,} bits>"
    if kind in _CONTAINERS:
        return _shown_container(obj, kind, depth)
    if issubclass(kind, tuple) and type(names := defined(kind, "_fields")) is tuple:  # a namedtuple
        shown = [f"{name}={_shown(value, depth - 1)}" for name, value in zip(names, tuple.__iter__(obj), strict=False)]
        return f"{_type_name(kind)}({', '.join(shown[:SHOWN] + ['...'] * (len(shown) > SHOWN))})"
    if type(fields := defined(kind, "__dataclass_fields__")) is dict and _is_generated(kind):
        names = [name for name, field in fields.items() if field.repr][: SHOWN + 1]
        shown = [f"{name}={_shown(getattr(obj, name), depth - 1)}" for name in names[:SHOWN]] if depth else ["..."]
        return f"{_type_name(kind)}({', '.join(shown + ['...'] * (len(names) > SHOWN))})"
    return _cut(repr(obj), TEXT_CHARS)


def _is_generated(kind: type) -> bool:
    """Return True if `dataclasses` has written the class's ``__repr__``, which shows fields in full."""
    return getattr(defined(kind, "__repr__"), "__wrapped__", None) is not None


_BRACKETS: Final[dict[type, Any]] = {
    list: "[]",
    tuple: "()",
    dict: "{}",
    set: "{}",
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}


def _shown_container(obj: Any, kind: type, depth: int) -> str:
    opens, closes = _BRACKETS[kind]
    if kind is set and not obj:
        return "set()"
    if not depth:
        return f"{opens}...{closes}" if obj else f"{opens}{closes}"
    if kind is dict:
        shown = [f"{_shown(key, depth - 1)}: {_shown(value, depth - 1)}" for key, value in islice(obj.items(), SHOWN)]
    else:
        shown = [_shown(one, depth - 1) for one in islice(obj, SHOWN)]
    if len(obj) > SHOWN:
        shown.append("...")
    comma = "," if kind is tuple and len(obj) == 1 else ""
    return f"{opens}{', '.join(shown)}{comma}{closes}"


def text_of(exc: BaseException) -> str:
    """Return what ``str()`` gives for an exception, or says that it cannot be shown."""
    try:
        if _is_long(exc):
            return ", ".join(map(shorten, exc.args))
        text = str(exc)
        return _cut(text if type(text) is str else str.__str__(text), LONG_CHARS)
    except BaseException as why:
        if is_interrupt(why):
            raise
        return "<its text cannot be shown>"


def _is_long(exc: BaseException) -> bool:
    """Return True if the text of an exception would hold a huge object in full."""
    return type(defined(type(exc), "__str__")) is not FunctionType and any(_holds_long(one, 2) for one in exc.args)


def _holds_long(obj: Any, depth: int) -> bool:
    """Return True if a long text is among the first parts of an object."""
    kind = type(obj)
    if kind in _TEXTS:
        return len(obj) > LONG_CHARS
    if kind in _CONTAINERS and depth:
        return len(obj) > LONG_CHARS or any(
            _holds_long(one, depth - 1) for one in islice(obj.values() if kind is dict else obj, PARTS)
        )
    held = attribute(obj, "__dict__") if depth else None
    return type(held) is dict and any(_holds_long(one, depth - 1) for one in islice(held.values(), PARTS))


def trace_of(exc: BaseException, *, ours: bool = False) -> str:
    """Return the place where an exception was raised, and the exception, as text; ``ours``: with our frames."""
    try:
        # Loaded only now. It may fail: an item has left no descriptor to read it with, say.
        import traceback

        from amorsize.hints import below

        trace = _traceback(exc) if ours or type(exc).__module__ == "amorsize.errors" else below(_traceback(exc))
        chain = _chain(exc)
        if any(map(_is_long, chain)):
            parts = (
                [*traceback.format_tb(trace if one is exc else _traceback(one)), f"{kind_of(one)}: {text_of(one)}\n"]
                for one in reversed(chain)
            )
            return "\n".join(map("".join, parts))
        return "".join(traceback.format_exception(type(exc), exc, trace))
    except BaseException as why:
        if is_interrupt(why):
            raise
        return f"{kind_of(exc)}: {text_of(exc)}\n"


def _chain(exc: BaseException) -> list[BaseException]:
    """Return an exception and those that its traceback would show with it: causes, contexts, members of groups."""
    found: list[BaseException] = []
    todo = [exc]
    while todo and len(found) < CHAIN:
        one = todo.pop(0)
        if not any(one is other for other in found):
            found.append(one)
            todo += [other for other in (_cause(one), _context(one)) if other is not None]
            todo += _members(one)
    return found


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    return exc.exceptions if issubclass(type(exc), BaseExceptionGroup) else ()  # type: ignore[attr-defined]


# -- exceptions -------------------------------------------------------------------------------------------------------


def note(exc: BaseException, text: str) -> None:
    """Add a note to an exception, once; none to one that takes no attributes at all."""
    try:
        notes = attribute(exc, "__notes__")
        if notes is None:
            # Not through a __setattr__ of the user's, which may refuse (a frozen dataclass).
            object.__setattr__(exc, "__notes__", [text])
        elif type(notes) is list and text not in notes:
            notes.append(text)
    except BaseException as why:
        if is_interrupt(why):
            raise


def origin(exc: BaseException, raised: str = "raised by") -> str:
    """Return ``raised``, or "interrupted in": Ctrl-C comes from outside of the code that it meets."""
    return "interrupted in" if issubclass(type(exc), KeyboardInterrupt) else raised


def set_cause(exc: BaseException, cause: BaseException | None) -> None:
    """Set an exception's cause, whatever its ``__setattr__`` says."""
    BaseException.__dict__["__cause__"].__set__(exc, cause)


def forget_frames(exc: BaseException) -> None:
    """Take an exception's traceback away, whatever its ``__setattr__`` says."""
    BaseException.__dict__["__traceback__"].__set__(exc, None)
