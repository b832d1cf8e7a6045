"""``--print-completion``: the words of the command line for bash, zsh and fish, as a script that shtab writes."""

from __future__ import annotations

import argparse
from typing import Any, Final

from amorsize.cli.failing import UsageError
from amorsize.hints import missing

SHELLS: Final = ("bash", "zsh", "fish")
# What stands for the name of a file in the help.
FILES: Final = ("FILE", "F", "PATH", "PATTERN")


class PrintCompletion(argparse.Action):
    """Prints the script for a shell, and ends the program."""

    def __init__(self, option_strings: Any, dest: str, **_: Any) -> None:
        super().__init__(
            option_strings,
            argparse.SUPPRESS,
            choices=SHELLS,
            help=f"print a script that completes commands and options in {', '.join(SHELLS[:-1])} or {SHELLS[-1]}",
        )

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        """Print the script."""
        try:
            import shtab
        except ImportError as exc:
            raise UsageError(missing("--print-completion", "shtab", "cli")) from exc
        _complete_files(parser, shtab.FILE)
        print(shtab.complete(parser, arguments[1]))  # noqa: T201
        parser.exit()


def _complete_files(parser: argparse.ArgumentParser, names: Any) -> None:
    """Let the options that name a file complete names of files, those of all commands."""
    for action in parser._actions:
        if action.metavar in FILES:
            action.complete = names  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, names)
