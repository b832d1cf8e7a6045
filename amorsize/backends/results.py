"""Where results come together, in the order of the items, and what becomes of failures."""

from __future__ import annotations

from amorsize.facts import Failure
from amorsize.system.nested import trace_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any, Literal

    from amorsize.backends.workers.child import ItemError
    from amorsize.errors import RemoteError

    OnError = Literal["raise", "collect"]

REPR_CHARS = 60
SAMPLE = 16  # results that are kept to be weighed


class Outcome:
    """The results of one map, kept until all are there.

    Parameters
    ----------
    on_error : {"raise", "collect"}
    max_failures : int, optional
        With ``"collect"``: how many items may fail before nothing more is run.

    Attributes
    ----------
    results : list
        In the order of the items; places not filled yet hold None.
    failures : dict of int to Failure
        What failed for good, by index.
    """

    def __init__(self, on_error: OnError, max_failures: int | None = None) -> None:
        self.on_error = on_error
        self.most_failures = 0 if on_error == "raise" else max_failures
        self.results: list[Any] = []
        self.failures: dict[int, Failure] = {}
        self.last_error: dict[int, Failure] = {}
        self.on_failure: Callable[[Failure], object] | None = None  # told of each that fails for good
        self.fatal: Failure | None = None  # SystemExit, KeyboardInterrupt: neither collected nor repeated

    def place_for(self, start: int) -> list[Any]:
        """A list that a loop may append the results of items from ``start`` on to; then it must `put` it."""
        return self.results if start == len(self.results) else []  # in order, no second list is made and copied

    def put(self, start: int, values: list[Any], but: Collection[int] = ()) -> None:
        """Keep the results of the items from ``start`` on, ``but`` those of items that raised."""
        if values is self.results:
            return
        begin = start
        for index in sorted(but):
            self._keep(begin, values[begin - start : index - start])
            begin = index + 1
        self._keep(begin, values[begin - start :] if begin > start else values)

    def _keep(self, start: int, values: list[Any]) -> None:
        results = self.results
        if not values:
            return  # beyond the end of the source there are no places to fill up to it
        if start > len(results):
            results.extend([None] * (start - len(results)))
        results[start : start + len(values)] = values

    def some(self, most: int) -> list[Any]:
        """Some of the results, to be weighed."""
        return self.results[:most]

    def take_errors(self, failures: Iterable[Failure]) -> tuple[int, ...]:
        """Keep what items raised, in case they fail for good; their indices. What is no `Exception` is for good."""
        indices = []
        for failure in failures:
            self.last_error[failure.index] = failure
            indices.append(failure.index)
            if not isinstance(failure.exception, Exception):
                self.fail(failure)
        return tuple(indices)

    def fail(self, failure: Failure) -> None:
        """This item has failed for good; where failures are collected, it takes the result's place."""
        self.note(failure)
        if self.fatal is None and self.on_error == "collect":
            self.put(failure.index, [failure])

    def note(self, failure: Failure) -> None:
        """This item has failed for good; whoever says so puts it into its place."""
        self.last_error.pop(failure.index, None)
        self.failures[failure.index] = failure
        if not isinstance(failure.exception, Exception):
            self.fatal = failure
        if self.on_failure is not None:
            self.on_failure(failure)

    @property
    def doomed(self) -> bool:
        """Whether nothing more need be run, since an exception will be raised anyway."""
        if self.fatal is not None:
            return True
        return self.most_failures is not None and len(self.failures) > self.most_failures

    def finish(self, item_at: Any = None) -> list[Any]:
        """The results; or raise the failure with the lowest index, if failures are to be raised.

        ``item_at`` gives the item of an index, for the note on the exception.
        """
        if self.doomed:
            raise self._exception(self.fatal or self.failures[min(self.failures)], item_at)
        return self.results

    def _exception(self, failure: Failure, item_at: Any) -> BaseException:
        exc = annotate(failure, item_at)
        if self.fatal is None and self.most_failures:
            exc.add_note(f"amorsize: more than max_failures={self.most_failures} items have failed; this is the first")
        return exc


