"""Every example runs, on a small part of its input, and prints its result."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def run(name: str, *arguments: str) -> str:
    """Return the standard output of an example that is run outside of its own folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AMORSIZE_HISTORY": "off"}
    command = [sys.executable, "-W", "error::ResourceWarning", str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_all_examples_are_tested():
    assert EXAMPLES == [
        "compress_files.py",
        "demo.py",
        "does_it_hold.py",
        "fetch_pages.py",
        "longest_functions.py",
        "opentelemetry_spans.py",
    ]


def test_demo():
    told = run("demo.py", "--limit", "20")
    assert told.startswith("20 files of the standard library")
    assert "The forecast of amorsize.optimize()" in told
    clocks = re.findall(r"^(\S.*\S) +[0-9.]+ s +([0-9]+\.[0-9]{2})   \S", told, re.MULTILINE)
    assert [name for name, _ in clocks] == ["a plain loop", "plan.pool().map", "amorsize.execute"]
    assert clocks[0][1] == "1.00"
    assert "All three ways agree." in told
    assert "a call must be worth more than" in told
    (tokens,) = re.findall(r"^([0-9,]+) tokens", told, re.MULTILINE)
    assert int(tokens.replace(",", "")) > 1000


def test_compress_files():
    told = run("compress_files.py", "--limit", "20")
    assert told.startswith("amorsize: an item takes ")
    assert re.search(r"^20 files in [0-9.]+ s: [0-9.]+ MB become [0-9.]+ \([0-9]+%\)$", told, re.MULTILINE)
    ratios = [float(ratio) for ratio in re.findall(r"^ *([0-9.]+)%  \S", told, re.MULTILINE)]
    assert len(ratios) == 5
    assert ratios == sorted(ratios)
    assert 0 < ratios[0] < 100


def test_does_it_hold():
    told = run("does_it_hold.py", "--limit", "20", "--seconds", "5")
    assert told.startswith("amorsize: ")
    # On a slow machine, as many as fit into the time.
    assert re.search(r"^  items      (all 20|[0-9]+ of 20, evenly spread), ", told, re.MULTILINE)
    assert re.search(r"^an item takes .* trials? of [0-9]+ candidates?\.$", told, re.MULTILINE)
    assert told.splitlines()[-1].startswith(("All is well.", "Something is not as it should be"))


def test_longest_functions():
    told = run("longest_functions.py", "--limit", "20")
    (functions,) = re.findall(r"^([0-9,]+) functions in 20 files; the longest:$", told, re.MULTILINE)
    assert int(functions.replace(",", "")) > 50
    lines = [int(number) for number in re.findall(r"^ *([0-9]+) lines  \w+  \(.+\.py\)$", told, re.MULTILINE)]
    assert len(lines) == 5
    assert lines == sorted(lines, reverse=True)
    assert re.search(r"^forecast [0-9.]+ s, clock [0-9.]+ s$", told, re.MULTILINE)


@pytest.mark.parametrize(("limit", "fetched", "lost"), [("20", 20, []), ("50", 48, [24, 49])])
def test_fetch_pages(limit, fetched, lost):
    told = run("fetch_pages.py", "--limit", limit)
    assert re.search(rf"^{fetched} of {limit} pages, [1-9][0-9,]+ bytes, in [0-9.]+ s$", told, re.MULTILINE)
    assert [int(page) for page in re.findall(r"^page ([0-9]+): HTTP Error 404: Not Found$", told, re.MULTILINE)] == lost
    # On a busy machine the loop may be as good.
    assert "threads, chunks of 1 should take" in told or "a plain loop" in told


def test_opentelemetry_spans():
    pytest.importorskip("opentelemetry.sdk")
    told = run("opentelemetry_spans.py", "--limit", "50")
    assert told.count('"name": "worker lost"') == 2
    assert '"amorsize.items": 50' in told
    assert told.splitlines()[-1] == "1 of 50 items failed"
