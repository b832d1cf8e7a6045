"""The caller's side of one worker: reads and writes frames on its socket, kills and reaps it."""

from __future__ import annotations

import _thread
import mmap
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from amorsize.backends.workers import child, protocol

# guess: bytes of one read from a socket
BLOCK: Final = 65536
# An idle worker ends in about 1 ms; one that hangs while it ends is killed after so many seconds (guess).
LEAVE_S: Final = 1.0
# Two 64-bit integers: see `child.Slot`.
SLOT_BYTES: Final = 16

STARTING = _thread.RLock()
"""Held while multiprocessing starts or closes a child: each start polls all its children, and would use a descriptor
that another thread closes at that moment."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=STARTING._at_fork_reinit)  # type: ignore[attr-defined]


class Slot:
    """Two numbers that a worker shares with the caller: the item that runs, and when it began.

    Parameters
    ----------
    inherited : bool
        True if the worker is forked from this process. Else ``fd`` is an anonymous file to be sent to the worker, or
        None where the system has no such files.
    """

    def __init__(self, *, inherited: bool) -> None:
        self.fd = None if inherited else _memory_file(SLOT_BYTES)
        self.memory = mmap.mmap(-1 if self.fd is None else self.fd, SLOT_BYTES)
        self.words = memoryview(self.memory).cast("q")
        self.words[0] = child.IDLE if inherited or self.fd is not None else child.BETWEEN

    def hand_over(self) -> None:
        """Close the descriptor, after the worker has received it."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def close(self) -> None:
        """Release the memory."""
        self.hand_over()
        # BufferError: a view of it is still in use; the memory is released with that view.
        with suppress(BufferError):
            self.words.release()
            self.memory.close()


class Handle:
    """The caller's side of one worker: its socket, its pidfd, and the bytes on their way in and out."""

    def __init__(self, sock: socket.socket, pid: int, lifeline: int | None, slot: Slot) -> None:
        # Set by its team.
        self.number = -1
        self.sock = sock
        self.pid = pid
        self.lifeline = lifeline
        self.slot = slot
        # A multiprocessing.Process, unless forked here.
        self.process: Any = None
        self.start_method = "fork"
        self.pidfd: int | None = None
        self.outbox: deque[memoryview] = deque()
        self.pending = bytearray()
        # A large frame that is being received.
        self.target: bytearray | None = None
        self.filled = 0
        self.exitcode: int | None = None
        self.reaped = False
        # True after its first message.
        self.ready = False
        # True for a warm worker before its first message of this map: it may have died while it waited.
        self.untried = False
        # Number of chunks that it has not answered.
        self.owes = 0
        # The first word of its slot when it was reaped.
        self.was_at = child.BETWEEN

    def item_and_start(self) -> tuple[int, int]:
        """Return the index of the item that runs (or `child.IDLE`, `child.BETWEEN`), and its begin.

        The begin is in nanoseconds of ``time.monotonic_ns``.
        """
        if self.reaped:
            return self.was_at, 0
        words = self.slot.words
        return int(words[0]), int(words[1])

    def read(self, block: bytearray) -> tuple[list[tuple[int, list[Any]]], bool]:
        """Return all frames that have arrived, and True if the other end is closed."""
        heard: list[tuple[int, list[Any]]] = []
        view = memoryview(block)
        while True:
            try:
                if self.target is not None:
                    n = self.sock.recv_into(memoryview(self.target)[self.filled :])
                else:
                    n = self.sock.recv_into(block)
            except BlockingIOError:
                return heard, False
            except ConnectionError:
                return heard, True
            if not n:
                return heard, True
            if self.target is not None:
                self.filled += n
                if self.filled == len(self.target):
                    heard.append(_split(self.target))
                    self.target = None
                continue
            self.pending += view[:n]
            self._cut(heard)
            if n < len(block) and self.target is None:
                return heard, False

    def _cut(self, heard: list[tuple[int, list[Any]]]) -> None:
        while (size := _frame_size(self.pending)) is not None:
            if len(self.pending) >= size:
                heard.append(_split(self.pending[:size]))
                del self.pending[:size]
                continue
            # A large frame is received in place: no growing buffer, no second copy.
            if size > BLOCK:
                self.target, self.filled = bytearray(size), len(self.pending)
                self.target[: self.filled] = self.pending
                self.pending.clear()
            return

    def write(self) -> bool:
        """Send the bytes that the socket takes; return True if some are left."""
        while self.outbox:
            try:
                sent = self.sock.sendmsg(list(self.outbox)[:64])
            except BlockingIOError:
                return True
            except ConnectionError:
                # `read` finds the end of the worker on the same socket.
                self.outbox.clear()
                return False
            while sent:
                first = self.outbox[0]
                if sent >= len(first):
                    sent -= len(first)
                    self.outbox.popleft()
                else:
                    self.outbox[0] = first[sent:]
                    sent = 0
        return False

    def kill(self) -> None:
        """Kill the worker at once."""
        if self.exitcode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def reap(self, patience_s: float = LEAVE_S) -> None:
        """Wait for the worker to end, kill it after ``patience_s`` seconds, and store its exit code."""
        if self.process is not None and self.exitcode is None:
            self._reap_process(patience_s)
        elif self.exitcode is None:
            self.exitcode = _reap_forked(self.pid, self.pidfd, patience_s)
        if not self.reaped:
            self.was_at, self.reaped = int(self.slot.words[0]), True
            self.slot.close()
        self.abandon()

    def _reap_process(self, patience_s: float) -> None:
        self.process.join(patience_s)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.exitcode = self.process.exitcode
        # SIGCHLD is ignored: the system has reaped the child, and its exit code is unknown.
        if self.exitcode is None:
            self.process._popen.returncode = 0
        with STARTING:
            self.process.close()

    def forget(self) -> None:
        """In a forked copy of the caller: it is no child of this process, and multiprocessing must not end it."""
        if self.process is not None:
            sys.modules["multiprocessing.process"]._children.discard(self.process)
        self.abandon()

    def abandon(self) -> None:
        """Close the socket, the pidfd and the lifeline."""
        self.sock.close()
        for fd in (self.pidfd, self.lifeline):
            if fd is not None:
                os.close(fd)
        self.pidfd = self.lifeline = None


