"""``amorsize.Pool``: results, faults, and a clean end."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import logging
import multiprocessing
import multiprocessing.pool
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pool_functions as pf
import psutil
import pytest
from idle import does_nothing_between_calls

import amorsize
from amorsize import Pool
from amorsize.backends.workers import connection
from amorsize.errors import RemoteError, TransferError, WorkerLostError
from amorsize.executor.pool_manager import PoolManager
from amorsize.executor.pool_results import AHEAD_ITEMS, Stream
from amorsize.testing import left_behind

BESIDE_THREADS = "beside threads"
METHODS = [m for m in ("fork", "forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]
LIMIT_S = 300  # for what must happen; far above what it takes


@pytest.fixture(params=[*METHODS, BESIDE_THREADS])
def context(request):
    """Yield a context; or none, beside a thread of the caller's."""
    if request.param != BESIDE_THREADS:
        yield multiprocessing.get_context(request.param)
        return
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    thread.start()
    yield None
    ends.set()
    thread.join()


@pytest.fixture
def pool(context):
    with Pool(2, context=context) as made:
        yield made


@pytest.fixture
def one():
    """Yield a pool of one worker that starts quickly."""
    with Pool(1, context=multiprocessing.get_context(METHODS[0])) as made:
        yield made


def quick(*args, **options):
    return Pool(*args, context=multiprocessing.get_context(METHODS[0]), **options)


def until(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1e-3)


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids_of(pool):
    return [handle.pid for handle in pool._pool]


def busy(pool):
    """Return for each worker if it has been sent something."""
    return [bool(worker.flying) for worker in list(pool._manager.schedule.workers.values())]


# --- results ----------------------------------------------------------------------------------------------------


def test_every_method_gives_what_a_loop_gives(pool):
    squares = [x * x for x in range(300)]
    pairs = list(zip(range(50), range(50), strict=True))
    assert pool.map(pf.square, range(300)) == squares
    assert pool.map(pf.square, iter(range(300)), 7) == squares
    assert pool.map_async(pf.square, range(300)).get() == squares
    assert pool.starmap(pf.power, pairs) == list(itertools.starmap(pf.power, pairs))
    assert pool.starmap_async(pf.power, map(list, pairs), 3).get() == list(itertools.starmap(pf.power, pairs))
    assert list(pool.imap(pf.square, range(300))) == squares
    assert list(pool.imap(pf.square, iter(range(300)), 7)) == squares
    assert list(pool.imap(pf.square, dict.fromkeys(range(300)))) == squares
    assert sorted(pool.imap_unordered(pf.square, (x for x in range(300)))) == squares
    assert sorted(pool.imap_unordered(pf.square, range(300), chunksize=50)) == squares
    assert pool.apply(pf.power, (2,), {"exponent": 5}) == 32
    assert pool.apply(pf.power, iter([2, 3])) == 8
    assert pool.apply_async(pf.power, [2, 10]).get() == 1024
    assert pool.map(pf.square, []) == list(pool.imap(pf.square, iter(()))) == pool.starmap(pf.power, []) == []


def test_lambdas_closures_and_partials_can_be_called(pool):
    base = 10
    assert pool.map(lambda x: x + base, range(5)) == [10, 11, 12, 13, 14]
    assert list(pool.imap(lambda x: x + base, range(3))) == [10, 11, 12]
    assert pool.apply(lambda x, y: x + y + base, (1, 2)) == 13
    assert pool.map(partial(pf.power, exponent=3), range(4)) == [0, 1, 8, 27]


def test_what_has_a_length_and_is_no_sequence_is_read_in_its_order(pool):
    class Lazy:
        def __len__(self):
            return 4000

        def __iter__(self):
            return iter(range(4000))

        def __bool__(self):
            raise ValueError("as an array's")

    assert list(pool.imap(pf.square, Lazy())) == pool.map(pf.square, Lazy()) == [x * x for x in range(4000)]


@pytest.mark.parametrize(
    "kind", [list, tuple, dict.fromkeys, set, iter, "".join], ids=["list", "tuple", "dict", "set", "iterator", "text"]
)
def test_items_come_in_the_order_of_any_container(one, kind):
    letters = kind(map(chr, range(97, 123)))
    assert list(one.imap(ord, letters)) == list(range(97, 123)) or kind is set
    assert sorted(one.map(str, kind(map(chr, range(97, 123))))) == [chr(x) for x in range(97, 123)]


