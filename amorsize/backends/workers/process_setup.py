"""Set up a worker process for the functions that it runs, and restore its state between two of them.

A worker leads a process group of its own, ends with its caller, leaves Ctrl-C to the caller, draws other random numbers
than its siblings, and treats warnings as the caller does. It imports next to nothing: see `child`.

`_signal` takes the place of `signal`, whose functions make enums of their arguments and results: a fresh fork copies a
page of memory for each object that it touches (2 µs), and so paid 0.1 ms for five signals.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # its types are those of signal
import gc
import os
import pickle
import signal
import sys
from collections.abc import Iterable

from amorsize.backends import remote_errors
from amorsize.backends.workers.native_threads import limit_native_threads
from amorsize.system import nested
from amorsize.system.environment import stored
from amorsize.system.nested import flush_stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if sys.platform != "win32":
    # Imported before the caller forks, these cost its forked workers nothing.
    import fcntl
    import select


def set_up_forked(lifeline: int, cores: float, signal_mask: Any) -> None:
    """Set up a worker that the caller has just forked. ``signal_mask`` then holds in it."""
    _lead_group()
    die_with_caller(lifeline)
    _settle(cores)
    if signal_mask is not None:
        _signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)
    _enter_multiprocessing()
    # The collector must not visit the caller's objects: touching them would copy their pages.
    gc.freeze()


def set_up_spawned() -> None:
    """Set up a worker that multiprocessing has started as a new process."""
    _lead_group()
    _settle()
    _join_family()


def enter_pool(
    values: dict[str, bytes],
    native: int | None,
    ends_with_caller: bool,
    filters: list[str] | None,
    handed: Any = None,
) -> None:
    """Initialize a worker of a ``multiprocessing.Pool``; never raises, or the pool would start it again without end.

    ``handed``: the pool's function (`amorsize.backends.workers.handed`).

    A pool ends its workers by SIGTERM. A handler written in Python would be called only after the lock that the worker
    waits for, and the pool would wait for the worker for ever. One that has come so far waits (`start.sigterm_waits`).
    """
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if handed is not None:
            from amorsize.backends.workers.handed import hold

            hold(handed)
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


class Surroundings:
    """The state of a process that a function can change, to be restored for the next map."""

    def __init__(self) -> None:
        self.here = os.open(".", os.O_RDONLY) if hasattr(os, "fchdir") else None
        self.path = os.getcwd()
        self.environ = dict(os.environ)
        self.stored = stored()
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
            if stored() != self.stored:
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
        # Only root may raise that limit again, or the directory has been deleted.
        except Exception:  # noqa: BLE001
            return False

    def _restore_signals(self) -> None:
        for timer in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"):
            if hasattr(signal, timer):
                signal.setitimer(getattr(signal, timer), 0.0)
        for number, handler in _handlers().items():
            if handler is not self.handlers[number]:
                signal.signal(number, self.handlers[number])
        if self.blocked is not None:
            _signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


def _handlers() -> dict[int, Any]:
    # Not signal.getsignal, which takes the repr of a handler to find out that it is none of its own two.
    return {number: _signal.getsignal(number) for number in _signal.valid_signals()}


def _place() -> tuple[int, set[int] | None]:
    """Return the niceness of this process and the cores that it may use."""
    nice = os.nice(0) if hasattr(os, "nice") else 0
    return nice, os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _limits() -> dict[int, tuple[int, int]]:
    try:
        import resource
    # Windows has none.
    except ImportError:
        return {}
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in numbers}


def filters_here() -> list[str]:
    """Return the warnings filters of this process, pickled one by one.

    In hexadecimal digits: one is for the module ``__main__``, and `protocol.dumps` looks for that name.
    """
    pickled = []
    for one in getattr(sys.modules.get("warnings"), "filters", ()):
        try:
            pickled.append(pickle.dumps(one).hex())
        # Its category exists only in the caller: no such warning comes up elsewhere.
        except Exception:  # noqa: BLE001
            continue
    return pickled


def set_filters(pickled: Iterable[str]) -> None:
    """Have warnings treated as in the process that these filters come from."""
    import warnings

    filters = []
    for one in pickled:
        try:
            filters.append(pickle.loads(bytes.fromhex(one)))
        except Exception:  # noqa: BLE001
            continue
    if filters != warnings.filters:
        # Forgets what the former filters decided.
        warnings.resetwarnings()
        warnings.filters[:] = filters  # type: ignore[index]


def _settle(cores: float = 1.0) -> None:
    """Give up what is the caller's alone: its fork server, its signal handlers, the state of its random numbers."""
    leave_fork_server()
    remote_errors.main_by_value, nested.cores_share = False, cores
    # The caller handles Ctrl-C for all workers. Signal handlers of the caller's program are not meant for a worker.
    _signal.signal(signal.SIGINT, _pass_over)
    if _signal.getsignal(signal.SIGTERM) is not _signal.SIG_DFL:
        _signal.signal(signal.SIGTERM, _signal.SIG_DFL)
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
        _signal.signal(number, _signal.SIG_IGN)
    if os.isatty(0):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)


