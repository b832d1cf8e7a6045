"""amorsize: how should this map run here?

    plan = amorsize.optimize(func, data)          # before your own Pool.map
    results = amorsize.execute(func, data)        # or let it run the map
    $ python -m amorsize                          # what this machine really offers

Names are loaded when they are first used (PEP 562): importing amorsize loads no numpy, psutil, multiprocessing,
concurrent.futures, sqlite3 or scikit-learn.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from amorsize import errors as errors
    from amorsize import events as events
    from amorsize import testing as testing
    from amorsize.api import execute, machine, optimize, starmap, stream, tune, validate
    from amorsize.async_api import execute_async, stream_async
    from amorsize.errors import AmorsizeError
    from amorsize.executor.executor import Executor
    from amorsize.executor.pool import Pool
    from amorsize.facts import Failure, Machine
    from amorsize.history.history import History
    from amorsize.limits import Limits
    from amorsize.plan.plan import Plan
    from amorsize.plan.plan import Plan as OptimizationResult
    from amorsize.plan.trials.validation import Validation

__version__ = "0.2.0"

__all__ = [
    "AmorsizeError",
    "Executor",
    "Failure",
    "History",
    "Limits",
    "Machine",
    "OptimizationResult",
    "Plan",
    "Pool",
    "Validation",
    "execute",
    "execute_async",
    "machine",
    "optimize",
    "starmap",
    "stream",
    "stream_async",
    "tune",
    "validate",
]

_HOME = {
    "AmorsizeError": ("amorsize.errors", "AmorsizeError"),
    "Executor": ("amorsize.executor.executor", "Executor"),
    "Failure": ("amorsize.loop_facts", "Failure"),
    "History": ("amorsize.history.history", "History"),
    "Limits": ("amorsize.limits", "Limits"),
    "Machine": ("amorsize.facts", "Machine"),
    "OptimizationResult": ("amorsize.plan.plan", "Plan"),
    "Plan": ("amorsize.plan.plan", "Plan"),
    "Pool": ("amorsize.executor.pool", "Pool"),
    "Validation": ("amorsize.plan.trials.validation", "Validation"),
    "execute": ("amorsize.api", "execute"),
    "execute_async": ("amorsize.async_api", "execute_async"),
    "machine": ("amorsize.api", "machine"),
    "optimize": ("amorsize.api", "optimize"),
    "starmap": ("amorsize.api", "starmap"),
    "stream": ("amorsize.api", "stream"),
    "stream_async": ("amorsize.async_api", "stream_async"),
    "tune": ("amorsize.api", "tune"),
    "validate": ("amorsize.api", "validate"),
}


# Public modules, which resolve after a bare ``import amorsize``.
_MODULES = ("errors", "events", "testing")


def _attribute(name: str) -> Any:
    if name in _MODULES:
        return _module(f"amorsize.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from time import perf_counter

    from amorsize.system.critical import load

    module, attribute = _HOME[name]
    began = perf_counter()
    if load(module) and module == "amorsize.api":
        from amorsize.backends.table import note_pace

        note_pace(perf_counter() - began)
    value = getattr(_module(module), attribute)
    globals()[name] = value
    return value


if not TYPE_CHECKING:
    # Type checkers, which would take any name for one of the package, see only those that are imported above.
    __getattr__ = _attribute


def _module(name: str) -> Any:
    """Return a module, without importlib, which takes 0.4 ms to load."""
    import sys

    __import__(name)
    return sys.modules[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
