"""The code of a worker process.

A worker holds the function, receives chunks of items from one socket, and answers each with one frame. It imports next
to nothing, since each worker pays for each import at its start (a bare interpreter starts in 16 ms, one with
``concurrent.futures.process`` in 87 ms).

A forked worker inherits function and items and receives index ranges. Any other worker receives the function once, and
the items themselves. If the caller dies, the kernel kills the worker (see `die_with_caller`).
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from amorsize.backends.workers.functions import sent
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
    BadFrame,
    dumps,
    exactly,
    frame,
    loads,
    receive,
    send,
)
from amorsize.errors import TransferError
from amorsize.system import nested
from amorsize.system.clock import busy_s, thread_counts
from amorsize.system.looks import is_interrupt, is_sliced, kind_of, text_of, trace_of
from amorsize.system.nested import flush_stdio, take_of

if sys.platform != "win32":
    # Imported before the caller forks, these cost its forked workers nothing.
    import fcntl
    import select

if TYPE_CHECKING:
    import socket

    from amorsize.backends.workers.main_module import Values

Slot = Any
"""Two 64-bit integers shared with the caller (memoryview cast to ``q``). First: the index of an item, or `IDLE`, or an
`unnamed` chunk. Second: when that began (``time.monotonic_ns``), set only if items have a timeout.

An item is named while it is taken, unpickled and run, and while its result is pickled and sent. If several items are
taken or sent together, none of them can be named; if that takes too long, they are sent again one by one."""

# Waits for a chunk.
IDLE = -1
# The worker has no slot.
UNKNOWN = -(1 << 63)
# Exit code (EX_PROTOCOL) of a worker that has lost its connection to the caller.
CUT_OFF = 76


def unnamed(start: int) -> int:
    """Return the slot's first word at none of the items of the chunk that begins with this one; its own inverse."""
    return -2 - start


# True in a worker that cannot import the caller's ``__main__``.
_main_by_value = False


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


class ItemError:
    """An item's exception on its way to the caller: pickled if it survives a round trip, else as text."""

    __slots__ = ("index", "pickled", "text", "trace", "type_name")

    def __init__(self, index: int, exc: BaseException) -> None:
        self.index = index
        self.trace = trace_of(exc).replace("__mp_main__.", "__main__.")
        kind = type(exc)
        self.type_name = name_of(kind)
        self.text = text_of(exc)
        self.pickled = _round_trip(exc)

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
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
    forks = nested.forks
    for index, item in enumerate(items, first):
        if timed:
            # Written before the index: a reader that reads the index first never sees the time of an earlier item.
            slot[1] = now_ns()
        slot[0] = index
        try:
            append(func(item))
            if nested.forks != forks:
                nested.end_copy()
        # SystemExit is sent to the caller too.
        except BaseException as exc:  # noqa: BLE001
            nested.leave_copy(forks, exc)
            append(None)
            errors.append(ItemError(index, exc))
            if not (keep_going and isinstance(exc, Exception)):
                break
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
    """What cannot be pickled, in a few words."""
    return f"a {kind_of(obj)} ({text_of(exc) or kind_of(exc)})"


def serve(sock: socket.socket, setup: Setup, data: Any, slot: Slot) -> float:
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
    meter = Meter(alone=True)
    line.say(frame(READY))
    while True:
        kind, start, stop, parts = receive(sock)
        if kind == PARK:
            return float(SECONDS.unpack(parts[0])[0])
        at = start if stop - start == 1 else unnamed(start)
        if setup.timed:
            slot[1] = time.monotonic_ns()
        slot[0] = at
        answer = _answer(setup, meter, data, length, slot, kind, start, stop, parts)
        del parts
        line.say(answer)
        slot[0] = IDLE
        del answer


def _answer(
    setup: Setup,
    meter: Meter,
    data: Any,
    length: int | None,
    slot: Slot,
    kind: int,
    start: int,
    stop: int,
    parts: list[Any],
) -> list[Any]:
    """Run a chunk. Return the frame that answers it."""
    clock, cpu = time.perf_counter, time.thread_time
    at, timed = slot[0], setup.timed and stop - start > 1
    try:
        if kind != RUN_RANGE:
            items = pickle.loads(parts[0], buffers=parts[1:])
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
        exc = TransferError("item", start, f"it cannot be rebuilt in a worker ({name_of(type(exc))}: {text_of(exc)})")
    return frame(DONE, dumps(((0.0, 0.0, 0, ()), [None], [ItemError(start, exc)])), start, stop)


def _one_by_one(data: Any, length: int | None, start: int, stop: int, slot: Slot) -> list[Any]:
    """Return items of the data, each named in the slot while it is taken, because it has a timeout."""
    items: list[Any] = []
    for index in range(start, stop):
        slot[1] = time.monotonic_ns()
        slot[0] = index
        items += take_of(data, length, index, index + 1)
    return items


