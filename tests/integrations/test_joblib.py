"""amorsize as joblib's backend, against joblib itself."""

from __future__ import annotations

import functools
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from collections import OrderedDict
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

joblib = pytest.importorskip("joblib")

import joblib_functions as tasks  # noqa: E402
import numpy as np  # noqa: E402
from joblib import Parallel, delayed, effective_n_jobs, parallel_backend, parallel_config  # noqa: E402

from amorsize.errors import WorkerLostError  # noqa: E402
from amorsize.integrations import joblib_arrays, joblib_loop, joblib_memory, joblib_watch, joblib_workers  # noqa: E402
from amorsize.integrations.joblib import NAME, AmorsizeBackend, register  # noqa: E402
from amorsize.model.decide import TryThreads  # noqa: E402

CONTEXTS = [parallel_config, parallel_backend]
GENERATORS = ["generator", "generator_unordered"]
# Calls that go to worker processes at once: their consumer waits for the first result.
at_workers = functools.partial(Parallel, n_jobs=2, backend=NAME, return_as="generator")


def in_order(results, return_as):
    return sorted(results) if return_as == "generator_unordered" else list(results)


# -- joblib finds it ---------------------------------------------------------------------------------------------------


def test_importing_registers_it():
    assert joblib.parallel.BACKENDS[NAME] is AmorsizeBackend
    register()
    with parallel_config(NAME) as config:
        assert type(config["backend"]) is AmorsizeBackend
        assert Parallel().n_jobs == -1


def test_the_object_needs_no_registration():
    with parallel_config(AmorsizeBackend(), n_jobs=2):
        assert Parallel()(delayed(abs)(-i) for i in range(20)) == list(range(20))


def test_number_of_jobs():
    cores = effective_n_jobs(-1)
    backend = AmorsizeBackend()
    assert [backend.effective_n_jobs(n) for n in (None, 1, 3, -1, -100)] == [1, 1, 3, cores, 1]
    with pytest.raises(ValueError, match="n_jobs == 0"):
        backend.effective_n_jobs(0)


def test_one_job_is_joblibs_own_loop():
    parallel = Parallel(n_jobs=1, backend=NAME)
    assert parallel(delayed(abs)(-i) for i in range(5)) == list(range(5))
    assert type(parallel._backend).__name__ == "SequentialBackend"


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="initializer: must be callable"):
        AmorsizeBackend(initializer=3)
    with pytest.raises(TypeError, match="no_such_argument"), parallel_config(NAME, no_such_argument=1):
        pass


def test_environment_narrows_it(monkeypatch):
    monkeypatch.setenv("AMORSIZE_BACKENDS", "serial")
    parallel = Parallel(n_jobs=2, backend=NAME, return_as="generator")
    assert list(parallel(delayed(os.getpid)() for _ in range(5))) == [os.getpid()] * 5


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre_dispatch", ["all", "n_jobs", "2*n_jobs", 1])
@pytest.mark.parametrize("n", [0, 1, 7, 500])
def test_lists(pre_dispatch, n):
    for calls in ([delayed(tasks.square)(i) for i in range(n)], (delayed(tasks.square)(i) for i in range(n))):
        assert Parallel(2, backend=NAME, pre_dispatch=pre_dispatch)(calls) == [i * i for i in range(n)]


@pytest.mark.parametrize("return_as", GENERATORS)
@pytest.mark.parametrize("pre_dispatch", ["all", "2*n_jobs", 1])
def test_generators(return_as, pre_dispatch):
    parallel = Parallel(2, backend=NAME, return_as=return_as, pre_dispatch=pre_dispatch)
    for n in (0, 1, 300):
        results = parallel(delayed(tasks.square)(i) for i in range(n))
        assert in_order(results, return_as) == [i * i for i in range(n)]


def test_fixed_batches_and_keywords():
    parallel = at_workers(batch_size=7)
    assert list(parallel(delayed(tasks.add)(i, y=2 * i) for i in range(50))) == [3 * i for i in range(50)]


def test_different_functions_in_one_call():
    calls = [delayed(tasks.square)(3), delayed(len)("four"), delayed(tasks.add)(1, y=1), delayed(str.upper)("a")]
    assert Parallel(2, backend=NAME)(calls) == list(at_workers()(calls)) == [9, 4, 2, "A"]


