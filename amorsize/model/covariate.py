"""What the items themselves tell of their cost: a few times, and the sizes of all, make a better mean.

If the seconds of the sampled items are nearly in proportion to their sizes (a number's value, a text's length, a file's
bytes), the mean over all items is the ratio of the two sums, times the mean size of all: the ratio estimator (Cochran,
Sampling Techniques, 1977, ch. 6). Sorted data, heavy tails and single giants are then no surprise any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from amorsize.facts import Sample
from amorsize.frozen import Frozen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

DIFFER: Final = 1.2  # sampled sizes must differ by so much, or nobody can tell whether they matter
STEADY: Final = 0.3  # seconds per size may differ by so much, relative to their mean …
BETTER: Final = 0.5  # … and by this share of what the seconds themselves differ by


class Sizes(Frozen, kw_only=False):
    """Mean, standard deviation, largest and last of the sizes of all items."""

    mean: float
    std: float
    largest: float
    last: float


def straightened(sample: Sample, sizes: Sequence[float], seconds: Sequence[float], everything: Sizes) -> Sample:
    """The sample as it would be if it had met sizes as they are in all of the data.

    Parameters
    ----------
    sample : Sample
    sizes, seconds : sequence of float
        Of each sampled item, or means of a few neighbours.
    everything : Sizes
        Of all items.

    Examples
    --------
    Two items that are small, among others that are not:

    >>> small = Sample(n_sampled=2, item_s=1.5e-3, item_cpu_s=1.5e-3)
    >>> found = straightened(small, [10.0, 20.0], [1e-3, 2e-3], Sizes(mean=100.0, std=50.0, largest=200.0, last=200.0))
    >>> round(found.item_s, 4), round(found.item_max_s, 4)
    (0.01, 0.02)
    """
    if len(sizes) < 2 or min(sizes) <= 0 or max(sizes) < DIFFER * min(sizes) or sample.item_s <= 0:
        return sample
    spread = _variation([s / size for s, size in zip(seconds, sizes, strict=True)])
    if spread > STEADY or spread > BETTER * _variation(seconds):
        return sample
    per_size_s = sum(seconds) / sum(sizes)
    item_s = per_size_s * everything.mean
    scale = item_s / sample.item_s
    return replace(
        sample,
        item_s=item_s,
        item_cpu_s=sample.item_cpu_s * scale,
        item_std_s=sqrt((per_size_s * everything.std) ** 2 + (spread * item_s) ** 2),
        item_max_s=per_size_s * everything.largest,
        last_s=per_size_s * everything.last,
        error_s=spread * item_s / sqrt(len(sizes)),
    )


def _variation(values: Sequence[float]) -> float:
    """Standard deviation over mean."""
    mean = sum(values) / len(values)
    if mean <= 0:
        return 0.0
    return sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) / mean