def sizes(monkeypatch):
    """Return the sizes of all chunks to be sent. Each item takes the same time, whatever the clock says."""
    sent: list[int] = []
    on_done = PoolManager._on_done

    def steady(self, message):
        done = on_done(self, message)
        return done._replace(wall_s=1e-6 * done.ran) if done.ran else done

    monkeypatch.setattr(PoolManager, "_on_done", steady)
    send = PoolManager.send

    def spy(self, number, span):
        sent.append(len(span))
        return send(self, number, span)

    monkeypatch.setattr(PoolManager, "send", spy)
    return sent


@pytest.mark.parametrize("name", ["map", "imap", "imap_unordered"])
def test_a_chunksize_is_kept_and_else_chunks_find_themselves(monkeypatch, name):
    sent = sizes(monkeypatch)
    with quick(2) as pool:
        assert sorted(getattr(pool, name)(pf.square, iter(range(100)), 30)) == [x * x for x in range(100)]
        assert sorted(sent) == [10, 30, 30, 30]
        sent.clear()
        assert sorted(getattr(pool, name)(pf.square, range(2000))) == [x * x for x in range(2000)]
        assert sent[0] == 1
        assert max(sent) > 30
        assert len(sent) < 200


def test_calls_that_wait_for_each_other_run_beside_each_other(pool, tmp_path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert pool.starmap(pf.mark_and_wait, [(a, b), (b, a)], 1) == [True, True]


def test_many_threads_share_a_pool(pool):
    found: dict = {}

    def use(k):
        found[k] = (
            pool.map(pf.square, range(k, k + 50)),
            list(pool.imap(pf.square, iter(range(k, k + 50)))),
            [one.get() for one in [pool.apply_async(pf.square, (x,)) for x in range(k, k + 10)]],
        )

    threads = [threading.Thread(target=use, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(8):
        squares = [x * x for x in range(k, k + 50)]
        assert found[k] == (squares, squares, squares[:10])


def test_several_threads_read_one_iterator(one):
    results, taken = one.imap(pf.square, iter(range(2000))), []
    threads = [threading.Thread(target=lambda: taken.extend(results)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [x * x for x in range(2000)]


# --- AsyncResult ------------------------------------------------------------------------------------------------


def test_a_result_tells_when_it_is_ready(pool, tmp_path):
    mark = str(tmp_path / "mark")
    result = pool.apply_async(pf.wait_for, (mark,))
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.01)
    assert result.wait(0.01) is None
    Path(mark).touch()
    result.wait()
    assert result.ready()
    assert result.successful()
    assert result.get(0) == result.get() == mark
    failed = pool.map_async(pf.fail_at, [1])
    failed.wait()
    assert not failed.successful()
    with pytest.raises(TypeError):
        failed.get()


def test_callbacks_have_run_when_a_result_is_ready(pool):
    got: list = []
    pool.apply_async(pf.square, (3,), callback=got.append, error_callback=got.append).wait()
    pool.map_async(pf.square, range(3), callback=got.append, error_callback=got.append).wait()
    pool.starmap_async(pf.power, [(2, 3)], callback=got.append, error_callback=got.append).wait()
    pool.map_async(pf.square, [], callback=got.append).wait()
    assert got == [9, [0, 1, 4], [8], []]
    got.clear()
    pool.apply_async(pf.fail_at, (1, [1]), callback=got.append, error_callback=got.append).wait()
    pool.starmap_async(pf.fail_at, [(1, [1]), (2, [2])], callback=got.append, error_callback=got.append).wait()
    assert [(type(one), one.args) for one in got] == [(ValueError, (1,)), (ValueError, (1,))]


def test_a_callback_that_raises_is_logged_and_nothing_else(pool, caplog):
    def refuse(value):
        raise SystemExit(f"not {value}")

    with caplog.at_level(logging.ERROR, "amorsize"):
        assert pool.apply_async(pf.square, (3,), callback=refuse).get() == 9
        with pytest.raises(ValueError, match="1"):
            pool.apply_async(pf.fail_at, (1, [1]), error_callback=refuse).get()
    assert caplog.text.count("SystemExit: not") == 2
    assert pool.map(pf.square, range(3)) == [0, 1, 4]


def test_a_callback_may_use_the_pool_and_end_it():
    got = threading.Event()
    pool = quick(1)

    def go_on(value):
        pool.apply_async(pf.square, (value,), callback=finish)

    def finish(value):
        assert value == 81
        pool.close()
        pool.terminate()
        pool.join()
        got.set()

    pool.apply_async(pf.square, (3,), callback=go_on)
    assert got.wait(LIMIT_S)
    pool.join()


def test_a_pending_result_keeps_its_pool(tmp_path):
    mark = str(tmp_path / "mark")
    pool = quick(1)
    gone = weakref.ref(pool)
    result, results = pool.apply_async(pf.wait_for, (mark,)), pool.imap(pf.square, iter(range(3)))
    del pool
    gc.collect()
    assert gone() is not None
    # The pool may be gone as soon as the last result is there.
    with pytest.warns(ResourceWarning) as caught:  # noqa: PT031
        Path(mark).touch()
        assert result.get() == mark
        assert list(results) == [0, 1, 4]
        until(lambda: gc.collect() is not None and len(caught))


def test_nothing_of_a_call_is_held_when_it_is_done(one):
    class Thing:
        pass

    things = [Thing() for _ in range(20)]
    gone = [weakref.ref(thing) for thing in things]
    assert one.map(lambda _: None, things) == list(one.imap(lambda _: None, iter(things))) == [None] * 20
    one.apply(lambda _: None, (things[0],))
    del things
    until(lambda: gc.collect() is not None and all(ref() is None for ref in gone))
    assert one._manager._groups == {0: one._manager._singles}


# --- exceptions -------------------------------------------------------------------------------------------------


def test_exceptions_keep_their_type_and_show_where_they_come_from(pool):
    for call in (
        lambda: pool.apply(pf.fail_at, (1, [1])),
        lambda: pool.starmap(pf.fail_at, [(1, [1])]),
        lambda: next(pool.imap(partial(pf.fail_at, bad=[1]), [1])),
    ):
        with pytest.raises(ValueError, match=r"^1$") as caught:
            call()
        cause = caught.value.__cause__
        assert type(cause) is multiprocessing.pool.RemoteTraceback
        assert cause.tb.startswith('\n"""\nTraceback (most recent call last):\n')
        assert "raise ValueError(x)" in str(cause)


def test_a_map_runs_all_items_and_raises_what_the_first_failing_one_raised(pool, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(ValueError, match=r"^1$"):
        pool.map(partial(pf.note_and_fail, path=str(log)), range(40))
    assert sorted(map(int, log.read_text(encoding="utf-8").split())) == list(range(40))


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_an_iterator_goes_on_after_an_exception(one, chunksize):
    results = one.imap(partial(pf.fail_at, bad=[2, 3, 9]), iter(range(10)), chunksize)
    found: list = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            break
        except ValueError as exc:
            found.append(exc.args[0] + 100)
    assert found == [0, 1, 102, 103, 4, 5, 6, 7, 8, 109]
    assert next(results, "over") == "over"


def test_what_an_iterable_raises_comes_after_the_results_of_its_items(pool):
    def broken():
        yield from range(7)
        raise LookupError("no more")

    for _ in range(2):
        results = pool.imap(pf.square, broken())
        assert [next(results) for _ in range(7)] == [x * x for x in range(7)]
        with pytest.raises(LookupError, match="no more") as caught:
            next(results)
        assert caught.value.__cause__ is None
        assert next(results, "over") == "over"
    unordered = pool.imap_unordered(pf.square, broken())
    assert sorted(next(unordered) for _ in range(7)) == [x * x for x in range(7)]
    with pytest.raises(LookupError):
        next(unordered)
    for name in ("map", "map_async"):
        with pytest.raises(LookupError, match="no more"):
            getattr(pool, name)(pf.square, broken())
    assert pool.apply(pf.square, (2,)) == 4


@pytest.mark.parametrize("chunksize", [2, 4])
def test_an_iterable_that_raises_in_a_chunk_of_given_size_costs_this_chunk(one, chunksize):
    """As with multiprocessing."""

    def broken():
        yield from range(7)
        raise LookupError

    results = one.imap(pf.square, broken(), chunksize)
    whole = 7 // chunksize * chunksize
    assert [next(results) for _ in range(whole)] == [x * x for x in range(whole)]
    with pytest.raises(LookupError):
        next(results)


def test_what_cannot_be_pickled_fails_alone_and_names_its_item(pool):
    bad = pf.Unpicklable()
    good = pool.apply_async(pf.square, (3,))
    for call, index in (
        (lambda: pool.map(pf.square, [1, 2, bad, 4]), 2),
        (lambda: list(pool.imap(lambda x: x, iter([1, bad]))), 1),
        (lambda: pool.apply(pf.square, (bad,)), None),
    ):
        with pytest.raises(TransferError, match="Unpicklable") as caught:
            call()
        assert caught.value.index == index
        assert isinstance(caught.value, pickle.PicklingError)
        # The original raises what pickle raised.
        assert isinstance(caught.value, LookupError)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again)) == (TransferError, str(caught.value))
    with pytest.raises(TypeError, match="lock") as caught:
        pool.map(id, [threading.Lock()])
    assert isinstance(caught.value, TransferError)
    assert good.get() == 9


def test_results_that_cannot_travel_fail_alone(pool):
    with pytest.raises(TransferError, match=r"the result of item 1 cannot be pickled.*generator"):
        pool.map(lambda x: pf.a_generator() if x == 1 else x, range(3))
    with pytest.raises(TransferError, match="generator"):
        pool.apply(pf.a_generator)
    results = pool.imap(lambda x: pf.unloadable() if x == 1 else x, range(3))
    assert next(results) == 0
    with pytest.raises(TransferError, match="cannot be rebuilt in the caller"):
        next(results)
    assert next(results) == 2
    with pytest.raises(TransferError, match="cannot be rebuilt in a worker"):
        pool.map(pf.square, [1, pf.Unloadable()])


def test_exceptions_that_cannot_be_rebuilt_are_told_in_words(pool):
    with pytest.raises(RemoteError, match="this and that") as caught:
        pool.map(pf.raise_odd, range(4))
    assert (caught.value.type_name, caught.value.index) == ("pool_functions.OddError", 0)
    with pytest.raises(RemoteError):
        pool.apply(pf.raise_odd)
    with pytest.raises(SystemExit):
        pool.apply(sys.exit, (3,))
    assert pool.map(pf.square, range(3)) == [0, 1, 4]


# --- lost workers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", pf.WAYS_TO_DIE)
def test_an_item_that_ends_its_worker_is_an_error_with_its_index(pool, way):
    dying = partial(pf.die_at, bad=5, way=way)
    with pytest.raises(WorkerLostError, match="item 5 of a map") as caught:
        pool.map(dying, range(8), 3)
    assert caught.value.index == 5
    results = pool.imap(dying, iter(range(8)))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(WorkerLostError):
        next(results)
    assert list(results) == [6, 7]
    got: list = []
    lost = pool.apply_async(pf.die_at, (5, 5, way), error_callback=got.append)
    with pytest.raises(WorkerLostError, match="a call of die_at"):
        lost.get()
    assert got == [lost._error]
    assert pool.map(pf.square, range(5)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("way", pf.WAYS_TO_DIE)
def test_an_item_whose_worker_is_lost_by_chance_gives_its_result(one, way, tmp_path):
    def once(name):
        return partial(pf.die_once_at, bad=5, way=way, path=str(tmp_path / name))

    assert one.map(once("map"), range(8)) == list(range(8))
    assert list(one.imap(once("imap"), iter(range(8)))) == list(range(8))
    assert one.apply(once("apply"), (5,)) == 5


def test_workers_killed_from_outside_cost_nothing(pool, tmp_path):
    for pid in pids_of(pool):
        os.kill(pid, signal.SIGKILL)
    assert pool.map(pf.square, range(100)) == [x * x for x in range(100)]
    mark = str(tmp_path / "mark")
    waiting = pool.map_async(pf.wait_for, [mark] * 6, 1)
    until(lambda: all(busy(pool)))
    os.kill(pids_of(pool)[0], signal.SIGKILL)
    Path(mark).touch()
    assert waiting.get() == [mark] * 6


def test_workers_that_cannot_be_started_are_an_error(monkeypatch):
    from amorsize.backends.workers.team import Team

    def refuse(self, number):
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(Team, "start", refuse)
    with quick(2) as pool, pytest.raises(BrokenProcessPool, match="no worker process could be kept alive"):
        pool.map(pf.square, range(3))
    pool.join()


def test_a_pool_begins_with_the_workers_that_can_be_started(monkeypatch):
    from amorsize.backends.workers.team import Team

    start = Team.start

    def refuse(self, number):
        if number > 1:
            raise BlockingIOError("no more processes")
        start(self, number)

    monkeypatch.setattr(Team, "start", refuse)
    with quick(3) as pool:
        assert len(pids_of(pool)) == 2
        assert pool.map(pf.square, range(30)) == [x * x for x in range(30)]
    assert not any(left_behind(LIMIT_S).values())


# --- iterators --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_endless_data_are_read_only_so_far_ahead(one, name):
    read = itertools.count()
    results = getattr(one, name)(pf.square, (next(read) for _ in itertools.count()))
    assert sorted(next(results) for _ in range(3)) == [0, 1, 4]
    until(lambda: results._stream._waits)
    assert next(read) <= AHEAD_ITEMS + 4
    for _ in range(3000):
        next(results)
    assert next(read) <= AHEAD_ITEMS + 3005


def test_an_iterator_may_be_asked_for_a_while(one, tmp_path):
    mark = str(tmp_path / "mark")
    results = one.imap(pf.wait_for, [mark])
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(timeout=0.01)
    Path(mark).touch()
    assert results.next(LIMIT_S) == mark
    with pytest.raises(StopIteration):
        results.next(0)


def test_who_has_the_last_result_sees_the_end():
    """Between the two, ``next(timeout=0)`` said that the next result was late."""
    stream = Stream(abs, [-1], None, None, ordered=True)
    stream.first, seen = 0, []

    class Watched(type(stream._changed)):
        def __exit__(self, *exc):
            seen.append((list(stream._items), stream.left))
            return super().__exit__(*exc)

    stream._changed = Watched()
    stream.grow()
    stream.put(0, [1], {})
    assert seen == [([], 1), ([1], 0)]


def test_a_slow_iterable_holds_up_nothing_else(one):
    more = threading.Semaphore(0)

    def slow():
        for x in range(3):
            more.acquire()
            yield x

    results = one.imap(pf.square, slow())
    assert one.map(pf.square, range(20)) == [x * x for x in range(20)]
    for x in range(3):
        more.release()
        assert next(results) == x * x
    assert next(results, "over") == "over"


def test_an_iterable_may_wait_for_results_of_the_same_pool(one):
    inner = one.imap(pf.square, iter(range(20)))
    assert list(one.imap(pf.square, (x + 1 for x in inner))) == [(x * x + 1) ** 2 for x in range(20)]
    assert list(one.imap(pf.square, (one.apply(pf.square, (x,)) for x in range(5)))) == [x**4 for x in range(5)]


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
@pytest.mark.parametrize("drops", [False, True])
def test_the_rest_of_a_half_read_map_is_run_when_the_pool_is_joined(name, drops, tmp_path):
    log = tmp_path / "log"
    n = 3 * AHEAD_ITEMS
    pool = quick(2)
    results = getattr(pool, name)(partial(pf.note_and_fail, path=str(log)), iter(range(10, 10 + n)))
    first = [next(results) for _ in range(5)]
    if drops:
        del results
    pool.close()
    pool.join()
    assert sorted(map(int, log.read_text(encoding="utf-8").split())) == list(range(10, 10 + n))
    if not drops:
        assert sorted(first + list(results)) == list(range(10, 10 + n))


def test_a_half_read_map_of_endless_data_ends_with_its_pool():
    with quick(2) as pool:
        results = pool.imap(pf.square, itertools.count())
        other = pool.imap_unordered(pf.square, itertools.count())
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        del other
    with pytest.raises(CancelledError):
        for _ in results:
            pass
    until(lambda: not any(thread.name.startswith("amorsize") for thread in threading.enumerate()))


def test_data_that_are_no_iterable_are_refused(one):
    for name in ("map", "map_async", "starmap", "imap", "imap_unordered"):
        with pytest.raises(TypeError):
            getattr(one, name)(pf.square, 5)
    with pytest.raises(TypeError):
        one.starmap(pf.power, [1, 2])


# --- how it begins ----------------------------------------------------------------------------------------------


def test_an_initializer_runs_in_each_worker(context):
    with Pool(2, pf.set_state, ("set",), context=context) as pool:
        assert pool.map(pf.state, range(8), 1) == ["set"] * 8


def test_an_initializer_has_run_in_each_worker_when_a_pool_is_closed(context, tmp_path):
    log = tmp_path / "log"
    pool = Pool(2, pf.note_start, [str(log)], context=context)
    pool.close()
    pool.join()
    assert len(set(log.read_text(encoding="utf-8").split())) == 2


def test_an_initializer_may_be_given_what_only_multiprocessing_can_hand_over(context):
    queue = (context or multiprocessing.get_context("spawn")).Queue()
    queue.put("from a queue")
    with Pool(1, pf.take_from, (queue,), context=context) as pool:
        assert pool.apply(pf.state) == "from a queue"
    queue.close()
    queue.join_thread()


def test_an_initializer_that_raises_fails_all_calls(context):
    with Pool(2, pf.fail_to_begin, context=context) as pool:
        for call in (lambda: pool.map(pf.square, range(4)), lambda: next(pool.imap(pf.square, iter(range(4))))):
            with pytest.raises(BrokenProcessPool, match="the initializer raised OSError: no licence left") as caught:
                call()
        until(lambda: pool._manager.broken is not None)
        with pytest.raises(BrokenProcessPool, match="Make a new Pool"):
            pool.apply(pf.square, (1,))
        assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError)
    pool.join()


def test_all_workers_start_with_the_pool(context):
    with Pool(3, context=context) as pool:
        assert len(set(pids_of(pool))) == 3
        assert repr(pool) == "<amorsize.executor.pool.Pool state=RUN pool_size=3>"
    assert repr(pool) == "<amorsize.executor.pool.Pool state=TERMINATE pool_size=0>"


def test_without_a_number_there_are_as_many_workers_as_cores():
    from math import ceil

    with quick() as pool:
        assert len(pids_of(pool)) == pool._processes == max(1, ceil(amorsize.machine().usable_cores))


def program(tmp_path, text, *flags):
    path = tmp_path / "program.py"
    path.write_text(text, encoding="utf-8")
    root = Path(__file__).parents[1] / "helpers"
    env = {**os.environ, "PYTHONPATH": f"{root.parents[1]}:{root}"}
    return [sys.executable, *(flags or ("-W", "error")), str(path)], env


@pytest.mark.skipif(sys.platform != "linux" or sys.version_info >= (3, 14), reason="fork is not the default")
def test_the_default_is_multiprocessings_but_no_fork_beside_threads(tmp_path):
    text = """
import multiprocessing, threading
import pool_functions as pf
from amorsize import Pool

def method():
    with Pool(1) as pool:
        assert pool.apply(pf.square, (2,)) == 4
        return pool._manager.team.start_method

if __name__ == "__main__":
    print(method())
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    thread.start()
    print(method())
    ends.set()
    thread.join()
    print(method())
    multiprocessing.set_start_method("spawn", force=True)
    print(method())
"""
    command, env = program(tmp_path, text)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["fork", "forkserver", "fork", "spawn"], "")


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_worker_is_replaced_after_its_tasks(context, tasks):
    with Pool(2, maxtasksperchild=tasks, context=context) as pool:
        pids = [one.get() for one in [pool.apply_async(pf.pid) for _ in range(5)]]
        assert max(pids.count(pid) for pid in pids) <= tasks
        assert pool.map(pf.square, range(20), 10) == [x * x for x in range(20)]


def test_chunks_have_the_originals_size_where_they_count(monkeypatch):
    sent = sizes(monkeypatch)
    with quick(2, maxtasksperchild=2) as pool:
        assert pool.map(pf.square, range(80)) == [x * x for x in range(80)]
        assert sent == [10] * 8
        sent.clear()
        assert list(pool.imap(pf.square, range(3))) == [0, 1, 4]
        assert sent == [1] * 3
        pids = pool.map(pf.pid, range(8), 2)
        assert max(pids.count(pid) for pid in pids) <= 4


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"processes": 0}, ValueError, "Number of processes must be at least 1"),
        ({"processes": -1}, ValueError, "Number of processes must be at least 1"),
        ({"processes": 1.5}, TypeError, "processes"),
        ({"processes": "2"}, TypeError, "processes"),
        ({"initializer": 3}, TypeError, "initializer must be a callable"),
        ({"initializer": int, "initargs": 3}, TypeError, "int"),
        ({"maxtasksperchild": 0}, ValueError, "maxtasksperchild must be a positive int or None"),
        ({"maxtasksperchild": "12"}, ValueError, "maxtasksperchild must be a positive int or None"),
        ({"maxtasksperchild": 0.5}, ValueError, "maxtasksperchild must be a positive int or None"),
        ({"context": "spawn"}, TypeError, "context"),
        ({"process": 2}, TypeError, "processes="),
    ],
)
def test_bad_arguments_are_refused_at_the_call(options, error, text):
    with pytest.raises(error, match=text):
        Pool(**options)


