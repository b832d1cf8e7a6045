"""Items that wait, alone or between computing, or for a server that has its own limit."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from benchmarks import functions
from benchmarks.workloads.registry import AT_END, Task, register, steps_for

ROOT = Path(__file__).parent.parent.parent


@register(
    "20 × wait 50 ms", "few and long waits: the first item alone is as long as the whole map on 20 threads", "waiting"
)
def few_waits() -> Task:
    return functions.wait, [50e-3 + i * 1e-9 for i in range(20)]


@register(
    "wait 4 ms + compute 2 ms",
    "120 items that do both: many threads hide the waiting, only processes share the computing",
    "waiting",
)
def mixed() -> Task:
    return functools.partial(functions.wait_and_burn, 4e-3), steps_for([2e-3] * 120)


@register(
    "server, 8 callers at a time", "160 questions of 5 ms each: a ninth caller only waits in the queue", "waiting"
)
def server() -> Task:
    return functools.partial(functions.ask, start_server()), list(range(160))


def start_server() -> int:
    """Start `benchmarks.server` in a process of its own, until `AT_END` is closed; return its port."""
    command = [sys.executable, "-m", "benchmarks.server"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    AT_END.callback(end, process)
    assert process.stdout is not None
    return int(process.stdout.readline())


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
