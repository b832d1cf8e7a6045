"""The rows that are deleted when there are too many: no more than needed, from the largest groups."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from amorsize.history.tables import surplus

GROUPS = st.lists(st.integers(0, 8), max_size=80)
ROOM = st.integers(0, 90)


def left(groups: list[int], keep: int) -> list[int]:
    gone = surplus(groups, keep)
    assert gone == sorted(set(gone))
    assert all(0 <= at < len(groups) for at in gone)
    return [at for at in range(len(groups)) if at not in set(gone)]


@given(GROUPS, ROOM)
def test_as_many_stay_as_there_is_room_for(groups, keep):
    assert len(left(groups, keep)) == min(keep, len(groups))


@given(GROUPS, ROOM)
def test_of_each_group_the_newest_stay(groups, keep):
    stay = set(left(groups, keep))
    for group in set(groups):
        rows = [at for at, one in enumerate(groups) if one == group]
        kept = sum(at in stay for at in rows)
        assert set(rows[len(rows) - kept :]) <= stay


@given(GROUPS, ROOM)
def test_who_loses_rows_keeps_no_fewer_than_any_other_group_but_one(groups, keep):
    stay = Counter(groups[at] for at in left(groups, keep))
    sizes = Counter(groups)
    cut = [group for group in sizes if stay[group] < sizes[group]]
    assert all(stay[other] <= stay[group] + 1 for group in cut for other in sizes)


@given(GROUPS, ROOM)
def test_every_group_is_still_there_if_there_is_room(groups, keep):
    if keep >= len(set(groups)):
        assert {groups[at] for at in left(groups, keep)} == set(groups)


@given(GROUPS, st.integers(1, 90))
def test_the_newest_row_stays(groups, keep):
    if groups:
        assert len(groups) - 1 in left(groups, keep)


@given(GROUPS, ROOM)
def test_what_was_thinned_need_not_be_thinned_again(groups, keep):
    assert surplus([groups[at] for at in left(groups, keep)], keep) == []
