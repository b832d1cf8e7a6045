"""End the threads behind executors before the interpreter ends, and disable executors in a forked child."""

from __future__ import annotations

import os
import threading
from typing import Protocol


class Mortal(Protocol):
    """The methods of an executor's manager that this module calls."""

    finishes: bool

    def shut(self) -> None:
        """Accept no more calls."""

    def join(self) -> None:
        """Wait until all calls are done."""

    def strand(self) -> None:
        """Disable this executor in a forked child."""


_alive: set[Mortal] = set()
_exiting = False


def watch(one: Mortal) -> None:
    """Register a manager, which is shut and waited for before the interpreter ends."""
    _alive.add(one)


def forget(one: Mortal) -> None:
    """Remove a manager that has ended."""
    _alive.discard(one)


def is_exiting() -> bool:
    """Return True if the interpreter is shutting down."""
    return _exiting


def refusal() -> str:
    """Return why no more calls are accepted, in the standard library's words."""
    return f"cannot schedule new futures after {'interpreter ' if _exiting else ''}shutdown"


def _at_exit() -> None:
    """Finish what is pending, as the standard library's executors do, before threads and children go."""
    global _exiting
    _exiting = True
    rest = [one for one in _alive if one.finishes]
    for one in rest:
        one.shut()
    for one in rest:
        one.join()


def _in_a_forked_child() -> None:
    for one in list(_alive):
        one.strand()
    _alive.clear()


# These hooks run before those of atexit, and before the interpreter waits for threads.
try:
    threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
except RuntimeError:
    # The interpreter is shutting down already.
    _exiting = True
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)
