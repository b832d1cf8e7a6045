"""Find what is left of amorsize in this process although no call is at work: see `amorsize.testing.left_behind`.

The notes of started processes and opened descriptors (`amorsize.system.belongings`) are compared with the present state
of the system. A module that has not been loaded has left nothing, and is not loaded for this.
"""

from __future__ import annotations

import gc
import mmap
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from amorsize.system import belongings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Seconds between two checks of what is about to end (a guess).
LOOK_S: Final = 0.01

MEMORY: Final = "memory shared with a worker"

Left = dict[str, list[str]]


def look_until(patience_s: float) -> Left:
    """Return what is left; see `amorsize.testing.left_behind`.

    Checks again until nothing is left, for at most ``patience_s`` seconds.
    """
    until = time.monotonic() + patience_s
    found = _look()
    while any(found.values()):
        # An object that only a reference cycle keeps alive does not count as left.
        gc.collect()
        found = _look()
        if not any(found.values()) or time.monotonic() >= until:
            break
        time.sleep(LOOK_S)
    return found


def _look() -> Left:
    kept = _kept_workers()
    return {
        "processes": sorted({*_unreaped(kept), *_orphans(kept)}),
        "threads": [thread.name for thread in threading.enumerate() if thread.name.startswith("amorsize")],
        "descriptors": [*_open_descriptors(kept), *_teams(), *_locked_files()],
        "leases": [*_leases(), *_calls(), *_collector()],
        "blocked_signals": _blocked_signals(),
        "shared_memory": _mapped(kept),
    }


def _loaded(name: str) -> Any:
    """Return a module of amorsize, or None if it has not been loaded."""
    return sys.modules.get(f"amorsize.{name}")


def _kept_workers() -> dict[int, Any]:
    """Return the workers that wait for the next map, by process id. They are kept on purpose."""
    warm = _loaded("backends.workers.warm")
    return {one.handle.pid: one.handle for one in list(warm._kept)} if warm is not None else {}


# -- processes -------------------------------------------------------------------------------------------------------


def _unreaped(kept: dict[int, Any]) -> Iterator[str]:
    known = dict(belongings.processes)
    children = sys.modules.get("multiprocessing.process")
    for process in list(children._children) if children is not None else ():
        if process.name == "amorsize" and process._popen is not None:
            known.setdefault(process._popen.pid, "worker")
    server = sys.modules.get("multiprocessing.forkserver")
    parents = {os.getpid(), server._forkserver._forkserver_pid if server is not None else None}
    for pid, what in known.items():
        if pid not in kept and (told := _told(pid, what, parents)) is not None:
            yield told


def _told(pid: int, what: str, parents: set[int | None]) -> str | None:
    """Describe a process in words; None if it has ended, or if its id is now that of an unrelated process."""
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.ppid() in parents:
            return f"{what} {pid} ({process.status()})"
    return None


def _orphans(kept: dict[int, Any]) -> Iterator[str]:
    """Yield the programs that items have started and that outlive their worker: they are in its process group."""
    if not belongings.groups or not hasattr(os, "getpgid"):
        return
    import psutil

    # Another thread may start a worker meanwhile.
    noted = set(belongings.groups)
    own, session, alive = os.getpgrp(), os.getsid(0), set()
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            group = os.getpgid(pid)
            alive.add(group)
            if group == own or group not in belongings.groups or group in kept or pid in belongings.processes:
                continue
            # The process id of a worker that has ended may be that of another program's group by now. A worker stays in
            # the session of the caller.
            if pid == group or os.getsid(pid) != session:
                continue
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                yield f"process {pid} of worker {group} ({process.name()}, {process.status()})"
    # A group without a process is gone for good, and its number may soon be that of another program's.
    for group in noted - alive:
        belongings.groups.pop(group, None)


# -- descriptors and memory ------------------------------------------------------------------------------------------


