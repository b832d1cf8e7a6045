"""What the user reads after an error: a hint for the name of another library, and a traceback without our frames."""

from __future__ import annotations

import sys
from os import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, Final, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

_CHUNKS: Final = "The size of chunks is chosen from what items take, so leave it out"
_ADVICE: Final = {
    **dict.fromkeys(
        [
            "n_jobs",
            "njobs",
            "jobs",
            "processes",
            "n_processes",
            "nprocs",
            "num_processes",
            "num_proc",
            "max_procs",
            "workers",
            "n_workers",
            "num_workers",
            "nworkers",
            "threads",
            "n_threads",
            "num_threads",
            "num_cpus",
            "ncpus",
            "cores",
            "concurrency",
            "j",
            "n",
        ],
        "max_workers=, the most workers; leave it out, and the best number is chosen",
    ),
    **dict.fromkeys(("chunksize", "chunk_size", "chunk", "batch_size", "batchsize"), _CHUNKS),
    **dict.fromkeys(("context", "mp_context", "ctx", "method"), "start_method="),
    **dict.fromkeys(("prefer", "require", "executor", "pool", "scheduler", "engine", "kind"), "backend="),
    **dict.fromkeys(("verbose", "tqdm", "show_progress", "progress_bar", "on_progress"), "progress="),
    **dict.fromkeys(("desc", "total"), "progress=dict(total=, desc=)"),
    **dict.fromkeys(("callback", "error_callback", "listener"), "on_event="),
    **dict.fromkeys(("max_retries", "num_retries", "n_retries", "tries", "attempts"), "retries="),
    **dict.fromkeys(("exceptions", "retry_exceptions", "retry_for", "retry_if", "exc_types"), "retry_on="),
    **dict.fromkeys(("retry_delay", "retry_wait", "wait", "delay", "backoff_s", "backoff_factor"), "backoff="),
    **dict.fromkeys(("time_limit", "max_time", "timeout_s", "timelimit"), "timeout="),
    **dict.fromkeys(("init", "init_func", "worker_init", "setup"), "initializer="),
    **dict.fromkeys(("init_args", "initializer_args"), "initargs="),
    **dict.fromkeys(("return_exceptions", "raise_errors", "errors", "catch"), "on_error='collect'"),
    **dict.fromkeys(("resume", "cache", "save_to"), "checkpoint=PATH"),
}
_POSITIONS: Final = {
    **dict.fromkeys(("iterable", "items", "args", "iterables"), "data, the second argument"),
    **dict.fromkeys(("function", "fn", "f"), "func, the first argument"),
}
_BACKENDS: Final = {
    **dict.fromkeys(
        [
            "process",
            "proc",
            "procs",
            "multiprocessing",
            "multiprocess",
            "mp",
            "pool",
            "processpool",
            "processpoolexecutor",
            "parallel",
        ],
        "'processes'",
    ),
    **dict.fromkeys(("thread", "threading", "threadpool", "multithreading", "threadpoolexecutor", "th"), "'threads'"),
    **dict.fromkeys(("sequential", "loop", "single", "sync", "synchronous", "none", "debug", "dummy"), "'serial'"),
    **dict.fromkeys(("fork", "forkserver", "spawn"), "backend='processes' with start_method="),
    **dict.fromkeys(("async", "asyncio", "coroutine"), "'auto': a coroutine function runs on an event loop by itself"),
    "loky": "the executor itself: backend=loky.get_reusable_executor(). amorsize's own workers are 'processes'",
    "dask": "the client itself: backend=dask.distributed.Client()",
    "distributed": "the client itself: backend=dask.distributed.Client()",
    "ray": "an executor of it, with submit(). amorsize's own workers are 'processes'",
    "mpi": "an executor of it: backend=mpi4py.futures.MPIPoolExecutor()",
    "joblib": "'processes' or 'threads'",
    "executor": "the executor itself, such as a concurrent.futures.ThreadPoolExecutor",
}


def near(name: str, known: Iterable[str], said: Callable[[str], str] = "Did you mean {}?".format) -> str:
    """Return what a wrong name may stand for, as the end of a sentence; empty if nothing comes near.

    Examples
    --------
    >>> near("optimise", ["optimize", "execute"])
    '. Did you mean optimize?'
    """
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 1)
    return f". {said(found[0])}" if found else ""


def near_value(value: object, known: Iterable[str]) -> str:
    """Return the same of a wrong value, quoted."""
    return near(str(value), known, "Did you mean {!r}?".format)


