"""How other threads wake the one that waits in a selector."""

from __future__ import annotations

import socket
from contextlib import suppress


class Bell:
    """A pair of sockets: whoever rings makes ``sock`` readable.

    To ring takes no lock, since it may happen anywhere, also while garbage is collected.
    """

    def __init__(self) -> None:
        self.sock, self._ringer = socket.socketpair()
        self.sock.setblocking(False)
        self._ringer.setblocking(False)
        self._rung = False

    def ring(self) -> None:
        """Wake the one who waits. Costs a few microseconds, less if it has been rung and not been heard yet."""
        if not self._rung:
            self._rung = True
            with suppress(OSError):  # BlockingIOError: it is ringing; else it is closed, and nobody waits
                self._ringer.send(b"\0")

    def hush(self) -> None:
        """It has been heard. What is to be seen must be looked for after this."""
        if self._rung:
            self._rung = False
            with suppress(BlockingIOError):
                self.sock.recv(4096)

    def close(self) -> None:
        """Ringing is without effect from now on."""
        self.sock.close()
        self._ringer.close()
