"""One call of ``execute()`` or ``stream()``, from its first item to its last.

A map begins as a plain loop in the caller, and most short maps end there: they load nothing that only a decision
needs. When the first items show that going parallel could pay (`Head.worth_asking`), `amorsize.run.deciding` is loaded,
which measures what the decision needs and runs the rest by the fastest backend.

`Execution.steps` goes step by step, so that a consumer may take results away between two steps (`amorsize.run.stream`)
or end the run there.
"""

from __future__ import annotations

from os import cpu_count
from sys import modules
from time import perf_counter, time

from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.gc_pause import RESULTS_ARE_KEPT
from amorsize.backends.loop import STREAM_BATCH
from amorsize.backends.results import initialize
from amorsize.backends.table import due_s, note_missed, pace, row_named
from amorsize.history.shape import shape_of
from amorsize.history.waiting import HERE, RECORD_SAMPLE_S, record
from amorsize.model.head import Head
from amorsize.run.map_state import MapState
from amorsize.system import log, nested
from amorsize.system.clock import MEASURE_S
from amorsize.system.critical import free_import_lock, load
from amorsize.system.environment import OFF, history_setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import Any, Final

    from amorsize.backends.arrivals import Arrivals
    from amorsize.backends.results import Outcome
    from amorsize.backends.stop import Stop
    from amorsize.facts import Sample
    from amorsize.history.run_row import Run
    from amorsize.options import Request
    from amorsize.run.deciding import Deciding

    Steps = Generator[None, None, None]

# Seconds to load what measures and decides, and what asks the model, where what a loop needs took `LOOP_LOAD_S`.
DECIDE_S: Final = 3.5e-3
ASK_S: Final = 16e-3
# Read once: it takes 17 µs.
MOST_CORES: Final = cpu_count() or 1


