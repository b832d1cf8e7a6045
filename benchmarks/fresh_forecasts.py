"""Forecasts of each function's first ``optimize`` in one process: ``python -m benchmarks.fresh_forecasts JOB``."""

from __future__ import annotations

import json
import sys
from typing import Any


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Return the plan of each workload of the job, and what the map of its pool took."""
    from benchmarks import calibration, rivals
    from benchmarks.plan_facts import plan_facts
    from benchmarks.workloads import AT_END, fresh, thinned
    from benchmarks.workloads.first import twenty_two

    calibration.adopt(job["iterations_per_s"])
    rows = []
    for name in job["workload"].split("\n"):
        with AT_END:
            func, data = twenty_two()[name].make()
            facts: dict[str, Any] = {}
            rivals.amorsize_optimize(func, fresh(thinned(data, job["stride"])), facts)
        plan = facts.pop("plan")
        rows.append({"workload": name, "plan": plan_facts(plan), **facts})
    return {"rows": rows}


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
