"""``on_event=``: the events during a run."""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
from functools import partial

import engine_functions as ef
import modes
import pytest
from disturbed import again_if_disturbed
from event_contract import fails_at, is_whole, of, workers_come_and_go
from modes import over

import amorsize
from amorsize import events
from amorsize.errors import StopRun, WorkerLostError

N = 60


def spin(x):
    return ef.spin(x, 1e-3)


def nap(x):
    time.sleep(1e-3)
    return x


class TestEvents:
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_a_whole_run(self, run, kind):
        seen = []
        assert run(spin, kind(range(N)), on_event=seen.append) == [x * x for x in range(N)]
        is_whole(seen, N, told=kind is list)

    def test_in_the_calling_thread(self, run):
        threads = set()
        run(spin, range(N), on_event=lambda event: threads.add(threading.get_ident()))
        assert threads == {threading.get_ident()}

    @over(*modes.PROCESSES, modes.THREADS, modes.TO_THREADS, *modes.TO_PROCESSES)
    @again_if_disturbed
    def test_workers_come_and_go(self, run, mode):
        seen = []
        # Items that wait get both workers also where other programs use the cores.
        run(nap, range(N), on_event=seen.append)
        workers_come_and_go(seen)
        backend = mode.turns or mode.backend
        assert backend in [chosen.backend for chosen in of(seen, events.BackendChosen)]
        if backend == "processes":
            assert all(event.pid != os.getpid() for event in of(seen, events.WorkerStarted))
            assert all(chunk.rss_bytes > 0 for chunk in of(seen, events.ChunkDone) if chunk.worker is not None)

    def test_items_that_fail(self, run):
        seen = []
        found = run(partial(ef.refuse, (3, 50)), range(N), on_error="collect", on_event=seen.append)
        failed = of(seen, events.ItemFailed)
        fails_at(seen, N, [3, 50])
        assert all(event.exception is found[event.index].exception for event in failed)

    def test_repeats_are_counted_once(self, run, tmp_path):
        seen = []
        run(partial(ef.fail_first, str(tmp_path), 1), range(20), retries=2, on_event=seen.append)
        assert sum(chunk.items - chunk.failed for chunk in of(seen, events.ChunkDone)) == 20
        assert not of(seen, events.ItemFailed)

    @pytest.mark.usefixtures("no_trials")
    @pytest.mark.parametrize("backoff", [0.0, 0.01])
    def test_each_repeat_is_told(self, run, tmp_path, backoff):
        seen, threads = [], set()

        def listen(event):
            seen.append(event)
            threads.add(threading.get_ident())

        func = partial(ef.fail_first, str(tmp_path), 2)
        assert run(func, range(20), retries=2, backoff=backoff, on_event=listen) == [x * x for x in range(20)]
        told = of(seen, events.ItemRepeated)
        assert sorted((event.index, event.tries) for event in told) == [(x, n) for x in range(1, 20, 2) for n in (1, 2)]
        assert all(0.0 <= event.wait_s <= 2 * backoff for event in told)
        assert threads == {threading.get_ident()}

    def test_changes_of_the_number_of_workers_are_told(self):
        """Items that only wait: more and more threads are tried."""
        seen = []
        amorsize.execute(partial(ef.nap, seconds=5e-3), range(600), backend="threads", on_event=seen.append)
        (chosen,) = [event for event in of(seen, events.BackendChosen) if event.backend == "threads"]
        numbers = [chosen.workers, *(event.workers for event in of(seen, events.WorkersResized))]
        assert all(before != after for before, after in itertools.pairwise(numbers))
        assert min(numbers) >= 1

    def test_a_run_that_raises_does_not_finish(self, run):
        seen = []
        with pytest.raises(ef.Refused):
            run(partial(ef.refuse, (40,)), range(N), on_event=seen.append)
        assert not of(seen, events.RunFinished)
        assert [event.index for event in of(seen, events.ItemFailed)] == [40]

    @over(*modes.PROCESSES)
    def test_workers_that_die(self, run):
        seen = []
        with pytest.raises(WorkerLostError):
            run(partial(ef.die_at, os.getpid(), "SIGKILL", (17,)), range(40), on_event=seen.append)
        lost = of(seen, events.WorkerLost)
        assert [(event.index, event.signal, event.exitcode, event.oom) for event in lost] == [(17, 9, None, False)] * 2

    def test_one_that_raises_is_logged_once_and_dropped(self, run, caplog):
        heard = []

        def listen(event):
            heard.append(event)
            if isinstance(event, events.ChunkDone):
                raise ZeroDivisionError("mine")

        assert run(spin, range(1000), on_event=listen) == [x * x for x in range(1000)]
        assert len(of(heard, events.ChunkDone)) == 1
        (record,) = [each for each in caplog.records if each.name == "amorsize.observers"]
        assert "ZeroDivisionError: mine" in record.getMessage()

    def test_stop_run_ends_the_run(self, run):
        def listen(event):
            if isinstance(event, events.ChunkDone) and event.start >= 20:
                raise StopRun("mine")

        with pytest.raises(StopRun, match="mine"):
            run(spin, range(10_000), on_event=listen)

    def test_even_at_the_start_and_at_the_end(self, run):
        for kind in (events.RunStarted, events.RunFinished, events.BackendChosen):

            def listen(event, kind=kind):
                if isinstance(event, kind):
                    raise StopRun

            with pytest.raises(StopRun):
                run(spin, range(N), on_event=listen)

    @pytest.mark.parametrize("ordered", [True, False])
    def test_of_a_stream(self, mode, ordered):
        seen = []
        found = list(amorsize.stream(spin, range(N), ordered=ordered, on_event=seen.append, **mode.arguments))
        assert sorted(found) == [x * x for x in range(N)]
        assert sum(chunk.items - chunk.failed for chunk in of(seen, events.ChunkDone)) == N
        assert (seen[-1].items, seen[-1].failed) == (N, 0)

    def test_of_a_stream_that_is_closed(self, mode):
        seen = []
        results = amorsize.stream(spin, itertools.count(), on_event=seen.append, **mode.arguments)
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        results.close()
        assert isinstance(seen[0], events.RunStarted)
        assert not of(seen, events.RunFinished)

    def test_of_nothing(self, run):
        seen = []
        assert run(spin, [], on_event=seen.append) == []
        assert isinstance(seen[0], events.RunStarted)
        assert seen[-1].items == 0


class TestRecords:
    def test_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            events.RunStarted(at_s=0.0, items=3).items = 4

    @pytest.mark.parametrize("call", [amorsize.execute, amorsize.stream])
    @pytest.mark.parametrize("bad", [3, "print", []])
    def test_what_cannot_be_called_is_refused(self, call, bad):
        with pytest.raises(TypeError, match=r"^on_event: "):
            call(abs, [1], on_event=bad)
