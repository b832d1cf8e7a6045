"""The messages between the caller and a worker: frames on a socket.

A frame is a header (a mark, the kind, the number of buffers, the chunk, the bytes of the pickle), the sizes of the
buffers, the pickle, the buffers, and an end mark. Large arrays travel beside their pickle (PEP 574), so neither side
copies them into it.

User code runs in a worker and may write to any descriptor. Bytes inserted before a frame or into it shift the rest, so
a mark is not at its place, and `BadFrame` is raised before a length or a pickle is trusted.
"""

from __future__ import annotations

import gc
import pickle
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from amorsize.backends.workers.by_value import BY_VALUE
from amorsize.backends.workers.by_value import dumps as by_value_dumps
from amorsize.backends.workers.by_value import loads as loads_parts
from amorsize.backends.workers.functions import Pickling, keeping
from amorsize.frozen import NamedTuple
from amorsize.system.looks import is_interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

READY, RUN_RANGE, RUN_ITEMS, RUN_MARKED, DONE, APART, BROKEN, PARK = range(8)
# Sent together with the descriptor of a worker's slot.
HELLO = b"amorsize"

MARK: Final = b"\xa5amz"
END_MARK: Final = b"zma\xa5"
# Mark, kind, number of buffers, first item of the span, the one after its last, bytes of the pickle
HEADER = struct.Struct("<4sBIqqQ")
SIZE = struct.Struct("<Q")
SECONDS = struct.Struct("<d")
# A frame with more buffers or bytes than these is invalid, because no chunk has so many (guesses).
MOST_BUFFERS: Final = 1 << 24
MOST_BYTES: Final = 1 << 46
# The end of the other side must not raise SIGPIPE, which ends the process if the program has set it to the default.
QUIET: Final = getattr(socket, "MSG_NOSIGNAL", 0)
# Of macOS; the socket module has no name for it.
_SO_NOSIGPIPE: Final = 0x1022
# Seconds that a worker waits for a chunk before it checks if other code has read from its socket (a guess).
LOOK_S: Final = 1
# guess: a frame that is sent as one part, and the begin of the next one
AHEAD_BYTES: Final = 8192
# guess: copying a shorter pickle takes less time than sending it as a part of its own
JOIN_BYTES: Final = 4096
# guess: a shorter pickle holds too few objects to start the collector
PAUSE_BYTES = 4096
# A pickler that has made a larger pickle is not used again: its table of the objects seen never shrinks.
# guess
AGAIN_BYTES: Final = 2048
# guess: a smaller buffer costs more as a part of a frame than as a copy in the pickle
BESIDE_BYTES = 4096


def dumps(obj: object, by_value: bool = False) -> list[Any]:
    """Pickle ``obj`` into a list of buffers ready to send: the pickle, then its out-of-band buffers.

    cloudpickle is the fallback; with ``by_value`` it is also used for a pickle that names ``__main__`` (functions and
    classes of a prompt pickle by name, but no other process can find them). If both fail, raises cloudpickle's error.
    """
    try:
        pickling = _picklings.pop()
    # Not asked before whether there is one: another thread may take it meanwhile.
    except IndexError:
        pickling = Pickling(BESIDE_BYTES)
    try:
        pickled = pickling.dumps(obj)
        parts = [pickled, *map(pickle.PickleBuffer.raw, pickling.buffers)]
        # From here on it may be another thread's.
        if len(pickled) < AGAIN_BYTES and len(parts) == 1:
            _picklings.append(pickling)
        if not (by_value and b"__main__" in pickled):
            return parts
    except BaseException as exc:  # pickle raises anything: PicklingError, TypeError, SystemExit of a __reduce__, …
        if is_interrupt(exc):
            raise
    buffers: list[pickle.PickleBuffer] = []
    pickled = by_value_dumps(obj, keeping(buffers, BESIDE_BYTES))
    return [BY_VALUE + pickled, *map(pickle.PickleBuffer.raw, buffers)]


