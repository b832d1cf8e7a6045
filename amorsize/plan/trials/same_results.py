"""Compare the results of two runs of a map, for objects of any type."""

from __future__ import annotations

import pickle
from cmath import isclose
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from amorsize.system.looks import is_interrupt

# Relative tolerance: sums depend on the number of threads of a BLAS.
# guess
LAST_BITS: Final = 1e-9


def same_results(ours: Sequence[Any], theirs: Sequence[Any]) -> bool | None:
    """Return True if the results are equal up to the last bits of floats; None if they cannot be compared.

    Examples
    --------
    >>> same_results([1, 0.1 + 0.2, float("nan")], [1, 0.3, float("nan")]), same_results([1, 2], [2, 1])
    (True, False)
    >>> same_results([lambda: 0], [lambda: 0]) is None
    True
    """
    try:
        if bool(ours == theirs):
            return True
    except BaseException as exc:  # arrays have no truth value, and a user's __eq__ may raise anything
        if is_interrupt(exc):
            raise
    return _each(ours, theirs)


def _each(ours: Sequence[Any], theirs: Sequence[Any]) -> bool | None:
    return len(ours) == len(theirs) and _all(_same(a, b) for a, b in zip(ours, theirs, strict=True))


def _all(answers: Iterable[bool | None]) -> bool | None:
    """Return False if any answer is False, else None if any is None, else True."""
    known = True
    for answer in answers:
        if answer is False:
            return False
        known = known and answer is True
    return True if known else None


def _same(a: Any, b: Any) -> bool | None:
    try:
        return _compared(a, b)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return None


def _compared(a: Any, b: Any) -> bool | None:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if issubclass(type(a), float | complex):
        # bool(): comparisons of numpy's floats return numpy's bools.
        return bool((a != a and b != b) or isclose(a, b, rel_tol=LAST_BITS))
    if issubclass(type(a), list | tuple):
        return _each(a, b)
    if issubclass(type(a), Mapping):
        return len(a) == len(b) and _all(key in b and _same(a[key], b[key]) for key in a)
    if type(a).__module__ == "numpy" and hasattr(a, "dtype"):
        return _same_array(a, b)
    try:
        if bool(a == b):
            return True
        compares = getattr(type(a), "__eq__", None) is not object.__eq__
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        compares = False
    return False if compares else _same_pickle(a, b)


def _same_array(a: Any, b: Any) -> bool | None:
    import numpy

    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind == "O":
        return _each(a.ravel().tolist(), b.ravel().tolist())
    if a.dtype.kind in "fc":
        return bool(numpy.allclose(a, b, rtol=LAST_BITS, atol=0.0, equal_nan=True))
    return bool(numpy.array_equal(a, b))


def _same_pickle(a: Any, b: Any) -> bool | None:
    """Compare objects that are equal only to themselves: True if their pickles are equal, else None."""
    try:
        return True if pickle.dumps(a) == pickle.dumps(b) else None
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return None
