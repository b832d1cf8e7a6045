"""``amorsize.Executor``: results, faults, and a clean end."""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import executor_functions as xf
import psutil
import pytest
from idle import does_nothing_between_calls
from lateness import only_late

from amorsize import Executor
from amorsize.errors import ItemTimeoutError, RemoteError, TransferError, WorkerLostError
from amorsize.executor import pending

METHODS = ["fork", "forkserver", "spawn"]
LIMIT_S = 300  # for what must happen; far above what it takes


@pytest.fixture(params=METHODS)
def context(request):
    return multiprocessing.get_context(request.param)


@pytest.fixture
def executor(context):
    with Executor(2, mp_context=context) as made:
        yield made


@pytest.fixture
def one():
    with Executor(1) as made:
        yield made


def until(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1e-3)


# --- results ----------------------------------------------------------------------------------------------------


def test_results_come_back(executor):
    assert executor.submit(pow, 2, 10).result() == 1024
    assert executor.submit(int, "11", base=2).result() == 3
    assert list(executor.map(xf.square, range(1000))) == [x * x for x in range(1000)]
    assert list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
    assert list(executor.map(xf.square, range(10), chunksize=4)) == [x * x for x in range(10)]
    assert list(executor.map(xf.square, [])) == []


def test_lambdas_and_closures_can_be_called(executor):
    base = 10
    assert executor.submit(lambda x: x + base, 1).result() == 11
    assert list(executor.map(lambda x: x + base, range(3))) == [10, 11, 12]


def test_large_results(executor):
    assert [len(r) for r in executor.map(xf.grow, range(20))] == [50_000] * 20


def test_many_futures_from_many_threads_at_once(executor):
    futures: list = [None] * 200

    def submit(first):
        for i in range(first, 200, 8):
            futures[i] = executor.submit(xf.square, i)

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [f.result() for f in futures] == [i * i for i in range(200)]


def test_several_maps_at_once(executor):
    maps = [executor.map(lambda x, k=k: x * k, range(300)) for k in range(5)]
    assert [next(m) for m in maps] == [0] * 5
    for k, results in enumerate(maps):
        assert list(results) == [x * k for x in range(1, 300)]


def test_wait_and_as_completed(executor):
    futures = [executor.submit(xf.square, i) for i in range(10)]
    assert sorted(f.result() for f in as_completed(futures)) == sorted(i * i for i in range(10))
    assert wait(futures).done == set(futures)


