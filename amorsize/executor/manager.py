"""The one thread behind an `Executor`: it alone talks to the schedule and to the workers.

Other threads put what they want into its inbox and ring its bell. No lock is held while a future is settled (its
callbacks may submit more), and none is taken by what may run while garbage is collected.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from amorsize.backends.processes import look_every_s, loss, who_is_at_what
from amorsize.backends.results import failure_from
from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.connection import Handle
from amorsize.backends.workers.team import Message, Team
from amorsize.errors import ItemTimeoutError, TransferError
from amorsize.executor import shutdown
from amorsize.executor.calls import Call, culprit
from amorsize.executor.pending import Batch, Group, Singles, Submitted, Unwanted
from amorsize.executor.wakeup import Bell
from amorsize.schedule.messages import (
    Closed,
    Done,
    Fail,
    Finish,
    GiveUp,
    Instruction,
    ItemsAdded,
    ItemsDropped,
    Kill,
    Lost,
    Ready,
    Retire,
    Send,
    Span,
    Start,
    Tick,
)
from amorsize.schedule.schedule import Schedule

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool


class Manager:
    """Runs calls on a team, whenever they come, until it is closed.

    Parameters
    ----------
    team : Team
        None of its workers started yet. Its function is `amorsize.executor.calls.run`.
    workers : int
        How many there may be.
    timeout_s : float or None
        How long a call may run.
    strict : bool
        Whether the loss of any worker ends it all.
    """

    def __init__(self, team: Team, workers: int, timeout_s: float | None, strict: bool) -> None:
        self.team = team
        self.strict = strict
        self.schedule = Schedule([], workers, timeout_s=timeout_s, is_open=True)
        self.bell = Bell()
        team.heed(self.bell.sock.fileno())
        self.broken: str | None = None  # why nothing can be submitted any more
        self.lock = threading.RLock()
        self._inbox: deque[Submitted | Batch | Unwanted] = deque()
        self._singles = Singles()
        self._lots: dict[int, Group] = {0: self._singles}
        self._next_lot, self._next_index = 1, 0
        self._refused: dict[int, TransferError] = {}  # calls that cannot be pickled
        self._look_s, self._next_look_s = look_every_s(timeout_s), 0.0
        self._asleep = False
        self._closing = self._cancels = self._finished = False
        self._last_loss: Handle | None = None
        self._cannot_start: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="amorsize-executor")

    def start(self) -> None:
        """Begin. Workers to be forked are all forked here and now, before there is a thread."""
        self._carry_out(self.schedule.begin(eager=self.team.start_method == "fork"))
        shutdown.watch(self)
        try:
            self._thread.start()
        except BaseException:
            shutdown.forget(self)
            self.team.kill()
            self.bell.close()
            raise

    # -- in any thread -------------------------------------------------------------------------------------------

    def post(self, news: Submitted | Batch) -> None:
        """Have something run.

        Raises
        ------
        RuntimeError
            When it has been closed; BrokenProcessPool when it is broken.
        """
        with self.lock:
            if self.broken is not None:
                raise _broken(self.broken)
            if self._closing:
                raise RuntimeError(shutdown.refusal())
            self._inbox.append(news)
        if self._asleep:
            self.bell.ring()

    def drop(self, batch: Batch) -> None:
        """Nobody wants the rest of a map."""
        if batch.left:
            self._inbox.append(Unwanted(batch))
            self.bell.ring()

    def close(self, *, cancel: bool = False) -> None:
        """Nothing more will be submitted. ``cancel``: also drop what has not been sent yet."""
        with self.lock:
            self._closing = True
        self._cancels = self._cancels or cancel
        self.bell.ring()

    def forsake(self) -> None:
        """As `close`, yet without a lock, since nobody is left who could submit anything."""
        self._closing = True
        self.bell.ring()

    def join(self) -> None:
        """Wait until all has been done and the workers have left; in a callback of its own thread it does not wait."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def strand(self) -> None:
        """This is a forked copy of it: its thread is not here, and its lock may be held for ever."""
        self.lock = threading.RLock()
        self.broken = "this executor belongs to the process that this one was forked from"
        self.bell.close()

    # -- in its own thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._finished:
                self._turn()
        except BaseException as exc:  # noqa: BLE001  (nobody may wait for ever, whatever it was)
            self._break(f"this executor's own thread failed ({type(exc).__name__}: {exc})", exc)
        finally:
            self.team.close()
            self.bell.close()
            shutdown.forget(self)

    def _turn(self) -> None:
        self._asleep = True
        messages = self.team.wait(0.0 if self._inbox else self._wait_s())
        self._asleep = False
        self.bell.hush()
        for message in messages:
            self._carry_out(self._on_message(message))
        self._take_news()
        if self._look_s is not None and self.schedule.workers.in_flight and time.perf_counter() >= self._next_look_s:
            self._tell(Tick(who_is_at_what(self.team)))
            self._next_look_s = time.perf_counter() + self._look_s

    def _wait_s(self) -> float | None:
        if self._look_s is None or not self.schedule.workers.in_flight:
            return None
        return max(0.0, self._next_look_s - time.perf_counter())

    def _take_news(self) -> None:
        closing = self._closing  # first, so that whatever was submitted before is in the inbox by now
        first = self._next_index
        while self._inbox and not self._finished:
            news = self._inbox.popleft()
            if isinstance(news, Submitted):
                self._singles.add(self._next_index, news)
                self._next_index += 1
                continue
            self._announce_singles(first)
            if isinstance(news, Unwanted):
                self._drop(news.batch.lot)
            else:
                self._take_on(news)
            first = self._next_index
        self._announce_singles(first)
        if closing and self._cancels and not self._finished:
            self._cancels = False
            self._drop(None)
        if closing and self.schedule.is_open:
            self._tell(Closed())

    def _announce_singles(self, first: int) -> None:
        if first < self._next_index:
            self._tell(ItemsAdded(first, self._next_index, 0, 1))

    def _take_on(self, batch: Batch) -> None:
        batch.first, batch.lot = self._next_index, self._next_lot
        self._next_index += batch.length
        self._next_lot += 1
        self._lots[batch.lot] = batch
        self._tell(ItemsAdded(batch.first, self._next_index, batch.lot, batch.fixed))

    def _drop(self, lot: int | None) -> None:
        for start, stop, number in self.schedule.backlog.never_sent(lot):
            self._lots[number].cancel(start, stop)
            self._forget(number)
        self._tell(ItemsDropped(lot))

    def _forget(self, number: int) -> None:
        lot = self._lots[number]
        if isinstance(lot, Batch) and not lot.left:
            del self._lots[number]

    def _put(self, number: int, start: int, results: list[Any], errors: dict[int, BaseException]) -> None:
        self._lots[number].put(start, results, errors)
        self._forget(number)

    def _tell(self, event: Closed | ItemsDropped | ItemsAdded | Tick) -> None:
        if not self._finished:
            self._carry_out(self._handle(event))

    def _handle(self, event: Any) -> list[Instruction]:
        return self.schedule.handle(event, time.perf_counter())

    # -- instructions --------------------------------------------------------------------------------------------

    def _carry_out(self, instructions: list[Instruction]) -> None:
        todo = instructions[::-1]
        while todo and not self._finished:
            match todo.pop():
                case Send(number, span):
                    todo.extend(self._send(number, span)[::-1])
                case Start(number):
                    todo.extend(self._start(number)[::-1])
                case Retire(number):
                    self.team.retire(number)
                case Kill(number):
                    self.team.end(number)
                case Fail(index, why, lot):
                    position, name = self._lots[lot].place(index)
                    error: BaseException = loss(self._last_loss, position, name)
                    if why == "late":
                        error = ItemTimeoutError(position, self.schedule.timeout_s or 0.0, name)
                    self._put(lot, index, [None], {index: error})
                case Finish():
                    self._finished = True
                case GiveUp():
                    cause = self._cannot_start or loss(self._last_loss, None)
                    how = f"could not be started ({cause})" if self._cannot_start else _how(self._last_loss)
                    self._break(f"no worker process could be kept alive; the last {how}", cause)

    def _start(self, number: int) -> list[Instruction]:
        try:
            self.team.start(number)
        except OSError as exc:  # EAGAIN, ENOMEM, pids.max, too many open files
            self._cannot_start = exc
            return self._handle(Lost(number))
        except Exception as exc:  # noqa: BLE001  (multiprocessing pickles what it passes on, and that may raise)
            self._break(f"a worker process could not be started ({type(exc).__name__}: {exc})", exc)
        return []

    def _send(self, number: int, span: Span) -> list[Instruction]:
        calls = self._lots[span.lot].take(span.start, span.stop)
        if not calls:  # it has been cancelled; a single call is never sent behind another span
            return self._handle(Done(number, 0.0))
        kind, by_value = protocol.RUN_ITEMS, self.team.setup.by_value
        try:
            dumped = protocol.dumps(calls, by_value)
        except BaseException:  # noqa: BLE001  (the user's __reduce__ may raise anything)
            kind = protocol.RUN_MARKED
            dumped = protocol.dumps([self._sendable(i, c) for i, c in enumerate(calls, span.start)], by_value)
        self.team.send_pickled(number, kind, span.start, span.stop, dumped)
        return []

    def _sendable(self, index: int, call: Call) -> Any:
        """The call; or, if it cannot be pickled, what makes it fail in its turn."""
        reason = culprit(call, self.team.setup.by_value)
        if reason is None:
            return call
        self._refused[index] = TransferError("call", None, reason)
        return child.Unsendable(index, reason)

    # -- messages ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> list[Instruction]:
        if self._finished:
            return []
        match message.kind:
            case protocol.READY:
                return self._handle(Ready(message.worker))
            case protocol.DONE:
                return self._handle(self._on_done(message))
            case protocol.APART:
                return self._handle(Done(message.worker, 0.0, apart=True))
            case protocol.BROKEN:
                self._on_broken(message)
                return []
        return self._on_lost(message)

    def _on_done(self, message: Message) -> Done:
        number = message.worker
        span = self.schedule.oldest(number)
        try:
            first, (wall_s, cpu_s, *_), results, errors = protocol.loads(message.parts)
        except BaseException as exc:  # noqa: BLE001  (the user's objects rebuild themselves here)
            return self._on_unreadable(number, span, exc)
        self._put(span.lot, first, results, {error.index: self._error(error, span.lot) for error in errors})
        return Done(number, wall_s, ran=len(results), cpu_s=cpu_s)

    def _on_unreadable(self, number: int, span: Span, exc: BaseException) -> Done:
        """A span's results were pickled, yet cannot be rebuilt here: find out whose fault it is."""
        if len(span) > 1:
            return Done(number, 0.0, apart=True)
        detail = f"it cannot be rebuilt in the caller ({type(exc).__name__}: {exc})"
        error = TransferError("result", self._lots[span.lot].place(span.start)[0], detail)
        error.__cause__ = exc
        self._put(span.lot, span.start, [None], {span.start: error})
        return Done(number, 0.0)

    def _error(self, error: child.ItemError, lot: int) -> BaseException:
        """What a call raised, with positions as the user counts them."""
        refused = self._refused.pop(error.index, None)
        if refused is not None:
            return refused
        exc = failure_from(error).exception
        if isinstance(exc, TransferError) and exc.index == error.index:
            what = "call" if exc.what == "item" else exc.what
            again = TransferError(what, self._lots[lot].place(error.index)[0], exc.detail)
            again.__cause__ = exc.__cause__
            return again
        return exc

    def _on_broken(self, message: Message) -> None:
        """A worker cannot serve; one that could before says here what ended it, and its end of file follows."""
        worker = self.schedule.workers.get(message.worker)
        if worker is None or worker.ready:
            return
        error: child.ItemError = protocol.loads(message.parts)
        exc = failure_from(error).exception
        blamed = self.team.setup.initializer is not None and not isinstance(exc, TransferError)
        what = "the initializer raised" if blamed else "a worker process could not take its setup:"
        self._break(f"{what} {error.type_name}: {error.text}", exc)

    def _on_lost(self, message: Message) -> list[Instruction]:
        handle: Handle = message.parts[0]
        self._last_loss = handle
        if self.strict and message.worker in self.schedule.workers:
            self._break(f"a worker process {_how(handle)}, and strict=True lets nothing go on after that", None)
            return []
        at = handle.was_at
        return self._handle(Lost(message.worker, at if at >= 0 else None, idle=at == child.IDLE))

    # -- the end -------------------------------------------------------------------------------------------------

    def _break(self, why: str, cause: BaseException | None) -> None:
        """Fail all that is pending, and whatever is submitted from now on."""
        with self.lock:
            self.broken = f"{why}. Make a new Executor; this one takes no more calls."

        def error() -> BrokenProcessPool:
            broken = _broken(self.broken or why)
            broken.__cause__ = cause
            return broken

        self._finished = True
        self.team.kill()
        while self._inbox:
            news = self._inbox.popleft()
            if isinstance(news, Submitted):
                self._singles.add(self._next_index, news)
                self._next_index += 1
            elif isinstance(news, Batch):
                news.abort(error)
        for lot in self._lots.values():
            lot.abort(error)


def _broken(why: str) -> BrokenProcessPool:
    from concurrent.futures.process import BrokenProcessPool  # 20 ms, and hardly ever needed

    return BrokenProcessPool(why)


def _how(handle: Handle | None) -> str:
    ended = loss(handle, None)
    if ended.signal is not None:
        return f"was ended by signal {ended.signal}"
    return f"exited with code {ended.exitcode}" if ended.exitcode is not None else "has gone, nobody can tell how"
