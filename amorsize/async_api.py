"""The public functions for programs with an event loop."""

from __future__ import annotations

from amorsize.api import execute, stream
from amorsize.hints import like
from amorsize.options import check, whole
from amorsize.system.critical import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
    from typing import Any, Unpack, overload

    from amorsize.facts import Failure
    from amorsize.plan.plan import Plan
    from amorsize.run.option_types import (
        Collect,
        CollectMaybe,
        CollectPlan,
        Data,
        Func,
        Later,
        Maybe,
        Pair,
        R,
        Raise,
        RaiseMaybe,
        RaisePlan,
        StreamCollect,
        StreamRaise,
        T,
    )


if TYPE_CHECKING:

    @overload
    async def execute_async(func: Later[T, R], data: Data[T], **options: Unpack[Raise]) -> list[R]: ...
    @overload
    async def execute_async(func: Later[T, R], data: Data[T], **options: Unpack[RaisePlan]) -> Pair[R]: ...
    @overload
    async def execute_async(func: Later[T, R], data: Data[T], **options: Unpack[RaiseMaybe]) -> Maybe[R]: ...  # type: ignore[overload-overlap]
    @overload
    async def execute_async(func: Later[T, R], data: Data[T], **options: Unpack[Collect]) -> list[R | Failure]: ...
    @overload
    async def execute_async(func: Later[T, R], data: Data[T], **options: Unpack[CollectPlan]) -> Pair[R | Failure]: ...
    @overload
    async def execute_async(  # type: ignore[overload-overlap]
        func: Later[T, R], data: Data[T], **options: Unpack[CollectMaybe]
    ) -> Maybe[R | Failure]: ...
    @overload
    async def execute_async(func: Func[T, R], data: Data[T], **options: Unpack[Raise]) -> list[R]: ...
    @overload
    async def execute_async(func: Func[T, R], data: Data[T], **options: Unpack[RaisePlan]) -> Pair[R]: ...
    @overload
    async def execute_async(func: Func[T, R], data: Data[T], **options: Unpack[RaiseMaybe]) -> Maybe[R]: ...
    @overload
    async def execute_async(func: Func[T, R], data: Data[T], **options: Unpack[Collect]) -> list[R | Failure]: ...
    @overload
    async def execute_async(func: Func[T, R], data: Data[T], **options: Unpack[CollectPlan]) -> Pair[R | Failure]: ...
    @overload
    async def execute_async(func: Func[T, R], data: Data[T], **options: Unpack[CollectMaybe]) -> Maybe[R | Failure]: ...


@like(execute)
async def execute_async(
    func: Callable[[Any], Any], data: Iterable[Any] | AsyncIterable[Any], **options: Any
) -> list[Any] | tuple[list[Any], Plan]:
    """Like `execute`, for programs with an event loop: the loop stays responsive while the map runs.

    A plain function never runs on the event loop's thread: the map runs in a separate thread, from which it may go
    parallel as `execute` does. Concurrent calls share the cores (``asyncio.gather``, ``TaskGroup``).

    A coroutine function runs as tasks on the running loop, so it can use clients that belong to this loop. The number
    of tasks at a time is found by measuring: it grows as long as this makes results come faster, up to ``max_workers``.

    Parameters
    ----------
    func : callable
        A plain function or a coroutine function of one item. In this process it sees the caller's context variables.
    data : iterable or async iterable
        An async iterable is read on the event loop, one item after the other, no further ahead than items are needed.
        It is closed (``aclose()``) if the map ends before it does. Any other is read where func runs: in the event
        loop's thread for a coroutine function, else in the map's thread.
    **options
        As in `execute`. For a coroutine function ``backend`` must be ``"auto"``, ``timeout`` cancels the item's task,
        ``on_event`` is called in the event loop's thread, and the plan's ``backend`` is ``"async"``, its ``n_jobs`` the
        most tasks at a time. For a plain function ``on_event`` and ``initializer`` are called in the map's thread.

    Returns
    -------
    list, or (list, Plan)
        The results, in the order of ``data``.

    Raises
    ------
    TypeError, ValueError, Exception, ItemTimeoutError, WorkerLostError, TransferError, ResourceLimitError
        As in `execute`. So are the errors of a checkpoint.
    asyncio.CancelledError
        If the task was cancelled; raised after the work has ended. Worker processes are killed at once, but an item
        that runs in this process is finished first. (Use ``backend="processes"`` for items that must end at once.)

    Notes
    -----
    A checkpoint of a coroutine function is written in the event loop's thread: a few milliseconds about once a second.

    Examples
    --------
    >>> import amorsize, asyncio
    >>> asyncio.run(amorsize.execute_async(abs, [-1, 2, -3]))
    [1, 2, 3]
    >>> async def fetch(delay):
    ...     await asyncio.sleep(delay)
    ...     return delay
    >>> asyncio.run(amorsize.execute_async(fetch, [0.01, 0.02]))
    [0.01, 0.02]
    """
    return_plan = options.pop("return_plan", False)
    request = check(func, data, coroutines=True, async_data=True, **options)
    load("amorsize.run.async_map")
    from amorsize.run.async_map import in_this_loop

    ran, results = await in_this_loop(request)
    if not return_plan:
        return results
    load("amorsize.plan.of_run")
    from amorsize.plan.of_run import plan_of

    return results, plan_of(ran)


