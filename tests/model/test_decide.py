"""The decider of a run in virtual time: its steps, and the time at which it goes parallel."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Observation, Sample
from amorsize.model.decide import (
    FREE_GAIN,
    LOCK_FREE,
    SURELY_FREE,
    TRY_GAIN,
    Choices,
    Decider,
    Go,
    Probe,
    RunMore,
    TryThreads,
    WatchLock,
    Weigh,
)
from amorsize.model.default_costs import recorded
from amorsize.model.evidence import PRIOR_RANGE, PRIOR_S
from amorsize.testing import a_machine

LIGHT = Sample(n_sampled=0, item_s=0.0, result_bytes=10.0, result_pickle_s=1e-7, result_unpickle_s=1e-7)
HEAVY = Sample(n_sampled=0, item_s=0.0, result_bytes=4e6, result_pickle_s=1e-3, result_unpickle_s=1e-3)


class Play:
    """Answers an decider from a cost per index, without running anything."""

    def __init__(self, cost, n, *, cores=2, cpu=1.0, held=0.95, speedup=1.9, indexable=True, transfer=LIGHT, own=1.0):
        self.cost, self.n, self.cpu, self.held, self.speedup, self.transfer = cost, n, cpu, held, speedup, transfer
        self.own = own
        self.decider = Decider(n, indexable=indexable, most_cores=cores)
        self.choices = Choices(
            backends=("serial", "threads", "processes"),
            machine=a_machine(cores),
            costs=Costs(threads=recorded("threads", None), processes=recorded("team", "fork")),
        )
        self.at, self.spent, self.steps, self.go = 0, 0.0, [], None
        self.watches = 0
        self.tried = []

    def see(self, items, start=None):
        start = self.at if start is None else start
        wall = sum(self.cost(i) for i in range(start, start + items))
        self.spent += wall
        own = self.own(self.spent) if callable(self.own) else self.own
        return Observation(start, items, wall, wall * self.cpu, wall * self.cpu * own)

    def run(self):
        decider = self.decider
        while self.go is None and self.at + sum(p.items for p in decider.probes) < self.n:
            if decider.choices is None and decider.wants_choices(self.choices.backends):
                decider.choices = self.choices
            step = decider.next()
            self.steps.append(type(step))
            self.watches += isinstance(step, WatchLock) or (isinstance(step, Probe) and step.watch)
            left = self.n - self.at - sum(p.items for p in decider.probes)
            match step:
                case RunMore(items):
                    assert items >= 1
                    items = min(items, left)
                    decider.saw(self.see(items))
                    self.at += items
                case Probe(positions, items, _, watch):
                    stride = (self.n - self.at) / positions
                    ends = [round(self.at + k * stride) for k in range(1, positions + 1)]
                    decider.probed([self.see(items, end - items) for end in ends], self.held if watch else None)
                case Weigh():
                    decider.weighed(self.transfer)
                case WatchLock(items):
                    decider.watched(self.held, [self.see(min(items, left))])
                    self.at += min(items, left)
                case TryThreads(items):
                    self.tried.append(items)
                    speedup = self.speedup.pop(0) if isinstance(self.speedup, list) else self.speedup
                    wall = sum(self.cost(i) for i in range(self.at, self.at + items)) / speedup
                    self.at += items
                    decider.tried(items, wall, wall * speedup)
                case Go(chosen):
                    self.go = chosen
        return self


def test_a_short_map_never_leaves_the_loop_nor_looks_at_the_machine():
    play = Play(lambda i: 5e-8, 100_000).run()
    assert play.go is None
    assert play.decider.choices is None
    assert set(play.steps) == {RunMore}


def test_computing_goes_to_processes_soon():
    play = Play(lambda i: 1e-3, 2000).run()
    assert Weigh in play.steps
    assert (play.go.backend, play.go.workers) == ("processes", 2)
    assert play.spent < 0.02


def test_long_items_go_after_the_first():
    play = Play(lambda i: 0.3, 7).run()
    assert play.go.backend == "processes"
    assert play.at == 1


@pytest.mark.parametrize(("item_s", "n", "ran"), [(0.1, 5, 1), (0.03, 5, 2), (0.1, 100, 2)])
def test_few_long_items_go_after_the_first_within_the_promise(item_s, n, ran):
    """A start takes 4 ms: 5 % and 2 ms of 0.1 s are more; of many items one more alone takes a small part."""
    play = Play(lambda i: item_s, n).run()
    assert play.go.backend == "processes"
    assert play.at >= ran
    assert (play.at == 1) == (ran == 1)


def test_waiting_goes_to_many_threads_without_a_watch():
    play = Play(lambda i: 5e-3, 500, cpu=0.004).run()
    assert play.go.backend == "threads"
    # Nothing is pickled where processes would lose though it cost nothing.
    assert Weigh not in play.steps
    assert play.go.workers > 16
    assert not {WatchLock, TryThreads, Probe} & set(play.steps)


def test_a_dear_first_call_does_not_send_the_rest_to_workers():
    play = Play(lambda i: 2e-3 if i == 0 else 1e-6, 2000).run()
    assert play.go is None


def test_a_dear_first_call_is_not_a_dear_item():
    play = Play(lambda i: 0.5 if i == 0 else 1e-4, 100_000).run()
    if play.go is not None:  # starting in vain is allowed within what was spent; believing it is not
        assert play.decider.item_s < 1e-3 or play.at < 3


def test_costs_that_rise_are_seen_from_spread_positions():
    play = Play(lambda i: i * 1e-6, 2000).run()
    assert Probe in play.steps
    assert play.go.backend == "processes"
    assert play.decider.item_s == pytest.approx(1e-3, rel=0.3)


def test_a_released_lock_and_large_results_go_to_threads():
    play = Play(lambda i: 3e-3, 200, held=0.1, transfer=HEAVY).run()
    assert play.watches
    assert TryThreads in play.steps
    assert play.go.backend == "threads"


def test_a_lock_that_is_held_keeps_threads_out():
    play = Play(lambda i: 3e-3, 200, held=1.0, transfer=HEAVY).run()
    assert play.go is None
    assert TryThreads not in play.steps


def test_a_trial_that_brings_nothing_keeps_threads_out():
    play = Play(lambda i: 3e-3, 200, held=0.1, speedup=1.0, transfer=HEAVY).run()
    assert play.go is None


def test_a_function_with_threads_of_its_own_stays_in_the_loop():
    assert Play(lambda i: 15e-3, 150, own=2.0).run().go is None


@pytest.mark.parametrize("import_s", [0.0, 40e-3])
def test_threads_that_spin_after_an_import_delay_the_decision_only_while_they_do(import_s):
    """Those of a BLAS spin for 70 ms after numpy has been imported: by the first item, or before."""
    play = Play(
        lambda i: 1e-3 + (import_s if i == 0 else 0.0),
        2000,
        own=lambda spent_s: 2.0 if spent_s < import_s + 70e-3 else 1.0,
    ).run()
    assert play.go is not None
    assert play.go.backend == "processes"
    assert import_s + 70e-3 <= play.spent <= import_s + 150e-3


def test_threads_that_seemed_funcs_in_an_earlier_map_keep_this_one_in_the_loop_for_a_moment():
    play = Play(lambda i: 3e-3, 1000)
    play.decider.recall(replace(LIGHT, n_sampled=20, item_s=3e-3, item_cpu_s=3e-3, own_threads=2.0, gil_held=0.95))
    play.run()
    assert play.go is not None
    assert play.spent <= 0.3


def test_what_the_first_call_alone_does_says_nothing_of_threads_in_the_others():
    play = Play(lambda i: 1e-3 + (40e-3 if i == 0 else 0.0), 2000, own=lambda s: 2.0 if s < 42e-3 else 1.0).run()
    assert play.go is not None
    assert play.spent <= 70e-3


def test_one_core_stays_in_the_loop():
    assert Play(lambda i: 1e-3, 2000, cores=1).run().go is None


def test_what_cannot_be_pickled_stays_in_the_loop():
    bad = Sample(n_sampled=0, item_s=0.0, transfer_error="a lock")
    assert Play(lambda i: 1e-3, 2000, transfer=bad).run().go is None


def test_an_unknown_length_goes_once_as_much_was_spent_as_starting_costs():
    play = Play(lambda i: 1e-3, 10_000, indexable=False)
    play.decider.n_items = None
    play.run()
    assert play.go.backend == "processes"
    assert 4e-3 < play.spent < 0.1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(1e-7, 5e-3), min_size=1, max_size=400), st.sampled_from([1, 2, 16]))
def test_the_opening_runs_every_item_at_most_once_and_ends(costs, cores):
    play = Play(lambda i: costs[i], len(costs), cores=cores).run()
    done = play.at + sum(p.items for p in play.decider.probes)
    assert done <= len(costs)
    assert play.go is not None or done == len(costs)


# -- with a prior from earlier maps ----------------------------------------------------------------------------------


def known(item_s, *, cpu=1.0, n_sampled=50, base=LIGHT, **shown):
    """Return the sample of an earlier map of a function."""
    return replace(
        base, n_sampled=n_sampled, item_s=item_s, item_max_s=item_s, item_cpu_s=item_s * cpu, error_s=0.0, **shown
    )


def recalling(play, prior, **more):
    play.decider.recall(prior, **more)
    return play


def test_long_items_that_are_known_go_at_once():
    play = recalling(Play(lambda i: 0.05, 60), known(0.05, gil_held=0.95)).run()
    assert play.go.backend == "processes"
    assert play.steps == [Go]
    assert play.at == 0


def test_what_a_map_was_never_weighed_for_is_weighed_now():
    """Its sizes of 0 made processes look as if results cost nothing."""
    unweighed = Sample(n_sampled=0, item_s=0.0)
    play = Play(lambda i: 3e-3, 200, held=0.95, speedup=1.0, transfer=HEAVY)
    recalling(play, known(3e-3, gil_held=0.95, base=unweighed)).run()
    assert Weigh in play.steps
    assert play.decider.sample().result_bytes == HEAVY.result_bytes
    assert play.go is None


def test_waiting_that_is_known_goes_at_once():
    play = recalling(Play(lambda i: 0.05, 500, cpu=0.0), known(0.05, cpu=0.0)).run()
    assert (play.go.backend, play.at) == ("threads", 0)
    assert play.go.workers > 16


def test_waiting_that_is_not_known_goes_after_one_item():
    play = Play(lambda i: 0.05, 500, cpu=0.0).run()
    assert (play.go.backend, play.at) == ("threads", 1)


def test_short_items_that_are_known_are_looked_at_first():
    play = recalling(Play(lambda i: 2e-4, 10_000), known(2e-4, gil_held=0.95)).run()
    assert play.go.backend == "processes"
    assert play.steps[0] is RunMore
    assert Weigh not in play.steps
    assert Probe not in play.steps
    assert play.watches <= 1
    without = Play(lambda i: 2e-4, 10_000).run()
    assert play.spent < without.spent


def test_a_known_map_that_is_not_worth_it_stays_in_the_loop():
    play = recalling(Play(lambda i: 5e-8, 10_000), known(5e-8)).run()
    assert play.go is None
    assert play.decider.choices is None


@pytest.mark.parametrize("off", [10.0, 0.1])
def test_a_prior_that_is_far_off_is_dropped_as_soon_as_items_speak(off):
    prior = known(1e-3 * off, gil_held=0.05, worker_s=1e-3 * off, touched_bytes=1e6)
    decider = recalling(Play(lambda i: 1e-3, 2000), prior, threads_gain=1.9, lost=["processes"]).decider
    decider.saw(Observation(0, 1, 1e-3, 1e-3, 1e-3))
    decider.saw(Observation(1, 2, 2e-3, 2e-3, 2e-3))
    assert decider.prior is None
    assert decider.lost == ()
    assert (decider.gil_held, decider.threads_gain) == (0.05, 1.9)  # which are the function's own
    sample = decider.sample()
    assert sample.item_s == pytest.approx(1e-3)
    assert (sample.worker_s, sample.touched_bytes) == (None, 0.0)


@pytest.mark.parametrize("off", [10.0, 0.1])
def test_after_a_wrong_prior_it_goes_as_without_one(off):
    """Items of 1 ms, with a prior of items too short for workers, or of items that wait."""
    wrong = recalling(Play(lambda i: 1e-3, 2000), known(1e-3 * off, cpu=0.0), lost=["processes"])
    wrong.decider.saw(wrong.see(2))
    wrong.at = 2
    assert wrong.decider.prior is None
    without = Play(lambda i: 1e-3, 2000).run()
    assert (wrong.run().go.backend, wrong.go.workers) == (without.go.backend, without.go.workers)
    assert Weigh in wrong.steps


@given(st.floats(0.05, 20.0), st.integers(1, 5))
def test_a_prior_is_kept_while_items_are_within_its_range(factor, items):
    assume(abs(factor - PRIOR_RANGE) > 1e-3 and abs(1 / factor - PRIOR_RANGE) > 1e-3)
    decider = recalling(Play(lambda i: 1e-4, 2000), known(1e-4, gil_held=0.2)).decider
    wall_s = items * factor * 1e-4
    decider.saw(Observation(0, items, wall_s, wall_s, wall_s))
    kept = 1 / PRIOR_RANGE < factor < PRIOR_RANGE
    assert (decider.prior is not None) == kept
    assert decider.item_s == pytest.approx(1e-4 if kept else factor * 1e-4)
    assert decider.gil_held == 0.2


def test_a_dear_first_call_does_not_speak_against_a_prior():
    decider = recalling(Play(lambda i: 1e-3, 2000), known(1e-3)).decider
    decider.saw(Observation(0, 1, 2.9e-3, 2.9e-3, 2.9e-3))
    decider.saw(Observation(1, 1, 1e-3, 1e-3, 1e-3))
    assert decider.prior is not None


def test_in_the_end_the_items_speak_for_themselves_and_what_they_weigh_stays_known():
    prior = known(1e-3, gil_held=0.95, worker_s=1e-3, touched_bytes=70.0)
    decider = recalling(Play(lambda i: 1e-3, 2000), prior).decider
    wall_s = 1.01 * PRIOR_S
    decider.saw(Observation(0, 21, wall_s, wall_s, wall_s))
    assert decider.prior is None
    sample = decider.sample()
    assert (sample.worker_s, sample.touched_bytes, sample.result_bytes) == (None, 70.0, LIGHT.result_bytes)
    assert (sample.gil_held, sample.n_sampled) == (0.95, 21)


def test_what_is_settled_is_not_asked_again_unless_the_items_are_others():
    play = recalling(Play(lambda i: 1e-4, 400), known(1e-4))
    play.decider.settle(1e-4)
    assert play.run().go is None
    assert play.decider.choices is None
    others = recalling(Play(lambda i: 2e-3, 400), known(1e-4))
    others.decider.settle(1e-4)
    assert others.run().go is not None


def test_a_failed_trial_is_remembered_only_where_the_lock_is_held():
    decider = Play(lambda i: 1e-3, 400).decider
    decider.saw(Observation(0, 4, 4e-3, 4e-3, 4e-3))
    decider.watched(0.05, [Observation(4, 4, 4e-3, 4e-3, 4e-3)])
    decider.tried(8, 8e-3, 8e-3)
    assert decider.threads_gain < TRY_GAIN
    assert decider.lasting_gain is None
    decider.gil_held = 0.9
    assert decider.lasting_gain == decider.threads_gain


def test_a_backend_that_lost_is_kept_out():
    play = recalling(Play(lambda i: 1e-3, 60), known(1e-3, gil_held=0.95), lost=["processes"]).run()
    assert play.go is None
    assert recalling(Play(lambda i: 1e-3, 60), known(1e-3, gil_held=0.95)).run().go.backend == "processes"


def test_who_may_use_nothing_else_uses_what_lost():
    play = recalling(Play(lambda i: 0.05, 60), known(0.05, gil_held=0.95), lost=["processes"])
    play.choices = replace(play.choices, backends=("processes",))
    assert play.run().go.backend == "processes"


def test_threads_that_brought_nothing_are_not_tried_again():
    prior = known(0.05, base=HEAVY, gil_held=0.1)
    assert recalling(Play(lambda i: 0.05, 60), prior, threads_gain=1.9).run().go.backend == "threads"
    play = recalling(Play(lambda i: 0.05, 60), prior, threads_gain=1.0).run()
    assert TryThreads not in play.steps
    assert play.go is None or play.go.backend != "threads"


# -- the lock --------------------------------------------------------------------------------------------------------


def test_of_two_watches_the_one_that_saw_the_lock_free_is_believed():
    """A canary can oversleep, and then a free lock looks held; never the other way round."""
    for first, second in ((0.9, 0.1), (0.1, 0.9)):
        decider = Decider(1000, indexable=True, most_cores=2)
        decider.watched(first, [Observation(0, 1, 1e-3, 1e-3, 1e-3)])
        decider.watched(second, [Observation(1, 1, 1e-3, 1e-3, 1e-3)])
        assert decider.gil_held == 0.1
        assert (decider.items, decider.watched_s) == (2, 2e-3)


def test_the_lock_is_never_held_for_longer_than_the_cpu_is_used():
    decider = Decider(1000, indexable=True, most_cores=2)
    decider.watched(0.9, [Observation(0, 2, 1e-3, 2e-4, 2e-4)])
    assert decider.sample().gil_held == pytest.approx(0.2)


def test_a_lock_that_looks_held_is_watched_again():
    long_watch = Play(lambda i: 3e-3, 200, held=1.0, transfer=HEAVY).run()
    assert long_watch.watches >= 1
    assert long_watch.decider.gil_held > LOCK_FREE
    free = Play(lambda i: 3e-3, 200, held=0.1, transfer=HEAVY).run()
    assert free.watches == 1


@pytest.mark.parametrize(
    ("held", "speedup", "trials"), [(SURELY_FREE / 2, FREE_GAIN * 0.9, 2), (SURELY_FREE + 0.05, TRY_GAIN * 0.9, 1)]
)
def test_a_failed_trial_is_repeated_where_the_lock_is_surely_free(held, speedup, trials):
    play = Play(lambda i: 3e-3, 200, held=held, speedup=speedup, transfer=HEAVY).run()
    assert play.steps.count(TryThreads) == trials
    assert play.go is None


def test_where_the_lock_is_surely_free_a_smaller_gain_is_believed():
    play = Play(lambda i: 3e-3, 200, held=SURELY_FREE / 2, speedup=TRY_GAIN * 0.95, transfer=HEAVY).run()
    assert play.steps.count(TryThreads) == 1
    assert play.go.backend == "threads"


def test_a_trial_has_an_even_number_of_items():
    play = Play(lambda i: 1.7e-3, 200, held=0.1, speedup=1.9, transfer=HEAVY).run()
    assert [items % 2 for items in play.tried] == [0]


def test_the_better_of_two_trials_is_believed():
    play = Play(lambda i: 3e-3, 200, held=0.1, speedup=[1.0, 1.9], transfer=HEAVY).run()
    assert play.steps.count(TryThreads) == 2
    assert play.tried[1] > 2 * play.tried[0]
    assert play.go.backend == "threads"


def test_a_settled_map_of_some_milliseconds_ends_in_one_long_batch():
    decider = Decider(200_000, indexable=True, most_cores=2)
    decider.settle(5e-8)
    batches = []
    while decider.left:
        step = decider.next()
        assert isinstance(step, RunMore)
        batches.append(step.items)
        decider.saw(Observation(decider.items, step.items, 5e-8 * step.items, 5e-8 * step.items, 5e-8 * step.items))
    assert batches[-1] > 180_000


def test_a_settled_map_whose_items_take_longer_than_ever_is_looked_at_often():
    decider = Decider(10_000, indexable=True, most_cores=2)
    decider.settle(5e-8)
    batches = []
    for _ in range(20):
        step = decider.next()
        if not isinstance(step, RunMore):
            break
        batches.append(step.items)
        decider.saw(Observation(decider.items, step.items, 1e-3 * step.items, 1e-3 * step.items, 1e-3 * step.items))
    assert max(batches) <= 2


def test_threads_are_tried_where_there_is_no_lock():
    """Nothing watches a lock that is not there, but threads share more than that: two of them show it."""
    play = Play(lambda i: 1e-3, 2000, cores=8, transfer=replace(LIGHT, transfer_error="cannot be pickled"))
    play.choices = replace(play.choices, machine=a_machine(8, gil=False))
    play.run()
    assert TryThreads in play.steps
    assert WatchLock not in play.steps
    assert play.go.backend == "threads"


@pytest.mark.parametrize(("backend", "waits"), [("processes", False), ("threads", True)])
def test_modules_to_load_are_part_of_what_a_gain_must_beat(backend, waits):
    def asks(load_s, items):
        loads = {f"load_{backend}_s": load_s}
        decider = Decider(items, indexable=True, most_cores=2, **loads)
        for start in range(10):
            decider.saw(Observation(start, 1, 1e-3, 0.0 if waits else 1e-3, 0.0))
        return decider.worth_asking()

    assert asks(0.0, 60)
    assert not asks(0.06, 60)
    assert asks(0.06, 600)
