"""The simulator: runs computed by hand, and bounds for all runs."""

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Scaling
from amorsize.schedule.messages import CALLER
from amorsize.schedule.simulation.chunk_rules import SelfScheduling, equal, factoring, guided, simulate_pool, trapezoid
from amorsize.schedule.simulation.cores import PARK, Cores
from amorsize.schedule.simulation.overheads import Overheads
from amorsize.schedule.simulation.simulate import simulate
from amorsize.schedule.worker_count import WorkerCount

items = st.lists(st.floats(0.0, 1.0), max_size=60)
small = st.floats(0.0, 5e-3)
overheads = st.builds(
    Overheads,
    start_s=small,
    boot_cpu_s=small,
    boot_wait_s=small,
    immediate=st.booleans(),
    send_s=small,
    receive_s=small,
    send_item_s=small,
    receive_item_s=small,
    latency_s=small,
    chunk_s=small,
    item_s=small,
    leave_cpu_s=small,
    leave_wait_s=small,
    once_s=small,
)


def ran(simulation):
    return sorted(i for chunk in simulation.chunks for i in range(chunk.start, chunk.stop))


# --- bounds -------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    item_s=items,
    cpu=st.floats(0.0, 1.0),
    workers=st.integers(1, 9),
    cores=st.none() | st.integers(1, 6),
    quota=st.none() | st.floats(0.3, 4.0),
    lock_share=st.sampled_from([0.0, 0.5, 1.0]),
    overheads=overheads,
    fixed=st.none() | st.integers(1, 20),
    helps=st.booleans(),
    expected_s=st.sampled_from([0.0, 1e-4, 0.5]),
    worker_count=st.booleans(),
)
def test_every_item_runs_once_and_no_faster_than_anything_allows(
    item_s, cpu, workers, cores, quota, lock_share, overheads, fixed, helps, expected_s, worker_count
):
    helps = helps and not overheads.immediate  # threads have the caller's own help nowhere
    item_cpu_s = [cpu * s for s in item_s]
    run = simulate(
        item_s,
        workers,
        item_cpu_s=item_cpu_s,
        cores=cores,
        quota=quota,
        lock_share=0.0 if helps else lock_share,
        overheads=overheads,
        fixed=fixed,
        caller_helps=helps,
        expected_s=expected_s,
        worker_count=WorkerCount(cores or 2.0, 9, expected_s, may_lose=True) if worker_count else None,
    )
    assert ran(run) == list(range(len(item_s)))
    computing = sum(item_cpu_s)
    least = [0.0, max(item_s, default=0.0), run.dispatcher_s]
    least.append(computing / cores if cores else 0.0)
    if not worker_count:
        least.append(sum(item_s) / (workers + helps))
    if quota:  # a period's allowance may be spent at once
        least.append(0.1 * (computing / quota / 0.1 - 1))
    if lock_share and not helps and not run.busy_s.get(CALLER):
        least.append(computing * lock_share)
    assert run.makespan_s >= max(least) * (1 - 1e-9) - 1e-9
    assert run.cpu_s >= computing * (1 - 1e-9)
    assert run.cpu_s <= run.makespan_s * (cores or 99) * (1 + 1e-9)
    assert 0.0 <= run.utilisation <= 1.0 + 1e-9


@settings(max_examples=100, deadline=None)
@given(item_s=items, workers=st.integers(1, 9), overheads=overheads, fixed=st.none() | st.integers(1, 20))
def test_nobody_is_at_two_chunks_at_a_time(item_s, workers, overheads, fixed):
    run = simulate(item_s, workers, cores=3, overheads=overheads, fixed=fixed)
    free = {}
    for chunk in sorted(run.chunks, key=lambda c: (c.began_s, c.ended_s)):
        assert chunk.began_s >= free.get(chunk.worker, 0.0) - 1e-9
        free[chunk.worker] = chunk.ended_s
    assert max(free.values(), default=0.0) <= run.makespan_s
    assert run == simulate(item_s, workers, cores=3, overheads=overheads, fixed=fixed)


