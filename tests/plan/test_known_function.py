"""``optimize()`` plans from history without calling the function, and detects a wrong history."""

from __future__ import annotations

import json
import multiprocessing.pool
import pickle
from functools import partial

import engine_functions as ef
import pytest
from hands import spin, virtual_time

import amorsize
from amorsize import History
from amorsize.facts import Sample
from amorsize.history import sqlite_file, waiting
from amorsize.history.fingerprint import fingerprint
from amorsize.history.shape import shape_of
from amorsize.history.this_process import THIS_PROCESS
from amorsize.plan.pools import LoopPool

pytestmark = pytest.mark.alone

DATA = list(range(60))


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "history.sqlite"
    monkeypatch.setenv("AMORSIZE_HISTORY", str(path))
    yield path
    waiting.queues.clear()
    waiting.failing.clear()


@pytest.fixture
def hands(monkeypatch):
    """Items take their nominal time, however busy the machine is."""
    with virtual_time(monkeypatch):
        yield


CALLS = []


SOME = 6  # runs


def noting(x):
    """Take 0.3 ms, and record the call."""
    CALLS.append(x)
    return spin(x, 3e-4)


def calls():
    """Return the number of calls since the last `calls`."""
    number = len(CALLS)
    CALLS.clear()
    return number


def here():
    from amorsize.system.start_methods import share_of

    return share_of(amorsize.machine())


def write(func, data, item_s, *, rows=3, machine=None, **values):
    """Write rows in which an item takes so long."""
    for at in range(rows):
        seconds = item_s * (1 + at / 100)
        sample = Sample(
            n_sampled=5, item_s=seconds, item_cpu_s=seconds, item_max_s=seconds, last_s=seconds, gil_held=1.0,
            arg_bytes=5.0, result_bytes=5.0,
        )  # fmt: skip
        row = {"function": func, "shape": shape_of(data), "n_items": len(data), "clock_s": len(data) * seconds}
        History().record({**row, "sample": sample, "machine": machine or here(), **values})


