"""Coroutines as tasks of the running event loop."""

from __future__ import annotations

import asyncio
from collections import Counter

from amorsize.backends.coroutines import Tasks
from amorsize.backends.results import Outcome
from amorsize.backends.source import source_of


def test_of_items_that_are_done_no_failures_are_kept():
    """Else a long run that retries would keep an entry for each item that ever raised."""
    runs: Counter[int] = Counter()

    async def func(x):
        runs[x] += 1
        if x % 3 == 0 and (runs[x] == 1 or x == 30):
            raise ValueError(x)
        return x

    tasks = Tasks(func, source_of(range(60)), Outcome("collect"), 4, retries=2)
    results = asyncio.run(tasks.run())
    assert [x for x in range(60) if results[x] != x] == [30]
    assert runs[0] == 2
    assert runs[30] == 3
    assert tasks.repeats.tries == {}
