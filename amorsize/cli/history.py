"""``python -m amorsize history``: the rows of past runs.

Each command returns two functions, of what it found as data and as text, and raises ValueError, OSError or ImportError
with a text of one line. Functions are named as `list` shows them; no user module is imported, and no function is run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import Any, Final

from amorsize.cli import history_text as report
from amorsize.cli.map_arguments import number_of, whole
from amorsize.formatting import count, printable, seconds
from amorsize.history.history import ALL, History
from amorsize.history.run_row import SOURCES, Run

ABOUT: Final = {
    "list": "the newest runs",
    "show": "what is known of a function",
    "stats": "how good forecasts have been, by function",
    "fit": "learn from all runs what forecasts miss",
    "export": "write all rows into a file of JSON lines",
    "import": "take in rows that another machine has exported",
    "forget": "delete rows",
}
DAY_S: Final = 86_400.0


def add_commands(command: argparse.ArgumentParser, add_json: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the options of ``history`` and of its commands."""
    commands = command.add_subparsers(metavar="COMMAND", title="commands", dest="what", required=True)
    for name, about in ABOUT.items():
        one = commands.add_parser(name, help=about, description=about)
        one.add_argument("--path", metavar="FILE", help="the file; by default what AMORSIZE_HISTORY says")
        if name in ("list", "show", "stats", "import", "forget", "export"):
            add_json(one)
        if name == "show":
            one.add_argument("function", metavar="FUNCTION", help="its name, or the first digits of its fingerprint")
        if name in ("export", "import"):
            one.add_argument("file", metavar="FILE", help="a file of JSON lines; - is standard output or input")
        if name in ("list", "stats", "forget"):
            one.add_argument("--function", metavar="FUNCTION", help="only of this function")
        if name == "list":
            one.add_argument("--source", choices=(*SOURCES, ALL), default=ALL, help="only rows of this source")
        if name in ("list", "show"):
            one.add_argument("--limit", type=whole(1), default=LIMIT, metavar="N", help=f"at most so many ({LIMIT})")
        if name == "forget":
            one.add_argument("--older-than", type=number_of("days"), metavar="DAYS", help="only what ended so long ago")
            one.add_argument("--all", action="store_true", help="everything, of every function")


# What a command has found, as data and as text.
Found = tuple[Callable[[], Any], Callable[[], str]]
# Runs that are listed by default (a guess).
LIMIT: Final = 20


def run(given: argparse.Namespace) -> Found | None:
    """Run a command; return what it found. None: there is nothing to print."""
    history = History(given.path)
    if given.what not in ("list", "show", "stats") and history.path is None:
        raise ValueError("history is off; --path names a file")
    return COMMANDS[given.what](history, given)


# ---------------------------------------------------------------------------------------------------------- commands


def list_(history: History, given: argparse.Namespace) -> Found:
    """Return the newest runs."""
    found = history.runs(source=given.source)
    if given.function is not None:
        found = of_function(found, given.function)
    found = found[-given.limit :]
    return lambda: [one.to_dict() for one in found], partial(report.listing, found)


def show(history: History, given: argparse.Namespace) -> Found:
    """Return a part for each fingerprint of a function's name: what is known, and its newest runs."""
    found = of_function(history.runs(source="all"), given.function)
    groups: dict[str, list[Run]] = {}
    for one in found:
        groups.setdefault(str(one.function), []).append(one)
    parts = [_shown(mark, rows, given.limit) for mark, rows in groups.items()]

    def text() -> str:
        return "\n\n".join(_paragraph(part, groups[part["function"]][-given.limit :]) for part in parts)

    return lambda: parts, text


def _paragraph(shown: dict[str, Any], rows: Sequence[Run]) -> str:
    head = f"{shown['name'] or 'a function'}, fingerprint {shown['function']}: {count(shown['rows'], 'row')}"
    return f"{printable(head)}\n{printable(shown['known'])}\n\n{report.listing(rows)}"


def _shown(mark: str, rows: Sequence[Run], limit: int) -> dict[str, Any]:
    return {
        "function": mark,
        "name": rows[-1].name,
        "rows": len(rows),
        "known": _known(rows),
        "runs": [one.to_dict() for one in rows[-limit:]],
    }


