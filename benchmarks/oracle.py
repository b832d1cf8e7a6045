"""The settings of the grid that are worth a run, and the winner: pure rules.

Each setting runs once, in a first pass. The winner of that pass may have had luck, so it is timed again in the rounds,
like all contenders; only these times count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.grid import POOL_CHUNKS, Setting
from benchmarks.rivals import LOOP

LIMIT_S = 6.0  # of one row's first pass
# Not run: a setting with a neighbour that took so many times the best so far, and so many seconds more. A setting of
# Pool is held against the best of Pool and the loop, since these have a winner of their own.
HOPELESS = 1.8
HOPELESS_S = 0.05
RULES = sorted(POOL_CHUNKS, key=lambda chunks: chunks or float("inf"))  # from the largest chunks to the smallest


class Found(NamedTuple):
    """The result of the first pass. Names are those of settings, or the loop's."""

    seconds: dict[str, float]
    skipped: dict[str, str]
    best: str
    best_pool: str  # among Pool's settings and the loop


def neighbours(one: Setting, other: Setting, workers: Sequence[int]) -> bool:
    """Return True if two settings of one backend differ by one step, in their workers or in their chunk rule."""
    if one.backend != other.backend:
        return False
    if one.workers == other.workers:
        return abs(RULES.index(one.chunks) - RULES.index(other.chunks)) == 1
    return one.chunks == other.chunks and abs(workers.index(one.workers) - workers.index(other.workers)) == 1


def why_not(setting: Setting, seconds: Mapping[Setting, float], best_s: float, ladder: Sequence[int]) -> str | None:
    """Return why a setting is not run: a neighbour was slow; None: run it. Only neighbours that ran count."""
    for other, took_s in seconds.items():
        if took_s > HOPELESS * best_s and took_s > best_s + HOPELESS_S and neighbours(setting, other, ladder):
            return f"{other.name} took {took_s:.3g} s, the best so far {best_s:.3g} s"
    return None


def first_pass(
    candidates: Sequence[Setting], loop_s: float, run: Callable[[Setting], float | None], limit_s: float = LIMIT_S
) -> Found:
    """Run one setting after the other until the time is up.

    Parameters
    ----------
    candidates : sequence of Setting
        Likely ones first.
    loop_s : float
        Seconds of the plain loop, which is a setting too.
    run : callable
        Runs a setting once; returns its seconds, None if it failed.
    limit_s : float
        No setting begins after this much time.
    """
    ladders = {
        backend: sorted({each.workers for each in candidates if each.backend == backend})
        for backend in ("Pool", "ThreadPool")
    }
    took: dict[Setting, float] = {}
    skipped: dict[str, str] = {}
    spent_s = 0.0
    for setting in candidates:
        rivals = [s for other, s in took.items() if setting.backend != "Pool" or other.backend == "Pool"]
        best_s = min([loop_s, *rivals])
        reason = why_not(setting, took, best_s, ladders[setting.backend])
        if spent_s > limit_s:
            reason = f"the {limit_s:.0f} s were up"
        if reason is None:
            seconds = run(setting)
            if seconds is None:
                reason = "failed"
            else:
                took[setting] = seconds
                spent_s += seconds
        if reason is not None:
            skipped[setting.name] = reason
    named = {LOOP: loop_s, **{setting.name: seconds for setting, seconds in took.items()}}
    pools = {LOOP: loop_s, **{each.name: seconds for each, seconds in took.items() if each.backend == "Pool"}}
    return Found(named, skipped, min(named, key=named.__getitem__), min(pools, key=pools.__getitem__))
