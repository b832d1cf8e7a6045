"""The record of runs: one row for each ``execute()``, whatever its size, and those of plans that were run.

A `Run` is a row (`amorsize.history.run_record`). It waits in memory until there is time to write it
(`amorsize.history.buffer`), then it is kept in one SQLite file (`amorsize.history.sqlite_file`). Rows travel from file
to file as JSON lines (`amorsize.history.jsonlines`).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from time import time

from amorsize.history import buffer
from amorsize.history import location as place_of
from amorsize.history.buffer import flush
from amorsize.history.fingerprint import fingerprint
from amorsize.history.run_record import SOURCES, Run

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
        A file of one's own, made when the first row is written; ``"off"`` records nothing. None: wherever
        ``AMORSIZE_HISTORY`` points at each call (a path, or ``off``), and else ``history.sqlite`` in the user's cache
        folder.

    Notes
    -----
    Any number of threads and processes may use one file at once. A file that cannot be read or written costs a
    `RuntimeWarning`, once for each process, and nothing else. Nothing in it is ever unpickled.

    Beyond 100,000 rows, repeats of what there is most of are let go, the oldest first.

    ``len(history)`` is the number of ``execute()`` runs, so that an empty history is false: ask for ``history is None``
    where that is meant.

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
        """The file, as things are now; None: nothing is recorded."""
        return place_of.locate(self._here())

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded, as things are now."""
        return self._here() != place_of.OFF

    def runs(
        self,
        function: str | Callable[..., object] | None = None,
        limit: int | None = None,
        *,
        source: str = "execute",
    ) -> list[Run]:
        """All runs, oldest first.

        Parameters
        ----------
        function : str, callable or None
            Only runs of this function (or of the function with this fingerprint).
        limit : int or None
            Only so many, the newest.
        source : {"execute", "optimize", "tune", "import", "all"}
            Runs of ``execute()``; of a plan's pool; trials of ``tune()``; rows of another file; or all of them.
        """
        if source not in (*SOURCES, ALL):
            raise ValueError(f"source must be one of {(*SOURCES, ALL)}, not {source!r}")
        wanted = fingerprint(function) if callable(function) else function
        if limit is not None and limit <= 0:
            return []
        place, only = self._here(), None if source == ALL else source
        flush(place)
        found = [Run.from_dict(row) for row in self._store().runs(wanted, limit, source=only)]
        # Normally nothing waits any more; rows of a file that cannot be written are at least to be seen from here.
        found += [
            run
            for run in reversed(list(buffer.waiting_runs(place)))
            if (wanted is None or run.function == wanted) and (only is None or run.source == only)
        ]
        return found if limit is None else found[-limit:]

    def record(self, run: Run | Mapping[str, Any]) -> None:
        """Keep a run. It never raises, and takes about 2 µs (15 µs where a closure or defaults are to be looked at).

        Parameters
        ----------
        run : Run or Mapping
            What `Run` holds; kept by reference until it is written, so it must not be changed. ``function`` may be the
            function itself. ``sample`` and ``machine`` may be dataclasses. Without ``at_s`` it is now.
        """
        buffer.record(self._here(), run)

    def flush(self) -> bool:
        """Write out what this process has recorded here; whether nothing is left to be written."""
        return flush(self._here())

    def recall(self, func: Callable[..., object], machine: str, limit: int) -> Iterator[Run]:
        """The newest runs of a function on the machine of that digest, from every source, newest first.

        Nothing is written for it, and what waits to be written is looked at too. About 0.6 ms, however many rows there
        are; 0.05 ms where the file has not changed since it was last asked for the same function.
        """
        if not self.is_on:
            return
        for run in islice(buffer.waiting_runs(self._here(), func), limit):
            if run.machine_digest == machine:
                yield run
        yield from _recalled(self._store(), fingerprint(func), machine, limit)

    def size_bytes(self) -> int:
        """What the file takes on disk."""
        return self._store().size_bytes()

    def forget(self, function: str | Callable[..., object] | None = None, *, older_than_s: float | None = None) -> int:
        """Delete runs from the file, and overwrite what they held.

        Parameters
        ----------
        function : str, callable or None
            Only runs of this function (or of the function with this fingerprint); None: of all.
        older_than_s : float or None
            Only runs that ended more than so many seconds ago.

        Returns
        -------
        int
            How many rows that were.

        Raises
        ------
        OSError
            When the file is there and cannot be written: then nothing has been deleted.
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
        """Write all rows, whatever their source, into a file of JSON lines (`import_` reads it); how many these were.

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
        """Take in rows that `export` has written, here or on another machine.

        Rows that are here already are passed over, and so are broken lines: the answer tells their numbers. Rows of
        other machines help to learn about machines; only those of machines like this one count as measured here.

        Raises
        ------
        OSError
            When the file cannot be read, or this history cannot be written.
        """
        from amorsize.history.jsonlines import read_lines

        with open(path, encoding="utf-8", errors="replace") as stream:  # 0 is standard input
            found, runs = read_lines(stream, {_identity(run) for run in self.runs(source=ALL)}, _identity)
        for at in range(0, len(runs), buffer.FLUSH_ROWS):
            for run in runs[at : at + buffer.FLUSH_ROWS]:
                self.record(run)
            if not self.flush():
                raise OSError(f"{self.path} cannot be written (see the warning); rows wait in this process's memory")
        return found

    def _store(self) -> Store:
        from amorsize.history.sqlite_file import Store

        return Store(place_of.locate(self._here()))

    def _here(self) -> str:
        return place_of.setting() if self._place is None else self._place


_recent: OrderedDict[tuple[object, ...], tuple[tuple[int, ...], list[Run | dict[str, Any]]]] = OrderedDict()
MOST_RECENT: Final = 64  # functions whose rows stay in memory, 10 kB each


def _recalled(kept: Store, mark: str, machine: str, limit: int) -> Iterator[Run]:
    """Rows of the file, newest first; from memory where the file is as it was. None is looked at before its turn."""
    key, stamp = (kept.path, mark, machine, limit), kept.stamp()
    before = _recent.get(key)
    if before is not None and before[0] == stamp:
        found = before[1]
    else:
        found = [*reversed(kept.runs(mark, limit, machine=machine))]
        _recent[key] = stamp, found  # of a moment before it was read: what came meanwhile is seen the next time
        while len(_recent) > MOST_RECENT:
            with suppress(KeyError):  # another thread was here
                _recent.popitem(last=False)
    for at, row in enumerate(found):
        run = row if isinstance(row, Run) else Run.from_dict(row)
        found[at] = run
        yield run


def _identity(run: Run) -> tuple[object, ...]:
    """What two rows share only if they are the same run."""
    return run.function, round(run.at_s, 3), run.backend, run.n_jobs, run.n_items, round(run.clock_s, 9)


def _checked_place(path: object) -> str:
    """An absolute path, or ``"off"``."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str, an os.PathLike or None, not {type(path).__name__}")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"path must name a file (or be 'off'), not {text!r}")
    return place_of.OFF if text.lower() == place_of.OFF else os.path.abspath(os.path.expanduser(text))
