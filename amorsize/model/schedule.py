"""Who runs what, decided by a pure state machine: events in, instructions out.

The time is a field of the event, if it matters; nothing here reads a clock, a pipe or chance. The driver of real
workers, the driver of threads and the tests in virtual time all drive this very class.

Every item is always in exactly one place: **queued** (in ``segments`` never sent, or in ``again`` to be repeated),
**in flight** at a worker, or **done**. `Schedule.check` says so.

An item whose worker died is repeated once more, alone in its worker; if it dies there too, the item has failed. When
nobody can tell which item it was, each of the span is repeated alone, and none has been blamed yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from amorsize.model.chunks import depth, next_chunk

CALLER: Final = -1
"""The caller's own number among the workers: it takes small spans while no other is ready."""

MAX_RESTARTS: Final = 3
"""Workers in a row that may die while they are at no item, before the schedule stops starting new ones."""

CALLER_SPAN_S: Final = 1e-3
"""What the caller takes at a time while workers start: it must be back soon after the first of them is ready."""

RATE_WEIGHT: Final = 0.3
"""Weight of the newest chunk in the running mean of seconds per item (exponential weights)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Items ``start`` to ``stop`` (exclusive); ``alone``: nothing else may be in flight at its worker."""

    start: int
    stop: int
    alone: bool = False

    def __len__(self) -> int:
        return self.stop - self.start


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker can take items."""

    worker: int


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has ended its oldest span in ``wall_s`` seconds; the items ``failed`` raised.

    ``ran`` counts the items that were run, if the worker stopped early. ``apart``: the span got lost on its way there
    or back, by the fault of one item that nobody can name; each is to be tried apart from the others.
    """

    worker: int
    wall_s: float
    failed: tuple[int, ...] = ()
    ran: int | None = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone.

    ``item``: what it was running; None: before its first item, or nobody knows. ``idle``: it was at no span, so that
    those on their way to it are not to blame.
    """

    worker: int
    item: int | None = None
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The source of items turned out to hold ``length`` items in all."""

    length: int


Event = Ready | Done | Lost | Ended

# --- instructions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Give this span to this worker."""

    worker: int
    span: Span


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker under this number."""

    worker: int


@dataclass(frozen=True, slots=True)
class Retire:
    """This worker has nothing more to do: let it leave."""

    worker: int


@dataclass(frozen=True, slots=True)
class Fail:
    """This item has failed for good: it raised (``lost`` False), or its worker died at it (True)."""

    index: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Every item is done."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Workers cannot be kept alive here: the caller must run what is left, or give up."""


Instruction = Send | Start | Retire | Fail | Finish | Abandon


@dataclass(slots=True)
class _Worker:
    """What the schedule knows of one worker."""

    flying: deque[Span] = field(default_factory=deque)
    ready: bool = False
    ended: int = 0  # spans


