"""The values that the look at a function follows: where each comes from, and what is in it.

A `Value` is a set of things that a variable may hold at a point of the code. A thing is

* `ATOM`, an immutable value made within the call,
* an `Outer`: it outlives the call (a global, a default, what a closure holds, an element of one of these),
* an `Item`, or a part of one,
* a `Site`: made within the call, at one place of the code; a `Cell` is the variable that inner functions share,
* a `Closure`: a function made within the call,
* a `Method`: an attribute bound to its object.

It is a points-to analysis with one thing for each place that makes objects (Andersen 1994): what a `Site` holds only
grows, so that the look comes to an end.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, Final

# guess: more things than that in one variable count as any
MOST_THINGS: Final = 24
# guess: of more, constants are no longer told apart
FEW_THINGS: Final = 4


class Thing:
    """A thing that a variable may hold; two are the same thing if they are the same object."""

    __slots__ = ()


class Atom(Thing):
    """An immutable value, of which no more is known."""

    __slots__ = ()


class Null(Thing):
    """The interpreter's own marker on the stack: here comes no ``self``."""

    __slots__ = ()


class Unsure(Thing):
    """Anything at all."""

    __slots__ = ()


class Outer(Thing):
    """An object that outlives the call.

    Attributes
    ----------
    objs : tuple
        The object; or others like it (other elements of its container), if ``exact`` is False; empty: unknown.
    kind : type or None
        Its type, where there are no ``objs``.
    inner : Value
        What it holds, where there are no ``objs``.
    is_atom : bool
        True if it never changes.
    name : str
        How to call it in an answer.
    """

    __slots__ = ("exact", "inner", "is_atom", "kind", "name", "objs")

    def __init__(
        self,
        objs: tuple[Any, ...],
        name: str,
        *,
        exact: bool = False,
        is_atom: bool = False,
        kind: type | None = None,
        inner: Value | None = None,
    ) -> None:
        self.objs = objs
        self.name = name
        self.exact = exact
        self.is_atom = is_atom
        self.kind = type(objs[0]) if objs else kind
        self.inner = NOTHING if inner is None else inner


class Item(Thing):
    """The item, or a part of it. ``objs``: examples of it, from the items seen; ``depth``: 0 for the item itself."""

    __slots__ = ("depth", "objs")

    def __init__(self, objs: tuple[Any, ...], depth: int) -> None:
        self.objs = objs
        self.depth = depth


class Site(Thing):
    """What one place of the code makes within the call.

    Attributes
    ----------
    kind : type or None
        Its class; None if only known to be fresh, with all that is in it.
    fields : dict
        What its attributes hold, or what stands at known positions of a tuple.
    elements : Value
        What else it holds.
    is_read : bool
        True once anything was read of it; what is added later needs another pass.
    """

    __slots__ = ("elements", "fields", "is_read", "kind")

    def __init__(self, kind: type | None) -> None:
        self.kind = kind
        self.fields: dict[Any, Value] = {}
        self.elements: Value = NOTHING
        self.is_read = False


class Cell(Site):
    """A variable that inner functions share; ``outer``: the real cell of a function that was there before the call."""

    __slots__ = ("name", "outer")

    def __init__(self, name: str, outer: Any = None) -> None:
        super().__init__(None)
        self.name = name
        self.outer = outer


class Closure(Thing):
    """A function made within the call."""

    __slots__ = ("cells", "code", "defaults", "globals", "kwdefaults")

    def __init__(self, code: CodeType, scope: dict[str, Any]) -> None:
        self.code = code
        self.globals = scope
        self.defaults: Value = NOTHING
        self.kwdefaults: Value = NOTHING
        self.cells: Value = NOTHING


class Method(Thing):
    """An attribute of ``owner``, which a call would run as a method. ``func``: its function, if written in Python."""

    __slots__ = ("func", "name", "owner")

    def __init__(self, owner: Thing, name: str, func: Any = None) -> None:
        self.owner = owner
        self.name = name
        self.func = func


class Named(Thing):
    """What stands in a module that is not loaded yet: known by its name alone."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Super(Thing):
    """``super()`` of ``owner``: attributes of the bases behind ``kind``."""

    __slots__ = ("kind", "owner")

    def __init__(self, kind: type, owner: Thing) -> None:
        self.kind = kind
        self.owner = owner


Value = frozenset[Thing]

NOTHING: Final[Value] = frozenset()
ATOM: Final = Atom()
# What ends a with statement: its method was looked at where the statement begins.
LEAVES: Final = Atom()
LEAVING: Final[Value] = frozenset((LEAVES,))
ATOMS: Final[Value] = frozenset((ATOM,))
UNSURE: Final = Unsure()
ANY: Final[Value] = frozenset((UNSURE,))
NULL: Final[Value] = frozenset((Null(),))


def one(thing: Thing) -> Value:
    """Return the value that is surely this thing."""
    return frozenset((thing,))


def of_each(value: Value, do: Callable[[Thing], Value]) -> Value:
    """Return the value that is any of those that ``do`` gives for a thing of ``value``."""
    if len(value) == 1:
        (thing,) = value
        return do(thing)
    return joined(*map(do, value))


def joined(*values: Value) -> Value:
    """Return the value that is any of these; too many things count as anything."""
    found = NOTHING.union(*values)
    if len(found) <= 1:
        return found
    if ATOM in found or len(found) > FEW_THINGS:
        found = frozenset([ATOM if isinstance(thing, Outer) and thing.is_atom else thing for thing in found])
    return found if len(found) <= MOST_THINGS else ANY
