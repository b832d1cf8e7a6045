"""``optimize()``: sample, costs, search, and the plan made of them.

Where earlier runs of the function agree, they replace the sample: func is then not called.
"""

from __future__ import annotations

from functools import partial
from itertools import chain, tee
from math import ceil

from amorsize.backends.source import Indexable, Streamed, read_on, source_of
from amorsize.backends.workers.native_threads import native_threads
from amorsize.facts import OWN_THREADS, Backend, Costs, Forecast, Machine, Sample
from amorsize.formatting import count, seconds, size
from amorsize.frozen import replace
from amorsize.history.history import History
from amorsize.measure.own_start import as_here, pool_load_s
from amorsize.measure.sample import Sampler
from amorsize.model.cost import HANDED_BYTES, Candidates
from amorsize.model.default_costs import recorded
from amorsize.model.memory_limit import results_warning
from amorsize.model.search import Basis, may_pay
from amorsize.options import BACKENDS, Request
from amorsize.plan.past_runs import past_runs, pruner_for
from amorsize.plan.plan import Plan
from amorsize.plan.plan_text import reason
from amorsize.plan.pool_watch import PoolWatch, sequence
from amorsize.system.environment import backends_setting
from amorsize.system.machine import lately
from amorsize.system.memory import forked_bytes
from amorsize.system.start_methods import (
    NO_THREAD,
    UNGUARDED_CODE,
    can_start_a_thread,
    main_is_interactive,
    refuse_in_a_child,
    resolve_start_method,
    share_of,
    unguarded,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Final

    from amorsize.backends.workers.main_module import Values
    from amorsize.history.agreement import Known
    from amorsize.history.run_row import Run
    from amorsize.measure.elsewhere import Elsewhere
    from amorsize.measure.thread_safety import Safety

# An iterator of unknown length is planned as so many seconds of work, and at least so many items.
# guess
UNKNOWN_S: Final = 1.0
# guess
UNKNOWN_ITEMS: Final = 100
# Seconds of work, at least, for which costs are measured that are not known: it takes that long, once.
# guess
WORTH_MEASURING_S: Final = 0.3
# guess: how many times the forecast a plain Pool must take for a warning
NOTICED: Final = 1.1


def plan_for(
    request: Request, there: Elsewhere | None = None, runs: Iterable[Run] = (), *, for_trials: bool = False
) -> Plan:
    """Make the plan for one call of ``optimize`` from a sample of its items.

    Parameters
    ----------
    request : Request
    there : Elsewhere, optional
        The machine that the plan is for.
    runs : iterable of Run
        Earlier ones of the same map.
    for_trials : bool
        True if other candidates will run, too: the sample is complete, even if the loop surely is the best.
    """
    if request.executor is not None:
        if there is not None or request.executor_as != "executor":
            raise ValueError(
                "backend: an executor can be planned for alone, without other names and without machine=; what it "
                "costs beside the pools of this machine is not known. execute() may choose among them"
            )
        from amorsize.plan.on_engine import plan_on_engine

        return plan_on_engine(request)
    source = source_of(request.data)
    here = share_of(lately()) if there is None else there.machine
    warnings: list[str] = []
    if source.length == 0:
        return Plan(
            backend="serial", n_jobs=1, chunksize=1, estimated_speedup=1.0, serial_s=0.0, predicted_s=0.0,
            predicted_interval_s=(0.0, 0.0), reason="there are no items", data=request.data, machine=here,
            is_elsewhere=there is not None,
        )  # fmt: skip
    method = start_method_for(request, warnings, there)
    sampler = Sampler(
        request.func, source, spread=request.spread, watch=watches(request, here), processes=method is not None
    )
    if request.backends == ("processes",):
        assert method is not None
        sample = sample_in_child(request, source, here_by(method, there), here, warnings)
    else:
        sample = sampler.take()
        if sampler.has_no_thread and "serial" in request.backends:
            warnings.append(f"{NO_THREAD}, and every pool has some: only the loop is left")
            request, method = replace(request, backends=("serial",)), None
    data = request.data if isinstance(source, Indexable) else chain(sampler.head, source.rest)
    if isinstance(source, Indexable) and source.data is not request.data:
        data = source.data
    n = source.length
    if isinstance(source, Streamed) and len(sampler.head) <= sampler.at:
        sampled = len(sampler.head)
        read_on(sampler.head, source.rest, 1)
        if len(sampler.head) == sampled:
            n, data = sampled, sampler.head
        else:
            data = chain(sampler.head, source.rest)
    is_open = for_trials or there is not None or may_gain(request, sample, here, method, n)
    if is_open and request.backends != ("processes",):
        sample = sampler.weighed(sample)
    if method is not None:
        sample = pool_can_find(request.func, method, sample)
    if there is not None:
        costs = there.costs_for(threads="threads" in request.backends, start_method=method)
        warnings.append(f"for the machine of {there.source}; the items were timed on this one")
        return plan_from(request, here, sample, costs, n, data, warnings, is_elsewhere=True, head=sampler.head)
    costs = known_costs(request, sample, here, method, n, warnings) if is_open else recorded_costs(request, method)
    return plan_from(request, here, sample, costs, n, data, warnings, runs, is_open=is_open, head=sampler.head)


def start_method_for(request: Request, warnings: list[str], there: Elsewhere | None = None) -> str | None:
    """Return the start method of processes; None if processes are not asked for."""
    if "processes" not in request.backends:
        return None
    if there is not None:
        return there.start_method(request.start_method)
    method, why = resolve_start_method(request.start_method)
    if why is not None:
        warnings.append(f"processes start by {method}, since {why}")
    return method


def here_by(method: str, there: Elsewhere | None) -> str:
    """Return the start method of the process that takes the sample, which runs here."""
    return method if there is None else resolve_start_method(None)[0]


def watches(request: Request, here: Machine) -> bool:
    """Return True if the plan depends on whether the function releases the GIL."""
    return "threads" in request.backends and here.usable_cores > 1 and here.gil_enabled


def items_of(sample: Sample, n: int | None) -> int:
    """Return the number of items to plan for; ``n``: if it is known."""
    return n if n is not None else max(UNKNOWN_ITEMS, int(UNKNOWN_S / max(sample.item_s, 1e-9)))


def may_gain(request: Request, sample: Sample, here: Machine, method: str | None, n: int | None) -> bool:
    """Return True if the decision is open: workers might be worth their start (`amorsize.model.search.may_pay`)."""
    return may_pay(
        sample,
        here,
        n_items=items_of(sample, n),
        backends=request.backends,
        start_method=method,
        max_workers=request.most_workers,
        load_s=pool_load_s(),
    )


def recorded_costs(request: Request, method: str | None) -> Costs:
    """Return recorded costs of the backends asked for, where others would change nothing."""
    return Costs(
        threads=recorded("threadpool", None) if "threads" in request.backends else None,
        processes=recorded("pool", method) if method is not None else None,
    )


def known_costs(
    request: Request, sample: Sample, here: Machine, method: str | None, n: int | None, warnings: list[str]
) -> Costs:
    """Return the costs of the backends asked for: as known here, and measured where the work is worth it."""
    from amorsize.measure.calibrate import cached_costs

    costs = cached_costs(
        here,
        threads="threadpool" if "threads" in request.backends else None,
        processes="pool" if method is not None else None,
        start_method=method,
        may_measure=sample.item_s * items_of(sample, n) >= WORTH_MEASURING_S,
    )
    for cost in (costs.threads, costs.processes):
        if cost is not None:
            warnings.extend(cost.warnings)
    here_is = {
        name: as_here(cost, request.func, request.data, pool_load_s())
        for name in ("threads", "processes")
        if (cost := getattr(costs, name)) is not None
    }
    return replace(costs, **here_is)


def plan_from(
    request: Request,
    here: Machine,
    sample: Sample,
    costs: Costs,
    n: int | None,
    data: Any,
    warnings: list[str],
    runs: Iterable[Run] = (),
    known_runs: int = 0,
    is_elsewhere: bool = False,
    is_open: bool = True,
    head: Sequence[Any] = (),
) -> Plan:
    """Make the plan from sample and costs.

    ``runs``: earlier ones of the same map; ``known_runs``: number of those that the sample comes from.

    ``is_open``: workers might be worth their start, so that what the history knows matters. ``head``: the first items,
    where an iterator gives them.

    The load of a machine that is not here counts. This one's has slowed the sample already, and holds what this program
    itself has computed in the last minute.
    """
    items = items_of(sample, n)
    if sample.transfer_error is not None and len(request.backends) > 1 and "processes" in request.backends:
        warnings.append(f"processes are out: {sample.transfer_error}. amorsize.execute() may still run them")
    load = (here.load or 0.0) if is_elsewhere else 0.0
    uses_past = is_open and not is_elsewhere
    pruner = pruner_for(request, runs, sample, costs, here, n, known_runs > 0) if uses_past else None

    def pick(basis: Basis) -> tuple[Forecast, list[Forecast], float | None, str | None]:
        best, others = basis.choose()
        return pruner.narrow(best, others, sample.n_sampled) if pruner else (best, others, None, None)

    basis = Basis(
        sample=sample, costs=costs, machine=here, n_items=items, backends=request.backends,
        excluded=_left_out(request, is_elsewhere),
        max_workers=request.most_workers, memory_limit_bytes=request.memory_limit_bytes,
        caller_rss_bytes=forked_bytes(), kept_items=n or 0, load=load,
    )  # fmt: skip
    best, others, model_s, said = pick(basis)
    if best.backend == "threads":
        found = doubt(request, head)
        if found is not None:
            from amorsize.measure.thread_safety import left_of, warning

            warnings.append(warning(found, best))
            left = left_of(request.backends, found)
            basis = replace(basis, backends=left, barred=f"func {found}")
            best, others, model_s, said = pick(basis)
    if n is not None and (too_much := results_warning(sample, n, here)):
        warnings.append(too_much)
    if best.refused is not None:
        warnings.append(best.refused)
    serial = next((f for f in (best, *others) if f.backend == "serial"), None)
    if serial is None:
        serial, _ = replace(basis, backends=("serial",)).choose()
    if heavy := _weight_in_a_plain_pool(best, serial, sample, costs, here, items, load):
        warnings.append(heavy)
    known = n is not None
    return Plan(
        backend=best.backend,
        n_jobs=best.workers,
        chunksize=best.chunksize,
        start_method=best.start_method,
        estimated_speedup=serial.total_s / best.total_s if known and best.total_s > 0 else None if not known else 1.0,
        serial_s=serial.total_s if known else None,
        predicted_s=best.total_s if known else None,
        predicted_interval_s=(best.low_s, best.high_s) if known else None,
        model_s=model_s,
        reason=reason(best, serial, others, sample, known, known_runs) + (f" ({said})" if said else ""),
        warnings=tuple(warnings),
        alternatives=tuple(others),
        breakdown=best.breakdown,
        data=data,
        sample=sample,
        machine=here,
        native_threads=native_threads(
            best.backend == "processes" and sample.own_threads > OWN_THREADS, here.usable_cores, best.workers
        ),
        known_runs=known_runs,
        is_elsewhere=is_elsewhere,
        basis=basis if known else None,
    )


def shown_safe(request: Request, threads: Forecast | None, head: Sequence[Any] = ()) -> tuple[Request, str | None]:
    """Return the request without backends that "auto" may not use, and why; None: func is safe in threads, or so said.

    ``threads``: their forecast, where they would have been best.
    """
    from amorsize.measure.thread_safety import left_of, warning

    found = doubt(request, head)
    if found is None:
        return request, None
    return replace(request, backends=left_of(request.backends, found)), warning(found, threads)


def doubt(request: Request, head: Sequence[Any] = ()) -> Safety | None:
    """Return what speaks against threads that "auto" would use; None: func is safe there, or the user named them."""
    if not request.auto or "threads" not in request.backends:
        return None
    from amorsize.measure.thread_safety import examples, look

    found = look(request.func, examples(request.data) or head, request.data)
    return None if found.is_safe else found


def _left_out(request: Request, is_elsewhere: bool) -> tuple[Backend, ...]:
    """Return the backends that the call's ``backend=`` leaves out, and that "auto" would have here."""
    if request.auto:
        return ()
    allowed = backends_setting(BACKENDS) or BACKENDS
    out = tuple(name for name in BACKENDS if name != "threads" and name in allowed and name not in request.backends)
    # Every pool of processes has threads here. A machine that is not here may have some.
    return out if is_elsewhere or "processes" not in out or can_start_a_thread() else out[:-1]


def _weight_in_a_plain_pool(
    best: Forecast, serial: Forecast, sample: Sample, costs: Costs, here: Machine, items: int, load: float
) -> str | None:
    """Return a warning if a ``multiprocessing.Pool`` of the user's own would lose time over func's weight."""
    if best.backend != "processes" or sample.func_bytes <= HANDED_BYTES:
        return None
    plain = Candidates(
        sample, costs, here, "processes", n_items=items, caller_rss_bytes=forked_bytes(), load=load, plain=True
    ).seconds(best.workers, best.chunksize)
    if plain <= best.total_s * NOTICED:
        return None
    chunks = count(ceil(items / best.chunksize), "chunk")
    took = f"about {seconds(plain)}" + (f", and the loop {seconds(serial.total_s)}" if plain > serial.total_s else "")
    weight = size(sample.func_bytes)
    return f"a plain Pool pickles func ({weight}) with each of {chunks}: {took}; plan.pool() sends it once"


def pool_can_find(func: Any, method: str, sample: Sample) -> Sample:
    """Add a transfer error to the sample if workers of a Pool could not find func.

    Spawned workers import ``__main__`` from its file; without a file they cannot find its functions.
    """
    module = getattr(func, "__module__", None)
    if method == "fork" or module != "__main__" or not main_is_interactive() or sample.transfer_error is not None:
        return sample
    return replace(
        sample,
        transfer_error=(
            f"func is defined in an interactive __main__, where {method} workers of a Pool cannot find it; put it "
            "into a module, or use amorsize.execute(), which sends it by value"
        ),
    )


def sample_in_child(
    request: Request, source: Indexable | Streamed, method: str, here: Machine, warnings: list[str]
) -> Sample:
    """Take the sample in one worker process, since func must not run in this process.

    Raises
    ------
    RuntimeError
        If the worker comes to this call while it imports the program's main module.
    """
    from amorsize.backends.processes import ProcessDriver
    from amorsize.backends.results import Outcome
    from amorsize.backends.workers import child
    from amorsize.backends.workers.functions import sent
    from amorsize.backends.workers.team import Team
    from amorsize.errors import AmorsizeError
    from amorsize.schedule.schedule import Schedule

    if isinstance(source, Streamed):
        warnings.append("the items come from an iterator and func may not run here: nothing was sampled")
        return Sample(n_sampled=0, item_s=0.0)
    refuse_in_a_child()
    by_value = main_is_interactive()
    setup = child.Setup(
        partial(_sample_there, sent(request.func, by_value), request.spread),
        by_value=by_value,
        values=_values(request, method),
    )
    outcome = Outcome("raise")
    try:
        team = Team(setup, None, method)
        ProcessDriver(Schedule([(0, 1)], 1), team, Indexable([source.data]), outcome, None).run()
        found = outcome.finish()[0]
    except AmorsizeError as exc:
        if getattr(exc, "exitcode", None) == UNGUARDED_CODE:
            raise RuntimeError(unguarded()) from None
        warnings.append(f"no sample could be taken: {exc}")
        return Sample(n_sampled=0, item_s=0.0)
    assert isinstance(found, Sample)
    return found


def _values(request: Request, method: str | None) -> Values | None:
    """Return the globals of the main module that workers must be told of, as func names them."""
    if method in (None, "fork") or main_is_interactive():
        return None
    from amorsize.backends.workers.main_module import used, values_of

    return values_of(used(request.func, request.data))


def _sample_there(func: Any, spread: bool, data: Any) -> Sample:
    sampler = Sampler(func, Indexable(data), spread=spread, watch=False)
    return sampler.weighed(sampler.take())


# -- plans from history -----------------------------------------------------------------------------------------------


def optimize_request(request: Request, machine: object = None) -> Plan:
    """Make the plan for one call of ``optimize``; the time of its pool is then recorded in the history.

    ``machine``: another one that the plan is for (`amorsize.measure.elsewhere.elsewhere`); its plan has no pool.
    """
    if machine is not None:
        from amorsize.measure.elsewhere import elsewhere

        return plan_for(request, elsewhere(machine))
    runs, again = tee(past_runs(request, share_of(lately())))
    plan = recalled(request, runs) or plan_for(request, runs=again)
    if plan.backend == "processes" and (values := _values(request, plan.start_method)):
        plan = replace(plan, warnings=(*plan.warnings, *values.warnings()))
    watch = PoolWatch.of(request.func, plan.data, request.history, partial(finish, request))
    return replace(plan, pool_watch=watch)


def finish(request: Request, results: list[Any]) -> list[Any]:
    """Run the items after the first ``len(results)`` as ``execute()`` would; return the results of all items."""
    from amorsize.run.execute import Execution

    # The plan's own row covers all items, so this run records none.
    execution = Execution(replace(request, history=History("off")))
    execution.state.resume(results)
    return execution.run()


def recalled(request: Request, runs: Iterable[Run]) -> Plan | None:
    """Make a plan from earlier runs, without a call of func; return None if they are not enough."""
    if not sequence(request.data):
        return None
    here, n = share_of(lately()), len(request.data)  # type: ignore[arg-type]
    runs, again = tee(runs)
    if (newest := next(runs, None)) is None:
        return None
    from amorsize.history.agreement import agreed

    found = agreed(chain((newest,), runs), n)
    return None if found is None else _plan_of_history(request, found, again, here, n)


def _plan_of_history(request: Request, found: Known, runs: Iterable[Run], here: Any, n: int) -> Plan | None:
    warnings: list[str] = []
    method = start_method_for(request, warnings)
    sample = found.sample
    is_open = may_gain(request, sample, here, method, n)
    if method is not None and is_open:
        sample = _with_transfer(request, found)
    if method is not None:
        sample = pool_can_find(request.func, method, sample)
    costs = known_costs(request, sample, here, method, n, warnings) if is_open else recorded_costs(request, method)
    data = request.data
    plan = plan_from(request, here, sample, costs, n, data, warnings, runs, known_runs=found.runs, is_open=is_open)
    # The size of results could only speak against processes: without it every other answer stands.
    return None if plan.backend == "processes" and not found.weighed else plan


def _with_transfer(request: Request, found: Known) -> Sample:
    """Add to the sample the measured cost of sending func, and items if that is not known; func is not called."""
    from amorsize.measure.transfer import FUNC, ITEMS, weigh

    data: Any = request.data
    stride = max(1, len(data) // 4)
    items = [] if found.sent else data[stride // 2 :: stride][:4]
    weighed = weigh(items, [], in_band=True, func=request.func)
    return replace(
        found.sample,
        transfer_error=weighed.transfer_error or found.sample.transfer_error,
        **{name: getattr(weighed, name) for name in (FUNC if found.sent else (*FUNC, *ITEMS))},
    )
