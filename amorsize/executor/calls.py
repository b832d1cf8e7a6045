"""The function that an `Executor`'s workers run: it carries out calls, each of a function of its own.

Workers import this module, so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from amorsize.backends.workers.child import describe
from amorsize.backends.workers.protocol import dumps
from amorsize.system.looks import is_interrupt, kind_of

Call = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""Function, positional and keyword arguments."""

# One object for all calls: pickle then sends it once per chunk.
NO_KEYWORDS: Final[Mapping[str, Any]] = {}


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


def culprit(call: Call, by_value: bool) -> str | None:
    """Return which part of a call cannot be pickled, and why; None if all can."""
    function, args, keywords = call
    name = name_of(function)
    parts = [(f"argument {place} of {name}", arg) for place, arg in enumerate(args, 1)]
    parts += [(f"argument {key!r} of {name}", arg) for key, arg in keywords.items()]
    for what, part in [("the function", function), *parts]:
        try:
            dumps(part, by_value)
        except BaseException as exc:  # noqa: BLE001  (the user's __reduce__ may raise anything)
            return f"{what} is {describe(part, exc)}"
    return None
