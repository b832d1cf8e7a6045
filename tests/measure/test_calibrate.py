"""Costs read, measured and stored: real measurements of each engine, and every way in which they can fail."""

import gc
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
from disturbed import until_it_holds
from hypothesis import given
from hypothesis import strategies as st
from measure_trees import patient

from amorsize.facts import BackendCost, ChannelCost, Scaling, StartCost
from amorsize.history.sqlite_file import Store
from amorsize.measure import calibrate, cost_cache, helper_process, start_cost
from amorsize.measure.calibrate import cached_cost, cached_costs, cached_scaling, diagnose_all
from amorsize.measure.cost_cache import DAY_S, SCALING, Curve, Found, Wish
from amorsize.model.default_costs import recorded
from amorsize.system import nested
from amorsize.system.machine import machine
from amorsize.testing import a_machine

HERE = a_machine(cores=2)
METHODS = multiprocessing.get_all_start_methods()
PROCESSES = [(engine, method) for engine in ("pool", "team") for method in METHODS]
needs_fork = pytest.mark.skipif("fork" not in METHODS, reason="no fork on this platform")

FORK = Wish("pool", "fork")


@pytest.fixture(autouse=True)
def nothing_known():
    cost_cache.forget()
    yield
    cost_cache.forget()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "history.sqlite")


@pytest.fixture
def nowhere():
    return Store(None)


@pytest.mark.parametrize(("warnings", "throughput"), [((), 1.2), (("the machine is busy",), 1.6)])
def test_a_low_curve_is_kept_unless_it_is_in_doubt(monkeypatch, nowhere, warnings, throughput):
    low = cost_cache.Known(Curve(Scaling(points=((1, 1.0), (2, 1.2))), warnings), 0.0)
    monkeypatch.setattr(calibrate, "_fulfil", lambda *_: [low])
    assert cached_scaling(HERE, store=nowhere).throughput(2) == throughput


@pytest.fixture
def clock(monkeypatch):
    """The time of day, which the test sets."""
    hands = SimpleNamespace(now=1e9)
    monkeypatch.setattr(calibrate, "time", SimpleNamespace(time=lambda: hands.now, perf_counter=lambda: hands.now))
    return hands


class Helper:
    """Stands in for the helper process: answers each job with a recorded cost, slightly changed."""

    def __init__(self):
        self.jobs = []
        self.calls = 0
        self.cold_s = 0.0
        self.warnings = ()
        self.answer = None

    def __call__(self, jobs):
        self.calls += 1
        self.jobs += jobs
        return [self._answer(job) if self.answer is None else self.answer for job in jobs]

    def _answer(self, job):
        if job["kind"] == "scaling":
            value = Curve(Scaling(points=((1, 1.0), (2, 1.75))), self.warnings)
        else:
            value = Found(measured(job["engine"], job["method"], self.warnings), self.cold_s)
        return json.loads(json.dumps(cost_cache.to_dict(value)))


@pytest.fixture
def helper(monkeypatch):
    stand_in = Helper()
    monkeypatch.setattr(helper_process, "in_helper", stand_in)
    return stand_in


def measured(engine, method, warnings=()):
    known = recorded(engine, method)
    return replace(known, start=replace(known.start, base_s=0.0123), measured=True, warnings=tuple(warnings))


def assert_recorded(cost, engine, method, why):
    assert cost.warnings
    assert why in cost.warnings[0]
    assert cost == replace(recorded(engine, method), warnings=cost.warnings)


