"""The record of past runs: one row for each ``execute()``, whatever its size, and for each run of a plan.

A `Run` is a row (`amorsize.history.run_row`). It waits in memory (`amorsize.history.waiting`) until it is written
(`amorsize.history.buffer`) to one SQLite file (`amorsize.history.sqlite_file`). Rows move between files as JSON lines
(`amorsize.history.jsonlines`).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from time import time

from amorsize.history import buffer, waiting
from amorsize.history import location as place_of
from amorsize.history.buffer import flush
from amorsize.history.fingerprint import fingerprint
from amorsize.history.run_row import SOURCES, Run
from amorsize.system.environment import OFF, history_setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Final

    from amorsize.history.jsonlines import Imported
    from amorsize.history.sqlite_file import Store

__all__ = ("History", "Run", "flush")

ALL: Final = "all"


class History:
    """The record of past runs on this machine: one row for each ``execute()``, whatever its size.

    Parameters
    ----------
    path : str, os.PathLike or None
        The file, made when the first row is written; ``"off"`` records nothing. None: what ``AMORSIZE_HISTORY`` names
        at each call (a path, or ``off``), by default ``history.sqlite`` in the user's cache folder.

    Notes
    -----
    Any number of threads and processes may use one file at once. A file that cannot be read or written costs a
    `RuntimeWarning`, once for each process, and nothing else. Nothing in it is ever unpickled.

    Beyond 100,000 rows, the oldest rows of the most frequent kinds of runs are deleted.

    ``len(history)`` is the number of ``execute()`` runs, so an empty history is false: test ``history is None`` to
    find out if one was given.

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
        waits = sum(run.source == "execute" for run in buffer.waiting_runs(place))
        return self._store().count("execute") + waits

    @property
    def path(self) -> Path | None:
        """The file that is used now; None: nothing is recorded."""
        from pathlib import Path

        file = file_of(self)
        return None if file is None else Path(file)

    @property
    def is_on(self) -> bool:
        """True if runs are recorded now."""
        return self._here() != OFF

    def runs(
        self,
        function: str | Callable[..., object] | None = None,
        limit: int | None = None,
        *,
        source: str = "execute",
    ) -> list[Run]:
        """Return runs, oldest first.

        Parameters
        ----------
        function : str, callable or None
            Only runs of this function (or of the function with this fingerprint).
        limit : int or None
            Only the newest ``limit`` runs.
        source : {"execute", "optimize", "tune", "import", "all"}
            Runs of ``execute()``, runs of a plan's pool, trials of ``tune()``, imported rows, or all of them.
        """
        if source not in (*SOURCES, ALL):
            raise ValueError(f"source must be one of {(*SOURCES, ALL)}, not {source!r}")
        wanted = fingerprint(function) if callable(function) else function
        if limit is not None and limit <= 0:
            return []
        place, only = self._here(), None if source == ALL else source
        flush(place)
        found = [Run.from_dict(row) for row in self._store().runs(wanted, limit, source=only)]
        # After the flush rows wait only if the file cannot be written; this process shows them all the same.
        found += [
            run
            for run in reversed(list(buffer.waiting_runs(place)))
            if (wanted is None or run.function == wanted) and (only is None or run.source == only)
        ]
        return found if limit is None else found[-limit:]

    def record(self, run: Run | Mapping[str, Any]) -> None:
        """Record a run. It never raises, and takes about 2 µs (15 µs if the function has a closure or defaults).

        Parameters
        ----------
        run : Run or Mapping
            The fields of `Run`; held by reference until it is written, so it must not be changed. ``function`` may be
            the function itself. ``sample`` and ``machine`` may be dataclasses. ``at_s`` is now by default.
        """
        waiting.record(self._here(), run)

    def flush(self) -> bool:
        """Write the rows that this process has recorded; return True if none is left."""
        return flush(self._here())

    def recall(self, func: Callable[..., object], machine: str, limit: int) -> Iterator[Run]:
        """Yield the newest runs of a function on the machine of that digest, from every source, newest first.

        Rows that wait to be written are included, and are not written for it. About 0.6 ms, however many rows there
        are; 0.05 ms if the file has not changed since the last call for the same function.
        """
        if not self.is_on:
            return
        for run in islice(buffer.waiting_runs(self._here(), func), limit):
            if run.machine_digest == machine:
                yield run
        yield from _recalled(self._store(), fingerprint(func), machine, limit)

    def size_bytes(self) -> int:
        """Return the bytes that the file takes on disk."""
        return self._store().size_bytes()

    def forget(self, function: str | Callable[..., object] | None = None, *, older_than_s: float | None = None) -> int:
        """Delete runs from the file, and overwrite their bytes.

        Parameters
        ----------
        function : str, callable or None
            Only runs of this function (or of the function with this fingerprint); None: of all.
        older_than_s : float or None
            Only runs that ended more than this many seconds ago.

        Returns
        -------
        int
            Number of deleted rows.

        Raises
        ------
        OSError
            When the file exists and cannot be written; nothing has been deleted then.
        """
        if older_than_s is not None and not older_than_s >= 0:
            raise ValueError(f"older_than_s must be a number of seconds, 0 or more, not {older_than_s!r}")
        wanted = fingerprint(function) if callable(function) else function
        self.flush()
        before_s = None if older_than_s is None else time() - older_than_s
        gone = self._store().forget_runs(wanted, before_s)
        if gone is None:
            raise OSError(f"{self.path} cannot be written, so nothing was forgotten (see the warning)")
        return gone

    def export(self, path: str | os.PathLike[str]) -> int:
        """Write all rows, of every source, to a file of JSON lines (`import_` reads it); return their number.

        Raises
        ------
        OSError
            When the file cannot be written.
        """
        from amorsize.history.jsonlines import write_lines

        runs = self.runs(source=ALL)
        with open(path, "w", encoding="utf-8") as stream:
            return write_lines(runs, stream)

    def import_(self, path: str | os.PathLike[str]) -> Imported:
        """Add rows that `export` has written on this or another machine.

        Known rows and broken lines are skipped, and counted in the result. Rows of other machines are used to fit the
        pruner; only rows of machines like this one count as measured here.

        Raises
        ------
        OSError
            When the file cannot be read, or this history cannot be written.
        """
        from amorsize.history.jsonlines import read_lines

        # Path 0 is standard input.
        with open(path, encoding="utf-8", errors="replace") as stream:
            found, runs = read_lines(stream, {_identity(run) for run in self.runs(source=ALL)}, _identity)
        for at in range(0, len(runs), waiting.FLUSH_ROWS):
            for run in runs[at : at + waiting.FLUSH_ROWS]:
                self.record(run)
            if not self.flush():
                raise OSError(f"{self.path} cannot be written (see the warning); rows wait in this process's memory")
        return found

    def _store(self) -> Store:
        from amorsize.history.sqlite_file import Store

        return Store(place_of.locate(self._here()))

    def _here(self) -> str:
        return history_setting() if self._place is None else self._place


