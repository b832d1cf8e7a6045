"""What a worker process runs, and the frames that both ends speak.

A worker holds the function, takes spans of items from one socket, and answers each with one frame. It imports next
to nothing, since every import is paid once per worker and start (a bare interpreter starts in 16 ms, one with
``concurrent.futures.process`` in 87).

A forked worker inherits function and items and is told index ranges; any other is sent the function once and the
items themselves. A worker whose caller has died is ended by the kernel (see `die_with_caller`).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from amorsize.backends.workers.item_times import Meter
from amorsize.backends.workers.native_threads import limit_native_threads
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
    SPAN,
    dumps,
    exactly,
    frame,
    loads,
    receive,
    send,
)
from amorsize.errors import TransferError
from amorsize.system import nested
from amorsize.system.nested import take, trace_of

if sys.platform != "win32":
    import fcntl  # here, since what the caller has loaded before it forks costs its workers nothing
    import select

if TYPE_CHECKING:
    import socket

Slot = Any
"""Two 64-bit integers shared with the caller (memoryview cast to ``q``): the index of the item that runs, or one of
the two below; and when it began (``time.monotonic_ns``), if items may run only for so long."""

IDLE, BETWEEN = -1, -2  # waiting for a span; at a span, yet at none of its items (to pickle its results, say)

_main_by_value = False  # in a worker: whether it cannot import the caller's ``__main__``


class Setup:
    """What a worker that inherits nothing must be sent once: it is pickled with cloudpickle where need be."""

    __slots__ = ("by_value", "cores", "func", "initargs", "initializer", "keep_going", "native_threads", "timed")

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
    ) -> None:
        self.timed = timed
        self.func = func
        self.keep_going = keep_going
        self.initializer = initializer
        self.initargs = initargs
        self.cores = cores
        self.native_threads = native_threads
        self.by_value = by_value

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)


class ItemError:
    """An item's exception on its way to the caller: pickled if it survives a round trip, else in words."""

    __slots__ = ("index", "pickled", "text", "trace", "type_name")

    def __init__(self, index: int, exc: BaseException) -> None:
        self.index = index
        self.trace = trace_of(exc)
        kind = type(exc)
        self.type_name = name_of(kind)
        self.text = _safe_str(exc)
        self.pickled = _round_trip(exc)

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)


class Unsendable:
    """Stands in the place of an item that cannot be pickled, and says why."""

    __slots__ = ("detail", "index")

    def __init__(self, index: int, detail: str) -> None:
        self.index = index
        self.detail = detail


def sendable(index: int, item: object, by_value: bool) -> object:
    """The item, or an `Unsendable` in its place."""
    try:
        dumps(item, by_value)
    except Exception as exc:  # noqa: BLE001
        return Unsendable(index, describe(item, exc))
    return item


def run_marked(func: Callable[[Any], Any], item: object) -> Any:
    """Call ``func`` unless the item did not make it here."""
    if type(item) is Unsendable:
        raise TransferError("item", item.index, item.detail)
    return func(item)


# --- running ----------------------------------------------------------------------------------------------------


def run_items(
    func: Callable[[Any], Any], items: Iterable[Any], first: int, keep_going: bool, slot: Slot, timed: bool = False
) -> tuple[list[Any], list[ItemError]]:
    """Run ``func`` over ``items``, whose first has index ``first``.

    Returns results in order, with None in a failed item's place, and the errors. Without ``keep_going`` it stops
    after the first error.
    """
    results: list[Any] = []
    errors: list[ItemError] = []
    append = results.append
    now_ns = time.monotonic_ns
    for index, item in enumerate(items, first):
        if timed:
            slot[1] = now_ns()  # before the item's index: who reads them the other way round never sees it too old
        slot[0] = index
        try:
            append(func(item))
        except BaseException as exc:  # noqa: BLE001  (SystemExit, too, belongs to the caller)
            append(None)
            errors.append(ItemError(index, exc))
            if not (keep_going and isinstance(exc, Exception)):
                break
    slot[0] = BETWEEN
    return results, errors


