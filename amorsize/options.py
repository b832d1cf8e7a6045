"""Check the arguments of a call. A `Request` is valid and is not checked again."""

from __future__ import annotations

import os
import sys

from amorsize.backends.table import BACKENDS as ROWS
from amorsize.backends.table import row_serving
from amorsize.frozen import Frozen
from amorsize.hints import missing, near_value, of_backend, warn
from amorsize.schedule.failures import Repeats
from amorsize.system.environment import BACKENDS as BACKENDS_VARIABLE
from amorsize.system.environment import backends_setting, max_workers_setting
from amorsize.system.looks import code_flags, defined, dimensions, is_async, is_table
from amorsize.system.start_methods import available_start_methods, has_threads, note_first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Literal

    from amorsize.facts import Backend
    from amorsize.history.history import History
    from amorsize.limits import Limits
    from amorsize.schedule.failures import Kinds
else:
    # It is loaded with the interpreter; ``collections.abc`` would load all of collections (1.5 ms).
    from _collections_abc import Iterable, Mapping, Sequence

BACKENDS: tuple[Backend, ...] = ("serial", *(row.name for row in ROWS if not row.serves))
CHOICES = f"'auto', one of {BACKENDS}, an executor, or a tuple of these"
START_METHODS = ("fork", "forkserver", "spawn")
# Of inspect, which would take 5 ms to load.
CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200
# Who draws a bar: the package, the extra that brings it, and the module that uses it.
BARS = {
    "tqdm": ("progress", "amorsize.integrations.tqdm"),
    "rich": ("rich", "amorsize.integrations.rich"),
}
OF_PANDAS = "; for rows as Series call df.apply(func, axis=1, engine=amorsize.integrations.pandas.engine)"
PROGRESS = "True, False, 'rich', a function of (done, total), or a dict of total and desc"


class Bar(Frozen):
    """A bar, as ``progress=`` asks for it.

    Attributes
    ----------
    module : str
        The module that draws it.
    total : int or None
        Number of items, where the data do not tell it.
    desc : str
        What stands before it.
    """

    module: str
    total: int | None = None
    desc: str = ""


class Request(Frozen):
    """One call's arguments, all valid.

    Attributes
    ----------
    backends : tuple of str
        Backends to choose from; ``auto`` tells whether that was left to amorsize.
    executor : object or None
        The user's own executor.
    executor_as : str or None
        Which of ``backends`` it takes the place of; "executor" when there is nothing else to choose from.
    is_coroutine : bool
        True if calling func only makes a coroutine, which an event loop must run.
    workers_cap : int or None
        ``AMORSIZE_MAX_WORKERS``; ``max_workers`` is never more.
    chunksize : int or None
        Items in each task of the user's executor, for a trial; None: the schedule chooses.
    """

    func: Callable[[Any], Any]
    data: Iterable[Any]
    auto: bool
    backends: tuple[Backend, ...]
    executor: Any
    executor_as: Backend | None
    max_workers: int | None
    start_method: str | None
    memory_limit_bytes: int | None
    spread: bool
    history: History | None
    retries: int = 0
    retry_on: Kinds = Exception
    backoff_s: float = 0.0
    on_error: Literal["raise", "collect"] = "raise"
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    timeout_s: float | None = None
    rate: float | None = None
    max_failures: int | None = None
    checkpoint: str | None = None
    checkpoint_key: str | None = None
    limits: Limits | None = None
    progress: Bar | Callable[[int, int | None], object] | None = None
    on_event: Callable[[Any], object] | None = None
    is_coroutine: bool = False
    workers_cap: int | None = None
    chunksize: int | None = None

    @property
    def most_workers(self) -> int | None:
        """The largest number of workers: what the call asked for, or the environment's cap; None: no limit."""
        return self.workers_cap if self.max_workers is None else self.max_workers

    def repeats(self) -> Repeats:
        """Return the rule by which items are repeated, with nothing counted yet."""
        draw = None
        if self.backoff_s:
            from random import Random

            # A generator of its own: the program's draws stay the same, and calls that fail together come back apart.
            draw = Random().random
        return Repeats(self.retries, self.retry_on, self.backoff_s, draw)

    @property
    def is_free(self) -> bool:
        """True if no argument could keep a map from going parallel."""
        asked = (
            self.most_workers,
            self.start_method,
            self.memory_limit_bytes,
            self.rate,
            self.initializer,
            self.limits,
        )
        free = self.auto and self.executor is None and backends_setting(BACKENDS) is None
        return free and all(one is None for one in asked)


