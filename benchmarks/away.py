"""The tables of docs/why/away-from-home.md: ``python -m benchmarks.away`` writes them into the page.

Each table is made from the newest result file of its benchmark in ``benchmarks/results``, and stands in the page
between ``<!-- table NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import fresh, results_files, rising
from benchmarks.fresh_contenders import EXECUTE, LOOP, OPTIMIZE_POOL, RIVALS, SETTINGS

HERE: Final = Path(__file__).parents[1]
PAGE: Final = HERE / "docs" / "why" / "away-from-home.md"
TABLE: Final = re.compile(r"(?<=<!-- table )([\w-]+)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)
Row = dict[str, Any]


def newest(name: str) -> Path:
    """Return the newest result file of a benchmark."""
    return max(results_files.FOLDER.glob(f"*-py3.??-{name}.json"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns but the first hold numbers.

    Examples
    --------
    >>> print(table(["row", "ms"], [["x*x", "10"]]), end="")
    | row | ms |
    | --- | --: |
    | x*x | 10 |
    """
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def against(met: bool, text: str) -> str:
    """Return a figure, bold if it misses its target."""
    return text if met else f"**{text}**"


# -- one table each ---------------------------------------------------------------------------------------------------


def of_fresh(found: Row) -> str:
    """Return the rows of first calls in fresh processes."""
    return table(
        [
            "workload",
            "loop, ms",
            "best rival, ms",
            "execute, ms",
            "execute: regret",
            "best Pool, ms",
            "optimize + Pool, ms",
            "plan: regret",
        ],
        [[row["workload"], *_fresh_cells(row)] for row in found["rows"]],
    )


def _fresh_cells(row: Row) -> Iterator[str]:
    medians = {name: median(known) for name, times in row["times"].items() if (known := fresh.of(times))}
    yield f"{medians[LOOP] * 1e3:.0f}"
    for ours, others in ((EXECUTE, (LOOP, *RIVALS)), (OPTIMIZE_POOL, (LOOP, "Pool", *SETTINGS))):
        best_s, best = min((medians[name], name) for name in others if name in medians)
        yield f"{best_s * 1e3:.0f} ({best})"
        yield f"{medians[ours] * 1e3:.0f}"
        yield f"{fresh.regret(row, ours, others):.2f}"


def of_fresh_summary(found: Row) -> str:
    """Return the figures over all rows of first calls."""
    rows = []
    targets = {EXECUTE: (1.03, 1.25), OPTIMIZE_POOL: (1.10, 1.35)}
    for name, (mean, worst) in targets.items():
        one = found["figures"][name]
        slower = len(one["slower_than_loop"])
        rows += [
            [
                f"{name}: geometric mean",
                f"{mean}",
                against(one["geometric_mean"] <= mean, f"{one['geometric_mean']:.3f}"),
            ],
            [
                f"{name}: worst row ({one['worst_row']})",
                f"{worst}",
                against(one["worst"] <= worst, f"{one['worst']:.2f}"),
            ],
            [f"{name}: rows slower than the loop", "0", against(not slower, f"{slower}")],
            [
                f"{name}: runs of 1.5 times their row's median",
                "0",
                against(not one["outliers"], f"{len(one['outliers'])} of {one['runs']}"),
            ],
        ]
    return table(["", "target", "measured"], rows)


def of_forecasts(found: Row) -> str:
    """Return the figures of first forecasts in one process."""
    one = found["figures"]
    shares = (("median error", "median", 0.10), ("90th percentile", "percentile_90", 0.25), ("worst", "worst", 0.60))
    rows = [[name, f"{most:.0%}", against(one[key] <= most, f"{one[key]:.0%}")] for name, key, most in shares]
    held, of = one["held"], one["rows"]
    rows.append(["clocks within the 80 % interval", "16 to 20 of 22", against(16 <= held <= 20, f"{held} of {of}")])
    return table(["", "target", "measured"], rows)


def of_abroad(found: Row) -> str:
    """Return the rows of programs: the median, the least and the largest."""
    rows = []
    for row in found["rows"]:
        low, middle, high = (max(0.0, one) for one in (min(row["values"]), row["median"], max(row["values"])))
        unit = " ms" if row["kind"] == "ms" else ""
        figure = f"{middle:.2f} ({low:.2f}–{high:.2f}){unit}"
        rows.append([row["row"], f"{row['target']:g}{unit}", against(middle <= row["target"], figure)])
    return table(["program", "target", "call / loop"], rows)


def of_rising(found: Row) -> str:
    """Return the figures of costs that rise along the data."""
    (runs,) = found["processes"].values()
    one = rising.summary({name: [rising.figures(run) for run in every] for name, every in runs.items()})
    shown = (("loop: median error", 0.15), ("loop: worst", 0.40))
    rows = [[name, f"{most:.0%}", against(one[name] <= most, f"{one[name]:.0%}")] for name, most in shown]
    worst = one["regret: worst row"]
    rows.append(
        ["the plan's pool / the better of loop and Pool(2), worst row", "1.35", against(worst <= 1.35, f"{worst:.2f}")]
    )
    return table([f"{one['processes']} processes", "target", "measured"], rows)


def of_heavy(found: Row) -> str:
    """Return the range over tables of 1, 10 and 60 MB, by start method."""
    rows = []
    for method in dict.fromkeys(row["method"] for row in found["rows"]):
        every = [row for row in found["rows"] if row["method"] == method]
        cells = []
        for key, low, high in (("map / loop", 0.0, 1.10), ("forecast / clock", 0.6, 1.4)):
            values = sorted(row[key] for row in every)
            cells.append(against(low <= values[0] and values[-1] <= high, f"{values[0]:.2f}–{values[-1]:.2f}"))
        rows.append([method, *cells])
    return table(["start method", "map / loop (1.10)", "forecast / clock (0.6–1.4)"], rows)


def of_quotas(found: Row) -> str:
    """Return the medians in control groups, with the least and the largest."""
    names = ("forecast / loop", "execute / loop", "plan / loop", "forecast / plan")
    rows = []
    for quota in dict.fromkeys(run["quota"] for run in found["runs"]):
        cells = []
        for name in names:
            values = sorted(run[name] for run in found["runs"] if run["quota"] == quota)
            cells.append(f"{median(values):.2f} ({values[0]:.2f}–{values[-1]:.2f})")
        rows.append([f"{quota} cores", *cells])
    return table(["quota", *names], rows)


MAKERS: Final[dict[str, tuple[str, Callable[[Row], str]]]] = {
    "fresh": ("fresh", of_fresh),
    "fresh-summary": ("fresh", of_fresh_summary),
    "forecasts": ("fresh-forecasts", of_forecasts),
    "abroad": ("abroad", of_abroad),
    "rising": ("rising", of_rising),
    "heavy": ("heavy", of_heavy),
    "quotas": ("quotas", of_quotas),
}
"""For each table of the page: the benchmark whose newest result file it shows, and what makes it."""


def with_tables(page: str) -> str:
    """Return the page with all its tables made anew."""

    def made(match: re.Match[str]) -> str:
        benchmark, make = MAKERS[match[1]]
        return f"{match[1]}{match[2]}\n{make(results_files.read(newest(benchmark)))}\n"

    return TABLE.sub(made, page)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
