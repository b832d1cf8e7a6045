"""Formats a result file as Markdown: one line per workload, then the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.grid import GRID
from benchmarks.measure import MOST_ROUNDS
from benchmarks.rivals import EXECUTE, LOOP, MOST_ITEMS, OPTIMIZE_POOL, UNKNOWN
from benchmarks.summary import PLAN_MAP, POOL_MAP
from benchmarks.targets import targets

BEST_OF_GRID = "best of grid"


def seconds(value: float) -> str:
    """Return seconds as text: about three figures, at most to 0.1 ms."""
    if value < 0.1:
        return f"{value:.4f}" if value < 0.01 else f"{value:.3f}"
    return f"{value:.2f}"


def ratio(estimate: dict[str, Any] | None) -> str:
    """Return an estimate as text, such as ``1.03 (0.98–1.10)``."""
    if estimate is None:
        return "–"
    if estimate["low"] is None:
        return f"{estimate['median']:.2f}"
    return f"{estimate['median']:.2f} ({estimate['low']:.2f}–{estimate['high']:.2f})"


def factor(log_error: float | None) -> str:
    return "–" if log_error is None else f"±{100 * (math.exp(log_error) - 1):.0f} %"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are figures."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def grid_best(row: dict[str, Any], medians: dict[str, float]) -> tuple[str, float] | None:
    """Return the winner of the grid, by its time in the rounds; the loop counts as a setting."""
    settings = {name: value for name, value in medians.items() if name.startswith(GRID)}
    if row.get("grid") and LOOP in medians:
        settings[LOOP] = medians[LOOP]
    return min(settings.items(), key=lambda item: item[1]) if settings else None


def columns(result: dict[str, Any]) -> list[str]:
    """Return the contenders in the order in which they ran; the grid counts as one."""
    names: list[str] = []
    has_grid = False
    for row in result["rows"]:
        names += [name for name in row["contenders"] if name not in names and not name.startswith(GRID)]
        has_grid = has_grid or bool(row.get("grid")) or any(name.startswith(GRID) for name in row["contenders"])
    return names + [BEST_OF_GRID] * has_grid


def cell(name: str, row: dict[str, Any], summary: dict[str, Any]) -> str:
    """Return a contender's median, in bold if it is the best; or a mark if it has none, or not of each round."""
    medians = summary["medians"]
    if name == BEST_OF_GRID:
        found = grid_best(row, medians)
        if found is None:
            return "–"
        setting, value = found
        return f"**{seconds(value)}**" if setting == summary["best"] else seconds(value)
    record = row["contenders"].get(name)
    if name not in medians:
        if record and record["failed"]:
            return "failed"
        return "–†" if record and record.get("left_out") else "–"
    text = seconds(medians[name])
    if name == summary["best"]:
        return f"**{text}**"
    return text + "°" * (record is not None and record["sat_out_after_round"] is not None)


def row_table(result: dict[str, Any]) -> str:
    names = columns(result)
    lines = []
    for row in result["rows"]:
        summary = result["summary"]["rows"][row["workload"]]
        lines.append([row["workload"] + " ⚠" * row["busy"]["too_busy"], *(cell(name, row, summary) for name in names)])
    return markdown(["workload", *names], lines)


def against(summary: dict[str, Any], name: str, to: str) -> str:
    """Return a ratio, and the name of the contender that it refers to."""
    found = summary["regret"].get(name, {}).get(f"to_{to}")
    return "–" if found is None else f"{ratio(found)} {summary[to].removeprefix(GRID)}"


def own_cost(cost: dict[str, float] | None) -> str:
    if cost is None:
        return "–"
    text = f"{1e3 * cost['beyond_s']:.1f} ms of {1e3 * cost['allowed_s']:.1f}"
    return f"**{text}**" if cost["beyond_s"] > cost["allowed_s"] else text


def regret_table(result: dict[str, Any]) -> str:
    """Return the figures for the promises of amorsize, row by row."""
    header = [
        "workload",
        "execute / best rival (95 %)",
        "the same, unknown function",
        "execute / best of rivals and grid",
        "execute / loop",
        "optimize + Pool / best Pool or loop: choice alone",
        "with what optimize took",
        "items vary by",
        "forecast off by",
        "interval held",
        "optimize's own cost",
    ]
    lines = []
    for name, summary in result["summary"]["rows"].items():
        if EXECUTE not in summary["medians"]:
            continue
        forecast = summary.get("forecast")
        variation = summary["variation"]
        lines.append(
            [
                name,
                against(summary, EXECUTE, "best_rival"),
                ratio(summary["regret"].get(UNKNOWN, {}).get("to_best_rival")),
                against(summary, EXECUTE, "best_by_hand") if summary["has_grid"] else "–",
                ratio(summary["regret"][EXECUTE].get("to_loop")),
                against(summary, POOL_MAP, "best_pool"),
                ratio(summary["regret"].get(OPTIMIZE_POOL, {}).get("to_best_pool")),
                "–" if variation is None else f"{variation:.2f}",
                "–" if forecast is None else f"{100 * forecast['log_error']:.0f} %",
                "–" if forecast is None else f"{forecast['held']} of {forecast['rounds']}",
                own_cost(summary["optimize_cost"]),
            ]
        )
    return markdown(header, lines)


