"""Worker processes with a socket each, and the one place where the caller waits for all of them.

Sending never blocks (what a socket does not take waits in an outbox) and neither does receiving, so that two spans in
flight and a large result cannot lock each other, and a worker killed in mid-message cannot hold the caller. The death
of a worker shows as end of file on its socket or on its pidfd, after all that it sent has been read.

Forked workers are bare ``os.fork`` children: they hold function and data already, and the first results are there
after 3-5 ms (``multiprocessing.Pool``: 13). Others are started by ``multiprocessing`` and sent the function once.
"""

from __future__ import annotations

import mmap
import os
import selectors
import signal
import socket
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, NamedTuple

from amorsize import worker as child

BLOCK: Final = 65536
LEAVE_S: Final = 1.0  # an idle worker leaves in about 1 ms; one that hangs on its way out is killed after this


class Message(NamedTuple):
    """A frame from a worker, or (kind None) the news that it is gone."""

    worker: int
    kind: int | None
    parts: list[Any]


class Handle:
    """The caller's side of one worker: its socket, how to see it die, and what is on its way in and out."""

    def __init__(
        self, number: int, sock: socket.socket, pid: int, lifeline: int | None, slot: Any, slot_at: int
    ) -> None:
        self.number = number
        self.sock = sock
        self.pid = pid
        self.lifeline = lifeline
        self.slot = slot
        self.slot_at = slot_at
        self.process: Any = None  # a multiprocessing.Process, unless forked here
        self.pidfd: int | None = None
        self.outbox: deque[memoryview] = deque()
        self.pending = bytearray()
        self.target: bytearray | None = None  # a large frame being filled
        self.filled = 0
        self.exitcode: int | None = None
        self.was_at = child.BETWEEN  # what its slot said when it was gone; the slot itself may be another's by now

    def item_and_start(self) -> tuple[int, int]:
        """Which item it is at (or why at none), and when that began (``time.monotonic_ns``)."""
        return (int(self.slot[0]), int(self.slot[1])) if self.slot is not None else (child.BETWEEN, 0)

    def read(self, block: bytearray) -> tuple[list[tuple[int, list[Any]]], bool]:
        """All frames that have arrived, and whether the other end is closed."""
        frames: list[tuple[int, list[Any]]] = []
        view = memoryview(block)
        while True:
            try:
                if self.target is not None:
                    n = self.sock.recv_into(memoryview(self.target)[self.filled :])
                else:
                    n = self.sock.recv_into(block)
            except BlockingIOError:
                return frames, False
            except ConnectionError:
                return frames, True
            if not n:
                return frames, True
            if self.target is not None:
                self.filled += n
                if self.filled == len(self.target):
                    frames.append(_split(self.target))
                    self.target = None
                continue
            self.pending += view[:n]
            self._cut(frames)
            if n < len(block) and self.target is None:
                return frames, False

    def _cut(self, frames: list[tuple[int, list[Any]]]) -> None:
        while (size := _frame_size(self.pending)) is not None:
            if len(self.pending) >= size:
                frames.append(_split(self.pending[:size]))
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


def _frame_size(data: bytearray) -> int | None:
    """Bytes of the frame that ``data`` begins with; None while too little of it is here to tell."""
    head = child.HEADER.size
    if len(data) < head:
        return None
    _, n_buffers, n_pickle = child.HEADER.unpack_from(data)
    sizes_end = head + n_buffers * child.SIZE.size
    if len(data) < sizes_end:
        return None
    sizes = (child.SIZE.unpack_from(data, at)[0] for at in range(head, sizes_end, child.SIZE.size))
    return int(sizes_end + n_pickle + sum(sizes))


def _split(data: bytearray) -> tuple[int, list[Any]]:
    kind, n_buffers, n_pickle = child.HEADER.unpack_from(data)
    at = child.HEADER.size
    sizes = [n_pickle]
    for _ in range(n_buffers):
        sizes.append(child.SIZE.unpack_from(data, at)[0])
        at += child.SIZE.size
    parts = []
    view = memoryview(data)
    for size in sizes:
        parts.append(view[at : at + size])
        at += size
    return kind, parts


