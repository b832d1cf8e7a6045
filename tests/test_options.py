"""Invalid arguments raise before func is called, with their names."""

from __future__ import annotations

import re

import numpy as np
import pytest

import amorsize


def never(_: object) -> None:
    raise AssertionError("func was called")


async def coroutine(_: object) -> None:
    raise AssertionError("func was called")


class Whole:
    """A whole number by ``__index__``, like those of numpy."""

    def __index__(self) -> int:
        return 1


def shown(arguments: dict[str, object]) -> str:
    """Return the arguments without addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(arguments))


BAD_FOR_BOTH = [
    ("func", TypeError, {"func": None}),
    ("func", TypeError, {"func": "never"}),
    ("data", TypeError, {"data": 3}),
    ("data", TypeError, {"data": None}),
    ("data", TypeError, {"data": np.array(3.0)}),
    ("backend", ValueError, {"backend": "process"}),
    ("backend", ValueError, {"backend": ""}),
    ("backend", ValueError, {"backend": ()}),
    ("backend", ValueError, {"backend": ("serial", "fibres")}),
    ("backend", ValueError, {"backend": ("auto",)}),
    ("backend", TypeError, {"backend": None}),
    ("backend", TypeError, {"backend": 4}),
    ("backend", TypeError, {"backend": ("serial", 4)}),
    ("max_workers", ValueError, {"max_workers": 0}),
    ("max_workers", ValueError, {"max_workers": -1}),
    ("max_workers", TypeError, {"max_workers": 2.0}),
    ("max_workers", TypeError, {"max_workers": "2"}),
    ("max_workers", TypeError, {"max_workers": True}),
    ("start_method", ValueError, {"start_method": "thread"}),
    ("start_method", TypeError, {"start_method": 1}),
    ("memory_limit", ValueError, {"memory_limit": 0}),
    ("memory_limit", TypeError, {"memory_limit": 1e9}),
    ("memory_limit", TypeError, {"memory_limit": "1GB"}),
    ("sample", ValueError, {"sample": "tail"}),
    ("sample", ValueError, {"sample": None}),
    ("history", TypeError, {"history": "runs.sqlite"}),
]

BAD_FOR_EXECUTE = [
    ("retries", ValueError, {"retries": -1}),
    ("retries", TypeError, {"retries": None}),
    ("retries", TypeError, {"retries": 1.0}),
    ("retries", TypeError, {"retries": False}),
    ("on_error", ValueError, {"on_error": "ignore"}),
    ("on_error", ValueError, {"on_error": None}),
    ("initializer", TypeError, {"initializer": 3}),
    ("initargs", TypeError, {"initargs": 3}),
    ("initargs", TypeError, {"initargs": "abc"}),
    ("initargs", TypeError, {"initargs": None}),
]

BAD_FOR_OPTIMIZE = [("func", TypeError, {"func": coroutine})]

PLANNING = [amorsize.optimize, amorsize.tune, amorsize.validate]
ALL = [(call, *bad) for call in PLANNING for bad in BAD_FOR_BOTH + BAD_FOR_OPTIMIZE] + [
    (amorsize.execute, *bad) for bad in BAD_FOR_BOTH + BAD_FOR_EXECUTE
]


@pytest.mark.parametrize(
    ("call", "name", "error", "bad"), ALL, ids=[f"{call.__name__}-{shown(bad)}" for call, _, _, bad in ALL]
)
def test_a_bad_argument_is_named(call, name, error, bad):
    arguments = {"func": never, "data": [1, 2], **bad}
    with pytest.raises(error, match=rf"^{name}: ") as caught:
        call(arguments.pop("func"), arguments.pop("data"), **arguments)
    assert type(caught.value) is error


def test_an_iterator_is_not_touched_when_an_argument_is_bad():
    data = iter([1, 2])
    with pytest.raises(ValueError, match="max_workers"):
        amorsize.execute(never, data, max_workers=0)
    assert list(data) == [1, 2]


@pytest.mark.parametrize("call", [amorsize.execute, *PLANNING])
def test_all_but_func_and_data_are_keywords(call):
    with pytest.raises(TypeError):
        call(abs, [1], "serial")


@pytest.mark.parametrize("call", [amorsize.execute, *PLANNING])
def test_an_unknown_argument_is_refused(call):
    with pytest.raises(TypeError, match="chunksize"):
        call(abs, [1], chunksize=3)


@pytest.mark.parametrize(
    "good",
    [
        {"max_workers": Whole()},
        {"max_workers": np.int64(3)},
        {"backend": ["serial", "threads"]},
        {"backend": ("serial",)},
        {"memory_limit": 1 << 40},
        {"retries": np.int8(1)},
        {"initializer": list, "initargs": [(1, 2)]},
        {"sample": "head"},
        {"history": None},
    ],
    ids=shown,
)
def test_what_is_as_good(good):
    assert amorsize.execute(abs, [-1, 2], **good) == [1, 2]
