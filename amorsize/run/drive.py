"""The one loop that drives worker processes: carries out what the schedule says, and tells it what happened."""

from __future__ import annotations

import time
from typing import Any

from amorsize import worker as child
from amorsize.errors import TransferError, WorkerLostError
from amorsize.facts import Failure, Ran
from amorsize.model.schedule import (
    CALLER,
    Abandon,
    Done,
    Ended,
    Event,
    Fail,
    Finish,
    Lost,
    Ready,
    Retire,
    Schedule,
    Send,
    Span,
    Start,
)
from amorsize.run.loop import Loop
from amorsize.run.outcome import Outcome, failure_from
from amorsize.run.source import Indexable, Streamed
from amorsize.run.team import Handle, Message, Team


class ProcessDriver:
    """Runs what a schedule says on a team of processes.

    Parameters
    ----------
    schedule : Schedule
    team : Team
    source : Indexable or Streamed
        Where items come from, unless the team's workers have inherited them.
    outcome : Outcome
    loop : Loop or None
        For what the caller may run itself: small spans while workers start, what cannot be pickled, and everything
        when no worker can be kept alive. None: func never runs in the caller.
    """

    def __init__(
        self, schedule: Schedule, team: Team, source: Indexable | Streamed, outcome: Outcome, loop: Loop | None
    ) -> None:
        self.schedule = schedule
        self.team = team
        self.source = source
        self.outcome = outcome
        self.loop = loop
        self.warnings: list[str] = []
        self._inherited = team.data is not None
        self._mine: Span | None = None  # what the caller itself is to run next
        self._finished = False
        self._last_loss: Handle | None = None
        self._refused: OSError | None = None  # why the last worker could not be started
        self._ready_s: float | None = None
        self._work_s = self._work_cpu_s = 0.0
        self._items = self._chunks = self._lost = 0

    def run(self) -> Ran:
        """Run to the end. Failures of items stand in the outcome.

        Raises
        ------
        WorkerLostError
            When no worker can be kept alive and the caller may not run the items itself.
        """
        self._began = time.perf_counter()
        try:
            self._carry_out(self.schedule.begin())
            while not self._is_over():
                if self._mine is not None:
                    self._run_mine()
                    if self._is_over():
                        break
                for message in self.team.wait(0 if self._mine is not None else None):
                    self._carry_out(self._on_message(message))
        except BaseException:
            self.team.kill()
            raise
        if self.outcome.doomed:
            self.team.kill()
        else:
            self.team.close()
        return Ran(
            wall_s=time.perf_counter() - self._began,
            ready_s=self._ready_s,
            work_s=self._work_s,
            work_cpu_s=self._work_cpu_s,
            items=self._items,
            chunks=self._chunks,
            lost=self._lost,
        )

    def _is_over(self) -> bool:
        return self._finished or self.outcome.doomed

    # -- instructions --------------------------------------------------------------------------------------------

    def _carry_out(self, instructions: list[Any]) -> None:
        todo = instructions[::-1]
        while todo:
            match todo.pop():
                case Start(number):
                    todo.extend(self._start(number)[::-1])
                case Send(number, span):
                    todo.extend(self._send(number, span)[::-1])
                case Retire(number):
                    self.team.retire(number)
                case Fail(index, lost):
                    self.outcome.fail(self._loss_of(index) if lost else self.outcome.last_error[index])
                    if self.outcome.doomed:
                        return
                case Finish():
                    self._finished = True
                case Abandon():
                    self._mine = None  # it is among what is left over
                    self._take_over()
                    return

    def _start(self, number: int) -> list[Any]:
        try:
            self.team.start(number)
        except OSError as exc:  # EAGAIN, ENOMEM, pids.max, too many open files
            self._refused = exc
            self.warnings.append(f"a worker could not be started ({exc}); going on with fewer")
            return self.schedule.handle(Lost(number))
        return []

    def _send(self, number: int, span: Span) -> list[Any]:
        if number == CALLER:
            self._mine = span
            return []
        if self._inherited:
            self.team.send_range(number, span.start, span.stop)
            return []
        items = self.source.items(span.start, span.stop)
        out: list[Any] = []
        if len(items) < len(span):
            out = self.schedule.handle(Ended(self.source.length or 0))
        if len(items):
            self.team.send_items(number, span.start, span.start + len(items), items)
        return out

    def _run_mine(self) -> None:
        span, self._mine = self._mine, None
        assert span is not None
        assert self.loop is not None
        seen = self.loop.run(span.start, span.stop)
        out: list[Any] = []
        if seen.items < len(span):
            out = self.schedule.handle(Ended(self.source.length or 0))
        if seen.items:
            out += self.schedule.handle(Done(CALLER, seen.wall_s))
        self._carry_out(out)

    def _take_over(self) -> None:
        """No worker can be kept alive: the caller runs what is left, or gives up."""
        if self.loop is None:
            raise self._loss_of(None).exception from self._refused
        self.warnings.append("no worker could be kept alive: the rest ran in the caller")
        self.loop.run_all(self.schedule.left_over())
        self._finished = True

    # -- messages ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> list[Any]:
        match message.kind:
            case child.READY:
                if self._ready_s is None:
                    self._ready_s = time.perf_counter() - self._began
                return self.schedule.handle(Ready(message.worker))
            case child.DONE:
                return self.schedule.handle(self._on_done(message))
            case child.APART:
                return self.schedule.handle(Done(message.worker, 0.0, apart=True))
            case child.BROKEN:
                return self._on_broken(child.loads(message.parts))
            case None:
                return self._on_lost(message)
        raise AssertionError(f"unknown frame {message.kind}")

    def _on_done(self, message: Message) -> Event:
        try:
            first, (wall_s, cpu_s), results, errors = child.loads(message.parts)
        except Exception as exc:  # noqa: BLE001  (unpickling raises anything)
            return self._on_unreadable(message.worker, exc)
        self._chunks += 1
        self._items += len(results)
        self._work_s += wall_s
        self._work_cpu_s += cpu_s
        self.outcome.put(first, results)
        failures = []
        for error in errors:
            failure = failure_from(error)
            if self.loop is not None and isinstance(failure.exception, TransferError):
                self.loop.run(error.index, error.index + 1)  # it or its result cannot travel: run it here
            else:
                failures.append(failure)
        failed = self.outcome.take_errors(failures)
        if not self._inherited:
            self.source.release(first, first + len(results), but=failed)
        return Done(message.worker, wall_s, failed, len(results))

    def _on_unreadable(self, number: int, exc: Exception) -> Event:
        """A span's results were pickled, yet cannot be rebuilt here: find out whose fault it is."""
        span = self.schedule.oldest(number)
        if len(span) > 1:
            return Done(number, 0.0, apart=True)
        if self.loop is not None:
            seen = self.loop.run(span.start, span.stop)
            return Done(number, seen.wall_s)
        detail = f"it cannot be rebuilt in the caller ({type(exc).__name__}: {exc})"
        failure = Failure(span.start, TransferError("result", span.start, detail), detail)
        self.outcome.put(span.start, [None])
        return Done(number, 0.0, self.outcome.take_errors([failure]))

    def _on_broken(self, error: child.ItemError) -> list[Any]:
        """A worker cannot serve: the initializer raised, or the function cannot be rebuilt there."""
        failure = failure_from(error)
        no_func = isinstance(failure.exception, TransferError)
        if self.loop is not None and (no_func or self.team.setup.initializer is None):
            self.warnings.append(f"a worker could not take the function ({error.type_name}: {error.text})")
            return []  # its end of file follows
        if not no_func:
            failure.exception.add_note("amorsize: raised in a worker process before its first item")
        raise failure.exception

    def _on_lost(self, message: Message) -> list[Any]:
        handle: Handle = message.parts[0]
        self._lost += 1
        self._last_loss = handle
        at = handle.was_at
        return self.schedule.handle(Lost(message.worker, at if at >= 0 else None, idle=at == child.IDLE))

    def _loss_of(self, index: int | None) -> Failure:
        code = self._last_loss.exitcode if self._last_loss is not None else None
        killed = code is not None and code < 0
        error = WorkerLostError(index, None if killed else code, -code if killed and code is not None else None)
        return Failure(-1 if index is None else index, error, str(error))
