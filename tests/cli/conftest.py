"""A module of functions, as a user has it in the current directory."""

from __future__ import annotations

import sys
from itertools import count

import hands
import pytest
from cli_runs import FUNCTIONS

names = count()


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """Make a module of functions in the current directory; restore the interpreter afterwards."""
    name = f"cli_functions_{next(names)}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def steady(monkeypatch):
    """Items take next to no time, though this process stands still: else other backends may be better for them."""
    with hands.virtual_time(monkeypatch):
        yield
