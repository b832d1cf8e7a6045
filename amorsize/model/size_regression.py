"""The mean cost of all items from the times of a few: by their sizes, where these are known, or by their positions.

The items that ran are points of a curve: seconds over size (a number's value, a text's length, a file's bytes). Between
two points the curve is the power law through both, ``t = a * size ** b``, since costs are mostly powers of a size;
where that is absurd (they fall, or jump) it is a straight line over the ranks. Beyond the last point it goes on with
the exponent of the dear points, the median of the slopes between them (Theil 1950, Sen 1968): at the dear end, because
a base cost flattens the cheap one. The mean of the curve over the sizes of all items is the estimate: a stratified
sample whose strata lie between the points (Cochran, Sampling Techniques, 1977, ch. 5), assisted by a model. Sorted
data, heavy tails and single giants then do not bias it. Without sizes the points lie at positions, and the lines are
straight.

Its error is that of systematic sampling, from successive differences (ibid., ch. 8; Wolter 1985): ``sum((w d)**2) / 2``
with the share w of the items between two points and the difference d of their seconds, beyond what the power law
explains; in addition the part beyond the last point is known only as well as the exponent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import hypot, log, sqrt

from amorsize.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# guess: sizes that differ by a smaller factor hardly change the mean
DIFFER: Final = 1.5
# guess: sampled sizes must differ by this factor, else their effect cannot be seen
SAMPLED_DIFFER: Final = 1.2
# The exponent comes from the points that took at least this share of the longest one, because base costs hide it in the
# others (a guess).
DEAR: Final = 0.1
# Largest exponent beyond the last point (a guess). Three nested loops have the exponent 3.
STEEPEST: Final = 4.0
# Exponents between two points: 2 ** size, from 15 to 20, has 12.
STEEPEST_BETWEEN: Final = 16.0
# guess: the exponent where only one size is known: the cost may not depend on it, or be in proportion
UNKNOWN: Final = 0.5
# guess: error of the exponent where only one or two sizes are known, and where three or more are
UNKNOWN_ERROR: Final = 0.5
KNOWN_ERROR: Final = 0.25
# Relative difference below which seconds are alike (a guess).
ALIKE: Final = 0.08
# Sizes count only if at most this share of the squared deviations remains unexplained by them (a guess).
BETTER: Final = 0.5
# Ratio of sizes beyond which no cost goes with them any more, so that squares of their powers can be added up.
FARTHEST: Final = 1e9
# guess: points whose slopes are compared, each with each
MOST_SLOPES: Final = 8


class Estimate(Frozen, kw_only=False):
    """Of the seconds of all items: mean, standard deviation, largest, last; and the standard error of the mean."""

    mean_s: float
    std_s: float
    max_s: float
    last_s: float
    error_s: float


class Curve:
    """Seconds by size. It is made anew after each item of a sample: 20 µs.

    Parameters
    ----------
    points : sequence of (float, float)
        Mean size (or position) and mean seconds of a few items that ran together; at least one.
    powers : bool
        True if costs may be powers of the size; False for positions.

    Attributes
    ----------
    sizes, seconds : list of float
        Of the points, in rising order; points of the same size are one.
    times : list of int
        How many points each of them is.
    exponent, doubt : float
        Beyond the last point, and its error.

    Examples
    --------
    >>> curve = Curve([(10.0, 1.0), (20.0, 4.0), (40.0, 16.0)])
    >>> [round(one, 6) for one in (curve.exponent, curve.at(30.0), curve.at(80.0), curve.at(5.0))]
    [2.0, 9.0, 64.0, 0.25]
    """

    def __init__(self, points: Sequence[tuple[float, float]], powers: bool = True) -> None:
        self.sizes: list[float] = []
        self.seconds: list[float] = []
        self.times: list[int] = []
        for size, seconds in sorted(points):
            if self.sizes and self.sizes[-1] == size:
                self.times[-1] += 1
                self.seconds[-1] += (seconds - self.seconds[-1]) / self.times[-1]
            else:
                self.sizes.append(size)
                self.seconds.append(seconds)
                self.times.append(1)
        self.powers = powers
        self.exponent, self.doubt = self._exponent() if powers else (0.0, 0.0)
        # Exponent of the power law between two neighbouring points; None for a straight line.
        self.between = [self._power(i) for i in range(len(self.sizes) - 1)]

    def _exponent(self) -> tuple[float, float]:
        least_s = DEAR * max(self.seconds)
        known = [(x, log(x), log(t), t) for x, t in zip(self.sizes, self.seconds, strict=True) if x > 0 and t > 0]
        dear = [one for one in known if one[3] >= least_s]
        for some, differ in ((dear, SAMPLED_DIFFER if len(dear) > 2 else DIFFER), (known, SAMPLED_DIFFER)):
            if len(some) < 2 or some[-1][0] < differ * some[0][0]:
                continue
            # More would tell no more, but take time.
            if len(some) > MOST_SLOPES:
                some = [some[k * (len(some) - 1) // (MOST_SLOPES - 1)] for k in range(MOST_SLOPES)]
            slopes = sorted(
                (t2 - t1) / (log_2 - log_1)
                for i, (x1, log_1, t1, _) in enumerate(some)
                for x2, log_2, t2, _ in some[i + 1 :]
                if x2 >= SAMPLED_DIFFER * x1
            )
            if slopes:
                slope = min(STEEPEST, max(0.0, slopes[len(slopes) // 2]))
                doubt = KNOWN_ERROR if len(some) > 2 else UNKNOWN_ERROR
                return (slope, doubt) if pays(slope, [(x, t) for x, _, _, t in some]) else (0.0, doubt)
        return UNKNOWN, UNKNOWN_ERROR

    def _power(self, i: int) -> float | None:
        (x1, x2), (t1, t2) = self.sizes[i : i + 2], self.seconds[i : i + 2]
        if not self.powers or x1 <= 0 or t1 <= 0 or t2 < t1:
            return None
        power = log(t2 / t1) / log(x2 / x1)
        return power if power <= STEEPEST_BETWEEN else None

    def at(self, size: float) -> float:
        """Return the seconds of an item of that size."""
        return self.along([size])[0]

    def dearest_around(self, size: float) -> float:
        """Return the larger of the seconds of the two points around that size; at least a nanosecond."""
        i = bisect_right(self.sizes, size)
        return max(1e-9, *self.seconds[max(0, i - 1) : i + 1])

    def along(self, ranked: Sequence[float]) -> list[float]:
        """Return the seconds of items of these rising sizes."""
        sizes, seconds = self.sizes, self.seconds
        done = bisect_left(ranked, sizes[0])
        found = self._beyond(ranked[:done], 0, self.exponent)
        for i, power in enumerate(self.between):
            end = bisect_left(ranked, sizes[i + 1], done)
            if end > done:
                x1, x2, t1, t2 = sizes[i], sizes[i + 1], seconds[i], seconds[i + 1]
                if power is None:
                    slope = (t2 - t1) / (x2 - x1)
                    found += [t1 + slope * (size - x1) for size in ranked[done:end]]
                else:
                    found += [t1 * (size / x1) ** power for size in ranked[done:end]]
                done = end
        return found + self._beyond(ranked[done:], -1, self.exponent)

    def _beyond(self, ranked: Sequence[float], end: int, power: float) -> list[float]:
        x, t = self.sizes[end], self.seconds[end]
        if not power or x <= 0:
            return [t] * len(ranked)
        return [t * min(size / x, FARTHEST) ** power for size in ranked]

    def over(self, ranked: Sequence[float], last: float) -> Estimate:
        """Return the estimate for items of these rising sizes, of which the last one in the data has size ``last``.

        Examples
        --------
        >>> found = Curve([(2.0, 4.0), (4.0, 16.0), (6.0, 36.0)]).over([1.0, 3.0, 5.0, 7.0], last=7.0)
        >>> round(found.mean_s, 6), round(found.max_s, 6), found.error_s > 0
        (21.0, 49.0, True)
        """
        n, each = len(ranked), self.along(ranked)
        mean_s = sum(each) / n
        residual = self._residual()
        return Estimate(
            mean_s=mean_s,
            std_s=sqrt(sum((one - mean_s) ** 2 for one in each) / n + residual**2),
            max_s=max(each[-1], max(self.seconds)),
            last_s=self.at(last),
            error_s=self.error_s(ranked),
        )

    def error_s(self, ranked: Sequence[float]) -> float:
        """Return the standard error of the mean over items of these rising sizes."""
        beyond = ranked[bisect_left(ranked, self.sizes[-1]) :]
        doubt_s = 0.0
        if self.doubt:
            low, high = max(0.0, self.exponent - self.doubt), self.exponent + self.doubt
            doubt_s = (sum(self._beyond(beyond, -1, high)) - sum(self._beyond(beyond, -1, low))) / (2 * len(ranked))
        return hypot(self.spread_s(ranked), doubt_s)

    def _surprises(self) -> list[float]:
        """Return, for each pair of neighbouring points, the seconds of the second less those predicted from the first.

        The prediction is the same seconds, or those of the power law, whichever is nearer, because a base cost hides
        the power.
        """
        points = list(zip(self.sizes, self.seconds, strict=True))
        alike = [t2 - t1 for (_, t1), (_, t2) in pairwise(points)]
        if not self.exponent:
            return alike
        return [min(pair, key=abs) for pair in zip(alike, missed(self.exponent, points), strict=True)]

    def _residual(self) -> float:
        """Return the deviation of single points around the curve."""
        found = self._surprises()
        return sqrt(sum(d * d for d in found) / (2 * len(found))) if found else 0.0

    def spread_s(self, ranked: Sequence[float]) -> float:
        """Return the part of the standard error of the mean that is due to the sizes between the points."""
        found = self._surprises()
        if not found:
            return 0.0
        ends = [0, *(bisect_left(ranked, size) for size in self.sizes[1:-1]), len(ranked)]
        shares = [(b - a) / len(ranked) for a, b in pairwise(ends)]
        return few(len(self.sizes)) * sqrt(sum((w * d) ** 2 for w, d in zip(shares, found, strict=True)) / 2)


def missed(power: float, points: Sequence[tuple[float, float]]) -> list[float]:
    """Return, for each two neighbouring points, the second's seconds less those that ``power`` predicts for it."""
    return [t2 - t1 * (min(x2 / x1, FARTHEST) ** power if x1 > 0 else 1.0) for (x1, t1), (x2, t2) in pairwise(points)]


