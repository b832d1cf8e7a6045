"""When a call of ``Parallel`` starts workers: once they would pay, and the loop has taken as long as their start.

The loop itself is `amorsize.integrations.joblib_loop`.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from amorsize.backends.table import row_named
from amorsize.backends.workers import warm
from amorsize.frozen import replace
from amorsize.integrations.joblib_call import Call, Options
from amorsize.integrations.joblib_watch import LOOK_S
from amorsize.integrations.joblib_workers import Processes
from amorsize.measure.own_start import learn
from amorsize.model.decide import Decider
from amorsize.model.default_costs import recorded
from amorsize.model.head import ONE_WAIT_S
from amorsize.options import check
from amorsize.run.choices import WARM_START, choices_for
from amorsize.run.run_summary import RunSummary
from amorsize.system.start_methods import start_method_beside_threads

if TYPE_CHECKING:
    from amorsize.facts import Backend, BackendCost
    from amorsize.model.decide import Choices

rent_s: list[float] = [0.0]
"""Seconds that calls of this process have spent in the loop, though warm workers would have been faster. Workers are
started once that exceeds the cost of their start, over calls as within one (ski rental), and stay warm from then on.
The caller goes on while they start. So their imports, which another core makes, do not count."""


class StartsWorkers(Call):
    """A call with a decider, which starts workers when they pay.

    Attributes
    ----------
    decider : Decider
    may_use_threads : bool or None
        None: not known yet.
    """

    def __init__(self, parallel: Any, options: Options) -> None:
        super().__init__(parallel, options)
        self._can_send = True
        self.may_use_threads: bool | None = True if options.is_threadsafe else None
        self._looked_at: Any = None
        # The costs before workers have started, and if those of warm ones are in `Decider.choices`.
        self._cold: Choices | None = None
        self._is_warm = False
        self._began_s = 0.0
        # Seconds in the loop at which the next look is due if workers would pay.
        self._look_s = ONE_WAIT_S
        n = parallel.n_tasks
        self.decider = Decider(
            n,
            indexable=False,
            most_cores=options.cores,
            spread=False,
            load_threads_s=row_named("threads").left_to_load_s(),
            load_processes_s=row_named("processes").left_to_load_s(),
        )
        self.decider.begin(n, pieces=1)

    def _are_warm(self, method: str) -> bool:
        """Return True if as many workers wait as can be used."""
        return warm.count(method) >= min(self.options.n_jobs, self.options.cores)

    def _choices(self) -> Choices:
        options = self.options
        method = start_method_beside_threads() if "processes" in self.backends else None
        request = check(callable, (), max_workers=options.n_jobs, start_method=method)
        choices = choices_for(request, self.backends, RunSummary(self.decider))
        if method is not None and self._are_warm(method):
            self._is_warm = True
            return with_warm_workers(choices)
        return choices

    def _would_pay(self, n_items: int) -> bool:
        """Return True if warm workers would be the best for so many tasks."""
        choices = self.decider.choices
        if choices is None or "processes" not in choices.backends or not self.decider.items or self.options.cores < 2:
            return False
        best, _ = self.decider.candidates(with_warm_workers(choices), self.decider.sample(), max(1, n_items))
        return best.backend == "processes"

    def _consider(self) -> None:
        """Start processes once the loop has taken as long as that does; they are used when they are ready."""
        decider = self.decider
        choices, spent_s = decider.choices, decider.wall_s
        if self.workers is not None or choices is None or choices.costs.processes is None or spent_s < self._look_s:
            return
        self._look_s = 2 * spent_s
        if rent_s[0] + spent_s > price_s(choices.costs.processes) and self._would_pay(decider.left):
            self.open_workers("processes")

    def _are_ready(self) -> None:
        """Note what the start of processes has taken, and decide anew with workers that are warm."""
        self._is_warm, choices = True, self.decider.choices
        if not isinstance(self.workers, Processes):
            return
        if self._cold is not None and self._cold.costs.processes is not None and self.workers.ready_s is not None:
            cores, ready_s = self._cold.machine.usable_cores, self.workers.ready_s
            # The caller computes meanwhile.
            learn(self._cold.costs.processes, self.options.n_jobs + 1, cores, ready_s, ready_s)
        if choices is not None:
            self.decider.choices = with_warm_workers(choices)
            self.decider.look_at_s = self.decider.looked_item_s = 0.0

    def _threads_are_safe(self) -> bool:
        """Return True if threads may run the tasks that wait: the caller has said so, or a look at them shows it."""
        if self.options.is_threadsafe:
            return True
        if self.may_use_threads is None:
            from amorsize.measure.thread_safety import look

            calls = [call for batch in list(self._queue) for call in batch.calls]
            self._looked_at = calls[0][0] if calls else None
            if not all(map(self._is_looked_at, calls)):
                self.may_use_threads = False
            else:
                self.may_use_threads = look(self._looked_at, [args[0] for _, args, _ in calls]).is_safe
        return self.may_use_threads

    def _is_looked_at(self, call: Any) -> bool:
        """Return True if a call is of the function that was looked at, with one argument, as that of a map has."""
        function, args, keywords = call
        return function is self._looked_at and len(args) == 1 and not keywords

    def open_workers(self, backend: Backend) -> None:
        if backend == "processes" and not self._is_warm:
            rent_s[0], self._cold = 0.0, self.decider.choices
        try:
            super().open_workers(backend)
        # No memory, no more processes, threads or descriptors.
        except (OSError, RuntimeError):
            self._stay_here(backend)

    def _stay_here(self, backend: Backend) -> None:
        """Run the rest in the caller: no worker can begin, or what they are to run cannot be sent."""
        self._can_send = False
        self.backends = tuple(one for one in self.backends if one != backend) or ("serial",)
        if self.decider.choices is not None:
            self.decider.withdraw(backend)

    def left_to_wait_s(self) -> float:
        """Return the seconds until the loop has taken as long as workers take to start."""
        choices = self.decider.choices or self._choices()
        if "processes" not in self.backends or choices.costs.processes is None:
            return LOOK_S
        return max(0.0, price_s(choices.costs.processes) - (perf_counter() - self._began_s) - rent_s[0])


def price_s(processes: BackendCost) -> float:
    """Return the seconds that a start of workers takes from a caller that goes on meanwhile."""
    return min(processes.start.total_s(2), recorded(processes.engine, processes.start_method).start.total_s(2))


def with_warm_workers(choices: Choices) -> Choices:
    """Return the choices as if worker processes were warm."""
    processes = choices.costs.processes
    if processes is None:
        return choices
    return replace(choices, costs=replace(choices.costs, processes=replace(processes, start=WARM_START)))