class Team:
    """Some worker processes of one map.

    Parameters
    ----------
    setup : worker.Setup
        Function and settings.
    data : object
        What forked workers inherit and take their index ranges from; None: items are sent.
    start_method : {"fork", "forkserver", "spawn"}
        How workers start.
    slots : int
        Most workers at a time.
    """

    def __init__(self, setup: child.Setup, data: Any, start_method: str, slots: int) -> None:
        self.setup = setup
        self.data = data
        self.start_method = start_method
        self.passed: tuple[Any, ...] = ()  # see worker.serve_spawned
        self.handles: dict[int, Handle] = {}
        self.leaving: list[Handle] = []
        self._setup_frame: list[Any] | None = None
        if start_method != "fork":
            self._setup_frame = child.frame(child.READY, child.dumps(setup, setup.by_value))
        self._selector = selectors.DefaultSelector()
        self._block = bytearray(BLOCK)
        self._slots_fd = _memory_file(16 * slots) if start_method != "fork" else None
        self._memory = mmap.mmap(-1 if self._slots_fd is None else self._slots_fd, 16 * slots)
        self._slots = memoryview(self._memory).cast("q")
        self._free_slots = list(range(slots))[::-1]
        self._n_slots = slots
        _teams.add(self)

    # -- starting ------------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start a worker under this number; it answers READY when it can take items. Raises OSError if it cannot."""
        with _signals_held() if self.start_method == "fork" else nullcontext() as mask:
            self._start(number, mask)

    def _start(self, number: int, mask: Any) -> None:
        ours, theirs = socket.socketpair()
        if not self._free_slots:  # they are held by workers on their way out
            for handle in self.leaving:
                self._collect(handle, LEAVE_S)
            self.leaving.clear()
        at = self._free_slots.pop()
        slot = self._slots[2 * at : 2 * at + 2]
        shared = self.start_method == "fork" or self._slots_fd is not None
        slot[0], slot[1] = child.IDLE if shared else child.BETWEEN, 0
        try:
            handle = (
                self._fork(number, ours, theirs, slot, at, mask)
                if self.start_method == "fork"
                else self._spawn(number, ours, theirs, slot, at)
            )
        except BaseException:
            ours.close()
            self._free_slots.append(at)
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self.handles[number] = handle
        self._selector.register(ours, selectors.EVENT_READ, handle)
        handle.pidfd = _pidfd(handle.pid)
        if handle.pidfd is not None:
            self._selector.register(handle.pidfd, selectors.EVENT_READ, handle)
        if self._setup_frame is not None:
            self._post(handle, self._setup_frame)

    def _fork(self, number: int, ours: socket.socket, theirs: socket.socket, slot: Any, at: int, mask: Any) -> Handle:
        child.flush_stdio()  # else what is buffered would be written once by each worker
        read_end, write_end = os.pipe()
        try:
            with _no_word_of_native_threads():
                pid = os.fork()
        except BaseException:
            os.close(read_end)
            os.close(write_end)
            raise
        if pid == 0:
            ours.close()
            os.close(write_end)
            child.serve_forked(theirs, self.setup, self.data, slot, read_end, mask)
        os.close(read_end)
        return Handle(number, ours, pid, write_end, slot, at)

    def _spawn(self, number: int, ours: socket.socket, theirs: socket.socket, slot: Any, at: int) -> Handle:
        import multiprocessing

        self._send_slot(ours, at)
        process = multiprocessing.get_context(self.start_method).Process(  # type: ignore[attr-defined]
            target=child.serve_spawned,
            args=(theirs, self.setup.cores, self.passed),
            daemon=True,
            name=f"amorsize-{number}",
        )
        with _main_file_hidden() if self.setup.by_value else nullcontext():
            process.start()
        handle = Handle(number, ours, process.pid, None, slot, at)
        handle.process = process
        return handle

    def _send_slot(self, ours: socket.socket, at: int) -> None:
        message = child.SPAN.pack(at, self._n_slots)
        if self._slots_fd is None:
            ours.sendall(message)
        else:
            socket.send_fds(ours, [message], [self._slots_fd])

    # -- talking -------------------------------------------------------------------------------------------------

    def send_range(self, number: int, start: int, stop: int) -> None:
        """Have a worker run items that it inherited."""
        self._post(self.handles.get(number), child.frame(child.RUN_RANGE, [child.SPAN.pack(start, stop)]))

    def send_items(self, number: int, start: int, stop: int, items: Any) -> None:
        """Have a worker run these items; in the place of one that cannot be pickled goes the reason, which fails it."""
        kind, by_value = child.RUN_ITEMS, self.setup.by_value
        try:
            pickled, *buffers = child.dumps(items, by_value)
        except Exception:  # noqa: BLE001  (pickle raises anything)
            kind = child.RUN_MARKED
            marked = [child.sendable(index, item, by_value) for index, item in enumerate(items, start)]
            pickled, *buffers = child.dumps(marked, by_value)
        self.send_pickled(number, kind, start, stop, [pickled, *buffers])

    def send_pickled(self, number: int, kind: int, start: int, stop: int, dumped: Sequence[Any]) -> None:
        """Have a worker run items that `worker.dumps` has pickled already."""
        pickled, *buffers = dumped
        payload = child.SPAN.pack(start, stop) + pickled
        self._post(self.handles.get(number), child.frame(kind, [payload, *buffers]))

    def listen(self, sock: socket.socket) -> None:
        """Have `wait` return early when something arrives at this socket, which is for the caller to read."""
        self._selector.register(sock, selectors.EVENT_READ, None)

    def _post(self, handle: Handle | None, parts: Sequence[Any]) -> None:
        if handle is None:
            return  # it is gone, which will be the next news of it
        handle.outbox.extend(memoryview(part).cast("B") for part in parts if len(part))
        if handle.write():
            self._selector.modify(handle.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, handle)

    def wait(self, timeout_s: float | None) -> list[Message]:
        """Messages that arrive within ``timeout_s`` seconds (None: as long as it takes; 0: what is here now)."""
        messages: list[Message] = []
        gone: dict[int, Handle] = {}
        for key, mask in self._selector.select(timeout_s):
            handle: Handle | None = key.data
            if handle is None:
                continue
            if self.handles.get(handle.number) is not handle:
                continue
            if mask & selectors.EVENT_WRITE and not handle.write():
                self._selector.modify(handle.sock, selectors.EVENT_READ, handle)
            frames, closed = handle.read(self._block)
            messages += [Message(handle.number, kind, parts) for kind, parts in frames]
            if closed or key.fd == handle.pidfd:
                gone[handle.number] = handle
        for handle in gone.values():
            self._remove(handle)
            self._collect(handle, LEAVE_S)
            messages.append(Message(handle.number, None, [handle]))
        return messages

    # -- leaving -------------------------------------------------------------------------------------------------

    def retire(self, number: int) -> None:
        """Let a worker leave, if it has ever come; nobody waits for it yet."""
        handle = self.handles.get(number)
        if handle is None:
            return
        self._remove(handle)
        self.leaving.append(handle)

    def end(self, number: int) -> None:
        """End one worker at once, whatever it is at; nothing more is heard of it."""
        handle = self.handles.get(number)
        if handle is not None:
            _kill(handle.pid)
            self._remove(handle)
            self._collect(handle, LEAVE_S)

    def close(self) -> None:
        """Let all workers leave, and reap them."""
        for number in list(self.handles):
            self.retire(number)
        for handle in self.leaving:
            self._collect(handle, LEAVE_S)
        self._dispose()

    def kill(self) -> None:
        """End all workers at once, whatever they are at."""
        for handle in [*self.handles.values(), *self.leaving]:
            if handle.exitcode is None:
                _kill(handle.pid)
        self.close()

    def _remove(self, handle: Handle) -> None:
        self._selector.unregister(handle.sock)
        if handle.pidfd is not None:
            self._selector.unregister(handle.pidfd)
        handle.sock.close()
        del self.handles[handle.number]

    def _collect(self, handle: Handle, patience_s: float) -> None:
        """Reap a worker that is leaving; kill it when it takes too long. Learns its exit code."""
        if handle.exitcode is None:
            if handle.process is not None:
                handle.process.join(patience_s)
                if handle.process.exitcode is None:
                    handle.process.kill()
                    handle.process.join()
                handle.exitcode = handle.process.exitcode
                if handle.exitcode is None:  # SIGCHLD is ignored: the system has reaped it, and nobody can tell
                    handle.process._popen.returncode = 0
                handle.process.close()
            else:
                handle.exitcode = _reap(handle.pid, handle.pidfd, patience_s)
        for fd in (handle.pidfd, handle.lifeline):
            if fd is not None:
                os.close(fd)
        handle.pidfd = handle.lifeline = None
        if handle.slot is not None:
            handle.was_at = int(handle.slot[0])
            self._free_slots.append(handle.slot_at)
            handle.slot = None

    def _dispose(self) -> None:
        self._selector.close()
        if self._slots_fd is not None:
            os.close(self._slots_fd)
            self._slots_fd = None
        with suppress(BufferError):  # somebody still looks at a slot: then it goes when he does
            self._slots.release()
            self._memory.close()
        self.leaving.clear()
        _teams.discard(self)


