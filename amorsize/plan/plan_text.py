"""Plans in plain words: the reason of a choice, the explanation of a plan, the summary of a run."""

from __future__ import annotations

from amorsize.facts import OWN_THREADS, WAITS, Attempt, Breakdown, Forecast, ItemRecord, Sample, Trial
from amorsize.formatting import count, printable, seconds, size
from amorsize.frozen import field_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from amorsize.plan.plan import Plan
    from amorsize.plan.record import PlanRecord

# "tasks" is how earlier versions recorded coroutine functions.
KINDS = {"threads": "thread", "processes": "process", "async": "task", "tasks": "task"}


def describe(f: Forecast) -> str:
    """Describe a candidate in a few words."""
    return way(f.backend, f.workers, f.start_method, f.chunksize)


def describe_plan(plan: PlanRecord) -> str:
    """Describe a plan's choice in a few words."""
    return way(plan.backend, plan.n_jobs, plan.start_method, plan.chunksize)


def way(backend: str, workers: int, start_method: str | None = None, chunksize: int | None = None) -> str:
    """Describe a way to run a map in a few words."""
    if backend == "serial":
        return "a plain loop"
    text = count(workers, KINDS.get(backend, "worker"))
    if start_method:
        text += f" ({start_method})"
    return text if chunksize is None else f"{text}, chunks of {chunksize}"


def summary(plan: PlanRecord, n_items: int, took_s: float, failed: int = 0) -> str:
    """Summarize a run in one line.

    Examples
    --------
    >>> from amorsize.plan.plan import Plan
    >>> summary(Plan(backend="threads", n_jobs=8, chunksize=1, serial_s=4.2), 1000, 0.523, failed=2)
    '1,000 items in 523 ms by 8 threads; a plain loop would take 4.2 s; 2 items failed'
    """
    text = f"{count(n_items, 'item')} in {seconds(took_s)} by {way(plan.backend, plan.n_jobs, plan.start_method)}"
    if plan.backend != "serial" and plan.serial_s:
        text += f"; a plain loop would take {seconds(plan.serial_s)}"
    return f"{text}; {count(failed, 'item')} failed" if failed else text


def forecast_of(plan: PlanRecord) -> Forecast:
    """Return a plan's own forecast as one of the candidates."""
    parts = plan.breakdown
    total = sum_of(parts)
    low, high = plan.predicted_interval_s or (total, total)
    return Forecast(
        backend=plan.backend,
        workers=plan.n_jobs,
        chunksize=plan.chunksize,
        start_method=plan.start_method,
        total_s=plan.predicted_s if plan.predicted_s is not None else total,
        low_s=low,
        high_s=high,
        breakdown=parts,
    )


def sum_of(parts: Breakdown) -> float:
    """Return the seconds of all parts together."""
    return float(sum(getattr(parts, name) for name in field_names(Breakdown)))


def reason(
    best: Forecast,
    serial: Forecast,
    alternatives: list[Forecast],
    sample: Sample,
    known: bool,
    known_runs: int = 0,
) -> str:
    """Give the choice and its reason in one sentence.

    ``known`` is True if the number of items is known: only then do totals mean something. ``known_runs`` is the number
    of earlier runs that give the item's time; 0 if items were sampled.
    """
    item = f"an item takes {seconds(sample.item_s)}"
    if known_runs:
        item = f"{count(known_runs, 'earlier run')} agree that {item}"
    if sample.waits > WAITS:
        item += f", {sample.waits:.0%} of it waiting"
    if best.backend == "serial":
        return f"{item}, and {_why_serial(serial, alternatives, sample)}"
    gain = serial.total_s / best.total_s if best.total_s > 0 else 1.0
    total = f"{describe(best)} should take {seconds(best.total_s)} in all, {gain:.1f} times as fast as the loop"
    return f"{item}: {total}" if known else f"{item}: {describe(best)} should be {gain:.1f} times as fast as the loop"


def _why_serial(serial: Forecast, alternatives: list[Forecast], sample: Sample) -> str:
    best = next((a for a in alternatives if a.refused is None and a.workers > 1), None)
    refused = next((a for a in alternatives if a.refused is not None), None)
    if not alternatives:
        return "nothing else was worth looking at, so a plain loop it is"
    if sample.own_threads > OWN_THREADS and best is not None:
        return "the function already runs threads of its own, so a plain loop is as fast as anything"
    if best is None and refused is not None:
        return f"nothing else can run here ({refused.refused}), so a plain loop it is"
    if best is None:
        return "one worker alone gains nothing over a plain loop"
    start = seconds(best.breakdown.start_s)
    return (
        f"the loop should take {seconds(serial.total_s)}, which {describe(best)} would not beat by a margin "
        f"({seconds(best.total_s)}, of which {start} to start): a plain loop is best"
    )


