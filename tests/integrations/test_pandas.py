"""pandas with the engine, and groups by `groupby_apply`, beside pandas alone."""

from __future__ import annotations

import os
from functools import partial

import pytest

pandas = pytest.importorskip("pandas", minversion="3.0")
import numpy as np  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from pandas import DataFrame, Series  # noqa: E402
from pandas.testing import assert_frame_equal, assert_series_equal  # noqa: E402

from amorsize.integrations import pandas as ours  # noqa: E402
from amorsize.integrations.pandas import engine, groupby_apply  # noqa: E402


def outcome(call):
    """Return what a call gives, or the exception that it raises."""
    try:
        return call()
    except Exception as exc:
        return exc


def assert_same(mine, theirs):
    """Check that two results of pandas are the same in type, dtypes, names, index and values."""
    assert type(mine) is type(theirs), (mine, theirs)
    if isinstance(theirs, DataFrame):
        assert_frame_equal(mine, theirs, check_freq=True, check_flags=True)
        assert type(mine.index) is type(theirs.index)
        for a, b in zip(mine.to_numpy(dtype=object).ravel(), theirs.to_numpy(dtype=object).ravel(), strict=True):
            assert type(a) is type(b)
    elif isinstance(theirs, Series):
        assert_series_equal(mine, theirs, check_freq=True, check_flags=True)
        assert type(mine.index) is type(theirs.index)
        assert [type(a) for a in mine] == [type(b) for b in theirs]
    elif isinstance(theirs, Exception):
        assert str(mine) == str(theirs)
    else:
        assert mine == theirs


@pytest.fixture(params=["quick", "in processes", "sent"])
def way(request, monkeypatch):
    """Where the function runs: mostly in the caller, in forked workers, or in workers that are sent everything."""
    if request.param == "in processes":
        monkeypatch.setattr(ours, "execute", partial(ours.execute, backend="processes", max_workers=2))
        monkeypatch.setattr(ours, "BLOCK_S", 1e-5)
    elif request.param == "sent":
        monkeypatch.setattr(
            ours, "execute", partial(ours.execute, backend="processes", start_method="spawn", max_workers=1)
        )
    return request.param


DATES = pandas.date_range("2024-01-01", periods=6, freq="D")
FRAMES = {
    "integers": DataFrame({"a": range(40), "b": range(40, 80)}),
    "mixed": DataFrame({"a": [1, 2, 3], "b": [1.5, np.nan, 2], "c": list("xyz")}, index=list("pqr")),
    "numbers": DataFrame({"a": [1, 2, 3], "b": [1.5, np.nan, 2]}, index=pandas.Index([7, 5, 5], name="number")),
    "one row": DataFrame({"a": [1], "b": [True]}),
    "dates": DataFrame({"a": DATES, "b": DATES[::-1]}, index=DATES),
    "time zones": DataFrame({"a": DATES.tz_localize("UTC"), "b": 1}),
    "nullable": DataFrame({"a": Series([1, None, 3], dtype="Int64"), "b": Series([2, 3, None], dtype="Int64")}),
    "categories": DataFrame({"a": Series(list("xyx"), dtype="category"), "b": 1.0}),
    "objects": DataFrame({"a": [[1], {"k": 2}, None], "b": [(1, 2), "s", 3.0]}),
    "two levels": DataFrame(
        np.arange(12).reshape(4, 3),
        index=pandas.MultiIndex.from_product([["x", "y"], [1, 2]], names=["letter", "digit"]),
        columns=pandas.Index(["a", "b", "c"], name="columns"),
    ),
    "same names twice": DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
    "no rows": DataFrame({"a": [], "b": []}),
    "no columns": DataFrame(index=[1, 2]),
    "nothing": DataFrame(),
}


def to_dict(series):
    return series.to_dict()


def first_and_name(series):
    return (series.iloc[0], series.name)


def ragged(series):
    return list(range(1 + hash(str(series.name)) % 2))


def other_index(series):
    return Series([len(series), 1.5], index=["n", "x"], name="made")


def renamed(series):
    series = series.astype(object)
    series["new"] = 1
    return series


def mostly_none(series):
    return None


def sometimes(series):
    return series if str(series.iloc[0]) in "1xp" else 0


def power(series, exponent=3, *, more=0):
    return series.iloc[0] ** exponent + more if isinstance(series.iloc[0], int | float) else str(series.iloc[0])


def types(series):
    return [type(each).__name__ for each in series]


