"""What methods and compiled functions do with their owner and their arguments, by the tables."""

from __future__ import annotations

import sys
from types import FunctionType

from amorsize.measure.safety.kept import is_local
from amorsize.measure.safety.lending import ASKS, ASKS_AND_CALLS, GETTERS, LOOK_INTO_ALL, MOVES, Lending
from amorsize.measure.safety.tables import (
    ARRAY,
    ATOMIC,
    BAD,
    FIRST,
    GIVES,
    HOLDS,
    KEEPS,
    PART,
    PARTS,
    PLACE,
    SAME,
    SHARED,
    UNSAFE,
    what_of,
)
from amorsize.measure.safety.types import (
    ADDS,
    ADDS_ALL,
    CONTAINERS,
    READS,
    READS_PARTS,
    WRITES,
    is_written_in_python,
    mro,
    names_of,
    nature,
    own_attributes,
    rule_of,
)
from amorsize.measure.safety.uses import ATTRIBUTES, SPECIAL
from amorsize.measure.safety.uses import PARTS as IN_PARTS
from amorsize.measure.safety.values import (
    ANY,
    ATOMS,
    NOTHING,
    Atom,
    Item,
    Method,
    Outer,
    Site,
    Thing,
    Value,
    joined,
    one,
)
from amorsize.system.looks import defined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Built-in functions that give numbers, texts and the like.
_NAMES: Final = (
    "ascii bin bool bytes callable chr float format hash hex id int isinstance issubclass len oct ord repr str"
)
ATOM_MAKERS: Final = frozenset(f"builtins.{name}" for name in _NAMES.split(" "))
# What some functions make, where the type matters if it is kept.
MADE: Final = {"re.compile": ("re", "Pattern")}
# Methods that replace all that a container holds; that take something out of it.
FILLS: Final = frozenset(["clear", "fill", "update", "setdefault", "__setitem__", "__delitem__", "discard", "release"])
TAKES: Final = frozenset(["popleft", "popitem"])
# Where numpy's functions take what they write into, if it has no name; their methods take it one place before.
OUT_AT: Final = {
    **dict.fromkeys(("dot", "round", "around", "max", "min", "amax", "amin", "any", "all", "concatenate", "choose"), 2),
    **dict.fromkeys(("argmax", "argmin", "stack"), 2),
    **dict.fromkeys(("sum", "prod", "mean", "std", "var", "cumsum", "cumprod", "clip", "take", "compress"), 3),
}
OUT_AT_OF_UFUNC: Final = {"reduce": 3, "accumulate": 3, "reduceat": 4}
# Methods that write what they are given.
INTO: Final = ("shuffle", "readinto", "readinto1", "pack_into", "unpack_into")
# Methods of arrays that give a view.
VIEWS: Final = frozenset(
    ("reshape", "ravel", "transpose", "view", "squeeze", "swapaxes", "diagonal", "cast", "toreadonly", "__getitem__")
)
SETS_UP: Final = frozenset(("setLevel", "addHandler", "addFilter", "removeHandler", "removeFilter", "shutdown"))


