"""The start methods that this process may use, and its share of the machine."""

from __future__ import annotations

import os
import sys

from amorsize.frozen import replace
from amorsize.system import nested
from amorsize.system.clock import process_cpu
from amorsize.system.critical import held_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.facts import Machine


def available_start_methods() -> tuple[str, ...]:
    """Return the start methods of this platform, without importing multiprocessing; none where it has no processes."""
    if sys.platform == "win32":
        return ("spawn",)
    # multiprocessing names all three there, and fails with each.
    if sys.platform in WITHOUT_PROCESSES:
        return ()
    if own_default() == "forkserver":
        return ("forkserver", "spawn", "fork")
    return ("spawn", "fork", "forkserver") if sys.platform == "darwin" else ("fork", "spawn", "forkserver")


def own_default() -> str:
    """Return the interpreter's default start method, as long as the program has set no other."""
    if sys.platform in ("win32", "darwin"):
        return "spawn"
    return "forkserver" if sys.version_info >= (3, 14) else "fork"


def has_threads() -> bool:
    """Return False on a platform whose interpreter is built without threads."""
    built = getattr(sys, "_emscripten_info", None)
    return bool(built.pthreads) if built is not None else sys.platform != "wasi"


# Source: https://docs.python.org/3/library/intro.html#webassembly-platforms
WITHOUT_PROCESSES: Final = ("emscripten", "wasi")

UNSAFE_AFTER_FORK: Final = ("torch.cuda", "cupy", "pycuda", "numba.cuda", "grpc", "jax", "tensorflow")
"""Modules whose libraries are known to hang or crash in a child forked after they were loaded."""


def resolve_start_method(asked: str | None) -> tuple[str, str | None]:
    """Return the start method to use, and the reason if fork was rejected.

    Fork if the caller has no other thread and no library is loaded that breaks after fork; else the interpreter's
    default. If that default is fork itself (CPython up to 3.13 on Linux), forkserver, the default from 3.14 on: forking
    with threads can deadlock the child (CPython gh-84559), and 3.12 warns of it at every fork.
    """
    if asked is not None:
        return asked, None
    if sys.platform != "linux":
        return ("spawn", None)
    reason = _unsafe_to_fork()
    if reason is None:
        return "fork", None
    return _default_without_fork(), reason


def start_method_beside_threads() -> str:
    """Return the start method for a caller that will have threads: as above, but never fork."""
    return _default_without_fork() if sys.platform == "linux" else "spawn"


def start_method_of_a_pool() -> str:
    """Return the start method of a ``Pool`` without a context: multiprocessing's own default, but fork only if safe."""
    chosen = _chosen() or own_default()
    return _default_without_fork() if chosen == "fork" and _unsafe_to_fork() is not None else chosen


def _unsafe_to_fork() -> str | None:
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        others = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
        return f"the caller has other threads ({', '.join(others[:3])}), and forking could deadlock"
    for name in UNSAFE_AFTER_FORK:
        if name in sys.modules and _has_started(name):
            return f"{name} is loaded, which breaks in forked children"
    return None


def _has_started(name: str) -> bool:
    """Return True if a loaded library breaks a fork: CUDA only once it is initialised, others always."""
    if name == "torch.cuda":
        return bool(sys.modules[name].is_initialized())
    return True


def _default_without_fork() -> str:
    chosen = _chosen()
    if chosen is None or chosen == "fork":
        return "forkserver" if not _server_is_the_parents else "spawn"
    return chosen


def _chosen() -> str | None:
    """Return the start method that the program has set for multiprocessing, if any."""
    context = sys.modules.get("multiprocessing.context")
    return None if context is None else context._default_context.get_start_method(allow_none=True)


_server_is_the_parents = False
"""True if this process was forked from one that may have had a fork server: multiprocessing would wait for that one,
which is no child of this process, and raise ChildProcessError (up to CPython 3.13 at least)."""


def _note_fork() -> None:
    global _server_is_the_parents
    _server_is_the_parents = _server_is_the_parents or "multiprocessing.forkserver" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


_cpu_s: list[float | None] = []


def note_first_use() -> None:
    """Note the CPU time of this process when amorsize is first called: it has imported what it imports by then."""
    if not _cpu_s:
        _cpu_s.append(process_cpu())


def cpu_before_first_use_s() -> float | None:
    """Return that CPU time in seconds; None in a forked process, which has inherited its modules."""
    process = sys.modules.get("multiprocessing.process")
    is_child = process is not None and process.parent_process() is not None
    return None if nested.forks or is_child or not _cpu_s else _cpu_s[0]


def main_is_interactive() -> bool:
    """Return True if a child cannot import this program's ``__main__``.

    A prompt, a notebook and ``python -c`` have no file, standard input has one called ``<stdin>``, and multiprocessing
    does not import a package's ``__main__.py`` again.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f".{spec.name}".endswith(".__main__")
    file = getattr(main, "__file__", None)
    return not file or not os.path.exists(file)


def is_being_imported_by_a_child() -> bool:
    """Return True if this is a child of multiprocessing that is still importing the caller's ``__main__``."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def unguarded() -> str:
    """Return what it means that workers come to the caller's call while they import its ``__main__``."""
    # The loop's path loads no errors.
    from amorsize.errors import see

    return (
        "worker processes import the script again, and the script starts workers at its top level. Put that under a "
        f"guard, if __name__ == '__main__':{see('main-module')}"
    )


# Exit code (EX_CONFIG) of a worker that came to a call which starts workers while it imported the main module.
UNGUARDED_CODE: Final = 78
# The names of processes that amorsize starts begin so.
NAME: Final = "amorsize"


def refuse_in_a_child() -> None:
    """Start no workers in a child that is importing the program's main module: each would start more, without end.

    A worker of amorsize ends here, without a traceback, since its caller says why.

    Raises
    ------
    RuntimeError
        In another child of multiprocessing.
    """
    if is_being_imported_by_a_child():
        if sys.modules["multiprocessing.process"].current_process().name.startswith(NAME):
            nested.flush_stdio()
            os._exit(UNGUARDED_CODE)
        raise RuntimeError(unguarded())


NO_THREAD: Final = "no thread can be started here (ulimit -u, or pids.max of the container)"


def can_start_a_thread() -> bool:
    """Return True if the system lets this process start one more thread. Takes 0.1 ms."""
    import threading

    try:
        thread = threading.Thread(target=int, daemon=True)
        with held_signals():
            thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def share_of(machine: Machine) -> Machine:
    """Return the machine as this process may use it: inside a worker, with its share of the tree's core budget."""
    share = nested.share()
    return machine if share is None else replace(machine, usable_cores=min(machine.usable_cores, share))
