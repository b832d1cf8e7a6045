"""Keep the books on the workers of a schedule: starting, ready, leaving or gone, and the spans in flight at each.

A worker is *starting* until it is ready, then *idle* or *busy*. One that is *leaving* gets no further span, and is
retired when its last span is done. A worker that was retired, ended or lost is removed; its number is never used again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from amorsize.schedule.messages import CALLER, Retire, Send, Span, Start


class Worker:
    """State of one worker: its spans in flight, oldest first, and whether it can take items."""

    __slots__ = ("flying", "ready")

    def __init__(self, *, ready: bool = False) -> None:
        self.flying: deque[Span] = deque()
        self.ready = ready


class WorkerSet(dict[int, Worker]):
    """The workers of a schedule, by number. The caller is one of them, as `CALLER`, while it takes spans.

    Attributes
    ----------
    in_flight : int
        Number of spans in flight, at all workers.
    starting : set of int
        Workers that are not ready yet.
    leaving : set of int
        Workers that get no further span.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_flight = 0
        self.starting: set[int] = set()
        self.leaving: set[int] = set()
        self._next_number = 0

    # -- a worker comes and goes ---------------------------------------------------------------------------------

    def start(self) -> Start:
        """Add a worker. Return the instruction to start it."""
        number = self._next_number
        self._next_number += 1
        self[number] = Worker()
        self.starting.add(number)
        return Start(number)

    def set_ready(self, number: int) -> None:
        """Record that a worker can take items, if it has not been removed meanwhile."""
        if number in self:
            self[number].ready = True
            self.starting.discard(number)

    def remove(self, number: int) -> Worker | None:
        """Remove a worker with the spans in flight at it. Return its last state; None: it was removed before."""
        self.starting.discard(number)
        self.leaving.discard(number)
        worker = self.pop(number, None)
        if worker is not None:
            self.in_flight -= len(worker.flying)
        return worker

    def retire(self, numbers: Sequence[int]) -> list[Retire]:
        """Remove these idle workers. Return the instructions to retire them."""
        for number in numbers:
            self.remove(number)
        return [Retire(number) for number in numbers]

    def dismiss_caller(self) -> None:
        """Remove the caller if it is idle and another worker is ready."""
        caller = self.get(CALLER)
        if caller is not None and not caller.flying and self.any_ready():
            del self[CALLER]

    # -- spans in flight -----------------------------------------------------------------------------------------

    def send(self, number: int, span: Span) -> Send:
        """Put a span in flight. Return the instruction to send it."""
        self[number].flying.append(span)
        self.in_flight += 1
        return Send(number, span)

    def end_span(self, number: int) -> Span:
        """Remove and return the oldest span of a worker, because it has ended."""
        self.in_flight -= 1
        return self[number].flying.popleft()

    def cut_span(self, number: int, start: int, stop: int) -> Span:
        """Cut the span that begins at ``start`` down to ``stop``. Return the part cut off."""
        flying = self[number].flying
        place = next(i for i, span in enumerate(flying) if span.start == start)
        span = flying[place]
        flying[place] = span.part(start, stop)
        if stop == start:
            del flying[place]
            self.in_flight -= 1
        return span.part(stop, span.stop)

    def end_at(self, length: int) -> int:
        """Cut all spans at ``length``, the number of items that exist. Return the number of items cut off."""
        cut_off = 0
        for worker in self.values():
            kept = deque(span.part(span.start, min(span.stop, length)) for span in worker.flying if span.start < length)
            cut_off += sum(map(len, worker.flying)) - sum(map(len, kept))
            self.in_flight += len(kept) - len(worker.flying)
            worker.flying = kept
        return cut_off

    def is_quiet(self) -> bool:
        """Return True if the only span in flight is one that must be (``Span.quiet``)."""
        return self.in_flight == 1 and any(span.quiet for worker in self.values() for span in worker.flying)

    def items_in_flight(self) -> int:
        """Return the number of items in flight, at all workers."""
        return sum(len(span) for worker in self.values() for span in worker.flying)

    # -- choices of workers, the caller left out -----------------------------------------------------------------

    def n_alive(self) -> int:
        """Return the number of workers."""
        return len(self) - (CALLER in self)

    def alive(self) -> list[int]:
        """Return the workers, oldest first."""
        return [number for number in self if number != CALLER]

    def staying(self) -> list[int]:
        """Return the workers that are not leaving, oldest first."""
        return [number for number in self if number != CALLER and number not in self.leaving]

    def idle(self, numbers: Sequence[int]) -> list[int]:
        """Return those of these workers that have no span in flight."""
        return [number for number in numbers if number != CALLER and number in self and not self[number].flying]

    def any_ready(self) -> bool:
        """Return True if a worker is ready."""
        return any(worker.ready for number, worker in self.items() if number != CALLER)
