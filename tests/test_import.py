"""The import of amorsize and a short map are cheap; the public names are few and complete."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from modes import ROOT

import amorsize

HEAVY = {"numpy", "sklearn", "psutil", "multiprocessing", "concurrent.futures", "sqlite3", "rich"}
SLOW_TO_LOAD = {
    "typing",
    "dataclasses",
    "inspect",
    "re",
    "enum",
    "pickle",
    "traceback",
    "threading",
    "pathlib",
    "collections",
    "functools",
    "operator",
    "math",
}  # 0.3-8 ms
PARALLEL = {
    f"amorsize.{name}"
    for name in (
        "run.go_parallel",
        "backends.workers.child",
        "backends.workers.process_setup",
        "backends.remote_errors",
        "errors",
        "schedule.schedule",
        "backends.workers.team",
    )
}
# What only a decision needs, or a row when it is written: a map that ends before does not load it.
DECISION = {
    f"amorsize.{name}"
    for name in (
        "run.deciding",
        "run.run_summary",
        "model.decide",
        "model.evidence",
        "facts",
        "history.history",
        "history.buffer",
        "history.run_row",
        "history.this_process",
        "backends.workers.item_times",
    )
}
# Each module takes 0.15 ms and more, so the number is a bound, too.
MOST_OWN = 35
# What only a forecast needs.
MODEL = {f"amorsize.model.{name}" for name in ("search", "cost", "default_costs", "starts")}
STORE = {"amorsize.history.sqlite_file", "amorsize.history.tables", "amorsize.system.mounts"}  # loaded to write rows


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after ``code``."""
    tell = "import sys\nnames = sorted(sys.modules)\nimport json\nprint(json.dumps(names))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def never_loaded_by(code: str, heavy: set[str], most_own: int | None = None) -> set[str]:
    """Fail if ``code`` loads something heavy, or more than so many modules of our own; return the modules loaded.

    An overloaded machine may stop a loop for so long that its map looks like a long one: one quiet try must do.
    """
    heavy, found = heavy - loaded_by(""), []
    for _ in range(10):
        try:
            loaded = loaded_by(code)
        except subprocess.CalledProcessError as error:
            found.append([str(error)])
            continue
        own = sorted(name for name in loaded if name.startswith("amorsize"))
        found.append(sorted(loaded & heavy) + ([] if most_own is None else own[most_own:]))
        if not found[-1]:
            return loaded
    raise AssertionError(found)


def test_the_probe_sees_what_is_loaded():
    assert loaded_by("import sqlite3, concurrent.futures") >= {"sqlite3", "concurrent.futures"}


def test_import_loads_nothing_heavy():
    loaded = loaded_by("import amorsize")
    assert "amorsize" in loaded
    assert not loaded & HEAVY
    assert {name for name in loaded - loaded_by("") if not name.startswith("amorsize")} <= {"__future__"}


@pytest.mark.parametrize("history", ["", "import os; os.environ.pop('AMORSIZE_HISTORY')"], ids=["off", "on"])
def test_a_short_map_loads_nothing_heavy(history, tmp_path):
    call = "assert amorsize.execute(abs, range(-1000, 0)) == list(range(1000, 0, -1))"
    script = f"import os; os.environ['XDG_CACHE_HOME'] = {str(tmp_path)!r}; {history}\nimport amorsize\n{call}"
    heavy = HEAVY | PARALLEL | STORE | MODEL | DECISION | {"cloudpickle", "threadpoolctl", "platformdirs"}
    slow = SLOW_TO_LOAD | {"contextlib", "importlib", "bisect"}
    assert "amorsize.run.execute" in never_loaded_by(script, heavy | slow, MOST_OWN)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_going_parallel_loads_little():
    call = "amorsize.execute(abs, range(9), backend='processes', start_method='fork', max_workers=2)"
    loaded = loaded_by(f"import amorsize\nassert {call} == list(range(9))")
    assert loaded >= PARALLEL
    assert not (loaded - loaded_by("")) & {"dataclasses", "inspect", "traceback", "platform", "pathlib", "cloudpickle"}


