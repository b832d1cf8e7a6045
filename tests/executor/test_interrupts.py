"""What the waits of executors rest on holds after an interrupt at any line."""

from __future__ import annotations

import select
import signal
import threading
from pathlib import Path

import pytest
from interrupted import interrupts
from programs import run_program

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


def test_an_alarm_that_raises_timeout_error_ends_a_wait_for_a_future() -> None:
    """It is the program's own, not the end of a wait."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError("the program's own")

    before = signal.signal(signal.SIGALRM, late)
    try:
        future = pending.Submitted((len, ((),), {})).future
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeoutError, match="the program's own"):
            future.result(timeout=300.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_a_byte_that_comes_after_the_answer_wakes_once_only() -> None:
    bell = wakeup.Bell()
    try:
        bell.hush()
        bell._send()
        assert select.select([bell.sock], [], [], 0.0)[0]
        bell.hush()
        assert not select.select([bell.sock], [], [], 0.0)[0]
    finally:
        bell.close()


READER = """
import itertools, os, signal, threading
import amorsize
from amorsize.testing import left_behind

def start(self, begin=threading.Thread.start):
    begin(self)
    if self.name == "amorsize-pool-reader":
        readers.append(self)
        os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    signal.alarm(240)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    readers, threading.Thread.start = [], start
    with amorsize.Pool(1) as pool:
        try:
            pool.imap(abs, itertools.count())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        readers[0].join()
    print("well")
"""


def test_an_interrupt_at_the_start_of_a_reader_ends_it(tmp_path: Path) -> None:
    """It read on, as far ahead as it may, and then waited for ever."""
    assert run_program(tmp_path, READER) == "interrupted\nwell\n"
