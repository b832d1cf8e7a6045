"""Summarises raw rows: medians, the best contender, amorsize's regret. Pure functions.

Result files of earlier formats lack some fields; figures that need these are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import forecasts, statistics
from benchmarks.grid import GRID
from benchmarks.record import Row
from benchmarks.rivals import AMORSIZE, EXECUTE, LOOP, OPTIMIZE, OPTIMIZE_POOL

PLAN_MAP = "optimize, its map alone"  # the time of its choice, without that of optimize() itself
POOL_MAP = "optimize + Pool, its map alone"
MAPS = {OPTIMIZE: PLAN_MAP, OPTIMIZE_POOL: POOL_MAP}
NEAR = 1.2
Times = list[float | None]
Summary = dict[str, Any]


def is_contender(name: str) -> bool:
    """Return True for a contender; a map alone is only a part of one."""
    return name not in MAPS.values()


def by_hand(name: str) -> bool:
    """Return True for a choice without amorsize: a rival, or a setting of the grid."""
    return is_contender(name) and name not in AMORSIZE


def is_rival(name: str) -> bool:
    return by_hand(name) and not name.startswith(GRID)


def fixed_pool(name: str) -> bool:
    """Return True for a setting of Pool, or the loop: the choice of `optimize` + Pool is compared with these."""
    return name in (LOOP, "Pool") or name.startswith(f"{GRID}Pool(")


TO: dict[str, Callable[[str], bool]] = {
    "best_rival": is_rival,
    "best_by_hand": by_hand,
    "best_pool": fixed_pool,
}


def times_of(row: Row) -> dict[str, Times]:
    """Return the seconds by round of each contender that ran, the maps alone included."""
    times: dict[str, Times] = {}
    for name, record in row["contenders"].items():
        if record["failed"] is None and any(seconds is not None for seconds in record["seconds"]):
            times[name] = record["seconds"]
            if name in MAPS:
                times[MAPS[name]] = [facts["map_s"] if facts else None for facts in record["facts"]]
    return times


def ran(times: Times) -> list[float]:
    return [seconds for seconds in times if seconds is not None]


def ratio(times: dict[str, Times], name: str, to: str) -> dict[str, Any] | None:
    """Return the median of the ratios within rounds, with its interval, and of the differences; None without any."""
    values = statistics.paired_ratios(times[name], times[to])
    if not values:
        return None
    extra = statistics.estimate(statistics.paired_differences(times[name], times[to]))
    return {**statistics.estimate(values)._asdict(), "extra_s": extra._asdict()}


def summarise_row(row: Row) -> Summary:
    """Return medians, the best of all and of each sort, amorsize's ratios to these, and its forecast's error."""
    times = times_of(row)
    if LOOP not in times:
        return {"medians": {}, "best": None, "regret": {}, **dict.fromkeys(TO)}
    estimates = {name: statistics.estimate(ran(values)) for name, values in times.items()}
    medians = {name: each.median for name, each in estimates.items()}
    best = {key: statistics.best(medians, among) for key, among in TO.items()}
    return {
        "medians": medians,
        "spread": {
            name: {**each._asdict(), "iqr": statistics.iqr(ran(times[name]))} for name, each in estimates.items()
        },
        "best": statistics.best(medians, is_contender),
        **best,
        "has_grid": row.get("grid") is not None or any(name.startswith(GRID) for name in medians),
        "regret": {
            name: {
                **{f"to_{key}": ratio(times, name, to) for key, to in best.items()},
                "to_loop": ratio(times, name, LOOP),
            }
            for name in (*AMORSIZE, *MAPS.values())
            if name in times
        },
        "first_call_extra_s": first_call_extra(times.get(EXECUTE)),
        "variation": (row.get("item") or {}).get("variation"),
        "forecast": forecasts.of_row(row),
        "optimize_cost": forecasts.own_cost(row, medians[LOOP]),
    }


def first_call_extra(times: Times | None) -> float | None:
    """Return the extra seconds of execute's first call in a process (imports, measuring the machine)."""
    if not times or times[0] is None or len(ran(times)) < 2:
        return None
    return times[0] - statistics.median(ran(times)[1:])


def summarise_contender(name: str, summaries: Sequence[Summary]) -> Summary:
    """Return the summary of one contender over all rows that it finished."""
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


def summarise(rows: Sequence[Row]) -> Summary:
    """Return the summary of a whole comparison."""
    summaries = [summarise_row(row) for row in rows]
    names = list(dict.fromkeys(name for row in summaries for name in row["medians"] if not name.startswith(GRID)))
    serial = forecasts.serial_errors(rows)
    return {
        "rows": {row["workload"]: summary for row, summary in zip(rows, summaries, strict=True)},
        "contenders": {name: summarise_contender(name, summaries) for name in names},
        "forecast": forecasts.over_all(rows),
        "serial_median_log_error": statistics.median(serial) if serial else None,
    }
