"""Workers beside the rest of multiprocessing: its managers and queues, its daemonic processes, its fork server."""

from __future__ import annotations

import multiprocessing
import os
import sys

import pytest
from programs import run_program

import amorsize

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork here")

SHARED = """
import logging.handlers, multiprocessing, os, signal
import amorsize
from amorsize.backends.workers import connection
# A worker writes what is in its queues on its way out.
connection.LEAVE_S = 200
def put(x):
    queue.put(x)
    return x
def share(x):
    with lock:
        squares[x] = x * x
        seen.append(x)
    return x
def log(x):
    logging.getLogger("shared").warning("item %d", x)
    return x
if __name__ == "__main__":
    signal.alarm(240)
    context = multiprocessing.get_context("fork")
    options = dict(backend="processes", start_method="fork", max_workers=2)
    with context.Manager() as manager:
        squares, seen, lock = manager.dict(), manager.list(), manager.Lock()
        squares[-1], items = 1, list(range(20))  # the caller has used them
        seen.append(-1)
        for _ in range(3):
            assert amorsize.execute(share, items, **options) == items
        assert len(squares) == 21 and len(seen) == 61 and squares[19] == 361
    queue = context.Queue()
    assert amorsize.execute(put, items, **options) == items
    assert sorted(queue.get(timeout=60) for _ in items) == items
    logger = logging.getLogger("shared")
    logger.propagate = False
    logger.addHandler(logging.handlers.QueueHandler(queue))
    amorsize.execute(log, items, **options)
    messages = {queue.get(timeout=60).getMessage() for _ in items}
    assert messages == {f"item {x}" for x in items}
    print("well")
"""


def test_proxies_queues_and_locks_of_multiprocessing_work_in_forked_workers(tmp_path):
    """They gave EOFError in the caller, hung, or lost what was put."""
    assert run_program(tmp_path, SHARED) == "well\n"


LATE = """
import multiprocessing, signal, time
from multiprocessing import util
import amorsize
from amorsize.backends.workers import connection
connection.LEAVE_S = 200
class Late:
    # The queue's own thread pickles it, and comes to an end only when the worker is on its way out.
    def __reduce__(self):
        while not util._exiting: time.sleep(1e-3)
        return int, (7,)
def put(x):
    queue.put(Late())
    return x
if __name__ == "__main__":
    signal.alarm(240)
    queue = multiprocessing.get_context("fork").Queue()
    assert amorsize.execute(put, [0], backend="processes", start_method="fork", max_workers=1) == [0]
    assert queue.get(timeout=60) == 7
    print("well")
"""


def test_what_a_worker_has_put_into_a_queue_is_written_before_it_ends(tmp_path):
    assert run_program(tmp_path, LATE) == "well\n"


LAST = """
import ctypes, glob, gzip, os, signal, sys, tempfile
import amorsize
from amorsize.backends.workers import connection
connection.LEAVE_S = 200
folder = os.path.dirname(os.path.abspath(__file__))
class Kept:
    def __init__(self, made=open): self.made = made
    def __del__(self): self.made(f"{folder}/{os.getpid()}.deleted", "w").close()
def init():
    global out, temporary, kept
    out = gzip.open(f"{folder}/{os.getpid()}.gz", "wt")
    temporary = tempfile.NamedTemporaryFile(dir=folder, suffix=".temporary")
    if KEEPS: kept = Kept()
def item(x):
    out.write(f"{x}\\n")
    ctypes.CDLL(None).printf(b"printed by C\\n")
    return x
if __name__ == "__main__":
    signal.alarm(240)
    options = dict(backend="processes", start_method="spawn", max_workers=1, initializer=init)
    assert amorsize.execute(item, range(20), **options) == list(range(20))
    amorsize.execute(abs, [1], **options)  # another initializer or function: the workers above leave
    from amorsize.backends.workers import warm
    warm.dismiss()
    (written,) = [name for name in glob.glob(folder + "/*.gz") if os.path.getsize(name) > 50]
    print(len(gzip.open(written, "rt").read().split()), glob.glob(folder + "/*.temporary"), flush=True)
"""


