"""What happened in one run: the plan that is handed out and the row of history are made from it."""

from __future__ import annotations

from math import sqrt
from time import time

from amorsize.facts import WAITS
from amorsize.frozen import replace
from amorsize.history.machine_id import HERE
from amorsize.history.this_process import shape_of
from amorsize.model.decide import loop_forecast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.facts import Forecast, Machine, Ran, Sample
    from amorsize.model.decide import Decider
    from amorsize.options import Request

RECORD_SAMPLE_S: Final = 1e-3  # of a shorter run nobody will want to know what its items took
LOST: Final = 0.95  # of what the loop would have taken: who takes longer has gained nothing
SLOWED: Final = 2.0  # times the forecast: what such a run showed of its items is not to be relied upon


class RunSummary:
    """What happened in one run."""

    def __init__(self, opening: Decider) -> None:
        self.opening = opening
        self.go: Forecast | None = None
        self.alternatives: list[Forecast] = []
        self.loop_s = 0.0  # spent in the caller before going parallel
        self.loop_items = 0  # that were run there
        self.read_item_s = 0.0  # what reading an item took there, where an iterator makes them
        self.n_items = 0  # results that this run has made
        self.skipped = 0  # and those that were there before
        self.wall_s = 0.0
        self.ran: Ran | None = None
        self.blind = False  # func was not to run here, so nothing was looked at
        self.sample: Sample | None = None
        # What earlier maps had shown: where ``sample`` is this, nobody has measured anew.
        self.recalled: Sample | None = None
        self.machine: Machine | None = None
        self.warnings: list[str] = []
        self.withdrew = False  # workers could not be had, or did not pay
        self.is_first = False  # nobody in this process has run anything in that way before
        self.start_note: str | None = None  # why workers do not start by fork

    @property
    def loop_only_s(self) -> float:
        """What the plain loop was expected to take in all when it was last asked; what it took, if nobody asked."""
        opening = self.opening
        if opening.terms is None or not opening.items:
            return opening.wall_s
        return opening.wall_s + loop_forecast(opening.sample(), opening.terms.machine, opening.left).total_s

    @property
    def serial_s(self) -> float:
        """What the plain loop would have taken in all, as far as anybody can tell."""
        if self.go is None or self.sample is None:
            return self.loop_only_s
        return self.loop_s + (self.sample.item_s + self.sample.kept_s) * max(0, self.n_items - self.loop_items)

    def found(self) -> Sample | None:
        """What the items of this run took, all of them together; None where that has not become known."""
        opening, ran = self.opening, self.ran
        if self.go is None or ran is None or self.sample is None:
            return opening.sample() if opening.prior is None and opening.items else None
        sample = self.sample if self.go.start_method not in (None, "fork") else replace(self.sample, first_call_s=0.0)
        if not ran.items or self.slowed or self.go.backend == "executor":
            return sample
        if self.go.backend == "processes":  # in the caller they may take longer: it keeps results, and collects garbage
            return replace(sample, worker_s=ran.work_s / ran.items)
        if sample.waits < WAITS:
            return sample  # threads share the interpreter's lock, so that each item takes longer than alone
        items = opening.items + ran.items
        return replace(
            sample,
            n_sampled=items,
            item_s=(max(0.0, opening.wall_s - self.sample.first_call_s) + ran.work_s) / items,
            item_cpu_s=(opening.cpu_s + ran.work_cpu_s) / items,
            error_s=sample.item_std_s / sqrt(items),
        )

    @property
    def slowed(self) -> bool:
        """Whether the parallel part took far longer than was forecast."""
        return self.go is not None and self.ran is not None and self.ran.wall_s > SLOWED * self.go.total_s

    @property
    def lost(self) -> bool:
        """Whether the loop would have been faster than what ran in parallel, as far as can be told."""
        if self.go is None or self.ran is None or self.sample is None or self.blind:
            return False
        if self.opening.rate is not None:
            return False  # its items had to wait for their turn
        item_s = self.sample.item_s + self.sample.kept_s + self.read_item_s
        if self.is_first:  # what it has loaded (15-25 ms) nobody will pay again
            return self.withdrew
        return self.withdrew or self.ran.wall_s > LOST * self.ran.items * item_s

    def row(self, request: Request, outcome: str) -> dict[str, Any]:
        """The run as history keeps it."""
        go, ran = self.go, self.ran
        if self.sample is None and self.wall_s > RECORD_SAMPLE_S and not self.blind:
            self.sample = self.opening.sample()
        row: dict[str, Any] = {
            "at_s": time(),
            "function": request.func,
            "shape": shape_of(request.data),
            "n_items": self.n_items,
            "backend": "serial" if go is None else go.backend,
            "n_jobs": 1 if go is None else go.workers,
            "chunksize": max(1, self.n_items) if go is None else go.chunksize,
            "start_method": None if go is None else go.start_method,
            "clock_s": self.wall_s,
            "sample": self.sample,
            "machine": self.machine or HERE,
            "outcome": outcome,
        }
        if go is not None and go.total_s > 0:
            row["predicted_s"] = self.loop_s + go.total_s
            row["predicted_interval_s"] = (self.loop_s + go.low_s, self.loop_s + go.high_s)
            from amorsize.learn.features import shares

            row["parts"] = shares(replace(go.breakdown, compute_s=go.breakdown.compute_s + self.loop_s))
        if not self.blind and self.opening.items:
            row["serial_s"] = self.serial_s
            row["threads_gain"] = self.opening.threads_gain
        if ran is not None and ran.items:
            row |= {"work_s": ran.work_s, "work_cpu_s": ran.work_cpu_s, "work_items": ran.items}
        if self.recalled is not None and self.sample is self.recalled:
            row["recalled"] = True
        if self.skipped:
            row["skipped"] = self.skipped
        return row
