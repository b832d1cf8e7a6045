"""What becomes of the threads behind executors when the interpreter ends, and in a forked child."""

from __future__ import annotations

import os
import threading
from typing import Protocol


class Mortal(Protocol):
    """What must be brought to its end in time."""

    def shut(self) -> None:
        """Take nothing more."""

    def join(self) -> None:
        """Wait until all has been done."""

    def strand(self) -> None:
        """In a forked child: be of no use, and do no harm."""


_alive: set[Mortal] = set()
_exiting = False


def watch(one: Mortal) -> None:
    """Bring it to its end before the interpreter ends."""
    _alive.add(one)


def forget(one: Mortal) -> None:
    """It has come to its end."""
    _alive.discard(one)


def is_exiting() -> bool:
    """Whether the interpreter is on its way out."""
    return _exiting


def refusal() -> str:
    """Why nothing more is taken, in the standard library's words."""
    return f"cannot schedule new futures after {'interpreter ' if _exiting else ''}shutdown"


def _at_exit() -> None:
    """Finish what is pending, as the standard library's executors do, before threads and children go."""
    global _exiting
    _exiting = True
    rest = list(_alive)
    for one in rest:
        one.shut()
    for one in rest:
        one.join()


def _in_a_forked_child() -> None:
    for one in list(_alive):
        one.strand()
    _alive.clear()


try:  # comes before atexit, and before the interpreter waits for threads
    threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
except RuntimeError:  # it is on its way out already
    _exiting = True
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)
