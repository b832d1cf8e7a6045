"""A team of worker processes for one map: what they are told, and what stands in their way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from amorsize.backends.core_lease import Lease
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import Vigil
from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.team import Team
from amorsize.errors import TransferError, WorkerLostError
from amorsize.facts import Breakdown, Forecast, Sample
from amorsize.model.cost import OWN_THREADS
from amorsize.options import Request
from amorsize.run.choices import NoTeam
from amorsize.system.start_methods import UNGUARDED, is_being_imported_by_a_child, main_is_interactive


@contextmanager
def a_turn(workers: int, cores: float, vigil: Vigil) -> Iterator[Lease]:
    """Wait until this call may have workers, since others of this process may have all cores now."""
    lease = Lease(workers, cores, vigil.stop)
    vigil.tickers.append(lease)
    try:
        yield lease
    finally:
        if lease in vigil.tickers:
            vigil.tickers.remove(lease)
        lease.close()


def a_team(
    request: Request, source: Indexable | Streamed, chosen: Forecast, cores: float, sample: Sample | None
) -> Team:
    """The team for ``chosen``, none of its workers started yet.

    Raises
    ------
    NoTeam
        When there cannot be one.
    RuntimeError
        In a child that is importing the program's main module: it would start children without end.
    """
    if is_being_imported_by_a_child():
        raise RuntimeError(UNGUARDED)
    assert chosen.start_method is not None
    share = max(1.0, cores / chosen.workers)
    runs_threads = sample is None or sample.own_threads > OWN_THREADS
    native = max(1, int(share)) if runs_threads and "numpy" in sys.modules else None
    forks = chosen.start_method == "fork"
    setup = child.Setup(
        request.func,
        keep_going=request.on_error == "collect" or request.retries > 0,
        initializer=request.initializer,
        initargs=request.initargs,
        cores=share,
        native_threads=native,
        by_value=not forks and main_is_interactive(),
        timed=request.timeout_s is not None,
    )
    inherited = source.data if forks and isinstance(source, Indexable) else None
    try:
        return Team(setup, inherited, chosen.start_method)
    except Exception as exc:
        why = WorkerLostError(None) if isinstance(exc, OSError) else TransferError(*_culprit(setup))
        why.__cause__ = exc
        raise NoTeam(why) from exc


def no_forecast(workers: int, start_method: str | None) -> Forecast:
    """What stands for a forecast where func may not run here, so that nothing is known of it."""
    return Forecast(
        backend="processes",
        workers=workers,
        chunksize=1,
        start_method=start_method,
        total_s=0.0,
        low_s=0.0,
        high_s=0.0,
        breakdown=Breakdown(),
    )


def _culprit(setup: child.Setup) -> tuple[str, None, str]:
    """Which part of a setup cannot be pickled, and why."""
    parts: list[tuple[str, object]] = [("func", setup.func), ("initializer", (setup.initializer, setup.initargs))]
    for what, part in parts:
        try:
            protocol.dumps(part, setup.by_value)
        except Exception as exc:  # noqa: BLE001
            return what, None, child.describe(part, exc)
    return "func", None, "nobody knows why"
