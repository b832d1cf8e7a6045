"""What every executor and cluster must do with a map: one check each, called with the backend and a folder."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

import amorsize
from amorsize.errors import TransferError, WorkerLostError


class OwnError(Exception):
    pass


class Point:
    def __init__(self, x):
        self.x = x

    def moved(self, by):
        return Point(self.x + by)


def square(x):
    return x * x


def refuse(bad, x):
    if x in bad:
        raise OwnError(f"not {x}")
    return x


def fail_first(folder, x):
    """Raise when it runs with this item for the first time, in whatever process."""
    try:
        (Path(folder) / str(x)).touch(exist_ok=False)
    except FileExistsError:
        return x
    raise OwnError(f"the first {x}")


def die_at(bad, x):
    if x == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_once(path, bad, x):
    """End the worker at an item, the first time."""
    if x == bad:
        try:
            Path(path).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    return x


def order(backend, folder):
    data = list(range(300))
    results, plan = amorsize.execute(square, data, backend=backend, return_plan=True)
    assert results == [x * x for x in data]
    assert plan.backend == "executor"
    assert plan.predicted_s is not None
    assert plan.predicted_interval_s is not None
    assert "nothing was sampled" not in plan.reason


def generator_and_stream(backend, folder):
    assert amorsize.execute(square, iter(range(50)), backend=backend) == [x * x for x in range(50)]
    assert list(amorsize.stream(square, iter(range(50)), backend=backend)) == [x * x for x in range(50)]
    assert sorted(amorsize.stream(square, range(50), backend=backend, ordered=False)) == [x * x for x in range(50)]


def a_stream_that_is_closed_leaves_it_usable(backend, folder):
    results = amorsize.stream(square, iter(range(10_000)), backend=backend)
    next(results)
    results.close()
    assert amorsize.execute(square, [3], backend=backend) == [9]


def nothing_and_one(backend, folder):
    assert amorsize.execute(square, [], backend=backend) == []
    assert amorsize.execute(square, [7], backend=backend) == [49]


def exceptions_name_their_item(backend, folder):
    with pytest.raises(OwnError, match="not 7") as caught:
        amorsize.execute(partial(refuse, (7,)), range(20), backend=backend)
    assert any("item 7" in text for text in caught.value.__notes__)
    assert "refuse" in str(caught.value.__cause__)


def failures_are_collected_repeated_and_counted(backend, folder):
    got = amorsize.execute(partial(refuse, (7, 8)), range(20), backend=backend, on_error="collect")
    assert [i for i, r in enumerate(got) if isinstance(r, amorsize.Failure)] == [7, 8]
    assert type(got[7].exception) is OwnError
    assert amorsize.execute(partial(fail_first, str(folder)), range(9), backend=backend, retries=1) == list(range(9))
    with pytest.raises(OwnError):
        amorsize.execute(partial(refuse, range(9)), range(9), backend=backend, on_error="collect", max_failures=2)


def closures_with_arrays(backend, folder):
    numpy = pytest.importorskip("numpy")
    ones, many = numpy.ones(4), numpy.arange(200_000.0)
    assert amorsize.execute(lambda x: float(ones.sum()) * x, range(8), backend=backend) == [4.0 * x for x in range(8)]
    assert amorsize.execute(lambda x: many[x], range(50), backend=backend) == list(range(50))
    arrays = amorsize.execute(lambda x: numpy.full(2000, x), range(6), backend=backend)
    arrays[3][0] = 5
    assert [float(one[1]) for one in arrays] == list(range(6))


def functions_of_the_main_module(backend, folder):
    main = {"__name__": "__main__"}
    exec(
        "OFFSET = 7\nclass Odd(Exception): pass\nclass Box:\n    def __init__(self, x): self.x = x\n"
        "def inner(x): return x + OFFSET\ndef outer(x): return inner(x)\ndef boxed(x): return Box(inner(x.x))\n"
        "def odd(x): raise Odd(x)\n",
        main,
    )
    assert amorsize.execute(main["outer"], range(4), backend=backend) == [7, 8, 9, 10]
    boxes = amorsize.execute(main["boxed"], [main["Box"](1), main["Box"](2)], backend=backend)
    assert [(type(box), box.x) for box in boxes] == [(main["Box"], 8), (main["Box"], 9)]
    with pytest.raises(main["Odd"]):
        amorsize.execute(main["odd"], [1, 2], backend=backend)


def modules_beside_the_program(backend, folder):
    (folder / "only_beside_us.py").write_text(
        "TABLE = {1: 'a'}\ndef look(x): return TABLE.get(x, less(x))\ndef less(x): return -x\n"
    )
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("only_beside_us")
    finally:
        sys.path.remove(str(folder))
    try:
        assert amorsize.execute(module.look, range(3), backend=backend) == [0, "a", -2]
    finally:
        del sys.modules["only_beside_us"]


def objects_keep_their_classes_and_methods(backend, folder):
    points = amorsize.execute(partial(Point.moved, by=1), [Point(1), Point(2)], backend=backend)
    assert [(type(point), point.x) for point in points] == [(Point, 2), (Point, 3)]


def what_cannot_be_pickled_is_named(backend, folder):
    lock = threading.Lock()
    got = amorsize.execute(str, [1, lock, 3], backend=backend, on_error="collect")
    assert (got[0], got[2]) == ("1", "3")
    assert isinstance(got[1].exception, TransferError)
    with pytest.raises(TransferError, match="func"):
        amorsize.execute(lambda x: lock, range(20), backend=backend)
    got = amorsize.execute(lambda x: threading.Lock() if x == 2 else x, range(4), backend=backend, on_error="collect")
    assert got[:2] + got[3:] == [0, 1, 3]
    assert isinstance(got[2].exception, TransferError)
    assert got[2].exception.what == "result"


def checkpoint_progress_and_rate(backend, folder):
    seen = []
    path = folder / "done.jsonl"
    with pytest.raises(OwnError):
        amorsize.execute(partial(refuse, (39,)), range(40), backend=backend, checkpoint=path, checkpoint_key="k")
    results = amorsize.execute(
        partial(refuse, ()),
        range(40),
        backend=backend,
        checkpoint=path,
        checkpoint_key="k",
        on_event=seen.append,
        rate=1e4,
    )
    assert results == list(range(40))
    assert seen


def a_nested_call_has_one_core(backend, folder):
    def cores(_):
        from amorsize.system.machine import lately
        from amorsize.system.start_methods import share_of

        return share_of(lately()).usable_cores

    assert set(amorsize.execute(cores, range(8), backend=backend)) == {1.0}


def plans_and_trials(backend, folder):
    plan = amorsize.optimize(square, range(200), backend=backend)
    assert plan.backend == "executor"
    assert plan.predicted_s > 0
    found = amorsize.validate(square, range(60), backend=backend, max_seconds=0.5, rounds=1)
    assert found.same_results
    assert [one.name for one in found.contenders if one.times_s] == ["plan", "execute", "tasks"]
    tuned = amorsize.tune(square, range(60), backend=backend, max_seconds=0.5)
    assert tuned.backend == "executor"
    assert tuned.trials


CHECKS = (
    order,
    generator_and_stream,
    a_stream_that_is_closed_leaves_it_usable,
    nothing_and_one,
    exceptions_name_their_item,
    failures_are_collected_repeated_and_counted,
    closures_with_arrays,
    functions_of_the_main_module,
    modules_beside_the_program,
    objects_keep_their_classes_and_methods,
    what_cannot_be_pickled_is_named,
    checkpoint_progress_and_rate,
    a_nested_call_has_one_core,
    plans_and_trials,
)


# -- losses: for engines that outlive a worker -------------------------------------------------------------------------


def a_killed_worker_loses_nothing(backend, folder):
    func = partial(die_once, str(folder / "died"), 33)
    assert amorsize.execute(func, range(100), backend=backend) == list(range(100))
    assert (folder / "died").exists()


def a_poisoned_item_alone_fails(backend, folder):
    got = amorsize.execute(partial(die_at, 5), range(12), backend=backend, on_error="collect")
    assert got[:5] + got[6:] == [*range(5), *range(6, 12)]
    assert isinstance(got[5].exception, WorkerLostError)
    assert got[5].exception.index == 5


LOSSES = (a_killed_worker_loses_nothing, a_poisoned_item_alone_fails)


def name_of(check):
    return check.__name__
