"""Makes what runs the calls of an `Executor` or a `Pool`: its team of workers, and the manager of these."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

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


def manager_of(request: Request, method: str, workers: int, cores: float, *, strict: bool) -> Manager:
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

    Raises
    ------
    TransferError
        If the initializer or its arguments cannot be pickled.
    """
    return Manager(team_of(request, method, workers, cores), workers, request.timeout_s, strict)


def team_of(request: Request, method: str, workers: int, cores: float) -> Team:
    """Return the team of workers, none of them started yet; see `manager_of`."""
    initializer = request.initializer
    runs_threads = workers > 1 and "numpy" in sys.modules
    by_value = main_is_interactive()
    # Locks and queues of multiprocessing go to no process but one that is being started.
    passed = (request.initargs,) if method != "fork" and _refuses_to_travel(request.initargs, by_value) else ()
    setup = child.Setup(
        calls.run,
        keep_going=True,
        initializer=initializer and calls.initialize,
        initargs=(initializer, *((request.initargs,) if not passed else ())),
        cores=max(1.0, cores / workers),
        native_threads=native_threads(runs_threads, cores, workers),
        by_value=by_value,
        timed=request.timeout_s is not None,
        values=None if method == "fork" or by_value or initializer is None else values_of([initializer]),
    )
    try:
        team = Team(setup, None, method, keep_warm=False)
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
