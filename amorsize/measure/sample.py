"""A sample for ``optimize()``: runs the user's function on a few real items, each once, within a time bound.

Beyond one item and an expensive first call, a sample takes at most 5 ms, or 1 % of the serial time it forecasts if that
is more; what is loaded meanwhile does not count. Items of indexable data run at spread positions, one at each, since
the first items of sorted data mislead: by their sizes, where these can be read, the next one always where most of the
forecast work lies unseen. Only where items are so short that reading the clock distorts their time, neighbours run
together. It ends when the mean is known well enough. Meanwhile a canary measures how often the lock is free
(`amorsize.measure.gil`).
"""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from math import ceil

from amorsize.backends.gc_pause import RESULTS_ARE_KEPT
from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import Indexable, Streamed, read_on
from amorsize.facts import OWN_THREADS, WAITS, Observation, Sample
from amorsize.frozen import replace
from amorsize.measure.cost_scale import Seen
from amorsize.measure.cost_walk import BATCH_S, BUDGET_SHARE, MOST_PROBES, Walk, budget_s
from amorsize.model.decide import LOCK_FREE, WEIGHED, Decider
from amorsize.model.head import COLD_BYTES
from amorsize.system.clock import late_s
from amorsize.system.looks import block_bytes, is_interrupt, mean_held_bytes
from amorsize.system.memory import keeping_s, resident_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

    from amorsize.measure.gil import Canary

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
# With less serial time, the start of a Pool (15 ms) weighs against threads.
SHORT_S: Final = 0.2
# guess: with less serial time, to wait for threads that spin takes too large a part of it
WORTH_WAITING_S: Final = 0.5
# guess: of fewer items one more is too large a part
MANY: Final = 40
# Shorter items run together, so that caches that are cold and clocks that are read do not look like native threads.
ALONE_S: Final = 2e-3
# guess: if func takes so many times as long with one native thread, its own threads are of use
PROFITS: Final = 1.3
# The CPU time of other threads is counted by ticks of 4 ms.
AT_REST_S: Final = 12e-3
# An item and its result of fewer bytes cross a pipe in some 50 µs.
LIGHT_BYTES: Final = 20_000


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
        self.where: list[int] = []
        self.seen = Seen()
        # Of indexable data, from `take` on.
        self.walk: Walk | None = None
        self.late_before_s = 0.0
        self.canary: Canary | None = None
        if watch:
            # It loads threading and weakref (2 ms).
            from amorsize.measure.gil import Canary

            self.canary = Canary()
        # True if this process cannot have one more thread.
        self.has_no_thread = False
        # Of the canary, while items ran.
        self.rounds, self.watched_s = 0, 0.0
        # Seconds in which they waited for a core beside it.
        self.late_s = 0.0

    def take(self) -> Sample:
        """Run the items and return their sample. An exception of ``func`` is raised with a note that names the item."""
        before = resident_bytes()
        self.late_before_s = late_s()
        if self.spread:
            self.walk = Walk(self.source.data, self.length or 1, self.seen)
        try:
            # As in the loop of which they tell: a full collection takes as long as many items.
            RESULTS_ARE_KEPT.begin(self)
            if self.canary is None:
                self._run_all()
            else:
                with self.canary:
                    self.has_no_thread = self.canary.is_blind
                    self._run_all()
        finally:
            RESULTS_ARE_KEPT.end(self)
        self._stop_watching()
        self.decider.gil_held = self._gil_held()
        grown = max(0, resident_bytes() - before) / max(1, self.decider.items)
        kept_bytes = mean_held_bytes(self.outcome.some(WEIGHED)) - max(grown, self._new_bytes())
        sample = self.decider.sample()
        if self.walk is not None and len(self.seen):
            sample = self.walk.corrected(sample, self.late_s)
        n = self.length or 10_000
        if sample.own_threads > OWN_THREADS and n >= MANY and n * sample.item_s > WORTH_WAITING_S:
            sample = self._without_others(sample)
        return replace(
            sample,
            rss_growth_bytes=grown,
            kept_s=keeping_s(self.length or 0, kept_bytes),
            longest_s=self.seen.longest_s,
        )

    def _without_others(self, sample: Sample) -> Sample:
        """Return the sample without what threads that are not func's seemed to add to it.

        Where func takes much longer with one native thread, they are func's, which is known without waiting for others.
        While these items run, so does all else in this process that uses BLAS or OpenMP.
        """
        from amorsize.backends.workers.native_threads import one_native_thread
        from amorsize.measure.gil import Canary
        from amorsize.measure.spinning import busy_at_rest

        with one_native_thread():
            alone = self._run_beside(sample.item_s, ceil(ALONE_S / max(sample.item_s, 1e-9)))
        if not alone.items or alone.wall_s > PROFITS * alone.items * sample.item_s:
            return sample
        others = busy_at_rest()
        self.rounds, self.watched_s = 0, 0.0
        with Canary() as self.canary:
            seen = self._run_beside(sample.item_s, ceil(AT_REST_S / max(sample.item_s, 1e-9)))
        self.canary = None
        if seen.wall_s < WATCH_S:
            return sample
        own_threads = max(0.0, seen.process_cpu_s / seen.wall_s - others)
        return replace(sample, own_threads=own_threads, gil_held=self._gil_held())

    def _run_beside(self, item_s: float, items: int) -> Observation:
        """Run items that take about ``item_s`` seconds each; they do not count in the mean."""
        start, stop = (self.at, self.at + items) if self.walk is None else self.walk.near(item_s, items)
        counted, longest_s = len(self.seen), self.seen.longest_s
        seen = self._run(start, stop if self.length is None else min(stop, self.length))
        self.seen.forget_after(counted)
        self.seen.longest_s = longest_s
        if self.walk is None:
            self.at += seen.items
        return seen

    def _budget_s(self, item_s: float) -> float:
        return budget_s(self.length, item_s) if self.walk is None else self.walk.budget_s(item_s)

    def _run(self, start: int, stop: int) -> Observation:
        """Run these items; those beyond the head of an iterator are read first."""
        if self.rest is not None and stop > len(self.head):
            read_on(self.head, self.rest, stop - len(self.head))
            stop = min(stop, len(self.head))
        rounds = self.canary.rounds if self.canary is not None else 0
        began_s = self.loop.clock.wall()
        seen = self.loop.run(start, stop)
        took_s = self._took_s(seen)
        self.seen.spent_s += self.loop.clock.wall() - began_s - (seen.wall_s - took_s)
        if self.canary is not None:
            self.rounds += self.canary.rounds - rounds
            self.watched_s += seen.wall_s
        self.outcome.finish(self.source.item)
        self.where.extend(range(start, min(start + seen.items, start + 2)))
        self.seen.longest_s = max(self.seen.longest_s, took_s / max(1, seen.items))
        if seen.items:
            self.seen.add(seen, took_s)
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
        self.seen.was_cold = self._was_cold()
        if self.length != 1 and self.seen.was_cold:
            self.decider.saw(self._next(1))
        seen_s = self.decider.first_s
        while seen_s < BATCH_S / 2 or self.at < 2:
            # Each batch is faster than the one before, until caches are warm.
            expected = self.seen.observations[-1].wall_s / max(1, self.seen.observations[-1].items)
            size = max(1, min(3 * self.at, int(BATCH_S / max(expected, 1e-9))))
            others_s = self.decider.head_s - self.decider.first_s
            item_s = min(self.decider.item_s, others_s / (self.at - 1)) if self.at > 1 else self.decider.item_s
            if self.seen.spent_s + size * expected - max(self.seen.longest_s, expected) > self._budget_s(item_s):
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

    def _spread(self, walk: Walk) -> None:
        """Run items where most of the work lies unseen, until the mean is known well enough or the budget is spent."""
        at = walk.first_position()
        first = self._run(at, at + 1)
        self.decider.saw(first)
        if not first.items:
            return
        self.seen.was_cold = self._was_cold()
        if walk.is_worth_repeating():
            # One beside it, as dear: caches, allocators and lazy imports may have made the first one slow.
            seen = self._run(*walk.span(max(0, at - 1), 1))
            if not seen.items:
                return
            self.decider.probed([seen])
            walk.is_repeated = True
        for _ in range(MOST_PROBES):
            began_s = self.loop.clock.thread_cpu()
            found = walk.next()
            if found is None:
                return
            # To look for it takes time as well.
            self.seen.spent_s += self.loop.clock.thread_cpu() - began_s
            if self.canary is not None and self._is_watched():
                self._stop_watching()
            seen = self._run(*found)
            if not seen.items:
                return  # func takes items off the data
            self.decider.probed([seen])
            walk.ran(seen)

    # -- the lock -------------------------------------------------------------------------------------------------

    def _run_all(self) -> None:
        if self.walk is not None:
            self._spread(self.walk)
        else:
            self._first_items()
        if self.decider.items:
            if self._is_watched():
                self._stop_watching()
            self._watch()

    def _new_bytes(self) -> float:
        """Return the new memory touched per item."""
        return sum(one.new_bytes for one in self.seen.observations) / max(1, self.seen.items)

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
            items = int(self.seen.spent_s + item_s - max(self.seen.longest_s, item_s) < self._budget_s(item_s))
        start, stop = self.at, self.at + items
        if self.walk is not None:
            start, stop = self.walk.near(item_s, items)
        if n is not None:
            stop = min(stop, n)
        if stop > start and self.watched_s + (stop - start) * item_s >= WATCH_S:
            # The canary slows these items a little, so that they do not count in the mean.
            counted = len(self.seen)
            seen = self._run(start, stop)
            self.seen.forget_after(counted)
            if self.walk is None:
                self.at += seen.items

    def _item_s(self) -> float:
        """Return the expected seconds of an item."""
        return self.walk.mean_s if self.walk is not None else self.decider.item_s

    def _stop_watching(self) -> None:
        if self.canary is not None:
            self.canary.stop()
            self.decider.were_late(self.canary.late_s)
            self.late_s = self.canary.late_s
            self.canary = None

    def _gil_held(self) -> float | None:
        """Return the share of the time in which items held the lock; None if the watch was too short."""
        if self.watched_s < WATCH_S:
            return None
        from amorsize.measure.gil import held_share

        return held_share(self.rounds, self.watched_s)

    def _is_watched(self) -> bool:
        """Return True if the watch was long enough, or if threads could not beat processes anyway.

        They could where starting processes or pickling costs enough.
        """
        if self.watched_s >= WATCH_ENOUGH_S:
            return True
        if not self.processes or (self.length or 10_000) * self._item_s() < SHORT_S:
            return False
        first = self._first_weighed
        return first.transfer_error is None and first.arg_bytes + first.result_bytes <= LIGHT_BYTES

    # -- transfer ---------------------------------------------------------------------------------------------------

    def weighed(self, sample: Sample) -> Sample:
        """Return the sample with what items, results and the function weigh, pickled as ``multiprocessing.Pool`` does.

        Not part of `take`: only where workers may be worth their start is it worth loading what it needs (5 ms).
        """
        from amorsize.measure.transfer import BUDGET_S, FUNC, weigh

        if not self.where:
            # There was no item.
            return sample
        where, found = self.where[:WEIGHED], self._first_weighed
        # Else one alone takes longer than there is time for.
        if sum(getattr(found, name) for name in TRANSFER_S) <= BUDGET_S:
            results = [self.outcome.by_index[i] for i in where if i in self.outcome.by_index]
            found = weigh(self._items_at(where), results, in_band=True, func=self.func, known=found)
        names = ("arg_bytes", "result_bytes", *TRANSFER_S, *FUNC, "transfer_error")
        return replace(sample, **{name: getattr(found, name) for name in names})

    @cached_property
    def _first_weighed(self) -> Sample:
        from amorsize.measure.transfer import weigh

        return weigh(self._items_at(self.where[:1]), self.outcome.some(1), in_band=True, func=self.func)

    def _items_at(self, where: list[int]) -> list[Any]:
        """Return some of the items, to be weighed; none that is gone, or that cannot be had a second time."""
        try:
            return [self.source.item(i) for i in where]
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return []


TRANSFER_S: Final = ("arg_pickle_s", "arg_unpickle_s", "result_pickle_s", "result_unpickle_s")


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
