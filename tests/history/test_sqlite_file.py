"""The store: it loses no row, raises at no damaged file, and changes no file of others."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from lanes import repeats

from amorsize.history import location, sqlite_file
from amorsize.history.location import default_path
from amorsize.history.sqlite_file import Store
from amorsize.system.environment import history_setting
from amorsize.system.mounts import is_network

ROOT = Path(sqlite_file.__file__).parents[2]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
SMALL_DISKS = sys.platform == "linux" and os.geteuid() == 0
needs_flock = pytest.mark.skipif(sys.platform == "win32", reason="a broken file is moved only under flock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def start(code: str, *arguments: object, **env: str) -> subprocess.Popen[str]:
    """Start a Python process that goes on at a line on its stdin."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finish(child: subprocess.Popen[str]) -> str:
    out, err = child.communicate()
    assert child.returncode == 0, err
    return out.strip()


def rows(count: int, function: str = "f") -> list[dict[str, object]]:
    return [{"at_s": float(at), "function": function, "clock_s": 0.25} for at in range(count)]


def listing(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_importing_loads_nothing_heavy():
    heavy = "('sqlite3', 'platformdirs', 'multiprocessing', 'threading', 'numpy', 'psutil', 'json', 'pathlib')"
    code = f"import sys, amorsize.history.sqlite_file; print([name for name in {heavy} if name in sys.modules])"
    assert finish(start(code)) == "[]"


class TestPlace:
    def test_is_read_at_each_call(self, monkeypatch, tmp_path):
        for name in ("one", "two"):
            monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / name))
            assert default_path() == str(tmp_path / name)
            assert sqlite_file.default_store().file == str((tmp_path / name).resolve())

    @pytest.mark.parametrize("value", ["off", "OFF", " Off "])
    def test_off(self, monkeypatch, value):
        monkeypatch.setenv("AMORSIZE_HISTORY", value)
        assert default_path() is None
        assert sqlite_file.default_store().file is None

    @pytest.mark.parametrize("value", [None, "", "  "])
    def test_default_is_the_cache_folder(self, monkeypatch, tmp_path, value):
        import platformdirs

        monkeypatch.setattr(location, "_plain_cache_folder", lambda: None)
        monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
        if value is None:
            monkeypatch.delenv("AMORSIZE_HISTORY", raising=False)
        else:
            monkeypatch.setenv("AMORSIZE_HISTORY", value)
        assert default_path() == str(tmp_path / "amorsize" / "history.sqlite")

    @pytest.mark.parametrize("cache", [None, "", "  ", "relative", "/somewhere/else", " /padded "])
    @pytest.mark.parametrize("home", ["/home/user", "/home/user/", "relative", "", None])
    def test_what_is_told_without_platformdirs_is_what_it_says(self, monkeypatch, cache, home):
        import platformdirs

        for name, value in (("XDG_CACHE_HOME", cache), ("HOME", home)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        found = location._plain_cache_folder()
        assert found is None or os.path.normpath(found) == os.path.normpath(platformdirs.user_cache_dir("amorsize"))
        assert (found is not None) == (sys.platform == "linux" and (cache or home or "").startswith("/"))

    @pytest.mark.parametrize("name", ["h.sqlite", "a b?c#d%e&f;g=h+i", "öé", "\udcff", "quote'\"<>|*:"])
    def test_a_path_is_named_as_pathlib_does(self, name):
        if os.name != "nt":
            assert sqlite_file._uri(f"/tmp/{name}") == Path(f"/tmp/{name}").as_uri()

    def test_user_without_home_has_none(self, monkeypatch):
        import platformdirs

        monkeypatch.delenv("AMORSIZE_HISTORY", raising=False)
        monkeypatch.setattr(location, "_plain_cache_folder", lambda: None)
        monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
        assert default_path() is None

    def test_relative_and_home_paths_become_absolute(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
        monkeypatch.setenv("AMORSIZE_HISTORY", "h.sqlite")
        assert history_setting() == str(tmp_path / "h.sqlite")
        monkeypatch.setenv("AMORSIZE_HISTORY", "~/h.sqlite")
        assert history_setting() == str(tmp_path / "home" / "h.sqlite")


class TestRows:
    def test_cost_is_replaced(self, path):
        kept = Store(path)
        assert kept.get_cost("fork") is None
        assert kept.put_cost("fork", {"base_s": 0.013}, 100.0)
        assert kept.put_cost("fork", {"base_s": 0.014, "warnings": ["load"]}, 200.0)
        assert kept.get_cost("fork") == {"base_s": 0.014, "warnings": ["load"], "measured_at_s": 200.0}
        assert kept.get_cost("spawn") is None

    def test_runs_come_in_order(self, path):
        kept = Store(path)
        assert kept.add_runs(rows(5))
        assert kept.add_runs(rows(2, "g"))
        assert kept.count() == 7
        assert kept.runs("g") == rows(2, "g")
        assert kept.runs(limit=3) == rows(5)[-1:] + rows(2, "g")
        assert kept.runs("f", limit=2) == rows(5)[-2:]
        assert kept.add_runs([])
        assert kept.count() == 7

    def test_repeats_go_first(self, path, monkeypatch):
        monkeypatch.setattr(sqlite_file, "KEEP_RUNS", 10)
        kept = Store(path)
        kept.add_runs([{"at_s": 0, "function": "rare"}])
        for at in range(1, 25):
            kept.add_runs([{"at_s": at, "function": "frequent"}])
            assert kept.count() <= 10
        assert [row["at_s"] for row in kept.runs()] == [0, *range(25 - kept.count() + 1, 25)]

    def test_rows_of_a_source_and_of_a_machine(self, path):
        kept = Store(path)
        here, there = {"digest": "a", "cores": 2}, {"digest": "b", "cores": 64}
        kept.add_runs([{"function": "f", "n": 1, "machine": here}, {"function": "f", "n": 2, "machine": there}])
        kept.add_runs([{"function": "f", "n": 3, "machine": here, "source": "tune"}])
        kept.add_runs([{"function": "g", "machine": here}])
        assert [row["n"] for row in kept.runs("f", machine="a")] == [1, 3]
        assert [row["n"] for row in kept.runs("f", machine="a", source="execute")] == [1]
        assert [row["machine"] for row in kept.runs("f")] == [{"cores": 2}, {"cores": 64}, {"cores": 2}]
        assert kept.runs("f", machine="nowhere") == kept.runs("nobody") == []
        assert (kept.count(), kept.count("execute"), kept.count("tune"), kept.count("import")) == (4, 3, 1, 0)
        with sqlite3.connect(path) as link:
            assert link.execute("SELECT count(*) FROM machine").fetchone() == (2,)
        link.close()

    def test_names_stand_with_the_function_or_else_with_the_row(self, path):
        given = [{"at_s": 0.0, "function": mark, "name": name} for mark, name in ("fx", "fy", "gx", "fx")]
        given.insert(3, {"at_s": 0.0, "function": "f"})
        Store(path).add_runs(given)
        assert [row.get("name", "") for row in Store(path).runs()] == ["x", "y", "x", "", "x"]

    def test_rows_that_were_forgotten_leave_no_trace(self, path):
        kept = Store(path)
        kept.add_runs([{"at_s": at, "function": name, "secret": f"of {name}"} for at in range(3) for name in "fg"])
        assert kept.forget_runs("f", before_s=1.0) == 1
        assert kept.forget_runs("f") == 2
        assert kept.forget_runs("f") == 0
        assert {row["function"] for row in kept.runs()} == {"g"}
        assert b"of g" in path.read_bytes()
        assert b"of f" not in path.read_bytes()
        assert kept.forget_runs() == 3
        assert kept.runs() == []
        assert Store(path.parent / "nothing").forget_runs() == Store(None).forget_runs() == 0
        assert not (path.parent / "nothing").exists()

    def test_what_json_does_not_know(self, path):
        numpy = pytest.importorskip("numpy")

        @dataclass(frozen=True, slots=True)
        class Point:
            x: int
            y: object

        loop: dict[str, object] = {"n_items": 3}
        loop["itself"] = loop
        given = [
            {"at_s": float("nan"), "function": "\udcff", "n": numpy.int64(3), "x": numpy.float32(0.5)},
            {"at_s": "noon", "point": Point(1, {2}), "object": object(), ("a", 1): 2},
            {"at_s": 1, "loop": loop, "name": "kept"},
        ]
        assert Store(path).add_runs(given)
        assert Store(path).runs() == [
            {"at_s": 0.0, "function": "\\udcff", "n": 3, "x": 0.5},
            {"at_s": 0.0, "function": "", "point": {"x": 1, "y": [2]}, "object": "<object>"},
            {"at_s": 1.0, "function": "", "name": "kept"},
        ]

    def test_broken_bodies_are_passed_over(self, path):
        Store(path).add_runs(rows(2))
        Store(path).put_cost("k", {}, 1.0)
        with sqlite3.connect(path) as link:
            link.execute("UPDATE run SET body = '{' WHERE id = 1")
            link.execute("UPDATE cost SET body = '[1]'")
        link.close()
        assert Store(path).runs() == rows(2)[1:]
        assert Store(path).get_cost("k") is None

    def test_reading_makes_no_file(self, tmp_path):
        kept = Store(tmp_path / "deep" / "history.sqlite")
        assert (kept.runs(), kept.count(), kept.get_cost("k")) == ([], 0, None)
        assert list(tmp_path.iterdir()) == []

    def test_writing_makes_the_folders(self, tmp_path):
        assert Store(tmp_path / "very" / "deep" / "h").add_runs(rows(1))
        assert Store(tmp_path / "very" / "deep" / "h").count() == 1

    def test_nowhere(self):
        kept = Store(None)
        assert (kept.file, kept.runs(), kept.count(), kept.get_cost("k")) == (None, [], 0, None)
        assert not kept.add_runs(rows(1))
        assert not kept.put_cost("k", {}, 1.0)

    def test_nothing_is_left_beside_the_file(self, path):
        Store(path).add_runs(rows(3))
        Store(path).runs()
        assert [each.name for each in path.parent.iterdir()] == ["history.sqlite"]

    def test_file_behind_a_link(self, tmp_path):
        link = tmp_path / "link.sqlite"
        try:
            link.symlink_to(tmp_path / "real.sqlite")
        except OSError:
            pytest.skip("no links here")
        assert Store(link).add_runs(rows(2))
        assert Store(tmp_path / "real.sqlite").count() == 2


# Seconds to wait for another writer: it may stand still while it holds the file.
LONG_S = 300.0

WRITER = f"""
import sys
from amorsize.history import sqlite_file
sqlite_file.STALLED_S = {LONG_S}
path, me, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = sqlite_file.Store(path, patience_s={LONG_S})
sys.stdin.readline()
print(all([store.add_runs([{{"at_s": at, "function": me}}]) for at in range(count)]))
"""


@pytest.fixture
def patient(monkeypatch):
    """Writers wait for as long as another one holds the file."""
    monkeypatch.setattr(sqlite_file, "STALLED_S", LONG_S)
    monkeypatch.setattr(sqlite_file.Store.__init__, "__kwdefaults__", {"patience_s": LONG_S})


def write_at_once(path: Path, processes: int, count: int) -> None:
    children = [start(WRITER, path, me, count) for me in range(processes)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [finish(child) for child in children] == ["True"] * processes


class TestAtOnce:
    def test_processes_lose_nothing(self, path):
        write_at_once(path, 12, 8)
        for me in range(12):
            assert [row["at_s"] for row in Store(path).runs(str(me))] == list(range(8))

    @needs_fork
    @pytest.mark.usefixtures("patient")
    def test_a_crowd_of_processes_loses_nothing(self, path):
        crowd = repeats(50, 200)
        gate, opener = os.pipe()
        children = []
        for me in range(crowd):
            child = os.fork()
            if not child:
                os.close(opener)
                os.read(gate, 1)  # until the parent lets go of the other end
                os._exit(0 if Store(path).add_runs([{"at_s": 1, "function": str(me)}]) else 1)
            children.append(child)
        os.close(opener)
        os.close(gate)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * crowd
        assert {row["function"] for row in Store(path).runs()} == {str(me) for me in range(crowd)}

    @pytest.mark.usefixtures("patient")
    def test_threads_lose_nothing(self, path):
        def write(me: int) -> None:
            kept.extend(Store(path).add_runs([{"at_s": at, "function": str(me)}]) for at in range(3))

        kept: list[bool] = []
        threads = [threading.Thread(target=write, args=(me,)) for me in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept == [True] * 300
        assert Store(path).count() == 300

    @needs_flock
    def test_a_broken_file_is_moved_once(self, path):
        path.write_bytes(b"not a database " * 1000)
        write_at_once(path, 8, 4)
        assert Store(path).count() == 32
        assert [each.name for each in path.parent.glob("*corrupt*")] == ["history.sqlite.corrupt-1"]
        assert (path.parent / "history.sqlite.corrupt-1").read_bytes() == b"not a database " * 1000

    def test_file_exchanged_while_it_is_opened(self, path, tmp_path, monkeypatch):
        """The row goes to the file that has the name, not to the one that had it."""
        Store(path).add_runs(rows(1, "old"))
        Store(tmp_path / "new").add_runs(rows(2, "new"))
        connect = sqlite_file._connect

        def exchange_and_connect(file: str, mode: str, deadline_s: float) -> sqlite3.Connection:
            link = connect(file, mode, deadline_s)
            if (tmp_path / "new").exists():
                os.rename(path, tmp_path / "old")
                os.rename(tmp_path / "new", path)
            return link

        monkeypatch.setattr(sqlite_file, "_connect", exchange_and_connect)
        if sys.platform == "win32":
            pytest.skip("open files keep their names")
        assert Store(path).add_runs(rows(1, "newest"))
        assert [row["function"] for row in Store(path).runs()] == ["new", "new", "newest"]
        assert [row["function"] for row in Store(tmp_path / "old").runs()] == ["old"]

    @needs_fork
    @pytest.mark.usefixtures("patient")
    def test_forked_children_write_too(self, path):
        Store(path).add_runs(rows(1))
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                os._exit(0 if Store(path).add_runs(rows(2)) else 1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert Store(path).count() == 7

    @needs_fork
    def test_child_forked_amid_an_operation_keeps_off(self, path):
        Store(path).add_runs(rows(1))
        with sqlite_file._inside_sqlite():
            child = os.fork()
            if not child:
                os._exit(1 if Store(path).add_runs(rows(2)) or Store(path).count() else 0)
        assert os.waitpid(child, 0)[1] == 0
        assert Store(path).count() == 1


def refuses(kept: Store, match: str) -> None:
    """Assert that each operation has no effect and does not raise, with one warning in all."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not kept.add_runs(rows(1))
        assert not kept.put_cost("k", {}, 1.0)
        assert kept.runs() == []
        assert kept.count() == 0
        assert kept.get_cost("k") is None
    assert [(each.category, match in str(each.message)) for each in caught] == [(RuntimeWarning, True)], [
        str(each.message) for each in caught
    ]
    assert "AMORSIZE_HISTORY" in str(caught[0].message)


OLD = """
CREATE TABLE cost (key TEXT PRIMARY KEY, measured_at_s REAL NOT NULL, body TEXT NOT NULL);
CREATE TABLE run (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, function TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX run_function ON run (function);
INSERT INTO cost VALUES ('fork', 100.0, '{"base_s":0.013}');
INSERT INTO run (at_s, function, body) VALUES (1.0, 'f', '{"name":"mod.f","clock_s":0.5,"machine":{"system":"X"}}');
INSERT INTO run (at_s, function, body) VALUES (2.0, 'g', '{"clock_s":0.25}');
INSERT INTO run (at_s, function, body) VALUES (3.0, 'f', '{"clock_s":0.75}');
PRAGMA application_id=1634562675;
PRAGMA user_version=1;
"""


class TestOlderFiles:
    @pytest.fixture(autouse=True)
    def _old_file(self, path):
        link = sqlite3.connect(path)
        link.executescript(OLD)
        link.close()

    def test_are_brought_up_to_date_with_all_that_is_in_them(self, path):
        assert Store(path).count() == 3
        assert Store(path).get_cost("fork") == {"base_s": 0.013, "measured_at_s": 100.0}
        first, last = Store(path).runs("f")
        assert first == {"at_s": 1.0, "function": "f", "name": "mod.f", "clock_s": 0.5, "machine": {"system": "X"}}
        assert last == {"at_s": 3.0, "function": "f", "clock_s": 0.75}
        assert Store(path).add_runs(rows(1, "f"))
        assert len(Store(path).runs("f")) == 3

    def test_by_whoever_comes_first(self, path):
        write_at_once(path, 8, 2)
        assert Store(path).count() == 3 + 16


class TestSickFiles:
    def test_folder_in_its_place(self, tmp_path):
        refuses(Store(tmp_path), "not a file")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no fifos here")
    def test_fifo_in_its_place(self, path):
        os.mkfifo(path)
        refuses(Store(path), "not a file")

    def test_below_a_file(self, tmp_path):
        (tmp_path / "file").write_text("letters")
        refuses(Store(tmp_path / "file" / "history.sqlite"), "history.sqlite")

    @pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
    def test_where_nothing_can_be_made(self):
        refuses(Store("/proc/amorsize/history.sqlite"), "/proc/amorsize")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_folder(self, path):
        path.parent.chmod(0o500)
        try:
            refuses(Store(path), "history.sqlite")
        finally:
            path.parent.chmod(0o700)

    def test_read_only_file(self, path, monkeypatch):
        Store(path).add_runs(rows(2))
        connect = sqlite_file._connect
        monkeypatch.setattr(sqlite_file, "_connect", lambda file, mode, deadline_s: connect(file, "ro", deadline_s))
        with pytest.warns(RuntimeWarning, match="readonly"):
            assert not Store(path).add_runs(rows(1))
        assert Store(path).count() == 2

    def test_full_disk(self, path, monkeypatch):
        Store(path).add_runs(rows(2))
        connect = sqlite_file._connect

        def connect_to_small_disk(file: str, mode: str, deadline_s: float) -> sqlite3.Connection:
            link = connect(file, mode, deadline_s)
            link.execute("PRAGMA max_page_count=8")
            return link

        monkeypatch.setattr(sqlite_file, "_connect", connect_to_small_disk)
        with pytest.warns(RuntimeWarning, match="full"):
            assert not Store(path).add_runs([{"name": "x" * 100_000}])
        assert Store(path).runs() == rows(2)
        assert Store(path).add_runs(rows(1))

    @needs_fork
    @pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
    def test_no_room_for_the_file_to_grow(self, path):
        """The system refuses writes beyond 64 kB, like a full disk or a quota."""
        import resource
        import signal

        Store(path).add_runs(rows(2))
        child = os.fork()
        if not child:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
            warnings.simplefilter("ignore")
            refused = not Store(path).add_runs([{"name": "x" * 1_000_000}])
            os._exit(0 if refused and Store(path).runs() == rows(2) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert Store(path).runs() == rows(2)
        assert Store(path).add_runs(rows(1))

    @pytest.mark.skipif(not SMALL_DISKS, reason="only root may mount a file system, on Linux")
    def test_full_disk_for_real(self, tmp_path):
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk], capture_output=True).returncode:
            pytest.skip("may not mount anything here")
        try:
            kept = Store(disk / "history.sqlite")
            assert kept.add_runs(rows(2))
            with pytest.warns(RuntimeWarning, match="full|I/O"):
                assert not kept.add_runs([{"name": "x" * 1_000_000}])
            assert kept.runs() == rows(2)
            assert kept.add_runs(rows(1))
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_a_file_that_another_program_keeps_locked_is_given_up(self, path, monkeypatch):
        """Nothing is written for `STALLED_S`: one warning, long before `PATIENCE_S` is over."""
        Store(path).add_runs(rows(1))
        clock = iter(range(10**9))
        monkeypatch.setattr(sqlite_file.time, "monotonic", lambda: next(clock) * 0.2)
        holder = sqlite3.connect(path, isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.warns(RuntimeWarning, match="locked"):
                assert not Store(path).add_runs(rows(1))
        finally:
            holder.close()
        assert next(clock) * 0.2 < 4 * sqlite_file.STALLED_S < sqlite_file.PATIENCE_S

    def test_a_writer_waits_on_while_others_write(self, path, monkeypatch):
        Store(path).add_runs(rows(1))
        stamps = iter(range(10**9))
        monkeypatch.setattr(Store, "stamp", lambda self: (next(stamps),))
        monkeypatch.setattr(sqlite_file, "STALLED_S", 0.01)
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.5, lambda: (holder.execute("ROLLBACK"), holder.close()))
        release.start()
        try:
            assert Store(path).add_runs(rows(1))
        finally:
            release.join()

    def test_the_end_of_a_program_does_not_wait_for_a_locked_file(self, path):
        """Its row is lost with a warning; how long a program waits is pinned in virtual time above."""
        Store(path).add_runs(rows(1))
        holder = sqlite3.connect(path, isolation_level=None)
        try:
            holder.execute("BEGIN EXCLUSIVE")
            done = subprocess.run(
                [sys.executable, "-c", "import amorsize; print(amorsize.execute(abs, [-1]))"],
                env={**os.environ, "AMORSIZE_HISTORY": str(path), "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            )
        finally:
            holder.close()
        assert done.stdout == "[1]\n"
        assert done.stderr.count("locked") == 1

    def test_locked_file(self, path):
        Store(path).add_runs(rows(1))
        holder = sqlite3.connect(path, isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.warns(RuntimeWarning, match="locked"):
                assert not Store(path, patience_s=0.0).add_runs(rows(1))
            assert not Store(path).add_runs(rows(1)), "once was enough: no second wait"
            assert Store(path).count() == 1, "readers need not wait"
            holder.execute("COMMIT")
        finally:
            holder.close()
        assert Store(path).add_runs(rows(1))
        assert str(path.resolve()) not in sqlite_file._impatient

    def test_python_without_sqlite(self, path, monkeypatch):
        monkeypatch.setitem(sys.modules, "_sqlite3", None)
        with pytest.warns(RuntimeWarning, match="sqlite3"):
            assert not Store(path).add_runs(rows(1))

    def test_empty_file_is_taken(self, path):
        path.touch()
        assert Store(path).runs() == []
        assert Store(path).add_runs(rows(1))
        assert Store(path).count() == 1

    @needs_flock
    @pytest.mark.parametrize("content", [b"\0" * 5000, b"letters", b"SQLite format 3\0" + b"\xff" * 50])
    def test_garbage_is_moved_aside(self, path, content):
        path.write_bytes(content)
        with pytest.warns(RuntimeWarning, match="broken, and is now history.sqlite.corrupt-1"):
            assert Store(path).runs() == []
        assert (path.parent / "history.sqlite.corrupt-1").read_bytes() == content
        assert Store(path).add_runs(rows(1))
        assert Store(path).count() == 1

    @needs_flock
    def test_second_broken_file_spares_the_first(self, path):
        for content in (b"first", b"second"):
            path.write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert Store(path).add_runs(rows(1))
        assert (path.parent / "history.sqlite.corrupt-1").read_bytes() == b"first"
        assert (path.parent / "history.sqlite.corrupt-2").read_bytes() == b"second"

    @needs_flock
    def test_torn_pages_are_moved_aside_with_the_log(self, path):
        Store(path).add_runs(rows(2000))
        path.with_name("history.sqlite-journal").write_bytes(b"")
        content = path.read_bytes()
        content = content[:8192] + b"\xa5" * (len(content) // 2) + content[8192 + len(content) // 2 :]
        path.write_bytes(content)
        with pytest.warns(RuntimeWarning, match="broken"):
            assert Store(path).runs() == []
        assert path.with_name("history.sqlite.corrupt-1").read_bytes() == content
        assert not path.with_name("history.sqlite-journal").exists()
        assert Store(path).add_runs(rows(1))
        assert Store(path).runs() == rows(1)

    def test_letters_are_not_moved(self, tmp_path):
        """A slip in AMORSIZE_HISTORY must not rename what the user wrote."""
        path = tmp_path / "thesis.txt"
        path.write_text("letters" * 1000)
        refuses(Store(path), "not a database")
        assert listing(tmp_path) == {"thesis.txt": b"letters" * 1000}

    @pytest.mark.parametrize("version", [0, 1, 77])
    def test_another_program_s_database_is_not_touched(self, path, version):
        link = sqlite3.connect(path)
        link.execute("CREATE TABLE run (dog TEXT)")
        link.execute(f"PRAGMA user_version={version}")
        link.commit()
        link.close()
        before = listing(path.parent)
        refuses(Store(path), "another program")
        assert listing(path.parent) == before

    def test_newer_schema_is_not_touched(self, path):
        Store(path).add_runs(rows(1))
        link = sqlite3.connect(path)
        link.execute(f"PRAGMA user_version={len(sqlite_file.MIGRATIONS) + 1}")
        link.close()
        before = listing(path.parent)
        refuses(Store(path), "newer amorsize")
        assert listing(path.parent) == before

    def test_older_schema_is_brought_up_to_date(self, path, monkeypatch):
        Store(path).add_runs(rows(2))
        more = (*sqlite_file.MIGRATIONS, ("CREATE TABLE journal (id INTEGER PRIMARY KEY)",))
        monkeypatch.setattr(sqlite_file, "MIGRATIONS", more)
        assert Store(path).runs() == rows(2)
        link = sqlite3.connect(path)
        assert link.execute("PRAGMA user_version").fetchone() == (len(more),)
        assert link.execute("SELECT count(*) FROM journal").fetchone() == (0,)
        link.close()


def journal_mode(path: Path) -> str:
    link = sqlite3.connect(path)
    try:
        return str(link.execute("PRAGMA journal_mode").fetchone()[0])
    finally:
        link.close()


MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /home rw,relatime shared:7 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/local rw - xfs /dev/sdb1 rw
32 22 0:32 / /mnt/my\040disk rw - cifs //host/share rw
33 22 0:33 / /data rw master:1 - autofs systemd-1 rw
34 33 0:34 / /data rw - lustre mds:/data rw
35 22 0:35 / /sshfs rw - fuse.sshfs host: rw
36 22 0:36 / /rootless rw - fuse.fuse-overlayfs fuse-overlayfs rw
37 22 0:37 / /usb rw - fuseblk /dev/sdc1 rw
garbage
38 22 0:38 /
"""


class TestNetwork:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/", False),
            ("/var/cache", False),
            ("/home", True),
            ("/home/ada/.cache", True),
            ("/homes/ada", False),
            ("/home/local/ada", False),
            ("/mnt/my disk/x", True),
            ("/data/x", True),
            ("/sshfs/x", True),
            ("/rootless/x", False),
            ("/usb/x", False),
        ],
    )
    def test_mounts(self, path, expected):
        assert is_network(path, MOUNTS) is expected

    @pytest.mark.parametrize("text", ["", "\n\n", "a b c - d", "22 1 8:1 / / rw -", "\0" * 100])
    def test_garbage(self, text):
        assert is_network("/home", text) is False

    def test_local_folders_have_a_log(self, path, monkeypatch):
        monkeypatch.setattr(sqlite_file, "on_network", lambda folder: False)
        Store(path).add_runs(rows(1))
        assert journal_mode(path) == "wal"

    def test_network_folders_have_none(self, path, monkeypatch):
        monkeypatch.setattr(sqlite_file, "on_network", lambda folder: True)
        Store(path).add_runs(rows(1))
        assert journal_mode(path) == "delete"
        assert Store(path).runs() == rows(1)

    def test_file_that_came_to_a_network_folder_loses_it(self, path, monkeypatch):
        monkeypatch.setattr(sqlite_file, "on_network", lambda folder: False)
        Store(path).add_runs(rows(1))
        monkeypatch.setattr(sqlite_file, "on_network", lambda folder: True)
        Store(path).add_runs(rows(1))
        assert journal_mode(path) == "delete"
        assert Store(path).count() == 2