def check(
    func: Any,
    data: Any,
    *,
    backend: Any = "auto",
    max_workers: Any = None,
    start_method: Any = None,
    memory_limit: Any = None,
    sample: Any = "spread",
    history: Any = None,
    retries: Any = 0,
    retry_on: Any = Exception,
    backoff: Any = 0.0,
    on_error: Any = "raise",
    initializer: Any = None,
    initargs: Any = (),
    timeout: Any = None,
    rate: Any = None,
    max_failures: Any = None,
    checkpoint: Any = None,
    checkpoint_key: Any = None,
    limits: Any = None,
    progress: Any = False,
    on_event: Any = None,
    coroutines: bool = False,
    async_data: bool = False,
    data_name: str = "data",
    is_elsewhere: bool = False,
) -> Request:
    """Check every argument of ``optimize``, ``execute`` and ``stream``.

    ``coroutines``: func may be one's function. ``async_data``: the items of any function may come from an async
    iterable. ``data_name``: the name of the argument with the items. ``is_elsewhere``: the plan is for another machine,
    which may have other start methods.

    Raises
    ------
    TypeError, ValueError
        With the argument's name first.
    """
    note_first_use()
    if not callable(func):
        raise TypeError(f"func: must be callable, not {_kind(func)}")
    is_coroutine = is_coroutine_function(func)
    if code_flags(func) & (CO_GENERATOR | CO_ASYNC_GENERATOR):
        raise TypeError(
            "func: is a generator function: to call it only makes a generator and runs nothing of it, so there is "
            "nothing to run in parallel. Return a list, or map lambda item: list(func(item))"
        )
    if is_coroutine:
        _check_tasks(coroutines, backend, start_method, memory_limit)
    if is_async(data) and (is_coroutine or async_data or defined(type(data), "__iter__") is None):
        if not (is_coroutine or async_data):
            raise TypeError(
                f"{data_name}: is an async iterable, which only an event loop can read: use await execute_async(), or "
                "stream_async()"
            )
    elif defined(type(data), "__iter__") is None and defined(type(data), "__getitem__") is None:
        raise TypeError(f"{data_name}: must be iterable, not {_kind(data)}")
    if dimensions(data) == 0:
        raise TypeError(f"{data_name}: a zero-dimensional array has no items to iterate over")
    if initializer is not None and not callable(initializer):
        raise TypeError(f"initializer: must be callable or None, not {_kind(initializer)}")
    if not isinstance(initargs, Sequence) or isinstance(initargs, str | bytes):
        raise TypeError(f"initargs: must be a tuple, not {_kind(initargs)}")
    if len(initargs) and initializer is None:
        raise ValueError("initargs: are the arguments of an initializer, and there is none; pass initializer=, too")
    if on_error not in ("raise", "collect"):
        raise ValueError(
            f"on_error: must be 'raise' or 'collect', not {on_error!r}{near_value(on_error, ('raise', 'collect'))}"
        )
    if sample not in ("spread", "head"):
        raise ValueError(f"sample: must be 'spread' or 'head', not {sample!r}{near_value(sample, ('spread', 'head'))}")
    allowed = backends_setting(BACKENDS)
    names, executor, place = _without_executor(backend)
    timeout_s = _positive("timeout", timeout, "seconds")
    _check_start_method(start_method, names, executor, place)
    failures = whole("max_failures", max_failures, least=0, optional=True)
    if failures is not None and on_error != "collect":
        raise ValueError("max_failures: counts failures that are collected; use it with on_error='collect'")
    most, cap = whole("max_workers", max_workers, least=1, optional=True), max_workers_setting()
    rows = is_table(data)
    if rows is not None:
        _warn_of_columns(rows, data_name)
    return Request(
        func=func,
        data=data,
        auto=isinstance(backend, str) and backend == "auto",
        backends=_candidates(
            names,
            place,
            None if is_coroutine else timeout_s,
            None if is_coroutine else allowed,
            ends_items=_ends_items(executor),
        ),
        executor=executor,
        executor_as=place,
        max_workers=most if most is None or cap is None else min(most, cap),
        workers_cap=cap,
        start_method=_start_method(start_method, is_elsewhere),
        memory_limit_bytes=whole("memory_limit", memory_limit, least=1, optional=True),
        spread=sample == "spread",
        history=_history(history),
        retries=whole("retries", retries, least=0) or 0,
        retry_on=_retry_on(retry_on),
        backoff_s=_backoff(backoff),
        on_error=on_error,
        initializer=initializer,
        initargs=tuple(initargs),
        timeout_s=timeout_s,
        rate=_positive("rate", rate, "items per second"),
        max_failures=failures,
        checkpoint=_checkpoint(checkpoint),
        checkpoint_key=_checkpoint_key(checkpoint_key, checkpoint),
        limits=_limits(limits),
        progress=_progress(progress),
        on_event=_on_event(on_event),
        is_coroutine=is_coroutine,
    )


