"""Coarse and missing clocks of CPU time."""

from __future__ import annotations

import subprocess
import sys
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import source_of
from amorsize.model.cost import OWN_THREADS
from amorsize.model.decide import Decider
from amorsize.system.clock import Clock, CpuTime

WINDOWS_TICK_S = 1 / 64


class Quantised:
    """A machine whose clocks of CPU time move by a tick of Windows, from any phase of it."""

    def __init__(self, phase: float, *, waits: float = 0.0) -> None:
        self.wall_s = self.cpu_s = phase * WINDOWS_TICK_S
        self.waits = waits
        self.clock = Clock(self.wall, self.cpu, self.cpu, cpu_tick_s=WINDOWS_TICK_S)

    def wall(self) -> float:
        return self.wall_s

    def cpu(self) -> float:
        return floor(self.cpu_s / WINDOWS_TICK_S) * WINDOWS_TICK_S

    def __call__(self, item_s: float) -> float:
        self.wall_s += item_s
        self.cpu_s += item_s * (1 - self.waits)
        return item_s


def evidence(machine: Quantised, items: list[float]) -> Decider:
    decider = Decider(len(items), indexable=True, most_cores=8)
    loop = Loop(machine, source_of(items), Outcome("raise"))
    loop.clock = machine.clock
    at = 0
    while at < len(items):
        step = min(decider.batch().items, len(items) - at)
        decider.saw(loop.run(at, at + step))
        at += step
        assert not (decider.sample().waits > 0.5 and not machine.waits)
    return decider


@pytest.mark.parametrize("phase", [k / 8 for k in range(8)])
@pytest.mark.parametrize("item_s", [0.2e-3, 2e-3, 7e-3, 40e-3])
def test_computing_items_never_look_as_if_they_waited_or_ran_threads(phase, item_s):
    """Pure Python, 200 items of 2 ms: 61 threads in 4 of 8 runs."""
    for n in (1, 3, 200):
        sample = evidence(Quantised(phase), [item_s] * n).sample()
        assert sample.waits < 0.1
        assert sample.own_threads < OWN_THREADS


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_waiting_items_look_so_as_soon_as_the_clock_can_tell(phase):
    assert evidence(Quantised(phase, waits=0.98), [5e-3] * 20).sample().waits > 0.5


def test_a_clock_that_is_not_coarse_is_believed_to_the_last_digit():
    machine = Quantised(0.0, waits=0.9)
    machine.cpu = lambda: machine.cpu_s
    machine.clock = Clock(machine.wall, machine.cpu, machine.cpu)
    assert evidence(machine, [5e-3] * 2).cpu_s == pytest.approx(1e-3)


stretches = st.lists(st.tuples(st.floats(0, 0.1), st.floats(0, 1), st.floats(0, 8)), min_size=1, max_size=40)


@settings(deadline=None)
@given(stretches, st.floats(0, 1))
def test_the_sum_is_within_a_tick_of_what_the_clocks_show(found, phase):
    cpu, wall_s, thread_s, told = CpuTime(), 0.0, phase * WINDOWS_TICK_S, 0.0
    first = shown = floor(thread_s / WINDOWS_TICK_S) * WINDOWS_TICK_S
    for stretch_s, share, _ in found:
        wall_s, thread_s = wall_s + stretch_s, thread_s + share * stretch_s
        now = floor(thread_s / WINDOWS_TICK_S) * WINDOWS_TICK_S
        one, process = cpu.of(stretch_s, now - shown, now - shown, WINDOWS_TICK_S)
        told, shown = told + one, now
        assert min(one, process) >= 0.0
        assert told <= wall_s + 1e-9
        assert told >= min(wall_s, thread_s - phase * WINDOWS_TICK_S) - 1e-9
        assert told <= shown - first + WINDOWS_TICK_S + 1e-9


WITHOUT = """
import time
{without}
import amorsize
def square(x):
    return x * x
for backend in ("auto", "serial", "threads", "processes"):
    assert amorsize.execute(square, list(range(40)), backend=backend) == [x * x for x in range(40)], backend
assert list(amorsize.stream(square, range(9))) == [x * x for x in range(9)]
# An item that stood still for a moment looks like a long one: one quiet try must do.
assert any(amorsize.optimize(square, range(9)).backend == "serial" for _ in range(5))
print("right")
"""


@pytest.mark.parametrize("without", ["del time.thread_time", "del time.thread_time, time.process_time"])
def test_a_platform_without_clocks_of_cpu_time_runs_maps(without, monkeypatch):
    """WebAssembly has none for threads."""
    monkeypatch.setenv("AMORSIZE_HISTORY", "off")
    command = [sys.executable, "-c", WITHOUT.format(without=without)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "right\n", done.stderr
