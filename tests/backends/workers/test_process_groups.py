"""A worker and the programs that its items run end together; the terminal, stops of the caller, and ways out."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import engine_functions as ef
import psutil
import pytest
from lateness import only_late
from modes import ROOT

import amorsize
from amorsize.backends.ticks import Absence
from amorsize.backends.workers import child, connection
from amorsize.backends.workers.team import Team
from amorsize.executor.wakeup import Bell

METHODS = ["fork", "forkserver", "spawn"]
PATIENCE_S = 300  # for what must happen; far above what it takes


def until(condition: Callable[[], object]) -> None:
    """Look again until it holds; gives up after a long time, so that a failed test ends."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1e-3)


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


def run_in_a_session_of_its_own(folder: str, x: int) -> None:
    """A program that leaves the worker's group, and one that it starts in a further session."""
    inner = f"import os, time; open({folder!r} + '/inner{x}', 'w').write(str(os.getpid())); time.sleep(1000)"
    outer = (
        "import os, subprocess, sys\n"
        f"inner = subprocess.Popen([sys.executable, '-c', {inner!r}], start_new_session=True)\n"
        f"open({folder!r} + '/outer{x}', 'w').write(str(os.getpid()))\n"
        "inner.wait()"
    )
    subprocess.run([sys.executable, "-c", outer], start_new_session=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells which processes are below one")
def test_programs_in_sessions_of_their_own_end_with_a_worker_that_is_late(method, tmp_path):
    """To kill the worker's group did not reach them."""
    func = partial(run_in_a_session_of_its_own, str(tmp_path))

    def all_run() -> bool:
        texts = [path.read_text() for path in tmp_path.iterdir()]
        return len(texts) == 4 and all(texts)

    with only_late(range(2), all_run):
        found = amorsize.execute(func, range(2), start_method=method, max_workers=2, timeout=0.5, on_error="collect")
    assert [type(one.exception) for one in found] == [amorsize.errors.ItemTimeoutError] * 2
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    assert len(pids) == 4
    until(lambda: all(map(has_ended, pids)))


def name_of(one: psutil.Process) -> str:
    """Return the name of a process; none if it has ended."""
    try:
        return str(one.name())
    except psutil.NoSuchProcess:
        return ""


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


PROGRAM = """
import os, signal, subprocess, sys
import amorsize
signal.signal(signal.SIGINT, signal.default_int_handler)
def item(x):
    # A shell, and a program that it starts.
    subprocess.run("echo go; sleep 1000 | cat", shell=True)
if __name__ == "__main__":
    from lateness import only_late
    method, timeout, mark = sys.argv[1], float(sys.argv[2]) or None, sys.argv[3]
    options = dict(backend="processes", start_method=method, max_workers=2, timeout=timeout, on_error="collect")
    try:
        with only_late(range(2), lambda: os.path.exists(mark)):
            found = amorsize.execute(item, range(2), **options)
        print([type(one.exception).__name__ for one in found], flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


class TestProgramsOfItems:
    """Items that call ``subprocess.run`` left every program alive."""

    @pytest.fixture
    def start(self, tmp_path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], list[psutil.Process]]]]:
        callers: list[subprocess.Popen[str]] = []
        families: list[psutil.Process] = []
        (tmp_path / "program.py").write_text(PROGRAM)

        def start(method: str, timeout_s: float = 0.0) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
            caller = subprocess.Popen(
                [sys.executable, str(tmp_path / "program.py"), method, str(timeout_s), str(tmp_path / "mark")],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])},
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            callers.append(caller)
            assert caller.stdout is not None
            assert [caller.stdout.readline() for _ in range(2)] == ["go\n"] * 2
            until(lambda: sum(name_of(one) == "cat" for one in self.family(caller)) == 2)
            families.extend(self.family(caller))
            return caller, families

        yield start
        for caller in callers:
            caller.kill()
        # First: programs that have been left alive hold the other end of the pipe.
        for one in families:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        for caller in callers:
            caller.communicate()

    @staticmethod
    def family(caller: subprocess.Popen[str]) -> list[psutil.Process]:
        return [one for one in psutil.Process(caller.pid).children(recursive=True) if name_of(one)]

    @staticmethod
    def none_is_left(family: list[psutil.Process]) -> bool:
        return all(has_ended(one.pid) for one in family if one.is_running())

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_they_end_with_the_caller(self, start, method, number):
        """Ctrl-C; a supervisor; and ``kill -9``, after which only the kernel can end them."""
        caller, family = start(method)
        os.kill(caller.pid, number)
        out, _ = caller.communicate(timeout=PATIENCE_S)
        assert out == ("interrupted\n" if number == signal.SIGINT else "")
        until(lambda: self.none_is_left(family))

    def test_they_end_with_an_item_that_is_late(self, start, method, tmp_path):
        caller, family = start(method, 0.5)
        (tmp_path / "mark").touch()
        out, _ = caller.communicate(timeout=PATIENCE_S)
        assert out.splitlines()[-1] == "['ItemTimeoutError', 'ItemTimeoutError']"
        until(lambda: self.none_is_left(family))

    def test_they_end_with_a_worker_that_is_killed(self, start, method):
        _, family = start(method)
        programs = [one for one in family if name_of(one) in ("sleep", "cat")]
        workers = {one.parent().parent() for one in programs}
        for worker in workers:
            worker.kill()
        until(lambda: self.none_is_left(programs))

    def test_ctrl_c_is_not_ignored_by_them(self, method):
        found = amorsize.execute(ignored_signals, range(2), backend="processes", start_method=method, max_workers=2)
        assert not any(mask >> (signal.SIGINT - 1) & 1 for mask in found)

    def test_what_an_item_leaves_running_lives_on_after_an_ordinary_end(self, method):
        """As it does after `map`: only what ends a worker early ends them, too."""
        (pid,) = amorsize.execute(leave_a_program, [0], backend="processes", start_method=method, max_workers=1)
        program = psutil.Process(pid)
        try:
            assert program.name() == "sleep"
        finally:
            program.kill()


def ignored_signals(_: int) -> int:
    text = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    return int(text.partition("SigIgn:")[2].split()[0], 16)


def leave_a_program(_: int) -> int:
    return subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid


TERMINAL = """
import subprocess, sys
import amorsize
def ask(x):
    try:
        return input()
    except (EOFError, OSError) as exc:
        return type(exc).__name__
def read_all(x):
    return sys.stdin.read()
def ask_the_terminal(x):
    try:
        return open("/dev/tty").readline()
    except OSError as exc:
        return type(exc).__name__
def have_a_program_ask(x):
    return subprocess.run(["head", "-1"], capture_output=True, text=True).stdout
def have_a_program_ask_the_terminal(x):
    return subprocess.run("head -1 </dev/tty", shell=True, capture_output=True, text=True).stdout
def write(x):
    return open("/dev/tty", "w").write("written")
if __name__ == "__main__":
    for func in (ask, read_all, ask_the_terminal, have_a_program_ask, have_a_program_ask_the_terminal, write):
        found = amorsize.execute(func, [0], backend="processes", start_method=sys.argv[1], max_workers=1)
        print(func.__name__, found, flush=True)
"""


def test_an_item_that_reads_the_terminal_is_told_so(tmp_path, method):
    """A group in the background that reads the terminal is stopped by the kernel, without a word."""
    (tmp_path / "program.py").write_text(TERMINAL)
    pid, terminal = pty.fork()
    if not pid:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, str(tmp_path / "program.py"), method])
    watchdog = threading.Timer(PATIENCE_S, os.kill, (pid, signal.SIGKILL))
    watchdog.start()
    text = b""
    try:
        while got := os.read(terminal, 4096):
            text += got
    except OSError:  # all that had the terminal open have ended
        pass
    finally:
        watchdog.cancel()
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
    lines = text.decode().replace("written", "").splitlines()
    assert lines == [
        "ask ['EOFError']",
        "read_all ['']",
        "ask_the_terminal ['OSError']",
        "have_a_program_ask ['']",
        "have_a_program_ask_the_terminal ['']",
        "write [7]",
    ]
    assert status == 0


class TestStopsOfTheCaller:
    """Ctrl-Z for some seconds and ``fg``, ``docker pause``, a debugger: items in flight were called late."""

    def test_time_without_looks_does_not_count(self):
        absence = Absence(0.1)
        for tenth in range(10):
            absence.look(tenth / 10)
        absence.look(10.0)
        assert absence.present_s(0.5, 10.0) == pytest.approx(0.5)
        # One that began while nothing was looked at.
        assert absence.present_s(9.0, 10.0) == pytest.approx(0.0)
        absence.look(10.05)
        assert absence.present_s(9.0, 10.05) == pytest.approx(0.05)

    def test_an_item_is_not_late_because_the_caller_was_stopped(self, method, monkeypatch, tmp_path):
        """The caller's clock leaps by an hour between two looks: for it, that is what a stop is like."""
        from amorsize.backends import processes

        leap = Leap(tmp_path / "looked")
        monkeypatch.setattr(processes, "time", leap)
        wait = partial(wait_for, str(leap.path))
        assert amorsize.execute(wait, range(4), timeout=60.0, start_method=method, max_workers=2) == list(range(4))
        assert leap.looks >= 3

    def test_a_coroutine_is_not_late_because_the_caller_was_stopped(self):
        """As for all other items: the loop's clock leaps by an hour between two looks."""
        begun: list[int] = []

        async def main() -> list[int]:
            leapt, loop = asyncio.Event(), asyncio.get_running_loop()
            clock, leap_s = loop.time, 0.0

            async def wait(x: int) -> int:
                begun.append(x)
                await leapt.wait()
                return x

            loop.time = lambda: clock() + leap_s  # type: ignore[method-assign]
            running = asyncio.ensure_future(amorsize.execute_async(wait, range(3), timeout=60.0))
            while len(begun) < 3:
                await asyncio.sleep(0)
            leap_s = 3600.0
            # Some turns of the loop, in which all timers that are due run.
            for _ in range(5):
                await asyncio.sleep(1e-3)
            leapt.set()
            return await running

        assert asyncio.run(main()) == list(range(3))

    def test_a_worker_that_hangs_is_ended_all_the_same(self, method):
        options = {"start_method": method, "max_workers": 2, "on_error": "collect"}
        with only_late([1]):
            found = amorsize.execute(ef.hang_at_odd, range(2), timeout=0.5, **options)
        assert found[0] == 0
        assert isinstance(found[1], amorsize.Failure)


def wait_for(path: str, x: int) -> int:
    until(lambda: os.path.exists(path))
    return x


class Leap:
    """The module ``time`` with a clock that leaps by an hour at its second reading; at the third there is a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        if self.looks == 3:
            self.path.touch()
        return time.monotonic() + (3600.0 if self.looks > 1 else 0.0)

    def __getattr__(self, name: str):
        return getattr(time, name)


class TestWaysOut:
    def test_workers_that_hang_on_their_way_out_are_waited_for_together(self, method, monkeypatch):
        """Each got a second of its own: 64 of them took a minute."""
        monkeypatch.setattr(connection, "LEAVE_S", 1.0)
        team = Team(child.Setup(ef.hang_at_odd), [1] * 8 if method == "fork" else None, method)
        handles = []
        try:
            for number in range(4):
                team.start(number)
            handles = [team.handles[number] for number in range(4)]
            while not all(handle.ready for handle in handles):
                team.wait(PATIENCE_S)
            for number in range(4):
                if method == "fork":
                    team.send_range(number, number, number + 1)
                else:
                    team.send_items(number, number, number + 1, [1])
            until(lambda: all(handle.slot.words[0] >= 0 for handle in handles))
            waits: list[float] = []
            readable = connection._readable

            def spy(fds, seconds):
                waits.append(seconds)
                return readable(fds, seconds)

            monkeypatch.setattr(connection, "_readable", spy)
        finally:
            team.close()
        assert [handle.exitcode for handle in handles] == [-9] * 4
        assert sum(waits) <= connection.LEAVE_S


BROKEN_PIPES = """
import os, signal, sys
import amorsize
def item(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(x) if isinstance(x, bytes) else x
def large(x):
    if os.path.exists(sys.argv[2]):
        return len(x)
    open(sys.argv[2], "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    data = [bytes(3_000_000)] * 8
    print(amorsize.execute(large, iter(data), backend="processes", start_method=sys.argv[1], max_workers=2))
    with amorsize.Executor(max_workers=2) as executor:
        futures = [executor.submit(item, x) for x in (data[0], 3, data[0])]
        print([type(future.exception()).__name__ for future in futures])
"""


class TestSigpipe:
    """``signal(SIGPIPE, SIG_DFL)``, as command-line tools have it, and a worker dies while it is sent to."""

    def test_the_caller_lives_and_the_item_is_repeated(self, tmp_path, method):
        (tmp_path / "program.py").write_text(BROKEN_PIPES)
        done = subprocess.run(
            [sys.executable, str(tmp_path / "program.py"), method, str(tmp_path / "flag")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        wanted = f"{[3_000_000] * 8}\n['NoneType', 'WorkerLostError', 'NoneType']\n"
        assert (done.stdout, done.returncode) == (wanted, 0), done.stderr

    def test_no_frame_and_no_ring_raises_it(self, monkeypatch):
        """The other end is closed: the signal would end this process."""
        received: list[int] = []
        before = signal.signal(signal.SIGPIPE, lambda number, frame: received.append(number))
        try:
            team = Team(child.Setup(ef.square), list(range(4)), "fork")
            team.start(0)
            handle = team.handles[0]
            os.kill(handle.pid, signal.SIGKILL)
            assert handle.pidfd is not None
            connection._readable(handle.pidfd, PATIENCE_S)
            team.send_range(0, 0, 1)
            team.kill()
            bell = Bell()
            bell.sock.close()
            bell.ring()
            bell.close()
        finally:
            signal.signal(signal.SIGPIPE, before)
        assert received == []


def test_a_fork_server_does_not_outlive_its_caller(tmp_path: Path):
    """Workers held its lifeline, so that it lived as long as any of them."""
    found = amorsize.execute(holds_fork_server, range(2), backend="processes", start_method="forkserver", max_workers=2)
    assert found == [None, None]


def holds_fork_server(_: int) -> object:
    return sys.modules["multiprocessing.forkserver"]._forkserver._forkserver_alive_fd
