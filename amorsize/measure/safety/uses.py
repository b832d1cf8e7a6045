"""What runs without being called: special methods of a class written in Python, of an object or of what it holds.

An instruction or a compiled function that is given an object may call methods of it: ``not thing`` its ``__bool__``,
``{thing}`` its ``__hash__``, ``sorted(things)`` the ``__lt__`` of each. `Uses.use` looks into them as functions that
are called with the object: one rule for what outlives the call, for the item, and for what the call makes.
"""

from __future__ import annotations

from types import FunctionType

from amorsize.measure.safety.contents import Contents
from amorsize.measure.safety.tables import ARRAY, HOLDS
from amorsize.measure.safety.types import Kinds, is_of_library, is_written_in_python, mro, namespace, nature, stored_in
from amorsize.measure.safety.values import ATOMS, NOTHING, Atom, Item, Outer, Site, Thing, Value, joined, one
from amorsize.system.looks import defined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


def _special(names: str) -> frozenset[str]:
    return frozenset([f"__{name}__" for name in names.split()])


_BINARY: Final = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod"
TRUTH: Final = _special("bool len")
# What a search in a dict or a set calls, and what an index is.
HASHED: Final = _special("hash eq index")
EQUALS: Final = _special("eq ne")
COMPARES: Final = _special("eq ne lt le gt ge")
FORMATS: Final = _special("format str repr")
ITERATES: Final = _special("iter next getitem len length_hint reversed")
SEARCHES: Final = _special("contains hash eq") | ITERATES
MAPS: Final = _special("getitem missing len iter next") | {"keys", "items", "get"}
CHECKS: Final = _special("instancecheck subclasscheck subclasshook")
GETS: Final = _special("getattr getattribute")
NO_METHODS: Final[frozenset[str]] = frozenset()
ENDS: Final = _special("del")
LEAVES: Final = _special("exit")
IN_PLACE: Final = frozenset([f"__i{name}__" for name in _BINARY.split()])
_OF_ARRAYS: Final = "array array_ufunc array_function array_wrap array_finalize array_interface index"
_REFLECTED: Final = " ".join([f"r{name}" for name in _BINARY.split()])
OPERATORS: Final = _special(f"{_BINARY} {_REFLECTED} neg pos invert {_OF_ARRAYS}")
_OTHERS: Final = """
    int float complex index abs round trunc floor ceil fspath bytes copy deepcopy reduce reduce_ex getstate sizeof
    getnewargs getnewargs_ex dir missing enter exit getattr getattribute
    """
# What a library calls of a file, a mapping, a handler that it is given.
_PROTOCOLS: Final = """
    write writelines read readline readinto flush seek tell close keys items get send emit handle handleError
    filter default utcoffset dst tzname fromutc
    """
SPECIAL: Final = (
    TRUTH | HASHED | COMPARES | FORMATS | SEARCHES | CHECKS | OPERATORS | _special(_OTHERS) | set(_PROTOCOLS.split())
)
FORMATTED: Final = OPERATORS | FORMATS | MAPS | HASHED | _special("int float")
_WRAPPERS: Final = Kinds(classmethod, staticmethod)
# How far to look into what is used: not at all; at what containers hold; at what any object holds.
WHOLE: Final = 0
PARTS: Final = 1
ATTRIBUTES: Final = 2
# guess: containers within containers
DEEPEST: Final = 8


