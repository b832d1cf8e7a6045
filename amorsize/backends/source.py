"""The items of a map: indexable data, or an iterator that is read only as far as items are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from itertools import islice
from time import perf_counter

from amorsize.system.nested import take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Protocol

    class Source(Protocol):
        """The items of a map, as a driver reads them."""

        length: int | None
        indexable: bool

        def items(self, start: int, stop: int) -> Any:
            """Return items ``start`` to ``stop``; fewer if the source ends earlier or has no more at the moment."""

        def view(self, start: int, stop: int) -> Any:
            """Return the same items for one immediate pass over them."""

        def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
            """Forget these items, ``but`` those that failed: they are retried, or shown in the exception's note."""

        def item(self, index: int) -> Any:
            """Return one item that has not been released."""

        def finish(self) -> None:
            """Raise the exception of the source, if it raised one. Called when all items have run."""


# guess: results that are ready wait at most this long for slow items
PATIENCE_S: Final = 10e-3
# guess: seconds of reading between two looks at the clock
GULP_S: Final = 0.5e-3


class View:
    """A range of a list or tuple, without a copy. Slices took 1 ms of the 10 ms for 200,000 squares.

    The iterator of a list or tuple can start at any position (its pickling relies on this).
    """

    __slots__ = ("data", "start", "stop")

    def __init__(self, data: list[Any] | tuple[Any, ...], start: int, stop: int) -> None:
        self.data, self.start, self.stop = data, start, stop

    def __len__(self) -> int:
        return max(0, min(self.stop, len(self.data)) - self.start)

    def __getitem__(self, at: int) -> Any:
        return self.data[self.start + at]

    def __iter__(self) -> Iterator[Any]:
        walk = iter(self.data)
        walk.__setstate__(self.start)  # type: ignore[attr-defined]
        return walk if self.stop >= len(self.data) else islice(walk, self.stop - self.start)


class Indexable:
    """Items of a sequence, range or array."""

    indexable = True

    def __init__(self, data: Sequence[Any]) -> None:
        self.data = data
        self.length: int | None = len(data)

    def items(self, start: int, stop: int) -> Any:
        """Return items ``start`` to ``stop``."""
        return take(self.data, start, stop)

    def view(self, start: int, stop: int) -> Any:
        """Return the same items, for one pass over them."""
        if type(self.data) in (list, tuple) and type(self).items is Indexable.items:
            return View(self.data, start, stop)  # type: ignore[arg-type]
        return self.items(start, stop)

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """Do nothing: the data stays with the caller."""

    def item(self, index: int) -> Any:
        """Return one item."""
        return self.data[index]

    def finish(self) -> None:
        """Do nothing: a sequence raises at the item itself."""


class Streamed:
    """Items of an iterator: read once, in order, and kept only while they are in flight.

    When items come slowly, a read ends after `PATIENCE_S` and returns the items read so far.

    Parameters
    ----------
    data : iterator
    one_by_one : bool
        True: look at the clock after each item, since a reader waits for results meanwhile. False: only about twice
        per millisecond, which costs next to nothing per item.
    """

    indexable = False

    def __init__(self, data: Iterator[Any], *, one_by_one: bool = False) -> None:
        self.rest = data
        self.length: int | None = None
        self.read = 0
        # Items kept as they were read, by the index of the first.
        self.chunks: dict[int, list[Any]] = {}
        # Items kept one by one.
        self.odd: dict[int, Any] = {}
        self.broken: BaseException | None = None
        self.one_by_one = one_by_one
        self._step = 1

    def view(self, start: int, stop: int) -> Any:
        """Return the same as `items`."""
        return self.items(start, stop)

    def items(self, start: int, stop: int) -> Any:
        """Return items ``start`` to ``stop``, kept or newly read; fewer if the iterator ends earlier or is slow."""
        if start == self.read:
            return self._read(stop)
        chunk = self.chunks.get(start)
        if chunk is not None and len(chunk) == stop - start:
            return chunk
        if stop > self.read:
            self._read(stop)
        self._break_up(start, stop)
        return [self.odd[i] for i in range(start, min(stop, self.read))]

    def _read(self, stop: int) -> list[Any]:
        fresh: list[Any] = []
        if self.length is not None:
            return fresh
        wanted = stop - self.read
        try:
            (self._sip if self.one_by_one else self._gulp)(fresh, wanted)
        # `finish` raises it, after all earlier items have run.
        except Exception as exc:  # noqa: BLE001
            self.broken = exc
            self.length = self.read + len(fresh)
        if fresh:
            self.chunks[self.read] = fresh
        self.read += len(fresh)
        return fresh

    def _sip(self, into: list[Any], wanted: int) -> None:
        """Read item by item, with a look at the clock after each."""
        deadline, append = perf_counter() + PATIENCE_S, into.append
        for item in islice(self.rest, wanted):
            append(item)
            if perf_counter() > deadline:
                return
        if len(into) < wanted:
            self.length = self.read + len(into)

    def _gulp(self, into: list[Any], wanted: int) -> None:
        """Read in steps of about `GULP_S` each."""
        began = now = perf_counter()
        while len(into) < wanted and now - began < PATIENCE_S:
            step = min(self._step, wanted - len(into))
            before, after = len(into), now
            into.extend(islice(self.rest, step))
            if len(into) < before + step:
                self.length = self.read + len(into)
                return
            now = perf_counter()
            self._step = max(1, min(2 * step, int(step * GULP_S / max(now - after, 1e-9))))

    def _break_up(self, start: int, stop: int) -> None:
        """Keep the chunks that overlap these items as single items from now on."""
        for at, chunk in list(self.chunks.items()):
            if at < stop and start < at + len(chunk):
                self.odd.update(enumerate(self.chunks.pop(at), at))

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """Forget items that are done, ``but`` those that failed."""
        chunk = self.chunks.get(start)
        if chunk is not None and len(chunk) == stop - start:
            del self.chunks[start]
            self.odd.update((index, chunk[index - start]) for index in but)
            return
        self._break_up(start, stop)
        for index in range(start, stop):
            if index not in but:
                self.odd.pop(index, None)

    def item(self, index: int) -> Any:
        """Return one item that is still kept."""
        self._break_up(index, index + 1)
        return self.odd[index]

    def finish(self) -> None:
        """Raise the exception of the iterator, if it raised one."""
        if self.broken is not None:
            raise self.broken


def is_indexable(data: object) -> bool:
    """Return True if ``data`` has a length and allows any index: a Sequence, a range or an ndarray."""
    return isinstance(data, Sequence) or (
        type(data).__module__ == "numpy" and hasattr(data, "ndim") and data.ndim > 0 and hasattr(data, "__getitem__")
    )


def source_of(data: Iterable[Any], *, one_by_one: bool = False) -> Indexable | Streamed:
    """Return the source for ``data``. Sized data without index order (dict, set, Series) is read into a list."""
    if is_indexable(data):
        return Indexable(data)  # type: ignore[arg-type]
    if isinstance(data, Sized):
        return Indexable(list(data))
    return Streamed(iter(data), one_by_one=one_by_one)
