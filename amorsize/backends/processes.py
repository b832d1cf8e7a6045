"""The driver of worker processes: carries out the schedule's instructions and reports events back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator

from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.core_lease import Lease
from amorsize.backends.driver import CannotStart, Driver, opening
from amorsize.backends.loop import Loop
from amorsize.backends.remote_errors import ItemError
from amorsize.backends.results import Outcome, blame_initializer, failure_from
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import LATE_LOOKS, Absence, Ticks, look_every_s
from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.connection import Handle
from amorsize.backends.workers.item_times import Records
from amorsize.backends.workers.native_threads import native_threads
from amorsize.backends.workers.start import why_not
from amorsize.backends.workers.team import Message, Team
from amorsize.errors import ItemTimeoutError, TransferError, WorkerLostError
from amorsize.facts import Failure
from amorsize.frozen import replace
from amorsize.hints import warn
from amorsize.schedule.messages import (
    CALLER,
    Done,
    Event,
    Instruction,
    Lost,
    Ready,
    Resize,
    Running,
    SourceEnded,
    Span,
    Why,
)
from amorsize.schedule.schedule import Schedule
from amorsize.system import log
from amorsize.system.critical import load
from amorsize.system.looks import is_interrupt, kind_of, text_of
from amorsize.system.nested import Ended
from amorsize.system.start_methods import UNGUARDED_CODE, main_is_interactive, refuse_in_a_child, unguarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.backends.driver import Work
    from amorsize.backends.notify import News
    from amorsize.backends.ticks import OomCount
    from amorsize.facts import Forecast

# SIGKILL, by which the kernel ends processes when memory is short.
KILLED: Final = 9
CUT_OFF_TEXT: Final = "its connection to the caller was closed, or something else read from it"


def is_unguarded(handle: Handle | None) -> bool:
    """Return True if a worker ended since the program's main module starts workers at its top level."""
    return handle is not None and handle.exitcode == UNGUARDED_CODE


def loss(handle: Handle | None, index: int | None, call: str | None = None, *, oom: bool = False) -> WorkerLostError:
    """Return the error that describes the end of a worker."""
    code = handle.exitcode if handle is not None else None
    fault = handle.fault if handle is not None else ""
    if fault:
        # The caller itself sent the signal that ended the worker, so the signal is not reported.
        return WorkerLostError(index, None, None, oom, call, fault)
    if is_unguarded(handle):
        return WorkerLostError(index, code, call=call, refused=unguarded())
    killed = code is not None and code < 0
    signal = -code if killed and code is not None else None
    cut_off = CUT_OFF_TEXT if code == child.CUT_OFF else ""
    return WorkerLostError(index, None if killed else code, signal, oom, call, cut_off)


@opening
def open_driver(
    work: Work, chosen: Forecast, schedule_for: Callable[[Forecast], Schedule]
) -> Generator[ProcessDriver | None, None, None]:
    """Wait until this call is given workers, and return a driver for them; see `amorsize.backends.table`.

    If other calls of this process use the cores (`amorsize.backends.core_lease`), this call gets fewer workers, or none
    if one worker would be no faster than the caller's loop.
    """
    load("amorsize.backends.watchers")
    from amorsize.backends import watchers

    ticks = work.ticks
    before = ticks.tickers
    lease = Lease(chosen.workers, work.cores, ticks.stop)
    try:
        with lease:
            if lease.is_nested and lease.workers == 1 < chosen.workers and work.loop is not None:
                yield None
                return
            # The other calls use the cores that `WorkerCount` would try out.
            crowded = lease.workers < chosen.workers or CALLS.size > 1
            schedule = schedule_for(replace(chosen, workers=lease.workers))
            if crowded:
                schedule.worker_count = None
            team = _team(work, chosen, lease)
            lease.serve(schedule, team)
            ticks.tickers = [*before, lease, watchers.memory_guard(team, schedule, work.warn)]
            yield ProcessDriver(
                schedule,
                team,
                work.source,
                work.outcome,
                work.loop,
                ticks,
                records=work.records,
                news=work.news,
                count_oom=watchers.oom_count,
            )
    finally:
        ticks.tickers = before
        # Once more, because an interrupt may have cut the end of the with statement short.
        lease.close()


