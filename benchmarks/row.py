"""Measures one row in a process of its own: ``python -m benchmarks.row JOB``, where JOB is a `Job` as JSON.

A fresh process each time, so that no row inherits another's threads, warm workers or heap. Imports stay light at the
top: under spawn and forkserver every worker imports this module again, as it would import a user's script.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The measurement of one row.

    Attributes
    ----------
    workload : str
        Name of a registered workload.
    contenders : tuple of str
        Names of rivals, the loop first.
    rounds : int
        Most runs of each.
    iterations_per_s : float
        The calibration that all rows share.
    stride : int
        Take every so many-th item only (quick runs); 1: all.
    grid : bool
        Find the best of a grid of fixed settings, and let it compete.
    thrifty : bool
        Run contenders that are far behind no more, and leave out those that would take minutes.
    limit_s : float or None
        Seconds of rounds after which no third one begins.
    log : str
        File that takes the events, one JSON line each.
    """

    workload: str
    contenders: tuple[str, ...]
    rounds: int
    iterations_per_s: float
    stride: int = 1
    grid: bool = False
    thrifty: bool = True
    limit_s: float | None = None
    log: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def run(job: Job) -> None:
    from benchmarks import calibration, grid, rivals
    from benchmarks.measure import Race
    from benchmarks.plan_facts import plan_facts
    from benchmarks.workloads import AT_END, REGISTRY, fresh, thinned

    calibration.adopt(job.iterations_per_s)
    workload = REGISTRY[job.workload]
    func, data = workload.make()
    data = thinned(data, job.stride)
    known = rivals.by_name()
    contenders = [known[name] for name in job.contenders]
    contenders = [rival for rival in contenders if rival.missing() is None]

    with open(job.log, "w", encoding="utf-8") as log, AT_END:

        def emit(event: dict[str, Any]) -> None:
            log.write(json.dumps(event, default=str) + "\n")
            log.flush()

        n_items = None if callable(data) else len(data)
        emit({"event": "ready", "items": n_items, "contenders": [rival.name for rival in contenders]})
        race = Race(
            func,
            data,
            contenders,
            emit,
            thrifty=job.thrifty,
            settings=grid.settings if job.grid else None,
            before_turn=workload.before_turn,
        )
        race.run(job.rounds, job.limit_s)
        if any(rival.name == rivals.EXECUTE for rival in race.running):
            emit({"event": "begin", "contender": rivals.EXECUTE, "round": None})
            race.make_ready()
            emit({"event": "plan", "plan": plan_facts(execute_plan(func, fresh(data)))})
        emit({"event": "done"})


def execute_plan(func: Any, data: Any) -> Any:
    """Return the plan of one extra, untimed run: the timed runs do not request it."""
    import amorsize

    _, plan = amorsize.execute(func, data, return_plan=True)
    return plan


if __name__ == "__main__":
    run(Job(**json.loads(sys.argv[1])))
