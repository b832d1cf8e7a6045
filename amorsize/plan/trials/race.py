"""A race by the clock: the forecast, the seconds that each contender took, and the conclusions.

A record holds only what was seen. All conclusions are computed from it by pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, log
from typing import Any, Final

from amorsize.model.statistics import NOTICEABLE_S, Estimate, estimate, median, noticeably_slower, ratio
from amorsize.plan.plan import Plan

# A forecast outside of its interval and off by more than this share is wrong.
# guess
WRONG: Final = 0.25
# Share of the machine's CPU time in other programs from which timings mean little.
# guess
BUSY: Final = 0.10

LOOP: Final = "loop"
PLAN: Final = "plan"
EXECUTE: Final = "execute"
TASKS: Final = "tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way of running the map, and its times.

    Attributes
    ----------
    name : str
        ``"loop"``, ``"plan"`` (`optimize` and its pool), ``"execute"``, ``"pool"`` (``multiprocessing.Pool()``),
        ``"threads"`` (``ThreadPoolExecutor()``) or ``"tasks"`` (on an executor: one task for each item).
    what : str
        A description in words.
    times_s : tuple of float
        Seconds of each round; empty if it was not run.
    why_not : str or None
        The reason why it was not run.
    same : bool or None
        True if its results equal those of the first contender, up to the last bits of floats; None if they cannot be
        compared.
    allowed : bool
        False for a plain loop that ``backend`` rules out: it runs only for comparison.
    """

    name: str
    what: str
    times_s: tuple[float, ...] = ()
    why_not: str | None = None
    same: bool | None = None
    allowed: bool = True

    @property
    def seconds(self) -> Estimate | None:
        """The median with its 95 % interval; None if it was not run."""
        return estimate(self.times_s) if self.times_s else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and strings."""
        found = self.seconds
        return {
            "name": self.name,
            "what": self.what,
            "times_s": list(self.times_s),
            "median_s": found and found.median,
            "interval_s": found and [found.low, found.high],
            "why_not": self.why_not,
            "same": self.same,
            "allowed": self.allowed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Contenders that ran a function over the same items, in turns.

    Attributes
    ----------
    func : str
        The function's name.
    n_used : int
        Number of items run in each round.
    n_items : int or None
        Number of items in the data; None if not all of an iterator was read.
    contenders : tuple of Contender
        The ways of running the map, with their times.
    busy : float or None
        Share of the machine's CPU time that other programs had meanwhile; None if the time was too short to tell.
    took_s : float
        Seconds for everything.
    """

    func: str
    n_used: int
    n_items: int | None
    contenders: tuple[Contender, ...] = ()
    busy: float | None = None
    took_s: float = 0.0

    @property
    def rounds(self) -> int:
        """Number of runs of each contender."""
        return max((len(one.times_s) for one in self.contenders), default=0)

    @property
    def too_busy(self) -> bool:
        """True if other programs took so much of the machine that the timings mean little."""
        return self.busy is not None and self.busy > BUSY


