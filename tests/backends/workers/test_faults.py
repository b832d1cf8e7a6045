"""Workers that die or cannot be started, and callers that are interrupted or killed."""

from __future__ import annotations

import errno
import itertools
import os
import select
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import engine_functions as ef
import modes
import psutil
import pytest
from disturbed import again_if_disturbed
from lanes import repeats
from modes import ROOT, Mode, over

import amorsize
from amorsize.errors import WorkerLostError
from amorsize.facts import Failure

N = 40
SQUARES = [x * x for x in range(N)]
PATIENCE_S = 300  # for the end of processes; far longer than they take

ENDS = {"SIGKILL": (signal.SIGKILL, None), "exit": (None, 3), "segfault": (signal.SIGSEGV, None)}


@pytest.fixture(autouse=True, scope="module")
def _no_core_files():
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


class TestWorkersThatDie:
    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("how", ENDS)
    def test_the_item_is_named_and_how_it_went(self, run, how):
        with pytest.raises(WorkerLostError) as caught:
            run(partial(ef.die_at, os.getpid(), how, (17,)), range(N))
        lost = caught.value
        assert (lost.index, (lost.signal, lost.exitcode)) == (17, ENDS[how])
        assert (how if how != "segfault" else "SIGSEGV") in str(lost)
        assert "item 17" in str(lost)

    @over(*modes.WITH_WORKERS)
    @pytest.mark.parametrize("how", [*ENDS, "abort"])
    def test_collect_keeps_all_other_results(self, run, how):
        found = run(partial(ef.die_at, os.getpid(), how, (17,)), range(N), on_error="collect")
        assert found[:17] + found[18:] == SQUARES[:17] + SQUARES[18:]
        if found[17] != SQUARES[17]:  # in an auto run the caller itself may have come to this item
            assert isinstance(found[17], Failure)
            assert found[17].index == 17
            assert found[17].exception.index == 17

    @over(*modes.PROCESSES)
    def test_hundreds_in_one_run(self, mode, run, tmp_path):
        """The fixture also checks that no process, descriptor or shared memory is left."""
        deaths = repeats(50, 200) if mode.start_method == "fork" else repeats(5, 20)  # 100 ms a start
        items = 100 * deaths
        bad = range(items // deaths // 2, items, items // deaths)
        found = run(partial(ef.die_once_at, os.getpid(), "SIGKILL", bad, str(tmp_path)), range(items))
        assert found == [x * x for x in range(items)]
        assert all(ef.attempts(str(tmp_path), x) >= 2 for x in bad)

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_several_items_and_the_first_and_last(self, run, kind):
        bad = (0, 1, 20, N - 1)
        found = run(partial(ef.die_at, os.getpid(), "SIGKILL", bad), kind(range(N)), on_error="collect")
        assert [x for x in range(N) if isinstance(found[x], Failure)] == list(bad)
        assert all(isinstance(found[x].exception, WorkerLostError) for x in bad)
        assert [found[x] for x in range(N) if x not in bad] == [x * x for x in range(N) if x not in bad]

    @over(*modes.PROCESSES)
    def test_every_item(self, run):
        found = run(partial(ef.die_at, os.getpid(), "exit", range(6)), range(6), on_error="collect")
        assert [(f.index, f.exception.index, f.exception.exitcode) for f in found] == [(x, x, 3) for x in range(6)]

    @over(*modes.PROCESSES)
    def test_the_only_item(self, run):
        with pytest.raises(WorkerLostError) as caught:
            run(partial(ef.die_at, os.getpid(), "SIGKILL", (0,)), [0])
        assert caught.value.index == 0

    @over(*modes.WITH_WORKERS)
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    @pytest.mark.parametrize("how", [*ENDS, "half a frame"])
    def test_once_and_nothing_is_lost(self, run, tmp_path, how, kind):
        func = partial(ef.die_once_at, os.getpid(), how, (7, 17, 18, 35), str(tmp_path))
        assert run(func, kind(range(N))) == SQUARES

    @over(Mode("processes", "fork"), Mode("auto", "fork", "processes"))
    def test_at_every_item_once_and_nothing_is_lost(self, run, tmp_path):
        func = partial(ef.die_once_at, os.getpid(), "SIGKILL", range(N), str(tmp_path))
        assert run(func, range(N)) == SQUARES

    @over(*modes.PROCESSES)
    def test_while_the_result_is_pickled(self, run):
        found = run(partial(ef.die_while_pickled, os.getpid(), 17), range(N), on_error="collect")
        assert found[:17] + found[18:] == [x for x in range(N) if x != 17]
        assert (found[17].exception.index, found[17].exception.exitcode) == (17, 3)

    @over(*modes.PROCESSES)
    def test_retries_do_not_count_deaths(self, run):
        with pytest.raises(WorkerLostError):
            run(partial(ef.die_at, os.getpid(), "exit", (17,)), range(N), retries=5)


class TestWorkersThatNeverCome:
    @over(*modes.PROCESSES)
    def test_a_death_before_the_first_item_is_told(self, run):
        with pytest.raises(WorkerLostError, match="before its first item") as caught:
            run(ef.square, range(N), initializer=ef.leave_unless, initargs=(os.getpid(),))
        assert (caught.value.index, caught.value.exitcode) == (None, 7)

    @over(*modes.TO_PROCESSES)
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    @pytest.mark.parametrize("func", [ef.square, ef.spin])
    def test_the_caller_runs_everything(self, run, kind, func):
        assert run(func, kind(range(N)), initializer=ef.leave_unless, initargs=(os.getpid(),)) == SQUARES

    @over(Mode("auto", "fork", "processes"))
    def test_and_says_so(self, run):
        func = partial(ef.spin, seconds=2e-3)  # too long for the caller to help while workers start
        _, plan = run(func, range(N), initializer=ef.leave_unless, initargs=(os.getpid(),), return_plan=True)
        assert any("the rest ran in the caller" in warning for warning in plan.warnings)
        (left,) = plan.withdrawn
        assert (left.backend, left.items) == ("processes", 0)
        assert 0 < left.cost_s <= left.wall_s <= plan.took_s

    @over(*modes.TO_PROCESSES)
    def test_and_raises_what_func_raises(self, run):
        with pytest.raises(ef.Refused):
            run(partial(ef.refuse, (30,)), range(N), initializer=ef.leave_unless, initargs=(os.getpid(),))

    @staticmethod
    def fork_failing_after(n: int, monkeypatch) -> None:
        forks, fork = itertools.count(), os.fork

        def failing() -> int:
            if next(forks) >= n:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return fork()

        monkeypatch.setattr(os, "fork", failing)

    @over(Mode("auto", "fork", "processes"))
    @pytest.mark.parametrize("forks", [0, 1, 2])
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    @pytest.mark.parametrize("func", [ef.square, ef.spin])
    def test_no_fork(self, run, monkeypatch, forks, kind, func):
        self.fork_failing_after(forks, monkeypatch)
        found, plan = run(func, kind(range(N)), return_plan=True)
        assert found == SQUARES
        assert any("could not be started" in warning for warning in plan.warnings) == (forks < 2)
        assert ("no worker could start" in [left.why for left in plan.withdrawn]) == (forks == 0)

    @over(Mode("processes", "fork"))
    def test_no_fork_where_the_caller_must_not_help(self, run, monkeypatch):
        self.fork_failing_after(0, monkeypatch)
        with pytest.raises(WorkerLostError, match="could not be started") as caught:
            run(ef.square, range(N))
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.index is None

    @over(Mode("processes", "fork"))
    def test_one_fork_is_enough(self, run, monkeypatch):
        self.fork_failing_after(1, monkeypatch)
        found = run(ef.where, range(N))
        assert len({pid for pid, _ in found}) == 1
        assert os.getpid() not in {pid for pid, _ in found}

    @over(Mode("auto", "fork", "processes"), Mode("processes", "fork"))
    @pytest.mark.parametrize("forks", [2, 3, 4])
    def test_no_fork_in_the_place_of_one_who_died(self, run, monkeypatch, tmp_path, forks, mode):
        """However early the replacements fail, results are kept, and the caller runs the other items if it may."""
        self.fork_failing_after(forks, monkeypatch)
        func = partial(ef.die_once_at, os.getpid(), "exit", (5, 11, 17, 30), str(tmp_path))
        if mode.in_caller:
            assert run(func, range(N)) == SQUARES
        else:
            with pytest.raises(WorkerLostError) as caught:
                run(func, range(N))
            assert caught.value.index is None

    @over(modes.TO_THREADS, modes.THREADS, modes.EITHER)
    @pytest.mark.parametrize("threads", [0, 1])
    def test_no_thread(self, run, monkeypatch, threads):
        starts, start = itertools.count(), threading.Thread.start

        def failing(self: threading.Thread) -> None:
            if self.name.startswith("amorsize-") and self.name != "amorsize-canary" and next(starts) >= threads:
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", failing)
        monkeypatch.setattr("amorsize.model.decide.Decider._doubt", lambda *_: None)
        assert run(ef.spin, range(N)) == SQUARES


PROGRAM = """
import os, signal, sys
import amorsize
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs these tests in the background ignores it
def stay(x):
    os.write(1, b"busy\\n")
    if x % 2 and sys.argv[1] == "processes":
        sum(range(10**15))  # in compiled code: no Python signal handler would ever run
    while True:
        pass
def stop(signum, frame):
    raise SystemExit(5)
if __name__ == "__main__":
    if sys.argv[3:] == ["handler"]:
        signal.signal(signal.SIGTERM, stop)
    try:
        amorsize.execute(stay, range(2), backend=sys.argv[1], start_method=sys.argv[2] or None, max_workers=2)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def ends(process: psutil.Process) -> bool:
    """Return True if the process ends in time, reaped or not."""
    if not (sys.platform == "linux" and process.is_running()):
        return not psutil.wait_procs([process], timeout=PATIENCE_S)[1]
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE_S)[0])
    finally:
        os.close(descriptor)


class TestCallerThatIsStopped:
    """No orphan is left, at any state of the workers."""

    @staticmethod
    def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
        (tmp_path / "program.py").write_text(PROGRAM)
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def busy(self, tmp_path: Path, *arguments: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        """Return a caller whose two workers run an item each, and all its descendants."""
        caller = self.start(tmp_path, *arguments)
        assert caller.stdout is not None
        assert [caller.stdout.readline() for _ in range(2)] == ["busy\n"] * 2
        family = psutil.Process(caller.pid).children(recursive=True)
        assert len(family) >= 2
        return caller, family

    @staticmethod
    def end(caller: subprocess.Popen[str], family: list[psutil.Process]) -> tuple[str, str]:
        out, err = caller.communicate()
        alive = [process for process in family if not ends(process)]
        for process in alive:
            process.kill()
        assert not alive
        return out, err

    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    @pytest.mark.parametrize("whom", ["the caller", "the whole group"])
    def test_ctrl_c(self, tmp_path, method, whom):
        caller, family = self.busy(tmp_path, "processes", method)
        (os.kill if whom == "the caller" else os.killpg)(caller.pid, signal.SIGINT)
        out, err = self.end(caller, family)
        assert (out, err, caller.returncode) == ("interrupted\n", "", 0)

    @pytest.mark.parametrize("backend", ["serial", "threads", "auto"])
    def test_ctrl_c_where_items_run_in_the_caller(self, tmp_path, backend):
        caller = self.start(tmp_path, backend, "")
        assert caller.stdout.readline() == "busy\n"
        os.kill(caller.pid, signal.SIGINT)
        out, err = caller.communicate()
        assert (out.removeprefix("busy\n"), err, caller.returncode) == ("interrupted\n", "", 0)

    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_killed(self, tmp_path, method, number):
        caller, family = self.busy(tmp_path, "processes", method)
        os.kill(caller.pid, number)
        self.end(caller, family)
        assert caller.returncode == -number

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_the_callers_own_handler_of_sigterm_is_for_the_caller(self, tmp_path, method):
        caller, family = self.busy(tmp_path, "processes", method, "handler")
        os.killpg(caller.pid, signal.SIGTERM)
        out, err = self.end(caller, family)
        assert (out, err) == ("", "")
        assert caller.returncode in (0, 5, 1)  # its handler's exit, or the error of the workers lost at the same moment


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)


SIGNALLED_AT_ONCE = """
import os, signal, sys
import amorsize
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("a handler of the caller's ran"))
fork = os.fork
def fork_and_signal():
    pid = fork()
    if not pid:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    return pid