def _checkpoint(value: Any) -> str | None:
    """Return the absolute path of the file: the working directory may change."""
    if value is None:
        return None
    if isinstance(value, bytes) or not isinstance(value, str | os.PathLike):
        raise TypeError(f"checkpoint: must be a path or None, not {_kind(value)}")
    path = os.fspath(value)
    if not path or not isinstance(path, str) or "\0" in path:
        raise ValueError(f"checkpoint: must be the path of a file, not {path!r}")
    return os.path.realpath(path)


def _checkpoint_key(value: Any, checkpoint: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"checkpoint_key: must be a str or None, not {_kind(value)}")
    if not value:
        raise ValueError("checkpoint_key: must not be empty")
    if checkpoint is None:
        raise ValueError("checkpoint_key: stands in for the function in a checkpoint; use it with checkpoint=PATH")
    return value


def _limits(value: Any) -> Limits | None:
    if value is None:
        return None
    from amorsize.limits import Limits

    if isinstance(value, Limits):
        return value
    raise TypeError(f"limits: must be an amorsize.Limits or None, not {_kind(value)}")


def _progress(value: Any) -> Bar | Callable[[int, int | None], object] | None:
    if value is False:
        return None
    if callable(value):
        if is_coroutine_function(value):
            raise TypeError("progress: is a coroutine function, which cannot be called from the run; pass a plain one")
        return value  # type: ignore[no-any-return]
    texts = value if isinstance(value, Mapping) else {}
    for key in texts:
        if key not in ("total", "desc"):
            raise ValueError(
                f"progress: a dict of it may hold total and desc, not {key!r}{near_value(key, ('total', 'desc'))}"
            )
    desc = texts.get("desc")
    if desc is not None and not isinstance(desc, str):
        raise TypeError(f"progress: its desc must be a str or None, not {_kind(desc)}")
    if value is True or isinstance(value, Mapping):
        package = "tqdm"
    elif value == "rich":
        package = "rich"
    else:
        raise TypeError(f"progress: must be {PROGRESS}, not {repr(value) if isinstance(value, str) else _kind(value)}")
    from importlib.util import find_spec

    extra, module = BARS[package]
    if find_spec(package) is None:
        raise ImportError(missing("progress: its bar", package, extra))
    return Bar(
        module=module, total=whole("progress: its total", texts.get("total"), least=0, optional=True), desc=desc or ""
    )


def _on_event(value: Any) -> Callable[[Any], object] | None:
    if value is not None and not callable(value):
        raise TypeError(f"on_event: must be callable or None, not {_kind(value)}")
    return value  # type: ignore[no-any-return]


