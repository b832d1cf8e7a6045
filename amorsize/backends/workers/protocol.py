"""The messages between the caller and a worker: frames on a socket.

A frame is a header (kind, number of buffers, bytes of the pickle), the sizes of the buffers, the pickle, and the
buffers. Large arrays travel beside their pickle (PEP 574), so neither side copies them into it.
"""

from __future__ import annotations

import gc
import pickle
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from amorsize.backends.workers.functions import pickled_by_name

if TYPE_CHECKING:
    import socket

READY, RUN_RANGE, RUN_ITEMS, RUN_MARKED, DONE, APART, BROKEN, PARK = range(8)
# Sent together with the descriptor of a worker's slot.
HELLO = b"amorsize"

# Kind, number of buffers, bytes of the pickle.
HEADER = struct.Struct("<BIQ")
SIZE = struct.Struct("<Q")
SPAN = struct.Struct("<qq")
SECONDS = struct.Struct("<d")
# guess: a shorter pickle holds too few objects to start the collector
PAUSE_BYTES = 4096


def dumps(obj: object, by_value: bool = False) -> list[Any]:
    """Pickle ``obj`` into a list of buffers ready to send: the pickle, then its out-of-band buffers.

    cloudpickle is the fallback; with ``by_value`` it is also used for a pickle that names ``__main__`` (functions and
    classes of a prompt pickle by name, but no other process can find them). If both fail, raises cloudpickle's error.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        pickled = pickled_by_name(obj, buffers.append)
        if not (by_value and b"__main__" in pickled):
            return [pickled, *_raw(buffers)]
    # pickle may raise anything: PicklingError, TypeError, AttributeError, …
    except Exception:  # noqa: BLE001
        pass
    buffers.clear()
    import cloudpickle

    return [cloudpickle.dumps(obj, protocol=5, buffer_callback=buffers.append), *_raw(buffers)]


def _raw(buffers: Iterable[pickle.PickleBuffer]) -> list[memoryview]:
    return [buffer.raw() for buffer in buffers]


def frame(kind: int, parts: Sequence[Any] = ()) -> list[Any]:
    """Return the header and parts of one frame; ``parts`` comes from `dumps`, or is a single raw payload."""
    head = HEADER.pack(kind, max(0, len(parts) - 1), len(parts[0]) if parts else 0)
    sizes = b"".join(SIZE.pack(memoryview(part).nbytes) for part in parts[1:])
    return [head + sizes, *parts]


def send(sock: socket.socket, parts: Sequence[Any]) -> None:
    """Send a frame on a blocking socket, without joining its parts."""
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    while views:
        sent = sock.sendmsg(views[:64])
        while sent and views:
            if sent >= len(views[0]):
                sent -= len(views.pop(0))
            else:
                views[0] = views[0][sent:]
                sent = 0


def receive(sock: socket.socket) -> tuple[int, list[Any]]:
    """Read one frame from a blocking socket; return its kind and parts. Raises EOFError if the other side is gone."""
    kind, n_buffers, n_pickle = HEADER.unpack(exactly(sock, HEADER.size))
    sizes = [SIZE.unpack_from(exactly(sock, SIZE.size))[0] for _ in range(n_buffers)]
    return kind, [exactly(sock, size) for size in (n_pickle, *sizes)]


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
        return pickle.loads(parts[0], buffers=parts[1:])
    gc.disable()
    try:
        return pickle.loads(parts[0], buffers=parts[1:])
    finally:
        gc.enable()
