"""Shared parts of the commands that run a map: argparse types, the function, the user's errors."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final, TypeVar

from amorsize.cli.failing import LoadFailedError, OutputClosedError, OutputError, RunFailedError, UsageError
from amorsize.cli.items import items_of
from amorsize.cli.spelling import spelled
from amorsize.errors import CheckpointError, ResourceLimitError
from amorsize.hints import near
from amorsize.options import check

T = TypeVar("T")


# ---------------------------------------------------------------------------------------------------- argparse types


def whole(least: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number of at least ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        return value

    number.__name__ = "whole number"  # "invalid whole number value: 'x'"
    return number


def number_of(unit: str, *, positive: bool = False) -> Callable[[str], float]:
    """Return an argparse type: a finite number of a unit, at least 0, or above 0 if ``positive``."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 <= value < float("inf") or (positive and not value):
            raise argparse.ArgumentTypeError(f"must be a {'positive ' if positive else ''}number of {unit}, not {text}")
        return value

    number.__name__ = f"number of {unit}"  # "invalid number of seconds value: 'x'"
    return number


UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def size(text: str) -> int:
    """Parse a number of bytes, such as ``500M`` or ``2G``, as an argparse type.

    Examples
    --------
    >>> size("2G"), size("1500")
    (2000000000, 1500)
    """
    number = text.lower().removesuffix("b")
    unit = number[-1:] if number[-1:] in UNITS else ""
    return int(float(number.removesuffix(unit)) * UNITS[unit])


def backends(text: str) -> str | tuple[str, ...]:
    """Parse one backend, or several with commas between them, as an argparse type."""
    return text if "," not in text else tuple(name.strip() for name in text.split(","))


def add_engine(command: argparse.ArgumentParser) -> None:
    """Add the options that name an engine by its card."""
    command.add_argument("--engine", metavar="CARD", help="run on the engine that this YAML file describes")
    command.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="another value for a key of the card; repeatable"
    )


# --------------------------------------------------------------------------------------------------- function, items


