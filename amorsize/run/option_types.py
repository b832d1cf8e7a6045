"""Types of the keyword arguments of `execute`, `stream` and their kin: loaded by type checkers alone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict, TypeVar

if TYPE_CHECKING:
    from amorsize.events import Event
    from amorsize.history.history import History
    from amorsize.limits import Limits
    from amorsize.plan.plan import Plan

T = TypeVar("T")
R = TypeVar("R")

# What func makes of an item, at once or when it is awaited; of the elements of an item, for starmap.
Func = Callable[[T], R]
Later = Callable[[T], Awaitable[R]]
OfMany = Callable[..., R]
OfManyLater = Callable[..., Awaitable[R]]
Data = Iterable[T] | AsyncIterable[T]
Tuples = Iterable[Iterable[Any]]
AnyTuples = Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]]

# `progress=`
Progress = bool | Literal["rich"] | Mapping[str, Any] | Callable[[int, int | None], object]

# What a call returns with a plan, and where a variable says if there is one.
Pair = tuple[list[R], "Plan"]
Maybe = list[R] | tuple[list[R], "Plan"]


class Options(TypedDict, total=False):
    """Arguments of every function that runs a map."""

    backend: Any
    max_workers: int | None
    start_method: str | None
    memory_limit: int | None
    history: History | None
    retries: int
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    backoff: float
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    timeout: float | None
    rate: float | None
    max_failures: int | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_key: str | None
    limits: Limits | None
    progress: Progress
    on_event: Callable[[Event], object] | None


class _Execute(Options, total=False):
    sample: Literal["spread", "head"]


class _Stream(Options, total=False):
    ordered: bool
    max_ahead: int | None
    max_ahead_bytes: int | None


class _Raise(_Execute, total=False):
    on_error: Literal["raise"]


class _Collect(_Execute, total=False):
    on_error: Required[Literal["collect"]]


# Of a call that raises what an item raised, without a plan, with one, and as a variable says.
class Raise(_Raise, total=False):
    return_plan: Literal[False]


class RaisePlan(_Raise, total=False):
    return_plan: Required[Literal[True]]


class RaiseMaybe(_Raise, total=False):
    return_plan: Required[bool]


# The same of a call that puts a `Failure` in the place of each failed item.
class Collect(_Collect, total=False):
    return_plan: Literal[False]


class CollectPlan(_Collect, total=False):
    return_plan: Required[Literal[True]]


class CollectMaybe(_Collect, total=False):
    return_plan: Required[bool]


class StreamRaise(_Stream, total=False):
    """Arguments of a stream that raises what an item raised."""

    on_error: Literal["raise"]


class StreamCollect(_Stream, total=False):
    """Arguments of a stream that yields a `Failure` for each failed item."""

    on_error: Required[Literal["collect"]]