if TYPE_CHECKING:

    @overload
    def stream_async(func: Later[T, R], data: Data[T], **options: Unpack[StreamRaise]) -> AsyncGenerator[R, None]: ...
    @overload
    def stream_async(
        func: Later[T, R], data: Data[T], **options: Unpack[StreamCollect]
    ) -> AsyncGenerator[R | Failure, None]: ...
    @overload
    def stream_async(func: Func[T, R], data: Data[T], **options: Unpack[StreamRaise]) -> AsyncGenerator[R, None]: ...
    @overload
    def stream_async(
        func: Func[T, R], data: Data[T], **options: Unpack[StreamCollect]
    ) -> AsyncGenerator[R | Failure, None]: ...


@like(stream)
def stream_async(
    func: Callable[[Any], Any], data: Iterable[Any] | AsyncIterable[Any], **options: Any
) -> AsyncGenerator[Any, None]:
    """Like `stream`, for ``async for``: yields results while the map runs beside the event loop.

    func runs as in `execute_async`. The map goes on while the reader does other things, within the same limits as in
    `stream`: at most ``max_ahead`` items, and at most ``max_ahead_bytes`` of results, are ahead of the reader. So
    ``data`` may be infinite.

    Parameters
    ----------
    func : callable
        A plain function or a coroutine function of one item, as in `execute_async`.
    data : iterable or async iterable
        As in `execute_async`.
    **options
        As in `stream`, and in `execute_async`.

    Returns
    -------
    async generator
        Yields results. Its ``aclose()`` ends the work and waits for its end, as does the end of an ``async with
        contextlib.aclosing(...)`` block, cancelling the task that reads, or the end of the event loop. After a
        ``break`` alone the work goes on, within the limits, until the generator is deleted.

    Raises
    ------
    TypeError, ValueError
        For a bad argument, by its name, at the call.
    Exception
        The exception that func or ``data`` raised; if ``ordered``, after all earlier results have been taken.

    Examples
    --------
    >>> import amorsize, asyncio, contextlib, itertools
    >>> async def first(count):
    ...     squares = amorsize.stream_async(lambda x: x * x, itertools.count())
    ...     async with contextlib.aclosing(squares):
    ...         return [await anext(squares) for _ in range(count)]
    >>> asyncio.run(first(4))
    [0, 1, 4, 9]
    """
    load("amorsize.run.async_stream")
    from amorsize.run.async_stream import stream_results

    ordered = options.pop("ordered", True)
    most = [whole(name, options.pop(name, None), least=1, optional=True) for name in ("max_ahead", "max_ahead_bytes")]
    request = check(func, data, coroutines=True, async_data=True, **options)
    return stream_results(request, ordered=ordered, max_ahead=most[0], max_ahead_bytes=most[1])