def test_calls_that_wait_for_each_other_run_beside_each_other(executor, tmp_path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert all(f.result() for f in [executor.submit(xf.mark_and_wait, a, b), executor.submit(xf.mark_and_wait, b, a)])


def test_a_map_gets_past_a_call_that_waits_for_it(executor, tmp_path):
    mark = str(tmp_path / "mark")
    waiting = executor.submit(xf.wait_for, mark)
    assert len(list(executor.map(xf.square, range(2000)))) == 2000
    xf.appear(mark)
    assert waiting.result() is None


def test_callbacks_may_submit_more_and_shut_down():
    got = threading.Event()
    executor = Executor(1)

    def go_on(future):
        executor.submit(xf.square, future.result()).add_done_callback(finish)

    def finish(future):
        assert future.result() == 81
        executor.shutdown()
        got.set()

    executor.submit(xf.square, 3).add_done_callback(go_on)
    assert got.wait(LIMIT_S)
    executor.shutdown()


def test_in_a_worker_it_keeps_to_the_workers_share(context):
    with Executor(2, mp_context=context) as executor:
        workers, results = executor.submit(xf.nested, 5).result()
    assert results == [0, 1, 4, 9, 16]
    assert 1 <= workers <= max(1, psutil.cpu_count() // 2)


# --- exceptions -------------------------------------------------------------------------------------------------


def test_exceptions_keep_their_type_and_show_where_they_come_from(executor):
    future = executor.submit(xf.raise_value_error, "text")
    with pytest.raises(ValueError, match=r"^text$") as caught:
        future.result()
    assert "executor_functions.py" in str(caught.value.__cause__)
    assert isinstance(executor.submit(xf.raise_system_exit).exception(), SystemExit)
    assert isinstance(executor.submit(xf.raise_odd).exception(), RemoteError)
    assert executor.submit(xf.square, 3).result() == 9


def test_a_map_gives_what_comes_before_the_failing_item(executor):
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results, None) is None


@pytest.mark.parametrize("function", [lambda x: x, xf.square], ids=["by value", "by name"])
def test_what_cannot_be_pickled_fails_alone(executor, function):
    bad = xf.Unpicklable()
    good = executor.submit(xf.square, 3)
    failed = executor.submit(function, bad)
    error = failed.exception()
    assert isinstance(error, TransferError)
    assert isinstance(error, pickle.PicklingError)
    assert "argument 1" in str(error)
    assert "Unpicklable" in str(error)
    assert good.result() == 9
    results = executor.map(function, [1, bad])
    assert next(results) == 1
    with pytest.raises(TransferError, match="Unpicklable"):
        next(results)


def test_results_that_cannot_travel_fail_alone(executor):
    locks, broken, good = executor.submit(xf.a_lock), executor.submit(xf.unloadable), executor.submit(xf.square, 2)
    with pytest.raises(TransferError, match=r"the result cannot be pickled.*lock"):
        locks.result()
    with pytest.raises(TransferError, match="cannot be rebuilt in the caller"):
        broken.result()
    with pytest.raises(TransferError, match="cannot be rebuilt in a worker"):
        executor.submit(xf.square, xf.Unloadable()).result()
    assert good.result() == 4


# --- lost workers -----------------------------------------------------------------------------------------------


def test_a_call_that_kills_its_worker_is_repeated_once_and_others_are_untouched(executor, tmp_path):
    log = str(tmp_path / "log")
    others = [executor.submit(xf.square, i) for i in range(20)]
    lost = executor.submit(xf.kill_self, log)
    others += [executor.submit(xf.square, i) for i in range(20)]
    with pytest.raises(WorkerLostError, match=r"a call of kill_self.*SIGKILL") as caught:
        lost.result()
    assert (caught.value.signal, caught.value.exitcode, caught.value.index) == (9, None, None)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert xf.notes(log) == ["kill"] * 2
    assert [f.result() for f in others] == [i * i for i in range(20)] * 2


def test_a_call_whose_worker_is_lost_by_chance_gives_its_result(executor, tmp_path):
    assert executor.submit(xf.die_once, str(tmp_path / "times")).result() == "well"


@pytest.mark.parametrize("chunksize", [None, 1, 8])
def test_an_item_of_a_map_that_ends_its_worker(executor, tmp_path, chunksize):
    log = str(tmp_path / "log")
    results = executor.map(xf.exit_at, [log] * 40, [25] * 40, range(40), chunksize=chunksize)
    assert [next(results) for _ in range(25)] == list(range(25))
    with pytest.raises(WorkerLostError, match=r"item 25 of a map of exit_at.*code 7") as caught:
        next(results)
    assert (caught.value.index, caught.value.exitcode) == (25, 7)
    assert xf.notes(log).count("25") == 2


def test_idle_workers_that_are_killed_are_replaced_when_there_is_work(executor):
    for _ in range(6):
        pid = executor.submit(xf.pid).result()
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: not runs(pid))
    assert executor.submit(xf.square, 2).result() == 4


def test_strict_breaks_as_the_standard_library_does(context):
    with Executor(2, mp_context=context, strict=True) as executor:
        pending = [executor.submit(xf.sleep) for _ in range(4)]
        results = executor.map(xf.square, range(5))
        executor.submit(xf.square, 1)
        until(lambda: pending[0].running())
        os.kill(min(worker_pids(executor)), signal.SIGKILL)
        for future in pending:
            with pytest.raises(BrokenProcessPool, match=r"signal 9.*strict"):
                future.result()
        with pytest.raises(BrokenProcessPool):
            next(results)
        with pytest.raises(BrokenProcessPool):
            executor.submit(xf.square, 3)


def worker_pids(executor):
    return {handle.pid for handle in list(executor._manager.team.handles.values())}


# --- time limits ------------------------------------------------------------------------------------------------


def test_a_call_that_runs_too_long_is_ended_alone(context):
    with only_late([0]), Executor(2, mp_context=context, timeout=0.3) as executor:
        late = executor.submit(xf.sleep)
        good = [executor.submit(xf.square, i) for i in range(10)]
        with pytest.raises(ItemTimeoutError, match=r"a call of sleep.*timeout=0.3") as caught:
            late.result()
        assert isinstance(caught.value, TimeoutError)
        assert [f.result() for f in good] == [i * i for i in range(10)]
        assert executor.submit(xf.square, 3).result() == 9