def _team(work: Work, chosen: Forecast, lease: Lease) -> Team:
    """Return the team for ``chosen``, none of its workers started yet.

    Raises
    ------
    CannotStart
        If no team can be had.
    RuntimeError
        In a child that is importing the program's main module: it would start children without end.
    """
    refuse_in_a_child()
    assert chosen.start_method is not None
    forks = chosen.start_method == "fork"
    by_value = not forks and main_is_interactive()
    values = None
    if not forks and not by_value:
        load("amorsize.backends.workers.main_module")
        from amorsize.backends.workers.main_module import used, values_of

        items = work.source.data if isinstance(work.source, Indexable) else ()
        if values := values_of([*used(work.func, items), work.initializer]):
            for warning in values.warnings():
                work.warn(warning)
    setup = child.Setup(
        work.func,
        keep_going=work.keeps_going,
        initializer=work.initializer,
        initargs=work.initargs,
        cores=max(1.0, lease.cores / lease.workers),
        native_threads=native_threads(work.runs_threads and "numpy" in sys.modules, lease.cores, lease.workers),
        by_value=by_value,
        timed=work.has_timeout,
        values=values,
    )
    inherited = work.source.data if forks and isinstance(work.source, Indexable) else None
    try:
        return Team(setup, inherited, chosen.start_method)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        refused = isinstance(exc, OSError)
        why = WorkerLostError(None, refused=why_not(exc)) if refused else TransferError(*_culprit(setup))
        why.__cause__ = exc
        raise CannotStart(why) from exc


def _culprit(setup: child.Setup) -> tuple[str, None, str]:
    """Return the part of a setup that cannot be pickled, None in place of an index, and the reason."""
    parts: list[tuple[str, object]] = [("func", setup.func), ("initializer", (setup.initializer, setup.initargs))]
    for what, part in parts:
        try:
            protocol.dumps(part, setup.by_value)
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return what, None, child.describe(part, exc)
    return "func", None, "the reason is unknown"


