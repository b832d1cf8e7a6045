"""``NamedTuple`` as in ``typing``, without loading it.

With ``re``, ``enum`` and ``contextlib`` that takes 5 ms, which a short map would pay before its workers start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import namedtuple

    class _Maker(type):
        """Makes a named tuple of a class statement: its annotations are the fields."""

        def __new__(cls, name, bases, space):
            """Return the named tuple; its base itself is a plain class."""
            kind = super().__new__(cls, name, (), dict(space))
            if not bases:
                return kind
            fields = kind.__annotations__
            defaults = [space[field] for field in fields if field in space]
            made = namedtuple(name, fields, defaults=defaults, module=kind.__module__)
            for key, value in space.items():
                if key not in fields and key not in ("__dict__", "__weakref__", "__classcell__"):
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """Base of the class statements."""
