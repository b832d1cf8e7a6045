"""Functions that wait: for time to pass, or for the answer of a server."""

from __future__ import annotations

import time

from benchmarks.functions.cpu import burn


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def wait_and_burn(seconds: float, iterations: int) -> int:
    """Wait, then compute."""
    time.sleep(seconds)
    return burn(iterations)


def ask(port: int, number: int) -> int:
    """Send one request to `benchmarks.server`, over a connection of its own."""
    import socket
    import struct

    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"%d\n" % number)
        answer = b""
        while not answer.endswith(b"\n"):
            answer += connection.recv(64)
        # Ended with a reset: thousands of calls would else leave as many ports in TIME_WAIT.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return int(answer)
