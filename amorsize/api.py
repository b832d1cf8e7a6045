"""The public functions. This is the only module that knows all stages.

This module imports the parts of ``execute`` that a plain loop needs. It is loaded when a public function is first
looked up, so the first call does not pay for these imports. All other parts are loaded when they are used.
"""

from __future__ import annotations

from amorsize.hints import hinted, like
from amorsize.options import check, whole
from amorsize.run.execute import Execution
from amorsize.system.critical import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Callable, Generator, Iterable
    from typing import Any, Literal, Unpack, overload

    from amorsize.events import Event
    from amorsize.facts import Failure, Machine
    from amorsize.history.history import History
    from amorsize.limits import Limits
    from amorsize.options import Request
    from amorsize.plan.plan import Plan
    from amorsize.plan.trials.validation import Validation
    from amorsize.run.async_map import TaskRun
    from amorsize.run.option_types import (
        AnyTuples,
        Collect,
        CollectMaybe,
        CollectPlan,
        Data,
        Func,
        Later,
        Maybe,
        OfMany,
        OfManyLater,
        Pair,
        Progress,
        R,
        Raise,
        RaiseMaybe,
        RaisePlan,
        StreamCollect,
        StreamRaise,
        T,
        Tuples,
    )


def machine() -> Machine:
    """Return what this process may use here: cores, memory, start methods, and the file or call that is the source.

    Read anew at each call (about 1 ms on Linux).

    Returns
    -------
    Machine

    Examples
    --------
    >>> import amorsize
    >>> amorsize.machine().usable_cores > 0
    True
    """
    load("amorsize.system.machine")
    from amorsize.system.machine import machine as read

    return read()


@hinted
def optimize(
    func: Callable[[Any], Any],
    data: Iterable[Any],
    *,
    backend: Any = "auto",
    max_workers: int | None = None,
    start_method: str | None = None,
    memory_limit: int | None = None,
    sample: Literal["spread", "head"] = "spread",
    history: History | None = None,
    machine: Machine | str | os.PathLike[str] | None = None,
) -> Plan:
    """Return a plan of how ``map(func, data)`` should run here: the backend, the number of workers, the chunksize.

    Runs ``func`` on a few of the items (at spread positions where ``data`` can be indexed). Forecasts every candidate
    from the times of these items and from the costs of parallelism on this machine. The first call with
    0.3 s of work or more measures those costs (at most 0.3 s for the start method in question) and keeps them for later
    calls.

    Parameters
    ----------
    func : callable
        Takes one item.
    data : iterable
        Any iterable. Of a generator only the first items are read; ``plan.data`` yields these and the rest.
    backend : str, executor, or tuple of str
        ``"auto"``, ``"serial"``, ``"threads"``, ``"processes"``, or a tuple of these to choose from. For use with
        ``multiprocessing.Pool`` only, pass ``("serial", "processes")``. With ``"processes"``, func
        is never called in this process: the sample is taken in a child process. ``"auto"`` plans threads only if func
        was shown to be safe in them; to name threads is the user's word that it is. An executor or a cluster client,
        as in `execute`, stands alone: some items run there, and their results are dropped.
    max_workers : int, optional
        The largest number of threads or processes.
    start_method : {"fork", "forkserver", "spawn"}, optional
        How worker processes start. By default fork on Linux while the caller has no other threads, else the
        interpreter's default (forkserver where that is fork).
    memory_limit : int, optional
        Bytes that all workers together may add; by default the available memory of the machine.
    sample : {"spread", "head"}
        Which items to run: at spread positions, or the first ones.
    history : History, optional
        Where runs are recorded; by default as ``AMORSIZE_HISTORY`` says.
    machine : Machine or path, optional
        Plan for this machine instead: a `Machine`, or the path of what ``python -m amorsize --json`` printed there.
        Costs that were measured there are used, with recorded figures for all others, and the load of that machine
        counts. func still runs on a few items here, and takes as long as it does here. The plan can be explained and
        plotted, but its ``pool()`` raises ValueError.

    Returns
    -------
    Plan

    Raises
    ------
    TypeError, ValueError
        For a bad argument, by its name.
    Exception
        The exception that ``func`` raises on a sampled item, with the item's index as a note.

    Notes
    -----
    Costs one item, a slow first call if there is one, and beyond these at most 5 ms or 1 % of the forecast serial
    time, whichever is more.

    If earlier runs agree, nothing is sampled: where the history knows the function over such data on a machine like
    this one, func is not called, and ``plan.known_runs`` is the number of runs behind the answer. If the plan's pool
    then takes a very different time, the next call samples again. ``sample="head"`` always samples; so does
    ``history=History("off")``.

    Examples
    --------
    >>> import amorsize
    >>> plan = amorsize.optimize(str.upper, ["a", "b", "c"])
    >>> with plan.pool() as pool:
    ...     pool.map(str.upper, plan.data)
    ['A', 'B', 'C']
    """
    load("amorsize.plan.optimize")
    from amorsize.plan.optimize import optimize_request

    return optimize_request(
        check(
            func,
            data,
            backend=backend,
            max_workers=max_workers,
            start_method=start_method,
            memory_limit=memory_limit,
            sample=sample,
            history=history,
            is_elsewhere=machine is not None,
        ),
        machine,
    )


