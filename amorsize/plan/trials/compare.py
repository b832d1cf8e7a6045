"""``python -m amorsize compare``: settings that the user names, timed in interleaved rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, Final, NamedTuple, cast

from amorsize.executor.calls import name_of
from amorsize.facts import Backend
from amorsize.formatting import printable
from amorsize.hints import near_value
from amorsize.options import Request
from amorsize.plan.plan import Plan
from amorsize.plan.plan_text import describe_plan
from amorsize.plan.trials import ways
from amorsize.plan.trials.race import Contender, Timings
from amorsize.plan.trials.subset import Subset, subset_of
from amorsize.plan.trials.validate import AIM, LEAST, SHARE, Run, run_race, way_of
from amorsize.plan.trials.verdict import items_line, table
from amorsize.plan.trials.ways import Way, no_pool
from amorsize.system import other_programs
from amorsize.system.clock import REAL, Clock
from amorsize.system.start_methods import resolve_start_method

COUNTED: Final = ("threads", "processes")
PLAIN: Final = ("serial", "pool", "execute", "optimize")
FORM: Final = "serial, threads[:WORKERS[:CHUNKSIZE]], processes[:WORKERS[:CHUNKSIZE]], pool, execute or optimize"
# Seconds to hand over a chunk.
# guess
CHUNK_S: Final = 60e-6


class Setting(NamedTuple):
    """One setting: the user's text and its parts."""

    text: str
    kind: str
    workers: int | None = None
    chunksize: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Timings):
    """The times of each setting."""

    def explain(self) -> str:
        """Return a table of the settings."""
        lines = [f"amorsize: {self.func} over {items_line(self)}", ""]
        lines += table(self.contenders) if self.n_used else ["  there are no items"]
        if self.too_busy:
            lines += ["", f"  other programs had {self.busy:.0%} of the machine meanwhile: try again when it is quiet"]
        return "\n".join(map(printable, lines))

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and strings."""
        plain = {name: getattr(self, name) for name in ("func", "n_used", "n_items", "rounds", "busy", "took_s")}
        return {**plain, "contenders": [one.to_dict() for one in self.contenders]}


def setting_of(text: str) -> Setting:
    """Return the setting with this name.

    Raises
    ------
    ValueError
        If the text is not of the form `FORM`.

    Examples
    --------
    >>> setting_of("processes:2:100")
    Setting(text='processes:2:100', kind='processes', workers=2, chunksize=100)
    """
    kind, *numbers = text.split(":")
    if kind not in COUNTED + PLAIN:
        raise ValueError(f"must be {FORM}, not {text!r}{near_value(kind, COUNTED + PLAIN)}")
    if kind in PLAIN and numbers:
        raise ValueError(f"{kind} takes no numbers: {text!r}")
    if len(numbers) > 2 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise ValueError(f"must be {kind}[:WORKERS[:CHUNKSIZE]] in whole numbers above 0, not {text!r}")
    return Setting(text, kind, *(int(number) for number in numbers))


def compare_settings(
    request: Request,
    settings: Sequence[Setting],
    *,
    max_seconds: float,
    rounds: int | None = None,
    clock: Clock = REAL,
) -> Comparison:
    """Run every setting in interleaved rounds, on a subset of the items that fits the time budget."""
    began = clock.wall()
    before = other_programs.read()
    subset = subset_of(request, partial(_affordable, SHARE * max_seconds / (rounds or AIM), settings))
    entries: list[tuple[Contender, Way | None]] = []
    if len(subset.items):
        entries = [_entry(request, subset, setting) for setting in settings]
    contenders = run_race(request, entries, max_seconds - (clock.wall() - began), rounds, clock)
    return Comparison(
        func=name_of(request.func),
        n_used=len(subset.items),
        n_items=subset.n_items,
        contenders=contenders,
        busy=other_programs.share_between(before, other_programs.read()),
        took_s=clock.wall() - began,
    )


def _affordable(round_s: float, settings: Sequence[Setting], plan: Plan) -> int:
    """Return how many items all settings can run within a round of ``round_s`` seconds, if no setting gains time."""
    item_s = plan.sample.item_s if plan.sample is not None else 0.0
    per_item_s = sum(item_s + (CHUNK_S / setting.chunksize if setting.chunksize else 0.0) for setting in settings)
    return max(LEAST, int(round_s / max(per_item_s, 1e-9)))


def _entry(request: Request, subset: Subset, setting: Setting) -> tuple[Contender, Way | None]:
    what, why_not, run = _run(request, subset, setting)
    one = Contender(name=setting.text, what=what, why_not=why_not)
    return one, None if why_not else way_of(one, run)


def _run(request: Request, subset: Subset, setting: Setting) -> tuple[str, str | None, Run]:
    """Return the words for a setting, the reason why it cannot run, and the function that runs it."""
    func, items, plan = request.func, subset.items, subset.plan
    if setting.kind == "serial":
        return setting.text, None, partial(ways.loop, func, items, subset.index_of)
    if setting.kind == "execute":
        return setting.text, None, partial(ways.executed, request, items)
    if setting.kind == "optimize":
        run = ways.way_of_plan(request, plan, items).run
        return f"{setting.text} ({describe_plan(plan)})", ways.not_runnable(plan), run
    if setting.kind == "pool":
        workers, method = ways.default_workers(None), ways.default_method(request.start_method)
        in_pool = partial(ways.default_pool, func, items, workers, method)
        return f"{setting.text} ({workers} processes, {method})", no_pool(plan), in_pool
    processes = setting.kind == "processes"
    start = resolve_start_method(request.start_method)[0] if processes else None
    workers = setting.workers or ceil(plan.machine.usable_cores if plan.machine is not None else 1)
    chunksize = setting.chunksize or ceil(len(items) / (4 * workers))  # as Pool.map has it
    func_bytes = 0.0 if plan.sample is None else plan.sample.func_bytes
    how = (cast(Backend, setting.kind), workers, chunksize, start, None)
    what = f"{setting.kind}:{workers}:{chunksize}" + (f" ({start})" if start else "")
    return what, no_pool(plan) if processes else None, ways.PlanRun(func, items, *how, func_bytes)
