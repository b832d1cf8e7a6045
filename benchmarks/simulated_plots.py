"""The plots of docs/why/simulation.md: ``python -m benchmarks.simulated_plots SIMULATOR.json POLICIES.json``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from benchmarks.results_files import read

FOLDER = Path(__file__).parent.parent / "docs" / "why" / "img"
WAYS = {
    "amorsize": ("tab:red", "o", 2.0),
    "factoring": ("tab:blue", "s", 1.0),
    "one by one": ("tab:green", "^", 1.0),
    "guided": ("tab:purple", "v", 1.0),
    "N/4p": ("tab:orange", "D", 1.0),
    "N/p": ("tab:gray", "x", 1.0),
}
JOBS = ("even", "rising", "falling", "heavy tail", "one giant")
START_METHODS = {"fork": "o", "forkserver": "s", "spawn": "^"}


def save(figure: Any, name: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png", dpi=110, bbox_inches="tight")


def validation(result: dict[str, Any]) -> None:
    """Plot the error of the simulated makespan by number of workers."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for axis, backend in zip(axes, ("processes", "threads"), strict=True):
        rows = [r for r in result["settings"] if r["backend"] == backend]
        for item_s, colour in zip(
            sorted({r["item_s"] for r in rows}), ("tab:red", "tab:blue", "tab:green"), strict=True
        ):
            some = [r for r in rows if r["item_s"] == item_s]
            shift = {0.002: 0.93, 0.01: 1.0, 0.05: 1.07}.get(item_s, 1.0)
            axis.plot(
                [r["workers"] * shift for r in some],
                [r["error"] for r in some],
                "o",
                color=colour,
                alpha=0.6,
                ms=4,
                label=f"{item_s * 1e3:g} ms",
            )
        axis.axhspan(-0.05, 0.05, color="0.92", zorder=0)
        axis.axhline(0, color="0.5", lw=0.8)
        axis.set_xscale("log", base=2)
        ticks = sorted({r["workers"] for r in rows})
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.set_xlabel("workers")
        axis.set_title(backend)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0].set_ylabel("simulated makespan\nagainst the clock")
    axes[1].legend(title="mean item", fontsize=8)
    save(figure, "simulation-validation")


def policies(rows: list[dict[str, Any]]) -> None:
    """Plot the makespan over the ideal, by way of handing out and number of cores."""
    figure, axes = plt.subplots(1, len(JOBS), figsize=(13, 3.4))
    for axis, job in zip(axes, JOBS, strict=True):
        some = [r for r in rows if r["job"] == job and r["quota"] is None]
        for way, (colour, marker, width) in WAYS.items():
            axis.plot(
                [r["cores"] for r in some],
                [r["times_ideal"][way] for r in some],
                marker=marker,
                color=colour,
                lw=width,
                ms=5,
                label=way,
                zorder=3 if way == "amorsize" else 2,
            )
        axis.set_xscale("log")
        axis.set_xticks([r["cores"] for r in some], [str(r["cores"]) for r in some])
        axis.minorticks_off()
        axis.set_title(job)
        axis.set_xlabel("cores")
    axes[0].set_ylabel("makespan / least possible")
    axes[0].set_ylim(1.0, 1.1)
    axes[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.tight_layout()
    save(figure, "simulation-policies")


def choices(result: dict[str, Any], key: str, name: str, label: str) -> None:
    """Plot forecast errors, or regret, by machine: each point is a workload."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True)
    for axis, part in zip(axes, ("execute", "optimize"), strict=True):
        rows = result[part]
        machines = list(dict.fromkeys((r["cores"], r["quota"]) for r in rows))
        colours = dict(zip(dict.fromkeys(r["job"] for r in rows), plt.get_cmap("tab10").colors, strict=False))
        for job, colour in colours.items():
            for shift, (method, marker) in zip((-0.2, 0.0, 0.2), START_METHODS.items(), strict=True):
                some = [r for r in rows if r["job"] == job and r["start_method"] == method]
                axis.plot(
                    [machines.index((r["cores"], r["quota"])) + shift for r in some],
                    [r[key] for r in some],
                    marker,
                    color=colour,
                    ms=4.5,
                    alpha=0.75,
                    label=job if method == "fork" else None,
                )
        names = [f"{cores}" + (f"\nquota\n{quota}" if quota else "") for cores, quota in machines]
        axis.set_xticks(range(len(machines)), names)
        axis.set_xlabel("cores (● fork, ■ forkserver, ▲ spawn)")
        axis.set_title(f"{part}()")
        if key == "error":
            axis.axhspan(-0.15, 0.15, color="0.92", zorder=0)
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        else:
            axis.axhline(1.1, color="0.5", lw=0.8, ls="--")
    axes[0].set_ylabel(label)
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    save(figure, name)


def main() -> None:
    """Draw all plots."""
    plt.switch_backend("agg")
    validation(read(Path(sys.argv[1])))
    result = read(Path(sys.argv[2]))
    policies(result["schedules"])
    choices(result, "error", "simulation-forecast-error", "forecast against simulated")
    choices(result, "regret", "simulation-regret", "regret against the simulated oracle")


if __name__ == "__main__":
    main()
