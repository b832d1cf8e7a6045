"""Workers that wait for the next map: to start one anew takes 50-100 ms, to find one here less than one.

Only those that inherit nothing can be kept, since only a fresh fork sees the caller's data and globals. What they have
imported must still be what a new one would find, so one is used again only while the working directory, the module
search path, the environment and the program's main module are the same, and no module around the function has been
reloaded. What the user's function changed in its process (a cache, a global) is still there, as in any pool's worker.

One that nobody needs for `IDLE_S` ends by itself; at exit all do.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import time
from typing import Any, Final, NamedTuple

from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.connection import BLOCK, Handle

IDLE_S: Final = 60.0
SAFE_S: Final = IDLE_S - 5.0  # older ones may be about to leave


Key = tuple[Any, ...]


class _Kept(NamedTuple):
    handle: Handle
    key: Key
    specs: dict[str, Any]
    since_s: float


_kept: list[_Kept] = []
_lock = _thread.allocate_lock()  # calls in many threads come and go


def keep(handle: Handle, setup: child.Setup, key: Key) -> bool:
    """Let an idle worker wait for the next map; False if it must leave."""
    # One that is still at its imports may be kept too.
    if handle.process is None or handle.owes or count(handle.start_method) >= (os.cpu_count() or 1):
        return False
    handle.outbox.extend(memoryview(part) for part in protocol.frame(protocol.PARK, [protocol.SECONDS.pack(IDLE_S)]))
    if handle.write() or not _is_well(handle):
        return False
    kept = _Kept(handle, key, _specs(setup.func), time.monotonic())
    with _lock:
        if not _kept:
            atexit.register(dismiss)
        _kept.append(kept)
    return True


def take(key: Key) -> Handle | None:
    """One that has found the same, or None."""
    while (kept := _pop(key[0])) is not None:
        young = time.monotonic() - kept.since_s < SAFE_S
        if young and kept.key == key and _same(kept.specs) and _is_well(kept.handle):
            return kept.handle
        _let_go(kept.handle)
    return None


def _pop(start_method: str) -> _Kept | None:
    """The one that was kept last, of those that were started so: from now on it is the caller's alone."""
    with _lock:
        for place in reversed(range(len(_kept))):
            if _kept[place].handle.start_method == start_method:
                return _kept.pop(place)
    return None


def _is_well(handle: Handle) -> bool:
    """Whether it is alive, and has nothing to say but that it is ready."""
    heard, closed = handle.read(bytearray(BLOCK))
    handle.ready = handle.ready or bool(heard)
    return not closed and all(kind == protocol.READY for kind, _ in heard)


def count(start_method: str) -> int:
    """How many wait that were started so."""
    return sum(kept.handle.start_method == start_method for kept in list(_kept))


def dismiss() -> None:
    """Let all of them leave, and reap them."""
    with _lock:
        atexit.unregister(dismiss)
        handles = [kept.handle for kept in _kept]
        _kept.clear()
    for handle in handles:
        handle.sock.close()
    for handle in handles:
        handle.reap()


def _let_go(handle: Handle) -> None:
    handle.sock.close()
    handle.reap()


def key_of(start_method: str) -> Key:
    """What a worker that is started now will find (0.1 ms)."""
    main = sys.modules.get("__main__")
    try:
        here = os.getcwd()
    except OSError:  # it has been deleted
        here = ""
    return (
        start_method,
        here,
        tuple(sys.path),
        frozenset(os.environ.items()),
        id(main),
        getattr(main, "__file__", None),
    )


def _specs(func: Any) -> dict[str, Any]:
    """The specs of the modules around the function: `importlib.reload` gives a module a new one."""
    package = str(getattr(func, "__module__", None) or type(func).__module__).partition(".")[0]
    return {
        name: getattr(module, "__spec__", None)
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(package + ".")
    }


def _same(specs: dict[str, Any]) -> bool:
    return all(getattr(sys.modules.get(name), "__spec__", None) is spec for name, spec in specs.items())


def _forget_inherited() -> None:
    """In a forked child: they are the caller's, not ours."""
    global _lock
    _lock = _thread.allocate_lock()
    for kept in _kept:
        kept.handle.abandon()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)