os.fork = fork_and_signal
try:
    print(amorsize.execute(abs, range(9), backend="processes", start_method="fork", max_workers=2))
except BaseException as exc:
    print(type(exc).__name__)
"""


def test_ctrl_c_does_not_climb_into_the_copy_of_the_callers_stack():
    """A child interrupted right after the fork has a copy of the caller's stack, with its handlers."""
    done = python("-c", SIGNALLED_AT_ONCE, "SIGINT")
    assert (done.stdout, done.stderr) == (f"{list(range(9))}\n", "")


SIGNALLED_WHILE_IT_BOOTS = """
import os, signal
import amorsize
if __name__ == "__mp_main__":
    os.kill(os.getpid(), signal.SIGINT)
else:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    print(amorsize.execute(abs, range(9), backend="processes", start_method="spawn", max_workers=2))
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_ctrl_c_says_nothing_in_a_spawned_worker_that_boots(tmp_path):
    """Ctrl-C reaches all processes of the terminal's group, and such a worker has no handler yet."""
    (tmp_path / "program.py").write_text(SIGNALLED_WHILE_IT_BOOTS)
    done = python(str(tmp_path / "program.py"))
    assert (done.stdout, done.stderr) == (f"{list(range(9))}\nFalse\n", "")


def test_sigterm_right_after_the_fork_ends_the_worker_alone():
    done = python("-c", SIGNALLED_AT_ONCE, "SIGTERM")
    assert (done.stdout, done.stderr) == ("WorkerLostError\n", "")