def test_short_tasks_run_in_the_caller_and_once():
    ran = []

    def note(i):
        ran.append((i, threading.current_thread()))
        return i

    assert Parallel(2, backend=NAME)(delayed(note)(i) for i in range(300)) == list(range(300))
    assert ran == [(i, threading.current_thread()) for i in range(300)]


def test_a_generator_runs_at_workers():
    assert os.getpid() not in list(at_workers()(delayed(os.getpid)() for _ in range(8)))


def test_the_unordered_generator_gives_what_is_ready(tmp_path):
    parallel = Parallel(2, backend=NAME, return_as="generator_unordered")
    results = parallel(delayed(tasks.wait_for)(i == 1 and tmp_path / "go", i) for i in range(6))
    assert sorted(next(results) for _ in range(5)) == [0, 2, 3, 4, 5]
    (tmp_path / "go").touch()
    assert list(results) == [1]


def test_one_parallel_for_many_calls():
    with Parallel(2, backend=NAME) as parallel:
        for _ in range(3):
            assert parallel(delayed(tasks.square)(i) for i in range(10)) == [i * i for i in range(10)]
    assert parallel(delayed(tasks.square)(i) for i in range(3)) == [0, 1, 4]


def test_two_generators_at_a_time():
    one, other = (at_workers()(delayed(tasks.square)(i) for i in range(20)) for _ in range(2))
    assert list(zip(one, other, strict=True)) == [(i * i, i * i) for i in range(20)]


# -- going parallel ----------------------------------------------------------------------------------------------------


def test_a_call_that_paid_at_warm_processes_begins_there_the_next_time(monkeypatch):
    monkeypatch.setattr(joblib_loop, "ANSWER_S", 60.0)
    calls = [delayed(tasks.process)(np.zeros(1000), i) for i in range(6)]
    key = joblib_memory.key_of(calls[0])
    # Its workers are warm for the next call.
    list(at_workers()(calls))
    joblib_memory.note(key, "processes", loop_s=1.0, wall_s=1.0, tasks=6, worker_s=1.0)
    assert os.getpid() not in Parallel(2, NAME)(calls)
    # They were not slower than the loop, but far shorter than they are said to be.
    assert joblib_memory.recall(key) is None


@pytest.mark.parametrize("said", [{"prefer": "threads"}, {"require": "sharedmem"}])
def test_a_call_that_paid_in_threads_begins_there_the_next_time(said):
    calls = [delayed(threading.get_ident)() for _ in range(6)]
    key = joblib_memory.key_of(calls[0])
    joblib_memory.note(key, "threads", loop_s=1.0, wall_s=1.0, tasks=6, worker_s=1.0)
    assert threading.get_ident() not in Parallel(2, NAME, **said)(calls)
    assert joblib_memory.recall(key) is None


@pytest.mark.parametrize(
    ("backend", "loop_s", "wall_s", "worker_s", "known"),
    [
        ("processes", 1.0, 6.0, 1.2, ("processes", 1.0, None)),
        ("threads", 1.0, 6.0, 1.2, ("threads", 1.0, 0.6)),
        ("processes", 1.0, 9.5, 1.8, None),
        ("threads", 1.0, 9.5, 1.8, (None, 1.0, 0.95)),
        ("processes", 1.0, 0.1, 0.02, None),
        ("threads", 1.0, 0.1, 0.02, None),
        ("processes", 0.0, 0.1, 0.1, None),
    ],
)
def test_what_is_remembered_of_a_call(backend, loop_s, wall_s, worker_s, known):
    key = object()
    joblib_memory.note(key, "processes", 1.0, 1.0, 10, 1.0)
    joblib_memory.note(key, backend, loop_s, wall_s, 10, worker_s)
    assert joblib_memory.recall(key) == known
    joblib_memory.note(key, "threads", 0.0, 0.0, 0, 0.0)
    assert joblib_memory.recall(key) is None