def run_python(*arguments):
    """Return the output of another interpreter, which has the same module search path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    return subprocess.run([sys.executable, *arguments], stdout=-1, text=True, env=environment, check=True).stdout


def numbers(cost):
    return [getattr(part, name) for part in (cost.start, cost.channel) for name in part.__dataclass_fields__]


# -- for real --------------------------------------------------------------------------------------------------------

PATIENCE_S = 120.0


@pytest.fixture
def patience(monkeypatch):
    """A helper that stands still is waited for."""
    monkeypatch.setattr(helper_process.in_helper, "__defaults__", (PATIENCE_S,))


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(("engine", "method"), [*PROCESSES, ("threads", None), ("threadpool", None)])
def test_every_engine_can_be_measured(engine, method, nowhere):
    def check(_):
        cost_cache.forget()
        cost = cached_cost(engine, method, replace(machine(), start_methods=tuple(METHODS)), store=nowhere)
        assert (cost.engine, cost.start_method) == (engine, method)
        assert cost.measured, cost.warnings
        assert cost.measured_at_s > 0
        assert all(math.isfinite(number) and number >= 0 for number in numbers(cost))
        assert cost.start.total_s(1) > 0
        assert cost.channel.per_chunk_s > 0
        assert cost.channel.inherits == (method is None or (engine, method) == ("team", "fork"))
        # What is small is the difference of two times, and 0 where another program has disturbed one of them.
        assert (cost.channel.recv_s_per_byte > 0) == (method is not None)
        assert (cost.start.per_caller_byte_s > 0) == (method == "fork")

    until_it_holds(check, range(4))


@pytest.mark.usefixtures("patience")
def test_the_scaling_curve_can_be_measured(nowhere):
    points = cached_scaling(replace(machine(), usable_cores=2.0), store=nowhere).points
    assert points[0] == (1, 1.0)
    assert points[-1][0] == 2
    assert 1.0 <= points[-1][1] <= 2.0


@pytest.mark.usefixtures("patience")
def test_everything_can_be_measured(store):
    here = machine()
    found = diagnose_all(here, store)
    assert {(cost.engine, cost.start_method) for cost in found["costs"]} == {
        *((engine, method) for engine in ("pool", "team") for method in here.start_methods),
        ("threads", None),
        ("threadpool", None),
    }
    assert all(cost.measured for cost in found["costs"])
    assert isinstance(found["scaling"], Scaling)
    cost_cache.forget()
    assert cached_cost("threads", None, here, store=store) in found["costs"]


def test_measuring_leaves_nothing_behind(nowhere):
    def mine():
        return {*psutil.Process().children(recursive=True), *threading.enumerate()}

    before = mine()
    cached_costs(machine(), store=nowhere)
    gc.collect()
    until_s = time.monotonic() + PATIENCE_S
    while (left := mine() - before) and time.monotonic() < until_s:
        time.sleep(1e-3)
    assert not left


def test_a_script_without_a_guard_is_not_run_again(tmp_path):
    """The children of a Pool import the main script; a measurement must not run it."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('running', flush=True)\n"
        "from amorsize.measure.calibrate import cached_cost\n"
        "from amorsize.measure import helper_process\n"
        "from amorsize.testing import a_machine\n"
        f"helper_process.in_helper.__defaults__ = ({PATIENCE_S},)\n"
        "print(cached_cost('pool', 'spawn', a_machine(cores=2)).measured)\n"
    )
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    assert done.stdout.split() == ["running", "True"]


@needs_fork
@pytest.mark.usefixtures("patience")
@pytest.mark.filterwarnings("error")
def test_other_threads_of_the_caller_do_not_matter(nowhere):
    release = threading.Event()
    other = threading.Thread(target=release.wait)
    other.start()
    try:
        assert cached_cost("pool", "fork", HERE, store=nowhere).measured
    finally:
        release.set()
        other.join()


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, amorsize.measure.calibrate, amorsize.measure.laps; "
        "print(*{'multiprocessing', 'numpy', 'psutil', 'sqlite3', 'concurrent'} & set(sys.modules))"
    )
    assert run_python("-c", code).strip() == ""


# -- looked up -------------------------------------------------------------------------------------------------------


def test_what_is_known_is_not_measured_again(helper, nowhere):
    first = cached_cost("pool", "fork", HERE, store=nowhere)
    assert first.start.base_s == 0.0123
    assert cached_cost("pool", "fork", HERE, store=nowhere) is first
    assert cached_scaling(HERE, store=nowhere).throughput(2) == 1.75
    assert helper.calls == 1, "the scaling curve came with the engine"


