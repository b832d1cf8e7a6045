"""Compute and set the cap on the BLAS and OpenMP threads of a worker process, or of a few calls in the caller."""

from __future__ import annotations

from contextlib import nullcontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

_limits: Any = None


def native_threads(runs_threads: bool, cores: float, workers: int) -> int | None:
    """Return how many native threads each worker process may run; None: no cap, as func runs none.

    Examples
    --------
    >>> native_threads(True, 8.0, 2), native_threads(True, 2.0, 8), native_threads(False, 8.0, 2)
    (4, 1, None)
    """
    return max(1, int(cores / workers)) if runs_threads else None


def limit_native_threads(limit: int | None) -> None:
    """Cap the BLAS and OpenMP threads of this process; None restores what they were."""
    global _limits
    try:
        if _limits is not None:
            _limits.restore_original_limits()
            _limits = None
        if limit is not None:
            from threadpoolctl import threadpool_limits

            _limits = threadpool_limits(limits=limit)
    except Exception:  # noqa: BLE001  (a cap changes speed, not results)
        return


def one_native_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS and OpenMP run one thread each in this process; it takes 10 to 20 ms to make."""
    try:
        from threadpoolctl import threadpool_limits

        context: AbstractContextManager[Any] = threadpool_limits(limits=1)
    except Exception:  # noqa: BLE001  (a library that it cannot read)
        return nullcontext()
    return context
