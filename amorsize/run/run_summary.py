"""The summary of one run, from which the returned plan and the row of history are made."""

from __future__ import annotations

from math import sqrt
from time import time

from amorsize.facts import WAITS, Attempt, on_a_core_s
from amorsize.frozen import replace
from amorsize.history.shape import shape_of
from amorsize.history.waiting import HERE, RECORD_SAMPLE_S
from amorsize.model.decide import loop_forecast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.backends.engines import Facts
    from amorsize.facts import Backend, Forecast, Machine, Ran, Sample
    from amorsize.history.run_row import Run
    from amorsize.model.decide import Decider
    from amorsize.options import Request
    from amorsize.run.map_state import MapState

# guess: a run that takes more than this share of the loop's time has gained nothing
UNPROFITABLE: Final = 0.95
# If a run takes this many times its forecast, its item times are not relied upon (a guess).
SLOWED: Final = 2.0
# guess: so many items in threads tell if they took turns, and fewer at a time than this are turns
TURNS: Final = 8
AT_A_TIME: Final = 1.3
# Why a backend was left.
SLOWER: Final = "slower than the loop"
TRIAL: Final = "a trial, which gained too little"


def later(f: Forecast, loop_s: float, asked_s: float) -> Forecast:
    """Return a forecast of the whole run from one of the items left: add what was spent before.

    That is ``loop_s`` seconds of items in the loop, and ``asked_s`` for the decision.
    """
    before_s = loop_s + asked_s
    parts = f.breakdown
    return replace(
        f,
        total_s=f.total_s + before_s,
        low_s=f.low_s + before_s,
        high_s=f.high_s + before_s,
        breakdown=replace(parts, compute_s=parts.compute_s + loop_s, start_s=parts.start_s + asked_s),
    )