@pytest.mark.parametrize(("wall_s", "backend"), [(8.0, "processes"), (9.8, "threads")])
def test_processes_that_are_slower_than_threads_were_give_way_to_them(wall_s, backend):
    key = object()
    joblib_memory.note(key, "threads", loop_s=1.0, wall_s=9.5, tasks=10, worker_s=1.8)
    joblib_memory.note(key, "processes", loop_s=1.1, wall_s=wall_s, tasks=10, worker_s=1.8)
    assert joblib_memory.recall(key).backend == backend


@pytest.mark.parametrize(("loop_s", "backend"), [(1.0, None), (2.0, "threads")])
def test_a_loop_that_is_slower_than_threads_were_gives_way_to_them(loop_s, backend):
    key = object()
    joblib_memory.note_loop(key, loop_s)
    assert joblib_memory.recall(key) is None
    joblib_memory.note(key, "threads", loop_s=1.0, wall_s=9.5, tasks=10, worker_s=1.8)
    joblib_memory.note_loop(key, loop_s)
    assert joblib_memory.recall(key).backend == backend


class SaysOf:
    """A canary that finds the lock held for so much of the time."""

    rounds, late_s = 0, 0.0

    def __init__(self, gil_held):
        self.gil_held = gil_held

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize(("held", "may_be_sent"), [(0.3, False), (0.7, False), (0.96, True)])
def test_prefer_threads_is_believed_unless_the_lock_is_held_all_the_time(monkeypatch, held, may_be_sent):
    seen, original = [], joblib_loop.LoopFirst._next

    def next_step(self):
        seen.append("processes" in self.backends)
        return original(self)

    monkeypatch.setattr(joblib_loop, "Canary", SaysOf(held))
    monkeypatch.setattr(joblib_loop.LoopFirst, "_next", next_step)
    assert Parallel(2, NAME, prefer="threads")(delayed(abs)(-i) for i in range(6)) == list(range(6))
    assert seen[0] is may_be_sent


def test_where_prefer_threads_is_believed_a_short_trial_decides_nothing(monkeypatch):
    """The whole call is the trial: two tasks of a forest say less than scikit-learn does."""
    monkeypatch.setattr(joblib_loop, "Canary", SaysOf(0.7))
    monkeypatch.setattr(joblib_loop.LoopFirst, "_next", lambda self: TryThreads(2))
    monkeypatch.delattr(joblib_loop.LoopFirst, "_try_threads")
    first, *others = Parallel(2, NAME, prefer="threads")(delayed(threading.get_ident)() for _ in range(20))
    assert first == threading.get_ident()
    assert first not in others


def test_where_no_process_can_start_threads_still_can(monkeypatch):
    def next_step(self):
        self._stay_here("processes")
        return TryThreads(2)

    monkeypatch.setattr(joblib_loop, "Canary", SaysOf(0.7))
    monkeypatch.setattr(joblib_loop.LoopFirst, "_next", next_step)
    first, *others = Parallel(2, NAME, prefer="threads")(delayed(threading.get_ident)() for _ in range(20))
    assert first not in others


def test_threads_look_for_native_libraries_once_and_before_they_begin(monkeypatch):
    looked, libraries, inbox = [], SimpleNamespace(limit=lambda **_: None), SimpleQueue()
    monkeypatch.setattr(
        joblib_workers, "_native_libraries", lambda: looked.append(threading.current_thread()) or libraries
    )
    joblib_workers.Threads(2, inbox, joblib_workers.Nested(1), 1).close()
    assert looked == [threading.current_thread()]


def test_where_threads_did_not_pay_processes_are_next():
    event = threading.Event()
    calls = [delayed(event.is_set)() for _ in range(6)]
    key = joblib_memory.key_of(calls[0])
    joblib_memory.note(key, "threads", loop_s=1e-6, wall_s=1.0, tasks=6, worker_s=1.0)
    # What cannot be sent runs in the caller, and shared memory means threads whatever they cost.
    for said in ({"prefer": "threads"}, {"require": "sharedmem"}):
        assert Parallel(2, NAME, **said)(calls) == [False] * 6


