"""What is done with values that a compiled function is given: it may write them, call them, call methods of them."""

from __future__ import annotations

from functools import partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)

from amorsize.measure.safety.attributes import is_property
from amorsize.measure.safety.tables import ARRAY, ATOMIC, BAD, HOLDS
from amorsize.measure.safety.types import (
    CONTAINERS,
    Kinds,
    is_the_users,
    is_value,
    is_written_in_python,
    mro,
    names_of,
    namespace,
    nature,
    python_method,
    rule_of,
)
from amorsize.measure.safety.uses import (
    CHECKS,
    COMPARES,
    FORMATS,
    GETS,
    HASHED,
    ITERATES,
    NO_METHODS,
    OPERATORS,
    PARTS,
    SPECIAL,
    TRUTH,
    WHOLE,
)
from amorsize.measure.safety.values import (
    ANY,
    ATOMS,
    NOTHING,
    UNSURE,
    Closure,
    Item,
    Method,
    Named,
    Outer,
    Site,
    Thing,
    Value,
    joined,
    one,
)
from amorsize.measure.safety.walk import Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# What functions call of an object that they are given, and how far they look into it, where that is not all.
ASKS: Final = {
    **dict.fromkeys(("type", "id", "callable", "super", "object"), (NO_METHODS, WHOLE)),
    **dict.fromkeys(("len", "bool"), (TRUTH, WHOLE)),
    **dict.fromkeys(("isinstance", "issubclass"), (CHECKS, PARTS)),
    **dict.fromkeys(("hash", "set", "frozenset", "dict"), (HASHED | ITERATES, PARTS)),
    **dict.fromkeys(("str", "repr", "ascii", "format"), (FORMATS | HASHED, PARTS)),
    **dict.fromkeys(("list", "tuple", "enumerate", "zip", "reversed"), (ITERATES, WHOLE)),
}
# As above, of functions that may call what they are given.
ASKS_AND_CALLS: Final = {
    **dict.fromkeys(("sorted", "max", "min"), (COMPARES | ITERATES, PARTS)),
    **dict.fromkeys(("map", "filter", "any", "all", "next", "iter"), (ITERATES | TRUTH, PARTS)),
    "sum": (OPERATORS | ITERATES, PARTS),
}
# Modules whose functions look into all that an object holds.
LOOK_INTO_ALL: Final = frozenset(("copy", "pickle", "_pickle", "dataclasses"))
# Methods of containers that call none of what is in them.
_MOVES: Final = """
    append extend insert appendleft extendleft pop popleft popitem clear copy keys values items reverse rotate
    __len__ __iter__ __getitem__ get setdefault fill __init__
    """
MOVES: Final = frozenset(_MOVES.split())
GETTERS: Final = ("itemgetter", "attrgetter", "methodcaller")
_CALLABLE: Final = Kinds(
    FunctionType, BuiltinFunctionType, MethodType, MethodDescriptorType, MethodWrapperType, WrapperDescriptorType
)
_CACHED: Final = ("functools", "_lru_cache_wrapper")


_SETS: Final = ("__setitem__", "__delitem__")


