"""Run a few items under a profiler: what to make faster before making it parallel. No timed run is under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import StringIO
from os import path
from time import perf_counter
from types import FunctionType, MethodType
from typing import Any, Final

from amorsize.formatting import count, seconds
from amorsize.frozen import Frozen, field
from amorsize.hints import missing, near_value
from amorsize.plan.trials.subset import spread_items

PROFILERS: Final = ("cProfile", "pyinstrument", "line_profiler")
# Seconds of items without a profiler; under one they take up to some 3 times as long.
# guess
SECONDS: Final = 1.0
MOST_ITEMS: Final = 10_000
# Functions in the report.
SHOWN: Final = 10
# A smaller share of the time is not followed further down the calls.
# guess
UNSEEN: Final = 1e-3
SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"

# (file, line, name) of a function, as pstats has it.
Key = tuple[str, int, str]


class Profile(Frozen):
    """What a profiler saw.

    Attributes
    ----------
    profiler : {"cProfile", "pyinstrument", "line_profiler"}
    n_items : int
        Number of items that ran under it.
    seconds : float
        What they took under it, which is more than without.
    text : str
        Its report, in lines.
    speedscope : dict or None
        The same for https://www.speedscope.app, as its JSON; None for ``"line_profiler"``, which sees no calls.
    """

    profiler: str
    n_items: int
    seconds: float
    text: str
    speedscope: dict[str, Any] | None = field(default=None, repr=False)


def checked(name: Any, func: Any = None) -> str | None:
    """Return the profiler of this name, or None.

    Raises
    ------
    ValueError
        If there is none of this name, or it cannot profile ``func``.
    ImportError
        If it is not installed.
    """
    if name is None:
        return None
    if name not in PROFILERS:
        raise ValueError(f"profile: must be one of {PROFILERS} or None, not {name!r}{near_value(name, PROFILERS)}")
    if find_spec(name) is None:
        raise ImportError(missing(f"profile={name!r}", name, "profile"))
    if name == "line_profiler" and func is not None:
        written(func)
    return str(name)


def profiled(name: str, func: Callable[[Any], Any], items: Sequence[Any], item_s: float) -> Profile:
    """Run about a second of the items, evenly spread, under a profiler in this thread.

    Raises
    ------
    ValueError
        If another profiler runs already (CPython 3.12 and later allow one).
    Exception
        What func raises.
    """
    some = spread_items(items, max(1, min(len(items), MOST_ITEMS, int(SECONDS / max(item_s, 1e-9)))))
    began = perf_counter()
    text, speedscope = _RUN[name](func, some)
    return Profile(
        profiler=name, n_items=len(some), seconds=perf_counter() - began, text=text.rstrip(), speedscope=speedscope
    )


def _by_cprofile(func: Callable[[Any], Any], items: Sequence[Any]) -> tuple[str, dict[str, Any] | None]:
    from cProfile import Profile as Profiler
    from pstats import Stats

    profiler = Profiler()
    profiler.enable()
    try:
        for item in items:
            func(item)
    finally:
        profiler.disable()
    stats: dict[Key, Any] = dict(Stats(profiler).stats)  # type: ignore[attr-defined]
    # The profiler's own end.
    stats = {key: found for key, found in stats.items() if "'disable' of '_lsprof" not in key[2]}
    whole = sum(own_s for _, _, own_s, _, _ in stats.values()) or 1.0
    lines = [f"{'own':>9}  {'with calls':>10}  {'share':>5}  {'calls':>9}  function"]
    for key, (_, calls, own_s, all_s, _) in sorted(stats.items(), key=lambda one: -one[1][2])[:SHOWN]:
        times = f"{seconds(own_s):>9}  {seconds(all_s):>10}  {own_s / whole:>5.0%}"
        lines.append(f"{times}  {calls:>9,}  {_where(key)}")
    return "\n".join(lines), speedscope_of(stats)


def _where(key: Key) -> str:
    file, line, name = key
    return f"{name} ({path.basename(file)}:{line})" if line else name


def speedscope_of(stats: dict[Key, Any]) -> dict[str, Any]:
    """Return the stacks of calls that the sums of ``pstats`` stand for, as speedscope's JSON.

    cProfile knows the seconds of each function, and of each function by caller, but no stacks. As gprof does, a
    function's time is taken to divide among its callees in the same way, whichever way it was reached (Graham, Kessler
    & McKusick 1982).
    """
    keys = list(stats)
    at = {key: index for index, key in enumerate(keys)}
    callees: dict[Key, list[tuple[Key, float]]] = {key: [] for key in keys}
    for key, (_, _, _, _, callers) in stats.items():
        for caller, (_, _, _, edge_s) in callers.items():
            if caller in callees:
                callees[caller].append((key, edge_s))
    # Called from outside of the profile, for so long; what calls itself is its own caller as well.
    roots = []
    for key, (_, _, _, all_s, callers) in stats.items():
        outside_s = all_s - sum(edge[3] for caller, edge in callers.items() if caller != key)
        if not callers or outside_s > UNSEEN * all_s:
            roots.append((key, outside_s))
    whole = sum(all_s for _, all_s in roots)
    samples: list[list[int]] = []
    weights: list[float] = []
    todo: list[tuple[tuple[int, ...], Key, float]] = [((at[key],), key, all_s) for key, all_s in roots]
    while todo:
        stack, key, spent_s = todo.pop()
        all_s = stats[key][3] or 1.0
        below = 0.0
        for callee, edge_s in callees[key]:
            part_s = min(spent_s * edge_s / all_s, spent_s - below)
            if at[callee] not in stack and part_s > UNSEEN * whole:
                below += part_s
                todo.append(((*stack, at[callee]), callee, part_s))
        samples.append(list(stack))
        weights.append(max(0.0, spent_s - below))
    frames = [{"name": name, "file": file, "line": line} for file, line, name in keys]
    one = {"type": "sampled", "name": "amorsize", "unit": "seconds", "startValue": 0, "endValue": sum(weights)}
    return {
        "$schema": SCHEMA,
        "shared": {"frames": frames},
        "profiles": [{**one, "samples": samples, "weights": weights}],
    }


def _by_pyinstrument(func: Callable[[Any], Any], items: Sequence[Any]) -> tuple[str, dict[str, Any] | None]:
    import json

    from pyinstrument import Profiler
    from pyinstrument.renderers import SpeedscopeRenderer

    profiler = Profiler(interval=1e-3)
    profiler.start()
    try:
        for item in items:
            func(item)
    finally:
        profiler.stop()
    return profiler.output_text(unicode=False, color=False), json.loads(profiler.output(SpeedscopeRenderer()))


def _by_line_profiler(func: Callable[[Any], Any], items: Sequence[Any]) -> tuple[str, dict[str, Any] | None]:
    from line_profiler import LineProfiler

    profiler, text = LineProfiler(written(func)), StringIO()
    profiler.enable_by_count()
    try:
        for item in items:
            func(item)
    finally:
        profiler.disable_by_count()
    profiler.print_stats(text, stripzeros=True)
    return text.getvalue(), None


def written(func: Any) -> FunctionType:
    """Return the function in Python behind a method, a partial, a decorated or a callable object.

    Raises
    ------
    ValueError
        If there is none.
    """
    from functools import partial

    seen = func
    # Each step unwraps one layer.
    for _ in range(SHOWN):
        if isinstance(seen, FunctionType):
            inner = getattr(seen, "__wrapped__", None)
            if inner is None:
                return seen
            seen = inner
        elif isinstance(seen, MethodType):
            seen = seen.__func__
        elif isinstance(seen, partial):
            seen = seen.func
        else:
            seen = vars(type(seen)).get("__call__")
    raise ValueError(
        f"profile: 'line_profiler' shows the lines of a function written in Python, and {func!r} is none; "
        "'cProfile' shows what it calls"
    )


_RUN: Final = {"cProfile": _by_cprofile, "pyinstrument": _by_pyinstrument, "line_profiler": _by_line_profiler}


def lines_of(found: Profile) -> list[str]:
    """Return the report under a heading."""
    head = f"{found.profiler}, {count(found.n_items, 'item')} apart from the timed runs, {seconds(found.seconds)}"
    return [head, *(f"  {line}" for line in found.text.splitlines())]
