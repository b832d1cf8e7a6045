"""Functions for both the caller and a worker: slices of items, tracebacks, and the share of the cores.

They are not in `amorsize.backends.workers.child`, since a short map in the caller does not load worker code.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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
