"""``limits=``: a run that exceeds a limit is stopped cleanly."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys

import engine_functions as ef
import modes
import numpy as np
import pytest
from measure_functions import busy
from modes import over

import amorsize
from amorsize import Limits
from amorsize.backends import watchers
from amorsize.backends.watchers import CPU_WINDOW_S, Limiter
from amorsize.errors import ResourceLimitError

EACH = [modes.SERIAL, modes.THREADS, *modes.PROCESSES, modes.AUTO, modes.TO_THREADS, *modes.TO_PROCESSES]
ALL_OF_IT = {"max_seconds": 1e9, "max_memory_percent": 100, "max_cpu_percent": 100}


class TestRuns:
    @over(*EACH)
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_too_long(self, run, kind):
        with pytest.raises(ResourceLimitError, match="max_seconds") as caught:
            run(busy, kind(range(100_000)), limits=Limits(max_seconds=0.3))
        error = caught.value
        assert (error.name, error.limit) == ("max_seconds", 0.3)
        assert error.value > 0.3

    @over(*EACH)
    def test_too_much_memory(self, run):
        with pytest.raises(ResourceLimitError, match="max_memory_percent") as caught:
            run(busy, range(100_000), limits=Limits(max_memory_percent=1e-3))
        assert 1e-3 < caught.value.value <= 100

    @over(*EACH)
    def test_too_much_cpu(self, run, monkeypatch):
        monkeypatch.setattr(watchers, "CPU_WINDOW_S", 0.5)
        with pytest.raises(ResourceLimitError, match="max_cpu_percent") as caught:
            run(busy, range(100_000), limits=Limits(max_cpu_percent=0.5))
        assert caught.value.value > 0.5

    def test_enough_of_everything(self, run):
        assert run(ef.square, range(300), limits=Limits(**ALL_OF_IT)) == [x * x for x in range(300)]

    def test_no_limit_at_all(self, run):
        assert run(ef.square, range(30), limits=Limits()) == [x * x for x in range(30)]

    @over(*EACH)
    def test_it_is_no_items_failure(self, run):
        with pytest.raises(ResourceLimitError):
            run(busy, range(100_000), limits=Limits(max_seconds=0.1), on_error="collect")

    @over(modes.SERIAL, modes.AUTO)
    def test_a_loop_that_waits_for_its_rate_is_stopped_too(self, run):
        with pytest.raises(ResourceLimitError):
            run(ef.square, range(100_000), rate=1e-3, limits=Limits(max_seconds=0.1))

    @over(*EACH)
    def test_a_stream_hands_out_what_came_before(self, mode):
        found = []
        results = amorsize.stream(busy, itertools.count(), limits=Limits(max_seconds=0.5), **mode.arguments)
        with pytest.raises(ResourceLimitError):
            found.extend(results)
        assert found == list(range(len(found)))

    @over(*EACH)
    def test_the_history_says_that_it_raised(self, mode, tmp_path):
        history = amorsize.History(tmp_path / "runs.sqlite")
        with pytest.raises(ResourceLimitError):
            amorsize.execute(busy, range(100_000), history=history, limits=Limits(max_seconds=0.1), **mode.arguments)
        assert [run.outcome for run in history.runs()] == ["raised"]


class TestLimits:
    @pytest.mark.parametrize("name", ["max_seconds", "max_memory_percent", "max_cpu_percent"])
    @pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 0.0])
    def test_out_of_range(self, name, value):
        with pytest.raises(ValueError, match=f"^{name}: "):
            Limits(**{name: value})

    @pytest.mark.parametrize("name", ["max_seconds", "max_memory_percent", "max_cpu_percent"])
    @pytest.mark.parametrize("value", ["1", True, [1], object()])
    def test_no_number(self, name, value):
        with pytest.raises(TypeError, match=f"^{name}: "):
            Limits(**{name: value})

    @pytest.mark.parametrize("name", ["max_memory_percent", "max_cpu_percent"])
    def test_no_more_than_everything(self, name):
        with pytest.raises(ValueError, match="at most 100"):
            Limits(**{name: 100.1})

    def test_what_is_as_good_as_a_float(self):
        assert Limits(max_seconds=np.int64(3)) == Limits(max_seconds=3.0)
        assert hash(Limits(max_seconds=3)) == hash(Limits(max_seconds=3.0))

    @pytest.mark.parametrize("call", [amorsize.execute, amorsize.stream])
    @pytest.mark.parametrize("bad", [3, {"max_seconds": 1}, "1"])
    def test_something_else_is_refused_at_the_call(self, call, bad):
        with pytest.raises(TypeError, match=r"^limits: "):
            call(abs, [1], limits=bad)

    def test_frozen(self):
        with pytest.raises(AttributeError):
            Limits().max_seconds = 3


def test_the_error_says_what_and_survives_pickling():
    error = ResourceLimitError("max_memory_percent", 91.234, 90.0)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert "91.2 %" in str(error)
    assert "90 %" in str(error)
    assert isinstance(error, amorsize.AmorsizeError)


class TestLimiter:
    """The limiter, with a fake clock and fake readings."""

    @staticmethod
    def make(limits, *, memory=(1000, 1000), cores=2.0, used=None):
        used = {} if used is None else used
        return Limiter(limits, 100.0, memory=lambda: memory, cpu_s=lambda pids: dict(used), cores=cores)

    def test_seconds(self):
        one = self.make(Limits(max_seconds=5))
        one.tick(105.0)
        with pytest.raises(ResourceLimitError):
            one.tick(105.1)

    def test_memory(self):
        self.make(Limits(max_memory_percent=90), memory=(100, 1000)).tick(100)
        with pytest.raises(ResourceLimitError) as caught:
            self.make(Limits(max_memory_percent=90), memory=(99, 1000)).tick(100)
        assert caught.value.value == pytest.approx(90.1)

    def test_memory_that_nobody_knows(self):
        self.make(Limits(max_memory_percent=90), memory=(0, 0)).tick(100)

    def cpu(self, rates, *, limit=50.0, looks=80):
        """Return the seconds until it raises, if processes use ``rates(t)`` cores, by pid; None: never."""
        used: dict[int, float] = {1: 40.0}
        one = self.make(Limits(max_cpu_percent=limit), used=used)
        for k in range(looks):
            t = 0.25 * k
            for pid, rate in rates(t).items():
                used[pid] = used.get(pid, 0.0) + 0.25 * rate
            try:
                one.tick(100 + t)
            except ResourceLimitError:
                return t
        return None

    def test_cpu_that_is_sustained(self):
        assert self.cpu(lambda t: {1: 1.2}) == pytest.approx(CPU_WINDOW_S, abs=0.3)

    def test_cpu_below(self):
        assert self.cpu(lambda t: {1: 0.9}) is None

    def test_a_burst_is_no_offence(self):
        assert self.cpu(lambda t: {1: 2.0 if 5 < t < 6 else 0.5}) is None

    def test_what_was_used_before_the_run_does_not_count(self):
        assert self.cpu(lambda t: {1: 0.0}, limit=0.1) is None

    def test_all_processes_count_also_those_that_come_later(self):
        at = self.cpu(lambda t: {1: 0.1} | ({2: 0.6, 3: 0.6} if t > 8 else {}))
        assert at is not None
        assert 9 < at < 8 + CPU_WINDOW_S + 0.5


class TestCommandLine:
    @staticmethod
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "amorsize", *arguments], capture_output=True, text=True)

    @pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
    def test_exit_code(self, backend):
        items = ("--range", "20000:60000")
        done = self.run("execute", "math:factorial", *items, "--backend", backend, "--max-seconds", "0.2")
        assert done.returncode == 42
        # They have too many digits.
        assert all(line.startswith("<int that cannot be shown: ") for line in done.stdout.splitlines())
        assert done.stderr.startswith("amorsize: --max-seconds: ")
        assert "Traceback" not in done.stderr

    def test_memory(self):
        done = self.run("execute", "math:factorial", "--range", "20000:60000", "--max-memory-percent", "0.001")
        assert done.returncode == 42

    def test_that_is_not_reached(self):
        done = self.run("execute", "math:sqrt", "--range", "3", "--max-seconds", "1e6", "--max-cpu-percent", "100")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "0.0")

    @pytest.mark.parametrize("bad", [("--max-seconds", "-1"), ("--max-cpu-percent", "101"), ("--max-seconds", "x")])
    def test_bad_usage(self, bad):
        done = self.run("execute", "math:sqrt", "--range", "3", *bad)
        assert done.returncode == 2
        assert bad[0] in done.stderr
        assert len(done.stderr.splitlines()) == 1