class Methods(Lending):
    """Methods, and the calls that the tables know."""

    # -- functions of the tables --------------------------------------------------------------------------------------

    def apply(
        self,
        rule: str | None,
        name: str,
        args: list[Value],
        words: dict[str, Value],
        rest: Value = NOTHING,
        kind: type | None = None,
    ) -> Value:
        """Return what a function gives of which the tables say ``rule``; ``kind``: the class that is called."""
        name = name.removeprefix("builtins.")
        if rule is None:
            self.unknown(f"calls `{name}`, which is not known to be safe in threads")
            self.lend(joined(*args, *words.values(), rest), f"`{name}`")
            return ANY
        if rule == UNSAFE:
            self.unsafe(f"calls `{name}`, which changes what all threads share")
        given = [*args, *words.values(), rest]
        first = args[0] if args else rest
        path, _, last = name.rpartition(".")
        if words.get("out"):
            self.mutate(words["out"], "writes into")
        if name.startswith("numpy."):
            if at := OUT_AT.get(last):
                self.mutate(joined(*args[at : at + 1]), "writes into")
            if _does_not_copy(words, args[1:2] if last == "nan_to_num" else []):
                rule = FIRST if last == "nan_to_num" else SAME
        if path and not path.islower() and any(self._is_bound(thing) for thing in first):
            # A method of a library's class, called by the class: its first argument is the object.
            return joined(*(self.call_method(self.method(thing, last), args[1:], words, rest) for thing in first))
        if last in GETTERS and kind is not None:
            return self.make_getter(kind, args, words, rest)
        if name == "_operator.getitem" or name == "operator.getitem":
            return self.element(first, args[1] if len(args) > 1 else ATOMS)
        if last in ("import_module", "getLogger"):
            return self._shared(name, first)
        if rule == GIVES:
            return one(self.things.setdefault(("gives", name), Outer((), f"what `{name}` gives", kind=object)))
        if name in ("setattr", "delattr"):
            key = self.fixed(args[1]) if len(args) > 1 else None
            self.set(first, key if type(key) is str else "*", args[2] if len(args) > 2 else NOTHING)
            return ATOMS
        if name == "getattr":
            key = self.fixed(args[1]) if len(args) > 1 else None
            found = self.get(first, key) if type(key) is str else self.any_attribute(first)
            return joined(found, *args[2:])
        if name == "hasattr":
            key = self.fixed(args[1]) if len(args) > 1 else None
            asked = frozenset([thing for thing in first if not is_local(self.type_of(thing))])
            if type(key) is str:
                self.get(asked, key)
            else:
                self.any_attribute(asked)
            return ATOMS
        if rule in (FIRST, "counts"):
            self.mutate(first, "changes", grows=True)
            self._store(first, args[1:])
        elif rule == "second":
            self.mutate(args[1] if len(args) > 1 else rest, "writes into")
        elif rule == PLACE and any(isinstance(thing, Outer) for thing in first):
            self.unsafe(f"calls `{name}` on a file that outlives the call: its position is shared", carries=True)
        if name == "itertools.starmap":
            given.append(self.iterate(self.iterate(joined(*args[1:], rest))))
        if name == "type" and len(args) > 1:
            self.unknown("makes a class")
        all_of_it = (SPECIAL, ATTRIBUTES if path in LOOK_INTO_ALL else IN_PARTS)
        names, into = ASKS.get(name) or ASKS_AND_CALLS.get(name, all_of_it)
        called = self.lend(joined(*given), f"`{name}`", names, into, calls=name not in ASKS)
        return self._result(rule, name, args, words, given, called, kind)

    def _result(
        self,
        rule: str,
        name: str,
        args: list[Value],
        words: dict[str, Value],
        given: list[Value],
        called: Value,
        kind: type | None,
    ) -> Value:
        if f"builtins.{name}" in ATOM_MAKERS:
            return ATOMS
        if name.rpartition(".")[2] == "getcontext":
            return one(self.things.setdefault("context", Outer((), "the decimal context")))
        if name in MADE:
            module, of = MADE[name]
            kind = vars(sys.modules[module]).get(of) if module in sys.modules else None
            return one(self.here(name, kind))
        made = self.here(name, kind if kind is not None and nature(kind) == HOLDS else None)
        if rule == KEEPS:
            return one(self.filled(made, *given))
        if rule == SAME:
            return joined(one(made), args[0] if args else NOTHING, *map(self._blocks, given))
        if rule == "copy":
            return joined(
                called, one(self.filled(made, *(self._insides(thing) for thing in (args[0] if args else NOTHING))))
            )
        if rule == PART:
            return joined(ATOMS, one(made), called, *given, *map(self._iterate_data, given))
        if rule != PARTS:
            # A special method may give what it likes.
            return joined(one(self.filled(made, called)), called)
        if name == "map":
            return one(self.filled(made, called))
        if name in ("enumerate", "zip", "itertools.zip_longest", "itertools.product"):
            parts = [self._iterate_data(value) for value in args]
            inner = self.here((name, "parts"), tuple)
            self.made_tuple(inner, [ATOMS, *parts] if name == "enumerate" else parts)
            return one(self.filled(made, one(inner)))
        if name in ("dict", "collections.OrderedDict", "collections.defaultdict"):
            for value in args:
                self.merge(one(made), value)
            for word, value in words.items():
                self.put_field(made, word, value)
        return one(self.filled(made, called, *map(self._iterate_data, given)))

    def _blocks(self, value: Value) -> Value:
        """Return those of the values that are blocks of memory, of which others may be views."""
        return frozenset([t for t in value if (kind := self.kind_of(t)) is not None and nature(kind) == ARRAY])

    def _is_bound(self, thing: Thing) -> bool:
        kind = self.kind_of(thing)
        if kind is None or issubclass(kind, type):
            return False
        return isinstance(thing, Outer | Item) and is_written_in_python(kind)

    def _shared(self, name: str, first: Value) -> Value:
        """Return a module or a logger: all calls get the same one."""
        key = self.fixed(first)
        if name.endswith("getLogger"):
            logging = own_attributes(sys.modules.get("logging")) or {}
            manager = own_attributes(logging.get("root")) or {}
            held = (own_attributes(manager.get("manager")) or {}).get("loggerDict")
            found = dict.get(held, key) if type(held) is dict and type(key) is str else None
            if type(found) is logging.get("Logger"):
                return self.outer(found, "a logger")
            return one(self.things.setdefault("logger", Outer((), "a logger", kind=logging.get("Logger"))))
        if type(key) is str and key in sys.modules:
            return self.outer(sys.modules[key], f"the module `{key}`")
        return self.named(key) if type(key) is str else one(self.things.setdefault("module", Outer((), "a module")))

    def _iterate_data(self, value: Value) -> Value:
        """Return what a loop over those of the values gives that are no functions."""
        found = NOTHING
        for thing in value:
            if not self.is_callable(thing):
                found |= self.iterate(one(thing)) if self._is_iterable(thing) else self._insides(thing)
        return found

    def _is_iterable(self, thing: Thing) -> bool:
        """Return False for an object of a class that has no iterator: it is looked into instead."""
        kind = self.kind_of(thing)
        if kind is None or not is_written_in_python(kind) or issubclass(kind, type):
            return True
        return any(defined(kind, name) is not None for name in ("__iter__", "__getitem__", "__next__"))

    def _insides(self, thing: Thing) -> Value:
        if isinstance(thing, Outer | Item) and thing.objs and is_written_in_python(type(thing.objs[0])):
            held = list((own_attributes(thing.objs[0]) or {}).values())
            return joined(self.like(thing, held, "parts") if held else NOTHING, self.parts_of(thing))
        if isinstance(thing, Outer | Item):
            return joined(self.parts_of(thing), self.parts_of(thing, values=True)) if thing.objs else one(thing)
        return self.held(one(thing))

    def _store(self, sites: Value, values: list[Value]) -> None:
        for site in sites:
            if isinstance(site, Site):
                self.put(site, *values)

    # -- methods ------------------------------------------------------------------------------------------------------

    def call_method(self, method: Method, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        """Return what a method gives."""
        owner, name, func = method.owner, method.name, method.func
        if func is not None and (type(func) is not FunctionType or rule_of(func) is None):
            return self.call_function(func, [one(owner), *args], words, rest)
        if func is not None and isinstance(owner, Outer | Item):
            # A library's function: it may call what the user's class has overridden.
            self.call_back(one(owner))
        if words.get("out"):
            self.mutate(words["out"], "writes into")
        if name in INTO or name.endswith("_into"):
            written = joined(*args, *words.values(), rest)
            self.mutate(frozenset([t for t in written if isinstance(t, Outer | Item)]), f"writes, by `{name}`, into")
        kind = self.kind_of(owner)
        if isinstance(owner, Atom) or (kind is str and name.startswith("format")):
            if name == "format_map":
                self.look_up(joined(*args))
            if name in ("format", "format_map"):
                # "{0.name}" reads an attribute.
                self.any_attribute(joined(*args, *words.values()))
            called = self.lend(joined(*args, *words.values(), rest), f"`{name}`")
            return one(self.filled(self.here(name), called))
        if isinstance(owner, Site):
            return self._method_of_site(owner, name, args, words, rest)
        if not isinstance(owner, Outer | Item):
            self.unknown(f"calls {self.called(method)}, of which nothing is known")
            return ANY
        if kind is None:
            self.unknown(f"calls {self.called(method)}, and nothing is known of its type")
            return ANY
        if issubclass(kind, type) and owner.objs:
            return self._method_of_class(owner, name, args, words, rest)
        what = nature(kind)
        given = joined(*args, *words.values(), rest)
        if what in (HOLDS, ARRAY):
            return self._method_of_container(owner, what, name, args, words, rest)
        if defined(object, name) is not None and is_written_in_python(kind) and what in (None, ATOMIC):
            return self._method_of_object(owner, name, args)
        if what == ATOMIC:
            if name in ("at", "__set__", "__delete__"):
                self.mutate(joined(*args[:1]), "changes")
            if (at := OUT_AT_OF_UFUNC.get(name)) and names_of(kind) == ("numpy", "ufunc"):
                self.mutate(joined(*args[at : at + 1]), "writes into")
            return one(self.filled(self.here(name), self.lend(given, f"`{name}`")))
        if what == SHARED:
            if name in SETS_UP and isinstance(owner, Outer):
                self.unsafe(f"calls {self.called(method)}, which changes what all threads share")
            self.between(owner, name, bool(args or words))
            if isinstance(owner, Outer) and names_of(kind) == ("logging", "Logger"):
                self.loggers += owner.objs
            if name == "get" and names_of(kind)[1] == "ContextVar":
                return one(self.things.setdefault("variable", Outer((), "what a context variable holds")))
            return one(self.filled(self.here(name), self.lend(given, f"`{name}`")))
        if isinstance(owner, Item):
            self.writes(owner, f"calls {self.called(method)}")
            self.lend(given, f"`{name}`")
            return joined(one(self.here(name)), one(owner))
        if self.is_standard(owner):
            return one(self.here(name))
        if what == BAD:
            why = f"uses {self.called(owner)}, a {names_of(kind)[1]}: it is not safe in two threads at once"
            self.unsafe(why, carries=True)
        else:
            self.unknown(f"calls {self.called(method)}, and nothing is known of a {names_of(kind)[1]}")
            self.carries |= name in WRITES
        self.lend(given, f"`{name}`")
        return ANY

    def _method_of_container(
        self, owner: Outer | Item, what: str, name: str, args: list[Value], words: dict[str, Value], rest: Value
    ) -> Value:
        given = joined(*args, *words.values(), rest)
        called = self.lend(given, f"`{name}`")
        if name not in MOVES:
            self.use(one(owner), other=given)
        if name in WRITES and not (name == "resize" and what == HOLDS):
            self.mutate(one(owner), f"changes, by `{name}`,", grows=name not in FILLS)
            if name in TAKES and isinstance(owner, Outer):
                self.carries = True
        elif isinstance(owner, Outer):
            self.state.look(owner.objs or (owner,))
            if name not in READS and nature(self.type_of(owner)) == what:
                self.unknown(f"calls `{name}` of {self.called(owner)}, of which nothing is known")
        made = self.here(name)
        if what == ARRAY and (at := OUT_AT.get(name)):
            self.mutate(joined(*args[at - 1 : at]), "writes into")
        if what == ARRAY:
            is_view = name in VIEWS or _does_not_copy(words, args[4:5] if name == "astype" else [])
            return joined(one(made), called, one(owner) if is_view else NOTHING)
        if name in ("get", "__getitem__", "setdefault", "pop"):
            return joined(self._element(owner, args[0] if args else ATOMS), *args[1:], ATOMS)
        if name not in READS_PARTS:
            return one(self.filled(made, called))
        parts, values = self.parts_of(owner), self.parts_of(owner, values=True)
        if name == "items":
            inner = self.here("parts", tuple)
            self.made_tuple(inner, [parts, values])
            return one(self.filled(made, one(inner)))
        if name == "values":
            return one(self.filled(made, values))
        return one(self.filled(self.here(name, self.kind_of(owner)), parts, values, *args))

    def _method_of_site(self, site: Site, name: str, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        kind = site.kind
        given = [*args, *words.values(), rest]
        if name in SETS_UP and kind is not None and nature(kind) == SHARED:
            self.unsafe(f"calls `{name}`, which changes what all threads share")
        if kind is not None and is_written_in_python(kind):
            if defined(object, name) is not None and nature(kind) is None:
                return self._method_of_object(site, name, args)
            if nature(kind) != HOLDS:
                self.call_back(one(site))
        self.note_kept(one(site), grows=name in WRITES and name not in FILLS, fills=name in FILLS)
        if name not in WRITES or name in TAKES or name.startswith("pop"):
            self.note_kept(one(site))
        called = self.lend(joined(*given), f"`{name}`")
        if name not in MOVES and kind in CONTAINERS:
            called |= self.use(one(site), other=joined(ATOMS, *given))
        if (kind is None or nature(kind) == ARRAY) and (at := OUT_AT.get(name)):
            # It may be an array.
            self.mutate(self._blocks(joined(*args[at - 1 : at])), "writes into")
        if name == "update" and kind is dict:
            for value in args:
                self.merge(one(site), value)
        if name in ADDS or name in ADDS_ALL or (name == "update" and (kind in CONTAINERS or kind is None)):
            for value in given:
                new = value if name in ADDS else self.iterate(value)
                if kind is not None or any(isinstance(thing, Outer) and not thing.is_atom for thing in new):
                    self.put(site, new)
        if kind in CONTAINERS or (kind is not None and nature(kind) == HOLDS):
            held = self.held(one(site))
            if name == "items":
                inner = self.here("parts", tuple)
                self.made_tuple(inner, [ATOMS, held])
                return one(self.filled(self.here(name), one(inner)))
            if name in ("get", "pop", "setdefault", "popleft", "__getitem__"):
                return joined(held, *args[1:], ATOMS)
            return one(self.filled(self.here(name, kind if name == "copy" else None), held, called))
        views = self._blocks(joined(*given)) if name.startswith("from_buffer") else NOTHING
        return joined(one(site), self.held(one(site)), called, views)

    def _method_of_object(self, owner: Thing, name: str, args: list[Value]) -> Value:
        """Return what a method of ``object`` gives for an object of a class written in Python."""
        if name in ("__setattr__", "__delattr__"):
            key = self.fixed(args[0]) if args else None
            self._set_plainly(owner, key if type(key) is str else "*", args[1] if len(args) > 1 else NOTHING)
            return ATOMS
        if name == "__getattribute__":
            key = self.fixed(args[0]) if args else None
            return self.get(one(owner), key) if type(key) is str else ANY
        if name == "__new__" and args:
            return self._new(args)
        return ATOMS

    def _set_plainly(self, owner: Thing, name: str, value: Value) -> None:
        """Write an attribute past a ``__setattr__`` of the class."""
        if isinstance(owner, Site):
            self.put_field(owner, name, value)
        elif isinstance(owner, Item):
            self.writes(owner, f"writes the attribute `{name}` of {self.called(owner)}")
        else:
            self._set(owner, name, value)

    def _new(self, args: list[Value]) -> Value:
        """Return what ``__new__`` of a compiled class makes: an object of the class that is its first argument."""
        found = NOTHING
        for thing in args[0]:
            if isinstance(thing, Outer) and thing.objs and issubclass(type(thing.objs[0]), type):
                site = self.here("new", thing.objs[0])
                found |= one(self.filled(site, *map(self.iterate, args[1:])))
            else:
                found |= one(self.here("new"))
        return found

    def _method_of_class(
        self, owner: Outer | Item, name: str, args: list[Value], words: dict[str, Value], rest: Value
    ) -> Value:
        """Return what a compiled method of a class gives (``dict.fromkeys``, ``object.__new__``)."""
        kind = owner.objs[0]
        if name == "__new__":
            return self._new(args)
        if name in ("__setattr__", "__init__", "__init_subclass__") and kind is object and args:
            return joined(*(self._method_of_object(thing, name, args[1:]) for thing in args[0]))
        module, of = names_of(kind)
        rule = what_of(module, f"{of}.{name}") or {ATOMIC: "new", HOLDS: PARTS, ARRAY: "new"}.get(nature(kind) or "")
        for base in mro(kind):
            if rule is None and not is_written_in_python(base) and base is not object:
                rule = {ATOMIC: "new", HOLDS: PARTS, ARRAY: "new"}.get(nature(base) or "")
        return self.apply(rule, f"{of}.{name}", args, words, rest)


def _does_not_copy(words: dict[str, Value], by_place: list[Value]) -> bool:
    """Return True if ``copy`` is given, and may be False."""
    given = words.get("copy") or joined(*by_place)
    return bool(given) and not all(isinstance(t, Outer) and t.exact and t.objs[0] is True for t in given)
