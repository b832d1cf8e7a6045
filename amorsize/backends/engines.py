"""What differs between executors and clusters: one class each. This one serves anything with ``submit()``.

An engine starts its own workers. It tells how many tasks run at a time, takes tasks, and tells of each when it has
ended. The integrations (`amorsize.integrations`) derive from `Engine`; the table of backends names them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from statistics import median
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakKeyDictionary

from amorsize.backends import remote
from amorsize.backends.shipping import Lazy, Parts
from amorsize.backends.stop import Stopped
from amorsize.errors import AmorsizeError
from amorsize.system.looks import is_interrupt

Loss = Literal["worker", "shared", "engine"]
"""What an exception of a task says: its worker was lost; so was a worker that had other tasks too, each of which may be
at fault; or the engine runs no more tasks."""

# Assumed number of tasks that an engine runs at a time, if it is unknown (a guess).
UNKNOWN_PLACES: Final = 8
# No-ops of one wave of the probe. 16 of them took 20-60 ms on dask, 10-30 on Parsl, 5-15 on Ray, 1-3 on a process pool.
LEAST_PROBES: Final = 6
MOST_PROBES: Final = 16
# Bytes of the message that shows how fast bytes move: 2-20 ms there and back.
PAYLOAD_BYTES: Final = 1 << 19
# Objects of this process do not move at all.
MOST_BYTES_PER_S: Final = 1e10
# Seconds between two looks at the run's watchers while the first worker is waited for (a guess).
LOOK_S: Final = 0.25
# A no-op in a pool of threads takes 30 µs and more.
LEAST_PER_TASK_S: Final = 50e-6
# Modules whose pools start workers by this interpreter on this machine: they have amorsize.
NEAR: Final = ("concurrent.futures.process", "concurrent.futures.thread", "concurrent.futures.interpreter", "loky")

# Their threads set a result without asking whether the future is cancelled, and die of that: no task runs any more.
NEVER_CANCEL: Final = ("executorlib",)


class Facts(NamedTuple):
    """What an engine costs, as measured with tasks that do nothing.

    ``places``: tasks that it runs at a time. ``is_known``: False if that is `UNKNOWN_PLACES`. ``round_trip_s``: from
    submitting a task to its answer, with two tasks in flight for each place. ``per_task_s``: seconds between two
    answers, while tasks wait. ``bytes_per_s``: bytes to a worker and back, beside that.
    """

    places: int
    is_known: bool = True
    round_trip_s: float = 0.0
    per_task_s: float = 400e-6
    bytes_per_s: float = MOST_BYTES_PER_S


class Engine:
    """Any executor with ``submit(func, *args)``; its futures have ``add_done_callback``, ``result`` and ``cancel``."""

    lazy = True
    """Arguments are pickled by the executor, if at all: then its threads get the objects themselves."""

    can_end = False
    """True if a running task can be ended, so that items may have a time limit."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor

    @property
    def near(self) -> bool:
        """True if the workers have amorsize, since this interpreter has started them."""
        return any(
            f"{kind.__module__}.".startswith(f"{name}.") for kind in type(self.executor).__mro__ for name in NEAR
        )

    def places(self) -> int | None:
        """Return the number of tasks that run at a time; None: unknown."""
        for name in ("_max_workers", "max_workers", "_processes", "n_workers"):
            number = getattr(self.executor, name, None)
            if type(number) is int and number > 0:
                return number
        return None

    def seal(self, items: Any, pickled: Callable[[Any], Parts]) -> Any:
        """Return what `submit` is given of some items; ``pickled`` pickles them."""
        return Lazy(items, lambda: pickled(items)) if self.lazy else pickled(items)

    def payload(self, pickled: bytes) -> Any:
        """Return what `submit` is given of bytes that stand for some items."""
        return Lazy(pickled, lambda: (pickled,)) if self.lazy else (pickled,)

    def submit(self, *args: Any) -> Any:
        """Submit a span (`amorsize.backends.remote.run`); return its future."""
        return self.executor.submit(remote.run if self.near else remote.HALF, *args)

    def when_done(self, future: Any, callback: Callable[[Any], object]) -> None:
        """Call ``callback`` with the future once it has ended, from any thread."""
        future.add_done_callback(callback)

    def result(self, future: Any) -> Any:
        """Return the answer of a task that has ended, or raise."""
        return future.result()

    def cancel(self, futures: list[Any]) -> None:
        """Withdraw tasks, as far as possible. Whatever goes wrong, the error of the run counts, not this one."""
        if type(self.executor).__module__.partition(".")[0] in NEVER_CANCEL:
            return
        for future in futures:
            try:
                future.cancel()
            except Exception:  # noqa: BLE001  (Parsl's raises NotImplementedError)
                continue

    def end(self, future: Any) -> None:
        """End a running task. Only asked if `can_end`."""
        raise NotImplementedError

    def keep_time(self) -> None:
        """Have tasks report when they begin, since items have a time limit. Only called if `can_end`."""
        raise NotImplementedError

    def runs_for_s(self, future: Any) -> float | None:
        """Return how long a task has run, by its worker's clock; None: it has not begun. Only asked if `can_end`."""
        raise NotImplementedError

    def share(self, func: Any) -> Any:
        """Return what to pass instead of the function's pickle, if the engine can bring that to all workers once."""
        return None

    def lost_data(self, exc: BaseException) -> bool:
        """Return True if a task failed because what was shared is gone, with the workers that held it."""
        return False

    def loss(self, exc: BaseException) -> Loss | None:
        """Return what an exception of a future says of workers; None: it concerns this task alone."""
        from concurrent.futures import BrokenExecutor, CancelledError

        return "engine" if isinstance(exc, BrokenExecutor | CancelledError) else None

    def close(self) -> None:
        """Forget what was shared."""