class TestKnownFunctions:
    def test_after_some_runs_func_is_not_called(self, path, hands):
        for _ in range(SOME):
            amorsize.execute(noting, DATA, backend="serial")
        assert calls() == SOME * len(DATA)
        plan = amorsize.optimize(noting, DATA)
        assert calls() == 0
        assert plan.known_runs >= 2
        assert f"{plan.known_runs} earlier runs agree" in plan.reason
        assert f"of {plan.known_runs} earlier runs" in plan.explain()
        assert plan.predicted_interval_s[0] <= plan.predicted_s <= plan.predicted_interval_s[1]
        with plan.pool() as pool:
            assert pool.map(noting, plan.data) == [x * x for x in DATA]

    def test_what_is_over_in_no_time_is_known_after_two(self, path, hands):
        for _ in range(2):
            amorsize.execute(abs, DATA)
        assert amorsize.optimize(abs, DATA).known_runs == 2

    def test_also_from_the_file_alone(self, path, hands):
        for _ in range(SOME):
            amorsize.execute(noting, DATA, backend="serial")
        History().flush()
        calls()
        assert not waiting.rows_of(str(path))
        assert amorsize.optimize(noting, DATA).known_runs >= 2
        assert calls() == 0

    def test_after_its_own_plans_were_run(self, path, hands):
        for _ in range(SOME):
            plan = amorsize.optimize(noting, DATA, backend="serial")
            with plan.pool() as pool:
                pool.map(noting, plan.data)
        calls()
        assert amorsize.optimize(noting, DATA).known_runs >= 2
        assert calls() == 0

    @pytest.mark.parametrize("backend", ["serial", "threads", "processes", ("serial", "processes"), "auto"], ids=str)
    def test_whatever_is_asked_for(self, path, backend):
        write(ef.note_call, DATA, 1e-2)  # calling it would raise
        plan = amorsize.optimize(ef.note_call, DATA, backend=backend, max_workers=2)
        assert plan.known_runs == 3
        assert backend == "auto" or plan.backend in backend
        assert plan.n_jobs <= 2

    def test_runs_of_another_function_say_nothing(self, path, hands):
        def adding(number, step=1):
            return lambda x: x + number + step

        for _ in range(3):
            amorsize.execute(adding(1), DATA, backend="serial")
        assert amorsize.optimize(adding(1), DATA).known_runs == 3
        assert amorsize.optimize(adding(2), DATA).known_runs == 0  # what it closes over
        assert amorsize.optimize(adding(1, 2), DATA).known_runs == 0
        assert amorsize.optimize(lambda x: x + 1, DATA).known_runs == 0

    def test_nor_do_other_data(self, path):
        write(ef.square, DATA, 1e-3)
        assert amorsize.optimize(ef.square, DATA).known_runs == 3
        assert amorsize.optimize(ef.square, [x + 1 for x in DATA]).known_runs == 3
        for other in (range(60), [float(x) for x in DATA], [10 * x for x in DATA], set(DATA), iter(DATA), []):
            assert amorsize.optimize(ef.square, other).known_runs == 0

    def test_nor_do_other_machines(self, path):
        write(ef.square, DATA, 1e-3, machine={"system": "Linux", "usable_cores": 512.0})
        assert amorsize.optimize(ef.square, DATA).known_runs == 0

    def test_who_wants_a_sample_gets_one(self, path):
        write(ef.square, DATA, 1e-3)
        assert amorsize.optimize(ef.square, DATA, sample="head").known_runs == 0
        assert amorsize.optimize(ef.square, DATA, history=History("off")).known_runs == 0
        assert amorsize.optimize(ef.square, DATA, history=History(path)).known_runs == 3

    def test_off(self, path, monkeypatch):
        write(ef.square, DATA, 1e-3)
        monkeypatch.setenv("AMORSIZE_HISTORY", "off")
        assert amorsize.optimize(ef.square, DATA).known_runs == 0

    def test_processes_need_to_know_what_results_weigh(self, path):
        for at in range(3):
            sample = Sample(n_sampled=5, item_s=1.0 + at / 100, item_cpu_s=1.0)
            write(ef.square, DATA, 1.0, rows=1, sample=sample)
        assert amorsize.optimize(ef.square, DATA, backend="processes").known_runs == 0
        assert amorsize.optimize(ef.square, DATA, backend="serial").known_runs == 3

    def test_what_cannot_be_sent_is_seen_without_a_call(self, path):
        def func(x):
            raise AssertionError("func must not be called")

        for at in range(3):
            sample = Sample(n_sampled=5, item_s=1.0 + at / 100, item_cpu_s=1.0, result_bytes=4.0)
            write(func, DATA, 1.0, rows=1, sample=sample)
        plan = amorsize.optimize(func, DATA)
        assert plan.known_runs == 3
        assert plan.backend != "processes"

    def test_memory_is_left_alone(self, path):
        write(ef.square, DATA, 1e-3)
        amorsize.optimize(ef.square, DATA)
        assert THIS_PROCESS.recall(ef.square, DATA) is None


class TestSurprises:
    @pytest.mark.parametrize("factor", [100.0, 0.01])
    def test_a_wrong_history_is_found_out_and_believed_no_more(self, path, factor, hands):
        func = partial(spin, seconds=1e-3)
        write(func, DATA, 1e-3 * factor)
        plan = amorsize.optimize(func, DATA, backend="serial")
        assert plan.known_runs == 3
        with plan.pool() as pool:
            pool.map(func, plan.data)
        (row,) = History().runs(source="optimize")
        assert row.extra == {"known": 3, "surprise": True}
        assert amorsize.optimize(func, DATA).known_runs == 0

    def test_what_came_as_expected_is_no_surprise(self, path, hands):
        func = partial(spin, seconds=1e-3)
        write(func, DATA, 1.05e-3)
        plan = amorsize.optimize(func, DATA, backend="serial")
        with plan.pool() as pool:
            pool.map(func, plan.data)
        (row,) = History().runs(source="optimize")
        assert row.extra == {"known": 3}
        assert amorsize.optimize(func, DATA).known_runs > 3  # the loop's own clock counts, too