def test_similar_calls_have_the_same_key():
    first, same, longer, other = (
        joblib_memory.key_of(delayed(function)(np.zeros(n), i, name="x"))
        for function, n, i in [
            (tasks.add, 1000, 1),
            (tasks.add, 1001, 2),
            (tasks.add, 9000, 1),
            (tasks.square, 1000, 1),
        ]
    )
    assert first == same
    assert len({first, longer, other}) == 3


def test_a_long_first_task_does_not_hold_up_the_others(tmp_path):
    """It ends only when another one has run, which is possible only in a worker process."""
    calls = [
        delayed(tasks.wait_for)(tmp_path / "go", 0),
        *(delayed(tasks.touch)(tmp_path / "go", i) for i in (1, 2, 3)),
    ]
    assert Parallel(2, backend=NAME)(calls) == [(0, os.getpid()), 1, 2, 3]


@pytest.mark.parametrize("said", [{"prefer": "threads"}, {"require": "sharedmem"}])
def test_a_long_first_task_that_releases_the_lock_goes_on_beside_threads(said):
    event = threading.Event()

    def wait():
        assert event.wait(20)
        return os.getpid()

    def tell():
        event.set()
        return os.getpid()

    assert set(Parallel(2, backend=NAME, **said)([delayed(wait)(), delayed(tell)(), delayed(tell)()])) == {os.getpid()}


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="no such account of a thread here")
def test_a_task_that_waits_is_recognised_where_the_canary_gets_no_turns(monkeypatch):
    monkeypatch.setattr(joblib_watch, "held_share", lambda rounds, elapsed_s: 1.0)
    event = threading.Event()
    calls = [delayed(event.wait)(60), delayed(event.set)()]
    assert Parallel(2, backend=NAME, prefer="threads")(calls) == [True, None]


def test_shared_memory_is_the_callers():
    seen = {}

    def note(i):
        time.sleep(1e-3)
        seen[i] = threading.current_thread()

    Parallel(3, backend=NAME, require="sharedmem")(delayed(note)(i) for i in range(100))
    assert sorted(seen) == list(range(100))
    seen.clear()
    list(Parallel(3, backend=NAME, require="sharedmem", return_as="generator")(delayed(note)(i) for i in range(20)))
    assert sorted(seen) == list(range(20))
    assert threading.current_thread() not in seen.values()


def test_a_function_that_is_not_safe_stays_out_of_threads():
    """Waiting tasks would be best in threads, if nothing spoke against it."""
    before = tasks.COUNTER[0]
    results = Parallel(4, backend=NAME)(delayed(tasks.count)(5e-3) for _ in range(60))
    mine = [number for number, pid in results if pid == os.getpid()]
    assert mine == list(range(before + 1, before + 1 + len(mine)))


# -- nested calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_nesting_levels(context, return_as):
    tasks.check_level(context, NAME, 0)
    list(Parallel(2, backend=NAME, return_as=return_as)(delayed(tasks.check_level)(context, NAME, 1) for _ in range(6)))
    with context(NAME, n_jobs=2):
        list(Parallel(return_as=return_as)(delayed(tasks.check_level)(context, NAME, 1) for _ in range(6)))


@pytest.mark.parametrize("return_as", ["list", "generator"])
@pytest.mark.parametrize("said", [{}, {"require": "sharedmem"}])
def test_nested_calls_are_joblibs(return_as, said):
    with parallel_config(NAME, n_jobs=2):
        found = list(Parallel(2, return_as=return_as, **said)(delayed(tasks.active)() for _ in range(4)))
    assert found == [("ThreadingBackend", 1, 1)] * 4


@pytest.mark.parametrize("context", CONTEXTS)
def test_limit_of_nesting(context):
    with context(NAME, n_jobs=2):
        found = tasks.recursive()
    assert found == [
        ("AmorsizeBackend", 0),
        ("ThreadingBackend", 1),
        ("SequentialBackend", 2),
        ("SequentialBackend", 2),
    ]


@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_itself_within_itself(return_as):
    inner = delayed(tasks.nested)(NAME, "list")
    assert list(Parallel(2, backend=NAME, return_as=return_as)(inner for _ in range(4))) == [[0, 1, 4]] * 4


