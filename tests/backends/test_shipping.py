"""What crosses to workers elsewhere: they may have nothing but the standard library and cloudpickle."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import threading
from concurrent.futures import Future
from functools import partial

import engine_functions as ef
import pytest

import amorsize
from amorsize.backends import remote
from amorsize.backends.shipping import VERSION, Parcels, own_modules
from amorsize.errors import TransferError

# A worker without amorsize: it answers pickled tasks, one a line.
WORKER = """
import pickle, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("amorsize", "engine_functions"): raise ImportError("no %s here" % name)
sys.meta_path.insert(0, Refuse())
while True:
    try: func, args = pickle.load(sys.stdin.buffer)
    except EOFError: break
    pickle.dump(func(*args), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class Elsewhere:
    """An executor with one worker, which has no amorsize; it pickles tasks with pickle, and cannot cancel."""

    max_workers = 1

    def __init__(self):
        self.tasks = []
        self.process = subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def submit(self, func, *args):
        future = Future()
        # As Parsl's.
        future.cancel = self.cannot_cancel
        self.tasks.append(func)
        try:
            self.process.stdin.write(pickle.dumps((func, args)))
            self.process.stdin.flush()
            future.set_result(pickle.load(self.process.stdout))
        except Exception as exc:
            future.set_exception(exc)
        return future

    def cannot_cancel(self):
        raise NotImplementedError

    def close(self):
        self.process.communicate()


@pytest.fixture
def elsewhere():
    made = Elsewhere()
    yield made
    made.close()


def test_a_worker_without_amorsize_runs_a_map(elsewhere):
    by = 3
    results, plan = amorsize.execute(lambda x: ef.square(x) + by, range(60), backend=elsewhere, return_plan=True)
    assert results == [x * x + 3 for x in range(60)]
    assert plan.n_jobs == 1


def test_the_half_that_runs_there_can_be_sent_on():
    """Dask's scheduler unpickles a task before it sends it to a worker."""
    code = "import pickle,sys; half = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(pickle.dumps(half))"
    sent = pickle.dumps(remote.HALF)
    again = subprocess.run([sys.executable, "-S", "-c", code], input=sent, capture_output=True, check=True).stdout
    assert again == sent
    answer = pickle.loads(again)("key", (pickle.dumps(ef.square),), (pickle.dumps([1, 2, 3]),))
    assert answer[0] == "done"
    assert pickle.loads(answer[1][0]) == [1, 4, 9]


def test_an_exception_of_func_is_not_replaced_by_that_of_cancel(elsewhere):
    with pytest.raises(ZeroDivisionError):
        amorsize.execute(lambda x: 1 / x, [1, 0, 2, 3], backend=elsewhere)


def test_a_module_that_only_workers_may_find_goes_by_reference(elsewhere, monkeypatch):
    """It cannot be sent, since it holds a lock; here the worker has none, and says so in one line."""
    monkeypatch.setattr(ef, "state", threading.Lock())
    with pytest.raises(TransferError, match=r"func.*cannot import.*no engine_functions here"):
        amorsize.execute(reads_the_lock, range(3), backend=elsewhere)


def reads_the_lock(x):
    return ef.state, x


reads_the_lock = importlib.import_module("types").FunctionType(
    reads_the_lock.__code__, {**vars(ef), "ef": ef, "__name__": "engine_functions"}, "reads_the_lock"
)
ef.reads_the_lock = reads_the_lock
reads_the_lock.__module__ = "engine_functions"


def test_code_of_another_python_is_refused_in_one_line():
    func = Parcels(lambda x: x, False, pytest.fail).func()
    broken = (func[0][:-20], *func[1:])
    kind, what, detail = remote.run("another", broken, (pickle.dumps([1]),), version=(VERSION[0], VERSION[1] + 1))
    assert (kind, what) == ("refused", "func")
    assert f"needs the caller's {VERSION[0]}.{VERSION[1] + 1}" in detail
    assert "\n" not in detail


def test_a_worker_keeps_the_function_and_asks_for_one_that_it_has_not():
    func = (pickle.dumps(ef.square),)
    items = (pickle.dumps([2]),)
    assert remote.run("kept", None, items) == ("missing",)
    assert remote.run("kept", func, items)[0] == "done"
    assert remote.run("kept", None, items)[0] == "done"
    for n in range(remote.KEPT):
        remote.run(f"other {n}", func, items)
    assert remote.run("kept", None, items) == ("missing",)


def test_a_large_function_goes_to_a_worker_once(elsewhere):
    table = bytes(1 << 20)
    sizes = []
    submit = elsewhere.submit
    elsewhere.submit = lambda func, *args: sizes.append(len(pickle.dumps(args))) or submit(func, *args)
    assert amorsize.execute(lambda x: len(table) + x, range(40), backend=elsewhere) == [
        x + (1 << 20) for x in range(40)
    ]
    assert 1 <= sum(size > 1 << 20 for size in sizes) <= 2


def test_what_the_answer_of_an_item_says_of_its_times():
    _, results, errors, wall_s, _, _, records, who = remote.run(
        "times", (pickle.dumps(partial(ef.nap, seconds=3e-3)),), (pickle.dumps([1, 2]),), start=5
    )
    assert not errors
    assert [record[0] for record in records] == [5, 6]
    assert sum(record[1] for record in records) <= wall_s
    assert len(who) == 3
    assert type(results) is tuple


def test_a_task_ends_early_where_its_items_take_longer_than_expected():
    answer = remote.run("early", (pickle.dumps(ef.nap),), (pickle.dumps([1, 2, 3]),), start=5, limit_s=0.0)
    kind, results, errors, *_ = answer
    assert (kind, errors) == ("done", [])
    assert len(pickle.loads(results[0])) == 1


def test_a_hello_takes_bytes_there_and_back():
    assert remote.run(items=(b"some",))[2] == (b"some",)


def test_modules_beside_the_program_are_told_from_installed_ones():
    names = {module.__name__ for module in own_modules()}
    assert "engine_functions" in names
    assert names.isdisjoint({"pytest", "pickle", "cloudpickle", "amorsize", "numpy"})
