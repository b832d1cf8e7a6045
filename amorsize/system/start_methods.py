"""What this very process may do here: how it may start workers, and which share of the machine is its own."""

from __future__ import annotations

import os
import sys

from amorsize.frozen import replace
from amorsize.system import nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.facts import Machine


def available_start_methods() -> tuple[str, ...]:
    """Start methods of this platform, without importing multiprocessing for it."""
    if sys.platform == "win32":
        return ("spawn",)
    return ("fork", "spawn", "forkserver")


UNSAFE_AFTER_FORK: Final = ("torch.cuda", "cupy", "pycuda", "numba.cuda", "grpc", "jax", "tensorflow")
"""Modules whose libraries are known to hang or crash in a child forked after they were loaded."""


def resolve_start_method(asked: str | None) -> tuple[str, str | None]:
    """The start method to use, and (when fork was passed over) why.

    Fork while the caller has no other thread and no library is loaded that breaks after fork; else the interpreter's
    default. Where that default is fork itself (CPython up to 3.13 on Linux) it is forkserver, the default from 3.14
    on: forking with threads can deadlock the child (CPython gh-84559), and 3.12 warns of it at every fork.
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
    """The start method where the caller is going to have threads: as above, though never fork."""
    return _default_without_fork() if sys.platform == "linux" else "spawn"


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
    """CUDA hurts only once it has been initialised; of others nobody can tell."""
    if name == "torch.cuda":
        return bool(sys.modules[name].is_initialized())
    return True


def _default_without_fork() -> str:
    context = sys.modules.get("multiprocessing.context")
    chosen = None
    if context is not None:
        chosen = context._default_context.get_start_method(allow_none=True)
    if chosen is None or chosen == "fork":
        return "forkserver" if not _server_is_the_parents else "spawn"
    return str(chosen)


_server_is_the_parents = False
"""Whether this process was forked from one that may have had a fork server: multiprocessing would wait for that here,
find that it is no child of this process, and raise ChildProcessError (up to CPython 3.13 at least)."""


def _note_fork() -> None:
    global _server_is_the_parents
    _server_is_the_parents = _server_is_the_parents or "multiprocessing.forkserver" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def main_is_interactive() -> bool:
    """Whether a child could not import this program's ``__main__``: there is no file behind it, or none it would read.

    A prompt, a notebook and ``python -c`` have no file, standard input has one called ``<stdin>``, and a package's
    ``__main__.py`` is one that multiprocessing does not import again.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f".{spec.name}".endswith(".__main__")
    file = getattr(main, "__file__", None)
    return not file or not os.path.exists(file)


def is_being_imported_by_a_child() -> bool:
    """Whether this is a child of multiprocessing that still imports the caller's ``__main__``, which got to here."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


UNGUARDED: Final = (
    "a worker process imports the program's main module again, and came to this very call. Guard what starts work "
    "there:\n\n    if __name__ == '__main__':\n        main()\n"
)


def share_of(machine: Machine) -> Machine:
    """The machine as this process may use it: inside a worker, its share of the one core budget of the tree."""
    if nested.cores_share is None:
        return machine
    return replace(machine, usable_cores=min(machine.usable_cores, nested.cores_share))