if TYPE_CHECKING:

    @overload
    def execute(func: Later[T, R], data: Data[T], **options: Unpack[Raise]) -> list[R]: ...
    @overload
    def execute(func: Later[T, R], data: Data[T], **options: Unpack[RaisePlan]) -> Pair[R]: ...
    @overload
    def execute(func: Later[T, R], data: Data[T], **options: Unpack[RaiseMaybe]) -> Maybe[R]: ...  # type: ignore[overload-overlap]
    @overload
    def execute(func: Later[T, R], data: Data[T], **options: Unpack[Collect]) -> list[R | Failure]: ...
    @overload
    def execute(func: Later[T, R], data: Data[T], **options: Unpack[CollectPlan]) -> Pair[R | Failure]: ...
    @overload
    def execute(func: Later[T, R], data: Data[T], **options: Unpack[CollectMaybe]) -> Maybe[R | Failure]: ...  # type: ignore[overload-overlap]
    @overload
    def execute(func: Func[T, R], data: Iterable[T], **options: Unpack[Raise]) -> list[R]: ...
    @overload
    def execute(func: Func[T, R], data: Iterable[T], **options: Unpack[RaisePlan]) -> Pair[R]: ...
    @overload
    def execute(func: Func[T, R], data: Iterable[T], **options: Unpack[RaiseMaybe]) -> Maybe[R]: ...
    @overload
    def execute(func: Func[T, R], data: Iterable[T], **options: Unpack[Collect]) -> list[R | Failure]: ...
    @overload
    def execute(func: Func[T, R], data: Iterable[T], **options: Unpack[CollectPlan]) -> Pair[R | Failure]: ...
    @overload
    def execute(func: Func[T, R], data: Iterable[T], **options: Unpack[CollectMaybe]) -> Maybe[R | Failure]: ...


