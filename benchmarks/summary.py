"""From raw rows to what they say: medians, who was best, amorsize's regret, its forecast's error. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import statistics
from benchmarks.record import Row
from benchmarks.rivals import AMORSIZE, EXECUTE, LOOP, OPTIMIZE

PLAN_MAP = "optimize, its map alone"  # optimize() costs time too; this is what its choice is worth without that
GRID = "grid: "
NEAR = 1.2
Times = list[float | None]


def is_rival(name: str) -> bool:
    return name not in (*AMORSIZE, PLAN_MAP)


def times_of(row: Row) -> dict[str, Times]:
    """Seconds by round of every contender that ran, the plan's own map included."""
    times: dict[str, Times] = {}
    for name, record in row["contenders"].items():
        if record["failed"] is None and any(seconds is not None for seconds in record["seconds"]):
            times[name] = record["seconds"]
        if name == OPTIMIZE and name in times:
            times[PLAN_MAP] = [facts["map_s"] if facts else None for facts in record["facts"]]
    return times


def ran(times: Times) -> list[float]:
    return [seconds for seconds in times if seconds is not None]


def ratio(times: dict[str, Times], name: str, to: str) -> dict[str, Any] | None:
    """Median of the ratios within rounds, with its interval; None when they share no round."""
    values = statistics.paired_ratios(times[name], times[to])
    return statistics.estimate(values)._asdict() if values else None


def summarise_row(row: Row) -> dict[str, Any]:
    """Medians, the best of all, the best rival, and amorsize's ratios to it and to the loop."""
    times = times_of(row)
    if LOOP not in times:
        return {"medians": {}, "best": None, "best_rival": None, "regret": {}}
    estimates = {name: statistics.estimate(ran(values)) for name, values in times.items()}
    medians = {name: each.median for name, each in estimates.items()}
    best_rival = statistics.best(medians, is_rival)
    return {
        "medians": medians,
        "spread": {
            name: {**each._asdict(), "iqr": statistics.iqr(ran(times[name]))} for name, each in estimates.items()
        },
        # The plan's map alone is a part of a contender, not one: it cannot be the best.
        "best": statistics.best(medians, lambda name: name != PLAN_MAP),
        "best_rival": best_rival,
        "regret": {
            name: {"to_best_rival": ratio(times, name, best_rival), "to_loop": ratio(times, name, LOOP)}
            for name in (*AMORSIZE, PLAN_MAP)
            if name in times
        },
        "first_call_extra_s": first_call_extra(times.get(EXECUTE)),
    }


def first_call_extra(times: Times | None) -> float | None:
    """What execute's first call in a process took beyond its later ones (imports, measuring the machine)."""
    if not times or times[0] is None or len(ran(times)) < 2:
        return None
    return times[0] - statistics.median(ran(times)[1:])


def summarise_contender(name: str, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One contender over all the rows that it finished."""
    rows = [row for row in summaries if name in row["medians"]]
    ratios = [row["medians"][name] / row["medians"][row["best"]] for row in rows]
    slower = [row for row in rows if statistics.slower_than_loop(row["medians"][name], row["medians"][LOOP])]
    return {
        "rows": len(rows),
        "geometric_mean": statistics.geometric_mean(ratios) if ratios else None,
        "slower_than_loop": len(slower),
        "near_best": sum(each <= NEAR for each in ratios),
        "worst": max(ratios, default=None),
    }


def forecasts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each forecast that has a clock to compare with: the plan's map, round by round."""
    records = [row["contenders"][OPTIMIZE] for row in rows if OPTIMIZE in row["contenders"]]
    by_round = [facts for record in records for facts in record["facts"] if facts]
    return [facts for facts in by_round if facts.get("predicted_s") and facts.get("map_s")]


def summarise_forecasts(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Error of ``predicted_s`` as a factor (1.1: 10 % off either way), and how often the interval held the clock."""
    if not found:
        return None
    errors = [statistics.log_error(each["predicted_s"], each["map_s"]) for each in found]
    with_interval = [each for each in found if each.get("predicted_interval_s")]
    intervals = [tuple(each["predicted_interval_s"]) for each in with_interval]
    return {
        "n": len(found),
        "median_log_error": statistics.median(errors),
        "p90_log_error": statistics.percentile(errors, 90),
        "coverage": statistics.coverage(intervals, [e["map_s"] for e in with_interval]) if intervals else None,
        "optimize_s": statistics.median([each["optimize_s"] for each in found]),
    }


def serial_errors(rows: Sequence[Row]) -> list[float]:
    """|log(serial_s / loop)| of each round: how wrong the plan was about the plain loop."""
    errors = []
    for row in rows:
        optimize, loop = row["contenders"].get(OPTIMIZE), row["contenders"].get(LOOP)
        if optimize and loop:
            for facts, loop_s in zip(optimize["facts"], loop["seconds"], strict=True):
                if facts and facts.get("serial_s") and loop_s:
                    errors.append(statistics.log_error(facts["serial_s"], loop_s))
    return errors


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """All of the above for a whole comparison."""
    summaries = [summarise_row(row) for row in rows]
    names = list(dict.fromkeys(name for row in summaries for name in row["medians"] if not name.startswith(GRID)))
    serial = serial_errors(rows)
    return {
        "rows": {row["workload"]: summary for row, summary in zip(rows, summaries, strict=True)},
        "contenders": {name: summarise_contender(name, summaries) for name in names},
        "forecast": summarise_forecasts(forecasts(rows)),
        "serial_median_log_error": statistics.median(serial) if serial else None,
    }
