"""Workers that wait for the next map: those that are used again, and those that must not be."""

from __future__ import annotations

import importlib
import os
import sys

import engine_functions as ef
import pytest

import amorsize
from amorsize.backends.workers import warm

METHODS = ["forkserver", "spawn"]


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


def pids(method: str, **options) -> set[int]:
    """Run a map; return the process ids of the workers that are kept warm after it."""
    amorsize.execute(ef.nap, range(8), backend="processes", start_method=method, max_workers=2, **options)
    return {kept.handle.pid for kept in warm._kept}


def test_the_same_workers_serve_the_next_map(method):
    first = pids(method)
    assert first
    assert pids(method) == first
    ran = amorsize.execute(ef.where, range(8), backend="processes", start_method=method, max_workers=2)
    assert {pid for pid, _ in ran} <= first


def test_forked_workers_never_do():
    pids("fork")
    assert not warm._kept


def test_those_with_an_initializer_never_do(method):
    assert not pids(method, initializer=ef.set_state, initargs=(1,))


def test_another_environment_wants_new_ones(method, monkeypatch):
    first = pids(method)
    monkeypatch.setenv("SOMETHING", "else")
    assert not pids(method) & first


def test_another_folder_wants_new_ones(method, monkeypatch, tmp_path):
    first = pids(method)
    monkeypatch.chdir(tmp_path)
    assert not pids(method) & first


def test_a_reloaded_module_wants_new_ones(method, monkeypatch, tmp_path):
    """Else workers would run its old code."""
    module = tmp_path / "changing_module.py"
    module.write_text("def f(x):\n    return 'old'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import changing_module

    options = {"backend": "processes", "start_method": method, "max_workers": 2}
    assert amorsize.execute(changing_module.f, [1, 2], **options) == ["old", "old"]
    module.write_text("def f(x):\n    return 'entirely new'\n")
    importlib.invalidate_caches()
    changing_module = importlib.reload(changing_module)
    assert amorsize.execute(changing_module.f, [1, 2], **options) == ["entirely new"] * 2
    del sys.modules["changing_module"]


def test_a_dead_one_is_not_used(method):
    first = pids(method)
    for kept in warm._kept:
        kept.handle.kill()
    assert not pids(method) & first


def test_after_a_failure_they_serve_on(method):
    options = {"backend": "processes", "start_method": method, "max_workers": 2}
    first = pids(method)
    failures = amorsize.execute(ef.refuse_all, range(4), on_error="collect", **options)
    assert all(isinstance(f, amorsize.Failure) for f in failures)
    assert pids(method) == first


def test_a_forked_child_leaves_them_alone(method):
    first = pids(method)
    if (child := os.fork()) == 0:
        os._exit(len(warm._kept))
    assert os.waitpid(child, 0)[1] == 0
    assert pids(method) == first
