"""What a look at a function remembers: each thing once, what was put into it, and what was found.

A thing is known by the place that makes it, so that what it holds can be followed from one part of the code to another.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from amorsize.measure.safety_types import is_written_in_python, names_of, nature
from amorsize.measure.safety_values import (
    ANY,
    ATOM,
    ATOMS,
    NOTHING,
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
    joined,
    one,
)
from amorsize.measure.thread_safe_calls import ATOMIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from types import CodeType
    from typing import Any, Final

    from amorsize.measure.safety_code import Frame

# Instructions carried out in one look: it ends after about 2 ms.
MOST_STEPS: Final = 1_500
# guess: elements of a container that stand for all, at most
EXAMPLES: Final = 8
# guess: parts of parts of the item that are told apart
DEEPEST: Final = 3


class FoundError(Exception):
    """The look has found what is not safe, or that there is too much to look at."""

    def __init__(self, answer: str, why: str, where: str) -> None:
        super().__init__(why)
        self.answer = answer
        self.why = why
        self.where = where


class Ground:
    """Things, what they hold, and findings.

    Attributes
    ----------
    writes_item : bool
        True if the function writes the item itself.
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
        self.doubts: list[tuple[str, str]] = []
        self.local_reads: set[tuple[int, str]] = set()
        self.local_writes: set[tuple[int, str]] = set()
        self.a_slice = one(self.site("slice", slice))

    # -- findings --------------------------------------------------------------------------------------------------------

    def spend(self) -> None:
        """Count one instruction."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise FoundError("unknown", "reaches more code than is looked at", self.where)

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

    def unsafe(self, why: str) -> None:
        """End the look."""
        raise FoundError("unsafe", why, self.where)

    def unknown(self, why: str) -> None:
        """Note what cannot be told; the look goes on, since something worse may follow."""
        self.doubts.append((why, self.where))

    def writes(self, item: Item, what: str) -> None:
        """Note that an item is written: the item itself is this call's own, its parts may be others' too."""
        if item.depth:
            self.unknown(f"{what}, and other items may hold the same")
        self.writes_item = True

    # -- things ----------------------------------------------------------------------------------------------------------

    def site(self, key: Hashable, kind: type | None) -> Site:
        """Return what one place of the code makes."""
        made = self.things.get(("site", key))
        if made is None:
            made = self.things["site", key] = Site(kind)
        return made  # type: ignore[no-any-return]

    def here(self, what: Hashable, kind: type | None = None) -> Site:
        """Return what the instruction that is looked at makes."""
        return self.site((self.place, what, kind), kind)

    def cell(self, key: Hashable, name: str, outer: Any = None) -> Cell:
        """Return a variable that inner functions share."""
        made = self.things.get(("cell", key))
        if made is None:
            made = self.things["cell", key] = Cell(name, outer)
        return made  # type: ignore[no-any-return]

    def closure(self, key: Hashable, code: CodeType | None, scope: dict[str, Any]) -> Closure:
        """Return a function that one place of the code makes."""
        made = self.things.get(("closure", key))
        if made is None:
            assert code is not None
            made = self.things["closure", key] = Closure(code, scope)
        return made  # type: ignore[no-any-return]

    def method(self, owner: Thing, name: str, func: Any = None) -> Method:
        """Return an attribute that a call would run as a method."""
        key = ("method", owner, name, id(func))
        made = self.things.get(key)
        if made is None:
            self.kept.append(func)
            made = self.things[key] = Method(owner, name, func)
        return made  # type: ignore[no-any-return]

    def named(self, path: str) -> Value:
        """Return what stands in a module that is not loaded yet."""
        return one(self.things.setdefault(("named", path), Named(path)))

    def outer_thing(self, obj: Any, name: str) -> Outer:
        """Return an object that outlives the call."""
        made = self.things.get(id(obj))
        if made is None:
            self.kept.append(obj)
            made = self.things[id(obj)] = Outer((obj,), name, exact=True, is_atom=nature(type(obj)) == ATOMIC)
        return made  # type: ignore[no-any-return]

    def outer(self, obj: Any, name: str) -> Value:
        """Return the value of a variable that holds this object."""
        return one(self.outer_thing(obj, name))

    def constant(self, obj: Any) -> Value:
        """Return a constant of the code."""
        return one(self.outer_thing(obj, "a constant"))

    def item(self, owner: Item, step: Any, kind: type, examples: tuple[Any, ...]) -> Item:
        """Return a part of the item, of which these are examples."""
        deep = owner.depth >= DEEPEST
        key = ("deep", kind) if deep else ("item", owner, step, kind)
        made = self.things.get(key)
        if made is None:
            self.kept.append(examples)
            made = self.things[key] = Item(examples, owner.depth + 1)
        return made  # type: ignore[no-any-return]

    def example(self, owner: Outer, step: Any, kind: type, examples: tuple[Any, ...]) -> Outer:
        """Return a part of an object that outlives the call, of which these are examples."""
        key = ("example", kind, tuple(map(id, examples)))
        made = self.things.get(key)
        if made is None:
            self.kept.append(examples)
            made = self.things[key] = Outer(examples, self.part_name(owner, step))
        return made  # type: ignore[no-any-return]

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

    def are_atoms(self, value: Value) -> bool:
        """Return True if all that a value may be is immutable, by the types known."""
        for thing in value:
            if isinstance(thing, Atom):
                continue
            kind = self.kind_of(thing)
            if isinstance(thing, Site) or kind is None or nature(kind) != ATOMIC or is_written_in_python(kind):
                return False
        return True

    def as_value(self, thing: Method) -> Value:
        """Return what an attribute may be that is not called."""
        owner = thing.owner
        if isinstance(owner, Site):
            return joined(one(owner), self.held(one(owner)))
        if isinstance(owner, Item):
            return one(self.item(owner, thing.name, object, ()))
        if isinstance(owner, Outer):
            key = ("attribute", owner, thing.name)
            made = self.things.setdefault(key, Outer((), f"the attribute `{thing.name}` of {owner.name}"))
            return one(made)
        return ATOMS

    def super_of(self, kinds: Value, owners: Value) -> Value:
        """Return ``super(kind, owner)``."""
        found = [
            self.things.setdefault(("super", kind.objs[0], owner), Super(kind.objs[0], owner))
            for kind in kinds
            if isinstance(kind, Outer) and kind.objs and issubclass(type(kind.objs[0]), type)
            for owner in owners
        ]
        return frozenset(found) or ANY

    def fixed(self, key: Value) -> Any:
        """Return the number or text that a value surely is; None for another."""
        if len(key) == 1:
            (thing,) = key
            if isinstance(thing, Outer) and thing.exact and type(thing.objs[0]) in (int, str):
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
                return list(islice(parts, EXAMPLES))
        if names_of(kind)[1] in ("dict_keys", "dict_values", "dict_items"):
            return list(islice(kind.__iter__(obj), EXAMPLES))  # type: ignore[attr-defined]
        return []

    # -- what things hold ------------------------------------------------------------------------------------------------

    def read(self, site: Site) -> None:
        """Note that something is read of a thing: what is put into it later needs another pass."""
        site.is_read = True

    def held(self, value: Value) -> Value:
        """Return all that things made in the call hold."""
        found = NOTHING
        for thing in value:
            if isinstance(thing, Site):
                thing.is_read = True
                found = joined(found, thing.elements, *thing.fields.values())
        return found

    def put(self, site: Site, *values: Value) -> None:
        """Put values into a thing."""
        new = joined(site.elements, *values)
        if new != site.elements:
            site.elements = new
            self.changed |= site.is_read

    def put_all(self, sites: Value, value: Value) -> None:
        """Put a value into each of these things."""
        for site in sites:
            if isinstance(site, Site):
                self.put(site, value)

    def put_field(self, site: Site, name: Any, value: Value) -> None:
        """Put a value into an attribute, or a known place, of a thing."""
        new = joined(site.fields.get(name, NOTHING), value)
        if new != site.fields.get(name):
            site.fields[name] = new
            self.changed |= site.is_read

    def put_at(self, site: Site, key: Value, value: Value) -> None:
        """Put a value into a thing under a key; keys count only if they can be written."""
        name = self.fixed(key) if site.kind is dict else None
        if name is not None:
            self.put_field(site, name, value)
        else:
            self.put(site, value, *([] if self.are_atoms(key) else [key]))

    def filled(self, site: Site, *values: Value) -> Site:
        """Return the thing, with these values in it."""
        self.put(site, *values)
        return site

    def made_tuple(self, site: Site, parts: list[Value]) -> Value:
        """Return a tuple of these parts."""
        for index, part in enumerate(parts):
            self.put_field(site, index, part)
        return one(site)

    def grow(self, made: Closure, name: str, value: Value) -> None:
        """Add to the defaults or cells of a function made in the call."""
        setattr(made, name, joined(getattr(made, name), value))

    def merge(self, sites: Value, value: Value) -> None:
        """Put what one dict holds into another."""
        for site in sites:
            if not isinstance(site, Site):
                continue
            for thing in value:
                if isinstance(thing, Site):
                    thing.is_read = True
                    for name, held in thing.fields.items():
                        self.put_field(site, name, held)
                    self.put(site, thing.elements)
                elif isinstance(thing, Outer | Item) and len(thing.objs) == 1 and type(thing.objs[0]) is dict:
                    for key, held in islice(thing.objs[0].items(), 8 * EXAMPLES):
                        name = key if type(key) is str else "*"
                        self.put_field(site, name, self.like(thing, [held], name))
                elif isinstance(thing, Outer | Item):
                    self.put(site, self.parts_of(thing, values=True))

    def extend(self, sites: Value, value: Value) -> None:
        """Put what one sequence holds into another; known places stay known."""
        for site in sites:
            if not isinstance(site, Site):
                continue
            source = next(iter(value)) if len(value) == 1 else None
            if not site.elements and not site.fields and isinstance(source, Site) and source.kind is tuple:
                source.is_read = True
                for index, held in source.fields.items():
                    self.put_field(site, index, held)
                self.put(site, source.elements)
            else:
                self.put(site, self.iterate(value))

    def spread(self, value: Value) -> tuple[list[Value], Value]:
        """Return the arguments that ``*value`` gives: those at known places, and what the others may be."""
        if len(value) == 1:
            (thing,) = value
            if isinstance(thing, Site) and not thing.elements and set(thing.fields) == set(range(len(thing.fields))):
                thing.is_read = True
                return [thing.fields[index] for index in range(len(thing.fields))], NOTHING
            if isinstance(thing, Outer | Item) and len(thing.objs) == 1 and type(thing.objs[0]) in (tuple, list):
                return [self.like(thing, [obj], index) for index, obj in enumerate(thing.objs[0][:16])], NOTHING
        return [], self.iterate(value)

    def spread_words(self, value: Value) -> tuple[dict[str, Value], Value]:
        """Return the arguments that ``**value`` gives, by name, and what others may be."""
        named: dict[str, Value] = {}
        rest = NOTHING
        scratch = Site(dict)
        self.merge(one(scratch), value)
        for name, held in scratch.fields.items():
            if type(name) is str and name != "*":
                named[name] = held
            else:
                rest = joined(rest, held)
        return named, joined(rest, scratch.elements)

    # -- what the walk adds ----------------------------------------------------------------------------------------------

    def like(self, thing: Outer | Item, objs: list[Any], step: Any) -> Value:
        """Return parts of a thing, of the kinds of these examples."""
        raise NotImplementedError

    def parts_of(self, thing: Outer | Item, *, values: bool = False) -> Value:
        """Return what a container holds."""
        raise NotImplementedError

    def iterate(self, value: Value, *, over_items: bool = True) -> Value:
        """Return what a loop over a value gives."""
        raise NotImplementedError

    def call_function(self, func: Any, args: list[Value]) -> Value:
        """Return what a function written in Python gives."""
        raise NotImplementedError

    def held_or_parts(self, thing: Thing) -> Value:
        """Return what a container holds, wherever it comes from."""
        return self.parts_of(thing) if isinstance(thing, Outer | Item) else self.held(one(thing))


