"""`amorsize.testing.left_behind` sees each kind of thing that may be lost, and nothing of the main program's own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading

import engine_functions as ef
import pytest

import amorsize
from amorsize.backends import core_lease
from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.gc_pause import RESULTS_ARE_KEPT
from amorsize.backends.workers import child, warm
from amorsize.backends.workers.start import start_worker
from amorsize.backends.workers.team import Team
from amorsize.system import belongings
from amorsize.system.critical import held_signals
from amorsize.testing import left_behind

NOTHING = {
    "processes": [],
    "threads": [],
    "descriptors": [],
    "leases": [],
    "blocked_signals": [],
    "shared_memory": [],
}
PATIENCE_S = 60.0  # for what is on its way out
METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]


def left() -> dict[str, list[str]]:
    return left_behind(0.0)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_after_a_map(method):
    assert amorsize.execute(abs, range(9), backend="processes", start_method=method, max_workers=2) == list(range(9))
    assert left_behind(PATIENCE_S) == NOTHING


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_with_its_descriptors_and_memory(method):
    handle = start_worker(child.Setup(abs), None, method, held_signals())
    found = left()
    assert [str(handle.pid) in text for text in found["processes"]] == [True]
    assert len(found["descriptors"]) >= 2 - (method != "fork")
    assert len(found["shared_memory"]) == 1
    handle.kill()
    handle.reap()
    assert left_behind(PATIENCE_S) == NOTHING


@pytest.mark.skipif("fork" not in METHODS, reason="no fork here")
def test_a_worker_that_no_object_knows_and_that_was_not_waited_for():
    handle = start_worker(child.Setup(abs), None, "fork", held_signals())
    pid = handle.pid
    handle.kill()
    handle.slot.close()
    handle.abandon()
    del handle
    assert str(pid) in left()["processes"][0]
    os.waitpid(pid, 0)
    assert left_behind(PATIENCE_S) == NOTHING
    belongings.reaped(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed by Linux")
def test_a_descriptor_whose_object_is_lost():
    ours, theirs = socket.socketpair()
    belongings.opened("socket of a worker", ours.fileno())
    number = ours.detach()
    assert left()["descriptors"] == [f"socket of a worker ({number})"]
    os.close(number)
    theirs.close()
    assert left() == NOTHING


@pytest.mark.skipif(not hasattr(os, "setpgid"), reason="no process groups here")
def test_a_program_that_outlives_the_worker_which_started_it():
    """The worker leads a group; it is killed, and the program that its item has started goes on."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        program = subprocess.Popen(["sleep", "1000"])
        os.write(write_end, str(program.pid).encode())
        os._exit(0)
    belongings.started(pid)
    belongings.killed(pid)
    os.close(write_end)
    with os.fdopen(read_end) as told:
        program = int(told.read())
    os.waitpid(pid, 0)
    belongings.reaped(pid)
    assert f"process {program} of worker {pid}" in left()["processes"][0]
    os.kill(program, signal.SIGKILL)
    assert left_behind(PATIENCE_S) == NOTHING


@pytest.mark.skipif(not hasattr(os, "setsid"), reason="no sessions here")
def test_another_program_with_the_number_of_a_worker_is_none_of_ours():
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    program = int(shell.communicate()[0])
    assert os.getpgid(program) == shell.pid
    belongings.groups[shell.pid] = None
    assert left() == NOTHING
    os.kill(program, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "setpgid"), reason="no process groups here")
def test_a_number_that_is_used_again_in_this_session_is_none_of_ours():
    gone = subprocess.Popen(["true"])
    gone.wait()
    belongings.groups[gone.pid] = None
    assert left() == NOTHING
    # As if the system gave the number to another group.
    assert gone.pid not in belongings.groups


def test_a_thread():
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="amorsize-canary")
    thread.start()
    assert left()["threads"] == ["amorsize-canary"]
    end.set()
    assert left_behind(PATIENCE_S) == NOTHING


def test_a_lease_and_a_call_at_work_and_a_pause_of_the_collector():
    lease = core_lease.Lease(1, 2.0)
    lease.__enter__()
    for one in (CALLS, RESULTS_ARE_KEPT):
        one.begin(lease)
    assert len(left()["leases"]) == 3
    for one in (CALLS, RESULTS_ARE_KEPT):
        one.end(lease)
    assert len(left()["leases"]) == 1
    lease.close()
    assert left() == NOTHING


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks here")
def test_a_signal_that_is_held_for_ever():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        assert left()["blocked_signals"] == ["SIGTERM"]
        found: list[dict[str, list[str]]] = []
        thread = threading.Thread(target=lambda: found.append(left()))
        thread.start()
        thread.join()
        assert found[0]["blocked_signals"] == ["SIGTERM"]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    assert left() == NOTHING


def test_a_handler_that_was_not_put_back():
    def handler(*_: object) -> None:
        raise AssertionError

    handler.__module__ = "amorsize.system.critical"
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert left()["blocked_signals"] == ["SIGINT (its handler is amorsize's)"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stream_that_is_half_read():
    results = amorsize.stream(abs, range(1000), backend="processes", max_workers=2)
    assert next(results) == 0
    found = left()
    assert found["leases"]
    assert len(found["processes"]) == 2
    results.close()
    assert left_behind(PATIENCE_S) == NOTHING


def test_an_executor_that_is_open():
    with amorsize.Executor(1) as executor:
        assert executor.submit(abs, -1).result() == 1
        found = left()
        assert found["threads"]
        assert found["processes"]
    assert left_behind(PATIENCE_S) == NOTHING


def test_workers_that_are_kept_do_not_count():
    amorsize.execute(ef.square, range(9), backend="processes", start_method="spawn", max_workers=2)
    assert warm.count("spawn") > 0
    assert left_behind(PATIENCE_S) == NOTHING


def test_what_the_main_program_has_started_and_opened_does_not_count():
    pipe = os.pipe()
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = multiprocessing.get_context("spawn").Process(target=input, daemon=True)
    thread = threading.Thread(target=program.wait, name="mine")
    worker.start()
    thread.start()
    threshold = gc.get_threshold()
    gc.set_threshold(500)
    try:
        assert left() == NOTHING
    finally:
        gc.set_threshold(*threshold)
        program.communicate()
        thread.join()
        worker.kill()
        worker.join()
        worker.close()
        for end in pipe:
            os.close(end)


def test_a_team_without_workers():
    team = Team(child.Setup(abs), None, METHODS[0])
    assert left()["descriptors"] == ["selector of a team with 0 workers"]
    team.close()
    assert left() == NOTHING
