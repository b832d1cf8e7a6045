"""What things hold: attributes, elements, arguments, in one place of the code and in another."""

from __future__ import annotations

from itertools import islice

from amorsize.measure.safety.ground import EXAMPLES, Ground
from amorsize.measure.safety.types import SEQUENCES
from amorsize.measure.safety.values import ATOMS, NOTHING, Closure, Item, Method, Outer, Site, Thing, Value, joined, one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Contents(Ground):
    """What things hold."""

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
            if isinstance(thing, Outer | Item) and len(thing.objs) == 1 and type(thing.objs[0]) in SEQUENCES:
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

    def held_or_parts(self, thing: Thing) -> Value:
        """Return what a container holds, wherever it comes from."""
        return self.parts_of(thing) if isinstance(thing, Outer | Item) else self.held(one(thing))

    # -- what the walk adds -------------------------------------------------------------------------------------------

    def like(self, thing: Outer | Item, objs: list[Any], step: Any) -> Value:
        """Return parts of a thing, of the kinds of these examples."""
        raise NotImplementedError

    def parts_of(self, thing: Outer | Item, *, values: bool = False) -> Value:
        """Return what a container holds."""
        raise NotImplementedError

    def iterate(self, value: Value, *, over_items: bool = True) -> Value:
        """Return what a loop over a value gives."""
        raise NotImplementedError

    def call(self, func: Value, args: list[Value], words: dict[str, Value], rest: Value = NOTHING) -> Value:
        """Return what a call gives."""
        raise NotImplementedError

    def call_function(
        self, func: Any, args: list[Value], words: dict[str, Value] | None = None, rest: Value = NOTHING
    ) -> Value:
        """Return what a function written in Python gives."""
        raise NotImplementedError
