"""What the diagnostics show: this machine, and what parallelism costs on it, recalled or measured."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Final

from amorsize import __version__

if TYPE_CHECKING:
    from amorsize.cli.diagnostics import Diagnosis
    from amorsize.facts import BackendCost, Machine, Scaling

    KnownCosts = tuple[tuple[BackendCost, ...], Scaling, tuple[str, ...]]  # and what is doubtful about them

# Seconds of measuring: about 2 s with the start of the interpreter and the reading of the machine.
DIAGNOSE_S: Final = 1.6


def diagnose(*, fresh: bool = False) -> Diagnosis:
    """Read this machine and, from the store, its costs of parallelism; measure them if one is missing or outdated."""
    from amorsize.api import machine
    from amorsize.cli.diagnostics import Diagnosis

    here = machine()
    costs, scaling, doubts = (None if fresh else _recalled_costs(here)) or _measured_costs(here)
    return Diagnosis(machine=here, costs=costs, scaling=scaling, doubts=doubts, version=__version__, at_s=time())


def _measured_costs(here: Machine) -> KnownCosts:
    from amorsize.history.sqlite_file import default_store
    from amorsize.measure.calibrate import diagnose_all

    found = diagnose_all(here, store=default_store(), budget_s=DIAGNOSE_S)
    return found["costs"], found["scaling"], found["warnings"]


def _recalled_costs(here: Machine) -> KnownCosts | None:
    """Return the costs that the store holds; None if any is missing."""
    from amorsize.history.sqlite_file import default_store
    from amorsize.measure.calibrate import cached_cost, cached_scaling
    from amorsize.measure.cost_cache import SCALING, Wish, recalled

    store, now_s = default_store(), time()
    engines = [Wish(engine, method) for engine in ("team", "pool") for method in here.start_methods]
    engines += [Wish("threads"), Wish("threadpool")]
    known = [recalled(wish, wish.key(here), store, now_s) for wish in (Wish(SCALING), *engines)]
    if known[0] is None or not all(known):
        return None
    costs = tuple(cached_cost(wish.engine, wish.start_method, here, store=store) for wish in engines)
    return costs, cached_scaling(here, store=store), getattr(known[0].value, "warnings", ())
