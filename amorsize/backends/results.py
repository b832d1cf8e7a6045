"""Collects the results of a map in the order of the items, and its failures."""

from __future__ import annotations

from amorsize.formatting import count
from amorsize.loop_facts import Failure
from amorsize.system.looks import is_interrupt, note, origin, shorten, trace_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any, Literal

    from amorsize.backends.remote_errors import ItemError

    OnError = Literal["raise", "collect"]

# Number of results that are kept to measure their size (a guess).
SAMPLE = 16


class Outcome:
    """Collects the results of one map until it is complete.

    Parameters
    ----------
    on_error : {"raise", "collect"}
    max_failures : int, optional
        With ``"collect"``: number of items that may fail before the map stops.

    Attributes
    ----------
    results : list
        In the order of the items; places not filled yet hold None.
    failures : dict of int to Failure
        The items that failed for good, by index.
    """

    # What becomes of the results of a run that is interrupted.
    _kept = "checkpoint=PATH would keep them for the next run"

    def __init__(self, on_error: OnError, max_failures: int | None = None) -> None:
        self.on_error = on_error
        self.most_failures = 0 if on_error == "raise" else max_failures
        self.results: list[Any] = []
        self.failures: dict[int, Failure] = {}
        # Number of places among the results that are not filled.
        self._holes = 0
        # The latest exception of each item that is not done.
        self.last_error: dict[int, Failure] = {}
        # Called with each item that fails for good.
        self.on_failure: Callable[[Failure], object] | None = None
        # SystemExit and KeyboardInterrupt are neither collected nor retried.
        self.fatal: Failure | None = None

    def place_for(self, start: int) -> list[Any]:
        """Return a list to which a loop appends the results of items from ``start`` on; the loop must then `put` it."""
        # In order, results are appended in place: no second list, no copy.
        return self.results if start == len(self.results) else []

    def put(self, start: int, values: list[Any], but: Collection[int] = ()) -> None:
        """Keep the results of the items from ``start`` on, ``but`` those of items that raised, here or elsewhere."""
        if values is self.results:
            self._holes += len(but)
            return
        begin, stop = start, start + len(values)
        for index in sorted(index for index in but if start <= index < stop):
            self._keep(begin, values[begin - start : index - start])
            begin = index + 1
        self._keep(begin, values[begin - start :] if begin > start else values)

    def _keep(self, start: int, values: list[Any]) -> None:
        results = self.results
        if not values:
            # Beyond the end of the source the list must not grow.
            return
        before = start - len(results)
        self._holes += max(before, -len(values))
        results.extend([None] * before)
        results[start : start + len(values)] = values

    def some(self, most: int) -> list[Any]:
        """Return at most ``most`` results, to measure their size."""
        return self.results[:most]

    @property
    def size(self) -> int:
        """The number of results so far, with those that a checkpoint had."""
        return len(self.results) - self._holes

    def take_errors(self, failures: Iterable[Failure], ran: range = range(0)) -> tuple[int, ...]:
        """Keep the errors of items in case these fail for good, and return their indices.

        An item that raised anything but an `Exception` fails for good at once. What the other items of ``ran`` raised
        before is forgotten: they have results now.
        """
        for index in self.last_error.keys() & ran if self.last_error else ():
            del self.last_error[index]
        indices = []
        for failure in failures:
            self.last_error[failure.index] = failure
            indices.append(failure.index)
            if not isinstance(failure.exception, Exception):
                self.fail(failure)
        return tuple(indices)

    def fail(self, failure: Failure) -> None:
        """Record that an item failed for good. With ``"collect"``, the failure takes the result's place."""
        self.note(failure)
        if self.fatal is None and self.on_error == "collect":
            self.put(failure.index, [failure])

    def note(self, failure: Failure) -> None:
        """Record that an item failed for good; the caller puts the failure among the results."""
        self.last_error.pop(failure.index, None)
        self.failures[failure.index] = failure
        if not isinstance(failure.exception, Exception):
            self.fatal = failure
        if self.on_failure is not None:
            self.on_failure(failure)

    @property
    def doomed(self) -> bool:
        """True if the map can stop, since it will raise an exception anyway."""
        if self.fatal is not None:
            return True
        return self.most_failures is not None and len(self.failures) > self.most_failures

    def finish(self, item_at: Any = None) -> list[Any]:
        """Return the results, or raise the failure with the lowest index if the map is doomed.

        ``item_at`` returns the item at an index, for the note on the exception.
        """
        if self.doomed:
            raise self._exception(self.fatal or self.failures[min(self.failures)], item_at)
        return self.results

    @property
    def n_collected(self) -> int:
        """The number of failures among the results."""
        return len(self.failures) - (self.fatal is not None) if self.on_error == "collect" else 0

    def interrupted(self, exc: KeyboardInterrupt) -> None:
        """Add a note to what has interrupted the run: how many results there were, and what becomes of them."""
        results = self.size - self.n_collected
        if results > 0:
            note(exc, f"amorsize: the run was interrupted, with results of {count(results, 'item')}; {self._kept}")

    def _exception(self, failure: Failure, item_at: Any) -> BaseException:
        exc = annotate(failure, item_at)
        if self.fatal is None and self.most_failures:
            note(exc, f"amorsize: more than max_failures={self.most_failures} items have failed; this is the first")
        return exc