def of_option(name: str, meanings: dict[str, str]) -> str:
    """Return the same of an option's name, which may be another library's.

    ``meanings``: what to say for each name that exists.

    Examples
    --------
    >>> of_option("njob", {"max_workers": "--max-workers", "json": "--json"})
    '. Did you mean max_workers=, the most workers; leave it out, and the best number is chosen?'
    """
    known = {
        key: advice for key, advice in _ADVICE.items() if advice is _CHUNKS or advice.partition("=")[0] in meanings
    }
    known |= meanings
    return near(name.lower(), known, lambda key: _CHUNKS if known[key] is _CHUNKS else f"Did you mean {known[key]}?")


def of_argument(name: str, known: Iterable[str]) -> str:
    """Return what a wrong argument's name may stand for, as the end of a sentence; or the names that there are.

    Examples
    --------
    >>> of_argument("retrys", ["retries", "rate"])
    '. Did you mean retries=?'
    """
    known = list(known)
    return of_option(name, _POSITIONS | {one: f"{one}=" for one in known}) or f". There are: {', '.join(known)}"


def of_backend(name: str, known: Iterable[str]) -> str:
    """Return what the wrong name of a backend may stand for, as the end of a sentence; empty if nothing comes near.

    Examples
    --------
    >>> of_backend("process", ["processes"])
    ". Did you mean 'processes'?"
    """
    advice = _BACKENDS.get(name.lower())
    if advice == "backend='processes' with start_method=":
        advice += repr(name.lower())
    return near_value(name.lower(), known) if advice is None else f". Did you mean {advice}?"


def hinted(function: F, shown: Callable[..., Any] | None = None) -> F:
    """Decorate a public function: an argument that it does not have is refused with a hint at the right one.

    An exception of the user's code leaves it without our frames (`fold`). What a type checker sees of the function
    stays as it is. ``shown``: has the parameters to show, if the function takes them as keywords.
    """
    shown = shown or function
    code: Any = shown.__code__
    names = frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])

    def refuse(keywords: dict[str, Any]) -> None:
        wrong = next(name for name in keywords if name not in names)
        known = [name for name in code.co_varnames[: len(names)] if name not in ("self", "func", "data")]
        called_as = function.__qualname__.partition(".")[0]
        raise TypeError(f"{called_as}() got an unexpected keyword argument {wrong!r}{of_argument(wrong, known)}")

    if function.__code__.co_flags & 0x80:  # inspect.CO_COROUTINE

        async def later(*args: Any, **keywords: Any) -> Any:
            if not names.issuperset(keywords):
                refuse(keywords)
            try:
                return await function(*args, **keywords)
            except BaseException as exc:
                fold(exc)
                raise

        called: Any = later
    else:

        def call(*args: Any, **keywords: Any) -> Any:
            if not names.issuperset(keywords):
                refuse(keywords)
            try:
                return function(*args, **keywords)
            except BaseException as exc:
                fold(exc)
                # It adds no entry to the traceback for this frame; `raise exc` would.
                raise

        called = call
    return _dressed(called, function, shown)


def _dressed(called: Any, function: F, shown: Callable[..., Any]) -> F:
    """Give a decorated function the name and the text of the original, and the parameters to show."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(called, name, getattr(function, name))
    called.__annotations__ = shown.__annotations__
    called.__wrapped__ = shown
    return called  # type: ignore[no-any-return]


def like(other: Callable[..., Any], **renamed: str) -> Callable[[F], F]:
    """Decorate a public function that hands its keywords on, as `hinted` does: ``help()`` shows those of ``other``.

    ``renamed``: the parameters of ``other`` that have another name here.
    """

    def decorate(function: F) -> F:
        theirs: Any = other.__wrapped__  # type: ignore[attr-defined]
        code, own = theirs.__code__, function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        names = tuple(renamed.get(name, name) for name in names)
        make: Any = type(function)
        shown = make(
            # It is never called. It lies where the function lies, since `inspect` looks for the source there.
            (lambda: None).__code__.replace(
                co_argcount=code.co_argcount,
                co_kwonlyargcount=code.co_kwonlyargcount,
                co_nlocals=len(names),
                co_varnames=names,
                co_name=own.co_name,
                co_filename=own.co_filename,
                co_firstlineno=own.co_firstlineno,
            ),
            function.__globals__,
        )
        shown.__kwdefaults__ = theirs.__kwdefaults__
        shown.__annotations__ = {renamed.get(name, name): kind for name, kind in theirs.__annotations__.items()}
        shown.__annotations__ |= function.__annotations__
        shown.__annotations__.pop("options", None)
        return hinted(function, shown)

    return decorate


def warn(text: str, category: type[Warning]) -> None:
    """Warn at the user's line: that of the call of amorsize."""
    import warnings

    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "amorsize":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


# -- missing packages --------------------------------------------------------------------------------------------------