def explain(plan: PlanRecord) -> str:
    """Return the full description of a plan, in several lines."""
    lines = [f"amorsize: {plan.reason}.", ""]
    lines.append(f"  plan       {_plan_line(plan)}")
    if plan.predicted_s is not None and plan.predicted_interval_s is not None:
        low, high = plan.predicted_interval_s
        lines.append(f"  forecast   {seconds(plan.predicted_s)} (80 %: {seconds(low)} to {seconds(high)})")
        lines.append(f"  loop       {seconds(plan.serial_s)}, speedup {plan.estimated_speedup:.2f}")
        lines.append(f"  of which   {parts_of(plan.breakdown)}")
    lines += [f"  {name:9}  {text}" for name, text in happened(plan)]
    if plan.sample is not None:
        lines.append(f"  sample     {_sample_line(plan.sample, plan.known_runs)}")
    best: dict[str, Any] = {}
    for other in plan.alternatives:
        best.setdefault(other.backend, other)
    for other in best.values():
        why = f" ({other.refused})" if other.refused else ""
        lines.append(f"  rejected   {describe(other)}: {seconds(other.total_s)}{why}")
    lines += [f"  trial      {_trial_line(trial)}" for trial in plan.trials]
    if plan.slowest:
        lines.append(f"  slowest    {_items_line(plan.slowest, lambda r: seconds(r.wall_s))}")
    if plan.hungriest:
        lines.append(f"  hungriest  {_items_line(plan.hungriest, lambda r: f'+{size(r.growth_bytes)}')}")
    lines += [f"  warning    {text}" for text in plan.warnings]
    # Reasons and warnings quote names and messages of functions, which may come from another machine.
    return "\n".join(map(printable, lines))


def prospects(plan: Plan) -> str:
    """Return what bounds a plan, what would help, and what more cores would bring, as lines that follow `explain`."""
    if plan.bound_by is None:
        return ""
    lines = ["", f"  bounded by {plan.bound_by}"]
    if plan.advice:
        lines += ["", "What would help"]
        for one in plan.advice:
            lines += [f"  {one.gain:.1f} times as fast: {one.what}", f"      {one.why}"]
    there = [f"{one.cores} cores {seconds(one.predicted_s)} ({one.backend})" for one in plan.what_if()]
    lines += ["", "On machines that are otherwise like this one", f"  {', '.join(there)}"]
    lines.append(f"  more than {count(plan.useful_cores or 1, 'core')} would not pay")
    return "\n".join(map(printable, lines))


def happened(plan: PlanRecord) -> list[tuple[str, str]]:
    """Return what has happened since the plan was made, by name: nothing before it has run."""
    rows = []
    if plan.took_s is not None:
        rows.append(("took", _took(plan, plan.took_s)))
    if plan.workers_ready_s is not None and plan.start_method is not None:
        rows.append(("ready", f"the first worker {seconds(plan.workers_ready_s)} after its start"))
    return rows + [("withdrawn", _attempt_line(attempt)) for attempt in plan.withdrawn]


def _took(plan: PlanRecord, took_s: float) -> str:
    """Hold the clock against the forecast."""
    if plan.predicted_s is None or plan.predicted_interval_s is None or plan.predicted_s <= 0 or took_s <= 0:
        return seconds(took_s)
    low, high = plan.predicted_interval_s
    held = "within" if low <= took_s <= high else "outside"
    return f"{seconds(took_s)}, {took_s / plan.predicted_s:.2f} times the forecast, {held} its interval"


def _attempt_line(attempt: Attempt) -> str:
    how = way(attempt.backend, attempt.workers, attempt.start_method)
    ran = f"{count(attempt.items, 'item')} in {seconds(attempt.wall_s)}, which cost {seconds(attempt.cost_s)}"
    return f"{how}: {ran} ({attempt.why})"


def _trial_line(trial: Trial) -> str:
    how = way(trial.backend, trial.workers, chunksize=trial.chunksize)
    took = f"{seconds(trial.seconds)} (forecast {seconds(trial.forecast_s)})"
    return (
        f"rung {trial.rung}, {count(trial.items, 'item')}: {how}: {took}, which makes {seconds(trial.total_s)} in all"
    )


def _items_line(records: tuple[ItemRecord, ...], what: Callable[[ItemRecord], str]) -> str:
    return ", ".join(f"item {record.index} ({what(record)})" for record in records[:NAMED])


# Largest number of items that a line names (a guess).
NAMED = 3


def parts_of(breakdown: Breakdown) -> str:
    """Return the parts of the forecast seconds that take time."""
    parts = [(name.removesuffix("_s"), getattr(breakdown, name)) for name in field_names(Breakdown)]
    return ", ".join(f"{name} {seconds(part_s)}" for name, part_s in parts if part_s > 0)


def _plan_line(plan: PlanRecord) -> str:
    how = f", start method {plan.start_method}" if plan.start_method else ""
    return f"backend {plan.backend}, n_jobs {plan.n_jobs}, chunksize {plan.chunksize}{how}"


def _sample_line(sample: Sample, known_runs: int = 0) -> str:
    parts = [
        f"of {count(known_runs, 'earlier run')}" if known_runs else count(sample.n_sampled, "item"),
        f"{seconds(sample.item_s)} each (±{seconds(sample.item_std_s)})",
        f"CPU {seconds(sample.item_cpu_s)}",
    ]
    if sample.first_call_s > 0:
        parts.append(f"first call {seconds(sample.first_call_s)} more")
    if sample.gil_held is not None:
        parts.append(f"holds the GIL {sample.gil_held:.0%} of the time")
    parts.append(f"result {size(sample.result_bytes)} pickled")
    return ", ".join(parts)
