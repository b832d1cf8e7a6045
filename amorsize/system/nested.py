"""Functions for both the caller and a worker: slices of items, tracebacks, items that fork, and the share of the cores.

They are not in `amorsize.backends.workers.child`, since a short map in the caller does not load worker code.
"""

from __future__ import annotations

import os
import sys

from amorsize.system.looks import is_sliced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

cores_share: float | None = None
"""In a worker of ours: number of cores that a nested call may use. None: this is no such worker; see `share`."""

# Attribute of a thread that runs a task of an executor or a cluster (`amorsize.backends.remote`).
IN_TASK: Final = "_amorsize_in_task"


def share() -> float | None:
    """Return the number of cores that a nested call may use here; None: all, since this is no worker's thread.

    A task of an executor or a cluster has one place of that, which is one core. So has a task that the program has
    given to Dask by itself.
    """
    if cores_share is not None:
        return cores_share
    threading = sys.modules.get("threading")
    if threading is not None and getattr(threading.current_thread(), IN_TASK, False):
        return 1.0
    dask = sys.modules.get("distributed.worker")
    if dask is None:
        return None
    try:
        dask.get_worker()
    # ValueError, or AttributeError while it is being loaded.
    except Exception:  # noqa: BLE001
        return None
    return 1.0


def changed() -> RuntimeError:
    """Return the error of data whose length has changed, so that an index may mean another item."""
    from amorsize.errors import see

    return RuntimeError(
        "data: has another length now than when the map began: func, or another thread, adds items to it or takes some "
        f"away. Map a copy, list(data){see('changed-data')}"
    )


class Ended(IndexError):  # noqa: N818
    """A sequence of the user's is shorter than it says: there is no such item. Iterating over it would end there."""


def take(data: Any, start: int, stop: int) -> Any:
    """Return items ``start`` to ``stop`` of indexable data; a slice where slicing is known to mean that."""
    if is_sliced(data):
        return data[start:stop]
    try:
        return [data[index] for index in range(start, stop)]
    except IndexError as exc:
        raise Ended from exc


def take_of(data: Any, length: int | None, start: int, stop: int) -> Any:
    """Return items ``start`` to ``stop`` of data that had this length when the map began (None: unknown).

    Raises
    ------
    RuntimeError
        If the length has changed, so that an index may mean another item.
    """
    if length is not None and len(data) != length:
        raise changed()
    return take(data, start, stop)


# -- items that fork -------------------------------------------------------------------------------------------------

# An item may fork this process. The copy has the whole stack, down to the caller's program. When the item returns or
# raises in the copy, the copy must end there: else the map, and the program behind it, would run twice.

forks = 0
"""Number of forks since this module was loaded. If it grows while an item runs, this process is a copy of that one."""

# What their iterators' `__setstate__` does is known.
EXHAUSTIBLE: Final = (list, tuple, range, str, bytes)

walks: list[Iterator[Any]] = []
"""Iterators over items that are being run, without a check between two items. A copy exhausts them."""


def walk_over(items: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator over items, noted in `walks`; to be removed from there at its end.

    So a loop over it need not look after each item if that has forked: such a look took a sixth of the time of 20,000
    short items.
    """
    walk = iter(items if type(items) in EXHAUSTIBLE else [*items])
    walks.append(walk)
    return walk


def leave_copy(forks_before: int, exc: BaseException | None = None) -> None:
    """End this process, with the exit code that ``exc`` would give a program, if an item has forked it.

    Parameters
    ----------
    forks_before : int
        Value of `forks` before the item.
    exc : BaseException, optional
        The exception that the item raised.
    """
    if forks != forks_before:
        end_copy(exc)


def end_copy(exc: BaseException | None = None) -> None:
    """End this process, which is a copy that an item has forked."""
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
    """Flush stdout and stderr, as far as possible."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        # The stream is closed or broken: there is no place to report it.
        except Exception:  # noqa: BLE001
            continue


def _in_a_copy() -> None:
    global forks
    forks += 1
    for walk in walks:
        try:
            walk.__setstate__(sys.maxsize - 1)  # type: ignore[attr-defined]
        # It is an iterator of another type: the copy ends after its last item.
        except Exception:  # noqa: BLE001
            continue


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_copy)
