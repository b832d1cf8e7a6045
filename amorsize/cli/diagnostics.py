r"""A machine's resources, the costs of parallelism on it, and from when on workers pay: as text, and as plain dicts.

A call that computes for T seconds in a plain loop takes ``start(p) + T/C`` on p workers with a throughput of C cores.
That is less than the loop by the margin m that `optimize` requires if

.. math::

    T \ge \frac{start(p)}{1 - m - 1/C(p)}, \qquad C(p) = \min(\text{scaling curve at } p,\ \text{usable cores})

The smallest such T over p is the least time that a call must take in the loop. Sending chunks, pickling and the tail
are left out: they depend on the items, which `optimize` samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from amorsize.facts import MARGIN, BackendCost, Machine, Scaling
from amorsize.formatting import seconds
from amorsize.frozen import plain
from amorsize.model.search import MAX_WAITING_WORKERS
from amorsize.system.machine_text import bullets, facts, number
from amorsize.system.machine_text import doubts as machine_doubts

ENGINES: Final = {
    "team": "execute()",
    "pool": "Pool",
    "threads": "execute()",
    "threadpool": "ThreadPool",
}
"""Engines in the order of the report, and the API that uses each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """The least time of a call for which an engine pays.

    Attributes
    ----------
    cost : BackendCost
        Of the engine.
    workers : int
        Number of workers that pays first.
    pays_from_s : float or None
        Seconds that the plain loop must take for them to pay; None: they never pay.
    """

    cost: BackendCost
    workers: int
    pays_from_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The facts and costs of a machine.

    Attributes
    ----------
    machine : Machine
    costs : tuple of BackendCost
        One for each engine and start method.
    scaling : Scaling
    doubts : tuple of str
        Doubts about the measurement of the scaling curve.
    version : str
        Of amorsize.
    at_s : float
        Now, in seconds since the epoch; gives the age of a measurement.
    """

    machine: Machine
    costs: tuple[BackendCost, ...]
    scaling: Scaling = field(default_factory=Scaling)
    doubts: tuple[str, ...] = ()
    version: str = ""
    at_s: float = 0.0

    def worths(self) -> list[Worth]:
        """Return the worth of each engine: execute() first, the cheapest to start first."""
        order = list(ENGINES)
        found = [worth(cost, self.machine, self.scaling) for cost in self.costs if cost.engine in ENGINES]
        return sorted(found, key=lambda w: (order.index(w.cost.engine), w.cost.start.total_s(2)))


def worth(cost: BackendCost, machine: Machine, scaling: Scaling) -> Worth:
    """Find the least time from which workers beat the loop by the margin: processes that compute, threads that wait.

    Examples
    --------
    Two workers that start in 20 ms on two full cores: 20 ms / (1 - 0.1 - 1/2).

    >>> from amorsize.model.default_costs import recorded
    >>> from amorsize.testing import a_machine
    >>> fork = recorded("pool", "fork")
    >>> round(fork.start.total_s(2) * 1e3, 1)
    17.0
    >>> round(worth(fork, a_machine(cores=2), Scaling()).pays_from_s * 1e3, 1)
    42.5
    >>> print(worth(fork, a_machine(cores=1), Scaling()).pays_from_s)
    None
    """
    waits = cost.start_method is None
    most = MAX_WAITING_WORKERS if waits else ceil(machine.usable_cores)
    best = Worth(cost=cost, workers=1, pays_from_s=None)
    for workers in range(2, most + 1):
        speed = workers if waits else min(scaling.throughput(workers), machine.usable_cores)
        saved = 1 - MARGIN - 1 / speed if speed > 0 else 0.0
        if saved <= 0:
            continue
        needed_s = cost.start.total_s(workers, cores=machine.usable_cores) / saved
        if best.pays_from_s is None or needed_s < best.pays_from_s:
            best = Worth(cost=cost, workers=workers, pays_from_s=needed_s)
    return best


# ------------------------------------------------------------------------------------------------------------- dicts


def to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return everything as plain dicts, lists, numbers and strings, for JSON."""
    return {
        "amorsize": diagnosis.version,
        "machine": plain(diagnosis.machine),
        "scaling": [list(point) for point in diagnosis.scaling.points],
        "costs": [{**plain(w.cost), "workers": w.workers, "pays_from_s": w.pays_from_s} for w in diagnosis.worths()],
        "means": meaning(diagnosis),
        "warnings": doubts(diagnosis),
    }


# ------------------------------------------------------------------------------------------------------------- lines


def to_text(diagnosis: Diagnosis) -> str:
    """Return everything as text of at most `WIDTH` columns."""
    machine = diagnosis.machine
    lines = [f"amorsize {diagnosis.version} with {machine.python} on {machine.system}", ""]
    lines += [*facts(machine, diagnosis.scaling), ""]
    lines += [*_table(diagnosis), ""]
    lines += ["What that means", *bullets(meaning(diagnosis))]
    if found := doubts(diagnosis):
        lines += ["", "Warnings", *bullets(found)]
    return "\n".join(lines)


HEADINGS: Final = ("", "", "base", "per worker", "±", "per chunk", "per MB", "pays from", "  measured")
WIDTHS: Final = (14, 11, 9, 12, 6, 11, 9, 11, 0)