@settings(max_examples=60, deadline=None)
@given(item_s=items, workers=st.integers(1, 9), overheads=overheads, size=st.integers(1, 20))
def test_the_dispatcher_cannot_be_overtaken(item_s, workers, overheads, size):
    chunks = ceil(len(item_s) / size)
    serial = chunks * (overheads.send_s + overheads.receive_s) + overheads.once_s + workers * overheads.start_s
    serial += len(item_s) * (overheads.send_item_s + overheads.receive_item_s)
    for run in (
        simulate(item_s, workers, overheads=overheads, policy=SelfScheduling(len(item_s), workers, equal(size))),
        simulate_pool(item_s, workers, size, overheads=overheads),
    ):
        assert ran(run) == list(range(len(item_s)))
        if item_s:
            assert run.makespan_s >= serial * (1 - 1e-9)


@given(n=st.integers(0, 500), workers=st.integers(1, 20))
def test_rules_hand_out_everything(n, workers):
    for rule in (equal(1), equal(7), guided, factoring, trapezoid):
        sizes = list(rule(n, workers))
        assert sum(sizes) == n
        assert min(sizes, default=1) >= 1
        if rule in (guided, factoring, trapezoid):
            assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=60, deadline=None)
@given(item_s=items, workers=st.integers(1, 9))
def test_with_equal_chances_more_cores_do_no_harm(item_s, workers):
    """True for one chunk per worker; with more, the order may become worse by chance (Graham 1969)."""
    size = max(1, ceil(len(item_s) / workers))
    times = [simulate(item_s, workers, cores=c, fixed=size).makespan_s for c in (1, 2, 4, None)]
    assert times == pytest.approx(sorted(times, reverse=True))


# --- by hand ------------------------------------------------------------------------------------------------------


def test_the_caller_listens_only_when_all_workers_have_been_started():
    run = simulate([1.0, 1.0], 2, overheads=Overheads(start_s=0.25, boot_wait_s=0.1), fixed=1)
    assert run.ready_s == 0.5
    assert [c.began_s for c in run.chunks] == [0.5, pytest.approx(0.6)]
    assert run.makespan_s == pytest.approx(1.6)


def test_threads_begin_as_soon_as_they_were_started():
    run = simulate([1.0, 1.0], 2, overheads=Overheads(start_s=0.25, immediate=True), fixed=1)
    assert [c.began_s for c in run.chunks] == [0.25, 0.5]


def test_each_part_of_a_chunks_way_takes_its_time():
    over = Overheads(send_s=1, receive_s=2, send_item_s=4, receive_item_s=8, latency_s=16, chunk_s=32, item_s=64)
    # Ready: 16 on its way, 2 to receive. Out: 1 + 2 * 4, 16. Worker: 32 + 2 * 64 and the items. Back: 16, 2 + 2 * 8.
    assert simulate([100.0, 200.0], 1, overheads=over, fixed=2).makespan_s == 18 + 25 + 160 + 300 + 34
    leave = Overheads(once_s=1, leave_cpu_s=2, leave_wait_s=4)
    assert simulate([10.0], 1, overheads=leave).makespan_s == 17


def test_a_pool_keeps_its_queue_full():
    """If the worker requests each chunk, its latency counts for each; if a queue is filled ahead, only once."""
    over = Overheads(latency_s=1.0)
    asked = simulate([1.0] * 4, 1, overheads=over, policy=SelfScheduling(4, 1, equal(1)))
    assert asked.makespan_s == 1 + 4 * (1 + 1 + 1)
    assert simulate_pool([1.0] * 4, 1, 1, overheads=over).makespan_s == 1 + 4 + 1


