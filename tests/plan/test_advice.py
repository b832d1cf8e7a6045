"""What would help, on maps that are slow for one known reason each; and what holds for all maps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Sample, Scaling
from amorsize.frozen import replace
from amorsize.model.default_costs import recorded
from amorsize.model.search import Basis
from amorsize.plan.advice import LEVEL, TOLD, WORTH, advise, bound, most_useful_cores, what_if
from amorsize.testing import a_machine

FORK = Costs(threads=recorded("threadpool", None), processes=recorded("pool", "fork"), scaling=Scaling())
SPAWN = replace(FORK, processes=recorded("pool", "spawn"))


def computing(item_s: float = 25e-3, **more: Any) -> Sample:
    given: dict[str, Any] = {"n_sampled": 5, "item_s": item_s, "item_cpu_s": item_s, "gil_held": 1.0}
    return Sample(**(given | more))


def basis(sample: Sample, n_items: int = 200, costs: Costs = FORK, cores: int = 4, **more: Any) -> Basis:
    given: dict[str, Any] = {"backends": ("serial", "threads", "processes"), "kept_items": n_items}
    return Basis(sample=sample, costs=costs, machine=a_machine(cores=cores), n_items=n_items, **(given | more))


def heavy_imports(seconds: float) -> Costs:
    cost = SPAWN.processes
    assert cost is not None
    return replace(SPAWN, processes=replace(cost, start=replace(cost.start, import_s=seconds)))


BIG = {"result_bytes": 20e6, "result_pickle_s": 10e-3, "result_unpickle_s": 10e-3}
WIDE = {"arg_bytes": 20e6, "arg_pickle_s": 10e-3, "arg_unpickle_s": 10e-3}
SLOW: dict[str, tuple[Basis, str, str]] = {
    "large results": (basis(computing(**BIG)), "return less from func", "pickling"),
    "large items": (basis(computing(**WIDE), costs=SPAWN), "give func less", "pickling"),
    "in an interactive __main__": (
        basis(
            computing(transfer_error="func is defined in an interactive __main__, where spawn workers cannot find it")
        ),
        "define func in a module",
        "pickled",
    ),
    "cannot be pickled": (basis(computing(transfer_error="an item: a lock")), "let func, items and results", "pickled"),
    "not shown safe in threads": (
        basis(computing(item_cpu_s=0.0, gil_held=0.0), backends=("serial",), barred="func writes the global n"),
        "say so: backend='threads'",
        "no other backend",
    ),
    "threads of its own, badly used": (
        basis(computing(own_threads=1.3), n_items=400, cores=2),
        "one thread",
        "1.3 of them",
    ),
    "one giant item": (
        basis(computing(1e-3, longest_s=2.0, item_std_s=0.14, item_max_s=2.0, last_s=1e-3), n_items=3000),
        "cut the longest item",
        "one item",
    ),
    "all results larger than the memory": (
        basis(computing(result_bytes=1e8, result_pickle_s=1e-3, result_unpickle_s=1e-3, gil_held=0.0), n_items=2000),
        "amorsize.stream",
        "the memory: ",
    ),
    "a heavy main program": (basis(computing(), costs=heavy_imports(2.0)), "import less", "the start of workers"),
    "often called, and short": (basis(computing(), n_items=12, costs=SPAWN), "keep workers", "the start of workers"),
    "tiny items, by processes": (
        basis(computing(1e-6), n_items=20_000, costs=SPAWN, backends=("processes",), excluded=("serial",)),
        "allow a plain loop",
        "the start of workers",
    ),
    "computing, by threads": (
        basis(computing(), backends=("threads",), excluded=("serial", "processes")),
        "allow processes",
        "the interpreter's lock",
    ),
    "items wait for one lock": (
        basis(computing(item_cpu_s=0.0, gil_held=0.0), backends=("serial",), is_locked=True),
        "hold the lock only while",
        "a lock",
    ),
    "workers need more than memory_limit": (
        basis(computing(rss_growth_bytes=2e8), memory_limit_bytes=int(1e8)),
        "a higher memory_limit",
        "the memory: ",
    ),
    "workers need more memory than there is": (
        basis(computing(rss_growth_bytes=1e12)),
        "need less memory at a time",
        "the memory: ",
    ),
    "few workers allowed": (basis(computing(), max_workers=2, cores=8), "leave max_workers out", "the cores"),
}


@pytest.mark.parametrize("name", SLOW)
def test_what_is_slow_for_one_reason(name: str) -> None:
    slow, what, bounded_by = SLOW[name]
    now = slow.choose()[0]
    found = advise(slow, now)
    assert any(what in one.what for one in found), found
    assert bounded_by in bound(slow, now)


@pytest.mark.parametrize("sample", [computing(), computing(1e-7), computing(item_cpu_s=1e-5, gil_held=0.0)])
def test_nothing_to_say_where_nothing_is_wrong(sample: Sample) -> None:
    well = basis(sample, n_items=2000)
    assert advise(well, well.choose()[0]) == ()


def test_the_gain_is_that_of_the_model() -> None:
    slow, _, _ = SLOW["large results"]
    now = slow.choose()[0]
    without = replace(slow, sample=computing(result_bytes=64.0))
    assert advise(slow, now)[0].gain == pytest.approx(now.total_s / without.choose()[0].total_s, rel=0.02)


def test_tiny_work_is_called_too_little() -> None:
    tiny = basis(computing(1e-6), n_items=1000)
    assert "too little work" in bound(tiny, tiny.choose()[0])


def test_what_bounds_a_loop_is_only_named_where_it_is_the_reason() -> None:
    alone = basis(computing(), max_workers=1)
    assert "max_workers" in bound(alone, alone.choose()[0])
    # Too much memory for many workers, yet a few were allowed, and lost by what is to be sent.
    wide = computing(**BIG | {"result_pickle_s": 0.1, "result_unpickle_s": 0.1}, rss_growth_bytes=1e9)
    some = basis(wide, cores=16, memory_limit_bytes=3 << 30, backends=("serial", "processes"))
    best, others = some.choose()
    assert best.backend == "serial"
    assert {f.refused is None for f in others if f.workers > 1} == {True, False}
    assert "pickling" in bound(some, best)
    none = replace(some, memory_limit_bytes=1 << 20)
    assert "the memory" in bound(none, none.choose()[0])


def test_a_loop_that_workers_slow_down_is_not_bound_by_pickling() -> None:
    """After runs on a busy machine 14 bytes a result were said to take longer on the way than 3 ms of computing."""
    slowed = basis(
        computing(3e-3, worker_s=7e-3, result_bytes=14.0, result_pickle_s=1e-6, result_unpickle_s=1e-6),
        n_items=300, cores=2, backends=("serial", "processes"),
    )  # fmt: skip
    now = slowed.choose()[0]
    assert now.backend == "serial"
    assert "7 ms each in the workers of earlier runs" in bound(slowed, now)


def test_what_was_spent_in_the_loop_before_counts_on_other_machines_too() -> None:
    work = basis(computing(), n_items=1000)
    later = replace(work, before_s=0.5)
    (one,), (other,) = what_if(work, (8,)), what_if(later, (8,))
    assert other.predicted_s == pytest.approx(one.predicted_s + 0.5)


def test_cores_that_still_pay() -> None:
    work = basis(computing(), n_items=1000)
    at = {one.cores: one.predicted_s for one in what_if(work, (1, 2, 4, 8, 16))}
    assert at[4] == pytest.approx(at[1] / 4, rel=0.1)
    assert list(at.values()) == sorted(at.values(), reverse=True)
    assert most_useful_cores(basis(computing(), n_items=3)) <= 3
    assert most_useful_cores(basis(computing(1e-7), n_items=3)) == 1


samples = st.builds(
    computing,
    st.floats(1e-7, 1.0),
    item_std_s=st.floats(0, 1.0),
    longest_s=st.floats(0, 3.0),
    result_bytes=st.floats(0, 1e9),
    result_pickle_s=st.floats(0, 0.1),
    result_unpickle_s=st.floats(0, 0.1),
    arg_bytes=st.floats(0, 1e9),
    gil_held=st.none() | st.floats(0, 1),
    own_threads=st.floats(0.5, 8),
    kept_s=st.floats(0, 0.01),
    transfer_error=st.none() | st.just("a lock"),
)


@settings(max_examples=30)
@given(samples, st.integers(1, 10**6), st.integers(1, 64), st.booleans(), st.sampled_from([FORK, SPAWN]))
def test_for_all_maps(sample: Sample, n_items: int, cores: int, barred: bool, costs: Costs) -> None:
    backends = ("serial", "processes") if barred else ("serial", "threads", "processes")
    one = basis(sample, n_items, costs, cores, backends=backends, barred="func writes a global" if barred else None)
    now = one.choose()[0]
    found = advise(one, now)
    assert len(found) <= TOLD
    assert [each.gain for each in found] == sorted((each.gain for each in found), reverse=True)
    assert all(each.gain >= WORTH and each.what and each.why for each in found)
    assert bound(one, now)
    # More cores are never worse, but for the steps of the search.
    took = [each.predicted_s for each in what_if(one, (2, 8, 32))]
    assert took[1] <= LEVEL * took[0]
    assert took[2] <= LEVEL * took[1]
