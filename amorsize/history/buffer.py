"""Buffers rows in memory until they are written, so that recording does not slow a run.

`record` puts a reference in a buffer of this process (about 2 µs), and imports nothing. The buffer is written when the
process ends, when history is read, and when it holds `FLUSH_ROWS` rows. Unwritten rows are lost when the process is
killed, or leaves with ``os._exit()``.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from amorsize.frozen import Frozen, as_dict, replace
from amorsize.history import location as place_of
from amorsize.history.fingerprint import digest, fingerprint, keeps_nothing, name_of, outline
from amorsize.history.run_row import Run, pack, unpack
from amorsize.history.this_process import key_of
from amorsize.system.environment import OFF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Writing so many takes 50 ms, which is 50 µs for each run.
FLUSH_ROWS: Final = 1_000
# The most rows that wait in memory while the file cannot be written (a guess).
KEPT_ROWS: Final = 10_000
# Seconds that a run may wait for a file that others hold (a guess); at exit it is `PATIENCE_S`.
HASTE_S: Final = 0.2


def record(place: str, run: Run | Mapping[str, Any]) -> None:
    """Buffer a run for a place. It never raises."""
    if place == OFF:
        return
    try:
        rows = _buffer(place)
        rows.append(Entry.of(run))
        if len(rows) < FLUSH_ROWS:
            return
        if place not in _failing:
            flush(place, patience_s=HASTE_S)
        elif len(rows) > KEPT_ROWS:
            rows.popleft()
    except Exception:  # noqa: BLE001  (a lost row must not cost the result)
        return


def flush(place: str | None = None, *, patience_s: float = place_of.PATIENCE_S) -> bool:
    """Write the rows that wait for one place, or for all; return True if none is left.

    Rows that cannot be written wait on; beyond `KEPT_ROWS` the oldest are dropped.
    """
    if place is None:
        return not [each for each in list(_buffers) if not flush(each, patience_s=patience_s)]
    rows = waiting(place)
    entries: list[Entry] = []
    try:
        # One at a time: append and popleft are atomic, so no row recorded meanwhile is lost between two lists.
        for _ in range(len(rows)):
            entries.append(rows.popleft())  # noqa: PERF401
    except IndexError:
        # Another thread writes the rest.
        pass
    if not entries:
        return True
    kept = False
    try:
        memo: dict[int, tuple[str, str]] = {}
        packed = [row for each in entries if (row := each.packed(memo)) is not None]
        # Here, so that a plain loop does not load it.
        from amorsize.history.sqlite_file import Store

        kept = Store(place_of.locate(place), patience_s=patience_s).add_runs(packed)
    except (ImportError, OSError):
        # No file descriptor is left to load the store with.
        pass
    finally:
        # Also after Ctrl-C.
        if kept:
            _failing.discard(place)
        else:
            _failing.add(place)
            room = max(0, KEPT_ROWS - len(rows))
            rows.extendleft(reversed(entries[max(0, len(entries) - room) :]))
    return kept


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
        function = run.function if isinstance(run, Run) else run.get("function")
        name = ""
        if callable(function) and not keeps_nothing(function):
            # Outline it now: its values may change, and a waiting reference would keep its memory alive.
            name, function = name_of(function), _Outlined(outline(function))
            run = replace(run, function="") if isinstance(run, Run) else {**run, "function": ""}
        return cls(run, function, name, time.time())

    def to_dict(self, memo: dict[int, tuple[str, str]] | None = None) -> dict[str, Any]:
        """Return the row. ``memo`` caches fingerprint and name by id; its functions stay alive meanwhile."""
        run, function = self.run, self.function
        row = as_dict(run) if isinstance(run, Run) else dict(run)
        if isinstance(function, _Outlined):
            mark, name = digest(function.text), self.name
        elif callable(function):
            memo = {} if memo is None else memo
            if id(function) not in memo:
                memo[id(function)] = fingerprint(function), name_of(function)
            mark, name = memo[id(function)]
        else:
            mark, name = str(function or ""), ""
        return {**row, "function": mark, "name": row.get("name") or name, "at_s": row.get("at_s") or self.at_s}

    def packed(self, memo: dict[int, tuple[str, str]] | None = None) -> dict[str, Any] | None:
        """Return the row as it goes into the file; None if it cannot be encoded."""
        try:
            return pack(self.to_dict(memo))
        except Exception:  # noqa: BLE001  (one row must not hold up the others)
            return None

    def as_read(self) -> Run | None:
        """Return the run as it will be read from the file; None if it cannot be encoded."""
        if self.read is None and (packed := self.packed()) is not None:
            self.read = unpack(packed)
        return self.read

    def is_of(self, func: Callable[..., object], text: str | None) -> bool:
        """Return True if it is a run of ``func``; ``text`` is its outline, None if the function holds no values."""
        function = self.function
        if text is not None or isinstance(function, _Outlined):
            return isinstance(function, _Outlined) and function.text == text
        return function is func or (callable(function) and key_of(function) == key_of(func))


class _Outlined(Frozen, kw_only=False):
    text: str


# Rows that wait to be written, by place. They belong to one process: a forked child starts with none.
_buffers: dict[str, deque[Entry]] = {}
# Places where the last try to write failed.
_failing: set[str] = set()
_state = {"pid": -1, "hooked": False}


def waiting(place: str) -> deque[Entry]:
    """Return the rows of this process that wait for a place."""
    return _buffers.get(place, deque()) if _state["pid"] == os.getpid() else deque()


def waiting_runs(place: str, func: Callable[..., object] | None = None) -> Iterator[Run]:
    """Yield these rows (of that function) as they will be read from the file, newest first."""
    text = None if func is None or keeps_nothing(func) else outline(func)
    for entry in reversed(list(waiting(place))):
        if (func is None or entry.is_of(func, text)) and (run := entry.as_read()) is not None:
            yield run


def _buffer(place: str) -> deque[Entry]:
    if _state["pid"] != os.getpid():
        _adopt()
    found = _buffers.get(place)
    return _buffers.setdefault(place, deque()) if found is None else found


def _adopt() -> None:
    """Register the flush at exit for this process. Two threads may do so at once: the second flush finds nothing."""
    import atexit

    if _state["pid"] not in (-1, os.getpid()):
        # A fork that did not run Python's at-fork hooks.
        _buffers.clear()
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
    _buffers.clear()
    _state["pid"] = -1


def _flush_at_exit() -> None:
    # Warnings are errors under python -W error.
    try:
        flush()
    except Warning:
        pass
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        # Imports for the flush ran exec(), after which CPython no longer knows that Ctrl-C ends this program: it would
        # exit with 1 instead of by SIGINT, and a shell's loop around it would go on. An exec() that raises restores it.
        try:
            exec("raise KeyboardInterrupt")
        except KeyboardInterrupt:
            pass