def test_the_plan_of_a_short_map_loads_little(tmp_path):
    call = "assert amorsize.optimize(abs, list(range(1000)), backend=('serial', 'processes')).backend == 'serial'"
    code = f"import os; os.environ['AMORSIZE_HISTORY'] = {str(tmp_path / 'h')!r}\nimport amorsize\n{call}"
    heavy = {"multiprocessing", "sqlite3", "dataclasses", "inspect", "statistics", "socket", "pickle", "hashlib"}
    heavy |= {"threading", "weakref", "struct"}
    more = {"pathlib", "platform", "platformdirs", "amorsize.measure.calibrate", "amorsize.measure.transfer"}
    more |= {"amorsize.measure.gil", "amorsize.system.job_object", "amorsize.run.deciding"}
    never_loaded_by(code, heavy | more)


def test_what_a_first_plan_needs_loads_little(tmp_path):
    """A plan of a map that is measured and weighed, with the costs that are stored."""
    store = f"from amorsize.history.sqlite_file import Store\nassert Store({str(tmp_path / 'h')!r}).runs() == []"
    code = f"import amorsize.plan.optimize, amorsize.measure.gil, amorsize.model.search\n{store}\namorsize.machine()"
    never_loaded_by(code, {"typing", "re", "enum", "datetime", "sqlite3", "dataclasses", "multiprocessing", "weakref"})


def test_to_write_a_row_at_the_end_of_a_program_loads_little(tmp_path):
    code = f"""
import os, time
os.environ["AMORSIZE_HISTORY"] = {str(tmp_path / "h")!r}
import amorsize
amorsize.execute(time.sleep, [1e-3] * 8, backend="serial")
from amorsize.history.buffer import flush
assert flush()
"""
    assert "amorsize.history.sqlite_file" in never_loaded_by(code, {"typing", "dataclasses", "sqlite3"})


@pytest.mark.parametrize("call", ["execute(abs, iter(range(100)))", "stream(abs, range(100))"])
def test_a_short_iterator_or_stream_loads_nothing_heavy(call):
    heavy = HEAVY | PARALLEL | STORE | DECISION | {"cloudpickle", "threadpoolctl", "platformdirs"}
    never_loaded_by(f"import amorsize\nassert list(amorsize.{call}) == list(range(100))", heavy | SLOW_TO_LOAD)