def test_costs_of_all_that_is_asked_for(helper, nowhere):
    costs = cached_costs(HERE, store=nowhere)
    assert (costs.processes.engine, costs.processes.start_method) == ("pool", "fork")
    assert (costs.threads.engine, costs.threads.start_method) == ("threadpool", None)
    assert costs.scaling.throughput(2) == 1.75
    only = cached_costs(HERE, threads=None, processes=None, store=nowhere)
    assert (only.threads, only.processes, only.scaling) == (None, None, costs.scaling)
    other = cached_costs(HERE, threads="threads", processes="team", start_method="spawn", store=nowhere)
    assert (other.threads.engine, other.processes.engine, other.processes.start_method) == ("threads", "team", "spawn")
    assert helper.calls == 2


def test_the_store_remembers_for_another_process(helper, store):
    first = cached_costs(HERE, store=store)
    cost_cache.forget()
    assert cached_costs(HERE, store=store) == first
    assert helper.calls == 1


def test_the_default_store_is_the_one_of_the_environment(helper, tmp_path, monkeypatch):
    monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "mine.sqlite"))
    cached_cost("pool", "fork", HERE)
    cost_cache.forget()
    cached_cost("pool", "fork", HERE)
    assert helper.calls == 1
    assert (tmp_path / "mine.sqlite").exists()
    monkeypatch.setenv("AMORSIZE_HISTORY", "off")
    cost_cache.forget()
    cached_cost("pool", "fork", HERE)
    assert helper.calls == 2


@pytest.mark.parametrize("forget", [True, False], ids=["store", "memory"])
def test_figures_are_believed_for_a_month(helper, store, clock, forget):
    def after(days):
        clock.now = 1e9 + days * DAY_S
        if forget:
            cost_cache.forget()
        cached_cost("pool", "fork", HERE, store=store)
        return helper.calls

    assert [after(days) for days in (0, 29, 29.9, 31, 60)] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("forget", [True, False], ids=["store", "memory"])
def test_doubtful_figures_are_believed_for_five_minutes(helper, store, clock, forget):
    helper.warnings = ("the machine is busy",)

    def after(minutes):
        clock.now = 1e9 + minutes * 60
        if forget:
            cost_cache.forget()
        assert cached_cost("pool", "fork", HERE, store=store).warnings == helper.warnings
        return helper.calls

    assert [after(minutes) for minutes in (0, 4, 6, 7)] == [1, 1, 2, 2]


def test_figures_from_the_future_are_measured_again(helper, store, clock):
    clock.now = 2e9
    cached_cost("pool", "fork", HERE, store=store)
    clock.now = 1e9
    cached_cost("pool", "fork", HERE, store=store)
    assert helper.calls == 2


@pytest.mark.parametrize(
    "other",
    [
        a_machine(cores=1.5),
        replace(HERE, logical_cores=8),
        replace(HERE, system="Darwin"),
        replace(HERE, python="CPython 3.14.0"),
        replace(HERE, gil_enabled=False),
    ],
)
def test_another_machine_measures_for_itself(helper, store, other):
    cached_cost("pool", "fork", HERE, store=store)
    cached_cost("pool", "fork", other, store=store)
    assert helper.calls == 2


def test_memory_that_is_free_does_not_make_another_machine():
    assert FORK.key(HERE) == FORK.key(replace(HERE, memory_available_bytes=1, load=9.0))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Yield each place in nested dicts and lists."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def with_junk(value, path, junk):
    if not path:
        return junk
    copy = value.copy()
    copy[path[0]] = with_junk(copy[path[0]], path[1:], junk)
    return copy


