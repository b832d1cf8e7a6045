"""Frozen records that cost next to nothing to define.

``@dataclass(frozen=True, slots=True)`` writes and compiles eight functions for each class: 0.6 ms, and 5 to 10 ms for
the module itself, which a short program pays before its first item runs. A `Frozen` shares its functions with all
others (15 µs per class). It keeps its values in a dict: one merge of two dicts makes a record, which takes no longer
than to set slots one by one in code that was written for them.

It can be used as a dataclass: ``dataclasses.fields``, ``asdict``, ``replace`` and ``is_dataclass`` work, by a twin
that is made when the first of them is called.

`NamedTuple` is that of ``typing``, which with ``re`` and ``enum`` takes 5 ms to load: a short map would pay them before
its workers start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import dataclasses
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, Final, TypeVar, dataclass_transform
    from typing import NamedTuple as NamedTuple

    R = TypeVar("R", bound="Frozen")
else:

    def dataclass_transform(**_):
        """Return a decorator without effect: only type checkers use it."""
        return lambda kind: kind

    class _Maker(type):
        """Makes a named tuple of a class statement: its annotations are the fields."""

        def __new__(cls, name, bases, space):
            """Return the named tuple; its base itself is a plain class."""
            kind = super().__new__(cls, name, (), dict(space))
            if not bases:
                return kind
            # A short map needs no collections.
            from collections import namedtuple

            fields = kind.__annotations__
            defaults = [space[field] for field in fields if field in space]
            made = namedtuple(name, fields, defaults=defaults, module=kind.__module__)
            for key, value in space.items():
                if key not in fields and key not in ("__dict__", "__weakref__", "__classcell__"):
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """Base of the class statements."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = _Missing()
_put: Final = object.__setattr__


class _Field:
    """The options of a field that differs from a plain one; see `field`."""

    def __init__(
        self, default: Any, make: Callable[[], Any] | None, is_hashed: bool, is_shown: bool, is_compared: bool
    ) -> None:
        self.default = default
        self.make = make
        self.is_hashed = is_hashed and is_compared
        self.is_shown = is_shown
        self.is_compared = is_compared


def field(
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | None = None,
    hash: bool = True,  # noqa: A002  (the name that type checkers and readers know)
    repr: bool = True,  # noqa: A002
    compare: bool = True,
) -> Any:
    """Set the options of a field beyond annotation and default, as in ``dataclasses``."""
    return _Field(default, default_factory, hash, repr, compare)


