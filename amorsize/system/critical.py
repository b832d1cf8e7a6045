"""Hold signals during the few lines that an exception must not interrupt: ``with held_signals():``.

A signal handler written in Python runs in the main thread, between any two of its bytecodes, and may raise: Ctrl-C
does, and so does the alarm of a test's time limit. Between a fork and the note of the child's process id, that loses
the child. A signal mask does not help beside other threads, native ones included: the system hands the signal to one
of them, and the handler still runs in the main thread. So the handlers themselves are exchanged for one that only
notes the signal; at the end of the block they are put back, and the signals that came are handed to them.

What a block has made must belong to an object when the block ends, because its end may raise what a handler raises.
To hold and release costs 5 µs (2 cores, Linux, CPython 3.11), within another block nothing. Other threads hold nothing:
no handler runs there.
"""

from __future__ import annotations

import _imp
import _signal  # type: ignore[import-not-found]  # it is built in, and loads nothing
import _thread
import gc
import os
import sys
from itertools import compress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, Final

    Handler = Callable[[int, FrameType | None], Any]

# CPython 3.12 freezes 375 objects of its own; a program that freezes its objects has 5,000 at the least.
FROZEN_AT_START: Final = 1_000
# The real-time signals after SIGSYS (31) are rarely given a handler, but can be.
NUMBERS: Final = tuple(sorted(_signal.valid_signals()))


class held_signals:  # noqa: N801  (used like a function)
    """Context manager that holds every signal with a Python handler.

    Attributes
    ----------
    handlers : dict of int to callable
        The handlers that were exchanged, by the number of their signal.
    """

    __slots__ = ("_came", "handlers")

    def __init__(self) -> None:
        self.handlers: dict[int, Handler] = {}
        self._came: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> held_signals:
        """Hold the signals; return the outermost block, which holds them."""
        global _outermost
        if not _is_main_thread():
            return self
        if _outermost is not None:
            return _outermost
        try:
            for number in compress(NUMBERS, map(callable, map(_signal.getsignal, NUMBERS))):
                # Another handler may have taken it away meanwhile.
                if callable(handler := _signal.getsignal(number)):
                    # Noted before it is exchanged, or an exception between the two would lose it.
                    self.handlers[number] = handler
                    _signal.signal(number, self._note)
        except ValueError:
            # Handlers cannot be set here (a subinterpreter), so none can run either.
            self.handlers.clear()
        except BaseException:
            self.put_back()
            raise
        if self.handlers:
            _outermost = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.handlers:
            return
        handlers, raised = self.handlers, None
        try:
            self.put_back()
        except BaseException as exc:  # noqa: BLE001  (whatever a handler raises that is back already)
            raised = exc
        came, self._came = self._came, []
        for number, frame in came:
            try:
                handlers[number](number, frame)
            except BaseException as exc:  # noqa: BLE001
                raised = raised or exc
        if raised is not None:
            raise raised

    def put_back(self) -> None:
        """Put the handlers back, without the signals that came.

        A handler that is back may raise while the others are not. Then they are put back all the same, and what it
        raised is raised at the end.
        """
        global _outermost
        # From here on a handler may run, and begin a block of its own.
        _outermost = None if _outermost is self else _outermost
        raised: BaseException | None = None
        handlers, waiting = self.handlers, list(self.handlers)
        while waiting:
            try:
                # A signal that has two handlers to go back to would be a third party's doing: the latest one stays.
                if _signal.getsignal(waiting[-1]) == self._note:
                    _signal.signal(waiting[-1], handlers[waiting[-1]])
                del waiting[-1]
            except BaseException as exc:  # noqa: BLE001  (whatever the handler raises)
                raised = exc
        self.handlers = {}
        if raised is not None:
            raise raised

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append((number, frame))


_outermost: held_signals | None = None
"""The block that holds the signals of the main thread."""


