"""Corrupted journals, histories, locks and frames: tolerated, or refused by name; never another traceback or a hang."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import modes

import amorsize
from amorsize.errors import CheckpointError, CheckpointMismatchError

from . import functions as fn
from . import harness
from .harness import ROOT, demand

N = 40
JUNK: tuple[Any, ...] = (
    None,
    "",
    "text",
    b"\x80\x05",
    -1,
    10**18,
    1.5,
    float("inf"),
    "\x1b[2J",
    b"x" * 5000,
    "9" * 400,
)


# -- damage ----------------------------------------------------------------------------------------------------------


def flip(rng: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 8, 200))):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


def cut(rng: random.Random, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])


def zero(rng: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        at = rng.randrange(len(data))
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    path.write_bytes(data)


def garbage(rng: random.Random, path: Path) -> None:
    path.write_bytes(rng.choice((b"", b"[section]\n", rng.randbytes(5000), b"SQLite format 3\0" + rng.randbytes(4000))))


def rows(rng: random.Random, path: Path) -> None:
    """A file that SQLite takes for whole, with values that do not belong there."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as link, link:
        tables = [name for (name,) in link.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for table in rng.sample(tables, min(len(tables), 2)):
            columns = [row[1] for row in link.execute(f"PRAGMA table_info({table})")]
            for column in rng.sample(columns, min(len(columns), 3)):
                with suppress(sqlite3.Error, OverflowError):
                    link.execute(
                        f"UPDATE OR IGNORE {table} SET {column}=? WHERE rowid % ? = 0",
                        (rng.choice(JUNK), rng.randrange(1, 4)),
                    )
            with suppress(sqlite3.Error):
                if rng.random() < 0.3:
                    link.execute(rng.choice((f"DELETE FROM {table}", f"DROP TABLE {table}")))
        with suppress(sqlite3.Error):
            if rng.random() < 0.2:
                link.execute(f"PRAGMA user_version={rng.choice((0, 99, -5))}")


DAMAGE: list[Callable[[random.Random, Path], None]] = [flip, cut, zero, garbage, rows, rows, rows]


# -- what is damaged -------------------------------------------------------------------------------------------------


def step(item: Any) -> Any:
    return fn.plain(item)


RIGHT = [fn.plain(item) for item in range(N)]


def a_journal(rng: random.Random, folder: Path) -> None:
    path = folder / "checkpoint"
    amorsize.execute(step, range(N), checkpoint=path)
    damage = rng.choice(DAMAGE)
    damage(rng, path)
    before = path.read_bytes()
    try:
        found = amorsize.execute(step, range(N), checkpoint=path, **rng.choice(modes.ALL[:4]).arguments)
    except (CheckpointError, CheckpointMismatchError) as exc:
        demand("Traceback" not in str(exc), "an error that shows a traceback")
        demand(path.read_bytes() == before, "it was refused, and changed")
    else:
        # A byte of a pickle that is another one by now is a value that nothing tells from the right one.
        if damage not in (flip, zero, rows):
            demand(found == RIGHT, f"{damage.__name__}: wrong results")
        demand(len(found) == N, f"{damage.__name__}: {len(found)} results")
    _command(folder, "journal", str(path))


def a_history(rng: random.Random, folder: Path) -> None:
    path = folder / "history.sqlite"
    history = amorsize.History(path)
    amorsize.execute(step, range(N), history=history)
    history.runs()
    for one in folder.glob("history.sqlite*"):
        rng.choice(DAMAGE)(rng, one)
    demand(amorsize.execute(step, range(N), history=history) == RIGHT, "wrong results")
    demand(isinstance(amorsize.History(path).runs(), list), "no list of runs")
    amorsize.optimize(step, list(range(N)), history=history, backend="serial")
    _command(folder, "history", "list")
    _command(folder, "history", "stats")


def an_import(rng: random.Random, folder: Path) -> None:
    source, path = amorsize.History(folder / "a.sqlite"), folder / "rows.jsonl"
    amorsize.execute(step, range(N), history=source)
    source.runs()
    source.export(path)
    rng.choice((flip, cut, garbage))(rng, path)
    with suppress(ValueError, amorsize.AmorsizeError):
        amorsize.History(folder / "history.sqlite").import_(path)
    amorsize.History(folder / "history.sqlite").runs()
    _command(folder, "history", "list")


def a_lock(rng: random.Random, folder: Path) -> None:
    path, lock, other = folder / "checkpoint", folder / "checkpoint.lock", folder / "other"
    other.write_bytes(b"not ours")
    kind = rng.choice(("text", "folder", "link", "dangling", "fifo", "forbidden", "pid"))
    match kind:
        case "text":
            lock.write_bytes(b"[[package]]\nname = 'x'\n")
        case "folder":
            lock.mkdir()
        case "link":
            lock.symlink_to(other)
        case "dangling":
            lock.symlink_to(folder / "nothing")
        case "fifo":
            os.mkfifo(lock)
        case "forbidden":
            lock.write_bytes(b"")
            lock.chmod(0)
        case "pid":
            lock.write_bytes(rng.choice((b"1", b"-1", b"9" * 400, b"\xff\xfe")))
    with suppress(CheckpointError):
        found = amorsize.execute(step, range(N), checkpoint=path)
        demand(found == RIGHT, "wrong results")
    demand(other.read_bytes() == b"not ours", f"{kind}: another file was changed")
    if kind == "text":
        demand(lock.exists() and lock.read_bytes().startswith(b"[[package]]"), "a lock that is not ours was changed")
    if lock.exists() and not stat.S_ISDIR(lock.lstat().st_mode):
        lock.chmod(0o600)


def _command(folder: Path, *arguments: str) -> None:
    """The command line says what is wrong in a line, and shows no escapes to the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "amorsize", *arguments],
        cwd=ROOT,
        env={**os.environ, "AMORSIZE_HISTORY": str(folder / "history.sqlite")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
    )
    demand(b"Traceback" not in done.stderr, f"{arguments}: {done.stderr.decode(errors='replace')[-1500:]}")
    demand(b"\x1b" not in done.stdout + done.stderr, f"{arguments}: a raw escape")


# -- frames ----------------------------------------------------------------------------------------------------------


class Babbler:
    """At one item it writes to every socket of its process, then goes on."""

    def __init__(self, caller: int, bad: int, words: bytes) -> None:
        self.caller, self.bad, self.words = caller, bad, words

    def __call__(self, item: int) -> int:
        if item == self.bad and os.getpid() != self.caller:
            for number in range(3, 64):
                with suppress(OSError):
                    if stat.S_ISSOCK(os.fstat(number).st_mode):
                        with socket.socket(fileno=os.dup(number)) as sock:
                            sock.sendall(self.words)
        return fn.plain(item)


def frames(rng: random.Random, folder: Path) -> None:
    """What a worker says is checked: an item that babbles on its worker's socket fails, and the others are right."""
    words = rng.choice((rng.randbytes(rng.randrange(1, 200)), b"\xff" * 64, bytes(64), rng.randbytes(100_000), b"\1"))
    mode = rng.choice(modes.PROCESSES)
    found = amorsize.execute(
        Babbler(os.getpid(), 7, words), range(N), **mode.arguments, on_error="collect", timeout=20.0
    )
    demand(len(found) == N, f"{len(found)} results")
    wrong = {index: one for index, one in enumerate(found) if one != RIGHT[index]}
    demand(wrong.keys() <= {7}, f"{mode.name} {words[:40]!r}: {wrong}")
    demand(all(isinstance(one, amorsize.Failure) for one in wrong.values()), f"{wrong}")


THINGS = [a_journal, a_history, an_import, a_lock, frames, a_journal]


def trial(seed: int, folder: str) -> None:
    thing = THINGS[seed % len(THINGS)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            thing(random.Random(seed), Path(folder))
    except BaseException as exc:
        exc.add_note(f"in {thing.__name__}")
        raise


if __name__ == "__main__":
    harness.main("files")
