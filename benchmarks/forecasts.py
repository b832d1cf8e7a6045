"""Forecasts of `optimize` against the clock, and the cost of `optimize` itself. Pure functions.

A forecast is compared with the map of its own plan, start and end of the pool included: this is the time it forecasts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from benchmarks import statistics
from benchmarks.record import Row
from benchmarks.rivals import LOOP, OPTIMIZE

COST_S = 5e-3  # allowed cost of optimize beyond one item and a slow first call: the larger of this …
COST_SHARE = 0.01  # … and this share of the serial time


def known(row: Row) -> list[dict[str, Any]]:
    """Return the facts of each round that has both a forecast and the time of its map."""
    facts = row["contenders"].get(OPTIMIZE, {}).get("facts", [])
    return [each for each in facts if each and each.get("predicted_s") and each.get("map_s")]


def errors(found: Sequence[dict[str, Any]]) -> list[float]:
    return [statistics.log_error(each["predicted_s"], each["map_s"]) for each in found]


def held(found: Sequence[dict[str, Any]]) -> list[bool]:
    """Return, for each forecast with an interval, True if the interval holds the time by the clock."""
    return [
        each["predicted_interval_s"][0] <= each["map_s"] <= each["predicted_interval_s"][1]
        for each in found
        if each.get("predicted_interval_s")
    ]


def of_row(row: Row) -> dict[str, Any] | None:
    """Return the median error of a row's forecasts, and the number of rounds in which the interval held."""
    found = known(row)
    if not found:
        return None
    inside = held(found)
    return {"log_error": statistics.median(errors(found)), "held": sum(inside), "rounds": len(inside)}


def over_all(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return figures of all forecasts, round by round: error as |log|, coverage of the intervals."""
    found = [each for row in rows for each in known(row)]
    if not found:
        return None
    inside = held(found)
    return {
        "n": len(found),
        "median_log_error": statistics.median(errors(found)),
        "p90_log_error": statistics.percentile(errors(found), 90),
        "coverage": sum(inside) / len(inside) if inside else None,
        "optimize_s": statistics.median([each["optimize_s"] for each in found]),
    }


def own_cost(row: Row, loop_s: float) -> dict[str, float] | None:
    """Return the seconds that `optimize` took beyond one item and a slow first call, and the seconds allowed.

    The first round is left out: it measures the machine. "One item" is the longest one that it ran (an expensive one
    if sizes differ, since these hold much of the work), or the first or a mean one if that is longer. In later rounds
    the first call is slow only if the workload makes it so each time.
    """
    facts = [each for each in row["contenders"].get(OPTIMIZE, {}).get("facts", [])[1:] if each]
    if not facts:
        return None
    item = row.get("item") or {"mean_s": loop_s / max(1, row.get("items") or 1), "first_s": 0.0, "first_call_s": 0.0}
    one_item_s = max(item["mean_s"], item["first_s"]) + item["first_call_s"]
    beyond = [each["optimize_s"] - max(one_item_s, each.get("sample", {}).get("longest_s", 0.0)) for each in facts]
    return {
        "beyond_s": max(0.0, statistics.median(beyond)),
        "allowed_s": max(COST_S, COST_SHARE * loop_s),
    }


def serial_errors(rows: Sequence[Row]) -> list[float]:
    """Return |log(serial_s / loop)| of each round: the error of the plan's forecast of the plain loop."""
    found = []
    for row in rows:
        facts = row["contenders"].get(OPTIMIZE, {}).get("facts", [])
        loop = row["contenders"].get(LOOP, {}).get("seconds", [])
        found += [
            statistics.log_error(each["serial_s"], loop_s)
            for each, loop_s in itertools.zip_longest(facts, loop)
            if each and each.get("serial_s") and loop_s
        ]
    return found
