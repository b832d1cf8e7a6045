"""MPI: ``backend=executor``, an ``mpi4py.futures.MPIPoolExecutor``.

A program that ``python -m mpi4py.futures`` runs under ``mpiexec`` has the other ranks as workers. When a rank dies,
MPI ends the whole job, this process included: a ``checkpoint=`` carries over to the next job.
"""

from __future__ import annotations

from typing import Any

from amorsize.backends.engines import Engine


class Mpi(Engine):
    """A pool of MPI ranks."""

    lazy = False
    near = False

    def places(self) -> int | None:
        """Return the number of ranks that work. It is known once the pool is up, so this may wait."""
        number: Any = self.executor.num_workers
        return int(number)
