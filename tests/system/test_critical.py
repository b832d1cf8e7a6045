"""Signals are held over lines that must not be interrupted, and delivered to their handlers afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from amorsize.system.critical import held_signals

# ruff: noqa: PT012  (what happens within the block before its end raises is what is tested)
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals here")


class FromHandlerError(Exception):
    pass


@pytest.fixture
def handlers():
    """Two handlers that raise, and what they were before."""
    came = []

    def one(number, frame):
        came.append(number)
        raise FromHandlerError(number)

    before = {number: signal.signal(number, one) for number in (signal.SIGUSR1, signal.SIGALRM)}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number=signal.SIGUSR1):
    os.kill(os.getpid(), number)


def test_a_signal_waits_and_its_handlers_own_exception_comes_at_the_end(handlers):
    reached = []
    with pytest.raises(FromHandlerError), held_signals():
        send()
        reached.append("after the signal")
        assert handlers == []
    assert reached
    assert handlers == [signal.SIGUSR1]


def test_the_handlers_are_as_they_were(handlers):
    before = [signal.getsignal(n) for n in signal.valid_signals()]
    with held_signals():
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert [signal.getsignal(n) for n in signal.valid_signals()] == before


def test_ctrl_c_is_a_keyboard_interrupt_at_the_end():
    with pytest.raises(KeyboardInterrupt), held_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.getpid()


def test_nested_blocks_hand_on_only_at_the_outermost_end(handlers):
    with pytest.raises(FromHandlerError), held_signals():
        with held_signals():
            send()
        assert handlers == []
    assert handlers == [signal.SIGUSR1]


def test_all_handlers_are_back_though_one_of_them_raises(handlers):
    before = [signal.getsignal(n) for n in signal.valid_signals()]
    with pytest.raises(FromHandlerError), held_signals():
        send(signal.SIGUSR1)
        send(signal.SIGALRM)
    assert [signal.getsignal(n) for n in signal.valid_signals()] == before


def test_an_exception_of_the_block_is_the_context_of_what_the_handler_raises(handlers):
    with pytest.raises(FromHandlerError) as caught, held_signals():
        send()
        raise ValueError("from the block")
    assert isinstance(caught.value.__context__, ValueError)


def test_beside_other_threads_it_holds_as_well(handlers):
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(FromHandlerError), held_signals():
            send()
            assert handlers == []
    finally:
        done.set()
        thread.join()


def test_another_thread_holds_nothing_and_may_not_set_handlers(handlers):
    seen = []

    def work():
        with held_signals() as held:
            seen.append(dict(held.handlers))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{}]


def test_ignored_and_default_signals_stay_so():
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with held_signals() as held:
            assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
            assert signal.SIGUSR2 not in held.handlers
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_forked_child_gets_its_handlers_back_without_the_parents_signals(handlers):
    with held_signals() as held:
        pid = os.fork()
        if pid == 0:
            held.put_back()
            os._exit(0 if signal.getsignal(signal.SIGUSR1) not in (None, signal.SIG_DFL) and not handlers else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
