"""The items of a map: indexable data, or an iterator that is read as far as items are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from itertools import islice
from time import perf_counter
from typing import Any, Final, Protocol

from amorsize.worker import take

PATIENCE_S: Final = 10e-3  # results that are ready wait no longer than this for items that come slowly
GULP_S: Final = 0.5e-3  # read at a time without a look at the clock


class Source(Protocol):
    """Where a driver takes items from."""

    length: int | None
    indexable: bool

    def items(self, start: int, stop: int) -> Any:
        """Items ``start`` to ``stop``; fewer when the source ends before ``stop``, or has no more at the moment."""

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """These items are done and will not be asked for again, ``but`` those that failed: repeated, or named."""

    def item(self, index: int) -> Any:
        """One item that has not been released."""

    def finish(self) -> None:
        """All has been run: raise what the source raised, if it did."""


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

    def finish(self) -> None:
        """A sequence raises at the item."""


class Streamed:
    """Items of an iterator: read once, in order, and held only while they are in flight.

    It never reads for longer than it must: when items come slowly, it gives those that it has after `PATIENCE_S`.

    Parameters
    ----------
    data : iterator
    one_by_one : bool
        Look at the clock after each item, since somebody waits for results meanwhile; else only about twice per
        millisecond, which costs next to nothing per item.
    """

    indexable = False

    def __init__(self, data: Iterator[Any], *, one_by_one: bool = False) -> None:
        self.rest = data
        self.length: int | None = None
        self.read = 0
        self.held: dict[int, Any] = {}
        self.broken: BaseException | None = None
        self.one_by_one = one_by_one
        self._step = 1

    def items(self, start: int, stop: int) -> Any:
        """Items ``start`` to ``stop``, from memory or from the iterator; fewer if it ends before, or is slow."""
        if stop > self.read and self.length is None:
            self._read(stop)
        return [self.held[i] for i in range(start, min(stop, self.read))]

    def _read(self, stop: int) -> None:
        fresh: list[Any] = []
        began = now = perf_counter()
        wanted = stop - self.read
        try:
            while len(fresh) < wanted and now - began < PATIENCE_S:
                step = min(self._step, wanted - len(fresh))
                before, after = len(fresh), now
                fresh.extend(islice(self.rest, step))
                if len(fresh) < before + step:
                    self.length = self.read + len(fresh)
                    break
                now = perf_counter()
                if not self.one_by_one:
                    self._step = max(1, min(2 * self._step, int(self._step * GULP_S / max(now - after, 1e-9))))
        except BaseException as exc:
            if not isinstance(exc, Exception):
                raise
            self.broken = exc
            self.length = self.read + len(fresh)
        self.held.update(enumerate(fresh, self.read))
        self.read += len(fresh)

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """Forget items that are done."""
        for index in range(start, stop):
            if index not in but:
                self.held.pop(index, None)

    def item(self, index: int) -> Any:
        """One item that is still held."""
        return self.held[index]

    def finish(self) -> None:
        """Raise what the iterator raised."""
        if self.broken is not None:
            raise self.broken


def is_indexable(data: object) -> bool:
    """Whether ``data`` has a length and may be asked for any index: a Sequence, a range or an ndarray."""
    return isinstance(data, Sequence) or (
        type(data).__module__ == "numpy" and hasattr(data, "ndim") and data.ndim > 0 and hasattr(data, "__getitem__")
    )


def source_of(data: Iterable[Any], *, one_by_one: bool = False) -> Indexable | Streamed:
    """The source for ``data``. What has a length but no order of indices (dict, set, Series) is read into a list."""
    if is_indexable(data):
        return Indexable(data)  # type: ignore[arg-type]
    if isinstance(data, Sized):
        return Indexable(list(data))
    return Streamed(iter(data), one_by_one=one_by_one)
