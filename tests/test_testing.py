"""The stand-ins of `amorsize.testing` pass the tests of the objects that they replace.

The virtual driver runs ``tests/schedule/test_schedule.py`` (`virtual.Run` derives from it), the hostile executor runs
``tests/backends/test_futures.py``, and the dummy events keep the contract of ``tests/test_events.py``.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures import TimeoutError as Late
from functools import partial
from pickle import PicklingError

import engine_functions as ef
import pytest
from event_contract import fails_at, is_whole, workers_come_and_go

import amorsize
from amorsize import events
from amorsize.errors import TransferError
from amorsize.schedule.messages import CALLER, Done, Fail, Finish, GiveUp, Kill, Ready, Retire, Send, Span, Start
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.simulation.overheads import Overheads
from amorsize.schedule.simulation.simulate import simulate
from amorsize.testing import HostileExecutor, Like, VirtualDriver, a_machine, a_run, an_event


def test_loads_nothing_heavy():
    code = "import amorsize.testing, sys; print({'numpy', 'psutil', 'multiprocessing'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_machine_takes_the_place_of_this_one():
    plan = amorsize.optimize(abs, range(10), backend="serial")
    assert type(a_machine(3)) is type(amorsize.machine())
    assert a_machine(0.5).logical_cores == 1
    assert plan.backend == "serial"


class TestEvents:
    @pytest.mark.parametrize("kind", [kind for kind in vars(events).values() if isinstance(kind, type)])
    def test_one_of_each_kind(self, kind):
        event = an_event(kind, at_s=2.0)
        assert type(event) is kind
        assert event.at_s == 2.0

    def test_a_field_that_does_not_exist_is_refused(self):
        with pytest.raises(TypeError, match="speed"):
            an_event(events.RunStarted, speed=3)

    @pytest.mark.parametrize("items", [0, 1, 7, 100])
    @pytest.mark.parametrize("chunksize", [1, 3])
    def test_a_whole_run(self, items, chunksize):
        seen = a_run(items, chunksize=chunksize)
        is_whole(seen, items)
        workers_come_and_go(seen)

    def test_items_that_fail(self):
        fails_at(a_run(200, chunksize=7, failed=[3, 150]), 200, [3, 150])


class TestLike:
    @pytest.mark.parametrize(
        ("real", "like"),
        [
            (Start(3), Like(Start)),
            (Start(3), Like(Start, worker=3)),
            (Send(1, Span(2, 4)), Like(Send, span=Like(Span, start=2))),
            (Fail(5, "lost"), Like(Fail, why="lost")),
            (Done(1, 0.1 + 0.2), Like(Done, wall_s=pytest.approx(0.3))),
            (Finish(), Like(Finish)),
            (an_event(events.RunStarted, items=9), Like(events.RunStarted, items=9)),
        ],
        ids=str,
    )
    def test_equals_on_either_side(self, real, like):
        assert real == like
        assert like == real
        assert [real] == [like]

    @pytest.mark.parametrize("like", [Like(Retire), Like(Start, worker=4)])
    def test_another_class_or_value_differs(self, like):
        assert Start(3) != like
        assert like != Start(3)

    def test_a_field_that_does_not_exist_is_refused(self):
        with pytest.raises(TypeError, match=r"^Start has no field 'wrker'$"):
            Like(Start, wrker=3)
        with pytest.raises(TypeError, match=r"^Send has no field 'start'$"):
            Like(Send, start=3)

    def test_shows_what_it_asks_for(self):
        assert repr(Like(Send, worker=3)) == "Like(Send, worker=3)"


class TestVirtualDriver:
    @pytest.mark.parametrize("overheads", [None, Overheads(start_s=0.1, boot_wait_s=0.2, send_s=0.01, latency_s=0.02)])
    @pytest.mark.parametrize("options", [{}, {"fixed": 3}, {"caller_helps": True}])
    def test_runs_as_the_simulator_does(self, overheads, options):
        items = [0.1 * (1 + i % 5) for i in range(50)]
        driver = VirtualDriver(Schedule([(0, 50)], 3, **options), items, overheads=overheads)
        assert driver.run() == simulate(items, 3, overheads=overheads, **options)
        assert sorted(driver.done) == list(range(50))

    def test_items_that_raise_are_repeated_and_fail(self):
        driver = VirtualDriver(Schedule([(0, 10)], 2, retries=2, fixed=5), [1.0] * 10, raises=[4])
        driver.run()
        assert driver.failed == {4: "raised"}
        assert sum(4 in event.failed for _, event in driver.log if event == Like(Done)) == 3

    def test_an_item_that_hangs_is_ended(self):
        driver = VirtualDriver(Schedule([(0, 10)], 2, timeout_s=5.0, fixed=1), [1.0] * 10, hangs=[4])
        assert driver.run().makespan_s < 10.0
        assert driver.failed == {4: "late"}
        assert [what for _, what in driver.log if what == Like(Kill)]
        assert sorted(driver.done) == [0, 1, 2, 3, 5, 6, 7, 8, 9]

    def test_an_item_that_hangs_without_a_time_limit_is_a_standstill(self):
        with pytest.raises(RuntimeError, match="standstill"):
            VirtualDriver(Schedule([(0, 10)], 2), [1.0] * 10, hangs=[4]).run()

    def test_the_length_of_a_source_is_found_out(self):
        driver = VirtualDriver(Schedule([(0, None)], 2), [1.0] * 9)
        driver.run()
        assert sorted(driver.done) == list(range(9))

    def test_a_worker_that_is_lost_is_replaced(self):
        driver = VirtualDriver(Schedule([(0, 20)], 2), [1.0] * 20, deadly=[7])
        driver.run()
        assert driver.failed == {7: "lost"}
        assert len([what for _, what in driver.log if what == Like(Start)]) > 2

    @pytest.mark.parametrize(
        ("wrong", "text"),
        [
            (lambda: [Start(0), Start(0)], "started twice"),
            (lambda: [Send(0, Span(0, 1))], "not ready"),
            (lambda: [Send(CALLER, Span(0, 0))], "empty span"),
            (lambda: [Send(CALLER, Span(0, 1)), Send(CALLER, Span(1, 2, alone=True))], "behind others"),
            (lambda: [Send(CALLER, Span(0, 1, alone=True)), Send(CALLER, Span(1, 2))], "to be alone"),
            (lambda: [Send(CALLER, Span(0, 1)), Retire(CALLER)], "in flight"),
            (lambda: [Fail(0), Fail(0)], "failed twice"),
            (lambda: [Finish(), GiveUp()], "after the end"),
        ],
    )
    def test_a_schedule_that_errs_is_found_out(self, wrong, text):
        class Wrong(Schedule):
            def begin(self, now_s=0.0, *, eager=False):
                return wrong()

        with pytest.raises(AssertionError, match=text):
            VirtualDriver(Wrong([(0, 4)], 1), [1.0] * 4).run()

    def test_a_schedule_that_miscounts_is_found_out(self):
        class Wrong(Schedule):
            def counts(self):
                queued, flying, done = super().counts()
                return queued, flying + 1, done - 1

        with pytest.raises(AssertionError, match="in flight"):
            VirtualDriver(Wrong([(0, 4)], 1), [1.0] * 4).run()

    def test_ready_workers_are_told_of(self):
        driver = VirtualDriver(Schedule([(0, 4)], 2), [1.0] * 4)
        driver.run()
        assert [what for _, what in driver.log if what == Like(Ready)] == [Ready(0), Ready(1)]


EXECUTORS = {
    "the standard library's": ThreadPoolExecutor,
    "calm": HostileExecutor,
    "delays and reorders": partial(HostileExecutor, delays=0.5, reorders=0.5, delay_s=1e-3),
    "always delays and reorders": partial(HostileExecutor, delays=1.0, reorders=1.0, delay_s=1e-3),
}


@pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS)
class TestContractOfAnExecutor:
    """The promises of `concurrent.futures`, which allow delays and another order."""

    def test_results(self, make):
        with make(2) as executor:
            assert executor.submit(pow, 2, 5).result() == 32
            assert executor.submit(int, "11", base=2).result() == 3
            assert list(executor.map(pow, range(40), [2] * 40)) == [x * x for x in range(40)]

    def test_exceptions(self, make):
        with make(2) as executor:
            with pytest.raises(ValueError, match="three"):
                executor.submit(int, "three").result()
            assert isinstance(executor.submit(int, "three").exception(), ValueError)
            assert isinstance(executor.submit(sys.exit, 3).exception(), SystemExit)

    def test_waiting_for_many(self, make):
        with make(3) as executor:
            futures = [executor.submit(abs, -x) for x in range(30)]
            assert sorted(future.result() for future in as_completed(futures)) == list(range(30))
            assert not wait(futures).not_done

    def test_callbacks(self, make):
        called = []
        with make(2) as executor:
            for x in range(10):
                executor.submit(abs, x).add_done_callback(lambda future: called.append(future.result()))
        assert sorted(called) == list(range(10))

    def test_a_callback_may_submit(self, make):
        more = []
        with make(1) as executor:
            first = executor.submit(abs, -1)
            first.add_done_callback(lambda future: more.append(executor.submit(abs, -2)))
            assert first.result() == 1
            while not more:
                pass
            assert more[0].result() == 2

    def test_time_limits(self, make):
        gate = threading.Event()
        with make(1) as executor:
            future = executor.submit(gate.wait)
            with pytest.raises(Late):
                future.result(timeout=0.01)
            gate.set()
            assert future.result()

    def test_cancelling(self, make):
        gate = threading.Event()
        with make(1) as executor:
            running, waiting = executor.submit(gate.wait), executor.submit(abs, -1)
            assert waiting.cancel()
            gate.set()
            assert running.result()
            with pytest.raises(CancelledError):
                waiting.result()
            assert not wait([running, waiting], timeout=20).not_done

    def test_shutting_down(self, make):
        executor = make(2)
        futures = [executor.submit(abs, -x) for x in range(10)]
        executor.shutdown()
        assert [future.result() for future in futures] == list(range(10))
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(abs, 1)
        executor.shutdown()

    def test_shutting_down_with_what_waits_cancelled(self, make):
        gate = threading.Event()
        executor = make(1)
        running, *waiting = [executor.submit(gate.wait), *(executor.submit(abs, -x) for x in range(5))]
        while not running.running():
            pass
        executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
        assert running.result()
        assert all(future.cancelled() for future in waiting)
        executor.shutdown()

    @pytest.mark.parametrize("workers", [0, -1])
    def test_workers_are_needed(self, make, workers):
        with pytest.raises(ValueError, match="max_workers"):
            make(workers)


class TestHostileExecutor:
    def test_results_come_in_another_order(self):
        ended, gate = [], threading.Event()
        with HostileExecutor(1, seed=1, reorders=0.5) as executor:
            # Until all of them are open.
            executor.submit(gate.wait)
            for x in range(20):
                executor.submit(abs, x).add_done_callback(lambda future: ended.append(future.result()))
            gate.set()
        assert sorted(ended) == list(range(20)) != ended

    def test_a_seed_repeats_its_mishaps(self):
        def which(seed):
            with HostileExecutor(2, seed=seed, raises=0.3) as executor:
                futures = [executor.submit(abs, x) for x in range(50)]
                return [x for x, future in enumerate(futures) if future.exception() is not None]

        assert which(3) == which(3) != which(4)

    @pytest.mark.parametrize("seed", range(5))
    def test_a_task_that_cannot_be_sent_costs_no_other_item(self, seed):
        with HostileExecutor(2, seed=seed, raises=0.3, delays=0.2, reorders=0.5, delay_s=1e-3) as executor:
            got = amorsize.execute(ef.square, range(100), backend=executor, on_error="collect")
        failed = [x for x in range(100) if isinstance(got[x], amorsize.Failure)]
        assert all(isinstance(got[x].exception, TransferError) for x in failed)
        assert all(isinstance(got[x].exception.__cause__, PicklingError) for x in failed)
        assert [got[x] for x in range(100) if x not in failed] == [x * x for x in range(100) if x not in failed]

    def test_one_that_breaks_says_so(self):
        with HostileExecutor(2, loses=1.0) as executor:
            with pytest.raises(BrokenExecutor):
                amorsize.execute(ef.square, range(100), backend=executor)
            with pytest.raises(BrokenExecutor):
                executor.submit(abs, 1)

    def test_a_loss_breaks_all_open_tasks(self):
        gate = threading.Event()
        with HostileExecutor(2) as executor:
            running = executor.submit(gate.wait)
            executor._shares["lose"] = 1.0
            lost = executor.submit(abs, 1)
            assert isinstance(lost.exception(), BrokenExecutor)
            assert isinstance(running.exception(), BrokenExecutor)
            gate.set()