def encode(results: list[Any], errors: list[ItemError], first: int, timing: tuple[Any, ...], by_value: bool) -> Any:
    """The frame of a finished span; a result that cannot be pickled becomes an error of its item."""
    try:
        return frame(DONE, dumps((first, timing, results, errors), by_value))
    except Exception:  # noqa: BLE001
        for offset, result in enumerate(results):
            try:
                dumps(result, by_value)
            except Exception as exc:  # noqa: BLE001
                results[offset] = None
                errors.append(ItemError(first + offset, TransferError("result", first + offset, describe(result, exc))))
        return frame(DONE, dumps((first, timing, results, errors), by_value))


def describe(obj: object, exc: BaseException) -> str:
    """What cannot be pickled, in a few words."""
    return f"a {type(obj).__name__} ({_safe_str(exc) or type(exc).__name__})"


def serve(sock: socket.socket, setup: Setup, data: Any, slot: Slot) -> float:
    """Answer spans until the caller closes its end; then EOFError or ConnectionError ends it.

    Returns for how many seconds to wait for another function, if the caller parks this worker.
    """
    try:
        if setup.initializer is not None:
            setup.initializer(*setup.initargs)
    except BaseException:  # noqa: BLE001  (also one that would look as if the caller were gone)
        _report(sock)
        raise EOFError from None
    limit_native_threads(setup.native_threads)
    clock, cpu = time.perf_counter, time.thread_time
    meter = Meter(alone=True)
    send(sock, frame(READY))
    while True:
        kind, parts = receive(sock)
        if kind == PARK:
            return float(SECONDS.unpack(parts[0])[0])
        slot[0] = BETWEEN
        start, stop = SPAN.unpack_from(parts[0])
        try:
            items = (
                take(data, start, stop)
                if kind == RUN_RANGE
                else pickle.loads(memoryview(parts[0])[SPAN.size :], buffers=parts[1:])
            )
        except Exception as exc:  # noqa: BLE001  (user code runs here: items rebuild themselves, data looks them up)
            answer = _cannot_take(kind, start, stop, exc)
            slot[0] = IDLE
            send(sock, answer)
            continue
        wall_s, cpu_s = clock(), cpu()
        func = setup.func if kind != RUN_MARKED else partial(run_marked, setup.func)
        results, errors = run_items(meter.over(func, start), items, start, setup.keep_going, slot, setup.timed)
        wall_s, cpu_s = clock() - wall_s, cpu() - cpu_s
        timing = (wall_s, cpu_s, *meter.report(start, len(results), wall_s, cpu_s))
        del items, parts
        answer = encode(results, errors, start, timing, setup.by_value)
        slot[0] = IDLE  # who is killed while he sends has not been killed by an item
        send(sock, answer)
        del results, errors, answer


def _cannot_take(kind: int, start: int, stop: int, exc: Exception) -> list[Any]:
    """The answer to a span whose items cannot be had: one by one they will tell whose fault it is."""
    if stop - start > 1:
        return frame(APART)
    if kind != RUN_RANGE:
        exc = TransferError("item", start, f"it cannot be rebuilt in a worker ({name_of(type(exc))}: {_safe_str(exc)})")
    return frame(DONE, dumps((start, (0.0, 0.0, 0, ()), [None], [ItemError(start, exc)])))


def serve_forked(
    sock: socket.socket, setup: Setup, data: Any, slot: Slot, lifeline: int, signal_mask: Any = None
) -> None:
    """Become a worker in a freshly forked child; never returns. ``signal_mask`` is in force once it has settled."""
    code = 1
    try:
        die_with_caller(lifeline)
        _settle(setup.cores)
        _restore(signal_mask)
        import gc

        gc.freeze()  # what the caller holds is not ours to collect: touching it would copy its pages
        serve(sock, setup, data, slot)
    except (EOFError, ConnectionError):
        code = 0
    except BaseException:  # noqa: BLE001  (nothing may climb into the caller's stack, which this child has a copy of)
        _report(sock)
    finally:
        flush_stdio()
        os._exit(code)


