"""Signals are held over lines that must not be interrupted, and delivered to their handlers afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from amorsize.system import critical
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


def test_a_block_within_another_leaves_the_signals_to_that(handlers):
    with held_signals() as outer:
        held = {number: signal.getsignal(number) for number in outer.handlers}
        with held_signals() as inner:
            assert inner is outer
            assert {number: signal.getsignal(number) for number in held} == held
        assert {number: signal.getsignal(number) for number in held} == held
    with held_signals() as later:
        assert later is not outer
        assert later.handlers


def test_a_child_that_another_thread_forks_meanwhile_gets_the_handlers_back(handlers):
    """It would have the parent's exchanged ones for ever: its own blocks would hold nothing."""
    codes = []
    before = signal.getsignal(signal.SIGUSR1)

    def fork():
        pid = os.fork()
        if pid == 0:
            with held_signals() as held:
                is_held = signal.SIGUSR1 in held.handlers
            os._exit(0 if signal.getsignal(signal.SIGUSR1) is before and is_held else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    thread = threading.Thread(target=fork)
    with held_signals():
        thread.start()
        thread.join()
    assert codes == [0]


# -- the import lock --------------------------------------------------------------------------------------------------

INTERRUPTED = """
import _imp, importlib, os, signal, sys, threading
import amorsize.system.critical

def steps(frame, event, _):
    frame.f_trace_opcodes = True
    seen.append(event)
    if len(seen) == at:
        sys.settrace(None)
        os.kill(os.getpid(), signal.SIGINT)
    return steps

def calls(frame, event, _):
    # The context manager of the import lock.
    if frame.f_code.co_name in ("__enter__", "__exit__") and frame.f_code.co_filename.startswith("<frozen importlib"):
        frame.f_trace_opcodes = True
        return steps

def interrupted(name, load):
    sys.modules.pop(name, None)
    seen.clear()
    sys.settrace(calls)
    try:
        load()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return len(seen) >= at

def forks():
    thread = threading.Thread(target=lambda: os.waitpid(os.fork() or os._exit(0), 0), daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()

seen, at = [], 0
"""

TAKEN = (
    INTERRUPTED
    + """
def load():
    import colorsys

while not _imp.lock_held():
    at += 1
    assert interrupted("colorsys", load), "no interrupt leaves the lock taken: nothing to test"
"""
)


def in_a_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


OWED = """
import gc, sys
from amorsize.system.critical import load

seen = []
gc.callbacks.append(lambda phase, info: seen.append((phase, info["generation"])))
"""


def test_a_module_that_is_loaded_brings_no_collection_about(tmp_path):
    """Not even where the program owes one: it would visit all objects, before the first item of a map."""
    (tmp_path / "many_objects.py").write_text("many = [[at] for at in range(50_000)]")
    in_a_process(
        OWED
        + f"""
sys.path.insert(0, {str(tmp_path)!r})
# The next object beyond this many starts a collection; how many collections of each kind have run decides which.
gc.set_threshold(10_000, 1, 1)
for _ in range(3):
    gc.collect(1)
seen.clear()
assert load("many_objects")
few = [[at] for at in range(1_000)]
assert gc.isenabled() and not seen, seen
more = [[at] for at in range(20_000)]
assert seen
"""
    )


def test_objects_that_are_frozen_stay_frozen(tmp_path):
    (tmp_path / "one_more.py").write_text("many = [[at] for at in range(5_000)]")
    code = f"sys.path.insert(0, {str(tmp_path)!r})\ngc.freeze()\nbefore = gc.get_freeze_count()\nload('one_more')"
    in_a_process(OWED + code + "\nassert 1_000 < gc.get_freeze_count() <= before")


def test_an_import_lock_that_an_interrupt_left_taken_is_freed_and_another_thread_forks():
    in_a_process(TAKEN + "assert amorsize.system.critical.free_import_lock() and not _imp.lock_held() and forks()")


def test_an_import_lock_that_an_import_holds_stays_taken():
    code = """
import _imp, sys
from amorsize.system.critical import free_import_lock

class Finder:
    def find_spec(self, name, path=None, target=None):
        told.append((_imp.lock_held(), free_import_lock(), _imp.lock_held()))

told = []
sys.meta_path.insert(0, Finder())
import colorsys
assert told[0] == (True, False, True), told
"""
    in_a_process(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked")
def test_an_event_loop_forks_after_an_interrupted_import():
    code = """
import asyncio, amorsize
arguments = {"backend": "processes", "start_method": "fork", "max_workers": 2}
asyncio.run(amorsize.execute_async(abs, range(4), **arguments))
"""
    in_a_process(code + TAKEN + "assert asyncio.run(amorsize.execute_async(abs, [-1, -2], **arguments)) == [1, 2]")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked")
def test_a_fork_in_another_thread_does_not_wait_for_ever_for_the_import_lock():
    code = """
import amorsize
from amorsize.backends.workers import start
arguments = {"backend": "processes", "start_method": "fork", "max_workers": 2}
amorsize.execute(abs, range(4), **arguments)
start.LONGEST_LOOK_S = 0.1
told = []

def call():
    try:
        amorsize.execute(abs, [-1, -2], **arguments)
    except amorsize.AmorsizeError as exc:
        told.append(str(exc))
"""
    ask = """
thread = threading.Thread(target=call, daemon=True)
thread.start()
thread.join(60)
assert "import lock" in told[0], told
"""
    in_a_process(code + TAKEN + ask)


@pytest.mark.parametrize(
    "load",
    [
        "amorsize.execute",
        "amorsize.Executor",
        "amorsize.execute(abs, range(4), backend='processes', max_workers=2)",
        "amorsize.optimize(abs, range(4))",
        "amorsize.validate(abs, range(4))",
        "list(amorsize.stream(abs, range(4), backend='threads', max_workers=2))",
    ],
)
def test_an_interrupt_while_amorsize_is_loaded_does_not_leave_the_import_lock_taken(load):
    # An interrupt each process: what has been loaded is not looked for again.
    code = f"""
import amorsize
interrupted("", lambda: {load})
assert not _imp.lock_held()
print(len(seen))
"""
    steps = int(in_a_process(INTERRUPTED + "at = -1" + code))
    for at in range(1, steps, max(1, steps // 12)):
        in_a_process(INTERRUPTED + f"at = {at}" + code)


class TestLatch:
    def test_a_wait_ends_when_it_is_set(self):
        latch = critical.Latch()
        assert not latch.wait(0.0)
        setter = threading.Thread(target=latch.set)
        setter.start()
        assert latch.wait()
        setter.join()
        latch.set()
        assert latch.wait(0.0)
        assert latch.is_set

    def test_a_nudge_ends_one_wait_and_sets_nothing(self):
        latch = critical.Latch()
        nudger = threading.Thread(target=latch.nudge)
        nudger.start()
        assert not latch.wait()
        nudger.join()
        latch.nudge()
        latch.nudge()
        assert not latch.wait()
        assert not latch.wait(0.0)
        latch.nudge()
        latch.set()
        assert latch.wait()

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms here")
    def test_it_can_be_set_after_an_interrupt_of_a_wait(self):
        def handler(*_):
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, handler)
        try:
            latch = critical.Latch()
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 1e-3)
                latch.wait()
            latch.set()
            assert latch.wait()
        finally:
            signal.signal(signal.SIGALRM, before)
