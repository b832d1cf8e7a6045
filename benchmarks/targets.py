"""The promises of the project against the figures of a run. Pure functions of a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import statistics
from benchmarks.rivals import EXECUTE, LOOP, OPTIMIZE_POOL, UNKNOWN
from benchmarks.summary import POOL_MAP, Summary

RIVALS_MEAN = 0.90
RIVALS_WORST, RIVALS_WORST_S = 1.10, 2e-3
ORACLE_MEAN, ORACLE_WORST = 1.00, 1.20
POOL_MEAN, POOL_WORST = 1.10, 1.35
ERROR_MEDIAN, ERROR_P90 = 0.10, 0.25
COVERAGE = (0.75, 0.90)
BARE_FORK_S = 4.5e-3  # two processes by os.fork and a pipe, until their first results (docs/why/engine.md)
STEADY = 1.0  # items that vary by less than their mean


class Target(NamedTuple):
    """One promise. ``met`` is None if figures are missing or there is no goal; ``rows`` break it, worst first."""

    what: str
    goal: str
    figure: str
    met: bool | None
    rows: tuple[str, ...] = ()


Rows = Mapping[str, Summary]


def regrets(rows: Rows, name: str, to: str) -> dict[str, dict[str, Any]]:
    """Return a contender's ratio to the best of a sort, by row; rows without one are left out."""
    found = {row: summary["regret"].get(name, {}).get(f"to_{to}") for row, summary in rows.items()}
    return {row: each for row, each in found.items() if each is not None}


