"""A server that serves eight callers at a time: ``python -m benchmarks.server``.

More callers than that wait in the queue of the listening socket, whether they are threads or processes. It names its
port on its standard output, and ends when its standard input does, so that it cannot outlive its parent.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time

HANDLERS = 8
ANSWER_S = 5e-3


def answer(number: int) -> int:
    return 2 * number + 1


def serve(listener: socket.socket) -> None:
    """Answer one request after the other, each after 5 ms."""
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            question = b""
            while not question.endswith(b"\n"):
                piece = connection.recv(64)
                if not piece:
                    break
                question += piece
            else:
                time.sleep(ANSWER_S)
                connection.sendall(b"%d\n" % answer(int(question)))
                connection.recv(1)  # the caller hangs up first


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        for _ in range(HANDLERS):
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
