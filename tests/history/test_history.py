"""The record of runs: it is fast, loses no row, writes none twice, and never raises."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from amorsize.history import history, sqlite_file, waiting
from amorsize.history.fingerprint import fingerprint
from amorsize.history.history import History, Run

ROOT = Path(history.__file__).parents[2]
# Seconds to wait for another writer: it may stand still while it holds the file.
LONG_S = 300.0
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(autouse=True)
def _no_rows_left():
    yield
    waiting.queues.clear()
    waiting.failing.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def on_disk(path: Path) -> list[dict[str, object]]:
    return sqlite_file.Store(path).runs()


def run_python(code: str, *arguments: object, options: tuple[str, ...] = (), **env: str) -> str:
    command = [sys.executable, *options, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


def one(x):
    return x + 1


FULL = Run(
    at_s=1.5e9,
    function="f" * 32,
    name="mod.f",
    n_items=10,
    backend="processes",
    n_jobs=2,
    chunksize=3,
    start_method="fork",
    predicted_s=1.25,
    serial_s=2.0,
    clock_s=1.5,
    sample={"item_s": 0.1},
    machine={"system": "Linux", "usable_cores": 1.5},
    outcome="raised",
    extra={"note": "x"},
)


class TestRun:
    def test_comes_back_as_it_was(self, path):
        assert Run.from_dict(FULL.to_dict()) == FULL
        History(path).record(FULL)
        assert History(path).runs() == [FULL]

    def test_nothing_known(self):
        assert Run.from_dict({}) == Run()

    def test_unknown_fields_are_extra(self):
        run = Run.from_dict({**FULL.to_dict(), "from_the_future": [1]})
        assert run == replace(FULL, extra={"note": "x", "from_the_future": [1]})

    @pytest.mark.parametrize("junk", [None, "many", [], {}, object(), True])
    def test_nonsense_has_its_default(self, junk):
        sound = {"function", "name", "source", "backend", "start_method", "outcome"} if isinstance(junk, str) else set()
        sound |= {"sample", "machine", "extra"} if junk == {} else set()
        names = [name for name in Run.__dataclass_fields__ if name not in sound]
        assert Run.from_dict(dict.fromkeys(names, junk)) == Run()

    def test_function_becomes_its_fingerprint(self):
        row = Run(function=one).to_dict()
        assert (row["function"], row["name"]) == (fingerprint(one), f"{__name__}.one")
        assert Run(function=one, name="mine").to_dict()["name"] == "mine"

    def test_is_hashable(self):
        assert hash(FULL) == hash(replace(FULL))


class TestArguments:
    @pytest.mark.parametrize("path", [3, b"h.sqlite", ["h"], True, object()])
    def test_wrong_type(self, path):
        with pytest.raises(TypeError, match="path must be"):
            History(path)

    @pytest.mark.parametrize("path", ["", "a\0b"])
    def test_wrong_value(self, path):
        with pytest.raises(ValueError, match="path must"):
            History(path)

    def test_paths(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "env"))
        assert History("x.sqlite").path == History(Path("x.sqlite")).path == tmp_path / "x.sqlite"
        assert History().path == tmp_path / "env"
        assert History("off").path is History("OFF").path is None

    def test_repr(self, path):
        assert repr(History()) == "History()"
        assert repr(History("off")) == "History('off')"
        assert repr(History(path)) == f"History({str(path)!r})"


class TestRecording:
    def test_order_and_length(self, path):
        kept = History(path)
        assert len(kept) == 0
        for n_items in range(5):
            kept.record(Run(n_items=n_items))
        assert not path.exists(), "recording writes nothing"
        assert len(kept) == 5
        kept.record({"n_items": 5})
        assert [run.n_items for run in kept.runs()] == list(range(6))
        assert [run.n_items for run in kept.runs(limit=2)] == [4, 5]
        assert kept.runs(limit=0) == []

    def test_runs_of_one_function(self, path):
        kept = History(path)
        for func in (one, len, one, "abc"):
            kept.record({"function": func})
        assert len(kept.runs(one)) == len(kept.runs(fingerprint(one))) == 2
        assert [run.name for run in kept.runs(len)] == ["len"]
        assert [run.name for run in kept.runs("abc")] == [""]

    def test_time_is_filled_in(self, path):
        History(path).record({})
        History(path).record(Run(at_s=5.0))
        first, second = History(path).runs()
        assert first.at_s > 1.7e9
        assert second.at_s == 5.0

    def test_records_of_the_stages_are_taken_as_they_are(self, path):
        @dataclass(frozen=True)
        class Sample:
            item_s: float
            points: tuple[float, ...]

        History(path).record({"sample": Sample(0.5, (1.0, 2.0)), "colour": "red"})
        assert History(path).runs()[0].sample == {"item_s": 0.5, "points": [1.0, 2.0]}
        assert History(path).runs()[0].extra == {"colour": "red"}

    def test_closures_are_seen_as_they_are_now(self, path):
        value = [1]

        def func(x):
            return x, value

        mark = fingerprint(func)
        for each in ({"function": func}, Run(function=func)):
            History(path).record(each)
        value.append(2)
        assert [run.function for run in History(path).runs()] == [mark, mark]
        assert History(path).runs()[0].name.endswith("<locals>.func")

    def test_closures_are_not_kept_alive(self, path):
        class Heavy:
            pass

        heavy = Heavy()
        gone = weakref.ref(heavy)

        def func(x, heavy=heavy):
            return heavy

        History(path).record({"function": func})
        History(path).record(Run(function=func))
        del func, heavy
        gc.collect()
        assert gone() is None
        assert len(History(path)) == 2

    def test_what_makes_no_sense_is_dropped(self, path):
        History(path).record(3)  # type: ignore[arg-type]
        assert History(path).runs() == []

    def test_many_rows_are_written_before_the_end(self, path, monkeypatch):
        monkeypatch.setattr(waiting, "FLUSH_ROWS", 10)
        for n_items in range(25):
            History(path).record({"n_items": n_items})
        assert [row["n_items"] for row in on_disk(path)] == list(range(20))
        assert History(path).flush()
        assert len(on_disk(path)) == 25

    def test_threads_lose_nothing(self, path, monkeypatch):
        monkeypatch.setattr(waiting, "FLUSH_ROWS", 50)
        monkeypatch.setattr(waiting, "HASTE_S", LONG_S)
        monkeypatch.setattr(sqlite_file, "STALLED_S", LONG_S)

        def record(me: int) -> None:
            for at in range(100):
                History(path).record({"n_items": at, "name": str(me)})

        threads = [threading.Thread(target=record, args=(me,)) for me in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = sorted((run.name, run.n_items) for run in History(path).runs())
        assert found == sorted((str(me), at) for me in range(8) for at in range(100))


class TestEnvironment:
    def test_is_read_at_each_call(self, monkeypatch, tmp_path):
        kept = History()
        for name, count in (("one", 1), ("two", 2)):
            monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / name))
            for _ in range(count):
                kept.record({"name": name})
        assert [run.name for run in kept.runs()] == ["two", "two"]
        monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "one"))
        assert [run.name for run in kept.runs()] == ["one"]
        monkeypatch.setenv("AMORSIZE_HISTORY", "off")
        assert kept.runs() == []

    def test_off_records_nothing(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AMORSIZE_HISTORY", "OFF")
        # An earlier test of this process may have left the empty queue of a place of its own.
        before = {*waiting.queues}
        for kept in (History(), History("off")):
            kept.record(FULL)
            assert kept.flush()
            assert (kept.runs(), len(kept)) == ([], 0)
        assert before.issuperset(waiting.queues)
        assert list(tmp_path.iterdir()) == []

    def test_own_file_is_ruled_by_nobody(self, monkeypatch, path):
        monkeypatch.setenv("AMORSIZE_HISTORY", "off")
        History(path).record(FULL)
        assert History(path).runs() == [FULL]


class TestSickFiles:
    def test_rows_wait_and_can_be_seen(self, path, tmp_path):
        """Nothing can be written below a file; once it is gone, what waited is written."""
        (tmp_path / "file").write_text("letters")
        kept = History(tmp_path / "file" / "history.sqlite")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                kept.record(FULL)
                kept.record({"function": one})
                assert not kept.flush()
            assert kept.runs("f" * 32) == [FULL] * 3
            assert len(kept.runs(one)) == 3
            assert len(kept) == 6
        assert [each.category for each in caught] == [RuntimeWarning]
        (tmp_path / "file").unlink()
        assert kept.flush()
        assert len(on_disk(tmp_path / "file" / "history.sqlite")) == 6

    def test_what_waits_is_bounded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(waiting, "FLUSH_ROWS", 10)
        monkeypatch.setattr(waiting, "KEPT_ROWS", 30)
        kept = History(tmp_path)  # a folder: no file can be made there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for n_items in range(100):
                kept.record({"n_items": n_items})
        assert [run.n_items for run in kept.runs()] == list(range(70, 100))

    def test_recording_never_raises(self, tmp_path, monkeypatch):
        monkeypatch.setattr(waiting, "FLUSH_ROWS", 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            History(tmp_path / "x" / "\udcff" / ("y" * 300)).record(FULL)

    def test_interrupt_loses_nothing(self, path, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        History(path).record(FULL)
        with monkeypatch.context() as patched:
            patched.setattr(sqlite_file.Store, "add_runs", interrupted)
            with pytest.raises(KeyboardInterrupt):
                History(path).flush()
        assert History(path).runs() == [FULL]


RECORD = """
import sys
from amorsize.history.history import History
def func(x): return x
History().record({"function": func, "n_items": 3})
"""


class TestProcesses:
    def test_recording_imports_nothing(self):
        heavy = "('sqlite3', 'platformdirs', 'numpy', 'psutil', 'multiprocessing', 'threading', 'hashlib', 'json')"
        code = f"{RECORD}\nprint([name for name in {heavy} if name in sys.modules], flush=True)"
        code += "\nimport os; os._exit(0)"  # rather than write to this user's real history
        assert run_python(code, AMORSIZE_HISTORY="") == "[]"

    def test_rows_are_written_at_exit(self, path):
        run_python(RECORD, AMORSIZE_HISTORY=str(path))
        (row,) = on_disk(path)
        assert (row["n_items"], row["name"]) == (3, "__main__.func")
        assert len(str(row["function"])) == 32

    def test_also_when_the_program_fails(self, path):
        code = f"{RECORD}\nraise SystemExit(0)"
        run_python(code, AMORSIZE_HISTORY=str(path))
        assert len(on_disk(path)) == 1

    def test_default_place(self, tmp_path):
        code = "import platformdirs\nplatformdirs.user_cache_dir = lambda name: sys.argv[1] + '/amorsize'"
        cache = tmp_path / "deep" / "cache"
        run_python(f"import sys\n{code}\n{RECORD}", cache, AMORSIZE_HISTORY="", XDG_CACHE_HOME=str(cache))
        assert len(on_disk(cache / "amorsize" / "history.sqlite")) == 1

    @pytest.mark.parametrize("options", [(), ("-W", "error")])
    def test_sick_file_at_exit(self, tmp_path, options):
        run_python(RECORD, options=options, AMORSIZE_HISTORY=str(tmp_path))

    def test_off(self, tmp_path):
        run_python(RECORD, AMORSIZE_HISTORY="off", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_processes_at_once(self, path):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "AMORSIZE_HISTORY": str(path)}
        code = f"from amorsize.history import sqlite_file\nsqlite_file.STALLED_S = {LONG_S}\n{RECORD}"
        children = [subprocess.Popen([sys.executable, "-c", code], env=env) for _ in range(8)]
        assert [child.wait() for child in children] == [0] * 8
        assert len(on_disk(path)) == 8

    @needs_fork
    @pytest.mark.parametrize("ending", ["sys.exit(0)", "History().flush(); os._exit(0)"])
    def test_forked_child_writes_its_own_rows_only(self, path, ending):
        code = f"""{RECORD}
