"""Workers that add nothing leave, and only these: the rule alone, on modelled machines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amorsize.schedule.worker_count import MAX_CHANGES, PERIOD_S, WorkerCount

MS = 1e-3


def counts(throughput: Callable[[int], float], workers: int, cores: int, periods: int = 12) -> list[int]:
    """Return the number of workers in each period: items compute, 1 ms alone, ``throughput(w)`` items a millisecond."""
    rule, now_s, found = WorkerCount(cores, cores, alone_s=MS, may_lose=True), 0.0, [workers]
    rule.begin(now_s)
    for _ in range(periods):
        now_s += 1.01 * PERIOD_S
        item_s = workers / throughput(workers) * MS
        for _ in range(4 * workers):
            n = max(1, round(PERIOD_S / item_s / 4))
            rule.saw(n, n * item_s, n * item_s)
        workers = rule.advice(workers, now_s) or workers
        found.append(workers)
    return found


@pytest.mark.parametrize("workers", [16, 64])
def test_workers_that_stall_on_memory_bandwidth_are_let_go(workers):
    """It saturates at 8 of 64 cores; the others only wait for memory, which counts as CPU time."""
    found = counts(lambda w: min(w, 8), workers, 64)
    assert 8 <= found[-1] <= 12
    assert len(set(found)) <= MAX_CHANGES


def test_hyper_threads_that_add_a_little_stay():
    """Sixteen hyper-threads of eight cores: the second one of a core adds a fifth."""
    found = counts(lambda w: min(w, 8) + 0.2 * max(0, w - 8), 16, 16)
    assert found[-1] == 16
    assert found.count(min(found)) == 1


def test_cores_that_do_not_get_in_each_others_way_keep_their_workers():
    assert set(counts(lambda w: 0.9 * w, 16, 16)) == {16}


def test_throughput_that_falls_with_more_workers_lets_go_most():
    found = counts(lambda w: min(w, 8) * (1.0 if w <= 8 else 8 / w), 32, 32)
    assert found[-1] <= 12
