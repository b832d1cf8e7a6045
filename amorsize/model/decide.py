"""The decision when to go parallel: a run begins as a plain loop in the caller, and may stay one.

Nothing measured is thrown away: each measured item is one of the user's items; it runs once and its result is kept.
The loop costs next to nothing (the clock is read about once a millisecond), so a map that needs no workers does not
pay for any. This is ski rental (Karlin, Manasse, Rudolph & Sleator 1988): the time spent in the loop before going
parallel is bounded by the cost of starting workers.

A pure state machine: `Decider.next` returns the next step, and the driver reports back through `saw`, `probed`,
`weighed`, `watched` and `tried`. The steps, in this order, each only if it is worth its cost:

1. run head items in doubling batches;
2. **probe** a few spread positions (the first items of sorted data mislead);
3. **weigh**: measure the cost of pickling results;
4. **watch the lock**: does the function release the GIL? Only where threads could then beat processes;
5. **try threads** on real items for a few milliseconds, since threads share more than the lock;
6. choose by the model, and go parallel, or ask again later.
"""

from __future__ import annotations

from collections.abc import Sequence

from amorsize.facts import OWN_THREADS, WAITS, Backend, Costs, Forecast, Machine, Observation, Sample
from amorsize.frozen import Frozen, replace
from amorsize.model.evidence import WATCH_LONGEST_S, Evidence
from amorsize.model.head import BATCH_S, EVIDENCE_ITEMS, LONG_BATCH_S, SETTLED_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# guess
PROBES: Final = 8
# guess: objects to pickle
WEIGHED: Final = 16
# Quick items at each position take so long together that reading the clock does not distort the result.
PROBE_EACH_S: Final = 0.1e-3
# guess: probing ends after this time, or after 1 % of the forecast if that is more
PROBE_S: Final = 5e-3
# Beside a canary: on a quiet machine it has woken 8 times by then if the lock is free, else not once.
WATCH_S: Final = 2.5e-3
# Least gain from threads that makes a watch worth it; the watch itself takes 0.3 ms.
WATCH_GAIN_S: Final = 4e-3
# guess: if the lock is held for less than this share, a failed trial is repeated once
SURELY_FREE: Final = 0.25
# guess: a smaller share of the time in which the lock is held is believed at once
LOCK_FREE: Final = 0.5
# guess: duration of the trial on two threads
TRY_S: Final = 8e-3
# The same of a second trial, where the lock is free: the system may begin both threads on one core, for a time slice of
# 4 ms. Arrays to arrays, 1.8 ms each: of six maps two stayed in the loop after two trials of 8 ms (170 ms, else 115).
TRY_AGAIN_S: Final = 24e-3
# With fewer items left, a trial would be most of the work.
TRY_LEFT: Final = 8
# guess: longer items are not tried, since watching the lock beside them is evidence enough
TRY_ITEM_S: Final = 5e-3
# Two threads must be this much faster than one. Reading and hashing small files gained 1.3 in a trial, 0.95 in all.
TRY_GAIN: Final = 1.4
# The same where the lock is surely free. Making arrays of 4 MB gained 1.22-1.9 in trials; after a trial with 1.39 the
# run went back to a loop that took twice as long.
FREE_GAIN: Final = 1.15
# guess: relative change of the estimate that makes an answered question worth asking again
NEWS: Final = 0.2
# guess: growth of the time spent, or of the estimate, before the same question is asked again
LOOK_AGAIN: Final = 1.5
# guess: if other calls slow the loop down by more, a held lock may be theirs
CROWDED: Final = 1.2
# guess: shorter items are checked before recalled costs are acted upon
PRIOR_CHECK_S: Final = 2e-3
# Between two batches caches grow cold: 160 products of matrices, 13 ms each, took 1.5 % longer one by one.
STAYED_BATCH_S: Final = 50e-3
# Of the modules that a first call of a process loads: what benchmarks/fresh.py forgives.
LOADED_S: Final = 8e-3


class RunMore(Frozen, kw_only=False):
    """Run this many further items in the loop."""

    items: int


