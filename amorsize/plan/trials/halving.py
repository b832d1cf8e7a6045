"""Successive halving: find the fastest candidate by short trials of all and longer trials of the better ones.

All candidates run on a short slice of the data. The better half goes on to a slice twice as long, until two are left;
these run on as much of the data as the time allows (Karnin, Koren & Somekh 2013; Jamieson & Talwalkar 2016). Every rung
costs about the same, so most of the time goes to the candidates that may still win.

A slice's time is no fixed share of the time of all items, since starting workers weighs less in the whole. The model
therefore scales a reading to all items:

    total = measured seconds of the slice * forecast for all items / forecast for the slice

Where the model is wrong by a constant factor, the factor cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from amorsize.facts import Forecast
from amorsize.frozen import replace

# Candidates, at most.
# guess
MOST: Final = 12
# Trials, at most, as a share of the grid of candidates.
# guess
SHARE: Final = 0.5
# Seconds that replace a forecast of 0, so that ratios are finite.
LEAST: Final = 1e-9

Expect = Callable[[int, int], float]
"""Takes the number of a candidate and a number of items; returns the forecast seconds."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One round: all candidates left, on one slice.

    Attributes
    ----------
    number : int
        From 0.
    items : int
        Length of the slice.
    candidates : tuple of int
        The numbers of those that run.
    """

    number: int
    items: int
    candidates: tuple[int, ...]


class Halving:
    """Successive halving as a state machine: `next` gives the next rung, `saw` takes the seconds of a trial.

    Parameters
    ----------
    candidates : int
        Number of candidates.
    n_items : int
        Number of items in all.
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
        # Seconds for all items, scaled from the readings of each candidate, rung by rung.
        self.history: dict[int, list[float]] = {}
        # Items of each rung's slice.
        self.lengths: list[int] = []
        self.number = -1
        self.items = 0

    def next(self, left_s: float) -> Rung | None:
        """Return the next rung; None if the contest is decided or there is no time for a longer slice.

        Parameters
        ----------
        left_s : float
            Seconds left for this rung and all after it.
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
        """Take the seconds of a candidate in this rung; return them scaled to all items."""
        total = seconds * self._ratio(candidate, self.n_items, self.items)
        self.history.setdefault(candidate, []).append(total)
        return total

    @property
    def totals(self) -> dict[int, float]:
        """Seconds for all items of each candidate, scaled from its latest reading."""
        return {candidate: readings[-1] for candidate, readings in self.history.items()}

    @property
    def best(self) -> int:
        """The fastest of the candidates that reached the last rung."""
        return min(self.alive, key=self._total)

    def _total(self, candidate: int) -> float:
        return self.history[candidate][-1]

    def _ratio(self, candidate: int, items: int, to: int) -> float:
        return max(self.expect(candidate, items), LEAST) / max(self.expect(candidate, to), LEAST)

    def _affordable(self, wanted: int, ahead: Sequence[int], left_s: float) -> int:
        """Return the longest slice, ``wanted`` at most, so that this rung and the next ones fit into the time."""
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
        """Return the forecast seconds of the rungs ahead if this one has ``items`` items and the fastest go on."""
        order = sorted(self.alive, key=lambda one: self._seconds(one, self.n_items))
        total = 0.0
        for step, running in enumerate(ahead):
            length = min(self.n_items, items << step)
            total += sum(self._seconds(one, length) for one in order[:running])
        return total

    def _seconds(self, candidate: int, items: int) -> float:
        """Return the model's forecast for a candidate, corrected by its readings."""
        if candidate not in self.history:
            return self.expect(candidate, items)
        return self._total(candidate) / self._ratio(candidate, self.n_items, items)


def rungs(candidates: int) -> list[int]:
    """Return the number of candidates in each rung.

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
    """Return the candidates worth a trial, the best forecast first.

    Left out are candidates that cannot win (the low end of the forecast is above the high end of the best one; one
    worker alone, where the loop may run), that must not run, or that are similar to a better one (about as many
    workers, chunks within a factor of two). The loop and the best candidate of each backend always take part. All
    trials together are at most ``share`` of the grid.
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
        if len(found) < most and can_win and not any(_similar(one, other) for other in found):
            found.append(one)
    return sorted(found, key=lambda f: f.total_s)


def _similar(a: Forecast, b: Forecast) -> bool:
    if a.backend != b.backend or max(a.workers, b.workers) > 1.2 * min(a.workers, b.workers):
        return False
    return a.chunksize < 2 * b.chunksize and b.chunksize < 2 * a.chunksize


def cut(candidate: Forecast, items: int, n_items: int) -> Forecast:
    """Return the candidate for a slice: chunks so short that each worker gets up to four of them.

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