class TestLoopsUnderWatch:
    """A plan from history alone that chose a plain loop may still go parallel."""

    def surprising(self, func, **options):
        write(func, DATA, 1e-6)
        plan = amorsize.optimize(func, DATA, **options)
        assert (plan.backend, plan.known_runs) == ("serial", 3)
        return plan

    def test_what_is_left_goes_another_way(self, path):
        func = partial(ef.nap, seconds=5e-3)
        plan = self.surprising(func)
        with plan.pool() as pool:
            assert pool.map(func, plan.data) == [x * x for x in DATA]
        (row,) = History().runs(source="optimize")
        assert (row.source, row.n_items, row.extra) == ("optimize", 60, {"known": 3, "surprise": True})
        assert THIS_PROCESS.recall(func, DATA) is not None  # execute() was there

    def test_it_stays_a_loop_if_nothing_else_is_allowed(self, path):
        func = partial(ef.nap, seconds=1e-3)
        plan = self.surprising(func, backend="serial")
        with plan.pool() as pool:
            assert pool.map(func, plan.data) == [x * x for x in DATA]

    def test_other_data_than_planned_go_through_an_ordinary_loop(self, path):
        func = partial(ef.nap, seconds=5e-3)
        plan = self.surprising(func)
        with plan.pool() as pool:
            assert pool.map(func, DATA[:5]) == [x * x for x in DATA[:5]]
        assert THIS_PROCESS.recall(func, DATA) is None

    def test_the_items_index_is_that_in_all_the_data(self, path):
        func = partial(ef.nap, seconds=5e-3)
        data = [*DATA, *DATA, *DATA]
        write(func, data, 1e-6)
        plan = amorsize.optimize(func, data)
        data[-1] = "bad"
        with pytest.raises(TypeError) as caught, plan.pool() as pool:
            pool.map(func, plan.data)
        assert "179" in caught.value.__notes__[0]
        assert History().runs(source="optimize") == []

    def test_what_takes_as_long_as_promised_is_left_alone(self, path, monkeypatch, hands):
        func = partial(spin, seconds=1e-3)
        write(func, DATA, 1e-3)
        plan = amorsize.optimize(func, DATA, backend="serial")
        monkeypatch.setattr("amorsize.plan.optimize.finish", None)
        with plan.pool() as pool:
            assert pool.map(func, plan.data) == [x * x for x in DATA]

    @pytest.mark.parametrize("backend", ["threads", "processes"])
    @pytest.mark.parametrize("told_s", [1e-4, 3e-3])
    def test_pools_too(self, path, backend, told_s):
        data = DATA * 3
        func = partial(ef.nap, seconds=told_s if told_s > 1e-3 else 100 * told_s)
        write(func, data, told_s)
        plan = amorsize.optimize(func, data, backend=backend, max_workers=2)
        assert (plan.backend, plan.known_runs) == (backend, 3)
        with plan.pool() as pool:
            assert pool.map(func, plan.data) == [x * x for x in data]
        (row,) = History().runs(source="optimize")
        assert row.n_items == len(data)
        assert told_s > 1e-3 or row.extra["surprise"] is True

    def test_what_an_item_raises_in_a_pool_under_watch(self, path):
        func = partial(ef.nap, seconds=1e-3)
        data = list(DATA)
        write(func, data, 1e-3)
        plan = amorsize.optimize(func, data, backend="threads", max_workers=2)
        data[40] = "bad"
        with pytest.raises(TypeError), plan.pool() as pool:
            pool.map(func, plan.data)
        assert History().runs(source="optimize") == []

    def test_a_closed_pool_runs_nothing(self, path):
        plan = self.surprising(ef.square)
        pool = plan.pool()
        pool.close()
        with pytest.raises(ValueError, match="not running"):
            pool.map(ef.square, plan.data)


