"""A server with a limit: ``python -m benchmarks.limited_server SERVES BEARS ANSWER_S refuses|resets``.

It serves so many calls at a time and lets others wait, up to ``BEARS`` in all. Of those beyond it refuses each at once
with an answer (as HTTP's 503), or resets the connection. It names its port on its standard output, and ends when its
standard input does, so that it cannot outlive its parent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

ANSWER = b"fine\n"
REFUSAL = b"503\n"


class Limited:
    def __init__(self, serves: int, bears: int, answer_s: float, resets: bool) -> None:
        self.slots = asyncio.Semaphore(serves)
        self.bears = bears
        self.answer_s = answer_s
        self.resets = resets
        self.inside = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one call."""
        if self.inside >= self.bears:
            if self.resets:
                # No lingering: close() sends a reset.
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                writer.write(REFUSAL)
            writer.close()
            return
        self.inside += 1
        try:
            await reader.readline()
            async with self.slots:
                await asyncio.sleep(self.answer_s)
            writer.write(ANSWER)
        finally:
            self.inside -= 1
            writer.close()


async def main() -> None:
    serves, bears, answer_s, what = sys.argv[1:]
    limited = Limited(int(serves), int(bears), float(answer_s), what == "resets")
    server = await asyncio.start_server(limited.handle, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main())