def _pass_over(number: int, frame: object) -> None:
    """Handle a signal by doing nothing. Unlike `signal.SIG_IGN`, programs that items start do not inherit this."""


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


def _join_family() -> None:
    """Tie a child of multiprocessing to its caller's life, and allow it to start workers of its own."""
    process = sys.modules["multiprocessing.process"]
    process.current_process()._config["daemon"] = False
    if hasattr(signal, "pthread_sigmask"):
        # The caller may have blocked them while it started this process.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPIPE, signal.SIGINT))
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


def _enter_multiprocessing() -> None:
    """Do what multiprocessing does in a child that it has forked.

    The caller's children and finalizers are not this process's. Proxies, queues and locks start afresh, or they would
    talk on the caller's own connections.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        sys.modules["multiprocessing.process"]._children = set()  # type: ignore[attr-defined]
        util._finalizer_registry.clear()
        util._run_after_forkers()


def leave_multiprocessing() -> None:
    """Do what multiprocessing does before a child ends: write out what has been put into queues."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        try:
            util._exit_function()
        # Finalizers run anything, and the caller no longer listens.
        except BaseException:  # noqa: BLE001
            return


def leave_spawned() -> None:
    """End a worker that was not forked as Python ends, but for taking its modules apart.

    That takes 12 ms, and 210 with scikit-learn (a `Pool` of two, medians of 11 pairs). Threads are waited for, what is
    registered for the end runs, and files are written out. Returns, so that Python itself ends the process, where it
    would do more.
    """
    import atexit
    import threading

    leave_multiprocessing()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        if not _ends_quickly():
            return
    # A type or a stream of the user's may raise anything.
    except BaseException:  # noqa: BLE001
        return
    flush_stdio()
    os._exit(0)


def _ends_quickly() -> bool:
    """Write out all files; return False if that is not enough.

    So it is with objects that have a finalizer in Python, with streams of other kinds (an archive gets its last bytes
    when it is closed), and with what extensions have printed by C's own streams, unless ctypes is there to flush them.
    """
    import _io
    from _imp import extension_suffixes
    from itertools import compress

    plain = {_io.TextIOWrapper, _io.BufferedWriter, _io.BufferedRandom}
    harmless = {*plain, _io.BufferedReader, _io.FileIO, _io.BytesIO, _io.StringIO}
    objects = gc.get_objects()
    for kind in set(map(type, objects)) - harmless:
        if issubclass(kind, _io._IOBase):
            return False
        if type(getattr(kind, "__del__", None)) is type(leave_spawned):
            # Those of the trackers and connections close what the system closes.
            module = str(kind.__module__)
            if not (module.startswith(("amorsize.", "multiprocessing.")) or module.endswith(".resource_tracker")):
                return False
    suffixes = tuple(extension_suffixes())
    files = [str(getattr(module, "__file__", None)) for module in list(sys.modules.values())]
    if any(file.endswith(suffixes) and "lib-dynload" not in file for file in files):
        ctypes = sys.modules.get("ctypes")
        if ctypes is None or os.name != "posix":
            return False
        ctypes.CDLL(None).fflush(None)
    for one in compress(objects, map(plain.__contains__, map(type, objects))):
        try:
            one.flush()
        # It is closed already, or its disk is full.
        except (OSError, ValueError):
            continue
    return True
