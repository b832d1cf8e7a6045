"""The walk through all that a function can reach: what each step of its code does to the values it handles.

`Walk` answers the steps of `amorsize.measure.safety.code`: attributes, elements, operators. Calls are added
by `amorsize.measure.safety.calls.Look`.
"""

from __future__ import annotations

from types import FunctionType

from amorsize.measure.safety.attributes import Attributes
from amorsize.measure.safety.tables import ARRAY, ATOMIC, BAD, HOLDS, SHARED
from amorsize.measure.safety.types import (
    CONTAINERS,
    READ_BY_CONSTANT,
    SEQUENCES,
    is_written_in_python,
    members_of,
    names_of,
    nature,
    python_method,
)
from amorsize.measure.safety.uses import (
    FORMATTED,
    HASHED,
    IN_PLACE,
    ITERATES,
    LEAVES,
    OPERATORS,
    WHOLE,
)
from amorsize.measure.safety.values import (
    ANY,
    ATOM,
    ATOMS,
    NOTHING,
    UNSURE,
    Atom,
    Item,
    Method,
    Named,
    Outer,
    Site,
    Thing,
    Value,
    joined,
    of_each,
    one,
)
from amorsize.system.looks import attribute, defined, is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Walk(Attributes):
    """One look at one function."""

    # -- elements -----------------------------------------------------------------------------------------------------

    def element(self, value: Value, key: Value) -> Value:
        """Return what an element may be."""
        self.use(key, HASHED)
        return of_each(value, lambda thing: self._element(thing, key))

    def _element(self, thing: Thing, key: Value) -> Value:
        if isinstance(thing, Outer | Item):
            if not thing.objs:
                return self.parts_of(thing)
            return joined(*(self._element_of(obj, thing, key) for obj in thing.objs))
        if isinstance(thing, Site):
            self.note_kept(one(thing))
            self.read(thing)
            getter = python_method(thing.kind, "__getitem__") if thing.kind is not None else None
            if getter is not None:
                return self.call_function(getter, [one(thing), key])
            if (
                (thing.kind is tuple or thing.kind is dict)
                and (index := self.fixed(key)) is not None
                and index in thing.fields
            ):
                return joined(thing.fields[index], thing.elements) if thing.kind is dict else thing.fields[index]
            held = self.held(one(thing))
            return held if thing.kind in CONTAINERS and key is not self.a_slice else joined(one(thing), held)
        if isinstance(thing, Method):
            return self.element(self.as_value(thing), key)
        return ANY if thing is UNSURE else ATOMS

    def _element_of(self, obj: Any, thing: Outer | Item, key: Value) -> Value:
        kind = type(obj)
        getter = python_method(kind, "__getitem__")
        if getter is not None:
            return self.call_function(getter, [one(thing), key])
        if issubclass(kind, type):
            return self._element_of_class(obj, thing, key)
        missing = python_method(kind, "__missing__")
        if missing is not None:
            return joined(self.call_function(missing, [one(thing), key]), self.parts_of(thing, values=True))
        what = nature(kind)
        if what == ATOMIC:
            return ATOMS
        if what == ARRAY:
            if isinstance(thing, Outer):
                self.state.look((obj,))
            return joined(ATOMS, one(thing), self.parts_of(thing) if is_array(obj) else NOTHING)
        if what != HOLDS:
            return self._use_once(thing, "reads an element of")
        factory = attribute(obj, "default_factory") if names_of(kind)[1] == "defaultdict" else None
        if factory is not None and isinstance(thing, Outer):
            self.call(self.outer(factory, "a default factory"), [], {})
            self.unsafe(f"may add an element to {self.called(thing)}, which is a defaultdict")
        self._compare_keys(obj, thing, key)
        index = self.fixed(key) if kind in READ_BY_CONSTANT else None
        if isinstance(thing, Outer):
            if index is None:
                self.state.look((obj,))
            else:
                self.state.read((id(obj), "[]", index))
                self.state.looked.add(id(obj))
        if index is not None and kind is dict and index in obj:
            return self.like(thing, [obj[index]], index)
        if type(index) is int and kind in SEQUENCES and -len(obj) <= index < len(obj):
            return self.like(thing, [obj[index]], index)
        parts = self.parts_of(thing, values=True)
        if key is not self.a_slice:
            return parts
        return one(self.filled(self.site(("slice", thing, self.place), list), parts))

    def _element_of_class(self, kind: type, thing: Outer | Item, key: Value) -> Value:
        """Return a member of an enum, or what a class makes of ``kind[key]``."""
        members = members_of(kind)
        if members is not None:
            return self.like(thing, list(members.values()), "parts")
        maker = defined(kind, "__class_getitem__")
        func = maker.__func__ if type(maker) is classmethod else maker
        if type(func) is FunctionType:
            return self.call_function(func, [one(thing), key])
        return ATOMS

    def _compare_keys(self, obj: Any, thing: Outer | Item, key: Value) -> None:
        """Look into what a search in a dict asks the keys that are there."""
        if issubclass(type(obj), dict) and ("keys", id(obj)) not in self.used:
            self.used["keys", id(obj)] = NOTHING
            keys = [one_of for one_of in self.some(obj, dict, False) if is_written_in_python(type(one_of))]
            self.use(self.like(thing, keys, "parts"), HASHED, key)

    def set_element(self, value: Value, key: Value, new: Value) -> None:
        """Write an element, or delete it."""
        for thing in value:
            self._set_element(thing, key, new)

    def _set_element(self, thing: Thing, key: Value, new: Value) -> None:
        self.use(key, HASHED)
        kind = self.kind_of(thing)
        name = "__setitem__" if new else "__delitem__"
        setter = python_method(kind, name) if kind is not None else None
        if isinstance(thing, Method):
            self.set_element(self.as_value(thing), key, new)
        elif setter is not None and names_of(self.type_of(thing)) != ("os", "_Environ"):
            self.call_function(setter, [one(thing), key, new])
        elif isinstance(thing, Outer) and thing.is_atom:
            # It raises.
            return
        elif isinstance(thing, Outer | Named):
            self._note_element(thing, key)
            self.unsafe(f"writes an element of {self.called(thing)}")
        elif isinstance(thing, Item):
            self.writes(thing, f"writes an element of {self.called(thing)}")
        elif isinstance(thing, Site):
            if not self.is_table(thing):
                self.note_kept(one(thing), fills=True)
            self.put_at(thing, key, new)
        elif thing is UNSURE:
            self.unknown("writes an element of something that cannot be told")

    def _note_element(self, thing: Thing, key: Value) -> None:
        """Note that an element of what outlives the call is written."""
        if not isinstance(thing, Outer):
            return
        if self.frames and self.frames[-1].adds_up:
            self.carries = True
        index = self.fixed(key)
        for obj in thing.objs:
            if index is not None:
                self.state.write((id(obj), "[]", index))
            elif not issubclass(type(obj), dict):
                # A dict with keys that vary is a cache, most often: each process may have its own.
                self.state.fill((obj,))

    def searched(self, value: Value) -> Value:
        """Return those of the values that a search would loop over: they have no ``__contains__`` written in Python."""
        kinds = {thing: self.type_of(thing) for thing in value}
        return frozenset([thing for thing, kind in kinds.items() if python_method(kind, "__contains__") is None])

    def iterate(self, value: Value, *, over_items: bool = True) -> Value:
        """Return what a loop over a value gives. ``over_items``: False where it is only searched."""
        return of_each(value, lambda thing: self._iterate(thing, over_items))

    def _iterate(self, thing: Thing, over_items: bool) -> Value:
        kind = self.kind_of(thing)
        if isinstance(thing, Method):
            return self.iterate(self.as_value(thing))
        if thing is UNSURE:
            return ANY
        if kind is None:
            if isinstance(thing, Outer | Item):
                return self.parts_of(thing)
            if isinstance(thing, Site):
                return joined(one(thing), self.held(one(thing)))
            return ATOMS
        maker = python_method(kind, "__iter__")
        if maker is not None:
            iterator = self.call_function(maker, [one(thing)])
            if iterator == one(thing):
                ahead = python_method(kind, "__next__")
                return self.call_function(ahead, [one(thing)]) if ahead else ATOMS
            return self.iterate(iterator)
        if isinstance(thing, Site):
            self.note_kept(one(thing))
            self.use(one(thing), ITERATES, into=WHOLE)
            return self.held(one(thing)) if thing.kind in CONTAINERS else joined(one(thing), self.held(one(thing)))
        if not isinstance(thing, Outer | Item):
            return ATOMS
        what = nature(kind)
        if issubclass(kind, type):
            members = members_of(thing.objs[0]) if thing.objs else None
            return ATOMS if members is None else self.like(thing, list(members.values()), "parts")
        if what == ATOMIC:
            return ATOMS
        if what == ARRAY:
            if isinstance(thing, Outer):
                self.state.look(thing.objs)
            return joined(ATOMS, one(thing), self.parts_of(thing))
        by_index = python_method(kind, "__getitem__")
        if by_index is not None:
            return self.call_function(by_index, [one(thing), ATOMS])
        if what == HOLDS:
            return self.parts_of(thing)
        return self._use_once(thing, "takes elements from")

    def _use_once(self, thing: Outer | Item, how: str) -> Value:
        """Use an object that is no container: it may be an iterator, a file, a connection."""
        if isinstance(thing, Item):
            self.writes(thing, f"{how} {self.called(thing)}")
            return one(thing)
        kind = self.kind_of(thing)
        if self.is_standard(thing):
            return ATOMS
        if kind is not None and nature(kind) == BAD:
            why = f"{how} {self.called(thing)}, a {names_of(kind)[1]}: it is not safe in two threads at once"
            self.unsafe(why, carries=True)
        elif kind is None or nature(kind) not in (SHARED, ATOMIC):
            self.unknown(f"{how} {self.called(thing)}, of which nothing is known")
        return self.parts_of(thing)

    def unpack(self, value: Value, count: int) -> list[Value]:
        """Return what the variables of an unpacking may hold."""
        if len(value) == 1:
            (thing,) = value
            if isinstance(thing, Site) and thing.kind is tuple and not thing.elements and len(thing.fields) == count:
                self.read(thing)
                return [thing.fields[index] for index in range(count)]
            if isinstance(thing, Item | Outer) and thing.objs and all(type(o) in SEQUENCES for o in thing.objs):
                return [self._element(thing, self.constant(index)) for index in range(count)]
        return [self.iterate(value)] * count

    # -- operators ----------------------------------------------------------------------------------------------------

    def operate(self, left: Value, right: Value, *, in_place: bool, names: frozenset[str] = OPERATORS) -> Value:
        """Return what an operator makes; in place it may write what stands at its left."""
        if not in_place:
            if self.are_atoms(left) and self.are_atoms(right):
                return ATOMS
            if ATOM in left or any(isinstance(thing, Outer) and thing.is_atom for thing in left):
                # A text that is formatted may call all.
                names = FORMATTED if names is OPERATORS else names
                self.look_up(right)
            gives = joined(self.use(left, names, right), self.use(right, names, left))
            made = self.here("operator")
            self.note_kept(joined(left, right))
            self.computed.add(made)
            for thing in joined(left, right):
                if isinstance(thing, Item | Outer | Site) and self.kind_of(thing) in CONTAINERS:
                    self.put(made, self.held_or_parts(thing))
            return joined(one(made), gives)
        found = NOTHING
        for thing in left:
            found |= self._operate_in_place(thing, right)
        return found

    def _operate_in_place(self, thing: Thing, right: Value) -> Value:
        kind = self.kind_of(thing)
        gives = self.use(one(thing), IN_PLACE, right, into=WHOLE)
        if isinstance(thing, Atom):
            return self.operate(one(thing), right, in_place=False)
        if isinstance(thing, Outer | Item):
            if kind is not None and (nature(kind) == ATOMIC or kind is tuple or kind is frozenset):
                return self.operate(one(thing), right, in_place=False)
            if kind is not None and is_written_in_python(kind) and not any(_is_compiled(kind, n) for n in IN_PLACE):
                # What such a method writes was found in it.
                return gives or self.operate(one(thing), right, in_place=False)
            if kind is None:
                self.unknown(f"may change {self.called(thing)} in place")
            elif isinstance(thing, Outer):
                self.state.look(thing.objs)
                self.state.fill(thing.objs)
                self.unsafe(f"changes {self.called(thing)} in place")
            else:
                self.writes(thing, f"changes {self.called(thing)} in place")
        elif isinstance(thing, Site):
            if thing in self.local_sites:
                self.note_kept(one(thing), grows=True)
                self.computed.add(thing)
            self.put(thing, self.iterate(right) if kind in CONTAINERS else NOTHING)
        elif isinstance(thing, Method):
            return self.operate(self.as_value(thing), right, in_place=True)
        elif thing is UNSURE:
            self.unknown("may change something in place that cannot be told")
        return one(thing)

    def look_up(self, value: Value) -> None:
        """Look up an unknown key: what a dict lacks it may add."""
        for thing in value:
            if isinstance(thing, Outer | Item) and thing.objs and issubclass(type(thing.objs[0]), dict):
                self._element(thing, ATOMS)

    def raises(self, value: list[Value]) -> None:
        """Note what is raised, and its cause: a class makes an exception, one that is shared gets a new context."""
        for thing in joined(*value):
            if isinstance(thing, Outer) and thing.objs and issubclass(type(thing.objs[0]), BaseException):
                self.unsafe(f"raises {self.called(thing)}: what is raised gets a traceback and a context")
            is_class = isinstance(thing, Outer) and thing.objs and issubclass(type(thing.objs[0]), type)
            raised = self.call(one(thing), [], {}) if is_class else one(thing)
            self.put(self.site("exception", None), raised, self.held(raised))

    def match_args(self, kinds: Value) -> tuple[str, ...]:
        """Return the attributes that a pattern of a class asks by their places."""
        for thing in kinds:
            if isinstance(thing, Outer) and thing.objs and issubclass(type(thing.objs[0]), type):
                names = defined(thing.objs[0], "__match_args__")
                return names if type(names) is tuple and all(type(name) is str for name in names) else ()
        return ()

    def enter(self, value: Value) -> Value:
        """Return what a with statement binds."""
        found = NOTHING
        for thing in value:
            kind = self.kind_of(thing)
            method = python_method(kind, "__enter__") if kind is not None else None
            if method is not None:
                found |= self.call_function(method, [one(thing)])
                self.use(one(thing), LEAVES, into=WHOLE)
            elif isinstance(thing, Site):
                found |= joined(one(thing), self.held(one(thing)))
            elif isinstance(thing, Outer | Item):
                self.between(thing, "__enter__", False)
                found |= self._use_once(thing, "enters")
            else:
                found |= one(thing) if not isinstance(thing, Method) else self.enter(self.as_value(thing))
        return found


def _is_compiled(kind: type, name: str) -> bool:
    """Return True if a class has a method of this name that is not written in Python."""
    found = defined(kind, name)
    return found is not None and type(found) is not FunctionType