@pytest.mark.parametrize("parent", ["threading", "sequential"])
def test_within_other_backends(parent):
    for return_as in ("list", "generator"):
        assert Parallel(2, backend=parent)(delayed(tasks.nested)(NAME, return_as) for _ in range(4)) == [[0, 1, 4]] * 4


def test_threads_share_one_backend_object():
    backend, results = AmorsizeBackend(), {}

    def work(number):
        with parallel_config(backend, n_jobs=2):
            for return_as in ("list", *GENERATORS):
                got = Parallel(return_as=return_as)(delayed(tasks.add)(i, y=number) for i in range(150))
                results[number, return_as] = in_order(got, return_as)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        for return_as in ("list", *GENERATORS):
            assert results[number, return_as] == [i + number for i in range(150)]


# -- errors, time-outs, the end ----------------------------------------------------------------------------------------


def test_an_error_in_the_caller_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError) as caught:
        Parallel(2, backend=NAME)(delayed(tasks.divide)(1, i) for i in (2, 1, 0))
    assert caught.traceback[-1].name == "divide"


@pytest.mark.parametrize("said", [{}, {"require": "sharedmem"}])
def test_an_error_at_a_worker_names_its_line(said):
    with pytest.raises(ZeroDivisionError) as caught:
        list(at_workers(**said)(delayed(tasks.divide)(1, i) for i in (2, 1, 0)))
    assert "return x / y" in str(caught.value.__cause__)


@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_after_an_error_it_goes_on(return_as):
    with Parallel(2, backend=NAME, return_as=return_as) as parallel:
        for error in (ZeroDivisionError, KeyboardInterrupt, tasks.FinickyError):
            with pytest.raises(error):
                list(parallel(delayed(tasks.fail)(error, i == 3) for i in range(8)))
            # joblib itself begins the next call with tasks that are left of this one.
            assert list(parallel(delayed(tasks.square)(i) for i in range(8)))[-8:] == [i * i for i in range(8)]


@pytest.mark.parametrize("at", [0, 5, 19])
@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_an_error_of_the_iterator(at, return_as):
    def numbers():
        for i in range(20):
            if i == at:
                raise ValueError("the iterator raises")
            yield i

    with pytest.raises(ValueError, match="the iterator raises"):
        list(Parallel(2, backend=NAME, return_as=return_as)(delayed(tasks.square)(i) for i in numbers()))


def test_an_error_ends_what_runs(tmp_path):
    calls = [delayed(tasks.leave_pid_and_sleep)(tmp_path), delayed(tasks.fail_after)(tmp_path)]
    with pytest.raises(ZeroDivisionError):
        list(at_workers()(calls))
    tasks.await_the_end_of(int((tmp_path / "pid").read_text()))


def test_a_timeout_ends_what_runs(tmp_path):
    # Its workers are warm for the next call.
    assert Parallel(2, NAME, timeout=60)(delayed(tasks.square)(i) for i in range(9)) == [i * i for i in range(9)]
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(2, NAME, timeout=2)(delayed(tasks.leave_pid_and_sleep)(tmp_path) for _ in range(2))
    tasks.await_the_end_of(int((tmp_path / "pid").read_text()))


def test_a_dropped_generator_ends_what_runs(tmp_path):
    results = at_workers()(delayed(tasks.leave_pid_and_sleep)(tmp_path) for _ in range(6))
    tasks.await_file(tmp_path / "pid")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del results
    tasks.await_the_end_of(int((tmp_path / "pid").read_text()))


def test_a_lost_worker_costs_one_repeat(tmp_path):
    assert list(at_workers()(delayed(tasks.die_once)(tmp_path, i) for i in range(6))) == list(range(6))


def test_a_task_that_kills_its_worker_twice_is_named():
    with pytest.raises(WorkerLostError, match="die"):
        list(at_workers()(delayed(tasks.die)(i == 2) for i in range(4)))


def test_what_cannot_be_sent_runs_in_the_caller(tmp_path):
    """The first task ends when the others have run, and these cannot be sent."""
    lock = threading.Lock()
    calls = [delayed(tasks.with_lock)(lock, 0.1 if i < 4 else 0.0) for i in range(12)]
    assert Parallel(2, backend=NAME, prefer="processes")(calls) == [os.getpid()] * 12


