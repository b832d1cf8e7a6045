"""One first call in a process of its own: ``python -m benchmarks.fresh_row JOB`` prints what it took as JSON.

The function, its data and the modules that these need are there before the clock starts, as in a program that is about
to map. What the contender loads is on the clock. Imports stay light at the top: under spawn and forkserver every worker
imports this module again, as it would import a user's script.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# What no contender may find loaded already.
ON_THE_CLOCK = ("amorsize", "multiprocessing", "concurrent", "joblib", "mpire")
# guess: results whose essence is compared
COMPARED = 64


def mark(results: Any) -> list[Any]:
    """Return a short proof of the results, which equals the loop's if they are right."""
    from zlib import crc32

    from benchmarks.verify import essence

    step = max(1, len(results) // COMPARED)
    shown = (f"{found:.9g}" if isinstance(found, float) else repr(essence(found)) for found in results[::step])
    return [len(results), crc32("\n".join(shown).encode())]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the contender of a job once."""
    from time import perf_counter

    from benchmarks import calibration, fresh_contenders
    from benchmarks.workloads import AT_END, fresh, thinned
    from benchmarks.workloads.first import twenty_two

    calibration.adopt(job["iterations_per_s"])
    contender = fresh_contenders.by_name()[job["contender"]]
    with AT_END:
        func, data = twenty_two()[job["workload"]].make()
        data = fresh(thinned(data, job["stride"]))
        loaded = [name for name in ON_THE_CLOCK if name in sys.modules]
        facts: dict[str, Any] = {}
        began = perf_counter()
        results = contender(func, data, facts)
        took_s = perf_counter() - began
        found = {"seconds": took_s, "mark": mark(results), "loaded": loaded}
        plan = facts.pop("plan", None)
        if plan is not None:
            from benchmarks.plan_facts import plan_facts

            found |= facts | {"plan": plan_facts(plan)}
        return found


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
