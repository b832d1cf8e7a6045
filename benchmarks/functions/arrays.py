"""Work on arrays. The first call imports numpy, see the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ARRAY_LENGTH = 500_000  # float64: 4 MB
MATRIX_SIDE = 400
PRODUCTS_PER_ITEM = 10
TINY_SIDE = 8
TINY_CALLS = 700
TINY_SOLVES = 150


def total(array: np.ndarray) -> float:
    return float(array.sum())


def make_array(value: int) -> np.ndarray:
    import numpy as np

    return np.full(ARRAY_LENGTH, float(value))


def roots(array: np.ndarray) -> np.ndarray:
    """Return a result as large as the argument."""
    import numpy as np

    return np.sqrt(array)


def sines(array: np.ndarray) -> float:
    import numpy as np

    return float(np.sin(array).sum())


def matmul(seed: int) -> float:
    """Compute a chain of matrix products, each of which BLAS spreads over its own threads."""
    import numpy as np

    factor = np.random.default_rng(seed).standard_normal((MATRIX_SIDE, MATRIX_SIDE)) / MATRIX_SIDE**0.5
    product = factor
    for _ in range(PRODUCTS_PER_ITEM):
        product = product @ factor
    return float(np.abs(product).sum())


def tiny_calls(value: int) -> float:
    """Call numpy on tiny arrays: it releases the GIL for less time than another thread needs to take it."""
    import numpy as np

    x = np.arange(10.0) + value
    for _ in range(TINY_CALLS):
        x = np.sqrt(x * x + 1.0)
    return float(x.sum())


def tiny_solves(value: int) -> float:
    """Solve linear systems that are too small for the threads of BLAS and LAPACK."""
    import numpy as np

    matrix = np.eye(TINY_SIDE) * (2.0 + value % 5) + 0.1
    x = np.arange(1.0, TINY_SIDE + 1) + value
    for _ in range(TINY_SOLVES):
        x = np.linalg.solve(matrix, x)
        x = matrix @ x
    return float(x.sum())
