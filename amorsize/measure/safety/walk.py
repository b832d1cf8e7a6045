"""The walk through all that a function can reach: what each step of its code does to the values it handles.

`Walk` answers the steps of `amorsize.measure.safety.code`: attributes, elements, operators. Calls are added
by `amorsize.measure.safety.calls.Look`.
"""

from __future__ import annotations

from amorsize.measure.safety.attributes import Attributes
from amorsize.measure.safety.tables import ARRAY, ATOMIC, BAD, HOLDS, SHARED
from amorsize.measure.safety.types import (
    CONTAINERS,
    READ_BY_CONSTANT,
    SEQUENCES,
    is_generated,
    is_written_in_python,
    names_of,
    nature,
    python_method,
)
from amorsize.measure.safety.values import (
    ANY,
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
from amorsize.system.looks import attribute, defined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_NAMES: Final = """
    add radd sub rsub mul rmul truediv rtruediv floordiv mod pow matmul and or xor lshift rshift neg invert eq lt le gt
    ge ne
    """
# What operators call.
OPERATORS: Final = tuple(f"__{name}__" for name in _NAMES.split())
IN_PLACE: Final = tuple(
    f"__i{name}__" for name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]
)
# What a search in a dict or a set calls.
HASHED: Final = ("__hash__", "__eq__")


class Walk(Attributes):
    """One look at one function."""

    # -- elements -----------------------------------------------------------------------------------------------------

    def element(self, value: Value, key: Value) -> Value:
        """Return what an element may be."""
        return of_each(value, lambda thing: self._element(thing, key))

    def _element(self, thing: Thing, key: Value) -> Value:
        if isinstance(thing, Outer | Item):
            if not thing.objs:
                return self.parts_of(thing)
            return joined(*(self._element_of(obj, thing, key) for obj in thing.objs))
        if isinstance(thing, Site):
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
            return ATOMS
        missing = python_method(kind, "__missing__")
        if missing is not None:
            self.call_function(missing, [one(thing), key])
        what = nature(kind)
        if what == ATOMIC:
            return ATOMS
        if what == ARRAY:
            if isinstance(thing, Outer):
                self.state.look((obj,))
            return joined(ATOMS, one(thing))
        if what != HOLDS:
            return self._use(thing, "reads an element of")
        if names_of(kind)[1] == "defaultdict" and isinstance(thing, Outer) and attribute(obj, "default_factory"):
            self.unsafe(f"may add an element to {self.called(thing)}, which is a defaultdict")
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

    def set_element(self, value: Value, key: Value, new: Value) -> None:
        """Write an element, or delete it."""
        for thing in value:
            self._set_element(thing, key, new)

    def _set_element(self, thing: Thing, key: Value, new: Value) -> None:
        self.ask(key, HASHED)
        kind = self.kind_of(thing)
        name = "__setitem__" if new else "__delitem__"
        setter = python_method(kind, name) if kind is not None else None
        if isinstance(thing, Method):
            self.set_element(self.as_value(thing), key, new)
        elif setter is not None and names_of(kind or object) != ("os", "_Environ"):
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
            self.ask(one(thing), ("__getitem__",))
            return self.held(one(thing)) if thing.kind in CONTAINERS else joined(one(thing), self.held(one(thing)))
        if not isinstance(thing, Outer | Item):
            return ATOMS
        what = nature(kind)
        if what == ATOMIC or issubclass(kind, type):
            return ATOMS
        if what == ARRAY:
            if isinstance(thing, Outer):
                self.state.look(thing.objs)
            return joined(ATOMS, one(thing))
        if what == HOLDS:
            return self.parts_of(thing)
        return self._use(thing, "takes elements from")

    def _use(self, thing: Outer | Item, how: str) -> Value:
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

    def operate(self, left: Value, right: Value, *, in_place: bool) -> Value:
        """Return what an operator makes; in place it may write what stands at its left."""
        if not in_place:
            if self.are_atoms(left) and self.are_atoms(right):
                return ATOMS
            self.ask(left, OPERATORS, right)
            self.ask(right, OPERATORS, left)
            made = self.here("operator")
            for thing in joined(left, right):
                if isinstance(thing, Item | Outer | Site) and self.kind_of(thing) in CONTAINERS:
                    self.put(made, self.held_or_parts(thing))
            return one(made)
        found = NOTHING
        for thing in left:
            found |= self._operate_in_place(thing, right)
        return found

    def _operate_in_place(self, thing: Thing, right: Value) -> Value:
        kind = self.kind_of(thing)
        self.ask(one(thing), IN_PLACE, right)
        if isinstance(thing, Atom):
            return self.operate(one(thing), right, in_place=False)
        if isinstance(thing, Outer | Item):
            if kind is not None and (nature(kind) == ATOMIC or kind is tuple or kind is frozenset):
                return self.operate(one(thing), right, in_place=False)
            if kind is not None and is_written_in_python(kind) and not any(defined(kind, n) for n in IN_PLACE):
                return self.operate(one(thing), right, in_place=False)
            if kind is None:
                self.unknown(f"may change {self.called(thing)} in place")
            elif isinstance(thing, Outer):
                self.state.look(thing.objs)
                self.state.fill(thing.objs)
                self.unsafe(f"changes {self.called(thing)} in place")
            else:
                self.writes(thing, f"changes {self.called(thing)} in place")
        elif isinstance(thing, Site):
            self.put(thing, self.iterate(right) if kind in CONTAINERS else NOTHING)
        elif isinstance(thing, Method):
            return self.operate(self.as_value(thing), right, in_place=True)
        elif thing is UNSURE:
            self.unknown("may change something in place that cannot be told")
        return one(thing)

    def ask(self, value: Value, names: tuple[str, ...], other: Value = ATOMS) -> None:
        """Look into the methods of these names that are written in Python."""
        for thing in value:
            kind = self.kind_of(thing)
            if kind is None or not is_written_in_python(kind):
                continue
            for name in names:
                func = python_method(kind, name)
                if func is not None and not is_generated(kind, name):
                    self.call_function(func, [one(thing), other])

    def enter(self, value: Value) -> Value:
        """Return what a with statement binds."""
        found = NOTHING
        for thing in value:
            kind = self.kind_of(thing)
            method = python_method(kind, "__enter__") if kind is not None else None
            if method is not None:
                found |= self.call_function(method, [one(thing)])
                self.ask(one(thing), ("__exit__",))
            elif isinstance(thing, Site):
                found |= joined(one(thing), self.held(one(thing)))
            elif isinstance(thing, Outer | Item):
                found |= self._use(thing, "enters")
            else:
                found |= one(thing) if not isinstance(thing, Method) else self.enter(self.as_value(thing))
        return found
