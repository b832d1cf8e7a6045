"""The machine's scaling curve: the throughput of ``p`` busy processes, relative to one.

Workers burn the same few milliseconds of plain Python, first one alone, then several at once, in turn. Each round
gives a throughput; the upper quartile of the rounds counts.

Two clocks measure it. Wall time counts everything that slows the workers: cores that share their units, turbo, a limit
that no file shows, and other programs. CPU time counts only the hardware. If the two differ, there is a warning, and
probably other programs run: wall time is then true only of this moment, and CPU time is taken. But if the throughput by
wall time is less than `LIMITED` of the other while a lone worker is undisturbed, there is probably a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Final

from amorsize.facts import Scaling
from amorsize.measure.cost_cache import LIMIT, Curve
from amorsize.measure.timer import quantile, relative_spread
from amorsize.system.clock import REAL, Clock

if TYPE_CHECKING:
    from amorsize.backends.workers.team import Message, Team

# Long beside the 50-100 µs between the starts of a round's workers.
BURN_S: Final = 5e-3
# guess: beyond it the last stretch of the curve is extended
MOST_WORKERS: Final = 64
# Quantile of the rounds: other programs only lower a throughput. With the median, a quiet machine's 1.95 was measured
# as 1.6 in every third process of a busy hour, and forecasts of two processes were 20 % too long.
UNDISTURBED: Final = 0.75
# guess
LEAST_ROUNDS, MOST_ROUNDS = 3, 15
# guess: relative excess of wall time over CPU time, and difference between rounds, that is still undisturbed
DISTURBED: Final = 0.1
# Other programs on two cores leave two workers half of them, or a little less.
LIMITED: Final = 0.3

BurnOut = Callable[[int], Sequence[tuple[float, float]]]
"""Burns on this many workers at once: for each, seconds from its order to its answer, and its CPU seconds."""


def busy_counts(cores: float, physical_cores: int) -> list[int]:
    """Return the numbers of busy processes to try, rising from 2; with the physical cores, where the curve bends.

    Examples
    --------
    >>> busy_counts(2.0, 1), busy_counts(8.0, 4), busy_counts(6.0, 6), busy_counts(1.0, 1)
    ([2], [4, 8], [3, 6], [])
    """
    most = min(ceil(cores), MOST_WORKERS)
    if most < 2:
        return []
    bend = physical_cores if 1 < physical_cores < most else most // 2
    return sorted({bend, most} - {1})


def curve(burn: BurnOut, counts: Sequence[int], budget_s: float, clock: Clock = REAL) -> Curve:
    """Measure the curve at these numbers of busy processes.

    Parameters
    ----------
    burn : callable
        Burns on a number of workers at once.
    counts : sequence of int
        Rising, above 1.
    budget_s : float
        Seconds for all rounds; at least `LEAST_ROUNDS` are made.
    clock : Clock
        Measures how much of the budget is spent.
    """
    if not counts:
        return Curve(Scaling(points=((1, 1.0), (2, 1.0))))
    began = clock.wall()
    alone: list[tuple[float, float]] = []
    together: dict[int, list[Sequence[tuple[float, float]]]] = {count: [] for count in counts}
    # Each worker's first burn is slow.
    burn(counts[-1])
    while True:
        round_began = clock.wall()
        alone.append(burn(1)[0])
        for count in counts:
            together[count].append(burn(count))
        now = clock.wall()
        rounds = len(alone)
        if rounds >= MOST_ROUNDS or (rounds >= LEAST_ROUNDS and now - began + (now - round_began) > budget_s):
            return conclude(alone, together)


def conclude(alone: Sequence[tuple[float, float]], together: dict[int, list[Sequence[tuple[float, float]]]]) -> Curve:
    """Return the curve from pairs of wall and CPU seconds: of one worker alone, and of all busy workers by round.

    Examples
    --------
    Two hyper-threads of one core: each takes 1.6 times as long while both are busy.

    >>> found = conclude([(5e-3, 5e-3)] * 3, {2: [[(8e-3, 8e-3), (8e-3, 8e-3)]] * 3})
    >>> found.scaling.points, found.warnings
    (((1, 1.0), (2, 1.25)), ())
    """
    alone_wall, alone_cpu = _middle(alone)
    found: dict[int, float] = {}
    warnings: list[str] = []
    for p, rounds in together.items():
        by_wall = [_by_wall(alone_wall, burnt) for burnt in rounds]
        by_cpu = [_rates(alone_cpu, [cpu for _, cpu in burnt]) for burnt in rounds]
        wall, cpu = quantile(by_wall, UNDISTURBED), quantile(by_cpu, UNDISTURBED)
        robbed = max(_robbed(alone), _robbed([pair for burnt in rounds for pair in burnt]))
        found[p] = wall
        if robbed > DISTURBED and (_robbed(alone) > DISTURBED or wall > LIMITED * cpu):
            found[p] = cpu
            warnings.append(
                f"the machine is busy: processes waited {robbed / (1 + robbed):.0%} of their time for a core"
            )
        elif robbed > DISTURBED:
            warnings.append(f"{p} busy processes get no more done than {wall:.1f}: {LIMIT}")
        elif (uneven := relative_spread(by_wall)) > DISTURBED:
            warnings.append(f"how much {p} busy processes got done differed by ±{uneven:.0%} from round to round")
    return Curve(Scaling(points=_points(found)), tuple(warnings))


def _middle(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return quantile([wall for wall, _ in pairs], 0.5), quantile([cpu for _, cpu in pairs], 0.5)


def _robbed(pairs: Sequence[tuple[float, float]]) -> float:
    """Return by how much wall time exceeds CPU time, relative; 0 if the CPU clock is too coarse."""
    wall, cpu = _middle(pairs)
    return wall / cpu - 1 if cpu > 0 else 0.0


def _by_wall(alone_s: float, burnt: Sequence[tuple[float, float]]) -> float:
    """Return the throughput of workers at their own speeds; if they had to take turns, at most their CPU time."""
    rates = _rates(alone_s, [wall for wall, _ in burnt])
    if _robbed(burnt) <= DISTURBED:
        return rates
    return min(rates, sum(cpu for _, cpu in burnt) / max(wall for wall, _ in burnt))


def _rates(alone_s: float, burnt_s: Sequence[float]) -> float:
    return sum(alone_s / one_s if one_s > 0 else 1.0 for one_s in burnt_s)


def _points(throughputs: dict[int, float]) -> tuple[tuple[int, float], ...]:
    """Return the curve, never falling and never above the number of processes."""
    points = [(1, 1.0)]
    for p, throughput in sorted(throughputs.items()):
        points.append((p, round(min(float(p), max(points[-1][1], throughput)), 3)))
    return tuple(points)


# -- in real processes -----------------------------------------------------------------------------------------------


def burn(loops: int) -> int:
    """Compute in plain Python."""
    total = 0
    for i in range(loops):
        total += i
    return total


def measure_scaling(
    start_method: str, cores: float, physical_cores: int, budget_s: float, clock: Clock = REAL
) -> Curve:
    """Measure the curve of this machine with workers of this start method."""
    from amorsize.backends.workers import child, protocol
    from amorsize.backends.workers.team import Team

    counts = busy_counts(cores, physical_cores)
    if not counts:
        return curve(lambda _: [], counts, budget_s, clock)
    began = clock.wall()
    loops = _loops(clock)
    team = Team(child.Setup(burn), None, start_method, keep_warm=False)
    try:
        for number in range(counts[-1]):
            team.start(number)
        _answers(team, counts[-1], protocol.READY, clock)

        def burn_out(workers: int) -> list[tuple[float, float]]:
            sent_s = []
            for number in range(workers):
                sent_s.append(clock.wall())
                team.send_items(number, number, number + 1, [loops])
            return [
                (got_s - sent_s[message.worker], protocol.loads(message.parts)[0][1])
                for message, got_s in _answers(team, workers, protocol.DONE, clock)
            ]

        return curve(burn_out, counts, budget_s - (clock.wall() - began), clock)
    finally:
        team.kill()


def _answers(team: Team, expected: int, kind: int, clock: Clock) -> list[tuple[Message, float]]:
    """Wait for this many frames of a kind, and return them with their times of arrival."""
    answers: list[tuple[Message, float]] = []
    while len(answers) < expected:
        for message in team.wait(None):
            if message.kind != kind:
                raise ChildProcessError("a worker ended while it was measured")
            answers.append((message, clock.wall()))
    return answers


def _loops(clock: Clock) -> int:
    """Return how many turns of `burn` take about `BURN_S`."""
    loops, took_s = 10_000, 0.0
    for _ in range(3):
        began = clock.thread_cpu()
        burn(loops)
        took_s = max(took_s, clock.thread_cpu() - began)
    return max(1000, int(loops * BURN_S / took_s)) if took_s > 0 else 100_000
