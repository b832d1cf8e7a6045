"""A race in plain words: the forecast, its error, the fastest contender, and doubts about the times."""

from __future__ import annotations

from collections.abc import Sequence

from amorsize.formatting import count, printable, seconds
from amorsize.model.statistics import FEW, NOTICEABLE_S
from amorsize.plan.plan_text import describe_plan
from amorsize.plan.record import PlanRecord
from amorsize.plan.trials.race import Contender, Race, Timings

NAMES = {"loop": "the plain loop", "plan": "optimize()'s plan", "execute": "execute()"}


def words(v: Race) -> str:
    """Return the verdict, the worst finding first."""
    if not v.n_used:
        return "There are no items: nothing could be timed."
    said = [_results(v), _forecast(v), _race(v), _plan_lost(v), _doubts(v)]
    return " ".join(sentence for sentence in said if sentence)


def _results(v: Race) -> str:
    others = [name_of(one) for one in v.contenders if one.same is False]
    return f"The results differ: those of {listed(others)} are not the first run's." if others else ""


def _forecast(v: Race) -> str:
    predicted, clock, factor = v.predicted_s, v.clock_s, v.forecast_factor
    how = chosen(v.plan)
    if clock is None:
        return f"{how}: not run."
    if predicted is None or factor is None:
        return f"{how}: clock {seconds(clock)}; nothing was forecast."
    text = f"{how}: forecast {seconds(predicted)}, clock {seconds(clock)}"
    inside = "inside" if v.forecast_held else "outside"
    if v.forecast_held or factor <= FAR:
        off = f"{factor - 1:.0%} off" if factor < FAR else f"a factor of {factor:.1f} off"
        text = f"{text} ({off}, {inside} the interval)"
    if v.forecast_right:
        return f"{text}."
    too = "short" if predicted < clock else "long"
    return f"{text}. The forecast was wrong: {factor:.1f} times too {too}."


# From this factor on, a difference is given as a factor, not in per cent.
# guess
FAR = 2.0


def _race(v: Race) -> str:
    if v.regret_execute is None or v["execute"].seconds is None:
        return ""
    took = v["execute"].seconds.median
    text = f"execute() took {seconds(took)}"
    lost = v.lost_to("execute")
    if v.speedup is not None and not (lost and lost[0].name == "loop"):
        text += f", {_against_loop(v, took)}"
    if not lost:
        return f"{text}; nothing tried was {'noticeably ' if v.regret_execute > 1 else ''}faster."
    best = lost[0]
    assert best.seconds is not None
    factor = v.times_as_long("execute", best.name)
    return f"{text}; {name_of(best)} was faster: {seconds(best.seconds.median)}, {_times_as_long('execute()', factor)}."


def _against_loop(v: Race, took: float) -> str:
    assert v.speedup is not None
    if v.slower_than_loop:
        factor = 1 / v.speedup
        return f"{factor - 1:.0%} longer than the loop" if factor < FAR else f"{factor:.1f} times as long as the loop"
    if v.speedup > EVEN:
        return f"{v.speedup:.1f} times as fast as the loop"
    longer = took - v["loop"].seconds.median if v["loop"].seconds is not None else 0.0
    if 1 / v.speedup > EVEN and longer < NOTICEABLE_S:
        return f"{seconds(longer)} longer than the loop, which does not matter"
    return "as long as the loop, within noise"


# A speedup up to this one is within noise.
# guess
EVEN = 1.1


def _plan_lost(v: Race) -> str:
    lost = v.lost_to("plan")
    if not lost or lost[0].seconds is None:
        return ""
    factor = v.times_as_long("plan", lost[0].name)
    took = seconds(lost[0].seconds.median)
    what = "it" if v.plan.backend == "executor" else "its pool"
    return f"The plan lost to {name_of(lost[0])} ({took}): {_times_as_long(what, factor)}."


def _times_as_long(name: str, factor: float) -> str:
    return f"{name} took {factor - 1:.0%} longer" if factor < FAR else f"{name} took {factor:.1f} times as long"


def _doubts(v: Race) -> str:
    said = []
    if v.too_busy:
        said.append(
            f"Other programs had {v.busy:.0%} of the machine meanwhile, so these times mean little: try again when "
            "it is quiet."
        )
    if 0 < v.rounds < FEW:
        said.append(f"There was time for {count(v.rounds, 'round')} only, so small differences mean nothing.")
    return " ".join(said)


def chosen(plan: PlanRecord) -> str:
    """Return the plan's choice as the beginning of a sentence."""
    if plan.backend == "serial":
        return "A plain loop"
    return f"{plan.backend.capitalize()} on {count(plan.n_jobs, 'worker')}"


def name_of(one: Contender) -> str:
    """Return the name of a contender for use in a sentence."""
    return NAMES.get(one.name, one.what)


def listed(names: Sequence[str]) -> str:
    """Join names with commas and "and".

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ------------------------------------------------------------------------------------------------------------ tables


def explain(v: Race) -> str:
    """Return the verdict with the figures behind it, in lines."""
    lines = [f"amorsize: {words(v)}", "", f"  items      {items_line(v)}"]
    interval = v.plan.predicted_interval_s
    if v.predicted_s is not None and interval is not None:
        low, high = (seconds(one) for one in interval)
        lines.append(f"  forecast   {seconds(v.predicted_s)} (80 %: {low} to {high}) for {describe_plan(v.plan)}")
    if v.busy is not None:
        lines.append(f"  others     had {v.busy:.0%} of the machine's CPU time meanwhile")
    if v.contenders:
        lines += ["", *table(v.contenders)]
    lines += ["", *(f"  warning    {text}" for text in v.warnings)] if v.warnings else []
    return "\n".join(map(printable, lines))


def items_line(v: Timings) -> str:
    """Describe the items used, the rounds and the time."""
    if v.n_items == v.n_used:
        used = f"all {v.n_used:,}"
    elif v.n_items is None:
        used = f"the first {v.n_used:,} of an iterator"
    else:
        used = f"{v.n_used:,} of {v.n_items:,}, evenly spread"
    return f"{used}, {count(v.rounds, 'round')}, {seconds(v.took_s)} in all"


def table(contenders: Sequence[Contender]) -> list[str]:
    """Return one row for each contender: median, interval, ratio to the best, and a bar."""
    best = min((one.seconds.median for one in contenders if one.seconds), default=0.0)
    worst = max((one.seconds.median for one in contenders if one.seconds), default=0.0)
    wide = max(len(one.what) for one in contenders)
    lines = [f"  {'':{wide}}  {'median':>9}  {'95 % interval':>21}  {'/ best':>6}"]
    for one in contenders:
        found = one.seconds
        if found is None:
            lines.append(f"  {one.what:{wide}}  not run: {one.why_not}")
            continue
        interval = f"{seconds(found.low)} to {seconds(found.high)}"
        times = found.median / best if best > 0 else 1.0
        bar = "█" * max(1, round(BAR * found.median / worst)) if worst > 0 else ""
        note = "  (results differ)" if one.same is False else ""
        lines.append(
            f"  {one.what:{wide}}  {seconds(found.median):>9}  {interval:>21}  {times:>6.2f}  {bar}{note}".rstrip()
        )
    return lines


# Columns of the longest bar.
# guess
BAR = 20
