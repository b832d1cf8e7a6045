"""What the first items of a run have told: seconds, spread, waiting, the lock, and what earlier runs have left.

A pure accumulator: whoever runs items reports here, and `Evidence.sample` says what to believe of those that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from amorsize.facts import WAITS, Backend, Observation, Sample
from amorsize.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

EVIDENCE_ITEMS: Final = 3
BATCH_S: Final = 1e-3  # the clock is read about once per millisecond
WATCH_LONGEST_S: Final = (
    3e-3  # until a lock that looks held is believed to be: a canary can oversleep, but hardly twice
)
HANDED_OVER_S: Final = 50e-6  # items as short as the time in which a lock changes hands (20-50 µs)
FIRST_WAITS: Final = 0.1  # of an item's time on the CPU: below it what cold caches take in the first call weighs
FIRST_CPU: Final = 0.5  # of a waiting item's CPU time: 0.1 ms in the first call, 0.05 with warm caches
DEAR: Final = 5.0  # times as long as the others: what a first call takes beyond them is its own
DEAR_TO_FEW: Final = 20.0  # the same where only one or two others have been seen, at other positions
WARM: Final = 1.2  # the same for one that loaded or laid out more memory than the others by …
COLD_BYTES: Final = 1 << 19  # … so much, as imports and allocators do: a first hash took 5.3 ms and 1.5 MB, others 0.65
RATE_WEIGHT: Final = 0.3
PRIOR_RANGE: Final = 3.0  # items that take so many times more or less than what is recalled are other items
PRIOR_S: Final = 20e-3  # of the loop: after that the items speak for themselves
UNSURE: Final = 0.3  # relative standard error of the mean, from one item


class Evidence:
    """What is known of the items of one map.

    Parameters
    ----------
    n_items : int or None
        Items in all; None when nobody knows: then as much is expected to come as has been.
    """

    def __init__(self, n_items: int | None) -> None:
        self.n_items = n_items
        self.items = 0
        self.wall_s = self.cpu_s = self.process_cpu_s = self.new_bytes = 0.0
        self.head_items = 0
        self.head_s = 0.0
        self.first_s = self.first_bytes = 0.0
        self.rate_s = 0.0  # recent seconds per item, exponentially weighted
        self.probes: list[Observation] = []
        self.batches: list[tuple[int, float]] = []  # the first ones, for the spread between items
        self.transfer: Sample | None = None
        self.gil_held: float | None = None
        self.watched_s = 0.0
        self.trials = 0
        self.threads_gain: float | None = None
        self._item_s: float | None = None
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
            self.first_s, self.first_bytes = seen.wall_s / seen.items, seen.new_bytes / seen.items
        self._add(seen)
        self.head_items += seen.items
        self.head_s += seen.wall_s
        self._check_prior()
        rate = seen.wall_s / seen.items
        # The second batch takes the first one's place: the first call may have been a dear one.
        # One that is larger than all before it counts for its share: the first ones mostly timed cold caches.
        blend = max(RATE_WEIGHT, seen.items / self.head_items) if len(self.batches) > 1 else 1.0
        self.rate_s += blend * (rate - self.rate_s)
        if len(self.batches) < 64:
            self.batches.append((seen.items, seen.wall_s))

    def probed(self, seen: Sequence[Observation], gil_held: float | None = None) -> None:
        """Take in a few items from each of some spread positions, and what a canary said beside them."""
        if gil_held is not None:
            self._heard(gil_held, seen)
        for one in seen:
            self._add(one)
        self.probes = sorted([*self.probes, *seen], key=lambda one: one.start)

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
            # Whether the lock is released, and threads help, is the function's own.
            self.transfer = None if differs else replace(self.prior, worker_s=None)
            self.prior, self.lost = None, () if differs else self.lost

    def _add(self, seen: Observation) -> None:
        self._item_s = None
        self.items += seen.items
        self.wall_s += seen.wall_s
        self.cpu_s += seen.cpu_s
        self.process_cpu_s += seen.process_cpu_s
        self.new_bytes += seen.new_bytes
        self.slowdown += RATE_WEIGHT * (seen.slowdown - self.slowdown)

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
        elif self.probes:
            others = max(p.wall_s / p.items for p in self.probes)
        else:
            return 0.0
        dear = WARM if self._was_cold() else DEAR
        if self.head_items == 1 and len(self.probes) < EVIDENCE_ITEMS:
            dear = DEAR_TO_FEW
        return self.first_s - others if self.first_s > dear * others and self.first_s > BATCH_S else 0.0

    def _was_cold(self) -> bool:
        """Whether the first item has touched far more memory that was new to the process than the others have."""
        others_bytes = (self.new_bytes - self.first_bytes) / (self.items - 1) if self.items > 1 else 0.0
        return self.first_bytes - others_bytes > COLD_BYTES

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
            error_s=between / sqrt(len(singles)) if len(singles) > 1 else UNSURE * item_s,
            gil_held=self._lock_share(share),
            own_threads=self.process_cpu_s / self.wall_s if self.wall_s > 0 else 0.0,
        )

    def _waits(self) -> bool:
        if self.prior is not None:
            return self.prior.waits > WAITS
        return self.cpu_s < (1 - WAITS) * self.wall_s

    def _lock_share(self, cpu_share: float) -> float | None:
        """Share of the time in which the lock is held: what the canary saw, and never more than the CPU was used."""
        if self.gil_held is not None:
            return min(self.gil_held, cpu_share)
        return cpu_share if cpu_share < 1 - WAITS else None


def _std(values: Sequence[float]) -> float:
    """Standard deviation of at least two values."""
    mean = sum(values) / len(values)
    return sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
