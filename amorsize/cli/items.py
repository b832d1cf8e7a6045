"""The items of a map on the command line: numbers, file names, and records of a file or of standard input."""

from __future__ import annotations

import argparse
import csv
import json
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from errno import EISDIR
from glob import glob
from itertools import islice
from typing import Any, Final

from amorsize.backends.source import PATIENCE_S
from amorsize.cli.failing import UsageError
from amorsize.formatting import excerpt, json_fault

# Bytes that are read at once: the size of a pipe.
BLOCK_BYTES: Final = 1 << 16
# guess: the items of a larger file are read while they run, and their number is not known before
WHOLE_BYTES: Final = 64 << 20


def add_items(command: argparse.ArgumentParser) -> None:
    """Add the options that say what the items are."""
    items = command.add_mutually_exclusive_group(required=True)
    items.add_argument(
        "--range",
        type=item_range,
        metavar="[A:]N[:STEP]",
        help="the items are A (or 0), ... up to N, which is left out",
    )
    items.add_argument("--file", metavar="F", help="the items are the lines of F, as text; - reads standard input")
    items.add_argument("--jsonl", metavar="F", help="the items are what the lines of F hold as JSON")
    items.add_argument("--csv", metavar="F", help="the items are the rows of F, each a dict by the names in its first")
    items.add_argument(
        "--glob", metavar="PATTERN", action="append", help="the items are the names of files, sorted; several times"
    )
    command.add_argument("--null", action="store_true", help="with --file: a NUL ends each item, not a newline")


