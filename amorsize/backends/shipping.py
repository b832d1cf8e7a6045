"""Prepare what crosses to the workers of an executor: the function of a map, its items, and the code that runs them.

Workers are *near* if they are known to have amorsize, since they are started by this interpreter on this machine
(``concurrent.futures``, loky). They get functions as amorsize's own workers do. All others may have anything: the
remote half (`amorsize.backends.remote`) goes to them as its source, and functions and classes of the main module, or of
a module that lies beside the program, by value.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import cache
from threading import RLock
from uuid import uuid4

from amorsize.backends.workers import protocol
from amorsize.backends.workers.by_value import BY_VALUE
from amorsize.backends.workers.functions import MAIN, sent
from amorsize.backends.workers.main_module import FEW, carried, used, values_of
from amorsize.errors import TransferError
from amorsize.system.looks import is_interrupt, kind_of, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

Parts = tuple[bytes, ...]
"""A pickle and its buffers."""

VERSION: Final = sys.version_info[:2]


class Lazy:
    """An object that is pickled only if it crosses to another process. Threads get the object itself."""

    def __init__(self, held: Any, pickled: Callable[[], Parts]) -> None:
        self.held = held
        self._pickled = pickled

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (self._pickled(),)


class Parcels:
    """Pickles the function and the items of one map.

    Parameters
    ----------
    func : callable
    near : bool
        True if the workers have amorsize, and the main module as multiprocessing gives it to them.
    warn : callable
        Called with a warning for each global of the main module whose value cannot be sent.

    Attributes
    ----------
    key : str
        Names the function of this map in the workers. The function of another map is another object, though an equal
        one: it may count its calls, say.
    """

    def __init__(self, func: Callable[[Any], Any], near: bool, warn: Callable[[str], object]) -> None:
        self.held = func
        self.near = near
        self.key = uuid4().hex
        self._uses: list[Any] = [func]
        self._warn = warn
        self._func: Parts | None = None
        self._own: tuple[Any, ...] | None = None
        self._names: re.Pattern[bytes] | None = None

    def look(self, items: Any) -> None:
        """Look at the first items: their methods may name globals of the main module, too."""
        if self.near:
            self._uses = used(self.held, list(items[:FEW]))

    def send_by_value(self) -> None:
        """From now on send to the workers as to those that have nothing."""
        self.near, self._func = False, None

    def known(self) -> Parts | None:
        """Return the function's pickle if it has been made."""
        return self._func

    def func(self) -> Parts:
        """Return the function's pickle.

        Raises
        ------
        TransferError
            If it cannot be sent.
        """
        if self._func is None:
            self._func = self._near_func() if self.near else self._far_func()
        return self._func

    def _near_func(self) -> Parts:
        values = values_of(self._uses)
        for warning in values.warnings() if values is not None else ():
            self._warn(warning)
        return _bytes_of(protocol.dumps(carried(values, sent(self.held))))

    def _far_func(self) -> Parts:
        import cloudpickle

        why: BaseException | None = None
        for own in (self._own_modules(), ()):
            try:
                with by_value(own):
                    return (BY_VALUE + cloudpickle.dumps(self.held, protocol=5),)
            # A module beside the program may hold what cannot be pickled. Maybe the workers find it.
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                why = why or exc
        assert why is not None
        raise TransferError("func", None, f"{kind_of(self.held)} ({text_of(why) or kind_of(why)})") from why

    def items(self, items: Any) -> Parts:
        """Return the pickle of some items."""
        if self.near:
            return _bytes_of(protocol.dumps(items))
        why: BaseException | None = None
        try:
            plain = pickle.dumps(items, 5)
            if not self._mentions_own(plain):
                return (plain,)
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            why = exc
        import cloudpickle

        try:
            with by_value(self._own_modules()):
                return (BY_VALUE + cloudpickle.dumps(items, protocol=5),)
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            if why is None:
                return (plain,)
            raise

    def _own_modules(self) -> tuple[Any, ...]:
        if self._own is None:
            self._own = tuple(own_modules())
        return self._own

    def _mentions_own(self, pickled: bytes) -> bool:
        """Return True if a pickle may name something of the main module, or of one beside the program."""
        if self._names is None:
            names = {*MAIN, *(module.__name__ for module in self._own_modules())}
            self._names = re.compile(b"|".join(re.escape(name.encode()) for name in sorted(names)))
        return self._names.search(pickled) is not None


def _bytes_of(parts: Iterable[Any]) -> Parts:
    return tuple(bytes(part) for part in parts)


# -- modules beside the program ---------------------------------------------------------------------------------------


def own_modules() -> list[Any]:
    """Return the loaded modules that are not installed: workers elsewhere would not find them, or would find old ones.

    The main module is not among them: cloudpickle sends its contents by value anyway. Takes about 1 ms.
    """
    own = []
    installed = _installed()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name in MAIN or name.partition(".")[0] == "amorsize":
            continue
        if getattr(module, "__name__", None) == name and not file.startswith(installed):
            own.append(module)
    return own


@cache
def _installed() -> tuple[str, ...]:
    import site
    import sysconfig

    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*getattr(site, "getsitepackages", list)(), site.getusersitepackages()}
    # Built-in modules of a frozen program have such "files".
    return (*sorted(path for path in paths if path), "<")


_lock = RLock()


def _in_child() -> None:
    """In a forked child: another thread may have held the lock."""
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


@contextmanager
def by_value(modules: Iterable[Any]) -> Generator[None, None, None]:
    """Have cloudpickle send the contents of these modules by value, within the block."""
    from cloudpickle import list_registry_pickle_by_value, register_pickle_by_value, unregister_pickle_by_value

    with _lock:
        before = list_registry_pickle_by_value()
        fresh = [module for module in modules if module.__name__ not in before and module.__name__ in sys.modules]
        for module in fresh:
            register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in fresh:
                unregister_pickle_by_value(module)
