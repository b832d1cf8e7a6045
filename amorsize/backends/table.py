"""The table of backends: one row each, and nothing else names a backend's driver.

A row is made of strings, and its driver is loaded when a map first runs on it: an engine that needs a library of its
own costs nothing until it is used, and no layer below it imports it. To add a backend, write one file with a function
like `amorsize.backends.threads.open_driver`, and add one row.
"""

from __future__ import annotations

import sys

from amorsize.system.critical import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Final

    from amorsize.backends.driver import Driver, Work
    from amorsize.facts import Backend, Forecast
    from amorsize.schedule.schedule import Schedule

    OpenDriver = Callable[[Work, Forecast, Callable[[Forecast], Schedule]], AbstractContextManager[Driver | None]]

ANY_EXECUTOR: Final = "*"


# Modules load at the pace of machine and disk, which differs by 3 from minute to minute: 13 ms where processes took 33.
LOOP_LOAD_S: Final = 5e-3
# guess: the pace at which other modules will load is not farther from usual
PACES: Final = (0.5, 4.0)

_pace: list[float] = [1.0]


def pace() -> float:
    """Return the seconds in which this process loads modules, relative to the usual ones."""
    return _pace[0]


def note_pace(loop_s: float) -> None:
    """Note the seconds in which this process has loaded what a loop needs: others will load at the same pace."""
    _pace[:] = [min(max(loop_s / LOOP_LOAD_S, PACES[0]), PACES[1])]


_missed: list[float] = [0.0]


def note_missed(gain_s: float) -> None:
    """Note what a loop could have gained, had been loaded what asks for workers and starts them.

    Many short maps together are worth what none of them is alone: to load is written off by what they have missed, so
    that together they pay at most twice for it (ski rental). Maps of 50 ms have workers from the fourth or fifth on.
    """
    _missed[0] += gain_s


def due_s(load_s: float) -> float:
    """Return how many of ``load_s`` seconds are not written off yet."""
    return max(0.0, load_s - _missed[0])


class Row:
    """One backend.

    Parameters
    ----------
    name : str
        As in ``plan.backend`` and in history.
    engine : str
        Engine whose costs apply (`amorsize.model.default_costs`).
    driver : str
        ``"module:function"``; the function has the type `OpenDriver`.
    inherits : bool
        True if forked workers hold the caller's items already.
    serves : str
        ``"module:Class"`` of the objects that may be passed as ``backend=``, submodules of the module included, or
        ``"module"`` for the module itself; several, separated by spaces. `ANY_EXECUTOR` for all that have ``submit``.
        Empty: the backend is chosen by its name.
    face : str
        ``"module:Class"`` of the engine's own class (`amorsize.backends.engines.Engine`), or of a function that returns
        such an engine, if it has one.
    ends_items : bool
        True if the engine can end a running item, so that ``timeout=`` is possible.
    load_s : float
        Seconds to load its driver, where what a loop needs took `LOOP_LOAD_S`.
    """

    __slots__ = ("driver", "ends_items", "engine", "face", "inherits", "load_s", "name", "serves")

    def __init__(
        self,
        name: Backend,
        engine: str,
        driver: str,
        *,
        inherits: bool = False,
        serves: str = "",
        face: str = "",
        ends_items: bool = False,
        load_s: float = 0.0,
    ) -> None:
        self.name = name
        self.engine = engine
        self.driver = driver
        self.inherits = inherits
        self.serves = serves
        self.face = face
        self.ends_items = ends_items
        self.load_s = load_s

    def left_to_load_s(self) -> float:
        """Return ``load_s`` at the pace of this process until the driver has been loaded, then 0."""
        return 0.0 if self.driver.partition(":")[0] in sys.modules else self.load_s * pace()

    def fits(self, executor: object) -> bool:
        """True if the row serves this object."""
        if self.serves == ANY_EXECUTOR:
            return callable(getattr(executor, "submit", None))
        return any(_is_named(executor, serves) for serves in self.serves.split())

    def open_driver(
        self, work: Work, chosen: Forecast, schedule_for: Callable[[Forecast], Schedule]
    ) -> AbstractContextManager[Driver | None]:
        """Return the driver that runs ``work`` as ``chosen``, to be used in a with statement.

        The driver is None if the workers that are available now would be no faster than the caller's loop.
        """
        from importlib import import_module

        module, _, name = self.driver.partition(":")
        load(module)
        opened: AbstractContextManager[Driver | None] = getattr(import_module(module), name)(work, chosen, schedule_for)
        return opened


def _is_named(executor: object, serves: str) -> bool:
    """Return True if an object is of this class, or is this module."""
    module, _, name = serves.partition(":")
    if not name:
        return isinstance(executor, type(sys)) and executor.__name__ == module
    return any(
        kind.__qualname__ == name and f"{kind.__module__}.".startswith(f"{module}.") for kind in type(executor).__mro__
    )


FUTURES: Final = "amorsize.backends.futures:open_driver"

BACKENDS: tuple[Row, ...] = (
    # Of the threads' 10 ms, 6 are for the look at what func does (opcode).
    Row("threads", "threads", "amorsize.backends.threads:open_driver", load_s=10e-3),
    Row("processes", "team", "amorsize.backends.processes:open_driver", inherits=True, load_s=6e-3),
    Row("executor", "executor", FUTURES, serves=ANY_EXECUTOR),
    Row(
        "executor",
        "executor",
        FUTURES,
        serves="distributed:Client distributed:ClientExecutor",
        face="amorsize.integrations.dask:Dask",
    ),
    Row(
        "executor",
        "executor",
        FUTURES,
        serves="parsl:DataFlowKernel parsl:ParslPoolExecutor",
        face="amorsize.integrations.parsl:Parsl",
    ),
    Row(
        "executor",
        "executor",
        FUTURES,
        serves="ray ray:RayContext ray:ClientContext",
        face="amorsize.integrations.ray:Ray",
        ends_items=True,
    ),
    Row("executor", "executor", FUTURES, serves="mpi4py:MPIPoolExecutor", face="amorsize.integrations.mpi:Mpi"),
    Row(
        "executor",
        "executor",
        FUTURES,
        serves="amorsize.integrations.cards:Card",
        face="amorsize.integrations.cards:engine_for",
    ),
    Row(
        "executor",
        "executor",
        FUTURES,
        serves="amorsize.integrations.card_workers:Workers",
        face="amorsize.integrations.card_workers:Local",
        ends_items=True,
    ),
)


def row_named(name: str) -> Row:
    """Return the row of a backend that is chosen by its name."""
    return next(row for row in BACKENDS if row.name == name and not row.serves)


def row_serving(executor: object) -> Row | None:
    """Return the row for an object passed as ``backend=``; the most specific comes first. None: it is no executor."""
    fitting = [row for row in BACKENDS if row.serves and row.fits(executor)]
    return min(fitting, key=lambda row: row.serves == ANY_EXECUTOR, default=None)