def test_bad_calls_are_refused(one):
    for name in ("map", "map_async", "imap", "imap_unordered", "starmap", "starmap_async"):
        with pytest.raises(TypeError, match="func"):
            getattr(one, name)(3, [1])
        for chunksize, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError)):
            with pytest.raises(error, match="chunksize"):
                getattr(one, name)(pf.power, [(1, 1)], chunksize)
    for name in ("apply", "apply_async"):
        with pytest.raises(TypeError, match="func"):
            getattr(one, name)(3)
    with pytest.raises(TypeError, match="callback"):
        one.apply_async(pf.square, (1,), callback=3)


# --- the end ----------------------------------------------------------------------------------------------------


def test_a_closed_pool_finishes_and_takes_nothing_more(pool):
    results, streamed = pool.map_async(pf.square, range(50)), pool.imap(pf.square, iter(range(50)))
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    pool.close()
    refused(pool)
    pool.join()
    assert results.get(0) == list(streamed) == [x * x for x in range(50)]
    assert pids_of(pool) == []
    pool.close()
    pool.terminate()
    pool.join()


def refused(pool):
    for name in ("map", "map_async", "imap", "imap_unordered", "starmap", "starmap_async"):
        with pytest.raises(ValueError, match="Pool not running"):
            getattr(pool, name)(pf.square, [])
    for name in ("apply", "apply_async"):
        with pytest.raises(ValueError, match="Pool not running"):
            getattr(pool, name)(pf.square, (1,))
    with pytest.raises(ValueError, match="Pool not running"), pool:
        pass


