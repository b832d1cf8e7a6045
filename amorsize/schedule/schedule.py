"""Assign items to workers in a pure state machine: events in, instructions out.

The time comes with the event; nothing here reads a clock, a pipe or a random number. The drivers of processes, threads
and executors, the simulation and the tests in virtual time all use this one class.

Every item is always in exactly one place: **queued** (in ``segments`` never sent, in ``again`` or ``quiet`` to be
repeated, or **set aside** until it may be), **in flight** at a worker, or **done**. `Schedule.counts` says so.

What happens to an item that raised, ran too long or lost its worker is decided in `amorsize.schedule.failures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amorsize.facts import RATE_WEIGHT
from amorsize.schedule.backlog import Backlog, Group
from amorsize.schedule.chunk_size import PER_CHUNK_S, depth, next_chunk
from amorsize.schedule.failures import Repeats, after_loss, at_fault
from amorsize.schedule.messages import (
    CALLER,
    Closed,
    Done,
    Event,
    Fail,
    Finish,
    GiveUp,
    Instruction,
    ItemsAdded,
    ItemsDropped,
    Kill,
    Lost,
    Ready,
    Recycle,
    Resize,
    ResultsTaken,
    Running,
    ShortSend,
    SourceEnded,
    Span,
    Tick,
    Why,
)
from amorsize.schedule.rate_limit import Pace
from amorsize.schedule.worker_count import WorkerCount
from amorsize.schedule.worker_set import Worker, WorkerSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.schedule.task_count import Concurrency

# guess
MAX_RESTARTS: Final = 3
"""Workers in a row that may be lost while they run no item, before the schedule stops starting new ones."""

# guess
CALLER_SPAN_S: Final = 1e-3
"""Seconds of work in a span that the caller takes while workers start; it must end soon after one is ready."""

# guess
IDLE_LOOK_S: Final = 10e-3
"""Interval of the checks for a worker with room, while more items may begin than the workers can take."""

# guess
ASK_AGAIN_S: Final = 1.0
"""Time for which an open schedule keeps fewer workers after one could not start, before it tries to have all."""

START_S: Final = 0.2e-3
"""Seconds to start one more thread. Beside many others, one takes 0.1-0.2 ms."""

# guess
READ_AHEAD_DEPTH: Final = 3
"""Chunks in flight per worker when results are read one by one: they last while the reader handles one result."""


class Schedule:
    """Hand out the items of one map.

    Parameters
    ----------
    segments : iterable of (int, int or None)
        Ranges of items still to run, in order; the last may be open (None) when the source's length is unknown.
    workers : int
        Number of workers to start.
    item_s : float
        Expected seconds per item; 0 if unknown.
    evidence : int
        Number of items from which ``item_s`` was measured.
    retries : int or Repeats
        Number of times that an item that raised, or ran too long, is repeated; or the whole rule, with the failures so
        far and the items that are set aside.
    per_chunk_s : float
        The caller's cost per chunk, in seconds.
    round_trip_s : float
        Seconds from sending a chunk to its answer, beside its work; 0 if that is no more than the cost per chunk.
    caller_helps : bool
        True if the caller takes small spans while no worker is ready (see `CALLER_SPAN_S`).
    patience_s : float, optional
        Seconds without a ready worker after which the caller takes items after all, if it did not help at once.
    first : int, optional
        Number of workers to start at once; the others follow when one of these is ready, if what is left takes
        longer than that did.
    fixed : int, optional
        Items per chunk, if the schedule must not choose them.
    timeout_s : float, optional
        Seconds that an item may run.
    pace : Pace, optional
        Limit on the rate at which items begin.
    window : int, optional
        Largest number of items in flight or waiting for `ResultsTaken`; None: no limit.
    ahead : int
        Items that count for the window already.
    worker_count : WorkerCount, optional
        Judges whether there are too many workers or too few; without it their number stays.
    climb : Concurrency, optional
        Sets how many of the workers may run at a time; the others rest. More workers are started if it allows more.
    prefetch : bool
        True if a worker is sent its next span while it runs a short one; else it gets one at a time.
    is_open : bool
        True if more items may come (`ItemsAdded`) until the schedule is `Closed`. Workers are then started as needed,
        and wait when there is nothing to do. Groups of items are removed when they are done.
    """

    def __init__(
        self,
        segments: Iterable[tuple[int, int | None]],
        workers: int,
        *,
        item_s: float = 0.0,
        evidence: int = 1,
        retries: int | Repeats = 0,
        per_chunk_s: float = PER_CHUNK_S,
        round_trip_s: float = 0.0,
        caller_helps: bool = False,
        patience_s: float | None = None,
        first: int | None = None,
        fixed: int | None = None,
        timeout_s: float | None = None,
        pace: Pace | None = None,
        window: int | None = None,
        ahead: int = 0,
        worker_count: WorkerCount | None = None,
        climb: Concurrency | None = None,
        prefetch: bool = True,
        is_open: bool = False,
    ) -> None:
        self.repeats = Repeats.of(retries)
        self.backlog = Backlog(Group(item_s, max(1, evidence), fixed), forgets=is_open, aside=self.repeats.aside)
        self.wanted = self.asked = workers
        # Number of workers that memory has room for, from the latest `Resize`.
        self.ceiling: int | None = None
        self.per_chunk_s = per_chunk_s
        self.round_trip_s = round_trip_s
        self.caller_helps = caller_helps
        self.patience_s = patience_s
        self.first = self.wanted if first is None else max(1, min(first, workers))
        self.timeout_s = timeout_s
        self.pace = pace
        self.window = window
        self.worker_count = worker_count
        self.climb = climb
        # The limit at the event before.
        self._limit = 0
        # Of the spans in flight at the workers that may run: the ticket by worker.
        self._tickets: dict[int, int] = {}
        self.prefetch = prefetch and climb is None
        self.is_open = is_open
        # True if the items come from many calls of all kinds; stays True after `Closed`.
        self.serves = is_open
        self.workers = WorkerSet()
        # Of items that are not done: workers that they have cost.
        self.losses: dict[int, int] = {}
        # Items handed out whose results have not been taken; counted only with a window.
        self.ahead = ahead
        # Workers lost in a row while they ran no item.
        self.restarts = 0
        # The backend is unprofitable: wait for what is in flight, then give up.
        self.retreats = False
        # The source has no items at the moment.
        self.dry = False
        self.abandoned = False
        self.finished = False
        self.now_s = self.began_s = 0.0
        # A worker had room when the pace allowed no further item.
        self._held_back = False
        # Time at which a worker last could not start.
        self._refused_s = 0.0
        # Number of workers to start when there are items for them.
        self._lacking = 0
        for start, stop in segments:
            self.backlog.append(start, stop)

    # -- the machine ---------------------------------------------------------------------------------------------

    def begin(self, now_s: float = 0.0, *, eager: bool = False) -> list[Instruction]:
        """Return the first instructions: start the workers; the caller may take a span at once.

        ``eager``: start all workers now, even if the schedule is open; else an open one starts them as needed.
        """
        self.now_s = self.began_s = now_s
        out: list[Instruction] = [self.workers.start() for _ in range(self.first)] if eager or not self.is_open else []
        if self.caller_helps:
            self.workers[CALLER] = Worker(ready=True)
        self._take_due()
        return out + self._assign(list(self.workers))

    def handle(self, event: Event, now_s: float = 0.0) -> list[Instruction]:
        """Take in one event, at ``now_s`` on any steady clock. Return the instructions that follow."""
        self.now_s = max(now_s, self.now_s)
        out: list[Instruction] = []
        # Look only at the worker that has room now, unless items have come back. The cost of an event is then
        # independent of the number of workers (at 64 threads a look at each took half of the run).
        hungry: list[int] | None = None
        match event:
            case Ready(worker):
                self.workers.set_ready(worker)
                self.workers.dismiss_caller()
                hungry = [worker]
                self._new_period()
                self.patience_s = None
                if self.first < self.wanted and not self.is_open:
                    out = self._follow()
            case Done():
                flying = self.workers[event.worker].flying
                blocked = bool(self.backlog.again or self.backlog.quiet) or (bool(flying) and flying[0].quiet)
                out = self._on_done(event)
                hungry = None if blocked or self.backlog.again else [event.worker]
            case Lost():
                out = self._on_lost(event)
            case SourceEnded():
                self._on_ended(event)
            case ShortSend():
                self._on_short_send(event)
            case ItemsAdded(start, stop, lot, fixed):
                self.backlog.append(start, stop, lot, fixed)
            case ItemsDropped(lot_or_all):
                self.backlog.drop(lot_or_all)
            case Closed():
                self.is_open = False
            case ResultsTaken(items, window):
                self.ahead -= items
                self.window = self.window if window is None else max(1, window)
            case Resize(workers):
                self.ceiling = max(1, workers)
                self._want(self.ceiling)
            case Recycle(worker):
                if worker in self.workers:
                    self.workers.leaving.add(worker)
                    self._lacking += 1
            case Tick(running):
                self.dry = False
                out = self._on_tick(running)
                if self.patience_s is not None and self.now_s - self.began_s >= self.patience_s:
                    self.patience_s = None
                    self.workers[CALLER] = Worker(ready=True)
        if self.climb is not None and self._climbs(self.climb, event):
            hungry = None
        if self._take_due() or hungry is None:
            self._held_back, hungry = False, list(self.workers)
        out += self._assign(hungry)
        if self.backlog and not self.abandoned and not self.retreats:
            out += self._reinforce()
        return out

    def _climbs(self, climb: Concurrency, event: Event) -> bool:
        """Start workers if more may run. Return True if a worker that rests may run again."""
        if not isinstance(event, Done):
            for number in [n for n in self._tickets if n not in self.workers or not self.workers[n].flying]:
                climb.dropped(self._tickets.pop(number))
        # Time alone may raise the limit.
        climb.wait_s(self.now_s)
        rises, self._limit = climb.limit > self._limit, climb.limit
        most = climb.limit if self.ceiling is None else min(climb.limit, self.ceiling)
        if rises and most > self.wanted:
            saves_s = self.backlog.fresh * self._item_s() * (1 / max(1, self.wanted) - 1 / most)
            if self.backlog.is_endless or saves_s > START_S * (most - self.wanted):
                self._want(most)
        return rises

    def _take_due(self) -> bool:
        """Queue the items that are set aside no longer; return True if there are any."""
        due = self.repeats.take_due(self.now_s) if self.repeats.aside else []
        self.backlog.give_back(Span(index, index + 1, lot=lot) for index, lot in due)
        return bool(due)

    def _follow(self) -> list[Instruction]:
        """Start the workers that were held back until one was ready, if they still pay."""
        staying = len(self.workers.staying())
        left_s = self.backlog.fresh * self._item_s()
        self.first = self.wanted
        if left_s and left_s <= (self.now_s - self.began_s) * staying:
            self.wanted = self.first = max(1, staying)
        return [self.workers.start() for _ in range(self.wanted - staying)]

    def _item_s(self) -> float:
        """Return the expected seconds per item of those that come next."""
        return self.backlog.lots[self.backlog.segments[0][2]].item_s if self.backlog.segments else 0.0

    def _want(self, workers: int) -> None:
        self._lacking = max(0, workers - self.wanted)
        self.wanted = workers
        self._new_period()

    def _reinforce(self) -> list[Instruction]:
        """Start workers if there are too few for the items that are left."""
        alive = self.workers.n_alive()
        if not self.is_open and alive:
            return []
        if not self.is_open and self.wanted > 0:
            # All workers had left already when this item came back.
            return [self.workers.start()]
        if self.is_open and self.wanted < self.asked and self.now_s - self._refused_s > ASK_AGAIN_S:
            self.wanted = self.asked
        if self.wanted <= 0:
            self._abandon()
            return self._assign([])
        work = self.backlog.fresh + len(self.backlog.again) + len(self.backlog.quiet)
        too_few = self.wanted - alive + len(self.workers.leaving)
        return [self.workers.start() for _ in range(min(too_few, work - len(self.workers.starting)))]

    def _on_done(self, event: Done) -> list[Instruction]:
        span = self.workers.end_span(event.worker)
        if self.climb is not None and event.worker in self._tickets:
            self.climb.ended(self._tickets.pop(event.worker), self.now_s, well=not event.failed)
        self.restarts = 0
        ran = 0 if event.apart else len(span) if event.ran is None else event.ran
        if event.apart:
            self.backlog.give_back(span.part(i, i + 1) for i in range(span.start, span.stop))
        elif ran < len(span):
            self.backlog.give_back([span.part(span.start + ran, span.stop)])
        if ran:
            self._learn(span.lot, ran, event)
            self._forget(range(span.start, span.start + ran), event.failed)
        out: list[Instruction] = []
        for index in event.failed:
            ran -= 1
            out += self._failed(index, span.lot, is_covered=index not in event.final)
        self.backlog.count(span.lot, ran)
        if event.worker == CALLER:
            self.workers.dismiss_caller()
        return out

    def _failed(self, index: int, lot: int, why: Why = "raised", *, is_covered: bool = True) -> list[Instruction]:
        """Repeat an item that raised or ran too long, now or later, or report its final failure."""
        wait_s = self.repeats.failed(index, is_covered=is_covered)
        if wait_s is not None:
            if wait_s > 0.0:
                self.repeats.set_aside(index, self.now_s + wait_s, lot)
            else:
                self.backlog.give_back([Span(index, index + 1, lot=lot)])
            return []
        self.losses.pop(index, None)
        self.backlog.count(lot, 1)
        return [Fail(index, why, lot)]

    def _forget(self, done: range, failed: Sequence[int]) -> None:
        """Forget the earlier failures of items that have been run, but not of those that ``failed`` again."""
        for counts in (self.repeats.tries, self.losses):
            if counts:
                for index in (counts.keys() & done).difference(failed):
                    del counts[index]

    def _learn(self, number: int, items: int, event: Done) -> None:
        lot = self.backlog.lots.get(number)
        if lot is None:
            return
        rate = event.wall_s / items
        lot.item_s = rate if lot.item_s <= 0 else lot.item_s + RATE_WEIGHT * (rate - lot.item_s)
        lot.evidence = max(lot.evidence, items)
        if self.worker_count is None or event.worker == CALLER:
            return
        self.worker_count.saw(items, event.wall_s, event.wall_s if event.cpu_s is None else event.cpu_s)
        workers = self.workers.n_alive()
        if workers == self.wanted and not self.workers.starting and self.backlog.segments:
            advice = self.worker_count.advice(workers, self.now_s)
            if advice == 0:
                self.retreats = True
            elif advice is not None:
                self._want(advice if self.ceiling is None else min(advice, self.ceiling))

    def _new_period(self) -> None:
        if self.worker_count is not None:
            self.worker_count.begin(self.now_s)

    def _on_lost(self, event: Lost) -> list[Instruction]:
        worker = self.workers.remove(event.worker)
        if worker is None:
            return []
        out: list[Instruction] = []
        spans = list(worker.flying)
        if spans and worker.ready and not event.idle:
            out = self._blame(spans.pop(0), event)
        elif spans or not worker.ready or (self.backlog and not self.is_open):
            self.restarts += 1
            # A worker that cannot even start is not replaced.
            if not worker.ready:
                self.wanted = max(self.wanted - 1, int(self.serves))
                self._refused_s = self.now_s
                if self.climb is not None:
                    self.ceiling = max(1, self.wanted)
        self.backlog.give_back(spans)
        if self.wanted <= 0 or self.restarts > MAX_RESTARTS:
            self._abandon()
        elif self._may_replace():
            out.append(self.workers.start())
        self._new_period()
        return out

    def _may_replace(self) -> bool:
        too_few = self.workers.n_alive() < self.wanted
        return too_few and bool(self.backlog) and not self.is_open and not self.retreats

    def _abandon(self) -> None:
        """Give up if no worker is alive. The caller's spans go back, since it will run all that is left, once."""
        if self.workers.n_alive() or not (self.is_open or self.backlog or self.workers.in_flight):
            return
        self.abandoned = True
        caller = self.workers.remove(CALLER)
        if caller is not None:
            self.backlog.give_back(caller.flying)

    def _blame(self, span: Span, event: Lost) -> list[Instruction]:
        """Repeat alone the item at which a worker was lost in this span, or report its final failure."""
        item = at_fault(span, event.item)
        if item is None:
            self.backlog.repeat_alone(span.start, span.stop, span.lot, event.oom or event.shared)
            return []
        # The results that the worker already had of this span are lost with it.
        self.backlog.give_back_but(span, item)
        losses = self.losses.pop(item, 0) + (not event.shed)
        if not after_loss(losses):
            self.repeats.tries.pop(item, None)
            self.backlog.count(span.lot, 1)
            return [Fail(item, "lost", span.lot)]
        if losses:
            self.losses[item] = losses
        self.backlog.repeat_alone(item, item + 1, span.lot, event.oom or event.shared)
        return []

    def _on_tick(self, running: Sequence[Running]) -> list[Instruction]:
        """End the workers whose item has run too long."""
        out: list[Instruction] = []
        for one in running:
            worker = self.workers.get(one.worker)
            if self.timeout_s is None or worker is None or not worker.flying or one.for_s <= self.timeout_s:
                continue
            span = worker.flying[0]
            item = at_fault(span, one.item)
            if item is None and one.start != span.start:
                continue
            self.workers.remove(one.worker)
            worker.flying.popleft()
            out.append(Kill(one.worker))
            if item is None:
                # Each is sent apart from the others, which tells whose fault it is.
                self.backlog.give_back(span.part(i, i + 1) for i in range(span.start, span.stop))
            else:
                self.backlog.give_back_but(span, item)
                out += self._failed(item, span.lot, "late")
            self.backlog.give_back(worker.flying)
            if self._may_replace():
                out.append(self.workers.start())
        return out

    def _on_ended(self, event: SourceEnded) -> None:
        self.backlog.end_at(event.length)
        cut_off = 0 if event.answered else self.workers.end_at(event.length)
        if self.window is not None:
            self.ahead -= cut_off

    def _on_short_send(self, event: ShortSend) -> None:
        """Take back the part of a span that could not be sent; it goes out after the next `Tick`."""
        unread = self.workers.cut_span(event.worker, event.start, event.stop)
        if unread.alone or unread.quiet:
            self.backlog.give_back([unread])
        else:
            fresh = self.backlog.give_back_unread(unread)
            self.ahead -= fresh if self.window is not None else 0
        self.dry = True
        self._starve()

    # -- handing out ---------------------------------------------------------------------------------------------

    def _assign(self, hungry: list[int]) -> list[Instruction]:
        """Hand out the remaining items to these workers; retire them when nothing is left."""
        out: list[Instruction] = []
        workers = self.workers
        if self.retreats and not workers.in_flight and not self.abandoned and not self.finished:
            out += workers.retire(workers.alive())
            if self.backlog:
                self.abandoned = self.finished = True
                return [*out, GiveUp(slow=True)]
            self.finished = True
            return [*out, Finish()]
        if self.abandoned:
            first, self.finished = not self.finished, True
            return [GiveUp()] if first else []
        if self._lacking or workers.leaving or workers.n_alive() > self.wanted:
            out += self._fit()
        progress = not self.retreats
        # Breadth first: no worker gets a second chunk before each has one.
        while progress and self.backlog:
            progress = False
            for number in hungry:
                worker = workers.get(number)
                span = None if worker is None or number in workers.leaving else self._pick(number, worker)
                if span is not None:
                    out.append(workers.send(number, span))
                    if self.climb is not None and number != CALLER:
                        self._tickets[number] = self.climb.began(self.now_s, len(span))
                    progress = True
        if not self.backlog and not self.is_open:
            # Workers that got nothing at an earlier event are still here, so look at all when the last span is sent.
            out += workers.retire(workers.idle(list(workers) if out else hungry))
            if not workers.in_flight and not self.finished:
                self.finished = True
                out.append(Finish())
        return out

    def _fit(self) -> list[Instruction]:
        """Retire workers that are too many or to be recycled; start some if there are too few."""
        workers = self.workers
        workers.leaving.update(n for n in workers.staying()[max(0, self.wanted) :] if workers[n].ready)
        out: list[Instruction] = [*workers.retire(workers.idle(list(workers.leaving)))]
        if not self.is_open and self.backlog and not self.retreats:
            too_few = self.wanted - len(workers.staying())
            out += [workers.start() for _ in range(min(self._lacking, too_few))]
        self._lacking = 0
        return out

    def _pick(self, number: int, worker: Worker) -> Span | None:
        """Take the next span for a worker out of the backlog; None: it gets nothing now."""
        # A span that must be alone at its worker is the only one there, so a look at the first is enough.
        if not worker.ready or self.dry or (worker.flying and worker.flying[0].alone):
            return None
        if number == CALLER:
            return None if worker.flying or self.workers.any_ready() else self._cut(self._caller_size())
        if self.backlog.quiet or self.workers.is_quiet():
            return self.backlog.quiet.popleft() if self.backlog.quiet and not self.workers.in_flight else None
        if self.climb is not None and (worker.flying or self.climb.wait_s(self.now_s) != 0.0):
            return None
        allowed = self._allowed()
        if allowed < 1:
            return None
        if self.backlog.again:
            return self._sent(self.backlog.take_again(allowed)) if self._may_follow(worker) else None
        if not self.backlog.segments:
            self._starve()
            return None
        number_of_lot = self.backlog.segments[0][2]
        if self.serves and worker.flying and worker.flying[-1].lot != number_of_lot:
            # The call in flight may take long, and may even wait for this one.
            return None
        lot = self.backlog.lots[number_of_lot]
        size = lot.fixed or next_chunk(
            self.backlog.fresh_of(lot),
            max(1, self.wanted),
            lot.item_s,
            lot.evidence,
            self.per_chunk_s,
            self.round_trip_s,
        )
        if self.window is not None:
            size = min(size, max(1, self.window // (2 * max(1, self.wanted))), self.window - self.ahead)
        if size < 1:
            self._starve()
            return None
        if len(worker.flying) >= self._depth(lot, size):
            return None
        return self._cut(min(size, allowed))

    def _may_follow(self, worker: Worker) -> bool:
        """Return True if a worker may be sent the next span that came back, behind those in flight at it."""
        span = self.backlog.again[0]
        if not worker.flying:
            return True
        # Else workers that always have a next chunk in flight would never get to it.
        return not span.alone and not self.serves and len(worker.flying) < self._depth(self.backlog.lots[0], len(span))

    def _depth(self, lot: Group, size: int) -> int:
        if not self.prefetch or (self.serves and lot.fixed == 1):
            # Calls that may wait for each other must not queue behind each other.
            return 1
        if self.window is not None:
            return READ_AHEAD_DEPTH
        return depth(size * lot.item_s if lot.item_s > 0 else 1.0)

    def _allowed(self) -> int:
        """Return the number of items that may begin now."""
        if self.pace is None:
            return 1 << 62
        allowed = self.pace.allowed(self.now_s)
        if allowed < 1:
            self._held_back = True
            self._starve()
        return allowed

    def _starve(self) -> None:
        """Tell the worker count that workers are idle because no item may be sent yet."""
        if self.worker_count is not None:
            self.worker_count.starved = True

    def _caller_size(self) -> int:
        if not self.backlog.segments:
            return 0
        lot = self.backlog.lots[self.backlog.segments[0][2]]
        size = 1 if lot.item_s <= 0 else max(1, min(int(CALLER_SPAN_S / lot.item_s), 2 * lot.evidence))
        if self.window is not None:
            size = min(size, self.window - self.ahead)
        return min(size, self._allowed())

    def _cut(self, size: int) -> Span | None:
        return self._sent(self.backlog.cut(size), fresh=True) if self.backlog.segments and size > 0 else None

    def _sent(self, span: Span, *, fresh: bool = False) -> Span:
        if fresh and self.window is not None:
            self.ahead += len(span)
        if self.pace is not None:
            self.pace.spend(len(span), self.now_s)
        return span

    # -- queries -------------------------------------------------------------------------------------------------

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until the schedule needs a `Tick` if no other event comes; None: never."""
        if self.dry:
            return 0.0
        wait_s, repeat_s = self._wait_s(now_s), self.repeats.wait_s(now_s)
        if wait_s is None or repeat_s is None:
            return repeat_s if wait_s is None else wait_s
        return min(wait_s, repeat_s)

    def _wait_s(self, now_s: float) -> float | None:
        """Return the same, as far as no item is set aside."""
        if self.patience_s is not None:
            return max(0.0, self.began_s + self.patience_s - now_s)
        if self.climb is not None and self.backlog.is_due and (due_s := self.climb.due_s(now_s)) is not None:
            return due_s
        if self.pace is None or not self.backlog.is_due:
            return None
        wait_s = self.pace.wait_s(now_s)
        # Items may begin, but every worker has enough, so do not ask again at once.
        return wait_s if self._held_back else max(wait_s, IDLE_LOOK_S)

    def per_item_s(self, most: int | None = None) -> float | None:
        """Return the expected seconds until one more item is done, with the workers that are busy now; None: unknown.

        ``most``: the number of workers that really run at a time, if others only hold items that wait.
        """
        item_s = self.backlog.lots[0].item_s
        busy = sum(bool(worker.flying) for worker in self.workers.values())
        if item_s <= 0 or not busy:
            return None
        return max(item_s / min(busy, most or busy), 1 / self.pace.rate if self.pace is not None else 0.0)

    def oldest(self, worker: int) -> Span:
        """Return the span that this worker is running."""
        return self.workers[worker].flying[0]

    def awaits(self, worker: int, start: int, stop: int) -> bool:
        """Return True if the next answer of this worker is to be that to exactly this span."""
        state = self.workers.get(worker)
        if state is None or not state.flying:
            return False
        return (state.flying[0].start, state.flying[0].stop) == (start, stop)

    def left_over(self) -> list[tuple[int, int | None]]:
        """Return the ranges neither done nor in flight, in order; a caller that takes over must run them.

        It must also run the items that are set aside, when they are due (`repeats`).
        """
        return self.backlog.left_over()

    def counts(self) -> tuple[int | None, int, int]:
        """Return the items queued (None: unknown), in flight, and done; their sum is the number of items accepted."""
        return self.backlog.queued(), self.workers.items_in_flight(), self.backlog.done
