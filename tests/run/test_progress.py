"""``progress=``: bars, and functions that hear how many items are done."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import engine_functions as ef
import modes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modes import ROOT

import amorsize
from amorsize.errors import AmorsizeError, StopRun
from amorsize.events import ChunkDone, ItemFailed, RunFinished, RunStarted
from amorsize.run import progress

N = 60
CALLS = pytest.mark.parametrize("call", [amorsize.execute, amorsize.stream])


def spin(x):
    return ef.spin(x, 1e-3)


class Heard(list):
    """A function for ``progress=`` that keeps what it was told."""

    def __call__(self, done, total):
        self.append((done, total))

    def is_whole(self, n, total):
        """Check that the numbers rise, and that the last call tells that all is done."""
        numbers = [done for done, _ in self]
        assert numbers == sorted(set(numbers))
        assert {each for _, each in self} == {total}
        assert numbers[-1] == n


class TestAFunction:
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_hears_how_many_are_done(self, run, kind):
        heard = Heard()
        assert run(spin, kind(range(N)), progress=heard) == [x * x for x in range(N)]
        heard.is_whole(N, N if kind is list else None)

    def test_failures_count(self, run):
        heard = Heard()
        run(partial(ef.refuse, (3, 50)), range(N), on_error="collect", progress=heard)
        heard.is_whole(N, N)

    def test_repeats_count_once(self, run, tmp_path):
        heard = Heard()
        run(partial(ef.fail_first, str(tmp_path), 1), range(20), retries=2, progress=heard)
        heard.is_whole(20, 20)

    @pytest.mark.parametrize("ordered", [True, False])
    def test_of_a_stream(self, mode, ordered):
        heard = Heard()
        list(amorsize.stream(spin, range(N), ordered=ordered, progress=heard, **mode.arguments))
        heard.is_whole(N, N)

    @pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
    def test_of_an_executor_moves(self, kind, tmp_path):
        """The last item waits until the function has heard of others twice."""
        heard, sign = Heard(), tmp_path / "heard"

        def hear(done, total):
            heard(done, total)
            if len(heard) > 1:
                sign.touch()

        with kind(2) as executor:
            amorsize.execute(partial(_wait_at, N - 1, str(sign)), range(N), backend=executor, progress=hear)
        heard.is_whole(N, N)
        assert len(heard) > 2

    def test_of_nothing(self, run):
        heard = Heard()
        assert run(spin, [], progress=heard) == []
        assert heard == [(0, 0)]

    def test_a_run_that_raises_never_tells_that_all_is_done(self, run):
        heard = Heard()
        with pytest.raises(ef.Refused):
            run(partial(ef.refuse, (40,)), range(N), progress=heard)
        assert all(done < N for done, _ in heard)

    def test_what_a_checkpoint_holds_is_done(self, run, tmp_path):
        file = tmp_path / "run.ckpt"
        with pytest.raises(ef.Refused):
            run(partial(ef.refuse, (40,)), range(N), checkpoint=file, checkpoint_key="k")
        heard = Heard()
        run(partial(ef.refuse, ()), range(N), checkpoint=file, checkpoint_key="k", progress=heard)
        heard.is_whole(N, N)
        assert heard[0][0] > 0

    def test_one_that_raises_is_logged_once_and_dropped(self, run, caplog):
        heard = []

        def fail(done, total):
            heard.append(done)
            raise ZeroDivisionError("mine")

        with caplog.at_level(logging.WARNING, "amorsize"):
            assert run(spin, range(N), progress=fail) == [x * x for x in range(N)]
        assert len(heard) == 1
        (record,) = [each for each in caplog.records if "progress=" in each.getMessage()]
        assert "ZeroDivisionError: mine" in record.getMessage()

    def test_stop_run_ends_the_run_in_order(self, run, tmp_path):
        file = tmp_path / "run.ckpt"

        def stop(done, total):
            if done >= 1:
                raise StopRun("enough")

        with pytest.raises(StopRun, match="enough"):
            run(spin, range(1_000), progress=stop, checkpoint=file)
        heard = Heard()
        run(spin, range(1_000), progress=heard, checkpoint=file)
        assert heard[0][0] >= 1
        assert issubclass(StopRun, AmorsizeError)

    def test_ctrl_c_in_it_passes(self, run):
        def interrupted(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(spin, range(N), progress=interrupted)


class TestHowOften:
    @given(
        st.lists(
            st.tuples(st.floats(0.0, 0.3), st.sampled_from(["chunk", "failure", "repeat", "tick"]), st.integers(1, 5))
        )
    )
    def test_ten_times_a_second_and_at_the_end(self, steps):
        """In virtual time: what came too soon is shown by a later tick, and the end always."""
        shown, now_s, done = [], 1.0, 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(progress, "perf_counter", lambda: now_s)
            listener = progress.Progress(lambda done, total: shown.append((now_s, done)), lambda: None)
            listener(RunStarted(at_s=0.0, items=1_000))
            for wait_s, kind, items in steps:
                now_s += wait_s
                if kind == "tick":
                    listener.tick(now_s)
                    assert shown
                    assert shown[-1][1] == done or now_s - shown[-1][0] < progress.SHOW_S
                elif kind == "failure":
                    listener(ItemFailed(at_s=0.0, index=0, exception=ValueError()))
                    done += 1
                else:
                    failed = items if kind == "repeat" else 0
                    listener(ChunkDone(at_s=0.0, worker=None, start=0, items=items, failed=failed, wall_s=0, cpu_s=0))
                    done += items - failed
            before = list(shown)
            listener(RunFinished(at_s=0.0, items=done, failed=0))
            listener.close()
        assert shown[-1][1] == done
        assert len(shown) - len(before) <= 1
        assert all(later - earlier >= progress.SHOW_S for (earlier, _), (later, _) in itertools.pairwise(before))


class TestWrongValues:
    @CALLS
    @pytest.mark.parametrize("bad", [3, "yes", "tqdm", None, [], {"desc": 3}, {"total": "5"}, {"total": True}])
    def test_types(self, call, bad):
        with pytest.raises(TypeError, match=r"^progress: "):
            call(abs, [1], progress=bad)

    @CALLS
    @pytest.mark.parametrize("bad", [{"total": -1}, {"colour": "red"}, {3: 4}])
    def test_values(self, call, bad):
        with pytest.raises(ValueError, match=r"^progress: "):
            call(abs, [1], progress=bad)

    @CALLS
    def test_a_coroutine_function(self, call):
        async def show(done, total):
            pass

        with pytest.raises(TypeError, match=r"^progress: is a coroutine function"):
            call(abs, [1], progress=show)

    @CALLS
    @pytest.mark.parametrize(("asked", "package", "extra"), [(True, "tqdm", "progress"), ("rich", "rich", "rich")])
    def test_without_the_package_the_extra_is_named(self, call, monkeypatch, asked, package, extra):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"amorsize\[{extra}\]"):
            call(abs, [1], progress=asked)


class TestABar:
    @pytest.fixture(autouse=True)
    def _needs_tqdm(self):
        pytest.importorskip("tqdm")

    def test_counts_every_item_once(self, run, capsys):
        assert run(spin, range(N), progress=True) == [x * x for x in range(N)]
        assert f"{N}/{N}" in capsys.readouterr().err

    def test_of_an_iterator_and_with_failures(self, run, capsys):
        run(partial(ef.refuse, (3, 50)), iter(range(N)), on_error="collect", progress=True)
        said = capsys.readouterr().err
        assert f"{N}item" in said
        assert "failed=2" in said

    def test_total_and_desc(self, run, capsys):
        run(spin, iter(range(N)), progress={"total": N, "desc": "squares"})
        said = capsys.readouterr().err
        assert "squares: 100%" in said
        assert f"{N}/{N}" in said

    def test_one_that_is_not_finished_is_closed(self, capsys):
        heard = []
        results = amorsize.stream(spin, itertools.count(), progress=True, on_event=heard.append)
        next(results)
        results.close()
        assert "item" in capsys.readouterr().err
        assert heard

    @pytest.mark.parametrize("asked", ["True", "'rich'"])
    def test_no_thread_is_left_behind_and_workers_are_forked(self, asked):
        """A monitor thread, as tqdm and rich start one, would keep a later call from forking."""
        if "rich" in asked:
            pytest.importorskip("rich")
        code = f"""