class Schedule:
    """Hands out the items of one map.

    Parameters
    ----------
    segments : iterable of (int, int or None)
        Ranges of items still to run, in order; the last may be open (None) when the source's length is unknown.
    workers : int
        How many workers to start.
    item_s : float
        Expected seconds per item; 0 when nothing is known.
    evidence : int
        Items that the expectation rests on.
    retries : int
        How often an item that raised is repeated.
    per_chunk_s : float
        The dispatcher's cost per chunk, in seconds.
    caller_helps : bool
        Whether the caller takes small spans while no worker is ready (see `CALLER_SPAN_S`).
    fixed : int, optional
        Items per chunk when they must not be chosen here.
    """

    def __init__(
        self,
        segments: Iterable[tuple[int, int | None]],
        workers: int,
        *,
        item_s: float = 0.0,
        evidence: int = 1,
        retries: int = 0,
        per_chunk_s: float = 50e-6,
        caller_helps: bool = False,
        fixed: int | None = None,
    ) -> None:
        self.segments: deque[tuple[int, int | None]] = deque(s for s in segments if s[1] is None or s[0] < s[1])
        self.again: deque[Span] = deque()
        self.wanted = workers
        self.item_s = item_s
        self.evidence = max(1, evidence)
        self.retries = retries
        self.per_chunk_s = per_chunk_s
        self.caller_helps = caller_helps
        self.fixed = fixed
        self.workers: dict[int, _Worker] = {}
        self.tries: dict[int, int] = {}
        self.deaths: dict[int, int] = {}
        self.done = 0
        self.in_flight = 0  # spans
        self.restarts = 0
        self.abandoned = False
        self.finished = False
        self._next_worker = 0

    # -- the machine ---------------------------------------------------------------------------------------------

    def begin(self) -> list[Instruction]:
        """First instructions: start the workers; the caller may take a span at once."""
        out: list[Instruction] = [self._start() for _ in range(self.wanted)]
        if self.caller_helps:
            self.workers[CALLER] = _Worker(ready=True)
        return out + self._assign(list(self.workers))

    def handle(self, event: Event) -> list[Instruction]:
        """Take in one event and say what to do about it."""
        out: list[Instruction] = []
        # Only who has room now can take more, unless items have come back: that keeps an event's cost independent of
        # the number of workers (at 64 threads a look at each took half of the run).
        hungry: list[int] | None = None
        match event:
            case Ready(worker):
                if worker in self.workers:
                    self.workers[worker].ready = True
                self._dismiss_caller()
                hungry = [worker]
            case Done():
                queued = len(self.again)
                out = self._on_done(event)
                hungry = [event.worker] if len(self.again) == queued else None
            case Lost():
                out = self._on_lost(event)
            case Ended(length):
                self._on_ended(length)
        out += self._assign(list(self.workers) if hungry is None else hungry)
        if self._left() and not self.abandoned and len(self.workers) == (CALLER in self.workers):
            out.append(self._start())  # all had left already when this item came back
        return out

    def _start(self) -> Start:
        number = self._next_worker
        self._next_worker += 1
        self.workers[number] = _Worker()
        return Start(number)

    def _on_done(self, event: Done) -> list[Instruction]:
        worker = self.workers[event.worker]
        span = worker.flying.popleft()
        self.in_flight -= 1
        worker.ended += 1
        self.restarts = 0
        ran = 0 if event.apart else len(span) if event.ran is None else event.ran
        if event.apart:
            self.again.extend(Span(i, i + 1, span.alone) for i in range(span.start, span.stop))
        elif ran < len(span):
            self.again.append(Span(span.start + ran, span.stop, span.alone))
        if ran:
            self._learn(ran, event.wall_s)
        self.done += ran
        out: list[Instruction] = []
        for index in event.failed:
            self.tries[index] = tries = self.tries.get(index, 0) + 1
            if tries <= self.retries:
                self.done -= 1
                self.again.append(Span(index, index + 1))
            else:
                out.append(Fail(index))
        if event.worker == CALLER:
            self._dismiss_caller()
        return out

    def _learn(self, items: int, wall_s: float) -> None:
        rate = wall_s / items
        self.item_s = rate if self.item_s <= 0 else self.item_s + RATE_WEIGHT * (rate - self.item_s)
        self.evidence = max(self.evidence, items)

    def _on_lost(self, event: Lost) -> list[Instruction]:
        worker = self.workers.pop(event.worker, None)
        if worker is None:
            return []
        out: list[Instruction] = []
        spans = list(worker.flying)
        self.in_flight -= len(spans)
        if spans and worker.ready and not event.idle:
            out = self._blame(spans.pop(0), event.item)
        else:
            self.restarts += 1
            self.wanted -= not worker.ready  # fewer workers: one that cannot even begin is not replaced
        self.again.extend(spans)
        if self.wanted <= 0 or self.restarts > MAX_RESTARTS:
            self._abandon()
        elif self._left() and len(self._alive()) < self.wanted:
            out.append(self._start())
        return out

    def _abandon(self) -> None:
        """Give up if nobody is alive. What the caller was at goes back: it will run everything, and each item once."""
        caller = self.workers.get(CALLER)
        if self._alive() or not (self._left() or (caller is not None and caller.flying)):
            return
        self.abandoned = True
        if caller is not None:
            self.in_flight -= len(caller.flying)
            self.again.extend(caller.flying)
            caller.flying.clear()

    def _blame(self, span: Span, item: int | None) -> list[Instruction]:
        """The worker died in this span: its running item is repeated alone, or has now failed for good."""
        if item is None and len(span) == 1:
            item = span.start
        if item is None or not span.start <= item < span.stop:
            self.again.extend(Span(i, i + 1, alone=True) for i in range(span.start, span.stop))
            return []
        # What the worker had already run of this span died with it.
        self.again.extend(
            s for s in (Span(span.start, item, span.alone), Span(item + 1, span.stop, span.alone)) if len(s) > 0
        )
        self.deaths[item] = self.deaths.get(item, 0) + 1
        if self.deaths[item] > 1:
            self.done += 1
            return [Fail(item, lost=True)]
        self.again.append(Span(item, item + 1, alone=True))
        return []

    def _on_ended(self, length: int) -> None:
        self.segments = deque(
            (a, b if b is not None and b <= length else length) for a, b in self.segments if a < length
        )
        for worker in self.workers.values():
            kept = (Span(s.start, min(s.stop, length), s.alone) for s in worker.flying if s.start < length)
            before, worker.flying = len(worker.flying), deque(kept)
            self.in_flight += len(worker.flying) - before

    # -- handing out ---------------------------------------------------------------------------------------------

    def _assign(self, hungry: list[int]) -> list[Instruction]:
        """Hand out what is left to these workers; let them leave when nothing is left."""
        out: list[Instruction] = []
        if self.abandoned:
            first, self.finished = not self.finished, True
            return [Abandon()] if first else []
        progress = True
        while progress and self._left():  # breadth first: nobody gets a second chunk before each has one
            progress = False
            for number in hungry:
                worker = self.workers.get(number)
                span = None if worker is None else self._pick(number, worker)
                if worker is not None and span is not None:
                    worker.flying.append(span)
                    self.in_flight += 1
                    out.append(Send(number, span))
                    progress = True
        if not self._left():
            # Those that found nothing at an earlier event are still here: look at all when the last span has gone.
            out.extend(self._retire_idle(list(self.workers) if out else hungry))
            if not self.in_flight and not self.finished:
                self.finished = True
                out.append(Finish())
        return out

    def _pick(self, number: int, worker: _Worker) -> Span | None:
        if not worker.ready or any(s.alone for s in worker.flying):
            return None
        if number == CALLER:
            return None if worker.flying or self._others_ready() else self._cut(self._caller_size())
        if self.again:
            if self.again[0].alone and worker.flying:
                return None
            if not worker.flying:
                return self.again.popleft()
        if not self.segments:
            return None
        size = self.fixed or next_chunk(
            self.remaining, max(1, self.wanted), self.item_s, self.evidence, self.per_chunk_s
        )
        if len(worker.flying) >= depth(size * self.item_s if self.item_s > 0 else 1.0):
            return None
        return self._cut(size)

    def _caller_size(self) -> int:
        if self.item_s <= 0:
            return 1
        return max(1, min(int(CALLER_SPAN_S / self.item_s), 2 * self.evidence))

    def _cut(self, size: int) -> Span | None:
        if not self.segments:
            return None
        start, stop = self.segments[0]
        end = start + size if stop is None else min(start + size, stop)
        if stop is not None and end >= stop:
            self.segments.popleft()
        else:
            self.segments[0] = (end, stop)
        return Span(start, end)

    def _retire_idle(self, numbers: list[int]) -> list[Instruction]:
        """Nothing is left to hand out: those of these workers that are idle may leave."""
        idle = [n for n in numbers if n != CALLER and n in self.workers and not self.workers[n].flying]
        for number in idle:
            del self.workers[number]
        return [Retire(number) for number in idle]

    def _dismiss_caller(self) -> None:
        caller = self.workers.get(CALLER)
        if caller is not None and not caller.flying and self._others_ready():
            del self.workers[CALLER]

    # -- what the state says -------------------------------------------------------------------------------------

    @property
    def remaining(self) -> int | None:
        """Items never handed out so far; None when the source's end is unknown."""
        total = 0
        for start, stop in self.segments:
            if stop is None:
                return None
            total += stop - start
        return total

    def _left(self) -> bool:
        return bool(self.segments or self.again)

    def _alive(self) -> Sequence[int]:
        return [number for number in self.workers if number != CALLER]

    def _others_ready(self) -> bool:
        return any(worker.ready for number, worker in self.workers.items() if number != CALLER)

    def oldest(self, worker: int) -> Span:
        """What this worker is at."""
        return self.workers[worker].flying[0]

    def left_over(self) -> list[tuple[int, int | None]]:
        """Everything that is neither done nor in flight, in order: what a caller that takes over must run."""
        spans: list[tuple[int, int | None]] = [(s.start, s.stop) for s in self.again]
        return sorted([*spans, *self.segments], key=lambda s: s[0])

    def counts(self) -> tuple[int | None, int, int]:
        """Items queued (None: unknown), in flight, and done; their sum is the number of items taken on."""
        fresh = self.remaining
        queued = None if fresh is None else fresh + sum(len(s) for s in self.again)
        return queued, sum(len(s) for w in self.workers.values() for s in w.flying), self.done
