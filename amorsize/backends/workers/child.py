"""The code of a worker process.

A worker holds the function, receives chunks of items from one socket, and answers each with one frame. It imports next
to nothing, since each worker pays for each import at its start (a bare interpreter starts in 16 ms, one with
``concurrent.futures.process`` in 87 ms).

A forked worker inherits function and items and receives index ranges. Any other worker receives the function once, and
the items themselves. If the caller dies, the kernel kills the worker (see `process_setup`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from amorsize.backends import remote_errors
from amorsize.backends.remote_errors import ItemError
from amorsize.backends.workers.functions import sent
from amorsize.backends.workers.item_times import Meter, Peak
from amorsize.backends.workers.native_threads import limit_native_threads
from amorsize.backends.workers.process_setup import (
    Surroundings,
    filters_here,
    leave_multiprocessing,
    leave_spawned,
    set_filters,
    set_up_forked,
    set_up_spawned,
)
from amorsize.backends.workers.protocol import (
    APART,
    BROKEN,
    DONE,
    HELLO,
    PARK,
    READY,
    RUN_MARKED,
    RUN_RANGE,
    SECONDS,
    BadFrame,
    Frame,
    Inbox,
    dumps,
    exactly,
    frame,
    loads,
    receive,
    send,
)
from amorsize.errors import TransferError
from amorsize.system import nested
from amorsize.system.clock import busy_s, thread_counts, thread_cpu
from amorsize.system.looks import forget_frames, full_kind_of, is_interrupt, is_sliced, kind_of, text_of
from amorsize.system.nested import flush_stdio, take_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Final, TypeAlias

    from amorsize.backends.workers.main_module import Values

Slot: TypeAlias = "Any"
"""Three 64-bit integers shared with the caller (memoryview cast to ``q``). First: the index of an item, or `IDLE`, or
an `unnamed` chunk. Second: when that began (``time.monotonic_ns``), set only if items have a timeout. Third: how many
bytes the caller has sent (see `protocol.Inbox`); the caller alone writes it, once they are sent.

