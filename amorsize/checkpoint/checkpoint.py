"""Writes the results of a map to a journal; the next run of the map starts with the items that are missing there."""

from __future__ import annotations

import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from amorsize.backends.remote_errors import pickled_exception
from amorsize.backends.results import Flow, Outcome
from amorsize.backends.source import Indexable, Streamed
from amorsize.checkpoint.function_identity import UnreadableError, identity
from amorsize.checkpoint.item_digest import ItemDigest
from amorsize.checkpoint.journal import LARGEST_BYTES, Failed, Journal
from amorsize.errors import CheckpointError, CheckpointMismatchError
from amorsize.facts import Failure
from amorsize.formatting import printable
from amorsize.history.fingerprint import name_of as func_name
from amorsize.history.tables import text as storable
from amorsize.schedule.messages import Event
from amorsize.system.looks import full_kind_of, is_interrupt, kind_of, shorten, text_of

if TYPE_CHECKING:
    from amorsize.backends.results import OnError

# The run ticks every 0.25 s, so no result waits longer than a second.
FLUSH_S: Final = 0.75
# The longest pause between tries to write to a full disk (a guess).
LONGEST_PAUSE_S: Final = 60.0


class Checkpoint:
    """The results that one run stores, and those that it takes from earlier runs. A `Ticker`.

    Parameters
    ----------
    file : str
        The journal's absolute path.
    func : callable
        The function, which is looked at now: its items may change what it holds.
    key : str, optional
        Identifies the function in place of its digest.

    Attributes
    ----------
    skipped : int
        Number of items whose results were stored before.

    Raises
    ------
    CheckpointError
        When func holds data that cannot be read, and there is no key.
    """

    def __init__(self, file: str, func: Callable[..., object], key: str | None = None) -> None:
        self.journal = Journal(file)
        self.has_key = key is not None
        self.identity = _identity(file, func) if key is None else key
        self.name = func_name(func)
        self.skipped = 0
        self.warnings: dict[str, str] = {}
        # Digests of items that were read and are not finished.
        self.marks: dict[int, bytes] = {}
        self._digest = ItemDigest(partial(identity, strict=False))
        self._source: MarkedSequence | MarkedStream | None = None
        self._outcome: KeptOutcome | None = None
        # Any thread that finishes an item appends (which is atomic); the calling thread removes.
        self._fresh: deque[tuple[int, list[Any]] | Failure] = deque()
        # Item, digest and result of each.
        self._results: list[tuple[int, bytes, Any]] = []
        self._failures: list[Failed] = []
        # Items that the file holds as failed.
        self._failed: set[int] = set()
        # Items whose results cannot be pickled.
        self._unkept: set[int] = set()
        self._due_s = 0.0
        self._pause_s = FLUSH_S

    # -- what the run uses instead of its own ---------------------------------------------------------------------

    def source(self, source: Indexable | Streamed) -> Indexable | Streamed:
        """Wrap a source so that each item is digested when it is read, before func may change it."""
        self._source = (
            MarkedSequence(source.data, self)
            if isinstance(source, Indexable)
            else MarkedStream(source.rest, self, one_by_one=source.one_by_one, gather=source.gather)
        )
        return self._source

    def outcome(self, on_error: OnError, max_failures: int | None, ordered: bool | None = None) -> KeptOutcome:
        """Return an outcome that passes finished items to this checkpoint; ``ordered``: that of a stream."""
        self._outcome = (
            KeptOutcome(on_error, max_failures, checkpoint=self)
            if ordered is None
            else KeptFlow(on_error, max_failures, checkpoint=self, ordered=ordered)
        )
        return self._outcome

    # -- before the first item ------------------------------------------------------------------------------------

    def resume(self) -> deque[tuple[int, int | None]]:
        """Lock the file, check its finished items against the data, and restore their results; return the spans left.

        Raises
        ------
        CheckpointMismatchError, CheckpointError
            See `Journal.begin`.
        """
        source, outcome = self._source, self._outcome
        assert source is not None
        assert outcome is not None
        doubt = self.journal.begin(self.identity, self.name, self.has_key)
        if doubt is not None:
            self._warn("group", doubt)
        self._failed = self.journal.failed()
        todo: deque[tuple[int, int | None]] = deque()
        lost: list[str] = []
        damaged: list[int] = []
        at = 0
        for index, digest, pickled in self.journal.done():
            if pickled is None:
                damaged.append(index)
                continue
            if not source.reach(index):
                break
            self._check(source, index, digest)
            try:
                value = pickle.loads(pickled)
            except BaseException as exc:  # the class is missing, or user code raises
                if is_interrupt(exc):
                    raise
                lost.append(f"item {index}: {kind_of(exc)}: {text_of(exc)}")
                source.release(index, index + 1, but=(index,))
                continue
            outcome.restore(index, value)
            source.release(index, index + 1)
            self.skipped += 1
            if index > at:
                todo.append((at, index))
            at = index + 1
        if source.length is None or at < source.length:
            todo.append((at, source.length))
        self.journal.accept(source.length, damaged)
        if damaged:
            self._warn(
                "damaged",
                f"{len(damaged)} results are not as they were written (item {damaged[0]} is the first), and are made "
                "again: look after the disk",
            )
        if lost:
            self._warn("lost", f"{len(lost)} results cannot be rebuilt, and are made again ({lost[0]})")
        self._due_s = time.perf_counter() + FLUSH_S
        return todo

    def _check(self, source: MarkedSequence | MarkedStream, index: int, digest: bytes) -> None:
        found = self.marks.pop(index, None)
        if found == digest:
            return
        advice = "Use another path, or delete the file to begin anew"
        if found is None:
            what = f"it holds a result of item {index}, and the data end after {source.length} items"
        else:
            what = f"it holds results of other data: item {index} ({shorten(source.item(index))}) is not what it was"
            advice += (
                ". If the data are the same: a set comes in another order in each process (sort it), an item that func "
                "has changed is another one, and so is an object whose pickle differs from process to process"
            )
        raise CheckpointMismatchError(self.journal.file, f"{what}. {advice}", index)

    # -- while it runs --------------------------------------------------------------------------------------------

    def mark(self, start: int, items: Iterable[Any]) -> None:
        """Digest items that are about to run."""
        marks, digest = self.marks, self._digest
        for index, item in enumerate(items, start):
            if index not in marks:
                marks[index] = digest(item)

    def keep(self, start: int, values: list[Any]) -> None:
        """Keep the results of finished items."""
        self._fresh.append((start, values))

    def keep_failure(self, failure: Failure) -> None:
        """Keep the failure of an item that is not retried."""
        # Other exceptions are requests to stop, and no failure of the item.
        if isinstance(failure.exception, Exception):
            self._fresh.append(failure)

    def tick(self, now_s: float, pids: Sequence[int]) -> Iterable[Event]:
        """Write if a flush is due."""
        if now_s >= self._due_s:
            self.flush()
        return ()

    def flush(self) -> bool:
        """Write the finished items; return True on success. After an error they wait for the next flush."""
        # A forked child does not hold the lock, nor does this process after the end.
        if not self.journal.lock.held:
            return True
        written = True
        try:
            self._sort()
            if self._results or self._failures:
                done = [index for index, _, _ in self._results]
                mended = self._failed.intersection(done)
                length = None if self._source is None else self._source.length
                self.journal.write(self._pickled(), self._failures, mended, length)
                self._failed.difference_update(mended)
                self._failed.update(failure.item for failure in self._failures)
                self._results.clear()
                self._failures.clear()
            self._pause_s = FLUSH_S
        except Exception as exc:  # noqa: BLE001  (an error of the file must not cost the user's results)
            written = False
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            self._warn("full", f"it cannot be written now ({exc}); the run goes on, and this is tried again")
        self._due_s = time.perf_counter() + self._pause_s
        return written

    def close(self) -> None:
        """Write what is left, and unlock the file."""
        try:
            self.flush()
        finally:
            self.journal.end()

    def _sort(self) -> None:
        """Sort finished items into results and failures."""
        fresh = self._fresh
        while fresh:
            one = fresh.popleft()
            if isinstance(one, Failure):
                self._failures.append(_row_of(one, self._digest_of(one.index)))
            else:
                start, values = one
                self._results += [
                    (index, digest, value)
                    for index, value in enumerate(values, start)
                    if (digest := self._digest_of(index)) is not None
                ]

    def _digest_of(self, index: int) -> bytes | None:
        """Return an item's digest; made now if a forked worker inherited the item, which was never read here then."""
        mark = self.marks.pop(index, None)
        if mark is None and isinstance(self._source, MarkedSequence):
            try:
                return self._digest(self._source.data[index])
            except BaseException as exc:  # indexing the sequence raised, so the item has failed
                if is_interrupt(exc):
                    raise
                return None
        return mark

    def _pickled(self) -> Iterator[tuple[int, bytes, bytes]]:
        for index, digest, value in self._results:
            if index in self._unkept:
                continue
            try:
                pickled = _dumps(value)
            except BaseException as exc:  # pickling raises anything
                if is_interrupt(exc):
                    raise
                self._unkept.add(index)
                what = f"the result of item {index} cannot be kept ({text_of(exc)}); such items run again next time"
                self._warn("unkept", what)
                continue
            yield index, digest, pickled

    def _warn(self, kind: str, what: str) -> None:
        """Warn once for each kind."""
        if kind not in self.warnings:
            self.warnings[kind] = printable(f"checkpoint {self.journal.file}: {what}")
            warnings.warn(f"{self.warnings[kind]}.", RuntimeWarning, stacklevel=2)


