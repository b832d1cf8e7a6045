"""The bell that wakes the thread of an executor."""

from __future__ import annotations

import select

from interrupted import interrupts

from amorsize.executor import wakeup


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
