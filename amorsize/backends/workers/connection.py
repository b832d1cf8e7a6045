"""The caller's side of one worker: frames in and out of its socket, and how it ends."""

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

BLOCK: Final = 65536
LEAVE_S: Final = 1.0  # an idle worker leaves in about 1 ms; one that hangs on its way out is killed after this
SLOT_BYTES: Final = 16

STARTING = _thread.RLock()
"""multiprocessing looks after all its children whenever it starts one; closing one meanwhile, in another thread, would
pull a descriptor away from under it."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=STARTING._at_fork_reinit)  # type: ignore[attr-defined]


class Slot:
    """Two numbers that a worker shares with the caller: the item it is at, and when that began.

    Parameters
    ----------
    inherited : bool
        Whether the worker is forked from here; else ``fd`` is a file without a name that it can be sent, or None where
        there are no such files.
    """

    def __init__(self, *, inherited: bool) -> None:
        self.fd = None if inherited else _memory_file(SLOT_BYTES)
        self.memory = mmap.mmap(-1 if self.fd is None else self.fd, SLOT_BYTES)
        self.words = memoryview(self.memory).cast("q")
        self.words[0] = child.IDLE if inherited or self.fd is not None else child.BETWEEN

    def hand_over(self) -> None:
        """The worker has got it: nobody else will."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def close(self) -> None:
        """Give the memory back."""
        self.hand_over()
        with suppress(BufferError):  # somebody still looks at it: then it goes when he does
            self.words.release()
            self.memory.close()


class Handle:
    """The caller's side of one worker: its socket, how to see it die, and what is on its way in and out."""

    def __init__(self, sock: socket.socket, pid: int, lifeline: int | None, slot: Slot) -> None:
        self.number = -1  # under which its team knows it
        self.sock = sock
        self.pid = pid
        self.lifeline = lifeline
        self.slot = slot
        self.process: Any = None  # a multiprocessing.Process, unless forked here
        self.start_method = "fork"
        self.pidfd: int | None = None
        self.outbox: deque[memoryview] = deque()
        self.pending = bytearray()
        self.target: bytearray | None = None  # a large frame being filled
        self.filled = 0
        self.exitcode: int | None = None
        self.reaped = False
        self.ready = False  # has answered anything at all
        self.untried = False  # it has waited for this map, and may have died meanwhile
        self.owes = 0  # answers to spans
        self.was_at = child.BETWEEN  # what its slot said when it was gone

    def item_and_start(self) -> tuple[int, int]:
        """Which item it is at (or why at none), and when that began (``time.monotonic_ns``)."""
        if self.reaped:
            return self.was_at, 0
        words = self.slot.words
        return int(words[0]), int(words[1])

    def read(self, block: bytearray) -> tuple[list[tuple[int, list[Any]]], bool]:
        """All heard that have arrived, and whether the other end is closed."""
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
            if size > BLOCK:  # fill it in place: no growing buffer, no second copy
                self.target, self.filled = bytearray(size), len(self.pending)
                self.target[: self.filled] = self.pending
                self.pending.clear()
            return

    def write(self) -> bool:
        """Send what the socket takes; True when something is left over."""
        while self.outbox:
            try:
                sent = self.sock.sendmsg(list(self.outbox)[:64])
            except BlockingIOError:
                return True
            except ConnectionError:
                self.outbox.clear()  # its death will be read from the same socket
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
        """End it at once."""
        if self.exitcode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def reap(self, patience_s: float = LEAVE_S) -> None:
        """Wait for it to end, kill it when it takes too long, and learn its exit code."""
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
        if self.exitcode is None:  # SIGCHLD is ignored: the system has reaped it, and nobody can tell
            self.process._popen.returncode = 0
        with STARTING:
            self.process.close()

    def abandon(self) -> None:
        """Close all that is held here for it."""
        self.sock.close()
        for fd in (self.pidfd, self.lifeline):
            if fd is not None:
                os.close(fd)
        self.pidfd = self.lifeline = None


def _frame_size(data: bytearray) -> int | None:
    """Bytes of the frame that ``data`` begins with; None while too little of it is here to tell."""
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
    """A descriptor that becomes readable when the process ends; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox that forbids it: end of file on the socket still tells
        return None


def _reap_forked(pid: int, pidfd: int | None, patience_s: float) -> int | None:
    """Wait for a forked child; its exit code, or minus the signal that ended it, or None if another reaped it."""
    if pidfd is not None and not _readable([pidfd], patience_s):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def _readable(fds: Sequence[int], timeout_s: float) -> bool:
    """Whether any of these has something to say; needs no descriptor itself, of which there may be none left."""
    with getattr(selectors, "PollSelector", selectors.SelectSelector)() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _memory_file(size: int) -> int | None:
    """A file without a name, to be shared with processes that are not forked from here; None where there is none."""
    if not (hasattr(os, "memfd_create") and hasattr(socket, "send_fds")):
        return None
    fd = os.memfd_create("amorsize")
    os.ftruncate(fd, size)
    return fd
