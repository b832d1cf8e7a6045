"""The bar of ``progress="rich"``."""

from __future__ import annotations

import io
import logging
import threading

import pytest

pytest.importorskip("rich")
import modes
from rich.console import Console
from rich.live import Live

import amorsize
from amorsize.integrations import rich as ours


class Terminal(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")


def square(x):
    return x * x


@modes.over(modes.SERIAL, modes.THREADS, modes.PROCESSES[0])
def test_counts_every_item(run, capsys):
    assert run(square, range(60), progress="rich") == [x * x for x in range(60)]
    said = capsys.readouterr()
    assert "60/60" in said.err
    assert said.out == ""


def test_time_left_is_the_forecast():
    file = Terminal()
    bar = ours.open_display(file, 4_000, 0, "map")
    bar.show(400, 0, 2.0)
    bar.close()
    assert "400/4000" in file.getvalue()
    assert "2:00:00" in file.getvalue()
    assert "map" in file.getvalue()


@pytest.mark.parametrize("total", [None, 0, 10])
def test_without_a_forecast_or_a_total(total):
    file = Terminal()
    bar = ours.open_display(file, total, 3, "")
    bar.show(5, 2, None)
    bar.close()
    assert "2 failed" in file.getvalue()
    assert "-:--:--" in file.getvalue()


def test_it_starts_no_thread():
    before = threading.active_count()
    bar = ours.open_display(Terminal(), 10, 0, "")
    assert threading.active_count() == before
    bar.close()


def test_beside_a_display_of_the_programs_own_the_run_goes_on(caplog):
    """Some releases of rich allow one live display at a time."""
    with Live("mine", console=Console(file=io.StringIO()), auto_refresh=False), caplog.at_level(logging.ERROR):
        assert amorsize.execute(square, range(9), progress="rich") == [x * x for x in range(9)]