def test_signals_are_received_again_after_a_run():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    amorsize.execute(ef.square, range(4), backend="processes", start_method="fork")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_signals_are_received_in_workers():
    blocked = amorsize.execute(ef.blocked_signals, range(2), backend="processes", start_method="fork")
    assert blocked == [[], []]


@pytest.mark.parametrize("backend", ["processes", "auto"])
def test_what_is_buffered_is_written_once(backend):
    code = f"""
import sys, amorsize
sys.stdout.write("once ")
sys.stderr.write("")
amorsize.execute(lambda x: sum(range(20_000)), range(300), backend={backend!r}, start_method="fork", max_workers=2)
sys.stdout.write("end")
"""
    assert python("-c", code).stdout == "once end"


def test_what_workers_print_is_not_lost():
    code = """
import sys, amorsize
from amorsize.backends.workers import connection
# One that is slow to end is no other's fault.
connection.LEAVE_S = 300
func = lambda x: sys.stdout.write(f"{x} ")
amorsize.execute(func, range(50), backend="processes", start_method="fork", max_workers=2)
"""
    assert sorted(map(int, python("-c", code).stdout.split())) == list(range(50))


UNGUARDED = """
import sys
import amorsize
print("imported", flush=True)
def square(x):
    return x * x
print(amorsize.execute(square, range(9), backend="processes", start_method=sys.argv[1], max_workers=2))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_unguarded_main_is_told_so_and_is_no_fork_bomb(tmp_path, method):
    (tmp_path / "program.py").write_text(UNGUARDED)
    done = python(str(tmp_path / "program.py"), method)
    assert done.returncode == 1
    assert done.stdout == "imported\n" * 3  # the program and its two workers
    assert "if __name__ == '__main__':" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("amorsize.errors.WorkerLostError")
    assert done.stderr.count("Traceback") == 1


UNGUARDED_HEAD = """
import sys, time, amorsize
from amorsize.plan.plan import Plan
method = sys.argv[1]
def slow(x):
    until = time.process_time() + 0.005
    while time.process_time() < until:
        pass
    return x