def _identity(file: str, func: Callable[..., object]) -> str:
    try:
        return identity(func)
    except UnreadableError as exc:
        raise CheckpointError(
            file,
            f"what func holds decides if results may be taken over, and this part of it cannot be read: {exc.part}. "
            "Nothing was run. Say what stands for func with checkpoint_key= (change it when func changes), or leave "
            "that part out of func",
        ) from None


class KeptOutcome(Outcome):
    """An `Outcome` that also passes its results to a checkpoint."""

    _kept = "the checkpoint keeps them for the next run"

    def __init__(self, on_error: OnError, max_failures: int | None, *, checkpoint: Checkpoint, **how: Any) -> None:
        super().__init__(on_error, max_failures, **how)
        self._checkpoint = checkpoint
        # Failures that will stand among the values.
        self._noted: dict[int, Failure] = {}

    def restore(self, index: int, value: Any) -> None:
        """Add a result of an earlier run."""
        super()._keep(index, [value])

    def place_for(self, start: int) -> list[Any]:
        """Return a new list; see `Outcome`."""
        return []

    def _keep(self, start: int, values: list[Any]) -> None:
        super()._keep(start, values)
        begin = start
        # A failure that stands among the values is no result.
        if self._noted:
            for index, value in enumerate(values, start):
                if isinstance(value, Failure) and self._noted.get(index) is value:
                    del self._noted[index]
                    self._checkpoint.keep(begin, values[begin - start : index - start])
                    begin = index + 1
        self._checkpoint.keep(begin, values[begin - start :])

    def note(self, failure: Failure) -> None:
        """Note the failure of an item that is not retried."""
        super().note(failure)
        self._noted[failure.index] = failure
        self._checkpoint.keep_failure(failure)