import os
child = os.fork()
if not child:
    assert History().flush()
    History().record({{"function": func, "n_items": 4}})
    {ending}
assert os.waitpid(child, 0)[1] == 0
"""
        run_python(code, AMORSIZE_HISTORY=str(path))
        assert sorted(int(str(row["n_items"])) for row in on_disk(path)) == [3, 4]

    @needs_fork
    def test_forked_child_that_records_nothing_writes_nothing(self, path):
        code = f"{RECORD}\nimport os\nchild = os.fork()\nif child: os.waitpid(child, 0)"
        run_python(code, AMORSIZE_HISTORY=str(path))
        assert len(on_disk(path)) == 1

    @pytest.mark.parametrize("method", ["spawn", "fork"])
    def test_children_of_multiprocessing_write_theirs(self, path, tmp_path, method):
        if method == "fork" and not hasattr(os, "fork"):
            pytest.skip("no fork here")
        script = tmp_path / "script.py"
        script.write_text(
            "import multiprocessing, sys\n"
            "from amorsize.history.history import History\n"
            "def work(n): History().record({'n_items': n})\n"
            "if __name__ == '__main__':\n"
            "    work(1)\n"
            "    child = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(2,))\n"
            "    child.start()\n"
            "    child.join()\n"
        )
        env = {**os.environ, "PYTHONPATH": str(ROOT), "AMORSIZE_HISTORY": str(path)}
        subprocess.run([sys.executable, str(script), method], env=env, check=True)
        assert sorted(int(str(row["n_items"])) for row in on_disk(path)) == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_still_ends_the_program_by_its_signal(tmp_path):
    """The flush at exit imports modules, which makes CPython forget that Ctrl-C was the reason to leave."""
    script = "import amorsize, os, signal; amorsize.execute(abs, [1]); os.kill(os.getpid(), signal.SIGINT)"
    env = {**os.environ, "AMORSIZE_HISTORY": str(tmp_path / "h.sqlite")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=False)
    assert done.returncode == -2
    assert len(History(tmp_path / "h.sqlite")) == 1


class TestSources:
    def test_only_those_asked_for(self, path):
        kept = History(path)
        for source in ("execute", "optimize", "tune", "import", "execute"):
            kept.record(Run(function="f", source=source))
        assert [run.source for run in kept.runs()] == ["execute", "execute"]
        assert len(kept) == 2
        for source in ("optimize", "tune", "import"):
            assert [run.source for run in kept.runs(source=source)] == [source]
        assert len(kept.runs(source="all")) == len(kept.runs("f", source="all")) == 5
        assert len(kept.runs(source="all", limit=2)) == 2
        with pytest.raises(ValueError, match="source must be one of"):
            kept.runs(source="magic")

    def test_what_is_recalled_is_of_this_machine_newest_first(self, path):
        kept = History(path)
        here = {"system": "Linux", "usable_cores": 2.0}
        for at, machine in enumerate((here, {**here, "usable_cores": 4.0}, here, None, here)):
            kept.record(Run(function=one, n_items=at, machine=machine))
            if at == 2:
                kept.flush()
        mark = Run(machine=here).machine_digest
        assert mark is not None
        assert [run.n_items for run in kept.recall(one, mark, 10)] == [4, 2, 0]
        assert len(waiting.rows_of(str(path))) == 2, "reading has written nothing"
        kept.flush()
        assert [run.n_items for run in kept.recall(one, mark, 2)] == [4, 2]
        assert list(kept.recall(len, mark, 10)) == []
        assert list(History("off").recall(one, mark, 10)) == []

    def test_what_others_write_meanwhile_is_seen(self, path):
        kept, here = History(path), {"system": "Linux"}
        mark = Run(machine=here).machine_digest
        assert mark is not None
        for at in range(3):
            other = (
                "import sys; from amorsize.history.history import History, Run\n"
                "History(sys.argv[1]).record(Run(function='f', n_items=int(sys.argv[2]), machine={'system': 'Linux'}))"
            )
            run_python(other.replace("'f'", repr(fingerprint(one))), path, at)
            assert [run.n_items for run in kept.recall(one, mark, 10)] == list(range(at, -1, -1))
            assert list(kept.recall(one, mark, 10)) == list(kept.recall(one, mark, 10))
        path.unlink()
        assert list(kept.recall(one, mark, 10)) == []


class TestMachines:
    def test_what_changes_all_the_time_is_not_kept(self, path):
        from amorsize import machine

        History(path).record({"machine": machine()})
        (run,) = History(path).runs()
        assert run.machine is not None
        assert run.machine["usable_cores"] == machine().usable_cores
        assert not {"load", "memory_available_bytes", "sources"} & set(run.machine)

    def test_a_run_that_never_looked_has_the_machine_it_is_written_on(self, path, monkeypatch):
        import amorsize

        amorsize.execute(abs, [1], history=History(path))
        amorsize.execute(abs, list(range(100)), history=History(path), backend="threads")
        first, second = History(path).runs()
        assert first.machine_digest == second.machine_digest is not None


class TestSize:
    def test_a_full_row_is_small(self):
        """100,000 of them, with indices and what SQLite needs for itself, stay below 50 MB."""
        from amorsize.facts import Sample
        from amorsize.history.run_row import pack
        from amorsize.history.tables import dumps

        values = {name: 1.23456789012345e-05 for name in Sample.__dataclass_fields__ if name != "transfer_error"}
        seconds = dict.fromkeys(("predicted_s", "serial_s", "clock_s", "work_s", "work_cpu_s"), 0.123456789)
        run = replace(FULL, **seconds, predicted_interval_s=(0.123456789, 0.123456789), sample=Sample(**values))
        body = pack(run.to_dict())
        for name in ("at_s", "function", "name", "machine", "alike", "source"):
            body.pop(name, None)
        assert len(dumps(body)) < 420

    def test_rows_that_tell_the_same_are_alike(self):
        from amorsize.history.run_row import pack
        from amorsize.history.shape import Shape

        def alike(**values):
            return pack(replace(FULL, shape=Shape("list", "int", 100.0), **values).to_dict())["alike"]

        assert alike() == alike(clock_s=9.0, at_s=3.0, n_items=11)
        others = [{"n_jobs": 3}, {"n_items": 1_000}, {"backend": "threads"}, {"function": "g"}, {"source": "tune"}]
        others += [{"machine": {"system": "Other"}}, {"extra": {"surprise": True}}]
        assert len({alike(), *(alike(**other) for other in others)}) == len(others) + 1

    def test_many_rows_are_thinned(self, path, monkeypatch):
        monkeypatch.setattr(sqlite_file, "KEEP_RUNS", 50)
        kept = History(path)
        kept.record(Run(function="rare", n_items=1))
        for at in range(300):
            kept.record(Run(function="frequent", n_items=at % 2, at_s=float(at + 1)))
            if at % 7 == 0:
                kept.flush()
        assert kept.flush()
        assert len(on_disk(path)) <= 50 + 7
        assert len(kept.runs("rare")) == 1
        assert kept.runs("frequent")[-1].at_s == 300.0


class TestSharing:
    def test_everything_comes_back(self, path, tmp_path):
        full = replace(FULL, work_s=1.0, work_items=10, predicted_interval_s=(1.0, 1.5), threads_gain=1.9)
        here, there = History(path), History(tmp_path / "there")
        here.record(full)
        here.record(Run(function=one, source="tune", at_s=7.0))
        assert here.export(tmp_path / "rows") == 2
        assert there.import_(tmp_path / "rows") == (2, 0, ())
        first, second = there.runs(source="import")
        assert first == replace(full, source="import", extra={**full.extra, "from": "execute"})
        assert (second.function, second.extra) == (fingerprint(one), {"from": "tune"})
        assert there.runs() == []
        assert there.import_(tmp_path / "rows") == (0, 2, ())
        there.export(tmp_path / "again")
        assert History(tmp_path / "third").import_(tmp_path / "again").added == 2
        assert History(tmp_path / "third").runs(source="import") == [first, second]

    def test_what_cannot_be_read_or_written_is_told(self, path, tmp_path):
        with pytest.raises(OSError, match="nothing"):
            History(path).import_(tmp_path / "nothing")
        with pytest.raises(OSError, match="nowhere"):
            History(path).export(tmp_path / "nowhere" / "rows")
        (tmp_path / "rows").write_text('{"function": "f", "clock_s": 1, "at_s": 1}\n')
        with pytest.warns(RuntimeWarning), pytest.raises(OSError, match="cannot be written"):
            History(tmp_path).import_(tmp_path / "rows")

    @pytest.mark.parametrize("line", ["\udcff", "null", "{}", '{"function": 1, "clock_s": 1, "at_s": 1}', "\0"])
    def test_hostile_lines(self, path, tmp_path, line):
        (tmp_path / "rows").write_text(line, errors="surrogatepass")
        found = History(path).import_(tmp_path / "rows")
        assert (found.added, [number for number, _ in found.broken]) == (0, [1])

    def test_forgetting(self, path, tmp_path):
        kept = History(path)
        for function in (one, len, one):
            kept.record({"function": function, "at_s": 1.0})
        kept.record({"function": one})
        assert kept.forget(one, older_than_s=60) == 2
        assert kept.forget("nobody") == 0
        assert [run.name for run in kept.runs()] == ["len", f"{__name__}.one"]
        assert kept.forget() == 2
        assert History("off").forget() == History(tmp_path / "none").forget() == 0
        with pytest.raises(ValueError, match="older_than_s"):
            kept.forget(older_than_s=-1)

    def test_what_could_not_be_forgotten_is_told(self, tmp_path):
        with pytest.warns(RuntimeWarning), pytest.raises(OSError, match="nothing was forgotten"):
            History(tmp_path).forget()


class TestWhatExecuteLeaves:
    def test_a_parallel_run(self, path):
        import amorsize

        kept = History(path)
        amorsize.execute(one, list(range(1_000)), backend="processes", max_workers=2, history=kept)
        (run,) = kept.runs(one)
        assert (run.source, run.backend, run.n_items, run.work_items) == ("execute", "processes", 1_000, 1_000)
        assert run.shape is not None
        assert (run.shape.kind, run.shape.items) == ("list", "int")
        assert run.work_s is not None
        assert run.machine_digest is not None

    def test_a_loop(self, path):
        import amorsize

        kept = History(path)
        amorsize.execute(one, range(10), history=kept, backend="serial")
        (run,) = kept.runs()
        assert (run.backend, run.n_items, run.work_s, run.predicted_s) == ("serial", 10, None, None)
        assert run.serial_s == pytest.approx(run.clock_s, rel=1.0)

    def test_trials_of_tune(self, path):
        import amorsize

        plan = amorsize.tune(one, range(2_000), backend=("serial", "threads"), max_workers=2, max_seconds=1,
                             history=History(path))  # fmt: skip
        rows = History(path).runs(source="tune")
        assert [row.clock_s for row in rows] == pytest.approx([trial.seconds for trial in plan.trials], rel=1e-4)
        assert [row.n_items for row in rows] == [trial.items for trial in plan.trials]
        assert History(path).runs() == []
