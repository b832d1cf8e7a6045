"""The number of workers of each call is decided without a clock or a thread."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lanes import repeats

from amorsize.backends.concurrent_calls import alone
from amorsize.facts import Observation
from amorsize.schedule.core_budget import Budget


def test_whoever_is_alone_gets_all_that_he_asks_for():
    assert Budget().ask(1, wanted=8, cores=2) == {1: 8}


def test_first_come_first_served():
    budget = Budget()
    budget.ask(1, wanted=2, cores=2)
    assert [budget.ask(ticket, wanted=2, cores=2) for ticket in (2, 3, 4)] == [{}, {}, {}]
    assert budget.leave(1) == {2: 1, 3: 1}
    assert budget.leave(3) == {4: 1}
    assert budget.leave(2) == {}
    assert budget.free == 1


def test_the_last_one_gets_all_again():
    budget = Budget()
    budget.ask(1, wanted=4, cores=4)
    budget.ask(2, wanted=4, cores=4)
    assert budget.leave(1) == {2: 4}


def test_what_is_free_is_shared_among_those_who_wait():
    budget = Budget()
    budget.ask(1, wanted=8, cores=8)
    for ticket in (2, 3, 4):
        budget.ask(ticket, wanted=8, cores=8)
    assert budget.leave(1) == {2: 3, 3: 3, 4: 2}


def test_a_worker_that_has_gone_serves_another_call():
    budget = Budget()
    budget.ask(1, wanted=2, cores=2)
    budget.ask(2, wanted=2, cores=2)
    assert budget.share(1) == 1
    assert budget.free == 0
    assert budget.give_back(1) == {2: 1}


def test_it_grows_when_nobody_waits():
    budget = Budget()
    budget.ask(1, wanted=1, cores=4)
    budget.ask(2, wanted=4, cores=4)
    budget.leave(1)
    assert budget.held == {2: 3}
    assert budget.share(2) == 4
    assert budget.free == 0


def test_who_waits_in_vain_is_let_in():
    budget = Budget()
    budget.ask(1, wanted=2, cores=2)
    budget.ask(2, wanted=2, cores=2)
    assert budget.let_in(2) == {2: 1}
    assert budget.let_in(2) == {}
    assert budget.leave(1) == {}


def test_who_does_not_want_to_wait_any_longer_can_leave():
    budget = Budget()
    for ticket in (1, 2, 3):
        budget.ask(ticket, wanted=2, cores=2)
    budget.leave(2)
    assert budget.leave(1) == {3: 2}


class Calls(RuleBasedStateMachine):
    """Calls that begin and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget()
        self.cores = 3
        self.arrived: list[int] = []
        self.came = self.admitted = 0
        self.served: list[int] = []

    def note(self, served: dict[int, int]) -> None:
        self.served += served
        assert all(workers >= 1 for workers in served.values())

    @rule(wanted=st.integers(1, 5))
    def come(self, wanted: int) -> None:
        ticket = self.came
        self.came += 1
        self.arrived.append(ticket)
        self.note(self.budget.ask(ticket, wanted, self.cores))

    @precondition(lambda self: self.budget.held)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.note(self.budget.leave(data.draw(st.sampled_from(sorted(self.budget.held)))))

    @precondition(lambda self: self.budget.held)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.budget.held)))
        before = self.budget.held[ticket]
        share = self.budget.share(ticket)
        assert 1 <= share <= max(before, self.budget.wanted[ticket])
        for _ in range(before - share):
            self.note(self.budget.give_back(ticket))

    @precondition(lambda self: self.budget.queue)
    @rule(data=st.data())
    def give_up_waiting(self, data: st.DataObject) -> None:
        """A call that waits is interrupted, or its lease is collected."""
        ticket = data.draw(st.sampled_from(sorted(self.budget.queue)))
        self.arrived.remove(ticket)
        self.note(self.budget.leave(ticket))

    @precondition(lambda self: self.budget.queue)
    @rule()
    def let_the_first_one_in(self) -> None:
        """The other calls do not use their cores: a suspended stream, or a team whose workers have ended."""
        served = self.budget.let_in(next(iter(self.budget.queue)))
        assert list(served.values()) == [1] or self.budget.free >= 0
        self.admitted += len(served)
        self.note(served)

    @rule(ticket=st.integers(0, 50))
    def end_twice(self, ticket: int) -> None:
        """A lease is closed, and collected later."""
        if ticket not in self.budget.held and ticket not in self.budget.queue:
            self.note(self.budget.leave(ticket))

    @invariant()
    def nobody_waits_while_a_core_is_free(self) -> None:
        assert not (self.budget.queue and self.budget.free > 0)

    @invariant()
    def everybody_is_served_in_the_order_in_which_he_came(self) -> None:
        assert self.served == sorted(self.served)

    @invariant()
    def no_more_than_the_cores_unless_one_call_alone_wanted_more(self) -> None:
        held = self.budget.held
        assert sum(held.values()) <= max(self.cores, *held.values(), 0) + self.admitted

    def teardown(self) -> None:
        while self.budget.held:
            self.note(self.budget.leave(min(self.budget.held)))
        assert self.served == self.arrived


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=repeats(60, 200), deadline=None)


def seen(items=1, wall=0.0, cpu=0.0, process=0.0):
    return Observation(0, items, wall, cpu, process)


def test_what_others_computed_meanwhile_was_no_wait():
    own = alone(seen(1, wall=0.1, cpu=0.005, process=0.1), others=19, switch_s=5e-3)
    assert own.wall_s == pytest.approx(0.005)
    assert own.process_cpu_s == own.cpu_s


def test_a_wait_beside_idle_calls_stays_one():
    assert alone(seen(1, wall=0.1, cpu=0.001, process=0.002), others=19, switch_s=5e-3).wall_s > 0.09


def test_a_long_wait_beside_one_busy_call_stays_one():
    own = alone(seen(1, wall=0.1, cpu=0.0, process=0.1), others=1, switch_s=5e-3)
    assert round(own.wall_s, 6) == 0.095


def test_waiting_for_a_core_is_no_wait_of_the_items():
    own = alone(seen(1, wall=0.1, cpu=0.05, process=0.05), others=1, switch_s=5e-3, queued_s=0.05)
    assert own.wall_s == pytest.approx(0.05)


def test_nothing_lost_nothing_changed():
    one = seen(3, wall=0.1, cpu=0.1, process=0.1)
    assert alone(one, others=5, switch_s=5e-3) is one
