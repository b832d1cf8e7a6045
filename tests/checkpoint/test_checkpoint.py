"""``execute(checkpoint=PATH)``: after any end of a run, the next run does only the missing items."""

from __future__ import annotations

import gc
import os
import pickle
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import checkpoint_functions as cf
import modes
import psutil
import pytest
from lanes import repeats
from modes import ROOT, over

import amorsize
from amorsize.checkpoint import checkpoint as checkpoint_module
from amorsize.checkpoint import journal, listing
from amorsize.errors import CheckpointError, CheckpointMismatchError
from amorsize.facts import Failure
from amorsize.history.sqlite_file import Store
from amorsize.run import go_parallel

N = 40
SQUARES = [x * x for x in range(N)]
PATIENCE_S = 60.0  # for programs to reach a point; far longer than they take


@pytest.fixture
def notes(tmp_path) -> cf.Notes:
    return cf.Notes(tmp_path)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "checkpoint"


@pytest.fixture
def step(tmp_path, notes) -> partial:
    return partial(cf.step, str(tmp_path))


def kept(path: Path) -> set[int]:
    """Return the items that are done in a checkpoint; the file must be intact."""
    if not path.exists():
        return set()
    # A program that writes may stand still.
    with closing(sqlite3.connect(path, timeout=PATIENCE_S)) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not link.execute("SELECT 1 FROM sqlite_master").fetchall():
            return set()
        return {index for (index,) in link.execute("SELECT item FROM done")}


# -------------------------------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("again", [list, iter], ids=["then-list", "then-iterator"])
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
class TestEachWayToRun:
    def test_only_what_failed_is_run_again(self, run, notes, path, step, kind, again):
        notes.fail_at(0, 3, 17, N - 1)
        found = run(step, kind(range(N)), checkpoint=path, on_error="collect")
        assert [x for x in range(N) if isinstance(found[x], Failure)] == [0, 3, 17, N - 1]
        notes.fail_at(17)
        notes.forget()
        found = run(step, again(range(N)), checkpoint=path, on_error="collect")
        # An item that fails in a trial on threads is run again by the loop.
        assert sorted({*notes.ran()}) == [0, 3, 17, N - 1]
        assert found[:17] + found[18:] == SQUARES[:17] + SQUARES[18:]
        notes.fail_at()
        notes.forget()
        assert run(step, again(range(N)), checkpoint=path) == SQUARES
        assert notes.ran() == [17]

    def test_what_was_finished_before_an_exception_is_kept(self, run, notes, path, step, kind, again):
        notes.fail_at(23)
        with pytest.raises(LookupError, match="23 is bad") as caught:
            run(step, kind(range(N)), checkpoint=path)
        assert caught.value.__notes__ == ["amorsize: raised at item 23: 23"]
        before = kept(path)
        assert 23 not in before
        notes.fail_at()
        notes.forget()
        assert run(step, again(range(N)), checkpoint=path) == SQUARES
        assert sorted(notes.ran()) == sorted(set(range(N)) - before)


def test_nothing_is_run_when_all_is_there(run, notes, path, step):
    assert run(step, range(N), checkpoint=path) == SQUARES
    notes.forget()
    for data in (range(N), iter(range(N))):
        assert run(step, data, checkpoint=path) == SQUARES
    assert notes.ran() == []


def test_data_may_grow(run, notes, path, step):
    run(step, range(10), checkpoint=path)
    notes.forget()
    assert run(step, range(N), checkpoint=path) == SQUARES
    assert sorted(notes.ran()) == list(range(10, N))


def test_no_data_at_all(run, path, step):
    for data in ([], iter([])):
        assert run(step, data, checkpoint=path) == []


@over(modes.SERIAL, modes.THREADS, modes.AUTO)
def test_func_may_change_its_items(run, path):
    assert run(cf.spoil, [[x] for x in range(N)], checkpoint=path) == list(range(N))
    assert run(cf.spoil, [[x] for x in range(N)], checkpoint=path) == list(range(N))
    spoilt = [[x, 1] for x in range(N)]
    with pytest.raises(CheckpointMismatchError, match="an item that func has changed is another one"):
        run(cf.spoil, spoilt, checkpoint=path)


@over(modes.SERIAL, *modes.PROCESSES)
def test_every_other_item_is_missing(run, notes, path, step):
    notes.fail_at(*range(0, N, 2))
    run(step, range(N), checkpoint=path, on_error="collect")
    notes.fail_at()
    notes.forget()
    assert run(step, iter(range(N)), checkpoint=path) == SQUARES
    assert sorted(notes.ran()) == list(range(0, N, 2))


@over(modes.SERIAL, modes.TO_THREADS, modes.PROCESSES[0])
def test_values_of_all_kinds(run, path):
    data = [None, 3, "é\udc80", b"x", (1, [2]), {"a": {1, 2}}, float("inf"), Failure(3, ValueError("mine"), "text")]
    for _ in range(2):
        found = run(_same, data, checkpoint=path)
        assert found[:-1] == data[:-1]
        assert isinstance(found[-1], Failure)  # a result like any other


def _same(x):
    return x


