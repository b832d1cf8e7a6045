"""Functions that the tests of `amorsize.Executor` run in its workers."""

import os
import signal
import threading
import time
from pathlib import Path

STATE = None
LIMIT_S = 300  # for what must happen; far above what it takes


def square(x):
    return x * x


def exit_at(path, bad, x):
    """End the worker at the item ``bad``; note every call, so that the test can count them."""
    note(path, x)
    if x == bad:
        os._exit(7)
    return x


def note_and_wait_at(path, mark, place, x):
    """Note every call; at the item ``place``, wait for a file."""
    note(path, x)
    if x == place:
        wait_for(mark)
    return x


def kill_self(path=None):
    if path is not None:
        note(path, "kill")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_once(path):
    """End the worker the first time, and return the second time."""
    with open(path, "ab") as file:
        first = file.tell() == 0
        file.write(b".")
    if first:
        os._exit(7)
    return "well"


def note(path, what):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{what}\n")


def notes(path):
    return Path(path).read_text(encoding="utf-8").split()


def pid(_=None):
    return os.getpid()


def sleep(_=None):
    time.sleep(600)


def appear(path):
    Path(path).touch()


def wait_for(path):
    """Wait until a file is made, in any process."""
    deadline = time.monotonic() + LIMIT_S
    while not Path(path).exists():
        assert time.monotonic() < deadline
        time.sleep(1e-3)


def mark_and_wait(mine, other):
    appear(mine)
    wait_for(other)
    return True


def raise_value_error(text="no"):
    raise ValueError(text)


def raise_system_exit():
    raise SystemExit(3)


class OddError(Exception):
    """Does not survive pickling."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def raise_odd():
    raise OddError("this", "that")


def a_lock():
    return threading.Lock()


class Unloadable:
    """Can be pickled, and cannot be rebuilt."""

    def __reduce__(self):
        return raise_value_error, ("cannot be rebuilt",)


def unloadable():
    return Unloadable()


class Unpicklable:
    def __reduce__(self):
        raise SystemExit("not even cloudpickle can do this")


def set_state(value):
    global STATE
    STATE = value


def state():
    return STATE


def take_from(queue):
    global STATE
    STATE = queue.get(timeout=LIMIT_S)


def fail_to_begin():
    raise OSError("no licence left")


def nested(x):
    from amorsize import Executor

    with Executor() as executor:
        return executor._max_workers, list(executor.map(square, range(x)))


def grow(x):
    return [x] * 50_000