def serve_spawned(sock: socket.socket, passed: tuple[Any, ...] = ()) -> None:
    """Become a worker in a process that was started anew: frames bring the function, and when it is parked, another.

    ``passed`` are initargs that multiprocessing hands over to none but a process that it starts: its locks and queues.
    """
    _settle()
    _join_family()
    try:
        slot = _receive_slot(sock)
        while True:
            _, parts = receive(sock)
            sock.settimeout(None)
            setup = _load_setup(parts)
            setup.initargs += passed
            del parts
            sock.settimeout(serve(sock, setup, None, slot))
            del setup  # nothing of that map need be kept in memory while nobody knows what comes next
    except (EOFError, ConnectionError, TimeoutError):
        return
    except BaseException:  # noqa: BLE001
        _report(sock)
    finally:
        sock.close()


def _join_family() -> None:
    """In a child that multiprocessing has started: end with the caller, and be free to start workers of one's own."""
    process = sys.modules["multiprocessing.process"]
    process.current_process()._config["daemon"] = False
    if sys.platform != "win32" and (caller := process.parent_process()) is not None:
        die_with_caller(caller.sentinel)


def _receive_slot(sock: socket.socket) -> Slot:
    """The slot that the caller has sent a descriptor for; one of this process's own where that cannot be done."""
    import mmap
    import socket as sockets

    if not hasattr(sockets, "recv_fds"):
        exactly(sock, len(HELLO))
        return memoryview(bytearray(16)).cast("q")
    message, files, _, _ = sockets.recv_fds(sock, len(HELLO), 1)
    if len(message) < len(HELLO):
        raise EOFError
    if not files:
        return memoryview(bytearray(16)).cast("q")
    shared = memoryview(mmap.mmap(files[0], 16)).cast("q")
    os.close(files[0])
    return shared


def _load_setup(parts: Sequence[Any]) -> Setup:
    try:
        setup: Setup = loads(parts)
        global _main_by_value
        _main_by_value, nested.cores_share = setup.by_value, setup.cores
    except Exception as exc:
        detail = f"it cannot be rebuilt in a worker ({name_of(type(exc))}: {_safe_str(exc)})"
        raise TransferError("func", None, detail) from exc
    return setup


def _report(sock: socket.socket) -> None:
    """Tell the caller why this worker cannot serve; without effect when nobody listens."""
    exc = sys.exc_info()[1]
    assert exc is not None
    try:
        send(sock, frame(BROKEN, dumps(ItemError(-1, exc))))
    except Exception:  # noqa: BLE001
        import traceback

        traceback.print_exc()


def _settle(cores: float = 1.0) -> None:
    global _main_by_value
    _main_by_value = False

    nested.cores_share = cores
    # The caller answers Ctrl-C for all; handlers that the caller's program installed are not meant for a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Else all workers would draw the same numbers. Whoever imports numpy.random later gets a seed of his own.
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed(int.from_bytes(os.urandom(4), "little"))


def _restore(signal_mask: Any) -> None:
    if signal_mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)


def die_with_caller(lifeline: int) -> None:
    """Have the kernel end this process when the last writer of the pipe ``lifeline`` is gone.

    On Linux the read end asks for SIGKILL when its state changes (``F_SETSIG`` with ``O_ASYNC``): it works in the
    middle of compiled code, needs no thread, and is tied to the caller's process, where ``PR_SET_PDEATHSIG`` is tied
    to the thread that forked. Elsewhere the worker notices at its next read.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, getattr(fcntl, "F_SETSIG", 10), signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return
    if select.select([lifeline], [], [], 0)[0]:  # it had died before we asked
        os._exit(1)


def flush_stdio() -> None:
    """Write out what is buffered, as far as that can be done."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001  (closed or broken: nobody is left to tell)
            continue


def name_of(kind: type) -> str:
    """A type's qualified name."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _safe_str(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001
        return "<its text cannot be shown>"


def _round_trip(exc: BaseException) -> bytes | None:
    try:
        pickled = _dump_exception(exc)
        again = pickle.loads(pickled)
    except Exception:  # noqa: BLE001
        return None
    return pickled if type(again) is type(exc) else None


def _dump_exception(exc: BaseException) -> bytes:
    try:
        return pickle.dumps(exc, protocol=5)
    except Exception:
        if not _main_by_value:
            raise
    import cloudpickle  # its class came by value, and by cloudpickle's own account of such classes it finds back

    pickled: bytes = cloudpickle.dumps(exc)
    return pickled