def target_table(result: dict[str, Any]) -> str:
    """Return the promises, the figures of this run, and the rows that break them."""
    verdict = {True: "met", False: "**missed**", None: "not measured"}
    lines = [
        [each.what, each.goal, each.figure, verdict[each.met] if each.goal else "", shortened(each.rows)]
        for each in targets(result["summary"], result["machine"]["usable_cores"])
    ]
    return markdown(["target", "goal", "this run", "", "rows that break it, worst first"], lines)


def shortened(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def contender_table(result: dict[str, Any]) -> str:
    header = [
        "",
        "time / best of anyone, geometric mean",
        "worst row",
        "rows slower than the loop",
        "rows within 20 % of the best",
        "rows",
    ]
    lines = [
        [
            name,
            f"{each['geometric_mean']:.2f}",
            f"{each['worst']:.1f}",
            str(each["slower_than_loop"]),
            str(each["near_best"]),
            str(each["rows"]),
        ]
        for name, each in result["summary"]["contenders"].items()
        if each["rows"]
    ]
    return markdown(header, lines)


def forecast_lines(result: dict[str, Any]) -> list[str]:
    forecast = result["summary"]["forecast"]
    if forecast is None:
        return []
    held = "–" if forecast["coverage"] is None else f"{100 * forecast['coverage']:.0f} %"
    text = (
        f"Forecast of `optimize` against the clock, {forecast['n']} maps: median error "
        f"{factor(forecast['median_log_error'])}, 90th percentile {factor(forecast['p90_log_error'])}; the interval "
        f"(meant to hold 80 %) held {held}. Its forecast of the plain loop: median error "
        f"{factor(result['summary']['serial_median_log_error'])}. `optimize` itself took "
        f"{seconds(forecast['optimize_s'])} s at the median."
    )
    extras = [row.get("first_call_extra_s") for row in result["summary"]["rows"].values()]
    known = sorted(extra for extra in extras if extra is not None)
    if not known:
        return [text]
    extra_ms = 1000 * known[len(known) // 2]
    return [text, f"`execute`'s first call in a process against its later ones: {extra_ms:+.0f} ms (median)."]


def notes(result: dict[str, Any]) -> list[str]:
    """Return the notes without which the figures would mislead."""
    lines = []
    if result["quick"]:
        lines.append("**Quick run: a sample of the items only. It shows that the instrument works, nothing more.**")
    if busy := [row["workload"] for row in result["rows"] if row["busy"]["too_busy"]]:
        lines.append(f"⚠ The machine was more than 10 % busy with other things: {', '.join(busy)}.")
    if any(each["sat_out_after_round"] is not None for row in result["rows"] for each in row["contenders"].values()):
        lines.append("° Far behind after the first one or two rounds, and not run again.")
    if any(each.get("left_out") for row in result["rows"] for each in row["contenders"].values()):
        lines.append(f"† Left out: more than {MOST_ITEMS:,} items, each of which costs it 0.1 ms and more.")
    for row in result["rows"]:
        if row["wrong"]:
            lines.append(f"{row['workload']}: {row['wrong']}")
        lines += [
            f"{name} failed on {row['workload']}: {each['failed']}"
            for name, each in row["contenders"].items()
            if each["failed"]
        ]
    left = {
        (name, what)
        for row in result["rows"]
        for name, each in row["contenders"].items()
        for what in each["left_behind"]
    }
    lines += [f"{name} left this behind: {what}." for name, what in sorted(left)]
    lines += [f"Not run: {name} ({why})." for name, why in result["skipped"].items()]
    return lines


def render(result: dict[str, Any]) -> str:
    """Return the whole page."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    rounds = (
        f"2 to {result['rounds']}" if result.get("brief") else f"{result['rounds']} (short rows: up to {MOST_ROUNDS})"
    )
    head = (
        f"{result['started'][:10]}, {machine['system']}, {machine['usable_cores']} cores "
        f"({machine['cpu'] or 'unknown'}), {machine['python']}; {versions}. "
        "Seconds as a user waits, start and end of workers included; "
        f"medians of {rounds} interleaved rounds; bold: nobody was faster."
    )
    if any(PLAN_MAP in row["medians"] for row in result["summary"]["rows"].values()):
        head += f" `{LOOP}` is `list(map(func, data))`; “{PLAN_MAP}” leaves out what `optimize` took to choose."
    parts = [
        head,
        row_table(result),
        contender_table(result),
        *forecast_lines(result),
        regret_table(result),
        target_table(result),
        *notes(result),
    ]
    return "\n\n".join(parts)
