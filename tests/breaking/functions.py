"""What the trials run: functions that misbehave by a script. Worker processes import this module by its name."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

HANG_S = 1000.0


class Refused(Exception):
    """The user's own exception."""

    def __init__(self, item: int) -> None:
        super().__init__(item)
        self.item = item


class Own(BaseException):
    """No `Exception`."""


class Twisted(Exception):
    """Pickles, and cannot be rebuilt."""

    def __init__(self, a: object, b: object) -> None:
        super().__init__(f"{a} and {b}")


class Glued(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("glued")


class Stuck:
    """A number that cannot be pickled."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        raise TypeError("stuck")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stuck) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class Crooked(Stuck):
    """A number that pickles and cannot be rebuilt."""

    def __reduce__(self) -> Any:
        return _refuse, (self.value,)


def _refuse(value: int) -> Any:
    raise ValueError(f"crooked {value}")


def number(item: Any) -> int:
    return int(getattr(item, "value", item))


def plain(item: Any) -> int:
    return number(item) * 3 + 1


def attempt(folder: str, item: int) -> int:
    """Count the attempts at an item over all processes, from 1 on."""
    count = 1
    while True:
        try:
            os.close(os.open(os.path.join(folder, f"{item}-{count}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            count += 1
        else:
            return count


def large(item: int) -> bytes:
    return bytes([item % 251]) * (200_000 + 50_000 * (item % 37))


def _deeper(depth: int) -> int:
    return 1 + _deeper(depth + 1)


RAISES: Mapping[str, type[BaseException]] = {
    "raise": ValueError,
    "own": Refused,
    "stop": StopIteration,
    "recursion": RecursionError,
    "memory": MemoryError,
    "glued": Glued,
    "twisted": Twisted,
}
FATAL: Mapping[str, type[BaseException]] = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "Own": Own,
    "GeneratorExit": GeneratorExit,
}
DEATHS = ("exit", "exit 0", "kill", "segfault", "abort", "term")


def act(how: str, item: int) -> Any:
    """Do as the script says; a result, if it says that there is one."""
    if how == "ok":
        return plain(item)
    if how == "slow":
        time.sleep(0.004 * (1 + item % 4))
        return plain(item)
    if how == "large":
        return large(item)
    if how == "stuck":
        return Stuck(item)
    if how == "crooked":
        return Crooked(item)
    if how == "hang":
        time.sleep(HANG_S)
        raise AssertionError
    if how == "recursion":
        return _deeper(0)
    if how in ("own", "twisted"):
        raise Refused(item) if how == "own" else Twisted(item, item)
    if how in RAISES:
        raise RAISES[how](item)
    if how in FATAL:
        raise FATAL[how](item)
    die(how)
    return None


def die(how: str) -> None:
    """End this process at once."""
    faulthandler.disable()
    if how.startswith("exit"):
        os._exit(0 if how.endswith("0") else 7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    if how == "term":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError(how)


class Scripted:
    """``plain``, but for the items of a script: they do at each attempt what it says, the last word for ever."""

    def __init__(self, folder: str, script: Mapping[int, Sequence[str]]) -> None:
        self.folder = folder
        self.script = dict(script)

    def __call__(self, item: Any) -> Any:
        index = number(item)
        words = self.script.get(index)
        if words is None:
            return plain(item)
        return act(words[min(attempt(self.folder, index), len(words)) - 1], index)


def set_up(folder: str) -> None:
    attempt(folder, -os.getpid())
