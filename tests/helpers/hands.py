"""A clock for loops in this process: it advances when a test moves its hands, and a little with each reading."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, SimpleNamespace
from typing import Any

from amorsize import backends, history, measure, plan, run
from amorsize.system import clock

TIMES = (time.perf_counter, time.thread_time, time.process_time)


class Hands:
    now_s = 1000.0
    slower = 1.0  # grows, so that no two runs take exactly as long, as on a real clock


def go_on(seconds: float) -> float:
    Hands.slower *= 1.0003
    Hands.now_s += seconds * Hands.slower
    return Hands.now_s


def read() -> float:
    return go_on(1e-7)


def spin(x: int, seconds: float = 1e-3) -> int:
    """Take so many seconds of wall and CPU time."""
    go_on(seconds)
    return x * x


@contextmanager
def virtual_time(monkeypatch: Any) -> Iterator[None]:
    """Let all loaded modules of amorsize read wall and CPU time from the hands."""
    monkeypatch.setattr(Hands, "slower", 1.0)
    # All at once: a module imported later would read the real clock, or keep the virtual one for good.
    for package in (plan, run, backends, history, measure):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    timepiece = SimpleNamespace(**{**vars(time), **{one.__name__: read for one in TIMES}})
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "amorsize":
            continue
        for key, value in list(vars(module).items()):
            if value is time:
                monkeypatch.setattr(module, key, timepiece)
            elif value in TIMES:
                monkeypatch.setattr(module, key, read)
            elif isinstance(value, FunctionType) and any(one in TIMES for one in value.__defaults__ or ()):
                defaults = tuple(read if one in TIMES else one for one in value.__defaults__)
                monkeypatch.setattr(value, "__defaults__", defaults)
    virtual = {"wall": read, "thread_cpu": read, "process_cpu": read, "counts": lambda: clock.NOTHING}
    real = {field: getattr(clock.REAL, field) for field in virtual}
    for field, reading in virtual.items():  # it is frozen, and the default of many functions
        object.__setattr__(clock.REAL, field, reading)
    try:
        yield
    finally:
        for field, reading in real.items():
            object.__setattr__(clock.REAL, field, reading)
