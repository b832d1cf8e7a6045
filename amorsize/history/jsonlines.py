"""Rows of history as JSON lines, to move them between machines or to other programs.

Each line is an object with the names of `amorsize.history.run_row.Run`. The source is not trusted: a line that is no
run is skipped and reported, and nothing in it is executed or unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TextIO

from amorsize.formatting import json_fault
from amorsize.frozen import replace
from amorsize.history.run_row import Run, is_number
from amorsize.history.tables import dumps

BACKENDS: Final = ("serial", "threads", "processes", "executor", "async", "tasks")


class Imported(NamedTuple):
    """Summary of an import.

    Attributes
    ----------
    added : int
        Rows that were new.
    known : int
        Rows that were there already.
    broken : tuple of (int, str)
        Lines that are no rows: the number of each, from 1, and what is wrong with it.
    """

    added: int
    known: int
    broken: tuple[tuple[int, str], ...]


def write_lines(runs: Iterable[Run], stream: TextIO) -> int:
    """Write each run as a line; return their number."""
    lines = [dumps({key: value for key, value in run.to_dict().items() if value is not None}) for run in runs]
    stream.write("".join(f"{line}\n" for line in lines))
    return len(lines)


def read_lines(
    lines: Iterable[str], known: set[tuple[object, ...]], identity: Callable[[Run], tuple[object, ...]]
) -> tuple[Imported, list[Run]]:
    """Read the runs that are not among those known by ``identity``; their source becomes ``"import"``."""
    runs, repeats, broken = [], 0, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            run = parse(line)
        except ValueError as exc:
            broken.append((number, str(exc)))
            continue
        if identity(run) in known:
            repeats += 1
            continue
        known.add(identity(run))
        before = {} if run.source == "import" else {"from": run.source}
        runs.append(replace(run, source="import", extra={**run.extra, **before}))
    return Imported(len(runs), repeats, tuple(broken)), runs


def parse(line: str) -> Run:
    """Read the run of a line.

    Raises
    ------
    ValueError
        When the line is no run; the text says why.

    Examples
    --------
    >>> parse('{"function": "f00", "backend": "serial", "clock_s": 0.5, "at_s": 1e9}').clock_s
    0.5
    >>> parse('{"function": "f00"}')
    Traceback (most recent call last):
    ValueError: clock_s is missing, or no number of seconds
    """
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"not JSON: {json_fault(exc)}") from None
    if not isinstance(row, dict):
        raise ValueError(f"a row is a JSON object, not {type(row).__name__}")
    if not isinstance(row.get("function"), str):
        raise ValueError("function is missing, or no fingerprint")
    for name in ("clock_s", "at_s"):
        value = row.get(name)
        if not is_number(value):
            raise ValueError(f"{name} is missing, or no number of seconds")
    if row.get("backend", "serial") not in BACKENDS:
        raise ValueError(f"backend {row['backend']!r} is none of {BACKENDS}")
    return Run.from_dict(row)
