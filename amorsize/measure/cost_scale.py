"""The items of a sample that have run, and what their seconds may go with: sizes, or positions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate

from amorsize.facts import Observation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

# guess: a change of the exponent that moves no position
NEARLY: Final = 0.05
# Sizes among which the next position is looked for: 30 µs.
STRATA: Final = 64
# guess: neighbours among whose sizes are this share of all
MIXED: Final = 0.5
# guess: neighbours whose sizes are looked at
NEIGHBOURS: Final = 64


class Scale:
    """Sizes of items at some positions: what their seconds may go with.

    Parameters
    ----------
    size : callable or None
        Returns the size of an item; None: the position itself.
    sizes : list of (int, float)
        Positions, at even distances, and the sizes there.
    """

    def __init__(self, size: Callable[[Any], float | None] | None, sizes: list[tuple[int, float]]) -> None:
        self.size = size
        self.last = sizes[-1][1]
        self.points: list[tuple[float, float, int]] = []
        self.exponent = -1.0
        self.sums: list[float] = []
        in_order = sorted((size, at) for at, size in sizes)
        self.ranked = [size for size, _ in in_order]
        stride = max(1, len(in_order) // STRATA)
        # The smallest and the largest are among them.
        self.strata = [*in_order[: -stride // 2 : stride], in_order[-1]]
        self.sizes = [size for size, _ in self.strata]

    def works(self, exponent: float) -> list[float]:
        """Return running sums of the strata's sizes to that power; they are kept as long as it hardly changes."""
        if abs(exponent - self.exponent) > NEARLY:
            self.exponent = exponent
            self.sums = [0.0, *accumulate([size**exponent for size in self.sizes])]
        return self.sums

    def read(self, seen: list[Observation], took: list[float], data: Any) -> list[tuple[float, float, int]]:
        """Return mean size, mean seconds and number of the items of each observation; the list grows with them."""
        for one, took_s in list(zip(seen, took, strict=True))[len(self.points) :]:
            if self.size is None:
                size = one.start + (one.items - 1) / 2
            else:
                looked = self.looked(one.start, one.start + one.items, data)
                size = sum(looked) / max(1, len(looked))
            self.points.append((size, took_s / one.items, one.items))
        return self.points

    def is_mixed(self, seen: Observation, data: Any) -> bool:
        """Return True if neighbours that ran together have such different sizes that they stand for all items."""
        if self.size is None or seen.items < 2:
            return False
        looked = self.looked(seen.start, seen.start + seen.items, data)
        return bisect_right(self.sizes, max(looked)) - bisect_left(self.sizes, min(looked)) > MIXED * len(self.sizes)

    def looked(self, start: int, stop: int, data: Any) -> list[float]:
        """Return the sizes of some of these items, the first among them."""
        assert self.size is not None
        return [size or 0.0 for size in map(self.size, data[start : stop : max(1, -(-(stop - start) // NEIGHBOURS))])]


class Seen:
    """The items of a sample that have run.

    Attributes
    ----------
    observations : list of Observation
    took : list of float
        Their seconds, without those that other programs took.
    ranges : list of (int, int)
        Of their positions.
    spent_s : float
        Seconds in items, reading the clocks included; what is loaded meanwhile is not in them.
    longest_s : float
        Of one item.
    was_cold : bool
        True if the first item touched memory beyond its result, so that a second pays.
    items : int
        Their number.
    """

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.took: list[float] = []
        self.ranges: list[tuple[int, int]] = []
        self.spent_s = self.longest_s = 0.0
        self.was_cold = False

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def items(self) -> int:
        return sum(one.items for one in self.observations)

    def add(self, one: Observation, took_s: float) -> None:
        """Note items that ran, and the seconds that they took."""
        self.observations.append(one)
        self.took.append(took_s)
        self.ranges.append((one.start, one.start + one.items))

    def forget_after(self, count: int) -> None:
        """Leave only the first ``count`` observations as evidence; the positions of the others have still run."""
        del self.observations[count:], self.took[count:]
