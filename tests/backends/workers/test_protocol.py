"""Received pickles: the garbage collector is paused while a large one is loaded, and then restored."""

from __future__ import annotations

import copyreg
import gc
import pickle
import socket
import threading
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.backends.workers import protocol


class Watched:
    """Unpickled, it becomes True if the collector was enabled meanwhile."""

    def __reduce__(self):
        return gc.isenabled, ()


class Broken:
    def __reduce__(self):
        return refuse, ()


def refuse() -> None:
    raise OSError("not here")


@pytest.fixture(params=[True, False], ids=["enabled", "disabled"])
def enabled(request) -> Iterator[bool]:
    was = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("size", [0, 2 * protocol.PAUSE_BYTES], ids=["small", "large"])
def test_the_collector_is_left_as_it_was(enabled, size):
    assert protocol.loads(protocol.dumps([b"x" * size, Watched()])) == [b"x" * size, enabled and not size]
    assert gc.isenabled() == enabled


@pytest.mark.parametrize("size", [0, 2 * protocol.PAUSE_BYTES], ids=["small", "large"])
def test_it_is_left_as_it_was_when_unpickling_raises(enabled, size):
    parts = protocol.dumps([b"x" * size, Broken()])
    with pytest.raises(OSError, match="not here"):
        protocol.loads(parts)
    assert gc.isenabled() == enabled


class View:
    """Pickles the memory of a view, as arrays over foreign memory do. Notes what it has handed to the pickler."""

    def __init__(self, cannot_be_named: object = None):
        self.view = memoryview(bytearray(2 * protocol.BESIDE_BYTES))
        self.held = cannot_be_named
        self.handed: list[weakref.ref] = []

    def __reduce_ex__(self, version):
        buffer = pickle.PickleBuffer(self.view)
        self.handed.append(weakref.ref(buffer))
        return list, ((buffer, self.held),)


@pytest.mark.parametrize("held", [None, lambda: 1], ids=["by name", "by value"])
def test_buffers_live_no_longer_than_what_is_sent(held):
    """In a cycle they would wait for the collector, and CPython crashes if that meets the view first."""
    was = gc.isenabled()
    gc.disable()
    try:
        sent = View(held)
        parts = protocol.dumps(sent)
        assert [memoryview(part).nbytes for part in parts[1:]] == [sent.view.nbytes]
        del parts
        assert [one() for one in sent.handed] == [None] * len(sent.handed)
        # The view is no longer in use.
        sent.view.release()
    finally:
        (gc.enable if was else gc.disable)()


# -- what a worker receives -------------------------------------------------------------------------------------------

PAYLOADS = st.sampled_from((0, 1, 100, protocol.AHEAD_BYTES - 40, protocol.AHEAD_BYTES, 3 * protocol.AHEAD_BYTES + 5))


@given(
    st.lists(st.lists(PAYLOADS, min_size=1, max_size=3), min_size=1, max_size=5),
    st.lists(st.integers(1, 9_000), min_size=1, max_size=5),
)
def test_frames_come_out_as_they_went_in_however_they_arrive(frames, pieces):
    parts = [[bytes([i % 251]) * size for size in sizes] for i, sizes in enumerate(frames)]
    data = b"".join(
        piece for i, dumped in enumerate(parts) for piece in protocol.frame(protocol.RUN_ITEMS, dumped, i, i + 1)
    )
    ours, theirs = socket.socketpair()

    def send():
        at, k = 0, 0
        while at < len(data):
            ours.sendall(data[at : at + pieces[k % len(pieces)]])
            at += pieces[k % len(pieces)]
            k += 1
        ours.close()

    thread = threading.Thread(target=send)
    thread.start()
    inbox = protocol.Inbox(theirs, lambda: 0)
    try:
        for i, dumped in enumerate(parts):
            got = protocol.receive(inbox)
            assert (got.kind, got.start, got.stop) == (protocol.RUN_ITEMS, i, i + 1)
            assert got.parts == dumped
            assert all(type(part) is bytearray for part in got.parts), "buffers must be writable"
        with pytest.raises(EOFError):
            protocol.receive(inbox)
    finally:
        thread.join()
        theirs.close()


@pytest.mark.parametrize("size", [0, 2 * protocol.AHEAD_BYTES])
def test_a_frame_without_its_end_mark_is_none(size):
    ours, theirs = socket.socketpair()
    (*whole, last) = protocol.frame(protocol.RUN_ITEMS, [b"x" * size])
    ours.sendall(b"".join(whole) + last[:-1] + b"?")
    with pytest.raises(protocol.BadFrame):
        protocol.receive(protocol.Inbox(theirs, lambda: 0))
    ours.close()
    theirs.close()


# -- a pickler is used again ------------------------------------------------------------------------------------------


class Plain:
    """An object that weak references can lead to."""


class Within:
    """Pickles another object while it is pickled."""

    def __reduce__(self):
        return protocol.loads, (protocol.dumps([Plain, b"x" * 3]),)


class Refuses:
    def __reduce__(self):
        raise ValueError("not me")


def test_an_object_may_pickle_others_as_it_is_pickled():
    for _ in range(2):
        assert protocol.loads(protocol.dumps([Within(), 1])) == [[Plain, b"xxx"], 1]


def test_after_an_exception_the_next_pickle_is_whole():
    for _ in range(2):
        with pytest.raises(ValueError, match="not me"):
            protocol.dumps([b"before", Refuses()])
        assert protocol.loads(protocol.dumps([b"after"])) == [b"after"]


def test_no_pickler_keeps_what_it_has_pickled():
    one = Plain()
    known = weakref.ref(one)
    protocol.dumps([one])
    del one
    gc.collect()
    assert known() is None


def test_what_the_program_adds_to_pickles_own_table_later_counts(monkeypatch):
    protocol.dumps([Plain()])
    monkeypatch.setitem(copyreg.dispatch_table, Plain, lambda one: (str, ("by the table",)))
    assert protocol.loads(protocol.dumps([Plain()])) == ["by the table"]


def test_buffers_of_one_pickle_do_not_appear_in_the_next():
    numpy = pytest.importorskip("numpy")
    large = numpy.arange(protocol.BESIDE_BYTES)
    for _ in range(2):
        assert len(protocol.dumps(large)) == 2
        assert len(protocol.dumps([1])) == 1


def test_threads_may_pickle_at_the_same_time():
    found = []

    def work(number):
        wanted = [number, [Plain, b"xxx"]]
        found.append(all(protocol.loads(protocol.dumps([number, Within()])) == wanted for _ in range(200)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4