class _Twin:
    """An attribute that ``dataclasses`` looks for in a class, taken from a dataclass of the same fields."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, record: object, kind: type[Frozen]) -> Any:
        return getattr(_twin(kind), self.name)


_twins: Final[dict[type, type]] = {}


def _twin(kind: type[Frozen]) -> type:
    if kind in _twins:
        return _twins[kind]
    import dataclasses

    fields: list[tuple[str, Any, Any]] = []
    for name, default in kind._template.items():
        make = kind._makers.get(name)
        how: dict[str, Any] = {} if default is MISSING else {"default": default}
        if make is not None:
            how = {"default_factory": make}
        one = dataclasses.field(
            **how,
            hash=None if name not in kind._unhashed else False,
            repr=name not in kind._unshown,
            compare=name not in kind._uncompared,
            kw_only=kind._kw_only,
        )
        fields.append((name, kind._annotations[name], one))
    return _twins.setdefault(kind, dataclasses.make_dataclass(kind.__name__, fields, frozen=True))


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Frozen:
    """Base of records whose fields are annotations, and which never change.

    Two are equal when they are of the same class and all their values are, but for those that are not compared (see
    `field`). A subclass of a record has its fields, too.

    Parameters
    ----------
    kw_only : bool
        Of the class statement: True if the constructor takes values by name only.

    Examples
    --------
    >>> class Spot(Frozen):
    ...     x: float
    ...     y: float = 0.0
    >>> Spot(x=1.0)
    Spot(x=1.0, y=0.0)
    >>> replace(Spot(x=1.0), y=2.0) == Spot(x=1.0, y=2.0)
    True
    >>> Spot(z=1.0)
    Traceback (most recent call last):
    TypeError: Spot: has no field 'z'
    """

    _template: ClassVar[dict[str, Any]] = {}  # every field's default, in order; `MISSING` where there is none
    _makers: ClassVar[Mapping[str, Callable[[], Any]]] = {}
    _plan: ClassVar[tuple[dict[str, Any], frozenset[str], Mapping[str, Callable[[], Any]]]] = ({}, frozenset(), {})
    _unhashed: ClassVar[frozenset[str]] = frozenset()
    _unshown: ClassVar[frozenset[str]] = frozenset()
    _uncompared: ClassVar[frozenset[str]] = frozenset()
    _annotations: ClassVar[Mapping[str, Any]] = {}
    _kw_only: ClassVar[bool] = True
    __match_args__: ClassVar[tuple[str, ...]] = ()
    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    else:
        __dataclass_fields__ = _Twin()
        __dataclass_params__ = _Twin()

    def __init_subclass__(cls, *, kw_only: bool = True) -> None:
        template, makers = dict(cls._template), dict(cls._makers)
        unhashed, unshown, uncompared = set(cls._unhashed), set(cls._unshown), set(cls._uncompared)
        for name in cls.__annotations__:
            default = cls.__dict__.get(name, MISSING)
            if type(default) is _Field:
                delattr(cls, name)
                if default.make is not None:
                    makers[name] = default.make
                if not default.is_hashed:
                    unhashed.add(name)
                if not default.is_shown:
                    unshown.add(name)
                if not default.is_compared:
                    uncompared.add(name)
                default = default.default
                if default is not MISSING:
                    setattr(cls, name, default)
            template[name] = default
        cls._template, cls._makers = template, makers
        required = frozenset(name for name, one in template.items() if one is MISSING and name not in makers)
        cls._plan = template, required, makers  # what the constructor needs, at one look
        cls._unhashed, cls._unshown = frozenset(unhashed), frozenset(unshown)
        cls._uncompared = frozenset(uncompared)
        cls._annotations = {**cls._annotations, **cls.__annotations__}
        cls._kw_only = kw_only
        cls.__match_args__ = () if kw_only else tuple(template)  # type: ignore[misc]

    def __init__(self, *args: Any, **given: Any) -> None:
        if args:
            names = self.__match_args__
            if len(args) == len(names) and not given:  # all by position: events come by the thousand
                self.__dict__.update(zip(names, args))  # noqa: B905
                return
            given = self._named(args, given)
        template, required, makers = type(self)._plan
        values = template | given
        if len(values) != len(template) or not given.keys() >= required:
            raise self._mistake(given)
        if makers:
            values.update((name, make()) for name, make in makers.items() if name not in given)
        _put(self, "__dict__", values)

    @classmethod
    def _named(cls, args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
        """Merge arguments by position with those by name."""
        names = cls.__match_args__
        if len(args) > len(names):
            raise TypeError(f"{cls.__name__}: takes {len(names)} values by position, not {len(args)}")
        by_position = dict(zip(names, args, strict=False))
        if not given:
            return by_position
        if twice := by_position.keys() & given.keys():
            raise TypeError(f"{cls.__name__}: got {_listed(twice)} twice")
        return by_position | given

    @classmethod
    def _mistake(cls, given: Mapping[str, Any]) -> TypeError:
        unknown = [name for name in given if name not in cls._template]
        if unknown:
            return TypeError(f"{cls.__name__}: has no field {_listed(unknown)}")
        _, required, _ = cls._plan
        missing = [name for name in cls._template if name in required and name not in given]
        return TypeError(f"{cls.__name__}: needs {_listed(missing)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}: cannot set {name!r}, since a record never changes")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}: cannot delete {name!r}, since a record never changes")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        theirs, uncompared = other.__dict__, self._uncompared
        if not uncompared:
            return self.__dict__ == theirs
        names = [name for name in self._template if name not in uncompared]
        return [self.__dict__[name] for name in names] == [theirs[name] for name in names]

    def __hash__(self) -> int:
        unhashed = self._unhashed
        return hash(tuple(value for name, value in self.__dict__.items() if name not in unhashed))

    def __repr__(self) -> str:
        unshown = self._unshown
        values = (f"{name}={value!r}" for name, value in self.__dict__.items() if name not in unshown)
        return f"{type(self).__qualname__}({', '.join(values)})"

    def __replace__(self: R, /, **changes: Any) -> R:
        """For ``copy.replace``."""
        return replace(self, **changes)


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))


def replace(record: R, /, **changes: Any) -> R:
    """Return a copy of the record with these fields changed."""
    values = record.__dict__ | changes
    if len(values) != len(record.__dict__):
        raise record._mistake(changes)
    new = object.__new__(type(record))
    _put(new, "__dict__", values)
    return new


def as_dict(record: Frozen) -> dict[str, Any]:
    """Return a record's values by field name; the values are not copied or converted."""
    return dict(record.__dict__)


def plain(value: Any) -> Any:
    """Return the value with records and mappings as dicts and with sequences as lists, at every depth, as JSON has it.

    Examples
    --------
    >>> class Spot(Frozen):
    ...     x: float
    ...     names: tuple[str, ...] = ()
    >>> plain({1: (Spot(x=1.0, names=("a", "b")), None)})
    {'1': [{'x': 1.0, 'names': ['a', 'b']}, None]}
    """
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, Frozen):
        value = value.__dict__
    if hasattr(value, "items"):
        return {str(key): plain(one) for key, one in value.items()}
    return value


def field_names(kind: type[Frozen] | Frozen) -> tuple[str, ...]:
    """Return the names of a record's fields, in order."""
    return tuple(kind._template)


def defaults(kind: type[Frozen]) -> dict[str, Any]:
    """Return the defaults of a record's fields, without fields that have none or that have a factory."""
    return {name: value for name, value in kind._template.items() if value is not MISSING and name not in kind._makers}