FUNCTIONS = {
    "a scalar": lambda series: series.iloc[0],
    "a length": len,
    "itself": lambda series: series,
    "a sum": lambda series: series.astype(str).sum(),
    "a list": lambda series: [1, "a"],
    "a list of its length": list,
    "lists of several lengths": ragged,
    "a tuple": first_and_name,
    "an array": lambda series: series.to_numpy(),
    "a dict": to_dict,
    "a text": str,
    "another series": other_index,
    "a longer series": renamed,
    "none": mostly_none,
    "a series or a scalar": sometimes,
    "types": types,
    "powers": power,
    "the name": lambda series: series.name,
    "a difference": lambda series: series - series.iloc[0],
}


@pytest.mark.parametrize("axis", [0, 1, "index", "columns"])
@pytest.mark.parametrize("frame", FRAMES)
def test_apply(frame, axis):
    frame = FRAMES[frame]
    if isinstance(axis, str) and not frame.size:
        pytest.skip("with an engine, pandas itself knows axes of empty frames by number only")
    for func in FUNCTIONS.values():
        mine = outcome(lambda func=func: frame.apply(func, axis=axis, engine=engine))
        assert_same(mine, outcome(lambda func=func: frame.apply(func, axis=axis)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("frame", ["integers", "mixed", "dates", "two levels"])
def test_apply_wherever_it_runs(way, frame, axis):
    if way == "sent" and frame != "mixed":
        pytest.skip("one frame is enough")
    frame = FRAMES[frame]
    for name in ("a scalar", "a dict", "itself", "another series", "the name", "types"):
        func = FUNCTIONS[name]
        assert_same(frame.apply(func, axis=axis, engine=engine), frame.apply(func, axis=axis))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("frame", ["integers", "numbers", "mixed", "two levels", "no rows", "nothing"])
def test_apply_raw(frame, axis):
    frame = FRAMES[frame]
    for func in (
        len,
        sum,
        np.max,
        lambda values: values,
        lambda values: values * 2,
        str,
        lambda v: "ab"[: len(v) // 2],
    ):
        mine = outcome(lambda func=func: frame.apply(func, axis=axis, raw=True, engine=engine))
        assert_same(mine, outcome(lambda func=func: frame.apply(func, axis=axis, raw=True)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("raw", [False, True])
def test_apply_with_arguments(axis, raw):
    frame = FRAMES["numbers"]

    def add(values, one, two=0, *, three=0):
        return values[0] * one + two + three if raw else values.iloc[0] * one + two + three

    keywords = {"axis": axis, "raw": raw, "args": (2, 5), "three": 7}
    assert_same(frame.apply(add, engine=engine, **keywords), frame.apply(add, **keywords))


@pytest.mark.parametrize("func", ["sum", np.sqrt, np.sum, ["min", "max"], {"a": "sum"}], ids=str)
def test_apply_of_what_is_no_plain_function(func):
    frame = FRAMES["numbers"]
    assert_same(frame.apply(func, engine=engine), frame.apply(func))


SERIES = {
    "integers": Series(range(20), name="n"),
    "missing": Series([1.0, np.nan, 3.0], index=list("abc")),
    "texts": Series(["x", None, "y"], name="t"),
    "dates": Series(DATES, index=DATES),
    "nullable": Series([1, None, 3], dtype="Int64"),
    "booleans": Series([True, None, False], dtype="boolean"),
    "categories": Series(["x", "y", "x", None], dtype="category"),
    "intervals": Series(pandas.interval_range(0, 3)),
    "periods": Series(pandas.period_range("2024", periods=3, freq="M")),
    "sparse": Series(pandas.arrays.SparseArray([0, 0, 5, 0, 7])),
    "objects": Series([1, "a", None, (2, 3), [4]]),
    "durations": Series(pandas.to_timedelta([1, None, 3], unit="s")),
    "empty": Series([], dtype="float64", name="e"),
}


@pytest.mark.parametrize("na_action", [None, "ignore"])
@pytest.mark.parametrize("series", SERIES)
def test_map(series, na_action):
    series = SERIES[series]
    for func in (
        str,
        lambda x: x,
        lambda x: [x],
        lambda x: None,
        lambda x: (x, 1),
        type,
        lambda x: 1.5,
        lambda x: x + x,
    ):
        mine = outcome(lambda func=func: series.map(func, na_action, engine=engine))
        assert_same(mine, outcome(lambda func=func: series.map(func, na_action)))


def test_map_wherever_it_runs(way):
    series = SERIES["missing"]
    for na_action in (None, "ignore"):
        assert_same(series.map(str, na_action, engine=engine), series.map(str, na_action))


def test_map_with_keywords():
    series = SERIES["integers"]
    assert_same(series.map(pow, exp=2, engine=engine), series.map(pow, exp=2))


KEYS = pandas.DataFrame(
    {
        "one": [*list("xyxzyxz"), None],
        "two": [1, 2, 1, 2, 2, 1, 1, 2],
        "kind": pandas.Categorical(list("ababaabb"), categories=list("abc")),
        "value": [1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, 8.0],
        "whole": range(8),
    },
    index=pandas.Index(range(10, 18), name="line"),
)


def mean(group):
    return group.mean()


GROUPED = {
    "one key": lambda: KEYS.groupby("one"),
    "two keys": lambda: KEYS.groupby(["one", "two"]),
    "a function": lambda: KEYS.groupby(lambda line: line % 3),
    "an array": lambda: KEYS.groupby(np.arange(8) // 3),
    "a level": lambda: KEYS.set_index("two", append=True).groupby(level="two"),
    "as_index": lambda: KEYS.groupby("one", as_index=False),
    "two keys as_index": lambda: KEYS.groupby(["one", "two"], as_index=False),
    "unsorted": lambda: KEYS.groupby("one", sort=False),
    "missing keys": lambda: KEYS.groupby("one", dropna=False),
    "categories": lambda: KEYS.groupby("kind", observed=False),
    "observed": lambda: KEYS.groupby("kind", observed=True),
    "no group keys": lambda: KEYS.groupby("one", group_keys=False),
    "a Grouper": lambda: KEYS.groupby(pandas.Grouper(key="two")),
    "some columns": lambda: KEYS.groupby("one")[["value", "whole"]],
    "a series": lambda: KEYS.groupby("one")["value"],
    "a series by two": lambda: KEYS.groupby(["one", "two"])["value"],
    "a series without group keys": lambda: KEYS.groupby("one", group_keys=False)["value"],
    "nothing": lambda: KEYS.iloc[:0].groupby("one"),
}
OF_GROUPS = {
    "a length": len,
    "itself": lambda group: group,
    "the name": lambda group: group.name,
    "the first": lambda group: group.head(1),
    "a shape": lambda group: group.shape,
    "a series": lambda group: Series({"n": len(group), "at": group.index[0]}),
    "series of several lengths": lambda group: Series(range(len(group))),
    "a frame": lambda group: DataFrame({"n": [len(group)] * 2}),
    "none": lambda group: None,
    "none for some": lambda group: None if len(group) < 2 else group,
    "like-indexed": lambda group: group.isna(),
    "a dict": lambda group: {"n": len(group)},
    "columns": lambda group: list(getattr(group, "columns", [])),
    "a failure": lambda group: group.nonsense,
}


@pytest.mark.parametrize("groups", GROUPED)
def test_groupby_apply(groups):
    groups = GROUPED[groups]
    for func in OF_GROUPS.values():
        mine = outcome(lambda func=func: groupby_apply(groups(), func))
        assert_same(mine, outcome(lambda func=func: groups().apply(func)))


@pytest.mark.parametrize("groups", ["two keys", "no group keys", "a series", "categories"])
def test_groupby_apply_wherever_it_runs(way, groups):
    if way == "sent" and groups != "two keys":
        pytest.skip("one is enough")
    groups = GROUPED[groups]
    for name in ("itself", "the name", "a series", "none for some"):
        mine = outcome(lambda name=name: groupby_apply(groups(), OF_GROUPS[name]))
        assert_same(mine, outcome(lambda name=name: groups().apply(OF_GROUPS[name])))


def test_all_arguments_go_to_the_function():
    def joined(group, *args, **kwargs):
        return len(group), args, tuple(kwargs.items())

    groups = KEYS.groupby("one")
    mine = groupby_apply(groups, joined, 1, 2, engine=3, groups_=4, axis=5)
    assert_same(mine, groups.apply(joined, 1, 2, engine=3, groups_=4, axis=5))


@pytest.mark.parametrize("func", ["sum", "ngroups"])
def test_groupby_apply_by_name(func):
    groups = KEYS.groupby("one")["whole"]
    assert_same(groupby_apply(groups, func), groups.apply(func))


@pytest.mark.parametrize("bad", [KEYS, [KEYS], None, KEYS.rolling(2)])
def test_what_is_no_groups_is_refused(bad):
    with pytest.raises(TypeError, match=r"^groups: "):
        groupby_apply(bad, len)


CELLS = st.one_of(st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=3), st.booleans(), st.none())
COLUMNS = st.sampled_from(
    [st.integers(-5, 5), st.floats(), st.booleans(), st.text("ab", max_size=2), st.none(), CELLS, st.datetimes()]
)


@st.composite
def frames(draw):
    """Frames of up to four columns, each of a kind of its own, with any index."""
    rows = draw(st.integers(0, 6))
    columns = draw(st.lists(st.text("abc", min_size=1, max_size=2), min_size=0, max_size=4, unique=True))
    body = {name: draw(st.lists(draw(COLUMNS), min_size=rows, max_size=rows)) for name in columns}
    index = draw(st.lists(st.integers(0, 9), min_size=rows, max_size=rows))
    return DataFrame(body, index=pandas.Index(index, name=draw(st.sampled_from([None, "i"]))))


@settings(max_examples=60)
@given(frames(), st.sampled_from(sorted(FUNCTIONS)), st.sampled_from([0, 1]))
def test_any_frame(frame, func, axis):
    mine = outcome(lambda: frame.apply(FUNCTIONS[func], axis=axis, engine=engine))
    assert_same(mine, outcome(lambda: frame.apply(FUNCTIONS[func], axis=axis)))


@settings(max_examples=40)
@given(frames(), st.sampled_from(sorted(OF_GROUPS)), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_any_groups(frame, func, as_index, sort, dropna, group_keys):
    frame = frame.assign(key=[i % 3 for i in range(len(frame))])
    keywords = {"as_index": as_index, "sort": sort, "dropna": dropna, "group_keys": group_keys}
    for keys in ("key", ["key", *frame.columns[:1]]):
        groups = outcome(lambda keys=keys: frame.groupby(keys, **keywords))
        if isinstance(groups, Exception):
            continue
        mine = outcome(lambda groups=groups: groupby_apply(groups, OF_GROUPS[func]))
        assert_same(mine, outcome(lambda groups=groups: groups.apply(OF_GROUPS[func])))


class TestErrors:
    def refuse(self, call):
        with pytest.raises(ZeroDivisionError) as caught:
            call()
        return " ".join(caught.value.__notes__)

    @pytest.mark.parametrize("at", [0, 5, 30, 39])
    def test_a_row(self, way, at):
        frame = FRAMES["integers"].set_axis([f"row {n}" for n in range(40)])
        told = self.refuse(lambda: frame.apply(lambda row: 1 // int(row.a - at), axis=1, engine=engine))
        assert f"pandas: raised at row 'row {at}'" in told

    def test_a_column(self, way):
        frame = FRAMES["integers"]
        told = self.refuse(lambda: frame.apply(lambda column: 1 // (0 if column.name == "b" else 1), engine=engine))
        assert "pandas: raised at column 'b'" in told

    def test_a_group(self, way):
        groups = KEYS.groupby(["one", "two"])
        told = self.refuse(lambda: groupby_apply(groups, lambda group: 1 // (0 if group.name == ("z", 2) else 1)))
        assert "pandas: raised at group ('z', 2)" in told

    @pytest.mark.parametrize("na_action", [None, "ignore"])
    def test_a_value(self, way, na_action):
        series = Series([np.nan, 1.0, np.nan, 0.0], index=list("abcd"))
        told = self.refuse(lambda: series.map(lambda x: 1 // x if x == x else x, na_action, engine=engine))
        assert "pandas: raised at row 'd'" in told

    def test_a_category_has_no_row(self):
        series = Series(list("xyx"), dtype="category")
        told = self.refuse(lambda: series.map(lambda x: 1 // 0, engine=engine))
        assert "row" not in told

    def test_what_pandas_refuses_it_still_refuses(self):
        with pytest.raises(NotImplementedError, match="result_type"):
            FRAMES["integers"].apply(len, result_type="expand", engine=engine)


@pytest.mark.parametrize("way", ["in processes"], indirect=True)
def test_groups_run_in_other_processes(way):
    found = groupby_apply(KEYS.groupby("whole"), lambda group: os.getpid())
    assert os.getpid() not in set(found)


def test_mapping_a_frame_itself_says_how_to_get_rows():
    import amorsize

    with pytest.warns(UserWarning, match=r"itertuples\(\).*engine"):
        assert amorsize.execute(len, FRAMES["integers"]) == [1, 1]


@given(st.floats(1e-9, 1e3))
def test_blocks_take_some_milliseconds(row_s):
    rows = ours.block_rows(row_s)
    assert rows >= 1
    assert rows == 1 or 0.5 * ours.BLOCK_S <= rows * row_s <= 1.5 * ours.BLOCK_S