@patient
@given(JUNK, st.data(), st.sampled_from([Wish("pool", "fork"), Wish(SCALING)]))
def test_damaged_rows_are_read_whole_or_not_at_all(junk, data, wish):
    value = Curve(Scaling(points=((1, 1.0), (2, 1.5), (4, 2.0))))
    row = json.loads(json.dumps(cost_cache.to_dict(value if wish.engine == SCALING else Found(measured(*wish), 0.01))))
    assert wish.read(row) is not None
    path = data.draw(st.sampled_from(list(places(row))))
    found = wish.read(with_junk(row, path, junk))
    if isinstance(found, Found):
        assert all(math.isfinite(number) and 0 <= number <= cost_cache.FOREVER_S for number in numbers(found.cost))
        assert (found.cost.engine, found.cost.start_method) == wish[:2]
    elif found is not None:
        assert found.scaling.points[0] == (1, 1.0)
        assert all(y <= p for p, y in found.scaling.points)


positive = st.floats(1e-9, 1e3)
free = st.floats(0, 1e3)


@patient
@given(
    st.builds(StartCost, base_s=positive, per_worker_s=free, per_caller_byte_s=free, spread=free),
    st.builds(
        ChannelCost, per_chunk_s=positive, send_s_per_byte=free, recv_s_per_byte=free,
        worker_s_per_byte=free, latency_s=free, spread=free, inherits=st.booleans(),
    ),
    st.sampled_from(["fork", None]), st.booleans(), free, st.lists(st.text()), free,
)  # fmt: skip
def test_rows_come_back_as_they_went(start, channel, method, is_measured, at_s, warnings, cold_s):
    cost = BackendCost(
        engine="pool", start_method=method, start=start, channel=channel, measured=is_measured, measured_at_s=at_s,
        warnings=tuple(warnings),
    )  # fmt: skip
    found = Found(cost, cold_s)
    assert cost_cache.found_from(json.loads(json.dumps(cost_cache.to_dict(found))), "pool", method) == found


@pytest.mark.parametrize(
    "body", [{}, {"cost": 1}, {"points": []}, {"cost": {"engine": "pool", "start_method": "fork"}}]
)
def test_a_damaged_row_in_the_store_is_measured_again(helper, store, body):
    for wish in (FORK, Wish(SCALING)):
        store.put_cost(wish.key(HERE), body, 1e9)
    assert cached_cost("pool", "fork", HERE, store=store).measured
    assert helper.calls == 1
    cost_cache.forget()
    assert cached_cost("pool", "fork", HERE, store=store).measured
    assert helper.calls == 1, "the whole row took the damaged one's place"


def test_a_recorded_cost_in_the_store_is_no_measurement(helper, store):
    store.put_cost(FORK.key(HERE), cost_cache.to_dict(Found(recorded("pool", "fork"))), 1e12)
    assert cached_cost("pool", "fork", HERE, store=store).measured


# -- cold and warm ---------------------------------------------------------------------------------------------------


def test_a_cold_start_is_added_until_it_has_been_made(helper, nowhere, monkeypatch):
    helper.cold_s = 0.05
    monkeypatch.setattr(calibrate, "_is_warm", lambda method: False)
    assert cached_cost("pool", "forkserver", HERE, store=nowhere).start.base_s == pytest.approx(0.0623)
    monkeypatch.setattr(calibrate, "_is_warm", lambda method: True)
    assert cached_cost("pool", "forkserver", HERE, store=nowhere).start.base_s == pytest.approx(0.0123)


def test_engines_that_start_alike_share_the_cold_start():
    team, pool, fork = Wish("team", "spawn"), Wish("pool", "spawn"), Wish("pool", "fork")
    found = {
        team: Found(measured(*team), 0.05), pool: Found(measured(*pool), 0.0), fork: Found(measured(*fork), 0.0),
        Wish(SCALING): Curve(Scaling()),
    }  # fmt: skip
    shared = calibrate._share_cold(found)
    assert [shared[wish].cold_s for wish in (team, pool, fork)] == [0.05, 0.05, 0.0]
    assert shared[Wish(SCALING)] == Curve(Scaling())