class Execution:
    """One call of ``execute`` or ``stream``.

    Parameters
    ----------
    request : Request
    outcome : Outcome, optional
        Collects the results; by default all of them are kept, in order.
    window : int, optional
        Number of items that may be ahead of the consumer of the results.
    stop : Stop, optional
        Ends the run from another thread.
    arrivals : Arrivals, optional
        The items of an async iterable.

    Attributes
    ----------
    state : MapState
        Items, results, and the ranges left to run.
    head : Head
        The measurements of the loop; once it is loaded, the `Decider`.
    wall_s : float
        Seconds of the whole run; 0 until it has ended.
    """

    def __init__(
        self,
        request: Request,
        outcome: Outcome | None = None,
        *,
        window: int | None = None,
        stop: Stop | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self.request = request
        self.state = MapState(request, outcome, window=window, stop=stop, arrivals=arrivals, per_item_s=self.per_item_s)
        self.head = Head(self.state.source.length, most_cores=MOST_CORES, rate=request.rate)
        self.head.expect_load(_left_to_load_s("threads"), _left_to_load_s("processes"))
        self.wall_s = 0.0
        self._deciding: Deciding | None = None

    @property
    def deciding(self) -> Deciding:
        """The part that measures and decides; loaded when it is first needed, and goes on from the head."""
        if self._deciding is None:
            load("amorsize.run.deciding")
            from amorsize.run.deciding import Deciding

            self._deciding = Deciding(self.request, self.state, self.head)
            self.head = self._deciding.decider
            self.head.expect_load(_left_to_load_s("threads"), _left_to_load_s("processes"))
            if self.wall_s:
                self._deciding.summary.close(self.wall_s, self.state)
        return self._deciding

    def run(self) -> list[Any]:
        """Run the map and return its results; a row is left in the history even if it raises."""
        state, outcome = self.state, "raised"
        try:
            for _ in self.steps():
                pass
            results = state.outcome.finish(state.source.item)
            outcome = "ok"
            if self._deciding is not None:
                self._deciding.remember()
            return results
        except KeyboardInterrupt as exc:
            state.outcome.interrupted(exc)
            raise
        finally:
            self.record(outcome)

    def steps(self) -> Steps:
        """Run the map step by step. Failures of items stand in the outcome; an exception of the source is raised."""
        began = perf_counter()
        try:
            try:
                CALLS.begin(self)
                # Where results are taken away as they come, none of them piles up for the garbage collector.
                if self.state.window is None:
                    RESULTS_ARE_KEPT.begin(self)
                yield from self._all()
            finally:
                self._close(began)
        finally:
            # Once more, because an interrupt may have cut the first call short.
            self._close(began)

    def per_item_s(self) -> float | None:
        """Return the forecast of the seconds until one more item is done; None: unknown."""
        if self.state.driver is not None:
            return self.state.driver.per_item_s()
        if not self.head.items:
            return None
        return max(self.head.item_s, 1 / self.request.rate if self.request.rate else 0.0)

    def _close(self, began: float) -> None:
        """End the run, whatever came of it. Nothing happens the second time."""
        RESULTS_ARE_KEPT.end(self)
        CALLS.end(self)
        free_import_lock()
        if self.wall_s == 0.0:
            wall_s = perf_counter() - began
            self.state.close()
            stayed = self._deciding is None or self._deciding.summary.go is None
            request = self.request
            may_gain = request.auto and request.rate is None and request.most_workers != 1
            if stayed and may_gain and nested.share() is None:
                note_missed(self.head.missed_s())
            if self._deciding is not None:
                self._deciding.summary.close(wall_s, self.state)
                self._deciding.log_end()
            else:
                n_items = self.state.outcome.size
                ended = {"backend": "serial", "items": n_items, "wall_s": wall_s}
                log.info("run", "%d items in %.3g s, last on %s", n_items, wall_s, "serial", **ended)
            self.wall_s = wall_s

    def _all(self) -> Steps:
        state = self.state
        state.begin()
        self.head.n_items = state.left()
        if state.checkpoint is not None:
            # Its items and warnings belong to the summary.
            self.deciding  # noqa: B018
            # The consumer takes what earlier runs have left before an item runs.
            yield
        yield from self._in_parallel() if self._is_barred() else self._in_the_caller()
        while state.extend():
            yield from self._in_parallel() if self._is_barred() else self._plain_loop()
        state.finish()

    def _is_barred(self) -> bool:
        """Return True if func may not run in the caller at all."""
        backends = self.request.backends if self._deciding is None else self._deciding.backends
        return backends == ("executor",) or (backends == ("processes",) and self.request.executor is None)

    def _in_parallel(self) -> Steps:
        yield from self.deciding.in_parallel_at_once()

    def _in_the_caller(self) -> Steps:
        request, state = self.request, self.state
        if request.initializer is not None:
            initialize(request.initializer, request.initargs)
        state.announce("serial")
        if request.backends != ("serial",):
            yield from self._opening()
            if not state.is_done() and (deciding := self._decided()) is not None:
                yield from deciding.loop()
        yield from self._plain_loop()

    def _opening(self) -> Steps:
        """Run the first items, until it could pay to decide.

        Not where func is to leave the caller after its first item, nor where earlier maps of it may be remembered.
        """
        state, head = self.state, self.head
        if "serial" not in self.request.backends or "amorsize.history.this_process" in modules:
            return
        while not (state.is_done() or state.source.has_changed() or head.worth_asking()):
            # If all that is left is set aside, there is nothing to measure.
            head.saw(state.advance(head.next_items() if state.todo else 1))
            yield

    def _decided(self) -> Deciding | None:
        """Return `deciding`; None if it cannot be loaded, since the items have left no file descriptor for it."""
        try:
            return self.deciding
        except (ImportError, OSError):
            return None

    def _plain_loop(self) -> Steps:
        """Run what is left in the loop, in batches; listeners, limits and a stop are served between them."""
        state, head = self.state, self.head
        whole = not state.is_watched and not self.request.backoff_s
        while not state.is_done():
            start, stop = state.todo[0] if state.todo else (0, 1)
            left = STREAM_BATCH if stop is None else stop - start
            short = whole and head.items > 0 and head.item_s < MEASURE_S
            head.saw(state.advance(left if short else head.next_items()))
            yield

    # -- history -------------------------------------------------------------------------------------------------

    def record(self, outcome: str) -> None:
        """Leave a row in the history. It is buffered, and written when the program ends or the history is read."""
        history = self.request.history
        if history is None:
            if (place := history_setting()) != OFF:
                record(place, self._row(outcome))
        elif history.is_on:
            history.record(self._row(outcome))

    def _row(self, outcome: str) -> Run | Mapping[str, Any]:
        if self._deciding is not None:
            return self._deciding.summary.row(self.request, outcome)
        n_items = self.state.outcome.size
        return {
            "function": self.request.func,
            "shape": shape_of(self.request.data),
            "n_items": n_items,
            "chunksize": max(1, n_items),
            "clock_s": self.wall_s,
            "serial_s": self.head.wall_s if self.head.items else None,
            "sample": _sample_of(self.head) if self.wall_s > RECORD_SAMPLE_S else None,
            "machine": HERE,
            "at_s": time(),
            "outcome": outcome,
        }


def _left_to_load_s(backend: str) -> float:
    """Return the seconds to load what is missing to decide, to ask, and to start a backend, not written off yet."""
    decide_s = 0.0 if "amorsize.run.deciding" in modules else DECIDE_S
    ask_s = 0.0 if "amorsize.run.choices" in modules else ASK_S
    return due_s((decide_s + ask_s) * pace() + row_named(backend).left_to_load_s())


def _sample_of(head: Head) -> Sample | Callable[[], Sample]:
    """Return what the items of a loop show; if that must be loaded, a function that does so when the row is written."""

    def sample() -> Sample:
        from amorsize.model.evidence import Evidence

        evidence = Evidence(None)
        evidence.take_over(head)
        return evidence.sample()

    return sample() if "amorsize.model.evidence" in modules else sample
