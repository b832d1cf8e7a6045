"""The items of a map: indexable data, or an iterator that is read only as far as items are needed."""

from __future__ import annotations

from itertools import islice
from time import perf_counter

from amorsize.formatting import count
from amorsize.system.looks import goes_by_index, has_length, is_growing, is_sliced, length, note, origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import Any, Final

# Longest time in seconds that ready results wait for slow items (a guess).
PATIENCE_S: Final = 10e-3
# Seconds of reading items between two readings of the clock (a guess).
GULP_S: Final = 0.5e-3


class View:
    """Consecutive items of a list, tuple or array, without a copy.

    Copies by slicing took 1 of the 10 ms of a map over 200,000 squares.

    The iterators of these types can be set to any position, because pickling an iterator relies on that. The iterator
    ends where the list ends at that time.
    """

    __slots__ = ("data", "length", "start", "stop")

    def __init__(self, data: Any, start: int, stop: int) -> None:
        self.data, self.start, self.stop = data, start, stop
        self.length = max(0, min(stop, len(data)) - start)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, at: int) -> Any:
        return self.data[self.start + at]

    def __iter__(self) -> Iterator[Any]:
        walk = iter(self.data)
        walk.__setstate__(self.start)
        return walk if self.stop >= len(self.data) else islice(walk, self.stop - self.start)

    def ends_at(self, done: int) -> bool:
        """Return True if the list has become so short that no item follows the first ``done`` ones."""
        return len(self.data) <= self.start + done


class Walk(View):
    """Consecutive items of a sequence class of the user's.

    Each item is requested only when it is next, because making it may take long or raise.
    """

    __slots__ = ("at", "over")

    def __init__(self, data: Any, start: int, stop: int) -> None:
        self.data, self.start, self.stop = data, start, stop
        self.length, self.at, self.over = stop - start, start, False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __setstate__(self, at: int) -> None:
        """Set the position, as for the iterator of a list.

        It is set to the end in a copy of this process that an item has forked.
        """
        self.at = at

    def __next__(self) -> Any:
        at = self.at
        if self.over or at >= self.stop:
            raise StopIteration
        # The position moves first, so that the next call continues after an item that raises.
        self.at = at + 1
        try:
            return self.data[at]
        except IndexError:
            # The default iterator of a sequence ends at an IndexError, too.
            self.over = True
            raise StopIteration from None

    def ends_at(self, done: int) -> bool:
        """Return True if the sequence raised IndexError after the first ``done`` items."""
        return self.over and self.at == self.start + done + 1


class Indexable:
    """Items of a sequence, range or array."""

    indexable = True

    def __init__(self, data: Sequence[Any]) -> None:
        self.data = data
        self.length: int | None = len(data)
        # The length that the sequence told.
        self.told = self.length
        # True if the sequence lacked items that it should have.
        self.shrinks = False

    def items(self, start: int, stop: int) -> Any:
        """Return items ``start`` to ``stop``; fewer if the sequence is, or has become, shorter."""
        if is_sliced(self.data):
            return self.data[start:stop]
        found: list[Any] = []
        try:
            for index in range(start, stop):
                found.append(self.data[index])  # noqa: PERF401  (so that it is known which one raised)
        except IndexError:
            # The default iterator of a sequence ends there.
            return found
        except BaseException as exc:
            note(exc, f"amorsize: {origin(exc)} data[{start + len(found)}]")
            raise
        return found

    def view(self, start: int, stop: int) -> Any:
        """Return the same items, for one iteration over them."""
        if type(self).items is not Indexable.items:
            return self.items(start, stop)
        if type(self.data) is tuple or is_growing(self.data):
            return View(self.data, start, stop)
        return self.items(start, stop) if is_sliced(self.data) else Walk(self.data, start, stop)

    def release(self, start: int, stop: int, but: Collection[int] = ()) -> None:
        """Do nothing: the data stays with the caller. A `Streamed` source forgets these items."""

    def item(self, index: int) -> Any:
        """Return one item."""
        return self.data[index]

    def finish(self) -> None:
        """Do nothing: a sequence raises at the item itself."""

    def is_short(self) -> bool:
        """Return True if a class of the user's tells the same length as before: it never had all of its items."""
        return not is_sliced(self.data) and length(self.data) == self.told

    def has_changed(self, *, asks: bool = False) -> bool:
        """Return True if func, or another thread, has added items or taken some away since the map began.

        ``asks``: True to call ``len`` also for a sequence class of the user's.
        """
        return self.shrinks or ((asks or is_growing(self.data)) and length(self.data) != self.length)

    def ends_at(self, index: int) -> None:
        """Note that the sequence is, or has become, shorter."""
        self.length = index if self.length is None else min(self.length, index)

    def grown(self) -> tuple[int, int] | None:
        """Return the span of the items that were added since the map began. From now on they belong to the items."""
        before = self.length
        if before is None or not is_growing(self.data) or len(self.data) <= before:
            return None
        self.length = len(self.data)
        return before, self.length


