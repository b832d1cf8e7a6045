"""Default costs, recorded on other machines, for a machine that has not been measured.

`amorsize.execute` never waits for a measurement: it starts from these, and from its own earlier runs in the same
process. They are the higher end of those seen on 2-core cloud machines (Linux, CPython 3.11-3.13), so that an
unmeasured machine goes parallel a little late rather than too early. A doubtful figure (`plausible`: far from them;
`plausible_scaling`: measured beside other programs) gives way to them; a steady one is kept, whatever it says.
"""

from __future__ import annotations

from amorsize.facts import BackendCost, ChannelCost, Scaling, StartCost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# (base_s, per_worker_s, boot_s) of starting and leaving; an executor runs already. Starts of 1, 2 and 8 workers on two
# cores took 38, 58 and 148 ms (forkserver) and 94, 110 and 350 ms (spawn): three points for the three terms.
START_S: Final[dict[tuple[str, str | None], tuple[float, float, float]]] = {
    ("pool", "fork"): (9e-3, 4e-3, 0.0),
    ("pool", "forkserver"): (25e-3, 8e-3, 20e-3),
    ("pool", "spawn"): (40e-3, 12e-3, 76e-3),
    ("team", "fork"): (1.5e-3, 1.6e-3, 0.0),
    ("team", "forkserver"): (25e-3, 8e-3, 20e-3),
    ("team", "spawn"): (40e-3, 12e-3, 76e-3),
    ("threadpool", None): (1.0e-3, 0.15e-3, 0.0),
    ("threads", None): (0.2e-3, 0.06e-3, 0.0),
    ("executor", "executor"): (0.1e-3, 0.0, 0.0),
}

# Caller's cost of a chunk; ProcessPoolExecutor 214-305 µs a task, loky 367-484, a cluster more.
PER_CHUNK_S: Final[dict[str, float]] = {
    "pool": 60e-6,
    "team": 40e-6,
    "threadpool": 35e-6,
    "threads": 30e-6,
    "executor": 400e-6,
}

# Wall time per byte on each side of a pipe or socket: 0.5-2 ns.
BYTE_S: Final = 1.2e-9

# Per worker and byte of the caller's resident memory: its page tables are copied and given back.
FORK_BYTE_S: Final = 25e-12

# A measured start that differs by a larger factor from the recorded one is used only if it was steady (a guess).
PLAUSIBLE: Final = 8.0


def recorded(engine: str, start_method: str | None) -> BackendCost:
    """Return the recorded costs of an engine; for an unknown start method those of spawn, the most expensive."""
    base, per_worker, boot = START_S.get((engine, start_method), START_S.get((engine, "spawn"), (0.1, 0.02, 0.1)))
    threads = start_method is None
    return BackendCost(
        engine=engine,
        start_method=start_method,
        start=StartCost(
            base_s=base,
            per_worker_s=per_worker,
            per_caller_byte_s=FORK_BYTE_S if start_method == "fork" else 0.0,
            spread=0.5,
            boot_s=boot,
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


def plausible(engine: str, start_method: str | None, workers: int, seconds: float, factor: float = PLAUSIBLE) -> bool:
    """Return True if a measured start of ``workers`` workers is within ``factor`` of the recorded one.

    Examples
    --------
    >>> plausible("pool", "fork", 2, 0.014), plausible("pool", "fork", 2, 3.0), plausible("pool", "fork", 2, 0.0)
    (True, False, False)
    """
    expected = recorded(engine, start_method).start.total_s(workers)
    return expected / factor <= seconds <= expected * factor


def plausible_scaling(scaling: Scaling, physical_cores: int) -> Scaling:
    """Return a curve that was measured while other programs ran, raised to `LEAST_SCALING` per core.

    Examples
    --------
    >>> plausible_scaling(Scaling(points=((1, 1.0), (2, 1.1), (4, 2.4))), physical_cores=2).points
    ((1, 1.0), (2, 1.6), (4, 2.4))
    """
    least = ((p, max(y, LEAST_SCALING * min(p, physical_cores) if p > 1 else 1.0)) for p, y in scaling.points)
    return Scaling(points=tuple(least))


# Least plausible throughput per core while other programs run (a guess). Quiet 2-core machines measured 0.95-0.98.
LEAST_SCALING: Final = 0.8
