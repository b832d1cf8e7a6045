"""Functions whose items fork, use descriptors that are not their own, or do not end where they are not looked for."""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import engine_functions as ef

CALLER = "AMORSIZE_TEST_CALLER"
PEEK = socket.MSG_PEEK
BAD = 17


def until(condition: Callable[[], object], *passing: type[Exception]) -> None:
    """Look again until it holds; gives up after a long time, so that a failed test ends."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if condition():
                return
        except passing:
            pass
        assert time.monotonic() < deadline
        time.sleep(1e-3)


# -- forking ---------------------------------------------------------------------------------------------------------


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def come_back_twice(x: int) -> int:
    if x % 3 == 1 and (pid := os.fork()):
        assert end_of(pid) == 0
    return x * x


def fork_without_waiting(x: int) -> int:
    if x % 7 == 1:
        os.fork()
    return x * x


def exit_in_copy(x: int) -> int:
    if x % 3 == 1:
        pid = os.fork()
        if not pid:
            sys.exit(3)
        assert end_of(pid) == 3
    return x * x


def raise_in_copy(x: int) -> int:
    if x % 3 == 1:
        pid = os.fork()
        if not pid:
            raise ef.Refused(x)
        assert end_of(pid) == 1
    return x * x


def fork_in_c(x: int) -> int:
    import ctypes

    if x % 5 == 1 and (pid := ctypes.CDLL(None).fork()):
        assert end_of(pid) == 0
    return x * x


def note_and_fork(item: tuple[str, int]) -> int:
    folder, x = item
    ef.note_attempt(folder, x)
    if x % 7 == 1 and (pid := os.fork()):
        assert end_of(pid) == 0
    return x


def print_in_copy(x: int) -> int:
    pid = os.fork()
    if not pid:
        sys.stdout.write("from the copy\n")
    else:
        assert end_of(pid) == 0
    return x


# -- descriptors -----------------------------------------------------------------------------------------------------

LAST = 256
kept: list[Any] = []


def close_all(x: int) -> int:
    if x == BAD:
        os.closerange(3, LAST)
    return x * x


def close_all_and_stay(x: int) -> int:
    if x == BAD:
        os.closerange(3, LAST)
        time.sleep(100)
    return x * x


def close_and_open_others(x: int) -> int:
    """The worker's numbers stand for something else then, a connection to a server, say."""
    if x == BAD:
        os.closerange(3, LAST)
        kept.extend(socket.socketpair() for _ in range(20))
    return x * x


def write_everywhere(x: int) -> int:
    _write(x, os.urandom(1000), lambda mode: True)
    return x * x


def write_to_sockets(x: int) -> int:
    _write(x, os.urandom(1000), stat.S_ISSOCK)
    return x * x


def write_one_byte(x: int) -> int:
    _write(x, b"\n", stat.S_ISSOCK)
    return x * x


def _write(x: int, what: bytes, where: Callable[[int], bool]) -> None:
    if x == BAD:
        for number in range(3, LAST):
            try:
                if where(os.fstat(number).st_mode):
                    os.write(number, what)
            except OSError:
                continue


# -- answers ---------------------------------------------------------------------------------------------------------


def _connection() -> socket.socket:
    from amorsize.backends.workers import child

    frame = sys._getframe()
    while frame.f_code is not child.serve.__code__:
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_locals["sock"]


def _forge(start: int, stop: int, results: list[Any], *, apart: bool = False) -> None:
    from amorsize.backends.workers import protocol

    dumped = () if apart else protocol.dumps(((0.0, 0.0, 0, ()), results, []))
    kind = protocol.APART if apart else protocol.DONE
    protocol.send(_connection(), protocol.frame(kind, dumped, start, stop))


def answer_twice(x: int) -> int:
    """The second answer is that of the worker itself, to a span that has been answered, or to one of several items."""
    if x == BAD:
        _forge(x, x + 1, [x * x])
    return x * x


def answer_for_others(x: int) -> int:
    if x == BAD:
        _forge(2, 5, ["wrong"] * 3)
    return x * x


def answer_apart(x: int) -> int:
    if x == BAD:
        _forge(2, 5, [], apart=True)
    return x * x


def read_all(x: int) -> int:
    """Reads the next chunk off the worker's connection, if one comes."""
    if x == BAD:
        connection = _connection()
        if select.select([connection], [], [], 5.0)[0]:
            connection.recv(1 << 20)
    return x * x


def read_half(x: int) -> int:
    if x == BAD:
        connection = _connection()
        if select.select([connection], [], [], 5.0)[0]:
            connection.recv(10)
    return x * x


def read_beside(x: int) -> int:
    """A thread that the item leaves behind reads what comes once the worker waits."""
    if x == BAD:
        threading.Thread(target=_take_for, args=(_connection(), 2.0), daemon=True).start()
    return x * x


def _take_for(connection: socket.socket, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        try:
            connection.recv(1 << 20, socket.MSG_DONTWAIT)
        except OSError:
            continue


# -- late ------------------------------------------------------------------------------------------------------------


def _stay(x: int) -> None:
    """Do not come back for item 3, unless this is the caller."""
    while x == 3 and os.environ.get(CALLER) != str(os.getpid()):
        time.sleep(0.05)


class SlowToPickle:
    def __init__(self, x: int) -> None:
        self.x = x

    def __reduce__(self) -> Any:
        _stay(self.x)
        return SlowToPickle, (self.x,)


def slow_to_pickle(x: int) -> SlowToPickle:
    return SlowToPickle(x)


class SlowToRebuild:
    def __init__(self, x: int) -> None:
        _stay(x)
        self.x = x

    def __reduce__(self) -> Any:
        return SlowToRebuild, (self.x,)


def number_of(item: SlowToRebuild) -> int:
    return item.x


class Lazy(Sequence[int]):
    """Data that makes its items when they are asked for."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        _stay(index)
        return index


def megabytes(x: int) -> bytes:
    return bytes(50_000_000)