class TestWhatPoolsLeave:
    @pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
    def test_a_row_for_a_map(self, path, backend):
        plan = amorsize.optimize(ef.square, DATA, backend=backend, max_workers=2)
        with plan.pool() as pool:
            assert isinstance(pool, LoopPool if backend == "serial" else multiprocessing.pool.Pool)
            assert pool.map(ef.square, plan.data) == [x * x for x in DATA]
        assert History().runs() == []
        (row,) = History().runs(source="optimize")
        assert (row.backend, row.n_jobs, row.chunksize) == (plan.backend, plan.n_jobs, plan.chunksize)
        assert (row.n_items, row.function, row.shape) == (60, fingerprint(ef.square), shape_of(DATA))
        assert row.predicted_s == pytest.approx(plan.predicted_s, rel=1e-5)
        assert row.predicted_interval_s == pytest.approx(plan.predicted_interval_s, rel=1e-5)
        assert row.clock_s > 0
        assert row.machine_digest is not None
        assert History().runs(source="all") == [row]

    def test_what_a_generator_gave(self, path):
        plan = amorsize.optimize(ef.square, (x for x in DATA), backend="serial")
        with plan.pool() as pool:
            pool.map(ef.square, plan.data)
        (row,) = History().runs(source="optimize")
        assert row.n_items == 60

    @pytest.mark.parametrize(
        "use",
        [
            lambda pool, plan: None,
            lambda pool, plan: [pool.map(ef.square, plan.data) for _ in range(2)],
            lambda pool, plan: pool.map(ef.square, DATA[:30]),
            lambda pool, plan: pool.map(abs, plan.data),
            lambda pool, plan: pool.map(ef.square, plan.data, plan.chunksize + 1),
            lambda pool, plan: (pool.map(ef.square, plan.data), pool.apply(ef.square, (3,))),
            lambda pool, plan: list(pool.imap(ef.square, plan.data)),
            lambda pool, plan: list(pool.imap_unordered(ef.square, plan.data)),
            lambda pool, plan: pool.map_async(ef.square, plan.data).get(),
            lambda pool, plan: pool.starmap(max, [(1, 2)]),
        ],
    )
    @pytest.mark.parametrize("backend", ["serial", "threads"])
    def test_none_for_anything_else(self, path, backend, use):
        plan = amorsize.optimize(ef.square, DATA, backend=backend, max_workers=2)
        with plan.pool() as pool:
            use(pool, plan)
        assert History().runs(source="all") == []

    def test_none_for_a_map_that_raised(self, path):
        plan = amorsize.optimize(ef.square, DATA, backend="serial")
        with pytest.raises(ZeroDivisionError), plan.pool() as pool:
            pool.map(ef.square, plan.data) and 1 / 0
        assert History().runs(source="all") == []

    def test_none_without_history(self, path, monkeypatch):
        plan = amorsize.optimize(ef.square, DATA, history=History("off"))
        assert plan.pool_watch.history is None
        with plan.pool() as pool:
            pool.map(ef.square, plan.data)
        assert not path.exists() or History().runs(source="all") == []

    def test_plans_can_still_be_sent_printed_and_compared(self, path):
        plan = amorsize.optimize(lambda x: x, DATA, backend="serial")
        assert plan.pool_watch is not None
        sent = pickle.loads(pickle.dumps(plan))
        assert (sent, sent.pool_watch) == (plan, None)
        assert "pool_watch" not in plan.to_dict()
        assert json.loads(plan.to_json())["known_runs"] == 0
        assert "pool_watch" not in repr(plan)


def test_many_rows_do_not_slow_it_down_by_reading_them_all(path, monkeypatch):
    """No more rows are read than needed."""
    write(ef.square, DATA, 1e-3, rows=300)
    History().flush()
    asked = []
    select = sqlite_file.tables.select
    monkeypatch.setattr(sqlite_file.tables, "select", lambda *args: asked.append(args[2]) or select(*args))
    assert amorsize.optimize(ef.square, DATA).known_runs == 6
    assert asked == [16]
