"""The facts of a plan, as plain numbers and strings for the result file. Facts that a plan lacks are left out."""

from __future__ import annotations

import math
from typing import Any

FIELDS = (
    "backend", "n_jobs", "chunksize", "start_method", "serial_s", "predicted_s", "predicted_interval_s",
    "estimated_speedup", "reason", "warnings",
)  # fmt: skip
SAMPLE_FIELDS = ("n_sampled", "item_s", "item_std_s", "item_max_s", "first_call_s", "gil_held", "longest_s")


def plain(value: Any) -> Any:
    """Return the JSON form of a value; numpy's numbers become Python's, NaN and infinity become text."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    return str(value)


def plan_facts(plan: Any) -> dict[str, Any]:
    facts = {name: plain(getattr(plan, name)) for name in FIELDS if hasattr(plan, name)}
    if (sample := getattr(plan, "sample", None)) is not None:
        facts["sample"] = {name: plain(getattr(sample, name)) for name in SAMPLE_FIELDS if hasattr(sample, name)}
    return facts
