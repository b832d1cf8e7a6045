"""Rows of runs wait in memory until they are written, so that recording does not slow a run.

`record` puts a reference in a queue of this process (about 2 µs). The queue is written (`amorsize.history.buffer`) when
the process ends, when history is read, and when it holds `FLUSH_ROWS` rows. Unwritten rows are lost when the process is
killed, or leaves with ``os._exit()``.

The loop imports this module before its first item runs, so it imports next to nothing: what a row needs is loaded when
it is written.
"""

from __future__ import annotations

import os
import sys
import time

from amorsize.frozen import Frozen, replace
from amorsize.system.critical import load
from amorsize.system.environment import OFF
from amorsize.system.looks import keeps_nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Mapping
    from typing import Any, Final

    from amorsize.history.run_row import Run
else:
    from _collections import deque  # it is built in; collections would take 1.5 ms

# Writing so many takes 50 ms, which is 50 µs for each run.
FLUSH_ROWS: Final = 1_000
# The most rows that wait in memory while the file cannot be written (a guess).
KEPT_ROWS: Final = 10_000
# Seconds that a run may wait for a file that others hold (a guess); at exit it is `PATIENCE_S`.
HASTE_S: Final = 0.2
# Of a run that takes fewer seconds than this, the history keeps no sample (a guess).
RECORD_SAMPLE_S: Final = 1e-3

HERE: Final = "here"
"""Placeholder in a row for this process's machine; it is read when the row is written, not during the run."""


def record(place: str, run: Run | Mapping[str, Any]) -> None:
    """Let a run wait for a place. It never raises."""
    if place == OFF:
        return
    try:
        rows = _queue(place)
        rows.append(Entry.of(run))
        if len(rows) < FLUSH_ROWS:
            return
        if place not in failing:
            _flush(place, patience_s=HASTE_S)
        elif len(rows) > KEPT_ROWS:
            rows.popleft()
    except Exception:  # noqa: BLE001  (a lost row must not cost the result)
        return


class Entry:
    """A recorded run that waits. ``function`` is a plain function, a fingerprint, or an outline made at once."""

    __slots__ = ("at_s", "function", "name", "read", "run")

    def __init__(self, run: Run | Mapping[str, Any], function: object, name: str, at_s: float) -> None:
        self.run = run
        self.function = function
        self.name = name
        self.at_s = at_s
        # The run as it will be read from the file, made on demand.
        self.read: Run | None = None

    @classmethod
    def of(cls, run: Run | Mapping[str, Any]) -> Entry:
        function = run.function if isinstance(run, Frozen) else run.get("function")
        name = ""
        if callable(function) and not keeps_nothing(function):
            from amorsize.history.fingerprint import name_of, outline

            # Outline it now: its values may change, and a waiting reference would keep its memory alive.
            name, function = name_of(function), Outlined(outline(function))
            run = replace(run, function="") if isinstance(run, Frozen) else {**run, "function": ""}
        return cls(run, function, name, time.time())


class Outlined(Frozen, kw_only=False):
    """A function that holds values, as text (`amorsize.history.fingerprint.outline`)."""

    text: str


queues: dict[str, deque[Entry]] = {}
"""Rows that wait to be written, by place. They belong to one process: a forked child starts with none."""

failing: set[str] = set()
"""Places where the last try to write failed."""

_state = {"pid": -1, "hooked": False}


def rows_of(place: str) -> deque[Entry]:
    """Return the rows of this process that wait for a place."""
    return queues.get(place, deque()) if _state["pid"] == os.getpid() else deque()


def _queue(place: str) -> deque[Entry]:
    if _state["pid"] != os.getpid():
        _adopt()
    found = queues.get(place)
    return queues.setdefault(place, deque()) if found is None else found


def _flush(*place: str, **options: Any) -> None:
    """Write these rows. By name, since what writes them knows this module."""
    load("amorsize.history.buffer")
    sys.modules["amorsize.history.buffer"].flush(*place, **options)


def _adopt() -> None:
    """Register the flush at exit for this process. Two threads may do so at once: the second flush finds nothing."""
    import atexit

    if _state["pid"] not in (-1, os.getpid()):
        # A fork that did not run Python's at-fork hooks.
        queues.clear()
    _state["pid"] = os.getpid()
    atexit.register(_flush_at_exit)
    # Children of multiprocessing leave with os._exit(), past atexit, but they do run its finalizers.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _flush_at_exit, exitpriority=-100)
    if hasattr(os, "register_at_fork") and not _state["hooked"]:
        _state["hooked"] = True
        os.register_at_fork(after_in_child=_disown)


def _disown() -> None:
    """Drop the rows in a forked child: the parent will write them."""
    queues.clear()
    _state["pid"] = -1


def _flush_at_exit() -> None:
    try:
        _flush()
    # Warnings are errors under python -W error; and no file descriptor may be left to load the buffer with.
    except (Warning, ImportError, OSError):
        pass
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        # Imports for the flush ran exec(), after which CPython no longer knows that Ctrl-C ends this program: it would
        # exit with 1 instead of by SIGINT, and a shell's loop around it would go on. An exec() that raises restores it.
        try:
            exec("raise KeyboardInterrupt")
        except KeyboardInterrupt:
            pass
