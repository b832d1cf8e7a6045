"""The record of runs: one row for each ``execute()``, whatever its size.

Writing must not slow anybody: `History.record` puts a reference in a buffer of this process (about 2 µs), and imports
nothing. The buffer is written out when the process ends, when somebody reads, and when it holds `FLUSH_ROWS` rows.
A process that is killed takes its unwritten rows along; so does a child that leaves with ``os._exit()``.

A row is JSON, read with tolerance: what an older amorsize did not write has its default, and what a newer one added is
in ``extra``.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from amorsize import place as place_of
from amorsize import store
from amorsize.frozen import Frozen, as_dict, field, replace
from amorsize.learn.fingerprint import digest, fingerprint, keeps_nothing, name_of, outline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Final

FLUSH_ROWS: Final = 1_000  # writing so many takes 50 ms, which is 50 µs for each run
KEPT_ROWS: Final = 10_000  # what waits in memory at most, while the file cannot be written
HASTE_S: Final = 0.2  # how long a run may be held up by a file that others hold; at exit it is `store.PATIENCE_S`


class Run(Frozen):
    """One ``execute()``: what was decided, what was expected, and what the clock showed.

    Attributes
    ----------
    at_s : float
        When it ended, in seconds since the epoch.
    function : str or callable
        The function's fingerprint; the function itself only before it is written.
    name : str
        The function's name, for people.
    n_items : int or None
        Length of the data; None when it was never known.
    backend : str
        ``"serial"``, ``"threads"``, ``"processes"`` or ``"executor"``.
    n_jobs, chunksize : int
        As decided; the chunksize is the first one where chunks shrink.
    start_method : str or None
        How processes were started; None without processes.
    predicted_s : float or None
        The forecast of the run; None when there was none.
    serial_s : float or None
        What a plain loop would have taken, as far as one can tell.
    clock_s : float
        What it took.
    sample : Mapping or None
        The `Sample` that the decision rests on.
    machine : Mapping or None
        The `Machine` it ran on.
    outcome : str
        ``"ok"``, or what came instead, such as ``"raised"``.
    extra : Mapping
        Anything else.
    """

    at_s: float = 0.0
    function: str | Callable[..., object] = ""
    name: str = ""
    n_items: int | None = None
    backend: str = "serial"
    n_jobs: int = 1
    chunksize: int = 1
    start_method: str | None = None
    predicted_s: float | None = None
    serial_s: float | None = None
    clock_s: float = 0.0
    sample: Mapping[str, Any] | None = field(default=None, hash=False)
    machine: Mapping[str, Any] | None = field(default=None, hash=False)
    outcome: str = "ok"
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: a function stands as its fingerprint, and names the run if nothing else does."""
        values: dict[str, Any] = as_dict(self)
        if callable(self.function):
            values["function"] = fingerprint(self.function)
            values["name"] = self.name or name_of(self.function)
        return values

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Run:
        """Read a row: a value that is missing or makes no sense has its default, one without a field is extra.

        Examples
        --------
        >>> run = Run.from_dict({"clock_s": 2, "n_jobs": "many", "colour": "red"})
        >>> run.clock_s, run.n_jobs, run.extra
        (2.0, 1, {'colour': 'red'})
        """
        values: dict[str, Any] = {}
        unknown: dict[str, Any] = {}
        for key, value in row.items():
            read = _READERS.get(key)
            if read is None:
                unknown[str(key)] = value
            elif (sense := read(value)) is not _NONSENSE:
                values[key] = sense
        values["extra"] = {**values.get("extra", {}), **unknown}
        return cls(**values)


