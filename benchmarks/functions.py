"""The functions that the workloads map. At module level, so that they pickle under every start method.

This module imports next to nothing at the top: a rival's fresh worker has to import it to unpickle the function, and
must not pay for numpy in a workload that never touches an array.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ARRAY_LENGTH = 500_000  # float64: 4 MB
MATRIX_SIDE = 400
PRODUCTS_PER_ITEM = 10


def square(x: int) -> int:
    return x * x


def burn(iterations: int) -> int:
    """Hold the interpreter's lock for a fixed number of steps; no clock inside, so a busy machine shows as slower."""
    x = iterations
    for _ in range(iterations):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    return x


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def total(array: np.ndarray) -> float:
    return float(array.sum())


def make_array(value: int) -> np.ndarray:
    import numpy as np

    return np.full(ARRAY_LENGTH, float(value))


def compress(block: bytes) -> bytes:
    import zlib

    return zlib.compress(block, 3)


def matmul(seed: int) -> float:
    """A chain of matrix products, each of which BLAS spreads over its own threads."""
    import numpy as np

    factor = np.random.default_rng(seed).standard_normal((MATRIX_SIDE, MATRIX_SIDE)) / MATRIX_SIDE**0.5
    product = factor
    for _ in range(PRODUCTS_PER_ITEM):
        product = product @ factor
    return float(np.abs(product).sum())


def tokenise(path: str) -> int:
    import tokenize

    with open(path, "rb") as file:
        return sum(1 for _ in tokenize.tokenize(file.readline))