def _candidates(
    backend: Any,
    place: Backend | None,
    timeout_s: float | None,
    allowed: tuple[str, ...] | None,
    *,
    ends_items: bool = False,
) -> tuple[Backend, ...]:
    """Return the candidate backends; ``allowed``: the only ones that "auto" means.

    A timeout needs amorsize's own processes: only these can be ended at any time.
    """
    named = _backends(backend)
    narrowed = False
    if allowed is not None and place is None and isinstance(backend, str) and backend == "auto":
        narrowed = True
        if timeout_s is not None and "processes" not in allowed:
            raise ValueError(
                f"timeout: needs worker processes, which alone can be ended, and {BACKENDS_VARIABLE} leaves them out; "
                "add processes there, or pass backend='processes'"
            )
        named = tuple(name for name in named if name in allowed)
    if place != "executor" and "processes" in named and not available_start_methods():
        named = tuple(name for name in named if name != "processes")
    if timeout_s is None:
        if not named and narrowed:
            raise ValueError(f"{BACKENDS_VARIABLE}: names nothing that {sys.platform} has; add serial")
        if not named:
            raise ValueError(f"backend: no process can be started on {sys.platform}; 'auto' runs the loop there")
        return (place,) if place == "executor" else named
    if place is None and not available_start_methods():
        raise ValueError(f"timeout: needs worker processes, which alone can be ended; {sys.platform} has none")
    if place == "executor" and ends_items:
        return (place,)
    if place is not None:
        raise ValueError(
            "timeout: needs worker processes of amorsize's own, or an engine that can end a running task (Ray, a card "
            "of kind local); this one cannot. Leave timeout= out, or let func limit its own time"
        )
    if backend != "auto" and "processes" not in named:
        raise ValueError(f"timeout: needs worker processes, which alone can be ended; backend={backend!r} has none")
    return ("processes",)


def _retry_on(value: Any) -> Kinds:
    if value is Exception:
        return Exception
    for kind in value if isinstance(value, tuple) else (value,):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            what = repr(kind) if isinstance(kind, type) else _kind(kind)
            raise TypeError(f"retry_on: must be an exception type, or a tuple of exception types, not {what}")
    return value  # type: ignore[no-any-return]


def _backoff(value: Any) -> float:
    if not _is_number(value):
        raise TypeError(f"backoff: must be a number of seconds, not {_kind(value)}")
    number = _as_float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(f"backoff: must be a finite number of seconds, at least 0, not {number:g}")
    return number


def _is_number(value: Any) -> bool:
    kind = type(value)
    return not isinstance(value, bool | str) and (hasattr(kind, "__float__") or hasattr(kind, "__index__"))


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _positive(name: str, value: Any, unit: str) -> float | None:
    if value is None:
        return None
    if not _is_number(value):
        raise TypeError(f"{name}: must be a number of {unit} or None, not {_kind(value)}")
    number = _as_float(value)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name}: must be a positive, finite number of {unit}, not {number:g}")
    return number


def duration(name: str, value: Any) -> float:
    """Return a required number of seconds."""
    number = _positive(name, value, "seconds")
    if number is None:
        raise TypeError(f"{name}: must be a number of seconds, not None")
    return number


