"""Functions for both the caller and a worker: slices of items, tracebacks, items that fork, and the share of the cores.

They are not in `amorsize.backends.workers.child`, since a short map in the caller does not load worker code.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

cores_share: float | None = None
"""In a worker: number of cores that a nested call may use. None: this is not a worker."""


def take(data: Any, start: int, stop: int) -> Any:
    """Return items ``start`` to ``stop`` of indexable data; a slice for types whose slices are known to be that."""
    if type(data) in (list, tuple, range, str, bytes) or type(data).__module__ == "numpy":
        return data[start:stop]
    return [data[index] for index in range(start, stop)]


def trace_of(exc: BaseException) -> str:
    """Return the traceback as text. ``traceback`` is loaded only now; if that fails, the text is short."""
    try:
        import traceback
    except Exception:  # noqa: BLE001  (an item has left no descriptor to read it with, say: that is what is to be told)
        return f"{type(exc).__name__}\n"
    return "".join(traceback.format_exception(exc))


# -- items that fork -------------------------------------------------------------------------------------------------
#
# A copy of a process that an item has forked has all of its stack, down to the caller's. What the item does in the copy
# is its own business; but when it comes back there, or raises, the map must not go on twice.

forks = 0
"""How often this process was forked since the module was loaded: it is not the same process if this has grown."""

walks: list[Iterator[Any]] = []
"""Iterators whose items are run at a speed that allows no look between two of them."""


def leave_copy(forks_before: int, exc: BaseException | None = None) -> None:
    """End this process as a program of its own would end, if it is a copy that an item has forked.

    Parameters
    ----------
    forks_before : int
        What `forks` was before the item was run.
    exc : BaseException, optional
        What the item has raised.
    """
    if forks != forks_before:
        end_copy(exc)


def end_copy(exc: BaseException | None = None) -> None:
    """End this process, which an item has forked."""
    code = 0
    try:
        if isinstance(exc, SystemExit):
            code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
            if code and not isinstance(exc.code, int):
                sys.stderr.write(f"{exc.code}\n")
        elif exc is not None:
            code = 1
            sys.excepthook(type(exc), exc, exc.__traceback__)
    finally:
        flush_stdio()
        os._exit(code & 0xFF)


def flush_stdio() -> None:
    """Write out what is buffered, as far as that can be done."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001  (closed or broken: nobody is left to tell)
            continue


def _in_a_copy() -> None:
    global forks
    forks += 1
    for walk in walks:
        try:
            walk.__setstate__(sys.maxsize - 1)  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001  (a walk of another kind goes on, and its copy ends with the last item)
            continue


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_copy)