class ProcessDriver(Driver):
    """Carries out a schedule on a team of processes.

    Parameters
    ----------
    schedule : Schedule
    team : Team
    source : Indexable or Streamed
        Where items come from, unless the team's workers have inherited them.
    outcome : Outcome
    loop : Loop or None
        Runs items in the caller: small spans while workers start, items that cannot be pickled, and everything if no
        worker can be kept alive. None: func never runs in the caller.
    """

    def __init__(
        self,
        schedule: Schedule,
        team: Team,
        source: Indexable | Streamed,
        outcome: Outcome,
        loop: Loop | None,
        ticks: Ticks | None = None,
        *,
        records: Records | None = None,
        news: News | None = None,
        count_oom: Callable[[], OomCount] | None = None,
    ) -> None:
        super().__init__(schedule, source, outcome, ticks, records=records, news=news)
        self.team = team
        self.loop = loop
        self.inherits = team.data is not None
        self.oom: OomCount | None = None
        self._count_oom = count_oom
        self._look_s = None if schedule.timeout_s is None else look_every_s(schedule.timeout_s)
        self._next_look_s = 0.0
        self._absence = Absence(LATE_LOOKS * (self._look_s or 0.0))
        self._mine: Span | None = None
        # Of the latest answer: an item that the data of a forked worker lack.
        self._no_item: int | None = None
        self._last_loss: Handle | None = None
        self._last_oom = False
        # Why the last worker could not be started.
        self._refused: OSError | None = None

    def open(self) -> None:
        if self.ticks.stop is not None:
            self.team.heed(self.ticks.stop.fileno())

    def started(self) -> None:
        # A worker that is ready gets items while the others are started.
        if not self.is_over():
            self.receive(0.0)

    def begun(self) -> None:
        # The workers start meanwhile, so this reading costs no time.
        if self._count_oom is not None:
            self.oom = self._count_oom()

    def abort(self, exc: BaseException) -> None:
        self.team.kill()

    def close(self) -> None:
        if self.outcome.doomed:
            self.team.kill()
        else:
            self.team.close()

    def wait_s(self, now_s: float) -> float | None:
        if self._mine is not None:
            return 0.0
        look_s = None
        if self._look_s is not None and self.schedule.workers.in_flight:
            look_s = max(0.0, self._next_look_s - now_s)
        return self.ticks.wait_s(now_s, self.schedule.wait_s(now_s), look_s)

    def _turn(self) -> None:
        if self._mine is not None:
            self._run_mine()
        if not self.is_over():
            super()._turn()

    def receive(self, wait_s: float | None) -> None:
        for message in self.team.wait(wait_s):
            self._carry_out(self._on_message(message))

    def pids(self) -> list[int]:
        return [handle.pid for handle in self.team.handles.values()]

    def running(self, now_s: float) -> tuple[Running, ...]:
        if self._look_s is None or now_s < self._next_look_s:
            return ()
        self._next_look_s = now_s + self._look_s
        self._absence.look(now := time.monotonic())
        return tuple(self._running(number, now) for number in self.team.handles)

    def _running(self, number: int, now_s: float) -> Running:
        at, began_ns = self.team.handles[number].item_and_start()
        if at in (child.IDLE, child.UNKNOWN):
            return Running(number, None, 0.0)
        for_s = self._absence.present_s(began_ns * 1e-9, now_s)
        return Running(number, at, for_s) if at >= 0 else Running(number, None, for_s, child.unnamed(at))

    def announce(self, event: Event) -> None:
        if isinstance(event, Resize):
            log.warning("memory", "%d workers from now on, as memory allows", event.workers, workers=event.workers)
        elif isinstance(event, Lost) and self.news is not None:
            self.news.worker_lost(event.worker, event.item, None, event.oom)

    # -- instructions --------------------------------------------------------------------------------------------

    def start(self, number: int) -> list[Instruction]:
        try:
            self.team.start(number)
        # EAGAIN, ENOMEM, pids.max, too many open files.
        except OSError as exc:
            self._refused = exc
            self.warnings.append(f"a worker could not be started ({exc}); going on with fewer")
            return self._handle(Lost(number))
        if self.news is not None:
            self.news.worker_started(number, self.team.handles[number].pid)
        return []

    def retire(self, number: int) -> None:
        self.team.retire(number)
        self._has_left(number)

    def kill(self, number: int) -> None:
        self.team.end(number)
        self._has_left(number)

    def _has_left(self, number: int) -> None:
        if self.news is not None:
            self.news.worker_retired(number)

    def send(self, number: int, span: Span) -> list[Instruction]:
        if number == CALLER:
            self._mine = span
            return []
        if self.inherits:
            self.team.send_range(number, span.start, span.stop)
            return []
        return super().send(number, span)

    def submit(self, number: int, start: int, items: Any) -> None:
        self.team.send_items(number, start, start + len(items), items)

    def _run_mine(self) -> None:
        span, self._mine = self._mine, None
        assert span is not None
        assert self.loop is not None
        seen, raised = self.loop.report(span.start, span.stop)
        failed = self.outcome.take_errors(raised)
        if self.outcome.doomed:
            return
        out: list[Any] = []
        # After an item that raised the others may be unwanted; else the source has no more.
        stopped = bool(raised) and raised[-1].index == span.start + seen.items - 1
        items = seen.items
        if items < len(span) and not stopped:
            if self.inherits:
                out, items = self._end_inherited(span.start + items), len(span)
            else:
                out = self._handle(self._short(CALLER, span, items))
        if items:
            out += self._handle(Done(CALLER, seen.wall_s, failed, items, final=self._final(raised)))
        self._carry_out(out)

    def give_up(self, slow: bool) -> None:
        if self.loop is None:
            if self._refused is not None and self._last_loss is None:
                raise WorkerLostError(None, refused=str(self._refused)) from self._refused
            raise self._loss_of(None).exception from self._refused
        if not slow:
            why = unguarded() if is_unguarded(self._last_loss) else "no worker could be kept alive"
            self.warnings.append(f"the rest ran in the caller: {why}")
            if is_unguarded(self._last_loss):
                warn(self.warnings[-1], RuntimeWarning)
        # The caller's span is among the items left over.
        self._mine = None
        super().give_up(slow)

    # -- messages ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> list[Instruction]:
        match message.kind:
            case protocol.READY:
                if self._ready_s is None:
                    self._ready_s = time.perf_counter() - self._began
                return self._handle(Ready(message.worker))
            case protocol.DONE | protocol.APART if not self.schedule.awaits(
                message.worker, message.start, message.stop
            ):
                return self._on_stray(message)
            case protocol.DONE:
                self._no_item = None
                done = self._on_done(message)
                out: list[Instruction] = [] if self._no_item is None else self._end_inherited(self._no_item)
                return out + self._handle(done)
            case protocol.APART:
                return self._handle(Done(message.worker, 0.0, apart=True))
            case protocol.BROKEN:
                return self._on_broken(message)
            case None:
                return self._on_lost(message)
        raise AssertionError(f"unknown frame {message.kind}")

    def _on_done(self, message: Message) -> Event:
        try:
            (wall_s, cpu_s, rss_bytes, records), results, errors = protocol.loads(message.parts)
        # Unpickling can raise any exception.
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return self._on_unreadable(message.worker, exc)
        self.records.take(records)
        failures, mended = [], []
        for error in errors:
            failure = failure_from(error)
            if type(failure.exception) is Ended:
                # It was sent alone, and counts as done, without a result.
                self._no_item = error.index
                mended.append(error.index)
            elif self.loop is not None and isinstance(failure.exception, TransferError):
                # The item or its result cannot be pickled: run it here.
                _, raised = self.loop.report(error.index, error.index + 1)
                failures += raised
                mended += [] if raised else [error.index]
            else:
                failures.append(failure)
        return self._keep(message.worker, message.start, results, failures, wall_s, cpu_s, rss_bytes, mended)

    def _end_inherited(self, index: int) -> list[Instruction]:
        """End the map here. Forked workers read items themselves, and find none in the spans that they have beyond."""
        return self._handle(SourceEnded(self._ends_at(index), answered=True))

    def _on_unreadable(self, number: int, exc: BaseException) -> Event:
        """Find the item whose result cannot be unpickled here, by repeating the items of the span one by one."""
        span = self.schedule.oldest(number)
        if len(span) > 1:
            return Done(number, 0.0, apart=True)
        if self.loop is not None:
            seen, raised = self.loop.report(span.start, span.stop)
            failed = self.outcome.take_errors(raised, range(span.start, span.stop))
            return Done(number, seen.wall_s, failed, final=self._final(raised))
        detail = f"it cannot be rebuilt in the caller ({kind_of(exc)}: {text_of(exc)})"
        failure = Failure(span.start, TransferError("result", span.start, detail), detail)
        return Done(number, 0.0, self.outcome.take_errors([failure]))

    def _on_broken(self, message: Message) -> list[Instruction]:
        """Handle a worker that cannot run items: its initializer raised, or it cannot unpickle the function."""
        error: ItemError = protocol.loads(message.parts)
        failure = failure_from(error)
        no_func = isinstance(failure.exception, TransferError)
        if self.loop is not None and (no_func or self.team.setup.initializer is None):
            self.warnings.append(f"a worker could not take the function ({error.type_name}: {error.text})")
            # The worker closes its connection next, and this reports the loss.
            return []
        if not no_func:
            blame_initializer(failure.exception, "in a worker process")
        raise failure.exception

    def _on_stray(self, message: Message) -> list[Instruction]:
        """End a worker that has answered a span which it was not sent, or for a second time."""
        handle = self.team.end(message.worker)
        if handle is None:
            return []
        handle.ran_on = True
        handle.fault = f"it answered for items {message.start} to {message.stop - 1}, which it was not asked for"
        return self._on_lost(Message(message.worker, None, [handle]))

    def _on_lost(self, message: Message) -> list[Instruction]:
        handle: Handle = message.parts[0]
        if message.worker not in self.schedule.workers:
            return []
        self._lost += 1
        self._last_loss = handle
        item, idle = self._where(message.worker, handle)
        code = handle.exitcode
        self._last_oom = oom = (
            not handle.fault and code in (None, -KILLED) and self.oom is not None and self.oom.struck()
        )
        how = "memory ran out" if oom else handle.fault or f"exit code {code}"
        at = "" if item is None else f" at item {item}"
        log.warning("workers", "worker %d was lost%s: %s", message.worker, at, how, worker=message.worker, index=item)
        if self.news is not None:
            self.news.worker_lost(message.worker, item, code, oom)
        return self._handle(Lost(message.worker, item, idle=idle, oom=oom))

    def _where(self, number: int, handle: Handle) -> tuple[int | None, bool]:
        """Return the item that a lost worker was running, and True if it was running none of its spans."""
        at, flying = handle.was_at, self.schedule.workers[number].flying
        if not flying:
            return None, True
        if handle.ran_on or at == child.UNKNOWN:
            return None, False
        if at == child.IDLE:
            return None, True
        span = flying[0]
        if at < 0:
            return None, child.unnamed(at) != span.start
        # If the worker has already answered for this item, the item is not the cause of the loss.
        is_there = span.start <= at < span.stop
        return at if is_there else None, not is_there

    def failure(self, index: int, why: Why) -> Failure:
        if why == "lost":
            return self._loss_of(index)
        if why == "late":
            error = ItemTimeoutError(index, self.schedule.timeout_s or 0.0)
            return Failure(index, error, str(error))
        return super().failure(index, why)

    def _loss_of(self, index: int | None) -> Failure:
        error = loss(self._last_loss, index, oom=self._last_oom)
        return Failure(-1 if index is None else index, error, str(error))
