"""The walk through all that a function can reach: what each step of its code does to the values it handles.

`Walk` answers the steps of `amorsize.measure.safety_code`: attributes, elements, operators. Calls are added
by `amorsize.measure.safety_calls.Look`.
"""

from __future__ import annotations

import builtins
import sys
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType

from amorsize.measure.safety_ground import EXAMPLES, Ground
from amorsize.measure.safety_types import (
    defined,
    is_generated,
    is_written_in_python,
    mro,
    names_of,
    namespace,
    nature,
    own_attributes,
    python_method,
)
from amorsize.measure.safety_values import (
    ANY,
    ATOM,
    ATOMS,
    NOTHING,
    UNSURE,
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
from amorsize.measure.thread_safe_calls import ARRAY, ATOMIC, BAD, HOLDS, SHARED
from amorsize.system.looks import attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# What operators call.
OPERATORS: Final = tuple(
    f"__{name}__"
    for name in "add radd sub rsub mul rmul truediv rtruediv floordiv mod pow matmul and or xor lshift rshift neg eq lt "
    "le gt ge ne invert".split()
)
IN_PLACE: Final = tuple(f"__i{name}__" for name in "add sub mul truediv floordiv mod pow matmul and or xor".split())


class Walk(Ground):
    """One look at one function."""

    # -- attributes ------------------------------------------------------------------------------------------------------

    def get(self, value: Value, name: str) -> Value:
        """Return what an attribute may be."""
        return joined(*(self._get(thing, name) for thing in value)) if value else NOTHING

    def _get(self, thing: Thing, name: str) -> Value:
        if isinstance(thing, Outer | Item):
            if not thing.objs:
                return one(self.method(thing, name))
            return joined(*(self._get_of(obj, thing, name) for obj in thing.objs))
        if isinstance(thing, Site):
            return self._get_of_site(thing, name)
        if isinstance(thing, Method):
            return self.get(self.as_value(thing), name)
        if isinstance(thing, Super):
            return self._get_of_super(thing, name)
        if isinstance(thing, Named):
            return self.named(f"{thing.path}.{name}")
        return ANY if thing is UNSURE else one(self.method(thing, name)) if isinstance(thing, Atom) else ATOMS

    def _get_of(self, obj: Any, thing: Outer | Item, name: str) -> Value:
        """Return the attribute of one object, which is not asked."""
        kind = type(obj)
        if issubclass(kind, ModuleType):
            return self._get_of_module(obj, name)
        if issubclass(kind, type):
            return self._get_of_class(obj, thing, name)
        if python_method(kind, "__getattribute__") is not None:
            self.unknown(f"{self.called(thing)} has a __getattribute__ of its own")
            return ANY
        if defined(kind, "__getattribute__") is _LOCAL_GET:
            if python_method(kind, "__init__") is None:
                self.local_reads.add((id(obj), name))
            return one(self.site(("local", id(obj), name), None))
        found = defined(kind, name)
        what = type(found)
        if what is property:
            return self.call_function(found.fget, [one(thing)]) if type(found.fget) is FunctionType else ATOMS
        if what in (GetSetDescriptorType, MemberDescriptorType):
            held = attribute(obj, name)
            return ATOMS if held is None else self.like(thing, [held], name)
        held = own_attributes(obj)
        if held is not None and name in held:
            return self.like(thing, [held[name]], name)
        if what.__name__ == "cached_property" and is_cached_property(found):
            if isinstance(thing, Outer):
                self.unsafe(f"writes the attribute `{name}` of {self.called(thing)}")
            self.writes_item = True
            return self.call_function(found.func, [one(thing)])
        if found is None:
            getter = python_method(kind, "__getattr__")
            return self.call_function(getter, [one(thing), ATOMS]) if getter else one(self.method(thing, name))
        return self._bound(found, thing, kind, name)

    def _bound(self, found: Any, thing: Thing, kind: type, name: str) -> Value:
        """Return what a class's attribute gives for an object of it."""
        what = type(found)
        if what is FunctionType:
            return one(self.method(thing, name, found))
        if what is staticmethod:
            return self.outer(found.__func__, f"`{name}`")
        if what is classmethod:
            return one(self.method(next(iter(self.outer(kind, f"the class `{names_of(kind)[1]}`"))), name, found.__func__))
        if not is_written_in_python(what) and defined(what, "__get__") is not None:
            return one(self.method(thing, name))
        if python_method(what, "__get__") is not None:
            self.unknown(f"`{name}` is a {names_of(what)[1]}, which is made anew at each look")
            return ANY
        return self.outer(found, f"the attribute `{name}` of the class `{names_of(kind)[1]}`")

    def _get_of_module(self, obj: ModuleType, name: str) -> Value:
        scope = ModuleType.__dict__["__dict__"].__get__(obj)
        found = scope.get(name, self)
        if found is self:
            found = sys.modules.get(f"{scope.get('__name__')}.{name}", self)
        if found is self:
            return one(self.method(self.outer_thing(obj, "a module"), name))
        return self.outer(found, f"`{scope.get('__name__')}.{name}`")

    def _get_of_class(self, kind: type, thing: Outer | Item, name: str) -> Value:
        found = defined(kind, name)
        if nature(kind) == ATOMIC and type(found) is not FunctionType and is_written_in_python(kind):
            # A member of an enum.
            return ATOMS
        if found is None:
            return ATOMS if defined(type(kind), name) is not None else one(self.method(thing, name))
        if type(found) is classmethod:
            return one(self.method(thing, name, found.__func__))
        if type(found) is staticmethod:
            return self.outer(found.__func__, f"`{name}`")
        if type(found).__name__ == "classmethod_descriptor":
            return one(self.method(thing, name))
        return self.outer(found, f"the attribute `{name}` of the class `{names_of(kind)[1]}`")

    def _get_of_site(self, site: Site, name: str) -> Value:
        self.read(site)
        kind = site.kind
        if kind is None or not is_written_in_python(kind):
            return one(self.method(site, name))
        found, held = defined(kind, name), site.fields.get(name, NOTHING)
        if type(found) is property:
            return self.call_function(found.fget, [one(site)]) if type(found.fget) is FunctionType else ATOMS
        if type(found).__name__ == "cached_property" and is_cached_property(found):
            return joined(held, self.call_function(found.func, [one(site)]))
        if found is not None and type(found) not in (GetSetDescriptorType, MemberDescriptorType):
            return joined(held, self._bound(found, site, kind, name))
        if held:
            return held
        getter = python_method(kind, "__getattr__")
        if getter:
            return self.call_function(getter, [one(site), ATOMS])
        return joined(site.elements, one(self.site((site, name), None)))

    def _get_of_super(self, thing: Super, name: str) -> Value:
        owner = thing.owner
        kind = owner.kind if isinstance(owner, Site | Outer) else type(owner.objs[0]) if isinstance(owner, Item) else None
        if isinstance(owner, Outer) and owner.objs and issubclass(type(owner.objs[0]), type):
            kind = owner.objs[0]
        bases = mro(kind) if kind is not None else ()
        behind = bases[bases.index(thing.kind) + 1 :] if thing.kind in bases else ()
        for base in behind:
            found = namespace(base).get(name)
            if found is not None:
                return self._bound(found, owner, base, name) if base is not object else one(self.method(owner, name))
        return one(self.method(owner, name))

    def set(self, value: Value, name: str, new: Value) -> None:
        """Write an attribute, or delete it."""
        for thing in value:
            self._set(thing, name, new)

    def _set(self, thing: Thing, name: str, new: Value) -> None:
        if isinstance(thing, Outer | Named):
            if isinstance(thing, Outer) and thing.objs and defined(type(thing.objs[0]), "__getattribute__") is _LOCAL_GET:
                self.local_writes.add((id(thing.objs[0]), name))
                self.put(self.site(("local", id(thing.objs[0]), name), None), new)
                return
            if isinstance(thing, Outer) and thing.is_atom and not is_written_in_python(thing.kind or object):
                # It raises.
                return
            self.unsafe(f"writes the attribute `{name}` of {self.called(thing)}")
        elif isinstance(thing, Method):
            for owner in self.as_value(thing):
                self._set(owner, name, new)
        elif isinstance(thing, Item | Site):
            kind = type(thing.objs[0]) if isinstance(thing, Item) and thing.objs else getattr(thing, "kind", None)
            setter = python_method(kind, "__setattr__") if kind is not None else None
            found = defined(kind, name) if kind is not None else None
            if setter is not None:
                self.call_function(setter, [one(thing), self.constant(name), new])
            elif type(found) is property and type(found.fset) is FunctionType:
                self.call_function(found.fset, [one(thing), new])
            elif isinstance(thing, Site):
                self.put_field(thing, name, new)
            else:
                self.writes(thing, f"writes the attribute `{name}` of {self.called(thing)}")
        elif thing is UNSURE:
            self.unknown(f"writes the attribute `{name}` of something that cannot be told")

    # -- elements --------------------------------------------------------------------------------------------------------

    def element(self, value: Value, key: Value) -> Value:
        """Return what an element may be."""
        return joined(*(self._element(thing, key) for thing in value)) if value else NOTHING

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
            if thing.kind in (tuple, dict) and (index := self.fixed(key)) is not None and index in thing.fields:
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
        what = nature(kind)
        if what == ATOMIC:
            return ATOMS
        if what == ARRAY:
            return joined(ATOMS, one(thing))
        if what != HOLDS:
            return self._use(thing, "reads an element of")
        if names_of(kind)[1] == "defaultdict" and isinstance(thing, Outer) and attribute(obj, "default_factory"):
            self.unsafe(f"may add an element to {self.called(thing)}, which is a defaultdict")
        index = self.fixed(key) if kind in (list, tuple, dict) else None
        if index is not None and kind is dict and index in obj:
            return self.like(thing, [obj[index]], index)
        if type(index) is int and kind in (list, tuple) and -len(obj) <= index < len(obj):
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
            self.unsafe(f"writes an element of {self.called(thing)}")
        elif isinstance(thing, Item):
            self.writes(thing, f"writes an element of {self.called(thing)}")
        elif isinstance(thing, Site):
            self.put_at(thing, key, new)
        elif thing is UNSURE:
            self.unknown("writes an element of something that cannot be told")

    def iterate(self, value: Value, *, over_items: bool = True) -> Value:
        """Return what a loop over a value gives. ``over_items``: False where it is only searched."""
        return joined(*(self._iterate(thing, over_items) for thing in value)) if value else NOTHING

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
        if kind is not None and nature(kind) == BAD:
            self.unsafe(f"{how} {self.called(thing)}, a {names_of(kind)[1]}: it is not safe in two threads at once")
        if kind is None or nature(kind) not in (SHARED, ATOMIC):
            self.unknown(f"{how} {self.called(thing)}, of which nothing is known")
        return self.parts_of(thing)

    def unpack(self, value: Value, count: int) -> list[Value]:
        """Return what the variables of an unpacking may hold."""
        if len(value) == 1:
            (thing,) = value
            if isinstance(thing, Site) and thing.kind is tuple and not thing.elements and len(thing.fields) == count:
                self.read(thing)
                return [thing.fields[index] for index in range(count)]
            if isinstance(thing, Item | Outer) and thing.objs and all(type(o) in (tuple, list) for o in thing.objs):
                return [self._element(thing, self.constant(index)) for index in range(count)]
        return [self.iterate(value)] * count

    # -- operators -------------------------------------------------------------------------------------------------------

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
            if kind is not None and (nature(kind) == ATOMIC or kind in (tuple, frozenset)):
                return self.operate(one(thing), right, in_place=False)
            if kind is not None and is_written_in_python(kind) and not any(defined(kind, n) for n in IN_PLACE):
                return self.operate(one(thing), right, in_place=False)
            if kind is None:
                self.unknown(f"may change {self.called(thing)} in place")
            elif isinstance(thing, Outer):
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

    # -- where values come from --------------------------------------------------------------------------------------------

    def global_(self, scope: dict[str, Any], name: str) -> Value:
        """Return what a global name stands for."""
        found = dict.get(scope, name, self)
        if found is not self:
            return self.outer(found, f"the global `{name}`")
        found = vars(builtins).get(name, self)
        # A name that is not there raises: what follows is never reached.
        return NOTHING if found is self else self.outer(found, f"`{name}`")

    def module(self, name: str, level: Any, has_names: bool, scope: dict[str, Any]) -> Value:
        """Return the module that an import statement gives, if it is loaded."""
        if type(level) is int and level > 0:
            package = str(dict.get(scope, "__package__") or dict.get(scope, "__name__") or "")
            name = ".".join(filter(None, (package.rsplit(".", level - 1)[0] if level > 1 else package, name)))
        name = name if has_names else name.partition(".")[0]
        found = sys.modules.get(name)
        if found is None:
            return self.named(name)
        return self.outer(found, f"the module `{name}`")

    def in_cell(self, cells: Value) -> Value:
        """Return what a variable that is shared between functions holds."""
        found = NOTHING
        for cell in cells:
            if isinstance(cell, Cell):
                self.read(cell)
                found |= cell.elements
        return found

    def parts_of(self, thing: Outer | Item, *, values: bool = False) -> Value:
        """Return what a container holds, by examples; of a dict its keys, or its ``values``."""
        if not thing.objs:
            return joined(thing.inner, ATOMS) if isinstance(thing, Outer) and thing.kind else one(thing)
        found: list[Any] = []
        for obj in thing.objs:
            kind = type(obj)
            if nature(kind) == HOLDS:
                found += self.some(obj, kind, values)
        return self.like(thing, found, "values" if values else "parts") if found else ATOMS

    def like(self, thing: Outer | Item, objs: list[Any], step: Any) -> Value:
        """Return parts of a thing, of the kinds of these examples."""
        found: dict[type, list[Any]] = {}
        for obj in objs:
            found.setdefault(type(obj), []).append(obj)
        whole = isinstance(thing, Outer) and thing.exact and len(objs) == 1
        made: list[Value] = []
        for kind, some in found.items():
            if isinstance(thing, Item):
                made.append(one(self.item(thing, step, kind, tuple(some[:EXAMPLES]))))
            elif whole:
                made.append(self.outer(some[0], self.part_name(thing, step)))
            elif nature(kind) == ATOMIC:
                made.append(ATOMS)
            else:
                made.append(one(self.example(thing, step, kind, tuple(some[:EXAMPLES]))))
        return joined(*made)


CONTAINERS: Final = (list, dict, set, tuple, frozenset)
_LOCAL_GET: Final = defined(__import__("_thread")._local, "__getattribute__")


def is_cached_property(found: Any) -> bool:
    """Return True for a `functools.cached_property`, by name: `functools` need not be asked."""
    return names_of(type(found)) == ("functools", "cached_property") and type(found.func) is FunctionType


