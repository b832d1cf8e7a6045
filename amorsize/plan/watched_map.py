"""A map planned from history alone, compared with its forecast while it runs: it ends early when items are too slow.

The plan was made without a look at the items, so the first chunks test it. A loop reads the clock about once a
millisecond. A pool gets its items in batches, small ones first and two at a time, so that no worker waits for the test:

    items in a batch:  p, then as many as p workers should run in 0.2 ms, then three times as many each time

A batch is too slow if it takes more than `SURPRISE` times its forecast, noise added. Then only the batch under way
still ends. The first batch may also take the time of starting the workers. A map that is faster than forecast goes on:
its pool is already open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final, Protocol

from amorsize.history.this_process import SURPRISE

# Seconds of items between two readings of the clock in a loop.
# guess
LOOK_S: Final = 1e-3
# Noise that a loop and a pool may add, in seconds: other programs run meanwhile.
# guess
LOOP_SLACK_S: Final = 1e-3
# guess
POOL_SLACK_S: Final = 3e-3
# Times the forecast for starting workers that the first batch may take.
# guess
STARTING: Final = 1.5
# Forecast seconds of each worker in the second batch: items that take 100 times as long then take 20 ms.
SECOND_S: Final = 0.2e-3
# Times the items of the batch before.
# guess
GROWTH: Final = 3
# Items for each worker: with fewer, the first batches are the whole map.
WORTH_IT: Final = 4


class Promise(Protocol):
    """The result of ``Pool.map_async``."""

    def get(self) -> list[Any]:
        """Wait for the results and return them."""


Clock = Callable[[], float]


def loop_while(
    func: Callable[[Any], Any], data: Sequence[Any], results: list[Any], item_s: float, clock: Clock = perf_counter
) -> bool:
    """Append the results of the items while an item takes about ``item_s``; return True if all items were run.

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


def batches(n_items: int, workers: int, item_s: float) -> list[int]:
    """Return the number of items of each batch.

    Examples
    --------
    >>> batches(1000, 4, 1e-3)
    [4, 4, 12, 36, 108, 324, 512]
    >>> batches(1000, 4, 20e-6)
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
    """Append the results of a pool while it keeps to its forecast; return True if all items were run.

    Parameters
    ----------
    start : callable
        Sends items to the pool in chunks of a size (``Pool.map_async``).
    data, results
        The items, and the list that takes their results, in order.
    workers, chunksize : int
        The plan.
    item_s : float
        Forecast seconds of an item.
    total_s, start_s : float
        Forecast seconds of the whole map, and of starting the workers as a part of it.
    clock : callable
    """
    n, sent = len(data), 0
    flying: deque[Promise] = deque()
    each_s = max(total_s - start_s, 0.0) / n
    since, done, allowed_s = clock(), 0, STARTING * start_s + POOL_SLACK_S
    for number, size in enumerate(batches(n, workers, item_s)):
        # The third batch waits for the second, where this costs less than one worker's items in the second.
        most = 0 if number == 2 and item_s <= SECOND_S else 1
        while len(flying) > most:
            results.extend(flying.popleft().get())
            now = clock()
            if now - since > allowed_s + SURPRISE * each_s * (len(results) - done):
                results.extend(result for promise in flying for result in promise.get())
                return len(results) == n
            # After the first batch the workers have started.
            if not done:
                since, done, allowed_s = now, len(results), POOL_SLACK_S
        flying.append(start(data[sent : sent + size], max(1, min(chunksize, -(-size // workers)))))
        sent += size
    results.extend(result for promise in flying for result in promise.get())
    return True
