"""Runs one workload in all contenders, round by round: A B C, then C B A, so that a slow drift hits all alike.

Each pair of rounds begins with another contender, so that each one runs after itself at times.

Before the rounds, and off the record, the plain loop runs twice, each item timed; then the grid's first pass, if it is
requested.

Each step is reported at once as an event (a plain dict), so that a contender that hangs does not cost the others their
times. `benchmarks.record` makes a row of the events.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psutil

from benchmarks import oracle, rivals, verify
from benchmarks.grid import GRID, Setting
from benchmarks.items import item_facts, timed_items
from benchmarks.plan_facts import plan_facts
from benchmarks.rivals import Facts, Func, Rival
from benchmarks.workloads import Data, fresh

Emit = Callable[[dict[str, Any]], None]

SETTLE_S = 2.0
SHORT_S = 2.5  # of rounds: a row that has taken less time goes on beyond the requested rounds …
MOST_ROUNDS = 15  # … up to so many, since times of milliseconds differ most from round to round
# A contender that cannot win any more is not run again, else most of the time would go into precise times of losers:
# after so many rounds, at so many times the best, and from so many seconds on.
SIT_OUT = ((1, 3.0, 0.3), (1, 1.7, 0.6), (2, 1.4, 0.4))
NEVER_OUT = frozenset({rivals.LOOP, *rivals.AMORSIZE})  # nor the oracle


def in_turn(contenders: Sequence[Rival], round_: int) -> list[Rival]:
    """Return the order of a round: forwards if it is even, else backwards; each pair of rounds has another first one.

    Else only the contenders at the ends would run after themselves, with their own caches and heap.

    Examples
    --------
    >>> [in_turn("ABCD", round_) for round_ in range(4)]  # doctest: +NORMALIZE_WHITESPACE
    [['A', 'B', 'C', 'D'], ['D', 'C', 'B', 'A'], ['D', 'A', 'B', 'C'], ['C', 'B', 'A', 'D']]
    """
    first = round_ // 2 * (len(contenders) // 2 + 1) % max(1, len(contenders))
    order = [*contenders[first:], *contenders[:first]]
    return order if round_ % 2 == 0 else order[::-1]


def hopeless(times: dict[str, list[float]], rounds_run: int) -> list[str]:
    """Return the contenders not to run again: far behind the best of all, and slow enough to cost much time."""
    medians = {name: statistics.median(values) for name, values in times.items() if values}
    if not medians:
        return []
    best = min(medians.values())
    return [
        name
        for name, median in medians.items()
        if name not in NEVER_OUT
        and not name.startswith(GRID)
        and any(rounds_run >= after and median > factor * best and median > s for after, factor, s in SIT_OUT)
    ]


def timed(rival: Rival, func: Func, data: Iterable[Any]) -> tuple[float, list[Any], Facts]:
    """Run once; return the seconds that a user would wait, the results and the facts."""
    facts: Facts = {}
    with rival.around():
        start = time.perf_counter()
        results = rival.run(func, data, facts)
        seconds = time.perf_counter() - start
    return seconds, results, facts


def settle(known: set[int], patience_s: float = SETTLE_S) -> list[str]:
    """Wait until a contender's threads and processes have gone, so that the next starts alone; name those that stay.

    Those are added to ``known`` and not named again. Resource trackers stay by design, and sleep.
    """
    deadline = time.monotonic() + patience_s
    while True:
        stay = [thread for thread in threading.enumerate() if (thread.ident or 0) not in known]
        alive = [child for child in psutil.Process().children(recursive=True) if child.pid not in known]
        alive = [child for child in alive if is_busy(child)]
        if not stay and not alive:
            return []
        if time.monotonic() > deadline:
            known.update(thread.ident or 0 for thread in stay)
            known.update(child.pid for child in alive)
            return [f"thread {thread.name}" for thread in stay] + [f"process {name_of(child)}" for child in alive]
        time.sleep(0.01)


def is_busy(process: psutil.Process) -> bool:
    """Return True if the process is alive and no resource tracker."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline())
    except psutil.Error:
        return False


def name_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[1:])[-120:] or process.name()
    except psutil.Error:
        return "(gone)"