def test_what_cannot_be_sent_is_named():
    with pytest.raises(Exception, match=r"argument 1 of with_lock.*lock"):
        list(at_workers()(delayed(tasks.with_lock)(threading.Lock(), 0.0) for _ in range(4)))


# -- what workers are told ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_initializer(return_as):
    with parallel_config(NAME, n_jobs=2, initializer=tasks.initialize, initargs=("by the context",)):
        found = list(Parallel(return_as=return_as)(delayed(tasks.initialized)() for _ in range(6)))
    assert set(found) == {"by the context"}
    parallel = Parallel(2, NAME, return_as=return_as, initializer=tasks.initialize, initargs=("by the call",))
    assert set(parallel(delayed(tasks.initialized)() for _ in range(6))) == {"by the call"}
    assert tasks.initialized() is None


def test_an_initializer_that_raises():
    with pytest.raises(Exception, match="the initializer raised"):
        Parallel(2, NAME, initializer=tasks.fail, initargs=(ValueError, True))(delayed(abs)(i) for i in range(4))


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("said", [{}, {"return_as": "generator"}, {"return_as": "generator", "require": "sharedmem"}])
def test_inner_max_num_threads(limit, said):
    np.dot(np.ones((100, 100)), np.ones((100, 100)))
    with parallel_config(NAME, n_jobs=2, inner_max_num_threads=limit):
        found = list(Parallel(**said)(delayed(tasks.native_threads)() for _ in range(3)))
    assert all(number == limit for numbers, _ in found for number in numbers)
    if said == {"return_as": "generator"}:
        assert {named for _, named in found} == {str(limit)}


def test_workers_share_the_cores_by_default():
    found = list(at_workers()(delayed(tasks.native_threads)() for _ in range(3)))
    most = max(1, joblib.cpu_count() // 2)
    assert all(number <= most for numbers, _ in found for number in numbers)


def test_globals_are_sent_with_each_call():
    for value in ("original", "changed"):
        tasks_here["value"] = value
        assert set(at_workers()(delayed(lambda: tasks_here["value"])() for _ in range(3))) == {value}


tasks_here: dict[str, str] = {}


PROGRAM = """
from joblib import Parallel, delayed
import amorsize.integrations.joblib

def run(f, x):
    return f(x)

def square(x):
    return x ** 2

def local():
    def square(x):
        return x ** 2
    return square

def program():
    for f in (square, local(), lambda x: x ** 2):
        for return_as in ("list", "generator"):
            parallel = Parallel(2, backend="amorsize", return_as=return_as)
            assert list(parallel(delayed(f)(i) for i in range(5))) == [0, 1, 4, 9, 16]
            assert list(parallel(delayed(run)(f, i) for i in range(5))) == [0, 1, 4, 9, 16]
            assert list(parallel(delayed(run)(f=f, x=i) for i in range(5))) == [0, 1, 4, 9, 16]
    nested = Parallel(2, backend="multiprocessing")(delayed(within)(one) for one in ("list", "generator"))
    assert nested == [[0, 1, 4], [0, 1, 4]]
    print("all right")

def within(return_as):
    return list(Parallel(2, backend="amorsize", return_as=return_as)(delayed(square)(i) for i in range(3)))
"""


@pytest.mark.parametrize("as_script", [True, False], ids=["script", "-c"])
def test_functions_of_the_main_module(as_script, tmp_path):
    """As function, argument and keyword; of the module, local, and lambdas. And amorsize below multiprocessing."""
    (tmp_path / "program.py").write_text(PROGRAM + "if __name__ == '__main__':\n    program()\n", encoding="utf-8")
    command = ["program.py"] if as_script else ["-c", PROGRAM + "program()"]
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.stdout, done.stderr) == ("all right\n", "")


# -- large arrays ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch):
    """Calls of other tests are forgotten: some of them have the same key."""
    monkeypatch.setattr(joblib_memory, "_known", OrderedDict())


