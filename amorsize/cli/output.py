"""Where the output goes: results as they come, one document, and messages. What func prints goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper
from typing import Any, Final

from amorsize.cli.failing import OutputClosedError, OutputError
from amorsize.formatting import printable

# What our own texts use beyond ASCII.
ASCII: Final = str.maketrans({"µ": "u", "±": "+/-", "×": "x", "–": "-", "…": "..."})


def complain(text: str, code: int) -> int:
    """Print a message of one line, and return the exit code."""
    say(text)
    return code


def say(text: str) -> None:
    """Print a message of one line on stderr."""
    # Without stderr, print() would take stdout.
    if sys.stderr is not None:
        print(f"amorsize: {printable(text)}", file=sys.stderr, flush=True)


def print_anything() -> None:
    """Print characters that the output's encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def forget_stdout() -> None:
    """Discard further output, since it cannot be written; also what the interpreter flushes when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        pass


class Output:
    """Writes text at once, so that a reader sees each line as soon as it is there.

    Parameters
    ----------
    name : str
        What it writes to, for messages.
    descriptor : int or None
        The file to write to.
    stream : file, optional
        Takes the text where there is no descriptor; else its encoding is used.
    """

    def __init__(self, name: str, descriptor: int | None, stream: Any = None) -> None:
        self.name = name
        self._descriptor = descriptor
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> None:
        """Write text.

        Raises
        ------
        OutputError, OutputClosedError
            When it cannot be written.
        """
        with explained(self.name):
            if self._descriptor is None:
                if self._stream is not None:
                    self._stream.write(text)
                    self._stream.flush()
                return
            left = memoryview(text.encode(self._encoding, errors="backslashreplace"))
            while left:
                left = left[os.write(self._descriptor, left) :]

    def columns(self) -> int:
        """Return the width of the terminal; 80 if the output is none. ``COLUMNS`` overrules it."""
        try:
            return int(os.environ.get("COLUMNS", "")) or 80
        except ValueError:
            pass
        try:
            return os.get_terminal_size(self._descriptor if self._descriptor is not None else 1).columns or 80
        except (OSError, ValueError):
            return 80

    def has(self, characters: str) -> bool:
        """Return True if the output's encoding has these characters."""
        try:
            characters.encode(self._encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def show(self, text: str) -> None:
        """Write a document that may quote names and messages from elsewhere; in ASCII if the encoding has no more."""
        text = printable(text, lines=True)
        self.write(f"{text if self.has(text) else text.translate(ASCII)}\n")


@contextmanager
def to_file(file: str) -> Iterator[Output]:
    """Open a file that an option names."""
    with explained(file):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        yield Output(file, descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def stdout_apart() -> Iterator[Output]:
    """Yield standard output, which meanwhile is stderr for all that func prints.

    That holds for this process and for workers that start from now on, also for what is printed without Python.
    """
    stdout = sys.stdout
    try:
        stdout.flush()
        is_first = stdout.fileno() == 1
    except (OSError, ValueError, AttributeError):
        is_first = False
    ours = os.dup(1) if is_first else None
    try:
        if is_first:
            _send_on(2)
        with redirect_stdout(sys.stderr):
            yield Output("standard output", ours, stdout)
    finally:
        if ours is not None:
            # What func has written to the object that was sys.stdout.
            with suppress(OSError, ValueError):
                stdout.flush()
            os.dup2(ours, 1)
            os.close(ours)


def _send_on(descriptor: int) -> None:
    """Make what is written to descriptor 1 go there; nowhere, if it is closed."""
    try:
        os.dup2(descriptor, 1)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn an error of the output into one that names it."""
    try:
        yield
    except BrokenPipeError as exc:
        raise OutputClosedError from exc
    except OSError as exc:
        raise OutputError(f"{name} cannot be written: {exc.strerror or exc}") from exc
