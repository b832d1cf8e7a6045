"""Rows that agree, and the answer that follows: pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.history.agreement import AGREE, CLOSE, LEAST, MOST, RECENT_S, known, measured, surprised
from amorsize.history.run_row import Run
from amorsize.history.shape import Shape

NOW = 1e9
SHAPE = Shape("range", "int", 50.0)
MILLI = {"n_sampled": 5, "item_s": 1e-3, "item_cpu_s": 1e-3, "result_bytes": 8.0, "arg_bytes": 5.0}


def row(item_s=1e-3, **values):
    """Return a run of a plain loop."""
    told = {**MILLI, "item_s": item_s, "item_cpu_s": item_s}
    base = Run(shape=SHAPE, n_items=100, clock_s=100 * item_s, at_s=NOW - 60, sample=told)
    return replace(base, **values)


def ask(rows, shape=SHAPE, n_items=100):
    return known(rows, shape, n_items, NOW)


AGREEING = [row(1.1e-3), row(0.9e-3), row(1.0e-3)]


class TestAgreement:
    def test_one_row_is_not_enough(self):
        assert ask([]) is None
        assert ask([row()]) is None
        assert ask([row(), row(1.01e-3)]).runs == LEAST == 2

    def test_medians_and_the_spread_between_rows(self):
        found = ask(AGREEING)
        assert found.sample.item_s == pytest.approx(1e-3)
        assert found.sample.error_s == pytest.approx(0.1e-3)
        assert (found.runs, found.sample.n_sampled, found.weighed, found.sent) == (3, 15, True, True)

    @pytest.mark.parametrize("factor", [100.0, 5.0, 0.01])
    def test_one_of_four_may_be_off(self, factor):
        off = row(1e-3 * factor)
        for at in range(4):
            assert ask([*AGREEING[:at], off, *AGREEING[at:]]).sample.item_s == pytest.approx(1e-3)
        assert ask([off, *AGREEING[:2]]) is None
        assert ask([off, row(1.2e-3 * factor), *AGREEING]) is None
        assert ask([AGREEING[0], off]) is None

    def test_what_is_over_in_no_time_needs_no_agreement(self):
        assert ask([row(1e-6), row(9e-6)]).runs == 2
        assert ask([row(1e-6), row(9e-6)], n_items=1_000) is None

    def test_waiting_and_computing_do_not_agree(self):
        waits = row(sample={**MILLI, "item_s": 1.05e-3, "item_cpu_s": 1e-5})
        assert ask([waits, *AGREEING]).runs == 3
        assert ask([waits, *AGREEING[:2]]) is None

    def test_only_the_newest_count(self):
        newest = [row((1 + at / 100) * 1e-3) for at in range(MOST)]
        assert ask([*newest, row(1.0)]).runs == MOST

    def test_no_more_rows_are_read_than_are_needed(self):
        def rows():
            yield from (row((1 + at / 100) * 1e-3) for at in range(MOST))
            raise AssertionError("nobody needs more")

        assert ask(rows()).runs == MOST

    @given(st.lists(st.floats(1e-5, 10.0), min_size=2, max_size=12))
    def test_what_is_believed_lies_among_the_rows(self, values):
        found = ask([row(value) for value in values])
        newest = list(dict.fromkeys(values))[:MOST]
        if found is not None:
            assert min(newest) * 0.999 <= found.sample.item_s <= max(newest) * 1.001
            assert LEAST <= found.runs <= MOST
        elif len(newest) >= LEAST:
            assert max(newest) > AGREE * min(newest) * 0.999


class TestWhichRows:
    @pytest.mark.parametrize(
        "change",
        [
            {"at_s": NOW - RECENT_S - 1},
            {"at_s": NOW + 2 * 86_400},
            {"outcome": "raised"},
            {"shape": None},
            {"shape": Shape("list", "int", 50.0)},
            {"shape": Shape("range", "float", 50.0)},
            {"shape": Shape("range", "int", 50.0 * CLOSE * 1.01)},
            {"shape": Shape("range", "int", None)},
            {"n_items": 0},
            {"n_items": None},
        ],
        ids=str,
    )
    def test_others_are_passed_over(self, change):
        assert ask([replace(one, **change) for one in AGREEING]) is None
        assert ask([*(replace(one, **change) for one in AGREEING), *AGREEING]).runs == 3

    def test_any_number_of_items_of_that_size(self):
        assert ask(AGREEING, n_items=100_000).runs == 3

    def test_about_as_many_where_nobody_can_tell_how_large_items_are(self):
        objects = Shape("list", "Job", None)
        rows = [replace(one, shape=objects) for one in AGREEING]
        assert ask(rows, objects, 110).runs == 3
        assert ask(rows, objects, 200) is None

    def test_nothing_is_known_of_data_that_nobody_has_looked_into(self):
        unseen = Shape("generator", "", None)
        assert ask([replace(one, shape=unseen) for one in AGREEING], unseen) is None

    def test_a_surprise_makes_older_rows_void(self):
        surprise = row(0.5, source="optimize", extra={"known": 3, "surprise": True})
        assert ask([surprise, *AGREEING]) is None
        assert ask([*AGREEING, surprise, row(0.5)]).runs == 3

    def test_rows_of_one_sample_count_once(self):
        """Trials of one contest, or a plan whose pool was opened twice."""
        twice = [row(backend="processes"), row(backend="processes"), row(backend="threads")]
        assert ask(twice) is None


class TestWhatARowHasMeasured:
    def test_what_is_only_repeated_is_no_news(self):
        for mark in ("known", "recalled"):
            for backend in ("threads", "processes"):
                assert measured(row(backend=backend, extra={mark: 2})) is None

    def test_the_clock_of_a_loop_is_news_though(self):
        seen = measured(row(clock_s=0.5, source="optimize", extra={"known": 2}))
        assert seen.item_s == pytest.approx(5e-3)
        assert seen.item_cpu_s == pytest.approx(5e-3)

    def test_so_is_what_waiting_threads_took(self):
        waits = {**MILLI, "item_cpu_s": 1e-5}
        ran = {"work_s": 0.4, "work_cpu_s": 0.01, "work_items": 100}
        seen = measured(row(backend="threads", sample=waits, extra={"recalled": True}, **ran))
        assert (seen.item_s, seen.item_cpu_s) == (pytest.approx(4e-3), pytest.approx(1e-4))

    def test_the_loop_of_execute_is_without_its_own_time(self):
        assert measured(row(clock_s=0.5)).item_s == 1e-3
        assert measured(row(clock_s=0.5, source="optimize")).item_s == pytest.approx(5e-3)

    def test_a_short_run_has_no_sample_but_a_clock(self):
        assert measured(row(sample=None, clock_s=1e-4)).item_s == pytest.approx(1e-6)

    def test_processes_that_shared_cores_tell_what_an_item_takes_on_one(self):
        ran = {"work_s": 3 * 1.5e-3, "work_cpu_s": 3e-3, "work_items": 3, "n_jobs": 3}
        assert measured(row(backend="processes", machine={"usable_cores": 2.0}, **ran)).worker_s == pytest.approx(1e-3)
        assert measured(row(backend="processes", machine=None, **ran)).worker_s == pytest.approx(1.5e-3)
        waits = row(backend="processes", machine={"usable_cores": 2.0}, sample={**MILLI, "item_cpu_s": 1e-5}, **ran)
        assert measured(waits).worker_s == pytest.approx(1.5e-3)

    def test_processes_tell_what_an_item_takes_there(self):
        ran = {"work_s": 0.12, "work_cpu_s": 0.11, "work_items": 100}
        assert measured(row(backend="processes", **ran)).worker_s == pytest.approx(1.2e-3)
        assert measured(row(backend="processes", sample=None, **ran)).item_s == pytest.approx(1.2e-3)

    def test_nothing_at_all(self):
        assert measured(Run()) is None
        assert measured(Run(backend="processes", clock_s=1.0, n_items=3)) is None


class TestTransfer:
    def test_who_has_weighed_tells(self):
        seconds = [1e-3 + at * 1e-5 for at in range(3)]
        unweighed = [row(sample={"n_sampled": 3, "item_s": each, "item_cpu_s": each}) for each in seconds]
        found = ask(unweighed)
        assert (found.weighed, found.sent) == (False, False)
        found = ask([*unweighed, row(sample={**MILLI, "item_s": 1.1e-3, "result_bytes": 1e6})])
        assert (found.weighed, found.sent, found.sample.result_bytes) == (True, True, 1e6)

    def test_what_cannot_be_sent(self):
        lost = [row(1e-3 + at * 1e-5, sample={**MILLI, "transfer_error": "no"}) for at in range(2)]
        lost = [replace(one, sample={**one.sample, "item_s": 1e-3 + at * 1e-5}) for at, one in enumerate(lost)]
        assert ask(lost).sample.transfer_error == "no"


@pytest.mark.parametrize(
    ("predicted_s", "clock_s", "interval_s", "expected"),
    [
        (1.0, 1.0, (0.9, 1.1), False),
        (1.0, 100.0, (0.9, 1.1), True),
        (1.0, 0.01, (0.9, 1.1), True),
        (1.0, 3.0, (0.2, 5.0), False),
        (1e-5, 9e-4, (1e-5, 2e-5), False),
        (1.0, 3.0, None, True),
    ],
)
def test_surprises(predicted_s, clock_s, interval_s, expected):
    assert surprised(predicted_s, clock_s, interval_s) is expected
