"""``kill -9`` of a caller with a checkpoint, at random moments: the next run loses nothing, and is right."""

from __future__ import annotations

import os
import pickle
import random
import select
import shutil
import signal
import sqlite3
import time
import traceback
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import modes

import amorsize

from . import functions as fn
from . import harness
from .faults import turned
from .harness import demand

MODES = [modes.SERIAL, modes.THREADS, *modes.PROCESSES, modes.AUTO, *modes.TO_PROCESSES]
LATEST_S = 1.5  # guess: results are saved about once a second, and a run takes about one

HURRY = "hurry"  # a file


class Noted:
    """``plain`` after a pause, unless nothing will be killed any more; each attempt leaves a file."""

    def __init__(self, folder: str, pause_s: float) -> None:
        self.folder = folder
        self.pause_s = pause_s

    def __call__(self, item: Any) -> Any:
        fn.attempt(self.folder, fn.number(item))
        if not os.path.exists(os.path.join(self.folder, HURRY)):
            time.sleep(self.pause_s)
        return fn.large(item) if item % 17 == 3 else fn.plain(item)


def right(n: int) -> list[Any]:
    return [fn.large(item) if item % 17 == 3 else fn.plain(item) for item in range(n)]


def victim(folder: str, seed: int) -> None:
    """Run the map of this seed, and write the results."""
    rng = random.Random(seed)
    mode, n, as_list = rng.choice(MODES), rng.randrange(50, 400), rng.random() < 0.5
    func = Noted(folder, rng.choice((0.002, 0.006, 0.01)))
    with turned(mode):
        found = amorsize.execute(
            func,
            range(n) if as_list else iter(range(n)),
            checkpoint=str(Path(folder, "checkpoint")),
            **mode.arguments,
        )
    demand(found == right(n), "wrong results")
    Path(folder, "results").write_bytes(pickle.dumps(len(found)))


def forked(folder: str, seed: int) -> int:
    """Begin to run the map in a copy of this process: a program of its own would import for longer than it runs."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            victim(folder, seed)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def end(pid: int, after_s: float | None) -> int:
    """Kill a process after so many seconds (None: never), and return its exit code once it has ended."""
    pidfd = os.pidfd_open(pid)
    try:
        if not select.select([pidfd], [], [], after_s)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def attempts(folder: Path) -> dict[int, int]:
    found: dict[int, int] = {}
    for path in folder.iterdir():
        with suppress(ValueError):
            item, _ = map(int, path.name.split("-"))
            found[item] = found.get(item, 0) + 1
    return found


def saved(folder: Path, copy: Path) -> set[int]:
    """The items that the checkpoint holds: looked up in a copy, since a look may repair the file."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in folder.glob("checkpoint*"):
        if path.is_file() and not path.name.endswith(".lock"):
            shutil.copy(path, copy)
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(copy / "checkpoint")) as link:
        return {item for (item,) in link.execute("SELECT item FROM done")}
    return set()


def trial(seed: int, folder: str) -> None:
    rng = random.Random(seed)
    room = Path(folder, "room")
    room.mkdir()
    kills = rng.choice((1, 1, 2, 4))
    before: dict[int, int] = {}
    kept: set[int] = set()
    for turn in range(kills + 1):
        if turn == kills:
            (room / HURRY).touch()
        code = end(forked(str(room), seed), rng.uniform(0.0, LATEST_S) if turn < kills else None)
        now = attempts(room)
        again = {item for item in kept if now.get(item, 0) != before.get(item, 0)}
        demand(not again, f"run {turn}: items {sorted(again)[:9]} had been saved, and were run again")
        if turn < kills:
            until = time.monotonic() + harness.PATIENCE_S
            # Looked at once: a program that the kill caught as it began may show itself only now, and ends at once.
            while (left := harness.marked()) and time.monotonic() < until:
                time.sleep(0.01)
            demand(not left, f"run {turn}: left {left}")
            saved_now = saved(room, Path(folder, "copy"))
            demand(kept <= saved_now, f"run {turn}: {len(kept - saved_now)} saved items were lost")
            kept, before = saved_now, attempts(room)
    demand(code == 0, f"the last run ended with {code}")
    demand((room / "results").exists(), "no results")


if __name__ == "__main__":
    harness.main("kills")
