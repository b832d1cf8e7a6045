"""Plans as text: units, the sentence of the reason, the lines of explain()."""

from __future__ import annotations

import pytest

from amorsize.facts import Breakdown, Forecast, Sample
from amorsize.plan import plan_text
from amorsize.plan.plan import Plan


def a_forecast(
    backend="processes", workers=2, total_s=0.5, *, start_s=0.01, chunksize=5, start_method=None, refused=None
) -> Forecast:
    return Forecast(
        backend=backend,
        workers=workers,
        chunksize=chunksize,
        start_method=start_method or ("fork" if backend == "processes" else None),
        total_s=total_s,
        low_s=0.9 * total_s,
        high_s=1.1 * total_s,
        breakdown=Breakdown(start_s=start_s, compute_s=total_s - start_s),
        refused=refused,
    )


LOOP = a_forecast("serial", 1, 1.0, start_s=0.0, chunksize=1000)
COMPUTES = Sample(n_sampled=7, item_s=1e-3, item_cpu_s=1e-3, item_std_s=2e-4, result_bytes=30.0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "unknown"),
        (0.0, "0 s"),
        (3.14e-9, "3.14 ns"),
        (1e-6, "1 µs"),
        (1e-3, "1 ms"),
        (1.0, "1 s"),
        (-0.25, "-250 ms"),
        (123.456, "123 s"),
        (0.9999, "1 s"),
        (999.7e-6, "1 ms"),
        (4321.0, "4,320 s"),
    ],
)
def test_a_duration_has_three_digits_and_a_fitting_unit(value, words):
    assert plan_text.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "none"), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e6, "2.5 MB"), (3e12, "3.0 TB")],
)
def test_a_size_has_a_fitting_unit(value, words):
    assert plan_text.size(value) == words


def test_a_candidate_is_described_with_all_that_one_must_set():
    assert plan_text.describe(LOOP) == "a plain loop"
    assert plan_text.describe(a_forecast(workers=1)) == "1 process (fork), chunks of 5"
    assert plan_text.describe(a_forecast("threads", 64)) == "64 threads, chunks of 5"
    assert plan_text.describe(a_forecast("executor", 3)) == "3 workers, chunks of 5"


def test_the_sentence_tells_the_gain():
    best = a_forecast(total_s=0.5)
    said = plan_text.reason(best, LOOP, [LOOP], COMPUTES, known=True)
    assert said == (
        "an item takes 1 ms: 2 processes (fork), chunks of 5 should take 500 ms in all, 2.0 times as fast as the loop"
    )


def test_no_totals_are_given_if_the_number_of_items_is_unknown():
    said = plan_text.reason(a_forecast(total_s=0.5), LOOP, [LOOP], COMPUTES, known=False)
    assert "2.0 times as fast as the loop" in said
    assert "in all" not in said
    assert "500 ms" not in said


def test_waiting_is_told_of():
    waits = Sample(n_sampled=3, item_s=10e-3, item_cpu_s=1e-3)
    assert "90% of it waiting" in plan_text.reason(a_forecast("threads", 8), LOOP, [], waits, known=True)
    assert "waiting" not in plan_text.reason(a_forecast("threads", 8), LOOP, [], COMPUTES, known=True)


def test_a_plain_loop_is_best_where_nothing_beats_it_by_a_margin():
    said = plan_text.reason(LOOP, LOOP, [a_forecast(total_s=0.95, start_s=0.4)], COMPUTES, known=True)
    assert "would not beat by a margin (950 ms, of which 400 ms to start)" in said


@pytest.mark.parametrize(
    ("alternatives", "sample", "why"),
    [
        ([], COMPUTES, "nothing else was worth looking at"),
        ([a_forecast(refused="not enough memory")], COMPUTES, "nothing else can run here (not enough memory)"),
        ([a_forecast(workers=1), a_forecast("threads", 1)], COMPUTES, "one worker alone gains nothing"),
        (
            [a_forecast(total_s=0.95)],
            Sample(n_sampled=3, item_s=1e-3, item_cpu_s=1e-3, own_threads=1.9),
            "the function already runs threads of its own",
        ),
    ],
)
def test_why_it_is_a_plain_loop(alternatives, sample, why):
    assert why in plan_text.reason(LOOP, LOOP, alternatives, sample, known=True)


def a_plan(**changes) -> Plan:
    facts = {
        "backend": "processes",
        "n_jobs": 2,
        "chunksize": 5,
        "start_method": "fork",
        "estimated_speedup": 2.0,
        "serial_s": 1.0,
        "predicted_s": 0.5,
        "predicted_interval_s": (0.45, 0.55),
        "reason": "since it is so",
        "alternatives": (
            a_forecast("threads", 2, 1.1),
            a_forecast("threads", 4, 1.2),
            a_forecast(workers=8, total_s=0.2, refused="8 workers would want 9.0 GB"),
            LOOP,
        ),
        "breakdown": Breakdown(start_s=0.02, compute_s=0.48),
        "sample": COMPUTES,
    }
    return Plan(**{**facts, **changes})


def lines(plan: Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in plan.explain().splitlines()[2:]:
        name, _, rest = line.strip().partition(" ")
        found.setdefault(name, []).append(rest.strip())
    return found


def test_explain_tells_everything():
    plan = a_plan(warnings=("the machine is busy", "fork was passed over"))
    assert plan.explain().startswith("amorsize: since it is so.\n")
    assert str(plan) == plan.explain()
    told = lines(plan)
    assert told["plan"] == ["backend processes, n_jobs 2, chunksize 5, start method fork"]
    assert told["forecast"] == ["500 ms (80 %: 450 ms to 550 ms)"]
    assert told["loop"] == ["1 s, speedup 2.00"]
    assert told["of"] == ["which   start 20 ms, compute 480 ms"]
    assert told["sample"] == ["7 items, 1 ms each (±200 µs), CPU 1 ms, result 30 B pickled"]
    assert told["warning"] == ["the machine is busy", "fork was passed over"]


def test_explain_shows_the_best_of_each_rejected_backend_and_why():
    assert lines(a_plan())["rejected"] == [
        "2 threads, chunks of 5: 1.1 s",
        "8 processes (fork), chunks of 5: 200 ms (8 workers would want 9.0 GB)",
        "a plain loop: 1 s",
    ]


def test_explain_makes_up_no_forecast():
    unknown = dict.fromkeys(("predicted_s", "predicted_interval_s", "serial_s", "estimated_speedup", "sample"))
    told = lines(a_plan(**unknown))
    assert set(told) == {"plan", "rejected"}


def test_what_else_the_sample_told():
    sample = Sample(n_sampled=1, item_s=1e-3, first_call_s=2.0, gil_held=0.25, result_bytes=2e6)
    (said,) = lines(a_plan(sample=sample))["sample"]
    assert "1 item," in said
    assert "first call 2 s more" in said
    assert "holds the GIL 25% of the time" in said
    assert "result 2.0 MB pickled" in said


@pytest.mark.parametrize(
    ("plan", "failed", "said"),
    [
        (a_plan(backend="serial", n_jobs=1, start_method=None), 0, "3 items in 523 ms by a plain loop"),
        (a_plan(), 0, "3 items in 523 ms by 2 processes (fork); a plain loop would take 1 s"),
        (a_plan(serial_s=0.0), 0, "3 items in 523 ms by 2 processes (fork)"),
        (a_plan(serial_s=None), 1, "3 items in 523 ms by 2 processes (fork); 1 item failed"),
    ],
)
def test_the_summary_of_a_run(plan, failed, said):
    assert plan_text.summary(plan, 3, 0.523, failed) == said