class Uses(Contents):
    """Special methods of what is used."""

    def __init__(self) -> None:
        super().__init__()
        # By class and names; what was used in this pass, with what it gave.
        self.methods: dict[tuple[int, int], list[tuple[str, Any]]] = {}
        self.used: dict[Any, Value] = {}
        # By object and method: what else the method was given, and what it gave in this pass.
        self.others: dict[Any, Value] = {}
        self.gave: dict[Any, tuple[Value, Value]] = {}

    def forget_uses(self) -> None:
        """Begin a new pass."""
        self.used.clear()
        self.gave.clear()

    def use(
        self, value: Value, names: frozenset[str] = SPECIAL, other: Value = ATOMS, *, into: int = PARTS, depth: int = 0
    ) -> Value:
        """Look into the methods of these names that a value may have, or what it holds; return what they give."""
        gives = NOTHING
        for thing in value:
            if isinstance(thing, Atom) or (isinstance(thing, Outer) and thing.is_atom):
                continue
            if not isinstance(thing, Outer | Item | Site):
                continue
            key = (thing, id(names), other, into)
            known = self.used.get(key)
            if known is None:
                self.used[key] = NOTHING
                known = self.used[key] = self._use(thing, names, other, into, depth)
            gives |= known
        return gives

    def _use(self, thing: Outer | Item | Site, names: frozenset[str], other: Value, into: int, depth: int) -> Value:
        kind = self.kind_of(thing)
        gives = NOTHING
        if kind is not None and is_written_in_python(kind):
            gives = joined(*(self.run(name, func, thing, other) for name, func in self._methods(kind, names)))
        if isinstance(thing, Outer) and thing.objs and names is CHECKS and kind is not None and issubclass(kind, type):
            for name, func in self._methods(thing.objs[0], names):
                gives |= self.run(name, func, thing, other)
        if into and depth < DEEPEST and (parts := self._inside(thing, kind, into)):
            self.spend()
            gives |= self.use(parts, names, other, into=into, depth=depth + 1)
        return gives

    def run(self, name: str, func: Any, thing: Thing, other: Value = ATOMS) -> Value:
        """Look into a method that nothing calls by its name."""
        func = _unwrapped(func)
        key = (thing, id(func))
        other = self.others[key] = joined(self.others.get(key, ATOMS), other)
        given, gives = self.gave.get(key, (NOTHING, NOTHING))
        if given == other:
            return gives
        self.gave[key] = (other, gives)
        self.implied.append(f"may call `{name}` of {self.called(thing)}, which ")
        if type(func) is FunctionType:
            gives = self.call_function(func, [one(thing), other], {}, other)
        else:
            gives = self.call(self.outer(func, f"`{name}`"), [one(thing), other], {}, other)
        self.implied.pop()
        gives = frozenset(map(self._as_one, gives))
        self.gave[key] = (other, gives)
        return gives

    def _as_one(self, thing: Thing) -> Thing:
        """Return the one thing that stands for all of a class that special methods make: ``a + b + c`` makes many."""
        if not isinstance(thing, Site) or thing.kind is None or not is_written_in_python(thing.kind):
            return thing
        made = self.site(("result", id(thing.kind)), thing.kind)
        if made is not thing:
            self.put(made, self.held(one(thing)) - {made})
        return made

    def _methods(self, kind: type, names: frozenset[str]) -> list[tuple[str, Any]]:
        """Return the methods of these names that a class or its bases define in Python."""
        key = (id(kind), id(names))
        found = self.methods.get(key)
        if found is None:
            self.kept.append(kind)
            methods: dict[str, Any] = {}
            for base in mro(kind):
                if is_written_in_python(base):
                    for name, func in list(namespace(base).items()):
                        if type(name) is str and name in names:
                            methods.setdefault(name, func)
            shows = _shows_fields(kind)
            found = self.methods[key] = [
                (name, func) for name, func in methods.items() if _is_the_users(func) and not (shows and _is_made(func))
            ]
        return found

    def _inside(self, thing: Outer | Item | Site, kind: type | None, into: int) -> Value:
        """Return what an object holds, as far as it matters for what is done with the object."""
        if isinstance(thing, Site):
            whole = kind is None or nature(kind) == HOLDS or into == ATTRIBUTES or _shows_fields(kind)
            return self.held(one(thing)) if whole else NOTHING
        key = ("inside", thing, into)
        found = self.things.get(key)
        if found is None:
            found = self.things[key] = self._inside_of(thing, kind, into)
        return found

    def _inside_of(self, thing: Outer | Item, kind: type | None, into: int) -> Value:
        if not thing.objs or kind is None:
            return thing.inner if isinstance(thing, Outer) else NOTHING
        what = nature(kind)
        found = NOTHING
        if what == HOLDS:
            found = joined(self.parts_of(thing), self.parts_of(thing, values=True))
        elif what == ARRAY and self.some(thing.objs[0], kind, False):
            found = self.parts_of(thing)
        if is_written_in_python(kind) and (into == ATTRIBUTES or _shows_fields(kind)):
            held = stored_in(thing.objs[0])
            found = joined(found, *(self.like(thing, [one_of], name) for name, one_of in held.items()))
        return found


def _is_the_users(func: Any) -> bool:
    """Return True for a method that is not known from the tables, and is written in Python."""
    func = _unwrapped(func)
    return not is_of_library(func) if type(func) is FunctionType else is_written_in_python(type(func))


def _is_made(func: Any) -> bool:
    """Return True for a method that `dataclasses` has written: what it does is asked of the fields."""
    return type(func) is FunctionType and func.__code__.co_filename == "<string>"


def _unwrapped(func: Any) -> Any:
    return func.__func__ if type(func) in _WRAPPERS else func


def _shows_fields(kind: type) -> bool:
    """Return True for a data class: `dataclasses` has written methods that ask all its fields."""
    return defined(kind, "__dataclass_fields__") is not None