def missing(what: str, package: str, extra: str) -> str:
    """Return the text of an error: ``what`` needs a package that is not installed, and this extra brings it.

    Examples
    --------
    >>> missing("plot()", "matplotlib", "plot")
    "plot() needs matplotlib, which is not installed. Run: pip install 'amorsize[plot]'"
    """
    return f"{what} needs {package}, which is not installed. Run: pip install 'amorsize[{extra}]'"


class Needs:
    """Turns the error about a module that is missing, raised in the ``with`` block, into one that names the extra.

    A module that is installed, and cannot be loaded, keeps its own error.

    Parameters
    ----------
    what, extra : str
        As in `missing`.
    module : str
        The top-level module that is imported.
    package : str, optional
        Name of the package, if it differs from that of the module.
    """

    def __init__(self, what: str, module: str, extra: str, package: str | None = None) -> None:
        self.module = module
        self.text = missing(what, package or module, extra)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, ModuleNotFoundError) and (exc.name or "").partition(".")[0] == self.module:
            raise ImportError(self.text) from None


# -- tracebacks -------------------------------------------------------------------------------------------------------


def fold(exc: BaseException) -> None:
    """Take our frames out of the traceback of an exception of the user's code, where it leaves a public function.

    The frames of the user's function stay, and so do all frames of our own errors (a refused argument, a lost worker),
    or with ``AMORSIZE_TRACEBACK=full``. A missing package is no error of ours: the message is all there is to know.
    Type, notes and causes do not change. A bare ``raise`` must follow: it adds no entry for its own frame.

    Nothing is imported, and no code of the user's runs: either might raise something else. An import lock that Ctrl-C
    has left taken, where we load a module, is given back.
    """
    # Not there: nothing of it has loaded a module.
    critical = sys.modules.get("amorsize.system.critical")
    if critical is not None:
        critical.free_import_lock()
    if _is_users(exc):
        trace = BaseException.__dict__["__traceback__"]
        kept = below(trace.__get__(exc), to_the_user=issubclass(type(exc), KeyboardInterrupt))
        trace.__set__(exc, kept)


def _is_users(exc: BaseException) -> bool:
    """Return True for Ctrl-C, a missing extra, and what an item, data, an initializer or a callback raised."""
    kind = type(exc)
    # Not there: nothing of it can have been raised.
    errors = sys.modules.get("amorsize.errors")
    if errors is not None and issubclass(kind, errors.AmorsizeError):
        return kind is errors.StopRun
    if issubclass(kind, KeyboardInterrupt):
        return True
    if kind is ImportError and any(type(one) is str and "pip install 'amorsize[" in one for one in exc.args):
        return True
    cause = type(BaseException.__dict__["__cause__"].__get__(exc))
    if type.__dict__["__name__"].__get__(cause) == "RemoteTraceback":
        return True
    # Not by getattr: a class of the user's may make an attribute of it that raises.
    notes = BaseException.__dict__["__dict__"].__get__(exc).get("__notes__")
    return type(notes) is list and any(type(one) is str and one.startswith("amorsize: raised ") for one in notes)


def folded(method: F) -> F:
    """Decorate a method that raises what a worker's call has raised: it leaves without our frames (`fold`)."""

    def call(*args: Any, **keywords: Any) -> Any:
        try:
            return method(*args, **keywords)
        except BaseException as exc:
            fold(exc)
            # The traceback of an error of ours holds this frame, and what is called may hold the error: no cycle.
            args, keywords = (), {}
            raise

    return _dressed(call, method, method)


def below(trace: TracebackType | None, *, to_the_user: bool = False) -> TracebackType | None:
    """Return the part of a traceback that follows our frames, those of the standard library between them included.

    ``to_the_user``: None if no frame of the user's follows.
    """
    if environ.get("AMORSIZE_TRACEBACK") == "full":
        return trace
    kept = step = trace
    while step is not None:
        name = dict.get(step.tb_frame.f_globals, "__name__")
        package = name.partition(".")[0] if type(name) is str else ""
        if package == "amorsize":
            kept = step.tb_next
        elif package not in sys.stdlib_module_names:
            # func may call amorsize again: what follows its frame is the user's to see.
            return kept
        step = step.tb_next
    return None if to_the_user else kept


def with_sources(text: str) -> str:
    """Add the lines of source that a worker could not read to its traceback: those of a notebook's cells."""
    # Without it nothing here knows lines that are in no file.
    linecache = sys.modules.get("linecache")
    if linecache is None:
        return text
    lines = text.split("\n")
    out = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        out.append(line)
        place, _, number = line.removeprefix('  File "').partition('", line ')
        number = number.partition(",")[0]
        if place != line and number.isdecimal() and not after.startswith("    "):
            source = linecache.getline(place, int(number)).strip()
            out += [f"    {source}"] if source else []
    return "\n".join(out)