def test_computing_workers_share_cores_and_waiting_ones_do_not():
    assert simulate([1.0] * 4, 4, cores=2, fixed=1).makespan_s == 2.0
    assert simulate([1.0] * 4, 4, cores=2, fixed=1, item_cpu_s=[0.0] * 4).makespan_s == 1.0
    # All wait for a second, then four seconds of computing on two cores.
    assert simulate([2.0] * 4, 4, cores=2, fixed=1, item_cpu_s=[1.0] * 4).makespan_s == 3.0


def test_a_curve_says_what_cores_are_worth():
    curve = Scaling(points=((1, 1.0), (2, 1.5)))
    assert simulate([3.0, 3.0], 2, cores=2, scaling=curve, fixed=1).makespan_s == pytest.approx(4.0)


def test_a_lock_that_half_of_the_work_needs():
    assert simulate([1.0] * 4, 4, lock_share=0.5, fixed=1).makespan_s == 2.0
    assert simulate([1.0] * 4, 4, lock_share=1.0, fixed=1).makespan_s == 4.0


def test_a_quota_throttles_in_periods():
    """Four cores use up a quota of one in the first quarter of each period."""
    run = simulate([0.1] * 4, 4, cores=4, quota=1.0, fixed=1)
    assert run.makespan_s == pytest.approx(0.325)
    assert simulate([0.02] * 4, 4, cores=4, quota=1.0, fixed=1).makespan_s == pytest.approx(0.02)
    assert simulate([0.1] * 4, 4, cores=4, quota=4.0, fixed=1).makespan_s == pytest.approx(0.1)


def test_a_caller_that_computes_has_a_core_of_its_own():
    cores = Cores(2)
    done = []

    def program(name, seconds):
        yield "compute", seconds
        done.append((name, cores.now_s))

    for name in "ab":
        cores.run(program(name, 1.0))
    cores.run(program("caller", 1.0), first=True)
    while cores.advance():
        pass
    assert done == [("caller", 1.0), ("a", 1.5), ("b", 1.5)]
    assert cores.used_s == 3.0


def test_who_is_stopped_leaves_the_others_alone():
    cores = Cores(1)
    ends = []

    def program():
        yield "compute", 1.0
        ends.append(cores.now_s)
        yield PARK

    first, second = cores.run(program()), cores.run(program())
    cores.later(1.0, cores.stop, first)
    while cores.advance():
        pass
    assert ends == [1.5]
    assert second.is_parked
    cores.wake(first)
    assert not cores.advance()


def test_a_retreat_ends_in_the_caller():
    """Each result takes ten times as long to receive: the schedule gives up, and the caller runs the rest."""
    over = Overheads(receive_item_s=1e-2)
    run = simulate(
        [1e-3] * 5000,
        2,
        overheads=over,
        expected_s=1e-3,
        evidence=100,
        worker_count=WorkerCount(2.0, 2, 1e-3, may_lose=True),
    )
    assert ran(run) == list(range(5000))
    assert run.busy_s[CALLER] > 1.0
    assert run.makespan_s < 20.0


def test_a_source_that_ends_unexpectedly_is_run_whole():
    from amorsize.schedule.schedule import Schedule

    run = simulate([0.01] * 100, 3, policy=Schedule([(0, None)], 3, item_s=0.01, evidence=50))
    assert ran(run) == list(range(100))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([1.0], 0), "workers"),
        (([-1.0], 1), "item_s"),
        (([float("nan")], 1), "item_s"),
        (([1.0], 1, [1.0, 2.0]), "item_cpu_s"),
    ],
)
def test_nonsense_is_refused(arguments, match):
    item_s, workers, *cpu = arguments
    with pytest.raises(ValueError, match=match):
        simulate(item_s, workers, item_cpu_s=cpu[0] if cpu else None)
    with pytest.raises(ValueError, match="policy was given"):
        simulate([1.0], 1, policy=SelfScheduling(1, 1, equal(1)), fixed=3)
