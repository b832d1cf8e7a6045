"""How a run begins: a plain loop in the caller that says when to go parallel, if ever.

Nothing measured is thrown away: every item that is looked at is an item of the user's, run once, its result kept.
The loop costs next to nothing (the clock is read about once a millisecond), so a map that is not worth workers never
pays for any. This is ski rental (Karlin, Manasse, Rudolph & Sleator 1988): what is spent in the loop before going
parallel is bounded by what starting would have cost.

A pure state machine: `Opening.next` says what to do, and the driver reports back through `saw`, `probed`, `weighed`,
`watched` and `tried`. In order, as far as each is worth it:

1. run head items in doubling batches;
2. **probe** a few spread positions (the first items of sorted data lie);
3. **weigh** what pickling a result costs;
4. **watch the lock**: does the function release the GIL? Only where threads could then beat processes;
5. **try threads** on real items for a few milliseconds, since the lock is not all that threads share;
6. choose by the model, and go, or look again later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Final, NamedTuple

from amorsize.facts import Backend, Costs, Forecast, Machine, Observation, Sample
from amorsize.model.cost import OWN_THREADS, forecast
from amorsize.model.search import MARGIN, choose

BATCH_S: Final = 1e-3  # the clock is read about once per millisecond
LONG_BATCH_S: Final = 10e-3  # once it is known that nothing beats the loop: somebody may still want to end it
EVIDENCE_ITEMS: Final = 3
SURE_SHARE: Final = 0.05  # what starting in vain may cost, of what was spent already (the project's own promise:
SURE_S: Final = 2e-3  # never slower than the loop by more than 5 % and 2 ms); below it no more evidence is asked for
PROBES: Final = 8  # spread positions
PROBE_EACH_S: Final = 0.1e-3  # of quick items at each position, so that the clock does not measure itself
PROBE_S: Final = 5e-3  # beyond it, probing ends (or at 1 % of the forecast, if that is more)
WATCH_S: Final = 2.5e-3  # beside the canary: on a quiet machine it has come round 8 times by then, or not once
WATCH_LONGEST_S: Final = 5e-3  # until a lock that looks held is believed to be: a canary can oversleep
WATCH_GAIN_S: Final = (
    4e-3  # that threads must promise before it is worth watching: it takes 0.3 ms, and its items' time
)
SURELY_FREE: Final = 0.25  # held less than this: a failed trial is worth a second one
LOCK_FREE: Final = 0.5  # a smaller share of the time in which the lock is held is believed at once
TRY_S: Final = 8e-3  # of items, run on two threads
HANDED_OVER_S: Final = 50e-6  # items as short as the time in which a lock changes hands (20-50 µs)
TRY_ITEM_S: Final = 5e-3  # longer items are not tried: their own watch is evidence enough
TRY_GAIN: Final = 1.4  # two threads must be this much faster than one to be believed: reading and hashing small files
# came to 1.3 in a trial, and to 0.95 in all
WAITS: Final = 0.5  # a larger share of waiting needs no watch: who waits does not hold the lock
CHEAP_THREADS_S: Final = 0.4e-3  # starting two threads, at the least
CHEAP_PROCESSES_S: Final = 4.5e-3  # starting and leaving two forked workers, at the least
FIRST_CPU: Final = (
    0.5  # of what a first call that waits takes of the CPU, later ones take: 0.1 ms fell to 0.05 with warm caches
)
RESULT_S: Final = 0.1e-6  # to pickle and unpickle the smallest result, as one of many
NEWS: Final = 0.2  # relative change of the estimate that makes an answered question worth asking again
LOOK_AGAIN: Final = 1.5  # growth of the time spent, or of the estimate, before the same question is asked again
KEEPS_UP: Final = 0.7  # a loop that is busy for less of the time keeps up with the rate that items may begin at
RATE_WEIGHT: Final = 0.3
CROWDED: Final = 1.2  # a loop that others slow down by more cannot tell by whom the lock is held
PRIOR_RANGE: Final = 3.0  # items that take so many times more or less than what is recalled are other items
PRIOR_CHECK_S: Final = 2e-3  # items that should be shorter are looked at before what is recalled is acted upon
PRIOR_S: Final = 20e-3  # of the loop: after that the items speak for themselves
UNSURE: Final = 0.3  # relative standard error of the mean, from one item


class RunMore(NamedTuple):
    """Run so many further items in the loop."""

    items: int


class Probe(NamedTuple):
    """Run ``items`` neighbours at each of so many positions spread over what is left, until ``budget_s`` is spent.

    ``watch``: with a canary beside them.
    """

    positions: int
    items: int
    budget_s: float
    watch: bool = False


@dataclass(frozen=True, slots=True)
class Weigh:
    """Measure what it costs to pickle a few items and results."""


class WatchLock(NamedTuple):
    """Run so many further items in the loop while a canary thread looks how often the GIL is free."""

    items: int


class TryThreads(NamedTuple):
    """Run so many further items on two threads."""

    items: int


class Go(NamedTuple):
    """Run what is left as forecast."""

    forecast: Forecast


Step = RunMore | Probe | Weigh | WatchLock | TryThreads | Go


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an opening may choose from.

    Attributes
    ----------
    backends : tuple of str
        Backends allowed; without ``"serial"`` it goes parallel as soon as it has some evidence.
    machine : Machine
    costs : Costs
    max_workers, memory_limit_bytes : int or None
        The user's limits.
    caller_rss_bytes : int
        Memory of the caller whose page tables a fork must copy.
    """

    backends: tuple[Backend, ...]
    machine: Machine
    costs: Costs
    max_workers: int | None = None
    memory_limit_bytes: int | None = None
    caller_rss_bytes: int = 0


