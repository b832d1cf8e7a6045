"""Ctrl-C at each line of a call in turn, for what must still work after an interrupt anywhere."""

from __future__ import annotations

import dis
import itertools
import linecache
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any


def leaves_a_with(frame: FrameType) -> bool:
    """Return True where a block has ended, and ``__exit__`` is to be called next: no signal is handled there."""
    is_with = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with ")
    return is_with and dis.opname[frame.f_code.co_code[frame.f_lasti]] == "LOAD_CONST"


def interrupts(call: Callable[[], object], *modules: ModuleType) -> Iterator[int]:
    """Call it again and again, with SIGINT at the first line in these modules, at the second, …; yield after each."""
    files = {module.__file__ for module in modules}
    for nth in itertools.count(1):
        left = nth

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if event == "line" and not leaves_a_with(frame):
                left -= 1
                if left == 0:
                    sys.settrace(None)
                    os.kill(os.getpid(), signal.SIGINT)
            return line

        def enter(frame: FrameType, event: str, _: Any) -> Any:
            return line if frame.f_code.co_filename in files else None

        before = sys.gettrace()
        try:
            sys.settrace(enter)
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if left > 0:
            return
        yield nth
