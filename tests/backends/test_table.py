"""The table of backends: a row is all that a new backend needs beside its own file."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import threading

import pytest
from backend_of_trial import Inline

import amorsize
from amorsize.backends import table
from amorsize.backends.table import ANY_EXECUTOR, BACKENDS, Row, row_named, row_serving


@pytest.fixture
def with_inline(monkeypatch):
    row = Row("executor", "executor", "backend_of_trial:open_driver", serves="backend_of_trial:Inline")
    monkeypatch.setattr(table, "BACKENDS", (*BACKENDS, row))


def whereabouts(x):
    return x, os.getpid(), threading.get_ident()


def reciprocal(x):
    return 1 / x


def test_a_new_backend_needs_one_file_and_one_row(with_inline):
    here = (os.getpid(), threading.get_ident())
    results, plan = amorsize.execute(whereabouts, range(100), backend=Inline(), return_plan=True)
    assert results == [(x, *here) for x in range(100)]
    assert plan.backend == "executor"


def test_it_takes_streams_failures_and_retries_as_all_others(with_inline):
    assert list(amorsize.stream(abs, iter(range(-50, 0)), backend=Inline())) == list(range(50, 0, -1))
    with pytest.raises(ZeroDivisionError):
        amorsize.execute(reciprocal, [1, 0, 2], backend=Inline(), retries=1)
    collected = amorsize.execute(reciprocal, [1, 0, 2], backend=Inline(), on_error="collect")
    assert [isinstance(r, amorsize.Failure) for r in collected] == [False, True, False]


def test_without_a_row_it_is_no_backend():
    with pytest.raises(TypeError, match=r"^backend: "):
        amorsize.execute(abs, [1], backend=Inline())


def test_every_row_opens_a_driver():
    for row in BACKENDS:
        module, _, name = row.driver.partition(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_an_object_is_served_by_the_row_of_its_type_before_that_of_any_executor(monkeypatch):
    theirs = Row("executor", "executor", "nowhere:nothing", serves="concurrent.futures:ThreadPoolExecutor")
    monkeypatch.setattr(table, "BACKENDS", (*BACKENDS, theirs))

    class Own(concurrent.futures.ThreadPoolExecutor):
        pass

    with Own(1) as own:
        assert row_serving(own) is theirs
    assert row_serving(object()) is None
    assert row_named("threads").serves == ""


def test_a_type_of_the_same_name_elsewhere_is_not_served():
    class Client:
        __module__ = "distributed_else.client"

    Client.__qualname__ = "Client"
    assert not Row("executor", "dask", "a:b", serves="distributed:Client").fits(Client())
    Client.__module__ = "distributed.client"
    assert Row("executor", "dask", "a:b", serves="distributed:Client").fits(Client())
    assert not Row("executor", "dask", "a:b", serves=ANY_EXECUTOR).fits(Client())


def test_what_loops_have_missed_pays_for_loading(monkeypatch):
    monkeypatch.setattr(table, "_missed", [0.0])
    assert table.due_s(0.5) == 0.5
    table.note_missed(0.2)
    table.note_missed(0.1)
    assert table.due_s(0.5) == pytest.approx(0.2)
    table.note_missed(1.0)
    assert table.due_s(0.5) == 0.0


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_modules_load_at_the_pace_of_those_that_this_process_has_loaded(monkeypatch, name):
    monkeypatch.setattr(table, "_pace", [1.0])
    row = Row(name, name, "not.loaded:open_driver", load_s=0.5)
    assert row.left_to_load_s() == 0.5
    table.note_pace(2 * table.LOOP_LOAD_S)
    assert row.left_to_load_s() == 1.0
    table.note_pace(1e3)
    slow = row.left_to_load_s()
    table.note_pace(0.0)
    assert 0 < row.left_to_load_s() < 0.5 < slow < 5
    assert Row(name, name, "sys:open_driver", load_s=0.5).left_to_load_s() == 0.0


def test_the_pace_is_noted_when_a_public_function_is_first_looked_up():
    code = "import amorsize; amorsize.execute; from amorsize.backends import table; print(table.pace())"
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert table.PACES[0] <= float(told) <= table.PACES[1]
    assert float(told) != 1.0