class Streamed:
    """Items of an iterator: read once, in order, and kept only while they are in flight.

    When items come slowly, a read ends after `PATIENCE_S` and returns the items read so far.

    Parameters
    ----------
    data : iterator
    one_by_one : bool
        True: read the clock after each item, because a reader waits for results meanwhile. False: read it only about
        twice per millisecond, which costs next to nothing per item.
    gather : callable, optional
        Reads for an iterator whose items arrive by themselves: appends at most so many to a list, and returns True if
        there are no more. If none has come for a while, it appends none.
    """

    indexable = False

    def __init__(
        self,
        data: Iterator[Any],
        *,
        one_by_one: bool = False,
        gather: Callable[[list[Any], int], bool] | None = None,
    ) -> None:
        self.rest = data
        self.gather = gather
        self.length: int | None = None
        self.shrinks = False
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
            (self._wait if self.gather is not None else self._sip if self.one_by_one else self._gulp)(fresh, wanted)
        # `finish` raises it, after all earlier items have run.
        except Exception as exc:  # noqa: BLE001
            self.broken = exc
            self.length = self.read + len(fresh)
            blame_iterator(exc, self.length)
        if fresh:
            self.chunks[self.read] = fresh
        self.read += len(fresh)
        return fresh

    def _wait(self, into: list[Any], wanted: int) -> None:
        """Read the items that arrive."""
        assert self.gather is not None
        if self.gather(into, wanted):
            self.length = self.read + len(into)

    def _sip(self, into: list[Any], wanted: int) -> None:
        """Read item by item, and read the clock after each item."""
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

    def has_changed(self, *, asks: bool = False) -> bool:
        """Return False: an iterator has no length that could change."""
        return False

    def ends_at(self, index: int) -> None:
        """Do nothing: an iterator itself raises StopIteration at its end."""

    def grown(self) -> tuple[int, int] | None:
        """Return None: an iterator that has ended is not read again."""
        return None


def blame_iterator(exc: BaseException, items: int) -> None:
    """Add a note to an exception: the iterator of the data raised it, not func."""
    note(exc, f"amorsize: {origin(exc)} the iterator of data, after {count(items, 'item')}")


def read_on(into: list[Any], data: Iterable[Any], items: int | None = None) -> None:
    """Append ``items`` items of ``data``, or all. If its iterator raises, add a note that says so."""
    try:
        # list(data) would call the ``__len__`` of the data, which may raise or return a wrong number.
        into.extend(islice(data, items))
    except Exception as exc:
        blame_iterator(exc, len(into))
        raise


def source_of(data: Iterable[Any], *, one_by_one: bool = False) -> Indexable | Streamed:
    """Return the source for ``data``.

    Data that have a length but no access by index (dict, set, Series, deque, a linked list) are read into a list once.
    """
    if goes_by_index(data) and length(data) is not None:
        return Indexable(data)  # type: ignore[arg-type]
    if has_length(data):
        held: list[Any] = []
        read_on(held, data)
        return Indexable(held)
    try:
        rest = iter(data)
    except Exception as exc:
        blame_iterator(exc, 0)
        raise
    return Streamed(rest, one_by_one=one_by_one)
