"""The evidence of a run: seconds, spread, waiting and the lock of its first items, and records of earlier runs.

A pure accumulator: the driver reports here, and `Evidence.sample` estimates the items that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt

from amorsize.facts import OWN_THREADS, WAITS, Backend, Observation, Sample
from amorsize.frozen import replace
from amorsize.model.head import DEAR, EVIDENCE_ITEMS, WARM, Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# A lock that still looks held after this time counts as held, because a canary hardly oversleeps twice.
WATCH_LONGEST_S: Final = 3e-3
# Items as short as the time in which a lock changes hands (20-50 µs).
HANDED_OVER_S: Final = 50e-6
# guess: below this share of CPU time, the cold caches of a first call distort it
FIRST_WAITS: Final = 0.1
# A waiting item used 0.1 ms of CPU time in its first call, 0.05 with warm caches.
FIRST_CPU: Final = 0.5
# The factor `DEAR` if only one or two other items have run, at other positions (a guess).
DEAR_TO_FEW: Final = 20.0
# If items take this many times more or less than the recalled ones, the recalled sample is dropped (a guess).
PRIOR_RANGE: Final = 3.0
# Seconds of the loop after which the items themselves are enough evidence (a guess).
PRIOR_S: Final = 20e-3
# Relative standard error of the mean from one position (a guess). From n alike positions it is an n-th of that. It is
# not 0, because items at other positions may differ.
UNSURE: Final = 0.5
# Number of positions at which the curve through the probes is evaluated (a guess).
READ: Final = 32
# The fields of a sample that tell what it takes to send items, results and the function.
TRANSFER: Final = (
    "arg_bytes", "result_bytes", "arg_pickle_s", "arg_unpickle_s", "result_pickle_s", "result_unpickle_s",
    "func_bytes", "func_pickle_s", "func_unpickle_s", "transfer_error",
)  # fmt: skip


class Evidence(Head):
    """The measurements of the items of one map: its head, spread positions, the lock, trials, and earlier maps.

    Parameters
    ----------
    n_items, **head
        As of `Head`.
    """

    def __init__(self, n_items: int | None, **head: Any) -> None:
        super().__init__(n_items, **head)
        self.probes: list[Observation] = []
        self.transfer: Sample | None = None
        self.gil_held: float | None = None
        self.watched_s = 0.0
        self.trials = 0
        self.threads_gain: float | None = None
        self._item_s: float | None = None
        # The sample of earlier maps of the same function over such data.
        self.prior: Sample | None = None
        self.lost: tuple[Backend, ...] = ()
        # Items of the last such map, used if their number is unknown now.
        self.n_before = 0

    # -- reports of the driver -----------------------------------------------------------------------------------

    def recall(
        self,
        prior: Sample,
        threads_gain: float | None = None,
        lost: Sequence[Backend] = (),
        n_items: int | None = None,
    ) -> None:
        """Take in, before the first item, the records of earlier maps; they count until an item contradicts them.

        ``lost``: backends that were slower than the loop. ``n_items``: number of items then, used if unknown now.
        """
        self.n_before = n_items or 0
        self.lost = tuple(lost)
        self.prior = prior
        # A map for which nothing was weighed has left sizes of 0, which are not those of its results.
        self.transfer = prior if prior.result_bytes > 0 or prior.transfer_error is not None else None
        self.gil_held, self.watched_s = prior.gil_held, WATCH_LONGEST_S
        self.threads_gain, self.trials = threads_gain, 2

    def saw(self, seen: Observation) -> None:
        """Take in a batch of head items."""
        super().saw(seen)
        if seen.items:
            self._check_prior()

    def probed(self, seen: Sequence[Observation], gil_held: float | None = None) -> None:
        """Take in a few items from each of some spread positions, and the answer of a canary beside them."""
        if gil_held is not None:
            self._heard(gil_held, seen)
        for one in seen:
            self._add(one)
        self.probes = sorted([*self.probes, *seen], key=lambda one: one.start)

    def weighed(self, transfer: Sample) -> None:
        """Take in pickling costs: a `Sample` in which only those fields count."""
        self.transfer = transfer
        if self.prior is not None:
            self.prior = replace(self.prior, **{name: getattr(transfer, name) for name in TRANSFER})

    def watched(self, gil_held: float, seen: Sequence[Observation]) -> None:
        """Take in the canary's answer; the items that ran beside it count like all others."""
        for one in seen:
            self.saw(one)
        self._heard(gil_held, seen)

    def were_late(self, late_s: float) -> None:
        """Count so many seconds as computing: in these, items waited for nothing but a core, which others used."""
        self.cpu_s = max(self.cpu_s, min(self.wall_s, self.cpu_s + late_s))

    def _heard(self, gil_held: float, seen: Sequence[Observation]) -> None:
        """Keep the least share: a free lock may look held if the canary oversleeps, but never a held one free."""
        self.watched_s += sum(one.wall_s for one in seen)
        self.gil_held = gil_held if self.gil_held is None else min(self.gil_held, gil_held)

    def tried(self, items: int, wall_s: float, work_cpu_s: float) -> None:
        """Take in a trial on two threads; its items count as done, but not as a measurement of the loop.

        The loop's time for them is estimated by their CPU time. Where items are alike, the mean of the loop is the
        better estimate: threads that compete for memory need more CPU time than the loop.
        """
        expected_s = items * self.item_s
        sample = self.sample()
        by_cpu_s = work_cpu_s * self.wall_s / self.cpu_s if self.cpu_s > 0 else expected_s
        if sample.item_std_s > 0.5 * sample.item_s:
            expected_s = by_cpu_s
        # Handing the lock over costs CPU time, which the loop does not spend.
        elif sample.item_s < HANDED_OVER_S:
            expected_s = min(expected_s, by_cpu_s)
        self.trials += 1
        self.threads_gain = max(self.threads_gain or 0.0, expected_s / wall_s if wall_s > 0 else 1.0)
        if self.n_items is not None:
            self.n_items -= items

    def _check_prior(self) -> None:
        """Drop the recalled sample as soon as the items contradict it, or are enough evidence themselves."""
        if self.prior is None:
            return
        head_s = self.head_s / self.head_items
        others_s = (self.head_s - self.first_s) / (self.head_items - 1) if self.head_items > 1 else head_s
        known_s = self.prior.item_s
        differs = min(head_s, others_s) > PRIOR_RANGE * known_s or head_s * PRIOR_RANGE < known_s
        if differs or self.wall_s > PRIOR_S:
            # Other items may also have another size. `worker_s` belongs to the recalled `item_s`, and goes with it.
            # The lock and the gain from threads depend on the function alone, and stay.
            if self.transfer is not None:
                self.transfer = None if differs else replace(self.transfer, worker_s=None)
            self.prior, self.lost = None, () if differs else self.lost

    def _add(self, seen: Observation) -> None:
        self._item_s = None
        super()._add(seen)

    # -- estimates -----------------------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Number of items expected to come."""
        return super().left if self.n_items is not None else max(self.items, self.n_before - self.items)

    @property
    def item_s(self) -> float:
        """Expected seconds per item of those left."""
        if self.prior is not None:
            return self.prior.item_s
        if self._item_s is None:
            self._item_s = self._expect() if self.items else 0.0
        return self._item_s

    def _expect(self) -> float:
        return self._pool_with_probes(self._head_mean()) if self.probes else super()._expect()

    def _pool_with_probes(self, head: float) -> float:
        """Return the mean over the head and the spread positions.

        If the head agrees with the positions, all items count alike; else costs change along the data, and the mean of
        those left is that of the line through the end of the head and the positions.
        """
        values = [p.wall_s / p.items for p in self.probes]
        probe = sum(values) / len(values)
        probe_items = sum(p.items for p in self.probes)
        agree = len(values) >= EVIDENCE_ITEMS and abs(probe - head) <= 2 * _std(values) / sqrt(len(values))
        if agree and self.head_items > 2 * probe_items:
            pooled = (head * self.head_items + probe * probe_items) / (self.head_items + probe_items)
        else:
            pooled = self._along(head)
        # A single batch may have been an expensive first call.
        recent = self.rate_s if len(self.batches) > 1 else 0.0
        return max(pooled, recent) if recent > 2 * pooled else pooled

    def _along(self, head: float) -> float:
        """Return the mean of the items left, from the line through the head and the spread positions."""
        # Not loaded by a plain loop.
        from amorsize.model.size_regression import Curve

        latest = self.rate_s if len(self.batches) > 1 else head
        ends = [(float(self.head_items), latest), *((p.start + p.items / 2, p.wall_s / p.items) for p in self.probes)]
        if self.head_items == 1:
            # It may have been an expensive first call.
            ends = ends[1:] if len(ends) > EVIDENCE_ITEMS else [(0.0, head), *ends[1:]]
        # `n_items` counts no items that threads have tried, so that the data may go a little further.
        far = max(self.n_items or 0, self.probes[-1].start + self.probes[-1].items)
        stride = max(1e-9, (far - self.head_items) / READ)
        each = Curve(ends, powers=False).along([self.head_items + (k + 0.5) * stride for k in range(READ)])
        return sum(each) / READ

    @property
    def first_call_s(self) -> float:
        """Seconds by which the first call exceeded the others; 0 if that is no more than chance."""
        if self.head_items > 1 or not self.probes:
            return super().first_call_s
        dear = WARM if self._was_cold() else DEAR
        if len(self.probes) < EVIDENCE_ITEMS:
            dear = DEAR_TO_FEW
        return self._excess(max(p.wall_s / p.items for p in self.probes), dear)

    def sample(self) -> Sample:
        """Return the evidence as the model's `Sample`."""
        if self.prior is not None:
            return self.prior
        item_s = self.item_s
        first = self.first_call_s
        groups = [(p.items, p.wall_s) for p in self.probes] + self.batches[1:]
        singles = [wall / n for n, wall in groups]
        between = _std(singles) if len(singles) > 1 else 0.0
        std = between * sqrt(sorted(n for n, _ in groups)[len(groups) // 2]) if groups else 0.0
        cpu_share, own_threads = self._busy()
        share = min(1.0, cpu_share)
        if self.items == 1 and share < FIRST_WAITS:
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
            error_s=self._error_s(item_s, between, len(singles)),
            gil_held=self._lock_share(share),
            own_threads=own_threads,
        )

    def _busy(self) -> tuple[float, float]:
        """Return the CPU seconds of the thread, and of the process, in a second of the loop; without a dear first call.

        What that loads may wait for a disk, or start threads. Those of a BLAS spin while they wait for work, for 70 ms
        after numpy has been imported: so of the process the less busy counts, of all items and of the latest ones.
        """
        wall_s, cpu_s, process_cpu_s = self.wall_s, self.cpu_s, self.process_cpu_s
        if self.items > 1 and self.first_call_s > 0.0:
            wall_s, cpu_s = wall_s - self.first_s, cpu_s - self.first_cpu_s
            process_cpu_s -= self.first_process_cpu_s
        if wall_s <= 0:
            return 1.0, 0.0
        return max(0.0, cpu_s / wall_s), max(0.0, min(process_cpu_s / wall_s, self.lately_busy))

    def has_run_threads(self) -> bool:
        """Return True if some of the items may have run threads of their own, though the latest did not."""
        busy = self.process_cpu_s / self.wall_s if self.wall_s > 0 else 0.0
        return max(busy, self.sample().own_threads) > OWN_THREADS

    def _error_s(self, item_s: float, between: float, groups: int) -> float:
        """Return the standard error of the mean: chance, and what may lie where nothing was seen."""
        unseen_s = UNSURE * item_s / (1 + len(self.probes))
        if groups < 2:
            return unseen_s
        from amorsize.model.size_regression import few

        return hypot(few(groups) * between / sqrt(groups), unseen_s)

    def _waits(self) -> bool:
        return super()._waits() if self.prior is None else self.prior.waits > WAITS

    def _lock_share(self, cpu_share: float) -> float | None:
        """Return the share of the time in which the lock is held: the canary's, but at most the share of CPU time."""
        if self.gil_held is not None:
            return min(self.gil_held, cpu_share)
        return cpu_share if cpu_share < 1 - WAITS else None


def _std(values: Sequence[float]) -> float:
    """Return the standard deviation of at least two values."""
    mean = sum(values) / len(values)
    return sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
