"""Several sets of workers as one engine: each item goes to the label that the card's route names.

A task of the map, some items in a row, becomes one task for each label that its items have.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import cycle
from threading import Lock
from typing import Any

from amorsize.backends.engines import Engine, Loss
from amorsize.backends.shipping import Parts
from amorsize.backends.workers import protocol
from amorsize.system.looks import is_interrupt


class RouteError(ValueError):
    """The route names no label for an item."""


class Share:
    """The items of a task that go to one label: their positions, what is sent of them, and the answer."""

    __slots__ = ("answer", "at", "engine", "items")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.at: list[int] = []
        self.items: Any = None
        self.answer: Any = None


class Joined(Future[None]):
    """Ends when its tasks at all labels have ended."""

    def __init__(self, shares: list[Share], start: int) -> None:
        super().__init__()
        self.shares = shares
        self.start = start
        self.tasks: list[tuple[Share, Any]] = []
        self._left = 0
        self._lock = Lock()

    def wait_for_tasks(self) -> None:
        """End once each task has ended."""
        self._left = len(self.tasks)
        for share, future in self.tasks:
            share.engine.when_done(future, self._one_less)

    def _one_less(self, _: Any) -> None:
        with self._lock:
            self._left -= 1
            is_over = not self._left
        if is_over:
            self.set_result(None)


class Labels(Engine):
    """The engines of a card, by label.

    Parameters
    ----------
    card : object
    engines : dict of str to Engine
        The first has the items whose label is None.
    route : callable
        Called with an item; returns its label.
    """

    lazy = False
    near = False

    def __init__(self, card: Any, engines: dict[str, Engine], route: Callable[[Any], Any]) -> None:
        super().__init__(card)
        self.engines = engines
        self.route = route
        self._first = next(iter(engines.values()))
        self._turn = cycle(engines.values())
        self.can_end = all(engine.can_end for engine in engines.values())

    def places(self) -> int | None:
        """Return the places of all labels."""
        places = [engine.places() for engine in self.engines.values()]
        return None if None in places else sum(filter(None, places))

    def seal(self, items: Any, pickled: Callable[[Any], Parts]) -> Any:
        """Return what goes to each label."""
        shares: dict[Engine, Share] = {}
        for position, item in enumerate(items):
            engine = self._engine_for(item)
            if engine not in shares:
                shares[engine] = Share(engine)
            shares[engine].at.append(position)
        for share in shares.values():
            share.items = pickled(items if len(shares) == 1 else [items[position] for position in share.at])
        return list(shares.values())

    def _engine_for(self, item: Any) -> Engine:
        try:
            label = self.route(item)
        except Exception as exc:
            raise RouteError(f"route: raised {type(exc).__name__}: {exc}, for {item!r:.200}") from exc
        if label is None:
            return self._first
        engine = self.engines.get(label) if isinstance(label, str) else None
        if engine is None:
            raise RouteError(f"route: {label!r} is no label of the card ({', '.join(self.engines)}), for {item!r:.200}")
        return engine

    def submit(self, key: Any = None, func: Any = None, items: Any = None, start: int = 0, *more: Any) -> Any:
        """Submit what has no answer yet; a no-op goes to each label in turn."""
        if key is None:
            share = Share(next(self._turn))
            share.items, items = items, [share]
        joined = Joined(items, start)
        if len(joined.shares) > 1:
            # A label that stops early would have the items of the others, which lie behind its own, run again.
            more = (*more[:-1], None)
        for share in joined.shares:
            if share.answer is None:
                joined.tasks.append((share, share.engine.submit(key, func, share.items, 0, *more)))
        joined.wait_for_tasks()
        return joined

    def result(self, future: Any) -> Any:
        """Return the answers of the labels as one."""
        for share, task in future.tasks:
            share.answer = share.engine.result(task)
        for share in future.shares:
            if share.answer[0] != "done":
                # After "missing" the same shares are submitted again: only those without an answer will run.
                answer, share.answer = share.answer, None
                return answer
        return _joined([(share.at, share.answer) for share in future.shares], future.start)

    def cancel(self, futures: list[Any]) -> None:
        """Withdraw tasks."""
        for engine in self.engines.values():
            engine.cancel([task for future in futures for share, task in future.tasks if share.engine is engine])

    def keep_time(self) -> None:
        """Have the tasks of all labels report when they begin."""
        for engine in self.engines.values():
            engine.keep_time()

    def end(self, future: Any) -> None:
        """End a running task. With a time limit it has one item, and one label."""
        for share, task in future.tasks:
            share.engine.end(task)

    def runs_for_s(self, future: Any) -> float | None:
        """Return how long a task has run."""
        times = (share.engine.runs_for_s(task) for share, task in future.tasks)
        return next((for_s for for_s in times if for_s is not None), None)

    def close(self) -> None:
        """Forget what was shared at each label."""
        for engine in self.engines.values():
            engine.close()

    def loss(self, exc: BaseException) -> Loss | None:
        """Return what the first engine says that knows the exception; with a wrong route the map cannot go on."""
        if isinstance(exc, RouteError):
            return "engine"
        return next((loss for engine in self.engines.values() if (loss := engine.loss(exc)) is not None), None)


def _joined(answers: list[tuple[list[int], Any]], start: int) -> Any:
    """Return one answer, as `amorsize.backends.remote.run` gives it for items in a row."""
    found: dict[int, Any] = {}
    errors, records = [], []
    for at, (_, results, failed, _, _, _, measured, _) in answers:
        errors += [(start + at[index], *error) for index, *error in failed]
        records += [(start + at[index], *record) for index, *record in measured]
        if len(answers) > 1:
            try:
                results = protocol.loads([results[0], *map(bytearray, results[1:])])
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                return ("apart",)
            # A label stops at its first error, maybe.
            found.update(zip(at, results, strict=False))
    whole = answers[0][1][1]
    if len(answers) > 1:
        # An item that did not run ends what can be told of items in a row.
        stop = next((position for position in range(len(found)) if position not in found), len(found))
        whole = [found[position] for position in range(stop)]
        errors = sorted(error for error in errors if error[0] < start + stop)
    sums = [sum(answer[which] for _, answer in answers) for which in (3, 4)]
    return "done", whole, errors, *sums, max(answer[5] for _, answer in answers), records, answers[0][1][7]
