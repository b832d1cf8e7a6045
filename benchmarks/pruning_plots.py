"""Plot of the pruner's evaluation (`benchmarks.pruning`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.plots import BLUE, GREY, RED

BEFORE, AFTER, WORSE = GREY, BLUE, RED
LEARNED = ("unseen functions", "unseen functions, simulated", "unseen shapes, simulated")


def draw(result: dict[str, Any], folder: Path) -> Path:
    """Plot the median error of each function's forecasts, without and with a pruner that has not seen it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pruner-errors.png"
    functions = result["unseen functions"]["by_function"]
    order = sorted(functions, key=lambda name: functions[name]["without"]["median"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 8.5), width_ratios=(2, 1), layout="constrained")
    for y, name in enumerate(order):
        before, after = (100 * functions[name][which]["median"] for which in ("without", "with"))
        left.plot([before, after], [y, y], color=AFTER if after < before else WORSE, linewidth=1.5, zorder=1)
        left.scatter(before, y, color=BEFORE, zorder=2)
        left.scatter(after, y, color=AFTER, s=18, zorder=3)
    left.set_yticks(range(len(order)), order, fontsize=7)
    left.set_xlabel("median |log(forecast / clock)|, %: grey the model, blue with what other functions taught")
    left.set_xlim(left=0)
    for x, name in enumerate(LEARNED):
        for shift, which, color in ((-0.2, "without", BEFORE), (0.2, "with", AFTER)):
            figures = result[name]["forecast"][which]
            right.bar(x + shift, 100 * figures["median"], 0.36, color=color)
            right.scatter(x + shift, 100 * figures["p90"], color=color, edgecolor="black", zorder=3)
    right.set_xticks(
        range(len(LEARNED)), [name.replace(" ", "\n", 1).replace(", ", ",\n") for name in LEARNED], fontsize=8
    )
    right.set_ylabel("error, %: bars the median, dots the 90th percentile")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
