"""The one thread behind an `Executor` or a `Pool`: it alone talks to the schedule and to the workers.

Other threads put requests into its inbox and ring its bell. No lock is held while a future is settled (its callbacks
may submit more), and none is taken by code that may run during a garbage collection.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from amorsize.backends.processes import ProcessDriver, is_unguarded, loss
from amorsize.backends.remote_errors import ItemError
from amorsize.backends.results import Outcome
from amorsize.backends.source import Indexable
from amorsize.backends.ticks import drain
from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.connection import Handle
from amorsize.backends.workers.functions import sent
from amorsize.backends.workers.main_module import Updates, carried
from amorsize.backends.workers.team import Message, Team
from amorsize.errors import ItemTimeoutError, RemoteError, TransferError, see
from amorsize.executor import shutdown
from amorsize.executor.calls import Call, culprit
from amorsize.executor.pending import Batch, Group, Singles, Submitted, Unwanted
from amorsize.executor.wakeup import Bell
from amorsize.schedule.messages import Closed, Done, Event, Instruction, ItemsAdded, ItemsDropped, Span, Why
from amorsize.schedule.schedule import Schedule
from amorsize.system.critical import LONGEST_WAIT_S
from amorsize.system.looks import kind_of, text_of
from amorsize.system.start_methods import unguarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool


class _BrokenError(Exception):
    """The executor cannot go on, for this reason."""


class Manager(ProcessDriver):
    """Runs calls on a team, at any time, until it is shut.

    Items and results belong to groups: one of all single calls, and one for each map. The source and the outcome of the
    driver stay empty.

    Parameters
    ----------
    team : Team
        None of its workers started yet. Its function is `amorsize.executor.calls.run`.
    workers : int
        The most workers at a time.
    timeout_s : float or None
        Seconds that a call may run.
    strict : bool
        Whether the loss of any worker breaks the executor.

    Attributes
    ----------
    broken : str or None
        Why no call can be submitted any more.
    """

    kind = "Executor"
    """The name of the public class, for messages."""

    finishes = True
    """True if pending calls are carried out before the interpreter ends."""

    def __init__(self, team: Team, workers: int, timeout_s: float | None, strict: bool) -> None:
        schedule = Schedule([], workers, timeout_s=timeout_s, is_open=True)
        super().__init__(schedule, team, Indexable(()), Outcome("collect"), None)
        # Workers to be forked are all forked at first, before there is a thread.
        self.eager = team.start_method == "fork"
        self.strict = strict
        self._as_sent = partial(sent, by_value=team.setup.by_value)
        is_sent = team.start_method != "fork" and not team.setup.by_value
        self._updates = Updates(team.setup.initargs[0]) if is_sent else None
        self.bell = Bell()
        self.broken: str | None = None
        self.lock = threading.RLock()
        self._inbox: deque[Submitted | Batch | Unwanted] = deque()
        self._singles = Singles()
        self._groups: dict[int, Group] = {0: self._singles}
        self._next_group, self._next_index = 1, 0
        # Errors of the calls that cannot be pickled.
        self._unsendable: dict[int, TransferError] = {}
        self._asleep = False
        self._closing = self._cancels = self._killed = False
        self._steps = self.steps()
        self._thread = threading.Thread(target=self._run, name=f"amorsize-{self.kind.lower()}")

    def begin(self) -> None:
        """Start the workers, as far as they are to be forked, in this thread; then the thread of the manager."""
        # If it breaks already, `post` says why.
        with suppress(_BrokenError):
            # Before workers are forked, so that these let go of the bell.
            shutdown.watch(self)
            next(self._steps)
        try:
            self._thread.start()
        except BaseException:
            self._steps.close()
            raise

    # -- in any thread -------------------------------------------------------------------------------------------

    def post(self, request: Submitted | Batch) -> None:
        """Have calls run.

        Raises
        ------
        RuntimeError
            When the manager has been shut; BrokenProcessPool when it is broken.
        """
        with self.lock:
            if self.broken is not None:
                raise _broken(self.broken)
            if self._closing:
                raise RuntimeError(shutdown.refusal())
            self._inbox.append(request)
        if self._asleep:
            self.bell.ring()

    def add_call(self, call: Call) -> Future[Any]:
        """Have one call run; see `post`."""
        submitted = Submitted(call)
        self.post(submitted)
        return submitted.future

    def add_map(self, function: Callable[..., Any], arguments: list[Any], fixed: int | None) -> Batch:
        """Have a function run on each tuple of arguments; see `post` and `Batch`."""
        batch = Batch(function, arguments, fixed)
        self.post(batch)
        return batch

    def drop(self, batch: Batch) -> None:
        """Cancel the calls of a map that have not been sent."""
        if batch.left:
            self._inbox.append(Unwanted(batch))
            self.bell.ring()

    def shut(self, *, cancel: bool = False) -> None:
        """Accept no more calls. ``cancel``: also cancel all calls that have not been sent."""
        with self.lock:
            self._closing = True
        self._cancels = self._cancels or cancel
        self.bell.ring()

    def end_now(self) -> None:
        """Kill the workers at once: pending calls fail, and no more are accepted. In any thread; takes no lock."""
        self._killed = True
        self.bell.ring()

    def forsake(self) -> None:
        """Do the same as `shut` without a lock: the executor is gone, so no call can be submitted meanwhile."""
        self._closing = True
        self.bell.ring()

    def join(self) -> None:
        """Wait until all calls are done and the workers have left. In a callback (its own thread), do not wait."""
        if threading.current_thread() is not self._thread:
            while self._thread.is_alive():
                self._thread.join(LONGEST_WAIT_S)

    def strand(self) -> None:
        """Disable this executor in a forked child: its thread is not there, and its lock may be held for ever."""
        self.lock = threading.RLock()
        self.broken = f"this {self.kind} belongs to the process that this one was forked from"
        self.bell.close()

    # -- in its own thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            drain(self._steps)
        except BaseException:
            # `abort` has given it to all futures.
            if self.broken is None:
                raise

    def is_over(self) -> bool:
        # Nothing dooms its outcome, which stays empty.
        return self._finished

    def open(self) -> None:
        self.team.heed(self.bell.sock.fileno())

    def _turn(self) -> None:
        # Without a time limit, only messages and requests matter: saves 2 of the 100 µs of a call, two or three times.
        if self.schedule.timeout_s is None:
            self.receive(None)
        else:
            super()._turn()

    def receive(self, wait_s: float | None) -> None:
        # `post` rings only after this is set, so a request that came before must be seen in the inbox.
        self._asleep = True
        messages = self.team.wait(0.0 if self._inbox else wait_s)
        self._asleep = False
        self.bell.hush()
        for message in messages:
            self._carry_out(self._on_message(message))
        self._take_requests()

    def _take_requests(self) -> None:
        if self._killed:
            raise _BrokenError("its workers were killed on demand")
        # Read before the inbox, which then holds all calls that were submitted before.
        closing = self._closing
        first = self._next_index
        while self._inbox:
            request = self._inbox.popleft()
            if isinstance(request, Submitted):
                self._singles.add(self._next_index, request)
                self._next_index += 1
                continue
            self._announce_singles(first)
            if isinstance(request, Unwanted):
                self._drop(request.batch.group)
            else:
                self._take_on(request)
            first = self._next_index
        self._announce_singles(first)
        if closing and self._cancels:
            self._cancels = False
            self._drop(None)
        if closing and self.schedule.is_open and self._may_close():
            self._note(Closed())

    def _may_close(self) -> bool:
        """Return False while calls that were accepted may still bring more items."""
        return True

    def _note(self, event: Event) -> None:
        """Report an event to the schedule, as `tell` does: but no other thread does so here, and no listener waits."""
        if not self.is_over():
            self._carry_out(self._handle(event))

    def _announce_singles(self, first: int) -> None:
        if first < self._next_index:
            self._note(ItemsAdded(first, self._next_index, 0, 1))

    def _take_on(self, batch: Batch) -> None:
        batch.first, batch.group = self._next_index, self._next_group
        self._next_index += batch.length
        self._next_group += 1
        self._groups[batch.group] = batch
        self._note(ItemsAdded(batch.first, self._next_index, batch.group, batch.fixed))

    def _drop(self, group: int | None) -> None:
        for start, stop, number in self.schedule.backlog.never_sent(group):
            self._groups[number].cancel(start, stop)
            self._forget(number)
        self._note(ItemsDropped(group))

    def _forget(self, number: int) -> None:
        group = self._groups[number]
        if isinstance(group, Batch) and not group.left:
            del self._groups[number]

    def _put(self, number: int, start: int, results: list[Any], errors: dict[int, BaseException]) -> None:
        self._groups[number].put(start, results, errors)
        self._forget(number)

    # -- instructions --------------------------------------------------------------------------------------------

    def start(self, number: int) -> list[Instruction]:
        try:
            out = super().start(number)
        except Exception as exc:
            # multiprocessing pickles what it passes on, and that may raise.
            raise _BrokenError(f"a worker process could not be started ({type(exc).__name__}: {exc})") from exc
        # Warnings are shown by a plan. An executor has none, so they would only accumulate.
        self.warnings.clear()
        return out

    def send(self, number: int, span: Span) -> list[Instruction]:
        kind, by_value = protocol.RUN_ITEMS, self.team.setup.by_value
        group = self._groups[span.lot]
        calls = group.take(span.start, span.stop, self._as_sent)
        if not calls:
            # It has been cancelled. A single call is never sent behind another span.
            return self._handle(Done(number, 0.0))
        values = None
        if self._updates is not None:
            function, args, _ = next(iter(calls))
            values = self._updates.of(number, [function, *args])
        try:
            dumped = protocol.dumps(carried(values, calls), by_value)
        except BaseException:  # noqa: BLE001  (the user's __reduce__ may raise anything)
            kind = protocol.RUN_MARKED
            marked = [self._sendable(i, c, group) for i, c in enumerate(calls, span.start)]
            dumped = protocol.dumps(carried(values, marked), by_value)
        self.team.send_pickled(number, kind, span.start, span.stop, dumped)
        return []

    def kill(self, number: int) -> None:
        if self._updates is not None:
            self._updates.forget(number)
        super().kill(number)

    def _sendable(self, index: int, call: Call, group: Group) -> Any:
        """Return the call; or, if it cannot be pickled, a mark that makes it fail in its turn."""
        found = culprit(call, self.team.setup.by_value)
        if found is None:
            return call
        reason, exc = found
        self._unsendable[index] = refusal = _refusal(group.place(index)[0], reason)
        refusal.__cause__ = exc
        return child.Unsendable(index, reason)

    def fail(self, index: int, why: Why, lot: int) -> None:
        position, name = self._groups[lot].place(index)
        error: BaseException = loss(self._last_loss, position, name)
        if why == "late":
            error = ItemTimeoutError(position, self.schedule.timeout_s or 0.0, name)
        self._put(lot, index, [None], {index: error})

    def give_up(self, slow: bool) -> None:
        if is_unguarded(self._last_loss):
            raise _BrokenError(unguarded())
        cause = self._refused or loss(self._last_loss, None)
        how = f"could not be started ({cause})" if self._refused else _how(self._last_loss)
        raise _BrokenError(f"no worker process could be kept alive; the last {how}") from cause

    # -- messages ------------------------------------------------------------------------------------------------

    def _on_done(self, message: Message) -> Done:
        number = message.worker
        try:
            (wall_s, cpu_s, *_), results, errors = protocol.loads(message.parts)
        except BaseException as exc:  # noqa: BLE001  (the user's objects rebuild themselves here)
            return self._on_unreadable(number, exc)
        group = self.schedule.oldest(number).lot
        # Once the list has been put, the iterator of a map empties it.
        ran = len(results)
        self._put(group, message.start, results, {error.index: self._error(error, group) for error in errors})
        return Done(number, wall_s, ran=ran, cpu_s=cpu_s)

    def _on_unreadable(self, number: int, exc: BaseException) -> Done:
        span = self.schedule.oldest(number)
        if len(span) > 1:
            return Done(number, 0.0, apart=True)
        detail = f"it cannot be rebuilt in the caller ({kind_of(exc)}: {text_of(exc)})"
        error = TransferError("result", self._groups[span.lot].place(span.start)[0], detail)
        error.__cause__ = exc
        self._put(span.lot, span.start, [None], {span.start: error})
        return Done(number, 0.0)

    def _error(self, error: ItemError, group: int) -> BaseException:
        """Return the exception that a call raised, with positions as the user counts them."""
        refused = self._unsendable.pop(error.index, None)
        if refused is not None:
            return refused
        exc = error.rebuild()
        if isinstance(exc, RemoteError):
            again = RemoteError(exc.type_name, exc.text, self._groups[group].place(error.index)[0])
            again.class_names, again.__cause__ = exc.class_names, exc.__cause__
            return again
        if isinstance(exc, TransferError) and exc.index == error.index:
            position = self._groups[group].place(error.index)[0]
            refusal = (
                _refusal(position, exc.detail) if exc.what == "item" else TransferError(exc.what, position, exc.detail)
            )
            refusal.__cause__ = exc.__cause__
            return refusal
        return exc

    def _on_broken(self, message: Message) -> list[Instruction]:
        worker = self.schedule.workers.get(message.worker)
        # A worker that was ready before reports here why it ends. The end of file on its socket follows.
        if worker is None or worker.ready:
            return []
        error: ItemError = protocol.loads(message.parts)
        exc = error.rebuild()
        blamed = self.team.setup.initializer is not None and not isinstance(exc, TransferError)
        what = "the initializer raised" if blamed else "a worker process could not take its setup:"
        raise _BrokenError(f"{what} {error.type_name}: {error.text}") from exc

    def _on_lost(self, message: Message) -> list[Instruction]:
        if self._updates is not None:
            self._updates.forget(message.worker)
        if self.strict and message.worker in self.schedule.workers:
            how = _how(message.parts[0])
            raise _BrokenError(f"a worker process {how}, and strict=True lets nothing go on after that")
        return super()._on_lost(message)

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.team.close()
        self.bell.close()
        shutdown.forget(self)

    def abort(self, exc: BaseException) -> None:
        """Fail all pending calls, and all that are submitted from now on."""
        why = f"the thread of this {self.kind} failed ({kind_of(exc)}: {text_of(exc)})"
        cause: BaseException | None = exc
        if isinstance(exc, _BrokenError):
            why, cause = str(exc), exc.__cause__
        with self.lock:
            self.broken = f"{why}. Make a new {self.kind}; this one takes no more calls."

        def error() -> BrokenProcessPool:
            broken = _broken(self.broken or why)
            broken.__cause__ = cause
            return broken

        self.team.kill()
        self._fail_all(error)
        self.close()

    def _fail_all(self, error: Callable[[], BaseException]) -> None:
        while self._inbox:
            request = self._inbox.popleft()
            if isinstance(request, Submitted):
                self._singles.add(self._next_index, request)
                self._next_index += 1
            elif isinstance(request, Batch):
                request.abort(error)
        for group in self._groups.values():
            group.abort(error)


def _refusal(position: int | None, detail: str) -> TransferError:
    """Return the error of a call that cannot be sent; ``position``: its item's in a map."""
    return TransferError("call" if position is None else "item", position, detail)


def _broken(why: str) -> BrokenProcessPool:
    # The import takes 20 ms, and is hardly ever needed.
    from concurrent.futures.process import BrokenProcessPool

    return BrokenProcessPool(f"{why}{see('brokenprocesspool')}")


def _how(handle: Handle | None) -> str:
    ended = loss(handle, None)
    if ended.signal is not None:
        return f"was ended by signal {ended.signal}"
    return f"exited with code {ended.exitcode}" if ended.exitcode is not None else "has gone, nobody can tell how"