@pytest.fixture
def copies(monkeypatch):
    """The sizes of the buffers that are copied to shared memory."""
    made = []
    plain = joblib_arrays.Shared.__init__

    def note(self, view, *others):
        made.append(view.nbytes)
        plain(self, view, *others)

    monkeypatch.setattr(joblib_arrays.Shared, "__init__", note)
    return made


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_is_copied_once_and_read_only(copies, order):
    big = np.asarray(np.arange(500_000.0).reshape(1000, 500), order=order)
    found = list(at_workers()(delayed(tasks.look_at)(big, again={"in": [big]}, at=i) for i in range(30)))
    assert found == [(big[i].sum(), False, True) for i in range(30)]
    assert copies == [big.nbytes]


@pytest.mark.parametrize(("said", "writeable"), [({"mmap_mode": "c"}, True), ({"mmap_mode": None}, True), ({}, False)])
def test_mmap_mode(copies, said, writeable):
    big = np.ones(200_000)
    found = list(at_workers(**said)(delayed(tasks.look_at)(big, {}, 0) for _ in range(3)))
    assert [one[1] for one in found] == [writeable] * 3
    assert len(copies) == (said != {"mmap_mode": None})


@pytest.mark.parametrize(("least", "n_copies"), [(None, 0), ("10M", 0), ("1K", 1), (100_000, 1)])
def test_max_nbytes(copies, least, n_copies):
    array = np.ones(20_000)
    assert set(at_workers(max_nbytes=least)(delayed(np.sum)(array) for _ in range(4))) == {20_000.0}
    assert len(copies) == n_copies


def test_arrays_made_on_the_way():
    """Each is gone before the next is made, which often lies at its place."""
    arrays = (np.full(2000, float(i)) for i in range(100))
    results = list(at_workers(max_nbytes=1)(delayed(np.array)(one) for one in arrays))
    assert [set(one) for one in results] == [{float(i)} for i in range(100)]


def test_a_frames_columns_are_shared_too(copies):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(300_000.0), "b": np.arange(300_000.0)})
    sums = at_workers()(delayed(tasks.column_sum)(frame, name) for name in "abab")
    assert list(sums) == [frame["a"].sum()] * 4
    assert sum(copies) <= 2 * 300_000 * 8


@pytest.mark.parametrize("folder", ["", "given"])
def test_nothing_is_left_in_the_folder(copies, tmp_path, folder):
    said = {"temp_folder": str(tmp_path)} if folder else {}
    assert list(at_workers(**said)(delayed(np.sum)(np.ones(200_000)) for _ in range(3))) == [200_000.0] * 3
    assert copies
    assert list(tmp_path.iterdir()) == []


def test_workers_write_to_the_programs_own_mapped_file(tmp_path):
    """As in joblib's example: results go to a file that the program has mapped."""
    out = np.memmap(tmp_path / "out", dtype=float, shape=(8, 100), mode="w+")
    list(at_workers()(delayed(tasks.fill)(out, i) for i in range(8)))
    list(at_workers()(delayed(tasks.fill)([out[4:]], i) for i in range(2)))
    assert out[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 6, 7]


def test_a_descriptor_is_given_back(copies):
    """The fixture around each test counts descriptors; here there are more arrays than it would take."""
    results = at_workers(max_nbytes=1)(delayed(np.sum)(np.ones(100 + i)) for i in range(300))
    assert list(results) == [100.0 + i for i in range(300)]
    assert len(os.listdir("/proc/self/fd")) < 200 if os.path.isdir("/proc/self/fd") else True


class Odd(type):
    """A class whose objects can be passed on, while it itself cannot be a key."""

    __hash__ = None

    def __eq__(cls, other):
        return cls is other


class OfOddKind(metaclass=Odd):
    pass


class Wrapped:
    """A callable with an attribute that has no truth value."""

    function = np.arange(2.0)

    def __call__(self, x):
        return 1


@pytest.mark.parametrize("call", [delayed(len)([1]), delayed(Wrapped())(3), delayed(type)(OfOddKind())])
def test_whatever_the_function_and_its_arguments_are_a_key_is_made_or_none(call):
    key = joblib_memory.key_of(call)
    joblib_memory.note(key, "threads", loop_s=1.0, wall_s=1.0, tasks=1, worker_s=1.0)
    joblib_memory.recall(key)
