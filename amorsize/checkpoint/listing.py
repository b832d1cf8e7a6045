"""The contents of a checkpoint, as text and as JSON."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, Final

from amorsize.checkpoint.journal import Contents, Failed, read
from amorsize.checkpoint.journal import results as read_results
from amorsize.formatting import date, printable

# Failures in a summary (a guess).
SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Listing:
    """The part of a journal that was read; ``results`` holds reprs, None if they were not requested."""

    path: str
    contents: Contents
    failed: list[Failed]
    results: list[tuple[int, str]] | None


def look(path: str, limit: int | None = None, *, results: bool = False) -> Listing:
    """Read a journal: at most ``limit`` failures and ``results``, which are unpickled only here.

    Raises
    ------
    CheckpointError
        When the file cannot be read, or is no journal.
    """
    contents, failed = read(path, limit)
    shown = [(index, _shown(pickled)) for index, pickled in read_results(path, limit)] if results else None
    return Listing(path, contents, failed, shown)


def _shown(pickled: bytes | None) -> str:
    if pickled is None:
        return "<its bytes have changed since they were written>"
    try:
        return repr(pickle.loads(pickled))
    except Exception as exc:  # noqa: BLE001  (its class may be missing here)
        return f"<cannot be rebuilt: {type(exc).__name__}: {exc}>"


def to_dict(found: Listing) -> dict[str, Any]:
    """Return everything as a dict for JSON."""
    contents = found.contents
    shown: dict[str, Any] = {
        "path": found.path,
        "function": contents.name,
        "key": contents.identity,
        "begun_at_s": contents.begun_at_s,
        "resumed_at_s": contents.resumed_at_s,
        "items": contents.items,
        "done": contents.done,
        "failed": contents.failed,
        "missing": _missing(contents),
        "failures": [
            {"index": one.item, "type": one.type, "text": one.text, "traceback": one.traceback, "at_s": one.at_s}
            for one in found.failed
        ],
    }
    if found.results is not None:
        shown["results"] = [{"index": index, "repr": text} for index, text in found.results]
    return shown


def _missing(contents: Contents) -> int | None:
    return None if contents.items is None else max(0, contents.items - contents.done - contents.failed)


def to_text(found: Listing, tracebacks: bool = False) -> str:
    """Return a summary and the failures: one line each, or with their ``tracebacks``."""
    contents, missing = found.contents, _missing(found.contents)
    total = "" if contents.items is None else f" of {contents.items:,}"
    state = [f"{contents.done:,}{total} items done", f"{contents.failed:,} failed"]
    if missing is not None:
        state.append(f"{missing:,} not run yet")
    lines = [
        f"{found.path}: {', '.join(state)}",
        f"function {contents.name}, begun {date(contents.begun_at_s)}, key {contents.identity}",
    ]
    lines += [f"item {index}: {text}" for index, text in found.results or ()]
    failed = found.failed if tracebacks else found.failed[:SHOWN]
    for one in failed:
        lines.append(f"item {one.item} failed at {date(one.at_s)}: {one.type}: {one.text}")
        if tracebacks:
            lines += [f"    {line}" for line in one.traceback.splitlines()]
    if len(failed) < contents.failed:
        lines.append(f"and {contents.failed - len(failed):,} more failed")
    # All of it may come from elsewhere, line breaks in messages among them.
    return "\n".join(map(printable, lines))
