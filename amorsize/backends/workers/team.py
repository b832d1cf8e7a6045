"""Worker processes with one socket each. The caller waits for all of them in one place: `Team.wait`.

Neither sending nor receiving blocks (bytes that a socket does not take wait in an outbox). So two chunks in flight and
a large result cannot deadlock, and a worker killed in the middle of a message cannot block the caller. A lost worker
shows as end of file on its socket or as a readable pidfd, after all that it sent has been read.

Forked workers are bare ``os.fork`` children: they hold function and data already, and the first results arrive after
3-5 ms (``multiprocessing.Pool``: 13 ms). Other workers are started by ``multiprocessing`` and are sent the function
once; they stay warm for the next map (`amorsize.backends.workers.warm`).
"""

from __future__ import annotations

import os
import selectors
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property

from amorsize.backends.workers import child, protocol, warm
from amorsize.backends.workers.connection import BLOCK, Handle, reap
from amorsize.backends.workers.start import start_worker
from amorsize.frozen import NamedTuple
from amorsize.system.critical import held_signals
from amorsize.system.looks import is_interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Message(NamedTuple):
    """A frame from a worker and the chunk that it answers; kind None: the worker was lost."""

    worker: int
    kind: int | None
    parts: list[Any]
    start: int = 0
    stop: int = 0