"""

UNGUARDED_CALLS = {
    "execute": "print(sum(amorsize.execute(slow, range(300), start_method=method)))",
    "stream": "print(sum(amorsize.stream(slow, range(300), start_method=method)))",
    "plan.pool": "print(sum(Plan(backend='processes', n_jobs=2, chunksize=1, start_method=method).pool()"
    ".map(slow, range(300))))",
}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("call", UNGUARDED_CALLS)
@again_if_disturbed
def test_an_unguarded_main_goes_on_in_the_caller_with_one_warning(tmp_path, call, method):
    """On a busy machine a worker may choose the loop for the call that it comes to, and print the result as well."""
    (tmp_path / "program.py").write_text(UNGUARDED_HEAD + UNGUARDED_CALLS[call])
    done = python(str(tmp_path / "program.py"), method)
    assert (done.returncode, done.stdout) == (0, f"{sum(range(300))}\n")
    assert done.stderr.count("RuntimeWarning") == done.stderr.count("if __name__ == '__main__':") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("call", ["Executor(2, mp_context=context)", "Pool(2, context=context)"])
def test_of_an_unguarded_main_an_executor_and_a_pool_say_so_once(tmp_path, call):
    (tmp_path / "program.py").write_text(
        "import amorsize, multiprocessing\ncontext = multiprocessing.get_context('spawn')\n"
        f"with amorsize.{call} as workers: print(list(workers.map(abs, range(9))))"
    )
    done = python(str(tmp_path / "program.py"))
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == done.stderr.count("if __name__ == '__main__':") == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("call", ["validate", "tune", "optimize"])
def test_of_an_unguarded_main_no_trial_starts_pools_without_end(tmp_path, call, method):
    backend = "processes" if call == "optimize" else ("serial", "processes")
    call = f"amorsize.{call}(slow, range(300), start_method=method, backend={backend!r})"
    (tmp_path / "program.py").write_text(UNGUARDED_HEAD + call)
    done = python(str(tmp_path / "program.py"), method)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: worker processes import the script again")
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_main_that_raises_in_workers_ends_the_pool_of_a_plan(tmp_path, method):
    """A Pool starts others in their place without end."""
    call = "if __name__ == '__main__': " + UNGUARDED_CALLS["plan.pool"] + "\nelse: raise SystemExit(3)\n"
    (tmp_path / "program.py").write_text(UNGUARDED_HEAD + call)
    done = python(str(tmp_path / "program.py"), method)
    assert done.returncode == 1
    assert "no worker of the plan's pool could start: " in done.stderr.splitlines()[-1]
    assert " ended, the last with exit code " in done.stderr.splitlines()[-1]


def test_an_unguarded_main_is_well_where_workers_are_forked(tmp_path):
    (tmp_path / "program.py").write_text(UNGUARDED)
    done = python(str(tmp_path / "program.py"), "fork")
    assert (done.returncode, done.stdout) == (0, f"imported\n{[x * x for x in range(9)]}\n")
