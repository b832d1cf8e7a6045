"""Costs that rise with the item's size, with short first items: where a sample of the cheap end misleads.

No rows of the comparison, but the tasks of `benchmarks.rising`: functions of different growth (linear, quadratic,
cubic, exponential, with a step) over items of different types (numbers, texts, lists, sets, tuples, arrays), in rising,
falling and mixed order. Each map takes 0.02 to 0.4 s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Task = tuple[Callable[[Any], Any], list[Any]]


def digits(n: int) -> int:
    return len(str(3**n))


def square(n: int) -> int:
    found = 0
    for i in range(n):
        for k in range(n):
            found += i ^ k
    return found


def cube(n: int) -> int:
    return sum(i & j & k for i in range(n) for j in range(n) for k in range(n))


def line(n: int) -> int:
    found = 0
    for i in range(n):
        found += i * i % 7
    return found


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def late(n: int) -> int:
    return line(n) if n > 1_000 else 0


def vowels(text: str) -> int:
    return sum(letter in "aeiou" for letter in text)


def differences(text: str) -> int:
    return sum(a != b for a in text for b in text)


def inversions(numbers: list[int]) -> int:
    return sum(a > b for at, a in enumerate(numbers) for b in numbers[at:])


def triples(numbers: set[int]) -> int:
    return sum(a + b + c == 0 for a in numbers for b in numbers for c in numbers)


def product(pair: tuple[int, int]) -> int:
    return sum(i ^ k for i in range(pair[0]) for k in range(pair[1]))


def named(pair: tuple[str, list[int]]) -> int:
    return len(pair[0]) + sum(one * one % 7 for one in pair[1])


def convolved(array: Any) -> float:
    import numpy as np

    return float(np.convolve(array, array).sum())


def walked(array: Any) -> float:
    return sum(value * 0.5 for value in array)


def _mixed(count: int, seed: int) -> list[int]:
    found = list(range(count))
    random.Random(seed).shuffle(found)
    return found


def _arrays(sizes: list[int]) -> list[Any]:
    import numpy as np

    return [np.arange(size, dtype=float) for size in sizes]


TASKS: dict[str, Callable[[], Task]] = {
    "digits of 3**n, n < 2,000": lambda: (digits, list(range(2_000))),
    "two nested loops, n < 300": lambda: (square, list(range(300))),
    "two nested loops, range falling from 300": lambda: (square, list(range(300, 0, -1))),
    "three nested loops, n < 70": lambda: (cube, list(range(70))),
    "one loop, n < 3,000": lambda: (line, list(range(3_000))),
    "one loop, up to 1,500 and down again": lambda: (line, [*range(1_500), *range(1_500, 0, -1)]),
    "fibonacci, 25 each of n < 20": lambda: (fibonacci, [n // 25 for n in range(500)]),
    "nothing up to 1,000, then one loop, n < 2,500": lambda: (late, list(range(2_500))),
    "vowels of texts of up to 2,000 letters": lambda: (vowels, ["amorsize " * (n // 9) for n in range(2_000)]),
    "pairs of letters of texts of up to 300": lambda: (differences, ["abc" * (n // 3) for n in range(300)]),
    "sort reversed lists of up to 3,000": lambda: (sorted, [list(range(n, 0, -1)) for n in range(3_000)]),
    "inversions of lists of up to 250, mixed": lambda: (inversions, [list(range(n)) for n in _mixed(250, 1)]),
    "triples of sets of up to 60": lambda: (triples, [set(range(n)) for n in range(60)]),
    "pairs of numbers of up to 300": lambda: (product, [(n, n // 2 + 3) for n in range(300)]),
    "pairs of a name and a list of up to 2,000": lambda: (named, [(f"row {n}", list(range(n))) for n in range(2_000)]),
    "convolve arrays of up to 1,500": lambda: (convolved, _arrays(list(range(1, 1_500)))),
    "walk over arrays of up to 2,000, mixed": lambda: (walked, _arrays([n + 1 for n in _mixed(1_500, 2)])),
}
