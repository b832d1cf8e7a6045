"""Items that fork, use descriptors that are not their own, or are late to be taken, rebuilt or sent."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import engine_functions as ef
import modes
import pytest
import strange_functions as sf
from lateness import only_late
from modes import ROOT, over

import amorsize
from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.team import Team
from amorsize.errors import ItemTimeoutError, WorkerLostError

N = 40
SQUARES = [x * x for x in range(N)]
METHODS = ["fork", "forkserver", "spawn"]
PATIENCE_S = 300  # a run that hangs is ended after this


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A program of its own: what climbs out of an item must not climb into these tests."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        **options,
    )


FORKING = """
import os, sys
import amorsize
import strange_functions as sf

def executed(func, **kw):
    return amorsize.execute(func, range(40), max_workers=2, **kw)
def streamed(func, **kw):
    return list(amorsize.stream(func, iter(range(40)), max_workers=2, **kw))
def awaited(func, **kw):
    import asyncio
    return asyncio.run(amorsize.execute_async(func, range(40), max_workers=2, **kw))
def submitted(func, **kw):
    with amorsize.Executor(max_workers=2) as executor:
        return list(executor.map(func, range(40)))
def planned(func, **kw):
    amorsize.optimize(func, range(40))
    return [x * x for x in range(40)]
def coroutines(func, **kw):
    async def run(x):
        return func(x)
    return amorsize.execute(run, range(40))

if __name__ == "__main__":
    entry, backend, method, *funcs = sys.argv[1:]
    for func in funcs:
        found = globals()[entry](getattr(sf, func), backend=backend, start_method=method or None)
        # An unbuffered line from each process that comes here.
        os.write(1, f"{func} {found == [x * x for x in range(40)]}\\n".encode())
"""

ENTRIES = [
    *(("executed", backend, method) for backend, method in [("serial", ""), ("threads", ""), ("auto", "")]),
    *(("executed", "processes", method) for method in METHODS),
    *(("streamed", "processes", method) for method in METHODS[:2]),
    ("streamed", "serial", ""),
    ("streamed", "threads", ""),
    ("awaited", "auto", ""),
    ("awaited", "threads", ""),
    ("submitted", "", ""),
    ("planned", "", ""),
    ("coroutines", "", ""),
]


class TestItemsThatFork:
    """An item calls ``os.fork()``: the copy must end with it, and never go on with the caller's program."""

    @pytest.mark.parametrize(("entry", "backend", "method"), ENTRIES, ids=lambda value: value or "default")
    def test_results_are_those_of_map_and_the_program_goes_on_once(self, tmp_path, entry, backend, method):
        funcs = ["come_back_twice", "exit_in_copy", "raise_in_copy", "fork_without_waiting"]
        (tmp_path / "program.py").write_text(FORKING)
        done = python(str(tmp_path / "program.py"), entry, backend, method, *funcs)
        assert (done.stdout, done.returncode) == ("".join(f"{func} True\n" for func in funcs), 0), done.stderr

    @over(*modes.PROCESSES)
    def test_a_fork_that_python_does_not_see(self, run):
        assert run(sf.fork_in_c, range(N)) == SQUARES

    @over(*modes.PROCESSES)
    def test_a_copy_runs_no_further_item_of_its_span(self, run, tmp_path):
        """Its effects would come twice."""
        data = [(str(tmp_path), x) for x in range(N)]
        assert run(sf.note_and_fork, data) == list(range(N))
        assert [ef.attempts(str(tmp_path), x) for x in range(N)] == [1] * N

    @over(modes.SERIAL, modes.THREADS)
    def test_what_a_copy_has_printed_is_written(self, mode, tmp_path):
        program = tmp_path / "program.py"
        program.write_text(
            "import amorsize, strange_functions as sf\n"
            f"amorsize.execute(sf.print_in_copy, range(1), backend={mode.backend!r})\n"
        )
        assert python(str(program)).stdout == "from the copy\n"


