"""Objects that dislike being looked at, and exceptions that take no attributes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence


def burn(value, seconds=1e-3):
    """Compute for so long, so that a map of some hundred items looks at what it gets."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return value


class Leave(BaseException):
    """As SystemExit, which the repr of an object in a traceback of pytest's must not raise."""


def _never(name):
    def raises(self, *args):
        raise Leave(f"{name} was called")

    return raises


PROPERTIES = ("__class__", "nbytes", "shape", "dtype", "ndim", "size", "itemsize")
METHODS = """
    len sizeof eq lt le gt ge hash bool repr str reduce reduce_ex getattr iter getitem contains index int float fspath
    length_hint call_ await format array array_interface
"""


def special(make):
    """Properties and special methods of a class, each made by ``make``."""
    return {name: property(make(name)) for name in PROPERTIES} | {
        f"__{name}__": make(f"__{name}__") for name in METHODS.split()
    }


class Hostile:
    """Each special method, property and attribute raises what is no Exception."""

    def __init__(self, number=0):
        object.__setattr__(self, "number", number)

    locals().update(special(_never))


ASKED = []


def _noted(name):
    def notes(self, *args):
        ASKED.append(name)
        raise AttributeError(name)

    return notes


class Watched:
    """Notes what it is asked for: a lazy object, say, would load itself then."""

    def __init__(self, number=0):
        object.__setattr__(self, "number", number)

    locals().update(special(_noted))

    def __reduce_ex__(self, protocol):
        return Watched, (object.__getattribute__(self, "number"),)


def watched(number):
    return burn(Watched(number))


def hostile(number):
    return burn(Hostile(number))


def number_of(item):
    return burn(object.__getattribute__(item, "number"))


class Caller(Hostile):
    """A function that is as hostile."""

    def __call__(self, item):
        return -item


class Sendable(Hostile):
    """Hostile, but it can be pickled."""

    def __reduce_ex__(self, protocol):
        return type(self), (object.__getattribute__(self, "number"),)


class SendableCaller(Sendable):
    def __call__(self, item):
        return -item


async def hostile_later(number):
    return Hostile(number)


class Liar:
    """Whatever it is asked, the answer makes no sense."""

    nbytes = -(10**30)
    dtype = "no dtype"

    def __len__(self):
        return 1 << 60

    def __sizeof__(self):
        return 1 << 60


def liar(number):
    return burn(Liar())


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    number: int


class RefusesError(Exception):
    def __setattr__(self, name, value):
        raise Leave("no attributes")


class OddNotesError(Exception):
    __notes__ = 5


class NotesRaiseError(Exception):
    @property
    def __notes__(self):
        raise Leave("no notes")


class TextRaisesError(Exception):
    def __str__(self):
        raise Leave("no text")

    __repr__ = __str__


class PickleRaisesError(Exception):
    def __reduce__(self):
        raise Leave("no pickle")


class AttributesRaiseError(Exception):
    def __getattr__(self, name):
        raise Leave("no attributes")


class LoadRaisesError(Exception):
    def __reduce__(self):
        return _exit, ()


def _exit():
    raise Leave("not rebuilt")


ERRORS = (
    FrozenError,
    RefusesError,
    OddNotesError,
    NotesRaiseError,
    TextRaisesError,
    PickleRaisesError,
    AttributesRaiseError,
    LoadRaisesError,
)


def fails_at_three(item):
    kind, number = item
    if number == 3:
        raise kind(number)
    return number


async def fails_later(item):
    return fails_at_three(item)


class Lazy(Sequence):
    """A sequence that makes its items when they are asked for."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Chain(Sequence):
    """A linked list: each index is a walk from the head."""

    def __init__(self, length):
        self.length, self.walked = length, 0

    def __len__(self):
        return self.length

    def __iter__(self):
        for number in range(self.length):
            self.walked += 1
            yield number

    def __getitem__(self, index):
        for at, item in enumerate(self):
            if at == index:
                return item
        raise IndexError(index)