def worst_first(found: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(sorted(found, key=lambda row: -found[row]))


def breaks_worst(found: dict[str, Any]) -> bool:
    """Return True if the lower ends are above 1.10 times the best rival and above 2 ms more than it."""
    return statistics.lower(found) > RIVALS_WORST and statistics.lower(found["extra_s"]) > RIVALS_WORST_S


def mean_target(what: str, found: Mapping[str, dict[str, Any]], goal: float) -> Target:
    if not found:
        return Target(what, f"≤ {goal:.2f}", "–", None)
    mean = statistics.geometric_mean([each["median"] for each in found.values()])
    return Target(what, f"≤ {goal:.2f}", f"{mean:.3f} over {len(found)} rows", mean <= goal)


def worst_target(what: str, found: Mapping[str, dict[str, Any]], goal: float) -> Target:
    if not found:
        return Target(what, f"≤ {goal:.2f}", "–", None)
    medians = {row: each["median"] for row, each in found.items()}
    over = {row: median for row, median in medians.items() if median > goal}
    figure = f"{max(medians.values()):.2f} ({worst_first(medians)[0]})"
    return Target(what, f"≤ {goal:.2f}", figure, not over, worst_first(over))


def against_rivals(rows: Rows) -> list[Target]:
    found = regrets(rows, EXECUTE, "best_rival")
    over = {row: statistics.lower(each) for row, each in found.items() if breaks_worst(each)}
    lowest = {row: statistics.lower(each) for row, each in found.items()}
    figure = f"{len(over)} of {len(found)} rows break it" if found else "–"
    if over:
        figure += f", at worst {max(over.values()):.2f}"
    elif lowest:
        figure += f"; highest lower end {max(lowest.values()):.2f}"
    return [
        mean_target("execute / best rival, geometric mean", found, RIVALS_MEAN),
        Target(
            "the same, worst row",
            f"≤ {RIVALS_WORST:.2f} or + {RIVALS_WORST_S * 1e3:.0f} ms, by the lower end of its 95 % interval",
            figure,
            not over if found else None,
            worst_first(over),
        ),
    ]


def against_oracle(rows: Rows) -> list[Target]:
    found = regrets({row: each for row, each in rows.items() if each.get("has_grid")}, EXECUTE, "best_by_hand")
    return [
        mean_target("execute / best of rivals and grid, geometric mean", found, ORACLE_MEAN),
        worst_target("the same, worst row", found, ORACLE_WORST),
    ]


def against_loop(rows: Rows, name: str = EXECUTE, called: str = "execute") -> Target:
    medians = {row: each["medians"] for row, each in rows.items() if name in each["medians"]}
    slower = {
        row: each[name] / each[LOOP]
        for row, each in medians.items()
        if statistics.slower_than_loop(each[name], each[LOOP])
    }
    what = f"rows where {called} is slower than the loop by more than 3 % + 2 ms"
    return Target(what, "0", str(len(slower)) if medians else "–", not slower if medians else None, worst_first(slower))


def floor(rows: Rows, cores: float) -> Target:
    """Return the least possible ratio: the loop's work spread over all cores, or the best time of all contenders.

    It is no promise, but the limit of the first target. A scheduler gets below it only if it makes the work itself less
    (results that need no garbage collection); the cost to send items and results keeps it above.
    """
    ratios = [
        min(each["medians"][each["best"]], each["medians"][LOOP] / cores + BARE_FORK_S)
        / each["medians"][each["best_rival"]]
        for each in rows.values()
    ]
    what = f"4.5 ms and the loop / {cores:g}, or the best time of anyone, over the best rival, geometric mean"
    return Target(what, "", f"{statistics.geometric_mean(ratios):.3f} over {len(ratios)} rows" if ratios else "–", None)


def of_unknown_functions(rows: Rows) -> list[Target]:
    """Return the figures of a function's first map, for which there is no promise."""
    mean = mean_target(f"{UNKNOWN} / best rival, geometric mean", regrets(rows, UNKNOWN, "best_rival"), RIVALS_MEAN)
    return [each._replace(goal="", met=None) for each in (mean, against_loop(rows, UNKNOWN, UNKNOWN))]


def pool_choice(rows: Rows) -> list[Target]:
    """Return the targets for the choice of `optimize` + Pool, without and with the time of `optimize`."""
    found = []
    for name, how in ((POOL_MAP, "choice alone"), (OPTIMIZE_POOL, "with what optimize took")):
        ratios = regrets(rows, name, "best_pool")
        found.append(mean_target(f"optimize + Pool / best Pool or loop, {how}, geometric mean", ratios, POOL_MEAN))
        found.append(worst_target(f"the same, {how}, worst row", ratios, POOL_WORST))
    return found


def forecast_error(rows: Rows) -> list[Target]:
    """Return median and 90th percentile over the rows whose items vary little; coverage over all rows."""
    stated = {row: each for row, each in rows.items() if each.get("forecast")}
    steady = {
        row: each["forecast"]["log_error"]
        for row, each in stated.items()
        if each["variation"] is not None and each["variation"] < STEADY
    }
    found = [
        quantile_target("forecast error, median", steady, 50, ERROR_MEDIAN),
        quantile_target("forecast error, 90th percentile", steady, 90, ERROR_P90),
    ]
    rounds = sum(each["forecast"]["rounds"] for each in stated.values())
    share = sum(each["forecast"]["held"] for each in stated.values()) / rounds if rounds else None
    low, high = COVERAGE
    missed = {
        row: 1 - each["forecast"]["held"] / each["forecast"]["rounds"]
        for row, each in stated.items()
        if each["forecast"]["rounds"]
    }
    found.append(
        Target(
            "coverage of the 80 % interval, all rows",
            f"{100 * low:.0f}–{100 * high:.0f} %",
            "–" if share is None else f"{100 * share:.0f} % of {rounds} maps",
            None if share is None else low <= share <= high,
            worst_first({row: each for row, each in missed.items() if each > 0.5})
            if share is not None and share < low
            else (),
        )
    )
    return found


def quantile_target(what: str, found: Mapping[str, float], share: float, goal: float) -> Target:
    if not found:
        return Target(what, f"≤ {100 * goal:.0f} %", "–", None)
    value = statistics.percentile(list(found.values()), share)
    over = {row: error for row, error in found.items() if error > goal} if value > goal else {}
    figure = f"{100 * value:.0f} % over {len(found)} rows"
    return Target(
        f"{what}, items varying by less than their mean",
        f"≤ {100 * goal:.0f} %",
        figure,
        value <= goal,
        worst_first(over),
    )


def asking(rows: Rows) -> Target:
    costs = {row: each["optimize_cost"] for row, each in rows.items() if each.get("optimize_cost")}
    over = {
        row: cost["beyond_s"] - cost["allowed_s"] for row, cost in costs.items() if cost["beyond_s"] > cost["allowed_s"]
    }
    what = "optimize's own cost beyond one item and a dear first call"
    goal = "≤ the larger of 5 ms and 1 % of the serial time"
    if not costs:
        return Target(what, goal, "–", None)
    middle = statistics.median([cost["beyond_s"] for cost in costs.values()])
    figure = f"{1e3 * middle:.1f} ms at the median; {len(over)} of {len(costs)} rows break it"
    return Target(what, goal, figure, not over, worst_first(over))


def targets(summary: Summary, cores: float | None = None) -> list[Target]:
    """Return all targets of a run on so many cores, in the order of the promises."""
    rows = {name: each for name, each in summary["rows"].items() if each["medians"]}
    parts: Sequence[Callable[[Rows], Target | list[Target]]] = (
        against_rivals, against_oracle, against_loop, of_unknown_functions, pool_choice, forecast_error, asking,
    )  # fmt: skip
    found: list[Target] = []
    for part in parts:
        answer = part(rows)
        found += [answer] if isinstance(answer, Target) else answer
    return found if cores is None else [*found[:2], floor(rows, cores), *found[2:]]
