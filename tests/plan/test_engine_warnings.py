"""What a plan says of an engine that gains nothing, or that one caller cannot keep busy."""

from __future__ import annotations

from amorsize.backends.engines import Facts
from amorsize.facts import Breakdown, Forecast
from amorsize.plan.of_run import engine_warnings


def forecast(total_s, workers=2, chunksize=10):
    return Forecast(
        backend="executor",
        workers=workers,
        chunksize=chunksize,
        start_method=None,
        total_s=total_s,
        low_s=total_s,
        high_s=total_s,
        breakdown=Breakdown(compute_s=total_s),
    )


def test_an_engine_that_gains_is_not_commented_on():
    assert engine_warnings(forecast(1.0), 2.0, 1e-3, Facts(2, True, 5e-3, 1e-3)) == []


def test_one_that_loses_against_a_loop_says_so_with_its_costs():
    (told,) = engine_warnings(forecast(2.0), 1.0, 1e-3, Facts(2, True, 50e-3, 1e-3))
    assert "plain loop" in told
    assert "50 ms" in told


def test_places_beyond_those_that_the_caller_can_serve():
    (told,) = engine_warnings(forecast(1.0, workers=100), 50.0, 1e-3, Facts(100, True, 5e-3, 1e-3))
    assert "more than 10 workers would not pay" in told
