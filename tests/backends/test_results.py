"""Outcomes, which collect results, and sources, which hold items."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amorsize
from amorsize.backends.results import Flow, Outcome, annotate
from amorsize.backends.source import Indexable, Streamed, source_of
from amorsize.facts import Failure


class TestOutcome:
    def test_results_may_come_in_any_order(self):
        outcome = Outcome("raise")
        outcome.put(2, ["c", "d"])
        outcome.put(0, ["a", "b"])
        outcome.put(4, ["e"])
        assert outcome.finish() == ["a", "b", "c", "d", "e"]

    def test_nothing_beyond_the_end_makes_no_places(self):
        outcome = Outcome("raise")
        outcome.put(0, ["a"])
        outcome.put(5, [])
        assert outcome.finish() == ["a"]

    @given(st.data())
    def test_what_raised_elsewhere_moves_no_result(self, data):
        """A trial of threads runs several spans, and says of each what raised in all of them."""
        cuts = sorted(data.draw(st.sets(st.integers(1, 29), max_size=4)))
        raised = data.draw(st.sets(st.integers(0, 29)))
        outcome = Outcome("raise")
        outcome.put(0, [-1] * 30)
        for start, stop in data.draw(st.permutations(list(pairwise([0, *cuts, 30])))):
            outcome.put(start, list(range(start, stop)), but=raised)
        assert outcome.results == [-1 if index in raised else index for index in range(30)]

    @pytest.mark.parametrize("kind", [Outcome, Flow])
    def test_the_note_of_an_interrupt_counts_no_failure_as_a_result(self, kind):
        outcome = kind("collect")
        outcome.put(0, ["a", "b"])
        outcome.fail(Failure(2, ValueError()))
        outcome.take_errors([Failure(3, KeyboardInterrupt())])
        outcome.interrupted(exc := KeyboardInterrupt())
        assert "with results of 2 items" in exc.__notes__[0]

    def test_the_lowest_failure_is_raised(self):
        outcome = Outcome("raise")
        for index in (7, 3, 5):
            outcome.fail(Failure(index, ValueError(index)))
        with pytest.raises(ValueError, match="3"):
            outcome.finish()

    @pytest.mark.parametrize("on_error", ["raise", "collect"])
    def test_what_is_no_exception_is_raised_before_all_others(self, on_error):
        outcome = Outcome(on_error)
        outcome.take_errors([Failure(1, ValueError()), Failure(5, SystemExit(3))])
        assert outcome.doomed
        with pytest.raises(SystemExit):
            outcome.finish()

    def test_what_an_item_raised_before_it_went_well_is_not_kept(self, monkeypatch):
        """Else a stream that retries would keep an exception, with its traceback, for each item that ever raised."""
        outcomes, raised, finish = [], set(), Outcome.finish
        monkeypatch.setattr(Outcome, "finish", lambda self, *rest: outcomes.append(self) or finish(self, *rest))

        def once(x):
            if x not in raised:
                raised.add(x)
                raise ValueError(x)
            return x

        got = amorsize.execute(once, range(60), backend="threads", max_workers=2, retries=1)
        assert got == sorted(raised) == list(range(60))
        assert [outcome.last_error for outcome in outcomes] == [{}]

    def test_places_without_a_result_do_not_count(self):
        outcome = Outcome("collect")
        outcome.put(8, [8, 9])
        assert outcome.size == 2
        outcome.put(0, [0, None, 2], but=[1])
        assert outcome.size == 4
        outcome.fail(Failure(1, ValueError()))
        outcome.put(3, [3, 4, 5, 6, 7])
        assert outcome.size == len(outcome.results) == 10

    def test_places_that_a_loop_leaves_out_do_not_count(self):
        outcome = Outcome("raise")
        into = outcome.place_for(0)
        into += [0, None, 2]
        outcome.put(0, into, but=[1])
        assert outcome.size == 2
        outcome.put(1, [1])
        assert outcome.size == len(outcome.results) == 3

    def test_an_item_whose_repr_raises_hides_nothing(self):
        class Shy:
            def __repr__(self) -> str:
                raise RuntimeError

        exc = annotate(Failure(3, ValueError("why")), lambda _: [Shy()][5])
        assert exc.__notes__ == ["amorsize: raised at item 3 (its repr cannot be shown)"]
        exc = annotate(Failure(3, ValueError("why")), lambda _: Shy())
        assert exc.__notes__[0].startswith("amorsize: raised at item 3")

    def test_the_note_is_added_once(self):
        failure = Failure(3, ValueError("why"))
        annotate(failure, lambda _: "x")
        assert annotate(failure, lambda _: "x").__notes__ == ["amorsize: raised at item 3: 'x'"]


class TestSource:
    def test_an_iterator_is_read_as_far_as_asked_and_forgets_what_is_released(self):
        rest = iter(range(10))
        source = Streamed(rest)
        assert source.items(0, 3) == [0, 1, 2]
        assert source.length is None
        source.release(0, 3, but=(1,))
        assert source.odd == {1: 1}
        assert not source.chunks
        assert source.items(8, 12) == [8, 9]
        assert source.length == 10
        assert source.items(20, 30) == []

    def test_an_iterator_is_read_one_by_one_as_long_as_it_lasts(self):
        source = Streamed(iter(range(5000)))
        assert [source.items(i, i + 1) for i in range(5000)] == [[i] for i in range(5000)]
        source.finish()

    def test_what_has_a_length_but_no_indices_is_read_into_a_list(self):
        assert source_of({3: 1, 4: 1}).items(0, 5) == [3, 4]
        assert isinstance(source_of({3}), Indexable)
        assert isinstance(source_of(iter([])), Streamed)