class _Line:
    """The worker's end of its connection, guarded against items: only the worker itself may send on it.

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
        _lead_group()
        die_with_caller(lifeline)
        _settle(setup.cores)
        _restore(signal_mask)
        _enter_multiprocessing()
        # The collector must not visit the caller's objects: touching them would copy their pages.
        gc.freeze()
        serve(sock, setup, data, slot)
    except (EOFError, ConnectionError):
        code = 0
    except (BadFrame, OSError):
        code = CUT_OFF
    # No exception may unwind this child's copy of the caller's stack.
    except BaseException as exc:  # noqa: BLE001
        nested.leave_copy(forks, exc)
        _report(sock)
    finally:
        _leave_multiprocessing()
        flush_stdio()
        os._exit(code)


def serve_spawned(sock: socket.socket, passed: tuple[Any, ...] = ()) -> None:
    """Become a worker in a new process: frames bring the function and, after the worker was parked, another one.

    ``passed`` are initargs that multiprocessing can only pass to a process at its start: its locks and queues.
    """
    forks = nested.forks
    _lead_group()
    _settle()
    _join_family()
    try:
        slot = _receive_slot(sock)
        before = Surroundings()
        while True:
            parts = receive(sock).parts
            sock.settimeout(None)
            setup = _load_setup(parts)
            set_filters(setup.filters)
            setup.initargs += passed
            del parts
            sock.settimeout(serve(sock, setup, None, slot))
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


class Surroundings:
    """What a function can change around it in its process, to be put back for the next map."""

    def __init__(self) -> None:
        self.here = os.open(".", os.O_RDONLY) if hasattr(os, "fchdir") else None
        self.path = os.getcwd()
        self.environ = dict(os.environ)
        self.mask = os.umask(0)
        os.umask(self.mask)
        self.recursion = sys.getrecursionlimit()
        self.streams = sys.stdin, sys.stdout, sys.stderr
        self.search = list(sys.path)
        self.limits = _limits()
        self.handlers = _handlers()
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else None
        self.collects = gc.isenabled(), gc.get_threshold()
        self.place = _place()

    def restore(self) -> bool:
        """Put it back; False if something cannot be, so that this worker is of no more use."""
        try:
            if self.here is not None:
                os.fchdir(self.here)
            if os.getcwd() != self.path:
                os.chdir(self.path)
            if os.environ != self.environ:
                os.environ.clear()
                os.environ.update(self.environ)
            os.umask(self.mask)
            sys.setrecursionlimit(self.recursion)
            flush_stdio()
            sys.stdin, sys.stdout, sys.stderr = self.streams
            sys.path[:] = self.search
            if (now := _limits()) != self.limits:
                import resource

                for number, limit in self.limits.items():
                    if now[number] != limit:
                        resource.setrlimit(number, limit)
            self._restore_signals()
            (gc.enable if self.collects[0] else gc.disable)()
            gc.set_threshold(*self.collects[1])
            # A niceness that has been raised stays, unless root lowers it.
            return self.place == _place()
        except Exception:  # noqa: BLE001  (a limit that only root may raise again, a directory that has been deleted)
            return False

    def _restore_signals(self) -> None:
        for timer in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"):
            if hasattr(signal, timer):
                signal.setitimer(getattr(signal, timer), 0.0)
        for number, handler in _handlers().items():
            if handler is not self.handlers[number]:
                signal.signal(number, self.handlers[number])
        if self.blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


def _handlers() -> dict[int, Any]:
    # Not signal.getsignal, which takes the repr of a handler to find out that it is none of its own two.
    import _signal  # type: ignore[import-not-found]  # its types are those of signal

    return {number: _signal.getsignal(number) for number in _signal.valid_signals()}


def _place() -> tuple[int, set[int] | None]:
    """Return the niceness of this process and the cores that it may use."""
    nice = os.nice(0) if hasattr(os, "nice") else 0
    return nice, os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _limits() -> dict[int, tuple[int, int]]:
    try:
        import resource
    except ImportError:  # Windows has none
        return {}
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in numbers}


def _enter_multiprocessing() -> None:
    """What multiprocessing does in a child that it has forked: the caller's children and finalizers are not ours, and
    proxies, queues and locks start afresh, or we would talk on the caller's own connections.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        sys.modules["multiprocessing.process"]._children = set()  # type: ignore[attr-defined]
        util._finalizer_registry.clear()
        util._run_after_forkers()


def _leave_multiprocessing() -> None:
    """What multiprocessing does before a child ends: what has been put into queues is written out."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        try:
            util._exit_function()
        except BaseException:  # noqa: BLE001  (finalizers run anything, and nobody is left to tell)
            return


def _join_family() -> None:
    """Tie a child of multiprocessing to its caller's life, and allow it to start workers of its own."""
    process = sys.modules["multiprocessing.process"]
    process.current_process()._config["daemon"] = False
    if hasattr(signal, "pthread_sigmask"):
        # The caller may have blocked it while it started this process.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPIPE,))
    if sys.platform != "win32" and (caller := process.parent_process()) is not None:
        die_with_caller(caller.sentinel)