def _memory_file(size: int) -> int | None:
    """A file without a name, to be shared with processes that are not forked from here; None where there is none."""
    if not (hasattr(os, "memfd_create") and hasattr(socket, "send_fds")):
        return None
    fd = os.memfd_create("amorsize")
    os.ftruncate(fd, size)
    return fd


@contextmanager
def _signals_held() -> Iterator[Any]:
    """Let Ctrl-C and SIGTERM wait while a worker is forked.

    In the child they would climb into the caller's stack, of which it has a copy, before it is a worker; here they
    could come between the fork and the note of whom to reap.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield None
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _no_word_of_native_threads() -> Iterator[None]:
    """CPython from 3.12 on warns of a fork beside threads that are not Python's own, such as those that idle in BLAS.

    Whether those are any danger has been decided before (`amorsize.here`); of Python's own threads the warning stays.
    """
    if threading.active_count() > 1:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        yield


@contextmanager
def _main_file_hidden() -> Iterator[None]:
    """Keep children of multiprocessing from looking for the file of a ``__main__`` without one (``<stdin>``)."""
    names = vars(sys.modules["__main__"])
    file = names.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            names["__file__"] = file


def _pidfd(pid: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox that forbids it: end of file on the socket still tells
        return None


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    except ProcessLookupError:
        return


def _reap(pid: int, pidfd: int | None, patience_s: float) -> int | None:
    """Wait for a forked child; its exit code, or minus the signal that ended it, or None if another reaped it."""
    if pidfd is not None:
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            if not selector.select(patience_s):
                _kill(pid)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


_teams: weakref.WeakSet[Team] = weakref.WeakSet()


def _close_inherited() -> None:
    """In a forked child, ours or a stranger's: close the caller's ends, or workers would outlive their caller."""
    for team in list(_teams):
        for handle in [*team.handles.values(), *team.leaving]:
            handle.sock.close()
            for fd in (handle.pidfd, handle.lifeline):
                if fd is not None:
                    os.close(fd)
            handle.pidfd = handle.lifeline = None
        team.handles.clear()
        team.leaving.clear()
        team._selector.close()
    _teams.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
