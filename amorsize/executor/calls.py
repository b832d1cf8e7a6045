"""The function that an `Executor`'s workers run: it carries out calls, each of a function of its own.

Workers import this module, so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from amorsize.backends.workers.child import describe
from amorsize.backends.workers.protocol import dumps
from amorsize.system.looks import is_interrupt, kind_of

Call = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""Function, positional and keyword arguments."""

# One object for all calls: pickle then sends it once per chunk.
NO_KEYWORDS: Final[Mapping[str, Any]] = {}


class Chunk:
    """Calls of one function. It is pickled as the function and its arguments, and unpickled as a list of calls.

    Parameters
    ----------
    function : callable
    arguments : list
        Of each call: its arguments.
    unpacks : bool
        True if these are tuples; False if each is the one argument itself.
    """

    __slots__ = ("arguments", "function", "unpacks")

    def __init__(self, function: Callable[..., Any], arguments: list[Any], unpacks: bool) -> None:
        self.function = function
        self.arguments = arguments
        self.unpacks = unpacks

    def __len__(self) -> int:
        return len(self.arguments)

    def __iter__(self) -> Iterator[Call]:
        return iter(_calls(self.function, self.arguments, self.unpacks))

    def __reduce__(self) -> tuple[Any, ...]:
        return _calls, (self.function, self.arguments, self.unpacks)


def _calls(function: Callable[..., Any], arguments: list[Any], unpacks: bool) -> list[Call]:
    if unpacks:
        return [(function, args, NO_KEYWORDS) for args in arguments]
    return [(function, (argument,), NO_KEYWORDS) for argument in arguments]


def run(call: Call) -> Any:
    """Carry out a call."""
    function, args, keywords = call
    return function(*args, **keywords)


def initialize(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    """Call an initializer; if it raises, log that where the standard library's executors do."""
    try:
        initializer(*initargs)
    except BaseException:
        import logging

        logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
        raise


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function for a message, whatever its attributes raise."""
    try:
        named = getattr(function, "func", function)  # functools.partial
        return str(getattr(named, "__qualname__", None) or kind_of(named))
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return kind_of(function)


def culprit(call: Call, by_value: bool) -> tuple[str, BaseException] | None:
    """Return which part of a call cannot be pickled, in words, and what pickling it raised; None if all can."""
    function, args, keywords = call
    name = name_of(function)
    parts = [(f"argument {place} of {name}", arg) for place, arg in enumerate(args, 1)]
    parts += [(f"argument {key!r} of {name}", arg) for key, arg in keywords.items()]
    for what, part in [("the function", function), *parts]:
        try:
            dumps(part, by_value)
        except BaseException as exc:  # noqa: BLE001  (the user's __reduce__ may raise anything)
            return f"{what} is {describe(part, exc)}", exc
    return None
