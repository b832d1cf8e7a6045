"""``"auto"`` runs a function in threads only if it is shown to be safe there; results are those of ``map``."""

from __future__ import annotations

import sqlite3
import time

import hands
import pytest
from disturbed import again_if_disturbed

import amorsize
from amorsize import options
from amorsize.measure import thread_safety
from amorsize.plan.optimize import shown_safe

N = 40
WAIT_S = 3e-3


def pause():
    time.sleep(WAIT_S)


last = 0
calls = 0


def global_scratch(x):
    global last
    last = x
    pause()
    return last


def global_counter(x):
    global calls
    before = calls
    pause()
    calls = before + 1
    return calls


def shared_buffer():
    buffer = bytearray(8)

    def fill(x):
        buffer[:] = b"%8d" % x
        pause()
        return bytes(buffer)

    return fill


def nonlocal_sum():
    total = 0

    def add(x):
        nonlocal total
        now = total
        pause()
        total = now + x
        return total

    return add


def mutable_default():
    def keep(x, found=[]):  # noqa: B006
        found.append(x)
        pause()
        return found[-1], len(found)

    return keep


class Holder:
    def __init__(self):
        self.item = None
        self.connection = sqlite3.connect(":memory:")

    def scratch(self, x):
        self.item = x
        pause()
        return self.item * 2

    def ask(self, x):
        pause()
        return self.connection.execute("select ?", (x,)).fetchone()


def global_counter_anew():
    global calls
    calls = 0
    return global_counter


def safe(x):
    found = [x]
    pause()
    found.append(x)
    return found


WRONG = {
    "global": lambda: global_scratch,
    "counter": global_counter_anew,
    "buffer": shared_buffer,
    "nonlocal": nonlocal_sum,
    "default": mutable_default,
    "method": lambda: Holder().scratch,
    "connection": lambda: Holder().ask,
}


@pytest.mark.parametrize("name", WRONG)
@again_if_disturbed
def test_what_is_right_in_a_loop_is_right_under_auto(name):
    results, plan = amorsize.execute(WRONG[name](), range(N), return_plan=True)
    said = [text for text in plan.warnings if "safe in threads" in text]
    if plan.backend == "processes" and not said:
        pytest.skip("the machine is too busy: threads were not about to be tried")
    assert results == list(map(WRONG[name](), range(N)))
    assert plan.backend != "threads"
    if said:
        assert "func is not shown to be safe in threads" in said[0]
        assert "backend='threads'" in said[0]


def test_a_stream_is_right_too():
    assert list(amorsize.stream(global_scratch, range(N))) == list(range(N))


@again_if_disturbed
def test_safe_functions_keep_their_threads():
    plan = amorsize.execute(safe, range(100), return_plan=True)[1]
    assert plan.backend == "threads"
    assert not plan.warnings


def test_plans_leave_threads_out():
    for data in (range(100), iter(range(100))):
        plan = amorsize.optimize(global_scratch, data)
        assert plan.backend != "threads"
        # On a busy machine another backend may have been better anyway.
        assert all("writes the global `last`" in text for text in plan.warnings if "safe in threads" in text)
    assert amorsize.optimize(global_counter, range(100)).backend != "threads"


def test_backends_that_may_not_run_a_function_are_left_out():
    request = options.check(global_scratch, range(9))
    left, why = shown_safe(request, None)
    assert left.backends == ("serial", "processes")
    assert "writes the global `last`" in str(why)
    assert shown_safe(options.check(global_counter, range(9)), None)[0].backends == ("serial",)
    for named in (options.check(safe, range(9)), options.check(global_scratch, range(9), backend="threads")):
        assert shown_safe(named, None) == (named, None)


def test_trials_leave_threads_out():
    plan = amorsize.tune(global_scratch, range(30), max_seconds=0.5)
    assert plan.backend != "threads"
    assert not any(trial.backend == "threads" for trial in plan.trials)
    found = amorsize.validate(global_scratch, range(30), max_seconds=0.5, rounds=1)
    assert "writes the global `last`" in found["threads"].why_not


@pytest.mark.parametrize("backend", ["threads", ("serial", "threads"), ("serial", "threads", "processes")])
def test_to_name_threads_is_the_users_word(backend, monkeypatch):
    def refuse(*_):
        raise AssertionError("func was looked at")

    monkeypatch.setattr(thread_safety, "look", refuse)
    plan = amorsize.execute(global_scratch, range(100), backend=backend, return_plan=True)[1]
    assert plan.backend in backend
    assert amorsize.optimize(global_scratch, range(100), backend=backend).backend in backend


def test_a_short_map_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(thread_safety, "look", lambda *_: pytest.fail("threads were not about to be tried"))
    with hands.virtual_time(monkeypatch):
        assert amorsize.execute(abs, range(-1000, 0)) == list(range(1000, 0, -1))
