"""Any executor or cluster, driven by the same Schedule: a span of items is one task of the user's engine.

The engine starts its own workers and does not report them, so each task that it can run at a time counts as a worker.
What differs between engines stands in `amorsize.backends.engines` and in the integrations; what crosses to the workers
in `amorsize.backends.shipping`; what runs there in `amorsize.backends.remote`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from math import sqrt
from queue import Empty, SimpleQueue

from amorsize.backends.driver import Driver, opening
from amorsize.backends.engines import engine_of, known_places
from amorsize.backends.remote_errors import ItemError
from amorsize.backends.results import failure_from, failure_here
from amorsize.backends.shipping import VERSION, Lazy, Parcels, Parts
from amorsize.backends.ticks import Absence, look_every_s
from amorsize.backends.workers import protocol
from amorsize.errors import AmorsizeError, ItemTimeoutError, TransferError, WorkerLostError
from amorsize.facts import Sample
from amorsize.schedule.chunk_size import longest_s
from amorsize.schedule.messages import Done, Instruction, Lost, Ready, Running, Span
from amorsize.system.looks import is_interrupt, kind_of, note, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.backends.driver import Work
    from amorsize.backends.engines import Engine, Loss
    from amorsize.facts import Failure, Forecast
    from amorsize.schedule.messages import Why
    from amorsize.schedule.schedule import Schedule

# guess: a pickled function of more bytes goes to each worker once, not with each task
LARGE_BYTES: Final = 1 << 16
# Times the longest task that the schedule would send, after which a task begins no further item (a guess).
LONG: Final = 2.0
# Share of the items from which the forecast of the map is made (a guess).
SAMPLED: Final = 0.1


@opening
def open_driver(
    work: Work, chosen: Forecast, schedule_for: Callable[[Forecast], Schedule]
) -> Generator[ExecutorDriver, None, None]:
    """Return the driver of a map on the user's executor; see `amorsize.backends.table`."""
    yield ExecutorDriver(schedule_for(chosen), engine_of(work.executor), work, chosen.workers)


class Flight:
    """A task that has been submitted, and may be submitted again with the function."""

    __slots__ = ("by_name", "is_shared", "items", "number", "since_s", "span")

    def __init__(self, number: int, span: Span, items: Any, since_s: float) -> None:
        # True if it was sent to workers that are to find modules by their names.
        self.by_name = False
        # True if it found the function in what was shared.
        self.is_shared = False
        self.number = number
        self.span = span
        self.items = items
        self.since_s = since_s


