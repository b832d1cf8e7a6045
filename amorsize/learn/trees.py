"""A sum of decision trees as plain numbers: scikit-learn fits them, this module evaluates them without it.

A fit is stored as JSON and never unpickled: a file that another user could write must not be able to run code. A
prediction for a dozen candidates takes half a millisecond, less than importing numpy.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeGuard

# Bounds of what is read from a file: trees, and nodes of a tree (guesses).
MOST_TREES: Final = 500
MOST_NODES: Final = 1_000
LEAF: Final = -1


class Tree(NamedTuple):
    """One tree: for each node the feature that it tests (`LEAF`: none), the threshold, its two children, its value."""

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Trees:
    """A sum of trees.

    Attributes
    ----------
    base : float
        Constant term of the sum.
    trees : tuple of Tree
        Their values include the learning rate.

    Examples
    --------
    >>> stump = Tree((0, LEAF, LEAF), (0.5, 0.0, 0.0), (1, LEAF, LEAF), (2, LEAF, LEAF), (0.0, -1.0, 1.0))
    >>> Trees(10.0, (stump,)).predict([0.4]), Trees(10.0, (stump, stump)).predict([0.6])
    (9.0, 12.0)
    """

    base: float
    trees: tuple[Tree, ...]

    def predict(self, values: Sequence[float]) -> float:
        """Predict for one row of features, rounded to single precision as scikit-learn does."""
        row = array("f", values)
        total = self.base
        for feature, threshold, left, right, value in self.trees:
            node = 0
            while (asked := feature[node]) >= 0:
                node = left[node] if row[asked] <= threshold[node] else right[node]
            total += value[node]
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists of numbers."""
        return {"base": self.base, "trees": [[list(part) for part in tree] for tree in self.trees]}

    @classmethod
    def from_dict(cls, row: object, n_features: int) -> Trees | None:
        """Read what `to_dict` wrote; None if it is invalid.

        Children must come after their parents, so that no evaluation can loop.

        Examples
        --------
        >>> good = {"base": 0.5, "trees": [[[LEAF], [0.0], [LEAF], [LEAF], [2.0]]]}
        >>> Trees.from_dict(good, 3).predict([1, 2, 3])
        2.5
        >>> print(Trees.from_dict({"base": 0.5, "trees": [[[0], [0.0], [0], [0], [2.0]]]}, 3))
        None
        """
        if not isinstance(row, Mapping) or not is_number(base := row.get("base")):
            return None
        listed = row.get("trees")
        if not isinstance(listed, list) or len(listed) > MOST_TREES:
            return None
        trees = [_tree(one, n_features) for one in listed]
        known = [tree for tree in trees if tree is not None]
        return cls(float(base), tuple(known)) if len(known) == len(trees) else None


def _tree(row: object, n_features: int) -> Tree | None:
    if not isinstance(row, list) or len(row) != len(Tree._fields) or not all(isinstance(part, list) for part in row):
        return None
    feature, threshold, left, right, value = row
    nodes = len(feature)
    if not 1 <= nodes <= MOST_NODES or any(len(part) != nodes for part in row):
        return None
    if not all(isinstance(one, int) and not isinstance(one, bool) for part in (feature, left, right) for one in part):
        return None
    if not all(is_number(one) for part in (threshold, value) for one in part):
        return None
    for node in range(nodes):
        inner = 0 <= feature[node] < n_features and node < left[node] < nodes and node < right[node] < nodes
        if not inner and feature[node] != LEAF:
            return None
    return Tree(tuple(feature), tuple(map(float, threshold)), tuple(left), tuple(right), tuple(map(float, value)))


def is_number(value: object) -> TypeGuard[float]:
    """True for a finite number that is no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