def _known(rows: Sequence[Run]) -> str:
    """Return what `optimize` would conclude from these rows, on this machine, for data like the newest row's."""
    from amorsize.history.agreement import LEAST, known
    from amorsize.history.machine_id import digest_of, features
    from amorsize.system.machine import machine
    from amorsize.system.start_methods import share_of

    here = digest_of(features(share_of(machine())))
    ours = [one for one in rows if one.machine_digest == here]
    last = next((one for one in reversed(ours) if one.shape is not None and one.n_items), None)
    if last is None or last.shape is None or last.n_items is None:
        return "no row tells what its items took on a machine like this one"
    of_what = f"{last.shape.kind} of {last.shape.items or 'items'}"
    found = known(reversed(ours), last.shape, last.n_items, time())
    if found is None:
        return f"{of_what}: optimize() will sample it, since fewer than {LEAST} rows agree"
    return f"{of_what}: {count(found.runs, 'row')} agree that an item takes {seconds(found.sample.item_s)}"


def stats(history: History, given: argparse.Namespace) -> Found:
    """Return the errors of past forecasts."""
    rows = history.runs(source="all")
    if given.function is not None:
        rows = of_function(rows, given.function)
    found = report.stats(rows, None if history.path is None else str(history.path), history.size_bytes())
    return partial(report.to_dict, found), partial(report.to_text, found)


def fit(history: History, given: argparse.Namespace) -> Found:
    """Fit the pruner."""
    from amorsize.learn import fitting

    told = str(fitting.fit(history))
    return lambda: told, lambda: told


def export(history: History, given: argparse.Namespace) -> Found | None:
    """Write rows as JSON lines."""
    if given.file == "-":
        from amorsize.history.jsonlines import write_lines

        write_lines(history.runs(source="all"), given.out)
        return None
    number = history.export(given.file)
    return lambda: {"rows": number}, lambda: f"{count(number, 'row')} written to {given.file}"


def import_(history: History, given: argparse.Namespace) -> Found:
    """Read rows of JSON lines."""
    found = history.import_(0 if given.file == "-" else given.file)  # type: ignore[arg-type]
    for number, why in found.broken:
        print(f"amorsize: {given.file}: line {number} is no row, passed over: {printable(why)}", file=sys.stderr)  # noqa: T201
    text = f"{count(found.added, 'row')} added"
    text += f", {found.known:,} known before" if found.known else ""
    text += f", {count(len(found.broken), 'line')} passed over" if found.broken else ""
    return found._asdict, lambda: text


def forget(history: History, given: argparse.Namespace) -> Found:
    """Delete rows."""
    if not given.all and given.function is None and given.older_than is None:
        raise ValueError("forget: say what, with --function or --older-than, or say --all")
    older_than_s = None if given.older_than is None else given.older_than * DAY_S
    if given.function is None:
        gone = history.forget(older_than_s=older_than_s)
        # With all rows, the fit that was made from them is deleted too.
        if older_than_s is None:
            from amorsize.learn import pruner

            pruner.forget(history)
    else:
        marks = {str(one.function) for one in of_function(history.runs(source="all"), given.function)}
        gone = sum(history.forget(mark, older_than_s=older_than_s) for mark in sorted(marks))
    return lambda: {"rows": gone}, lambda: f"{count(gone, 'row')} forgotten"


COMMANDS: Final[dict[str, Callable[[History, argparse.Namespace], Found | None]]] = {
    "list": list_,
    "show": show,
    "stats": stats,
    "fit": fit,
    "export": export,
    "import": import_,
    "forget": forget,
}


def of_function(runs: Sequence[Run], text: str) -> list[Run]:
    """Select the rows of functions by name, by its last parts, or by the first digits of the fingerprint.

    Raises
    ------
    ValueError
        When no row matches.
    """
    # As the other commands name a function.
    text = text.replace(":", ".")
    found = [
        one
        for one in runs
        if one.name == text
        or one.name.endswith(f".{text}")
        or (len(text) >= FEWEST and str(one.function).startswith(text.lower()))
    ]
    if not found:
        raise ValueError(f"no run of {text!r} is recorded; `history list` shows the names")
    return found


# Digits of a fingerprint that select a function (a guess).
FEWEST: Final = 6