class ExecutorDriver(Driver):
    """Carries out a schedule as tasks of the user's engine, and never shuts that down.

    Parameters
    ----------
    schedule : Schedule
    engine : Engine
    work : Work
    places : int
        Tasks that run at a time.
    """

    def __init__(self, schedule: Schedule, engine: Engine, work: Work, places: int) -> None:
        super().__init__(schedule, work.source, work.outcome, work.ticks, records=work.records, news=work.news)
        self.engine = engine
        self.places = places
        self._parcels = Parcels(work.func, engine.near, self.warnings.append)
        self._keep_going = work.keeps_going
        self._shared: Any = None
        self._may_share = True
        self._with_func = 0
        self._flights: dict[Any, Flight] = {}
        self._mail: SimpleQueue[Any] = SimpleQueue()
        self._why_lost: dict[int, str] = {}
        # A task of slower items than those before ends early, and the rest of it comes back.
        is_fixed = schedule.backlog.lots[0].fixed is not None
        longest = longest_s(schedule.wanted, schedule.per_chunk_s, schedule.round_trip_s)
        self._limit_s = None if is_fixed else LONG * longest
        self._look_s = None if schedule.timeout_s is None else look_every_s(schedule.timeout_s)
        self._next_look_s = 0.0
        self._absence = Absence(2 * (self._look_s or 1.0))
        self._seen: list[tuple[int, float]] = []
        self._moved = [0, 0]
        # The workers seen; counted if the engine does not tell how many it has.
        self._who: set[Any] | None = set() if known_places(engine) is None else None

    def open(self) -> None:
        if self._look_s is not None:
            self.engine.keep_time()
        if self.ticks.stop is not None:
            self.ticks.stop.wake(lambda: self._mail.put(None))

    def start(self, number: int) -> list[Instruction]:
        return self._handle(Ready(number))

    # -- out -----------------------------------------------------------------------------------------------------

    def submit(self, number: int, start: int, items: Any) -> None:
        if not self._flights and not self._chunks:
            self._parcels.look(items)
        span = Span(start, start + len(items))
        try:
            held = self.engine.seal(items, self._pickled)
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            # Reported like an answer: the schedule is in the middle of another event.
            self._mail.put((number, span, exc))
            return
        self._submit(Flight(number, span, held, time.perf_counter()))

    def _pickled(self, items: Any) -> Parts:
        parts = self._parcels.items(items)
        self._moved[0] += sum(map(len, parts))
        return parts

    def _submit(self, flight: Flight, *, with_func: bool = False) -> None:
        span, parcels = flight.span, self._parcels
        flight.by_name = parcels.near
        func = self._func(with_func)
        flight.is_shared = func is not None and func is self._shared
        try:
            future = self.engine.submit(
                parcels.key, func, flight.items, span.start, self._keep_going, VERSION, self._limit_s
            )
        except BaseException as exc:
            if not is_interrupt(exc):
                blame(exc, span)
            raise
        self._flights[future] = flight
        self.engine.when_done(future, self._mail.put)

    def _func(self, with_func: bool) -> Any:
        """Return what to send of the function: to a worker that has it already, nothing if it is large."""
        if self.engine.lazy:
            # To tell how large it is would pickle it, even for threads.
            func = self._parcels.known()
            if func is None or with_func or len(func[0]) < LARGE_BYTES or self._with_func < 2 * self.places:
                self._with_func += 1
                return Lazy(self._parcels.held, self._parcels.func)
            return None
        func = self._parcels.func()
        if sum(map(len, func)) < LARGE_BYTES:
            return func
        if self._may_share:
            if self._shared is None:
                self._shared = self.engine.share(func)
                self._may_share = self._shared is not None
            if self._shared is not None:
                return self._shared
        if with_func or self._with_func < 2 * self.places:
            self._with_func += 1
            return func
        return None

    def per_item_s(self) -> float | None:
        # Behind each task that runs, another one waits.
        return self.schedule.per_item_s(self.places)

    def abort(self, exc: BaseException) -> None:
        self.close()

    def close(self) -> None:
        flights, self._flights = self._flights, {}
        self.engine.cancel(list(flights))
        self.engine.close()

    def kill(self, number: int) -> None:
        for future, flight in list(self._flights.items()):
            if flight.number == number:
                del self._flights[future]
                self.engine.end(future)

    # -- in ------------------------------------------------------------------------------------------------------

    def receive(self, wait_s: float | None) -> None:
        try:
            mail = self._mail.get(timeout=wait_s) if wait_s != 0.0 else self._mail.get_nowait()
            while True:
                if type(mail) is tuple:
                    self._carry_out(self._on_failed(*mail))
                elif mail is not None:
                    self._on_done(mail)
                if self.is_over():
                    return
                mail = self._mail.get_nowait()
        except Empty:
            pass

    def wait_s(self, now_s: float) -> float | None:
        looks = None if self._look_s is None else max(0.0, self._next_look_s - now_s)
        waits = [wait_s for wait_s in (super().wait_s(now_s), looks) if wait_s is not None]
        return min(waits, default=None)

    def running(self, now_s: float) -> tuple[Running, ...]:
        if self._look_s is None or self.schedule.timeout_s is None or now_s < self._next_look_s:
            return ()
        self._next_look_s = now_s + self._look_s
        self._absence.look(now_s)
        late = [
            (future, flight)
            for future, flight in self._flights.items()
            if self._absence.present_s(flight.since_s, now_s) > self.schedule.timeout_s
        ]
        return tuple(
            Running(flight.number, flight.span.start, min(for_s, self._absence.present_s(flight.since_s, now_s)))
            for future, flight in late
            # A task may have waited for its worker to start.
            if (for_s := self.engine.runs_for_s(future)) is not None
        )

    def _on_done(self, future: Any) -> None:
        flight = self._flights.pop(future, None)
        # It was ended, or withdrawn.
        if flight is None:
            return
        number, span = flight.number, flight.span
        try:
            answer = self.engine.result(future)
        # For an object that cannot be pickled, each kind of executor raises another exception.
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            if flight.is_shared and self.engine.lost_data(exc):
                # From now on it goes with the tasks. Shared anew, it could be lost again and again.
                self._may_share = False
                self._submit(flight, with_func=True)
                return
            self._carry_out(self._on_failed(number, span, exc))
            return
        if answer[0] == "missing":
            self._submit(flight, with_func=True)
            return
        if answer[0] == "refused" and flight.by_name:
            # The workers do not find what this process finds by its name: an entry of sys.path is newer than they are.
            self._parcels.send_by_value()
            self._submit(flight, with_func=True)
            return
        self._carry_out(self._handle(self._event(number, span, answer)))
        self._foresee()

    def _event(self, number: int, span: Span, answer: tuple[Any, ...]) -> Done:
        """Return the event of an answer, whose results are kept."""
        kind, *rest = answer
        if kind == "apart" or (kind == "refused" and rest[0] != "func" and len(span) > 1):
            return Done(number, 0.0, apart=True)
        if kind == "refused":
            what, detail = rest
            if what == "func":
                raise TransferError("func", None, detail)
            return self._failed(number, span.start, TransferError(what, span.start, detail))
        results, errors, wall_s, cpu_s, peak_bytes, records, who = rest
        if self._who is not None:
            self._who.add(who)
        if type(results) is tuple:
            self._moved[1] += sum(map(len, results))
            try:
                # Arrays over bytes would be read-only.
                results = protocol.loads([results[0], *map(bytearray, results[1:])])
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                if len(span) > 1:
                    return Done(number, 0.0, apart=True)
                detail = f"it cannot be rebuilt here ({kind_of(exc)}: {text_of(exc)})"
                return self._failed(number, span.start, TransferError("result", span.start, detail))
        if self._ready_s is None:
            self._ready_s = time.perf_counter() - self._began
        self.records.take(records)
        self._seen.append((len(results), wall_s))
        failures = [failure_of(error) for error in errors]
        return self._keep(number, span.start, results, failures, wall_s, cpu_s, peak_bytes)

    def _on_failed(self, number: int, span: Span, exc: BaseException) -> list[Instruction]:
        """Handle a task that failed as a whole: a worker was lost, the engine is dead, or an item cannot be sent."""
        loss: Loss | None = self.engine.loss(exc)
        if loss == "engine":
            self._save_all()
            blame(exc, span)
            raise exc
        if loss is not None:
            self._lost += 1
            why = f"{kind_of(exc)}: {text_of(exc)}"
            if loss == "shared" and len(span) == 1 and not self._flights:
                # It was the only task, so that no other can be at fault, and the engine has repeated it by itself.
                return self._handle(self._failed(number, span.start, WorkerLostError(span.start, engine=why)))
            self._why_lost[span.start] = why
            if self.news is not None:
                self.news.worker_lost(number, span.start if len(span) == 1 else None, None, False)
            return self._handle(Lost(number, shared=loss == "shared"))
        if isinstance(exc, TransferError) and exc.what == "func":
            raise exc
        if len(span) > 1:
            return self._handle(Done(number, 0.0, apart=True))
        self._check_func()
        error = TransferError("item or result", span.start, f"{kind_of(exc)}: {text_of(exc)}")
        error.__cause__ = exc
        return self._handle(self._failed(number, span.start, error))

    def _check_func(self) -> None:
        """Raise if it is the function that cannot be sent: an executor says only that something cannot."""
        try:
            self._parcels.func()
        except TransferError:
            raise
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            raise TransferError("func", None, f"{kind_of(self._parcels.held)} ({text_of(exc)})") from exc

    def _failed(self, number: int, index: int, error: AmorsizeError) -> Done:
        failure = failure_here(index, error)
        final = [index] if isinstance(error, WorkerLostError) else self._final([failure])
        return Done(number, 0.0, self.outcome.take_errors([failure]), 1, final=final)

    def _save_all(self) -> None:
        """Keep what has ended before the engine died, for the checkpoint."""
        while True:
            try:
                mail = self._mail.get_nowait()
            except Empty:
                return
            flight = None if mail is None or type(mail) is tuple else self._flights.pop(mail, None)
            if flight is None:
                continue
            try:
                answer = self.engine.result(mail)
                if answer[0] == "done":
                    self._event(flight.number, flight.span, answer)
            except Exception:  # noqa: BLE001  (lost with the engine)
                continue

    def failure(self, index: int, why: Why) -> Failure:
        if why == "late":
            assert self.schedule.timeout_s is not None
            return failure_here(index, ItemTimeoutError(index, self.schedule.timeout_s))
        if why == "lost":
            return failure_here(index, WorkerLostError(index, engine=self._why_lost.pop(index, "")))
        return super().failure(index, why)

    # -- what the forecast rests on ------------------------------------------------------------------------------

    def _foresee(self) -> None:
        """Note what a forecast of the map rests on, once each place has answered and some of the items are done."""
        left, in_flight, done = self.schedule.counts()
        if self.evidence is not None or left is None or self._chunks < 2 * self.places:
            return
        if done < SAMPLED * (left + in_flight + done):
            return
        self.sample = sample = self.seen()
        self.evidence = {
            "elapsed_s": time.perf_counter() - self._began,
            "left": left + in_flight,
            "places": self.places if self._who is None else len(self._who),
            "item_s": sample.item_s,
            "item_std_s": sample.item_std_s,
            "seen": sample.n_sampled,
            "per_task_s": self.schedule.per_chunk_s,
            "round_trip_s": self.schedule.round_trip_s,
            "item_bytes": sample.arg_bytes + sample.result_bytes,
        }

    def seen(self) -> Sample:
        """Return the mean and the spread of the items seen. The mean of ``n`` items spreads less by sqrt(n)."""
        seen = [(n, wall_s) for n, wall_s in self._seen if n]
        items = sum(n for n, _ in seen)
        if not items:
            return Sample(n_sampled=0, item_s=0.0)
        # The first task at each place pays for the function's first call there.
        later = seen[self.places :] or seen
        mean_s = sum(wall_s for _, wall_s in later) / sum(n for n, _ in later)
        spread = sum(n * (wall_s / n - mean_s) ** 2 for n, wall_s in later) / max(1, len(later) - 1)
        return Sample(
            n_sampled=items,
            item_s=mean_s,
            item_std_s=sqrt(spread),
            item_max_s=max(wall_s / n for n, wall_s in seen),
            item_cpu_s=self._work_cpu_s / max(1, self._items),
            error_s=sqrt(spread / items),
            arg_bytes=self._moved[0] / items,
            result_bytes=self._moved[1] / items,
        )


def failure_of(error: tuple[Any, ...]) -> Failure:
    """Return the failure of an item from its part of an answer."""
    index, pickled, type_name, class_names, text, trace, untransferred = error
    if untransferred is not None:
        return failure_here(index, TransferError("result", index, untransferred))
    held = ItemError.__new__(ItemError)
    state = {
        "index": index,
        "pickled": pickled,
        "type_name": type_name,
        "class_names": class_names,
        "text": text,
        "trace": trace,
    }
    held.__setstate__(tuple(state[name] for name in ItemError.__slots__))
    return failure_from(held)


def blame(exc: BaseException, span: Span) -> None:
    """Add a note to an exception that the user's executor raised."""
    note(exc, f"amorsize: while items {span.start} to {span.stop - 1} were under way; the executor is yours to mend")
