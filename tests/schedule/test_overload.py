"""Failures that come from load, and others: the sequential tests alone."""

from __future__ import annotations

import random

import pytest

from amorsize.schedule.overload import MEMORY, Case, Failures


def a_case(ended, failed, later_ended, later_failed, known=(0, 0), number=64):
    case = Case(number, last=number, awaited=ended, lowest=number, known=known)
    for k in range(ended):
        case.saw(number - k, number, k < failed)
    case.since = case.last
    for k in range(later_ended):
        case.saw(number + 1 + k, number // 2, k < later_failed)
    return case


def test_the_first_failure_raises_the_alarm():
    failures = Failures()
    assert not any(failures.saw(8, False, 8) for _ in range(100))
    assert failures.saw(8, True, 8)


def test_after_an_acquittal_failures_as_frequent_as_ever_raise_none():
    rng = random.Random(0)
    failures = Failures()
    failures.acquitted = True
    failures.count(8, 400, 20)
    alarms = 0
    for _ in range(5000):
        if failures.saw(8, rng.random() < 0.05, 8):
            alarms += 1
            failures.quiet()
    assert alarms <= 10
    assert 0.03 < failures.share < 0.07


def test_twice_as_many_failures_do():
    rng = random.Random(0)
    failures = Failures()
    failures.acquitted = True
    failures.count(8, 400, 20)
    assert any(failures.saw(8, rng.random() < 0.4, 8) for _ in range(50))


def test_what_is_known_of_smaller_numbers():
    failures = Failures()
    failures.count(8, 10, 1)
    failures.count(20, 30, 2)
    failures.count(100, 50, 40)
    assert failures.below(64) == (40, 3)
    assert failures.below(8) == (0, 0)


def test_old_items_count_less():
    failures = Failures()
    failures.count(8, MEMORY, MEMORY)
    failures.count(8, 1, 0)
    assert failures.below(1 << 20) == ((MEMORY + 1) // 2, MEMORY // 2)


@pytest.mark.parametrize(
    ("ends", "caused"),
    [
        # A third was refused, and none with half as many in flight.
        ((63, 21, 20, 0), True),
        ((7, 3, 30, 0), True),
        # As many fail as before.
        ((63, 21, 20, 7), False),
        ((63, 63, 4, 4), False),
        # It is too early to say.
        ((63, 3, 5, 0), None),
        ((7, 2, 0, 0), None),
    ],
)
def test_the_verdict(ends, caused):
    assert a_case(*ends).verdict() is caused


def test_what_fails_at_any_number_is_no_overload():
    assert a_case(63, 6, 2, 0, known=(200, 20)).verdict() is False
    assert a_case(63, 20, 20, 0, known=(200, 0)).verdict() is True


def test_the_verdict_comes_after_some_items_at_the_latest():
    assert a_case(127, 3, 128, 0, number=128).verdict() is not None


def test_for_the_test_as_many_are_in_flight_as_the_server_seemed_to_bear():
    assert a_case(63, 0, 0, 0).for_test() == 32
    assert a_case(60, 45, 0, 0).for_test() == 12
    assert a_case(63, 63, 0, 0).for_test() == 8
    assert a_case(1, 1, 0, 0, number=1).for_test() == 1


def test_a_tenth_of_the_items_may_hang():
    case = Case(10, last=10, awaited=10, lowest=10)
    for ticket in range(1, 10):
        assert not case.heard
        case.saw(ticket, 10, True)
    assert case.heard
