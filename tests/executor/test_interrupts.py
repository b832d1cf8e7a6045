"""What the waits of executors rest on holds after an interrupt at any line."""

from __future__ import annotations

import select
import threading

from interrupted import interrupts

from amorsize.executor import pending, wakeup


def test_after_an_interrupt_of_a_ring_the_next_one_is_heard() -> None:
    bell = wakeup.Bell()
    try:
        for nth in interrupts(bell.ring, wakeup):
            bell.ring()
            assert select.select([bell.sock], [], [], 0.0)[0], nth
            bell.hush()
            assert not select.select([bell.sock], [], [], 0.0)[0], nth
    finally:
        bell.close()


def test_an_interrupt_of_a_wait_leaves_the_condition_free() -> None:
    condition, count = pending.SteadyCondition(), 0

    def wait() -> None:
        with condition:
            condition.wait(1e-4)

    for nth in interrupts(wait, threading, pending):
        taken: list[bool] = []
        thread = threading.Thread(target=lambda: taken.append(condition.acquire(timeout=60.0)), daemon=True)  # noqa: B023
        thread.start()
        thread.join()
        assert taken == [True], nth
        condition = pending.SteadyCondition()
        count += 1
    assert count > 10
