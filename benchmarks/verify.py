"""Compares the results of a contender with those of the loop.

Only the essence of the loop's results is kept: half a gigabyte of arrays would make each later fork slower, and so the
comparison unfair.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Sequence
from typing import Any

BLAS_TOLERANCE = 1e-9  # The last bits depend on the number of BLAS threads; all other results are exact
LARGE = 1_000


def essence(result: Any) -> Any:
    """Return a small object that is equal if the results are equal."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(result, numpy.ndarray):
        return str(result.dtype), result.shape, zlib.crc32(numpy.ascontiguousarray(result).data)
    if isinstance(result, bytes) and len(result) > LARGE:
        return "bytes", len(result), zlib.crc32(result)
    return result


def essences(results: Sequence[Any]) -> list[Any]:
    return [essence(result) for result in results]


def same(left: Any, right: Any) -> bool:
    if type(left) is float and type(right) is float:
        return math.isclose(left, right, rel_tol=BLAS_TOLERANCE, abs_tol=0.0) or left == right
    return type(left) is type(right) and bool(left == right)


def difference(results: Any, reference: Sequence[Any]) -> str | None:
    """Return why the results are wrong; None: they are right. The reference holds essences."""
    if not isinstance(results, list):
        return f"returned a {type(results).__name__}, not a list"
    if len(results) != len(reference):
        return f"returned {len(results)} results for {len(reference)} items"
    for i, (result, expected) in enumerate(zip(results, reference, strict=True)):
        if not same(essence(result), expected):
            return f"result {i} differs from the loop's"
    return None
