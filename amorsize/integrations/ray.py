"""Ray: ``backend=ray``, the module, or what ``ray.init()`` returned: the cluster that this process is connected to.

Ray repeats tasks whose worker died, three times: here it must not, since amorsize does, and finds the item at fault.
It can end a running task, so ``timeout=`` is possible: each item is then a task of its own.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import Any, Final
from weakref import WeakKeyDictionary

from amorsize.backends.engines import Engine, Loss
from amorsize.backends.remote import HALF

# Exceptions of Ray, by name.
LOST: Final = (
    "WorkerCrashedError",
    "OutOfMemoryError",
    "NodeDiedError",
    "LocalRayletDiedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "OwnerDiedError",
)
DEAD: Final = ("RaySystemError", "RayConnectionError", "RaySystemException")
# Ray takes nothing but plain functions, which it sends by value if their module is not known by name.
TASK: Final = """
def amorsize(half, key, func, items, start, more, clock, task):
    if clock is not None:
        clock.begin.remote(task)
    return half(key, func, items, start, *more)

class Clock:
    "Tells how long tasks have run: they may have waited for a worker before."
    def __init__(self):
        self.began = {}
    def begin(self, task):
        import time
        self.began[task] = time.monotonic()
    def runs_for_s(self, task):
        import time
        return time.monotonic() - self.began[task] if task in self.began else None
"""


@cache
def _made() -> tuple[Any, Any]:
    """Return the task and the clock as Ray has them; made once, since Ray keeps each."""
    import ray

    made: dict[str, Any] = {"__name__": "_amorsize_task"}
    exec(TASK, made)
    task = ray.remote(made["amorsize"])
    options = {"max_retries": 0, "retry_exceptions": False, "num_cpus": 1, "name": "amorsize"}
    return task.options(**options), ray.remote(made["Clock"]).options(num_cpus=0)


class Ray(Engine):
    """The Ray cluster that this process is connected to."""

    lazy = False
    near = False
    can_end = True

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        import ray

        if not ray.is_initialized():
            raise ValueError("backend: Ray is not connected to a cluster: call ray.init() first")
        self.ray: Any = ray
        self._refs: WeakKeyDictionary[Any, tuple[Any, int]] = WeakKeyDictionary()
        self._numbers = count()
        self._clock: Any = None
        self._half: Any = None

    def places(self) -> int | None:
        """Return the number of CPUs."""
        return int(self.ray.cluster_resources().get("CPU", 0))

    def submit(self, key: Any = None, func: Any = None, items: Any = None, start: int = 0, *more: Any) -> Any:
        """Submit a task; return a plain future."""
        number = next(self._numbers)
        if self._half is None:
            self._half = self.ray.put(HALF)
        ref = _made()[0].remote(self._half, key, func, items, start, more, self._clock, number)
        future = ref.future()
        self._refs[future] = (ref, number)
        return future

    def keep_time(self) -> None:
        """Have tasks report when they begin."""
        if self._clock is None:
            self._clock = _made()[1].remote()

    def result(self, future: Any) -> Any:
        """Return the answer of a task that has ended."""
        try:
            return future.result()
        finally:
            self._refs.pop(future, None)

    def cancel(self, futures: list[Any]) -> None:
        """End tasks, those that run included."""
        for future in futures:
            self.end(future)

    def end(self, future: Any) -> None:
        """End a running task, and its worker with it: without force Ray lets it run."""
        ref, _ = self._refs.pop(future, (None, 0))
        if ref is not None and self.ray.is_initialized():
            try:
                self.ray.cancel(ref, force=True)
            except Exception:  # noqa: BLE001  (the error of the run counts)
                return

    def runs_for_s(self, future: Any) -> float | None:
        """Return how long a task has run, by its worker's own report."""
        _, number = self._refs[future]
        seconds: float | None = self.ray.get(self._clock.runs_for_s.remote(number))
        return seconds

    def share(self, func: Any) -> Any:
        """Put a large function into Ray's store, once."""
        return self.ray.put(func)

    def lost_data(self, exc: BaseException) -> bool:
        """Return True if a task failed because what was shared is gone, with the node that held it."""
        return type(exc).__name__.startswith("Object")

    def loss(self, exc: BaseException) -> Loss | None:
        """Return what an exception says: Ray's tasks have their worker for themselves."""
        name = type(exc).__name__
        if name in LOST:
            return "worker"
        return "engine" if name in DEAD or not self.ray.is_initialized() else None

    def close(self) -> None:
        """End the clock."""
        if self._clock is not None and self.ray.is_initialized():
            self.ray.kill(self._clock)
            self._clock = None
