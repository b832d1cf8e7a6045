"""A platform without processes or threads, such as CPython as WebAssembly (`make test-wasm` runs the real one)."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import amorsize
from amorsize.options import check
from amorsize.system import other_programs
from amorsize.system.machine import machine
from amorsize.system.start_methods import available_start_methods, has_threads


@pytest.fixture
def wasm(monkeypatch):
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setattr(sys, "_emscripten_info", SimpleNamespace(pthreads=False), raising=False)


def test_only_the_loop_is_left_to_auto(wasm):
    assert available_start_methods() == ()
    assert not has_threads()
    assert check(abs, [1]).backends == ("serial",)
    assert check(abs, [1], backend=("serial", "processes")).backends == ("serial",)


def test_threads_may_be_built_in(wasm, monkeypatch):
    monkeypatch.setattr(sys, "_emscripten_info", SimpleNamespace(pthreads=True))
    assert check(abs, [1]).backends == ("serial", "threads")


def test_wasi_has_neither(monkeypatch):
    monkeypatch.setattr(sys, "platform", "wasi")
    assert (available_start_methods(), has_threads()) == ((), False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"backend": "processes"}, "backend: no process can be started on emscripten"),
        ({"timeout": 1.0}, "timeout: needs worker processes"),
        ({"start_method": "spawn"}, "start_method: 'spawn' is not to be had on emscripten"),
    ],
)
def test_what_needs_processes_is_refused(wasm, arguments, said):
    with pytest.raises(ValueError, match=said):
        check(abs, [1], **arguments)


def test_the_machine_shows_no_start_method(wasm):
    assert machine().start_methods == ()


def test_elsewhere_there_are_some():
    assert set(available_start_methods()) >= {"spawn"}
    assert has_threads()
    assert set(check(abs, [1]).backends) == {"serial", "threads", "processes"}
    assert amorsize.machine().start_methods


def test_without_psutil_nothing_is_said_of_other_programs(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert other_programs.share_between(other_programs.read(), other_programs.read()) is None
