"""pandas: an ``engine=`` for its own ``apply`` and ``map``, and `groupby_apply`: they run the function by `execute`.

What the function is called with, and what becomes of its results, is up to pandas: it runs twice, with functions in
place of the user's. The first notes what it gets. The second (`Known`) returns results that are known by then. So
types, dtypes, names and index are what they are without an engine, in any release of pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, inf
from time import perf_counter
from typing import Any, Final

import numpy as np

from amorsize.api import execute
from amorsize.events import Event, ItemFailed
from amorsize.hints import Needs
from amorsize.system.looks import note, origin

with Needs("amorsize.integrations.pandas", "pandas", "pandas", "pandas 3"):
    from pandas import DataFrame, Series
    from pandas.api.executors import BaseExecutionEngine
    from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

__all__ = ["engine", "groupby_apply"]

# Seconds of rows in a block. pandas takes 0.25 ms to begin with one, and 3 µs for a further row.
BLOCK_S: Final = 10e-3
# If the first row takes longer, one more is run in the caller to see how long rows take, else so many (guesses).
DEAR_S: Final = 1e-3
SOME_ROWS: Final = 15


class engine(BaseExecutionEngine):  # type: ignore[misc]  # noqa: N801  (named as the argument; pandas is not typed)
    """Pass this as ``engine=`` to ``df.apply``, ``df[column].map`` and the like: they take all cores where it pays.

    The result is what it is without an engine. An exception of the function gets a note with the label of its row or
    column. The function must not depend on the rows before; it may run in a child process.

    Examples
    --------
    >>> import pandas
    >>> from amorsize.integrations.pandas import engine
    >>> pandas.DataFrame({"a": [1, 2], "b": [3, 4]}).apply(lambda row: row.a * row.b, axis=1, engine=engine).tolist()
    [3, 8]
    >>> pandas.Series([1, 2]).map(lambda x: x + 1, engine=engine).tolist()
    [2, 3]
    """

    @staticmethod
    def map(data: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], decorator: Any, skip_na: bool) -> Any:
        """Return ``data.map(func)``. pandas calls this."""
        again = partial(data.map, na_action="ignore" if skip_na else None)
        call = _bound(func, args, kwargs)
        seen: list[Any] = []
        again(partial(_note_item, seen))
        labels = data.index[data.notna()] if skip_na else data.index
        failed: list[ItemFailed] = []

        def hear(event: Event) -> None:
            if isinstance(event, ItemFailed):
                failed.append(event)

        try:
            results = execute(call, seen, on_event=hear)
        except BaseException:
            # Of a categorical each category comes once, whatever the rows that it is in.
            if len(labels) == len(seen):
                for event in failed:
                    _blame(event.exception, "row", labels[event.index])
            raise
        return again(Known(results, call))

    @staticmethod
    def apply(data: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], decorator: Any, axis: Any) -> Any:
        """Return ``data.apply(func, axis=axis)``; of an array (``raw=True``) as an array. pandas calls this."""
        call = _bound(func, args, kwargs)
        by_row = axis in (1, "columns")
        if isinstance(data, np.ndarray):
            results = execute(call, data if by_row else data.T)
            # As pandas has it: numpy would take the first text for the length of all.
            known = Known([np.array(r, dtype=object) if isinstance(r, str) else r for r in results], call)
            return np.apply_along_axis(known, int(by_row), data)
        if not callable(func) or isinstance(func, np.ufunc):
            return data.apply(func, axis=axis, args=args, **kwargs)
        if by_row:
            return data.apply(Known(_over_rows(data, call), call), axis=1)
        columns: list[Any] = []
        data.apply(columns.append)
        return data.apply(Known(execute(partial(_named, "column", call), columns), call))


# Where pandas looks for it.
engine.__pandas_udf__ = engine


def groupby_apply(groups: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
    """Return ``groups.apply(func, *args, **kwargs)``, run on all cores where it pays.

    Parameters
    ----------
    groups : DataFrameGroupBy or SeriesGroupBy
        What ``df.groupby(…)`` returns. func gets each group without its grouping columns, as from pandas.
    func : callable
        Takes a group. It must not depend on the groups before; it may run in a child process.
    *args, **kwargs
        All go to ``func``.

    Returns
    -------
    Series or DataFrame
        What pandas makes of the results.

    Raises
    ------
    TypeError
        If ``groups`` is something else.
    Exception
        What func raises, with the group's label as a note.

    Examples
    --------
    >>> import pandas
    >>> from amorsize.integrations.pandas import groupby_apply
    >>> frame = pandas.DataFrame({"key": ["x", "y", "x"], "value": [1, 2, 3]})
    >>> groupby_apply(frame.groupby("key"), lambda group: group.value.sum()).to_dict()
    {'x': 4, 'y': 2}
    """
    if not isinstance(groups, DataFrameGroupBy | SeriesGroupBy):
        raise TypeError(f"groups: must be what df.groupby(…) returns, not {type(groups).__name__}")
    if not callable(func):
        return groups.apply(func, *args, **kwargs)
    call = _bound(func, args, kwargs)
    items: list[tuple[Any, Any]] = []
    groups.apply(lambda group: items.append((group.name, group)))
    return groups.apply(Known(execute(partial(_of_group, call), items), call))


class Known:
    """A function whose results are known: it returns one after the other, whatever it is called with.

    If it is called more often, it calls ``func``.
    """

    def __init__(self, results: Sequence[Any], func: Callable[[Any], Any]) -> None:
        self._results = iter(results)
        self._func = func

    def __call__(self, item: Any) -> Any:
        """Return the next result."""
        for result in self._results:
            return result
        return self._func(item)


# -- rows --------------------------------------------------------------------------------------------------------------


class Blocks(Sequence[Any]):
    """The rows of a frame from ``start`` on, in blocks of ``size``: rows one by one would cost 15 µs each."""

    def __init__(self, frame: DataFrame, start: int, size: int) -> None:
        self.frame, self.start, self.size = frame, start, size

    def __len__(self) -> int:
        return ceil((len(self.frame) - self.start) / self.size)

    def __getitem__(self, at: Any) -> Any:
        start = self.start + at * self.size
        if not 0 <= start < len(self.frame):
            raise IndexError(at)
        return self.frame.iloc[start : start + self.size]


def block_rows(row_s: float) -> int:
    """Return the number of rows in a block, if a row takes this long.

    Examples
    --------
    >>> block_rows(10e-6), block_rows(1e-3), block_rows(0.1)
    (1000, 10, 1)
    """
    return max(1, round(BLOCK_S / row_s))


def _over_rows(frame: DataFrame, func: Callable[[Any], Any]) -> list[Any]:
    """Return the results of all rows; the first ones run here, and tell how many make a block."""
    results: list[Any] = []
    row_s = inf
    while len(results) < len(frame) and len(results) < 2:
        start, rows = len(results), SOME_ROWS if row_s < DEAR_S else 1
        began = perf_counter()
        results += _of_rows(func, frame.iloc[start : start + rows])
        # The least, since a first call may be dear, and another program may have had the core.
        row_s = min(row_s, (perf_counter() - began) / (len(results) - start))
    blocks = Blocks(frame, len(results), block_rows(row_s))
    for more in execute(partial(_of_rows, func), blocks):
        results += more
    return results


def _of_rows(func: Callable[[Any], Any], block: DataFrame) -> list[Any]:
    """Return the results of some rows."""
    results: list[Any] = []

    def call(row: Any) -> None:
        result = _named("row", func, row)
        # The object that pandas passes is the same for all rows.
        results.append(result.copy(deep=False) if isinstance(result, Series) else result)

    block.apply(call, axis=1)
    return results


# -- items -------------------------------------------------------------------------------------------------------------


def _note_item(seen: list[Any], item: Any) -> Any:
    seen.append(item)
    return item


def _bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a function of the item alone, which comes before the other arguments."""
    return partial(_with_args, func, args, kwargs) if args else partial(func, **kwargs) if kwargs else func


def _with_args(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], item: Any) -> Any:
    return func(item, *args, **kwargs)


def _named(what: str, func: Callable[[Any], Any], series: Any) -> Any:
    """Call func; if it raises, say with which row or column."""
    try:
        return func(series)
    except BaseException as exc:
        _blame(exc, what, series.name)
        raise


def _of_group(func: Callable[[Any], Any], item: tuple[Any, Any]) -> Any:
    key, group = item
    # pandas names it so, but not for good: the name of a frame is lost when it is sent to another process.
    object.__setattr__(group, "name", key)
    try:
        return func(group)
    except BaseException as exc:
        _blame(exc, "group", key)
        raise


def _blame(exc: BaseException, what: str, label: Any) -> None:
    note(exc, f"pandas: {origin(exc, 'raised at')} {what} {label!r}")
