"""Which rows to let go of when there are too many: the repeats of what is over-represented, the oldest first.

A map that runs every minute would otherwise push out all that is known of maps that run once a week. Rows fall into
groups that tell the same (function, kind of data, candidate, machine). Each group may keep equally many of its newest
rows, as many as fit; what small groups leave over goes to the large ones. So a group loses rows only when it has more
than its share, and as long as there are fewer groups than room, every one keeps its newest row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def surplus(groups: Sequence[Hashable], keep: int) -> list[int]:
    """Say which rows must go so that ``keep`` are left.

    Parameters
    ----------
    groups : sequence
        The group of each row, oldest row first.
    keep : int
        How many rows may stay.

    Returns
    -------
    list of int
        Positions in ``groups``, in order.

    Examples
    --------
    >>> surplus("aaaab", 3)  # not the five oldest but one: b keeps its only row
    [0, 1]
    >>> surplus("abc", 3), surplus("abc", 2)
    ([], [0])
    """
    if len(groups) <= keep:
        return []
    share = _share(sorted(Counter(groups).values()), keep)
    seen: Counter[Hashable] = Counter()
    going: list[int] = []
    next_in_line: list[int] = []  # the newest row of each group that is beyond its share
    for at in range(len(groups) - 1, -1, -1):
        group = groups[at]
        seen[group] += 1
        if seen[group] == share + 1:
            next_in_line.append(at)
        elif seen[group] > share:
            going.append(at)
    room = keep - (len(groups) - len(going) - len(next_in_line))
    return sorted(going + next_in_line[room:])


def _share(sizes: Sequence[int], keep: int) -> int:
    """The most rows that every group may have, given the groups' sizes in rising order."""
    left = keep
    for at, size in enumerate(sizes):
        share = left // (len(sizes) - at)
        if size > share:
            return share
        left -= size
    return sizes[-1] if sizes else 0