import threading, amorsize
def func(x):
    return sum(range(20_000))
if __name__ == "__main__":
    for _ in range(2):
        _, plan = amorsize.execute(func, range(300), backend="processes", max_workers=2, progress={asked},
                                   return_plan=True)
        print(plan.start_method, threading.active_count())
"""
        done = _python(code)
        assert done.stdout.split() == ["fork", "1"] * 2 if sys.platform == "linux" else done.returncode == 0


def test_what_draws_is_loaded_only_for_a_bar():
    code = """
import amorsize, sys
heard = []
amorsize.execute(abs, range(9), progress=lambda *numbers: heard.append(numbers))
print(heard[-1], *(name in sys.modules for name in ("tqdm", "rich", "logging", "amorsize.integrations.tqdm")))
"""
    assert _python(code).stdout == "(9, 9) False False False False\n"


def _python(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@modes.over(*modes.PROCESSES)
def test_a_long_item_does_not_hold_back_what_others_did(run, tmp_path):
    """Item 0 waits until the function has heard of the others, whatever came too soon after another call."""
    sign = tmp_path / "heard"

    def hear(done, total):
        if done >= N // 4:
            sign.touch()

    run(partial(_wait_at, 0, str(sign)), range(N), progress=hear)


def _wait_at(item, sign, x):
    while x == item and not os.path.exists(sign):
        time.sleep(0.01)
    return x
