"""The file of a checkpoint: finished items of one map, in SQLite.

One process at a time writes it (`amorsize.checkpoint.file_lock`), one transaction about once a second. Each opens a
connection of its own, so none is carried through a fork, and between two writes the file is complete by itself. SQLite
uses a rollback journal and no write-ahead log, which would write large results twice, and fails on network file
systems. Commits wait for the disk, so the file survives a power cut too.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.checkpoint.file_lock import FileLock
from amorsize.errors import CheckpointError, CheckpointMismatchError
from amorsize.formatting import printable
from amorsize.history.sqlite_file import connected
from amorsize.history.tables import text as storable

if TYPE_CHECKING:
    import sqlite3

# "amrj", in the header of every journal.
APPLICATION_ID: Final = 0x616D726A
# 1: the function was known by the fingerprint of `amorsize.history`, which many functions share.
VERSION: Final = 2
# How long a write waits for `amorsize journal`, which may read the file (a guess).
PATIENCE_S: Final = 5.0
# Bytes and rows of results that are read at a time (guesses).
BLOCK_BYTES: Final = 32 << 20
BLOCK_ROWS: Final = 1000
# SQLite's limit for a row is 1e9 bytes (https://sqlite.org/limits.html).
LARGEST_BYTES: Final = 999_000_000
# What follows a pickled result in its row: a mark, and the checksum of the row. Rows without it are of a version that
# wrote none; pickle does not read beyond its own end, so that version still reads these.
SEAL: Final = struct.Struct("<4sI")
SEAL_MARK: Final = b"crc:"

NO_JOURNAL: Final = "it is no checkpoint, and was left as it is. Use another path"

SCHEMA: Final = (
    "CREATE TABLE map (identity TEXT, name TEXT, begun_at_s REAL, resumed_at_s REAL, items INTEGER)",
    "CREATE TABLE done (item INTEGER PRIMARY KEY, digest BLOB NOT NULL, result BLOB NOT NULL)",
    """CREATE TABLE failed (item INTEGER PRIMARY KEY, digest BLOB, at_s REAL NOT NULL, type TEXT NOT NULL,
    text TEXT NOT NULL, traceback TEXT NOT NULL, exception BLOB)""",
    f"PRAGMA application_id={APPLICATION_ID}",
    f"PRAGMA user_version={VERSION}",
)


class Done(NamedTuple):
    """The pickled result of an item; None if the bytes of its row have changed since they were written."""

    item: int
    digest: bytes
    result: bytes | None


class Failed(NamedTuple):
    """The failure of an item; ``exception`` is pickled, None if that is impossible."""

    item: int
    digest: bytes | None
    at_s: float
    type: str
    text: str
    traceback: str
    exception: bytes | None


@dataclass(frozen=True, slots=True)
class Contents:
    """Summary of a journal; ``items`` is None while their number is unknown."""

    identity: str
    name: str
    begun_at_s: float
    resumed_at_s: float
    items: int | None
    done: int
    failed: int


class Journal:
    """The journal of one map, held by this process from `begin` to `end`.

    Parameters
    ----------
    file : str
        Absolute path.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.lock = FileLock(file)

    def begin(self, identity: str, name: str, has_key: bool = False) -> str | None:
        """Lock the file, and make it if there is none. An existing file is not written before `accept`.

        Parameters
        ----------
        identity, name : str
            What the function is known by, and its readable name.
        has_key : bool
            True if the user gave the identity.

        Returns
        -------
        str or None
            What is doubtful about the file, though it is used.

        Raises
        ------
        CheckpointMismatchError
            When it belongs to another map, or is no checkpoint.
        CheckpointError
            When another process holds it, it cannot be written, or others may have written it.
        """
        try:
            self.lock.acquire()
        except OSError as exc:
            raise _unwritable(self.file, exc) from exc
        try:
            doubt = doubt_of(self.file)
            self._claim(storable(identity), storable(name), has_key)
        except BaseException:
            self.end()
            raise
        return doubt

    def end(self) -> None:
        """Unlock the file."""
        self.lock.release()

    def _claim(self, identity: str, name: str, has_key: bool) -> None:
        now_s = time.time()
        if _is_something_else(self.file):
            raise CheckpointMismatchError(self.file, NO_JOURNAL)
        with _clearly(self.file), suppress(FileExistsError):
            # SQLite would make it readable by others.
            os.close(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with _clearly(self.file), connected(self.file, "rwc", PATIENCE_S) as link:
            link.execute("BEGIN IMMEDIATE")
            if _is_empty(link, self.file):
                for statement in SCHEMA:
                    link.execute(statement)
                link.execute("INSERT INTO map VALUES (?, ?, ?, ?, NULL)", (identity, name, now_s, now_s))
                link.execute("COMMIT")
                return
            found, its_name, *_ = _map(link)
            if found == identity and (has_key or _version(link) == VERSION):
                return
            if _version(link) < VERSION and not has_key:
                raise CheckpointMismatchError(self.file, _earlier_format(printable(its_name), found))
            raise CheckpointMismatchError(
                self.file, _other_function(printable(its_name), found, printable(name), identity)
            )

    def accept(self, items: int | None, damaged: Iterable[int] = ()) -> None:
        """Record that the data match, and the number of ``items`` if known; this also tests that it can be written.

        Rows that are ``damaged`` are deleted: the number of the item may be what has changed in them.
        """
        with _clearly(self.file), connected(self.file, "rw", PATIENCE_S) as link:
            link.executemany("DELETE FROM done WHERE item = ?", ((item,) for item in damaged))
            link.execute("UPDATE map SET resumed_at_s = ?, items = coalesce(?, items)", (time.time(), items))
            link.execute(f"PRAGMA user_version={VERSION}")

    def failed(self) -> set[int]:
        """Return the items that failed in their last run."""
        with _clearly(self.file), connected(self.file, "rw", PATIENCE_S) as link:
            return {_whole(index) for (index,) in link.execute("SELECT item FROM failed")}

    def done(self) -> Iterator[Done]:
        """Yield finished items in order. No connection is open between two items."""
        # Before the lowest of all numbers, so that a broken row is met.
        after = -(1 << 63)
        while block := self._block(after):
            yield from block
            after = block[-1].item

    def _block(self, after: int) -> list[Done]:
        query = "SELECT item, digest, result FROM done WHERE item > ? ORDER BY item LIMIT ?"
        block, size = [], 0
        with _clearly(self.file), connected(self.file, "rw", PATIENCE_S) as link:
            for row in link.execute(query, (after, BLOCK_ROWS)):
                block.append(_done(row))
                size += len(row[2])
                if size > BLOCK_BYTES:
                    break
        return block

    def write(
        self,
        done: Iterable[tuple[int, bytes, bytes]],
        failed: Iterable[Failed],
        mended: Iterable[int],
        items: int | None,
    ) -> None:
        """Add results and failures, all or none; ``mended``: items that failed before and are finished now.

        Errors of SQLite and the file system pass through.
        """
        with connected(self.file, "rw", PATIENCE_S) as link:
            link.execute("BEGIN IMMEDIATE")
            if _is_empty(link, self.file):
                raise CheckpointMismatchError(self.file, "another file has taken its place")
            link.executemany("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", (sealed(*row) for row in done))
            link.executemany("DELETE FROM failed WHERE item = ?", ((index,) for index in mended))
            link.executemany("INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?, ?)", failed)
            if items is not None:
                link.execute("UPDATE map SET items = ?", (items,))
            link.execute("COMMIT")


def read(file: str, limit: int | None = None) -> tuple[Contents, list[Failed]]:
    """Read a journal's summary and its first ``limit`` failures. Unpickles nothing.

    Raises
    ------
    CheckpointMismatchError
        When the file is no journal.
    CheckpointError
        When it cannot be read.
    """
    # "rw", since SQLite may have to undo the transaction of a run that was killed.
    with _reading(file), connected(file, "rw", PATIENCE_S) as link:
        if _is_empty(link, file):
            raise CheckpointMismatchError(file, "it is empty")
        contents = Contents(
            *_map(link),
            *link.execute("SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM failed)").fetchone(),
        )
        query = "SELECT * FROM failed ORDER BY item LIMIT ?"
        failed = [_failed(row) for row in link.execute(query, (_at_most(limit),))]
    return contents, failed


def results(file: str, limit: int | None = None) -> list[tuple[int, bytes | None]]:
    """Return the index and the pickle of a journal's first ``limit`` results; see `Done`.

    Raises
    ------
    CheckpointError
        When it cannot be read, or others may have written it: a pickle can run any code.
    """
    with _reading(file):
        doubt_of(file)
        with connected(file, "rw", PATIENCE_S) as link:
            query = "SELECT item, digest, result FROM done ORDER BY item LIMIT ?"
            found = [_done(row) for row in link.execute(query, (_at_most(limit),))]
    return [(row.item, row.result) for row in found]


def doubt_of(file: str) -> str | None:
    """Return what is doubtful about a journal that a group may write; None for a sound one, or none at all.

    Raises
    ------
    CheckpointError
        When others may have written it: what it holds will be unpickled, which can run any code.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return None
    try:
        found = os.stat(file)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    why = "Its results are pickles, which can run any code"
    if found.st_uid not in (0, os.geteuid()):
        raise CheckpointError(
            file,
            f"it belongs to another user (id {found.st_uid}). {why}. If you trust them: make a copy of it, which is "
            "yours, and use that; or use another path",
        )
    if found.st_mode & stat.S_IWOTH:
        raise CheckpointError(
            file,
            f"every user may write it. {why}. If you trust it: `chmod go-w {shlex.quote(file)}`; or use another path",
        )
    if found.st_mode & stat.S_IWGRP:
        return f"its group may write it. {why}: `chmod g-w {shlex.quote(file)}` unless all of them are trusted"
    return None


def _at_most(limit: int | None) -> int:
    return -1 if limit is None else min(limit, (1 << 63) - 1)


# -- rows: another program, or a broken disk, may have put anything there --------------------------------------------


class _BrokenError(Exception):
    """A row holds something else than a journal's."""


def _map(link: sqlite3.Connection) -> tuple[str, str, float, float, int | None]:
    rows = link.execute("SELECT identity, name, begun_at_s, resumed_at_s, items FROM map LIMIT 2").fetchall()
    if len(rows) != 1:
        raise _BrokenError(f"{'no row' if not rows else 'several rows'} in map")
    identity, name, begun_at_s, resumed_at_s, items = rows[0]
    return (
        _of(identity, str),
        _of(name, str),
        float(_of(begun_at_s, int, float)),
        float(_of(resumed_at_s, int, float)),
        None if items is None else _whole(items),
    )


def sealed(item: int, digest: bytes, result: bytes) -> tuple[int, bytes, bytes]:
    """Return the row of a result, with its checksum."""
    return item, digest, result + SEAL.pack(SEAL_MARK, _checksum(item, digest, result))


def _checksum(item: int, digest: bytes, result: bytes | memoryview) -> int:
    return zlib.crc32(result, zlib.crc32(b"%d:%b" % (item, digest)))


def _done(row: tuple[Any, ...]) -> Done:
    item, digest, result = _whole(row[0]), _of(row[1], bytes), _of(row[2], bytes)
    if result[-SEAL.size : -SEAL.size + len(SEAL_MARK)] != SEAL_MARK:
        return Done(item, digest, result)
    _, checksum = SEAL.unpack_from(result, len(result) - SEAL.size)
    is_whole = checksum == _checksum(item, digest, memoryview(result)[: -SEAL.size])
    # The seal stays: pickle ends before it, and a large result is not copied.
    return Done(item, digest, result if is_whole else None)


def _failed(row: tuple[Any, ...]) -> Failed:
    item, digest, at_s, kind, text, traceback, exception = row
    return Failed(
        _whole(item),
        None if digest is None else _of(digest, bytes),
        float(_of(at_s, int, float)),
        _of(kind, str),
        _of(text, str),
        _of(traceback, str),
        None if exception is None else _of(exception, bytes),
    )


def _whole(value: object) -> int:
    number: int = _of(value, int)
    if number < 0:
        raise _BrokenError(f"{number} where a position should be")
    return number


def _of(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise _BrokenError(f"a value of type {type(value).__name__} where {kinds[-1].__name__} should be")
    return value


def _is_something_else(file: str) -> bool:
    """True if the file is no database. SQLite takes a very short file for an empty database, and overwrites it."""
    magic = b"SQLite format 3\0"
    # A rollback journal undoes the transaction of a killed process; until then the file may be in any state.
    if not os.path.isfile(file) or os.path.exists(f"{file}-journal"):
        return False
    try:
        with open(file, "rb") as stream:
            return stream.read(len(magic)) not in (b"", magic)
    except OSError:
        return False


def _is_empty(link: sqlite3.Connection, file: str) -> bool:
    """True if the file is empty. Another program's database is refused."""
    ((application,),) = link.execute("PRAGMA application_id").fetchall()
    version = _version(link)
    if application == APPLICATION_ID:
        if version < 1:
            raise _BrokenError(f"{version} for its version")
        if version > VERSION:
            raise CheckpointMismatchError(file, f"a newer amorsize wrote it (version {version})")
        return False
    if application or version or link.execute("SELECT 1 FROM sqlite_master").fetchall():
        raise CheckpointMismatchError(file, "it is another program's database. Use another path")
    return True


def _version(link: sqlite3.Connection) -> int:
    return int(link.execute("PRAGMA user_version").fetchall()[0][0])


def _earlier_format(its_name: str, found: str) -> str:
    return (
        f"an earlier amorsize wrote it, which could not tell {its_name} from one that closes over other values. Use "
        "another path, or delete the file to begin anew; if its results still hold, go on with "
        f"checkpoint_key={found!r}"
    )


def _other_function(its_name: str, found: str, name: str, identity: str) -> str:
    if its_name == name:
        what = f"it holds results of {its_name} as that was before it, or what it closes over, was changed"
    else:
        what = f"it holds results of another function, {its_name}, and not of {name}"
    return (
        f"{what} (its key is {found!r}, and this call's {identity!r}). Use another path, or delete the file to begin "
        f"anew; if its results still hold, go on with checkpoint_key={found!r}"
    )


@contextmanager
def _reading(file: str) -> Iterator[None]:
    if not os.path.exists(file):
        raise CheckpointError(file, "there is no such file")
    try:
        with _clearly(file):
            yield
    except CheckpointError as exc:
        if isinstance(exc, CheckpointMismatchError) or exc.__cause__ is None:
            raise
        raise CheckpointError(file, f"it cannot be read ({exc.__cause__})") from exc.__cause__


@contextmanager
def _clearly(file: str) -> Iterator[None]:
    """Turn SQLite's errors into errors that explain them."""
    import sqlite3

    try:
        yield
    except CheckpointError:
        raise
    # The message of an error of SQLite's may quote bytes of the broken file that are no UTF-8.
    except (_BrokenError, UnicodeDecodeError) as exc:
        raise _broken(file, exc) from exc
    except (sqlite3.Error, OSError) as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise CheckpointMismatchError(file, NO_JOURNAL) from exc
        # Tables or columns are missing (1), pages are broken (11), a text is no text, a number is no number (0, 20).
        if isinstance(exc, sqlite3.Error) and code in (0, 1, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_MISMATCH):
            raise _broken(file, exc) from exc
        raise _unwritable(file, exc) from exc
    except Exception as exc:
        if os.path.exists(file) and not os.path.isfile(file):
            raise CheckpointMismatchError(file, "it is no file. Use another path") from exc
        raise


def _broken(file: str, exc: Exception) -> CheckpointMismatchError:
    return CheckpointMismatchError(
        file, f"it is broken ({printable(str(exc))}), and was left as it is. Restore it, or use another path"
    )


def _unwritable(file: str, exc: Exception) -> CheckpointError:
    missing = isinstance(exc, OSError) and exc.errno == errno.ENOENT
    advice = "Make its folder first" if missing else "Use a path that can be written"
    return CheckpointError(file, f"it cannot be written ({exc}), and nothing was run. {advice}, or leave it out")