class Race:
    """The rounds of one workload.

    ``emit`` takes each event; ``thrifty`` drops losers; ``settings`` gives the oracle's for a number of items;
    ``before_turn`` is the workload's own preparation.
    """

    def __init__(
        self,
        func: Func,
        data: Data,
        contenders: Sequence[Rival],
        emit: Emit,
        *,
        thrifty: bool = True,
        settings: Callable[[int], Sequence[Setting]] | None = None,
        before_turn: Callable[[], None] | None = None,
    ):
        self.func, self.data, self.emit, self.thrifty = func, data, emit, thrifty
        self.settings, self.before_turn = settings, before_turn
        self.running = list(contenders)
        self.times: dict[str, list[float]] = {rival.name: [] for rival in contenders}
        self.reference: list[Any] = []
        self.known = {thread.ident or 0 for thread in threading.enumerate()}
        self.known |= {child.pid for child in psutil.Process().children(recursive=True)}  # a workload's own server

    def run(self, rounds: int, limit_s: float | None = None) -> None:
        """Run all rounds; from the third on, none begins after ``limit_s`` seconds of rounds.

        A short row has more rounds than requested, if 5 or more are requested.
        """
        n_items = self.look_at_items()
        if self.thrifty:
            self.leave_out(n_items)
        if self.settings is not None:
            self.find_oracle(self.settings(n_items))
        began = time.monotonic()
        most = MOST_ROUNDS if rounds >= 5 else rounds
        for round_ in range(most):
            took_s = time.monotonic() - began
            if round_ >= rounds and took_s > SHORT_S:
                break
            if limit_s is not None and round_ >= 2 and took_s > limit_s:
                break
            for rival in in_turn(self.running, round_):
                self.turn(rival, round_)
            if self.thrifty and round_ + 1 < most:
                self.send_out(hopeless(self.times, round_ + 1), round_)

    def look_at_items(self) -> int:
        """Run the loop twice, off the record: for warm caches, the right results, and the times of the items."""
        self.make_ready()
        results: list[Any] = []
        first = timed_items(self.func, fresh(self.data), results)
        self.reference = verify.essences(results)
        results.clear()
        gc.collect()
        gc.disable()  # the collector's pauses grow with the heap, whichever item they hit
        try:
            second = timed_items(self.func, fresh(self.data), results)
        finally:
            gc.enable()
        del results
        facts = item_facts(first, second, forgets=self.before_turn is not None)
        self.emit({"event": "items", "items": len(first), "item": facts})
        return len(first)

    def leave_out(self, n_items: int) -> None:
        for rival in self.running:
            if rival.most_items is not None and n_items > rival.most_items:
                self.emit({"event": "left_out", "contender": rival.name, "why": f"more than {rival.most_items} items"})
        self.running = [rival for rival in self.running if rival.most_items is None or n_items <= rival.most_items]

    def find_oracle(self, candidates: Sequence[Setting]) -> None:
        """Run each setting once; the winners then compete in the rounds."""

        def once(rival: Rival) -> float | None:
            self.emit({"event": "trying", "setting": rival.name})
            self.make_ready()
            try:
                return timed(rival, self.func, fresh(self.data))[0]
            except Exception:  # noqa: BLE001  a setting that fails is no candidate
                return None
            finally:
                settle(self.known)

        loop_s = once(Rival(rivals.LOOP, rivals.loop))
        if loop_s is None:
            return
        found = oracle.first_pass(candidates, loop_s, lambda setting: once(setting.rival()))
        self.emit({"event": "grid", "grid": found._asdict()})
        for setting in candidates:
            if setting.name in (found.best, found.best_pool):
                self.emit({"event": "retimed", "contender": setting.name})
                self.running.append(setting.rival())
                self.times[setting.name] = []

    def make_ready(self) -> None:
        """Prepare a turn: collect garbage, and let the workload reset its state."""
        if self.before_turn is not None:
            self.before_turn()
        gc.collect()

    def turn(self, rival: Rival, round_: int) -> None:
        """Run one contender's turn: time it, check its results, and report it."""
        self.emit({"event": "begin", "contender": rival.name, "round": round_})
        self.make_ready()
        try:
            seconds, results, facts = timed(rival, self.func, fresh(self.data))
            wrong = verify.difference(results, self.reference) if not self.times[rival.name] else None
            del results
        except Exception as error:  # noqa: BLE001  a contender's failure is a finding, not ours to handle
            wrong = f"{type(error).__name__}: {error}"[:500]
        if wrong is not None:
            self.emit({"event": "failed", "contender": rival.name, "round": round_, "message": wrong})
            self.running = [other for other in self.running if other is not rival]
            self.times[rival.name] = []
        else:
            self.times[rival.name].append(seconds)
            if "plan" in facts:
                facts |= plan_facts(facts.pop("plan"))
            self.emit({"event": "time", "contender": rival.name, "round": round_, "seconds": seconds, "facts": facts})
        if left := settle(self.known):
            self.emit({"event": "left", "contender": rival.name, "what": left})

    def send_out(self, names: list[str], round_: int) -> None:
        for name in names:
            if any(rival.name == name for rival in self.running):
                self.emit({"event": "out", "contender": name, "round": round_})
        self.running = [rival for rival in self.running if rival.name not in names]