def file_of(history: History | None) -> str | None:
    """Return the path of a history's file (by default of the one that ``AMORSIZE_HISTORY`` names) as a text.

    `History.path` loads pathlib for it: 2 to 5 ms.
    """
    return place_of.locate((History() if history is None else history)._here())


_recent: OrderedDict[tuple[object, ...], tuple[tuple[int, ...], list[Run | dict[str, Any]]]] = OrderedDict()
# Functions whose rows stay in memory, 10 kB each (a guess).
MOST_RECENT: Final = 64


def _recalled(kept: Store, mark: str, machine: str, limit: int) -> Iterator[Run]:
    """Yield rows of the file, newest first; from memory if the file is unchanged. Each is parsed when it is yielded."""
    key, stamp = (kept.file, mark, machine, limit), kept.stamp()
    before = _recent.get(key)
    if before is not None and before[0] == stamp:
        found = before[1]
    else:
        found = [*reversed(kept.runs(mark, limit, machine=machine))]
        # The stamp is older than the read: a row written in between changes it, and is seen next time.
        _recent[key] = stamp, found
        while len(_recent) > MOST_RECENT:
            # Another thread may have removed it.
            try:
                _recent.popitem(last=False)
            except KeyError:
                pass
    for at, row in enumerate(found):
        run = row if isinstance(row, Run) else Run.from_dict(row)
        found[at] = run
        yield run


def _identity(run: Run) -> tuple[object, ...]:
    """Return values that two rows share only if they are the same run."""
    return run.function, round(run.at_s, 3), run.backend, run.n_jobs, run.n_items, round(run.clock_s, 9)


def _checked_place(path: object) -> str:
    """Return an absolute path, or ``"off"``."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str, an os.PathLike or None, not {type(path).__name__}")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"path must name a file (or be 'off'), not {text!r}")
    return OFF if text.lower() == OFF else os.path.abspath(os.path.expanduser(text))