def _frame_size(data: bytearray) -> int | None:
    """Return the size in bytes of the frame that ``data`` begins with; None while its header is incomplete."""
    head = protocol.HEADER.size
    if len(data) < head:
        return None
    _, n_buffers, n_pickle = protocol.HEADER.unpack_from(data)
    sizes_end = head + n_buffers * protocol.SIZE.size
    if len(data) < sizes_end:
        return None
    sizes = (protocol.SIZE.unpack_from(data, at)[0] for at in range(head, sizes_end, protocol.SIZE.size))
    return int(sizes_end + n_pickle + sum(sizes))


def _split(data: bytearray) -> tuple[int, list[Any]]:
    kind, n_buffers, n_pickle = protocol.HEADER.unpack_from(data)
    at = protocol.HEADER.size
    sizes = [n_pickle]
    for _ in range(n_buffers):
        sizes.append(protocol.SIZE.unpack_from(data, at)[0])
        at += protocol.SIZE.size
    parts = []
    view = memoryview(data)
    for size in sizes:
        parts.append(view[at : at + size])
        at += size
    return kind, parts


def pidfd_of(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None where the system has none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    # An old kernel, or a sandbox that forbids it: end of file on the socket still shows the end of the worker.
    except OSError:
        return None


def _reap_forked(pid: int, pidfd: int | None, patience_s: float) -> int | None:
    """Wait for a forked child and return its exit code.

    Minus the signal's number if a signal ended it; None if other code has reaped it.
    """
    if pidfd is not None and not _readable([pidfd], patience_s):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def _readable(fds: Sequence[int], timeout_s: float) -> bool:
    """Return True if one of these becomes readable within ``timeout_s`` seconds.

    This uses poll, which needs no descriptor of its own: there may be none left.
    """
    with getattr(selectors, "PollSelector", selectors.SelectSelector)() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _memory_file(size: int) -> int | None:
    """Return an anonymous file to share with processes that are not forked from here; None where there is none."""
    if not (hasattr(os, "memfd_create") and hasattr(socket, "send_fds")):
        return None
    fd = os.memfd_create("amorsize")
    os.ftruncate(fd, size)
    return fd