class KeptFlow(KeptOutcome, Flow):
    """The same for a stream: results of earlier runs are taken first, or when their turn comes."""

    def restore(self, index: int, value: Any) -> None:
        """Add a result of an earlier run."""
        self.old.add(index)
        super().restore(index, value)


class MarkedSequence(Indexable):
    """Indexable data whose items are digested before they run in this process, or are sent."""

    def __init__(self, data: Any, checkpoint: Checkpoint) -> None:
        super().__init__(data)
        self._checkpoint = checkpoint

    def items(self, start: int, stop: int) -> Any:
        """Return and digest items ``start`` to ``stop``."""
        items = super().items(start, stop)
        self._checkpoint.mark(start, items)
        return items

    def reach(self, index: int) -> bool:
        """Digest an item that is finished, if the data have it."""
        assert self.length is not None
        if index < self.length:
            self._checkpoint.mark(index, [self.data[index]])
        return True


class MarkedStream(Streamed):
    """An iterator whose items are digested as they are read."""

    def __init__(self, data: Iterator[Any], checkpoint: Checkpoint, **how: Any) -> None:
        super().__init__(data, **how)
        self._checkpoint = checkpoint

    def _read(self, stop: int) -> list[Any]:
        fresh = super()._read(stop)
        self._checkpoint.mark(self.read - len(fresh), fresh)
        return fresh

    def reach(self, index: int) -> bool:
        """Read up to an item that is finished, and hold the items before it; False if the iterator raised first.

        In that case the items before the error are run, and then the exception is raised.
        """
        while self.read <= index and self.length is None:
            begun = self.read
            self._read(index if begun < index else index + 1)
            if self.read > index:
                break
            self.release(begun, self.read, but=range(begun, self.read))
        return self.broken is None or index < self.read


def _row_of(failure: Failure, digest: bytes | None) -> Failed:
    exc = failure.exception
    pickled = pickled_exception(exc)
    return Failed(
        failure.index,
        digest,
        time.time(),
        full_kind_of(exc),
        storable(text_of(exc)),
        storable(failure.traceback),
        None if pickled is None or len(pickled) > LARGEST_BYTES else pickled,
    )


def _dumps(value: Any) -> bytes:
    try:
        pickled = pickle.dumps(value, 5)
    except BaseException as exc:  # pickling raises anything
        if is_interrupt(exc):
            raise
        import cloudpickle

        pickled = cloudpickle.dumps(value, 5)
    if len(pickled) > LARGEST_BYTES:
        raise ValueError(f"its pickle has {len(pickled):,} bytes, and {LARGEST_BYTES:,} is the most")
    return pickled
