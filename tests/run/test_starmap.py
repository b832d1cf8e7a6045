"""``starmap()``: ``func(*item)`` for each item, with all that ``execute()`` does."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import pickle
import warnings
from functools import partial

import engine_functions as ef
import numpy as np
import pytest

import amorsize
from amorsize.checkpoint.function_identity import identity
from amorsize.history.fingerprint import fingerprint, name_of
from amorsize.history.this_process import code_of
from amorsize.measure.thread_safety import look
from amorsize.system.starred import starred

WHERE = [
    {"backend": "serial"},
    {"backend": "threads"},
    {"backend": "processes", "start_method": "fork"},
    {"backend": "processes", "start_method": "forkserver"},
    {"backend": "processes", "start_method": "spawn"},
    {},
]


@pytest.fixture(params=WHERE, ids=lambda where: "-".join(where.values()) or "auto")
def where(request):
    return request.param


def power(base, exponent=2):
    return base**exponent


async def power_later(base, exponent=2):
    await asyncio.sleep(0)
    return base**exponent


PAIRS = [(x, x % 3) for x in range(200)]


@pytest.mark.parametrize(
    "data",
    [
        PAIRS,
        tuple(map(list, PAIRS)),
        iter(PAIRS),
        {(2, 1): "a", (3, 2): "b"},
        np.arange(12).reshape(6, 2),
        [],
        iter([]),
    ],
    ids=["list", "lists", "iterator", "dict", "array", "empty", "empty iterator"],
)
def test_it_does_what_itertools_does(where, data):
    ours, theirs = itertools.tee(data) if hasattr(data, "__next__") else (data, data)
    expected = list(itertools.starmap(power, theirs))
    assert amorsize.starmap(power, ours, **where) == expected


def test_items_may_be_of_several_lengths_and_kinds(where):
    items = [(2,), (2, 3), [4], "5", range(1, 3), (2, 5)]
    text = amorsize.starmap(ef_args, items, **where)
    assert text == list(itertools.starmap(ef_args, items))


def ef_args(*args):
    return args


@pytest.mark.parametrize(
    "func",
    [pow, partial(power, 3), partial(ef_args, 1, 2), lambda *args: args, ef.Adder(3).double, max],
    ids=["built-in", "partial", "partial of args", "lambda", "static method", "max"],
)
def test_any_callable_will_do(where, func):
    items = [(x,) for x in range(20)] if func not in (pow, max) else [(x, 2) for x in range(20)]
    assert amorsize.starmap(func, items, **where) == list(itertools.starmap(func, items))


@pytest.mark.parametrize("bad", [5, None, object()])
def test_an_item_that_is_not_iterable_raises_what_itertools_raises(where, bad):
    with pytest.raises(TypeError) as theirs:
        list(itertools.starmap(power, [(1, 2), bad]))
    with pytest.raises(TypeError) as ours:
        amorsize.starmap(power, [(1, 2), bad, (3, 4)], **where)
    assert str(ours.value) == str(theirs.value)
    assert "raised at item 1" in ours.value.__notes__[0]


def test_too_many_elements_are_an_error_of_the_item(where):
    results = amorsize.starmap(power, [(1, 2), (1, 2, 3), (3, 2)], on_error="collect", **where)
    assert [results[0], results[2]] == [1, 9]
    assert results[1].index == 1
    assert "positional arguments" in str(results[1].exception)


def test_an_exception_keeps_its_type_and_note(where):
    with pytest.raises(ZeroDivisionError) as caught:
        amorsize.starmap(divmod, [(x, 3 - x) for x in range(6)], **where)
    assert "item 3: (3, 0)" in caught.value.__notes__[0]


def test_a_stop_iteration_of_func_is_an_exception_of_the_item():
    def func(x, _):
        raise StopIteration

    results = amorsize.starmap(func, PAIRS[:3], on_error="collect")
    assert [type(one.exception) for one in results] == [StopIteration] * 3


def test_a_plan_comes_along_and_knows_the_data():
    results, plan = amorsize.starmap(power, PAIRS, return_plan=True, backend="serial")
    assert results == [power(*pair) for pair in PAIRS]
    assert plan.data is PAIRS


def test_a_coroutine_function_runs_as_tasks():
    results, plan = amorsize.starmap(power_later, PAIRS, max_workers=3, return_plan=True)
    assert results == [power(*pair) for pair in PAIRS]
    assert (plan.backend, plan.n_jobs) == ("async", 3)


def test_async_data_of_a_coroutine_function():
    async def pairs():
        for pair in PAIRS:
            yield pair

    assert amorsize.starmap(power_later, pairs()) == [power(*pair) for pair in PAIRS]


def test_a_generator_function_is_refused():
    def func(x, y):
        yield x

    with pytest.raises(TypeError, match=r"^func: is a generator function"):
        amorsize.starmap(func, PAIRS)


@pytest.mark.parametrize(
    ("args", "options", "error", "match"),
    [
        ((5, PAIRS), {}, TypeError, "^func: must be callable, not int"),
        ((power, 5), {}, TypeError, "^tuples: must be iterable, not int"),
        ((power, PAIRS), {"n_jobs": 2}, TypeError, r"^starmap\(\) .*max_workers="),
        ((power, PAIRS), {"chunksize": 2}, TypeError, r"^starmap\(\) .*leave it out"),
        ((power, PAIRS), {"max_workers": 0}, ValueError, "^max_workers: "),
        ((power,), {}, TypeError, "tuples"),
        ((power, PAIRS, 2), {}, TypeError, "positional"),
    ],
)
def test_wrong_arguments_are_refused(args, options, error, match):
    with pytest.raises(error, match=match):
        amorsize.starmap(*args, **options)


def test_its_arguments_are_those_of_execute():
    ours, theirs = (inspect.signature(one).parameters for one in (amorsize.starmap, amorsize.execute))
    assert list(ours) == ["func", "tuples", *list(theirs)[2:]]
    assert {name: one.default for name, one in ours.items() if name in theirs} == {
        name: one.default for name, one in theirs.items() if name != "data"
    }
    assert amorsize.starmap(func=power, tuples=PAIRS) == [power(*pair) for pair in PAIRS]


# -- looked through ----------------------------------------------------------------------------------------------------


def other(base, exponent=2):
    return base - exponent


def test_a_checkpoint_belongs_to_the_function(tmp_path):
    path = tmp_path / "run.ckpt"
    options = {"checkpoint": path, "backend": "serial"}
    note = partial(note_pair, str(tmp_path))
    assert amorsize.starmap(note, PAIRS[:50], **options) == [sum(pair) for pair in PAIRS[:50]]
    made = len(list(tmp_path.glob("pair-*")))
    assert amorsize.starmap(note, PAIRS[:50], **options) == [sum(pair) for pair in PAIRS[:50]]
    assert len(list(tmp_path.glob("pair-*"))) == made == 50
    with pytest.raises(amorsize.errors.CheckpointMismatchError, match="other"):
        amorsize.starmap(other, PAIRS[:50], **options)


def note_pair(folder, x, y):
    for number in itertools.count():
        try:
            with open(f"{folder}/pair-{x}-{y}-{number}", "x"):
                return x + y
        except FileExistsError:
            continue
    return None


@pytest.mark.parametrize("of", [fingerprint, identity, name_of, code_of])
def test_functions_are_told_apart(of):
    assert of(starred(power)) == of(starred(power)) != of(starred(other))
    assert "power" in name_of(starred(power))


def test_a_run_leaves_a_row_under_the_functions_name(tmp_path, monkeypatch):
    monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "runs.sqlite"))
    amorsize.starmap(power, PAIRS)
    amorsize.starmap(other, PAIRS)
    first, second = amorsize.History().runs()
    assert first.function != second.function
    assert {"power" in row.name for row in (first, second)} == {True, False}


seen: list[object] = []


def keeps(x, y):
    seen.append(x)
    return y


def fills(found, x):
    found.append(x)
    return len(found)


def decodes(raw, n):
    return raw.decode() * n


@pytest.mark.parametrize(
    ("func", "data", "answer"),
    [
        (power, PAIRS, "safe"),
        (decodes, [(b"a", 1), (b"b", 2)], "safe"),
        (decodes, [[b"a", 1], [b"b", 2]], "safe"),
        (pow, PAIRS, "safe"),
        (keeps, PAIRS, "unsafe"),
        (fills, [(seen, 1), (seen, 2)], "unknown"),
        (partial(fills, seen), [(1,), (2,)], "unsafe"),
    ],
)
def test_the_look_for_thread_safety_goes_through(func, data, answer):
    assert look(starred(func), data, data).answer == answer


def test_a_copy_is_the_same():
    copy = pickle.loads(pickle.dumps(starred(power, 3)))
    assert copy((2,)) == starred(power, 3)((2,)) == 9


def test_a_data_frame_is_warned_of_by_its_name():
    class Frame(dict):
        pass

    pandas = type("pandas", (), {"DataFrame": Frame})
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setitem(__import__("sys").modules, "pandas", pandas)
        amorsize.starmap(ef_args, Frame(ab=1))
    # Another may come from what the garbage collector finds meanwhile.
    (warning,) = [one for one in caught if one.filename == __file__]
    assert str(warning.message).startswith("tuples: is a DataFrame")
    assert warning.filename == __file__
