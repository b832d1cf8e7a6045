"""Sizes of items, where they are fast to read: the cost of an item often depends on its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

from amorsize.system.local_files import LocalFiles
from amorsize.system.looks import LEAST_SIZE, MOST_SIZE, is_interrupt, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    # What sizes an item, and some positions with the sizes there.
    Way = tuple[Callable[[Any], float | None], list[tuple[int, float]]]

# Items read, at even distances: 0.15 ms.
MOST: Final = 1024
# The same, of types that must be read one by one: 0.35 ms.
MOST_OTHERS: Final = 512
# The same, of files: 0.4 ms.
MOST_FILES: Final = 256
# guess: parts of a tuple that are looked at one by one
MOST_PARTS: Final = 4
NUMBERS: Final = frozenset({int, float})
CONTAINERS: Final = frozenset({str, bytes, bytearray, list, tuple, dict, set, frozenset})


def how_to_size(items: Sequence[Any]) -> Callable[[Any], float | None]:
    """Return what fits these items: the sizes of the files that they name, or their own."""
    if not items or not all(type(one) is str or type(one).__module__.startswith("pathlib") for one in items):
        return size_of
    files = LocalFiles()
    return files if files.names(items) else size_of


def ways_to_size(data: Sequence[Any]) -> list[Way]:
    """Return what may tell the cost of these items, the most likely first, each with its sizes as by `sizes_at`.

    Tuples of the same length, say pairs, have the product of their parts' sizes (each and one), and each part's.

    Examples
    --------
    >>> [sizes for _, sizes in ways_to_size([("ab", 3.0), ("abcd", 1.0)])]
    [[(0, 12.0), (1, 10.0)], [(0, 2.0), (1, 4.0)], [(0, 3.0), (1, 1.0)]]
    """
    first = data[:3]
    parts = len(first[0]) if first and type(first[0]) is tuple else 0
    if not 0 < parts <= MOST_PARTS:
        size = how_to_size(first)
        sizes = sizes_at(data, size)
        return [] if sizes is None else [(size, sizes)]
    stride = _stride(data, MOST_OTHERS)
    items = data[::stride]
    if not all(type(one) is tuple and len(one) == parts for one in items):
        return []
    ways: list[Way] = []
    for at, column in enumerate(zip(*items, strict=True)):
        sizes = sizes_at(column, size_of)
        if sizes is not None:
            ways.append((partial(_part, at), [(k * stride, size) for k, size in sizes]))
    if len(ways) > 1:
        products = [
            min(MOST_SIZE, prod(1.0 + size for _, size in row))
            for row in zip(*(sizes for _, sizes in ways), strict=True)
        ]
        ways.insert(0, (_product, [(k * stride, size) for k, size in enumerate(products)]))
    return ways


def _part(at: int, item: Any) -> float | None:
    return size_of(item[at]) if type(item) is tuple and at < len(item) else None


def _product(item: Any) -> float | None:
    if type(item) is not tuple:
        return None
    return min(MOST_SIZE, prod(1.0 + (size_of(part) or 0.0) for part in item))


def sizes_at(data: Sequence[Any], size: Callable[[Any], float | None]) -> list[tuple[int, float]] | None:
    """Return positions at even distances and the sizes there; None if there is an item whose size cannot be told."""
    try:
        return _sizes_at(data, size)
    except BaseException as exc:
        # A metaclass whose types cannot be told apart, say.
        if is_interrupt(exc):
            raise
        return None


def _sizes_at(data: Sequence[Any], size: Callable[[Any], float | None]) -> list[tuple[int, float]] | None:
    kinds = set(map(type, data[:: _stride(data, MOST)]))
    fast = kinds <= NUMBERS or kinds <= CONTAINERS
    stride = _stride(data, MOST_FILES if type(size) is LocalFiles else MOST if fast else MOST_OTHERS)
    items = data[::stride]
    sizes: list[float | None]
    if size is not size_of or not fast:
        sizes = [size(item) for item in items]
    # Ten times as fast as one by one.
    else:
        sizes = list(map(abs, items)) if kinds <= NUMBERS else list(map(len, items))
    if not sizes or not all(one is not None and (LEAST_SIZE <= one <= MOST_SIZE or not one) for one in sizes):
        return None
    return list(zip(range(0, len(data), stride), map(float, sizes), strict=True))  # type: ignore[arg-type]


def _stride(data: Sequence[Any], most: int) -> int:
    return max(1, -(-len(data) // most))