@pytest.mark.parametrize("keeps", [False, True])
def test_a_spawned_worker_ends_as_python_does(tmp_path, keeps):
    """An archive was cut off, a temporary file stayed, and what C had printed was lost."""
    out = run_program(tmp_path, LAST.replace("KEEPS", str(keeps))).splitlines()
    assert [line for line in out if line != "printed by C"] == ["20 []"]
    assert out.count("printed by C") == 20
    assert bool(list(tmp_path.glob("*.deleted"))) == keeps


CHILDREN = """
import os, subprocess, sys
import multiprocessing
import amorsize
def item(x):
    return len(multiprocessing.active_children())
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    mine = context.Process(target=input_end.read if False else __import__("time").sleep, args=(3600,), daemon=True)
    mine.start()
    assert amorsize.execute(item, range(4), backend="processes", start_method="fork", max_workers=2) == [0] * 4
    assert mine.is_alive()
    mine.kill()
    mine.join()
    print("well")
"""


def test_a_forked_worker_does_not_end_the_children_of_the_caller(tmp_path):
    assert run_program(tmp_path, CHILDREN.replace("input_end.read if False else ", "")) == "well\n"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_an_item_may_start_processes_of_its_own(method):
    """multiprocessing allows it to no daemonic process, and our workers are of that kind."""
    assert amorsize.execute(start_one, [0], backend="processes", start_method=method, max_workers=1) == [0]


def start_one(x):
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    return process.exitcode


DAEMONIC = """
import asyncio, multiprocessing, sys, threading, traceback
import amorsize
DATA, WANTED = range(-20, 0), list(range(20, 0, -1))
def in_a_daemon(case):
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        return run(case)
    except BaseException:
        return traceback.format_exc()
    finally:
        ended.set()
        thread.join()
def run(case):
    options = dict(max_workers=2)
    if case in ("fork", "spawn", "forkserver"):
        return amorsize.execute(abs, DATA, backend="processes", start_method=case, **options) == WANTED
    if case == "execute":
        return amorsize.execute(abs, DATA, backend="processes", **options) == WANTED
    if case == "stream":
        return list(amorsize.stream(abs, DATA, backend="processes", **options)) == WANTED
    if case == "async":
        return asyncio.run(amorsize.execute_async(abs, DATA, backend="processes", **options)) == WANTED
    if case == "Executor":
        with amorsize.Executor(2) as executor:
            return list(executor.map(abs, DATA)) == WANTED
    if case == "pool":
        with amorsize.optimize(abs, DATA, backend="processes", **options).pool() as pool:
            return pool.map(abs, DATA) == WANTED
    if case == "tune":
        return amorsize.tune(abs, DATA, backend=("serial", "processes"), max_seconds=1.0, **options) is not None
    return amorsize.validate(abs, DATA, max_seconds=1.0, **options) is not None
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for case in sys.argv[1:]:
            print(case, pool.apply(in_a_daemon, (case,)))
"""
CASES = ["fork", "spawn", "forkserver", "execute", "stream", "async", "Executor", "pool", "tune", "validate"]


def test_a_daemonic_process_with_a_second_thread_runs_everything(tmp_path):
    """multiprocessing forbids it children: AssertionError, or BrokenProcessPool out of an Executor."""
    assert run_program(tmp_path, DAEMONIC, *CASES) == "".join(f"{case} True\n" for case in CASES)


COPY = """
import os, sys, warnings
import amorsize
from amorsize.backends.workers import warm
if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        amorsize.execute(abs, range(9), backend="processes", start_method=method, max_workers=2)
    running = amorsize.stream(abs, range(1000), backend="processes", start_method="spawn", max_workers=2)
    assert next(running) == 0
    # CPython warns of a fork beside the executor's thread, from 3.12 on.
    warnings.simplefilter("ignore", DeprecationWarning)
    with amorsize.Executor(1) as executor:
        assert executor.submit(abs, -1).result() == 1
        if (copy := os.fork()) == 0:
            # The fork server is the parent's: it gets one of its own.
            for method in ("fork", "spawn", "forkserver"):
                options = dict(backend="processes", start_method=method, max_workers=2)
                assert amorsize.execute(abs, range(9), **options) == list(range(9))
            sys.exit(0)
        assert os.waitpid(copy, 0)[1] == 0
        assert executor.submit(abs, -2).result() == 2
    assert sum(running) == 499_500
    assert (warm.count("spawn"), warm.count("forkserver")) == (2, 2)
    print("well")
"""