def has_come() -> bool:
    """Return True if a signal waits for the end of the block that holds it."""
    return _outermost is not None and bool(_outermost._came)


def _release_in_a_child() -> None:
    """Put the handlers back in a child that was forked in the block, or beside it by another thread."""
    if _is_collecting_later:
        gc.enable()
    if _outermost is not None:
        _outermost.put_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_a_child)


def _is_main_thread() -> bool:
    """Return True in the main thread. While ``threading`` is not loaded, there is no other one."""
    threading: Any = sys.modules.get("threading")
    return threading is None or threading.main_thread().ident == _thread.get_ident()


_is_collecting_later = False
"""True while garbage collection waits for a module to be loaded."""


def load(name: str) -> bool:
    """Import this module now, while signals are held: see `free_import_lock`. Return False if it is loaded already.

    Nor is garbage collected meanwhile: modules leave none, and a collection visits all objects of the program. That
    took 1 of the 9 ms of what a loop loads, in a program without objects of its own.
    """
    global _is_collecting_later
    if name in sys.modules:
        return False
    with held_signals():
        collects = gc.isenabled()
        _is_collecting_later |= collects
        gc.disable()
        try:
            # importlib takes 0.4 ms to load.
            __import__(name)
        finally:
            if collects:
                _is_collecting_later = False
                _make_old()
                gc.enable()
    return True


def _make_old() -> None:
    """Where the program owes a full collection, count all objects as old: those of a module stay.

    Else collection, enabled again, would begin at once with that: 55 ms in a process with scikit-learn, before the
    first item. To freeze and unfreeze moves lists, not objects (0.2 µs). Done each time, forks of a program that had
    run for a while took 2 ms longer.
    """
    if gc.get_count()[2] > gc.get_threshold()[2] and gc.get_freeze_count() < FROZEN_AT_START:
        gc.freeze()
        gc.unfreeze()


def free_import_lock() -> bool:
    """Return True if the import lock is free; in the main thread, free it of an import that was interrupted.

    CPython (to 3.13 at least) takes this lock around each look for a module, and an interrupt there can leave it taken
    by the main thread for good. ``os.fork()`` takes it too, so in any other thread it would wait for ever.
    """
    if not _imp.lock_held():
        return True
    if not _is_main_thread() or _imports():
        return False
    try:
        while _imp.lock_held():
            _imp.release_lock()
    except RuntimeError:
        # Another thread holds it.
        return False
    return True


def _imports() -> bool:
    """Return True if this thread is at an import, which gives the lock back itself."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


# A signal that comes when the interpreter has looked for one, but the lock does not wait yet, is handled only when that
# wait ends. With 3 of 430 programs on a busy machine Ctrl-C was lost so.
LONGEST_WAIT_S: Final = 0.5
"""Seconds that the main thread may wait at a time; then it looks again."""


def at_most(wait_s: float | None) -> float:
    """Return how long to wait at a time: `LONGEST_WAIT_S` at most; None: no limit of the caller's."""
    return LONGEST_WAIT_S if wait_s is None else min(wait_s, LONGEST_WAIT_S)


class Latch:
    """An event that is set once, for one thread that waits. An interrupt of the wait leaves no lock taken.

    `threading.Event` locks in Python code. An exception between two of its lines leaves the lock acquired, and then the
    thread that sets the event waits for ever.
    """

    __slots__ = ("_lock", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Set it, and wake the thread that waits; any number of times."""
        self.is_set = True
        self.nudge()

    def nudge(self) -> None:
        """Wake the thread that waits, or else let its next wait return at once."""
        try:
            self._lock.release()
        except RuntimeError:
            # It is released already.
            pass

    def wait(self, wait_s: float | None = None) -> bool:
        """Wait until it is set, for at most so long; return True if it is."""
        if not self.is_set:
            self._lock.acquire(timeout=-1 if wait_s is None else max(0.0, wait_s))
        return self.is_set
