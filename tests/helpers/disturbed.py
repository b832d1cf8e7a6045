"""Tests of what a halt of this process may spoil once: such a halt is rare, and a fault is there each time."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest


def again_if_disturbed(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test up to four times, until it holds; each time nothing of a map before is remembered."""

    @functools.wraps(test)
    def tries(*args: Any, **asked: Any) -> None:
        until_it_holds(lambda _: test(*args, **asked), range(4))

    return tries


def until_it_holds(check: Callable[[Any], Any], values: Any) -> Any:
    """Call with one value after the other until no assertion fails, and raise what the last one raises.

    The values may be time limits, each longer than the one before.
    """
    *first, last = values
    for value in first:
        forget()
        try:
            return check(value)
        except (Exception, pytest.fail.Exception):
            continue
    forget()
    return check(last)


def forget() -> None:
    """Forget what earlier maps have shown."""
    if (memory := sys.modules.get("amorsize.history.this_process")) is not None:
        memory.THIS_PROCESS.forget()
    if (table := sys.modules.get("amorsize.backends.table")) is not None:
        table._missed[0] = 0.0
