"""What holds in the caller as within a worker: how items are taken from data, and which cores are one's own.

It is apart from `amorsize.worker`, since a short map in the caller has no need of a worker.
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
