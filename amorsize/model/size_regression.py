"""The mean cost of items by their sizes: the times of a few and the sizes of all give a better mean.

If the seconds of the sampled items depend on their sizes (a number's value, a text's length, a file's bytes) as
``a + b * size``, the mean over all items is that of the mean size: the regression estimator, with a = 0 the ratio one
(Cochran, Sampling Techniques, 1977, ch. 7 and 6). Sorted data, heavy tails and single giants then do not bias it.
The fit needs both small and large items, so the sample is stratified by size (ibid., ch. 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

from amorsize.facts import Sample
from amorsize.frozen import Frozen, replace
from amorsize.model.cost import NOISE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# guess: sizes that differ by a smaller factor hardly change the mean
DIFFER: Final = 1.5
# guess: sampled sizes must differ by this factor, else their effect cannot be seen
SAMPLED_DIFFER: Final = 1.2
# guess: sizes must explain all but this share of the deviation of the seconds
BETTER: Final = 0.5
# guess: beyond this many times the largest sampled size, proportionality is uncertain
FAR: Final = 2.0
# Relative error there: the largest of 150 source files, a table of texts, took a twentieth of the time for its size.
FAR_ERROR: Final = 0.5


class Sizes(Frozen, kw_only=False):
    """Mean, standard deviation, largest and last of the sizes of all items, and the share far beyond the sample."""

    mean: float
    std: float
    largest: float
    last: float
    beyond: float = 0.0

    @classmethod
    def of(cls, sizes: Sequence[float], sampled: float) -> Sizes:
        """Return the figures of these sizes; ``sampled`` is the largest size sampled.

        Examples
        --------
        >>> Sizes.of([1.0, 3.0, 8.0], sampled=3.0)
        Sizes(mean=4.0, std=2.94..., largest=8.0, last=8.0, beyond=0.66...)
        """
        total = sum(sizes)
        mean = total / len(sizes)
        std = sqrt(sum((one - mean) ** 2 for one in sizes) / len(sizes))
        beyond = sum(one for one in sizes if one > FAR * sampled)
        return cls(mean, std, max(sizes), sizes[-1], beyond / total if total > 0 else 0.0)


def halves() -> Iterator[float]:
    """Yield positions in (0, 1) that are spread evenly wherever the sequence is cut (van der Corput 1935, base 2).

    Examples
    --------
    >>> from itertools import islice
    >>> list(islice(halves(), 5))
    [0.5, 0.25, 0.75, 0.125, 0.625]
    """
    k = 1
    while True:
        value, base, rest = 0.0, 0.5, k
        while rest:
            value += base * (rest & 1)
            rest, base = rest >> 1, base / 2
        yield value
        k += 1


def half_way(ranked: Sequence[float]) -> int:
    """Return the index in rising sizes where half of their sum is reached: sampling by size (Cochran, ch. 9A).

    Examples
    --------
    >>> half_way([1.0] * 95 + [60.0] * 5)
    96
    """
    half, so_far = sum(ranked) / 2, 0.0
    for at, size in enumerate(ranked):
        so_far += size
        if so_far >= half:
            return at
    return len(ranked) - 1


def vary(sizes: Sequence[float], by: float = DIFFER) -> bool:
    """Return True if sizes differ by the factor ``by``.

    Examples
    --------
    >>> vary([100.0, 101.0]), vary([10.0, 100.0])
    (False, True)
    """
    return max(sizes) >= by * max(min(sizes), 1e-300)


def straightened(sample: Sample, sizes: Sequence[float], seconds: Sequence[float], everything: Sizes) -> Sample:
    """Return the sample, corrected to the sizes of all the data.

    Parameters
    ----------
    sample : Sample
    sizes, seconds : sequence of float
        Of each sampled item, or the means of a few neighbours.
    everything : Sizes
        Of all items.

    Examples
    --------
    Two small items, among larger ones:

    >>> small = Sample(n_sampled=2, item_s=1.5e-3, item_cpu_s=1.5e-3)
    >>> found = straightened(small, [10.0, 20.0], [1e-3, 2e-3], Sizes(mean=100.0, std=50.0, largest=200.0, last=200.0))
    >>> round(found.item_s, 4), round(found.item_max_s, 4)
    (0.01, 0.02)
    """
    if len(sizes) < 2 or min(sizes) <= 0 or not vary(sizes, SAMPLED_DIFFER) or sample.item_s <= 0:
        return sample
    base_s, per_size_s = fitted(sizes, seconds)
    spread = _deviation([s / (base_s + per_size_s * size) for s, size in zip(seconds, sizes, strict=True)])
    mean_s = sum(seconds) / len(seconds)
    differ = _deviation([s / mean_s for s in seconds])
    if per_size_s <= 0 or differ < NOISE or spread > BETTER * differ:
        return sample
    item_s = base_s + per_size_s * everything.mean
    scale = item_s / sample.item_s
    return replace(
        sample,
        item_s=item_s,
        item_cpu_s=sample.item_cpu_s * scale,
        item_std_s=sqrt((per_size_s * everything.std) ** 2 + (spread * item_s) ** 2),
        item_max_s=base_s + per_size_s * everything.largest,
        last_s=base_s + per_size_s * everything.last,
        error_s=item_s * sqrt((few(len(sizes)) * spread) ** 2 / len(sizes) + (FAR_ERROR * everything.beyond) ** 2),
    )


def few(n: int) -> float:
    """Return the factor that widens an 80 % interval whose deviation is estimated from only n values.

    It is the quantile of Student's distribution (1908) over that of the normal one, to 3 %.

    Examples
    --------
    >>> [round(few(n), 2) for n in (2, 3, 5, 20)]
    [2.4, 1.47, 1.18, 1.04]
    """
    return 1.0 + 1.4 / (n - 1) ** 1.57 if n < 4 else 1.0 + 0.72 / (n - 1)


def fitted(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Fit ``a`` and ``b`` of ``seconds = a + b * size``, neither below 0; with two points, or if ``a`` < 0, a is 0.

    Squares are weighted by ``1 / size``, since the times of large items vary more.

    Examples
    --------
    >>> tuple(round(value, 6) for value in fitted([10.0, 20.0, 40.0], [3.0, 5.0, 9.0]))
    (1.0, 0.2)
    >>> fitted([10.0, 20.0], [1.0, 2.0])
    (0.0, 0.1)
    """
    ratio = sum(seconds) / sum(sizes)
    if len(sizes) < 3:
        return 0.0, ratio
    weights = [1 / size for size in sizes]
    total = sum(weights)
    mean_size = len(sizes) / total
    mean_s = sum(w * s for w, s in zip(weights, seconds, strict=True)) / total
    around = [size - mean_size for size in sizes]
    below = sum(w * x * x for w, x in zip(weights, around, strict=True))
    slope = sum(w * x * (s - mean_s) for w, x, s in zip(weights, around, seconds, strict=True)) / below
    base_s = mean_s - slope * mean_size
    return (base_s, slope) if base_s >= 0 and slope >= 0 else (0.0, ratio)


def guessed(sample: Sample, size: float, everything: Sizes) -> Sample:
    """Correct a sample of a single size half-way (by the square root), since its cost may not depend on size at all.

    Examples
    --------
    >>> one = Sample(n_sampled=1, item_s=40e-3)
    >>> round(guessed(one, 400.0, Sizes(mean=100.0, std=50.0, largest=400.0, last=90.0)).item_s, 3)
    0.02
    """
    if size <= 0 or everything.mean <= 0 or sample.item_s <= 0:
        return sample
    scale = sqrt(everything.mean / size)
    far = max(scale, 1 / scale)
    return replace(
        sample,
        item_s=sample.item_s * scale,
        item_cpu_s=sample.item_cpu_s * scale,
        item_std_s=max(sample.item_std_s, sample.item_s * scale * everything.std / everything.mean / 2),
        item_max_s=max(sample.item_max_s, sample.item_s * sqrt(everything.largest / size)),
        error_s=max(sample.error_s * scale, sample.item_s * scale * (far - 1)),
    )


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation."""
    mean = sum(values) / len(values)
    return sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
