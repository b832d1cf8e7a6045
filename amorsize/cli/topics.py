"""``python -m amorsize help``: the parts of docs/howto/troubleshooting.md, as text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from textwrap import fill, indent, shorten
from typing import Any, Final

from amorsize.cli.failing import UsageError
from amorsize.hints import near

PART: Final = re.compile(r'^<a id="([\w-]+)"></a>\n\n## (.+?)\n(.*?)(?=^<a id=|^## |\Z)', re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Of a wider text, lines are hard to read (a guess).
MOST_COLUMNS: Final = 100


def topics() -> dict[str, tuple[str, str]]:
    """Return the title and the text of each topic; the text is Markdown."""
    package = files("amorsize")
    installed = package.joinpath("troubleshooting.md")
    page = installed if installed.is_file() else package.joinpath("..", "docs", "howto", "troubleshooting.md")
    return {name: (title, text) for name, title, text in PART.findall(page.read_text(encoding="utf-8"))}


def find(given: argparse.Namespace) -> tuple[Callable[[], Any], Callable[[], str]]:
    """Return what the command prints, as data and as text.

    Raises
    ------
    UsageError
        When there is no such topic.
    """
    known, columns = topics(), min(given.out.columns(), MOST_COLUMNS)
    if given.topic is None:
        return lambda: {name: title for name, (title, _) in known.items()}, partial(listing, known, columns)
    if given.topic in given.commands:
        told = given.commands[given.topic].format_help().rstrip()
        return lambda: told, lambda: told
    name = given.topic.lower()
    if name not in known:
        about = [one for one, (title, text) in known.items() if name in f"{one} {title}".lower()]
        hint = near(name, [*known, *given.commands]) or "; without TOPIC, all are listed"
        if about:
            hint = f". Those on it are: {', '.join(about)}"
        raise UsageError(f"there is no topic {given.topic!r}{hint}")
    title, text = known[name]
    told = "\n\n".join((title, *plain(text, columns)))
    return lambda: {"topic": name, "title": title, "text": told}, lambda: told


def listing(known: dict[str, tuple[str, str]], columns: int) -> str:
    """Return a line for each topic."""
    width = max(map(len, known))
    return "\n".join(
        f"{name:{width}}  {shorten(title, max(columns - width - 2, width), placeholder=' …')}"
        for name, (title, _) in known.items()
    )


def plain(text: str, columns: int) -> Iterator[str]:
    r"""Yield the blocks of a Markdown text: a row of a table becomes a paragraph, a link its words.

    Examples
    --------
    >>> list(plain("A [link](page.md).\n\n| if | then |\n|---|---|\n| a | [b](#b) |", 80))
    ['A link.', 'a\n    then: b (help b)']
    """
    text = re.sub(r"\[([^]]+)\]\(#([\w-]+)\)", r"\1 (help \2)", text)
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)
    # What is between two blocks of code, and the code.
    for at, part in enumerate(CODE.split(text)):
        if at % 2:
            yield indent(part.rstrip(), "    ")
            continue
        for block in part.strip().split("\n\n"):
            if block.startswith("|"):
                yield from _rows(block, columns)
            elif block.startswith("- "):
                items = (" ".join(one.split()) for one in block[2:].split("\n- "))
                yield "\n".join(fill(f"- {one}", columns, subsequent_indent="  ") for one in items)
            elif block:
                yield fill(block, columns)


def _rows(table: str, columns: int) -> Iterator[str]:
    (_, *heads), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n"))
    for first, *cells in rows:
        more = (
            fill(f"{head}: {cell}", columns, initial_indent="    ", subsequent_indent="    ")
            for head, cell in zip(heads, cells, strict=True)
        )
        yield "\n".join((fill(first, columns), *more))
