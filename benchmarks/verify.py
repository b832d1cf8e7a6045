"""Whether a contender returned what the loop returned.

The loop's results are kept as their essence only: half a gigabyte of arrays held in the background would make every
later fork dearer, and so the comparison unfair.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Sequence
from typing import Any

BLAS_TOLERANCE = 1e-9  # The last bits depend on how many threads BLAS uses; everything else is exact
LARGE = 1_000


def essence(result: Any) -> Any:
    """Something small that is equal when the results are equal."""
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
    """What is wrong with the results; None: nothing. The reference holds essences."""
    if not isinstance(results, list):
        return f"returned a {type(results).__name__}, not a list"
    if len(results) != len(reference):
        return f"returned {len(results)} results for {len(reference)} items"
    for i, (result, expected) in enumerate(zip(results, reference, strict=True)):
        if not same(essence(result), expected):
            return f"result {i} differs from the loop's"
    return None
