"""The walk over the cost curve: at which positions the items of a spread sample run, and what they tell of all items.

Costs are taken to go with the items' sizes, where these can be read (`Scale`), or else with the position. The next
position is always where most of the forecast work lies unseen; only where items are so short that reading the clock
distorts their time, neighbours run together. The walk ends when the mean is known well enough, or when its budget is
spent. It runs nothing itself: `amorsize.measure.sample` does, and notes here what it saw.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import hypot, inf, sqrt

from amorsize.facts import Observation, Sample
from amorsize.frozen import replace
from amorsize.measure.cost_scale import Scale, Seen
from amorsize.model.decide import PROBES
from amorsize.model.evidence import DEAR_TO_FEW, UNSURE
from amorsize.model.head import BATCH_S as LONG_S
from amorsize.model.head import DEAR, EVIDENCE_ITEMS, WARM
from amorsize.model.size_regression import SAMPLED_DIFFER as DIFFER
from amorsize.model.size_regression import Curve, vary
from amorsize.system.object_sizes import ways_to_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# guess: beyond the longest item; with weighing results and the search it is 5 ms
BUDGET_S: Final = 2.2e-3
# guess: of the forecast serial time, where that is more, less `REST_S` for the rest of `optimize`
BUDGET_SHARE: Final = 0.01
REST_S: Final = 2.6e-3
# guess: of less work than `LITTLE_S` in all, for which the loop is best anyway, a sample may take `LITTLE_SHARE`
LITTLE_S: Final = 15e-3
LITTLE_SHARE: Final = 0.15
# Reading the clocks, with cold caches, as part of what a batch seems to take: 10 µs look like 15.
CLOCKS_S: Final = 5e-6
# guess: the most by which that may distort a point's seconds, as a share of its own, and of the mean of all items
DISTORTED: Final = 0.1
DISTORTED_MEAN: Final = 0.03
# What takes this many times as long is no mere reading of the clocks. After 0.1 ms of other code a single hash of 4 µs
# took 14 to 30: with 2 in place of 8, 20,000 of them were forecast at 2 to 5 times their clock.
COARSE: Final = 8.0
COARSE_OF_SIZES: Final = 2.0
# Neighbours that run together: where they are like the mean, the clocks distort them so little.
BATCH_S: Final = CLOCKS_S / DISTORTED_MEAN
# guess
MOST_PROBES: Final = 64
# guess: of the serial time, for one item that stands for half of the work
DEAR_SHARE: Final = 0.025
# An interruption takes 1 to 4 ms; beside one sampled item that was interrupted, another one may be as dear, but once.
SECOND_LOOK_S: Final = 1.5 * BUDGET_S
# guess: of the budget, for an item that only tells whether the first was cold
REPEAT_SHARE: Final = 0.25
# guess: where no sizes are known, a shorter first item may have taken longer only because caches were cold
SHORT_ITEM_S: Final = 0.5e-3
# guess: the first item is larger than this share of the others
FIRST_OF_FEW: Final = 0.625
# guess: relative error of the mean at which sampling stops, once `POSITIONS` have been seen
ENOUGH: Final = 0.04
# guess: the same where the loop is best whatever comes (`LITTLE_S`)
ENOUGH_OF_LITTLE: Final = 0.08
POSITIONS: Final = 6
# guess: without sizes, items at each of them
CHANCE: Final = 4
# guess: an item this many times as dear as its like may have been interrupted
FAR: Final = 8.0
# guess: gaps between two points are narrow enough if they hold this share of the work
LEAST_SHARE: Final = 0.02
# guess: with less serial time in all, no decision is open any more
NOTHING_S: Final = 1e-3


def budget_s(n: int | None, item_s: float, has_sizes: bool = False) -> float:
    """Return the seconds that a sample may take beyond its longest item, if the mean item takes ``item_s``."""
    if n is None:
        return BUDGET_S
    if n * item_s < LITTLE_S and not has_sizes:
        return max(BUDGET_S / 2, LITTLE_SHARE * n * item_s)
    return max(BUDGET_S, BUDGET_SHARE * n * item_s - REST_S)


class Walk:
    """One walk over the items of a sequence.

    Parameters
    ----------
    data : sequence
    length : int
        Number of its items.
    seen : Seen
        What has run so far; the sampler adds to it.

    Attributes
    ----------
    scales : list of Scale
        What the seconds may go with, the most likely first; by position, if nothing else is known.
    mean_s : float
        Seconds of an item, the mean of all, as estimated last.
    is_repeated : bool
        True if an item ran beside the first, to tell whether that was cold.
    """

    def __init__(self, data: Any, length: int, seen: Seen) -> None:
        self.data = data
        self.length = length
        self.seen = seen
        self.mean_s = 0.0
        self.is_repeated = False
        # Observations that were far dearer than their like, by their numbers: the number of the second look at each.
        self._looks: dict[int, int] = {}
        # Those of them that were so by chance.
        self._chances: set[int] = set()
        self.scales: list[Scale] = []
        self._closed = set[float]()
        # Sizes are read where that is fast: items of other sequences may be expensive to get.
        if type(data) in (list, tuple, range):
            self.scales = [
                Scale(size, sizes) for size, sizes in ways_to_size(data) if vary([size for _, size in sizes])
            ]
        if not self.scales:
            self._go_by_position()

    def _go_by_position(self) -> None:
        n = self.length
        self.scales = [Scale(None, [(at, float(at)) for at in range(0, n, max(1, n // MOST_PROBES))])]

    def budget_s(self, item_s: float) -> float:
        """Return `budget_s` of these items."""
        return budget_s(self.length, item_s, self.scales[0].size is not None)

    def next(self) -> tuple[int, int] | None:
        """Return the positions to run next, neighbours; None if the mean is known, or the budget is spent."""
        if len(self.scales) > 1 and len(self.seen) > EVIDENCE_ITEMS and not self._is_explained_by_the_first():
            self._closed.clear()
        scale = self.scales[0]
        curve = self._curve(scale)
        found = self._second_look(scale, curve)
        if found is not None:
            return found
        each = curve.along(scale.sizes)
        chance_s = self._chance_s(scale, curve)
        self.mean_s = sum(each) / len(each) + chance_s
        error_s = hypot(curve.error_s(scale.sizes), chance_s)
        return None if self._is_enough(curve, error_s) else self._where_next(curve, each, error_s)

    def _second_look(self, scale: Scale, curve: Curve) -> tuple[int, int] | None:
        """Return where to look again: beside items that were far dearer than what ran of the next sizes.

        They may have been interrupted, and would stand for all items of about their size. None if there are none.
        """
        points = scale.read(self.seen.observations, self.seen.took, self.data)
        left_s = self.budget_s(0.0) + self.seen.longest_s - self.seen.spent_s
        left_s = left_s if self._looks else max(left_s, SECOND_LOOK_S)
        # What ran together tells more than single items, whose caches were cold.
        batches = sorted((size, item_s) for size, item_s, items in points if items > 1)
        if len(batches) == 1:
            batches = sorted((size, item_s) for size, item_s, _ in points)
        around = batches or list(zip(curve.sizes, curve.seconds, strict=True))
        for i, (size, item_s, items) in enumerate(points[1:], 1):
            if i in self._looks or size not in curve.sizes or item_s * items > left_s:
                continue
            k = bisect_left(around, (size, 0.0))
            like = [one for one in around[max(0, k - 1) : k + 2] if one != (size, item_s)]
            like_s = max((seconds for _, seconds in like), default=item_s)
            if item_s > FAR * like_s:
                few = items if items > 1 else int(REPEAT_SHARE * left_s / item_s)
                together = max(1, min(self._together(like_s, like_s), few))
                again = self._like(scale, size, self.seen.observations[i].start, together)
                if again is not None:
                    self._looks[i] = len(points)
                    return again
        return None

    def _like(self, scale: Scale, size: float, at: int, items: int) -> tuple[int, int] | None:
        """Return items that have not run, all of about that size, or a single one; None if there is none."""
        if scale.size is None:
            start, stop = self.span(min(at + 1, self.length - 1), items)
            return (start, stop) if start < stop else None
        k = bisect_left(scale.sizes, size)
        places = [at + 1, *(place for _, place in scale.strata[max(0, k - 1) : k + 2])]
        for many in (items, 1):
            spans = [self.span(min(place, self.length - 1), many) for place in places]
            far = [max((abs(one - size) for one in scale.looked(*span, self.data)), default=inf) for span in spans]
            if min(far) <= (DIFFER - 1) * size:
                return spans[far.index(min(far))]
        return None

    def _chance_s(self, scale: Scale, curve: Curve) -> float:
        """Return the seconds per item of what was dear by chance: as rare as it was among all items that ran."""
        items = [one.items for one in self.seen.observations]
        beyond_s = sum(self.seen.took[i] - items[i] * curve.at(scale.points[i][0]) for i in self._chances)
        return max(0.0, beyond_s) / max(1, sum(items))

    def ran(self, one: Observation) -> None:
        """Note that the positions have run."""
        i = len(self.seen) - 1
        for dear, again in self._looks.items():
            dear_s = self.seen.took[dear] / self.seen.observations[dear].items
            if again == i and self.seen.took[i] / one.items < dear_s / 2:
                if not self._chances:
                    # It took the time in which others would have run, which tell how rare that is.
                    self.seen.spent_s -= self.seen.took[dear]
                self._chances.add(dear)
        if self.scales[0].is_mixed(one, self.data):
            # Neighbours of all sizes are a fair sample of all items.
            self._go_by_position()
            self._closed.clear()

    def _is_explained_by_the_first(self) -> bool:
        """Return True if the first scale still explains the seconds best; else the one that does becomes the first."""
        spreads = [self._curve(scale).spread_s(scale.sizes) for scale in self.scales]
        best = spreads.index(min(spreads))
        if best:
            self.scales.insert(0, self.scales.pop(best))
        return not best

    def first_position(self) -> int:
        """Return the position of the first item: near the dear end, which matters most if costs go with sizes.

        Still so many are as large that it takes `DEAR_SHARE` of the whole at most, or not much more if they are few.
        """
        scale, n = self.scales[0], max(1, self.length)
        larger = 1 / (DEAR_SHARE * n)
        part = 0.5 if scale.size is None else max(FIRST_OF_FEW, 1 - larger)
        return scale.strata[min(int(part * len(scale.strata)), len(scale.strata) - 1)][1]

    def _where_next(self, curve: Curve, each: list[float], error_s: float) -> tuple[int, int] | None:
        """Return the items to run next, neighbours; None if the budget allows no more.

        It lies in the middle, by forecast work, of the widest gap between two points. The ends count twice, since only
        the curve tells what lies there. An item that is too dear there is replaced by a smaller one.
        """
        scale, n = self.scales[0], self.length
        # What an exponent tells of items far off may be too high.
        unsure_s = min(error_s, self.mean_s / 2) if scale.size is not None else 0.0
        budget_s = self.budget_s(self.mean_s - unsure_s)
        left_s = budget_s + self.seen.longest_s - self.seen.spent_s
        # One item that is longer than all others may take as long as the budget, or its part of the work.
        dear_s = max(budget_s, DEAR_SHARE * n * self.mean_s) if self.seen.spent_s <= budget_s else 0.0
        for target, down, key in self._gaps(curve):
            for k in range(target, down, -1):
                # Where no sizes are known, any item may be as dear as the dearest.
                item_s = each[k] if scale.size is not None else max(curve.seconds)
                # All of them may be as dear as the dearer of the points around, or in mixed data as the mean.
                dearest_s = max(item_s, self.mean_s, curve.dearest_around(scale.sizes[k]))
                together = self._together(each[k], sum(each) / len(each))
                # Not the first call, if that was unlike the others: such an item is not to be expected among them.
                items = min(together, max(1, int((left_s - max(curve.seconds)) / dearest_s)))
                if scale.size is None and 2 * items < together:
                    # So few would tell of the clocks.
                    break
                if item_s * items <= left_s or (items == 1 and self.seen.longest_s <= item_s <= dear_s):
                    start, stop = self.span(scale.strata[k][1], items)
                    if start < stop:
                        return start, stop
            self._closed.add(key)
        return None

    def _gaps(self, curve: Curve) -> list[tuple[int, int, float]]:
        """Return where to look next, the best first: index of a stratum, the one where the gap begins, and its name."""
        scale = self.scales[0]
        sizes, last = scale.sizes, len(scale.sizes) - 1
        works = scale.works(curve.exponent)
        whole = works[-1] or 1.0
        found = []
        left, name = -1, -1.0
        for size, times in (*zip(curve.sizes, curve.times, strict=True), (None, 0)):
            right = last + 1 if size is None else bisect_left(sizes, size)
            share = (works[right] - works[left + 1]) / whole if right > left + 1 else 0.0
            is_end = size is None or left < 0
            if share >= LEAST_SHARE and name not in self._closed:
                middle = bisect_left(works, (works[left + 1] + works[right]) / 2) - 1
                found.append((share * (1 + is_end), max(left + 1, min(middle, right - 1)), left, name))
            if size is not None:
                left, name = max(left, bisect_right(sizes, size) - 1), size
                # More of the same size, where there are many.
                alike = (works[left + 1] - works[right]) / whole if left >= right else 0.0
                if alike >= 2 * LEAST_SHARE and times < PROBES and -size - 2 not in self._closed:
                    found.append((alike / (2 * times), right + (left - right) * times // PROBES, right - 1, -size - 2))
        return [(target, left, name) for _, target, left, name in sorted(found, reverse=True)]

    def _together(self, item_s: float, mean_s: float) -> int:
        """Return how many neighbours of ``item_s`` run together, so that the clock does not distort their time."""
        # Dear ones may be among them, until some positions have been seen.
        if len(self.seen) < PROBES // 2 or max(DISTORTED * item_s, DISTORTED_MEAN * mean_s) >= CLOCKS_S:
            return 1
        return max(1, min(int(BATCH_S / max(item_s, mean_s, 1e-9)) + 1, self.length // (4 * PROBES)))

    def span(self, at: int, items: int) -> tuple[int, int]:
        """Return ``items`` neighbours at a position, or close behind it; fewer, or none, if they have run."""
        start = max(0, min(at, self.length - items))
        farthest, stop = start + items, start + items
        for one in sorted(self.seen.ranges):
            if one[0] <= start < one[1]:
                start, stop = one[1], one[1] + items
            elif start < one[0] < stop:
                stop = one[0]
        return start, min(stop, self.length) if start <= farthest else start

    def _is_enough(self, curve: Curve, error_s: float) -> bool:
        """Return True if more items would change neither the decision nor the forecast."""
        total_s = self.length * (self.mean_s + error_s)
        if len(self.seen) > PROBES // 2 and total_s < NOTHING_S:
            return True
        positions = sum(curve.times)
        # Without sizes, a few dear items among many are seen only by chance.
        has_sizes = self.scales[0].size is not None
        items = positions if has_sizes else self.seen.items / CHANCE
        share = ENOUGH_OF_LITTLE if total_s < LITTLE_S else ENOUGH
        return min(positions, items) >= POSITIONS and error_s <= share * self.mean_s

    def is_worth_repeating(self) -> bool:
        """Return True if the first item was cold, or if sizes are known and another one as dear is cheap."""
        if self.length < 2:
            return False
        scale = self.scales[0]
        size, first_s, _ = scale.read(self.seen.observations, self.seen.took, self.data)[0]
        if self.seen.was_cold or scale.size is None or size <= 0:
            return self.seen.was_cold
        mean_s = first_s * sum(scale.sizes) / len(scale.sizes) / size
        return first_s <= REPEAT_SHARE * self.budget_s(mean_s)

    def _was_unlike(self, points: list[tuple[float, float, int]]) -> bool:
        """Return True if the first item has been repeated, or seems to have been slower than its like."""
        if len(points) < 2:
            return False
        first_size, first_s, _ = points[0]
        if self.is_repeated:
            return first_s > points[1][1] / FAR
        if self.scales[0].size is None:
            few_s = SHORT_ITEM_S if len(points) > EVIDENCE_ITEMS else 0.0
            return first_s < few_s or first_s > DEAR * max(s for _, s, _ in points[1:])
        larger = [(size, s) for size, s, _ in points[1:] if size >= first_size]
        return bool(larger) and first_s > min(DEAR * min(larger)[1], WARM * max(s for _, s in larger))

    def _points(self, scale: Scale) -> list[tuple[float, float, int]]:
        """Return size, seconds and number of the items that ran: not of the first, if it was unlike the others.

        Where the clocks distort a point, it is too high: then it counts only if it is below what the others tell, or
        above it by more than reading the clocks takes.
        """
        points, least = scale.read(self.seen.observations, self.seen.took, self.data), DISTORTED_MEAN * self.mean_s
        clear: list[tuple[float, float, int]] = []
        others: list[tuple[float, float, int]] = []
        for i, point in enumerate(points):
            if i in self._chances or (i == 0 and self._was_unlike(points)):
                continue
            _, item_s, items = point
            (clear if max(DISTORTED * item_s, least) * items >= CLOCKS_S else others).append(point)
        if not clear:
            most = max(items for _, _, items in others)
            return [point for point in others if point[2] == most or point[1] * point[2] >= COARSE * CLOCKS_S]
        if others:
            # With sizes a few of them tell where costs begin to rise.
            coarse = COARSE if scale.size is None else COARSE_OF_SIZES
            curve = self._curve_of(clear, scale)
            for size, item_s, items in others:
                beyond_s = item_s - curve.at(size)
                if beyond_s < 0 or beyond_s * items > coarse * CLOCKS_S:
                    clear.append((size, item_s, items))
        return clear

    def near(self, item_s: float, items: int) -> tuple[int, int]:
        """Return neighbours that have not run, the first of which takes about ``item_s`` seconds; none if all have."""
        curve, scale = self._curve(self.scales[0]), self.scales[0]
        other = (0, 0)
        for _, at in sorted(scale.strata, key=lambda one: abs(curve.at(one[0]) - item_s)):
            start, stop = self.span(at, items)
            if at == start < stop:
                return start, stop
            # Beside one that has run, where sizes may be others.
            other = other if other[0] < other[1] else (start, stop)
        return other

    def _curve_of(self, points: list[tuple[float, float, int]], scale: Scale) -> Curve:
        return Curve([(size, seconds) for size, seconds, _ in points], powers=scale.size is not None)

    def _curve(self, scale: Scale) -> Curve:
        return self._curve_of(self._points(scale), scale)

    def corrected(self, sample: Sample, late_s: float) -> Sample:
        """Return the sample, corrected by the sizes of all items.

        ``late_s``: seconds in which the items waited for a core.
        """
        scale = self.scales[0]
        curve = self._curve(scale)
        found = curve.over(scale.ranked, scale.last)
        chance_s = self._chance_s(scale, curve)
        item_s = found.mean_s + chance_s
        counted = self._points(scale)
        is_unlike = self._was_unlike(scale.points)
        seen = self.seen.observations[is_unlike:]
        all_s = sum(one.wall_s for one in seen)
        robbed_s = all_s - sum(self.seen.took[is_unlike:])
        share = min(1.0, (sum(one.cpu_s for one in seen) + late_s) / all_s) if all_s > 0 else 1.0
        if len(self.seen) == 1:
            share = sample.item_cpu_s / sample.item_s if sample.item_s > 0 else 1.0
        together = sorted(items for _, _, items in counted)[len(counted) // 2]
        return replace(
            sample,
            item_s=item_s,
            item_cpu_s=item_s * share,
            item_std_s=found.std_s * sqrt(together),
            item_max_s=found.max_s,
            last_s=found.last_s,
            first_call_s=self._first_call_s(curve.at(scale.points[0][0])) if is_unlike else 0.0,
            error_s=hypot(
                found.error_s, chance_s, UNSURE * item_s / len(counted), item_s * robbed_s / max(all_s, 1e-9)
            ),
        )

    def _first_call_s(self, usual_s: float) -> float:
        """Return the seconds by which the first call exceeded what such items take; 0 if that may be chance."""
        first_s = self.seen.took[0]
        dear = WARM if self.seen.was_cold else DEAR if len(self.seen) > EVIDENCE_ITEMS else DEAR_TO_FEW
        return first_s - usual_s if first_s > dear * usual_s and first_s > LONG_S else 0.0
