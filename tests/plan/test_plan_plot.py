"""The plot of a plan: the objects drawn, not their look."""

from __future__ import annotations

import sys

import pytest

from amorsize.facts import Breakdown, Forecast
from amorsize.plan.plan import Plan

pytest.importorskip("matplotlib")


def a_forecast(backend: str, workers: int, total_s: float, refused: str | None = None) -> Forecast:
    return Forecast(
        backend=backend,
        workers=workers,
        chunksize=1,
        start_method="fork" if backend == "processes" else None,
        total_s=total_s,
        low_s=0.8 * total_s,
        high_s=1.3 * total_s,
        breakdown=Breakdown(),
        refused=refused,
    )


LOOP = a_forecast("serial", 1, 1.0)
OTHERS = (a_forecast("threads", 4, 0.97), a_forecast("processes", 1, 1.1), a_forecast("threads", 2, 0.95), LOOP)


def a_plan(alternatives=OTHERS, **changes) -> Plan:
    facts = {
        "backend": "processes",
        "n_jobs": 2,
        "chunksize": 7,
        "start_method": "fork",
        "estimated_speedup": 2.0,
        "serial_s": 1.0,
        "predicted_s": 0.5,
        "predicted_interval_s": (0.4, 0.6),
        "alternatives": alternatives,
    }
    return Plan(**{**facts, **changes})


@pytest.fixture(autouse=True, scope="module")
def _fonts_are_open():
    """Open the fonts first: matplotlib keeps them open, which is no leak of a test."""
    a_plan().plot().draw_without_rendering()


def lines(plan: Plan) -> dict[str, list[tuple[float, float]]]:
    (axes,) = plan.plot().axes
    return {line.get_label(): list(zip(*map(list, line.get_data()), strict=True)) for line in axes.get_lines()}


def test_every_candidate_is_drawn_in_the_order_of_workers():
    drawn = lines(a_plan())
    assert drawn["threads"] == [(2, 0.95), (4, 0.97)]
    assert drawn["processes"] == [(1, 1.1), (2, 0.5)]
    assert {y for _, y in drawn["plain loop"]} == {1.0}


def test_the_chosen_one_is_ringed():
    assert lines(a_plan())["chosen: 500 ms"] == [(2, 0.5)]


def test_the_interval_is_shaded():
    (axes,) = a_plan().plot().axes
    low, high = axes.collections[-1].get_datalim(axes.transData).intervaly
    assert (low, high) == pytest.approx((0.4, 1.43))


def test_what_is_ruled_out_is_not_on_the_curve():
    out = a_forecast("processes", 8, 0.1, refused="not enough memory")
    drawn = lines(a_plan((*OTHERS, out)))
    assert drawn["processes, ruled out"] == [(8, 0.1)]
    assert (8, 0.1) not in drawn["processes"]


def test_wide_ranges_become_logarithmic_and_narrow_ones_do_not():
    (axes,) = a_plan().plot().axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert axes.get_ylim()[0] == 0
    (axes,) = a_plan((LOOP, a_forecast("threads", 64, 0.05)), n_jobs=61, predicted_s=0.04).plot().axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    axes.figure.draw_without_rendering()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4", "8", "16", "32", "64"]


@pytest.mark.parametrize(
    "plan",
    [
        Plan(backend="serial", n_jobs=1, chunksize=1, predicted_s=0.0, predicted_interval_s=(0.0, 0.0)),
        Plan(backend="serial", n_jobs=1, chunksize=10, serial_s=1.0, predicted_s=1.0, predicted_interval_s=(0.9, 1.1)),
        Plan(backend="threads", n_jobs=4, chunksize=1, breakdown=Breakdown(compute_s=2.0), alternatives=(LOOP,)),
    ],
    ids=["no items", "no alternatives", "unknown length"],
)
def test_sparse_plans_are_drawn_too(plan, tmp_path):
    plan.plot(str(tmp_path / "plan.png"))
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_a_plan_of_unknown_length_is_drawn_from_its_parts():
    plan = Plan(backend="threads", n_jobs=4, chunksize=1, breakdown=Breakdown(start_s=0.5, compute_s=2.0))
    assert lines(plan)["chosen: 2.5 s"] == [(4, 2.5)]


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'amorsize\[plot\]'"):
        a_plan().plot()
