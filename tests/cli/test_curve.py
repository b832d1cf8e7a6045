"""The curves in the terminal: a bar for each number of workers, as wide as the terminal, in what its encoding has."""

from __future__ import annotations

import io

import pytest
from cli_runs import run
from hypothesis import given
from hypothesis import strategies as st

from amorsize.cli import curve
from amorsize.cli.diagnostics import Diagnosis
from amorsize.cli.output import Output
from amorsize.facts import Breakdown, Forecast, Scaling
from amorsize.plan.plan import Plan
from amorsize.testing import a_machine


def forecast(backend: str, workers: int, total_s: float, **more) -> Forecast:
    method = "fork" if backend == "processes" else None
    return Forecast(
        backend=backend, workers=workers, chunksize=1, start_method=method, total_s=total_s, low_s=total_s,
        high_s=total_s, breakdown=Breakdown(), **more,
    )  # fmt: skip


def a_plan(*others: Forecast, n_jobs: int = 2, predicted_s: float | None = 2.0) -> Plan:
    return Plan(
        backend="processes", n_jobs=n_jobs, chunksize=1, start_method="fork", predicted_s=predicted_s,
        predicted_interval_s=(1.5, 2.5), alternatives=others,
    )  # fmt: skip


def terminal(encoding: str = "utf-8") -> Output:
    return Output("standard output", None, io.TextIOWrapper(io.BytesIO(), encoding=encoding))


LOOP = forecast("serial", 1, 4.0)


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_loop_comes_first_and_the_choice_is_named():
    out = forecast("threads", 2, 9.0, refused="it needs too much memory")
    lines = curve.of_plan(a_plan(forecast("processes", 1, 4.2), LOOP, out), terminal()).split("\n")
    assert lines[:3] == ["", "", "Forecast by the number of workers"]
    assert [line.split("  ")[1] for line in lines[3:]] == ["a plain loop", "1 process (fork)", "2 processes (fork)"]
    assert [line.endswith("chosen") for line in lines[3:]] == [False, False, True]
    assert lines[5].count("█") == pytest.approx(lines[4].count("█") * 2.0 / 4.2, abs=1)


def test_without_block_characters_it_is_ascii():
    told = curve.of_plan(a_plan(LOOP), terminal("ascii"))
    assert told.isascii()
    assert "###" in told
    assert "\x1b" not in told


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1e5)), min_size=1, max_size=60), st.integers(20, 300))
def test_it_is_as_wide_as_the_terminal_and_no_higher_than_a_screen(found, width):
    others = [forecast("threads", workers, total_s) for workers, total_s in dict(found).items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        for encoding in ("utf-8", "ascii"):
            lines = curve.of_plan(a_plan(LOOP, *others), terminal(encoding)).split("\n")
            # Names and figures are never cut.
            assert all(len(line) <= max(width, 56) for line in lines)
            assert len(lines) <= 3 + 2 + curve.MOST_ROWS
            assert sum(line.endswith("chosen") for line in lines) == 1


@pytest.mark.parametrize("plan", [a_plan(LOOP, predicted_s=None), a_plan()])
def test_where_nothing_can_be_compared_there_is_none(plan):
    assert curve.of_plan(plan, terminal()) == ""


def test_the_curve_of_a_machine():
    found = Diagnosis(machine=a_machine(cores=4), costs=(), scaling=Scaling(points=((1, 1.0), (2, 2.0), (4, 3.0))))
    lines = curve.of_machine(found, terminal()).split("\n")[3:]
    assert [line.split()[0] for line in lines] == ["1", "2", "4"]
    assert [line.split()[-1] for line in lines] == ["1.00", "2.00", "3.00"]
    assert lines[2].count("█") == pytest.approx(3 * lines[0].count("█"), abs=3)
    assert curve.of_machine(Diagnosis(machine=a_machine(cores=1), costs=()), terminal()) == ""


@pytest.mark.parametrize(("encoding", "marks"), [("utf-8", curve.BLOCKS.strip()), ("ascii", "#")])
def test_from_the_shell(encoding, marks, tmp_path):
    command = ["optimize", "math:factorial", "--range", "300", "--backend", "serial,processes"]
    told = run(*command, PYTHONIOENCODING=encoding, COLUMNS="60").stdout
    rows = told.partition("Forecast by the number of workers\n")[2].splitlines()
    assert len(rows) > 1
    # The bar of a loop that is much faster than the others is a part of one block.
    assert all(set(marks) & set(row) and len(row) <= 60 for row in rows)
    assert "\x1b" not in told
    # A file has no width and no lack of characters; the other formats have no curve.
    run(*command, "--output", str(tmp_path / "plan.txt"), PYTHONIOENCODING="ascii")
    assert "█" in (tmp_path / "plan.txt").read_text(encoding="utf-8")
    assert "Forecast by" not in run(*command, "--format", "markdown").stdout