WRITING = """
import sys
import amorsize
import strange_functions as sf
if __name__ == "__main__":
    for _ in range(3):
        found = amorsize.execute(
            sf.write_everywhere, range(40), backend="processes", start_method=sys.argv[1], max_workers=2,
            on_error="collect",
        )
        print([x for x in range(40) if found[x] != x * x])
"""


class TestDescriptorsOfOthers:
    @over(*modes.PROCESSES)
    @pytest.mark.parametrize(
        "func",
        [sf.close_all, sf.close_all_and_stay, sf.close_and_open_others, sf.write_to_sockets, sf.write_one_byte],
    )
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_that_item_is_named_and_the_rest_is_intact(self, run, func, kind):
        """An item that closes or overwrites the worker's connection ended the whole map, or hung the caller."""
        found = run(func, kind(range(N)), on_error="collect")
        assert [x for x in range(N) if isinstance(found[x], amorsize.Failure)] == [17]
        assert isinstance(found[17].exception, WorkerLostError)
        assert "descriptors that are not its own" in str(found[17].exception)
        assert found[:17] + found[18:] == SQUARES[:17] + SQUARES[18:]

    def test_whatever_else_is_open(self, tmp_path, method):
        """In a program of its own, since the pipes of this one serve other purposes."""
        (tmp_path / "program.py").write_text(WRITING)
        done = python(str(tmp_path / "program.py"), method)
        assert (done.stdout, done.returncode) == ("[17]\n" * 3, 0), done.stderr

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("func", [sf.close_all, sf.write_to_sockets])
    def test_it_is_raised_where_failures_are(self, run, func):
        with pytest.raises(WorkerLostError) as caught:
            run(func, range(N))
        assert caught.value.index == 17
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.fault) == (str(caught.value), caught.value.fault)

    @pytest.mark.parametrize("func", [sf.close_all, sf.write_to_sockets])
    def test_an_executor_loses_that_call_alone(self, func):
        with amorsize.Executor(max_workers=2) as executor:
            futures = [executor.submit(func, x) for x in range(N)]
            failed = [x for x in range(N) if futures[x].exception() is not None]
        assert failed == [17]
        assert [f.result() for x, f in enumerate(futures) if x != 17] == SQUARES[:17] + SQUARES[18:]


def split(data: bytes) -> protocol.Frame:
    sizes = protocol.sizes_of(bytearray(data))
    assert sizes is not None
    assert protocol.length_of(sizes) == len(data)
    return protocol.split(bytearray(data), sizes)


def whole(*arguments: Any) -> bytes:
    return b"".join(bytes(part) for part in protocol.frame(*arguments))


class TestFrames:
    def test_a_frame_is_read_as_it_was_made(self):
        made = split(whole(protocol.DONE, [b"pickle", b"", b"buffer"], 3, 9))
        assert (made.kind, made.start, made.stop) == (protocol.DONE, 3, 9)
        assert [bytes(part) for part in made.parts] == [b"pickle", b"", b"buffer"]

    @pytest.mark.parametrize("garbage", [b"x", b"\xa5", b"\x9b" * 64, bytes(64)], ids=["one", "high", "many", "zeros"])
    def test_bytes_before_it_are_seen_at_once(self, garbage):
        with pytest.raises(protocol.BadFrame):
            protocol.sizes_of(bytearray(garbage + whole(protocol.READY)))

    @pytest.mark.parametrize("at", [40, 60, 100])
    def test_bytes_within_it_are_seen_at_its_end(self, at):
        """They would shift the pickle: wrong results, or an allocation of any size at the next frame."""
        data = whole(protocol.DONE, [bytes(100)], 0, 1)
        disturbed = bytearray(data[:at] + b"intruder" + data[at:])
        sizes = protocol.sizes_of(disturbed)
        assert sizes is not None
        with pytest.raises(protocol.BadFrame):
            protocol.split(disturbed[: protocol.length_of(sizes)], sizes)

    @pytest.mark.parametrize(("buffers", "size"), [(1 << 31, 1), (0, 1 << 62)])
    def test_lengths_that_nothing_has_are_refused(self, buffers, size):
        head = protocol.HEADER.pack(protocol.MARK, protocol.DONE, buffers, 0, 1, size)
        with pytest.raises(protocol.BadFrame):
            protocol.sizes_of(bytearray(head))