_picklings: list[Pickling] = []
"""Those that no thread uses at the moment. An object may pickle others as it is pickled."""


class Frame(NamedTuple):
    """A received frame: its kind, its chunk, and the parts that `dumps` returned at the other end."""

    kind: int
    start: int
    stop: int
    parts: list[Any]


class BadFrame(Exception):  # noqa: N818
    """The bytes received are no frame: other code wrote to the socket."""


def frame(kind: int, parts: Sequence[Any] = (), start: int = 0, stop: int = 0) -> list[Any]:
    """Return the pieces of one frame to send; ``parts`` comes from `dumps`, or is a single raw payload."""
    payload = parts[0] if parts else b""
    head = HEADER.pack(MARK, kind, max(0, len(parts) - 1), start, stop, len(payload))
    if len(parts) < 2 and len(payload) < JOIN_BYTES:
        return [b"".join((head, payload, END_MARK))]
    sizes = b"".join([SIZE.pack(memoryview(part).nbytes) for part in parts[1:]])
    return [head + sizes, *parts, END_MARK]


def sizes_of(data: Any) -> list[int] | None:
    """Return the sizes in bytes of the parts of the frame that ``data`` begins with; None: its header is incomplete.

    Raises
    ------
    BadFrame
        If ``data`` cannot be the begin of a frame.
    """
    if len(data) < HEADER.size:
        if data[: len(MARK)] != MARK[: len(data)]:
            raise BadFrame("it does not begin with the mark")
        return None
    mark, _, n_buffers, _, _, n_pickle = HEADER.unpack_from(data)
    if mark != MARK:
        raise BadFrame("it does not begin with the mark")
    if not n_buffers and n_pickle <= MOST_BYTES:
        return [n_pickle]
    if n_buffers > MOST_BUFFERS:
        raise BadFrame(f"{n_buffers} buffers")
    end = HEADER.size + n_buffers * SIZE.size
    if len(data) < end:
        return None
    sizes = [n_pickle, *(size for (size,) in SIZE.iter_unpack(memoryview(data)[HEADER.size : end]))]
    if sum(sizes) > MOST_BYTES:
        raise BadFrame(f"{sum(sizes)} bytes")
    return sizes


def length_of(sizes: Sequence[int]) -> int:
    """Return the size in bytes of a whole frame with parts of these sizes."""
    return HEADER.size + (len(sizes) - 1) * SIZE.size + sum(sizes) + len(END_MARK)


def split(data: Any, sizes: Sequence[int]) -> Frame:
    """Return the frame that ``data`` holds; its parts are views. Raises `BadFrame` if the end mark is missing."""
    if data[-len(END_MARK) :] != END_MARK:
        raise BadFrame("it does not end with the mark")
    view = memoryview(data)
    _, kind, _, start, stop, _ = HEADER.unpack_from(view)
    at = HEADER.size + (len(sizes) - 1) * SIZE.size
    parts = []
    for size in sizes:
        parts.append(view[at : at + size])
        at += size
    return Frame(kind, start, stop, parts)


def mute(sock: socket.socket) -> None:
    """Have a socket raise no SIGPIPE on systems where sending takes no such flag (`QUIET`)."""
    if not QUIET and sys.platform == "darwin":
        sock.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)


def send(sock: socket.socket, parts: Sequence[Any]) -> None:
    """Send a frame on a blocking socket, without joining its parts."""
    if len(parts) == 1:
        sent = sock.send(parts[0], QUIET)
        if sent == len(parts[0]):
            return
        parts = [memoryview(parts[0])[sent:]]
    outbox = deque(views_of(parts))
    while outbox:
        send_some(sock, outbox)


def views_of(parts: Sequence[Any]) -> list[memoryview]:
    """Return the parts as views of bytes, without the empty ones."""
    return [memoryview(part).cast("B") for part in parts if len(part)]