@dataclass(frozen=True, slots=True, kw_only=True)
class Race(Timings):
    """Forecast and measurement, for one function and its data on this machine.

    Attributes
    ----------
    plan : Plan
        The answer of `amorsize.optimize` for the items used.
    warnings : tuple of str
        Doubts about a measurement, and limits that changed the plan.
    """

    plan: Plan = field(repr=False)
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Contender:
        """Return the contender with this name."""
        for one in self.contenders:
            if one.name == name:
                return one
        raise KeyError(name)

    def _times(self, name: str) -> tuple[float, ...]:
        return next((one.times_s for one in self.contenders if one.name == name), ())

    # -- the forecast --------------------------------------------------------------------------------------------

    @property
    def predicted_s(self) -> float | None:
        """Forecast seconds of the plan's pool."""
        return self.plan.predicted_s

    @property
    def clock_s(self) -> float | None:
        """Measured seconds of the plan's pool: the median."""
        times = self._times(PLAN)
        return median(times) if times else None

    @property
    def forecast_error(self) -> float | None:
        """``|log(predicted_s / clock_s)|``: twice too long and half as long are equally wrong."""
        predicted, clock = self.predicted_s, self.clock_s
        if not predicted or not clock:
            return None
        return abs(log(predicted / clock))

    @property
    def forecast_factor(self) -> float | None:
        """The forecast error as a factor: 1.1 is 10 % too long or too short."""
        error = self.forecast_error
        return None if error is None else exp(error)

    @property
    def forecast_held(self) -> bool | None:
        """True if the measured time is inside the forecast's 80 % interval."""
        interval, clock = self.plan.predicted_interval_s, self.clock_s
        return None if interval is None or clock is None else interval[0] <= clock <= interval[1]

    @property
    def forecast_right(self) -> bool:
        """True if the measured time is inside the interval, or at most a quarter or 2 ms off."""
        predicted, clock, factor = self.predicted_s, self.clock_s, self.forecast_factor
        if predicted is None or clock is None or factor is None:
            return True
        return bool(self.forecast_held) or factor <= 1 + WRONG or abs(predicted - clock) <= NOTICEABLE_S

    # -- the race ------------------------------------------------------------------------------------------------

    @property
    def best(self) -> Contender | None:
        """The fastest contender that ``backend`` allows."""
        run = [one for one in self.contenders if one.times_s and one.allowed]
        return min(run, key=lambda one: median(one.times_s), default=None)

    @property
    def regret_execute(self) -> float | None:
        """Time of `execute` over the time of the fastest contender; 1.0 if `execute` is the fastest."""
        return self._regret(EXECUTE)

    @property
    def regret_plan(self) -> float | None:
        """Time of the plan's pool over the time of the fastest contender."""
        return self._regret(PLAN)

    def _regret(self, name: str) -> float | None:
        times, best = self._times(name), self.best
        return ratio(times, best.times_s).median if times and best is not None else None

    @property
    def speedup(self) -> float | None:
        """Time of the plain loop over the time of `execute`."""
        ours, loop = self._times(EXECUTE), self._times(LOOP)
        return ratio(loop, ours).median if ours and loop else None

    @property
    def slower_than_loop(self) -> bool | None:
        """True if `execute` was noticeably slower than the plain loop; None if the loop was not run."""
        ours, loop = self._times(EXECUTE), self._times(LOOP)
        return noticeably_slower(ours, loop) if ours and loop else None

    def lost_to(self, name: str) -> tuple[Contender, ...]:
        """Return the contenders noticeably faster than ``"execute"`` or ``"plan"``, the fastest first.

        A plan is not compared with `execute`: a `Pool` cannot do what `execute` does.
        """
        ours = self._times(name)
        rivals = [
            one
            for one in self.contenders
            if one.times_s and one.allowed and one.name != name and not (name == PLAN and one.name == EXECUTE)
        ]
        lost = [one for one in rivals if ours and noticeably_slower(ours, one.times_s)]
        return tuple(sorted(lost, key=lambda one: median(one.times_s)))

    def times_as_long(self, name: str, as_name: str) -> float:
        """Return the time of one contender over the time of another, compared round by round."""
        return ratio(self._times(name), self._times(as_name)).median

    # -- conclusions ---------------------------------------------------------------------------------------------

    @property
    def same_results(self) -> bool | None:
        """True if all contenders gave the same results; None if some results cannot be compared."""
        told = [one.same for one in self.contenders if one.times_s]
        return False if False in told else None if None in told else True

    @property
    def ok(self) -> bool:
        """True if the forecast was right, no allowed contender was noticeably faster, and no results differed."""
        return (
            self.forecast_right
            and not self.lost_to(EXECUTE)
            and not self.lost_to(PLAN)
            and self.same_results is not False
        )
