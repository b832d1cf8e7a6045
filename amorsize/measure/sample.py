"""The user's function on a few real items, for ``optimize()``: each item run once, within a bound.

Beyond one item and a dear first call, a sample takes at most 5 ms, or 1 % of the serial time it forecasts if that is
more. Indexable data is looked at in spread positions, since the first items of sorted data lie; fast functions in
batches, so that the clock does not measure itself. While the first item runs, and some more if it was short, a canary
looks whether the lock is free (`amorsize.measure.lock`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from math import sqrt
from typing import Any, Final

from amorsize.facts import Observation, Sample
from amorsize.frozen import replace
from amorsize.measure.lock import Canary
from amorsize.measure.memory import resident_bytes, touch_s_per_byte
from amorsize.measure.size import how_to_size, sizes_at
from amorsize.measure.transfer import weigh
from amorsize.model.covariate import Sizes, guessed, half_way, halves, straightened, vary
from amorsize.model.evidence import WAITS
from amorsize.model.opening import LOCK_FREE, PROBES, Opening
from amorsize.run.loop import Loop
from amorsize.run.outcome import Outcome
from amorsize.run.source import Indexable, Streamed

BUDGET_S: Final = (
    1.5e-3  # for all items but the first; with a look at the machine, the lock and the candidates it is 5 ms
)
BUDGET_SHARE: Final = 0.01  # of the forecast serial time, where that is more, less what the rest of asking takes:
REST_S: Final = 2.5e-3
BATCH_S: Final = 0.2e-3  # of a fast function at a time: some 200 times what reading the clocks takes
PROBE_EACH_S: Final = 0.3e-3  # of fast items at each position: with cold caches 10 µs look like 15
WATCH_S: Final = 1.2e-3  # less than this beside a canary says nothing; by then one that may runs has come round 4 times
WATCH_ENOUGH_S: Final = 2e-3
WORTH_WATCHING_S: Final = 10e-3  # of serial time in all: below it a loop is best whatever the lock does
MOST_PROBES: Final = 64
DEAR_SHARE: Final = 0.025  # of the serial time, for one item that stands for half of the work
NEIGHBOURS: Final = 64  # whose sizes are looked at
MOST_LOOKS: Final = 256  # positions considered, most of them too dear
SHORT_S: Final = 0.2  # of serial time: below it the start of a Pool (15 ms) weighs against threads
LIGHT_BYTES: Final = 20_000  # an item and its result of less than this cross a pipe in some 50 µs
READY_BYTES: Final = 32 << 20  # that an allocator may have ready (glibc keeps up to 64 MB at the top of its heap)
WEIGHED: Final = 16  # items and results


class Sampler:
    """Takes one sample.

    Parameters
    ----------
    func : callable
    source : Indexable or Streamed
        Items taken from an iterator are kept in ``head``.
    spread : bool
        Whether to look at spread positions of indexable data, instead of the first items.
    watch : bool
        Whether to look at the lock.
    processes : bool
        Whether processes may be chosen as well as threads.
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
        self.watch = watch
        self.processes = processes
        self.head: list[Any] = []
        self.rest: Iterator[Any] | None = None if isinstance(source, Indexable) else source.rest
        self.outcome = Kept()
        self.source = source if isinstance(source, Indexable) else Indexable(self.head)
        self.loop = Loop(func, self.source, self.outcome)
        self.opening = Opening(source.length, indexable=self.spread, most_cores=2)
        self.at = 0
        self.spent_s = 0.0
        self.where: list[int] = []
        self.seen: list[Observation] = []
        self.gil_held: float | None = None
        self.size: Callable[[Any], float | None] | None = None
        self.sizes: list[tuple[int, float]] = []  # at some positions, if they differ
        self.mean_size = 0.0
        self.seen_sizes: list[float] = []  # of what was looked at

    def take(self) -> Sample:
        """Run the items and say what they told. Raises what ``func`` raises, with a note that names the item."""
        before = resident_bytes()
        self._size()
        self.gil_held = self._first()
        if self.opening.items:
            self._warm()
            watch = self.watch and self.gil_held is None and self._lock_matters()
            if self.spread:
                with Canary() if watch else nullcontext() as canary:
                    probed_s = self._probe()
                if canary is not None and probed_s >= WATCH_S:
                    self.gil_held = canary.gil_held
            if watch and (self.gil_held is None or self.gil_held > LOCK_FREE):  # a canary can oversleep
                again = self._watch()
                self.gil_held = min(again, self.gil_held or 1.0) if again is not None else self.gil_held
        self.opening.gil_held = self.gil_held
        grown = max(0, resident_bytes() - before) / max(1, self.opening.items)
        sample = self._straightened(self.opening.sample())
        weighed = self._weigh()
        return replace(
            sample,
            rss_growth_bytes=grown,
            kept_s=self._kept_s(weighed.result_bytes - grown),
            **{name: getattr(weighed, name) for name in TRANSFER},
        )

    def _budget(self) -> float:
        n = self.length
        if n is None:
            return BUDGET_S
        item_s = self.opening.item_s
        if self.sizes:
            by_size_s = self._per_size_s() * self.mean_size
            item_s = min(
                by_size_s, sqrt(item_s * by_size_s)
            )  # half-way up, till more is known: it may not go with sizes
        return max(BUDGET_S, BUDGET_SHARE * n * item_s - REST_S)

    def _run(self, start: int, stop: int) -> Any:
        """Run these items; beyond the head of an iterator, read on."""
        if self.rest is not None and stop > len(self.head):
            self.head.extend(islice(self.rest, stop - len(self.head)))
            stop = min(stop, len(self.head))
        seen = self.loop.run(start, stop)
        self.outcome.finish(self.source.item)  # what an item raised belongs to the user
        self.where.extend(range(start, min(start + seen.items, start + 2)))
        self.spent_s += seen.wall_s
        self.seen.append(seen)
        if self.sizes and seen.items:
            self.seen_sizes.append(self._size_of(seen))
        return seen

    def _next(self, items: int) -> Any:
        n = self.length
        stop = self.at + items if n is None else min(self.at + items, n)
        seen = self._run(self.at, stop)
        self.at += seen.items
        return seen

    def _first(self) -> float | None:
        """The first item, with a canary beside it, which has something to say if the item is long."""
        with Canary() if self.watch else nullcontext() as canary:
            self.opening.saw(self._next(1))
        long_enough = self.spent_s >= 2 * WATCH_S
        self.spent_s = 0.0  # one item is free
        return canary.gil_held if canary is not None and long_enough else None

    def _warm(self) -> None:
        """Head items in doubling batches, until the clock has something to measure."""
        seen_s = self.opening.first_s
        while seen_s < BATCH_S / 2 or (self.at < 2 and not self.spread):
            expected = self.opening.rate_s
            size = max(1, min(self.at, int(BATCH_S / max(expected, 1e-9))))
            if self.spent_s + size * expected > self._budget():
                return
            seen = self._next(size)
            if not seen.items:
                return
            self.opening.saw(seen)
            seen_s = seen.wall_s

    def _kept_s(self, unseen_bytes: float) -> float:
        """What it takes to keep a result, of which so many bytes came from memory that lay ready while sampling."""
        if (self.length or 0) * unseen_bytes < READY_BYTES:
            return 0.0
        return unseen_bytes * touch_s_per_byte()

    def _size(self) -> None:
        """Look how large items are, where that is quick to tell."""
        data = self.source.data
        if self.rest is not None or not isinstance(data, list | tuple | range):
            return  # to look at items of other sequences may be dear
        self.size = how_to_size(data[:3])
        sizes = sizes_at(data, self.size)
        if sizes is not None and vary([size for _, size in sizes]):
            self.sizes = sizes
            self.mean_size = sum(size for _, size in sizes) / len(sizes)

    def _probe(self) -> float:
        """Some neighbours at each of some spread positions, within the budget; the seconds that they took."""
        assert self.length is not None
        left = self.length - self.at
        if left < 2 * PROBES:
            return 0.0
        each = max(1, min(int(PROBE_EACH_S / max(self.opening.item_s, 1e-9)), left // (2 * MOST_PROBES)))
        seen: dict[int, Any] = {}
        most = MOST_PROBES if each == 1 else PROBES
        budget_s, dear_s = self._budget(), 0.0
        for start, size in islice(self._positions(left - each), MOST_LOOKS):
            if len(seen) >= most:
                break
            expected_s = each * self._expected_s(size)
            dear = not seen and size is not None and budget_s < expected_s < self._most_dear_s()
            dear = dear and expected_s > 2 * self.opening.first_s
            if self.spent_s - dear_s + expected_s > budget_s and not dear:
                if size is None:
                    break
                continue  # a smaller one may still do
            if all(abs(start - other) >= each for other in seen):
                seen[start] = one = self._run(start, start + each)
                self.opening.probed([seen[at] for at in sorted(seen)])
                budget_s, dear_s = self._budget(), one.wall_s if dear else dear_s
        return float(sum(one.wall_s for one in seen.values()))

    def _most_dear_s(self) -> float:
        """What one item may take because much of the work lies in such ones, in place of the first, which did not."""
        return DEAR_SHARE * (self.length or 0) * self._per_size_s() * self.mean_size

    def _positions(self, last: int) -> Iterator[tuple[int, float | None]]:
        """Where to look, up to ``last`` beyond those looked at, with the size there if sizes differ.

        Spread over the sizes where there are some: first the one that half of the work lies beyond, if it goes with the
        size. Else over the data, the far end first, where sorted data is dearest.
        """
        ranked = sorted((size, at) for at, size in self.sizes if self.at <= at <= self.at + last)
        if ranked:
            size, at = ranked[half_way([size for size, _ in ranked])]
            yield at, size
            yield from ((at, size) for size, at in (ranked[int(part * len(ranked))] for part in halves()))
        yield self.at + last, None
        yield from ((self.at + int(part * last), None) for part in halves())

    def _expected_s(self, size: float | None) -> float:
        """Seconds of an item of that size, if the cost goes with it."""
        rate = self._per_size_s() if size is not None else 0.0
        return rate * (size or 0.0) if rate else self.opening.item_s

    def _per_size_s(self) -> float:
        """Seconds per size of what was looked at; 0: nobody can tell."""
        beyond = min(1, len(self.seen) - 1)  # the first call may have been a dear one
        total = sum(size * one.items for one, size in zip(self.seen[beyond:], self.seen_sizes[beyond:], strict=True))
        return sum(one.wall_s for one in self.seen[beyond:]) / total if total > 0 else 0.0

    def _size_of(self, seen: Observation) -> float:
        """Mean size of some neighbours."""
        if self.size is None:
            return 0.0
        looked = range(seen.start, seen.start + min(seen.items, NEIGHBOURS))
        return sum(self.size(self.source.item(at)) or 0.0 for at in looked) / len(looked)

    def _watch(self) -> float | None:
        """Run on beside a canary, as far as the budget goes."""
        opening = self.opening
        n = self.length
        if opening.cpu_s < (1 - WAITS) * opening.wall_s:
            return None
        total_s = (n or 10_000) * opening.item_s
        if total_s < WORTH_WATCHING_S or opening.item_s <= 0:
            return None
        items = round(WATCH_ENOUGH_S / opening.item_s) or int(self._budget() - self.spent_s > opening.item_s)
        if n is not None:
            items = min(items, n - self.at)
        if items < 1 or items * opening.item_s < WATCH_S:
            return None
        with Canary() as canary:  # the items beside it are slowed a little: they are not counted in the mean
            seen = self._next(items)
        return canary.gil_held if seen.wall_s >= WATCH_S else None

    def _lock_matters(self) -> bool:
        """Whether threads could beat processes: where starting processes, or what must travel, weighs something."""
        if not self.processes or (self.length or 10_000) * self.opening.item_s < SHORT_S:
            return True
        first = weigh([self.source.item(0)], self.outcome.some(1), in_band=True, func=self.func)
        return first.transfer_error is not None or first.arg_bytes + first.result_bytes > LIGHT_BYTES

    def _straightened(self, sample: Sample) -> Sample:
        """The sample, as the sizes of all the items say that it should be."""
        if not self.sizes or self.size is None:
            return sample
        # The first call may have been slower, with cold caches, and would hide that the others go with their sizes.
        seen = [one for one in (self.seen[1:] if len(self.seen) > 2 or sample.first_call_s else self.seen) if one.items]
        means = self.seen_sizes[-len(seen) :]
        everything = Sizes.of([size for _, size in self.sizes], max(means, default=0.0))
        is_number = isinstance(self.source.item(0), int | float)
        if means and not vary(means) and (len(means) > 1 or not is_number):
            return guessed(sample, sum(means) / len(means), everything)
        return straightened(sample, means, [one.wall_s / one.items for one in seen], everything)

    def _weigh(self) -> Sample:
        """What travels between processes, as ``multiprocessing.Pool`` sends it: items, results and the function."""
        where = self.where[:WEIGHED]
        items = [self.source.item(i) for i in where]
        results = [self.outcome.by_index[i] for i in where if i in self.outcome.by_index]
        return weigh(items, results, in_band=True, func=self.func)


TRANSFER: Final = (
    "arg_bytes",
    "result_bytes",
    "arg_pickle_s",
    "arg_unpickle_s",
    "result_pickle_s",
    "result_unpickle_s",
    "transfer_error",
)


class Kept(Outcome):
    """Results by index, wherever they lie: a list would be filled up to the farthest of them (5 ms for 200,000)."""

    def __init__(self) -> None:
        super().__init__("raise")
        self.by_index: dict[int, Any] = {}

    def place_for(self, start: int) -> list[Any]:
        """A new list."""
        return []

    def _keep(self, start: int, values: list[Any]) -> None:
        self.by_index.update(enumerate(values[:WEIGHED], start))

    def some(self, most: int) -> list[Any]:
        """Some of them."""
        return list(islice(self.by_index.values(), most))
