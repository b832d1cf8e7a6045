"""Unusual callers, data and systems: the results are still those of ``map``, or the user's own exception."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from functools import partial

import engine_functions as ef
import modes
import numpy as np
import pytest
from modes import ROOT, Mode, over

import amorsize
from amorsize.errors import TransferError

SQUARES = [x * x for x in range(40)]


class TestIterators:
    def test_are_read_in_the_callers_thread_only(self, run):
        threads = set()

        def data():
            for i in range(60):
                threads.add(threading.get_ident())
                yield i

        assert run(ef.nap, data()) == [x * x for x in range(60)]
        assert threads == {threading.get_ident()}

    @over(modes.THREADS, modes.TO_THREADS, modes.AUTO)
    def test_a_cursor_of_sqlite_will_do(self, run):
        database = sqlite3.connect(":memory:")
        database.execute("create table numbers (x)")
        database.executemany("insert into numbers values (?)", ((i,) for i in range(300)))
        assert run(len, database.execute("select x from numbers")) == [1] * 300
        database.close()

    @over(Mode("processes", "fork"), Mode("auto", "fork", "processes"), modes.THREADS)
    def test_may_map_themselves(self, run):
        def data():
            for i in range(6):
                yield sum(amorsize.execute(ef.square, range(i), backend="processes", start_method="fork"))

        assert run(ef.square, data()) == [sum(x * x for x in range(i)) ** 2 for i in range(6)]


class TestArrays:
    def test_of_every_shape_and_size(self, run):
        wanted = list(map(ef.array_of, range(200)))
        for found, array in zip(run(ef.array_of, range(200)), wanted, strict=True):
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype

    def test_can_be_written_to_on_both_sides(self, run):
        found = run(ef.plus_one_in_place, (np.full(n, n) for n in range(100)))
        for n, array in enumerate(found):
            assert (array == n + 1).all()
            array += 1

    def test_results_share_no_memory(self, run):
        found = run(ef.array_of, [8] * 40)
        found[0] += 100
        np.testing.assert_array_equal(found[1], ef.array_of(8))


class TestOthersFaults:
    @over(*modes.PROCESSES)
    def test_an_error_does_not_wait_for_an_endless_item(self, run, tmp_path):
        with pytest.raises(ef.Refused):
            run(partial(ef.raise_beside_an_endless_item, str(tmp_path)), range(2))

    @over(*modes.TO_PROCESSES, modes.AUTO, modes.SERIAL, modes.THREADS)
    def test_a_func_that_cannot_be_rebuilt_elsewhere_where_it_need_not(self, run):
        assert run(ef.OnlyHere(os.getpid()), range(40)) == SQUARES

    @over(*modes.PROCESSES[1:])
    def test_a_func_that_cannot_be_rebuilt_in_a_worker(self, run):
        with pytest.raises(TransferError, match="elsewhere") as caught:
            run(ef.OnlyHere(os.getpid()), range(40))
        assert (caught.value.what, caught.value.index) == ("func", None)

    @over(*modes.TO_PROCESSES, modes.AUTO, modes.THREADS, modes.SERIAL)
    def test_an_initializer_that_cannot_be_pickled_where_it_need_not(self, run):
        lock = threading.Lock()
        assert run(ef.square, range(40), initializer=ef.set_state, initargs=(lock,)) == SQUARES
        ef.state = None


class TestSurroundings:
    @over(*modes.WITH_WORKERS)
    def test_the_caller_lets_the_system_reap_its_children(self, run):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            assert run(ef.square, range(40)) == SQUARES
            found = run(partial(ef.die_at, os.getpid(), "exit", (17,)), range(40), on_error="collect")
            assert found[:17] + found[18:] == SQUARES[:17] + SQUARES[18:]
        finally:
            signal.signal(signal.SIGCHLD, before)

    @over(*modes.WITH_WORKERS)
    @pytest.mark.parametrize("stream", [None, object(), "closed"], ids=["none", "without methods", "closed"])
    def test_the_caller_has_no_proper_stdout(self, run, monkeypatch, stream):
        if stream == "closed":
            stream = open(os.devnull, "w")  # noqa: SIM115
            stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
        assert run(ef.square, range(40)) == SQUARES

    @over(Mode("processes", None), *modes.PROCESSES, Mode("auto", None, "processes"), modes.TO_THREADS, modes.AUTO)
    def test_many_calls_at_once(self, run):
        """Calls from several threads: each gets its own results, and all end."""
        found: dict[int, list[int]] = {}

        def call(number: int) -> None:
            found[number] = run(ef.Adder(number).add, range(100))

        threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {number: [x + number for x in range(100)] for number in range(4)}

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    @pytest.mark.parametrize("backend", ["processes", "auto"])
    def test_descriptors_run_out(self, method, backend):
        """At any limit: all results, or (if the caller must not run items) the error that no worker can be started."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])}
        done = subprocess.run(
            [sys.executable, "-c", DESCRIPTORS, method, backend], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout.split()
        assert told[-1] == "well"
        assert set(told) <= ({"well", "lost"} if backend == "processes" else {"well"})
        assert backend == "auto" or told[0] == "lost"


DESCRIPTORS = """
import os, resource, sys
import engine_functions as ef
import amorsize, modes
from amorsize.run import deciding as engine
from amorsize.errors import WorkerLostError
import amorsize.plan.optimize
if sys.argv[2] == "auto":
    engine.Decider = modes.turning("processes")
options = dict(backend=sys.argv[2], start_method=sys.argv[1], max_workers=2)
assert amorsize.execute(ef.square, range(40), **options) == [x * x for x in range(40)]
from amorsize.backends.workers import warm
warm.dismiss()  # those would do it all
lowest = max(map(int, os.listdir("/proc/self/fd")))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for limit in range(lowest, lowest + 24):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        found = amorsize.execute(ef.square, range(40), **options)
    except WorkerLostError as exc:
        assert exc.index is None, exc
        print("lost")
    else:
        assert found == [x * x for x in range(40)]
        print("well")
"""
