"""What a look at a function remembers: each thing once, what was put into it, and what was found.

A thing is known by the place that makes it, so that what it holds can be followed from one part of the code to another.
"""

from __future__ import annotations

import sys
from collections import deque
from gc import get_referents
from itertools import islice
from types import MappingProxyType

from amorsize.measure.safety.state import State
from amorsize.measure.safety.tables import ATOMIC
from amorsize.measure.safety.types import Kinds, is_value, is_written_in_python, names_of, nature, takes_from_others
from amorsize.measure.safety.values import (
    ANY,
    Atom,
    Cell,
    Closure,
    Item,
    Method,
    Named,
    Outer,
    Site,
    Super,
    Thing,
    Value,
    one,
)
from amorsize.system.looks import attribute, is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from types import CodeType
    from typing import Any, Final

    from amorsize.measure.safety.code import Frame

# Instructions carried out in one look, 2-4 µs each: half of 550 functions take up to 35, 1 in 100 more than 350.
MOST_STEPS: Final = 800
# Types of keys that are told apart.
FIXED_KINDS: Final = Kinds(int, str)
# guess: elements of a container whose types stand for all, at most
LOOKED_AT: Final = 64
_VIEWS: Final = ("dict_keys", "dict_values", "dict_items")
# guess: elements of one type that stand for all of it
EXAMPLES: Final = 8
# guess: parts of parts of the item that are told apart
DEEPEST: Final = 3


class TooMuchError(Exception):
    """There is too much to look at."""

    def __init__(self, why: str, where: str) -> None:
        super().__init__(why)
        self.why = why
        self.where = where


