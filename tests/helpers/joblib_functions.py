"""Tasks for joblib's backend; workers import this module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PATIENCE_S = 30.0
COUNTER = [0]
_initialized: list[str] = []


class FinickyError(Exception):
    """An exception that cannot be made of its arguments."""

    def __init__(self, a="a", *, b="b"):
        super().__init__()


def square(x):
    return x * x


def add(x, y=0):
    return x + y


def divide(x, y):
    return x / y


def fail(error, now):
    if now:
        raise error
    return 0


def await_file(path):
    until = time.monotonic() + PATIENCE_S
    while not Path(path).exists() or not (Path(path).name != "pid" or Path(path).read_text()):
        assert time.monotonic() < until
        time.sleep(0.01)


def await_the_end_of(pid):
    until = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_for(path, value):
    if not path:
        return value
    await_file(path)
    return (value, os.getpid()) if value == 0 else value


def touch(path, value):
    Path(path).touch()
    return value


def count(wait_s):
    COUNTER[0] += 1
    number = COUNTER[0]
    time.sleep(wait_s)
    return number, os.getpid()


def process(*ignored):
    return os.getpid()


def leave_pid_and_sleep(folder):
    (Path(folder) / "pid").write_text(str(os.getpid()))
    time.sleep(PATIENCE_S)


def fail_after(folder):
    await_file(Path(folder) / "pid")
    raise ZeroDivisionError


def die_once(folder, i):
    mark = Path(folder) / "died"
    if i == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def die(now):
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def with_lock(lock, wait_s):
    with lock:
        time.sleep(wait_s)
    return os.getpid()


def initialize(text):
    _initialized.append(text)


def initialized():
    return _initialized[-1] if _initialized else None


def native_threads():
    """Return the limits of the native thread pools of numpy, and what the environment says."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.dot(np.ones((50, 50)), np.ones((50, 50)))
    return [one["num_threads"] for one in threadpool_info()], os.environ.get("OMP_NUM_THREADS")


def look_at(array, again, at):
    inside = again.get("in", [array])[0]
    return array[at].sum(), array.flags.writeable, bool(inside is array)


def column_sum(frame, name):
    return frame[name].sum()


def fill(array, i):
    (array[0] if isinstance(array, list) else array)[i] = i


def check_level(context, backend, expected):
    with context(backend) as found:
        found = found["backend"] if isinstance(found, dict) else found[0]
        assert found.nesting_level == expected


def active():
    from joblib import Parallel
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return type(backend).__name__, backend.nesting_level, Parallel()._effective_n_jobs()


def recursive(limit=3):
    from joblib import Parallel, delayed

    with Parallel(n_jobs=2) as parallel:
        here = [(type(parallel._backend).__name__, parallel._backend.nesting_level)]
        if limit == 0:
            return here
        return here + parallel(delayed(recursive)(limit - 1) for _ in range(1))[0]


def nested(backend, return_as):
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=2, backend=backend, return_as=return_as)(delayed(square)(i) for i in range(3)))