class Lending(Walk):
    """Arguments of compiled functions."""

    def mutate(self, value: Value, how: str, *, grows: bool = False) -> None:
        """Note that something is changed; ``grows``: what it holds then depends on what it held before."""
        for thing in value:
            if isinstance(thing, Outer):
                if not thing.is_atom and not (thing.kind is not None and nature(thing.kind) == ATOMIC):
                    (self.state.grow if grows else self.state.fill)(thing.objs or (thing,))
                    self.unsafe(f"{how} {self.called(thing)}")
            elif isinstance(thing, Item):
                kind = self.kind_of(thing)
                if kind is None or not is_value(kind):
                    self.writes(thing, f"{how} {self.called(thing)}")
            elif isinstance(thing, Named):
                self.unsafe(f"{how} {self.called(thing)}")
            elif isinstance(thing, Method):
                self.mutate(self.as_value(thing), how)
            elif isinstance(thing, Site) and thing.kind is tuple:
                # out=(a, b)
                self.mutate(self.held(one(thing)), how)
            elif thing is UNSURE:
                self.unknown(f"{how} something that cannot be told")

    def is_callable(self, thing: Thing) -> bool:
        kind = self.kind_of(thing)
        return isinstance(thing, Closure | Method) or (
            kind is not None
            and (
                kind in _CALLABLE
                or issubclass(kind, partial)
                or names_of(kind) == _CACHED
                or (isinstance(thing, Outer) and issubclass(kind, type) and _may_be_made(thing))
                or is_getter(kind)
            )
        )

    def lend(
        self, value: Value, to: str, names: frozenset[str] = SPECIAL, into: int = PARTS, *, calls: bool = True
    ) -> Value:
        """Look at arguments that a compiled function is given; return what those among them give that it calls.

        It may call methods of these ``names``, of the arguments and of what they hold as far as ``into`` says;
        ``calls``: it may call the functions among them, too.
        """
        given = NOTHING
        functions = []
        self.note_kept(value)
        for thing in value:
            kind = self.kind_of(thing)
            if self.is_callable(thing):
                functions.append(thing)
            else:
                if kind is not None and python_method(kind, "__call__") is not None:
                    functions.append(thing)
                self._lend(thing, to)
                given |= one(thing)
        if not calls:
            self.use(value, names, given or ATOMS, into=into)
            return NOTHING
        if names is SPECIAL:
            held = self.held(frozenset([thing for thing in given if self.kind_of(thing) in CONTAINERS]))
            functions += [thing for thing in held if self.is_callable(thing)]
        gives = self.use(given, names, joined(ATOMS, given), into=into)
        if not functions:
            return gives
        inner = joined(ATOMS, given, self.iterate(given))
        return joined(gives, *(self.call_back(self.call(one(func), [], {}, inner)) for func in functions))

    def _lend(self, thing: Thing, to: str, *, inside: bool = False) -> None:
        kind = self.kind_of(thing)
        if kind is None:
            if isinstance(thing, Outer):
                self.unknown(f"hands {self.called(thing)} to {to}, and nothing is known of it")
            return
        if not isinstance(thing, Outer) or thing.is_atom:
            return
        what = nature(kind)
        if what in (HOLDS, ARRAY):
            self.state.look(thing.objs or (thing,))
        if what == BAD and not self.is_standard(thing):
            why = f"hands {self.called(thing)} to {to}: a {names_of(kind)[1]} is not safe in two threads at once"
            self.unsafe(why, carries=True)
        if what == HOLDS and not inside and thing.objs:
            for part in joined(self.parts_of(thing), self.parts_of(thing, values=True)):
                self._lend(part, to, inside=True)
        elif what is None and not is_written_in_python(kind) and not issubclass(kind, type | ModuleType | FunctionType):
            self.unknown(f"hands {self.called(thing)} to {to}, and nothing is known of a {names_of(kind)[1]}")

    def call_back(self, value: Value) -> Value:
        """Look into the user's own methods of classes whose base is a library's: the library calls them."""
        for site in value:
            kind = self.kind_of(site)
            if not isinstance(site, Outer | Item | Site) or kind is None or not is_the_users(kind):
                continue
            if all(is_the_users(base) or base is object for base in mro(kind)):
                continue
            for base in mro(kind):
                if not is_the_users(base):
                    break
                for name, func in list(namespace(base).items()):
                    may_be = name in SPECIAL or name in _SETS or not name.startswith("__")
                    if may_be and type(func) is FunctionType and rule_of(func) is None:
                        self.run(name, func, site, one(self.here("given")))
        return value

    def any_attribute(self, value: Value) -> Value:
        """Return what an attribute of any name may be."""
        for thing in value:
            kind = self.kind_of(thing)
            if kind is None or not is_written_in_python(kind):
                continue
            self.use(one(thing), GETS, into=WHOLE)
            for base in mro(kind):
                for found in list(namespace(base).values()) if is_written_in_python(base) else ():
                    if is_property(type(found)) or python_method(type(found), "__get__") is not None:
                        self._bound(found, thing, kind, "?")
        return ANY

    # -- functions of operator ----------------------------------------------------------------------------------------

    def make_getter(self, kind: type, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        """Return what ``itemgetter``, ``attrgetter`` or ``methodcaller`` make within the call."""
        made = self.here("getter", kind)
        self.put(made, rest)
        self.made_tuple(made, args)
        for name, value in words.items():
            self.put_field(made, name, value)
        return one(made)

    def get_by(self, getter: Outer | Site, kind: type, target: Value) -> Value:
        """Return what a call of one of them gives."""
        words: dict[str, Value] = {}
        if isinstance(getter, Site):
            getter.is_read = True
            given = [held for index, held in getter.fields.items() if type(index) is int]
            words = {name: held for name, held in getter.fields.items() if type(name) is str}
        else:
            # Compiled: nothing of the user's runs.
            made, held = getter.objs[0].__reduce__()[:2]
            if type(made) is partial:
                words = {name: self.outer(one_of, "an argument") for name, one_of in made.keywords.items()}
                held = (*made.args, *held)
            given = [self.outer(one_of, "an argument") for one_of in held]
        what = names_of(kind)[1]
        if what == "itemgetter":
            return joined(*(self.element(target, key) for key in given))
        names = [self.fixed(key) for key in given[: 1 if what == "methodcaller" else None]]
        if not all(type(name) is str for name in names):
            return self.any_attribute(target)
        found = NOTHING
        for name in names:
            value = target
            for part in name.split("."):
                value = self.get(value, part)
            found |= self.call(value, given[1:], words) if what == "methodcaller" else value
        return found


def is_getter(kind: type) -> bool:
    """Return True for ``operator.itemgetter`` and the like."""
    module, name = names_of(kind)
    return module == "operator" and name in GETTERS and not is_written_in_python(kind)


def _may_be_made(thing: Outer) -> bool:
    """Return True for a class of the user's, whose methods run where a function is given the class."""
    return any(issubclass(type(obj), type) and is_the_users(obj) for obj in thing.objs)
