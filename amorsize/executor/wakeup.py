"""Wake a thread that waits in a selector, from any other thread."""

from __future__ import annotations

import socket

from amorsize.backends.workers.protocol import QUIET, mute
from amorsize.system import belongings


class Bell:
    """A pair of sockets: `ring` makes ``sock`` readable.

    `ring` takes no lock, since it may be called anywhere, also during a garbage collection.
    """

    def __init__(self) -> None:
        self.sock, self._ringer = socket.socketpair()
        belongings.opened("socket of an executor", self.sock.fileno(), self._ringer.fileno())
        self.sock.setblocking(False)
        self._ringer.setblocking(False)
        mute(self._ringer)
        self._rung = False

    def ring(self) -> None:
        """Wake the waiting thread. Costs a few microseconds, less if a ring has not been answered yet."""
        if self._rung:
            return
        try:
            self._rung = True
            self._send()
        except BaseException:
            # An interrupt may have come before the byte was sent, and then no later ring would send one.
            self._send()
            raise

    def _send(self) -> None:
        try:
            self._ringer.send(b"\0", QUIET)
        except OSError:
            # BlockingIOError: it rings already. Any other error: it is closed, and no thread waits.
            pass

    def hush(self) -> None:
        """Reset the bell. Look for the requests after this, never before."""
        self._rung = False
        # Whether it rang or not: a byte may come when the flag has been taken back already, and would wake for ever.
        try:
            self.sock.recv(4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close the sockets; `ring` has no effect from now on."""
        self.sock.close()
        self._ringer.close()
