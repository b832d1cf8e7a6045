"""Writes the rows that wait in memory (`amorsize.history.waiting`), and reads them as if they had been written."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from amorsize.frozen import as_dict
from amorsize.history import location as place_of
from amorsize.history import waiting
from amorsize.history.fingerprint import digest, fingerprint, name_of, outline
from amorsize.history.run_row import Run, pack, unpack
from amorsize.history.this_process import key_of
from amorsize.history.waiting import Entry, Outlined, failing, queues, rows_of
from amorsize.system.looks import keeps_nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def flush(place: str | None = None, *, patience_s: float = place_of.PATIENCE_S) -> bool:
    """Write the rows that wait for one place, or for all; return True if none is left.

    Rows that cannot be written wait on; beyond `waiting.KEPT_ROWS` the oldest are dropped.
    """
    if place is None:
        return not [each for each in list(queues) if not flush(each, patience_s=patience_s)]
    rows = rows_of(place)
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
        packed = [row for each in entries if (row := _packed(each, memo)) is not None]
        # Here, so that a program that only reads what waits does not load it.
        from amorsize.history.sqlite_file import Store

        kept = Store(place_of.locate(place), patience_s=patience_s).add_runs(packed)
    except (ImportError, OSError):
        # No file descriptor is left to load the store with.
        pass
    finally:
        # Also after Ctrl-C.
        if kept:
            failing.discard(place)
        else:
            failing.add(place)
            room = max(0, waiting.KEPT_ROWS - len(rows))
            rows.extendleft(reversed(entries[max(0, len(entries) - room) :]))
    return kept


def waiting_runs(place: str, func: Callable[..., object] | None = None) -> Iterator[Run]:
    """Yield these rows (of that function) as they will be read from the file, newest first."""
    text = None if func is None or keeps_nothing(func) else outline(func)
    for entry in reversed(list(rows_of(place))):
        if (func is None or _is_of(entry, func, text)) and (run := _as_read(entry)) is not None:
            yield run


def _row_of(entry: Entry, memo: dict[int, tuple[str, str]]) -> dict[str, Any]:
    """Return the row. ``memo`` caches fingerprint and name by id; its functions stay alive meanwhile."""
    run, function = entry.run, entry.function
    row = as_dict(run) if isinstance(run, Run) else dict(run)
    if callable(sample := row.get("sample")):
        row["sample"] = sample()
    if isinstance(function, Outlined):
        mark, name = digest(function.text), entry.name
    elif callable(function):
        if id(function) not in memo:
            memo[id(function)] = fingerprint(function), name_of(function)
        mark, name = memo[id(function)]
    else:
        mark, name = str(function or ""), ""
    return {**row, "function": mark, "name": row.get("name") or name, "at_s": row.get("at_s") or entry.at_s}


def _packed(entry: Entry, memo: dict[int, tuple[str, str]]) -> dict[str, Any] | None:
    """Return the row as it goes into the file; None if it cannot be encoded."""
    try:
        return pack(_row_of(entry, memo))
    except Exception:  # noqa: BLE001  (one row must not hold up the others)
        return None


def _as_read(entry: Entry) -> Run | None:
    """Return the run as it will be read from the file; None if it cannot be encoded."""
    if entry.read is None and (packed := _packed(entry, {})) is not None:
        entry.read = unpack(packed)
    return entry.read


def _is_of(entry: Entry, func: Callable[..., object], text: str | None) -> bool:
    """Return True if it is a run of ``func``; ``text`` is its outline, None if the function holds no values."""
    function = entry.function
    if text is not None or isinstance(function, Outlined):
        return isinstance(function, Outlined) and function.text == text
    return function is func or (callable(function) and key_of(function) == key_of(func))
