"""Named tuples without `typing`: the features of its own."""

from __future__ import annotations

import pickle
from typing import NamedTuple as Typed

import pytest

from amorsize.frozen import NamedTuple


class Spot(NamedTuple):
    """A place."""

    x: float
    y: float = 0.5

    @property
    def far(self) -> float:
        return abs(self.x) + abs(self.y)


class TypedSpot(Typed):
    """A place."""

    x: float
    y: float = 0.5

    @property
    def far(self) -> float:
        return abs(self.x) + abs(self.y)


def test_it_has_the_features_of_typings():
    for name in ("__doc__", "__match_args__", "__module__", "_fields", "_field_defaults"):
        assert getattr(Spot, name) == getattr(TypedSpot, name)
    assert list(Spot.__annotations__) == list(TypedSpot.__annotations__)
    assert Spot.__bases__ == (tuple,)
    spot = Spot(-2.0)
    assert (spot, spot.far, repr(spot)) == ((-2.0, 0.5), 2.5, "Spot(x=-2.0, y=0.5)")
    assert spot._replace(y=1.0) == Spot(x=-2.0, y=1.0)
    assert pickle.loads(pickle.dumps(spot)) == spot
    with pytest.raises(TypeError, match="x"):
        Spot()
