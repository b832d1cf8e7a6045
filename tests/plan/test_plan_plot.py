"""The plot of a plan: the objects drawn, not their look."""

from __future__ import annotations

import sys

import pytest

import amorsize
from amorsize.events import ChunkDone, RunFinished, RunStarted, WorkerLost, WorkerRetired, WorkerStarted
from amorsize.facts import Breakdown, Forecast, Trial
from amorsize.plan.drawing import INK
from amorsize.plan.plan import Plan
from amorsize.plan.plan_lanes import MOST_LANES, lanes_of
from amorsize.plan.plan_plot import PARTS, STYLES, words
from amorsize.testing import a_machine

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
    axes = plan.plot().axes[0]
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
    with pytest.raises(ImportError, match=r"pip install 'amorsize\[plot\]'") as caught:
        a_plan().plot()
    assert len(caught.traceback) == 1


def test_the_usable_cores_are_marked():
    assert {x for x, _ in lines(a_plan(machine=a_machine(cores=4)))["4 usable cores"]} == {4}
    assert not [name for name in lines(a_plan()) if "usable" in name]


def test_what_was_measured_is_drawn():
    trial = Trial(
        backend="processes", workers=4, chunksize=1, items=10, seconds=0.1, forecast_s=0.1, total_s=0.7, rung=0
    )
    assert lines(a_plan(trials=(trial,), took_s=0.55))["measured"] == [(4, 0.7), (2, 0.55)]


def test_the_chosen_one_has_its_interval():
    axes = a_plan().plot().axes[0]
    (bar,) = (box for box in axes.containers if box.get_label() == "80 % interval")
    (segment,) = bar.lines[2][0].get_segments()
    assert [tuple(map(float, point)) for point in segment] == [(2, pytest.approx(0.4)), (2, pytest.approx(0.6))]


def parts_of(plan: Plan) -> dict[str, list[float]]:
    """Return the widths of the bars, by part, from the top."""
    axes = plan.plot().axes[1]
    return {box.get_label(): [round(float(bar.get_width()), 9) for bar in box] for box in axes.containers}


def test_the_parts_of_the_best_of_each_backend_are_drawn_beneath():
    chosen = Breakdown(start_s=0.1, compute_s=0.3, tail_s=0.1)
    loop = Forecast(**{**vars(LOOP), "breakdown": Breakdown(compute_s=1.0)})
    plan = a_plan((loop, *OTHERS), breakdown=chosen)
    assert parts_of(plan) == {"compute": [0.3, 1.0], "start": [0.1, 0.0], "tail": [0.1, 0.0]}
    labels = [label.get_text() for label in plan.plot().axes[1].get_yticklabels()]
    assert labels == ["2 processes (fork)", "a plain loop"]


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.1)."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def test_nothing_is_told_by_colour_alone():
    assert len({style.marker for style in STYLES.values()}) == len(STYLES)
    assert len({style.line for style in STYLES.values()}) == len(STYLES)
    assert len({hatch for _, hatch in PARTS.values()}) == len(PARTS)
    # Threads and processes, the most common pair, differ in grey as well.
    assert luminance(STYLES["threads"].colour) > 2 * luminance(STYLES["processes"].colour)
    assert luminance(INK) < 0.02


def test_a_narrow_picture_has_its_legends_below():
    from amorsize.plan.plan_plot import plot_plan

    figure = plot_plan(a_plan(breakdown=Breakdown(compute_s=1.0)), narrow=True)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_legend().get_window_extent().y1 < axes.get_window_extent().y0
    assert figure.get_tightbbox().x1 <= figure.get_figwidth() + 0.05


def test_the_picture_has_words():
    assert words(a_plan(took_s=0.55)) == (
        "Forecast against the number of workers. Chosen: 2 processes (fork), chunks of 7, 500 ms. The best of the "
        "others: 4 threads, chunks of 1, 970 ms. Measured: 550 ms, 1.10 times the forecast, within its interval."
    )


def test_there_is_no_forecast_of_no_seconds():
    plan = a_plan((), predicted_s=None, predicted_interval_s=None)
    assert words(plan) == "Forecast against the number of workers. Chosen: 2 processes (fork), chunks of 7."
    assert not any(name.startswith("chosen") for name in lines(plan))


def events():
    """Return the events of a run: the caller, then two workers, of which one is lost and another comes instead."""
    chunk = {"items": 5, "cpu_s": 0.1}
    return [
        RunStarted(at_s=0.0, items=40),
        ChunkDone(at_s=0.2, worker=None, start=0, failed=0, wall_s=0.2, **chunk),
        WorkerStarted(at_s=0.3, worker=0, pid=10),
        WorkerStarted(at_s=0.3, worker=1, pid=11),
        ChunkDone(at_s=0.6, worker=0, start=5, failed=0, wall_s=0.2, **chunk),
        ChunkDone(at_s=0.7, worker=1, start=10, failed=1, wall_s=0.3, **chunk),
        # Reported together: it cannot have run in the time of the one before.
        ChunkDone(at_s=0.9, worker=0, start=15, failed=0, wall_s=0.4, **chunk),
        WorkerLost(at_s=1.0, worker=1, index=20, exitcode=None, signal=9, oom=False),
        WorkerStarted(at_s=1.1, worker=2, pid=12),
        WorkerRetired(at_s=1.2, worker=0),
        RunFinished(at_s=2.0, items=40, failed=0),
    ]


def near(spans):
    return [(pytest.approx(begin), pytest.approx(end)) for begin, end in spans]


def test_lanes_hold_chunks_waits_and_losses():
    caller, first, second, third = lanes_of(events())
    assert (caller.worker, list(caller.chunks), caller.lost_s) == (None, near([(0.0, 0.2)]), None)
    assert list(first.chunks) == near([(0.4, 0.9)])
    assert (first.began_s, first.ended_s) == (0.3, 1.2)
    assert first.waited_s == pytest.approx(0.4)
    assert (second.chunks, list(second.failed), second.lost_s) == ((), near([(0.4, 0.7)]), 1.0)
    assert (third.worker, third.chunks, third.began_s, third.ended_s) == (2, (), 1.1, 2.0)


def test_no_events_no_lanes():
    assert lanes_of([]) == []
    assert lanes_of([RunStarted(at_s=0.0, items=0)]) == []
    assert len(a_plan().plot(events=[]).axes) == 1


def test_the_lanes_are_drawn():
    axes = a_plan(breakdown=Breakdown(compute_s=1.0)).plot(events=iter(events())).axes[-1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["caller", "worker 0", "worker 1", "worker 2"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["waits", "chunks", "chunks with a failed item", "lost"]
    (cross,) = axes.get_lines()
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([1.0], [1])


def test_lanes_beyond_a_page_are_counted():
    many = [WorkerStarted(at_s=0.1, worker=number, pid=None) for number in range(MOST_LANES + 3)]
    axes = a_plan().plot(events=many).axes[-1]
    assert axes.get_title(loc="left") == "what each worker did; 3 more are not shown"
    assert len(axes.get_yticklabels()) == MOST_LANES


def test_the_events_of_a_real_run_fill_the_lanes():
    found = []
    _, plan = amorsize.execute(
        str, range(500), backend="processes", max_workers=1, on_event=found.append, return_plan=True
    )
    lanes = lanes_of(found)
    assert [lane.worker is None for lane in lanes] == [False] * len(lanes)
    assert sum(len(lane.chunks) for lane in lanes) > 0
    assert all(lane.began_s <= begin <= end <= lane.ended_s for lane in lanes for begin, end in lane.chunks)
    assert len(plan.plot(events=found).axes) >= 2
