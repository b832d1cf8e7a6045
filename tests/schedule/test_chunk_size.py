"""Chunk sizes: shrinking, bounded by time and by evidence, and never outside what is left."""

from __future__ import annotations

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from amorsize.schedule.chunk_size import DEEP_CHUNK_S, MIN_CHUNK_S, TARGET_CHUNK_S, depth, next_chunk, target_chunk_s

remaining = st.integers(1, 10**7)
workers = st.integers(1, 128)
item_s = st.floats(1e-8, 100)
evidence = st.integers(1, 10**6)
per_chunk_s = st.floats(1e-6, 1e-2)


@given(remaining, workers, st.just(0.0) | item_s, evidence, per_chunk_s)
def test_a_chunk_holds_something_and_no_more_than_is_left(n, p, seconds, seen, h):
    assert 1 <= next_chunk(n, p, seconds, seen, h) <= n


@given(workers, st.just(0.0) | item_s, evidence, per_chunk_s)
def test_an_unknown_end_is_no_licence(p, seconds, seen, h):
    size = next_chunk(None, p, seconds, seen, h)
    assert 1 <= size <= 2 * seen
    assert size == 1 or size * seconds <= target_chunk_s(p, h) * 1.001


@given(remaining, workers, item_s, evidence, per_chunk_s)
def test_no_chunk_is_longer_than_its_target_unless_it_is_one_item(n, p, seconds, seen, h):
    size = next_chunk(n, p, seconds, seen, h)
    assert size == 1 or (size - 1) * seconds <= max(target_chunk_s(p, h), MIN_CHUNK_S) * 1.001


@given(remaining, workers, st.just(0.0) | item_s, evidence, per_chunk_s)
def test_no_chunk_is_much_larger_than_what_has_been_seen_to_end(n, p, seconds, seen, h):
    assert next_chunk(n, p, seconds, seen, h) <= max(2 * seen, 1)


@given(remaining, workers, item_s, evidence)
def test_nobody_takes_more_than_his_share_unless_the_rest_is_too_short_to_split(n, p, seconds, seen):
    size = next_chunk(n, p, seconds, seen)
    assert size <= max(ceil(n / (2 * p)), ceil(min(MIN_CHUNK_S / seconds, n / p)))


@given(st.integers(2, 10**6), workers, item_s, evidence)
def test_chunks_never_grow_as_less_is_left(n, p, seconds, seen):
    assert next_chunk(n - 1, p, seconds, seen) <= next_chunk(n, p, seconds, seen)


@given(st.integers(1, 3000), st.integers(1, 16), item_s, evidence)
def test_chunks_use_up_what_there_is(n, p, seconds, seen):
    left, chunks = n, 0
    while left:
        left -= next_chunk(left, p, seconds, seen)
        chunks += 1
    assert chunks <= n


def test_the_last_chunks_are_small():
    sizes, left = [], 10_000
    while left:
        sizes.append(next_chunk(left, 4, 1e-3, evidence=1000))
        left -= sizes[-1]
    assert sizes[0] == round(TARGET_CHUNK_S / 1e-3)
    # From nine items left, two go out, and then one at a time.
    assert sizes[-7:] == [1] * 7


@given(workers, per_chunk_s)
def test_many_workers_of_one_dispatcher_take_longer_chunks(p, h):
    assert target_chunk_s(p, h) >= TARGET_CHUNK_S
    assert p * h / target_chunk_s(p, h) <= 0.1 + 1e-9  # of the dispatcher's time


@given(st.floats(0, 100))
def test_short_chunks_have_another_behind_them(chunk_s):
    assert depth(chunk_s) == (2 if chunk_s < DEEP_CHUNK_S else 1)


@given(remaining, workers, item_s, evidence, st.floats(1e-4, 1e-2), st.floats(1e-3, 0.1))
def test_no_task_of_a_cluster_takes_less_than_it_costs_to_send_and_half_its_answer(n, p, seconds, seen, h, trip_s):
    size = next_chunk(n, p, seconds, seen, h, trip_s)
    assert 1 <= size <= n
    bounds = (n, max(2 * seen, int(trip_s / seconds)), int(target_chunk_s(p, h, trip_s) / seconds))
    assert size >= min(int(max(h, trip_s / 2) / seconds), *bounds)