# ------------------------------------------------------------------------------------------------------- killed, ended


@contextmanager
def started(folder, func, n=N, kind="range", backend="serial", method=""):
    """Start a program that runs a map in ``folder``; kill it at the end, if it still runs."""
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "checkpoint_functions.py"), str(folder), func, str(n)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen([*command, kind, backend, method], env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def wait_until(condition, program=None):
    """Return True if the condition came true before the program ended."""
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        if program is not None and program.poll() is not None:
            return False
        assert time.monotonic() < limit
        time.sleep(0.001)
    return True


def end_with_workers(program):
    """Kill the program at this instant, and wait until its workers have gone too."""
    program.send_signal(signal.SIGSTOP)  # it starts no others while they are listed
    while program.poll() is None and psutil.Process(program.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.001)
    workers = [] if program.poll() is not None else psutil.Process(program.pid).children(recursive=True)
    program.kill()
    program.wait()
    assert psutil.wait_procs(workers, timeout=PATIENCE_S)[1] == []


@pytest.mark.parametrize(
    ("kind", "backend", "method"),
    [
        ("range", "serial", ""),
        ("iterator", "serial", ""),
        ("range", "threads", ""),
        ("range", "processes", "fork"),
        ("iterator", "processes", "fork"),
        ("range", "processes", "spawn"),
        ("range", "processes", "forkserver"),
        ("range", "auto", ""),
    ],
)
def test_killed_at_any_instant(tmp_path, notes, path, kind, backend, method):
    """However often the program is killed, no item in the journal is run again, and the map ends."""
    n, chance = repeats(150, 500), random.Random(f"{kind}{backend}{method}")
    counts = dict.fromkeys(range(n), 0)
    lost = kills = 0
    while True:
        before = kept(path)
        notes.forget()
        # At times it reaches the write, else it is killed before.
        target = chance.randrange(1, n * 4 // 5)
        grows = chance.random() < 0.6
        with started(tmp_path, "slow_step", n, kind, backend, method) as program:

            def is_time(program=program, before=before, target=target, grows=grows):
                return len(kept(path)) > len(before) if grows else len(notes.ran()) >= target

            alive = wait_until(is_time, program)
            if not alive:
                assert program.returncode == 0, program.stderr.read()
            end_with_workers(program)
        kills += alive
        ran = notes.ran()
        assert not before & set(ran)
        for x in ran:
            counts[x] += 1
        after = kept(path)
        assert before <= after <= before | set(ran)
        lost += len(ran) - len(after - before)
        if not alive:
            break
        assert kills < 100
    assert len(after) == n
    assert min(counts.values()) == 1
    assert sum(counts.values()) == n + lost


WRITER = """
import sys
from amorsize.checkpoint.journal import Journal

journal = Journal(sys.argv[1])
journal.begin("key", "name")
start = 1 + max((row.item for row in journal.done()), default=-1)
while True:
    journal.write([(x, b"d", b"r" * 5000) for x in range(start, start + 50)], [], [], None)
    start += 50
    print(start, flush=True)
"""


def test_killed_while_it_writes(path):
    """Each complete write is in the file; the write that the kill interrupted is there as a whole or not at all."""
    chance = random.Random(7)
    told = 0
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            for _ in range(chance.randrange(1, 6)):
                told = int(writer.stdout.readline())
            for _ in range(chance.randrange(20_000)):  # somewhere within the next one
                pass
            writer.kill()
            told = max([told, *map(int, writer.stdout.read().split())])
        found = kept(path)
        assert found in (set(range(told)), set(range(told + 50)))


def test_ctrl_c_keeps_all_that_is_done(tmp_path, notes, path):
    with started(tmp_path, f"wait_at:{N - 5}", N) as program:
        assert wait_until(lambda: len(notes.ran()) == N - 4, program)
        program.send_signal(signal.SIGINT)
        program.wait()
    assert kept(path) == set(range(N - 5))


def test_ctrl_c_while_workers_run(tmp_path, notes, path):
    with started(tmp_path, f"wait_at:{N - 5}", N, "range", "processes", "fork") as program:
        assert wait_until(lambda: max(notes.ran(), default=0) >= N - 5, program)
        program.send_signal(signal.SIGINT)
        program.wait()
    assert kept(path) <= set(range(N - 5))


@over(modes.SERIAL, modes.THREADS, *modes.PROCESSES)
def test_a_keyboard_interrupt_in_an_item_is_no_failure_of_it(run, tmp_path, notes, path):
    with pytest.raises(KeyboardInterrupt):
        run(partial(cf.interrupt_at, str(tmp_path), 11), range(N), checkpoint=path)
    contents, failed = journal.read(str(path))
    assert (contents.failed, failed) == (0, [])
    assert 11 not in kept(path)


def test_the_journal_is_one_file_when_nobody_runs(path, step, tmp_path, notes):
    amorsize.execute(step, range(N), checkpoint=path)
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint", "ran"}


# ------------------------------------------------------------------------------------------------------ when it writes


class Clock:
    now_s = 0.0

    @classmethod
    def perf_counter(cls) -> float:
        return cls.now_s

    time = staticmethod(time.time)


@pytest.fixture
def opened(path, monkeypatch):
    """Return an open checkpoint whose clock is at zero."""
    monkeypatch.setattr(checkpoint_module, "time", Clock)
    monkeypatch.setattr(Clock, "now_s", 0.0)
    checkpoint = checkpoint_module.Checkpoint(str(path), abs, "key")
    checkpoint.source(checkpoint_module.Indexable(range(N)))
    checkpoint.outcome("raise", None)
    assert list(checkpoint.resume()) == [(0, N)]
    yield checkpoint
    checkpoint.journal.end()


def at(checkpoint, now_s):
    Clock.now_s = now_s
    checkpoint.tick(now_s, ())


def test_it_writes_within_a_second_and_no_more_often(opened, path):
    opened.keep(0, [0, 1])
    at(opened, 0.74)
    assert kept(path) == set()
    at(opened, 0.75)
    assert kept(path) == {0, 1}
    opened.keep(2, [4])
    at(opened, 1.45)
    assert kept(path) == {0, 1}
    opened.close()
    assert kept(path) == {0, 1, 2}


def test_what_cannot_be_written_waits_ever_longer(opened, path, monkeypatch):
    tries = []

    def full(*_):
        tries.append(Clock.now_s)
        raise OSError("disk full")

    opened.keep(0, [0])
    with monkeypatch.context() as patch:
        patch.setattr(opened.journal, "write", full)
        with pytest.warns(RuntimeWarning, match="disk full") as caught:
            at(opened, 0.75)
        for quarter in range(3, 40):
            at(opened, quarter / 4)
    assert tries == [0.75, 2.25, 5.25]
    assert len(caught) == 1
    opened.keep(1, [1])
    at(opened, 20.0)
    assert kept(path) == {0, 1}


# ------------------------------------------------------------------------------------------------------------ mismatch


def other(x):
    return -x


def shifted(by):
    return lambda x: x + by


MISMATCHES = {
    "another function": (other, range(N), "another function, test_checkpoint.other, and not|before it, or what"),
    "other data": (None, range(1, N + 1), r"item 0 \(1\) is not what it was"),
    "one other item": (None, [*range(20), "x", *range(21, N)], r"item 20 \('x'\) is not what it was"),
    "a number of another type": (None, [*range(20), 20.0, *range(21, N)], r"item 20 \(20.0\)"),
    "less data": (None, range(N - 1), f"a result of item {N - 1}, and the data end after {N - 1} items"),
    "no data": (None, [], "a result of item 0, and the data end after 0 items"),
}


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("what", MISMATCHES)
def test_a_mismatch_is_told_and_nothing_is_touched(path, notes, step, what, kind, tmp_path):
    amorsize.execute(step, range(N), checkpoint=path)
    before = path.read_bytes()
    notes.forget()
    func, data, told = MISMATCHES[what]
    with pytest.raises(
        CheckpointMismatchError, match=told if func is None else "results of another function"
    ) as caught:
        amorsize.execute(func or step, kind(data), checkpoint=path)
    assert caught.value.path == str(path)
    assert "Use another path, or delete the file" in str(caught.value)
    assert path.read_bytes() == before
    assert notes.ran() == []
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint", "ran"}
    assert amorsize.execute(step, range(N), checkpoint=path) == SQUARES


def test_the_same_name_with_another_closure(path):
    amorsize.execute(shifted(1), range(N), checkpoint=path)
    with pytest.raises(CheckpointMismatchError, match="before it, or what it closes over, was changed"):
        amorsize.execute(shifted(2), range(N), checkpoint=path)
    assert amorsize.execute(shifted(1), range(N), checkpoint=path)[0] == 1


def test_a_key_stands_in_for_the_function(path):
    def first(x):
        return 1 // (x - 5)

    def mended(x):
        return 1 // (x - 5) if x != 5 else "mended"

    assert isinstance(
        amorsize.execute(first, range(9), checkpoint=path, checkpoint_key="v", on_error="collect")[5], Failure
    )
    with pytest.raises(CheckpointMismatchError):
        amorsize.execute(mended, range(9), checkpoint=path, checkpoint_key="w")
    with pytest.raises(CheckpointMismatchError):
        amorsize.execute(mended, range(9), checkpoint=path)
    assert amorsize.execute(mended, range(9), checkpoint=path, checkpoint_key="v")[5] == "mended"


def test_the_message_names_a_key_to_go_on_with(path, step, notes):
    amorsize.execute(step, range(N), checkpoint=path)
    with pytest.raises(CheckpointMismatchError) as caught:
        amorsize.execute(other, range(N), checkpoint=path)
    key = str(caught.value).split("checkpoint_key=")[1].strip("'.")
    assert amorsize.execute(other, range(N), checkpoint=path, checkpoint_key=key) == SQUARES


def foreign_database(path):
    with closing(sqlite3.connect(path)) as link:
        link.execute("CREATE TABLE mine (x)")
        link.commit()


NO_JOURNALS = {
    "text": lambda path: path.write_text("Dear Ada,\n" * 20),
    "one letter": lambda path: path.write_text("x"),
    "a database": foreign_database,
    "the history": lambda path: Store(path).put_cost("key", {}, 0.0),
    "a torn journal": lambda path: (amorsize.execute(abs, range(5000), checkpoint=path), os.truncate(path, 5000)),
}


@pytest.mark.parametrize("what", NO_JOURNALS)
def test_what_is_no_journal_is_left_alone(path, step, notes, what):
    NO_JOURNALS[what](path)
    before = path.read_bytes()
    with pytest.raises(CheckpointMismatchError):
        amorsize.execute(step if what != "a torn journal" else abs, range(5000), checkpoint=path)
    assert path.read_bytes() == before
    assert notes.ran() == []


def test_a_folder_is_no_journal(tmp_path, step):
    with pytest.raises(CheckpointMismatchError, match="it is no file"):
        amorsize.execute(step, range(N), checkpoint=tmp_path)


def test_an_empty_file_is_a_new_journal(path, step, notes):
    path.touch()
    assert amorsize.execute(step, range(N), checkpoint=path) == SQUARES
    assert len(kept(path)) == N


def test_a_newer_journal_is_left_alone(path, step, notes):
    amorsize.execute(step, range(N), checkpoint=path)
    with closing(sqlite3.connect(path)) as link:
        link.execute("PRAGMA user_version=99")
    with pytest.raises(CheckpointMismatchError, match="newer"):
        amorsize.execute(step, range(N), checkpoint=path)


def of_the_format_before(path, identity="0123456789abcdef"):
    with closing(sqlite3.connect(path)) as link:
        link.execute("UPDATE map SET identity = ?", (identity,))
        link.execute("PRAGMA user_version=1")
        link.commit()


def test_a_journal_of_the_format_before_goes_on_with_a_key_only(path, step, notes):
    """What it knew the function by is too coarse to take its results over."""
    amorsize.execute(step, range(N - 5), checkpoint=path)
    of_the_format_before(path)
    before = path.read_bytes()
    notes.forget()
    with pytest.raises(CheckpointMismatchError, match="an earlier amorsize wrote it") as caught:
        amorsize.execute(step, range(N), checkpoint=path)
    with pytest.raises(CheckpointMismatchError, match=r"another function|as that was before"):
        amorsize.execute(step, range(N), checkpoint=path, checkpoint_key="another")
    assert path.read_bytes() == before
    assert notes.ran() == []
    assert journal.read(str(path))[0].done == N - 5
    key = str(caught.value).split("checkpoint_key=")[1].strip("'.")
    assert amorsize.execute(step, range(N), checkpoint=path, checkpoint_key=key) == SQUARES
    assert sorted(notes.ran()) == list(range(N - 5, N))
    # It holds rows of today's format now, which an earlier amorsize must not take for its own.
    with closing(sqlite3.connect(path)) as link:
        assert link.execute("PRAGMA user_version").fetchone() == (journal.VERSION,)


def test_the_format_before_is_told_though_the_function_would_fit(path, step):
    amorsize.execute(step, range(3), checkpoint=path)
    of_the_format_before(path, journal.read(str(path))[0].identity)
    with pytest.raises(CheckpointMismatchError, match="an earlier amorsize wrote it"):
        amorsize.execute(step, range(3), checkpoint=path)


def test_tables_and_columns_keep_their_names(path, step):
    amorsize.execute(step, range(3), checkpoint=path)
    with closing(sqlite3.connect(path)) as link:
        tables = {
            name: [column[1] for column in link.execute(f"PRAGMA table_info({name})")]
            for name in ("map", "done", "failed")
        }
        assert link.execute("PRAGMA user_version").fetchone() == (2,)
    assert tables == {
        "map": ["identity", "name", "begun_at_s", "resumed_at_s", "items"],
        "done": ["item", "digest", "result"],
        "failed": ["item", "digest", "at_s", "type", "text", "traceback", "exception"],
    }


# ---------------------------------------------------------------------------------------------------- broken, strangers


BREAK = (
    "DELETE FROM map",
    "INSERT INTO map SELECT * FROM map",
    "UPDATE map SET identity = 3",
    "UPDATE map SET identity = NULL",
    "UPDATE map SET items = -1",
    "UPDATE map SET items = 'many'",
    "UPDATE map SET begun_at_s = 'then'",
    "UPDATE map SET name = x'ff'",
    "UPDATE map SET name = CAST(x'ff' AS TEXT)",
    "UPDATE done SET result = 3 WHERE item = 2",
    "UPDATE done SET result = 'text' WHERE item = 2",
    "UPDATE done SET digest = 7 WHERE item = 2",
    "UPDATE done SET item = -4 WHERE item = 2",
    "DROP TABLE map",
    "DROP TABLE done",
    "DROP TABLE failed",
    "ALTER TABLE done RENAME COLUMN result TO other",
    "PRAGMA user_version=-1",
    "PRAGMA user_version=0",
    "INSERT INTO failed VALUES (-3, NULL, 1.0, 'T', 't', 't', NULL)",
)


@pytest.mark.parametrize("statement", BREAK)
def test_a_broken_journal_is_refused_by_name_and_left_alone(path, step, notes, statement):
    """Whatever another program has put into its tables."""
    amorsize.execute(step, range(9), checkpoint=path)
    with closing(sqlite3.connect(path)) as link:
        link.execute(statement)
        link.commit()
    before = path.read_bytes()
    notes.forget()
    with pytest.raises(CheckpointError, match=f"^checkpoint {path}"):
        amorsize.execute(step, range(9), checkpoint=path)
    for look in (journal.read, journal.results):
        try:
            look(str(path))
        except CheckpointError:
            pass
    assert path.read_bytes() == before
    assert notes.ran() == []


def test_a_schema_of_bytes_that_are_no_text(path, step):
    """SQLite's own message then quotes bytes that Python cannot decode."""
    amorsize.execute(step, range(9), checkpoint=path)
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \x89ABLE", 1))
    for look in (lambda: amorsize.execute(step, range(9), checkpoint=path), lambda: journal.read(str(path))):
        with pytest.raises(CheckpointError, match=f"^checkpoint {path}: it is broken"):
            look()


def test_bytes_that_have_changed_cost_a_checkpoint_error_at_most(path, step):
    amorsize.execute(step, range(300), checkpoint=path)
    whole, chance = path.read_bytes(), random.Random(5)
    # Not within the rows of results, whose pickles may then be anything.
    ends = [at for at in range(len(whole)) if at < 100 or at % 4096 < 60]
    for _ in range(150):
        torn = bytearray(whole)
        for at in chance.sample(ends, chance.randrange(1, 9)):
            torn[at] = chance.randrange(256)
        path.write_bytes(bytes(torn[: chance.choice((len(torn), chance.randrange(len(torn))))]))
        for look in (
            lambda: amorsize.execute(step, range(300), checkpoint=path, backend="serial"),
            lambda: journal.read(str(path)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    look()
                except CheckpointError:
                    pass


def rows(path):
    with closing(sqlite3.connect(path)) as link:
        return link.execute("SELECT item, digest, result FROM done ORDER BY item").fetchall()


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("column", ["digest", "result"])
def test_a_flipped_byte_of_a_row_is_never_believed(path, step, notes, kind, column):
    """Within the pickle of a number any bit may change, and another number comes out: it was taken for the result."""
    amorsize.execute(step, range(N), checkpoint=path)
    whole = rows(path)
    for at in range(len(whole[7][1 if column == "digest" else 2])):
        with closing(sqlite3.connect(path)) as link:
            link.execute("DELETE FROM done")
            link.executemany("INSERT INTO done VALUES (?, ?, ?)", whole)
            damaged = bytearray(whole[7][1 if column == "digest" else 2])
            damaged[at] ^= 1
            link.execute(f"UPDATE done SET {column} = ? WHERE item = 7", (bytes(damaged),))
            link.commit()
        notes.forget()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert amorsize.execute(step, kind(range(N)), checkpoint=path, backend="serial") == SQUARES
        # Without its seal's mark a row is as an earlier version wrote it; what is damaged then is the mark alone.
        if ran := notes.ran():
            assert ran == [7]
            assert any("1 results are not as they were written" in str(one.message) for one in caught)
        assert bool(ran) or (column == "result" and damaged[-8:-4] != journal.SEAL_MARK)
        assert rows(path)[7] == whole[7] or not ran


def test_a_result_under_another_items_number_is_never_believed(path, step, notes):
    amorsize.execute(step, [5] * 3, checkpoint=path)
    with closing(sqlite3.connect(path)) as link:
        link.execute("UPDATE done SET item = 1000000 WHERE item = 1")
        link.commit()
    notes.forget()
    with pytest.warns(RuntimeWarning, match="not as they were written"):
        assert amorsize.execute(step, [5] * 3, checkpoint=path) == [25] * 3
    assert notes.ran() == [5]
    assert kept(path) == {0, 1, 2}
    assert amorsize.execute(step, [5] * 3, checkpoint=path) == [25] * 3


def test_a_journal_without_checksums_is_still_read(path, step, notes):
    amorsize.execute(step, range(N), checkpoint=path)
    with closing(sqlite3.connect(path)) as link:
        bare = [(pickle.dumps(pickle.loads(result), 5), item) for item, _, result in rows(path)]
        link.executemany("UPDATE done SET result = ? WHERE item = ?", bare)
        link.commit()
    notes.forget()
    assert amorsize.execute(step, range(N), checkpoint=path) == SQUARES
    assert notes.ran() == []


def test_a_damaged_result_is_named_by_the_listing(path, step):
    amorsize.execute(step, range(3), checkpoint=path)
    with closing(sqlite3.connect(path)) as link:
        link.execute("UPDATE done SET result = CAST(x'00' || substr(result, 2) AS BLOB) WHERE item = 1")
        link.commit()
    assert [result is None for _, result in journal.results(str(path))] == [False, True, False]
    assert "item 1: <its bytes have changed" in listing.to_text(listing.look(str(path), results=True))


def mode_of(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_journal_and_its_lock_are_for_its_user_alone(path, umask, tmp_path):
    found = {}

    def look(x):
        found.update({one.name: mode_of(one) for one in tmp_path.iterdir()})
        return x

    before = os.umask(umask)
    try:
        amorsize.execute(look, range(3), checkpoint=path, backend="serial")
    finally:
        os.umask(before)
    assert found == {"checkpoint": 0o600, "checkpoint.amorsize-lock": 0o600}
    assert mode_of(path) == 0o600


def test_a_journal_that_every_user_may_write_is_refused(path, step, notes):
    """Its results would be unpickled, which runs any code."""
    amorsize.execute(step, range(3), checkpoint=path)
    notes.forget()
    path.chmod(0o666)
    with pytest.raises(CheckpointError, match=r"every user may write it.*chmod go-w"):
        amorsize.execute(step, range(3), checkpoint=path)
    with pytest.raises(CheckpointError, match="every user may write it"):
        journal.results(str(path))
    assert journal.read(str(path))[0].done == 3
    assert notes.ran() == []
    path.chmod(0o644)
    assert amorsize.execute(step, range(3), checkpoint=path) == [0, 1, 4]


def test_a_journal_that_its_group_may_write_costs_a_warning(path, step):
    amorsize.execute(step, range(3), checkpoint=path)
    path.chmod(0o660)
    with pytest.warns(RuntimeWarning, match="its group may write it.*chmod g-w"):
        _, plan = amorsize.execute(step, range(3), checkpoint=path, return_plan=True)
    assert any("chmod g-w" in text for text in plan.warnings)


@pytest.mark.parametrize("owner", ["another", "root"])
def test_a_journal_of_another_user_is_refused_but_not_of_root(path, step, notes, owner, monkeypatch):
    amorsize.execute(step, range(3), checkpoint=path)
    mine = os.geteuid()
    if mine == 0 and owner == "another":
        os.chown(path, 12345, -1)
    elif mine == 0:
        # As any other user sees a file of root's.
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    if owner == "root":
        if mine:
            pytest.skip("no file of root's here")
        assert amorsize.execute(step, range(3), checkpoint=path) == [0, 1, 4]
        return
    notes.forget()
    with pytest.raises(CheckpointError, match=r"belongs to another user.*make a copy of it"):
        amorsize.execute(step, range(4), checkpoint=path)
    with pytest.raises(CheckpointError, match="belongs to another user"):
        journal.results(str(path))
    assert notes.ran() == []


# ------------------------------------------------------------------------------------------------------------ its lock


def test_a_lock_file_of_another_program_is_left_alone(tmp_path, step):
    """``checkpoint="poetry"`` beside ``poetry.lock``."""
    theirs = tmp_path / "poetry.lock"
    theirs.write_text("[[package]]")
    assert amorsize.execute(step, range(N), checkpoint=tmp_path / "poetry") == SQUARES
    assert theirs.read_text() == "[[package]]"
    assert not list(tmp_path.glob("*amorsize-lock"))


def lock_of(path):
    return path.with_name(f"{path.name}.amorsize-lock")


def a_link(lock, target):
    target.write_text("amorsize lock of process 1")
    lock.symlink_to(target)


PLACES = {
    "a file": lambda lock, target: lock.write_text("Dear Ada"),
    "a long file": lambda lock, target: lock.write_text("amorsize lock of process 1" + "0" * 500),
    "a link": a_link,
    "a link to nowhere": lambda lock, target: lock.symlink_to(target),
    "a folder": lambda lock, target: lock.mkdir(),
    "a pipe": lambda lock, target: os.mkfifo(lock),
}


@pytest.mark.parametrize("what", PLACES)
def test_what_stands_where_the_lock_would_be_is_left_alone(path, tmp_path, step, notes, what):
    lock, target = lock_of(path), tmp_path / "target"
    PLACES[what](lock, target)
    before = (lock.lstat(), target.read_text() if target.exists() else None)
    with pytest.raises(CheckpointError, match=r"its lock would be .*amorsize-lock, but it is no .*left as it is"):
        amorsize.execute(step, range(N), checkpoint=path)
    after = (lock.lstat(), target.read_text() if target.exists() else None)
    assert (after[0].st_ino, after[0].st_size, after[1]) == (before[0].st_ino, before[0].st_size, before[1])
    assert notes.ran() == []


def test_a_lock_that_a_killed_run_has_left_is_taken_over(path, step):
    lock_of(path).write_text("amorsize lock of process 99999999")
    assert amorsize.execute(step, range(N), checkpoint=path) == SQUARES
    assert not lock_of(path).exists()


def test_what_took_the_place_of_the_lock_meanwhile_is_left_alone(path):
    def replace(x):
        if x == 1:
            lock_of(path).unlink()
            lock_of(path).write_text("Dear Ada")
        return x

    assert amorsize.execute(replace, range(3), checkpoint=path, backend="serial") == [0, 1, 2]
    assert lock_of(path).read_text() == "Dear Ada"


# -------------------------------------------------------------------------------------- lock of the file, full disk


def test_two_processes_at_once(tmp_path, notes, path, step):
    with started(tmp_path, "wait_at:3", N) as program:
        assert wait_until(lambda: len(notes.ran()) == 4, program)
        for func in (step, partial(cf.wait_at, str(tmp_path), 3)):
            with pytest.raises(CheckpointError, match=f"process {program.pid} is running with it"):
                amorsize.execute(func, range(N), checkpoint=path)
        program.kill()
        program.wait()
        assert len(notes.ran()) == 4
    path.unlink()
    assert amorsize.execute(step, range(N), checkpoint=path) == SQUARES


def test_the_lock_goes_with_a_killed_process_though_its_workers_were_forked(tmp_path, notes, path):
    with started(tmp_path, "wait_at:3", N, "range", "processes", "fork") as program:
        assert wait_until(lambda: max(notes.ran(), default=0) >= 3, program)
        program.kill()
        program.wait()
        lock = journal.FileLock(str(path))
        lock.acquire()
        lock.release()


def test_within_one_process(path, tmp_path):
    def nested(x):
        with pytest.raises(CheckpointError, match=f"process {os.getpid()} is running with it"):
            amorsize.execute(abs, range(3), checkpoint=path)
        return x

    assert amorsize.execute(nested, range(3), checkpoint=path, backend="serial") == [0, 1, 2]


def test_a_folder_that_is_not_there(tmp_path, step, notes):
    with pytest.raises(CheckpointError, match="Make its folder first"):
        amorsize.execute(step, range(N), checkpoint=tmp_path / "nowhere" / "checkpoint")
    assert notes.ran() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path, step, notes):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(CheckpointError, match="cannot be written"):
        amorsize.execute(step, range(N), checkpoint=tmp_path / "closed" / "checkpoint")
    assert notes.ran() == []


@contextmanager
def no_file_larger_than(size):
    """Make writes beyond ``size`` fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_at_the_start(path, step, notes):
    with no_file_larger_than(100), pytest.raises(CheckpointError, match="cannot be written"):
        amorsize.execute(step, range(N), checkpoint=path)
    assert notes.ran() == []
    assert amorsize.execute(step, range(N), checkpoint=path) == SQUARES


def test_a_full_disk_on_the_way_costs_a_warning(path):
    def large(x):
        return b"x" * 300_000

    with no_file_larger_than(200_000), pytest.warns(RuntimeWarning, match="cannot be written now") as caught:
        found = amorsize.execute(large, range(N), checkpoint=path, backend="serial")
    assert len(caught) == 1
    assert found == [b"x" * 300_000] * N
    assert kept(path) == set()
    assert amorsize.execute(large, range(N), checkpoint=path) == found
    assert len(kept(path)) == N


def test_the_file_goes_while_it_runs(path, tmp_path):
    def remove(x):
        if x == 3:
            path.unlink()
        return x

    with pytest.warns(RuntimeWarning, match="cannot be written now"):
        assert amorsize.execute(remove, range(9), checkpoint=path, backend="serial") == list(range(9))


def test_another_file_takes_its_place(path, tmp_path):
    def replace(x):
        if x == 3:
            path.unlink()
            path.write_text("Dear Ada")
        return x

    with pytest.warns(RuntimeWarning, match="cannot be written now"):
        amorsize.execute(replace, range(9), checkpoint=path, backend="serial")
    assert path.read_text() == "Dear Ada"


# ------------------------------------------------------------------------------------------- results not pickled


@over(modes.SERIAL, modes.THREADS, modes.AUTO)
def test_results_that_cannot_be_pickled_stay_in_memory(run, tmp_path, notes, path):
    func = partial(cf.lock_at_odd, str(tmp_path))
    with pytest.warns(RuntimeWarning, match="the result of item 1 cannot be kept") as caught:
        found = run(func, range(6), checkpoint=path)
    assert len(caught) == 1
    assert [type(x) for x in found] == [int, type(threading.Lock())] * 3
    notes.forget()
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        assert run(func, range(6), checkpoint=path)[::2] == [0, 2, 4]
    # Threads run them in any order, and what a worker process could not send, the loop runs again.
    assert sorted({*notes.ran()}) == [1, 3, 5]


def test_lambdas_are_kept_by_value(path):
    assert amorsize.execute(lambda x: lambda: x, range(3), checkpoint=path, backend="serial")[2]() == 2
    assert journal.read(str(path))[0].done == 3


class Passing:
    """Can be unpickled while that is allowed."""

    allowed = True

    def __reduce__(self):
        return rebuild, ()


def rebuild():
    if not Passing.allowed:
        raise LookupError("gone")
    return Passing()


def _passing(x):
    return Passing() if x in (3, 4) else x


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_results_that_cannot_be_rebuilt_are_made_again(path, kind, monkeypatch):
    amorsize.execute(_passing, range(9), checkpoint=path, backend="serial")
    monkeypatch.setattr(Passing, "allowed", False)
    with pytest.warns(RuntimeWarning, match=r"2 results cannot be rebuilt.*item 3: LookupError: gone"):
        found = amorsize.execute(_passing, kind(range(9)), checkpoint=path, backend="serial")
    assert [x for x in range(9) if found[x] != x] == [3, 4]


# ------------------------------------------------------------------------------------------------------------ iterators


def breaking(n, at):
    yield from range(at)
    if at < n:
        raise OSError("the source is broken")


@over(modes.SERIAL, modes.AUTO, modes.PROCESSES[0])
def test_an_iterator_that_raises(run, notes, path, step):
    for end in (20, 10, 30):  # once it raises before an item that is done
        with pytest.raises(OSError, match="the source is broken"):
            run(step, breaking(N, end), checkpoint=path)
    assert sorted(notes.ran()) == list(range(30))
    assert run(step, breaking(N, N), checkpoint=path) == SQUARES
    assert sorted(notes.ran()) == list(range(N))


class Tracked:
    alive = 0

    def __init__(self, x):
        self.x = x
        Tracked.alive += 1

    def __del__(self):
        Tracked.alive -= 1

    def __reduce__(self):
        return Tracked, (self.x,)


def test_of_an_iterator_only_holes_are_held(path):
    most = []

    def look(item):
        most.append(Tracked.alive)
        return item.x

    def fail(item):
        if item.x in (5, 900):
            raise LookupError
        return item.x

    data = range(1000)
    amorsize.execute(
        fail, map(Tracked, data), checkpoint=path, checkpoint_key="k", backend="serial", on_error="collect"
    )
    gc.collect()  # the frames that the exceptions hold
    found = amorsize.execute(look, map(Tracked, data), checkpoint=path, checkpoint_key="k", backend="serial")
    assert found == list(data)
    assert len(most) == 2
    assert max(most) <= 4


# ------------------------------------------------------------------------------------------------- failures, and others


def test_failures_are_kept_with_their_tracebacks(path, notes, step):
    notes.fail_at(3, 5)
    amorsize.execute(step, range(N), checkpoint=path, on_error="collect")
    contents, failed = journal.read(str(path))
    assert (contents.items, contents.done, contents.failed) == (N, N - 2, 2)
    assert [(one.item, one.type, one.text) for one in failed] == [
        (3, "LookupError", "3 is bad"),
        (5, "LookupError", "5 is bad"),
    ]
    assert 'raise LookupError(f"{x} is bad")' in failed[0].traceback
    notes.fail_at()
    amorsize.execute(step, range(N), checkpoint=path)
    assert journal.read(str(path))[0].failed == 0


@over(*modes.PROCESSES)
def test_a_lost_worker_is_a_failure(run, path):
    import engine_functions as ef

    run(partial(ef.die_at, os.getpid(), "exit", (7,)), range(N), checkpoint=path, on_error="collect")
    contents, (failed,) = journal.read(str(path))
    assert (contents.done, failed.item, failed.type) == (N - 1, 7, "amorsize.errors.WorkerLostError")


def test_no_worker_is_started_for_nothing(path, monkeypatch):
    amorsize.execute(abs, range(N), checkpoint=path)
    monkeypatch.setattr(go_parallel, "drive", None)
    assert amorsize.execute(abs, range(N), checkpoint=path, backend="processes") == list(range(N))


@pytest.mark.parametrize("backend", ["serial", "processes", "auto"])
def test_the_plan_and_the_row_are_of_what_was_run(path, tmp_path, backend):
    history = amorsize.History(tmp_path / "history.sqlite")
    for n, ran in ((10, 10), (N, N - 10), (N, 0)):
        found, plan = amorsize.execute(
            abs, range(n), checkpoint=path, backend=backend, return_plan=True, history=history
        )
        assert found == list(range(n))
        assert plan.explain()
        run = history.runs()[-1]
        assert (run.n_items, run.extra.get("skipped", 0)) == (ran, n - ran)


def test_warnings_are_in_the_plan(path, tmp_path, notes):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        _, plan = amorsize.execute(
            partial(cf.lock_at_odd, str(tmp_path)), range(6), checkpoint=path, backend="serial", return_plan=True
        )
    assert any("cannot be kept" in text for text in plan.warnings)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (TypeError, {"checkpoint": 3}),
        (TypeError, {"checkpoint": b"x"}),
        (ValueError, {"checkpoint": ""}),
        (ValueError, {"checkpoint": "a\0b"}),
        (TypeError, {"checkpoint": "x", "checkpoint_key": 3}),
        (ValueError, {"checkpoint": "x", "checkpoint_key": ""}),
        (ValueError, {"checkpoint_key": "x"}),
    ],
)
def test_bad_arguments(kind, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=r"^checkpoint"):
        amorsize.execute(other, range(N), **arguments)
    assert not list(tmp_path.iterdir())


def test_a_relative_path_holds_though_the_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def move(x):
        os.chdir(tmp_path / "elsewhere")
        return x

    amorsize.execute(move, range(3), checkpoint="here", backend="serial")
    assert len(kept(tmp_path / "here")) == 3


def test_nothing_of_it_is_loaded_without_one():
    code = "import amorsize, sys; amorsize.execute(abs, [1]); print([m for m in sys.modules if 'checkpoint' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_its_errors_survive_pickling():
    import pickle

    for one in (CheckpointError("p", "d"), CheckpointMismatchError("p", "d", 3)):
        again = pickle.loads(pickle.dumps(one))
        assert (type(again), vars(again), str(again)) == (type(one), vars(one), str(one))
