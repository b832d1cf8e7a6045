"""What holds in the caller as within a worker: how items are taken, what they raise, and which cores are one's own.

It is apart from `amorsize.backends.workers.child`, since a short map in the caller has no need of a worker.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

cores_share: float | None = None
"""In a worker: how many cores a nested call may use. None: this is not a worker."""


def take(data: Any, start: int, stop: int) -> Any:
    """Items ``start`` to ``stop`` of indexable data; a slice where slicing is known to mean that."""
    if type(data) in (list, tuple, range, str, bytes) or type(data).__module__ == "numpy":
        return data[start:stop]
    return [data[index] for index in range(start, stop)]


def trace_of(exc: BaseException) -> str:
    """Where an exception was raised, as text. What writes it is loaded only now; if it cannot be, the text is short."""
    try:
        import traceback
    except Exception:  # noqa: BLE001  (an item has left no descriptor to read it with, say: that is what is to be told)
        return f"{type(exc).__name__}\n"
    return "".join(traceback.format_exception(exc))