@pytest.mark.skipif("forkserver" not in METHODS, reason="no forkserver on this platform")
def test_a_running_fork_server_is_noticed():
    code = (
        "import multiprocessing.forkserver as server\n"
        "from amorsize.measure.calibrate import _is_warm\n"
        "print(_is_warm('forkserver'), end=' ')\n"
        "server.ensure_running()\n"
        "print(_is_warm('forkserver'), _is_warm('spawn'))\n"
    )
    assert run_python("-c", code).split() == ["False", "True", "True"]


# -- many at once ----------------------------------------------------------------------------------------------------


def test_of_many_calls_at_once_one_measures(helper, nowhere):
    gate = threading.Barrier(8)
    found = []

    def call():
        gate.wait()
        found.append(cached_costs(HERE, store=nowhere))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert helper.calls == 1
    assert len(found) == 8
    assert all(one == found[0] for one in found)


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_does_not_inherit_a_lock_that_is_held(helper, nowhere):
    held, release = threading.Event(), threading.Event()

    def hold():
        with cost_cache.turn():
            held.set()
            release.wait()

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if cost_cache.turn().acquire(blocking=False) else 1)
    release.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- what can fail ---------------------------------------------------------------------------------------------------


def broken(*args, **kwargs):
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_no_more_processes(monkeypatch, store):
    monkeypatch.setattr(helper_process.subprocess, "Popen", broken)
    assert_recorded(cached_cost("pool", "fork", HERE, store=store), "pool", "fork", "Resource temporarily unavailable")
    assert cached_scaling(HERE, store=store) == Scaling()
    assert store.get_cost(FORK.key(HERE)) is None
    assert store.get_cost(Wish(SCALING).key(HERE)) is None


def test_no_more_threads(monkeypatch, store):
    def no_thread(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(start_cost, "measure", no_thread)
    assert_recorded(cached_cost("threadpool", None, HERE, store=store), "threadpool", None, "can't start new thread")
    assert store.get_cost(Wish("threadpool").key(HERE)) is None


def test_a_failure_is_not_tried_again_at_once(helper, nowhere, clock):
    helper.answer = {"error": "OSError: no"}
    for _ in range(3):
        assert_recorded(cached_cost("pool", "fork", HERE, store=nowhere), "pool", "fork", "OSError: no")
    assert helper.calls == 1
    helper.answer = None
    clock.now += 2 * 3600
    assert cached_cost("pool", "fork", HERE, store=nowhere).measured


@patient
@given(JUNK)
def test_an_answer_that_nobody_understands(junk):
    cost_cache.forget()
    answer = junk if isinstance(junk, dict) else {"cost": junk, "points": junk}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helper_process, "in_helper", lambda jobs: [answer] * len(jobs))
        costs = cached_costs(HERE, threads=None, store=Store(None))
    assert_recorded(costs.processes, "pool", "fork", "not measured")
    assert costs.scaling == Scaling()


def test_jobs_that_fail():
    helped = helper_process.in_helper(
        [{"kind": "cost", "engine": "pool", "method": "teleport", "cores": 2, "budget_s": 0.0}] * 2
    )
    assert ["cannot find context" in answer["error"] for answer in helped] == [True, True]
    assert helper_process.in_helper([{"kind": "nonsense"}])[0]["error"].startswith("KeyError")


