"""Messages as the shell spells things: options in place of arguments, and what a wrong name may stand for."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from amorsize.cli.failing import UsageError
from amorsize.cli.items import is_fed
from amorsize.hints import near, of_option

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


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, and says what a wrong name may stand for."""

    _asked: Sequence[str] = ()

    def __init__(self, **arguments: Any) -> None:
        # A typing slip must not stand for an option that deletes: ``history forget --al``.
        super().__init__(**arguments, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        missing = message.partition(REQUIRED)[2].split(", ")
        unknown = [one for one in self._asked if self._is_unknown(one)]
        if "required" in message and self._hint(unknown):
            # A misspelt option leaves the right one out.
            message = self._unrecognized(unknown)
        elif any(missing):
            named = ((argparse._get_action_name(one), one) for one in self._actions)
            message = REQUIRED + ", ".join(f"{name} ({_choices(one)})" for name, one in named if name in missing)
        elif message.startswith("one of the arguments --range --file") and is_fed():
            message += "; standard input is no terminal: --file - takes its lines as the items"
        raise UsageError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over here, where the options that are meant are known."""
        self._asked = sys.argv[1:] if args is None else list(args)
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(self._unrecognized(rest))
        return found, rest

    def _is_unknown(self, argument: str) -> bool:
        name = argument.partition("=")[0]
        return name.startswith("--") and name not in self._option_string_actions

    def _unrecognized(self, rest: Sequence[str]) -> str:
        return f"unrecognized arguments: {' '.join(rest)}{self._hint(rest)}"

    def _hint(self, rest: Sequence[str]) -> str:
        wrong = next((one for one in rest if one.startswith("-")), "")
        # Of -j2 the name is j.
        name = wrong[2:].partition("=")[0].replace("-", "_") if wrong.startswith("--") else wrong[1:2]
        options = {one[2:].replace("-", "_"): one for one in self._option_string_actions if one.startswith("--")}
        if "file" in options:
            options |= dict.fromkeys(FILE, "--file")
        return spelled(of_option(name, options))

    def _match_argument(self, action: argparse.Action, arg_strings_pattern: str) -> int:
        try:
            return super()._match_argument(action, arg_strings_pattern)
        except argparse.ArgumentError as exc:
            raise argparse.ArgumentError(action, f"{exc.message} ({_choices(action)})") from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            hint = near(str(value), map(str, action.choices)) or f" ({_choices(action)})"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint}")


REQUIRED: Final = "the following arguments are required: "
# Other names of --file.
FILE: Final = ("items", "input", "stdin")


def _choices(action: argparse.Action) -> str:
    """Return what an argument may be, in words."""
    return f"choose from {', '.join(map(str, action.choices))}" if action.choices else f"{action.help}"
