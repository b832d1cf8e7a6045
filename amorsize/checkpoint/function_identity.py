"""The identity of a function in a checkpoint: a digest of everything that the function holds, by value and whole.

Results that are taken over from an earlier run must be those of the same function, so nothing here is sampled or cut
short. (`amorsize.history.fingerprint` only guesses what a function costs, and is much coarser.) The digest covers

* name, code and constants, defaults, the ``__version__`` of its package, and the function's own attributes but those
  that its code assigns (counters),
* the values that it closes over, the arguments that a ``partial`` binds, the object whose method it is or that is
  called, and whatever these hold in turn, functions among them,
* of classes of the user's own, their methods and attributes. Classes of the standard library and of installed packages
  count by name.

It leaves out the globals of modules (functions, caches and loggers among them), the annotations, and where the source
lies. Parts without state of their own count by type and name: modules, locks, loggers, open files, connections.

It is the same in every process of one Python version: no address counts, the members of sets are sorted by their
digests, and parts that are equal count alike, whether they are one object or several. A dict counts with its order,
since func may go by it; the attributes of an object and keyword arguments do not.

All parts are read first, then digested from the innermost outwards. What is left are circles, and what leads to them:
each part there begins with its own digest and then takes in its neighbours', step by step, until no more parts can be
told apart. So depth and circles cost no recursion, and shared parts are digested once.
"""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import blake2b
from types import (
    BuiltinFunctionType,
    CellType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Final, NamedTuple

from amorsize.checkpoint.item_digest import DIGEST_BYTES, Sink, is_flat
from amorsize.history.fingerprint import package_version
from amorsize.system.looks import ATOMS, shorten

# Steps along circles after which parts that still look alike count as alike (a guess).
MOST_STEPS: Final = 64
# Bytes of an array that are copied at a time, if it is not contiguous (a guess).
BLOCK_BYTES: Final = 1 << 24


# What an object is, its parts (how to call each in an error, and the part), and if their order counts.
Read = tuple[object, Iterable[tuple[object, Any]], bool]


class UnreadableError(Exception):
    """A part of a function holds data that cannot be read.

    Attributes
    ----------
    part : str
        Which part it is, and its type.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(part)


def identity(func: object, *, strict: bool = True) -> str:
    """Return 32 hexadecimal digits that identify a function by all that it holds.

    Parameters
    ----------
    func : callable
        The function; nothing of it is changed or called, but the methods by which its parts say how to pickle them.
    strict : bool
        False: a part that cannot be read counts by its type.

    Raises
    ------
    UnreadableError
        When a part holds data that cannot be read.

    Examples
    --------
    >>> from functools import partial
    >>> identity(partial(max, {"a", "b"})) == identity(partial(max, {"b", "a"}))
    True
    >>> identity(partial(max, [0] * 99 + [1])) == identity(partial(max, [0] * 99 + [2]))
    False
    """
    return _Reading(func, strict).digest().hex()


class _Part(NamedTuple):
    """The record of an object that was read: a label, and the digest or the number of each part of it."""

    label: bytes
    inner: list[bytes | int]
    ordered: bool = True


class _Found(NamedTuple):
    """An object to be read: its value, the number of the object that it is a part of, and its name there."""

    value: Any
    owner: int | None
    # A text, a 1-tuple with the key or the position, or None if an error does not need to name the part.
    step: Any


class _Opaque(Exception):  # noqa: N818  (never leaves this module)
    """An object's data cannot be read."""


class _Reading:
    """One pass over a function."""

    def __init__(self, func: object, strict: bool) -> None:
        self.parts: list[_Part | None] = []
        # Each object that was found, by number; they stay alive, or an id might stand for two of them.
        self.found: list[_Found] = []
        self.numbers: dict[int, int] = {}
        # Classes whose attributes are still to be read, and those that were: they count beside the function.
        self.classes: dict[type, int | None] = {}
        self.strict = strict
        self._unread: deque[int] = deque()
        self.root = self._number(func, None, "func")
        self._read_all()
        # A class is code: what cannot be read there counts by its type.
        self.strict = False
        while waiting := [kind for kind, number in self.classes.items() if number is None]:
            for kind in waiting:
                self.classes[kind] = self._number(_Namespace(kind), None, kind.__qualname__)
            self._read_all()

    def digest(self) -> bytes:
        known = _digests([part for part in self.parts if part is not None])
        mark = blake2b(known[self.root], digest_size=DIGEST_BYTES)
        for each in sorted(known[number] for number in self.classes.values() if number is not None):
            mark.update(each)
        return mark.digest()

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        while self._unread:
            number = self._unread.popleft()
            value = self.found[number].value
            try:
                name, inner, ordered = self._read(value)
            except _Opaque:
                if self.strict:
                    raise UnreadableError(self._where(number)) from None
                name, inner, ordered = ("opaque", _type_name(type(value))), (), True
            label = name if isinstance(name, bytes) else _flat(name)
            self.parts[number] = _Part(label, [self._place(each, number, step) for step, each in inner], ordered)

    def _place(self, value: Any, owner: int, step: object) -> bytes | int:
        """Return the digest of a plain value; the number of another, which is read later."""
        kind = type(value)
        if kind in ATOMS:
            return pickle.dumps(value, 5)
        return _flat(value) if is_flat(value, kind) else self._number(value, owner, step)

    def _number(self, value: Any, owner: int | None, step: object) -> int:
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.found)
            self.found.append(_Found(value, owner, step))
            self.parts.append(None)
            self._unread.append(number)
        return number

    def _where(self, number: int) -> str:
        found = self.found[number]
        steps = [f"a {_type_name(type(found.value))}"]
        while found.owner is not None:
            if found.step is not None:
                steps.append(found.step if isinstance(found.step, str) else "element " + _shown(*found.step))
            found = self.found[found.owner]
        return f"{', '.join(reversed(steps[1:])) or 'func'} ({steps[0]})"

    def _read(self, value: Any) -> Read:
        """Return the name of what an object is, its parts, and if their order counts."""
        kind = type(value)
        read = _READERS.get(kind)
        if read is not None:
            return read(value)
        if issubclass(kind, type):
            self._note(value)
            return ("type", _type_name(value)), (), True
        self._note(kind)
        name = _type_name(kind)
        for module, array, read_array in _ARRAYS:
            if issubclass(kind, getattr(sys.modules.get(module), array, ())):
                return read_array(name, value)
        for module, owner in _GENERATORS:
            if value is getattr(sys.modules.get(module), owner, None):
                return ("global", module, owner), (), True
        if (found := _named(value)) is not None:
            return (name, found), (), True
        for base, of_base in _OF_SUBCLASSES:
            if issubclass(kind, base):
                what, inner, ordered = of_base(value)
                return (name, what), inner, ordered
        return _object(name, value)

    def _note(self, kind: type) -> None:
        """Note a class; its attributes are read if it is the user's own."""
        for each in (type(kind), *kind.__mro__):
            if each not in self.classes and _is_users(each):
                self.classes[each] = None


