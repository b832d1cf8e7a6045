"""Fakes and facts for tests of programs that use amorsize, and for its own."""

from __future__ import annotations

from amorsize.facts import Machine


def a_machine(
    cores: float = 2, *, memory_bytes: int = 8 << 30, default_start_method: str = "fork", gil: bool = True
) -> Machine:
    """Return a plain Linux machine with ``cores`` usable cores (a fraction stands for a quota) and this free memory.

    Examples
    --------
    >>> a_machine(cores=1.5).usable_cores
    1.5
    """
    whole = max(1, -int(-cores // 1))
    return Machine(
        system="Linux",
        logical_cores=whole,
        physical_cores=whole,
        affinity_cores=whole,
        quota_cores=None if cores == whole else cores,
        usable_cores=float(cores),
        memory_total_bytes=memory_bytes,
        memory_limit_bytes=None,
        memory_available_bytes=memory_bytes,
        load=0.0,
        start_methods=("fork", "spawn", "forkserver"),
        default_start_method=default_start_method,
        python="CPython 3.11.0",
        gil_enabled=gil,
        sources={},
    )
