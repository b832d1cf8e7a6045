from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks import oracle
from benchmarks.grid import MAX_CHUNKS, MOST_SETTINGS, ONE_EACH, Setting, settings


def pool(workers, chunks):
    return Setting("Pool", workers, 10 * (chunks or 99) + workers, chunks)


@given(st.integers(1, 10**7), st.integers(1, 192))
def test_the_grid_has_one_of_each_setting_and_not_too_many(n_items, cores):
    found = settings(n_items, cores)
    assert 1 <= len(found) <= MOST_SETTINGS
    assert len({(each.backend, each.workers, each.chunksize) for each in found}) == len(found)
    assert {each.backend for each in found} == {"Pool", "ThreadPool"}
    assert all(1 <= each.chunksize <= n_items and n_items / each.chunksize <= MAX_CHUNKS for each in found)


def test_chunks_of_one_are_for_few_items_only():
    assert any(each.chunksize == 1 for each in settings(50, 2))
    assert not any(each.chunksize == 1 for each in settings(200_000, 2))


def test_a_setting_runs_the_map():
    assert settings(50, 2)[1].rival().run(abs, iter([-1, -2]), {}) == [1, 2]


def run_all(candidates, seconds, **options):
    tried = []

    def run(setting):
        tried.append(setting)
        return seconds[setting]

    return oracle.first_pass(candidates, options.pop("loop_s", 2.0), run, **options), tried


def test_the_quickest_wins_and_pools_have_a_winner_of_their_own():
    threads = Setting("ThreadPool", 64, 1, ONE_EACH)
    found, _ = run_all([pool(2, 4), threads, pool(2, 16)], {pool(2, 4): 1.1, threads: 0.2, pool(2, 16): 1.0})
    assert found.best == threads.name
    assert found.best_pool == pool(2, 16).name


def test_the_loop_is_a_setting_and_wins_a_tie():
    found, _ = run_all([pool(2, 4)], {pool(2, 4): 2.0})
    assert (found.best, found.best_pool) == ("loop", "loop")


def test_the_neighbour_of_a_hopeless_setting_is_not_run_and_says_why():
    single, small = pool(2, ONE_EACH), pool(2, 64)
    found, tried = run_all([pool(2, 4), small, single], {pool(2, 4): 1.0, small: 1.9, single: 9.0})
    assert tried == [pool(2, 4), small]
    assert small.name in found.skipped[single.name]


def test_what_was_skipped_speaks_against_nobody():
    candidates = [pool(2, 1), pool(2, 2), pool(2, 4)]
    found, tried = run_all(candidates, {pool(2, 1): 4.5, pool(2, 4): 0.5})
    assert tried == [pool(2, 1), pool(2, 4)]
    assert found.best == pool(2, 4).name


def test_milliseconds_make_nobody_hopeless():
    _, tried = run_all([pool(2, 1), pool(2, 2)], {pool(2, 1): 0.04, pool(2, 2): 0.03}, loop_s=0.001)
    assert len(tried) == 2


def test_other_backends_and_far_settings_are_no_neighbours():
    ladder = [2, 8, 64]
    assert oracle.neighbours(pool(2, 4), pool(8, 4), ladder)
    assert not oracle.neighbours(pool(2, 4), pool(64, 4), ladder)
    assert not oracle.neighbours(pool(2, 4), pool(2, 64), ladder)
    assert not oracle.neighbours(pool(2, 4), pool(8, 2), ladder)
    assert not oracle.neighbours(pool(2, 4), Setting("ThreadPool", 2, 1, 4), ladder)


def test_no_setting_begins_when_the_time_is_up():
    found, tried = run_all(
        [pool(2, 4), pool(4, 1), pool(2, 64)], dict.fromkeys([pool(2, 4), pool(4, 1)], 1.5), limit_s=2.0
    )
    assert len(tried) == 2
    assert found.skipped == {pool(2, 64).name: "the 2 s were up"}


def test_a_setting_that_fails_is_no_winner():
    found, _ = run_all([pool(2, 4)], {pool(2, 4): None})
    assert found.best == "loop"
    assert found.skipped == {pool(2, 4).name: "failed"}
