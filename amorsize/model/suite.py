"""Decides how many processes run a test suite: the forecast of `amorsize.model.cost`, with the terms of a test runner.

Each worker of pytest-xdist starts an interpreter, loads pytest and its plugins, and collects all tests anew. The
forecast for no workers (one process, which collects only once) and for ``n`` workers:

    T(0) = collect + W + N o
    T(n) = S max(1, n / C) + end + max( (W + N (o + s)) / n + tail,     workers
                                        (P + N (o + s + r)) / C,        cores
                                        N r,                            the one controller
                                        longest )                       a test is not divided

    N  number of tests          W  their seconds, all together           P  their CPU seconds
    S  start of a worker with its imports and its collection             C  usable cores, a fraction under a quota
    o  pytest's own time per test   s, r  sending and receiving three reports    tail  (1 - 1/n) W / N

A test makes three reports, and one more for each subtest, which counts as a third of a test for ``s`` and ``r``.

Tests are dealt out longest group first and idle workers steal (see `amorsize.schedule.suite_order`), so that the tail
is a test of mean length (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969: at most the longest one).
"""

from __future__ import annotations

from math import ceil, inf

from amorsize.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# benchmarks/pytest_switch.py --constants: 2,000 empty tests, 2 cores, pytest 9.2 with xdist 3.8, CPython 3.11.
OWN_S: Final = 0.65e-3
SEND_S: Final = 0.45e-3
RECEIVE_S: Final = 0.65e-3
# The same, a suite of 3 s: two workers took 2.9 to 3.1 s where 2.4 s were forecast without it. From the end of the last
# test until the workers have left, and what they and the controller take from each other.
END_S: Final = 0.5
# guess: what a worker's start takes beyond what this process took to load pytest (execnet's messages, the fork)
BOOTSTRAP_S: Final = 0.15
# More workers must save so much of the forecast: what they would save less is lost in the spread of a forecast.
GAIN: Final = 0.05
# guess: beyond the cores only waiting is shared out, and that is measured less well
GAIN_BEYOND_CORES: Final = 0.12
# guess: workers for each core, at most
MOST_PER_CORE: Final = 8
# guess: what a second hardware thread of a core adds
SECOND_THREAD: Final = 0.3


class Work(Frozen):
    """The tests that are about to run.

    Attributes
    ----------
    tests : int
        Their number.
    wall_s, cpu_s : float
        Seconds of all tests together, by the clock while no other process has the core, and of CPU.
    longest_s : float
        Seconds of the part that is not divided: the longest test, or the longest group where groups stay together.
    reports : int
        Reports of all tests: three of each, and one of each subtest; 0: three of each.
    """

    tests: int
    wall_s: float
    cpu_s: float
    longest_s: float = 0.0
    reports: int = 0


UNKNOWN: Final = Work(tests=1_000, wall_s=60.0, cpu_s=60.0, longest_s=1.0)
"""A suite that has not been seen: long enough for workers on two cores, without waiting (a guess)."""


class Start(Frozen):
    """The seconds before the first test.

    Attributes
    ----------
    worker_s : float
        From the start of a worker until it has collected, while it has a core.
    collect_s : float
        Collection in the one process that runs without workers.
    """

    worker_s: float
    collect_s: float = 0.0


class Choice(Frozen):
    """The number of workers, and why.

    Attributes
    ----------
    workers : int
        0 (the tests run in the one process) or at least 2.
    forecasts_s : tuple of (int, float)
        Seconds by number of workers: 0, the chosen number, and the cores (or 2).
    reason : str
        One sentence.
    is_known : bool
        True if the forecasts rest on measured tests.
    """

    workers: int
    forecasts_s: tuple[tuple[int, float], ...]
    reason: str
    is_known: bool = True

    @property
    def predicted_s(self) -> float:
        """Seconds that are forecast for the chosen number, from the start of the session."""
        return dict(self.forecasts_s)[self.workers]


def computing_cores(usable: float, physical: int) -> float:
    """Return the cores' worth of computing of usable hardware threads, some of which share a core.

    Examples
    --------
    >>> computing_cores(1.5, 4), computing_cores(8, 8), computing_cores(8, 4)
    (1.5, 8.0, 5.2)
    """
    return float(usable) if usable <= physical else physical + SECOND_THREAD * (usable - physical)


