"""Parsl: ``backend=dfk``, a ``DataFlowKernel`` (``parsl.load(...)`` returns it), or a ``ParslPoolExecutor``.

With a ``DataFlowKernel``, tasks may go to each of its executors; for one of several labels, pass
``ParslPoolExecutor(dfk=dfk, executors=["label"])``. Parsl makes one app of each function object that it is given and
keeps it, so all tasks have one. It can neither withdraw a task nor end one.
"""

from __future__ import annotations

from typing import Any, Final

from amorsize.backends.engines import Engine, Loss
from amorsize.backends.remote import HALF

# Exceptions of Parsl, by name: they have no common base.
LOST: Final = ("WorkerLost", "ManagerLost")
DEAD: Final = (
    "BadStateException",
    "ExecutorError",
    "BlockError",
    "ScalingFailed",
    "NoDataFlowKernelError",
    "InterchangeError",
)

# One app per kernel and choice of labels, as an attribute of the kernel: it lives as long as that.
APPS: Final = "_amorsize_apps"


class Parsl(Engine):
    """Some or all executors of a DataFlowKernel."""

    lazy = False
    near = False

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        # A ParslPoolExecutor has its kernel.
        self.kernel: Any = getattr(executor, "_dfk", None) or executor
        self.labels: Any = getattr(executor, "executors", "all") if self.kernel is not executor else "all"

    def _executors(self) -> list[Any]:
        labels = self.labels
        own = {label: one for label, one in self.kernel.executors.items() if not label.startswith("_parsl")}
        return [one for label, one in own.items() if labels == "all" or label in labels]

    def places(self) -> int | None:
        """Return the workers that are connected; 0 while none is."""
        return sum(map(_places, self._executors()))

    def submit(self, *args: Any) -> Any:
        """Submit a task."""
        return self._app()(*args)

    def _app(self) -> Any:
        from parsl import python_app

        apps = self.kernel.__dict__.setdefault(APPS, {})
        key = self.labels if isinstance(self.labels, str) else tuple(self.labels)
        if key not in apps:
            apps[key] = python_app(HALF, data_flow_kernel=self.kernel, executors=self.labels)
        return apps[key]

    def cancel(self, futures: list[Any]) -> None:
        """Do nothing: Parsl cannot withdraw a task. What is in flight, one task behind each that runs, ends."""

    def loss(self, exc: BaseException) -> Loss | None:
        """Return what an exception says."""
        if not type(exc).__module__.startswith("parsl."):
            return None
        name = type(exc).__name__
        if name in LOST:
            return "worker"
        return "engine" if name in DEAD or getattr(self.kernel, "cleanup_called", False) else None


def _places(executor: Any) -> int:
    """Return the workers of one executor of Parsl."""
    managers = getattr(executor, "connected_managers", None)
    if callable(managers):
        return sum(int(one["worker_count"]) for one in managers() if one["active"] and not one["draining"])
    number = getattr(executor, "max_threads", None) or getattr(executor, "max_workers", None)
    return number if isinstance(number, int) else 1
