"""A map that was planned without a look at its items, under watch: it ends early when they take much longer than told.

Whoever wrote the plan had only history to go by. So the first chunks are held against it. In a loop that is a look at
the clock about once a millisecond. A pool gets its items in portions, small ones first, and two at a time, so that no
worker waits for the check:

    items in a portion:  p, then what p workers should do in 0.2 ms, then three times as many each time

When one has taken longer by more than `memory.SURPRISE` times, and what noise may add, only the one that is under way
follows; the first one may also take what starting workers takes. What is faster than told is no reason to stop: the
pool is open already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final, Protocol

from amorsize.history.this_process import SURPRISE

LOOK_S: Final = 1e-3  # of items between two looks at the clock
LOOP_SLACK_S: Final = 1e-3
POOL_SLACK_S: Final = 3e-3  # for the machine's other business
STARTING: Final = 1.5  # times what starting workers was said to take
SECOND_S: Final = 0.2e-3  # of each worker, in the second portion: of what takes 100 times as long that is 20 ms
GROWTH: Final = 3
WORTH_IT: Final = 4  # items for each worker: with fewer, the first portions are the whole map


class Promise(Protocol):
    """What ``Pool.map_async`` returns."""

    def get(self) -> list[Any]:
        """Wait for the results."""


Clock = Callable[[], float]


def loop_while(
    func: Callable[[Any], Any], data: Sequence[Any], results: list[Any], item_s: float, clock: Clock = perf_counter
) -> bool:
    """Append the results of the items, as long as an item takes about ``item_s``; whether that held to the end.

    Examples
    --------
    >>> results = []
    >>> loop_while(abs, [-1, 2, -3], results, item_s=1.0), results
    (True, [1, 2, 3])
    """
    began, step = clock(), 1
    while (at := len(results)) < len(data):
        results.extend(map(func, data[at : at + step]))
        spent_s, done = clock() - began, len(results)
        if done < len(data) and spent_s > LOOP_SLACK_S + SURPRISE * item_s * done:
            return False
        step = max(1, min(2 * step, int(LOOK_S * done / max(spent_s, 1e-9))))
    return True


def portions(n_items: int, workers: int, item_s: float) -> list[int]:
    """How many items each portion has.

    Examples
    --------
    >>> portions(1000, 4, 1e-3)
    [4, 4, 12, 36, 108, 324, 512]
    >>> portions(1000, 4, 20e-6)
    [4, 40, 120, 360, 476]
    """
    found, left = [], n_items
    size = workers
    while left > 0:
        found.append(min(size, left))
        left -= found[-1]
        size = workers * max(1, round(SECOND_S / max(item_s, 1e-9))) if len(found) == 1 else size * GROWTH
    return found


def pool_while(
    start: Callable[[Sequence[Any], int], Promise],
    data: Sequence[Any],
    results: list[Any],
    *,
    workers: int,
    chunksize: int,
    item_s: float,
    total_s: float,
    start_s: float,
    clock: Clock = perf_counter,
) -> bool:
    """Append the results that a pool makes of the items, as long as it keeps up; whether that held to the end.

    Parameters
    ----------
    start : callable
        Has the pool begin with some items in chunks of that size (``Pool.map_async``).
    data, results
        The items, and where their results go, in order.
    workers, chunksize : int
        The plan.
    item_s : float
        What an item was said to take.
    total_s, start_s : float
        What the whole map was said to take, and starting the workers out of that.
    clock : callable
    """
    n, sent = len(data), 0
    flying: deque[Promise] = deque()
    each_s = max(total_s - start_s, 0.0) / n
    since, done, allowed_s = clock(), 0, STARTING * start_s + POOL_SLACK_S
    for number, size in enumerate(portions(n, workers, item_s)):
        # The third one is not sent before the second is back, where that costs less than the items of one worker in it.
        most = 0 if number == 2 and item_s <= SECOND_S else 1
        while len(flying) > most:
            results.extend(flying.popleft().get())
            now = clock()
            if now - since > allowed_s + SURPRISE * each_s * (len(results) - done):
                results.extend(result for promise in flying for result in promise.get())
                return len(results) == n
            if not done:  # from now on the workers are there
                since, done, allowed_s = now, len(results), POOL_SLACK_S
        flying.append(start(data[sent : sent + size], max(1, min(chunksize, -(-size // workers)))))
        sent += size
    results.extend(result for promise in flying for result in promise.get())
    return True
