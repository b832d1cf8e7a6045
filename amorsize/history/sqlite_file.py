"""Opens, locks and repairs amorsize's one SQLite file: costs of backends on this machine, and rows of past runs.

``AMORSIZE_HISTORY`` names the file, and is read at each call: a path, ``off`` (nothing on disk), or empty, which means
``history.sqlite`` in the user's cache folder. The user's results are worth more than the file, so:

* No operation raises. A file that cannot be used costs one `RuntimeWarning` per path and process, and from then on
  reads as empty.
* Each operation opens the file and closes it again (about 1 ms to write, 0.2 ms to read, ext4 on a virtual disk), so
  nothing is shared between threads or carried through a fork, and an idle process holds no lock.
* Writers take turns: ``BEGIN IMMEDIATE``. A writer that finds the file busy tries again while others write, for up to
  `PATIENCE_S`; where nothing is written for `STALLED_S`, it gives up.
* The journal is a write-ahead log, except on network file systems: the log's index is shared memory, which hosts do
  not share (https://sqlite.org/wal.html).
* A lock on the folder is held while the file is made, its tables are migrated, or a broken file is moved aside. A file
  that has left a path never returns to it, so a connection that finds the same inode before and after opening knows
  that file and log belong together.
* Only amorsize's own file is touched: the application id in the header identifies it. Another program's database, or
  one that a newer amorsize wrote, is left as it is.

The tables and statements are in `amorsize.history.tables`.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress

from amorsize.history import tables
from amorsize.history.location import PATIENCE_S, STALLED_S, default_path
from amorsize.history.tables import MIGRATIONS
from amorsize.system.environment import HISTORY
from amorsize.system.mounts import on_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any, Final, TypeVar

    T = TypeVar("T")

# "amrs", in the header of every file that amorsize makes.
APPLICATION_ID: Final = 0x616D7273
# Rows of 0.4 kB: the file stays below 50 MB.
KEEP_RUNS: Final = 100_000

# SQLite's primary result codes (https://sqlite.org/rescode.html); importing sqlite3 for them would cost 4 ms.
_BUSY, _LOCKED, _CORRUPT, _PROTOCOL, _NOT_A_DATABASE = 5, 6, 11, 15, 26
# An extended code: the file was moved away after it was opened, and before it was written.
_READONLY_MOVED: Final = 1032

# Paths that this process has warned of.
_warned: set[str] = set()
# Paths where waiting timed out: one try each time, until one succeeds.
_impatient: set[str] = set()
# One entry for each operation that runs now, in any thread.
_in_flight: list[None] = []
_state = {"hooked": False, "unusable": False}


class Store:
    """The SQLite file at one path. Every method may be called from any thread and process, and none raises.

    Parameters
    ----------
    path : str, os.PathLike or None
        The file. None keeps nothing: all reads are empty and all writes are refused.
    patience_s : float
        Seconds to keep trying while other processes write to the file.

    Attributes
    ----------
    file : str or None
        The file, with no links in its path; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, patience_s: float = PATIENCE_S) -> None:
        self.file = None if path is None else os.path.realpath(os.fspath(path))
        self._patience_s = patience_s

    def __repr__(self) -> str:
        return f"Store({self.file!r})"

    def get_cost(self, key: str) -> dict[str, Any] | None:
        """Return what `put_cost` stored last under the key, with ``measured_at_s`` added; None if there is nothing."""
        return self._do(lambda link: tables.get_cost(link, key), write=False)

    def put_cost(self, key: str, body: Mapping[str, Any], at_s: float) -> bool:
        """Store ``body`` (any JSON value) under ``key`` in place of what was there; return True if it is stored."""
        return self._do(lambda link: tables.put_cost(link, key, body, at_s), write=True) is True

    def change_cost(
        self,
        key: str,
        change: Callable[[dict[str, Any] | None], Mapping[str, Any]],
        at_s: float,
        *,
        family: str,
        keep: int,
    ) -> bool:
        """Store what ``change`` makes of what is stored under the key, in one transaction; return True if it is stored.

        Of the keys that begin with ``family``, the newest ``keep`` stay. ``change`` may be called more than once.
        """

        def work(link: sqlite3.Connection) -> bool:
            stored = tables.put_cost(link, key, change(tables.get_cost(link, key)), at_s)
            tables.drop_costs(link, family, keep)
            return stored

        return self._do(work, write=True) is True

    def add_runs(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Append rows (`tables.insert`), all or none, and thin those beyond `KEEP_RUNS`; True if they are kept."""
        if not rows:
            return True

        def insert(link: sqlite3.Connection) -> bool:
            tables.thin(link, KEEP_RUNS, tables.insert(link, rows))
            return True

        return self._do(insert, write=True) is True

    def runs(
        self,
        function: str | None = None,
        limit: int | None = None,
        *,
        source: str | None = None,
        machine: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest ``limit`` rows (of that function, source, machine), oldest first."""
        return self._do(lambda link: tables.select(link, function, limit, source, machine), write=False) or []

    def count(self, source: str | None = None) -> int:
        """Return the number of rows (of that source)."""
        return self._do(lambda link: tables.count(link, source), write=False) or 0

    def forget_runs(self, function: str | None = None, before_s: float | None = None) -> int | None:
        """Delete rows (of that function; of runs before that time); return their number, None if that failed."""
        if self.file is None or not os.path.exists(self.file):
            return 0
        return self._do(lambda link: tables.forget(link, function, before_s), write=True)

    def stamp(self) -> tuple[int, ...]:
        """Return inode, size and time of the file and its log: they change with every write. Empty without a file."""
        found: list[int] = []
        for name in () if self.file is None else (self.file, f"{self.file}-wal"):
            with suppress(OSError):
                status = os.stat(name)
                found += (status.st_ino, status.st_size, status.st_mtime_ns)
        return tuple(found)

    def size_bytes(self) -> int:
        """Return the bytes on disk of the file and its log."""
        return sum(self.stamp()[1::3])

    def _do(self, work: Callable[[sqlite3.Connection], T], *, write: bool) -> T | None:
        """Run ``work`` in a transaction and return its result; None when the file is missing or cannot be used."""
        file = self.file
        if file is None or _state["unusable"]:
            return None
        _hook_forks()
        last_s = time.monotonic() + (0.0 if file in _impatient else self._patience_s)
        deadline_s = min(last_s, time.monotonic() + STALLED_S)
        stamp = self.stamp()
        mended = 0
        while True:
            try:
                with _inside_sqlite():
                    result = _transact(file, work, write=write, deadline_s=deadline_s)
                _impatient.discard(file)
                return result
            except Exception as exc:  # noqa: BLE001  (an error of the file must not cost the user's results)
                error = exc
            if _passes(error):
                if (fresh := self.stamp()) != stamp:
                    stamp, deadline_s = fresh, min(last_s, time.monotonic() + STALLED_S)
                if time.monotonic() < deadline_s:
                    time.sleep(_pause_s())
                    continue
                _impatient.add(file)
            elif _code(error) & 0xFF in (_CORRUPT, _NOT_A_DATABASE) and mended < 2 and _mend(file, deadline_s):
                mended += 1
                continue
            _warn(file, f"{error or type(error).__name__}. What it would hold is lost, results are not")
            return None


def default_store() -> Store:
    """Return the store of the file that ``AMORSIZE_HISTORY`` names now."""
    return Store(default_path())


class _Refused(Exception):  # noqa: N818  (never leaves this module)
    """The file must not be used; the text says why."""


class _Moved(Exception):  # noqa: N818  (never leaves this module)
    """The file at this path was replaced while it was being opened."""


def _transact(file: str, work: Callable[[sqlite3.Connection], T], *, write: bool, deadline_s: float) -> T | None:
    """Open the file, run ``work`` in one transaction, close the file."""
    before = _identity(file)
    if before is None:
        if not write:
            return None
        _set_up(file, deadline_s)
        before = _identity(file)
    try:
        with closing(_connect(file, "rw", deadline_s)) as link:
            if _settled_version(link) < len(MIGRATIONS):
                _set_up(file, deadline_s)
            if write:
                # Rows survive a crash of the process; a power cut may cost some.
                link.execute("PRAGMA synchronous=NORMAL")
            if on_network(os.path.dirname(file)):
                # A host where the folder is local may have set WAL mode, which works on one host only.
                link.execute("PRAGMA journal_mode=DELETE")
            link.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            if _identity(file) != before:
                raise _Moved
            result = work(link)
            link.execute("COMMIT")
            return result
    except Exception as exc:
        if _identity(file) != before:
            raise _Moved("another file took its place while it was opened") from exc
        raise


def _connect(file: str, mode: str, deadline_s: float) -> sqlite3.Connection:
    """Open the file; mode ``"rwc"`` also creates it. SQLite itself waits for a lock, at most until ``deadline_s``."""
    # The compiled part of sqlite3: the rest loads datetime, to adapt its values, which takes 4 ms of a first plan.
    from _sqlite3 import connect

    if os.path.exists(file) and not os.path.isfile(file):
        raise _Refused("it is not a file")
    wait_s = min(5.0, max(0.0, deadline_s - time.monotonic()))
    link: sqlite3.Connection = connect(f"{_uri(file)}?mode={mode}", uri=True, timeout=wait_s, isolation_level=None)
    return link


# Characters of a path that a URI shows as they are.
_SHOWN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~")


def _uri(file: str) -> str:
    """Return ``pathlib.Path(file).as_uri()``; loading pathlib takes 2-5 ms, so it serves only for drives and shares."""
    if os.name == "nt":
        from pathlib import Path

        return Path(file).as_uri()
    return "file://" + "".join(chr(each) if each in _SHOWN else f"%{each:02X}" for each in os.fsencode(file))


@contextmanager
def connected(file: str, mode: str, patience_s: float) -> Iterator[sqlite3.Connection]:
    """Connect to any SQLite file and close it at the end; a child forked meanwhile stops using SQLite."""
    _hook_forks()
    with _inside_sqlite(), closing(_connect(file, mode, time.monotonic() + patience_s)) as link:
        yield link


def _settled_version(link: sqlite3.Connection) -> int:
    """Read the schema's version in one transaction: another process may be making the file right now."""
    link.execute("BEGIN")
    version = _version(link)
    link.execute("COMMIT")
    return version


def _version(link: sqlite3.Connection) -> int:
    """Read the schema's version within a transaction; 0 for an empty file. Other programs' files are refused."""
    # Fetch all rows: a statement that has a row left would hold its lock on the file.
    ((application,),) = link.execute("PRAGMA application_id").fetchall()
    ((version,),) = link.execute("PRAGMA user_version").fetchall()
    if application == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise _Refused(f"a newer amorsize wrote it (schema {version}, this one knows {len(MIGRATIONS)})")
        return int(version)
    if application or version or link.execute("SELECT 1 FROM sqlite_master").fetchall():
        raise _Refused("it is another program's database")
    return 0


def _set_up(file: str, deadline_s: float) -> None:
    """Make the file, or migrate its tables."""
    folder = os.path.dirname(file)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # Where there is no flock, SQLite's own locks suffice here; only `_mend` depends on the folder's lock.
    with _folder_lock(folder, deadline_s), closing(_connect(file, "rwc", deadline_s)) as link:
        if _settled_version(link) == len(MIGRATIONS):
            return
        link.execute(f"PRAGMA journal_mode={'DELETE' if on_network(folder) else 'WAL'}")
        link.execute("BEGIN IMMEDIATE")
        for step in MIGRATIONS[_version(link) :]:
            for statement in step:
                link.execute(statement)
        link.execute(f"PRAGMA application_id={APPLICATION_ID}")
        link.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
        link.execute("COMMIT")


def _mend(file: str, deadline_s: float) -> bool:
    """Move a broken file aside, so that a new one can be made. Return True if another try may succeed.

    Each process that meets the broken file calls this, one at a time, and checks the file again first: another process
    may have made a new one since.
    """
    try:
        with _inside_sqlite(), _folder_lock(os.path.dirname(file), deadline_s) as locked:
            if not locked:
                return False
            if not _is_corrupt(file, deadline_s):
                return True
            if not _is_ours(file):
                return False
            aside = next(name for name in (f"{file}.corrupt-{n}" for n in range(1, 1_000)) if not os.path.exists(name))
            os.rename(file, aside)
            # SQLite would replay a log that stays behind into the new file.
            for suffix in ("-wal", "-journal"):
                with suppress(FileNotFoundError):
                    os.replace(file + suffix, aside + suffix)
            with suppress(FileNotFoundError):
                os.unlink(file + "-shm")
    except (OSError, StopIteration):
        return False
    _warn(file, f"it was broken, and is now {os.path.basename(aside)}; a new one is begun", lost=False)
    return True


def _is_corrupt(file: str, deadline_s: float) -> bool:
    from _sqlite3 import Error

    try:
        with closing(_connect(file, "rw", deadline_s)) as link:
            return bool(link.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",))
    except Error as exc:
        return _code(exc) & 0xFF in (_CORRUPT, _NOT_A_DATABASE)


def _is_ours(file: str) -> bool:
    """True if a broken file may be moved: its header has amorsize's id, or it has no header but a database's suffix.

    A typing error in ``AMORSIZE_HISTORY`` must not rename a document of the user. Reading the file past SQLite drops
    this process's locks on it (POSIX), so only a broken file is read in this way.
    """
    with open(file, "rb") as stream:
        head = stream.read(100)
    if head.startswith(b"SQLite format 3\0") and len(head) == 100:
        return int.from_bytes(head[68:72], "big") == APPLICATION_ID
    return file.endswith((".sqlite", ".sqlite3", ".db"))


@contextmanager
def _folder_lock(folder: str, deadline_s: float) -> Iterator[bool]:
    """Hold the folder's lock and yield True, or yield False if it is not free in time. No lock file is made."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows
        yield False
        return
    try:
        yield _lock_in_time(descriptor, deadline_s)
    finally:
        # Unlock explicitly: a child forked meanwhile shares the descriptor, and would keep the lock until it ends.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def try_lock(descriptor: int) -> None:
    """Lock an open file or, not on Windows, a folder. Raises BlockingIOError if it is held, else another OSError."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_in_time(descriptor: int, deadline_s: float) -> bool:
    while True:
        try:
            try_lock(descriptor)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_pause_s())
        except OSError:  # NFS locks no folders
            return False


def _pause_s() -> float:
    """1 to 20 ms at random, so that waiting processes do not retry in step."""
    return 0.001 + (time.perf_counter_ns() * 2_654_435_761 + os.getpid() * 40_503 >> 7) % 1_000 * 19e-6


def _identity(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _code(error: BaseException) -> int:
    """Return SQLite's extended result code of an error; 0 if it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0)


def _passes(error: BaseException) -> bool:
    """Return True if another try may succeed."""
    code = _code(error)
    return isinstance(error, _Moved) or code & 0xFF in (_BUSY, _LOCKED, _PROTOCOL) or code == _READONLY_MOVED


def _warn(file: str, what: str, *, lost: bool = True) -> None:
    if file not in _warned:
        _warned.add(file)
        advice = f" ({HISTORY} may name another file, or say 'off')" if lost else ""
        from amorsize.formatting import printable

        text = printable(f"amorsize history {file}: {what}{advice}.")
        warnings.warn(text, RuntimeWarning, stacklevel=4)


@contextmanager
def _inside_sqlite() -> Iterator[None]:
    _in_flight.append(None)
    try:
        yield
    finally:
        _in_flight.pop()


def _hook_forks() -> None:
    if not _state["hooked"]:
        _state["hooked"] = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """Disable the store in a child that was forked while another thread of its parent was inside SQLite.

    SQLite would believe that the child holds the parent's locks, or wait for a mutex that is never released
    (https://sqlite.org/howtocorrupt.html, 2.6).
    """
    if _in_flight:
        _state["unusable"] = True