class Ground:
    """Things, what they hold, and findings.

    Attributes
    ----------
    writes_item : bool
        True if the function writes the item itself.
    found : (str, str) or None
        What is not safe, and where: the first that was found.
    carries : bool
        True if it is handed from item to item for sure.
    state : State
    doubts : list of (str, str)
        What is not known, and where.
    changed : bool
        True if something was added to a thing after it was read: then the look goes on for another pass.
    local_reads, local_writes : set
        Attributes of ``threading.local`` objects.
    """

    def __init__(self) -> None:
        self.things: dict[Hashable, Any] = {}
        # Objects that things stand for stay alive, or an id might stand for two of them.
        self.kept: list[Any] = []
        self.frames: list[Frame] = []
        self.steps = 0
        self.changed = False
        self.writes_item = False
        self.found: tuple[str, str] | None = None
        self.carries = False
        self.state = State()
        self.doubts: list[tuple[str, str]] = []
        # What is looked into though nothing calls it by name, as the beginning of an answer.
        self.implied: list[str] = []
        self.local_reads: set[tuple[int, str]] = set()
        self.local_writes: set[tuple[int, str]] = set()
        self.a_slice = one(self.site("slice", slice))

    # -- findings -----------------------------------------------------------------------------------------------------

    def spend(self, steps: int = 1) -> None:
        """Count an instruction, or what takes as long as so many."""
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise TooMuchError("reaches more code than is looked at", self.where)

    @property
    def where(self) -> str:
        """The line that is looked at, and the function if it is not the first."""
        if not self.frames:
            return ""
        frame = self.frames[-1]
        line = f"line {frame.line}"
        return line if len(self.frames) == 1 else f"{line} in `{frame.code.co_name}`"

    @property
    def place(self) -> Hashable:
        """The place in the code that is looked at."""
        return (self.frames[-1].key, self.frames[-1].at) if self.frames else None

    def unsafe(self, why: str, *, carries: bool = False) -> None:
        """Note what is not safe; the look goes on, to tell if it is handed from item to item (``carries``: it is)."""
        self.found = self.found or (self.how + why, self.where)
        self.carries |= carries

    def reads(self, key: Hashable) -> None:
        """Note that what outlives the call is read, unless it is only asked for: made at its first use, most often."""
        if not (self.frames and self.frames[-1].only_asks):
            self.state.read(key)

    def unknown(self, why: str) -> None:
        """Note what cannot be told."""
        self.doubts.append((self.how + why, self.where))

    @property
    def how(self) -> str:
        """The method that led here, if nothing calls it by its name: the beginning of an answer."""
        return self.implied[0] if self.implied else ""

    def writes(self, item: Item, what: str) -> None:
        """Note that an item is written: the item itself is this call's own, its parts may be others' too."""
        kind = self.kind_of(item)
        if item.depth:
            self.unknown(f"{what}, and other items may hold the same")
        elif kind is not None and takes_from_others(kind):
            self.unknown(f"{what}, a {names_of(kind)[1]}: others may take from the same")
        self.writes_item = True

    # -- things -------------------------------------------------------------------------------------------------------

    def site(self, key: Hashable, kind: type | None) -> Site:
        """Return what one place of the code makes."""
        made = self.things.get(("site", key))
        if made is None:
            made = self.things["site", key] = Site(kind)
        return made

    def here(self, what: Hashable, kind: type | None = None) -> Site:
        """Return what the instruction that is looked at makes."""
        return self.site((self.place, what, id(kind)), kind)

    def cell(self, key: Hashable, name: str, outer: Any = None) -> Cell:
        """Return a variable that inner functions share."""
        made = self.things.get(("cell", key))
        if made is None:
            made = self.things["cell", key] = Cell(name, outer)
        return made

    def closure(self, key: Hashable, code: CodeType | None, scope: dict[str, Any]) -> Closure:
        """Return a function that one place of the code makes."""
        made = self.things.get(("closure", key))
        if made is None:
            assert code is not None
            made = self.things["closure", key] = Closure(code, scope)
        return made

    def method(self, owner: Thing, name: str, func: Any = None) -> Method:
        """Return an attribute that a call would run as a method."""
        key = ("method", owner, name, id(func))
        made = self.things.get(key)
        if made is None:
            self.kept.append(func)
            made = self.things[key] = Method(owner, name, func)
        return made

    def named(self, path: str) -> Value:
        """Return what stands in a module that is not loaded yet."""
        return one(self.things.setdefault(("named", path), Named(path)))

    def outer_thing(self, obj: Any, name: str) -> Outer:
        """Return an object that outlives the call."""
        made = self.things.get(id(obj))
        if made is None:
            self.kept.append(obj)
            made = self.things[id(obj)] = Outer((obj,), name, exact=True, is_atom=is_value(type(obj)))
        return made

    def outer(self, obj: Any, name: str) -> Value:
        """Return the value of a variable that holds this object."""
        return one(self.outer_thing(obj, name))

    def constant(self, obj: Any) -> Value:
        """Return a constant of the code."""
        return one(self.outer_thing(obj, "a constant"))

    def item(self, owner: Item, step: Any, kind: type, examples: tuple[Any, ...]) -> Item:
        """Return a part of the item, of which these are examples."""
        deep = owner.depth >= DEEPEST
        key = ("deep", id(kind)) if deep else ("item", owner, step, id(kind))
        made = self.things.get(key)
        if made is None:
            self.kept.append(examples)
            made = self.things[key] = Item(examples, owner.depth + 1)
        return made

    def example(self, owner: Outer, step: Any, kind: type, examples: tuple[Any, ...]) -> Outer:
        """Return a part of an object that outlives the call, of which these are examples."""
        key = ("example", tuple(map(id, examples)))
        made = self.things.get(key)
        if made is None:
            self.kept.append(examples)
            made = self.things[key] = Outer(examples, self.part_name(owner, step))
        return made

    def part_name(self, owner: Outer, step: Any) -> str:
        """Return how to call a part of an object that outlives the call."""
        inside = f"what {owner.name} holds" if step in ("parts", "values") or type(step) is not str else ""
        return owner.name if owner.name.startswith("what ") else inside or f"the attribute `{step}` of {owner.name}"

    def called(self, thing: Thing) -> str:
        """Return how to call a thing in an answer."""
        if isinstance(thing, Outer):
            return thing.name
        if isinstance(thing, Item):
            return "a part of the item" if thing.depth else "the item"
        if isinstance(thing, Named):
            return f"`{thing.path}`"
        if isinstance(thing, Method):
            return f"`{thing.name}` of {self.called(thing.owner)}"
        return "something made in the call" if isinstance(thing, Site) else "something"

    @staticmethod
    def kind_of(thing: Thing) -> type | None:
        """Return the type of a thing, if it is known."""
        if isinstance(thing, Outer | Site):
            return thing.kind
        return type(thing.objs[0]) if isinstance(thing, Item) and thing.objs else None

    def type_of(self, thing: Thing) -> type:
        """Return the type of a thing; `object` if it is not known. (A class may be false: its metaclass says so.)"""
        kind = self.kind_of(thing)
        return object if kind is None else kind

    @staticmethod
    def is_standard(thing: Thing) -> bool:
        """Return True for the program's output, to which each thread writes whole texts, as ``print`` does."""
        return (
            isinstance(thing, Outer)
            and thing.exact
            and any(thing.objs[0] is one_of for one_of in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
        )

    def are_atoms(self, value: Value) -> bool:
        """Return True if all that a value may be is immutable, by the types known."""
        for thing in value:
            if isinstance(thing, Atom):
                continue
            kind = self.kind_of(thing)
            if isinstance(thing, Site) or kind is None or nature(kind) != ATOMIC or is_written_in_python(kind):
                return False
        return True

    def super_of(self, kinds: Value, owners: Value) -> Value:
        """Return ``super(kind, owner)``."""
        found = [
            self.things.setdefault(("super", id(kind.objs[0]), owner), Super(kind.objs[0], owner))
            for kind in kinds
            if isinstance(kind, Outer) and kind.objs and issubclass(type(kind.objs[0]), type)
            for owner in owners
        ]
        return frozenset(found) or ANY

    def fixed(self, key: Value) -> Any:
        """Return the number or text that a value surely is; None for another."""
        if len(key) == 1:
            (thing,) = key
            if isinstance(thing, Outer) and thing.exact and type(thing.objs[0]) in FIXED_KINDS:
                return thing.objs[0]
        return None

    def real(self, value: Value, kind: type) -> Any:
        """Return a constant of the code, of this type; an empty one if it is none."""
        for thing in value:
            if isinstance(thing, Outer) and thing.exact and type(thing.objs[0]) is kind:
                return thing.objs[0]
        return kind() if kind is tuple or kind is int else None

    @staticmethod
    def some(obj: Any, kind: type, values: bool) -> list[Any]:
        """Return a few elements of a container, by the methods of the built-in types."""
        for base in (dict, list, tuple, set, frozenset, deque):
            if issubclass(kind, base):
                parts = (dict.values(obj) if values else dict.keys(obj)) if base is dict else base.__iter__(obj)
                return list(islice(parts, LOOKED_AT))
        if is_array(obj):
            # Only an array of objects holds any.
            held = attribute(attribute(obj, "dtype"), "hasobject") is True
            return list(islice(attribute(obj, "flat"), LOOKED_AT)) if held else []
        if kind is MappingProxyType:
            (held,) = get_referents(obj)
            return Ground.some(held, type(held), values) if issubclass(type(held), dict) else []
        if names_of(kind)[1] in _VIEWS and not is_written_in_python(kind):
            return list(islice(kind.__iter__(obj), LOOKED_AT))  # type: ignore[attr-defined]
        return []
