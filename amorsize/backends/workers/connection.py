"""The caller's side of one worker: reads and writes frames on its socket, kills and reaps it."""

from __future__ import annotations

import _thread
import mmap
import os
import select
import signal
import socket
import sys
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import ceil

from amorsize.backends.workers import child, protocol
from amorsize.system import belongings
from amorsize.system.critical import at_most, has_come

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# guess: bytes of one read from a socket
BLOCK: Final = 65536
# An idle worker ends in about 1 ms; those that hang while they end are killed after so many seconds (guess). One second
# is too short where others have the cores: what a worker has printed would be lost.
LEAVE_S: Final = 5.0
# Seconds between two checks of a process that has no descriptor to wait for (a guess).
POLL_S: Final = 1e-3
# The search for descendants of a worker ends at this number of them (a guess).
MOST_DETACHED: Final = 10_000
KILL: Final = signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM

STARTING = _thread.RLock()
"""Held while multiprocessing starts or closes a child: each start polls all its children, and would use a descriptor
that another thread closes at that moment."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=STARTING._at_fork_reinit)  # type: ignore[attr-defined]


class Slot:
    """Numbers that a worker shares with the caller: the item that runs, when it began, and the bytes sent to it.

    Parameters
    ----------
    inherited : bool
        True if the worker is forked from this process. Else ``fd`` is an anonymous file to be sent to the worker, or
        None where the system has no such files.
    """

    def __init__(self, *, inherited: bool) -> None:
        self.fd = None if inherited else _memory_file(child.SLOT_BYTES)
        self.memory = mmap.mmap(-1 if self.fd is None else self.fd, child.SLOT_BYTES)
        self.words = memoryview(self.memory).cast("q")
        self.words[0] = child.IDLE if inherited or self.fd is not None else child.UNKNOWN
        _slots.add(self)

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
            _slots.discard(self)


_slots: weakref.WeakSet[Slot] = weakref.WeakSet()


def open_slots() -> list[Slot]:
    """Return the slots whose memory has not been given back."""
    return list(_slots)


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
        # A large frame that is being received, and the sizes of its parts.
        self.target: bytearray | None = None
        self.sizes: list[int] = []
        self.filled = 0
        self.exitcode: int | None = None
        # True if it was reaped by polling, or by other code.
        self.has_ended = False
        self.reaped = False
        # True after its first message.
        self.ready = False
        # True for a warm worker before its first message of this map: it may have died while it waited.
        self.untried = False
        # Number of chunks that it has not answered.
        self.owes = 0
        # The first word of its slot when it was reaped.
        self.was_at = child.UNKNOWN
        # What was wrong with its connection, if it was ended for that.
        self.fault = ""
        # True if it ran on after the fault, so that its slot may name a later item.
        self.ran_on = False

    def item_and_start(self) -> tuple[int, int]:
        """Return the two words of its slot: what runs, and since when in nanoseconds of ``time.monotonic_ns``."""
        if self.reaped:
            return self.was_at, 0
        words = self.slot.words
        return int(words[0]), int(words[1])

    def read(self, block: bytearray) -> tuple[list[protocol.Frame], bool]:
        """Return all frames that have arrived, and True if none can follow: closed, or the bytes are no frame."""
        heard: list[protocol.Frame] = []
        try:
            return heard, self._read(block, heard)
        except ConnectionError:
            return heard, True
        except protocol.BadFrame as exc:
            self.fault = f"something else was written to its connection: {exc}"
        except (MemoryError, OverflowError):
            self.fault = "its results do not fit into memory"
        self.target, self.ran_on = None, True
        return heard, True

    def _read(self, block: bytearray, heard: list[protocol.Frame]) -> bool:
        view = memoryview(block)
        while True:
            try:
                if self.target is not None:
                    n = self.sock.recv_into(memoryview(self.target)[self.filled :])
                else:
                    n = self.sock.recv_into(block)
            except BlockingIOError:
                return False
            if not n:
                return True
            if self.target is not None:
                self.filled += n
                if self.filled == len(self.target):
                    target, self.target = self.target, None
                    heard.append(protocol.split(target, self.sizes))
                continue
            self.pending += view[:n]
            self._cut(heard)
            if n < len(block) and self.target is None:
                return False

    def _cut(self, heard: list[protocol.Frame]) -> None:
        while self.pending and (sizes := protocol.sizes_of(self.pending)) is not None:
            size = protocol.length_of(sizes)
            if len(self.pending) >= size:
                heard.append(protocol.split(self.pending[:size], sizes))
                del self.pending[:size]
                continue
            # A large frame is received in place: no growing buffer, no second copy.
            if size > BLOCK:
                self.target, self.sizes, self.filled = bytearray(size), sizes, len(self.pending)
                self.target[: self.filled] = self.pending
                self.pending.clear()
            return

    def post(self, parts: Sequence[Any]) -> bool:
        """Send a frame after what is left of earlier ones, as far as the socket takes it; return True if some is left.

        A frame in one part mostly goes out whole: it is not queued, which would take 2 µs more.
        """
        if len(parts) == 1 and not self.outbox:
            try:
                sent = self.sock.send(parts[0], protocol.QUIET)
            except BlockingIOError:
                sent = 0
            except ConnectionError:
                # `read` finds the end of the worker on the same socket.
                return False
            self.slot.words[2] += sent
            if sent == len(parts[0]):
                return False
            parts = [memoryview(parts[0])[sent:]]
        self.outbox.extend(protocol.views_of(parts))
        return self.write()

    def write(self) -> bool:
        """Send the bytes that the socket takes; return True if some are left."""
        try:
            while self.outbox:
                self.slot.words[2] += protocol.send_some(self.sock, self.outbox)
        except BlockingIOError:
            return True
        except ConnectionError:
            # `read` finds the end of the worker on the same socket.
            self.outbox.clear()
        return False

    def kill(self) -> None:
        """Kill the worker at once, with the programs that its items have started."""
        belongings.killed(self.pid)
        if self.has_ended or self.reaped:
            return
        # They are searched for while the worker lives. Afterwards they are no longer its descendants.
        detached = _detached(self.pid)
        if not self._end_group():
            with suppress(ProcessLookupError):
                os.kill(self.pid, KILL)
        for pid in detached:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, KILL)

    def _end_group(self) -> bool:
        """Kill all processes of its group. Return False if there is none: not yet, or on this system."""
        if not hasattr(os, "killpg"):
            return False
        try:
            os.killpg(self.pid, KILL)
        except ProcessLookupError:
            return False
        # A program there runs as another user; on macOS also: all processes of the group have ended.
        except PermissionError:
            return self._ends_within(0.0)
        return True

    def reap(self) -> None:
        """Wait for the worker to end, and store its exit code; see `amorsize.backends.workers.connection.reap`."""
        reap([self])

    def _ends_within(self, seconds: float) -> bool:
        """Return True if it has ended, or ends within so many seconds."""
        if self.has_ended or self.reaped:
            return True
        if self.pidfd is not None:
            return _readable(self.pidfd, seconds)
        if self.process is not None:
            self.process.join(seconds)
            return self.process.exitcode is not None
        deadline = time.monotonic() + seconds
        while not self._wait(os.WNOHANG):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _wait(self, options: int) -> bool:
        """Reap a forked worker; return False if it has not ended. The exit code is unknown if other code reaped it."""
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:
            self.has_ended = True
            return True
        if pid:
            self.exitcode, self.has_ended = os.waitstatus_to_exitcode(status), True
        return self.has_ended

    def _collect(self) -> None:
        """Store the exit code of a worker that has ended or was killed, and close its descriptors."""
        if self.reaped:
            return
        if self.process is not None:
            self.process.join()
            self.exitcode = self.process.exitcode
            # SIGCHLD is ignored: the system has reaped the child, and its exit code is unknown.
            if self.exitcode is None:
                self.process._popen.returncode = 0
            with STARTING:
                self.process.close()
        elif not self.has_ended:
            self._wait(0)
        belongings.reaped(self.pid)
        self.was_at, self.reaped = int(self.slot.words[0]), True
        self.slot.close()
        self.abandon()

    def forget(self) -> None:
        """Forget the worker in a forked copy of the caller, which is not its parent.

        multiprocessing must not end it there.
        """
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


def reap(handles: Sequence[Handle], *, whole: bool = False) -> None:
    """Wait for these workers to end and store their exit codes; kill those that are left after `LEAVE_S` seconds.

    ``whole``: they were lost, so the programs that their items have started are killed too.
    """
    deadline = time.monotonic() + LEAVE_S
    for handle in [one for one in handles if not _ends_by(one, deadline)]:
        handle.kill()
        if whole and not handle.fault:
            handle.fault = "its connection to the caller was closed while it ran"
    for handle in handles:
        # Before it is reaped: until then no other process can have its number.
        if whole:
            belongings.killed(handle.pid)
            handle._end_group()
        handle._collect()


def _ends_by(handle: Handle, deadline: float) -> bool:
    """Wait until a worker has ended; return False at the deadline, or when Ctrl-C waits for this."""
    while not handle._ends_within(at_most(max(0.0, deadline - time.monotonic()))):
        if time.monotonic() >= deadline or has_come():
            return False
    return True


def _detached(pid: int) -> list[int]:
    """Return the processes below a worker that have left its group (``start_new_session=True``); Linux alone tells."""
    found: list[int] = []
    todo = [pid]
    while todo and len(found) < MOST_DETACHED:
        at = f"/proc/{todo.pop()}/task"
        # It has ended meanwhile; or this is another system.
        with suppress(OSError, ValueError):
            for thread in os.listdir(at):
                with open(f"{at}/{thread}/children", "rb") as text:
                    below = [int(one) for one in text.read().split()]
                todo += below
                found += [one for one in below if os.getpgid(one) != pid]
    return found


def pidfd_of(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None where the system has none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    # An old kernel, or a sandbox that forbids it: end of file on the socket still shows the end of the worker.
    except OSError:
        return None


def _readable(fd: int, timeout_s: float) -> bool:
    """Return True if a descriptor becomes readable within ``timeout_s`` seconds; on Linux.

    This uses poll, which needs no descriptor of its own: there may be none left.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(ceil(timeout_s * 1e3)))


def _memory_file(size: int) -> int | None:
    """Return an anonymous file to share with processes that are not forked from here; None where there is none."""
    if not (hasattr(os, "memfd_create") and hasattr(socket, "send_fds")):
        return None
    fd = os.memfd_create("amorsize")
    os.ftruncate(fd, size)
    return fd
