"""``kill -9`` of a caller with a checkpoint, at random moments: the next run loses nothing, and is right."""

from __future__ import annotations

import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import modes

import amorsize

from . import functions as fn
from . import harness
from .harness import ROOT, demand

MODES = [modes.SERIAL, modes.THREADS, *modes.PROCESSES, modes.AUTO, *modes.TO_PROCESSES]
LATEST_S = 2.5  # guess: results are saved about once a second, and a run takes one or two


class Noted:
    """``plain`` after a pause; each attempt leaves a file."""

    def __init__(self, folder: str, pause_s: float) -> None:
        self.folder = folder
        self.pause_s = pause_s

    def __call__(self, item: Any) -> Any:
        fn.attempt(self.folder, fn.number(item))
        time.sleep(self.pause_s)
        return fn.large(item) if item % 17 == 3 else fn.plain(item)


def right(n: int) -> list[Any]:
    return [fn.large(item) if item % 17 == 3 else fn.plain(item) for item in range(n)]


def victim(folder: str, seed: int) -> None:
    """Run the map of this seed, and write the results."""
    rng = random.Random(seed)
    mode, n, as_list = rng.choice(MODES), rng.randrange(50, 400), rng.random() < 0.5
    func = Noted(folder, rng.choice((0.002, 0.006, 0.01)))
    from .faults import turned

    with turned(mode):
        found = amorsize.execute(
            func,
            range(n) if as_list else iter(range(n)),
            checkpoint=str(Path(folder, "checkpoint")),
            **mode.arguments,
        )
    demand(found == right(n), "wrong results")
    Path(folder, "results").write_bytes(pickle.dumps(len(found)))


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
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.breaking.kills", "--victim", str(room), str(seed)],
            cwd=ROOT,
            start_new_session=True,
        )
        if turn < kills:
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.1, LATEST_S))
            process.send_signal(signal.SIGKILL)
        process.wait()
        now = attempts(room)
        again = {item for item in kept if now.get(item, 0) != before.get(item, 0)}
        demand(not again, f"run {turn}: items {sorted(again)[:9]} had been saved, and were run again")
        if turn < kills:
            until = time.monotonic() + harness.PATIENCE_S
            while harness.marked() and time.monotonic() < until:
                time.sleep(0.01)
            demand(not harness.marked(), f"run {turn}: left {harness.marked()}")
            saved_now = saved(room, Path(folder, "copy"))
            demand(kept <= saved_now, f"run {turn}: {len(kept - saved_now)} saved items were lost")
            kept, before = saved_now, attempts(room)
    demand(process.returncode == 0, f"the last run ended with {process.returncode}")
    demand((room / "results").exists(), "no results")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--victim"]:
        victim(sys.argv[2], int(sys.argv[3]))
    else:
        harness.main(trial, "kills")