def all_results_or_one_is_named(found):
    wrong = [x for x in range(N) if found[x] != x * x]
    assert wrong in ([], [17])
    if wrong:
        assert isinstance(found[17].exception, WorkerLostError)


class TestAnswersToOtherSpans:
    """A foreign or doubled answer takes the worker's word away; it gives no result to another item."""

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("func", [sf.answer_twice, sf.answer_for_others, sf.answer_apart])
    def test_all_results_or_that_item_is_named(self, run, func):
        all_results_or_one_is_named(run(func, range(N), on_error="collect"))


class TestItemsThatReadTheConnection:
    """Chunks that an item has read off the worker's connection were waited for without end."""

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("func", [sf.read_all, sf.read_half, sf.read_beside])
    def test_all_results_or_that_item_is_named(self, run, func):
        all_results_or_one_is_named(run(func, range(N), on_error="collect"))


def late(found: list[Any]) -> list[tuple[int, type]]:
    return [(i, type(one.exception)) for i, one in enumerate(found) if isinstance(one, amorsize.Failure)]


def executed(func: Callable[[Any], Any], data: Any, method: str) -> list[Any]:
    """Run a map with a time limit; only item 3 may be late."""
    with only_late([3]):
        return amorsize.execute(
            func, data, timeout=0.5, start_method=method, max_workers=2, on_error="collect", retries=0
        )


class TestTimeoutBeyondTheFunction:
    """An item's time covers taking, rebuilding and running it, and pickling and sending its result."""

    def test_a_result_that_is_never_pickled(self, method, monkeypatch):
        monkeypatch.setenv(sf.CALLER, str(os.getpid()))
        found = executed(sf.slow_to_pickle, range(N), method)
        assert late(found) == [(3, ItemTimeoutError)]
        assert found[3].exception.index == 3
        assert [one.x for i, one in enumerate(found) if i != 3] == [x for x in range(N) if x != 3]

    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_an_item_that_is_never_rebuilt(self, method, kind, monkeypatch):
        """It comes in a pickle with others, which are sent again one by one."""
        monkeypatch.setenv(sf.CALLER, str(os.getpid()))
        found = executed(sf.number_of, kind([sf.SlowToRebuild(x) for x in range(N)]), method)
        if (method, kind) == ("fork", list):
            assert found == list(range(N))  # a forked worker holds its items already
        else:
            assert late(found) == [(3, ItemTimeoutError)]
            assert found[:3] + found[4:] == [x for x in range(N) if x != 3]

    def test_an_item_that_lazy_data_never_gives(self, monkeypatch):
        """Forked workers take the items themselves; for others the caller does, as a loop would."""
        monkeypatch.setenv(sf.CALLER, str(os.getpid()))
        found = executed(ef.echo, sf.Lazy(N), "fork")
        assert late(found) == [(3, ItemTimeoutError)]
        assert found[:3] + found[4:] == [x for x in range(N) if x != 3]

    def test_a_call_whose_result_is_never_pickled(self, monkeypatch):
        monkeypatch.setenv(sf.CALLER, str(os.getpid()))
        with only_late([3]), amorsize.Executor(max_workers=2, timeout=0.5) as executor:
            futures = [executor.submit(sf.slow_to_pickle, x) for x in range(6)]
            assert isinstance(futures[3].exception(), ItemTimeoutError)
            assert [f.result().x for i, f in enumerate(futures) if i != 3] == [0, 1, 2, 4, 5]


def test_the_slot_names_a_single_item_until_its_answer_is_sent(tmp_path):
    """The result is larger than the socket holds, and nothing reads it: the worker is in the middle of sending it."""
    team = Team(child.Setup(sf.megabytes), list(range(10)), "fork")
    try:
        team.start(0)
        while not team.handles[0].ready:
            team.wait(60)
        team.send_range(0, 5, 6)
        sf.until(lambda: len(team.handles[0].sock.recv(1 << 16, sf.PEEK)) > 1000, OSError)
        assert team.handles[0].item_and_start()[0] == 5
    finally:
        team.kill()
