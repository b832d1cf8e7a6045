"""How a run begins: a plain loop in the caller that says when to go parallel, if ever.

Nothing measured is thrown away: every item that is looked at is an item of the user's, run once, its result kept.
The loop costs next to nothing (the clock is read about once a millisecond), so a map that is not worth workers never
pays for any. This is ski rental (Karlin, Manasse, Rudolph & Sleator 1988): what is spent in the loop before going
parallel is bounded by what starting would have cost.

A pure state machine: `Decider.next` says what to do, and the driver reports back through `saw`, `probed`, `weighed`,
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

from amorsize.facts import WAITS, Backend, Costs, Forecast, Machine, Observation, Sample
from amorsize.frozen import Frozen, replace
from amorsize.model.cost import OWN_THREADS, forecast
from amorsize.model.evidence import BATCH_S, EVIDENCE_ITEMS, WATCH_LONGEST_S, Evidence
from amorsize.model.search import MARGIN, choose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LONG_BATCH_S: Final = 10e-3  # once it is known that nothing beats the loop: somebody may still want to end it
SETTLED_S: Final = 0.2e-3  # of items that take as long as they always did: then the rest may come in long batches
SURE_SHARE: Final = 0.05  # what starting in vain may cost, of what was spent already (the project's own promise:
SURE_S: Final = 2e-3  # never slower than the loop by more than 5 % and 2 ms); below it no more evidence is asked for
PROBES: Final = 8  # spread positions
PROBE_EACH_S: Final = 0.1e-3  # of quick items at each position, so that the clock does not measure itself
PROBE_S: Final = 5e-3  # beyond it, probing ends (or at 1 % of the forecast, if that is more)
WATCH_S: Final = 2.5e-3  # beside the canary: on a quiet machine it has come round 8 times by then, or not once
WATCH_GAIN_S: Final = 4e-3  # that threads must promise before it is worth watching; it takes 0.3 ms
SURELY_FREE: Final = 0.25  # held less than this: a failed trial is worth a second one
LOCK_FREE: Final = 0.5  # a smaller share of the time in which the lock is held is believed at once
TRY_S: Final = 8e-3  # of items, run on two threads
TRY_LEFT: Final = 8  # items: with fewer, a trial would be most of what there is to do
TRY_ITEM_S: Final = 5e-3  # longer items are not tried: their own watch is evidence enough
TRY_GAIN: Final = 1.4  # two threads must be this much faster than one to be believed: reading and hashing small files
# came to 1.3 in a trial, and to 0.95 in all
FREE_GAIN: Final = 1.15  # the same where the lock is surely free: making arrays of 4 MB came to 1.22-1.9 in trials, of
# which 1.39 had sent it back to a loop that took twice as long
CHEAP_THREADS_S: Final = 0.4e-3  # starting two threads, at the least
CHEAP_PROCESSES_S: Final = 4.5e-3  # starting and leaving two forked workers, at the least
WORTH_PROCESSES_S: Final = 9e-3  # the same with what cold caches and copied pages take: 6.5-9 ms from a small process,
# 10-14 from one with scikit-learn in it
ONE_WAIT_S: Final = 4.5e-3  # a single item that waits for longer is enough; less may have been another program's turn
RESULT_S: Final = 0.1e-6  # to pickle and unpickle the smallest result, as one of many
NEWS: Final = 0.2  # relative change of the estimate that makes an answered question worth asking again
LOOK_AGAIN: Final = 1.5  # growth of the time spent, or of the estimate, before the same question is asked again
KEEPS_UP: Final = 0.7  # a loop that is busy for less of the time keeps up with the rate that items may begin at
CROWDED: Final = 1.2  # a loop that others slow down by more cannot tell by whom the lock is held
PRIOR_CHECK_S: Final = 2e-3  # items that should be shorter are looked at before what is recalled is acted upon


class RunMore(Frozen, kw_only=False):
    """Run so many further items in the loop."""

    items: int


class Probe(Frozen, kw_only=False):
    """Run ``items`` neighbours at each of so many positions spread over what is left, until ``budget_s`` is spent.

    ``watch``: with a canary beside them.
    """

    positions: int
    items: int
    budget_s: float
    watch: bool = False


class Weigh(Frozen, kw_only=False):
    """Measure what it costs to pickle a few items and results."""


class WatchLock(Frozen, kw_only=False):
    """Run so many further items in the loop while a canary thread looks how often the GIL is free."""

    items: int


class TryThreads(Frozen, kw_only=False):
    """Run so many further items on two threads."""

    items: int


class Go(Frozen, kw_only=False):
    """Run what is left as forecast."""

    forecast: Forecast


Step = RunMore | Probe | Weigh | WatchLock | TryThreads | Go


class Choices(Frozen):
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


class Decider(Evidence):
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
        super().__init__(n_items)
        self.rate = rate
        self.most_cores = most_cores
        self.terms: Choices | None = None
        self.may_probe = indexable and spread
        self.look_at_s = 0.0
        self.looked_left_s = self.looked_item_s = 0.0
        self.settled = False

    def begin(self, n_items: int | None, *, pieces: int) -> None:
        """Take in how many items are left to run, in how many ranges: within one alone positions can be probed."""
        self.n_items = n_items
        self.may_probe = self.may_probe and pieces == 1

    def probed(self, seen: Sequence[Observation], gil_held: float | None = None) -> None:
        """Take in what spread positions have told; see `Evidence.probed`. Nobody needs to look there again."""
        self.may_probe = False
        super().probed(seen, gil_held)

    def settle(self, item_s: float) -> None:
        """Take in that for such items nothing was better than the loop: ask only if they turn out to be others."""
        self.looked_item_s = item_s
        self.settled = True

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
            gain_s, worth_s, start_s = left_s, CHEAP_THREADS_S, CHEAP_THREADS_S
        else:
            gain_s = left_s * (1 - MARGIN - 1 / self.most_cores) - left * RESULT_S
            worth_s, start_s = WORTH_PROCESSES_S, CHEAP_PROCESSES_S
        if gain_s < worth_s:
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
        if self.items == 1:
            return self.wall_s > ONE_WAIT_S if self._waits() else self.wall_s * SURE_SHARE / 2 > start_s
        return self.wall_s * SURE_SHARE + SURE_S > start_s and self.wall_s > start_s

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
        if self.settled and self.wall_s > SETTLED_S and abs(self.item_s - self.looked_item_s) < self.looked_item_s:
            rest = self.n_items is not None and self.left * rate < 2 * LONG_BATCH_S
            return RunMore(max(1, self.left if rest else int(LONG_BATCH_S / rate)))
        if self.items >= EVIDENCE_ITEMS and self._is_hopeless():
            return RunMore(max(1, min(self.left, int(LONG_BATCH_S / rate))))
        limit_s = max(BATCH_S, min(0.1 * self.wall_s, LONG_BATCH_S)) if self.terms is not None else BATCH_S
        return RunMore(max(1, min(2 * self.items, int(limit_s / rate))))

    def _is_hopeless(self) -> bool:
        """Whether there is so little left that nothing will be asked.

        A look at the clock each millisecond takes 4 % of it, since all of this is out of the caches every time.
        """
        known = self.n_items is not None and self.wall_s > SETTLED_S and not self._waits()
        return known and self.left * self.item_s < WORTH_PROCESSES_S

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

    def _choose(self, terms: Choices, sample: Sample) -> Forecast:
        best, _ = self.candidates(terms, sample)
        return best

    def would_loop(self, n_items: int) -> bool:
        """Whether a loop would have been best for all of the items, had they been known from the first one on."""
        if self.lost:
            return False  # somebody only sits out
        return self.terms is None or self.candidates(self.terms, self.sample(), n_items)[0].backend == "serial"

    def candidates(self, terms: Choices, sample: Sample, n_items: int | None = None) -> tuple[Forecast, list[Forecast]]:
        """The best candidate for so many items, by default what is left, and the others."""
        backends = terms.backends
        out = {*self.lost, "threads"} if self._tried_in_vain() else set(self.lost)
        backends = tuple(b for b in backends if b not in out) or backends
        return choose(
            sample,
            terms.costs,
            terms.machine,
            n_items=max(1, self.left if n_items is None else n_items),
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
        if self.threads_gain is None or self.threads_gain >= self._gain_needed:
            return False
        return self.trials > 1 or self.gil_held is None or self.gil_held > SURELY_FREE

    @property
    def _gain_needed(self) -> float:
        """How much faster two threads must have been to be believed."""
        return FREE_GAIN if self.gil_held is not None and self.gil_held <= SURELY_FREE else TRY_GAIN

    @property
    def lasting_gain(self) -> float | None:
        """What two threads gained, if it is worth remembering: not a failure though the lock is free."""
        failed = self.threads_gain is not None and self.threads_gain < self._gain_needed
        return None if failed and self.gil_held is not None and self.gil_held < LOCK_FREE else self.threads_gain

    def _lock_matters(self, terms: Choices, best: Forecast) -> bool:
        """Whether threads could beat ``best`` by far if the function released the lock, and whether it does is open."""
        if "threads" not in terms.backends or terms.backends == ("threads",) or terms.costs.threads is None:
            return False
        known = self.gil_held is not None and (self.gil_held < LOCK_FREE or self.watched_s >= WATCH_LONGEST_S)
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

    def _doubt(self, terms: Choices, best: Forecast) -> Step | None:
        """A question worth asking about threads before ``best`` is taken."""
        if self._lock_matters(terms, best):
            return WatchLock(self._share(WATCH_S))
        untried = self.threads_gain is None or self.threads_gain < self._gain_needed
        worth_it = self.left >= TRY_LEFT and self.item_s < TRY_ITEM_S
        if best.backend == "threads" and self.gil_held is not None and untried and worth_it:
            pairs = max(1, self._share(TRY_S) // 2)  # an odd item out would look as if threads helped less
            return TryThreads(2 * pairs) if len(terms.backends) > 1 else None
        return None

    def _share(self, seconds: float) -> int:
        """Items that take so long, and no more than a quarter of what is left."""
        return max(1, min(self.left // 4, round(seconds / max(self.item_s, 1e-9))))


def loop_forecast(sample: Sample, machine: Machine, n_items: int) -> Forecast:
    """What the plain loop would take."""
    return forecast(sample, Costs(), machine, "serial", 1, 1, n_items=max(1, n_items))