def _table(diagnosis: Diagnosis) -> list[str]:
    """Return a heading, and one line for each engine and start method."""
    lines = ["Starting workers".ljust(WIDTHS[0] + WIDTHS[1]) + _line(HEADINGS)[WIDTHS[0] + WIDTHS[1] :]]
    for w in diagnosis.worths():
        cost = w.cost
        lines.append(
            _line(
                (
                    f"  {ENGINES[cost.engine]}",
                    cost.start_method or "threads",
                    seconds(cost.start.base_s),
                    seconds(cost.start.per_worker_s),
                    f"{cost.start.spread:.0%}",
                    seconds(cost.channel.per_chunk_s),
                    seconds(per_megabyte_s(cost)) if cost.start_method is not None else "-",
                    "never" if w.pays_from_s is None else seconds(w.pays_from_s),
                    f"  {_when(cost, diagnosis.at_s)}",
                )
            )
        )
    return lines


def _line(cells: Sequence[str]) -> str:
    """Join the cells of a line: two columns of words, then numbers aligned to the right."""
    cut = 2
    words = [cell.ljust(width) for cell, width in zip(cells[:cut], WIDTHS, strict=False)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[cut:], WIDTHS[cut:], strict=True)]
    return "".join([*words, *numbers]).rstrip()


def _when(cost: BackendCost, now_s: float) -> str:
    """Return the age of the figures."""
    if not cost.measured:
        return "no: recorded"
    age_s = now_s - cost.measured_at_s
    for unit, length_s in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if age_s >= 2 * length_s:
            return f"{age_s / length_s:.0f} {unit} ago"
    return "now"


def per_megabyte_s(cost: BackendCost) -> float:
    """Return the CPU seconds of caller and worker together to move a megabyte to a worker."""
    return 1e6 * (cost.channel.send_s_per_byte + cost.channel.worker_s_per_byte)


# ----------------------------------------------------------------------------------------------------- what it means


def meaning(diagnosis: Diagnosis) -> list[str]:
    """Return sentences that say from when on workers pay."""
    machine, worths = diagnosis.machine, diagnosis.worths()
    processes = [w for w in worths if w.cost.start_method is not None]
    threads = [w for w in worths if w.cost.start_method is None and w.pays_from_s is not None]
    found = _computing(machine, processes, doubtful=bool(diagnosis.doubts))
    if threads:
        said = ", ".join(f"{seconds(w.pays_from_s)} with {_user(w)}" for w in threads)
        found.append(f"Waiting: a call must be worth more than {said} in total before threads pay here.")
    found.append(
        "Computing in threads pays only where compiled code releases the GIL (zlib, hashlib, parts of numpy)."
        if machine.gil_enabled
        else "Computing in threads can pay too: this interpreter runs without a GIL."
    )
    copied = max((w.cost.start.per_caller_byte_s for w in processes), default=0.0)
    if copied > 0 and machine.usable_cores > 1:
        found.append(f"Each gigabyte that the caller holds adds about {seconds(copied * 1e9)} per forked worker.")
    return found


def _computing(machine: Machine, processes: list[Worth], *, doubtful: bool) -> list[str]:
    """Return a sentence for each API that uses processes, or one that says why they never pay."""
    if machine.usable_cores <= 1:
        return [f"Computing: with {_cores_of(machine)}, processes can never pay for computing here."]
    if processes and all(w.pays_from_s is None for w in processes):
        how = "did just now, which is doubtful (see below)," if doubtful else "do"
        return [f"Computing: {_cores_of(machine)} {how} too little more than one for processes to pay here."]
    by_user: dict[str, list[Worth]] = {}
    for w in processes:
        if w.pays_from_s is not None:
            by_user.setdefault(_user(w), []).append(w)
    return [f"Computing with {user}: {_must_be_worth(found)}" for user, found in by_user.items()]


def _must_be_worth(worths: list[Worth]) -> str:
    first, *others = worths
    by = "".join(f", {seconds(w.pays_from_s)} by {w.cost.start_method}" for w in others)
    return (
        f"a call must be worth more than {seconds(first.pays_from_s)} in total before processes pay here (started by "
        f"{first.cost.start_method}{'; ' if by else ''}{by.removeprefix(', ')})."
    )


def _user(w: Worth) -> str:
    return {"Pool": "multiprocessing.Pool"}.get(ENGINES[w.cost.engine], ENGINES[w.cost.engine])


def doubts(diagnosis: Diagnosis) -> list[str]:
    """Return warnings: facts that could not be read, a high load, doubtful measurements."""
    found = machine_doubts(diagnosis.machine)
    for cost in diagnosis.costs:
        where = f"{ENGINES.get(cost.engine, cost.engine)} {cost.start_method or 'threads'}"
        found += [f"{where}: {text}" for text in cost.warnings]
    found += [f"scaling: {text}" for text in diagnosis.doubts]
    return list(dict.fromkeys(found))


# ------------------------------------------------------------------------------------------------------- small parts


def _cores_of(machine: Machine) -> str:
    return f"{number(machine.usable_cores)} usable core{'' if machine.usable_cores == 1 else 's'}"
