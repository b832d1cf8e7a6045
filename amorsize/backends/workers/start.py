"""Starts worker processes: forked from the caller, or as new processes through multiprocessing."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # its types are those of signal
import errno
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from amorsize.backends.workers import child, fork_server, protocol
from amorsize.backends.workers.connection import STARTING, Handle, Slot, pidfd_of
from amorsize.backends.workers.process_setup import leave_fork_server
from amorsize.system import belongings
from amorsize.system.critical import free_import_lock, held_signals
from amorsize.system.nested import flush_stdio
from amorsize.system.start_methods import NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Longest time in seconds that another thread's search for a module takes, on a slow disk (a guess).
LONGEST_LOOK_S: Final = 10.0
# CPython 3.12 warns of a fork beside other threads.
WARNS_FROM: Final = 0x030C0000
SHORT_DIRECTORY: Final = "/tmp"  # multiprocessing makes a directory of its own in it
LONGEST_DIRECTORY: Final = 107 - len("/listener-xxxxxxxx")  # a socket's path has 107 bytes


def start_worker(
    setup: child.Setup, data: Any, start_method: str, held: held_signals, passed: tuple[Any, ...] = ()
) -> Handle:
    """Start a worker; a forked one holds function and items already.

    ``held``: the signals that the caller holds until the worker belongs to its team. ``passed``: see
    `amorsize.backends.workers.child.serve_spawned`.

    Raises
    ------
    NotStarted
        If the system does not let it.
    """
    try:
        try:
            return _started(setup, data, start_method, held, passed)
        except (EOFError, ConnectionError):  # the fork server has died; multiprocessing starts another one
            fork_server.forget()
            return _started(setup, data, start_method, held, passed)
        # The fork server belongs to the process from which this one was forked.
        except ChildProcessError:
            leave_fork_server()
            return _started(setup, data, start_method, held, passed)
    except (EOFError, OSError) as exc:
        raise NotStarted(why_not(exc)) from exc


class NotStarted(OSError):  # noqa: N818
    """A worker could not be started; its text says why, and what to do."""


def why_not(exc: BaseException) -> str:
    """Return why the system does not start a process, and what to do about it."""
    if isinstance(exc, NotStarted):
        return str(exc)
    if isinstance(exc, EOFError | ConnectionError):
        return "the fork server of multiprocessing has died, and a new one died as well: use start_method='spawn'"
    if isinstance(exc, FileNotFoundError) and not _has_directory():
        return "the working directory has been deleted: change to one that exists (os.chdir)"
    if "path too long" in str(exc):
        return "the path of the fork server's socket is too long: set TMPDIR to a directory with a shorter path"
    return _REASONS.get(getattr(exc, "errno", None) or 0, str(exc))


_REASONS = {
    errno.EMFILE: "this process has too many open files: close some, or raise the limit (ulimit -n)",
    errno.ENFILE: "this machine has too many open files: close some, or raise the limit (fs.file-max)",
    errno.EAGAIN: "no more processes may be started: raise the limit (ulimit -u, pids.max of the container)",
    errno.ENOMEM: "there is too little memory for another process: use fewer workers (max_workers=)",
}


def _has_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _started(setup: child.Setup, data: Any, start_method: str, held: held_signals, passed: tuple[Any, ...]) -> Handle:
    forks = start_method == "fork"
    ours, theirs = socket.socketpair()
    belongings.opened("socket of a worker", ours.fileno(), theirs.fileno())
    protocol.mute(ours)
    slot = Slot(inherited=forks)
    try:
        if forks:
            handle = _fork(setup, data, ours, theirs, slot, held)
        else:
            handle = _spawn(setup, ours, theirs, slot, start_method, passed)
    except BaseException:
        ours.close()
        slot.close()
        raise
    finally:
        theirs.close()
    slot.hand_over()
    ours.setblocking(False)
    handle.pidfd = pidfd_of(handle.pid)
    return handle


def _fork(
    setup: child.Setup, data: Any, ours: socket.socket, theirs: socket.socket, slot: Slot, held: held_signals
) -> Handle:
    _await_import_lock()
    # Else each worker would write the buffered output once more.
    flush_stdio()
    read_end, write_end = os.pipe()
    belongings.opened("lifeline of a worker", read_end, write_end)
    try:
        with _blocked_for_the_child(held) as mask, _no_word_of_native_threads():
            pid = os.fork()
            if pid == 0:
                # Not ours.close(), which is written in Python: more pages to be copied.
                os.close(ours.detach())
                os.close(write_end)
                child.serve_forked(theirs, setup, data, slot.words, read_end, mask)
    except BaseException:
        os.close(read_end)
        os.close(write_end)
        raise
    belongings.started(pid)
    os.close(read_end)
    return Handle(ours, pid, write_end, slot)


def _await_import_lock() -> None:
    """Wait until a fork finds the import lock free. Raises NotStarted if an interrupt has left it taken for good."""
    until = time.monotonic() + LONGEST_LOOK_S
    while not free_import_lock():
        if time.monotonic() > until:
            raise NotStarted(
                "an import that was interrupted in the main thread (Ctrl-C) has left Python's import lock taken, and a "
                "fork would wait for it for ever: call amorsize in the main thread once, or use start_method='spawn'"
            )
        time.sleep(1e-3)


def _spawn(
    setup: child.Setup,
    ours: socket.socket,
    theirs: socket.socket,
    slot: Slot,
    start_method: str,
    passed: tuple[Any, ...],
) -> Handle:
    import multiprocessing

    if slot.fd is None:
        ours.sendall(protocol.HELLO)
    else:
        socket.send_fds(ours, [protocol.HELLO], [slot.fd])
    process = multiprocessing.get_context(start_method).Process(  # type: ignore[attr-defined]
        target=child.serve_spawned, args=(theirs, passed), daemon=True, name=NAME
    )
    hidden = _main_file_hidden() if setup.by_value else nullcontext()
    # A fork server would hand the mask on to children that are not amorsize's; it ignores Ctrl-C by itself.
    quiet = _no_sigint() if start_method == "spawn" else nullcontext()
    with STARTING, _no_sigpipe(), quiet, free_to_start(), hidden:
        if start_method == "forkserver":
            _shorten_socket_path()
            fork_server.prepare(setup.func)
        process.start()
    belongings.started(process.pid)
    handle = Handle(ours, process.pid, None, slot)
    handle.process, handle.start_method = process, start_method
    return handle


@contextmanager
def _blocked_for_the_child(held: held_signals) -> Iterator[Any]:
    """Block the held signals, SIGINT and SIGTERM during a fork, and give the mask that was in force.

    In the child, a handler would unwind its copy of the caller's stack before it is a worker. The child restores the
    mask itself.
    """
    # Not signal.pthread_sigmask: it makes enums of the numbers, and each object touched near a fork is a page of memory
    # to be copied (2 µs).
    if (set_mask := getattr(_signal, "pthread_sigmask", None)) is None:
        yield None
        return
    mask = set_mask(signal.SIG_BLOCK, {*held.handlers, signal.SIGINT, signal.SIGTERM})
    try:
        yield mask
    finally:
        set_mask(signal.SIG_SETMASK, mask)


@contextmanager
def _no_sigint() -> Iterator[None]:
    """Block SIGINT, as the new process inherits: else Ctrl-C would find it without a handler, and it would complain.

    The worker unblocks it when it has its own handler.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # It unblocks SIGINT when it starts its own process.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _no_sigpipe() -> Iterator[None]:
    """Keep SIGPIPE from ending the caller: multiprocessing writes to processes that may have died.

    Python ignores SIGPIPE by default, and then nothing is done here. Otherwise the signal is blocked, and the worker,
    which inherits the mask, unblocks it.
    """
    if not hasattr(signal, "pthread_sigmask") or signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN:
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
    was_pending = signal.SIGPIPE in signal.sigpending()
    try:
        yield
    finally:
        if not was_pending and signal.SIGPIPE in signal.sigpending():
            signal.sigwait((signal.SIGPIPE,))
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _no_word_of_native_threads() -> Iterator[None]:
    """Silence CPython's warning (from 3.12 on) of a fork beside native threads, such as idle threads of BLAS.

    `amorsize.system.start_methods` has decided if those are a danger. For Python's own threads the warning stays.
    """
    if sys.hexversion < WARNS_FROM or threading.active_count() > 1:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        yield


