"""Makes what runs the calls of an `Executor` or a `Pool`: its team of workers, and the manager of these."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.main_module import values_of
from amorsize.backends.workers.native_threads import native_threads
from amorsize.backends.workers.team import Team
from amorsize.errors import TransferError
from amorsize.executor import calls
from amorsize.executor.manager import Manager
from amorsize.system.start_methods import main_is_interactive

if TYPE_CHECKING:
    from amorsize.options import Request


class Special(NamedTuple):
    """Settings of workers that are not those of an `Executor`.

    Attributes
    ----------
    run : callable
        Carries out a call in a worker.
    native : int or None
        BLAS and OpenMP threads per worker; None: its share of the cores, if this process has loaded numpy.
    keeps_warm : bool
        True if workers may come from earlier maps and wait for later ones. Those with an initializer never do.
    """

    run: Callable[[calls.Call], Any] = calls.run
    native: int | None = None
    keeps_warm: bool = False


def manager_of(
    request: Request, method: str, workers: int, cores: float, *, strict: bool, special: Special | None = None
) -> Manager:
    """Return the manager; no worker is started yet.

    Parameters
    ----------
    request : Request
        Its initializer, initargs and time limit count.
    method : {"fork", "forkserver", "spawn"}
        How workers start.
    workers : int
        Most workers at a time.
    cores : float
        Cores that they share.
    strict : bool
        True if the loss of any worker breaks the executor.
    special : Special, optional
        Other settings of the workers.

    Raises
    ------
    TransferError
        If the initializer or its arguments cannot be pickled.
    """
    return Manager(team_of(request, method, workers, cores, special), workers, request.timeout_s, strict)


def team_of(request: Request, method: str, workers: int, cores: float, special: Special | None = None) -> Team:
    """Return the team of workers, none of them started yet; see `manager_of`."""
    special = special or Special()
    initializer = request.initializer
    runs_threads = workers > 1 and "numpy" in sys.modules
    by_value = main_is_interactive()
    # Locks and queues of multiprocessing go to no process but one that is being started.
    passed = (request.initargs,) if method != "fork" and _refuses_to_travel(request.initargs, by_value) else ()
    setup = child.Setup(
        special.run,
        keep_going=True,
        initializer=initializer and calls.initialize,
        initargs=(initializer, *((request.initargs,) if not passed else ())),
        cores=max(1.0, cores / workers),
        native_threads=special.native or native_threads(runs_threads, cores, workers),
        by_value=by_value,
        timed=request.timeout_s is not None,
        values=None if method == "fork" or by_value or initializer is None else values_of([initializer]),
    )
    try:
        team = Team(setup, None, method, keep_warm=special.keeps_warm)
    except OSError:
        raise
    except Exception as exc:
        raise TransferError("initializer", None, child.describe((initializer, request.initargs), exc)) from exc
    team.passed = passed
    return team


def _refuses_to_travel(initargs: tuple[Any, ...], by_value: bool) -> bool:
    try:
        protocol.dumps(initargs, by_value)
    except RuntimeError:
        return True
    # Whatever else is wrong with them is said in its place.
    except Exception:  # noqa: BLE001
        return False
    return False
