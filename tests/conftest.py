"""For every test: no file is written unless the test requests it, and no process, thread or file is left open."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import hypothesis
import lanes
import modes
import psutil
import pytest

from amorsize.testing import left_behind

os.environ["AMORSIZE_HISTORY"] = "off"  # at import, so that it holds for doctests and child processes too
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores

# No test fails because another program has the cores. What gates a change tries the same examples each time; new ones
# are for `make test-long`.
hypothesis.settings.register_profile(
    "amorsize", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], derandomize=True
)
hypothesis.settings.register_profile(
    "search", deadline=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=False
)
hypothesis.settings.load_profile("amorsize")

PATIENCE_S = 60.0  # for the end of processes on a machine under load


def multiprocessing_helpers() -> tuple[set[int], set[int]]:
    """Return process ids and descriptors of multiprocessing's resource tracker and fork server; both outlive a test."""
    pids, descriptors = set(), set()
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is not None:
        pids.add(tracker._resource_tracker._pid)
        descriptors.add(tracker._resource_tracker._fd)
    server = sys.modules.get("multiprocessing.forkserver")
    if server is not None:
        pids.add(server._forkserver._forkserver_pid)
        descriptors.add(server._forkserver._forkserver_alive_fd)
    return pids, descriptors


def descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def open_files() -> dict[int, str]:
    """Return open descriptors and their targets; empty if the system does not tell."""
    found = {}
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return {}
    for number in numbers:
        try:
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the descriptor of the listing itself
            continue
    return found


def leaked_processes(before: set[psutil.Process]) -> list[str]:
    """Return the processes that were not reaped, or that do not end by themselves; the latter are killed."""
    fresh = [p for p in descendants() - before if p.pid not in multiprocessing_helpers()[0]]
    if not fresh:
        return []
    unreaped = [str(p) for p in fresh if _is_unreaped(p)]
    _, alive = psutil.wait_procs(fresh, timeout=PATIENCE_S)
    for process in alive:
        process.kill()
    return unreaped + [str(p) for p in alive]


def _is_unreaped(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE and process.ppid() == os.getpid()
    except psutil.NoSuchProcess:
        return False


def leaked_threads(before: set[threading.Thread]) -> list[str]:
    fresh = [t for t in threading.enumerate() if t not in before]
    for thread in fresh:
        thread.join(PATIENCE_S)
    return [t.name for t in fresh if t.is_alive()]


def leaked_files(before: dict[int, str]) -> dict[int, str]:
    def fresh() -> dict[int, str]:
        allowed = multiprocessing_helpers()[1]
        return {n: what for n, what in open_files().items() if before.get(n) != what and n not in allowed}

    until_s = time.monotonic() + PATIENCE_S
    while (left := fresh()) and time.monotonic() < until_s:
        gc.collect()  # an object in a reference cycle is no leak
        time.sleep(1e-3)
    return left


@pytest.fixture(autouse=True)
def _nothing_survives() -> Iterator[None]:
    """After the test nothing of amorsize is left, and no process, thread or descriptor that was not there before."""
    processes, threads, files = descendants(), set(threading.enumerate()), open_files()
    if (memory := sys.modules.get("amorsize.history.this_process")) is not None:
        memory.THIS_PROCESS.forget()  # what an earlier test measured must not decide this one
    if (table := sys.modules.get("amorsize.backends.table")) is not None:
        table._missed[0] = 0.0
    yield
    if (warm := sys.modules.get("amorsize.backends.workers.warm")) is not None:
        warm.dismiss()
    left = {what: names for what, names in left_behind(PATIENCE_S).items() if names}
    assert not left
    assert not leaked_processes(processes)
    assert not leaked_threads(threads)
    assert not leaked_files(files)


@pytest.fixture(params=modes.ALL, ids=lambda mode: mode.name)
def mode(request: pytest.FixtureRequest) -> modes.Mode:
    """Each backend and start method in turn; `modes.over` leaves only some."""
    return request.param


@pytest.fixture
def no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial on threads is made: what raises there is run again by the loop, and the clock decides about a trial."""
    monkeypatch.setattr("amorsize.model.decide.TRY_LEFT", 1 << 62)


@pytest.fixture
def run(mode: modes.Mode, monkeypatch: pytest.MonkeyPatch) -> modes.Run:
    """``execute()`` in this mode."""
    return modes.runner(mode, monkeypatch)


# What `make test` leaves out where it tests the twin: a word in the name, the word in the twin's name, and a word that
# must stand beside it.
TWINS = (
    # Only the start of workers differs; tests of the start itself (backends/workers) run by all start methods.
    ("forkserver", "spawn", ""),
    # When the decider turns does not depend on the start method.
    ("to-processes-spawn", "to-processes-fork", ""),
    # Spawned workers are sent their items, whatever these are taken from.
    ("generator", "list", "spawn"),
)


# Of each test, so many cases by a start method that takes 0.1 s and more.
FEW = 4


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In `make test`, leave out tests that differ from a twin in nothing that matters; not one that is named."""
    if lanes.is_long() or any("::" in argument for argument in config.args):
        return
    names = {item.nodeid for item in items}

    def has_twin(name: str) -> bool:
        return any(
            one in name and beside in name and name.replace(one, other) in names
            for one, other, beside in TWINS
            if one != "forkserver" or "backends/workers/" not in name
        )

    left_out = {item.nodeid for item in items if has_twin(item.nodeid)}
    left_out |= too_many([item.nodeid for item in items if item.nodeid not in left_out])
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]


def too_many(names: list[str]) -> set[str]:
    """Return two thirds of the cases by spawn and forkserver of each test that has more than `FEW` of them."""
    cases: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        if "spawn" in name or "forkserver" in name:
            cases.setdefault((name.partition("[")[0], "spawn" in name), []).append(name)
    return {name for each in cases.values() if len(each) > FEW for at, name in enumerate(each) if at % 3}
