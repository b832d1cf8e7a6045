"""Functions that note each of their calls in a folder, and programs that are killed while they run them."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any


class Notes:
    """The items that were run, in any process, in the order of their runs."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ran"
        self.bad = folder / "bad"
        self.file.touch()

    def ran(self) -> list[int]:
        return [int(line) for line in self.file.read_text().split()]

    def forget(self) -> None:
        self.file.write_text("")

    def fail_at(self, *items: int) -> None:
        self.bad.write_text(" ".join(map(str, items)))


def note(folder: str, x: Any) -> None:
    descriptor = os.open(os.path.join(folder, "ran"), os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{x}\n".encode())
    os.close(descriptor)


def step(folder: str, x: int) -> int:
    """Return the square, unless the folder names this item as bad."""
    note(folder, x)
    try:
        with open(os.path.join(folder, "bad")) as stream:
            bad = stream.read().split()
    except FileNotFoundError:
        bad = []
    if str(x) in bad:
        raise LookupError(f"{x} is bad")
    return x * x


def slow_step(folder: str, x: int) -> int:
    note(folder, x)
    time.sleep(0.004)
    return x * x


def wait_at(folder: str, last: int, x: int) -> int:
    """Return the square; from item ``last`` on, never return."""
    note(folder, x)
    if x >= last:
        threading.Event().wait()
    return x * x


def spoil(item: list[int]) -> int:
    """Change the item."""
    item.append(len(item))
    return item[0]


def interrupt_at(folder: str, bad: int, x: int) -> int:
    note(folder, x)
    if x == bad:
        raise KeyboardInterrupt
    return x * x


def lock_at_odd(folder: str, x: int) -> Any:
    note(folder, x)
    return threading.Lock() if x % 2 else x


def program(folder: str, func: str, n: str, kind: str, backend: str, method: str) -> None:
    """Run a map with a checkpoint in ``folder``."""
    from functools import partial

    import amorsize

    data: Any = range(int(n)) if kind == "range" else iter(range(int(n)))
    parts = func.split(":")
    call = partial(globals()[parts[0]], folder, *map(int, parts[1:]))
    found = amorsize.execute(
        call,
        data,
        backend=backend,
        start_method=method or None,
        max_workers=2,
        checkpoint=os.path.join(folder, "checkpoint"),
    )
    assert found == [x * x for x in range(int(n))]


if __name__ == "__main__":
    program(*sys.argv[1:])
