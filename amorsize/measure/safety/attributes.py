"""Where values come from: globals, modules, attributes of objects, which are not asked."""

from __future__ import annotations

import builtins
import sys
from types import ClassMethodDescriptorType, FunctionType, ModuleType

from amorsize.measure.safety.ground import EXAMPLES, LOOKED_AT
from amorsize.measure.safety.kept import Kept, is_local
from amorsize.measure.safety.tables import ARRAY, HOLDS, SHARED, what_of
from amorsize.measure.safety.types import (
    SLOTS,
    is_value,
    is_written_in_python,
    members_of,
    mro,
    names_of,
    namespace,
    nature,
    own_attributes,
    python_method,
    rule_of,
)
from amorsize.measure.safety.values import (
    ANY,
    ATOMS,
    NOTHING,
    UNSURE,
    Atom,
    Cell,
    Item,
    Method,
    Named,
    Outer,
    Site,
    Super,
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

_ABSENT: Final = object()
_module_scope: Final[Any] = vars(ModuleType)["__dict__"].__get__


class Attributes(Kept):
    """Attributes, globals, modules."""

    def get(self, value: Value, name: str) -> Value:
        """Return what an attribute may be."""
        return of_each(value, lambda thing: self._get(thing, name))

    def _get(self, thing: Thing, name: str) -> Value:
        if isinstance(thing, Outer | Item):
            if not thing.objs:
                self.reads((id(thing), name))
                return one(self.method(thing, name))
            if len(thing.objs) == 1:
                return self._get_of(thing.objs[0], thing, name)
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
        if isinstance(thing, Outer):
            self.reads((id(obj), name))
        if issubclass(kind, ModuleType):
            return self._get_of_module(obj, name)
        if issubclass(kind, type):
            return self._get_of_class(obj, thing, name)
        if python_method(kind, "__getattribute__") is not None:
            self.unknown(f"{self.called(thing)} has a __getattribute__ of its own")
            return ANY
        if name in ("value", "name") and members_of(kind) is not None:
            name = f"_{name}_"
        found = defined(kind, name)
        what = type(found)
        if isinstance(thing, Outer) and is_local(kind) and (what in SLOTS or defined(what, "__get__") is None):
            held = NOTHING if found is None or what in SLOTS else self.outer(found, f"`{name}`")
            return joined(held, self.get_local(obj, thing, name, is_set=found is not None))
        if is_property(what):
            return self._ask_property(found, thing)
        if what in SLOTS:
            held = attribute(obj, name)
            return ATOMS if held is None else self.like(thing, [held], name)
        held = own_attributes(obj)
        if held is not None and name in held and isinstance(thing, Outer) and nature(kind) == SHARED:
            self.between(thing, name, True)
        if held is not None and name in held and not _is_data_descriptor(what):
            return self.like(thing, [held[name]], name)
        if is_cached_property(found):
            if isinstance(thing, Outer):
                self.unsafe(f"writes the attribute `{name}` of {self.called(thing)}")
            else:
                self.writes_item = True
            return self.call_function(found.func, [one(thing)])
        if found is None:
            getter = python_method(kind, "__getattr__")
            return self.call_function(getter, [one(thing), ATOMS]) if getter else one(self.method(thing, name))
        return self._bound(found, thing, kind, name)

    def _ask_property(self, found: Any, thing: Thing) -> Value:
        getter = attribute(found, "fget")
        if getter is None:
            return ATOMS
        self.kept.append(getter)
        return self.call(self.outer(getter, "a property"), [one(thing)], {})

    def _bound(self, found: Any, thing: Thing, kind: type, name: str) -> Value:
        """Return what a class's attribute gives for an object of it."""
        what = type(found)
        if is_property(what):
            return self._ask_property(found, thing)
        if what is FunctionType:
            return one(self.method(thing, name, found))
        if what is staticmethod:
            return self.outer(found.__func__, f"`{name}`")
        if what is classmethod:
            return one(
                self.method(next(iter(self.outer(kind, f"the class `{names_of(kind)[1]}`"))), name, found.__func__)
            )
        if not is_written_in_python(what) and defined(what, "__get__") is not None:
            return one(self.method(thing, name))
        if python_method(what, "__get__") is not None:
            self.unknown(f"`{name}` is a {names_of(what)[1]}, which is made anew at each look")
            return ANY
        return self.outer(found, f"the attribute `{name}` of the class `{names_of(kind)[1]}`")

    def _get_of_module(self, obj: ModuleType, name: str) -> Value:
        scope: dict[str, Any] = _module_scope(obj)
        found = scope.get(name, _ABSENT)
        if found is _ABSENT:
            found = sys.modules.get(f"{scope.get('__name__')}.{name}", _ABSENT)
        maker = scope.get("__getattr__")
        if found is _ABSENT and type(maker) is FunctionType and rule_of(maker) is None:
            return self.call_function(maker, [self.constant(name)])
        if found is _ABSENT:
            module = scope.get("__name__")
            if type(module) is str and what_of(module, name) is not None:
                return self.named(f"{module}.{name}")
            return one(self.method(self.outer_thing(obj, "a module"), name))
        return self.outer(found, f"`{scope.get('__name__')}.{name}`")

    def _get_of_class(self, kind: type, thing: Outer | Item, name: str) -> Value:
        found, above = defined(kind, name), defined(type(kind), name)
        members = members_of(kind)
        if members is not None and name in members:
            return self.outer(members[name], f"`{names_of(kind)[1]}.{name}`")
        if type(above) in SLOTS:
            held = attribute(kind, name)
            return ATOMS if held is None else self.like(thing, [held], name)
        if is_property(type(above)) or _is_data_descriptor(type(above)):
            return self._bound(above, thing, type(kind), name)
        if found is None:
            if above is not None:
                return self._bound(above, thing, type(kind), name)
            getter = python_method(type(kind), "__getattr__")
            return self.call_function(getter, [one(thing), ATOMS]) if getter else one(self.method(thing, name))
        if type(found) is classmethod:
            return one(self.method(thing, name, found.__func__))
        if type(found) is staticmethod:
            return self.outer(found.__func__, f"`{name}`")
        if type(found) is ClassMethodDescriptorType:
            return one(self.method(thing, name))
        if python_method(type(found), "__get__") is not None:
            return self._bound(found, thing, kind, name)
        return self.outer(found, f"the attribute `{name}` of the class `{names_of(kind)[1]}`")

    def _get_of_site(self, site: Site, name: str) -> Value:
        self.read(site)
        kind = site.kind
        if kind is None or not is_written_in_python(kind):
            return one(self.method(site, name))
        if name == "__class__":
            return self.outer(kind, f"the class `{names_of(kind)[1]}`")
        if name == "__dict__":
            return one(site)
        found, held = defined(kind, name), site.fields.get(name, NOTHING)
        if is_property(type(found)):
            return self._ask_property(found, site)
        if is_cached_property(found):
            return joined(held, self.call_function(found.func, [one(site)]))
        if found is not None and type(found) not in SLOTS:
            return joined(held, self._bound(found, site, kind, name))
        if held:
            return held
        getter = python_method(kind, "__getattr__")
        if getter:
            return self.call_function(getter, [one(site), ATOMS])
        return joined(site.elements, one(self.site((site, name), None)))

    def _get_of_super(self, thing: Super, name: str) -> Value:
        owner = thing.owner
        kind = (
            owner.kind if isinstance(owner, Site | Outer) else type(owner.objs[0]) if isinstance(owner, Item) else None
        )
        if isinstance(owner, Outer) and owner.objs and issubclass(type(owner.objs[0]), type):
            kind = owner.objs[0]
        bases = mro(kind) if kind is not None else ()
        at = next((index for index, base in enumerate(bases) if base is thing.kind), len(bases))
        behind = bases[at + 1 :]
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
            if isinstance(thing, Outer) and thing.objs and is_local(type(thing.objs[0])):
                self.set_local(thing.objs[0], name, new)
                return
            if isinstance(thing, Outer) and thing.is_atom and not is_written_in_python(self.type_of(thing)):
                # It raises.
                return
            for obj in (thing.objs or (thing,)) if isinstance(thing, Outer) else ():
                self.state.write((id(obj), name))
            self.unsafe(f"writes the attribute `{name}` of {self.called(thing)}")
        elif isinstance(thing, Method):
            for owner in self.as_value(thing):
                self._set(owner, name, new)
        elif isinstance(thing, Item | Site):
            kind = type(thing.objs[0]) if isinstance(thing, Item) and thing.objs else getattr(thing, "kind", None)
            setter = python_method(kind, "__setattr__" if new else "__delattr__") if kind is not None else None
            found = defined(kind, name) if kind is not None else None
            if name in ("__dict__", "__class__"):
                self.unknown(f"sets the `{name}` of {self.called(thing)}")
            if setter is not None:
                self.call_function(setter, [one(thing), self.constant(name), new])
            elif is_property(type(found)) and attribute(found, "fset") is not None:
                self.call(self.outer(attribute(found, "fset"), "a property"), [one(thing), new], {})
            elif (writer := python_method(type(found), "__set__")) is not None:
                descriptor = self.outer(found, f"the descriptor `{name}`")
                self.call_function(writer, [descriptor, one(thing), new])
            elif isinstance(thing, Site):
                self.put_field(thing, name, new)
            else:
                self.writes(thing, f"writes the attribute `{name}` of {self.called(thing)}")
        elif thing is UNSURE:
            self.unknown(f"writes the attribute `{name}` of something that cannot be told")

    # -- where values come from ---------------------------------------------------------------------------------------

    def global_(self, scope: dict[str, Any], name: str) -> Value:
        """Return what a global name stands for."""
        found = dict.get(scope, name, _ABSENT)
        self.reads((id(scope), name))
        if found is not _ABSENT:
            return self.outer(found, f"the global `{name}`")
        found = vars(builtins).get(name, _ABSENT)
        # A name that is not there raises: what follows is never reached.
        return NOTHING if found is _ABSENT else self.outer(found, f"`{name}`")

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
                if cell.outer is not None:
                    self.reads(id(cell.outer))
                found |= cell.elements
        return found

    def parts_of(self, thing: Outer | Item, *, values: bool = False) -> Value:
        """Return what a container holds, by examples; of a dict its keys, or its ``values``."""
        if not thing.objs:
            return joined(thing.inner, ATOMS) if isinstance(thing, Outer) and thing.kind else one(thing)
        found: list[Any] = []
        if isinstance(thing, Outer):
            self.state.look(thing.objs)
        for obj in thing.objs:
            kind = type(obj)
            if nature(kind) in (HOLDS, ARRAY):
                found += self.some(obj, kind, values)
        return self.like(thing, found, "values" if values else "parts") if found else ATOMS

    def like(self, thing: Outer | Item, objs: list[Any], step: Any) -> Value:
        """Return parts of a thing, of the kinds of these examples."""
        found: dict[int, list[Any]] = {}
        for obj in objs:
            found.setdefault(id(type(obj)), []).append(obj)
        whole = isinstance(thing, Outer) and thing.exact and len(objs) == 1
        made: list[Value] = []
        for some in found.values():
            kind = type(some[0])
            if isinstance(thing, Item):
                made.append(one(self.item(thing, step, kind, tuple(some[:EXAMPLES]))))
            elif whole:
                made.append(self.outer(some[0], self.part_name(thing, step)))
            elif is_value(kind):
                made.append(ATOMS)
            elif defined(kind, "__call__") is None:
                made.append(one(self.example(thing, step, kind, tuple(some[:EXAMPLES]))))
            else:
                # Any of them may be called; where there are more, they are not all known.
                made += [one(self.example(thing, step, kind, tuple(some))), ANY if len(objs) >= LOOKED_AT else NOTHING]
        return joined(*made)


def is_cached_property(found: Any) -> bool:
    """Return True for a `functools.cached_property`."""
    functools = own_attributes(sys.modules.get("functools")) or {}
    return type(found) is functools.get("cached_property") and type(found.func) is FunctionType


def is_property(what: type) -> bool:
    """Return True for `property`, and for those of enums and of the user's own that derive from it."""
    if issubclass(what, property):
        return True
    return is_written_in_python(what) and names_of(what) in (("enum", "property"), ("types", "DynamicClassAttribute"))


def _is_data_descriptor(what: type) -> bool:
    if not is_written_in_python(what):
        return False
    return python_method(what, "__get__") is not None and python_method(what, "__set__") is not None
