"""Where results come together, in the order of the items, and what becomes of failures."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterable
from typing import Any, Literal, NoReturn

from amorsize.errors import RemoteError, RemoteTraceback
from amorsize.facts import Failure
from amorsize.worker import ItemError

OnError = Literal["raise", "collect"]

REPR_CHARS = 60


class Outcome:
    """The results of one map.

    Attributes
    ----------
    results : list
        In the order of the items; places not filled yet hold None.
    failures : dict of int to Failure
        What failed for good, by index.
    """

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.results: list[Any] = []
        self.failures: dict[int, Failure] = {}
        self.last_error: dict[int, Failure] = {}
        self.fatal: Failure | None = None  # SystemExit, KeyboardInterrupt: neither collected nor repeated

    def put(self, start: int, values: list[Any]) -> None:
        """Keep the results of the items from ``start`` on."""
        results = self.results
        if not values:
            return  # beyond the end of the source: there are no places to fill up to it
        if start > len(results):
            results.extend([None] * (start - len(results)))
        results[start : start + len(values)] = values

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
        """This item has failed for good."""
        self.failures[failure.index] = failure
        if not isinstance(failure.exception, Exception):
            self.fatal = failure
        elif self.on_error == "collect":
            self.put(failure.index, [failure])

    @property
    def doomed(self) -> bool:
        """Whether nothing more need be run, since an exception will be raised anyway."""
        return self.fatal is not None or (bool(self.failures) and self.on_error == "raise")

    def raise_now(self, failure: Failure, item: Any) -> NoReturn:
        """Raise this failure's exception, with a note that names the item."""
        raise annotate(failure, lambda _: item)

    def finish(self, item_at: Any = None) -> list[Any]:
        """The results; or raise the failure with the lowest index, if failures are to be raised.

        ``item_at`` gives the item of an index, for the note on the exception.
        """
        if self.doomed:
            failure = self.fatal or self.failures[min(self.failures)]
            raise annotate(failure, item_at)
        return self.results


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
    return Failure(index, exc, "".join(traceback.format_exception(exc)))


def failure_from(error: ItemError) -> Failure:
    """A failure of an item that ran in a worker: its own exception if that can be rebuilt, else a `RemoteError`."""
    exc: BaseException
    try:
        exc = pickle.loads(error.pickled) if error.pickled is not None else _remote(error)
    except Exception:  # noqa: BLE001  (its class may not be importable here)
        exc = _remote(error)
    exc.__cause__ = RemoteTraceback(error.trace)
    return Failure(error.index, exc, error.trace)


def _remote(error: ItemError) -> RemoteError:
    return RemoteError(error.type_name, error.text)
