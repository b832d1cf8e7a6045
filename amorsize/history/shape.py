"""The shape of data: by it, the measurements of one map are known to hold for another."""

from __future__ import annotations

from amorsize.frozen import Frozen
from amorsize.system.looks import kind_of, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Items at spread positions whose size is measured: 5-10 µs.
PEEKED: Final = 16
# Data match if the mean sizes of their items differ by at most this factor (a guess).
ALIKE: Final = 2.0


class Shape(Frozen, kw_only=False):
    """Type of the data, type of its items, and ``size``: their mean size in bytes; None if unknown."""

    kind: str
    items: str
    size: float | None

    def resembles(self, other: Shape, alike: float = ALIKE) -> bool:
        """True if measurements of one hold for the other: the items' sizes differ by at most a factor of ``alike``.

        Examples
        --------
        >>> Shape("list", "int", 100.0).resembles(Shape("list", "int", 150.0))
        True
        >>> Shape("list", "int", 100.0).resembles(Shape("list", "int", 1000.0))
        False
        """
        if (self.kind, self.items) != (other.kind, other.items) or (self.size is None) != (other.size is None):
            return False
        if self.size is None or other.size is None or self.size == other.size:
            return True
        low, high = sorted((self.size, other.size))
        return high <= alike * low


def shape_of(data: object) -> Shape:
    """Describe data by its type and a few of its items. Only lists, tuples and ranges are indexed.

    Indexing a user's own sequence, even a subclass of these, may take long or have side effects.

    Examples
    --------
    >>> shape_of(["ab", "cdef"])
    Shape(kind='list', items='str', size=3.0)
    >>> shape_of(iter([1, 2]))
    Shape(kind='list_iterator', items='', size=None)
    """
    kind = kind_of(data)
    if type(data) not in (list, tuple, range) or not data:
        return Shape(kind, "", None)
    assert isinstance(data, list | tuple | range)
    stride = max(1, len(data) // PEEKED)
    items = data[stride // 2 :: stride]
    first = type(items[0])
    if any(type(item) is not first for item in items):
        return Shape(kind, "several", None)
    sizes = [size_of(item) for item in items]
    size = None if None in sizes else sum(one for one in sizes if one is not None) / len(sizes)
    return Shape(kind, kind_of(items[0]), size)
