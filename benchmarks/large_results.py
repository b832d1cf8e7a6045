"""The time to send an array of 4 MB from one process to another: ``python -m benchmarks.large_results``.

The child makes it and the parent sums it, so that every page is touched on both sides. See docs/why/engine.md.
"""

from __future__ import annotations

import mmap
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

BYTES = 4_000_000
TIMES = 40


def send_through_socket(sock: socket.socket, array: np.ndarray) -> None:
    sock.sendall(memoryview(array).cast("B"))


def send_through_file(sock: socket.socket, array: np.ndarray) -> None:
    fd = os.memfd_create("result")
    os.write(fd, memoryview(array).cast("B"))
    socket.send_fds(sock, [b"x"], [fd])
    os.close(fd)


def from_socket(sock: socket.socket) -> np.ndarray:
    buffer = bytearray(BYTES)
    view, got = memoryview(buffer), 0
    while got < BYTES:
        got += sock.recv_into(view[got:])
    return np.frombuffer(buffer)


def _file(sock: socket.socket) -> int:
    return socket.recv_fds(sock, 1, 1)[1][0]


def mapped(sock: socket.socket) -> np.ndarray:
    fd = _file(sock)
    memory = mmap.mmap(fd, BYTES)
    os.close(fd)
    return np.frombuffer(memory)


def mapped_at_once(sock: socket.socket) -> np.ndarray:
    fd = _file(sock)
    memory = mmap.mmap(fd, BYTES, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    os.close(fd)
    return np.frombuffer(memory)


def read_from_file(sock: socket.socket) -> np.ndarray:
    fd = _file(sock)
    array = np.empty(BYTES // 8)
    os.preadv(fd, [memoryview(array).cast("B")], 0)
    os.close(fd)
    return array


WAYS: dict[str, tuple[Callable[..., None], Callable[..., np.ndarray]]] = {
    "socket, into a buffer of the right size": (send_through_socket, from_socket),
    "memfd, mapped": (send_through_file, mapped),
    "memfd, mapped at once": (send_through_file, mapped_at_once),
    "memfd, read into an array": (send_through_file, read_from_file),
}


def measure(send: Callable[..., None], receive: Callable[..., np.ndarray]) -> float:
    """Return the median seconds per array."""
    ours, theirs = socket.socketpair()
    if (child := os.fork()) == 0:
        for _ in range(TIMES):
            theirs.recv(1)
            send(theirs, np.ones(BYTES // 8))
        os._exit(0)
    took, kept = [], []
    for _ in range(TIMES):
        began = time.perf_counter()
        ours.send(b"g")
        kept.append(receive(ours))
        kept[-1].sum()
        took.append(time.perf_counter() - began)
    os.waitpid(child, 0)
    ours.close()
    theirs.close()
    return statistics.median(took)


if __name__ == "__main__":
    for name, (send, receive) in WAYS.items():
        rounds = [measure(send, receive) * 1e3 for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)]
        print(f"{name:42} {min(rounds):.2f}-{max(rounds):.2f} ms")
