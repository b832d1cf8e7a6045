"""Plan a map on the user's executor or cluster: some of its items run there, and the rest is forecast.

func may not run in the caller, so the sample is run as a small map of its own; what its tasks took is the evidence for
`amorsize.model.engine_forecast`. The sample's results are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from amorsize.backends.engines import facts_of
from amorsize.backends.source import Indexable, source_of
from amorsize.facts import Breakdown, Forecast, Sample
from amorsize.frozen import replace
from amorsize.history.history import History
from amorsize.model.engine_forecast import forecast
from amorsize.plan.of_run import engine_warnings
from amorsize.plan.plan import Plan
from amorsize.plan.plan_text import reason
from amorsize.run.choices import most_workers
from amorsize.run.execute import Execution
from amorsize.system.machine import lately
from amorsize.system.start_methods import share_of

if TYPE_CHECKING:
    from amorsize.options import Request

# Items of the first sample for each place: the first of them pays for the function's first call there (a guess).
FIRST: Final = 3
# Seconds of each place, and items, that a second sample of short items takes at most (a guess).
MORE_S: Final = 0.1
MOST: Final = 1000
# Tasks of the second sample for each place: few, as short ones would run with cold caches (a guess).
TASKS: Final = 4


def plan_on_engine(request: Request) -> Plan:
    """Return the plan of a map on ``request.executor``; it runs some items there.

    Raises
    ------
    Exception
        What func or the engine raises.
    """
    facts = facts_of(request.executor, lambda: None)
    places = most_workers(request) or 1
    source, data = source_of(request.data), request.data
    head: Sequence[Any]
    if isinstance(source, Indexable):
        head, n = source.data, source.length
    else:
        rest = iter(request.data)
        head = list(islice(rest, FIRST * places))
        data = chain(head, rest)
        n = None if len(head) == FIRST * places else len(head)
    if n == 0:
        return Plan(
            backend="executor", n_jobs=1, chunksize=1, estimated_speedup=1.0, serial_s=0.0, predicted_s=0.0,
            predicted_interval_s=(0.0, 0.0), reason="there are no items", data=request.data, machine=share_of(lately()),
        )  # fmt: skip
    sample = _sample(request, _spread(head, FIRST * places, request.spread), 1)
    more = min(MOST, int(MORE_S * places / sample.item_s)) if sample.item_s > 0 else MOST
    if more > sample.n_sampled and len(head) > sample.n_sampled:
        sample = _sample(request, _spread(head, more, request.spread), ceil(min(more, len(head)) / (TASKS * places)))
    known = n or MOST
    best = forecast(
        elapsed_s=0.0,
        left=known,
        places=places,
        item_s=sample.item_s,
        item_std_s=sample.item_std_s,
        seen=sample.n_sampled,
        per_task_s=facts.per_task_s,
        round_trip_s=facts.round_trip_s,
        item_bytes=sample.arg_bytes + sample.result_bytes,
        bytes_per_s=facts.bytes_per_s,
        apart=True,
    )
    serial_s = known * sample.item_s
    serial = Forecast(
        backend="serial", workers=1, chunksize=known, start_method=None, total_s=serial_s, low_s=serial_s,
        high_s=serial_s, breakdown=Breakdown(compute_s=serial_s),
    )  # fmt: skip
    return Plan(
        backend="executor",
        n_jobs=best.workers,
        chunksize=best.chunksize,
        estimated_speedup=serial_s / best.total_s,
        serial_s=None if n is None else serial_s,
        predicted_s=None if n is None else best.total_s,
        predicted_interval_s=None if n is None else (best.low_s, best.high_s),
        reason=reason(best, serial, [], sample, n is not None),
        warnings=tuple(engine_warnings(best, serial_s, sample.item_s, facts)),
        breakdown=best.breakdown,
        data=data,
        sample=sample,
        machine=share_of(lately()),
    )


def _spread(data: Any, count: int, is_spread: bool) -> list[Any]:
    """Return so many items: from the head, or from all over.

    Examples
    --------
    >>> _spread(range(100), 4, True), _spread(range(100), 4, False), _spread("ab", 4, True)
    ([12, 37, 62, 87], [0, 1, 2, 3], ['a', 'b'])
    """
    n = len(data)
    if n <= count:
        return [data[at] for at in range(n)]
    return [data[(2 * at + 1) * n // (2 * count) if is_spread else at] for at in range(count)]


def _sample(request: Request, items: Sequence[Any], chunksize: int) -> Sample:
    """Run some items on the engine, in tasks of one size; return what they have shown."""
    execution = Execution(
        replace(request, data=items, history=History("off"), on_event=None, progress=None, chunksize=chunksize)
    )
    execution.run()
    sample = execution.deciding.summary.seen
    assert sample is not None
    return sample
