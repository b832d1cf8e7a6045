"""The opening of a run in virtual time: what it asks, and when it goes parallel."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Observation, Sample
from amorsize.model.opening import Go, Opening, Probe, RunMore, Terms, TryThreads, WatchLock, Weigh
from amorsize.model.recorded import recorded
from amorsize.testing import a_machine

LIGHT = Sample(n_sampled=0, item_s=0.0, result_bytes=10.0, result_pickle_s=1e-7, result_unpickle_s=1e-7)


class Play:
    """Answers an opening from a cost per index, without running anything."""

    def __init__(self, cost, n, *, cores=2, cpu=1.0, held=0.95, speedup=1.9, indexable=True, transfer=LIGHT, own=1.0):
        self.cost, self.n, self.cpu, self.held, self.speedup, self.transfer = cost, n, cpu, held, speedup, transfer
        self.own = own
        self.opening = Opening(n, indexable=indexable, most_cores=cores)
        self.terms = Terms(
            backends=("serial", "threads", "processes"),
            machine=a_machine(cores),
            costs=Costs(threads=recorded("threads", None), processes=recorded("team", "fork")),
        )
        self.at, self.spent, self.steps, self.go = 0, 0.0, [], None
        self.watches = 0

    def see(self, items, start=None):
        start = self.at if start is None else start
        wall = sum(self.cost(i) for i in range(start, start + items))
        self.spent += wall
        return Observation(start, items, wall, wall * self.cpu, wall * self.cpu * self.own)

    def run(self):
        opening = self.opening
        while self.go is None and self.at + sum(p.items for p in opening.probes) < self.n:
            if opening.terms is None and opening.wants_terms(self.terms.backends):
                opening.terms = self.terms
            step = opening.next()
            self.steps.append(type(step))
            self.watches += isinstance(step, WatchLock) or (isinstance(step, Probe) and step.watch)
            left = self.n - self.at - sum(p.items for p in opening.probes)
            match step:
                case RunMore(items):
                    assert items >= 1
                    items = min(items, left)
                    opening.saw(self.see(items))
                    self.at += items
                case Probe(positions, items, _, watch):
                    stride = (self.n - self.at) / positions
                    ends = [round(self.at + k * stride) for k in range(1, positions + 1)]
                    opening.probed([self.see(items, end - items) for end in ends], self.held if watch else None)
                case Weigh():
                    opening.weighed(self.transfer)
                case WatchLock(items):
                    opening.watched(self.held, [self.see(min(items, left))])
                    self.at += min(items, left)
                case TryThreads(items):
                    wall = sum(self.cost(i) for i in range(self.at, self.at + items)) / self.speedup
                    self.at += items
                    opening.tried(items, wall, wall * self.speedup)
                case Go(chosen):
                    self.go = chosen
        return self


def test_a_short_map_never_leaves_the_loop_nor_looks_at_the_machine():
    play = Play(lambda i: 5e-8, 100_000).run()
    assert play.go is None
    assert play.opening.terms is None
    assert set(play.steps) == {RunMore}


def test_computing_goes_to_processes_soon():
    play = Play(lambda i: 1e-3, 2000).run()
    assert (play.go.backend, play.go.workers) == ("processes", 2)
    assert play.spent < 0.02


def test_long_items_go_after_the_first():
    play = Play(lambda i: 0.3, 7).run()
    assert play.go.backend == "processes"
    assert play.at == 1


def test_waiting_goes_to_many_threads_without_a_watch():
    play = Play(lambda i: 5e-3, 500, cpu=0.004).run()
    assert play.go.backend == "threads"
    assert play.go.workers > 16
    assert not {WatchLock, TryThreads, Probe} & set(play.steps)


def test_a_dear_first_call_does_not_send_the_rest_to_workers():
    play = Play(lambda i: 2e-3 if i == 0 else 1e-6, 2000).run()
    assert play.go is None


def test_a_dear_first_call_is_not_a_dear_item():
    play = Play(lambda i: 0.5 if i == 0 else 1e-4, 100_000).run()
    if play.go is not None:  # starting in vain is allowed within what was spent; believing it is not
        assert play.opening.item_s < 1e-3 or play.at < 3


def test_costs_that_rise_are_seen_from_spread_positions():
    play = Play(lambda i: i * 1e-6, 2000).run()
    assert Probe in play.steps
    assert play.go.backend == "processes"
    assert play.opening.item_s == pytest.approx(1e-3, rel=0.3)


def test_a_released_lock_and_large_results_go_to_threads():
    heavy = Sample(n_sampled=0, item_s=0.0, result_bytes=4e6, result_pickle_s=1e-3, result_unpickle_s=1e-3)
    play = Play(lambda i: 3e-3, 200, held=0.1, transfer=heavy).run()
    assert play.watches
    assert TryThreads in play.steps
    assert play.go.backend == "threads"


def test_a_lock_that_is_held_keeps_threads_out():
    heavy = Sample(n_sampled=0, item_s=0.0, result_bytes=4e6, result_pickle_s=1e-3, result_unpickle_s=1e-3)
    play = Play(lambda i: 3e-3, 200, held=1.0, transfer=heavy).run()
    assert play.go is None
    assert TryThreads not in play.steps


def test_a_trial_that_brings_nothing_keeps_threads_out():
    heavy = Sample(n_sampled=0, item_s=0.0, result_bytes=4e6, result_pickle_s=1e-3, result_unpickle_s=1e-3)
    play = Play(lambda i: 3e-3, 200, held=0.1, speedup=1.0, transfer=heavy).run()
    assert play.go is None


def test_a_function_with_threads_of_its_own_stays_in_the_loop():
    assert Play(lambda i: 15e-3, 150, own=2.0).run().go is None


def test_one_core_stays_in_the_loop():
    assert Play(lambda i: 1e-3, 2000, cores=1).run().go is None


def test_what_cannot_be_pickled_stays_in_the_loop():
    bad = Sample(n_sampled=0, item_s=0.0, transfer_error="a lock")
    assert Play(lambda i: 1e-3, 2000, transfer=bad).run().go is None


def test_an_unknown_length_goes_once_as_much_was_spent_as_starting_costs():
    play = Play(lambda i: 1e-3, 10_000, indexable=False)
    play.opening.n_items = None
    play.run()
    assert play.go.backend == "processes"
    assert 4e-3 < play.spent < 0.1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(1e-7, 5e-3), min_size=1, max_size=400), st.sampled_from([1, 2, 16]))
def test_the_opening_runs_every_item_at_most_once_and_ends(costs, cores):
    play = Play(lambda i: costs[i], len(costs), cores=cores).run()
    done = play.at + sum(p.items for p in play.opening.probes)
    assert done <= len(costs)
    assert play.go is not None or done == len(costs)
