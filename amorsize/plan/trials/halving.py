"""Successive halving: who is fastest, found by trying all of them briefly and the better ones for longer.

All candidates run on a short slice of the data; the better half goes on to one twice as long, until two are left, who
run on as much of the data as there is time for (Karnin, Koren & Somekh 2013; Jamieson & Talwalkar 2016). Every rung
costs about the same, so that most of the time goes to those who may still win.

A slice's time is no fixed share of the whole's: starting workers weighs less in the whole. So a reading is carried
over to all items by the model: times the forecast for all, over the forecast for the slice. Where the model is wrong
by some factor, that factor drops out of the comparison with the clock, and what the clock says of all items stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from amorsize.facts import Forecast
from amorsize.frozen import replace

MOST: Final = 12  # candidates
SHARE: Final = 0.5  # trials, at most, of the candidates that there are
LEAST: Final = 1e-9  # seconds: what a forecast of nothing counts as

Expect = Callable[[int, int], float]
"""The forecast seconds of a candidate (by its number) for so many items."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One round of the contest.

    Attributes
    ----------
    number : int
        From 0.
    items : int
        Length of the slice.
    candidates : tuple of int
        Who runs, by their numbers.
    """

    number: int
    items: int
    candidates: tuple[int, ...]


class Halving:
    """The contest, as a state machine: `next` says who runs on how many items, `saw` takes what that took.

    Parameters
    ----------
    candidates : int
        How many there are.
    n_items : int
        Items in all.
    expect : callable
        The model's forecast.

    Examples
    --------
    >>> halving = Halving(4, 100, lambda candidate, items: items * 1e-3)
    >>> while (rung := halving.next(left_s=1.0)) is not None:
    ...     print(rung)
    ...     for one in rung.candidates:
    ...         _ = halving.saw(one, rung.items * (1e-3 + 1e-4 * one))
    Rung(number=0, items=50, candidates=(0, 1, 2, 3))
    Rung(number=1, items=100, candidates=(0, 1))
    >>> halving.best
    0
    """

    def __init__(self, candidates: int, n_items: int, expect: Expect) -> None:
        self.n_items = n_items
        self.expect = expect
        self.alive = list(range(candidates))
        self.history: dict[int, list[float]] = {}  # what each one's readings make for all items, rung by rung
        self.lengths: list[int] = []  # of the slices
        self.number = -1
        self.items = 0

    def next(self, left_s: float) -> Rung | None:
        """The next rung, or None: it is decided, or there is no time for a longer slice.

        Parameters
        ----------
        left_s : float
            Seconds that are left for this rung and all after it.
        """
        first = self.number < 0
        if not first:
            if len(self.alive) <= 2:
                return None
            self.alive = sorted(sorted(self.alive, key=self._total)[: (len(self.alive) + 1) // 2])
        ahead = rungs(len(self.alive))
        wanted = max(1, self.n_items >> (len(ahead) - 1)) if first else min(self.n_items, 2 * self.items)
        items = self._affordable(wanted, ahead, left_s)
        if not first and (items <= self.items < self.n_items or self._cost(items, ahead[:1]) > left_s):
            return None
        self.number += 1
        self.items = items
        self.lengths.append(items)
        return Rung(self.number, items, tuple(self.alive))

    def saw(self, candidate: int, seconds: float) -> float:
        """Take in what a candidate of this rung took; returns what that makes for all items."""
        total = seconds * self._ratio(candidate, self.n_items, self.items)
        self.history.setdefault(candidate, []).append(total)
        return total

    @property
    def totals(self) -> dict[int, float]:
        """What the latest reading of each makes for all items."""
        return {candidate: readings[-1] for candidate, readings in self.history.items()}

    @property
    def best(self) -> int:
        """Who is fastest, as far as is known: among those who came furthest."""
        return min(self.alive, key=self._total)

    def _total(self, candidate: int) -> float:
        return self.history[candidate][-1]

    def _ratio(self, candidate: int, items: int, to: int) -> float:
        return max(self.expect(candidate, items), LEAST) / max(self.expect(candidate, to), LEAST)

    def _affordable(self, wanted: int, ahead: Sequence[int], left_s: float) -> int:
        """The longest slice, ``wanted`` at most, with which this rung and those after it fit into the time left."""
        least, most = 1, wanted
        if self._cost(most, ahead) <= left_s:
            return most
        while most - least > 1:
            middle = (least + most) // 2
            if self._cost(middle, ahead) <= left_s:
                least = middle
            else:
                most = middle
        return least

    def _cost(self, items: int, ahead: Sequence[int]) -> float:
        """Seconds of the rungs ahead, when this one has so many items and the fastest go on."""
        order = sorted(self.alive, key=lambda one: self._seconds(one, self.n_items))
        total = 0.0
        for step, running in enumerate(ahead):
            length = min(self.n_items, items << step)
            total += sum(self._seconds(one, length) for one in order[:running])
        return total

    def _seconds(self, candidate: int, items: int) -> float:
        """What a candidate should take for so many items, as the model says, corrected by what it has taken."""
        if candidate not in self.history:
            return self.expect(candidate, items)
        return self._total(candidate) / self._ratio(candidate, self.n_items, items)


def rungs(candidates: int) -> list[int]:
    """How many run in each rung.

    Examples
    --------
    >>> rungs(12), rungs(2), rungs(1)
    ([12, 6, 3, 2], [2], [1])
    """
    found = [candidates]
    while found[-1] > 2:
        found.append((found[-1] + 1) // 2)
    return found


def shortlist(grid: Sequence[Forecast], most: int = MOST, share: float = SHARE) -> list[Forecast]:
    """The candidates worth a trial, the one with the best forecast first.

    Left out is what cannot win (the low end of its forecast is above the best one's high end; one worker alone, where
    the loop may run), what must not run, and what hardly differs from a better one (about as many workers, chunks
    within a factor of two). The loop and the best
    candidate of each backend always take part. There are so few that all trials are at most that ``share`` of the grid.
    """
    allowed = sorted((f for f in grid if f.refused is None), key=lambda f: f.total_s)
    if any(f.backend == "serial" for f in allowed):
        allowed = [f for f in allowed if f.backend == "serial" or f.workers > 1]
    if not allowed:
        return []
    most = min(most, max((k for k in range(1, len(grid) + 1) if sum(rungs(k)) <= share * len(grid)), default=1))
    best = allowed[0]
    champions: dict[str, Forecast] = {}
    for one in allowed:
        champions.setdefault(one.backend, one)
    found = sorted(champions.values(), key=lambda f: (f is not best, f.backend != "serial", f.total_s))[:most]
    for one in allowed:
        can_win = one.low_s <= best.high_s
        if len(found) < most and can_win and not any(_much_alike(one, other) for other in found):
            found.append(one)
    return sorted(found, key=lambda f: f.total_s)


def _much_alike(a: Forecast, b: Forecast) -> bool:
    if a.backend != b.backend or max(a.workers, b.workers) > 1.2 * min(a.workers, b.workers):
        return False
    return a.chunksize < 2 * b.chunksize and b.chunksize < 2 * a.chunksize


def cut(candidate: Forecast, items: int, n_items: int) -> Forecast:
    """The candidate for a slice: chunks so short that each worker gets its share, of up to four chunks.

    Examples
    --------
    >>> from amorsize.facts import Breakdown
    >>> one = Forecast(backend="threads", workers=2, chunksize=50, start_method=None, total_s=1.0, low_s=1.0,
    ...                high_s=1.0, breakdown=Breakdown())
    >>> cut(one, items=20, n_items=100).chunksize, cut(one, items=20, n_items=1000).chunksize
    (10, 3)
    """
    if candidate.backend == "serial":
        return replace(candidate, chunksize=max(1, items))
    chunks = min(-(-n_items // candidate.chunksize), 4 * candidate.workers)
    return replace(candidate, chunksize=max(1, min(candidate.chunksize, -(-items // chunks))))
