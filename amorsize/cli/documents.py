"""One document as text, JSON, YAML or Markdown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from amorsize.cli.failing import UsageError
from amorsize.formatting import printable
from amorsize.hints import missing

FORMATS: Final = ("table", "json", "yaml", "markdown")


def document(form: str, title: str, data: Callable[[], Any], text: Callable[[], str]) -> str:
    """Return a document in one of `FORMATS`.

    Parameters
    ----------
    form : str
    title : str
        The heading, where the format has one.
    data : callable
        Returns what the document holds, of JSON's types.
    text : callable
        Returns the same for a reader.
    """
    if form == "table":
        return text()
    if form == "yaml":
        return _yaml(data())
    if form == "markdown":
        return markdown(title, data())
    return json.dumps(data(), indent=2)


def check_format(form: str) -> None:
    """Raise `UsageError` if a package that a format needs is not installed."""
    if form == "yaml":
        from importlib.util import find_spec

        if find_spec("yaml") is None:
            raise UsageError(missing("--format yaml", "PyYAML", "cli"))


def check_lines(given: argparse.Namespace) -> None:
    """Raise `UsageError` if a command that prints line by line is asked for one document."""
    if given.format not in ("table", "json"):
        raise UsageError(f"--format: this command prints line by line, as table or json, not as {given.format}")


def _yaml(data: Any) -> str:
    import yaml

    # Through JSON, so that tuples and subclasses are what JSON makes of them.
    return str(yaml.safe_dump(json.loads(json.dumps(data)), sort_keys=False)).rstrip("\n")


def markdown(title: str, data: Any) -> str:
    r"""Return data as headings, lists and tables.

    Examples
    --------
    >>> print(markdown("two", {"a": 1, "b": [{"x": 1, "y": "p|q"}]}))
    # two
    <BLANKLINE>
    | | |
    |---|---|
    | a | 1 |
    <BLANKLINE>
    ## b
    <BLANKLINE>
    | x | y |
    |---|---|
    | 1 | p\|q |
    """
    return "\n\n".join([f"# {_cell(title)}", *_parts(json.loads(json.dumps(data)), 2)])


def _parts(data: Any, level: int) -> Iterator[str]:
    if isinstance(data, Mapping):
        plain = {key: value for key, value in data.items() if _is_short(value)}
        if plain:
            yield _table(("", ""), plain.items())
        for key, value in data.items():
            if key not in plain:
                yield f"{'#' * min(level, 6)} {_cell(key)}"
                yield from _parts(value, level + 1)
    elif isinstance(data, list) and data and all(isinstance(one, Mapping) for one in data):
        keys = list(dict.fromkeys(key for one in data for key in one))
        yield _table(keys, ([one.get(key) for key in keys] for one in data))
    elif isinstance(data, list) and data:
        yield "\n".join(f"- {_cell(one)}" for one in data)
    else:
        yield _cell(data)


def _is_short(value: Any) -> bool:
    return not value or not isinstance(value, dict | list)


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    lines = [head, *rows]
    texts = ["|" + "".join(f" {_cell(cell)} |" if cell != "" else " |" for cell in line) for line in lines]
    texts.insert(1, "|" + "---|" * len(head))
    return "\n".join(texts)


def _cell(value: Any) -> str:
    """Return a value so that it is nothing but text, in a cell, too."""
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value)
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"\\{mark}") if isinstance(value, str) or mark == "|" else text
    return printable(text.replace("&", "&amp;").replace("<", "&lt;"))