class Team:
    """The worker processes of one map.

    Parameters
    ----------
    setup : child.Setup
        Function and settings.
    data : object
        The items that forked workers inherit, to run index ranges of them; None: items are sent.
    start_method : {"fork", "forkserver", "spawn"}
        How workers start.
    keep_warm : bool
        True if workers may come from earlier maps and wait for later ones.
    """

    def __init__(self, setup: child.Setup, data: Any, start_method: str, *, keep_warm: bool = True) -> None:
        self.handles: dict[int, Handle] = {}
        self.leaving: list[Handle] = []
        may_wait = keep_warm and start_method != "fork" and setup.initializer is None
        self._key = warm.key_of(start_method) if may_wait else None
        self.setup = setup
        self.data = data
        self.start_method = start_method
        # See `child.serve_spawned`.
        self.passed: tuple[Any, ...] = ()
        # Called when a retired worker has ended.
        self.on_left: Callable[[], object] | None = None
        self._setup_frame: list[Any] | None = None
        if start_method != "fork":
            self._setup_frame = protocol.frame(protocol.READY, protocol.dumps(setup, setup.by_value))
        self._selector = selectors.DefaultSelector()
        self._block = bytearray(BLOCK)
        _teams.add(self)

    # -- starting ------------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start a worker under this number; it answers READY when it can take items. Raises OSError on failure."""
        with held_signals() as held:
            handle = warm.take(self._key) if self._key is not None else None
            if handle is None:
                handle = start_worker(self.setup, self.data, self.start_method, held, self.passed)
            else:
                handle.untried = True
            self._welcome(number, handle)

    def _welcome(self, number: int, handle: Handle) -> None:
        handle.number = number
        self.handles[number] = handle
        self._selector.register(handle.sock, selectors.EVENT_READ, handle)
        if handle.pidfd is not None:
            self._selector.register(handle.pidfd, selectors.EVENT_READ, handle)
        if self._setup_frame is not None:
            self._post(handle, self._setup_frame)

    # -- messages ------------------------------------------------------------------------------------------------

    def send_range(self, number: int, start: int, stop: int) -> None:
        """Send a worker an index range of the items that it inherited."""
        self._post_span(number, protocol.frame(protocol.RUN_RANGE, (), start, stop))

    def send_items(self, number: int, start: int, stop: int, items: Any) -> None:
        """Send a worker these items. An item that cannot be pickled is replaced by the reason, and fails."""
        kind, by_value = protocol.RUN_ITEMS, self.setup.by_value
        try:
            dumped = protocol.dumps(items, by_value)
        except BaseException as exc:  # pickle raises anything
            if is_interrupt(exc):
                raise
            kind = protocol.RUN_MARKED
            marked = [child.sendable(index, item, by_value) for index, item in enumerate(items, start)]
            dumped = protocol.dumps(marked, by_value)
        self.send_pickled(number, kind, start, stop, dumped)

    def send_pickled(self, number: int, kind: int, start: int, stop: int, dumped: Sequence[Any]) -> None:
        """Send a worker items that `protocol.dumps` has pickled already."""
        self._post_span(number, protocol.frame(kind, dumped, start, stop))

    def _post_span(self, number: int, parts: Sequence[Any]) -> None:
        handle = self.handles.get(number)
        # None: the worker is gone, and `wait` reports it next.
        if handle is not None:
            handle.owes += 1
            self._post(handle, parts)

    def _post(self, handle: Handle, parts: Sequence[Any]) -> None:
        if handle.post(parts):
            self._selector.modify(handle.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, handle)

    def wait(self, timeout_s: float | None) -> list[Message]:
        """Return messages that arrive within ``timeout_s`` seconds (None: no limit; 0: those that are here now)."""
        messages: list[Message] = []
        gone: dict[int, Handle] = {}
        for key, mask in self._selector.select(timeout_s):
            handle: Handle | None = key.data
            if handle is None:
                # A descriptor of `heed`: it only wakes the caller.
                continue
            if self.handles.get(handle.number) is not handle:
                self._see_off(handle)
                continue
            if mask & selectors.EVENT_WRITE and not handle.write():
                self._selector.modify(handle.sock, selectors.EVENT_READ, handle)
            heard, closed = handle.read(self._block)
            for one in heard:
                messages.append(Message(handle.number, one.kind, one.parts, one.start, one.stop))
                handle.owes -= one.kind in (protocol.DONE, protocol.APART)
                handle.ready, handle.untried = True, False
            if closed or key.fd == handle.pidfd:
                gone[handle.number] = handle
        if gone:
            with held_signals() as held:
                messages += self._bury([*gone.values()], held)
        return messages

    def _bury(self, gone: list[Handle], held: held_signals) -> list[Message]:
        """Reap lost workers, and end the programs that their items have started. Return the messages about them."""
        for handle in gone:
            self._forget(handle)
            if handle.fault:
                handle.kill()
        reap(gone, whole=True)
        lost = [handle for handle in gone if not (handle.untried and self._replace(handle.number, held))]
        return [Message(handle.number, None, [handle]) for handle in lost]

    def heed(self, fd: int) -> None:
        """Make `wait` return also when this descriptor is readable."""
        self._selector.register(fd, selectors.EVENT_READ, None)

    def _see_off(self, handle: Handle) -> None:
        """Reap a retired worker that has ended."""
        if handle in self.leaving:
            with held_signals():
                self.leaving.remove(handle)
                if handle.pidfd is not None:
                    self._selector.unregister(handle.pidfd)
                handle.reap()
                if self.on_left is not None:
                    self.on_left()

    def _replace(self, number: int, held: held_signals) -> bool:
        """Start a new worker for a warm one that died before this map used it; such a death is not reported."""
        try:
            self._welcome(number, start_worker(self.setup, self.data, self.start_method, held, self.passed))
        except OSError:
            return False
        return True

    # -- ending --------------------------------------------------------------------------------------------------

    @cached_property
    def _specs(self) -> dict[str, Any]:
        return warm.specs_of(self.setup.func)

    def retire(self, number: int) -> None:
        """Let a worker end, without waiting for it."""
        handle = self.handles.get(number)
        if handle is None:
            return
        with held_signals():
            self._forget(handle)
            if self._key is not None and warm.keep(handle, self._key, self._specs):
                if self.on_left is not None:
                    self.on_left()
                return
            if handle.process is not None and not handle.ready:
                # The worker still runs its imports, and there is no use in waiting for their end.
                handle.kill()
            handle.sock.close()
            self.leaving.append(handle)
            if handle.pidfd is not None:
                self._selector.register(handle.pidfd, selectors.EVENT_READ, handle)

    def end(self, number: int) -> Handle | None:
        """Kill one worker at once and return it; no message of it follows."""
        handle = self.handles.get(number)
        if handle is not None:
            with held_signals():
                handle.kill()
                self._forget(handle)
                handle.reap()
        return handle

    def close(self) -> None:
        """Let all workers end, and reap them."""
        with held_signals():
            for number in list(self.handles):
                self.retire(number)
            reap(self.leaving)
            self.leaving.clear()
            self._selector.close()
            _teams.discard(self)

    def kill(self) -> None:
        """Kill all workers at once."""
        with held_signals():
            for handle in [*self.handles.values(), *self.leaving]:
                handle.kill()
            for handle in list(self.handles.values()):
                self._forget(handle)
                self.leaving.append(handle)
            self.close()

    def _forget(self, handle: Handle) -> None:
        self._selector.unregister(handle.sock)
        if handle.pidfd is not None:
            self._selector.unregister(handle.pidfd)
        del self.handles[handle.number]


_teams: weakref.WeakSet[Team] = weakref.WeakSet()


def _close_inherited() -> None:
    """Close the parent's descriptors in any forked child; else workers would outlive their caller."""
    for team in list(_teams):
        for handle in [*team.handles.values(), *team.leaving]:
            handle.forget()
        team.handles.clear()
        team.leaving.clear()
        team._selector.close()
    _teams.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