def engine_of(executor: Any) -> Engine:
    """Return the engine of an object passed as ``backend=``."""
    from amorsize.backends.table import row_serving

    row = row_serving(executor)
    if row is None or not row.face:
        return Engine(executor)
    from importlib import import_module

    module, _, name = row.face.partition(":")
    made: Engine = getattr(import_module(module), name)(executor)
    return made


def places_of(executor: Any) -> int:
    """Return the number of tasks that an executor runs at a time; `UNKNOWN_PLACES` if it is unknown."""
    return known_places(engine_of(executor)) or UNKNOWN_PLACES


def known_places(engine: Engine) -> int | None:
    """Return the number of places; None if it is unknown. A dead engine cannot tell: its first task shows that."""
    try:
        return engine.places()
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return None


# -- measuring --------------------------------------------------------------------------------------------------------

# Of each executor seen so far. One that is gone is forgotten.
_known: WeakKeyDictionary[Any, Facts] = WeakKeyDictionary()


def facts_of(executor: Any, look: Callable[[], object]) -> Facts:
    """Return the facts of an engine: measured at its first use, later only the number of places is read.

    The first wave of no-ops waits for the engine to start its workers, as any task would. The second takes up to 50 ms.

    Parameters
    ----------
    executor : object
    look : callable
        Called four times a second while workers are waited for. It may raise.
    """
    engine = engine_of(executor)
    known = _remembered(executor)
    if known is None:
        known = _probe(engine, look)
        try:
            _known[executor] = known
        # It has no hash, or cannot be referred to weakly.
        except TypeError:
            pass
    places = known_places(engine)
    return known._replace(places=places or (UNKNOWN_PLACES if places is None else 1), is_known=places is not None)


def _remembered(executor: Any) -> Facts | None:
    try:
        return _known.get(executor)
    except TypeError:
        return None


def _probe(engine: Engine, look: Callable[[], object]) -> Facts:
    times: list[tuple[float, float]] = []
    payload = engine.payload(os.urandom(PAYLOAD_BYTES))
    try:
        # The first wave pays for the start of the workers, and for their imports.
        for _ in range(2):
            places = known_places(engine) or UNKNOWN_PLACES
            times = _wave(engine, min(MOST_PROBES, max(LEAST_PROBES, 2 * places)), look)
        loaded = [_wave(engine, 1, look, None, None, payload)[0] for _ in range(2)]
    except Exception as exc:
        # A watcher has ended the run.
        if isinstance(exc, AmorsizeError | Stopped):
            raise
        # Else the first task of the map shows what is wrong.
        return Facts(1)
    trips = sorted(done - since for since, done in times)
    answers = sorted(done for _, done in times)
    moved_s = min(done - since for since, done in loaded) - trips[0]
    return Facts(
        1,
        True,
        # The fast half: what is slower waited for another program.
        median(trips[: len(trips) // 2]),
        max(LEAST_PER_TASK_S, (answers[-1] - answers[0]) / (len(answers) - 1)),
        2 * PAYLOAD_BYTES / max(moved_s, 2 * PAYLOAD_BYTES / MOST_BYTES_PER_S),
    )


def _wave(engine: Engine, count: int, look: Callable[[], object], *args: Any) -> list[tuple[float, float]]:
    """Run no-ops; return when each was submitted, and when its answer was here. ``args``: what goes there and back."""
    mail: SimpleQueue[tuple[Any, float]] = SimpleQueue()
    since: dict[int, float] = {}
    futures: list[Any] = []

    def done(future: Any) -> None:
        mail.put((future, time.perf_counter()))

    times: list[tuple[float, float]] = []
    try:
        for _ in range(count):
            began = time.perf_counter()
            future = engine.submit(*args)
            # Kept in the list as well, so that no other future gets its id.
            since[id(future)] = began
            futures.append(future)
            engine.when_done(future, done)
        while len(times) < count:
            try:
                future, at = mail.get(timeout=LOOK_S)
            except Empty:
                look()
                continue
            engine.result(future)
            times.append((since[id(future)], at))
    except BaseException:
        engine.cancel(futures)
        raise
    return times