An item is named while it is taken, unpickled and run, and while its result is pickled and sent. If several items are
taken or sent together, none of them can be named; if that takes too long, they are sent again one by one."""

SLOT_BYTES: Final = 24
# First word of the slot while the worker waits for a chunk.
IDLE = -1
# Stands for the first word of the slot if the worker has no slot.
UNKNOWN = -(1 << 63)
# Exit code (EX_PROTOCOL) of a worker that has lost its connection to the caller.
CUT_OFF = 76


def unnamed(start: int) -> int:
    """Return the slot's first word for a worker that has the chunk from ``start`` on, but runs no single item of it.

    The function is its own inverse.
    """
    return -2 - start


class Setup:
    """The function and settings of a map, sent once to a worker that inherits nothing; by cloudpickle if necessary."""

    __slots__ = (
        "by_value",
        "cores",
        "filters",
        "func",
        "initargs",
        "initializer",
        "keep_going",
        "native_threads",
        "timed",
        "values",
    )

    def __init__(
        self,
        func: Callable[[Any], Any],
        *,
        keep_going: bool = False,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        cores: float = 1.0,
        native_threads: int | None = None,
        by_value: bool = False,
        timed: bool = False,
        values: Values | None = None,
    ) -> None:
        self.timed = timed
        self.filters: list[str] = []
        self.values = values
        self.func = func
        self.keep_going = keep_going
        self.initializer = initializer
        self.initargs = initargs
        self.cores = cores
        self.native_threads = native_threads
        self.by_value = by_value

    def __getstate__(self) -> tuple[Any, ...]:
        # The values come out of the pickle first: the function may be one of them.
        state = {name: getattr(self, name) for name in self.__slots__}
        state |= {name: sent(state[name], self.by_value) for name in ("func", "initializer")}
        state["filters"] = filters_here()
        return self.values, state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in state[1].items():
            setattr(self, name, value)


class Unsendable:
    """Replaces an item that cannot be pickled, and holds the reason."""

    __slots__ = ("detail", "index")

    def __init__(self, index: int, detail: str) -> None:
        self.index = index
        self.detail = detail


def sendable(index: int, item: object, by_value: bool) -> object:
    """Return the item, or an `Unsendable` in its place."""
    try:
        dumps(item, by_value)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return Unsendable(index, describe(item, exc))
    return item


def run_marked(func: Callable[[Any], Any], item: object) -> Any:
    """Call ``func`` with the item; raise `TransferError` if the item could not be sent."""
    if type(item) is Unsendable:
        raise TransferError("item", item.index, item.detail)
    return func(item)


# --- running ----------------------------------------------------------------------------------------------------


def run_items(
    func: Callable[[Any], Any], items: Iterable[Any], first: int, keep_going: bool, slot: Slot, timed: bool = False
) -> tuple[list[Any], list[ItemError]]:
    """Run ``func`` over ``items``, whose first has index ``first``.

    Returns results in order, with None in a failed item's place, and the errors. Without ``keep_going`` the run stops
    after the first error.
    """
    results: list[Any] = []
    errors: list[ItemError] = []
    append = results.append
    now_ns = time.monotonic_ns
    forks, walk = nested.forks, nested.walk_over(items)
    for index, item in enumerate(walk, first):
        if timed:
            # Written before the index: a reader that reads the index first never sees the time of an earlier item.
            slot[1] = now_ns()
        slot[0] = index
        try:
            append(func(item))
        # SystemExit is sent to the caller too.
        except BaseException as exc:  # noqa: BLE001
            nested.leave_copy(forks, exc)
            append(None)
            errors.append(ItemError(index, exc))
            # Its frames hold what the item worked with, and often the exception: only the collector would free them.
            forget_frames(exc)
            if not (keep_going and isinstance(exc, Exception)):
                break
    nested.leave_copy(forks)
    nested.walks.remove(walk)
    return results, errors


def encode(
    results: list[Any], errors: list[ItemError], span: tuple[int, int], timing: Any, by_value: bool
) -> list[Any]:
    """Return the frame of a finished chunk; a result that cannot be pickled becomes an error of its item."""
    try:
        return frame(DONE, dumps((timing, results, errors), by_value), *span)
    except BaseException as why:
        if is_interrupt(why):
            raise
        for index, result in enumerate(results, span[0]):
            try:
                dumps(result, by_value)
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                results[index - span[0]] = None
                errors.append(ItemError(index, TransferError("result", index, describe(result, exc))))
        return frame(DONE, dumps((timing, results, errors), by_value), *span)


def describe(obj: object, exc: BaseException) -> str:
    """Describe an object that cannot be pickled in a few words."""
    return f"a {kind_of(obj)} ({text_of(exc) or kind_of(exc)})"


def serve(sock: socket.socket, setup: Setup, data: Any, slot: Slot, inbox: Inbox, peak: Peak) -> float:
    """Answer chunks until the caller closes its end of the socket, which raises EOFError or ConnectionError.

    If the caller parks this worker, returns the number of seconds to wait for another function.
    """
    line = _Line(sock)
    try:
        if setup.initializer is not None:
            setup.initializer(*setup.initargs)
    # This includes EOFError and ConnectionError, which would otherwise mean that the caller is gone.
    except BaseException:  # noqa: BLE001
        line.report()
        raise EOFError from None
    limit_native_threads(setup.native_threads)
    length = len(data) if is_sliced(data) else None
    meter = Meter(peak)
    line.say(frame(READY))
    while True:
        message = receive(inbox)
        if message.kind == PARK:
            return float(SECONDS.unpack(message.parts[0])[0])
        if setup.timed:
            slot[1] = time.monotonic_ns()
        slot[0] = message.start if message.stop - message.start == 1 else unnamed(message.start)
        answer = _answer(setup, meter, data, length, slot, message)
        del message
        line.say(answer)
        slot[0] = IDLE
        del answer


def _answer(setup: Setup, meter: Meter, data: Any, length: int | None, slot: Slot, message: Frame) -> list[Any]:
    """Run a chunk. Return the frame that answers it."""
    kind, start, stop, parts = message
    clock, cpu = time.perf_counter, thread_cpu
    at, timed = slot[0], setup.timed and stop - start > 1
    try:
        if kind != RUN_RANGE:
            items = loads(parts)
            parts.clear()
        elif timed:
            items = _one_by_one(data, length, start, stop, slot)
        else:
            items = take_of(data, length, start, stop)
    # User code runs here: items are unpickled, or data looks them up.
    except BaseException as exc:  # noqa: BLE001
        return _cannot_take(kind, start, stop, exc)
    counts, wall_s, cpu_s = thread_counts(), clock(), cpu()
    func = setup.func if kind != RUN_MARKED else partial(run_marked, setup.func)
    results, errors = run_items(meter.over(func, start), items, start, setup.keep_going, slot, timed)
    wall_s, cpu_s = clock() - wall_s, cpu() - cpu_s
    cpu_s = busy_s(wall_s, cpu_s, counts, thread_counts())
    if timed:
        slot[1] = time.monotonic_ns()
    slot[0] = at
    timing = (wall_s, cpu_s, *meter.report(start, len(results), wall_s, cpu_s))
    del items
    return encode(results, errors, (start, stop), timing, setup.by_value)


def _cannot_take(kind: int, start: int, stop: int, exc: BaseException) -> list[Any]:
    """Return the answer to a chunk whose items cannot be loaded.

    A chunk of several items is sent again one by one (APART), which finds the item at fault.
    """
    if stop - start > 1:
        return frame(APART, (), start, stop)
    if kind != RUN_RANGE and not is_interrupt(exc):
        exc = TransferError("item", start, f"it cannot be rebuilt in a worker ({full_kind_of(exc)}: {text_of(exc)})")
    return frame(DONE, dumps(((0.0, 0.0, 0, ()), [None], [ItemError(start, exc)])), start, stop)


def _one_by_one(data: Any, length: int | None, start: int, stop: int, slot: Slot) -> list[Any]:
    """Return items of the data. Because items have a timeout, the slot holds the index of each while it is taken."""
    items: list[Any] = []
    for index in range(start, stop):
        slot[1] = time.monotonic_ns()
        slot[0] = index
        # Not +=, which an array takes for an addition of numbers.
        items.extend(take_of(data, length, index, index + 1))
    return items


class _Line:
    """The worker's end of its connection. Only the worker itself may send on it, not a copy that an item has forked.

    Items may fork the worker, close all its descriptors, and open others under the same numbers.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._pid = os.getpid()
        self._file = self._now()

    def say(self, parts: list[Any]) -> None:
        """Send a frame. A forked copy of the worker ends instead; so does a worker that has lost its connection."""
        if os.getpid() != self._pid:
            nested.end_copy()
        if self._now() != self._file:
            flush_stdio()
            os._exit(CUT_OFF)
        send(self.sock, parts)

    def report(self) -> None:
        """Send the current exception, because of which this worker cannot serve. A forked copy ends instead."""
        if os.getpid() != self._pid:
            nested.end_copy(sys.exc_info()[1])
        _report(self.sock)

    def _now(self) -> tuple[int, int] | None:
        try:
            found = os.fstat(self.sock.fileno())
        except OSError:
            return None
        return found.st_dev, found.st_ino


