"""The items of a map: indexable data, or an iterator that is read as far as items are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Protocol

from amorsize.worker import take


class Source(Protocol):
    """Where a driver takes items from."""

    length: int | None
    indexable: bool

    def items(self, start: int, stop: int) -> Any:
        """Items ``start`` to ``stop``; fewer when the source ends before ``stop``."""

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """These items are done and will not be asked for again, ``but`` those that failed: repeated, or named."""

    def item(self, index: int) -> Any:
        """One item that has not been released."""


class Indexable:
    """Items of a sequence, range or array."""

    indexable = True

    def __init__(self, data: Sequence[Any]) -> None:
        self.data = data
        self.length: int | None = len(data)

    def items(self, start: int, stop: int) -> Any:
        """Items ``start`` to ``stop``."""
        return take(self.data, start, stop)

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """Nothing to let go of."""

    def item(self, index: int) -> Any:
        """One item."""
        return self.data[index]


class Streamed:
    """Items of an iterator: read once, in order, and held only while they are in flight."""

    indexable = False

    def __init__(self, data: Iterator[Any]) -> None:
        self.rest = data
        self.length: int | None = None
        self.read = 0
        self.held: dict[int, Any] = {}

    def items(self, start: int, stop: int) -> Any:
        """Items ``start`` to ``stop``, from memory or from the iterator; fewer if it ends before."""
        if stop > self.read and self.length is None:
            fresh = list(islice(self.rest, stop - self.read))
            self.held.update(enumerate(fresh, self.read))
            self.read += len(fresh)
            if self.read < stop:
                self.length = self.read
        return [self.held[i] for i in range(start, min(stop, self.read))]

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """Forget items that are done."""
        for index in range(start, stop):
            if index not in but:
                self.held.pop(index, None)

    def item(self, index: int) -> Any:
        """One item that is still held."""
        return self.held[index]


def is_indexable(data: object) -> bool:
    """Whether ``data`` has a length and may be asked for any index: a Sequence, a range or an ndarray."""
    return isinstance(data, Sequence) or (
        type(data).__module__ == "numpy" and hasattr(data, "ndim") and data.ndim > 0 and hasattr(data, "__getitem__")
    )


def source_of(data: Iterable[Any]) -> Indexable | Streamed:
    """The source for ``data``. What has a length but no order of indices (dict, set, Series) is read into a list."""
    if is_indexable(data):
        return Indexable(data)  # type: ignore[arg-type]
    if isinstance(data, Sized):
        return Indexable(list(data))
    return Streamed(iter(data))