class History:
    """The record of past runs on this machine: one row for each ``execute()``, whatever its size.

    Parameters
    ----------
    path : str, os.PathLike or None
        A file of one's own, made when the first row is written; ``"off"`` records nothing. None: wherever
        ``AMORSIZE_HISTORY`` points at each call (a path, or ``off``), and else ``history.sqlite`` in the user's cache
        folder.

    Notes
    -----
    Any number of threads and processes may use one file at once. A file that cannot be read or written costs a
    `RuntimeWarning`, once for each process, and nothing else.

    ``len(history)`` is the number of runs, so that an empty history is false: ask for ``history is None`` where that
    is meant.

    Examples
    --------
    >>> history = History("off")
    >>> history.record(Run(function=len, clock_s=0.5))
    >>> history.runs()
    []
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._place = None if path is None else _checked_place(path)

    def __repr__(self) -> str:
        return "History()" if self._place is None else f"History({self._place!r})"

    def __len__(self) -> int:
        place = self._here()
        flush(place)
        return store.Store(place_of.locate(place)).count() + len(_waiting(place))

    @property
    def path(self) -> Path | None:
        """The file, as things are now; None: nothing is recorded."""
        return place_of.locate(self._here())

    def runs(self, function: str | Callable[..., object] | None = None, limit: int | None = None) -> list[Run]:
        """All runs, oldest first.

        Parameters
        ----------
        function : str, callable or None
            Only runs of this function (or of the function with this fingerprint).
        limit : int or None
            Only so many, the newest.
        """
        wanted = fingerprint(function) if callable(function) else function
        if limit is not None and limit <= 0:
            return []
        place = self._here()
        flush(place)
        found = [Run.from_dict(row) for row in store.Store(place_of.locate(place)).runs(wanted, limit)]
        # Normally nothing waits any more; rows of a file that cannot be written are at least to be seen from here.
        waiting = [Run.from_dict(store.loads(store.dumps(entry.to_dict())) or {}) for entry in list(_waiting(place))]
        found += [run for run in waiting if wanted is None or run.function == wanted]
        return found if limit is None else found[-limit:]

    def record(self, run: Run | Mapping[str, Any]) -> None:
        """Keep a run. It never raises, and takes about 2 µs (15 µs where a closure or defaults are to be looked at).

        Parameters
        ----------
        run : Run or Mapping
            What `Run` holds; kept by reference until it is written, so it must not be changed. ``function`` may be the
            function itself. ``sample`` and ``machine`` may be dataclasses. Without ``at_s`` it is now.
        """
        place = self._here()
        if place == place_of.OFF:
            return
        try:
            rows = _buffer(place)
            rows.append(_Entry.of(run))
            if len(rows) < FLUSH_ROWS:
                return
            if place not in _failing:
                flush(place, patience_s=HASTE_S)
            elif len(rows) > KEPT_ROWS:
                rows.popleft()
        except Exception:  # noqa: BLE001  (a result is there, and it is worth more than its row)
            return

    def flush(self) -> bool:
        """Write out what this process has recorded here; whether nothing is left to be written."""
        return flush(self._here())

    def _here(self) -> str:
        return place_of.setting() if self._place is None else self._place


def flush(place: str | None = None, *, patience_s: float = store.PATIENCE_S) -> bool:
    """Write out what waits for one place, or for all. Rows that cannot be written wait on, the newest of them."""
    if place is None:
        return not [each for each in list(_buffers) if not flush(each, patience_s=patience_s)]
    rows = _waiting(place)
    entries: list[_Entry] = []
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
        kept = store.Store(place_of.locate(place), patience_s=patience_s).add_runs(
            [each.to_dict(memo) for each in entries]
        )
    finally:  # also after Ctrl-C
        if kept:
            _failing.discard(place)
        else:
            _failing.add(place)
            room = max(0, KEPT_ROWS - len(rows))
            rows.extendleft(reversed(entries[max(0, len(entries) - room) :]))
    return kept


class _Entry(Frozen, kw_only=False):
    """A recorded run that waits. ``function`` is a plain function, a fingerprint, or an outline made in time."""

    run: Run | Mapping[str, Any]
    function: object
    name: str
    at_s: float

    @classmethod
    def of(cls, run: Run | Mapping[str, Any]) -> _Entry:
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
        if isinstance(run, Run):
            row: dict[str, Any] = as_dict(run)
        else:
            row = dict(run)
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


class _Outlined(Frozen, kw_only=False):
    text: str


# What waits to be written, by place. The rows belong to one process: a forked child starts with none.
_buffers: dict[str, deque[_Entry]] = {}
_failing: set[str] = set()  # places that could not be written when they were last tried
_state = {"pid": -1, "hooked": False}


def _waiting(place: str) -> deque[_Entry]:
    """The rows of this process that wait for a place."""
    return _buffers.get(place, deque()) if _state["pid"] == os.getpid() else deque()


def _buffer(place: str) -> deque[_Entry]:
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


_NONSENSE: Final = object()


def _text(value: object) -> object:
    return value if isinstance(value, str) else _NONSENSE


def _count(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else _NONSENSE


def _seconds(value: object) -> object:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else _NONSENSE


def _mapping(value: object) -> object:
    return value if isinstance(value, Mapping) else _NONSENSE


# How to read each field; None means "has its default" for every one of them.
_READERS: Final[dict[str, Callable[[object], object]]] = {
    **dict.fromkeys(("function", "name", "backend", "start_method", "outcome"), _text),
    **dict.fromkeys(("n_items", "n_jobs", "chunksize"), _count),
    **dict.fromkeys(("at_s", "predicted_s", "serial_s", "clock_s"), _seconds),
    **dict.fromkeys(("sample", "machine", "extra"), _mapping),
}


def _checked_place(path: object) -> str:
    """An absolute path, or ``"off"``."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str, an os.PathLike or None, not {type(path).__name__}")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"path must name a file (or be 'off'), not {text!r}")
    return place_of.OFF if text.lower() == place_of.OFF else os.path.abspath(os.path.expanduser(text))