class _Namespace:
    """Stands for the attributes of a class, whose references to the class go by its name."""

    def __init__(self, kind: type) -> None:
        self.kind = kind


# -- digests -----------------------------------------------------------------------------------------------------------


def _digests(parts: list[_Part]) -> list[bytes]:
    """Return the digest of each part, by number."""
    known: list[bytes | None] = [None] * len(parts)
    waiting = [sum(isinstance(each, int) for each in part.inner) for part in parts]
    owners: list[list[int]] = [[] for _ in parts]
    for number, part in enumerate(parts):
        for each in part.inner:
            if isinstance(each, int):
                owners[each].append(number)
    ready = [number for number, missing in enumerate(waiting) if not missing]
    while ready:
        number = ready.pop()
        known[number] = _digest(parts[number], known)
        for owner in owners[number]:
            waiting[owner] -= 1
            if not waiting[owner]:
                ready.append(owner)
    circle = [number for number, digest in enumerate(known) if digest is None]
    if not circle:
        return [digest or b"" for digest in known]
    for number in circle:
        known[number] = parts[number].label
    kinds = 0
    for _ in range(MOST_STEPS):
        fresh = [_digest(parts[number], known) for number in circle]
        for number, digest in zip(circle, fresh, strict=True):
            known[number] = digest
        before, kinds = kinds, len(set(fresh))
        if kinds == before:
            break
    # Each digest has taken in its neighbourhood, all of them together the whole.
    whole = b"".join(sorted(set(fresh)))
    for number in circle:
        known[number] = blake2b((known[number] or b"") + whole, digest_size=DIGEST_BYTES).digest()
    return [digest or b"" for digest in known]


