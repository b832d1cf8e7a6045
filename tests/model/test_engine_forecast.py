"""The forecast of a map on an engine."""

from __future__ import annotations

from math import log

from hypothesis import given
from hypothesis import strategies as st

from amorsize.model.engine_forecast import SPREAD, WITHIN_80, forecast, most_that_pay

facts = {
    "elapsed_s": st.floats(0.0, 10.0),
    "left": st.integers(0, 100_000),
    "places": st.integers(1, 500),
    "item_s": st.floats(1e-6, 10.0),
    "item_std_s": st.floats(0.0, 10.0),
    "seen": st.integers(1, 1000),
    "per_task_s": st.floats(1e-5, 0.1),
    "round_trip_s": st.floats(0.0, 1.0),
    "item_bytes": st.floats(0.0, 1e6),
    "bytes_per_s": st.floats(1e6, 1e10),
}


@given(**facts)
def test_its_parts_add_up_and_it_is_within_its_interval(places, **known):
    made = forecast(places=places, **known)
    parts = made.breakdown
    total = parts.start_s + parts.compute_s + parts.transfer_s + parts.dispatch_s + parts.tail_s
    assert abs(total - made.total_s) <= 1e-9 * max(1.0, total)
    assert made.low_s <= made.total_s <= made.high_s
    assert made.total_s >= known["elapsed_s"]
    assert 1 <= made.workers <= places


@given(**facts)
def test_no_map_is_faster_than_its_work_or_its_one_dispatcher(places, left, item_s, per_task_s, **known):
    made = forecast(places=places, left=left, item_s=item_s, per_task_s=per_task_s, **known)
    assert made.total_s >= left * item_s / places * 0.999
    assert made.total_s >= left / made.chunksize * per_task_s * 0.999


@given(**facts)
def test_no_map_is_faster_than_its_bytes_move(left, item_bytes, bytes_per_s, places, **known):
    moved = {"item_bytes": item_bytes, "bytes_per_s": bytes_per_s}
    made = forecast(places=places, left=left, **moved, **known)
    assert made.total_s >= left * item_bytes / bytes_per_s * 0.999
    assert made.total_s >= forecast(places=places, left=left, **known).total_s * 0.999


def test_tasks_may_have_a_size():
    known = {"elapsed_s": 0.0, "left": 1000, "places": 2, "item_s": 1e-3, "item_std_s": 0.0, "seen": 9}
    known |= {"per_task_s": 2e-3, "round_trip_s": 5e-3}
    assert forecast(**known, chunk=1).total_s > 2 * forecast(**known, chunk=50).total_s
    assert forecast(**known, chunk=50).chunksize == 50


def test_more_places_pay_until_the_dispatcher_is_busy():
    assert most_that_pay(1e-3, 50, 5e-3) == 10
    assert most_that_pay(1e-6, 1, 5e-3) == 1


KNOWN = {"elapsed_s": 0.0, "left": 1000, "places": 2, "item_s": 1e-3, "item_std_s": 0.0, "seen": 100}
KNOWN |= {"per_task_s": 50e-6, "round_trip_s": 0.0, "chunk": 50}


def width(**known):
    made = forecast(**{**KNOWN, **known})
    assert abs(log(made.high_s / made.total_s) - log(made.total_s / made.low_s)) < 1e-9
    return log(made.high_s / made.total_s) / WITHIN_80


def test_items_seen_before_the_map_had_a_spread_of_their_own():
    assert abs(width() - SPREAD) < 0.005
    assert abs(width(apart=True) - 2**0.5 * SPREAD) < 0.005


def test_costs_of_the_engine_are_less_sure_than_those_of_the_items():
    assert width(per_task_s=20e-3) > width(per_task_s=2e-3) > width()
    assert width(round_trip_s=1.0) > width(round_trip_s=0.1) > width()