def is_fed() -> bool:
    """Return True if standard input is a pipe, a socket or a file: the items may be meant to come from there."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or stat.S_ISREG(kind)


def item_range(text: str) -> range:
    """Parse ``N``, ``A:N`` or ``A:N:STEP``, as an argparse type.

    Examples
    --------
    >>> item_range("3"), item_range("5:8"), item_range("10:0:-5")
    (range(0, 3), range(5, 8), range(10, 0, -5))
    """
    parts = text.split(":")
    try:
        numbers = [int(part) for part in parts]
        if len(numbers) > 3:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be N, A:N or A:N:STEP in whole numbers, not {text!r}") from None
    start, stop, step = (0, *numbers, 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    if not step:
        raise argparse.ArgumentTypeError(f"its step must not be 0: {text!r}")
    if (len(numbers) < 3 and stop < 0) or (stop - start) * step < 0:
        raise argparse.ArgumentTypeError(f"must not be negative or run backwards: {text!r}")
    return range(start, stop, step)


def items_of(given: argparse.Namespace, *, streamed: bool = False) -> Any:
    """Return the items as a sequence; as `Records` if they are ``streamed``, and a pipe or a large file holds them.

    Raises
    ------
    UsageError
        When they cannot be read.
    """
    if given.null and given.file is None:
        raise UsageError("--null: says what ends an item of --file; use them together")
    if given.range is not None:
        return given.range
    if given.glob is not None:
        return sorted({name for pattern in given.glob for name in glob(pattern, recursive=True)})
    if given.jsonl is not None:
        found = Records("--jsonl", given.jsonl, parse=json.loads)
    elif given.csv is not None:
        found = Rows("--csv", given.csv)
    else:
        found = Records("--file", given.file, end="\0" if given.null else "\n")
    return found if streamed and not found.is_small else found.all()


class Records:
    """The records of a file or of standard input, one by one, as they arrive.

    Read as UTF-8, with or without a BOM; other bytes (in file names, say) become surrogates.

    Parameters
    ----------
    option : str
        What names the file, for messages.
    name : str
        The file's name; ``-`` is standard input.
    end : str
        Ends each record.
    parse : callable, optional
        Makes the item of a record.

    Raises
    ------
    UsageError
        When the file cannot be read, also later; or when ``parse``, a reader of JSON, raises ValueError.
    """

    def __init__(self, option: str, name: str, end: str = "\n", parse: Callable[[str], Any] | None = None) -> None:
        self.called = f"{option} {name}"
        self.end = end
        self.parse = parse
        self._text = ""
        self._rest = b""
        self._lines: Iterator[str] = iter(())
        self._read = 0
        self._is_begun = self._is_over = False
        try:
            if name == "-" and sys.stdin is None:
                raise UsageError(f"{self.called}: there is no standard input")
            self._file = sys.stdin.fileno() if name == "-" else os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self._closes = name != "-"
            found = os.fstat(self._file)
            if stat.S_ISDIR(found.st_mode):
                self.close()
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        except OSError as exc:
            raise self._unreadable(exc) from exc
        # Of a file there is nothing to wait for.
        self._waits = os.name == "posix" and not stat.S_ISREG(found.st_mode)
        self.is_small = stat.S_ISREG(found.st_mode) and found.st_size <= WHOLE_BYTES

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        one: list[Any] = []
        while not one:
            if self.gather(one, 1, wait_s=None):
                raise StopIteration
        return one[0]

    def all(self) -> list[Any]:
        """Return all that are left."""
        found: list[Any] = []
        try:
            while not self.gather(found, BLOCK_BYTES, wait_s=None):
                pass
        finally:
            self.close()
        return found

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._closes:
            self._closes = False
            os.close(self._file)

    def gather(self, into: list[Any], wanted: int, wait_s: float | None = PATIENCE_S) -> bool:
        """Append the records that arrive within ``wait_s``, at most so many; return True if there are no more."""
        before = len(into)
        while True:
            self._take(into, wanted - (len(into) - before))
            if len(into) - before == wanted:
                return False
            if self._is_over:
                return True
            if self._waits and not select.select([self._file], [], [], 0.0 if len(into) > before else wait_s)[0]:
                return False
            self._fill()

    def _take(self, into: list[Any], wanted: int) -> None:
        lines, before = islice(self._lines, wanted), len(into)
        try:
            into.extend(lines if self.parse is None else map(self.parse, lines))
        except (ValueError, RecursionError) as exc:
            number = self._read + len(into) - before + 1
            raise UsageError(f"{self.called}: line {number} cannot be read as JSON: {json_fault(exc)}") from exc
        finally:
            self._read += len(into) - before

    def _fill(self) -> None:
        """Read what is there, and find the records in it."""
        try:
            block = os.read(self._file, BLOCK_BYTES)
        except OSError as exc:
            raise self._unreadable(exc) from exc
        if block:
            whole, mark, self._rest = (self._rest + block).rpartition(self.end.encode())
        else:
            # The last record may lack its end.
            whole, mark, self._rest, self._is_over = self._rest, self._rest, b"", True
            self.close()
        if not mark:
            return
        text = whole.decode(errors="surrogateescape")
        if not self._is_begun:
            text, self._is_begun = text.removeprefix("\ufeff"), True
        lines = text.split(self.end)
        if self.end == "\n" and "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
        self._lines = iter(lines)

    def _unreadable(self, exc: OSError) -> UsageError:
        return UsageError(f"{self.called}: {exc.strerror or exc}")


class Rows(Records):
    """The rows of a CSV file, each a dict by the names in the first row. A row may have several lines."""

    def __init__(self, option: str, name: str) -> None:
        super().__init__(option, name)
        self._rows = csv.DictReader(f"{line}\n" for line in iter(self._line, None))

    def __next__(self) -> Any:
        try:
            return next(self._rows)
        except csv.Error as exc:
            # The reader's own number lacks the line that it is at.
            raise UsageError(f"{self.called}: line {self._read} cannot be read: {exc}: {excerpt(self._last)}") from exc

    def gather(self, into: list[Any], wanted: int, wait_s: float | None = PATIENCE_S) -> bool:
        """Append a row. Waits for it: its lines belong together."""
        row = next(self, None)
        if row is not None:
            into.append(row)
        return row is None

    def _line(self) -> str | None:
        one: list[str] = []
        while not one:
            if Records.gather(self, one, 1, wait_s=None):
                break
        self._last = one[0] if one else ""
        return one[0] if one else None
