"""The search for the best number of calls in flight, against servers in virtual time."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.schedule.task_count import MOST, START, Concurrency

SERVICE_S = 0.1


class Slots:
    """A server that handles so many requests at a time; the others wait."""

    def __init__(self, hands: int, noise: random.Random | None = None) -> None:
        self.free_at = [0.0] * hands
        self.noise = noise

    def ends_at(self, now_s: float, in_flight: int) -> float:
        begins = max(now_s, heapq.heappop(self.free_at))
        ends = begins + (SERVICE_S if self.noise is None else self.noise.expovariate(1 / SERVICE_S))
        heapq.heappush(self.free_at, ends)
        return ends


class Crumbling:
    """A server whose throughput falls with each call beyond ``bears``."""

    def __init__(self, bears: int) -> None:
        self.bears = bears

    def ends_at(self, now_s: float, in_flight: int) -> float:
        return now_s + SERVICE_S * max(1.0, in_flight / self.bears) ** 2


def drive(climb, server, n_items, *, fixed=None, fails=lambda index: False):
    """Run so many items; return their seconds, and the limits meanwhile."""
    now, begun, flying, limits = 0.0, 0, [], [climb.limit]
    while begun < n_items or flying:
        while begun < n_items and len(flying) < (fixed or climb.limit):
            ticket = climb.began(now)
            heapq.heappush(flying, (server.ends_at(now, climb.in_flight), ticket, begun))
            begun += 1
        now, ticket, index = heapq.heappop(flying)
        climb.ended(ticket, now, well=not fails(index))
        if climb.limit != limits[-1]:
            limits.append(climb.limit)
    return now, limits


@pytest.mark.parametrize("hands", [1, 4, 8, 30, 64, 100, 400])
def test_a_server_that_saturates_is_kept_busy(hands):
    took, limits = drive(Concurrency(), Slots(hands), 200 * hands)
    best, _ = drive(Concurrency(), Slots(hands), 200 * hands, fixed=2 * hands)
    assert took < 1.3 * best
    assert limits[-1] <= max(4 * START, 4 * hands)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("hands", [4, 30, 100])
def test_latency_that_scatters_does_not_mislead_it(hands, seed):
    took, limits = drive(Concurrency(), Slots(hands, random.Random(seed)), 300 * hands)
    best, _ = drive(Concurrency(), Slots(hands, random.Random(seed)), 300 * hands, fixed=4 * hands)
    assert took < 1.6 * best
    assert limits[-1] <= 16 * hands


@pytest.mark.parametrize("bears", [2, 4, 16, 50])
def test_a_server_that_crumbles_is_spared(bears):
    climb = Concurrency()
    took, _ = drive(climb, Crumbling(bears), 400 * bears)
    worst, _ = drive(Concurrency(), Crumbling(bears), 400 * bears, fixed=min(MOST, 16 * bears))
    best, _ = drive(Concurrency(), Crumbling(bears), 400 * bears, fixed=bears)
    assert climb.limit <= 4 * bears
    assert took < worst / 2
    assert took < 5 * best


def test_without_a_bound_it_doubles_to_the_most():
    _, limits = drive(Concurrency(), Slots(10_000), 5_000)
    assert limits == [8, 16, 32, 64, 128, 256, 512, 1024]


def test_the_user_caps_it():
    _, limits = drive(Concurrency(20), Slots(10_000), 2_000)
    assert limits == [8, 16, 20]
    assert Concurrency(3).limit == 3


def test_errors_that_come_at_once_are_no_throughput():
    class Refusing(Slots):
        def ends_at(self, now_s, in_flight):
            self.refused = in_flight > 16
            return now_s + 1e-3 if self.refused else now_s + SERVICE_S

    server = Refusing(1)
    climb = Concurrency()
    now, flying, refused = 0.0, [], 0
    for _ in range(5000):
        while len(flying) < climb.limit:
            ticket = climb.began(now)
            ends = server.ends_at(now, climb.in_flight)
            heapq.heappush(flying, (ends, ticket, not server.refused))
        now, ticket, well = heapq.heappop(flying)
        refused += not well
        climb.ended(ticket, now, well=well)
    assert climb.limit <= 32
    assert refused < 2500


def test_a_source_that_is_slow_does_not_look_like_a_limit():
    climb = Concurrency()
    for second in range(100):
        climb.ended(climb.began(second), second + 0.5, well=True)
    assert climb.limit == START


def test_one_item_that_hangs_holds_up_nothing():
    climb = Concurrency()
    climb.began(0.0)
    _, limits = drive(climb, Slots(10_000), 5_000)
    assert max(limits) == MOST


def test_it_climbs_again_when_the_world_has_changed():
    class Recovering(Slots):
        def ends_at(self, now_s, in_flight):
            if now_s > 20.0 and len(self.free_at) < 200:
                self.free_at += [now_s] * 192
            return super().ends_at(now_s, in_flight)

    climb = Concurrency()
    drive(climb, Recovering(8), 40_000)
    assert climb.limit >= 64


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=300),
)
def test_the_limit_stays_within_bounds_whatever_happens(most, ends):
    climb = Concurrency(most)
    now, flying = 0.0, []
    for spent_s, well in ends:
        while len(flying) < climb.limit:
            flying.append(climb.began(now))
        now += spent_s
        climb.ended(flying.pop(0), now, well=well)
        assert 1 <= climb.limit <= most
        assert climb.in_flight == len(flying)