def test_terminate_ends_what_runs_and_fails_what_waits(context):
    got: list = []
    pool = Pool(2, context=context)
    pids = pids_of(pool)
    results = [
        pool.map_async(pf.sleep, range(100), callback=got.append, error_callback=got.append),
        pool.apply_async(pf.square, (2,), callback=got.append, error_callback=got.append),
    ]
    streamed = pool.imap(pf.square, range(5))
    until(lambda: all(busy(pool)))
    pool.terminate()
    assert not any(map(runs, pids))
    for result in results:
        with pytest.raises(CancelledError, match="terminated"):
            result.get()
    for _ in range(2):
        with pytest.raises(CancelledError):
            next(streamed)
    assert got == []
    refused(pool)
    pool.join()
    assert not any(left_behind(LIMIT_S).values())


def test_terminate_wakes_a_thread_that_waits_in_a_map(pool):
    raised: list = []

    def wait():
        try:
            pool.map(pf.sleep, range(3))
        except CancelledError as exc:
            raised.append(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: any(busy(pool)))
    pool.terminate()
    thread.join(LIMIT_S)
    assert len(raised) == 1


def test_idle_workers_write_out_what_they_have_buffered(tmp_path):
    text = """
import multiprocessing
import pool_functions as pf
from amorsize import Pool
from amorsize.backends.workers import connection

if __name__ == "__main__":
    connection.LEAVE_S = 300
    with Pool(2, context=multiprocessing.get_context("METHOD")) as pool:
        pool.map(pf.say, range(20))
"""
    for method in METHODS:
        command, env = program(tmp_path, text.replace("METHOD", method))
        env.pop("PYTHONUNBUFFERED", None)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert sorted(map(int, done.stdout.split())) == list(range(20))
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_worker_that_was_not_forked_ends_as_a_program_does(method, tmp_path, monkeypatch):
    """It waits for its threads, calls what is registered for the end, and writes out files that are still open."""
    monkeypatch.setattr(connection, "LEAVE_S", 60.0)
    with Pool(1, context=multiprocessing.get_context(method)) as pool:
        pool.apply(pf.leave_open, (str(tmp_path),))
        assert (tmp_path / "open").read_text() == ""
        pool.close()
        pool.join()
    assert (tmp_path / "open").read_text() == "written"
    assert {one.name for one in tmp_path.iterdir()} == {"open", "at exit", "thread"}