def test_a_late_item_of_a_map():
    with only_late([2]), Executor(2, timeout=0.3) as executor:
        results = executor.map(lambda x: time.sleep(600 if x == 2 else 0) or x, range(4))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ItemTimeoutError, match="item 2 of a map"):
            next(results)


def test_who_waits_for_a_map_may_set_a_limit_of_his_own(one, tmp_path):
    mark = str(tmp_path / "mark")
    results = one.map(xf.wait_for, [mark], timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    xf.appear(mark)


# --- cancelling and shutting down -------------------------------------------------------------------------------


def test_a_call_can_be_cancelled_until_it_is_sent(one, tmp_path):
    mark = str(tmp_path / "mark")
    running, queued, after = one.submit(xf.wait_for, mark), one.submit(xf.square, 2), one.submit(xf.square, 3)
    until(running.running)
    assert not running.cancel()
    assert queued.cancel()
    xf.appear(mark)
    assert after.result() == 9
    with pytest.raises(CancelledError):
        queued.result()
    assert queued in wait([queued, running]).done


def test_a_great_many_cancelled_calls(one, tmp_path):
    mark = str(tmp_path / "mark")
    running = one.submit(xf.wait_for, mark)
    queued = [one.submit(xf.square, i) for i in range(3000)]
    assert all(f.cancel() for f in queued[1:])
    xf.appear(mark)
    assert running.result() is None
    assert queued[0].result() == 0
    assert one.submit(xf.square, 2).result() == 4


def test_a_map_that_is_closed_is_not_run_to_its_end(one, tmp_path):
    log, mark = str(tmp_path / "log"), str(tmp_path / "mark")
    results = one.map(xf.note_and_wait_at, [log] * 10_000, [mark] * 10_000, [1] * 10_000, range(10_000), chunksize=1)
    assert next(results) == 0
    results.close()
    xf.appear(mark)
    one.submit(xf.square, 1).result()
    assert len(xf.notes(log)) < 10_000


def test_a_map_whose_iterator_nobody_keeps_is_run_all_the_same(one, tmp_path):
    log = str(tmp_path / "log")
    one.map(xf.exit_at, [log] * 50, [-1] * 50, range(50))
    one.shutdown()
    assert len(xf.notes(log)) == 50


def test_shutdown_waits_for_everything_and_takes_nothing_more(executor):
    futures = [executor.submit(xf.square, i) for i in range(50)]
    results = executor.map(xf.square, range(50))
    executor.shutdown()
    assert all(f.done() for f in futures)
    assert list(results) == [i * i for i in range(50)]
    for use in (executor.submit, executor.map):
        with pytest.raises(RuntimeError, match="after shutdown"):
            use(xf.square, [2])
    executor.shutdown()


def test_shutdown_without_waiting(executor):
    futures = [executor.submit(xf.square, i) for i in range(50)]
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        executor.submit(xf.square, 2)
    assert [f.result() for f in futures] == [i * i for i in range(50)]


def test_shutdown_may_cancel_what_has_not_been_sent(executor, tmp_path):
    mark = str(tmp_path / "mark")
    running = [executor.submit(xf.wait_for, mark) for _ in range(2)]
    queued = [executor.submit(xf.square, i) for i in range(20)]
    results = executor.map(xf.square, range(20))
    until(lambda: all(f.running() for f in running))
    executor.shutdown(wait=False, cancel_futures=True)
    assert wait(queued, LIMIT_S).done == set(queued)
    assert all(f.cancelled() for f in queued)
    with pytest.raises(CancelledError):
        next(results)
    xf.appear(mark)
    executor.shutdown()
    assert [f.result() for f in running] == [None] * 2


def test_an_executor_that_was_never_used_has_nothing_to_end():
    executor = Executor(2)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(xf.square, 2)


def test_an_executor_that_nobody_holds_finishes_and_ends_its_workers(context):
    executor = Executor(2, mp_context=context)
    futures = [executor.submit(xf.square, i) for i in range(20)]
    results = executor.map(xf.square, range(20))
    thread, gone = executor._manager._thread, weakref.ref(executor)
    del executor
    gc.collect()
    assert gone() is None
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert [f.result() for f in futures] == list(results) == [i * i for i in range(20)]


def test_nothing_of_a_call_is_held_when_it_is_done(one):
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    one.submit(lambda x: None, thing).result()
    del thing
    until(lambda: gc.collect() is not None and gone() is None)
    assert one._manager._groups == {0: one._manager._singles}
    assert one._manager._singles._by_index == {}


def test_an_idle_executor_does_nothing(executor):
    executor.submit(xf.square, 2).result()
    does_nothing_between_calls(executor._manager, lambda: executor.submit(xf.square, 2).result())


# --- how it begins ----------------------------------------------------------------------------------------------


def test_an_initializer_runs_in_each_worker(context):
    with Executor(2, mp_context=context, initializer=xf.set_state, initargs=("set",)) as executor:
        assert [f.result() for f in [executor.submit(xf.state) for _ in range(6)]] == ["set"] * 6


def test_an_initializer_may_be_given_what_only_multiprocessing_can_hand_over(context):
    queue = context.Queue()
    queue.put("from a queue")
    with Executor(1, mp_context=context, initializer=xf.take_from, initargs=(queue,)) as executor:
        assert executor.submit(xf.state).result() == "from a queue"
    queue.close()
    queue.join_thread()


def test_an_initializer_that_raises_breaks_the_executor(context):
    with Executor(2, mp_context=context, initializer=xf.fail_to_begin) as executor:
        try:
            futures = [executor.submit(xf.square, i) for i in range(4)]
        except BrokenProcessPool:  # by now it is known
            futures = []
        for future in futures:
            with pytest.raises(BrokenProcessPool, match="the initializer raised OSError: no licence left") as caught:
                future.result()
            assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(BrokenProcessPool, match="no licence left"):
            executor.submit(xf.square, 1)


@pytest.mark.parametrize("method", METHODS[1:])
def test_an_initializer_that_cannot_be_pickled_is_refused_at_once(method):
    executor = Executor(1, mp_context=multiprocessing.get_context(method), initializer=xf.set_state, initargs=(gen(),))
    with pytest.raises(TransferError, match=r"initializer.*generator"):
        executor.submit(xf.square, 2)
    executor.shutdown()


def gen():
    yield


def test_workers_that_cannot_be_started_break_it(monkeypatch):
    from amorsize.backends.workers.team import Team

    def refuse(self, number):
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(Team, "start", refuse)
    with Executor(2) as executor:
        with pytest.raises(BrokenProcessPool, match="no worker process could be kept alive") as caught:
            executor.submit(xf.square, 2).result()
        assert isinstance(caught.value.__cause__, BlockingIOError)


def test_workers_start_as_they_are_needed(tmp_path):
    with Executor(4, mp_context=multiprocessing.get_context("forkserver")) as executor:
        for _ in range(5):
            executor.submit(xf.square, 1).result()
        assert len(worker_pids(executor)) == 1


def test_by_default_nothing_is_forked_beside_threads(recwarn):
    with Executor(2) as executor:
        assert executor.submit(xf.square, 2).result() == 4
        with pytest.raises(WorkerLostError):
            executor.submit(os._exit, 1).result()
        assert executor._manager.team.start_method != "fork"
    assert not [w for w in recwarn if "fork" in str(w.message)]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": -1}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": 1.5}, TypeError, "max_workers"),
        ({"mp_context": "spawn"}, TypeError, "mp_context"),
        ({"initializer": 3}, TypeError, "initializer"),
        ({"initargs": 3}, TypeError, "initargs"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": "1"}, TypeError, "timeout"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(options, error, text):
    with pytest.raises(error, match=text):
        Executor(**options)


def test_bad_calls_are_refused():
    with Executor(1) as executor:
        with pytest.raises(TypeError, match="fn"):
            executor.submit(3)
        with pytest.raises(TypeError, match="fn"):
            executor.map(3, [1])
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(xf.square, [1], chunksize=0)


# --- the whole process ------------------------------------------------------------------------------------------


def script(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text, encoding="utf-8")
    root = Path(__file__).parents[1] / "helpers"
    env = {**os.environ, "PYTHONPATH": f"{root.parents[1]}:{root}"}
    return [sys.executable, "-W", "error", str(path)], env


HEAD = """
import multiprocessing, os, sys, time
import amorsize, executor_functions as xf

def main(method):
    context = None if method == "None" else multiprocessing.get_context(method)
    executor = amorsize.Executor(2, mp_context=context)
"""


@pytest.mark.parametrize("method", ["None", "fork", "forkserver", "spawn"])
@pytest.mark.parametrize("ending", ["", "executor.shutdown(wait=False)", "del executor"])
def test_what_is_pending_is_finished_at_interpreter_exit(tmp_path, method, ending):
    log = tmp_path / "log"
    text = f"""{HEAD}
    for i in range(20):
        executor.submit(xf.note, {str(log)!r}, i)
    {ending}

if __name__ == "__main__":
    main({method!r})
"""
    command, env = script(tmp_path, text)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(map(int, xf.notes(log))) == list(range(20))


@pytest.mark.parametrize("used", [True, False])
def test_nothing_can_be_submitted_at_interpreter_exit(tmp_path, used):
    text = f"""{HEAD}
    import atexit
    if {used}:
        executor.submit(id, 42).result()

    def last():
        try:
            executor.submit(id, None)
        except RuntimeError as exc:
            print(exc)

    atexit.register(last)

if __name__ == "__main__":
    main("None")
"""
    command, env = script(tmp_path, text)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.stdout == "cannot schedule new futures after interpreter shutdown\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("method", METHODS)
def test_workers_end_when_the_program_is_killed(tmp_path, method):
    text = f"""{HEAD}
    pids = {{executor.submit(xf.pid).result() for _ in range(10)}}
    executor.submit(xf.sleep)
    print(*pids, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    main({method!r})
"""
    command, env = script(tmp_path, text)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = list(map(int, process.stdout.readline().split()))
        assert pids
        process.send_signal(signal.SIGKILL)
    until(lambda: not any(map(runs, pids)))


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_child_it_says_whose_it_is(tmp_path):
    text = f"""{HEAD}
    executor.submit(id, 42).result()
    pid = os.fork()
    if pid:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert executor.submit(pow, 2, 3).result() == 8
        return
    try:
        executor.submit(id, 42)
    except RuntimeError as exc:
        os._exit("forked from" not in str(exc))
    os._exit(2)

if __name__ == "__main__":
    main("forkserver")
"""
    command, env = script(tmp_path, text)
    command[2] = "ignore"  # the program forks beside the executor's thread, of which 3.12 warns
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.environ.get("AMORSIZE_CPYTHON_TESTS") != "1", reason="AMORSIZE_CPYTHON_TESTS=1 runs it")
@pytest.mark.skipif(importlib.util.find_spec("test.test_concurrent_futures") is None, reason="not shipped here")
def test_cpythons_own_tests():
    command = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "cpython_executors.py")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), *sys.path])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")
