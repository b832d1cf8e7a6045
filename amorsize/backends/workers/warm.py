"""Warm workers, which wait for the next map: a new worker takes 50-100 ms to start, a warm one less than 1 ms.

Only workers that inherit nothing are kept, since only a fresh fork sees the caller's data and globals. A warm worker
must have imported the same modules as a new one would. So it is used again only while the working directory, the module
search path, the environment and the program's main module are the same, and no module around the function has been
reloaded. Changes that the user's function made in its process (a cache, a global) remain, as in any pool's worker.

A worker that is not used for `IDLE_S` ends by itself; at exit all of them end.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import time

from amorsize.backends.workers import protocol
from amorsize.backends.workers.connection import BLOCK, Handle, reap
from amorsize.frozen import NamedTuple
from amorsize.system.environment import stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Seconds that a warm worker waits for the next map before it ends (a guess).
IDLE_S: Final = 60.0
# Most warm workers of one start method. Read once: it takes 17 µs.
MOST: Final = os.cpu_count() or 1
# A worker that has waited longer than this may be about to end, so it is not used (a guess).
SAFE_S: Final = IDLE_S - 5.0


Key = tuple["Any", ...]


class _Kept(NamedTuple):
    handle: Handle
    key: Key
    specs: dict[str, Any]
    since_s: float


_kept: list[_Kept] = []
# Calls in several threads keep and take workers.
_lock = _thread.allocate_lock()


def keep(handle: Handle, key: Key, specs: dict[str, Any]) -> bool:
    """Keep an idle worker for the next map; return False if it must end."""
    # A worker that still runs its imports may be kept too.
    if handle.process is None or handle.owes or count(handle.start_method) >= MOST:
        return False
    if handle.post(protocol.frame(protocol.PARK, [protocol.SECONDS.pack(IDLE_S)])) or not _is_well(handle):
        return False
    kept = _Kept(handle, key, specs, time.monotonic())
    with _lock:
        if not _kept:
            atexit.register(dismiss)
        _kept.append(kept)
    return True


def take(key: Key) -> Handle | None:
    """Return a warm worker that was started under the same conditions, or None."""
    while (kept := _pop(key[0])) is not None:
        young = time.monotonic() - kept.since_s < SAFE_S
        if young and kept.key == key and _same(kept.specs) and _is_well(kept.handle):
            return kept.handle
        _let_go(kept.handle)
    return None


def _pop(start_method: str) -> _Kept | None:
    """Remove and return the worker of this start method that was kept last."""
    with _lock:
        for place in reversed(range(len(_kept))):
            if _kept[place].handle.start_method == start_method:
                return _kept.pop(place)
    return None


def _is_well(handle: Handle) -> bool:
    """Return True if the worker is alive and has sent no message other than READY."""
    heard, closed = handle.read(bytearray(BLOCK))
    handle.ready = handle.ready or bool(heard)
    return not closed and all(one.kind == protocol.READY for one in heard)


def count(start_method: str) -> int:
    """Return the number of warm workers of this start method."""
    return sum(kept.handle.start_method == start_method for kept in list(_kept))


def dismiss() -> None:
    """Let all warm workers end, and reap them."""
    with _lock:
        atexit.unregister(dismiss)
        handles = [kept.handle for kept in _kept]
        _kept.clear()
    for handle in handles:
        # One that still runs its imports would end only after them.
        if not (_is_well(handle) and handle.ready):
            handle.kill()
        handle.sock.close()
    reap(handles)


def _let_go(handle: Handle) -> None:
    handle.sock.close()
    handle.reap()


def key_of(start_method: str) -> Key:
    """Return the conditions under which a worker would start now. Costs 10 µs."""
    main = sys.modules.get("__main__")
    try:
        here = os.getcwd()
    # The working directory has been deleted.
    except OSError:
        here = ""
    return (
        start_method,
        here,
        tuple(sys.path),
        stored(),
        id(main),
        getattr(main, "__file__", None),
    )


def specs_of(func: Any) -> dict[str, Any]:
    """Return the specs of the modules around the function: `importlib.reload` gives a module a new spec.

    Costs 20 µs beside 500 modules.
    """
    package = str(getattr(func, "__module__", None) or type(func).__module__).partition(".")[0]
    below = package + "."
    names = [package, *(name for name in list(sys.modules) if name.startswith(below))]
    return {name: getattr(sys.modules.get(name), "__spec__", None) for name in names}


def _same(specs: dict[str, Any]) -> bool:
    return all(getattr(sys.modules.get(name), "__spec__", None) is spec for name, spec in specs.items())


def _forget_inherited() -> None:
    """Forget the warm workers in a forked child: they belong to the parent."""
    global _lock
    _lock = _thread.allocate_lock()
    for kept in _kept:
        kept.handle.forget()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)