def test_a_forked_copy_of_the_caller_forgets_its_workers_and_ends_in_silence(tmp_path):
    assert run_program(tmp_path, COPY) == "well\n"


# -- what keeps a worker from starting --------------------------------------------------------------------------------

REFUSED = """
import errno, os, resource, shutil, signal, sys, tempfile
import amorsize
from amorsize.backends.workers import warm
if __name__ == "__main__":
    case, method = sys.argv[1:]
    options = dict(start_method=method, max_workers=2)
    amorsize.execute(abs, range(9), backend="processes", **options)
    warm.dismiss()
    if case == "files":
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True: held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError: os.close(held.pop())
    elif case == "directory":
        os.chdir(tempfile.mkdtemp())
        os.rmdir(os.getcwd())
    elif case == "processes":
        def refuse(): raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        os.fork = refuse
    try:
        amorsize.execute(abs, range(-9, 0), backend="processes", **options)
    except amorsize.errors.WorkerLostError as exc:
        print(exc)
    assert amorsize.execute(abs, range(-9, 0), backend=("serial", "processes"), **options) == list(range(9, 0, -1))
"""


@pytest.mark.parametrize(
    ("case", "method", "said"),
    [
        ("files", "fork", "too many open files"),
        ("files", "spawn", "too many open files"),
        ("directory", "spawn", "working directory has been deleted"),
        ("directory", "forkserver", "working directory has been deleted"),
        ("processes", "fork", "no more processes may be started"),
    ],
)
def test_a_worker_that_cannot_be_started_says_why(case, method, said, tmp_path):
    assert said in run_program(tmp_path, REFUSED, case, method)


SERVER = """
import os, signal
from multiprocessing import forkserver
import amorsize
from amorsize.backends.workers import warm
if __name__ == "__main__":
    options = dict(backend="processes", start_method="forkserver", max_workers=2)
    for _ in range(3):
        assert amorsize.execute(abs, range(-9, 0), **options) == list(range(9, 0, -1))
        warm.dismiss()
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    print("well")
"""


def test_another_fork_server_takes_the_place_of_a_dead_one(tmp_path):
    """It was an EOFError out of execute()."""
    assert run_program(tmp_path, SERVER) == "well\n"


def test_a_fork_server_that_dies_at_the_start_of_a_worker_is_asked_for_once_more(monkeypatch):
    from multiprocessing.popen_forkserver import Popen

    launch, starts = Popen._launch, []

    def dies_once(self, process):
        starts.append(process)
        if len(starts) == 1:
            raise EOFError("unexpected EOF")
        launch(self, process)

    monkeypatch.setattr(Popen, "_launch", dies_once)
    found = amorsize.execute(abs, range(9), backend="processes", start_method="forkserver", max_workers=1)
    assert (found, len(starts)) == (list(range(9)), 2)


def test_a_fork_server_that_is_dead_and_stays_so_is_named(monkeypatch):
    from multiprocessing.popen_forkserver import Popen

    def dead(self, process):
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(Popen, "_launch", dead)
    with pytest.raises(amorsize.errors.WorkerLostError, match="the fork server of multiprocessing has died"):
        amorsize.execute(abs, range(9), backend="processes", start_method="forkserver", max_workers=2)
    assert amorsize.execute(abs, range(9), backend=("serial", "processes"), start_method="forkserver") == list(range(9))


@pytest.mark.skipif(not os.access("/tmp", os.W_OK), reason="no short directory here")
def test_a_long_temporary_directory_is_no_hindrance_to_a_fork_server(tmp_path):
    folder = tmp_path / ("long" * 32)
    folder.mkdir()
    program = """
import amorsize
if __name__ == "__main__":
    options = dict(backend="processes", start_method="forkserver", max_workers=2)
    assert amorsize.execute(abs, range(-9, 0), **options) == list(range(9, 0, -1))
    print("well")
"""
    assert run_program(tmp_path, program, TMPDIR=str(folder)) == "well\n"