def leave_fork_server() -> None:
    """Close the descriptor that keeps the caller's fork server alive; written to, it would end the server.

    multiprocessing then starts one of this process's own, if one is needed.
    """
    server: Any = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    if (alive := getattr(server, "_forkserver_alive_fd", None)) is not None:
        os.close(alive)
        server._forkserver_alive_fd = server._forkserver_pid = None


def filters_here() -> list[str]:
    """The warnings filters of this process, pickled one by one.

    In hexadecimal digits: one is for the module ``__main__``, and `protocol.dumps` looks for that name.
    """
    pickled = []
    for one in getattr(sys.modules.get("warnings"), "filters", ()):
        try:
            pickled.append(pickle.dumps(one).hex())
        except Exception:  # noqa: BLE001  (of a category that only the caller has: none of that kind comes up elsewhere)
            continue
    return pickled


def set_filters(pickled: Iterable[str]) -> None:
    """Have warnings treated as where these filters come from."""
    import warnings

    filters = []
    for one in pickled:
        try:
            filters.append(pickle.loads(bytes.fromhex(one)))
        except Exception:  # noqa: BLE001
            continue
    if filters != warnings.filters:
        warnings.resetwarnings()  # so that what has been decided by the others is forgotten
        warnings.filters[:] = filters  # type: ignore[index]


def enter_pool(values: dict[str, bytes], native: int | None, ends_with_caller: bool, filters: list[str] | None) -> None:
    """Initialize a worker of a ``multiprocessing.Pool``; never raises, or the pool would start it again without end."""
    try:
        if ends_with_caller:
            caller = sys.modules["multiprocessing.process"].parent_process()
            die_with_caller(caller.sentinel)
        limit_native_threads(native)
        if filters is not None:
            set_filters(filters)
        if values:
            from amorsize.backends.workers.main_module import set_values

            set_values(values)
    except Exception:  # noqa: BLE001
        import traceback

        traceback.print_exc()


def _receive_slot(sock: socket.socket) -> Slot:
    """Return the slot whose descriptor the caller has sent; a private one where descriptors cannot be sent."""
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
        detail = f"it cannot be rebuilt in a worker ({name_of(type(exc))}: {text_of(exc)})"
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


def _settle(cores: float = 1.0) -> None:
    global _main_by_value
    _main_by_value = False

    leave_fork_server()
    nested.cores_share = cores
    # The caller handles Ctrl-C for all workers. Signal handlers of the caller's program are not meant for a worker.
    signal.signal(signal.SIGINT, _pass_over)
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Else all forked workers would draw the same numbers. A later import of numpy.random seeds itself.
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed(int.from_bytes(os.urandom(4), "little"))


def _lead_group() -> None:
    """Move this process to a process group of its own, so that it can be killed with all programs that items start.

    The terminal stays with the caller's group. Ctrl-C reaches the caller alone, which then kills this group. A process
    of this group that reads the terminal would be stopped without a message; with these two signals ignored (programs
    inherit that) it gets an error instead, and at the standard input an end of file.
    """
    if sys.platform == "win32":
        return
    try:
        os.setpgid(0, 0)
    # It leads a session already, or the sandbox forbids it.
    except OSError:
        pass
    for number in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    if os.isatty(0):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)


def _pass_over(number: int, frame: object) -> None:
    """Handle a signal by doing nothing. Unlike `signal.SIG_IGN`, programs that items start do not inherit this."""


def _restore(signal_mask: Any) -> None:
    if signal_mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)


def die_with_caller(lifeline: int) -> None:
    """Have the kernel kill this process and its group when the last writer of the pipe ``lifeline`` is gone.

    On Linux the read end asks for SIGKILL when its state changes (``F_SETSIG`` with ``O_ASYNC``). This works in the
    middle of compiled code, needs no thread, reaches the programs that items have started, and is tied to the caller's
    process; ``PR_SET_PDEATHSIG`` is tied to the thread that forked. On other systems the worker notices at its next
    read.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        leads = os.getpgrp() == os.getpid()
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid() if leads else os.getpid())
        fcntl.fcntl(lifeline, getattr(fcntl, "F_SETSIG", 10), signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return
    # The caller died before the signal was requested.
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)


def name_of(kind: type) -> str:
    """Return a type's qualified name."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.").replace("__mp_main__.", "__main__.")


def _round_trip(exc: BaseException) -> bytes | None:
    try:
        pickled = _dump_exception(exc)
        again = pickle.loads(pickled)
    except BaseException as why:
        if is_interrupt(why):
            raise
        return None
    return pickled if type(again) is type(exc) else None


def _dump_exception(exc: BaseException) -> bytes:
    try:
        return pickle.dumps(exc, protocol=5)
    except Exception:
        if not _main_by_value:
            raise
    # The class was pickled by value; only cloudpickle can restore it.
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(exc)
    return pickled