@pytest.mark.parametrize("name", ["__enter__", "__exit__"])
@pytest.mark.parametrize("entry", ["submit", "map"])
def test_an_interrupt_in_a_lock_of_the_results_hangs_nothing(name, entry):
    """A condition of `threading` enters and exits in Python: interrupted there, it stayed taken for ever."""
    code = f"""
import os, signal, sys, threading
import amorsize

def calls(frame, event, _):
    if frame.f_code.co_name == "{name}" and frame.f_code.co_filename == threading.__file__:
        return steps

def steps(frame, event, _):
    if event == ("return" if "{name}" == "__enter__" else "line"):
        sys.settrace(None)
        os.kill(os.getpid(), signal.SIGINT)
    return steps

def begin():
    with amorsize.Executor(2) as executor:
        futures = [executor.submit(abs, -1) for _ in range(20)]
        sys.settrace(calls)
        found = list(executor.map(abs, range(20))) if "{entry}" == "map" else [one.result() for one in futures]
        sys.settrace(None)

if __name__ == "__main__":
    try:
        begin()
    except KeyboardInterrupt:
        pass
    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr


def test_results_of_a_map_that_are_taken_at_once_are_not_computed_again(executor, monkeypatch):
    put = pending.Batch.put

    def put_and_taken(self, start, results, errors):
        put(self, start, list(results), errors)
        results.clear()

    monkeypatch.setattr(pending.Batch, "put", put_and_taken)
    assert list(executor.map(xf.square, range(30))) == [x * x for x in range(30)]
