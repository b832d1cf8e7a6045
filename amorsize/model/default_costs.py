"""Costs recorded on other machines: what the model starts from where this machine has not been measured.

`amorsize.execute` never waits for a measurement, so it starts from these and from what its own earlier runs in the
same process took; they are the higher end of what was seen on 2-core cloud machines (Linux, CPython 3.11-3.13), so
that an unmeasured machine goes parallel a little late rather than too early. Each measured figure is also held
within a factor of them (`plausible`): a measurement outside has read noise.
"""

from __future__ import annotations

from typing import Final

from amorsize.facts import BackendCost, ChannelCost, Scaling, StartCost

# (base_s, per_worker_s) of starting and leaving: the higher end of what 2-core cloud machines took
START_S: Final[dict[tuple[str, str | None], tuple[float, float]]] = {
    ("pool", "fork"): (9e-3, 4e-3),
    ("pool", "forkserver"): (25e-3, 18e-3),
    ("pool", "spawn"): (60e-3, 40e-3),
    ("team", "fork"): (1.5e-3, 1.6e-3),
    ("team", "forkserver"): (25e-3, 18e-3),
    ("team", "spawn"): (60e-3, 40e-3),
    ("threadpool", None): (1.0e-3, 0.15e-3),
    ("threads", None): (0.2e-3, 0.06e-3),
    ("executor", "executor"): (0.1e-3, 0.0),  # somebody else has started it
}

PER_CHUNK_S: Final[dict[str, float]] = {
    "pool": 60e-6,
    "team": 40e-6,
    "threadpool": 35e-6,
    "threads": 30e-6,
    "executor": 400e-6,  # ProcessPoolExecutor 214-305 µs a task, loky 367-484; a cluster more
}

BYTE_S: Final = 1.2e-9  # through a pipe or socket, each side, wall time: 0.5-2 ns

FORK_BYTE_S: Final = 25e-12  # page tables of the caller's resident memory, per worker, copied and given back

PLAUSIBLE: Final = 8.0  # a measured start further than this from the recorded one is not believed


def recorded(engine: str, start_method: str | None) -> BackendCost:
    """Recorded costs of an engine; for an unknown start method those of spawn, the dearest."""
    base, per_worker = START_S.get((engine, start_method), START_S.get((engine, "spawn"), (0.1, 0.05)))
    threads = start_method is None
    return BackendCost(
        engine=engine,
        start_method=start_method,
        start=StartCost(
            base_s=base,
            per_worker_s=per_worker,
            per_caller_byte_s=FORK_BYTE_S if start_method == "fork" else 0.0,
            spread=0.5,
        ),
        channel=ChannelCost(
            per_chunk_s=PER_CHUNK_S[engine],
            send_s_per_byte=0.0 if threads else BYTE_S,
            recv_s_per_byte=0.0 if threads else BYTE_S,
            worker_s_per_byte=0.0 if threads else BYTE_S,
            latency_s=80e-6,
            spread=0.5,
            inherits=threads or (engine == "team" and start_method == "fork"),
        ),
    )


def plausible(engine: str, start_method: str | None, workers: int, seconds: float) -> bool:
    """Whether a measured start of that many workers can be true: within a factor of `PLAUSIBLE` of the record.

    Examples
    --------
    >>> plausible("pool", "fork", 2, 0.014), plausible("pool", "fork", 2, 3.0), plausible("pool", "fork", 2, 0.0)
    (True, False, False)
    """
    expected = recorded(engine, start_method).start.total_s(workers)
    return expected / PLAUSIBLE <= seconds <= expected * PLAUSIBLE


def plausible_scaling(scaling: Scaling, physical_cores: int) -> Scaling:
    """The curve, held above what real cores never fall below: less was measured while others kept them busy.

    Examples
    --------
    >>> plausible_scaling(Scaling(points=((1, 1.0), (2, 1.1), (4, 2.4))), physical_cores=2).points
    ((1, 1.0), (2, 1.6), (4, 2.4))
    """
    least = ((p, max(y, LEAST_SCALING * min(p, physical_cores) if p > 1 else 1.0)) for p, y in scaling.points)
    return Scaling(points=tuple(least))


LEAST_SCALING: Final = 0.8  # per core: turbo, shared caches and memory take less than this from pure computing
