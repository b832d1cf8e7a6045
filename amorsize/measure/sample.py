"""A sample for ``optimize()``: runs the user's function on a few real items, each once, within a time bound.

Beyond one item and an expensive first call, a sample takes at most 5 ms, or 1 % of the serial time it forecasts if that
is more; what is loaded meanwhile does not count. Items of indexable data run at spread positions, one at each, since
the first items of sorted data mislead: by their sizes, where these can be read, the next one always where most of the
forecast work lies unseen. Only where items are so short that reading the clock distorts their time, neighbours run
together. It ends when the mean is known well enough. Meanwhile a canary measures how often the lock is free
(`amorsize.measure.gil`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import accumulate, islice
from math import hypot, sqrt
from typing import Any, Final

from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import Indexable, Streamed, read_on
from amorsize.facts import WAITS, Observation, Sample
from amorsize.frozen import replace
from amorsize.measure.gil import Canary, held_share
from amorsize.measure.transfer import BUDGET_S as WEIGH_S
from amorsize.measure.transfer import FUNC, WEIGHED, weigh
from amorsize.model.decide import LOCK_FREE, PROBES, Decider
from amorsize.model.evidence import BATCH_S as LONG_S
from amorsize.model.evidence import COLD_BYTES, DEAR, DEAR_TO_FEW, EVIDENCE_ITEMS, UNSURE, WARM
from amorsize.model.size_regression import Curve, vary
from amorsize.system.clock import late_s
from amorsize.system.looks import block_bytes, held_bytes, is_interrupt
from amorsize.system.memory import keeping_s, resident_bytes
from amorsize.system.object_sizes import ways_to_size

# guess: beyond the longest item; with weighing results and the search it is 5 ms
BUDGET_S: Final = 2.2e-3
# guess: of the forecast serial time, where that is more, less `REST_S` for the rest of `optimize`
BUDGET_SHARE: Final = 0.01
REST_S: Final = 2.6e-3
# guess: of less work than `LITTLE_S` in all, for which the loop is best anyway, a sample may take `LITTLE_SHARE`
LITTLE_S: Final = 15e-3
LITTLE_SHARE: Final = 0.15
# Batches of a fast function: some 150 times as long as reading the clocks.
BATCH_S: Final = 0.15e-3
# Reading the clocks, with cold caches, as part of what a batch seems to take: 10 µs look like 15.
CLOCKS_S: Final = 5e-6
# guess: the most by which that may distort a point's seconds, as a share of its own, and of the mean of all items
DISTORTED: Final = 0.1
DISTORTED_MEAN: Final = 0.03
# guess: items that were off their core for longer may have lost it to another program
IDLE_S: Final = 0.2e-3
# A shorter watch is no evidence; by then a canary that may run has woken 4 times.
WATCH_S: Final = 1.2e-3
# Until a held lock is believed: a canary can oversleep.
WATCH_ENOUGH_S: Final = 2e-3
# guess: with less serial time in all, the loop is best whatever the lock does
WORTH_WATCHING_S: Final = 10e-3
# guess: a longer first item is not repeated only because it may have been cold, unless it touched `LOADED_BYTES`
AGAIN_S: Final = 6e-3
# Loading a library touches as much (numpy: 12 MB).
LOADED_BYTES: Final = 4 << 20
# guess
MOST_PROBES: Final = 64
# guess: of the serial time, for one item that stands for half of the work
DEAR_SHARE: Final = 0.025
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
# guess: a change of the exponent that moves no position
NEARLY: Final = 0.05
# guess: without sizes, items at each of them
CHANCE: Final = 4
# guess: gaps between two points are narrow enough if they hold this share of the work
LEAST_SHARE: Final = 0.02
# guess: with less serial time in all, no decision is open any more
NOTHING_S: Final = 1e-3
# Sizes among which the next position is looked for: 30 µs.
STRATA: Final = 64
# guess: neighbours among whose sizes are this share of all
MIXED: Final = 0.5
# guess: neighbours whose sizes are looked at
NEIGHBOURS: Final = 64
# With less serial time, the start of a Pool (15 ms) weighs against threads.
SHORT_S: Final = 0.2
# An item and its result of fewer bytes cross a pipe in some 50 µs.
LIGHT_BYTES: Final = 20_000
# guess: results whose memory is measured
LOOKED_AT: Final = 2


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
                looked = self._looked(one, data)
                size = sum(looked) / max(1, len(looked))
            self.points.append((size, took_s / one.items, one.items))
        return self.points

    def is_mixed(self, seen: Observation, data: Any) -> bool:
        """Return True if neighbours that ran together have such different sizes that they stand for all items."""
        if self.size is None or seen.items < 2:
            return False
        looked = self._looked(seen, data)
        return bisect_right(self.sizes, max(looked)) - bisect_left(self.sizes, min(looked)) > MIXED * len(self.sizes)

    def _looked(self, seen: Observation, data: Any) -> list[float]:
        assert self.size is not None
        stop = seen.start + seen.items
        return [size or 0.0 for size in map(self.size, data[seen.start : stop : -(-seen.items // NEIGHBOURS)])]


class Sampler:
    """Takes one sample.

    Parameters
    ----------
    func : callable
    source : Indexable or Streamed
        Items taken from an iterator are kept in ``head``.
    spread : bool
        True to run spread positions of indexable data, instead of the first items.
    watch : bool
        True to watch the lock.
    processes : bool
        True if processes may be chosen as well as threads.
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        source: Indexable | Streamed,
        *,
        spread: bool,
        watch: bool,
        processes: bool = False,
    ) -> None:
        self.func = func
        self.length = source.length
        self.spread = spread and isinstance(source, Indexable)
        self.processes = processes
        self.head: list[Any] = []
        self.rest: Iterator[Any] | None = None if isinstance(source, Indexable) else source.rest
        self.outcome = Kept()
        self.source = source if isinstance(source, Indexable) else Indexable(self.head)
        self.loop = Loop(func, self.source, self.outcome)
        self.decider = Decider(source.length, indexable=self.spread, most_cores=2)
        self.at = 0
        # Seconds in items, reading the clocks included; what is loaded meanwhile is not in them.
        self.spent_s = self.longest_s = 0.0
        # Of all items, as estimated last.
        self.mean_s = 0.0
        self.where: list[int] = []
        self.seen: list[Observation] = []
        # Their seconds, without those that other programs took.
        self.took: list[float] = []
        self.late_before_s = 0.0
        self.ran: list[tuple[int, int]] = []
        # One ran beside the first, to tell whether that was cold.
        self.is_repeated = False
        self.canary = Canary() if watch else None
        # True if this process cannot have one more thread.
        self.has_no_thread = False
        # Of the canary, while items ran.
        self.rounds, self.watched_s = 0, 0.0
        # Seconds in which they waited for a core beside it.
        self.late_s = 0.0
        self.first_weighed: Sample | None = None
        # What the seconds may go with, the most likely first; by position, if nothing else is known.
        self.scales: list[Scale] = []

    def take(self) -> Sample:
        """Run the items and return their sample. An exception of ``func`` is raised with a note that names the item."""
        before = resident_bytes()
        self.late_before_s = late_s()
        if self.spread:
            self._size()
        with self.canary or nullcontext():
            self.has_no_thread = self.canary is not None and self.canary.is_blind
            (self._spread if self.spread else self._first_items)()
            if self.decider.items:
                if self._is_watched():
                    self._stop_watching()
                self._watch()
        self._stop_watching()
        self.decider.gil_held = self._gil_held()
        grown = max(0, resident_bytes() - before) / max(1, self.decider.items)
        sample = self._by_curve(self.decider.sample()) if self.spread and self.seen else self.decider.sample()
        weighed = self._weigh()
        return replace(
            sample,
            rss_growth_bytes=grown,
            kept_s=keeping_s(self.length or 0, self._held_bytes() - max(grown, self._new_bytes())),
            longest_s=self.longest_s,
            **{name: getattr(weighed, name) for name in TRANSFER},
        )

    def _budget(self, item_s: float) -> float:
        """Return the seconds that the sample may take beyond its longest item, if the mean item takes ``item_s``."""
        n = self.length
        if n is None:
            return BUDGET_S
        if n * item_s < LITTLE_S and not (self.scales and self.scales[0].size):
            return max(BUDGET_S / 2, LITTLE_SHARE * n * item_s)
        return max(BUDGET_S, BUDGET_SHARE * n * item_s - REST_S)

    def _run(self, start: int, stop: int) -> Observation:
        """Run these items; those beyond the head of an iterator are read first."""
        if self.rest is not None and stop > len(self.head):
            read_on(self.head, self.rest, stop - len(self.head))
            stop = min(stop, len(self.head))
        rounds = self.canary.rounds if self.canary is not None else 0
        began_s = self.loop.clock.wall()
        seen = self.loop.run(start, stop)
        took_s = self._took_s(seen)
        self.spent_s += self.loop.clock.wall() - began_s - (seen.wall_s - took_s)
        if self.canary is not None:
            self.rounds += self.canary.rounds - rounds
            self.watched_s += seen.wall_s
        self.outcome.finish(self.source.item)
        self.where.extend(range(start, min(start + seen.items, start + 2)))
        self.longest_s = max(self.longest_s, took_s / max(1, seen.items))
        if seen.items:
            self.seen.append(seen)
            self.took.append(took_s)
            self.ran.append((start, start + seen.items))
        return seen

    def _took_s(self, seen: Observation) -> float:
        """Return the seconds of these items without those in which they only waited for a core that others had.

        These come by chance: none, or as long as the items of a whole sample. So they count for no item, but in the
        error.
        """
        idle_s = seen.wall_s - seen.process_cpu_s
        if seen.process_cpu_s <= 0 or idle_s < IDLE_S:
            return seen.wall_s
        late_before_s, self.late_before_s = self.late_before_s, late_s()
        robbed_s = max(seen.cpu_s - seen.process_cpu_s, self.late_before_s - late_before_s)
        return seen.wall_s - max(0.0, min(idle_s, robbed_s))

    # -- the first items --------------------------------------------------------------------------------------------

    def _first_items(self) -> None:
        """Run head items in growing batches, until one is long enough for the clock."""
        first = self._next(1)
        self.decider.saw(first)
        if not first.items:
            return
        self._weigh_first()
        if self.length != 1 and self._was_cold():
            self.decider.saw(self._next(1))
        seen_s = self.decider.first_s
        while seen_s < BATCH_S / 2 or self.at < 2:
            # Each batch is faster than the one before, until caches are warm.
            expected = self.seen[-1].wall_s / max(1, self.seen[-1].items)
            size = max(1, min(3 * self.at, int(BATCH_S / max(expected, 1e-9))))
            others_s = self.decider.head_s - self.decider.first_s
            item_s = min(self.decider.item_s, others_s / (self.at - 1)) if self.at > 1 else self.decider.item_s
            if self.spent_s + size * expected - max(self.longest_s, expected) > self._budget(item_s):
                return
            seen = self._next(size)
            if not seen.items:
                return
            self.decider.saw(seen)
            seen_s = seen.wall_s

    def _next(self, items: int) -> Observation:
        n = self.length
        stop = self.at + items if n is None else min(self.at + items, n)
        seen = self._run(self.at, stop)
        self.at += seen.items
        return seen

    def _was_cold(self) -> bool:
        """Return True if the first item touched memory beyond its result, so that a second pays.

        After an expensive first call that costs little. Else it costs a short item (`AGAIN_S`), or one of very many.
        """
        laid_out = self.decider.first_bytes - sum(map(block_bytes, self.outcome.some(1)))
        is_short = self.decider.first_s < AGAIN_S and laid_out > COLD_BYTES
        return is_short or ((self.length or 0) * BUDGET_SHARE >= 1 and laid_out > LOADED_BYTES)

    # -- spread positions -------------------------------------------------------------------------------------------

    def _size(self) -> None:
        """Read the sizes of items, where that is fast: items of other sequences may be expensive to get."""
        data = self.source.data
        if type(data) in (list, tuple, range):
            self.scales = [
                Scale(size, sizes) for size, sizes in ways_to_size(data) if vary([size for _, size in sizes])
            ]
        if not self.scales:
            self._go_by_position()

    def _go_by_position(self) -> None:
        n = self.length or 1
        self.scales = [Scale(None, [(at, float(at)) for at in range(0, n, max(1, n // MOST_PROBES))])]

    def _spread(self) -> None:
        """Run items where most of the work lies unseen, until the mean is known well enough or the budget is spent."""
        at = self._first_position()
        first = self._run(at, at + 1)
        self.decider.saw(first)
        if not first.items:
            return
        self._weigh_first()
        if self._is_worth_repeating():
            # One beside it, as dear: caches, allocators and lazy imports may have made the first one slow.
            seen = self._run(*self._span(max(0, at - 1), 1))
            if not seen.items:
                return
            self.decider.probed([seen])
            self.is_repeated = True
        closed = set[float]()
        for _ in range(MOST_PROBES):
            began_s = self.loop.clock.thread_cpu()
            if len(self.scales) > 1 and len(self.seen) > EVIDENCE_ITEMS:
                closed = closed if self._is_explained_by_the_first() else set()
            curve = self._curve(self.scales[0])
            each = curve.along(self.scales[0].sizes)
            self.mean_s = sum(each) / len(each)
            error_s = curve.error_s(self.scales[0].sizes)
            if self.canary is not None and self._is_watched():
                self._stop_watching()
            if self._is_enough(curve, error_s):
                return
            found = self._where_next(curve, each, error_s, closed)
            if found is None:
                return
            # To look for it takes time as well.
            self.spent_s += self.loop.clock.thread_cpu() - began_s
            seen = self._run(*found)
            if not seen.items:
                return  # func takes items off the data
            self.decider.probed([seen])
            if self.scales[0].is_mixed(seen, self.source.data):
                # Neighbours of all sizes are a fair sample of all items.
                self._go_by_position()
                closed.clear()

    def _is_explained_by_the_first(self) -> bool:
        """Return True if the first scale still explains the seconds best; else the one that does becomes the first."""
        spreads = [self._curve(scale).spread_s(scale.sizes) for scale in self.scales]
        best = spreads.index(min(spreads))
        if best:
            self.scales.insert(0, self.scales.pop(best))
        return not best

    def _first_position(self) -> int:
        """Return the position of the first item: near the dear end, which matters most if costs go with sizes.

        Still so many are as large that it takes `DEAR_SHARE` of the whole at most, or not much more if they are few.
        """
        scale, n = self.scales[0], self.length or 1
        larger = 1 / (DEAR_SHARE * n)
        part = 0.5 if scale.size is None else max(FIRST_OF_FEW, 1 - larger)
        return scale.strata[min(int(part * len(scale.strata)), len(scale.strata) - 1)][1]

    def _where_next(
        self, curve: Curve, each: list[float], error_s: float, closed: set[float]
    ) -> tuple[int, int] | None:
        """Return the items to run next, neighbours; None if the budget allows no more.

        It lies in the middle, by forecast work, of the widest gap between two points. The ends count twice, since only
        the curve tells what lies there. An item that is too dear there is replaced by a smaller one.
        """
        scale, n = self.scales[0], self.length or 0
        # What an exponent tells of items far off may be too high.
        unsure_s = min(error_s, self.mean_s / 2) if scale.size is not None else 0.0
        budget_s = self._budget(self.mean_s - unsure_s)
        left_s = budget_s + self.longest_s - self.spent_s
        # One item that is longer than all others may take as long as the budget, or its part of the work.
        dear_s = max(budget_s, DEAR_SHARE * n * self.mean_s) if self.spent_s <= budget_s else 0.0
        for target, down, key in self._gaps(curve, closed):
            for k in range(target, down, -1):
                item_s = each[k]
                # All of them may be as dear as the dearer of the points around.
                items = min(self._together(item_s), max(1, int(left_s / curve.dearest_around(scale.sizes[k]))))
                if item_s * items <= left_s or (items == 1 and self.longest_s <= item_s <= dear_s):
                    start, stop = self._span(scale.strata[k][1], items)
                    if start < stop:
                        return start, stop
            closed.add(key)
        return None

    def _gaps(self, curve: Curve, closed: set[float]) -> list[tuple[int, int, float]]:
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
            if share >= LEAST_SHARE and name not in closed:
                middle = bisect_left(works, (works[left + 1] + works[right]) / 2) - 1
                found.append((share * (1 + is_end), max(left + 1, min(middle, right - 1)), left, name))
            if size is not None:
                left, name = max(left, bisect_right(sizes, size) - 1), size
                # More of the same size, where there are many.
                alike = (works[left + 1] - works[right]) / whole if left >= right else 0.0
                if alike >= 2 * LEAST_SHARE and times < PROBES and -size - 2 not in closed:
                    found.append((alike / (2 * times), right + (left - right) * times // PROBES, right - 1, -size - 2))
        return [(target, left, name) for _, target, left, name in sorted(found, reverse=True)]

    def _together(self, item_s: float) -> int:
        """Return how many neighbours of ``item_s`` run together, so that the clock does not distort their time."""
        # Dear ones may be among them, until some positions have been seen.
        if len(self.seen) < PROBES // 2 or max(DISTORTED * item_s, DISTORTED_MEAN * self.mean_s) >= CLOCKS_S:
            return 1
        return max(1, min(int(BATCH_S / max(item_s, 1e-9)), (self.length or 0) // (4 * PROBES)))

    def _span(self, at: int, items: int) -> tuple[int, int]:
        """Return ``items`` neighbours at a position, or close behind it; fewer, or none, if they have run."""
        assert self.length is not None
        start = max(0, min(at, self.length - items))
        farthest, stop = start + items, start + items
        for one in sorted(self.ran):
            if one[0] <= start < one[1]:
                start, stop = one[1], one[1] + items
            elif start < one[0] < stop:
                stop = one[0]
        return start, min(stop, self.length) if start <= farthest else start

    def _is_enough(self, curve: Curve, error_s: float) -> bool:
        """Return True if more items would change neither the decision nor the forecast."""
        total_s = (self.length or 0) * (self.mean_s + error_s)
        if len(self.seen) > PROBES // 2 and total_s < NOTHING_S:
            return True
        positions = sum(curve.times)
        # Without sizes, a few dear items among many are seen only by chance.
        items = positions if self.scales[0].size is not None else self.decider.items / CHANCE
        share = ENOUGH_OF_LITTLE if total_s < LITTLE_S else ENOUGH
        return min(positions, items) >= POSITIONS and error_s <= share * self.mean_s

    def _is_worth_repeating(self) -> bool:
        """Return True if the first item was cold, or if sizes are known and another one as dear is cheap."""
        if (self.length or 1) < 2:
            return False
        scale = self.scales[0]
        size, first_s, _ = scale.read(self.seen, self.took, self.source.data)[0]
        if self._was_cold() or scale.size is None or size <= 0:
            return self._was_cold()
        mean_s = first_s * sum(scale.sizes) / len(scale.sizes) / size
        return first_s <= REPEAT_SHARE * self._budget(mean_s)

    def _was_unlike(self, points: list[tuple[float, float, int]]) -> bool:
        """Return True if the first item has been repeated, or seems to have been slower than its like."""
        if self.is_repeated or len(points) < 2:
            return self.is_repeated
        first_size, first_s, _ = points[0]
        if self.scales[0].size is None:
            few_s = SHORT_ITEM_S if len(points) > EVIDENCE_ITEMS else 0.0
            return first_s < few_s or first_s > DEAR * max(s for _, s, _ in points[1:])
        larger = [(size, s) for size, s, _ in points[1:] if size >= first_size]
        return bool(larger) and first_s > min(DEAR * min(larger)[1], WARM * max(s for _, s in larger))

    def _points(self, scale: Scale) -> list[tuple[float, float, int]]:
        """Return size, seconds and number of the items that ran: not of the first, if it was unlike the others.

        Where the clocks distort a point, it is too high: then it counts only if it is below what the others tell.
        """
        points, least = scale.read(self.seen, self.took, self.source.data), DISTORTED_MEAN * self.mean_s
        clear: list[tuple[float, float, int]] = []
        others: list[tuple[float, float, int]] = []
        for point in points[self._was_unlike(points) :]:
            _, item_s, items = point
            (clear if max(DISTORTED * item_s, least) * items >= CLOCKS_S else others).append(point)
        if not clear:
            most = max(items for _, _, items in others)
            return [point for point in others if point[2] == most]
        if others:
            curve = self._curve_of(clear, scale)
            clear += [point for point in others if point[1] < curve.at(point[0])]
        return clear

    def _curve_of(self, points: list[tuple[float, float, int]], scale: Scale) -> Curve:
        return Curve([(size, seconds) for size, seconds, _ in points], powers=scale.size is not None)

    def _curve(self, scale: Scale) -> Curve:
        return self._curve_of(self._points(scale), scale)

    def _by_curve(self, sample: Sample) -> Sample:
        """Return the sample, corrected by the sizes of all items."""
        scale = self.scales[0]
        curve = self._curve(scale)
        found = curve.over(scale.ranked, scale.last)
        item_s = found.mean_s
        counted = self._points(scale)
        is_unlike = self._was_unlike(scale.points)
        seen = self.seen[is_unlike:]
        all_s = sum(one.wall_s for one in seen)
        robbed_s = all_s - sum(self.took[is_unlike:])
        share = min(1.0, (sum(one.cpu_s for one in seen) + self.late_s) / all_s) if all_s > 0 else 1.0
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
            error_s=hypot(found.error_s, UNSURE * item_s / len(counted), item_s * robbed_s / max(all_s, 1e-9)),
        )

    def _first_call_s(self, usual_s: float) -> float:
        """Return the seconds by which the first call exceeded what such items take; 0 if that may be chance."""
        first_s = self.took[0]
        dear = WARM if self._was_cold() else DEAR if len(self.seen) > EVIDENCE_ITEMS else DEAR_TO_FEW
        return first_s - usual_s if first_s > dear * usual_s and first_s > LONG_S else 0.0

    # -- transfer and the lock --------------------------------------------------------------------------------------

    def _held_bytes(self) -> float:
        """Return the mean bytes of memory of a result."""
        some = self.outcome.some(LOOKED_AT)
        return sum(map(held_bytes, some)) / max(1, len(some))

    def _new_bytes(self) -> float:
        """Return the new memory touched per item."""
        return sum(one.new_bytes for one in self.seen) / max(1, sum(one.items for one in self.seen))

    def _watch(self) -> None:
        """Run more items beside the canary until its answer is certain, if it matters, within the budget."""
        opening, n, item_s = self.decider, self.length, self._item_s()
        held, missing_s = self._gil_held(), WATCH_ENOUGH_S - self.watched_s
        is_free = held is not None and held <= LOCK_FREE
        if self.canary is None or is_free or missing_s <= 0 or opening.cpu_s < (1 - WAITS) * opening.wall_s:
            return
        if item_s <= 0 or (n or 10_000) * item_s < WORTH_WATCHING_S:
            return
        items = round(missing_s / item_s)
        if not items and held is None:
            items = int(self.spent_s + item_s - max(self.longest_s, item_s) < self._budget(item_s))
        start, stop = self.at, self.at + items
        if self.spread:
            curve, scale = self._curve(self.scales[0]), self.scales[0]
            _, at = min(scale.strata, key=lambda one: abs(curve.at(one[0]) - item_s))
            start, stop = self._span(at, items)
        if n is not None:
            stop = min(stop, n)
        if stop > start and self.watched_s + (stop - start) * item_s >= WATCH_S:
            # The canary slows these items a little, so that they do not count in the mean.
            counted = len(self.seen)
            self._run(start, stop)
            del self.seen[counted:], self.took[counted:]

    def _item_s(self) -> float:
        """Return the expected seconds of an item."""
        return self.mean_s if self.spread else self.decider.item_s

    def _stop_watching(self) -> None:
        if self.canary is not None:
            self.canary.stop()
            self.decider.were_late(self.canary.late_s)
            self.late_s = self.canary.late_s
            self.canary = None

    def _gil_held(self) -> float | None:
        """Return the share of the time in which items held the lock; None if the watch was too short."""
        return held_share(self.rounds, self.watched_s) if self.watched_s >= WATCH_S else None

    def _is_watched(self) -> bool:
        """Return True if the watch was long enough, or if threads could not beat processes anyway.

        They could where starting processes or pickling costs enough.
        """
        if self.watched_s >= WATCH_ENOUGH_S:
            return True
        if not self.processes or (self.length or 10_000) * self._item_s() < SHORT_S:
            return False
        first = self.first_weighed
        heavy = first is None or first.transfer_error is not None or first.arg_bytes + first.result_bytes > LIGHT_BYTES
        return not heavy

    def _weigh(self) -> Sample:
        """Weigh items, results and the function, pickled as ``multiprocessing.Pool`` does."""
        where = self.where[:WEIGHED]
        first = self.first_weighed
        if first is not None and sum(getattr(first, name) for name in TRANSFER_S) > WEIGH_S:
            return first  # one alone takes longer than there is time for
        items = self._items_at(where)
        results = [self.outcome.by_index[i] for i in where if i in self.outcome.by_index]
        return weigh(items, results, in_band=True, func=self.func, known=first)

    def _items_at(self, where: list[int]) -> list[Any]:
        """Return some of the items, to be weighed; none that is gone, or that cannot be had a second time."""
        try:
            return [self.source.item(i) for i in where]
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return []

    def _weigh_first(self) -> None:
        self.first_weighed = weigh(self._items_at(self.where[:1]), self.outcome.some(1), in_band=True, func=self.func)


TRANSFER_S: Final = ("arg_pickle_s", "arg_unpickle_s", "result_pickle_s", "result_unpickle_s")
TRANSFER: Final = ("arg_bytes", "result_bytes", *TRANSFER_S, *FUNC, "transfer_error")


class Kept(Outcome):
    """Keeps results by index: a list would be filled up to the farthest of them (5 ms for 200,000)."""

    def __init__(self) -> None:
        super().__init__("raise")
        self.by_index: dict[int, Any] = {}

    def place_for(self, start: int) -> list[Any]:
        """Return a new list."""
        return []

    def _keep(self, start: int, values: list[Any]) -> None:
        self.by_index.update(enumerate(values[:WEIGHED], start))

    def some(self, most: int) -> list[Any]:
        """Return some of them."""
        return list(islice(self.by_index.values(), most))