def pays(power: float, points: Sequence[tuple[float, float]]) -> bool:
    """Return True if the power explains the seconds far better than a constant does."""
    seconds = [t for _, t in points]
    with_it, without = (sum(d * d for d in missed(one, points)) for one in (power, 0.0))
    return max(seconds) > (1 + ALIKE) * min(seconds) and with_it < BETTER * without


def spread(n: int) -> list[int]:
    """Return 0 to ``n - 1`` in an order that covers the whole range wherever it is cut, beginning with the last.

    From the end it is the order of the reversed bits (van der Corput 1935).

    Examples
    --------
    >>> spread(8), spread(5)
    ([7, 3, 5, 1, 6, 2, 4, 0], [4, 0, 2, 3, 1])
    """
    bits = max(1, (n - 1).bit_length())
    return sorted(range(n), key=lambda k: int(f"{n - 1 - k:0{bits}b}"[::-1], 2))


def vary(sizes: Sequence[float], by: float = DIFFER) -> bool:
    """Return True if sizes differ by the factor ``by``.

    Examples
    --------
    >>> vary([100.0, 101.0]), vary([10.0, 100.0])
    (False, True)
    """
    return max(sizes) >= by * max(min(sizes), 1e-300)


def few(n: int) -> float:
    """Return the factor that widens an 80 % interval whose deviation is estimated from only n values.

    It is the quantile of Student's distribution (1908) over that of the normal one, to 3 %.

    Examples
    --------
    >>> [round(few(n), 2) for n in (2, 3, 5, 20)]
    [2.4, 1.47, 1.18, 1.04]
    """
    return 1.0 + 1.4 / (n - 1) ** 1.57 if n < 4 else 1.0 + 0.72 / (n - 1)