def _digest(part: _Part, known: list[bytes | None]) -> bytes:
    inner = [each if isinstance(each, bytes) else known[each] or b"" for each in part.inner]
    if not part.ordered:
        inner.sort()
    mark = blake2b(part.label, digest_size=DIGEST_BYTES)
    mark.update(b"+" if part.ordered else b"*")
    for each in inner:
        mark.update(b"%d:" % len(each))
        mark.update(each)
    return mark.digest()


def _flat(value: object) -> bytes:
    """Digest a value of which `is_flat` is true, or a tuple of such."""
    sink = Sink()
    pickler = pickle.Pickler(sink, 5)
    # Without a memo equal texts count alike, whether they are one object or several.
    pickler.fast = True
    pickler.dump(value)
    return sink.digest()


# -- what the parts of an object are ----------------------------------------------------------------------------------


def _function(func: FunctionType) -> Read:
    inner: list[tuple[object, Any]] = [(None, func.__code__)]
    names = func.__code__.co_varnames[: func.__code__.co_argcount]
    for name, value in zip(names[::-1], (func.__defaults__ or ())[::-1], strict=False):
        inner.append((f"default of {name!r}", value))
    for name, value in sorted((func.__kwdefaults__ or {}).items()):
        inner += [(None, name), (f"default of {name!r}", value)]
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=False):
        inner.append((f"the {name!r} that it closes over", cell))
    attributes = func.__dict__
    if attributes:
        assigned = _assigned(func.__code__)
        for name in sorted(attributes.keys() - assigned):
            inner += [(None, name), (f"attribute {name!r}", attributes[name])]
    counts = (len(func.__defaults__ or ()), len(func.__kwdefaults__ or {}), len(func.__closure__ or ()))
    full_name = (module_name(func.__module__), *package_version(func.__module__), func.__qualname__)
    return ("function", *full_name, *counts), inner, True