def load(spec: str) -> Callable[[Any], Any]:
    """Load the function that ``MODULE:FUNC`` names; FUNC may be dotted.

    Raises
    ------
    UsageError
        When there is no such module, no such attribute, or the object cannot be called.
    RunFailedError
        When the import of the module raises.
    """
    # "" stands for the current directory.
    if "" not in sys.path:
        sys.path.insert(0, "")
    module_name, colon, path = spec.partition(":")
    if not (_is_dotted(module_name) and _is_dotted(path)):
        hint = _meant(spec)
        if not hint and not path and _is_dotted(module_name) and (colon or os.path.exists(f"{module_name}.py")):
            hint = _functions(call_user_code(partial(_import, module_name, spec), LoadFailedError))
        raise UsageError(f"{spec!r} does not name a function as MODULE:FUNC, such as math:sqrt{hint}")
    found = call_user_code(partial(_import, module_name, spec), LoadFailedError)
    for name in path.split("."):
        if not hasattr(found, name):
            owner = getattr(found, "__name__", type(found).__name__)
            raise UsageError(f"{spec}: {owner} has no attribute {name!r}{near(name, dir(found)) or _functions(found)}")
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(f"{spec}: cannot be called, its type is {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _meant(spec: str) -> str:
    """Return what a wrong name of a function may stand for, as the end of a sentence: that of a file, or one dot."""
    file, colon, path = spec.partition(":")
    if file.endswith(".py"):
        spec = ".".join(
            part for part in file.removesuffix(".py").replace(os.sep, "/").split("/") if part not in ("", ".")
        )
        spec = f"{spec}:{path or 'FUNC'}"
    elif not colon and "." in file and _is_dotted(file):
        spec = ":".join(file.rsplit(".", 1))
    else:
        return ""
    return f". Did you mean {spec}?"


def _functions(module: Any) -> str:
    """Return what a module of the user's has to call, as the end of a sentence."""
    name = getattr(module, "__name__", None)
    own = [
        each
        for each, value in getattr(module, "__dict__", {}).items()
        if callable(value) and getattr(value, "__module__", None) == name and not each.startswith("_")
    ]
    return f". There are: {', '.join(own)}" if own and name not in sys.stdlib_module_names else ""


def exceptions(names: str) -> tuple[Any, ...]:
    """Load the exception types that these names stand for: of Python's own, or MODULE:CLASS.

    Raises
    ------
    UsageError
        When there is no such type.
    RunFailedError
        When the import of a module raises.
    """
    found = []
    for name in (one.strip() for one in names.split(",")):
        kind = load(name if ":" in name else f"builtins:{name}")
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise UsageError(f"--retry-on {name}: is no exception type")
        found.append(kind)
    return tuple(found)


def _import(name: str, spec: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            # The module exists, but a module that it imports does not.
            raise
        from pkgutil import iter_modules

        wrong, parent = exc.name, exc.name.rpartition(".")[0]
        # With its name, since pkgutil takes "" for the directory that it has seen first.
        top = (one or os.getcwd() for one in sys.path)
        where = getattr(sys.modules[parent], "__path__", ()) if parent else top
        there = {one.name for one in iter_modules(where, parent and f"{parent}.")}
        rest = spec.replace(".py:", ":")[len(wrong) :]
        hint = near(wrong, there, lambda right: f"Did you mean {right}{rest}?") or _meant(spec)
        raise UsageError(
            f"there is no module {wrong!r} in the current directory or elsewhere on sys.path{hint}"
        ) from exc


def call_user_code(call: Callable[[], T], failed: type[RunFailedError] = RunFailedError) -> T:
    """Call a function that runs the user's code; if that raises, print its traceback and raise ``failed``."""
    try:
        return call()
    except (KeyboardInterrupt, UsageError, ResourceLimitError, OutputError, OutputClosedError):
        raise
    except CheckpointError as exc:
        raise UsageError(spelled(str(exc))) from exc
    except BaseException as exc:
        # Also sys.exit() in the user's code.
        trace = exc.__traceback__
        while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__")):
            trace = trace.tb_next
        notes = map(str, getattr(exc, "__notes__", ()))
        exc.__notes__ = [spelled(one) if one.startswith("amorsize: ") else one for one in notes]
        traceback.print_exception(type(exc), exc, trace)
        raise failed from exc


def _is_ours(module: object) -> bool:
    """Return True if a traceback leaves out the frames of this module that precede the user's."""
    return str(module).startswith(("amorsize.", "importlib"))


def map_of(
    arguments: argparse.Namespace, *, streamed: bool = False, **more: Any
) -> tuple[Callable[[Any], Any], Any, dict[str, Any]]:
    """Return the function, the items, and the other arguments of `amorsize.optimize`, checked; see `items_of`.

    The engine of a card is started; ``arguments.held``, an ExitStack, ends it.
    """
    func = load(arguments.function)
    data = items_of(arguments, streamed=streamed)
    names = ("backend", "max_workers", "start_method", "memory_limit")
    options = {name: getattr(arguments, name) for name in names} | more
    if arguments.history is not None:
        from amorsize.history.history import History

        options["history"] = History(arguments.history)
    try:
        card = _card(arguments)
        if card is not None:
            options["backend"] = card
        check(func, data, **options)
    except (TypeError, ValueError, ImportError) as exc:
        raise UsageError(spelled(str(exc))) from exc
    if card is not None:
        call_user_code(partial(arguments.held.enter_context, card), LoadFailedError)
    return func, data, options


def _card(arguments: argparse.Namespace) -> Any:
    """Return the card that ``--engine`` names, not yet open; not all commands have that option."""
    if getattr(arguments, "engine", None) is None:
        if getattr(arguments, "set", None):
            raise UsageError("--set: is for a card; name one with --engine CARD")
        return None
    if arguments.backend != "auto":
        raise UsageError("--backend: the card says what runs the map; leave one of --engine and --backend out")
    if getattr(arguments, "on", None) is not None:
        raise UsageError("--on: is another machine, and the card's engine is planned for from here; leave one out")
    # By its name: the command line needs no integration.
    cards = import_module("amorsize.integrations.cards")
    try:
        return cards.load(arguments.engine, arguments.set)
    except OSError as exc:
        raise UsageError(f"--engine {arguments.engine}: {exc.strerror or exc}") from exc
