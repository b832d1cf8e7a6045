"""Rows that wait to be written: recording must not slow anybody.

`record` puts a reference in a buffer of this process (about 2 µs), and imports nothing. The buffer is written out when
the process ends, when somebody reads, and when it holds `FLUSH_ROWS` rows. A process that is killed takes its unwritten
rows along; so does a child that leaves with ``os._exit()``.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from amorsize.frozen import Frozen, as_dict, replace
from amorsize.history import location as place_of
from amorsize.history.fingerprint import digest, fingerprint, keeps_nothing, name_of, outline
from amorsize.history.run_record import Run, pack, unpack
from amorsize.history.this_process import key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

FLUSH_ROWS: Final = 1_000  # writing so many takes 50 ms, which is 50 µs for each run
KEPT_ROWS: Final = 10_000  # what waits in memory at most, while the file cannot be written
HASTE_S: Final = 0.2  # how long a run may be held up by a file that others hold; at exit it is `PATIENCE_S`


def record(place: str, run: Run | Mapping[str, Any]) -> None:
    """Keep a run for a place. It never raises."""
    if place == place_of.OFF:
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
    except Exception:  # noqa: BLE001  (a result is there, and it is worth more than its row)
        return


def flush(place: str | None = None, *, patience_s: float = place_of.PATIENCE_S) -> bool:
    """Write out what waits for one place, or for all. Rows that cannot be written wait on, the newest of them."""
    if place is None:
        return not [each for each in list(_buffers) if not flush(each, patience_s=patience_s)]
    rows = waiting(place)
    entries: list[Entry] = []
    try:
        # One at a time: appending and popping are atomic, so no row that comes meanwhile falls between two lists.
        for _ in range(len(rows)):
            entries.append(rows.popleft())  # noqa: PERF401
    except IndexError:  # another thread writes the rest
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
    except (ImportError, OSError):  # no file descriptor is left to load the store with
        pass
    finally:  # also after Ctrl-C
        if kept:
            _failing.discard(place)
        else:
            _failing.add(place)
            room = max(0, KEPT_ROWS - len(rows))
            rows.extendleft(reversed(entries[max(0, len(entries) - room) :]))
    return kept


class Entry:
    """A recorded run that waits. ``function`` is a plain function, a fingerprint, or an outline made in time."""

    __slots__ = ("at_s", "function", "name", "read", "run")

    def __init__(self, run: Run | Mapping[str, Any], function: object, name: str, at_s: float) -> None:
        self.run = run
        self.function = function
        self.name = name
        self.at_s = at_s
        self.read: Run | None = None  # how it will be read from the file, once somebody has asked

    @classmethod
    def of(cls, run: Run | Mapping[str, Any]) -> Entry:
        function = run.function if isinstance(run, Run) else run.get("function")
        name = ""
        if callable(function) and not keeps_nothing(function):
            # Now, since its values may change; and it may hold much memory, which must not wait here.
            name, function = name_of(function), _Outlined(outline(function))
            run = replace(run, function="") if isinstance(run, Run) else {**run, "function": ""}
        return cls(run, function, name, time.time())

    def to_dict(self, memo: dict[int, tuple[str, str]] | None = None) -> dict[str, Any]:
        """The row. ``memo`` holds what is known of functions that stay alive meanwhile."""
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
        """The row as it goes into the file; None for one that makes no sense."""
        try:
            return pack(self.to_dict(memo))
        except Exception:  # noqa: BLE001  (one row must not hold up the others)
            return None

    def as_read(self) -> Run | None:
        """The run as it will be read from the file; None for one that makes no sense."""
        if self.read is None and (packed := self.packed()) is not None:
            self.read = unpack(packed)
        return self.read

    def is_of(self, func: Callable[..., object], text: str | None) -> bool:
        """Whether it is a run of that function; ``text`` is its outline, unless it is bare code."""
        function = self.function
        if text is not None or isinstance(function, _Outlined):
            return isinstance(function, _Outlined) and function.text == text
        return function is func or (callable(function) and key_of(function) == key_of(func))


class _Outlined(Frozen, kw_only=False):
    text: str


# What waits to be written, by place. The rows belong to one process: a forked child starts with none.
_buffers: dict[str, deque[Entry]] = {}
_failing: set[str] = set()  # places that could not be written when they were last tried
_state = {"pid": -1, "hooked": False}


def waiting(place: str) -> deque[Entry]:
    """The rows of this process that wait for a place."""
    return _buffers.get(place, deque()) if _state["pid"] == os.getpid() else deque()


def waiting_runs(place: str, func: Callable[..., object] | None = None) -> Iterator[Run]:
    """These rows (of that function), newest first, as they will be read from the file."""
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
    """Have this process's buffers written out when it ends. Two threads may do this at once; it does no harm."""
    import atexit

    if _state["pid"] not in (-1, os.getpid()):  # forked by something that does not tell Python
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
    """In a forked child: the rows are the parent's, who will write them."""
    _buffers.clear()
    _state["pid"] = -1


def _flush_at_exit() -> None:
    with suppress(Warning):  # python -W error
        flush()
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        # What was imported for the flush ran exec(), which makes CPython forget that Ctrl-C ends this program: it would
        # exit with 1 instead of by SIGINT, and a shell's loop around it would go on. Remind it the same way.
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")
