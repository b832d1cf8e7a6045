"""Load modules in the fork server of multiprocessing before it forks workers, so that no worker has to import them.

Otherwise every worker would import the packages that the program's main module imports (pandas and scikit-learn: 1.5 s
each). The server imports them once instead. The main module itself is never among them, since it may start anything;
nor are packages that have started threads here, or that hold a device or break after a fork.
"""

from __future__ import annotations

import os
import sys
from time import monotonic, sleep
from types import FunctionType, MethodType, ModuleType

from amorsize.system.critical import held_signals
from amorsize.system.looks import attribute
from amorsize.system.start_methods import UNSAFE_AFTER_FORK, main_is_interactive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Every worker needs it (15 ms).
OURS: Final = "amorsize.backends.workers.child"
# multiprocessing's own default.
UNSET: Final = ["__main__"]
# A kernel's own packages are in its user's namespace, though no function uses them.
SHELLS: Final = frozenset({"IPython", "ipykernel"})
# Largest number of modules (a guess). It is limited because their names are passed on a command line.
MOST: Final = 256
# guess: a process that has closed its connections is dead soon, also on a busy machine
LONGEST_DEATH_S: Final = 2.0


def prepare(func: Any = None) -> None:
    """Have the fork server load `packages`, unless it runs already or the program has said what it is to load.

    ``func``: the function that workers will run. Where they cannot import the main module, it alone brings packages.
    """
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    if server._forkserver_pid is None and server._preload_modules == UNSET:
        server._preload_modules = [OURS, *packages(func)]


def start() -> None:
    """Start the fork server, if none runs; it boots while the caller goes on."""
    from multiprocessing import forkserver

    prepare()
    try:
        # Interrupted before multiprocessing has noted its process id, the server would be lost.
        with held_signals():
            forkserver.ensure_running()
    except (OSError, EOFError):
        # The later start of a worker tries again, and its error gives the reason.
        return


def forget() -> None:
    """Have the next fork server load nothing: the last one died, perhaps of what it loaded.

    A process that dies closes its connections first. Until the system says that it is dead, multiprocessing would ask
    it again; so wait for that.
    """
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    server._preload_modules = []
    pid, until_s = server._forkserver_pid, monotonic() + LONGEST_DEATH_S
    while pid is not None and not _has_ended(pid) and monotonic() < until_s:
        sleep(1e-3)


def _has_ended(pid: int) -> bool:
    """Return True if a child is dead, or if that cannot be told (macOS to Python 3.12); leave it for its owner."""
    if not hasattr(os, "waitid"):
        return True
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        # It belongs to the process from which this one was forked.
        return True


def is_running() -> bool:
    """Return True if there is a fork server already."""
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    return getattr(server, "_forkserver_pid", None) is not None


def packages(func: Any = None) -> list[str]:
    """Return the modules of installed packages that workers will import, in the order of their import.

    Those that the program's own modules name; only those that ``func`` names, if workers cannot import the main module.
    """
    if main_is_interactive():
        homes = named_by(func)
    else:
        homes = {_home_of(value) for module in _users_modules() for value in list(vars(module).values())}
    out, found = _excluded(), set[str]()
    for name in homes:
        root = name.partition(".")[0]
        if name in sys.modules and root not in out and _is_installed(sys.modules.get(root)):
            found |= {root, name}
    return [name for name in list(sys.modules) if name in found][:MOST]


def named_by(func: Any, items: Any = None) -> set[str]:
    """Return the modules that a function names by its globals, and those of the first item's class."""
    from amorsize.backends.workers.main_module import global_names, used

    func = func.__func__ if type(func) is MethodType else func
    names = global_names(func.__code__) if type(func) is FunctionType else ()
    scope = func.__globals__ if type(func) is FunctionType else {}
    objects = [*used(func, items), *(scope[name] for name in names if name in scope)]
    return {_home_of(one) or _home_of(type(one)) for one in objects}


def _home_of(value: object) -> str:
    """Return the name of a module, or of that of a class or function. Other objects are not looked at."""
    kind = type(value)
    home = None
    if kind is ModuleType:
        home = vars(value).get("__name__")
    elif kind is FunctionType or issubclass(kind, type):
        home = attribute(value, "__module__")
    return home if type(home) is str else ""


def _excluded() -> set[str]:
    """Return the names of top-level packages that a fork server must not load."""
    out = {*SHELLS, "amorsize"} | {name.partition(".")[0] for name in UNSAFE_AFTER_FORK if name in sys.modules}
    threading = sys.modules.get("threading")
    for thread in () if threading is None else threading.enumerate():
        target = getattr(thread, "_target", None)
        for home in (getattr(target, "__module__", None), type(thread).__module__):
            out.add(str(home).partition(".")[0])
    return out


def _file_of(module: object) -> str:
    file = vars(module).get("__file__") if type(module) is ModuleType else None
    return file.replace("\\", "/") if type(file) is str else ""


def _is_installed(module: object) -> bool:
    file = _file_of(module)
    return "/site-packages/" in file or "/dist-packages/" in file


def _users_modules() -> list[ModuleType]:
    """Return the main module, and all that are neither installed nor part of Python.

    What is below an installed package is not looked at: scikit-learn loads 1,600 modules, and a look at each took 4 ms.
    """
    library = _file_of(sys.modules["os"]).rpartition("/")[0] + "/"
    others: dict[str, bool] = {}

    def is_other(module: object) -> bool:
        return _is_installed(module) or _file_of(module).startswith(library)

    found, main = [], sys.modules.get("__main__")
    for name, module in list(sys.modules.items()):
        root = name.partition(".")[0]
        if root not in others:
            others[root] = is_other(sys.modules.get(root))
        if type(module) is not ModuleType:
            continue
        if module is main or (not others[root] and _file_of(module) and not is_other(module)):
            found.append(module)
    return found
