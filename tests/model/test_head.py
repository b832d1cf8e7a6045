"""The head of a map knows what the decider will say, and the decider goes on from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.facts import Observation
from amorsize.model.decide import Decider
from amorsize.model.evidence import Evidence
from amorsize.model.head import BATCH_S, LONG_BATCH_S, Head

seconds = st.floats(1e-7, 0.5)
shares = st.floats(0.0, 1.0)
batches = st.lists(st.tuples(st.integers(1, 50), seconds, shares, st.integers(0, 1)), max_size=12)
lengths = st.none() | st.integers(1, 10_000)
options = st.fixed_dictionaries(
    {
        "most_cores": st.integers(1, 64),
        "rate": st.none() | st.floats(0.1, 1e6),
        "load_threads_s": st.floats(0.0, 0.1),
        "load_processes_s": st.floats(0.0, 0.1),
    }
)


def observations(given_batches):
    at = 0
    for items, wall_s, share, aside in given_batches:
        yield Observation(at, items, wall_s, wall_s * share, wall_s * share, new_bytes=4096.0, aside=aside)
        at += items


def told(head):
    return (
        head.items,
        head.left,
        head.item_s,
        head.first_call_s,
        head.worth_asking(),
        head.next_items(),
        head.n_items,
    )


@given(lengths, options, batches)
def test_a_decider_of_which_nothing_else_is_known_says_the_same(length, how, seen):
    head, decider = Head(length, **how), Decider(length, indexable=True, **how)
    assert told(head) == told(decider)
    for one in observations(seen):
        head.saw(one)
        decider.saw(one)
        assert told(head) == told(decider)
        assert decider.batch().items == head.next_items()


@given(lengths, options, batches, st.integers(0, 12))
def test_a_decider_that_takes_over_knows_all_that_has_been_seen(length, how, seen, at):
    every = list(observations(seen))
    whole, head = Decider(length, indexable=True, **how), Head(length, **how)
    for one in every:
        whole.saw(one)
    for one in every[:at]:
        head.saw(one)
    later = Decider(None, indexable=True)
    later.take_over(head)
    for one in every[at:]:
        later.saw(one)
    assert told(later) == told(whole)
    if whole.items:
        assert later.sample() == whole.sample()


def test_the_sample_of_a_head_is_that_of_its_evidence():
    head = Head(10)
    for at in range(4):
        head.saw(Observation(at, 1, 2e-3, 1e-3, 1e-3))
    evidence = Evidence(None)
    evidence.take_over(head)
    sample = evidence.sample()
    assert (sample.n_sampled, sample.item_s, sample.item_cpu_s) == (4, pytest.approx(2e-3), pytest.approx(1e-3))


def run(head, item_s, most=10_000):
    """Run items in the batches that the head asks for; return the sizes until it could pay to ask."""
    sizes = []
    while (head.left or not head.items) and not head.worth_asking() and len(sizes) < most:
        sizes.append(min(head.next_items(), head.left or 1))
        head.saw(Observation(head.items, sizes[-1], *[sizes[-1] * item_s] * 3))
    return sizes


def test_a_map_too_short_for_workers_ends_in_its_head():
    head = Head(100, most_cores=2, load_processes_s=20e-3)
    assert sum(run(head, 0.5e-3)) == 100


def test_a_long_map_is_worth_asking_for_after_a_millisecond():
    head = Head(100_000, most_cores=2, load_processes_s=20e-3)
    run(head, 0.1e-3)
    assert BATCH_S <= head.wall_s < 4 * BATCH_S


def test_a_single_dear_item_is_no_evidence():
    head = Head(1000, most_cores=2)
    head.saw(Observation(0, 1, 20e-3, 20e-3, 20e-3))
    assert not head.worth_asking()


def test_what_the_first_call_took_alone_is_no_evidence_of_the_others():
    """A first hash loads a library and warms caches: 2.9 ms, then 24 µs, then 4 µs each."""
    head = Head(20_000, most_cores=2, load_processes_s=20e-3)
    for at, items, wall_s in ((0, 1, 2.9e-3), (1, 1, 24e-6), (2, 4, 22e-6)):
        head.saw(Observation(at, items, wall_s, wall_s, wall_s))
    assert not head.worth_asking()
    run(head, 20e-6, most=20)
    assert head.worth_asking()


def test_with_one_core_only_items_that_wait_are_worth_asking_for():
    assert sum(run(Head(1000, most_cores=1), 1e-3)) == 1000
    waits = Head(1000, most_cores=1)
    for at in range(3):
        waits.saw(Observation(at, 1, 2e-3, 0.0, 0.0))
    assert waits.worth_asking()


def test_the_clock_is_read_each_millisecond_and_less_often_where_nothing_can_be_gained():
    sizes = run(Head(None, most_cores=2, load_processes_s=1e9), 10e-6, most=40)
    assert max(sizes) * 10e-6 == pytest.approx(BATCH_S, rel=0.05)
    sizes = run(Head(20_000, most_cores=2, load_processes_s=1e9), 10e-6)
    assert max(sizes) * 10e-6 == pytest.approx(LONG_BATCH_S, rel=0.05)


def ran(wall_s, items, cpu_share=1.0):
    head = Head(items, most_cores=2, load_processes_s=30e-3, load_threads_s=30e-3)
    for at in range(items):
        each_s = wall_s / items
        head.saw(Observation(at, 1, each_s, cpu_share * each_s, cpu_share * each_s))
    return head


def test_maps_too_short_for_what_is_to_load_have_missed_something():
    assert not ran(50e-3, 50).worth_asking()
    # On two cores 40 % of it, less the start of two workers.
    assert ran(50e-3, 50).missed_s() == pytest.approx(11e-3, rel=0.01)
    assert ran(20e-3, 20, cpu_share=0.1).missed_s() == pytest.approx(18.6e-3, rel=0.01)
    # One item, or next to nothing, can't be faster.
    assert ran(50e-3, 1).missed_s() == ran(10e-3, 10).missed_s() == 0.0


def test_where_all_is_loaded_shorter_maps_are_asked_about():
    head = ran(18e-3, 3)
    head.n_items = 9
    assert not head.worth_asking()
    head.expect_load(0.0, 0.0)
    assert head.worth_asking()
