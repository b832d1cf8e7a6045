"""Messages as the shell spells things: options in place of arguments, and what a wrong name may stand for."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from amorsize.cli.failing import UsageError
from amorsize.cli.items import is_fed

# Arguments of the API that are options here, by the same name.
NAMES: Final = (
    "backend",
    "max_workers",
    "start_method",
    "memory_limit",
    "sample",
    "history",
    "retries",
    "retry_on",
    "backoff",
    "on_error",
    "initializer",
    "timeout",
    "rate",
    "max_failures",
    "checkpoint_key",
    "checkpoint",
    "max_seconds",
    "max_memory_percent",
    "max_cpu_percent",
    "max_ahead",
    "progress",
)
_ALL: Final = "|".join(NAMES)
_AT_START: Final = re.compile(rf"^({_ALL}): ")
_WITHIN: Final = re.compile(rf"(?<![\w.-])({_ALL})=(?:'([^']*)'|\"([^\"]*)\"|([A-Z]+\b|\d[\w.]*)|)")


def spelled(text: str) -> str:
    r"""Spell the arguments in a message of the API as the options of the command line.

    Examples
    --------
    >>> spelled("max_failures: counts failures that are collected; use it with on_error='collect'")
    '--max-failures: counts failures that are collected; use it with --on-error collect'
    """

    def option(found: re.Match[str]) -> str:
        name, *values = found.groups()
        value = next((one for one in values if one is not None), "")
        return f"--{name.replace('_', '-')}{value and ' '}{value}"

    text = text.replace("limits= allows", "that allows")
    return _WITHIN.sub(option, _AT_START.sub(lambda found: f"--{found[1].replace('_', '-')}: ", text))


def near(name: str, known: Iterable[str]) -> str:
    """Return what a wrong name may stand for, as the end of a sentence; empty if nothing comes near.

    Examples
    --------
    >>> near("optimise", ["optimize", "execute"])
    '. Did you mean optimize?'
    """
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 1)
    return f". Did you mean {found[0]}?" if found else ""


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, and says what a wrong name may stand for."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        if message.startswith("one of the arguments --range --file") and is_fed():
            message += "; standard input is no terminal: --file - takes its lines as the items"
        raise UsageError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over here, where the options that are meant are known."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            options = [one for one in self._option_string_actions if one.startswith("--")]
            wrong = next((one for one in rest if one.startswith("-")), rest[0])
            hint = near(wrong.partition("=")[0], options) if wrong.startswith("--") else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            hint = near(str(value), map(str, action.choices))
            known = ", ".join(map(str, action.choices))
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint or f' (choose from {known})'}")