def test_a_row_whose_sample_is_made_at_exit_is_written(tmp_path):
    path = str(tmp_path / "history.sqlite")
    code = f"""
import os, sys, time
os.environ["AMORSIZE_HISTORY"] = {path!r}
import amorsize
amorsize.execute(time.sleep, [1e-3] * 8, backend='serial')
assert "amorsize.model.evidence" not in sys.modules
"""
    loaded_by(code)
    (run,) = amorsize.History(path).runs()
    assert (run.backend, run.n_items, run.chunksize, run.outcome) == ("serial", 8, 8, "ok")
    assert run.clock_s >= run.serial_s > 8e-3
    assert run.sample["n_sampled"] == 8
    assert run.sample["item_s"] > 1e-3
    assert run.machine["usable_cores"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit here")
def test_what_an_item_raises_is_told_though_nothing_can_be_loaded_any_more():
    script = """
import errno, os, resource, amorsize
held = []
def leak(x):
    held.append(os.open(os.devnull, os.O_RDONLY))
amorsize.execute(abs, range(3))
resource.setrlimit(resource.RLIMIT_NOFILE, (30, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    amorsize.execute(leak, range(100), backend="serial")
except OSError as raised:
    for one in held:
        os.close(one)
    assert raised.errno == errno.EMFILE, raised
    assert "raised at item" in raised.__notes__[0]
else:
    raise AssertionError
"""
    assert "amorsize.backends.results" in loaded_by(script)


def test_the_machine_can_be_read_without_numpy():
    assert not loaded_by("import amorsize\namorsize.machine()") & {"numpy", "sklearn", "sqlite3"}


def test_a_fit_of_history_is_used_without_what_made_it(tmp_path):
    from pruning import fit_of

    from amorsize.learn import pruner
    from amorsize.learn.fit_file import SUFFIX

    path = tmp_path / "history.sqlite"
    pruner.keep(str(path) + SUFFIX, fit_of({"loop": 1.1, "pool": 1.1, "threadpool": 1.1}))
    code = """
import os
os.environ["AMORSIZE_HISTORY"] = {path!r}
import amorsize
def spin(x):
    return sum(range(200_000 + x))
assert "history (" in amorsize.optimize(spin, list(range(50))).reason
amorsize.execute(spin, list(range(50)))
"""
    loaded = loaded_by(code.format(path=str(path)))
    assert "amorsize.learn.pruner" in loaded
    assert not loaded & {"sklearn", "numpy", "scipy", "amorsize.learn.fitting"}


def test_without_a_fit_nothing_of_it_is_loaded(tmp_path):
    code = "import os; os.environ['AMORSIZE_HISTORY'] = {path!r}\nimport amorsize\namorsize.{call}(abs, [1, 2])"
    for call in ("optimize", "execute"):
        loaded = loaded_by(code.format(path=str(tmp_path / "history.sqlite"), call=call))
        assert not loaded & {"sklearn", "numpy", "amorsize.learn.fitting", "amorsize.learn.pruner"}


def test_a_worker_module_is_light():
    loaded = loaded_by("import amorsize.backends.workers.child")
    assert not loaded & (HEAVY | {"cloudpickle", "amorsize.run.execute", "amorsize.facts", "logging", "asyncio"})


def test_every_public_name_is_there():
    for name in amorsize.__all__:
        assert getattr(amorsize, name) is not None
    assert set(amorsize.__all__) <= set(dir(amorsize))
    assert len(set(amorsize.__all__)) == len(amorsize.__all__)


def test_names_that_others_rely_on():
    wanted = {"optimize", "execute", "machine", "History", "Plan", "Machine", "Failure", "AmorsizeError"}
    assert wanted <= set(amorsize.__all__)
    assert amorsize.OptimizationResult is amorsize.Plan


def test_star_import_gives_the_public_names():
    names: dict[str, object] = {}
    exec("from amorsize import *", names)
    assert set(amorsize.__all__) <= set(names)


@pytest.mark.parametrize("name", ["errors", "events", "testing"])
def test_a_public_module_resolves_after_a_bare_import(name):
    assert f"amorsize.{name}" in loaded_by(f"import amorsize\namorsize.{name}")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        amorsize.no_such_name  # noqa: B018


def test_no_public_function_has_a_modules_name():
    modules = {path.stem for path in Path(amorsize.__file__).parent.iterdir()}
    assert "options" in modules
    assert not modules & set(amorsize.__all__)


def test_all_errors_are_in_one_tree_and_survive_pickling():
    import copy
    import pickle

    errors = importlib.import_module("amorsize.errors")
    examples = [
        errors.WorkerLostError(3, None, 9, True),
        errors.WorkerLostError(None, 7),
        errors.TransferError("item", 4, "why"),
        errors.RemoteError("mod.Kind", "what it said"),
    ]
    for one in examples:
        assert isinstance(one, amorsize.AmorsizeError)
        for again in (pickle.loads(pickle.dumps(one)), copy.copy(one)):
            assert type(again) is type(one)
            assert (vars(again), str(again)) == (vars(one), str(one))
    assert isinstance(examples[2], pickle.PicklingError)


def test_the_package_says_that_it_is_typed():
    assert Path(amorsize.__file__).with_name("py.typed").exists()


def test_there_is_a_version():
    assert amorsize.__version__.count(".") == 2


def test_type_checkers_see_every_public_name():
    """They see no ``__getattr__``, so a name that is not imported for them does not exist."""
    tree = ast.parse(Path(amorsize.__file__).read_text(encoding="utf-8"))
    seen = {
        name.asname or name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert {*amorsize.__all__, *amorsize._MODULES} <= seen