def _open_descriptors(kept: dict[int, Any]) -> Iterator[str]:
    spared = {
        fd for handle in kept.values() for fd in (handle.sock.fileno(), handle.pidfd, handle.lifeline) if fd is not None
    }
    memories = []
    for fd in _numbers("/proc/self/fd") or _numbers("/dev/fd"):
        if fd in spared:
            continue
        with suppress(OSError):
            status = os.fstat(fd)
            what = belongings.descriptors.get((status.st_dev, status.st_ino)) or _what_else(fd)
            if what == MEMORY:
                memories.append(f"{what} ({fd})")
            elif what is not None:
                yield f"{what} ({fd})"
    # The mapping of each kept worker holds one descriptor, and the system does not show which one.
    yield from memories[len(kept) :]


def _numbers(folder: str) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(folder))
    except (OSError, ValueError):
        return []


def _what_else(fd: int) -> str | None:
    """Ask Linux about a descriptor that has no inode of its own, or that was never noted."""
    link = ""
    with suppress(OSError):
        link = os.readlink(f"/proc/self/fd/{fd}")
    if link.startswith("/memfd:amorsize"):
        return MEMORY
    if link.endswith("[pidfd]"):
        with suppress(OSError, AttributeError, ValueError), open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as text:
            found = re.search(r"^Pid:\s*(-?\d+)", text.read(), re.MULTILINE)
            if found is not None and int(found[1]) in belongings.processes:
                return "process descriptor"
    return None


def _teams() -> list[str]:
    team = _loaded("backends.workers.team")
    return [f"selector of a team with {len(one.handles)} workers" for one in list(team._teams)] if team else []


def _locked_files() -> list[str]:
    locks = _loaded("checkpoint.file_lock")
    return [f"lock of a checkpoint ({fd})" for fd in locks._held] if locks else []


def _mapped(kept: dict[int, Any]) -> list[str]:
    """Return the memory shared with workers, except with those that are kept for the next map."""
    connection = _loaded("backends.workers.connection")
    if connection is None:
        return []
    spared = {id(handle.slot) for handle in kept.values()}
    return [f"slot of a worker ({mmap.PAGESIZE} bytes)" for slot in connection.open_slots() if id(slot) not in spared]


# -- leases ----------------------------------------------------------------------------------------------------------


def _leases() -> list[str]:
    core_lease = _loaded("backends.core_lease")
    if core_lease is None:
        return []
    # Each time that the budget is locked, leases that have ended are removed.
    with core_lease._locked():
        return [f"lease {ticket} of {lease.workers} workers" for ticket, lease in core_lease._leases.items()]


def _calls() -> list[str]:
    calls = _loaded("backends.concurrent_calls")
    return [f"{calls.CALLS.size} calls at work"] if calls and calls.CALLS.size else []


def _collector() -> list[str]:
    pause = _loaded("backends.gc_pause")
    if pause is None or (not pause.RESULTS_ARE_KEPT._within and pause.RESULTS_ARE_KEPT._before is None):
        return []
    return [f"collector's threshold {gc.get_threshold()} instead of {pause.RESULTS_ARE_KEPT._before}"]


# -- signals ---------------------------------------------------------------------------------------------------------


def _blocked() -> set[int]:
    """Return the signals that are blocked in this thread or in the main thread."""
    if not hasattr(signal, "pthread_sigmask"):
        return set()
    found = {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())}
    with suppress(OSError, AttributeError, ValueError), open(f"/proc/self/task/{os.getpid()}/status") as text:
        mask = int(re.search(r"^SigBlk:\s*(\w+)", text.read(), re.MULTILINE)[1], 16)  # type: ignore[index]
        found |= {number for number in range(1, 65) if mask >> (number - 1) & 1}
    return found


_blocked_before: Final = _blocked()


def _blocked_signals() -> list[str]:
    """Return the blocked signals that have a handler in Python, and the signals whose handler is amorsize's own."""
    blocked, found = _blocked() - _blocked_before, []
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        name = signal.Signals(number).name if number in iter(signal.Signals) else str(int(number))
        if number in blocked and (callable(handler) or number in (signal.SIGINT, signal.SIGTERM)):
            found.append(name)
        if str(getattr(handler, "__module__", "")).startswith("amorsize."):
            found.append(f"{name} (its handler is amorsize's)")
    return sorted(found)
