"""Frozen records: the features of a frozen dataclass, at a lower cost."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize import facts
from amorsize.frozen import Frozen, as_dict, field, field_names, replace
from amorsize.history.history import Run
from amorsize.options import Request
from amorsize.schedule import messages


class Spot(Frozen):
    """Two required fields, and an optional one."""

    x: float
    y: float
    name: str = "spot"


class Place(Frozen, kw_only=False):
    """Arguments by position."""

    x: float
    y: float = 0.0
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    note: str = field(default="", repr=False)


class Marked(Spot):
    """One more field."""

    mark: int = 0


class Empty(Frozen):
    """No field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """`Spot`, as a dataclass."""

    x: float
    y: float
    name: str = "spot"


def kinds() -> list[type[Frozen]]:
    modules = (facts, messages, sys.modules[Run.__module__], sys.modules[Request.__module__])
    found = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    return sorted((k for k in found if issubclass(k, Frozen) and k is not Frozen), key=lambda k: k.__name__)


numbers = st.floats(allow_nan=False)
spots = st.builds(Spot, x=numbers, y=numbers, name=st.text(max_size=3))


@given(spots, spots)
def test_equal_hashed_and_shown_as_a_dataclass(one, other):
    theirs = [Rival(**as_dict(each)) for each in (one, other)]
    assert (one == other) is (theirs[0] == theirs[1])
    assert hash(one) == hash(theirs[0])
    assert repr(one).replace("Spot", "Rival") == repr(theirs[0])


@given(spots, st.dictionaries(st.sampled_from(["x", "y", "name"]), numbers))
def test_replaced_as_a_dataclass(one, changes):
    new = replace(one, **changes)
    assert as_dict(new) == dataclasses.asdict(dataclasses.replace(Rival(**as_dict(one)), **changes))
    assert new == dataclasses.replace(one, **changes)
    assert type(new) is Spot
    if sys.version_info >= (3, 13):
        assert copy.replace(one, **changes) == new


@given(spots)
def test_survives_pickling_and_copying(one):
    for again in (*(pickle.loads(pickle.dumps(one, n)) for n in range(6)), copy.copy(one), copy.deepcopy(one)):
        assert again == one
        assert type(again) is Spot


@given(st.dictionaries(st.sampled_from(["x", "y", "name", "z"]), numbers))
def test_the_constructor_takes_what_a_dataclass_takes(values):
    try:
        theirs = Rival(**values)
    except TypeError:
        with pytest.raises(TypeError, match="Spot: "):
            Spot(**values)
    else:
        assert as_dict(Spot(**values)) == dataclasses.asdict(theirs)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Spot(x=1.0), "Spot: needs 'y'"),
        (lambda: Spot(), "Spot: needs 'x', 'y'"),
        (lambda: Spot(x=1.0, z=2.0), "Spot: has no field 'z'"),
        (lambda: Spot(x=1.0, y=1.0, z=2.0), "Spot: has no field 'z'"),
        (lambda: Spot(1.0, 2.0), "Spot: takes 0 values by position, not 2"),
        (lambda: Place(), "Place: needs 'x'"),
        (lambda: Place(1.0, x=2.0), "Place: got 'x' twice"),
        (lambda: Place(1.0, 2.0, {}, "", 5), "Place: takes 4 values by position, not 5"),
        (lambda: replace(Spot(x=1.0, y=2.0), z=3.0), "Spot: has no field 'z'"),
    ],
)
def test_a_mistake_is_named(make, said):
    with pytest.raises(TypeError, match=f"^{said}$"):
        make()


def test_by_position():
    assert Place(1.0) == Place(1.0, 0.0) == Place(1.0, y=0.0) == Place(x=1.0) == Place(1.0, 0.0, {}, "")
    match Place(1.0, 2.0):
        case Place(x, y):
            assert (x, y) == (1.0, 2.0)
    assert Spot.__match_args__ == ()


def test_it_never_changes():
    spot = Spot(x=1.0, y=2.0)
    for change in (lambda: setattr(spot, "x", 2.0), lambda: setattr(spot, "z", 2.0), lambda: delattr(spot, "x")):
        with pytest.raises(AttributeError, match="never changes"):
            change()
    assert not issubclass(AttributeError, FrozenInstanceError)
    assert spot.x == 1.0


def test_made_values_are_each_ones_own():
    one, other = Place(1.0), Place(1.0)
    one.tags["a"] = "b"
    assert other.tags == {}
    assert not hasattr(Place, "tags")


def test_fields_that_are_not_hashed_or_not_shown():
    assert hash(Place(1.0, tags={"a": "b"})) == hash(Place(1.0))
    assert Place(1.0, tags={"a": "b"}) != Place(1.0)
    assert repr(Place(1.0, note="long")) == "Place(x=1.0, y=0.0, tags={})"


def test_kinds_are_not_equal():
    assert Spot(x=1.0, y=2.0) != Rival(x=1.0, y=2.0)
    assert Spot(x=1.0, y=2.0) != Marked(x=1.0, y=2.0)
    assert Empty() == Empty()
    assert messages.Closed() != messages.Finish()


def test_a_kind_has_its_bases_fields():
    assert field_names(Marked) == ("x", "y", "name", "mark")
    assert Marked(x=1.0, y=2.0, mark=3) == replace(Marked(x=1.0, y=2.0), mark=3)
    assert field_names(Empty()) == ()
    with pytest.raises(TypeError, match="Marked: needs 'y'"):
        Marked(x=1.0)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_dataclass_to_whoever_asks(kind):
    assert dataclasses.is_dataclass(kind)
    assert tuple(one.name for one in dataclasses.fields(kind)) == field_names(kind)
    assert all(one.type == kind._annotations[one.name] for one in dataclasses.fields(kind))


def test_dataclasses_functions_work():
    place = Place(1.0, tags={"a": "b"})
    assert dataclasses.asdict(place) == {"x": 1.0, "y": 0.0, "tags": {"a": "b"}, "note": ""}
    assert dataclasses.astuple(place) == (1.0, 0.0, {"a": "b"}, "")
    assert dataclasses.replace(place, y=2.0) == Place(1.0, 2.0, {"a": "b"})
    said: dict[str, Any] = {one.name: (one.repr, one.hash, one.kw_only) for one in dataclasses.fields(place)}
    assert said["note"] == (False, None, False)
    assert said["tags"] == (True, False, False)
    assert all(one.kw_only for one in dataclasses.fields(Spot))
    assert {one.name for one in dataclasses.fields(Marked)} > {one.name for one in dataclasses.fields(Spot)}
    assert dataclasses.is_dataclass(place)
    nested = facts.BackendCost(
        engine="team",
        start_method="fork",
        start=facts.StartCost(base_s=1.0, per_worker_s=2.0),
        channel=facts.ChannelCost(per_chunk_s=3.0),
    )
    assert dataclasses.asdict(nested)["start"]["per_worker_s"] == 2.0