def send_some(sock: socket.socket, outbox: deque[memoryview]) -> int:
    """Send as much of these as the socket takes at once, and remove it from ``outbox``; return how many bytes."""
    taken = sent = (
        sock.send(outbox[0], QUIET) if len(outbox) == 1 else sock.sendmsg(list(islice(outbox, 64)), (), QUIET)
    )
    while sent:
        first = outbox[0]
        if sent >= len(first):
            sent -= len(first)
            outbox.popleft()
        else:
            outbox[0] = first[sent:]
            sent = 0
    return taken


class Inbox:
    """The receiving side of a worker. It detects that other code has read bytes for which it would wait for ever.

    A small frame takes one call of the system: as much as has come is read, and kept until it is asked for.

    Parameters
    ----------
    sock : socket
        A blocking one.
    sent : callable
        Returns how many bytes the caller has sent, or a number that is too low.
    """

    def __init__(self, sock: socket.socket, sent: Callable[[], int]) -> None:
        self.sock = sock
        self._sent = sent
        # Bytes that have come, and those of them that wait in the block.
        self._taken = 0
        self._block = bytearray(AHEAD_BYTES)
        self._at = self._end = 0
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", LOOK_S, 0))

    def take(self, size: int) -> bytearray:
        """Return the next bytes, exactly so many.

        Raises
        ------
        EOFError
            If the other side is gone.
        BadFrame
            If other code has read bytes from the socket.
        """
        at, end = self._at, self._end
        if at == end and size < AHEAD_BYTES:
            at, end = 0, self._receive(self._block)
        if size <= end - at:
            self._at, self._end = at + size, end
            return self._block[at : at + size]
        data, got = bytearray(size), end - at
        view = memoryview(data)
        view[:got] = self._block[at:end]
        while got < size:
            if size - got < AHEAD_BYTES:
                self._end = self._receive(self._block)
                self._at = min(self._end, size - got)
                view[got : got + self._at] = self._block[: self._at]
                got += self._at
            else:
                self._at = self._end = 0
                got += self._receive(view[got:])
        return data

    def _receive(self, into: bytearray | memoryview) -> int:
        """Wait for some bytes, and return how many have come."""
        while True:
            try:
                got = self.sock.recv_into(into)
            except BlockingIOError:  # nothing has come for `LOOK_S`
                if self._is_robbed():
                    raise BadFrame("something else has read from it") from None
                continue
            if not got:
                raise EOFError
            self._taken += got
            return got

    def _is_robbed(self) -> bool:
        if self._sent() <= self._taken:
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        return False


def receive(inbox: Inbox) -> Frame:
    """Read one frame. Raises EOFError if the other side is gone, and `BadFrame`."""
    head = inbox.take(HEADER.size)
    sizes = sizes_of(head)
    _, kind, n_buffers, start, stop, _ = HEADER.unpack(head)
    if sizes is None:
        sizes = sizes_of(head + inbox.take(n_buffers * SIZE.size))
        assert sizes is not None
    parts = [inbox.take(size) for size in sizes[:-1]]
    last = inbox.take(sizes[-1] + len(END_MARK))
    if last[-len(END_MARK) :] != END_MARK:
        raise BadFrame("it does not end with the mark")
    del last[-len(END_MARK) :]
    return Frame(kind, start, stop, [*parts, last])


def exactly(sock: socket.socket, size: int) -> bytearray:
    """Read exactly ``size`` bytes. Raises EOFError if the other side is gone."""
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        n = sock.recv_into(view[got:])
        if not n:
            raise EOFError
        got += n
    return data


def loads(parts: Sequence[Any]) -> Any:
    """Undo `dumps`, with the garbage collector paused.

    No object that comes out of a pickle is garbage yet, but every few hundred of them start the collector, which in
    time visits every object kept so far: 150 results of 20,000 objects took 4 ms each, instead of 1.4 ms.
    """
    if len(parts[0]) < PAUSE_BYTES or not gc.isenabled():
        return loads_parts(parts)
    gc.disable()
    try:
        return loads_parts(parts)
    finally:
        gc.enable()