def test_a_helper_that_does_not_come_back(monkeypatch, tmp_path):
    (tmp_path / "amorsize.py").write_text("import threading\nthreading.Event().wait()\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = psutil.Process().children()
    (answer,) = helper_process.in_helper([helper_process.cost_job("pool", METHODS[0], 2.0, 600.0)], patience_s=0.01)
    assert answer == {"error": "measuring took longer than 0.01 s"}
    assert not [child for child in psutil.Process().children() if child not in before]


def test_a_helper_that_dies(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    assert helper_process.in_helper([helper_process.cost_job("pool", METHODS[0], 2.0, 0.0)]) == [
        {"error": "the helper process ended"}
    ]


@patient
@given(st.integers(0, 200), st.binary(max_size=20))
def test_answers_are_read_as_far_as_they_are_whole(cut, noise):
    lines = [{"error": "one"}, {"cost": {"a": 1}}, {"error": "three"}]
    output = b"\n" + b"\n".join(f"{helper_process.MARK}{json.dumps(line)}".encode() for line in lines) + b"\n"
    found = helper_process.answers(output[:cut])
    assert found == lines[: len(found)]
    assert helper_process.answers(noise.replace(b"amorsize", b"") + output) == lines


@pytest.mark.parametrize("path", ["/opt/blender", "", None])
def test_an_application_is_not_taken_for_an_interpreter(monkeypatch, nowhere, path):
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: path and os.fsencode(path))
    assert_recorded(cached_cost("pool", "fork", HERE, store=nowhere), "pool", "fork", "no interpreter is known")


def test_a_frozen_application_is_not_started_again(monkeypatch, nowhere):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert_recorded(cached_cost("pool", "fork", HERE, store=nowhere), "pool", "fork", "no interpreter is known")


def test_a_start_method_that_is_not_to_be_had(helper, nowhere):
    here = replace(HERE, start_methods=("spawn",), default_start_method="spawn")
    assert_recorded(cached_cost("pool", "fork", here, store=nowhere), "pool", "fork", "started by fork")
    assert [job["method"] for job in helper.jobs] == ["spawn"], "the scaling curve is measured by what there is"


def test_workers_do_not_measure(helper, nowhere, monkeypatch):
    monkeypatch.setattr(nested, "cores_share", 1.0)
    assert_recorded(cached_cost("pool", "fork", HERE, store=nowhere), "pool", "fork", "worker")
    assert cached_scaling(HERE, store=nowhere) == Scaling()
    assert helper.calls == 0


def test_a_child_that_is_being_started_does_not_measure(helper, nowhere, monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    assert_recorded(cached_cost("pool", "spawn", HERE, store=nowhere), "pool", "spawn", "being started")
    assert helper.calls == 0


def tell_cost(pipe):
    cost = cached_cost("pool", "fork", HERE, store=Store(None))
    pipe.send((cost.measured, cost.warnings, cached_cost("threads", None, HERE, store=Store(None)).measured))


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_daemonic_processes_do_not_measure_processes():
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=tell_cost, args=(there,), daemon=True)
    child.start()
    is_measured, warnings, threads_measured = here.recv()
    child.join()
    assert not is_measured
    assert "daemonic" in warnings[0]
    assert threads_measured


def test_one_core_needs_no_scaling_curve(helper, nowhere):
    here = a_machine(cores=1)
    assert cached_scaling(here, store=nowhere).throughput(4) == 1.0
    cached_cost("pool", "fork", here, store=nowhere)
    assert [job["kind"] for job in helper.jobs] == ["cost"]


@patient
@given(st.lists(st.sampled_from([*map(Wish, ["pool"] * 3, METHODS), Wish(SCALING)]), min_size=1, unique=True))
def test_jobs_share_the_budget(wishes):
    jobs = calibrate._jobs(wishes, replace(HERE, start_methods=tuple(METHODS)), 1.0)
    assert [job["kind"] for job in jobs] == ["scaling" if wish.engine == SCALING else "cost" for wish in wishes]
    assert sum(job["budget_s"] for job in jobs) == pytest.approx(1.0)
    assert all(job["budget_s"] > 0 for job in jobs)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signals here")
@pytest.mark.parametrize("patience_s", [60.0, 0.0])
def test_an_interrupt_at_any_line_leaves_no_helper(patience_s):
    before = {child.pid for child in psutil.Process().children()}
    at, reached = 0, True

    def lines(frame, event, _):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                os.kill(os.getpid(), signal.SIGINT)
        return lines

    def calls(frame, event, _):
        return lines if frame.f_code.co_filename == helper_process.__file__ else None

    while reached:
        at += 1
        left = at
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.settrace(calls)
        try:
            helper_process.in_helper([], patience_s)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
            signal.signal(signal.SIGINT, handler)
        reached = left <= 0
        # Not even as a zombie.
        assert {child.pid for child in psutil.Process().children()} <= before, f"after line {at}"
    assert at > 20