@contextmanager
def free_to_start() -> Iterator[None]:
    """Let a daemonic process (a Pool's worker, a Celery task) have children, which multiprocessing forbids.

    multiprocessing forbids it because such children would outlive a process that is ended. Those of amorsize end with
    it.
    """
    config = sys.modules["multiprocessing.process"].current_process()._config
    daemonic = config.get("daemon")
    config["daemon"] = False
    try:
        yield
    finally:
        config["daemon"] = daemonic


@contextmanager
def sigterm_waits(start_method: str | None) -> Iterator[None]:
    """Have SIGTERM wait in workers that a pool of multiprocessing forks meanwhile, until `process_setup.enter_pool`.

    CPython forgets a signal that comes to a fresh fork before its first line, where the caller has a handler for it. A
    pool that is terminated at once would wait for such a worker for ever.
    """
    if start_method != "fork" or not callable(signal.getsignal(signal.SIGTERM)):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shorten_socket_path() -> None:
    """Have multiprocessing's own directory, where the fork server listens, lie where its path is short enough."""
    import tempfile
    from multiprocessing import process, util

    there = process.current_process()._config.get("tempdir") or f"{tempfile.gettempdir()}/pymp-xxxxxxxx"  # type: ignore[attr-defined]
    if len(os.fsencode(there)) <= LONGEST_DIRECTORY or not os.access(SHORT_DIRECTORY, os.W_OK):
        return
    before, tempfile.tempdir = tempfile.tempdir, SHORT_DIRECTORY
    try:
        process.current_process()._config["tempdir"] = None  # type: ignore[attr-defined]
        util.get_temp_dir()
    finally:
        tempfile.tempdir = before


@contextmanager
def _main_file_hidden() -> Iterator[None]:
    """Hide ``__main__.__file__``, so that children of multiprocessing do not look for a missing file (``<stdin>``)."""
    names = vars(sys.modules["__main__"])
    file = names.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            names["__file__"] = file
