"""SIGTERM and Ctrl-C on the command line: either ends the run in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

INTERRUPTED: Final = 130
TERMINATED: Final = 143


class TerminatedError(KeyboardInterrupt):
    """SIGTERM has come: what runs ends as after Ctrl-C."""


class StoppedError(KeyboardInterrupt):
    """A run was interrupted; its text says how far it came, and its cause by what."""


def how_ended(exc: BaseException | None) -> tuple[str, int]:
    """Return the word for an interrupt, and its exit code."""
    if isinstance(exc, StoppedError):
        exc = exc.__cause__
    return ("terminated", TERMINATED) if isinstance(exc, TerminatedError) else ("interrupted", INTERRUPTED)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, unless this program has something else in mind for it."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, partial(_terminate, os.getpid()))
    try:
        yield
    finally:
        # If SIGTERM is ignored now, it has come once and may come again (see `_terminate`), so it stays ignored.
        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(owner: int, number: int, frame: object) -> None:
    if os.getpid() != owner:
        # A worker that a pool has forked, and ends by SIGTERM. In its first hooks an exception would be lost.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    # `timeout` sends SIGTERM to the process and then to its group. The second signal must not disturb the shutdown.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise TerminatedError
