"""The search for the best number of calls in flight, against servers in virtual time."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.schedule.task_count import MOST, START, Concurrency
from tests.helpers.virtual_server import Server, best, drive

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


def run(climb, server, n_items, *, fixed=None, fails=lambda index: False):
    """Run so many items; return their seconds, and the limits meanwhile."""
    now, begun, flying, limits = 0.0, 0, [], [climb.limit]
    while begun < n_items or flying:
        while begun < n_items and (len(flying) < fixed if fixed else climb.wait_s(now) == 0.0):
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
    took, limits = run(Concurrency(), Slots(hands), 200 * hands)
    best, _ = run(Concurrency(), Slots(hands), 200 * hands, fixed=2 * hands)
    assert took < 1.3 * best
    assert limits[-1] <= max(4 * START, 4 * hands)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("hands", [4, 30, 100])
def test_latency_that_scatters_does_not_mislead_it(hands, seed):
    took, limits = run(Concurrency(), Slots(hands, random.Random(seed)), 300 * hands)
    best, _ = run(Concurrency(), Slots(hands, random.Random(seed)), 300 * hands, fixed=4 * hands)
    assert took < 1.6 * best
    assert limits[-1] <= 16 * hands


@pytest.mark.parametrize("bears", [2, 4, 16, 50])
def test_a_server_that_crumbles_is_spared(bears):
    climb = Concurrency()
    took, _ = run(climb, Crumbling(bears), 400 * bears)
    worst, _ = run(Concurrency(), Crumbling(bears), 400 * bears, fixed=min(MOST, 16 * bears))
    best, _ = run(Concurrency(), Crumbling(bears), 400 * bears, fixed=bears)
    assert climb.limit <= 4 * bears
    assert took < worst / 2
    assert took < 5 * best


def test_without_a_bound_it_doubles_to_the_most():
    _, limits = run(Concurrency(), Slots(10_000), 5_000)
    assert limits == [8, 16, 32, 64, 128, 256, 512, 1024]


def test_the_user_caps_it():
    _, limits = run(Concurrency(20), Slots(10_000), 2_000)
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
    _, limits = run(climb, Slots(10_000), 5_000)
    assert max(limits) == MOST


def test_it_climbs_again_when_the_world_has_changed():
    class Recovering(Slots):
        def ends_at(self, now_s, in_flight):
            if now_s > 20.0 and len(self.free_at) < 200:
                self.free_at += [now_s] * 192
            return super().ends_at(now_s, in_flight)

    climb = Concurrency()
    run(climb, Recovering(8), 40_000)
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


# -- servers of all kinds: failures, and seconds over the best fixed count -------------------------------------------


def uneven(rng):
    return rng.uniform(0.7, 1.3)


def scattered(rng):
    return rng.expovariate(1.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "server",
    [
        Server(serves=40, bears=120),
        Server(serves=40, bears=120, noise=uneven),
        Server(serves=40, bears=120, noise=uneven, travel_s=5e-3),
        Server(serves=40, bears=120, noise=uneven, travel_s=1e-3, service_s=5e-3),
    ],
    ids=["even", "uneven", "far", "quick"],
)
def test_a_server_that_refuses_is_spared_at_hardly_any_cost(server, seed):
    """The best of fixed counts knows the server; of every 100 calls at most one may be refused, and none is lost."""
    least_s, _ = best(server, 800, counts=[40, 48, 64])
    ran = drive(Concurrency(), server, 800, seed=seed)
    assert ran.failed <= 8
    assert ran.took_s <= 1.15 * least_s
    again = drive(Concurrency(), server, 800, seed=seed, retries=1)
    assert again.lost == 0
    assert again.took_s <= 1.15 * least_s


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("server", "n_items", "failing", "slower"),
    [
        # No queue: the first refusal is the first sign.
        (Server(serves=40, bears=40, noise=uneven), 4000, 0.015, 1.25),
        (Server(serves=6, bears=10, noise=uneven), 400, 0.02, 1.15),
        (Server(serves=2, bears=4, noise=uneven), 400, 0.02, 1.15),
        (Server(serves=200, bears=220, noise=uneven), 4000, 0.02, 1.4),
        # Calls that scatter, and a first one that is slow.
        (Server(serves=40, bears=120, noise=scattered), 4000, 0.01, 1.3),
        (Server(serves=40, bears=120, noise=uneven, cold=(8, 5.0)), 2000, 0.01, 1.25),
        # A queue without end, a server that slows down, and calls that are given up.
        (Server(serves=40, noise=uneven), 2000, 0.0, 1.2),
        (Server(serves=40, noise=uneven, patience_s=0.15), 4000, 0.015, 1.25),
        (Server(crumbles=20, noise=uneven), 2000, 0.0, 1.5),
        # The capacity falls to a quarter, and recovers.
        (Server(serves=40, bears=120, noise=uneven, later=[(1.0, 10, 30), (3.0, 40, 120)]), 4000, 0.02, 1.2),
        (Server(serves=40, noise=uneven, later=[(1.0, 10, 1 << 30), (3.0, 40, 1 << 30)]), 4000, 0.0, 1.2),
        # So many calls a second.
        (Server(per_s=400, noise=uneven), 2000, 0.03, 1.0),
    ],
    ids=[
        "no queue",
        "few",
        "fewer",
        "many",
        "scattered",
        "cold",
        "queue",
        "given up",
        "crumbles",
        "falls",
        "falls, queue",
        "rate",
    ],
)
def test_servers_that_differ(server, n_items, failing, slower, seed):
    least_s, _ = best(server, n_items, counts=[2, 4, 8, 20, 40, 64, 200])
    ran = drive(Concurrency(), server, n_items, seed=seed)
    assert ran.failed <= failing * n_items
    assert ran.took_s <= slower * least_s
    assert drive(Concurrency(), server, n_items, seed=seed, retries=20).lost == 0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("faulty", "slower"), [(0.002, 1.5), (0.01, 2.5), (0.05, 2.5), (0.4, 2.0), (1.0, 2.0)])
@pytest.mark.parametrize("at_once", [False, True])
def test_failures_that_load_does_not_cause_cost_a_bounded_time(faulty, slower, at_once, seed):
    """An item that fails may cost as much time as a good one, and some latencies until its cause is known."""
    well_s = drive(Concurrency(), Server(noise=uneven), 6000, seed=seed).took_s
    ran = drive(Concurrency(), Server(noise=uneven, faulty=faulty, faulty_at_once=at_once), 6000, seed=seed)
    assert ran.took_s <= slower * well_s
    assert ran.most >= 512


@pytest.mark.parametrize("index", [0, 3, 100, 1000])
def test_one_item_that_always_fails_costs_next_to_nothing(index):
    took, limits = run(Concurrency(), Slots(10_000), 10_000, fails=lambda at: at == index)
    best_s, _ = run(Concurrency(), Slots(10_000), 10_000)
    assert took <= best_s + 4 * SERVICE_S
    assert limits[-1] == MOST


def test_a_failure_keeps_its_place_as_long_as_a_success_would():
    climb = Concurrency(2)
    first, second = climb.began(0.0), climb.began(0.0)
    climb.ended(first, 1.0, well=True)
    climb.began(1.0)
    climb.ended(second, 1.0, well=True)
    refused = climb.began(1.0)
    climb.ended(refused, 1.1, well=False)
    assert climb.wait_s(1.1) is not None
    assert climb.wait_s(1.1) > 0.0
    assert climb.wait_s(2.1) in (0.0, None)


def test_many_failures_at_once_halve_it_once():
    climb = Concurrency()
    now = 0.0
    while climb.limit < 64:
        tickets = [climb.began(now) for _ in range(climb.limit)]
        now += 1.0
        for ticket in tickets:
            climb.ended(ticket, now, well=True)
    tickets = [climb.began(now) for _ in range(64)]
    for ticket in tickets[:20]:
        climb.ended(ticket, now + 0.1, well=False)
        assert climb.limit == 32


def test_a_cancelled_item_says_nothing():
    climb = Concurrency()
    for _ in range(100):
        climb.dropped(climb.began(0.0))
    assert climb.limit == START
    assert climb.in_flight == 0


def test_a_forecast_is_reached_in_no_time_but_not_at_once():
    climb = Concurrency(256, alone_s=1.0, sure=64)
    now, seen = 0.0, []
    while climb.limit < 64:
        while (wait_s := climb.wait_s(now)) == 0.0:
            climb.began(now)
        if climb.limit < 64:
            now += wait_s
        seen.append(climb.limit)
    assert seen == [8, 16, 32, 64]
    assert now < 0.1
    assert climb.due_s(now) is None


def test_refusals_end_the_way_to_the_forecast():
    climb = Concurrency(256, alone_s=1.0, sure=64)
    tickets = [climb.began(0.0) for _ in range(8)]
    for ticket in tickets[:3]:
        climb.ended(ticket, 1e-3, well=False)
    assert climb.wait_s(0.1) is None
    assert climb.limit == 4


def test_the_cap_may_change():
    climb = Concurrency()
    climb.cap(3)
    assert climb.limit == 3
    climb.cap(1000)
    assert climb.limit == START