class Flow(Outcome):
    """Results on their way to somebody who takes them one by one: kept only until then.

    Parameters
    ----------
    on_error, max_failures
        As in `Outcome`.
    ordered : bool
        In the order of the items, or as they come.
    """

    def __init__(self, on_error: OnError, max_failures: int | None = None, *, ordered: bool = True) -> None:
        super().__init__(on_error, max_failures)
        self.ordered = ordered
        self.next = 0  # index of the item whose result is to be taken next
        self.waiting: dict[int, list[Any]] = {}  # results by the index of the first, until their turn comes
        self.ready: list[Any] = []
        self.recent: list[Any] = []  # a few of them
        self.n_failed = 0
        self.at_failure = False  # the next result would be that of an item that raised

    def place_for(self, start: int) -> list[Any]:
        """A new list; see `Outcome`."""
        return []

    def _keep(self, start: int, values: list[Any]) -> None:
        if not values:
            return
        self.recent = values[:SAMPLE]
        if not self.ordered:
            self.ready += values
            return
        self.waiting[start] = values
        self._move_on()

    def _move_on(self) -> None:
        """What has come to the head of the line may be taken."""
        while (more := self.waiting.pop(self.next, None)) is not None:
            self.ready += more
            self.next += len(more)
        self.at_failure = self.on_error == "raise" and self.next in self.failures

    def some(self, most: int) -> list[Any]:
        """Some of the results, to be weighed."""
        return self.recent[:most]

    def take(self) -> list[Any]:
        """What may be taken now."""
        ready, self.ready = self.ready, []
        return ready

    def note(self, failure: Failure) -> None:
        """This item has failed for good."""
        self.n_failed += 1
        super().note(failure)
        if self.on_error == "raise" and self.ordered:
            self._move_on()
        elif not self.doomed:
            self.failures.clear()  # it is among the results; an endless stream must not gather them all

    @property
    def doomed(self) -> bool:
        """Whether nothing more need be run: an exception is to be raised now, all results before it being ready."""
        if self.fatal is not None or self.at_failure:
            return True
        if self.on_error == "raise" and self.ordered:
            return False
        return self.most_failures is not None and self.n_failed > self.most_failures


def annotate(failure: Failure, item_at: Any = None) -> BaseException:
    """The exception of a failure, with a note that names the item."""
    exc = failure.exception
    note = f"amorsize: raised at item {failure.index}"
    if item_at is not None:
        try:
            note += f": {shorten(item_at(failure.index))}"
        except Exception:  # noqa: BLE001  (a repr that raises must not hide the failure)
            note += " (its repr cannot be shown)"
    if note not in getattr(exc, "__notes__", ()):
        exc.add_note(note)
    return exc


def shorten(obj: object) -> str:
    """A short repr of an item."""
    import reprlib

    short = reprlib.Repr()
    short.maxstring = short.maxother = REPR_CHARS
    return short.repr(obj)


def failure_here(index: int, exc: BaseException) -> Failure:
    """A failure of an item that ran in this process."""
    return Failure(index, exc, trace_of(exc))


def failure_from(error: ItemError) -> Failure:
    """A failure of an item that ran in a worker: its own exception if that can be rebuilt, else a `RemoteError`."""
    import pickle

    from amorsize.errors import RemoteTraceback

    exc: BaseException
    try:
        exc = pickle.loads(error.pickled) if error.pickled is not None else _remote(error)
    except Exception:  # noqa: BLE001  (its class may not be importable here)
        exc = _remote(error)
    exc.__cause__ = RemoteTraceback(error.trace)
    return Failure(error.index, exc, error.trace)


def _remote(error: ItemError) -> RemoteError:
    from amorsize.errors import RemoteError

    return RemoteError(error.type_name, error.text)
