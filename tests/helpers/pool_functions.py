"""Functions that the tests of `amorsize.Pool` run in its workers."""

import atexit
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path


def square(x):
    return x * x


def power(base, exponent=2):
    return base**exponent


def pid(_=None):
    return os.getpid()


def sleep(_=None):
    time.sleep(600)


def kill(_=None):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def leave(_=None):
    os._exit(7)


def crash(_=None):
    faulthandler.disable()
    ctypes.string_at(0)


WAYS_TO_DIE = {"SIGKILL": kill, "os._exit": leave, "segfault": crash}


def die_at(x, bad, way):
    if x == bad:
        WAYS_TO_DIE[way]()
    return x


def die_once_at(x, bad, way, path):
    """End the worker at an item the first time; return at the second."""
    if x == bad and not Path(path).exists():
        Path(path).touch()
        WAYS_TO_DIE[way]()
    return x


def fail_at(x, bad):
    if x in bad:
        raise ValueError(x)
    return x


def note_and_fail(x, path):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{x}\n")
    if x in (1, 3):
        raise ValueError(x)
    return x


class OddError(Exception):
    """Does not survive pickling."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def raise_odd(_=None):
    raise OddError("this", "that")


def a_generator(_=None):
    return (x for x in ())


class Unpicklable:
    def __reduce__(self):
        raise LookupError("not even cloudpickle can do this")


class Unloadable:
    def __reduce__(self):
        return int, ("no number",)


def unloadable(_=None):
    return Unloadable()


def wait_for(path):
    deadline = time.monotonic() + LIMIT_S
    while not Path(path).exists():
        assert time.monotonic() < deadline
        time.sleep(1e-3)
    return path


def mark_and_wait(mine, other):
    Path(mine).touch()
    return wait_for(other) == other


STATE = None
LIMIT_S = 300  # for what must happen; far above what it takes


def set_state(value):
    global STATE
    STATE = value


def state(_=None):
    return STATE


def fail_to_begin():
    raise OSError("no licence left")


def note_start(path):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")


def take_from(queue):
    global STATE
    STATE = queue.get(timeout=LIMIT_S)


def nested(x):
    from amorsize import Pool

    with Pool(2) as pool:
        return pool.map(square, range(x))


def in_a_process(queue):
    queue.put(nested(5))


def say(x):
    sys.stdout.write(f"{x}\n")


def leave_open(folder):
    """Write to a file that stays open, and have another written at the end of this process."""
    global STATE
    STATE = open(os.path.join(folder, "open"), "w", encoding="utf-8")  # noqa: SIM115
    STATE.write("written")
    atexit.register(Path(folder, "at exit").touch)
    threading.Thread(target=lambda: (time.sleep(0.05), Path(folder, "thread").touch())).start()
