"""Sizes of items."""

import math

import pytest

from amorsize.system.object_sizes import MOST, how_to_size, size_of, sizes_at


@pytest.mark.parametrize(
    "data",
    [[3, -4, 5.0], ["a", b"bcd", [1, 2]], [True, 3], [1, "ab"], range(5_000), ["x" * (i % 7) for i in range(3_000)]],
)
def test_all_at_once_is_as_one_by_one(data):
    found = sizes_at(data, size_of)
    assert [(at, size_of(data[at])) for at, _ in found] == found
    assert len(found) <= MOST


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400, 10**40, 1e200, 5e-324, None, object()])
def test_no_sizes_if_one_is_unknown(bad):
    assert size_of(bad) is None
    assert sizes_at([1, 2, bad], size_of) is None


def test_files_by_their_size(tmp_path):
    paths = [tmp_path / f"{n}" for n in (1, 20, 300)]
    for path in paths:
        path.write_text("x" * int(path.name))
    assert [size for _, size in sizes_at(paths, how_to_size(paths))] == [1.0, 20.0, 300.0]