class Probe(Frozen, kw_only=False):
    """Run ``items`` neighbours at each of ``positions`` positions, spread evenly over the items left.

    It ends when ``budget_s`` is spent. ``watch``: with a canary beside them.
    """

    positions: int
    items: int
    budget_s: float
    watch: bool = False


class Weigh(Frozen, kw_only=False):
    """Measure the cost of pickling a few items and results."""


class WatchLock(Frozen, kw_only=False):
    """Run this many further items in the loop while a canary thread measures how often the GIL is free."""

    items: int


class TryThreads(Frozen, kw_only=False):
    """Run this many further items on two threads."""

    items: int


class Go(Frozen, kw_only=False):
    """Run the items left as forecast."""

    forecast: Forecast


Step = RunMore | Probe | Weigh | WatchLock | TryThreads | Go


class Choices(Frozen):
    """The candidates that a decider may choose from, and their costs.

    Attributes
    ----------
    backends : tuple of str
        Backends allowed; without ``"serial"`` the run goes parallel after its first item.
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
    """Decides step by step, from the first items of a run, how the rest runs.

    Parameters
    ----------
    n_items, **head
        As of `Head`.
    indexable : bool
        True if items may run out of order.
    spread : bool
        True to probe spread positions.
    is_watched : bool
        True if somebody is served between two batches: a listener, a limit, a stop, a consumer of the results.
    """

    def __init__(
        self,
        n_items: int | None,
        *,
        indexable: bool,
        spread: bool = True,
        is_watched: bool = False,
        **head: Any,
    ) -> None:
        super().__init__(n_items, **head)
        self.is_watched = is_watched
        self.choices: Choices | None = None
        self.may_probe = indexable and spread
        self.look_at_s = 0.0
        self.looked_left_s = self.looked_item_s = 0.0
        # The loop was chosen while func seemed to run threads of its own.
        self.looked_busy = False
        self.settled = False
        # The first forecast by which the loop was chosen, of the items left then; and the seconds before it.
        self.stayed: tuple[float, Forecast] | None = None

    def begin(self, n_items: int | None, *, pieces: int) -> None:
        """Note how many items are left, in how many ranges: positions can be probed only within a single range."""
        self.n_items = n_items
        self.may_probe = self.may_probe and pieces == 1

    def probed(self, seen: Sequence[Observation], gil_held: float | None = None) -> None:
        """Take in the measurements at spread positions; see `Evidence.probed`. They are not probed again."""
        self.may_probe = False
        super().probed(seen, gil_held)

    def settle(self, item_s: float) -> None:
        """Note that the loop was best for items of ``item_s`` seconds: ask again only if they take another time."""
        self.looked_item_s = item_s
        self.looked_busy = self.prior is not None and self.prior.own_threads > OWN_THREADS
        self.settled = True

    # -- decisions -----------------------------------------------------------------------------------------------

    def worth_asking(self) -> bool:
        """Return True if going parallel could pay; until then the machine need not be read."""
        if not self._may_ask():
            return False
        if self.wall_s < self.look_at_s and self.left * self.item_s < LOOK_AGAIN * self.looked_left_s:
            return False
        known = self.n_items is not None and self.looked_item_s > 0
        calms = self.looked_busy and self.prior is None and self._busy()[1] <= OWN_THREADS
        if known and abs(self.item_s - self.looked_item_s) < NEWS * self.looked_item_s and not calms:
            # Workers that did not pay for more items do not pay for fewer.
            return False
        if self.prior is not None:
            return self.items > 0 or self.prior.item_s > PRIOR_CHECK_S
        return self._has_evidence()

    def _is_blank(self) -> bool:
        return super()._is_blank() and self.prior is None

    def _start_s(self) -> float:
        if self.choices is not None and self.choices.costs.processes is not None and not self._waits():
            start = self.choices.costs.processes.start
            # What is loaded is loaded once in a process.
            return start.total_s(2) - min(start.load_s, LOADED_S)
        return super()._start_s()

    def wants_choices(self, backends: Sequence[Backend]) -> bool:
        """Return True if `choices` are needed now."""
        return (self.items > 0 and "serial" not in backends) or self.worth_asking()

    def withdraw(self, backend: Backend) -> None:
        """Exclude a backend that could not start or was unprofitable."""
        assert self.choices is not None
        rest: tuple[Backend, ...] = tuple(b for b in self.choices.backends if b != backend)
        self.choices = replace(self.choices, backends=rest or ("serial",))

    def batch(self) -> RunMore:
        """Return the next batch of the loop: twice as long each time, up to `BATCH_S` or a tenth of the time spent.

        That tenth is bounded, too: by `LONG_BATCH_S`, or by `STAYED_BATCH_S` once the loop was found to be best.
        """
        if self.prior is not None and self.prior.item_s < PRIOR_CHECK_S and not self.items:
            return RunMore(max(1, min(self.left // 4, int(0.1 * PRIOR_CHECK_S / max(self.prior.item_s, 1e-9)))))
        is_alike = self.items > 1 and abs(self.item_s - self.looked_item_s) < self.looked_item_s
        if self.settled and self.wall_s > SETTLED_S and is_alike:
            rate = max(self.rate_s, 1e-9)
            rest = self.n_items is not None and self.left * rate < 2 * LONG_BATCH_S
            return RunMore(max(1, self.left if rest else int(LONG_BATCH_S / rate)))
        most_s = STAYED_BATCH_S if self.stayed and not self.is_watched else LONG_BATCH_S
        limit_s = max(BATCH_S, min(0.1 * self.wall_s, most_s)) if self.choices is not None else BATCH_S
        return RunMore(self.next_items(limit_s))

    def next(self) -> Step:
        """Return the next step. Without `choices` (the machine has not been read yet) the loop goes on."""
        choices = self.choices
        must_go = choices is not None and "serial" not in choices.backends and self.items > 0
        if choices is None or not (must_go or self.worth_asking()):
            return self.batch()
        best = self._choose(choices, self.sample())
        if self.transfer is None and best.backend == "processes":
            # Processes are best as long as pickling is taken to cost nothing; else they are not at all.
            return Weigh()
        if self._should_probe():
            each = max(1, round(PROBE_EACH_S / max(self.rate_s, 1e-9)))
            watch = self._lock_matters(choices, best)
            budget_s = max(PROBE_S, 0.01 * self.left * self.item_s)
            return Probe(PROBES, min(each, self.left // (2 * PROBES)), budget_s, watch)
        step = self._doubt(choices, best)
        if step is not None:
            return step
        if best.backend == "serial":
            self.look_at_s = LOOK_AGAIN * self.wall_s
            self.looked_left_s = self.left * self.item_s
            self.looked_item_s = self.item_s
            self.looked_busy = self.sample().own_threads > OWN_THREADS
            self.stayed = self.stayed or (self.wall_s, best)
            return self.batch()
        return Go(best)

    def _should_probe(self) -> bool:
        """Return True if probing pays. Not for items that wait, since each probe would be waited for alone.

        Nor while other calls slow the loop down: each further item would delay their decisions.
        """
        return (
            self.may_probe
            and self.prior is None
            and self.items >= EVIDENCE_ITEMS
            and self.worth_asking()
            and self.left > 4 * PROBES
            and not self._waits()
            and self.slowdown < CROWDED
        )

    def _choose(self, choices: Choices, sample: Sample) -> Forecast:
        best, _ = self.candidates(choices, sample)
        return best

    def would_loop(self, n_items: int) -> bool:
        """Return True if the loop is the best candidate for all ``n_items``."""
        # An excluded backend might have been best.
        if self.lost:
            return False
        return self.choices is None or self.candidates(self.choices, self.sample(), n_items)[0].backend == "serial"

    def candidates(
        self, choices: Choices, sample: Sample, n_items: int | None = None
    ) -> tuple[Forecast, list[Forecast]]:
        """Return the best candidate for ``n_items`` (by default the items left), and the others."""
        # Here, so that a map too short to ask for a forecast does not load it (0.6 ms).
        from amorsize.model.search import choose

        backends = choices.backends
        out = {*self.lost, "threads"} if self.tried_in_vain() else set(self.lost)
        backends = tuple(b for b in backends if b not in out) or backends
        return choose(
            sample,
            choices.costs,
            choices.machine,
            n_items=max(1, self.left if n_items is None else n_items),
            backends=backends,
            max_workers=choices.max_workers,
            memory_limit_bytes=choices.memory_limit_bytes,
            caller_rss_bytes=choices.caller_rss_bytes,
            shrinking=True,
            loop_slowdown=self.slowdown,
        )

    def tried_in_vain(self) -> bool:
        """Return True if two threads were not faster.

        Where the lock is free one trial is not enough: both threads may have shared a core for its few milliseconds.
        """
        if self.threads_gain is None or self.threads_gain >= self._gain_needed:
            return False
        return self.trials > 1 or self.gil_held is None or self.gil_held > SURELY_FREE

    @property
    def _gain_needed(self) -> float:
        """The least speed-up of two threads in a trial for which threads may be chosen."""
        return FREE_GAIN if self.gil_held is not None and self.gil_held <= SURELY_FREE else TRY_GAIN

    @property
    def lasting_gain(self) -> float | None:
        """The speed-up of two threads, for later runs; None for a failed trial although the lock is free."""
        failed = self.threads_gain is not None and self.threads_gain < self._gain_needed
        return None if failed and self.gil_held is not None and self.gil_held < LOCK_FREE else self.threads_gain

    def _lock_matters(self, choices: Choices, best: Forecast) -> bool:
        """Return True if threads could beat ``best`` by far, but only if func releases the lock, which is unknown."""
        if "threads" not in choices.backends or choices.backends == ("threads",) or choices.costs.threads is None:
            return False
        known = self.gil_held is not None and (self.gil_held < LOCK_FREE or self.watched_s >= WATCH_LONGEST_S)
        sample = self.sample()
        if known or sample.waits > WAITS or sample.own_threads > OWN_THREADS or not choices.machine.gil_enabled:
            return False
        # Other calls hold the lock, so that a canary would tell nothing about these items.
        if self.slowdown > CROWDED:
            return False
        if choices.machine.usable_cores <= 1 and sample.waits < 0.1:
            return False
        free = self._choose(replace(choices, backends=("threads",)), replace(sample, gil_held=0.0))
        # The watch runs items one by one: an item as long as the possible gain is too long for it.
        return free.total_s < best.total_s - max(WATCH_GAIN_S, sample.item_s)

    def _doubt(self, choices: Choices, best: Forecast) -> Step | None:
        """Return a step that tests threads before ``best`` is taken; None if no test is worth it."""
        if self._lock_matters(choices, best):
            return WatchLock(self._share(WATCH_S))
        untried = self.threads_gain is None or self.threads_gain < self._gain_needed
        worth_it = self.left >= TRY_LEFT and self.item_s < TRY_ITEM_S
        # Without a lock there was none to watch; threads share more than that.
        asked = self.gil_held is not None or not choices.machine.gil_enabled
        if best.backend == "threads" and asked and untried and worth_it:
            # With an odd number one thread would idle, and threads would seem to help less.
            pairs = max(1, self._share(TRY_S if not self.trials else TRY_AGAIN_S) // 2)
            return TryThreads(2 * pairs) if len(choices.backends) > 1 else None
        return None

    def _share(self, seconds: float) -> int:
        """Return how many items take this long, at most a quarter of the items left."""
        return max(1, min(self.left // 4, round(seconds / max(self.item_s, 1e-9))))


def loop_forecast(sample: Sample, machine: Machine, n_items: int) -> Forecast:
    """Return the forecast of the plain loop."""
    from amorsize.model.cost import forecast

    return forecast(sample, Costs(), machine, "serial", 1, 1, n_items=max(1, n_items))
