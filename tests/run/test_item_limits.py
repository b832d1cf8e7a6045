"""``timeout``, ``rate`` and ``max_failures``: they hold over all workers together."""

from __future__ import annotations

import os
from functools import partial

import engine_functions as ef
import pytest
from disturbed import until_it_holds

import amorsize
from amorsize.errors import AmorsizeError, ItemTimeoutError

METHODS = ["fork", "forkserver", "spawn"]
# A worker that stands still for longer than a limit takes too long, too.
LIMITS_S = (0.5, 5.0, 20.0)


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


class TestTimeout:
    def test_only_what_hangs_is_ended(self, method):
        def check(limit_s):
            got = amorsize.execute(
                partial(ef.hang_at, (3, 11)), range(20), timeout=limit_s, on_error="collect", start_method=method
            )
            late = [i for i, r in enumerate(got) if isinstance(r, amorsize.Failure)]
            assert late == [3, 11]
            assert [r for r in got if type(r) is int] == [x * x for x in range(20) if x not in late]
            assert isinstance(got[3].exception, ItemTimeoutError)
            assert (got[3].index, got[3].exception.index, got[3].exception.timeout_s) == (3, 3, limit_s)

        until_it_holds(check, LIMITS_S)

    def test_it_is_a_timeout_error_and_says_what_to_do(self, method):
        def check(limit_s):
            with pytest.raises(TimeoutError, match=rf"item 1 ran longer than timeout={limit_s:g} s") as caught:
                amorsize.execute(ef.hang_at_odd, range(2), timeout=limit_s, start_method=method)
            assert isinstance(caught.value, AmorsizeError)

        until_it_holds(check, LIMITS_S)

    def test_a_late_item_may_be_repeated(self, method, tmp_path):
        hang_once = partial(ef.hang_first, str(tmp_path), 5)
        # More than once: the others may stand still for so long, too.
        assert amorsize.execute(hang_once, range(8), timeout=0.5, retries=5, start_method=method) == [
            x * x for x in range(8)
        ]

    def test_nothing_runs_in_the_caller(self):
        assert os.getpid() not in {pid for pid, _ in amorsize.execute(ef.where, range(20), timeout=60)}

    def test_a_generator_and_a_stream(self, method):
        def check(limit_s):
            func = partial(ef.hang_at, (2,))
            got = list(amorsize.stream(func, iter(range(6)), timeout=limit_s, on_error="collect", start_method=method))
            assert isinstance(got[2], amorsize.Failure)
            assert [r for r in got if not isinstance(r, amorsize.Failure)] == [0, 1, 9, 16, 25]

        until_it_holds(check, LIMITS_S)


@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "processes"])
class TestRate:
    def test_results_are_those_of_map(self, backend):
        assert amorsize.execute(ef.square, range(60), rate=2000, backend=backend) == [x * x for x in range(60)]

    def test_it_takes_at_least_as_long_as_the_rate_says(self, backend):
        """A lower bound, which no slow machine can break: 60 items at 300 a second, 15 of which may be saved up.

        Two may be on their way to each worker when the first one begins, however late that is.
        """
        begun = amorsize.execute(ef.now, range(60), rate=300, backend=backend, max_workers=2)
        begun.sort()
        assert begun[-1] - begun[0] >= 0.9 * (60 - 15 - 4) / 300


@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "processes"])
class TestMaxFailures:
    def test_as_many_as_allowed_are_collected(self, backend):
        got = amorsize.execute(
            partial(ef.refuse, (3, 5)), range(10), backend=backend, on_error="collect", max_failures=2
        )
        assert [i for i, r in enumerate(got) if isinstance(r, amorsize.Failure)] == [3, 5]

    def test_one_more_ends_the_run_with_the_first(self, backend):
        with pytest.raises(ef.Refused) as caught:
            amorsize.execute(
                partial(ef.refuse, range(0, 500, 2)), range(500), backend=backend, on_error="collect", max_failures=2
            )
        assert any("max_failures=2" in note for note in caught.value.__notes__)
        assert any("raised at item" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": 1, "backend": "serial"}, ValueError),
        ({"timeout": 1, "backend": ("serial", "threads")}, ValueError),
        ({"rate": -1}, ValueError),
        ({"rate": float("inf")}, ValueError),
        ({"rate": [1]}, TypeError),
        ({"max_failures": -1, "on_error": "collect"}, ValueError),
        ({"max_failures": 1.5, "on_error": "collect"}, TypeError),
        ({"max_failures": 1}, ValueError),
    ],
)
def test_wrong_ones_are_refused_by_name(wrong, error):
    with pytest.raises(error, match=next(iter(wrong))):
        amorsize.execute(ef.square, [1, 2], **wrong)
