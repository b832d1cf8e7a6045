"""``validate(profile=...)`` with the profilers that are packages of their own."""

from __future__ import annotations

import json

import pytest

import amorsize
from amorsize.cli.main import main


def leaf(x):
    return sum(range(20_000)) + x


def test_pyinstrument():
    pytest.importorskip("pyinstrument")
    found = amorsize.validate(leaf, range(200), max_seconds=0.2, backend="serial", profile="pyinstrument").profile
    assert "leaf" in found.text
    assert found.speedscope["profiles"]
    json.dumps(found.speedscope)


def test_line_profiler():
    pytest.importorskip("line_profiler")
    found = amorsize.validate(leaf, range(20), max_seconds=0.2, backend="serial", profile="line_profiler").profile
    assert "return sum(range(20_000)) + x" in found.text
    assert found.speedscope is None


def test_line_profiler_of_what_has_no_lines(capsys):
    pytest.importorskip("line_profiler")
    with pytest.raises(ValueError, match="written in Python"):
        amorsize.validate(abs, range(20), backend="serial", profile="line_profiler")
    assert main(["validate", "math:sqrt", "--range", "3", "--profile", "line_profiler"]) == 2
    assert capsys.readouterr().err.startswith("amorsize: --profile: 'line_profiler' shows the lines")
