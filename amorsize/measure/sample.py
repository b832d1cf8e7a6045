"""A sample for ``optimize()``: runs the user's function on a few real items, each once, within a time bound.

Beyond one item and an expensive first call, a sample takes at most 5 ms, or 1 % of the serial time it forecasts if that
is more. Indexable data is probed at spread positions, since the first items of sorted data mislead; fast functions run
in batches, so that reading the clock does not distort the result. Meanwhile a canary measures how often the lock is
free (`amorsize.measure.gil`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from math import sqrt
from typing import Any, Final

from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import Indexable, Streamed, read_on
from amorsize.facts import WAITS, Observation, Sample
from amorsize.frozen import replace
from amorsize.measure.gil import Canary, held_share
from amorsize.measure.transfer import BUDGET_S as WEIGH_S
from amorsize.measure.transfer import WEIGHED, weigh
from amorsize.model.decide import LOCK_FREE, PROBES, Decider
from amorsize.model.evidence import COLD_BYTES
from amorsize.model.size_regression import SAMPLED_DIFFER, Sizes, guessed, half_way, halves, straightened, vary
from amorsize.system.looks import block_bytes, held_bytes, is_interrupt
from amorsize.system.memory import keeping_s, resident_bytes
from amorsize.system.object_sizes import how_to_size, sizes_at

# guess: beyond the longest item; with weighing results and the search it is 5 ms
BUDGET_S: Final = 2.2e-3
# guess: of the forecast serial time, where that is more, less `REST_S` for the rest of `optimize`
BUDGET_SHARE: Final = 0.01
REST_S: Final = 2.6e-3
# guess: of less work than `LITTLE_S` in all, for which the loop is best anyway, a sample may take `LITTLE_SHARE`
LITTLE_S: Final = 15e-3
LITTLE_SHARE: Final = 0.15
# Batches of a fast function: some 200 times as long as reading the clocks.
BATCH_S: Final = 0.2e-3
# Of fast items at each position: with cold caches 10 µs look like 15.
PROBE_EACH_S: Final = 0.3e-3
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
# guess: neighbours whose sizes are looked at
NEIGHBOURS: Final = 64
# guess: positions considered, most of them too expensive
MOST_LOOKS: Final = 256
# With less serial time, the start of a Pool (15 ms) weighs against threads.
SHORT_S: Final = 0.2
# An item and its result of fewer bytes cross a pipe in some 50 µs.
LIGHT_BYTES: Final = 20_000
# guess: results whose memory is measured
LOOKED_AT: Final = 2


class Sampler:
    """Takes one sample.

    Parameters
    ----------
    func : callable
    source : Indexable or Streamed
        Items taken from an iterator are kept in ``head``.
    spread : bool
        True to probe spread positions of indexable data, instead of the first items.
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
        self.began_s = self.longest_s = 0.0
        self.where: list[int] = []
        self.seen: list[Observation] = []
        self.canary = Canary() if watch else None
        # True if this process cannot have one more thread.
        self.has_no_thread = False
        # Of the canary, while items ran.
        self.rounds, self.watched_s = 0, 0.0
        self.first_weighed: Sample | None = None
        self.size: Callable[[Any], float | None] | None = None
        # Position and size of some items; empty if all are alike.
        self.sizes: list[tuple[int, float]] = []
        self.mean_size = 0.0
        # Sizes of the items that ran, and their seconds per size (0: unknown).
        self.seen_sizes: list[float] = []
        self.per_size_s = 0.0

    def take(self) -> Sample:
        """Run the items and return their sample. An exception of ``func`` is raised with a note that names the item."""
        self.began_s = self.loop.clock.wall()
        before = resident_bytes()
        self._size()
        with self.canary or nullcontext():
            self.has_no_thread = self.canary is not None and self.canary.is_blind
            self.decider.saw(self._next(1))
            if self.decider.items:
                # If weighing takes long, there is less time for more items.
                self._weigh_first()
                self._again()
                self._warm()
                if self.watched_s >= WATCH_ENOUGH_S or not self._lock_matters():
                    self._stop_watching()
                if self.spread:
                    self._probe()
                self._watch()
        self._stop_watching()
        self.decider.gil_held = self._gil_held()
        grown = max(0, resident_bytes() - before) / max(1, self.decider.items)
        sample = self._straightened(self.decider.sample())
        weighed = self._weigh()
        return replace(
            sample,
            rss_growth_bytes=grown,
            kept_s=keeping_s(self.length or 0, self._held_bytes() - max(grown, self._new_bytes())),
            longest_s=self.longest_s,
            **{name: getattr(weighed, name) for name in TRANSFER},
        )

    def _budget(self) -> float:
        n = self.length
        if n is None:
            return BUDGET_S
        item_s = self.decider.item_s
        if self.sizes:
            by_size_s = self.per_size_s * self.mean_size
            # The time may not depend on size: go up half-way only.
            item_s = min(by_size_s, sqrt(item_s * by_size_s))
        # The first call may have been an expensive one.
        if len(self.seen) > 1:
            others = self.seen[1:]
            item_s = min(item_s, sum(one.wall_s for one in others) / max(1, sum(one.items for one in others)))
        if n * item_s < LITTLE_S and not self.sizes:
            return max(BUDGET_S / 2, LITTLE_SHARE * n * item_s)
        return max(BUDGET_S, BUDGET_SHARE * n * item_s - REST_S)

    def _run(self, start: int, stop: int) -> Any:
        """Run these items; those beyond the head of an iterator are read first."""
        if self.rest is not None and stop > len(self.head):
            read_on(self.head, self.rest, stop - len(self.head))
            stop = min(stop, len(self.head))
        rounds = self.canary.rounds if self.canary is not None else 0
        seen = self.loop.run(start, stop)
        if self.canary is not None:
            self.rounds += self.canary.rounds - rounds
            self.watched_s += seen.wall_s
        self.outcome.finish(self.source.item)
        self.where.extend(range(start, min(start + seen.items, start + 2)))
        self.longest_s = max(self.longest_s, seen.wall_s / max(1, seen.items))
        self.seen.append(seen)
        if self.sizes and seen.items:
            self.seen_sizes.append(self._size_of(seen))
            self.per_size_s = self._per_size_s()
        return seen

    def _next(self, items: int) -> Any:
        n = self.length
        stop = self.at + items if n is None else min(self.at + items, n)
        seen = self._run(self.at, stop)
        self.at += seen.items
        return seen

    def _would_spend(self, items: int, item_s: float) -> float:
        """Return the time spent beyond the longest item, once ``items`` more have run."""
        return self.loop.clock.wall() - self.began_s + items * item_s - max(self.longest_s, item_s)

    def _again(self) -> None:
        """Run a second item if the first touched memory beyond its result, as expensive first calls do.

        After an expensive first call that costs little. Else it costs a short item (`AGAIN_S`), or one of very many.
        """
        laid_out = self.decider.first_bytes - sum(map(block_bytes, self.outcome.some(1)))
        is_short = self.decider.first_s < AGAIN_S and laid_out > COLD_BYTES
        is_one_of_many = (self.length or 0) * BUDGET_SHARE >= 1 and laid_out > LOADED_BYTES
        if (is_short or is_one_of_many) and self.length != 1:
            self.decider.saw(self._next(1))

    def _warm(self) -> None:
        """Run head items in growing batches, until one is long enough for the clock."""
        seen_s = self.decider.first_s
        while seen_s < BATCH_S / 2 or (self.at < 2 and not self.spread):
            # Each batch is faster than the one before, until caches are warm.
            expected = self.seen[-1].wall_s / max(1, self.seen[-1].items)
            size = max(1, min(3 * self.at, int(BATCH_S / max(expected, 1e-9))))
            if self._would_spend(size, expected) > self._budget():
                return
            seen = self._next(size)
            if not seen.items:
                return
            self.decider.saw(seen)
            seen_s = seen.wall_s

    def _held_bytes(self) -> float:
        """Return the mean bytes of memory of a result."""
        some = self.outcome.some(LOOKED_AT)
        return sum(map(held_bytes, some)) / max(1, len(some))

    def _new_bytes(self) -> float:
        """Return the new memory touched per item."""
        return sum(one.new_bytes for one in self.seen) / max(1, sum(one.items for one in self.seen))

    def _size(self) -> None:
        """Read the sizes of items, where that is fast: items of other sequences may be expensive to get."""
        data = self.source.data
        if self.rest is not None or type(data) not in (list, tuple, range):
            return  # to look at items of other sequences may be dear
        assert isinstance(data, list | tuple | range)
        self.size = how_to_size(data[:3])
        sizes = sizes_at(data, self.size)
        if sizes is not None and vary([size for _, size in sizes]):
            self.sizes = sizes
            self.mean_size = sum(size for _, size in sizes) / len(sizes)

    def _probe(self) -> None:
        """Run some neighbours at each of some spread positions, within the budget."""
        assert self.length is not None
        left = self.length - self.at
        if left < 2 * PROBES:
            return
        each = max(1, min(int(PROBE_EACH_S / max(self.decider.item_s, 1e-9)), left // (2 * PROBES)))
        seen: dict[int, Any] = {}
        most = MOST_PROBES if each == 1 else PROBES
        budget_s = self._budget()
        for start, size in islice(self._positions(left - each), MOST_LOOKS):
            if len(seen) >= most:
                break
            item_s = self._expected_s(size)
            items = max(1, min(each, int(PROBE_EACH_S / max(item_s, 1e-9))))
            if self._would_spend(items, item_s) > budget_s or item_s > max(budget_s, self._most_dear_s()):
                if size is None:
                    break
                # A smaller item may still fit.
                continue
            if all(abs(start - other) >= each for other in seen):
                one = self._run(start, start + items)
                if not one.items:
                    return  # func takes items off the data
                seen[start] = one
                self.decider.probed([one])
                budget_s = self._budget()

    def _most_dear_s(self) -> float:
        """Return the time that one item may take if large items make up much of the work."""
        return DEAR_SHARE * (self.length or 0) * self.per_size_s * self.mean_size

    def _positions(self, last: int) -> Iterator[tuple[int, float | None]]:
        """Yield positions to probe, up to ``last`` beyond the head, each with its size if sizes differ.

        First spread over the sizes, if known, beginning where half of the work is reached if it depends on size. Then
        over the data, beginning at the far end, where the items of sorted data take longest.
        """
        ranked = sorted((size, at) for at, size in self.sizes if self.at <= at <= self.at + last)
        if ranked:
            size, at = ranked[half_way([size for size, _ in ranked])]
            yield at, size
            yield from ((at, size) for size, at in (ranked[int(part * len(ranked))] for part in halves()))
        yield self.at + last, None
        yield from ((self.at + int(part * last), None) for part in halves())

    def _expected_s(self, size: float | None) -> float:
        """Return the seconds of an item of that size, if its cost depends on it."""
        rate = self.per_size_s if size is not None else 0.0
        return rate * (size or 0.0) if rate else self.decider.item_s

    def _per_size_s(self) -> float:
        """Return the seconds per size of the items that ran."""
        # The first call may have been an expensive one.
        beyond = min(1, len(self.seen) - 1)
        total = sum(size * one.items for one, size in zip(self.seen[beyond:], self.seen_sizes[beyond:], strict=True))
        return sum(one.wall_s for one in self.seen[beyond:]) / total if total > 0 else 0.0

    def _size_of(self, seen: Observation) -> float:
        """Return the mean size of some neighbours."""
        if self.size is None:
            return 0.0
        stop = seen.start + seen.items
        looked = self.source.data[seen.start : stop : -(-seen.items // NEIGHBOURS)]
        return sum(size or 0.0 for size in map(self.size, looked)) / max(1, len(looked))

    def _watch(self) -> None:
        """Run more items beside the canary until its answer is certain, if it matters, within the budget."""
        opening, n, item_s = self.decider, self.length, self.decider.item_s
        held, missing_s = self._gil_held(), WATCH_ENOUGH_S - self.watched_s
        is_free = held is not None and held <= LOCK_FREE
        if self.canary is None or is_free or missing_s <= 0 or opening.cpu_s < (1 - WAITS) * opening.wall_s:
            return
        if item_s <= 0 or (n or 10_000) * item_s < WORTH_WATCHING_S:
            return
        items = round(missing_s / item_s)
        if not items and held is None:
            items = int(self._would_spend(1, item_s) < self._budget())
        if n is not None:
            items = min(items, n - self.at)
        if items > 0 and self.watched_s + items * item_s >= WATCH_S:
            # The canary slows these items a little, so that they do not count in the mean.
            self._next(items)

    def _stop_watching(self) -> None:
        if self.canary is not None:
            self.canary.stop()
            self.decider.were_late(self.canary.late_s)
            self.canary = None

    def _gil_held(self) -> float | None:
        """Return the share of the time in which items held the lock; None if the watch was too short."""
        return held_share(self.rounds, self.watched_s) if self.watched_s >= WATCH_S else None

    def _lock_matters(self) -> bool:
        """Return True if threads could beat processes: where starting processes or pickling costs enough."""
        if not self.processes or (self.length or 10_000) * self.decider.item_s < SHORT_S:
            return True
        first = self.first_weighed
        return first is None or first.transfer_error is not None or first.arg_bytes + first.result_bytes > LIGHT_BYTES

    def _straightened(self, sample: Sample) -> Sample:
        """Return the sample, corrected by the sizes of all items."""
        if not self.sizes or self.size is None:
            return sample
        # The first call may have been slower, with cold caches, which would hide how the others depend on size.
        seen = [one for one in (self.seen[1:] if len(self.seen) > 2 or sample.first_call_s else self.seen) if one.items]
        means = self.seen_sizes[-len(seen) :]
        everything = Sizes.of([size for _, size in self.sizes], max(means, default=0.0))
        is_number = all(issubclass(type(item), int | float) for item in self.source.data[:1])
        if means and not vary(means, SAMPLED_DIFFER) and (len(means) > 1 or not is_number):
            return guessed(sample, sum(means) / len(means), everything)
        return straightened(sample, means, [one.wall_s / one.items for one in seen], everything)

    def _weigh(self) -> Sample:
        """Weigh items, results and the function, pickled as ``multiprocessing.Pool`` does."""
        where = self.where[:WEIGHED]
        first = self.first_weighed
        if first is not None and sum(getattr(first, name) for name in TRANSFER_S) > WEIGH_S:
            return first  # one alone takes longer than there is time for
        items = self._items_at(where)
        results = [self.outcome.by_index[i] for i in where if i in self.outcome.by_index]
        return weigh(items, results, in_band=True, func=self.func)

    def _items_at(self, where: list[int]) -> list[Any]:
        """Return some of the items, to be weighed; none that is gone, or that cannot be had a second time."""
        try:
            return [self.source.item(i) for i in where]
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return []

    def _weigh_first(self) -> None:
        self.first_weighed = weigh(self._items_at([0]), self.outcome.some(1), in_band=True, func=self.func)


TRANSFER_S: Final = ("arg_pickle_s", "arg_unpickle_s", "result_pickle_s", "result_unpickle_s")
TRANSFER: Final = ("arg_bytes", "result_bytes", *TRANSFER_S, "transfer_error")


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
