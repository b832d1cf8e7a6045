"""The rows of the comparison: functions and data like those of users."""

from benchmarks.workloads.registry import (
    AT_END,
    REGISTRY,
    Data,
    Task,
    Workload,
    burn_for,
    fresh,
    register,
    scaled_to,
    tagged,
    thinned,
)

from benchmarks.workloads import fourteen, short, costs, waiting, arrays, text, blocks, generators  # noqa: F401  # isort: skip

__all__ = [
    "AT_END",
    "REGISTRY",
    "Data",
    "Task",
    "Workload",
    "burn_for",
    "fresh",
    "register",
    "scaled_to",
    "tagged",
    "thinned",
]