class Flow(Outcome):
    """Collects the results of a stream; each is kept only until the reader takes it.

    Parameters
    ----------
    on_error, max_failures
        As in `Outcome`.
    ordered : bool
        True: in the order of the items; False: in the order of completion.

    Attributes
    ----------
    old : set of int
        Items whose results a checkpoint had, as long as these wait for their turn.
    restored : int
        Number of results from a checkpoint that have become ready; the consumer sets it back.
    """

    def __init__(self, on_error: OnError, max_failures: int | None = None, *, ordered: bool = True) -> None:
        super().__init__(on_error, max_failures)
        self.ordered = ordered
        # Index of the item whose result is taken next.
        self.next = 0
        # Results that arrived before their turn, by the index of the first.
        self.waiting: dict[int, list[Any]] = {}
        # Results to take, in pieces: the index of the first item, and the results of it and its neighbours.
        self.ready: list[tuple[int, list[Any]]] = []
        self.old: set[int] = set()
        self.restored = 0
        self._size = 0
        # A few of the latest results, to measure their size.
        self.recent: list[Any] = []
        self.n_failed = 0
        # The failure with the lowest index, where failures are collected.
        self._first: Failure | None = None
        # True if the next item in order raised.
        self.at_failure = False

    def place_for(self, start: int) -> list[Any]:
        """Return a new list; see `Outcome.place_for`."""
        return []

    def _keep(self, start: int, values: list[Any]) -> None:
        if not values:
            return
        self.recent = values[:SAMPLE]
        self._size += len(values)
        if not self.ordered:
            self._hand_on(start, values)
            return
        self.waiting[start] = values
        self._move_on()

    def _hand_on(self, start: int, values: list[Any]) -> None:
        self.ready.append((start, values))
        if self.old and start in self.old:
            self.old.remove(start)
            self.restored += 1

    def _move_on(self) -> None:
        """Move the results that are next in order to the ready ones."""
        while (more := self.waiting.pop(self.next, None)) is not None:
            self._hand_on(self.next, more)
            self.next += len(more)
        self.at_failure = self.on_error == "raise" and self.next in self.failures

    def some(self, most: int) -> list[Any]:
        """Return at most ``most`` results, to measure their size."""
        return self.recent[:most]

    def take(self) -> list[Any]:
        """Return the results that are ready, and forget them."""
        pieces = self.take_pieces()
        return pieces[0][1] if len(pieces) == 1 else [value for _, values in pieces for value in values]

    def take_pieces(self) -> list[tuple[int, list[Any]]]:
        """Return the same in pieces, each with the index of its first item."""
        pieces, self.ready = self.ready, []
        return pieces

    @property
    def n_collected(self) -> int:
        """The number of failures among the results, taken or not."""
        return self.n_failed if self.on_error == "collect" else 0

    @property
    def size(self) -> int:
        """The number of results so far, taken or not, with those that a checkpoint had."""
        return self._size

    def note(self, failure: Failure) -> None:
        """Record that an item failed for good."""
        # Ctrl-C in an item is no failure of it.
        self.n_failed += isinstance(failure.exception, Exception)
        super().note(failure)
        if self.on_error == "raise" and self.ordered:
            self._move_on()
        elif self.doomed:
            if self._first is not None:
                self.failures[self._first.index] = self._first
        else:
            # The failure is among the results; an endless stream must not keep them all.
            self.failures.clear()
            if self._first is None or failure.index < self._first.index:
                self._first = failure

    @property
    def doomed(self) -> bool:
        """True if the map can stop: an exception is due now, and all results before it are ready."""
        if self.fatal is not None or self.at_failure:
            return True
        if self.on_error == "raise" and self.ordered:
            return False
        return self.most_failures is not None and self.n_failed > self.most_failures


def annotate(failure: Failure, item_at: Any = None) -> BaseException:
    """Return the exception of a failure, with a note that names the item."""
    text = f"amorsize: {origin(failure.exception, 'raised at')} item {failure.index}"
    if item_at is not None:
        try:
            text += f": {shorten(item_at(failure.index))}"
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            # The sequence cannot return the item a second time.
            text += " (its repr cannot be shown)"
    note(failure.exception, text)
    return failure.exception


def initialize(initializer: Callable[..., object], initargs: tuple[Any, ...], where: str = "in the caller") -> None:
    """Call an initializer. If it raises, add a note that says so to the exception."""
    try:
        initializer(*initargs)
    except BaseException as exc:
        blame_initializer(exc, where)
        raise


def blame_initializer(exc: BaseException, where: str) -> None:
    """Add a note to an exception: it comes from the initializer, not from func."""
    note(exc, f"amorsize: {origin(exc)} initializer=, {where}, before the first item there")


def failure_here(index: int, exc: BaseException) -> Failure:
    """Return the failure of an item that ran in this process."""
    return Failure(index, exc, trace_of(exc))


def failure_from(error: ItemError) -> Failure:
    """Return the failure of an item that ran in a worker."""
    return Failure(error.index, error.rebuild(), error.trace)