def test_a_pool_that_is_dropped_warns_and_ends(context):
    pool = Pool(2, context=context)
    pids, thread = pids_of(pool), pool._manager._thread
    assert pool.map(pf.square, range(5)) == [0, 1, 4, 9, 16]
    text = r"unclosed running multiprocessing pool <amorsize.*state=RUN pool_size=2>"
    with pytest.warns(ResourceWarning, match=text):  # noqa: PT031
        del pool
        gc.collect()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert not any(map(runs, pids))


def test_a_pool_cannot_be_sent(one):
    with pytest.raises(NotImplementedError, match="pool objects cannot be passed between processes or pickled"):
        pickle.dumps(one)


def test_pools_may_be_nested(pool):
    assert pool.map(pf.nested, [3, 4]) == [[0, 1, 4], [0, 1, 4, 9]]


@pytest.mark.parametrize("method", METHODS)
def test_in_a_daemonic_process_a_pool_may_be_made(method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=pf.in_a_process, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=LIMIT_S) == [0, 1, 4, 9, 16]
    process.join(LIMIT_S)
    queue.close()
    queue.join_thread()


ENDINGS = {
    "pending": "results = pool.map_async(pf.sleep, range(9)); more = pool.imap(pf.square, iter(range(10**6)))",
    "idle": "pool.map(pf.square, range(9))",
    "closed": "pool.map_async(pf.square, range(9)); pool.close()",
    "in a thread": "threading.Thread(target=lambda: (time.sleep(0.1), print(pool.map(pf.square, range(3))))).start()",
}


