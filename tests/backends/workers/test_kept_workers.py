"""Workers that wait for the next map begin it as a new one would, and treat warnings as the caller does."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import tempfile
import warnings

import pytest

import amorsize
from amorsize.backends.workers import process_setup

resource = pytest.importorskip("resource")

START_METHODS = ("spawn", "forkserver")
SIGNALS = (signal.SIGALRM, signal.SIGUSR1, signal.SIGINT)


def spoil(_):
    os.chdir(tempfile.gettempdir())
    os.environ["SPOILT"] = "1"
    os.umask(0o777)
    sys.setrecursionlimit(4321)
    sys.stdout = sys.stderr = io.StringIO()
    sys.path.insert(0, "/spoilt")
    gc.disable()
    gc.set_threshold(5)
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 3600.0)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2,))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return os.getpid()


def look(_):
    mask = os.umask(0)
    os.umask(mask)
    return (
        os.getcwd(),
        os.environ.get("SPOILT"),
        mask,
        sys.getrecursionlimit(),
        type(sys.stdout).__name__,
        "/spoilt" in sys.path,
        resource.getrlimit(resource.RLIMIT_NOFILE),
        gc.isenabled(),
        gc.get_threshold(),
        [str(signal.getsignal(number)).partition(" at ")[0] for number in SIGNALS],
        signal.getitimer(signal.ITIMER_REAL),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    )


def pid(_):
    return os.getpid()


def run(func, method):
    return amorsize.execute(func, [0], backend="processes", start_method=method, max_workers=1)[0]


@pytest.mark.parametrize("method", START_METHODS)
def test_what_a_map_changed_around_it_is_put_back_before_the_next(method):
    """Working directory, environment, umask, recursion limit, streams, module search path, limits, signals lived on."""
    before = run(look, method)
    spoilt = run(spoil, method)
    assert run(pid, method) == spoilt, "the worker was not kept"
    assert run(look, method) == before


def be_nice(_):
    return os.nice(1), os.getpid()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_worker_that_has_lowered_its_own_priority_is_not_kept():
    """Only root may undo that."""
    _, nicer = run(be_nice, "spawn")
    assert run(pid, "spawn") != nicer


def test_a_worker_that_cannot_be_put_back_is_not_kept(monkeypatch):
    surroundings = process_setup.Surroundings()
    try:
        assert surroundings.restore()
        monkeypatch.setattr(surroundings, "limits", {resource.RLIMIT_NOFILE: (-2, -2)})
        assert not surroundings.restore()
    finally:
        os.close(surroundings.here)


class Odd(UserWarning):
    """A category of our own."""


def warn(x):
    warnings.warn("odd", Odd, stacklevel=1)
    return x


def mapped(way):
    if way == "Executor":
        with amorsize.Executor(1) as executor:
            return list(executor.map(warn, [1]))
    if way == "pool":
        plan = amorsize.optimize(abs, [-1] * 9, backend="processes", start_method="spawn", max_workers=1)
        with plan.pool() as pool:
            return pool.map(warn, [1])
    return amorsize.execute(warn, [1], backend="processes", start_method=way, max_workers=1)


@pytest.mark.parametrize("way", ["fork", *START_METHODS, "Executor", "pool"])
def test_the_callers_warnings_filters_hold_in_workers(way):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Odd)
        with pytest.raises(Odd):
            mapped(way)
        warnings.simplefilter("ignore", Odd)
        assert mapped(way) == [1]