class Opening:
    """Decides over the first items of a run.

    Parameters
    ----------
    n_items : int or None
        Items in all; None when nobody knows: then as much is expected to come as has been.
    indexable : bool
        Whether items may be run out of order.
    most_cores : int
        Cores that there can be at the most, asked before anybody looks at the machine.
    spread : bool
        Whether to probe spread positions.
    rate : float, optional
        Items per second that may begin.
    """

    def __init__(
        self,
        n_items: int | None,
        *,
        indexable: bool,
        most_cores: int,
        spread: bool = True,
        rate: float | None = None,
    ) -> None:
        self.n_items = n_items
        self.rate = rate
        self.most_cores = most_cores
        self.terms: Terms | None = None
        self.items = 0
        self.wall_s = self.cpu_s = self.process_cpu_s = 0.0
        self.head_items = 0
        self.head_s = 0.0
        self.first_s = 0.0
        self.rate_s = 0.0  # recent seconds per item, exponentially weighted
        self.probes: list[Observation] = []
        self.batches: list[tuple[int, float]] = []  # the first ones, for the spread between items
        self.may_probe = indexable and spread
        self.transfer: Sample | None = None
        self.gil_held: float | None = None
        self.watched_s = 0.0
        self.trials = 0
        self.threads_gain: float | None = None
        self.look_at_s = 0.0
        self._item_s: float | None = None
        self.looked_left_s = self.looked_item_s = 0.0
        self.prior: Sample | None = None  # what earlier maps of the same function over such data have shown
        self.lost: tuple[Backend, ...] = ()
        self.n_before = 0  # items of the last such map, where their number is not known now
        self.slowdown = 1.0  # of the loop, by other calls that want the interpreter's lock at the same time

    # -- what the driver reports ---------------------------------------------------------------------------------

    def recall(
        self,
        prior: Sample,
        threads_gain: float | None = None,
        lost: Sequence[Backend] = (),
        n_items: int | None = None,
    ) -> None:
        """Take in, before the first item, what earlier maps have shown; it counts until an item speaks against it.

        ``lost``: backends that were slower than the loop. ``n_items``: how many there were, if nobody knows now.
        """
        self.n_before = n_items or 0
        self.lost = tuple(lost)
        self.prior = self.transfer = prior
        self.gil_held, self.watched_s = prior.gil_held, WATCH_LONGEST_S
        self.threads_gain, self.trials = threads_gain, 2

    def saw(self, seen: Observation) -> None:
        """Take in a batch of head items."""
        if not seen.items:
            return
        if not self.items:
            self.first_s = seen.wall_s / seen.items
        self._add(seen)
        self.head_items += seen.items
        self.head_s += seen.wall_s
        self._check_prior()
        rate = seen.wall_s / seen.items
        # The second batch takes the first one's place: the first call may have been a dear one.
        blend = RATE_WEIGHT if len(self.batches) > 1 else 1.0
        self.rate_s += blend * (rate - self.rate_s)
        if len(self.batches) < 64:
            self.batches.append((seen.items, seen.wall_s))

    def probed(self, seen: Sequence[Observation], gil_held: float | None = None) -> None:
        """Take in a few items from each of some spread positions, and what a canary said beside them.

        When it is called again, also those taken in before.
        """
        self.may_probe = False
        if gil_held is not None:
            self._heard(gil_held, seen)
        for one in set(seen) - set(self.probes):
            self._add(one)
        self.probes = list(seen)

    def crowded(self, slowdown: float) -> None:
        """Take in by how much other calls have just slowed the loop down (1: not at all)."""
        self.slowdown += RATE_WEIGHT * (slowdown - self.slowdown)

    def weighed(self, transfer: Sample) -> None:
        """Take in pickling costs: a `Sample` of which only those fields count."""
        self.transfer = transfer

    def watched(self, gil_held: float, seen: Sequence[Observation]) -> None:
        """Take in the canary's answer; the items that ran beside it count as any others."""
        for one in seen:
            self.saw(one)
        self._heard(gil_held, seen)

    def _heard(self, gil_held: float, seen: Sequence[Observation]) -> None:
        """The canary's answer. It can oversleep, and then a free lock looks held, but never the other way round."""
        self.watched_s += sum(one.wall_s for one in seen)
        self.gil_held = gil_held if self.gil_held is None else min(self.gil_held, gil_held)

    def tried(self, items: int, wall_s: float, work_cpu_s: float) -> None:
        """Take in a trial on two threads; its items count as done, not as a measure of the loop.

        What the loop would have taken for them is the CPU time they took; where items are alike, it is also what
        such items took in the loop, which is the better witness: memory that two threads fight for costs CPU time.
        """
        expected_s = items * self.item_s
        sample = self.sample()
        by_cpu_s = work_cpu_s * self.wall_s / self.cpu_s if self.cpu_s > 0 else expected_s
        if sample.item_std_s > 0.5 * sample.item_s:
            expected_s = by_cpu_s
        elif sample.item_s < HANDED_OVER_S:  # the lock goes from hand to hand, which the loop knows nothing of
            expected_s = min(expected_s, by_cpu_s)
        self.trials += 1
        self.threads_gain = max(self.threads_gain or 0.0, expected_s / wall_s if wall_s > 0 else 1.0)
        if self.n_items is not None:
            self.n_items -= items

    def _check_prior(self) -> None:
        """Forget what was recalled as soon as the items say something else, or enough for themselves."""
        if self.prior is None:
            return
        head_s = self.head_s / self.head_items
        others_s = (self.head_s - self.first_s) / (self.head_items - 1) if self.head_items > 1 else head_s
        known_s = self.prior.item_s
        differs = min(head_s, others_s) > PRIOR_RANGE * known_s or head_s * PRIOR_RANGE < known_s
        if differs or self.wall_s > PRIOR_S:
            # Other items may weigh something else too; what such items took in workers goes with what they take here.
            self.transfer = None if differs else replace(self.prior, worker_s=None)
            self.prior, self.lost = None, ()
            self.trials = 0
            self.watched_s = 0.0
            self.gil_held = self.threads_gain = None

    def _add(self, seen: Observation) -> None:
        self._item_s = None
        self.items += seen.items
        self.wall_s += seen.wall_s
        self.cpu_s += seen.cpu_s
        self.process_cpu_s += seen.process_cpu_s

    # -- what is believed ----------------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Items expected to come."""
        if self.n_items is not None:
            return max(0, self.n_items - self.items)
        return max(self.items, self.n_before - self.items)

    @property
    def item_s(self) -> float:
        """Expected seconds per item of what is left."""
        if self.prior is not None:
            return self.prior.item_s
        if self._item_s is None:
            self._item_s = self._expect() if self.items else 0.0
        return self._item_s

    def _expect(self) -> float:
        head = self._head_mean()
        if self.probes:
            return self._pool_with_probes(head)
        return max(head, self.rate_s) if self.n_items is None or self.rate_s > 2 * head else head

    def _pool_with_probes(self, head: float) -> float:
        """Head and spread positions together.

        Where the head agrees with the positions, all items count alike; else the head is one position among them.
        """
        values = [p.wall_s / p.items for p in self.probes]
        probe = sum(values) / len(values)
        probe_items = sum(p.items for p in self.probes)
        agree = len(values) >= EVIDENCE_ITEMS and abs(probe - head) <= 2 * _std(values) / sqrt(len(values))
        if agree and self.head_items > 2 * probe_items:
            pooled = (head * self.head_items + probe * probe_items) / (self.head_items + probe_items)
        else:
            pooled = (sum(values) + head) / (len(values) + 1)
        recent = (
            self.rate_s if len(self.batches) > 1 else 0.0
        )  # of one alone nobody knows whether it was a dear first call
        return max(pooled, recent) if recent > 2 * pooled else pooled

    def _head_mean(self) -> float:
        """Seconds per item of the head, without what a dear first call took beyond the others."""
        return (self.head_s - self.first_call_s) / self.head_items

    @property
    def first_call_s(self) -> float:
        """What the first call took beyond the others."""
        if self.head_items > 1:
            others = (self.head_s - self.first_s) / (self.head_items - 1)
        elif len(self.probes) >= EVIDENCE_ITEMS:
            others = max(p.wall_s / p.items for p in self.probes)
        else:
            return 0.0
        return self.first_s - others if self.first_s > 5 * others and self.first_s > BATCH_S else 0.0

    def sample(self) -> Sample:
        """All that is known, as the model wants it."""
        if self.prior is not None:
            return self.prior
        item_s = self.item_s
        first = self.first_call_s
        groups = [(p.items, p.wall_s) for p in self.probes] + self.batches[1:]
        singles = [wall / n for n, wall in groups]
        between = _std(singles) if len(singles) > 1 else 0.0
        std = between * sqrt(sorted(n for n, _ in groups)[len(groups) // 2]) if groups else 0.0
        share = min(1.0, self.cpu_s / self.wall_s) if self.wall_s > 0 else 1.0
        if self.items == 1 and self._waits():
            share *= FIRST_CPU
        base = self.transfer or Sample(n_sampled=0, item_s=0.0)
        return replace(
            base,
            n_sampled=self.items,
            item_s=item_s,
            item_std_s=std,
            item_max_s=max(singles, default=item_s),
            item_cpu_s=item_s * share,
            last_s=self.probes[-1].wall_s / self.probes[-1].items if self.probes else item_s,
            first_call_s=first,
            error_s=between / sqrt(len(singles)) if len(singles) > 1 else UNSURE * item_s,
            gil_held=self._lock_share(share),
            own_threads=self.process_cpu_s / self.wall_s if self.wall_s > 0 else 0.0,
        )

    def _lock_share(self, cpu_share: float) -> float | None:
        """Share of the time in which the lock is held: what the canary saw, and never more than the CPU was used."""
        if self.gil_held is not None:
            return min(self.gil_held, cpu_share)
        return cpu_share if cpu_share < 1 - WAITS else None

    # -- what to do ----------------------------------------------------------------------------------------------

    def worth_asking(self) -> bool:
        """Whether going parallel could conceivably pay; before that nobody need look at the machine."""
        if not self.items and self.prior is None:
            return False
        if self.rate is not None and self.rate * self.item_s < KEEPS_UP:
            return False
        left = self.left
        left_s = left * self.item_s
        if self._waits():
            gain_s, start_s = left_s, CHEAP_THREADS_S
        else:
            gain_s = left_s * (1 - MARGIN - 1 / self.most_cores) - left * RESULT_S
            start_s = CHEAP_PROCESSES_S
        if gain_s < start_s:
            return False
        if self.wall_s < self.look_at_s and left_s < LOOK_AGAIN * self.looked_left_s:
            return False
        known = self.n_items is not None and self.looked_item_s > 0
        if known and abs(self.item_s - self.looked_item_s) < NEWS * self.looked_item_s:
            return False  # what did not pay for more items will not pay for fewer
        if self.prior is not None:
            return self.items > 0 or self.prior.item_s > PRIOR_CHECK_S
        return self._is_sure(start_s) or (self.items >= EVIDENCE_ITEMS and self.wall_s >= BATCH_S)

    def _is_sure(self, start_s: float) -> bool:
        """Whether starting in vain would be within the promise; a single item may have been a dear first call."""
        if self.terms is not None and self.terms.costs.processes is not None and not self._waits():
            start_s = self.terms.costs.processes.start.total_s(2)
        if self.items == 1 and not self._waits():
            return self.wall_s * SURE_SHARE / 2 > start_s
        return self.wall_s * SURE_SHARE + SURE_S > start_s and self.wall_s > start_s

    def _waits(self) -> bool:
        if self.prior is not None:
            return self.prior.waits > WAITS
        return self.cpu_s < (1 - WAITS) * self.wall_s

    def wants_terms(self, backends: Sequence[Backend]) -> bool:
        """Whether it is time to look at the machine."""
        return (self.items > 0 and "serial" not in backends) or self.worth_asking()

    def withdraw(self, backend: Backend) -> None:
        """This backend turned out not to be had, or not to pay."""
        assert self.terms is not None
        rest: tuple[Backend, ...] = tuple(b for b in self.terms.backends if b != backend)
        self.terms = replace(self.terms, backends=rest or ("serial",))

    def batch(self) -> RunMore:
        """The next batch of the loop: doubling, until it takes about `BATCH_S`, or a tenth of what has been spent."""
        if self.prior is not None and self.prior.item_s < PRIOR_CHECK_S and not self.items:
            return RunMore(max(1, min(self.left // 4, int(0.1 * PRIOR_CHECK_S / max(self.prior.item_s, 1e-9)))))
        if self.items < 2:
            return RunMore(1)
        rate = max(self.rate_s, 1e-9)
        limit_s = max(BATCH_S, min(0.1 * self.wall_s, LONG_BATCH_S)) if self.terms is not None else BATCH_S
        return RunMore(max(1, min(2 * self.items, int(limit_s / rate))))

    def next(self) -> Step:
        """What to do now. Without `terms` (nobody has looked at the machine yet) the loop goes on."""
        terms = self.terms
        must_go = terms is not None and "serial" not in terms.backends and self.items > 0
        if terms is None or not (must_go or self.worth_asking()):
            return self.batch()
        if self.transfer is None and "processes" in terms.backends:
            return Weigh()
        if self._should_probe():
            each = max(1, round(PROBE_EACH_S / max(self.rate_s, 1e-9)))
            watch = self._lock_matters(terms, self._choose(terms, self.sample()))
            budget_s = max(PROBE_S, 0.01 * self.left * self.item_s)
            return Probe(PROBES, min(each, self.left // (2 * PROBES)), budget_s, watch)
        best = self._choose(terms, self.sample())
        step = self._doubt(terms, best)
        if step is not None:
            return step
        if best.backend == "serial":
            self.look_at_s = LOOK_AGAIN * self.wall_s
            self.looked_left_s = self.left * self.item_s
            self.looked_item_s = self.item_s
            return self.batch()
        return Go(best)

    def _should_probe(self) -> bool:
        """Whether spread positions are worth a look: not while items wait, since each would be waited for alone."""
        return (
            self.may_probe
            and self.prior is None
            and self.items >= EVIDENCE_ITEMS
            and self.worth_asking()
            and self.left > 4 * PROBES
            and not self._waits()
            and self.slowdown < CROWDED  # then each item more holds up all the others' openings
        )

    def _choose(self, terms: Terms, sample: Sample) -> Forecast:
        best, _ = self.candidates(terms, sample)
        return best

    def candidates(self, terms: Terms, sample: Sample) -> tuple[Forecast, list[Forecast]]:
        """The best candidate for what is left, and the others."""
        backends = terms.backends
        out = {*self.lost, "threads"} if self._tried_in_vain() else set(self.lost)
        backends = tuple(b for b in backends if b not in out) or backends
        return choose(
            sample,
            terms.costs,
            terms.machine,
            n_items=max(1, self.left),
            backends=backends,
            max_workers=terms.max_workers,
            memory_limit_bytes=terms.memory_limit_bytes,
            caller_rss_bytes=terms.caller_rss_bytes,
            shrinking=True,
            loop_slowdown=self.slowdown,
        )

    def _tried_in_vain(self) -> bool:
        """Whether two threads were no faster. Where the lock is free one trial is not believed: both may have had to
        share a core for the few milliseconds that it took.
        """
        if self.threads_gain is None or self.threads_gain >= TRY_GAIN:
            return False
        return self.trials > 1 or self.gil_held is None or self.gil_held > SURELY_FREE

    def _lock_matters(self, terms: Terms, best: Forecast) -> bool:
        """Whether threads could beat ``best`` by far if the function released the lock, and whether it does is open."""
        if "threads" not in terms.backends or terms.backends == ("threads",) or terms.costs.threads is None:
            return False
        known = self.gil_held is not None and (self.gil_held < LOCK_FREE or self.watched_s > WATCH_LONGEST_S)
        sample = self.sample()
        if known or sample.waits > WAITS or sample.own_threads > OWN_THREADS or not terms.machine.gil_enabled:
            return False
        if self.slowdown > CROWDED:
            return False  # others hold the lock, whatever these items do
        if terms.machine.usable_cores <= 1 and sample.waits < 0.1:
            return False
        free = self._choose(replace(terms, backends=("threads",)), replace(sample, gil_held=0.0))
        # While it is watched nobody else works: an item as long as what there is to be gained is too long for that.
        return free.total_s < best.total_s - max(WATCH_GAIN_S, sample.item_s)

    def _doubt(self, terms: Terms, best: Forecast) -> Step | None:
        """A question worth asking about threads before ``best`` is taken."""
        if self._lock_matters(terms, best):
            return WatchLock(self._share(WATCH_S))
        untried = self.threads_gain is None or self.threads_gain < TRY_GAIN
        if best.backend == "threads" and self.gil_held is not None and untried and self.item_s < TRY_ITEM_S:
            return TryThreads(max(2, self._share(TRY_S))) if len(terms.backends) > 1 else None
        return None

    def _share(self, seconds: float) -> int:
        """Items that take so long, and no more than a quarter of what is left."""
        return max(1, min(self.left // 4, round(seconds / max(self.item_s, 1e-9))))


def _std(values: Sequence[float]) -> float:
    """Standard deviation of at least two values."""
    mean = sum(values) / len(values)
    return sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def loop_forecast(sample: Sample, machine: Machine, n_items: int) -> Forecast:
    """What the plain loop would take."""
    return forecast(sample, Costs(), machine, "serial", 1, 1, n_items=max(1, n_items))
