"""What it costs this process to start workers: bounded, learnt from its own starts, kept for the program's next run."""

import sys

import pytest

from amorsize.facts import Costs, Scaling
from amorsize.frozen import replace
from amorsize.history import this_process
from amorsize.history.this_process import Memory
from amorsize.measure import cost_cache, own_start
from amorsize.measure.cost_cache import SCALING, Curve, Known, Wish
from amorsize.measure.own_start import as_here, learn, looked_up, save
from amorsize.model.default_costs import recorded
from amorsize.model.starts import ready_s
from amorsize.testing import a_machine

SPAWN = recorded("team", "spawn")
HERE = a_machine(2)


def plain(x):
    return x


@pytest.fixture(autouse=True)
def memory(monkeypatch, tmp_path):
    """A process of its own: it has learnt nothing, and has used 2 s of CPU time to load 1,000 modules."""
    fresh = Memory()
    monkeypatch.setattr(this_process, "THIS_PROCESS", fresh)
    monkeypatch.setattr(own_start, "THIS_PROCESS", fresh)
    monkeypatch.setattr(own_start, "cpu_before_first_use_s", lambda: 2.0)
    monkeypatch.setattr(own_start, "main_is_interactive", lambda: False)
    monkeypatch.setattr(own_start, "import_bound_s", lambda cpu_s, modules: cpu_s)
    monkeypatch.setattr(own_start, "program", lambda: "/a/program.py")
    monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "history.sqlite"))
    # The disk may be slow.
    monkeypatch.setattr(own_start._store, "__defaults__", (60.0,))
    cost_cache.forget()
    yield fresh
    cost_cache.forget()


def import_s(cost, func=plain):
    return as_here(cost, func, [1]).start.import_s


def test_a_fork_imports_nothing():
    assert as_here(recorded("team", "fork"), plain, [1]) == recorded("team", "fork")


def test_spawned_workers_import_what_the_main_module_does():
    assert import_s(SPAWN) == 2.0
    assert import_s(recorded("pool", "spawn")) == 2.0


def test_the_fork_server_imports_packages_once(monkeypatch):
    from amorsize.backends.workers import fork_server

    monkeypatch.setattr(fork_server, "packages", lambda func: ["numpy"])
    monkeypatch.setattr(own_start, "_share_of", lambda packages: 0.75)
    monkeypatch.setattr(fork_server, "is_running", lambda: False)
    bare = recorded("team", "forkserver").start
    start = as_here(recorded("team", "forkserver"), plain, [1]).start
    assert (start.import_s, start.base_s - bare.base_s) == pytest.approx((0.5, 1.5))
    monkeypatch.setattr(fork_server, "is_running", lambda: True)
    start = as_here(recorded("team", "forkserver"), plain, [1]).start
    assert (start.import_s, start.base_s) == (0.5, bare.base_s)


def test_without_a_main_module_only_what_the_function_names_is_imported(monkeypatch):
    monkeypatch.setattr(own_start, "main_is_interactive", lambda: True)
    home = {"__name__": "__main__", "pytest": pytest, "sys": sys}
    exec("def alone(x): return sys.path\ndef names(x): return pytest.raises", home)
    for name in ("alone", "names"):
        home[name].__module__ = "__main__"
    assert import_s(SPAWN, home["alone"]) == 0.0
    assert import_s(SPAWN, home["names"]) == 2.0


def test_modules_to_load_are_part_of_the_start():
    assert as_here(SPAWN, plain, [1], load_s=0.5).start.load_s == 0.5


# -- learnt in this process --------------------------------------------------------------------------------------------


def test_the_second_map_knows_the_first_ones_start():
    cost = as_here(SPAWN, plain, [1])
    seen_s = ready_s(replace(SPAWN.start, import_s=0.7), 2, 2.0)
    learn(cost, 2, 2.0, seen_s, 9.0)
    assert import_s(SPAWN) == pytest.approx(0.7)
    assert import_s(recorded("pool", "spawn")) == pytest.approx(0.7), "another pool's workers import the same"


def test_a_start_that_was_not_waited_for_counts_as_longer():
    learn(as_here(SPAWN, plain, [1]), 2, 2.0, None, 10.0)
    assert ready_s(as_here(SPAWN, plain, [1]).start, 2, 2.0) == pytest.approx(20.0)


def test_a_slow_fork_is_noted_but_not_written(memory):
    fork = recorded("team", "fork")
    learn(fork, 2, 2.0, fork.start.total_s(2) / 2, 1.0)
    assert memory.starts == {}
    learn(fork, 2, 2.0, 3 * fork.start.total_s(2), 1.0)
    assert as_here(fork, plain, [1]).start.total_s(2) == pytest.approx(2 * fork.start.total_s(2))
    assert memory.unsaved == {}


# -- kept for the next run -------------------------------------------------------------------------------------------


def next_process(memory):
    memory.forget()
    cost_cache.forget()


def test_the_next_run_of_the_program_knows(memory, monkeypatch):
    monkeypatch.setattr("amorsize.system.machine.lately", lambda: HERE)
    learn(as_here(SPAWN, plain, [1]), 2, 2.0, ready_s(replace(SPAWN.start, import_s=0.7), 2, 2.0), 9.0)
    save()
    next_process(memory)
    cost = as_here(SPAWN, plain, [1], load_s=0.01)
    found = looked_up(Costs(processes=cost), HERE).processes
    assert found.start.import_s == pytest.approx(0.7)
    assert found.start.load_s == 0.01
    assert import_s(SPAWN) == pytest.approx(0.7)


@pytest.mark.parametrize("other", ["/another/program.py", "<none>"])
def test_another_program_does_not(memory, monkeypatch, other):
    monkeypatch.setattr("amorsize.system.machine.lately", lambda: HERE)
    learn(SPAWN, 2, 2.0, 1.0, 1.0)
    save()
    next_process(memory)
    monkeypatch.setattr(own_start, "program", lambda: other)
    assert looked_up(Costs(processes=SPAWN), HERE).processes == SPAWN


def test_the_first_start_of_the_process_is_kept(memory, monkeypatch):
    monkeypatch.setattr("amorsize.system.machine.lately", lambda: HERE)
    learn(SPAWN, 2, 2.0, 1.0, 1.0)
    first = as_here(SPAWN, plain, [1]).start
    learn(as_here(SPAWN, plain, [1]), 2, 2.0, 0.2, 1.0)
    save()
    next_process(memory)
    assert looked_up(Costs(processes=SPAWN), HERE).processes.start == first, "later ones find a warm machine"


def test_nothing_is_written_without_history(memory, monkeypatch, tmp_path):
    monkeypatch.setenv("AMORSIZE_HISTORY", "off")
    learn(SPAWN, 2, 2.0, 1.0, 1.0)
    save()
    assert not list(tmp_path.iterdir())
    costs = Costs(processes=SPAWN)
    assert looked_up(costs, HERE) is costs


def test_a_broken_file_changes_nothing(tmp_path):
    (tmp_path / "history.sqlite").mkdir()
    costs = Costs(processes=SPAWN)
    with pytest.warns(RuntimeWarning):
        assert looked_up(costs, HERE) == costs


def test_a_measured_scaling_curve_counts(tmp_path):
    curve = Curve(Scaling(points=((1, 1.0), (2, 1.7))))
    wish = Wish(SCALING)
    cost_cache.keep(wish.key(HERE), Known(curve, 1e12), None)
    assert looked_up(Costs(processes=SPAWN), HERE).scaling.throughput(2) == pytest.approx(1.7)
