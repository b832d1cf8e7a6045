"""Hold the items still to be run: ranges never handed out, and spans that came back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sized

from amorsize.schedule.messages import Span


class Group:
    """Items that are assumed to be alike, and their measured cost."""

    __slots__ = ("evidence", "fixed", "fresh", "item_s", "left")

    def __init__(self, item_s: float = 0.0, evidence: int = 1, fixed: int | None = None) -> None:
        self.item_s = item_s
        self.evidence = evidence
        self.fixed = fixed
        # Items never handed out, as far as their number is known.
        self.fresh = 0
        # Items not done; used only if lots come and go.
        self.left = 0


class Backlog:
    """The items of a schedule that are neither in flight nor done, and their number.

    Parameters
    ----------
    lot : Group
        The lot with number 0.
    forgets : bool
        True if lots come and go; else there is only the first one.
    aside : list
        The items that are set aside (`amorsize.schedule.failures.Repeats`); kept there, and counted here.

    Attributes
    ----------
    segments : deque of (int, int or None, int)
        Ranges never handed out, in order, with the number of their lot; the last may be open (None).
    again, quiet : deque of Span
        Spans to be repeated; those in ``quiet`` while no other worker is busy.
    fresh : int
        Items never handed out, as far as their number is known.
    done : int
        Items that have been run, or have failed for good.
    """

    def __init__(self, lot: Group, *, forgets: bool, aside: Sized = ()) -> None:
        self.segments: deque[tuple[int, int | None, int]] = deque()
        self.lots: dict[int, Group] = {0: lot}
        self.again: deque[Span] = deque()
        self.quiet: deque[Span] = deque()
        self.fresh = 0
        self.done = 0
        self.aside = aside
        self._forgets = forgets

    def __bool__(self) -> bool:
        """Return True if anything is left to hand out, now or later."""
        return bool(self.segments or self.again or self.quiet or self.aside)

    @property
    def is_due(self) -> bool:
        """True if anything is left to hand out now."""
        return bool(self.segments or self.again or self.quiet)

    # -- in ------------------------------------------------------------------------------------------------------

    def append(self, start: int, stop: int | None, number: int = 0, fixed: int | None = None) -> None:
        """Add items of a lot; ``fixed``: items per chunk, if given."""
        lot = self.lots.setdefault(number, Group())
        lot.fixed = lot.fixed if fixed is None else fixed
        if stop is not None and stop <= start:
            return
        if stop is not None:
            lot.fresh += stop - start
            lot.left += stop - start
            self.fresh += stop - start
        if self.segments and self.segments[-1][1:] == (start, number):
            start = self.segments.pop()[0]
        self.segments.append((start, stop, number))

    def give_back(self, spans: Iterable[Span]) -> None:
        """Queue these spans to be sent again."""
        for span in spans:
            (self.quiet if span.quiet else self.again).append(span)

    def give_back_unread(self, span: Span) -> int:
        """Queue a span that the source has no items for yet, in its place; return the items that count as fresh again.

        The items are read in order, so the first must be the next to be sent.
        """
        self.again = deque(sorted([*self.again, span], key=lambda one: one.start))
        fresh = 0
        while self.again and self.segments:
            last, (start, stop, lot) = self.again[-1], self.segments[0]
            if last.alone or last.quiet or (last.stop, last.lot) != (start, lot):
                break
            self.segments[0] = (self.again.pop().start, stop, lot)
            fresh += len(last)
            if stop is not None:
                self.lots[lot].fresh += len(last)
                self.fresh += len(last)
        return fresh

    def give_back_but(self, span: Span, item: int) -> None:
        """Queue all items of a span but one to be sent again."""
        for start, stop in ((span.start, item), (item + 1, span.stop)):
            if start < stop:
                self.give_back([span.part(start, stop)])

    def repeat_alone(self, start: int, stop: int, lot: int, quiet: bool) -> None:
        """Queue each of these items to be sent again, with nothing else in flight at its worker."""
        self.give_back(Span(i, i + 1, True, quiet, lot) for i in range(start, stop))

    # -- out -----------------------------------------------------------------------------------------------------

    def cut(self, size: int) -> Span:
        """Remove and return the next ``size`` fresh items, or the rest of their range."""
        start, stop, lot = self.segments[0]
        end = start + size if stop is None else min(start + size, stop)
        if stop is not None:
            self.lots[lot].fresh -= end - start
            self.fresh -= end - start
        if stop is not None and end >= stop:
            self.segments.popleft()
        else:
            self.segments[0] = (end, stop, lot)
        return Span(start, end, False, False, lot)

    def take_again(self, most: int) -> Span:
        """Remove and return the next span that came back, or ``most`` items of it."""
        span = self.again.popleft()
        if len(span) > most:
            self.again.appendleft(span.part(span.start + most, span.stop))
            span = span.part(span.start, span.start + most)
        return span

    def count(self, number: int, items: int) -> None:
        """Count items of a lot as done. If lots come and go, remove a lot that is done."""
        self.done += items
        lot = self.lots.get(number)
        if not self._forgets or lot is None:
            return
        lot.left -= items
        if lot.left <= 0 and number:
            del self.lots[number]

    def drop(self, lot: int | None) -> None:
        """Drop the items never handed out, of one lot or of all (None), and count them as done."""
        kept: deque[tuple[int, int | None, int]] = deque()
        for segment in self.segments:
            start, stop, number = segment
            if stop is None or lot not in (None, number):
                kept.append(segment)
                continue
            self.lots[number].fresh -= stop - start
            self.fresh -= stop - start
            self.count(number, stop - start)
        self.segments = kept

    def end_at(self, length: int) -> None:
        """Cut the ranges at ``length``, the number of items that the source holds in all."""
        self.segments = deque(
            (a, length if b is None else min(b, length), lot) for a, b, lot in self.segments if a < length
        )
        for number, lot in self.lots.items():
            lot.fresh = sum((b or 0) - a for a, b, n in self.segments if n == number)
        self.fresh = sum(lot.fresh for lot in self.lots.values())

    # -- queries -------------------------------------------------------------------------------------------------

    @property
    def is_endless(self) -> bool:
        """True if the number of items to come is unknown."""
        return bool(self.segments) and self.segments[-1][1] is None

    def fresh_of(self, lot: Group) -> int | None:
        """Return the number of items of a lot never handed out; None if unknown."""
        return None if self.is_endless else lot.fresh

    @property
    def remaining(self) -> int | None:
        """Number of items never handed out; None if unknown."""
        return None if self.is_endless else self.fresh

    def left_over(self) -> list[tuple[int, int | None]]:
        """Return all ranges in the backlog, in order, without the items that are set aside."""
        spans: list[tuple[int, int | None]] = [(s.start, s.stop) for s in (*self.again, *self.quiet)]
        return sorted([*spans, *((start, stop) for start, stop, _ in self.segments)], key=lambda s: s[0])

    def never_sent(self, lot: int | None = None) -> list[tuple[int, int, int]]:
        """Return the ranges never handed out, with their lot: those that `drop` would drop."""
        return [(a, b, number) for a, b, number in self.segments if b is not None and lot in (None, number)]

    def queued(self) -> int | None:
        """Return the number of items in the backlog; None if unknown."""
        if self.is_endless:
            return None
        return self.fresh + sum(len(s) for s in (*self.again, *self.quiet)) + len(self.aside)