def forecast_s(workers: int, work: Work, start: Start, cores: float) -> float:
    """Return the seconds from the start of the session to its end.

    Examples
    --------
    >>> work = Work(tests=100, wall_s=30.0, cpu_s=24.0)
    >>> [round(forecast_s(n, work, Start(worker_s=0.6, collect_s=0.1), 2.0), 1) for n in (0, 2, 4)]
    [30.2, 16.3, 13.8]
    """
    if workers <= 0:
        return start.collect_s + work.wall_s + work.tests * OWN_S
    triples = max(work.tests, work.reports / 3)
    sent_s = work.tests * OWN_S + triples * SEND_S
    received_s = triples * RECEIVE_S
    tail_s = (1 - 1 / workers) * work.wall_s / max(1, work.tests)
    shares_s = (work.wall_s + sent_s) / workers + tail_s
    busy_s = (work.cpu_s + sent_s + received_s) / cores
    start_s = start.worker_s * max(1.0, workers / cores)
    return start_s + END_S + max(shares_s, busy_s, received_s, work.longest_s)


def choose(work: Work | None, start: Start, cores: float, most: int) -> Choice:
    """Choose the number of workers with the least forecast; of almost equal ones the smallest.

    Parameters
    ----------
    work : Work or None
        None: the tests have not been seen; then `UNKNOWN` stands for them.
    start : Start
        What comes before the first test.
    cores : float
        Usable cores, above 0.
    most : int
        The most workers that memory and the user allow.

    Examples
    --------
    >>> start = Start(worker_s=0.6)
    >>> choose(Work(tests=40, wall_s=0.5, cpu_s=0.5), start, 2.0, 8).reason
    'no workers: 40 tests take 0.5 s in one process, and 1.4 s with 2 workers'
    >>> choose(Work(tests=100, wall_s=30.0, cpu_s=29.0), start, 2.0, 8).reason
    '2 workers: 100 tests take 16.3 s with them, and 30.1 s in one process'
    """
    likely = UNKNOWN if work is None else work
    highest = min(most, likely.tests, ceil(cores * MOST_PER_CORE))
    best, best_s, alone_s = 0, forecast_s(0, likely, start, cores), forecast_s(0, likely, start, cores)
    for workers in range(2, highest + 1):
        seconds = forecast_s(workers, likely, start, cores)
        gain = GAIN if workers <= ceil(cores) else GAIN_BEYOND_CORES
        if seconds < (1 - gain) * best_s:
            best, best_s = workers, seconds
    usual = min(max(2, ceil(cores)), max(2, highest))
    counts = sorted({0, best, usual})
    forecasts = tuple((n, forecast_s(n, likely, start, cores)) for n in counts)
    reason = _reason(work, best, usual, dict(forecasts), alone_s, most)
    return Choice(workers=best, forecasts_s=forecasts, reason=reason, is_known=work is not None)


def _reason(work: Work | None, best: int, usual: int, forecasts: dict[int, float], alone_s: float, most: int) -> str:
    if most < 2:
        return "no workers: memory, or a limit on their number, has no room for two"
    if work is None:
        return f"{best} workers, one for each core" if best else "no workers: one core"
    tests = f"{work.tests} test{'s' * (work.tests != 1)} take{'s' * (work.tests == 1)}"
    if best:
        return f"{best} workers: {tests} {forecasts[best]:.1f} s with them, and {alone_s:.1f} s in one process"
    if work.tests < 2:
        return f"no workers: {tests} {alone_s:.1f} s"
    return f"no workers: {tests} {alone_s:.1f} s in one process, and {forecasts[usual]:.1f} s with {usual} workers"


def most_by_memory(budget_bytes: float, worker_bytes: float) -> int:
    """Return the number of workers for which the memory suffices.

    Examples
    --------
    >>> most_by_memory(1e9, 3e8), most_by_memory(inf, 3e8) > 1_000
    (3, True)
    """
    return int(min(budget_bytes / max(1.0, worker_bytes), 1e6)) if budget_bytes < inf else 1_000_000