class RunSummary:
    """The summary of one run.

    Attributes
    ----------
    go : Forecast or None
        The candidate with which the run went parallel; ``alternatives`` are the others.
    asked_s : float
        Seconds that the decision took beside the items: loading what it needs, reading the machine, weighing.
    loop_s, loop_items : float, int
        Seconds spent and items run in the caller before that.
    read_item_s : float
        Seconds to read an item there, where an iterator makes them.
    n_items, skipped : int
        Results that this run has made, and results that a checkpoint had.
    unsampled : bool
        True if func was not to run here, so that nothing was measured.
    engine : Facts or None
        What the user's executor costs, if func may run only there.
    is_foreseen : bool
        True if the driver has made a forecast of such a run, which stands in ``go``.
    seen : Sample or None
        What all items of such a run have shown.
    recalled : Sample or None
        The sample of earlier maps. If ``sample`` is this object, nothing was measured anew.
    attempts : list of Attempt
        The backends that were left again, because workers could not start or were unprofitable.
    trials : list of Attempt
        The trials of threads within the loop.
    wall_s : float
        Seconds of the whole run.
    is_first : bool
        True if nothing in this process had used the backend before.
    was_held_back : bool
        True if a rate limit held items back, or some were set aside: the run's time says nothing about its backend.
    start_note : str or None
        Why workers do not start by fork.
    """

    def __init__(self, decider: Decider) -> None:
        self.decider = decider
        self.go: Forecast | None = None
        self.alternatives: list[Forecast] = []
        self.loop_s = 0.0
        self.loop_items = 0
        self.asked_s = 0.0
        self.read_item_s = 0.0
        self.n_items = 0
        self.skipped = 0
        self.wall_s = 0.0
        self.ran: Ran | None = None
        self.unsampled = False
        self.engine: Facts | None = None
        self.is_foreseen = False
        self.seen: Sample | None = None
        self.sample: Sample | None = None
        self.recalled: Sample | None = None
        self.machine: Machine | None = None
        self.warnings: list[str] = []
        self.attempts: list[Attempt] = []
        self.trials: list[Attempt] = []
        self.is_first = False
        self.was_held_back = decider.rate is not None
        self.start_note: str | None = None

    def foresaw(self, evidence: dict[str, Any] | None, sample: Sample | None) -> None:
        """Take the forecast of a map on an engine, from what its first items there have shown."""
        if self.unsampled and evidence is not None:
            from amorsize.model.engine_forecast import forecast

            if self.engine is not None:
                evidence = {**evidence, "bytes_per_s": self.engine.bytes_per_s}
            # What is left may be too little for all places, but all had tasks.
            self.go = replace(forecast(**evidence), workers=evidence["places"])
            self.sample, self.is_foreseen = sample, True

    def close(self, wall_s: float, state: MapState) -> None:
        """Note the end of the run: its duration, its results, and the checkpoint's warnings."""
        self.wall_s = wall_s
        self.n_items = state.outcome.size
        self.was_held_back |= state.repeats.waited
        if state.checkpoint is not None:
            self.skipped = state.checkpoint.skipped
            self.n_items -= self.skipped
            self.warnings += state.checkpoint.warnings.values()

    @property
    def withdrew(self) -> bool:
        """True if workers could not start, or were unprofitable."""
        return bool(self.attempts)

    def withdrawn(self) -> tuple[Attempt, ...]:
        """Return the backends that were tried and left again, in this order; trials of threads count unless chosen."""
        chosen = self.go is not None and self.go.backend == "threads"
        return (*(() if chosen else self.trials), *self.attempts)

    @property
    def took_turns(self) -> bool:
        """True if threads have run one item at a time, as far as that can be told from how long they took."""
        go, ran, sample = self.go, self.ran, self.sample
        if go is None or ran is None or sample is None or go.backend != "threads" or go.workers < 2:
            return False
        # Then they waited for something else: a rate, a pause before a repeat, an iterator.
        if self.was_held_back or self.read_item_s > sample.item_s / 4:
            return False
        # Items that take longer than those before are no sign of a lock either.
        loop_s = ran.items * sample.item_s
        return ran.items > TURNS and ran.wall_s / AT_A_TIME < loop_s < ran.wall_s * AT_A_TIME

    def weighed(self, backends: tuple[Backend, ...]) -> tuple[Backend, ...]:
        """Return ``backends``, and those that were left for being slow here: with more cores they may pay."""
        slow = [one.backend for one in self.attempts if one.why == SLOWER and one.backend in ("threads", "processes")]
        return tuple(dict.fromkeys((*backends, *slow)))

    @property
    def loop_only_s(self) -> float:
        """Seconds that the plain loop was expected to take in all; its time so far if there was no forecast."""
        decider = self.decider
        if decider.choices is None or not decider.items:
            return decider.wall_s
        return decider.wall_s + loop_forecast(decider.sample(), decider.choices.machine, decider.left).total_s

    @property
    def serial_s(self) -> float:
        """Seconds that the plain loop would have taken in all, as far as is known."""
        if self.go is None or self.sample is None:
            return self.loop_only_s
        return self.loop_s + (self.sample.item_s + self.sample.kept_s) * max(0, self.n_items - self.loop_items)

    def found(self) -> Sample | None:
        """Return the sample of all items of this run; None if unknown."""
        decider, ran = self.decider, self.ran
        if self.go is None or ran is None or self.sample is None:
            return decider.sample() if decider.prior is None and decider.items else None
        sample = self.sample if self.go.start_method not in (None, "fork") else replace(self.sample, first_call_s=0.0)
        if not ran.items or self.slowed or self.go.backend == "executor":
            return sample
        # In the caller items may take longer: it keeps the results, and collects garbage.
        if self.go.backend == "processes":
            each_s = ran.work_s / ran.items
            if self.machine is not None and sample.waits < WAITS:
                each_s = on_a_core_s(each_s, self.go.workers, self.machine.usable_cores)
            return replace(sample, worker_s=each_s)
        # Threads share the interpreter's lock, so that each item takes longer than alone.
        if sample.waits < WAITS:
            return sample
        items = decider.items + ran.items
        return replace(
            sample,
            n_sampled=items,
            item_s=(max(0.0, decider.wall_s - self.sample.first_call_s) + ran.work_s) / items,
            item_cpu_s=(decider.cpu_s + ran.work_cpu_s) / items,
            error_s=sample.item_std_s / sqrt(items),
        )

    @property
    def slowed(self) -> bool:
        """True if the parallel part took far longer than was forecast."""
        return self.go is not None and self.ran is not None and self.ran.wall_s > SLOWED * self.go.total_s

    @property
    def unprofitable(self) -> bool:
        """True if the loop would have been faster than the parallel part, as far as is known."""
        if self.go is None or self.ran is None or self.sample is None or self.unsampled:
            return False
        if self.was_held_back:
            return False
        item_s = self.sample.item_s + self.sample.kept_s + self.read_item_s
        # The first run also loads modules (15-25 ms), and no later run does. So its time does not show if the backend
        # is unprofitable.
        if self.is_first:
            return self.withdrew
        return self.withdrew or self.ran.wall_s > UNPROFITABLE * self.ran.items * item_s

    def attempt(self, tried: Forecast, wall_s: float, ran: Ran | None, why: str | None = None) -> Attempt:
        """Return the record of a backend that is left again after ``wall_s`` seconds."""
        items = ran.items if ran is not None else 0
        if why is None:
            started = ran is not None and ran.ready_s is not None
            lost = ran is not None and ran.lost > 0
            why = "no worker could start" if not started else "its workers died" if lost else SLOWER
        item_s = self.decider.item_s if self.decider.items else 0.0
        # Of a map that was never sampled, nothing says what the loop would take.
        cost_s = wall_s - items * item_s if item_s or not items else 0.0
        return Attempt(
            backend=tried.backend,
            workers=tried.workers,
            start_method=tried.start_method,
            items=items,
            wall_s=wall_s,
            cost_s=max(0.0, cost_s),
            ready_s=ran.ready_s if ran is not None else None,
            why=why,
        )

    def row(self, request: Request, outcome: str) -> Run:
        """Return the run as history keeps it."""
        from amorsize.history.run_row import Run

        go, ran = self.go, self.ran
        if self.sample is None and self.wall_s > RECORD_SAMPLE_S and not self.unsampled:
            self.sample = self.decider.sample()
        fields: dict[str, Any] = {}
        extra: dict[str, Any] = {"skipped": self.skipped or None}
        if go is None:
            fields["chunksize"] = max(1, self.n_items)
        elif go.total_s > 0 and not self.was_held_back:
            from amorsize.learn.parts import shares

            extra["parts"] = shares(later(go, self.loop_s, self.asked_s).breakdown)
        else:
            # It was asked for, not forecast; or it was held back, which no forecast knows of.
            fields |= {"predicted_s": None, "predicted_interval_s": None}
        if self.is_foreseen:
            fields["serial_s"] = self.serial_s
        elif not self.unsampled and self.decider.items:
            fields |= {"serial_s": self.serial_s, "threads_gain": self.decider.threads_gain}
        if ran is not None and ran.items:
            fields |= {"work_s": ran.work_s, "work_cpu_s": ran.work_cpu_s, "work_items": ran.items}
        if self.recalled is not None and self.sample is self.recalled:
            extra["recalled"] = True
        return Run.of_call(
            request.func,
            shape_of(request.data),
            self.n_items,
            self.wall_s,
            forecast=go,
            loop_s=self.loop_s + self.asked_s,
            sample=self.sample,
            machine=self.machine or HERE,
            at_s=time(),
            outcome=outcome,
            extra=extra,
            **fields,
        )