def _assigned(code: CodeType) -> set[str]:
    """Return the names of attributes that code assigns: counters and the like, which change with each call."""
    import dis

    return {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_ATTR"}


def _code(code: CodeType) -> Read:
    """Read a code object without its file, its lines and the names of its locals."""
    name = (
        "code",
        code.co_code,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_exceptiontable,
    )
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    texts = (*arguments, "", *code.co_names, "", *code.co_freevars)
    return _flat((*name, *texts)), [(None, each) for each in code.co_consts], True


def _cell(cell: CellType) -> Read:
    try:
        return "cell", [(None, cell.cell_contents)], True
    except ValueError:
        # The variable is not assigned yet.
        return "empty cell", (), True


def _method(method: MethodType) -> Read:
    return "method", [("its code", method.__func__), ("the object that it is bound to", method.__self__)], True


def _builtin(value: Any) -> Read:
    name = getattr(value, "__qualname__", value.__name__)
    return ("builtin", name), [("the object that it is bound to", value.__self__)], True


def _descriptor(value: Any) -> Read:
    return ("descriptor", _type_name(value.__objclass__), value.__name__), (), True


def _module(module: ModuleType) -> Read:
    return ("module", module_name(module.__name__)), (), True


def _wrapper(value: Any) -> Read:
    return _type_name(type(value)), [("its function", value.__func__)], True


def _property(value: property) -> Read:
    return "property", [(None, each) for each in (value.fget, value.fset, value.fdel)], True


def _sequence(value: Any) -> Read:
    return type(value).__name__, _numbered(value), True


def _numbered(values: Iterable[Any]) -> Iterable[tuple[object, Any]]:
    return (((at,), each) for at, each in enumerate(values))


def _mapping(value: Any) -> Read:
    inner: list[tuple[object, Any]] = []
    for key, each in dict(value).items():
        inner += [("a key", key), ((key,), each)]
    return type(value).__name__, inner, True


def _members(value: Any) -> Read:
    return type(value).__name__, [("a member", each) for each in value], False


def _view(value: Any) -> Read:
    return type(value).__name__, _numbered(list(value)), True


def _slice(value: Any) -> Read:
    return type(value).__name__, _numbered((value.start, value.stop, value.step)), True


def _buffer(value: Any) -> Read:
    with memoryview(value) as view:
        sink = Sink()
        sink.write(view if view.contiguous else view.tobytes())
        return (type(value).__name__, view.format, str(view.shape), sink.digest()), (), True


def _constant(value: Any) -> Read:
    return ("constant", repr(value)), (), True


def _namespace(value: _Namespace) -> Read:
    kind = value.kind
    inner: list[tuple[object, Any]] = [(None, base) for base in kind.__bases__]
    for name, each in sorted(vars(kind).items()):
        # Names like "_value2member_map_" are enum's, whose table of combined flags grows with their use.
        if name not in _NO_ATTRIBUTES and not (name[:1] == name[-1:] == "_" and name[:2] != "__"):
            inner += [(None, name), (f"attribute {name!r}", each)]
    return ("class", _type_name(kind)), inner, True


def _partial(value: Any) -> Read:
    inner: list[tuple[object, Any]] = [("the function of a partial", value.func)]
    inner += [(f"argument {at} of a partial", each) for at, each in enumerate(value.args)]
    for name, each in sorted(value.keywords.items()):
        inner += [(None, name), (f"argument {name!r} of a partial", each)]
    return ("partial", len(value.args)), [*inner, *_attributes(value.__dict__, type(value))], True


def _cached(value: Any) -> Read:
    """A function with a cache, whose contents do not count."""
    return "lru_cache", [("its function", value.__wrapped__), (None, value.cache_parameters())], True


def _member(value: Any) -> Read:
    return ("member", value._name_), [("its value", value._value_)], True


def _set(value: Any) -> Read:
    """A subclass of set or frozenset, which may have attributes too."""
    base = set if isinstance(value, set) else frozenset
    return base.__name__, [(None, base(base.__iter__(value))), *_state(value)], True


def _state(value: Any) -> list[tuple[object, Any]]:
    """Return the attributes that an object keeps in its ``__dict__`` and its slots."""
    kind = type(value)
    try:
        found = dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        found = {}
    for name in copyreg._slotnames(kind):  # type: ignore[attr-defined]
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:
            # Not assigned yet.
            continue
    return _attributes(found, kind)


def _attributes(found: dict[str, Any], kind: type) -> list[tuple[object, Any]]:
    """Return attributes by name, without those that are derived from the others."""
    inner: list[tuple[object, Any]] = []
    spared = _CACHES.get(_type_name(kind), ())
    for name, each in sorted(found.items(), key=lambda item: str(item[0])):
        own = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        if not isinstance(own, functools.cached_property) and name not in spared:
            inner += [(None, name), (f"attribute {name!r}", each)]
    return inner


def _object(name: str, value: Any) -> Read:
    """Read any other object as pickle does, else its attributes, else its memory."""
    kind = type(value)
    try:
        reduce = copyreg.dispatch_table.get(kind)
        reduced: Any = value.__reduce_ex__(5) if reduce is None else reduce(value)
        if isinstance(reduced, str):
            # This is the name of a global object. It identifies the object if a lookup of the name returns the same
            # object.
            module = pickle.whichmodule(value, reduced)  # type: ignore[attr-defined]
            found = functools.reduce(getattr, reduced.split("."), sys.modules[module])
            if found is value:
                return (name, "global", module_name(module), reduced), (), True
            raise _Opaque
        if not isinstance(reduced, tuple):
            raise _Opaque
        call, arguments, state, items, pairs = ([*reduced] + [None] * 4)[:5]
        inner: list[tuple[object, Any]] = [("what makes it", call), (None, tuple(arguments or ()))]
        if isinstance(state, tuple) and len(state) == 2 and all(isinstance(half, dict | None) for half in state):
            state = {**(state[0] or {}), **(state[1] or {})}
        # An object without attributes counts like one whose attributes are all derived.
        state = {} if state is None else state
        inner += _attributes(state, kind) if isinstance(state, dict) else [("its state", state)]
        inner += [(None, list(items or ())), (None, [each for pair in pairs or () for each in pair])]
        return (name, "object"), inner, True
    except Exception:  # noqa: BLE001  (code of the user's: it raises anything)
        pass
    try:
        attributes = _state(value)
    except Exception:  # noqa: BLE001  (a class that is not as classes are)
        attributes = []
    if attributes:
        return (name, "attributes"), attributes, True
    try:
        what, parts, ordered = _buffer(value)
        return (name, what), parts, ordered
    except Exception:  # noqa: BLE001  (it has no buffer)
        # Open files and connections to databases hold no data of their own.
        if any(hasattr(kind, method) for method in ("fileno", "cursor")):
            return (name, "handle"), (), True
        raise _Opaque from None


def _numpy(name: str, value: Any) -> Read:
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        inner = [("data", np.asarray(value.data)), ("mask", np.ma.getmaskarray(value)), ("fill", value.fill_value)]
        return (name, "masked"), inner, True
    plain = np.asarray(value).view(np.ndarray)
    dtype = plain.dtype
    label = (name, str(dtype.str), str(plain.shape))
    more = _state(value) if _is_users(type(value)) else []
    if dtype.names is not None:
        # By field: the bytes between fields are undefined.
        for field in dtype.names:
            more += [(None, field), (f"field {field!r}", plain[field])]
        return label, more, True
    if dtype.hasobject or dtype.kind == "T":
        return label, [*_numbered(plain.ravel().tolist()), *more], True
    sink = Sink()
    if plain.flags.c_contiguous:
        sink.write(plain.reshape(-1).view(np.uint8) if plain.nbytes else b"")
    else:
        rows = max(1, BLOCK_BYTES // max(1, dtype.itemsize))
        flat = plain.flat
        for at in range(0, plain.size, rows):
            sink.write(flat[at : at + rows].tobytes())
    return (*label, sink.digest()), more, True


def _tensor(name: str, value: Any) -> Read:
    import torch  # type: ignore[import-not-found, unused-ignore]

    plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return (name, str(value.dtype), str(tuple(value.shape)), bool(value.requires_grad)), [(None, plain)], True


def _named(value: Any) -> str | None:
    """Return the name of a part that has no state of its own, maybe an empty one; None for any other object."""
    for base in type(value).__mro__:
        if f"{base.__module__}.{base.__qualname__}" in _STATELESS:
            break
    else:
        return None
    if isinstance(value, io.BytesIO | io.StringIO):
        return None
    for attribute in ("name", "_name", "__name__"):
        try:
            name = getattr(value, attribute)
        except Exception:  # noqa: BLE001  (it is closed, or a property raises)
            continue
        if isinstance(name, str):
            return name
    return ""


# -- names -------------------------------------------------------------------------------------------------------------


def module_name(name: object) -> str:
    """Return a module's name; the main module has another name in spawned children."""
    return "__main__" if name == "__mp_main__" else str(name or "")


def _type_name(kind: type) -> str:
    return f"{module_name(kind.__module__)}.{kind.__qualname__}"


def _is_users(kind: type) -> bool:
    """True for a class of the user's own, false for one of the standard library or an installed package."""
    name = module_name(kind.__module__)
    if name.partition(".")[0] in sys.stdlib_module_names:
        return False
    file = str(getattr(sys.modules.get(name), "__file__", None) or "")
    return not any(folder in file for folder in ("site-packages", "dist-packages"))


def _shown(key: object) -> str:
    try:
        return shorten(key)
    except Exception:  # noqa: BLE001  (a repr of the user's)
        return f"a {_type_name(type(key))}"


# Attributes of classes that say nothing of what the class does, or differ from process to process.
_UNSAID: Final = """
    dict weakref module qualname doc annotations annotate annotations_cache annotate_func firstlineno static_attributes
    slotnames abstractmethods parameters orig_bases type_params
"""
_NO_ATTRIBUTES: Final = frozenset(f"__{name}__" for name in _UNSAID.split())
# Random generators that are globals of modules, whose functions are methods of them: `random.gauss`, say.
_GENERATORS: Final = (("random", "_inst"), ("numpy.random.mtrand", "_rand"))
# Attributes that objects fill while they are used.
_CACHES: Final = {"numpy.vectorize": ("_ufunc",)}
# Bases of what has no state of its own, or none that lasts: locks, loggers, handles, caches of weak references.
_BASES: Final = """
    _thread.lock _thread.RLock _thread._local threading._RLock threading.Condition threading.Event threading.Semaphore
    threading.Barrier threading.Thread _multiprocessing.SemLock multiprocessing.synchronize.SemLock
    multiprocessing.synchronize.Condition multiprocessing.synchronize.Event multiprocessing.queues.Queue
    multiprocessing.queues.SimpleQueue multiprocessing.connection._ConnectionBase multiprocessing.managers.BaseManager
    multiprocessing.managers.BaseProxy multiprocessing.pool.Pool multiprocessing.process.BaseProcess
    concurrent.futures._base.Executor subprocess.Popen asyncio.mixins._LoopBoundMixin asyncio.events.AbstractEventLoop
    logging.Filterer logging.PlaceHolder logging.Manager _io._IOBase tempfile._TemporaryFileWrapper mmap.mmap
    _socket.socket _ssl._SSLContext _ssl._SSLSocket selectors.BaseSelector select.epoll select.poll
    sqlite3.Connection sqlite3.Cursor _contextvars.ContextVar contextvars.ContextVar _contextvars.Context
    contextvars.Context _weakref.ReferenceType weakref.ReferenceType weakref.WeakKeyDictionary
    weakref.WeakValueDictionary _weakrefset.WeakSet weakref.WeakSet weakref.finalize _queue.SimpleQueue ctypes.CDLL
    _ctypes.CFuncPtr _ctypes.PyCFuncPtr
"""
_STATELESS: Final = frozenset(_BASES.split())
_READERS: Final[dict[type, Callable[[Any], Read]]] = {
    FunctionType: _function,
    CodeType: _code,
    CellType: _cell,
    MethodType: _method,
    BuiltinFunctionType: _builtin,
    MethodWrapperType: _builtin,
    **dict.fromkeys(
        (
            MethodDescriptorType,
            WrapperDescriptorType,
            ClassMethodDescriptorType,
            GetSetDescriptorType,
            MemberDescriptorType,
        ),
        _descriptor,
    ),
    ModuleType: _module,
    staticmethod: _wrapper,
    classmethod: _wrapper,
    property: _property,
    list: _sequence,
    tuple: _sequence,
    dict: _mapping,
    MappingProxyType: _mapping,
    set: _members,
    frozenset: _members,
    **dict.fromkeys((type({}.keys()), type({}.values()), type({}.items())), _view),
    range: _slice,
    slice: _slice,
    bytearray: _buffer,
    memoryview: _buffer,
    type(...): _constant,
    type(NotImplemented): _constant,
    _Namespace: _namespace,
    functools._lru_cache_wrapper: _cached,
}


_OF_SUBCLASSES: Final[tuple[tuple[type, Callable[[Any], Read]], ...]] = (
    (functools.partial, _partial),
    (Enum, _member),
    (set, _set),
    (frozenset, _set),
)
_ARRAYS: Final[tuple[tuple[str, str, Callable[[str, Any], Read]], ...]] = (
    ("numpy", "ndarray", _numpy),
    ("numpy", "generic", _numpy),
    ("torch", "Tensor", _tensor),
)