@hinted
def execute(
    func: Callable[[Any], Any],
    data: Iterable[Any] | AsyncIterable[Any],
    *,
    backend: Any = "auto",
    max_workers: int | None = None,
    start_method: str | None = None,
    memory_limit: int | None = None,
    sample: Literal["spread", "head"] = "spread",
    history: History | None = None,
    retries: int = 0,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    backoff: float = 0.0,
    on_error: Literal["raise", "collect"] = "raise",
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    timeout: float | None = None,
    rate: float | None = None,
    max_failures: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_key: str | None = None,
    limits: Limits | None = None,
    progress: Progress = False,
    on_event: Callable[[Event], object] | None = None,
    return_plan: bool = False,
) -> list[Any] | tuple[list[Any], Plan]:
    """Run ``list(map(func, data))`` as fast as it can run here.

    Starts as a plain loop and goes parallel, on threads or processes, only when the forecast gain is greater than the
    cost of the start. The result of every item is used: no item is run only to be measured.

    Parameters
    ----------
    func, data, max_workers, start_method, memory_limit, sample, history
        As in `optimize`.
    backend : str, executor, or tuple of these
        As in `optimize`; or an executor (any object with ``submit()``: of ``concurrent.futures``, of loky, a dask
        client), alone, or in a tuple to choose from. With ``"processes"`` or an executor alone, func is never called
        in this process; with ``"auto"`` it may be called in this process, in child processes, and in threads if it
        was shown to be safe there. To name threads is the user's word that it is.
    retries : int
        The number of times that an item that raises, or runs longer than ``timeout``, is repeated.
    retry_on : exception type or tuple of these
        An item that raises any other exception is not repeated. A time-out always counts.
    backoff : float
        The most seconds before an item's first repeat; doubled for each further one, up to 60. The item waits for a
        time drawn evenly between 0 and that, since items that failed together must not come back together; meanwhile
        it is set aside, and its worker goes on with other items. 0: items are repeated at once.
    on_error : {"raise", "collect"}
        Raise the exception of the first failed item, or put a `Failure` in each failed item's place.
    initializer : callable, optional
        Called as ``initializer(*initargs)`` before func runs: once in each worker, and in this process.
    initargs : tuple
        The arguments of ``initializer``.
    timeout : float, optional
        Seconds that an item may run; then its worker is killed, and the item counts as one that raised
        `ItemTimeoutError`. Needs processes: ``"auto"`` then means processes, and func is never called in this process.
        Of a coroutine function the item's task is cancelled.
    rate : float, optional
        Items per second that may begin, all workers together (in any t seconds at most ``rate * t``, and 50 ms' worth
        more). Repeats count.
    max_failures : int, optional
        With ``on_error="collect"``: if more items than this fail, the run stops and raises the exception of the first
        failed item.
    checkpoint : str or os.PathLike, optional
        A file that keeps finished results. It is written about once a second and at the end, even if the run fails.
        The next call with the same function and data runs only the items that are missing in it or have failed. It is
        an SQLite file of pickles: use only a file that you trust. Costs some 5 µs per small item.
    checkpoint_key : str, optional
        Identifies the function in the checkpoint, so that a corrected function can continue with it, or one that holds
        data that cannot be read.
    limits : Limits, optional
        The run stops when it uses more than this (memory, CPU, seconds).
    progress : bool, "rich", callable or dict
        True: a bar on stderr, drawn by tqdm (extra ``progress``); "rich": one drawn by rich (extra ``rich``);
        ``dict(total=, desc=)``: one of tqdm's with this number of items, where the data do not tell it, and this text.
        Its time left is the run's own forecast. A callable is called in this thread as ``progress(done, total)``, ten
        times a second at most and when all is done; ``total`` is None where it is unknown. One that raises is logged
        and dropped, but `StopRun` ends the run in order.
    on_event : callable, optional
        Called in this thread with each record of `amorsize.events`. If it raises, it is logged and called no more;
        `StopRun` ends the run.
    return_plan : bool
        Also return the `Plan` that was carried out.

    Returns
    -------
    list, or (list, Plan)
        The results, in the order of ``data``.

    Raises
    ------
    TypeError, ValueError
        For a bad argument, by its name.
    Exception
        The exception that func raised, with the same type and with the item's index and a short repr as a note.
    ItemTimeoutError
        If an item ran longer than ``timeout``.
    WorkerLostError
        If an item's worker process died, and died again when the item was repeated alone.
    TransferError
        With ``backend="processes"``, if func, an item or a result cannot be pickled.
    CheckpointMismatchError
        If the checkpoint holds results of another function or other data, or is no checkpoint. No item was run.
    CheckpointError
        If another process is running with the checkpoint, or it cannot be written.
    ResourceLimitError
        If the run used more than ``limits`` allows.
    ImportError
        If the package that draws the bar is not installed.
    StopRun
        If ``progress`` raised it.

    Notes
    -----
    Items run at least once, not exactly once: an item whose worker died is repeated.

    A coroutine function runs as tasks in a new event loop; the number of tasks at a time is measured (`execute_async`).

    Examples
    --------
    >>> import amorsize
    >>> amorsize.execute(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    request = check(
        func,
        data,
        backend=backend,
        max_workers=max_workers,
        start_method=start_method,
        memory_limit=memory_limit,
        sample=sample,
        history=history,
        retries=retries,
        retry_on=retry_on,
        backoff=backoff,
        on_error=on_error,
        initializer=initializer,
        initargs=initargs,
        timeout=timeout,
        rate=rate,
        max_failures=max_failures,
        checkpoint=checkpoint,
        checkpoint_key=checkpoint_key,
        limits=limits,
        progress=progress,
        on_event=on_event,
        coroutines=True,
    )
    return _run(request, return_plan)


def _run(request: Request, return_plan: bool) -> list[Any] | tuple[list[Any], Plan]:
    """Run ``execute()``."""
    ran: Execution | TaskRun
    if request.is_coroutine:
        load("amorsize.run.async_map")
        from amorsize.run.async_map import in_a_new_loop

        ran, results = in_a_new_loop(request)
    else:
        ran = Execution(request)
        results = ran.run()
    if not return_plan:
        return results
    load("amorsize.plan.of_run")
    from amorsize.plan.of_run import plan_of

    return results, plan_of(ran)


if TYPE_CHECKING:

    @overload
    def starmap(func: OfManyLater[R], tuples: AnyTuples, **options: Unpack[Raise]) -> list[R]: ...
    @overload
    def starmap(func: OfManyLater[R], tuples: AnyTuples, **options: Unpack[RaisePlan]) -> Pair[R]: ...
    @overload
    def starmap(func: OfManyLater[R], tuples: AnyTuples, **options: Unpack[RaiseMaybe]) -> Maybe[R]: ...  # type: ignore[overload-overlap]
    @overload
    def starmap(func: OfManyLater[R], tuples: AnyTuples, **options: Unpack[Collect]) -> list[R | Failure]: ...
    @overload
    def starmap(func: OfManyLater[R], tuples: AnyTuples, **options: Unpack[CollectPlan]) -> Pair[R | Failure]: ...
    @overload
    def starmap(func: OfManyLater[R], tuples: AnyTuples, **options: Unpack[CollectMaybe]) -> Maybe[R | Failure]: ...  # type: ignore[overload-overlap]
    @overload
    def starmap(func: OfMany[R], tuples: Tuples, **options: Unpack[Raise]) -> list[R]: ...
    @overload
    def starmap(func: OfMany[R], tuples: Tuples, **options: Unpack[RaisePlan]) -> Pair[R]: ...
    @overload
    def starmap(func: OfMany[R], tuples: Tuples, **options: Unpack[RaiseMaybe]) -> Maybe[R]: ...
    @overload
    def starmap(func: OfMany[R], tuples: Tuples, **options: Unpack[Collect]) -> list[R | Failure]: ...
    @overload
    def starmap(func: OfMany[R], tuples: Tuples, **options: Unpack[CollectPlan]) -> Pair[R | Failure]: ...
    @overload
    def starmap(func: OfMany[R], tuples: Tuples, **options: Unpack[CollectMaybe]) -> Maybe[R | Failure]: ...


@like(execute, data="tuples")
def starmap(func: Callable[..., Any], tuples: AnyTuples, **options: Any) -> list[Any] | tuple[list[Any], Plan]:
    """Like `execute`, but calls ``func(*item)``: ``list(itertools.starmap(func, tuples))``, as fast as it can run here.

    To map over several iterables, zip them: ``starmap(func, zip(a, b))``.

    Parameters
    ----------
    func : callable
        Takes the elements of one item. May be a coroutine function.
    tuples : iterable of iterables
        The arguments of each call, as a tuple or any other iterable.
    **options
        As in `execute`.

    Returns
    -------
    list, or (list, Plan)
        The results, in the order of ``tuples``.

    Raises
    ------
    TypeError
        For a bad argument, by its name; also for an item that is not iterable, as `itertools.starmap` raises it, with
        the item's index as a note.
    Exception
        As in `execute`.

    Examples
    --------
    >>> import amorsize
    >>> amorsize.starmap(pow, [(2, 5), (3, 2)])
    [32, 9]
    >>> amorsize.starmap(max, zip([1, 5], [4, 2]))
    [4, 5]
    """
    load("amorsize.system.starred")
    from amorsize.system.starred import starred

    return_plan = options.pop("return_plan", False)
    func = starred(func) if callable(func) else func
    return _run(check(func, tuples, data_name="tuples", coroutines=True, **options), return_plan)


if TYPE_CHECKING:

    @overload
    def stream(func: Func[T, R], data: Iterable[T], **options: Unpack[StreamRaise]) -> Generator[R, None, None]: ...

    @overload
    def stream(
        func: Func[T, R], data: Iterable[T], **options: Unpack[StreamCollect]
    ) -> Generator[R | Failure, None, None]: ...


@hinted
def stream(
    func: Callable[[Any], Any],
    data: Iterable[Any],
    *,
    ordered: bool = True,
    backend: Any = "auto",
    max_workers: int | None = None,
    start_method: str | None = None,
    memory_limit: int | None = None,
    history: History | None = None,
    retries: int = 0,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    backoff: float = 0.0,
    on_error: Literal["raise", "collect"] = "raise",
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    timeout: float | None = None,
    rate: float | None = None,
    max_failures: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_key: str | None = None,
    limits: Limits | None = None,
    progress: Progress = False,
    on_event: Callable[[Event], object] | None = None,
    max_ahead: int | None = None,
    max_ahead_bytes: int | None = None,
) -> Generator[Any, None, None]:
    """Like `execute`, but yields results one by one while the map runs; ``data`` may be infinite.

    Items are read and run ahead of the reader of the results within limits: at most ``max_ahead`` items, and at most
    ``max_ahead_bytes`` of results. The map is driven in the thread that takes the results, while it takes them.

    Parameters
    ----------
    func, data, backend, max_workers, start_method, memory_limit, history
        As in `execute`.
    retries, retry_on, backoff, on_error, initializer, initargs, timeout, rate, max_failures, limits, progress, on_event
        As in `execute`. Items that are set aside count as ahead of the reader.
    checkpoint, checkpoint_key
        As in `execute`. Results that the checkpoint has come without running: each at its place, or all of them first
        if not ``ordered``. For that, the data are read up to the last of these items before the first result.
    ordered : bool
        True: results in the order of ``data``; False: in the order of completion.
    max_ahead : int, optional
        Items that may be running, or whose results wait for the reader; by default 16,384.
    max_ahead_bytes : int, optional
        Bytes of results that may wait for the reader; by default 64 MB. One result may always wait.

    Returns
    -------
    generator
        Yields results. Its ``close()`` ends the workers; so does the end of a ``with contextlib.closing(...)`` block,
        or the deletion of the generator.

    Raises
    ------
    TypeError, ValueError
        For a bad argument, by its name, at the call.
    CheckpointMismatchError, CheckpointError
        As in `execute`.
    Exception
        The exception that func raised; if ``ordered``, after all earlier results have been taken.

    Examples
    --------
    >>> import amorsize, itertools
    >>> squares = amorsize.stream(lambda x: x * x, itertools.count())
    >>> [next(squares) for _ in range(4)]
    [0, 1, 4, 9]
    >>> squares.close()
    """
    load("amorsize.run.stream")
    from amorsize.run.stream import stream_results

    request = check(
        func,
        data,
        backend=backend,
        max_workers=max_workers,
        start_method=start_method,
        memory_limit=memory_limit,
        history=history,
        retries=retries,
        retry_on=retry_on,
        backoff=backoff,
        on_error=on_error,
        initializer=initializer,
        initargs=initargs,
        timeout=timeout,
        rate=rate,
        max_failures=max_failures,
        checkpoint=checkpoint,
        checkpoint_key=checkpoint_key,
        limits=limits,
        progress=progress,
        on_event=on_event,
    )
    return stream_results(
        request,
        ordered=ordered,
        max_ahead=whole("max_ahead", max_ahead, least=1, optional=True),
        max_ahead_bytes=whole("max_ahead_bytes", max_ahead_bytes, least=1, optional=True),
    )


@hinted
def validate(
    func: Callable[[Any], Any],
    data: Iterable[Any],
    *,
    backend: Any = "auto",
    max_workers: int | None = None,
    start_method: str | None = None,
    memory_limit: int | None = None,
    sample: Literal["spread", "head"] = "spread",
    history: History | None = None,
    max_seconds: float = 10.0,
    rounds: int | None = None,
    rivals: tuple[str, ...] = ("pool", "threads"),
    profile: Literal["cProfile", "pyinstrument", "line_profiler"] | None = None,
) -> Validation:
    """Measure how good the forecast of `optimize` and the speed of `execute` are, for your function and data here.

    Runs in turns a plain loop, the plan's pool, `execute`, and ``multiprocessing.Pool()`` and ``ThreadPoolExecutor()``
    with their defaults: on all items, or on a subset that fits the time, evenly spread over the data.

    Parameters
    ----------
    func, data, backend, max_workers, start_method, memory_limit, sample, history
        As in `optimize`. Backends that ``backend`` excludes are not run; with ``"processes"`` or an executor alone func
        is never called in this process, so the loop is not run either. Of an iterator only the items that are used are
        read. On an executor or a cluster the contenders are the plan's tasks, `execute`, and one task for each item.
    max_seconds : float
        About the seconds that the validation may take. One round on two items is always run.
    rounds : int, optional
        The number of runs of each contender, on the items that then fit the time; by default as many as fit, up to 11.
    rivals : tuple of str
        The rivals to run beside amorsize and the loop: ``"pool"``, ``"threads"``, or both.
    profile : {"cProfile", "pyinstrument", "line_profiler"}, optional
        When all times have been taken, run about a second of the items again under this profiler, in this process: what
        to make faster before making it parallel. The last two need the extra ``profile``.

    Returns
    -------
    Validation
        ``verdict`` in words, ``ok``, ``forecast_error``, ``regret_execute``, the times of each contender, and more.

    Raises
    ------
    TypeError, ValueError
        For a bad argument, by its name.
    Exception
        The exception that ``func`` raises, with a note that names the contender being timed.

    Warnings
    --------
    ``func`` runs many times on the same items, and its results are thrown away. Use this only for a function that may
    be repeated and that does not change its items.

    Examples
    --------
    >>> import amorsize
    >>> validation = amorsize.validate(str.upper, ["a", "b", "c"], max_seconds=1)
    >>> validation.same_results, validation.n_items
    (True, 3)
    """
    from amorsize.options import duration, names_of

    load("amorsize.plan.trials.validate")
    from amorsize.plan.trials.profiling import checked
    from amorsize.plan.trials.validate import RIVALS, validate_request

    request = check(
        func,
        data,
        backend=backend,
        max_workers=max_workers,
        start_method=start_method,
        memory_limit=memory_limit,
        sample=sample,
        history=history,
    )
    return validate_request(
        request,
        max_seconds=duration("max_seconds", max_seconds),
        rounds=whole("rounds", rounds, least=1, optional=True),
        rivals=names_of("rivals", rivals, RIVALS),
        profile=checked(profile, func),
    )


@hinted
def tune(
    func: Callable[[Any], Any],
    data: Iterable[Any],
    *,
    backend: Any = "auto",
    max_workers: int | None = None,
    start_method: str | None = None,
    memory_limit: int | None = None,
    sample: Literal["spread", "head"] = "spread",
    history: History | None = None,
    max_seconds: float = 30.0,
) -> Plan:
    """Like `optimize`, but measures the candidates that the model finds promising, and chooses by the clock.

    A search by successive halving: at most a dozen candidates run on a short slice of the data, the better half of
    them on a slice twice as long, and so on until two are left. These run on all of the data, or on as much as fits the
    time. The model scales the time of a slice to all items (the start is paid once, the rest grows).

    Parameters
    ----------
    func, data, backend, max_workers, start_method, memory_limit, sample, history
        As in `optimize`; with an executor or a cluster alone the candidates are sizes of its tasks. Of an iterator some
        items are read ahead; ``plan.data`` yields these and the rest.
    max_seconds : float
        About the seconds that the search may take. Every candidate is tried on at least one item.

    Returns
    -------
    Plan
        A plan whose forecast is the measured time; its evidence is in ``trials``.

    Raises
    ------
    TypeError, ValueError
        For a bad argument, by its name.
    Exception
        The exception that ``func`` raises, with a note that names the candidate being tried.

    Warnings
    --------
    ``func`` runs many times on the same items, and its results are thrown away. Use this only for a function that may
    be repeated and that does not change its items.

    Examples
    --------
    >>> import amorsize
    >>> plan = amorsize.tune(str.upper, ["a", "b", "c"], max_seconds=1)
    >>> plan.backend in ("serial", "threads", "processes"), len(plan.trials) > 0
    (True, True)
    """
    from amorsize.options import duration

    load("amorsize.plan.trials.tune")
    from amorsize.plan.trials.tune import tune_request

    request = check(
        func,
        data,
        backend=backend,
        max_workers=max_workers,
        start_method=start_method,
        memory_limit=memory_limit,
        sample=sample,
        history=history,
    )
    return tune_request(request, max_seconds=duration("max_seconds", max_seconds))
