"""`process_map` and `thread_map` beside those of tqdm itself, and the bar of ``progress=True``."""

from __future__ import annotations

import inspect
import io
import itertools
import operator
import os
import threading
import time

import pytest

contrib = pytest.importorskip("tqdm.contrib.concurrent")
from tqdm import tqdm  # noqa: E402

from amorsize.integrations import tqdm as ours  # noqa: E402

PAIRS = pytest.mark.parametrize(
    ("mine", "theirs"),
    [(ours.process_map, contrib.process_map), (ours.thread_map, contrib.thread_map)],
    ids=["process_map", "thread_map"],
)


@pytest.fixture(autouse=True)
def _no_monitor(monkeypatch):
    """tqdm's own functions would leave a thread behind."""
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


def square(x):
    return x * x


def refuse(x):
    if x >= 5:
        raise LookupError(x)
    return x


def nap(x):
    time.sleep(x)
    return x


def drawn(call, fn, *iterables, **keywords):
    """Return what a map gives or raises, and the last state of its bar."""
    bars = []

    class Seen(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, file=io.StringIO(), **kwargs)
            bars.append(self)

    try:
        outcome = call(fn, *iterables, tqdm_class=Seen, **keywords)
    except Exception as exc:
        outcome = (type(exc), exc.args)
    (bar,) = bars
    if bar.disable:
        return outcome, bar.n, bar.total
    said = bar.fp.getvalue().rpartition("\r")[2].partition("[")[0]
    return outcome, bar.n, bar.total, bar.desc, bar.unit, bar.initial, said.strip()


@PAIRS
class TestLikeTqdm:
    @pytest.mark.parametrize(
        ("fn", "iterables"),
        [
            (square, [range(30)]),
            (square, [[3, 1, 2]]),
            (square, [[]]),
            (square, [(x for x in range(9))]),
            (str.upper, [iter("abc")]),
            (pow, [[2, 3, 4], [5, 6, 7]]),
            (pow, [[2, 3, 4, 5], (x for x in range(3))]),
            (pow, [itertools.count(), range(7)]),
            (operator.add, [{"a": 1}, "b"]),
            (divmod, [range(10, 20), itertools.repeat(3)]),
            (max, [range(4), range(4, 0, -1), [2] * 9]),
            (square, [{4: "x", 2: "y"}]),
        ],
    )
    def test_results_and_the_bar_at_the_end(self, mine, theirs, fn, iterables):
        copies = [itertools.tee(one) if iter(one) is one else (one, one) for one in iterables]
        assert drawn(mine, fn, *(a for a, _ in copies), max_workers=2) == drawn(
            theirs, fn, *(b for _, b in copies), max_workers=2
        )

    @pytest.mark.parametrize(
        "keywords",
        [
            {"desc": "squares", "unit": "sq"},
            {"total": 50},
            {"total": None},
            {"initial": 7, "total": 37},
            {"disable": True},
            {"chunksize": 1},
            {"leave": False, "position": 0},
            {"lock_name": ""},
            {"smoothing": 0.5, "ascii": True},
            {"miniters": 1, "mininterval": 0},
            {"timeout": 600},
            {"max_workers": None},
            {"bar_format": "{n}/{total} "},
        ],
        ids=str,
    )
    def test_keywords(self, mine, theirs, keywords):
        assert drawn(mine, square, range(30), **keywords) == drawn(theirs, square, range(30), **keywords)

    def test_signatures(self, mine, theirs):
        a, b = inspect.signature(mine), inspect.signature(theirs)
        assert [(p.name, p.kind, p.default) for p in a.parameters.values()] == [
            (p.name, p.kind, p.default) for p in b.parameters.values()
        ]

    def test_no_iterable(self, mine, theirs):
        assert drawn(mine, square) == drawn(theirs, square)

    def test_what_an_item_raises(self, mine, theirs):
        assert drawn(mine, refuse, range(9))[0] == drawn(theirs, refuse, range(9))[0] == (LookupError, (5,))

    def test_what_the_data_raise(self, mine, theirs):
        def broken():
            yield 1
            raise OSError("gone")

        assert drawn(mine, square, broken())[0] == drawn(theirs, square, broken())[0]

    def test_what_is_refused(self, mine, theirs):
        for call in (mine, theirs):
            with pytest.raises(ValueError, match="max_workers"):
                call(square, range(3), disable=True, max_workers=0)

    def test_a_keyword_of_neither(self, mine, theirs):
        for call in (mine, theirs):
            with pytest.raises(Exception, match="speed"):
                call(square, range(3), speed=3, file=io.StringIO())

    def test_timeout(self, mine, theirs):
        for call in (mine, theirs):
            with pytest.raises(TimeoutError):
                call(nap, [0.3] * 12, timeout=0.2, max_workers=2, disable=True)

    def test_the_class_gets_its_lock_back(self, mine, theirs):
        class Own(tqdm):
            pass

        lock = threading.RLock()
        Own.set_lock(lock)
        mine(square, range(3), tqdm_class=Own, file=io.StringIO())
        assert Own.get_lock() is lock

    def test_no_thread_is_left(self, mine, theirs):
        class Own(tqdm):
            pass

        Own.set_lock(threading.RLock())
        mine(square, range(30), tqdm_class=Own, file=io.StringIO())
        assert Own.monitor is None


def test_chunks_are_not_what_is_counted():
    """tqdm's own bar counts chunks from 4.70 on."""
    assert drawn(ours.process_map, square, range(2_000), chunksize=500, max_workers=2)[1:3] == (2_000, 2_000)


def test_no_warning_that_a_chunksize_is_missing(recwarn):
    ours.process_map(square, range(2_000), disable=True)
    assert not [each for each in recwarn if "chunksize" in str(each.message)]


def test_process_map_runs_in_processes_and_thread_map_does_not():
    assert os.getpid() not in ours.process_map(_pid, range(4), disable=True)
    assert {os.getpid()} == set(ours.thread_map(_pid, range(4), disable=True))


def _pid(x):
    return os.getpid()


def test_a_lambda():
    assert ours.process_map(lambda x: x + 1, [1, 2], disable=True) == [2, 3]


@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_mp_context(context):
    multiprocessing = pytest.importorskip("multiprocessing")
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip("not to be had here")
    for each in (multiprocessing.get_context(context), context):
        assert ours.process_map(square, range(5), mp_context=each, disable=True) == [0, 1, 4, 9, 16]


class TestTheBarOfProgress:
    def test_time_left_is_the_forecast(self):
        file = io.StringIO()
        bar = ours.open_display(file, 100, 0, "")
        bar.show(10, 0, 2.0)
        assert "10/100" in file.getvalue()
        assert "<03:00" in file.getvalue()
        bar.close()
        # At the end the rate is what it was.
        assert "<03:00" not in file.getvalue().rpartition("\r")[2]

    def test_without_a_forecast_it_is_tqdms_own(self):
        file = io.StringIO()
        bar = ours.open_display(file, 100, 0, "map")
        bar.show(10, 2, None)
        bar.close()
        assert "map:  10%" in file.getvalue()
        assert "failed=2" in file.getvalue()

    def test_what_was_done_before_does_not_count_for_the_rate(self):
        bar = ours.open_display(io.StringIO(), 100, 40, "")
        assert bar._bar.initial == 40
        bar.show(50, 0, None)
        assert bar._bar.n == 50
        bar.close()
