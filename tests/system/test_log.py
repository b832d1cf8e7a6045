"""Log records: what a program that has set up `logging` gets to see, and that nothing is shown or loaded without it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import pytest
from interrupted import interrupts

import amorsize
from amorsize.system import log


def die_at_3(x: int) -> int:
    if x == 3:
        os._exit(7)
    return x


def test_a_run_tells_what_was_chosen_and_how_it_went(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "amorsize")
    amorsize.execute(abs, range(40), backend="threads", max_workers=2)
    assert [(r.name, r.levelname, getattr(r, "backend", None)) for r in caplog.records] == [
        ("amorsize.run", "INFO", "threads"),
        ("amorsize.run", "INFO", "threads"),
    ]
    assert caplog.messages[0].startswith("threads, ")
    assert caplog.messages[1].startswith("40 items in ")


def test_a_lost_worker_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    amorsize.execute(die_at_3, range(8), backend="processes", max_workers=2, on_error="collect")
    lost = [record for record in caplog.records if record.name == "amorsize.workers"]
    assert [(record.levelname, record.index) for record in lost] == [("WARNING", 3)] * 2
    assert "exit code 7" in lost[0].getMessage()


def test_a_handler_that_raises_costs_no_result(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "amorsize")

    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("a broken filter")

    logger, broken = logging.getLogger("amorsize.run"), Broken()
    logger.addFilter(broken)
    try:
        assert amorsize.execute(abs, [-1]) == [1]
    finally:
        logger.removeFilter(broken)


@pytest.mark.parametrize("loads", ["", "import logging\n"])
def test_without_a_handler_nothing_is_shown_and_nothing_is_loaded(loads: str) -> None:
    code = f"""{loads}
import sys, amorsize
from amorsize.system import log
amorsize.execute(abs, range(5))
log.warning("run", "not to be seen")
print("logging" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(bool(loads)), "")


def test_fields_become_attributes(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("run", "%d of %d", 1, 2, index=7)
    (record,) = caplog.records
    assert (record.getMessage(), record.index) == ("1 of 2", 7)


def test_an_interrupt_leaves_no_lock_of_logging_taken() -> None:
    """In the main thread, at any line; else the next look for a logger hangs in every other thread."""
    count = 0
    for nth in interrupts(lambda: log.info("run", "not to be seen"), logging, log):
        taken = threading.Thread(target=logging.getLogger, args=("amorsize",), daemon=True)
        taken.start()
        taken.join(60.0)
        assert not taken.is_alive(), nth
        count += 1
    assert count > 20