@pytest.mark.parametrize("method", [*METHODS, None])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_though_its_pool_was_left_open(tmp_path, method, ending):
    text = f"""
import multiprocessing, threading, time
import pool_functions as pf
from amorsize import Pool

if __name__ == "__main__":
    pool = Pool(2, context={method!r} and multiprocessing.get_context({method!r}))
    print(*[handle.pid for handle in pool._pool], flush=True)
    {ENDINGS[ending]}
"""
    command, env = program(tmp_path, text, "-W", "ignore")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    pids, *said = done.stdout.splitlines()
    assert said == (["[0, 1, 4]"] if ending == "in a thread" else [])
    until(lambda: not any(runs(int(pid)) for pid in pids.split()))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("call", ["map(pf.sleep, range(9))", "apply(pf.sleep)", "imap(pf.sleep, range(9)).next()"])
def test_an_interrupt_ends_a_program_and_its_workers(tmp_path, method, call):
    text = f"""
import multiprocessing, threading, time
import pool_functions as pf
from amorsize import Pool

def tell(pool):
    while not any(worker.flying for worker in list(pool._manager.schedule.workers.values())):
        time.sleep(1e-3)
    print(*[handle.pid for handle in pool._pool], flush=True)

if __name__ == "__main__":
    with Pool(2, context=multiprocessing.get_context({method!r})) as pool:
        threading.Thread(target=tell, args=(pool,), daemon=True).start()
        pool.{call}
"""
    command, env = program(tmp_path, text)
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        pids = list(map(int, process.stdout.readline().split()))
        assert len(pids) == 2
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode in (1, -signal.SIGINT)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert said.count("Traceback") == 1
    until(lambda: not any(map(runs, pids)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("method", METHODS)
def test_workers_end_when_the_program_is_killed(tmp_path, method):
    text = f"""
import multiprocessing, time
import pool_functions as pf
from amorsize import Pool

if __name__ == "__main__":
    pool = Pool(2, context=multiprocessing.get_context({method!r}))
    assert pool.map(pf.square, range(9)) == [x * x for x in range(9)]
    pool.apply_async(pf.sleep)
    print(*[handle.pid for handle in pool._pool], flush=True)
    time.sleep(600)
"""
    command, env = program(tmp_path, text)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = list(map(int, process.stdout.readline().split()))
        assert len(pids) == 2
        process.send_signal(signal.SIGKILL)
    until(lambda: not any(map(runs, pids)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_pool_of_its_parent_alone(tmp_path):
    text = """
import gc, os, sys
import pool_functions as pf
from amorsize import Pool

if __name__ == "__main__":
    pool = Pool(2)
    assert pool.apply(pf.square, (2,)) == 4
    pid = os.fork()
    if not pid:
        try:
            pool.map(pf.square, range(3))
        except RuntimeError as exc:
            assert "this Pool belongs to the process that this one was forked from" in str(exc)
        else:
            os._exit(2)
        pool.terminate()
        pool.join()
        del pool
        gc.collect()
        sys.exit()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.map(pf.square, range(3)) == [0, 1, 4]
    pool.terminate()
"""
    command, env = program(tmp_path, text, "-W", "ignore")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_idle_pool_does_nothing(one):
    one.apply(pf.square, (2,))
    does_nothing_between_calls(one._manager, lambda: one.apply(pf.square, (2,)))


@pytest.mark.skipif(os.environ.get("AMORSIZE_CPYTHON_TESTS") != "1", reason="AMORSIZE_CPYTHON_TESTS=1 runs it")
@pytest.mark.skipif(importlib.util.find_spec("test._test_multiprocessing") is None, reason="not shipped here")
def test_cpythons_own_tests():
    command = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "cpython_pools.py")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), *sys.path])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
