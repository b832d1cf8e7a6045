"""Starts worker processes: forked from the caller, or as new processes through multiprocessing."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.connection import STARTING, Handle, Slot, pidfd_of
from amorsize.system.critical import held_signals
from amorsize.system.nested import flush_stdio


def start_worker(
    setup: child.Setup, data: Any, start_method: str, held: held_signals, passed: tuple[Any, ...] = ()
) -> Handle:
    """Start a worker; a forked one holds function and items already. Raises OSError on failure.

    ``held``: the signals that the caller holds until the worker belongs to its team. ``passed``: see
    `amorsize.backends.workers.child.serve_spawned`.
    """
    forks = start_method == "fork"
    ours, theirs = socket.socketpair()
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
    # Else each worker would write the buffered output once more.
    flush_stdio()
    read_end, write_end = os.pipe()
    try:
        with _blocked_for_the_child(held) as mask, _no_word_of_native_threads():
            pid = os.fork()
            if pid == 0:
                held.put_back()
                ours.close()
                os.close(write_end)
                child.serve_forked(theirs, setup, data, slot.words, read_end, mask)
    except BaseException:
        os.close(read_end)
        os.close(write_end)
        raise
    os.close(read_end)
    return Handle(ours, pid, write_end, slot)


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
        target=child.serve_spawned, args=(theirs, passed), daemon=True, name="amorsize"
    )
    with STARTING, _no_sigpipe(), _main_file_hidden() if setup.by_value else nullcontext():
        process.start()
    handle = Handle(ours, process.pid, None, slot)
    handle.process, handle.start_method = process, start_method
    return handle


@contextmanager
def _blocked_for_the_child(held: held_signals) -> Iterator[Any]:
    """Block the held signals, SIGINT and SIGTERM during a fork, and give the mask that was in force.

    In the child, a handler would unwind its copy of the caller's stack before it is a worker. The child restores the
    mask itself.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield None
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*held.handlers, signal.SIGINT, signal.SIGTERM})
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _no_sigpipe() -> Iterator[None]:
    """Keep SIGPIPE from ending the caller: multiprocessing writes to processes that may have died.

    Where the signal is ignored, as Python has it, nothing need be done. The worker undoes what it inherits of this.
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
    if threading.active_count() > 1:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        yield


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