def names_of(name: str, values: Any, known: Sequence[str]) -> tuple[str, ...]:
    """Return the given names as a tuple, checked against the known names. It may be empty."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: must be a tuple of names out of {tuple(known)}, not {_kind(values)}")
    names = tuple(values)
    for one in names:
        if one not in known:
            raise ValueError(f"{name}: must hold names out of {tuple(known)}, not {one!r}{near_value(one, known)}")
    return names


def _kind(obj: object) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")


def is_coroutine_function(func: Any) -> bool:
    """Return True if calling func only makes a coroutine. Handles methods, partials and callable objects."""
    return bool(code_flags(func) & CO_COROUTINE)


def _without_executor(backend: Any) -> tuple[Any, Any, Backend | None]:
    """Return the names in a backend, its executor, and the candidate name that the executor replaces."""
    if not isinstance(backend, str | tuple | list) and row_serving(backend) is not None:
        return "auto", backend, "executor"
    if not isinstance(backend, tuple | list):
        return backend, None, None
    executors = [one for one in backend if not isinstance(one, str) and row_serving(one) is not None]
    if not executors:
        return backend, None, None
    names = [one for one in backend if all(one is not executor for executor in executors)]
    if len(executors) > 1:
        raise ValueError("backend: may hold one executor, not several")
    if not names:
        return "auto", executors[0], "executor"
    place: Backend = "threads" if _has_threads(executors[0]) else "processes"
    if place in names:
        raise ValueError(f"backend: an executor is what takes the place of {place!r}; name one of the two")
    return (*names, place), executors[0], place


def _ends_items(executor: Any) -> bool:
    """Return True if the executor can end a running item."""
    row = None if executor is None else row_serving(executor)
    # A card's depends on its kind.
    return row is not None and (row.ends_items or getattr(executor, "ends_items", False) is True)


def _has_threads(executor: Any) -> bool:
    """Return True if the executor runs func in threads of this interpreter.

    ``InterpreterPoolExecutor`` is a ``ThreadPoolExecutor`` by inheritance, but each of its threads has an interpreter
    of its own: another lock, and functions, items and results are pickled, as for processes.
    """
    futures, apart = (sys.modules.get(f"concurrent.futures.{name}") for name in ("thread", "interpreter"))
    if apart is not None and isinstance(executor, apart.InterpreterPoolExecutor):
        return False
    return futures is not None and isinstance(executor, futures.ThreadPoolExecutor)


def _check_tasks(allowed: bool, backend: Any, start_method: Any, memory_limit: Any) -> None:
    """Raise if an argument cannot be combined with a coroutine function."""
    if not allowed:
        raise TypeError(
            "func: is a coroutine function, which runs as tasks on an event loop: there is nothing to plan here, and "
            "no pool can run it. Use execute(), await execute_async(), or stream_async(): they find out how many tasks "
            "at a time"
        )
    if backend != "auto":
        raise ValueError(f"backend: a coroutine function runs on an event loop; leave it at 'auto', not {backend!r}")
    for name, value in (("start_method", start_method), ("memory_limit", memory_limit)):
        if value is not None:
            raise ValueError(f"{name}: is for worker processes; a coroutine function has none")


def _check_start_method(value: Any, names: Any, executor: Any, place: Backend | None) -> None:
    """Raise if a start method is given, and no candidate starts worker processes."""
    if value is None:
        return
    starts = place != "executor" and (names == "auto" or "processes" in _backends(names)) and place != "processes"
    if not starts:
        what = "an executor starts its workers by itself" if executor is not None else f"backend={names!r} has none"
        raise ValueError(f"start_method: says how worker processes start, and {what}; leave it out")


def _warn_of_columns(rows: str, data_name: str) -> None:
    """Warn at the user's line: to iterate over a data frame gives its columns."""
    warn(
        f"{data_name}: is a DataFrame, and func gets its columns, as map() has it. For its rows pass "
        f"df.{rows}(), or list(df.{rows}()){OF_PANDAS if rows == 'itertuples' else ''}",
        UserWarning,
    )


def _backends(backend: Any) -> tuple[Backend, ...]:
    if isinstance(backend, str):
        if backend == "auto":
            return BACKENDS if has_threads() else tuple(name for name in BACKENDS if name != "threads")
        if backend not in BACKENDS:
            raise ValueError(f"backend: must be {CHOICES}, not {backend!r}{of_backend(backend, BACKENDS)}")
        return (backend,)
    if isinstance(backend, tuple | list):
        if not backend:
            raise ValueError("backend: an empty tuple leaves nothing to choose from")
        for one in backend:
            if not isinstance(one, str):
                raise TypeError(f"backend: must hold names of {BACKENDS} and one executor at most, not {_kind(one)}")
            if one not in BACKENDS:
                raise ValueError(f"backend: must hold names out of {BACKENDS}, not {one!r}{of_backend(one, BACKENDS)}")
        return tuple(name for name in BACKENDS if name in backend)
    raise TypeError(f"backend: must be {CHOICES}, not {_kind(backend)}")


def whole(name: str, value: Any, *, least: int, optional: bool = False) -> int | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name}: must be a whole number{' or None' if optional else ''}, not {_kind(value)}")
    number = int(value.__index__())
    if number < least:
        raise ValueError(f"{name}: must be at least {least}, not {number}")
    return number


def _start_method(value: Any, is_elsewhere: bool) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"start_method: must be one of {START_METHODS} or None, not {_kind(value)}")
    if value not in START_METHODS:
        hint = near_value(value, START_METHODS)
        raise ValueError(f"start_method: must be one of {START_METHODS} or None, not {value!r}{hint}")
    if not is_elsewhere and value not in available_start_methods():
        raise ValueError(f"start_method: {value!r} is not to be had on {sys.platform}")
    return value


def _history(value: Any) -> History | None:
    if value is None:
        return None
    from amorsize.history.history import History

    if not isinstance(value, History):
        raise TypeError(f"history: must be a History or None, not {_kind(value)}")
    return value