def serve_forked(
    sock: socket.socket, setup: Setup, data: Any, slot: Slot, lifeline: int, signal_mask: Any = None
) -> None:
    """Become a worker in a freshly forked child; never returns. ``signal_mask`` is restored after the set-up."""
    code, forks = 1, nested.forks
    try:
        set_up_forked(lifeline, setup.cores, signal_mask)
        serve(sock, setup, data, slot, Inbox(sock, lambda: slot[2]), Peak(execs=False))
    except (EOFError, ConnectionError):
        code = 0
    except (BadFrame, OSError):
        code = CUT_OFF
    # No exception may unwind this child's copy of the caller's stack.
    except BaseException as exc:  # noqa: BLE001
        nested.leave_copy(forks, exc)
        _report(sock)
    finally:
        leave_multiprocessing()
        flush_stdio()
        os._exit(code)


def serve_spawned(sock: socket.socket, passed: tuple[Any, ...] = ()) -> None:
    """Become a worker in a new process: frames bring the function and, after the worker was parked, another one.

    Never returns. ``passed`` are initargs that multiprocessing can only pass to a process at its start: its locks and
    queues.
    """
    _serve_maps(sock, passed)
    leave_spawned()


def _serve_maps(sock: socket.socket, passed: tuple[Any, ...]) -> None:
    forks = nested.forks
    set_up_spawned()
    try:
        slot = _receive_slot(sock)
        inbox = Inbox(sock, lambda: slot[2])
        before, peak = Surroundings(), Peak()
        while True:
            parts = receive(inbox).parts
            sock.settimeout(None)
            setup = _load_setup(parts)
            set_filters(setup.filters)
            setup.initargs += passed
            del parts
            sock.settimeout(serve(sock, setup, None, slot, inbox, peak))
            # While the worker waits, it must not hold the memory of the last map.
            del setup
            if not before.restore():
                return
    except (EOFError, ConnectionError, TimeoutError):
        return
    except (BadFrame, OSError):
        flush_stdio()
        os._exit(CUT_OFF)
    except BaseException as exc:  # noqa: BLE001
        nested.leave_copy(forks, exc)
        _report(sock)
    finally:
        sock.close()


def _receive_slot(sock: socket.socket) -> Slot:
    """Return the slot whose descriptor the caller has sent; a private one where descriptors cannot be sent."""
    import mmap
    import socket as sockets

    if not hasattr(sockets, "recv_fds"):
        exactly(sock, len(HELLO))
        return memoryview(bytearray(SLOT_BYTES)).cast("q")
    message, files, _, _ = sockets.recv_fds(sock, len(HELLO), 1)
    if len(message) < len(HELLO):
        raise EOFError
    if not files:
        return memoryview(bytearray(SLOT_BYTES)).cast("q")
    shared = memoryview(mmap.mmap(files[0], SLOT_BYTES)).cast("q")
    os.close(files[0])
    return shared


def _load_setup(parts: Sequence[Any]) -> Setup:
    try:
        setup: Setup = loads(parts)
        remote_errors.main_by_value, nested.cores_share = setup.by_value, setup.cores
    except Exception as exc:
        detail = f"it cannot be rebuilt in a worker ({full_kind_of(exc)}: {text_of(exc)})"
        raise TransferError("func", None, detail) from exc
    return setup


def _report(sock: socket.socket) -> None:
    """Send the caller the error that ends this worker; print it if the caller cannot be reached."""
    exc = sys.exc_info()[1]
    assert exc is not None
    try:
        send(sock, frame(BROKEN, dumps(ItemError(-1, exc))))
    except Exception:  # noqa: BLE001
        import traceback

        traceback.print_exc()
