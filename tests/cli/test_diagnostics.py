"""Diagnostics in words: every fact with its source, every cost, and the least work for which workers pay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from amorsize.cli.diagnostics import Diagnosis, doubts, meaning, to_dict, to_text, worth
from amorsize.facts import MARGIN, BackendCost, ChannelCost, Costs, Sample, Scaling, StartCost
from amorsize.model.cost import forecast
from amorsize.model.default_costs import recorded
from amorsize.system.machine_text import WIDTH
from amorsize.testing import a_machine

WAYS = (
    *((engine, method) for engine in ("team", "pool") for method in ("fork", "spawn", "forkserver")),
    ("threads", None),
    ("threadpool", None),
)
POD = "/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + "0123456789abcdef" * 4
SOURCES = {
    "usable_cores": "quota_cores",
    "quota_cores": f"{POD}.scope/cpu.max",
    "affinity_cores": "os.sched_getaffinity(0)",
    "memory_limit_bytes": "none set from /sys/fs/cgroup up; unknown: cannot read /a/memory.max: denied; unknown: why",
}


def a_cost(engine="pool", method="fork", *, base_s=0.02, per_worker_s=0.0, **changes) -> BackendCost:
    return BackendCost(
        engine=engine,
        start_method=method,
        start=StartCost(base_s=base_s, per_worker_s=per_worker_s),
        channel=ChannelCost(per_chunk_s=0.0),
        **changes,
    )


def a_diagnosis(cores=2, **changes) -> Diagnosis:
    facts = {
        "machine": replace(a_machine(cores=cores), sources=SOURCES),
        "costs": tuple(recorded(engine, method) for engine, method in WAYS),
        "scaling": Scaling(points=((1, 1.0), (2, 1.9))),
        "version": "1.2.3",
    }
    return Diagnosis(**{**facts, **changes})


def line(text: str, *words: str) -> str:
    """Return the one line that begins with these words."""
    (found,) = [each for each in text.splitlines() if each.split()[: len(words)] == list(words)]
    return " ".join(found.split())


# ----------------------------------------------------------------------------------------------------- break-even


@pytest.mark.parametrize("cores", [1.5, 2, 3, 8, 64])
@pytest.mark.parametrize("per_worker_s", [0.0, 0.004])
def test_from_there_on_and_not_before_the_model_says_that_processes_beat_the_loop(cores, per_worker_s):
    machine, cost = a_machine(cores=cores), a_cost(per_worker_s=per_worker_s)
    scaling = Scaling(points=((1, 1.0), (64, 60.0)))
    found = worth(cost, machine, scaling)
    assert found.pays_from_s is not None

    def gain(serial_s: float, workers: int) -> float:
        items = 10_000 * workers
        sample = Sample(n_sampled=items, item_s=serial_s / items, item_cpu_s=serial_s / items)
        costs = Costs(processes=cost, scaling=scaling)
        total_s = forecast(sample, costs, machine, "processes", workers, 1, n_items=items).total_s
        return 1 - total_s / serial_s

    assert gain(found.pays_from_s, found.workers) == pytest.approx(MARGIN, rel=1e-3)
    assert all(gain(0.99 * found.pays_from_s, p) < MARGIN for p in range(1, 65))


def test_what_a_core_more_is_really_worth_decides():
    machine, cost = a_machine(cores=2), a_cost()
    full = worth(cost, machine, Scaling()).pays_from_s
    poor = worth(cost, machine, Scaling(points=((1, 1.0), (2, 1.3)))).pays_from_s
    assert full == pytest.approx(0.02 / (0.9 - 1 / 2))
    assert poor == pytest.approx(0.02 / (0.9 - 1 / 1.3))


@pytest.mark.parametrize("machine", [a_machine(cores=1), a_machine(cores=0.5), a_machine(cores=1.1)])
def test_one_core_never_pays_for_computing(machine):
    assert worth(a_cost(), machine, Scaling()).pays_from_s is None


def test_threads_pay_for_waiting_even_on_half_a_core():
    threads = a_cost("threads", None, base_s=1e-3, per_worker_s=1e-3)
    found = worth(threads, a_machine(cores=0.5), Scaling())
    assert found.workers == 3
    assert found.pays_from_s == pytest.approx(4e-3 / (0.9 - 1 / 3))


def test_execute_is_told_of_first_and_the_cheapest_start_method_leads():
    costs = (a_cost("pool", "spawn", base_s=0.2), a_cost("threadpool", None), a_cost(), a_cost("team", base_s=9.0))
    ways = [(w.cost.engine, w.cost.start_method) for w in a_diagnosis(costs=costs).worths()]
    assert ways == [("team", "fork"), ("pool", "fork"), ("pool", "spawn"), ("threadpool", None)]


# --------------------------------------------------------------------------------------------------------- advice


def test_what_a_call_must_be_worth():
    costs = (a_cost("team"), a_cost("pool", base_s=0.04), a_cost("pool", "spawn", base_s=0.4), a_cost("threads", None))
    said = meaning(a_diagnosis(costs=costs, scaling=Scaling()))
    pays = "in total before processes pay here (started by fork"
    assert said[:3] == [
        f"Computing with execute(): a call must be worth more than 50 ms {pays}).",
        f"Computing with multiprocessing.Pool: a call must be worth more than 100 ms {pays}; 1 s by spawn).",
        "Waiting: a call must be worth more than 22.6 ms with execute() in total before threads pay here.",
    ]


def test_with_one_core_it_says_never():
    said = meaning(a_diagnosis(cores=1))
    assert said[0] == "Computing: with 1 usable core, processes can never pay for computing here."
    assert said[1].startswith("Waiting: ")
    assert not any("forked" in sentence for sentence in said)


def test_with_hardly_more_than_one_core_it_says_so_and_whether_that_is_sure():
    assert "1.1 usable cores do too little more than one" in meaning(a_diagnosis(cores=1.1))[0]
    doubtful = a_diagnosis(scaling=Scaling(points=((1, 1.0), (2, 1.0))), doubts=("others were busy",))
    assert "doubtful" in meaning(doubtful)[0]
    assert "scaling: others were busy" in doubts(doubtful)


def test_the_interpreters_lock_decides_about_computing_in_threads():
    free = meaning(a_diagnosis(machine=a_machine(gil=False)))
    assert any("without a GIL" in sentence for sentence in free)
    assert not any("without a GIL" in sentence for sentence in meaning(a_diagnosis()))


# --------------------------------------------------------------------------------------------------------------- text


def test_each_core_count_has_its_source():
    text = to_text(a_diagnosis(cores=1.5))
    assert line(text, "usable").startswith("usable 1.5 quota 1.5 from")
    assert text.count(", affinity 2") == 1
    assert line(text, "affinity", "2") == "affinity 2 os.sched_getaffinity(0)"
    assert line(text, "scaling") == "scaling 1.90 times as much done by 2 busy processes as by one (measured)"
    assert line(to_text(a_diagnosis()), "usable") == "usable 2 affinity 2, no quota"


def test_a_quota_that_does_not_bind_comes_second():
    machine = replace(a_machine(cores=2), quota_cores=3.0)
    assert line(to_text(a_diagnosis(machine=machine)), "usable").startswith("usable 2 affinity 2, quota 3 from")


def test_memory_is_told_in_units_that_people_read():
    text = to_text(a_diagnosis(machine=a_machine(memory_bytes=8_000_000_000)))
    assert line(text, "total") == "total 8.0 GB"
    assert line(text, "limit") == "limit none"


def test_what_could_not_be_read_is_a_warning_and_not_part_of_the_source():
    diagnosis = a_diagnosis()
    assert doubts(diagnosis) == [
        "memory_limit_bytes: unknown: cannot read /a/memory.max: denied",
        "memory_limit_bytes: unknown: why",
    ]
    text = to_text(diagnosis)
    assert line(text, "limit") == "limit none none set from /sys/fs/cgroup up"
    assert "memory_limit_bytes: unknown: why" in text


@pytest.mark.parametrize(("load", "warned"), [(None, False), (0.9, False), (1.1, True), (17.0, True)])
def test_a_load_that_is_high_for_the_cores_is_warned_of(load, warned):
    diagnosis = a_diagnosis(machine=replace(a_machine(cores=2), load=load))
    assert any("load" in text for text in doubts(diagnosis)) == warned
    assert ("Warnings" in to_text(diagnosis)) == warned


def test_warnings_of_a_measurement_name_it_once():
    cost = a_cost("pool", "spawn", warnings=("noisy",))
    assert "Pool spawn: noisy" in doubts(a_diagnosis(costs=(cost, cost)))
    assert doubts(a_diagnosis(costs=(cost, cost))).count("Pool spawn: noisy") == 1


def test_a_line_of_the_table_for_each_way_to_start_workers():
    cost = BackendCost(
        engine="pool",
        start_method="spawn",
        start=StartCost(base_s=0.03, per_worker_s=0.002, spread=0.123),
        channel=ChannelCost(per_chunk_s=42e-6, send_s_per_byte=1e-9, worker_s_per_byte=0.5e-9),
        measured=True,
        measured_at_s=1000.0,
    )
    diagnosis = a_diagnosis(costs=(cost, a_cost("threads", None)), scaling=Scaling(), at_s=1000.0)
    text = to_text(diagnosis)
    assert line(text, "Starting") == "Starting workers base per worker ± per chunk per MB pays from measured"
    assert line(text, "Pool") == "Pool spawn 30 ms 2 ms 12% 42 µs 1.5 ms 85 ms now"
    assert line(text, "execute()") == "execute() threads 20 ms 0 s 25% 0 s - 22.6 ms no: recorded"
    for age_s, words in {40: "now", 600: "10 min ago", 3 * 3600: "3 h ago", 5 * 86400: "5 days ago"}.items():
        assert line(to_text(replace(diagnosis, at_s=1000.0 + age_s)), "Pool").endswith(f" 85 ms {words}")
    assert "never" in line(to_text(replace(diagnosis, machine=a_machine(cores=1))), "Pool")


@pytest.mark.parametrize("cores", [0.5, 1, 1.5, 64])
def test_it_fits_a_hundred_columns_whatever_the_paths(cores):
    costs = tuple(replace(recorded(*way), measured=way[1] != "fork") for way in WAYS)
    diagnosis = a_diagnosis(cores, costs=costs, at_s=30 * 86400.0)
    text = to_text(diagnosis)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not any(each != each.rstrip() for each in text.splitlines())
    if cores != int(cores):
        assert f"{POD}.scope/cpu.max" in text.replace("\n", "").replace(" ", "")


# --------------------------------------------------------------------------------------------------------------- JSON


def test_the_dict_holds_all_of_it_and_is_json():
    diagnosis = a_diagnosis(cores=1.5, costs=(a_cost(), a_cost("team", "spawn", base_s=9.0)), doubts=("hm",))
    told = json.loads(json.dumps(to_dict(diagnosis)))
    assert told["amorsize"] == "1.2.3"
    assert told["machine"]["usable_cores"] == 1.5
    assert told["machine"]["start_methods"] == ["fork", "spawn", "forkserver"]
    assert told["machine"]["sources"] == SOURCES
    assert told["scaling"] == [[1, 1.0], [2, 1.9]]
    assert [(cost["engine"], cost["start"]["base_s"]) for cost in told["costs"]] == [("team", 9.0), ("pool", 0.02)]
    assert told["costs"][1]["pays_from_s"] == pytest.approx(0.02 / (0.9 - 1 / 1.5))
    assert told["means"] == meaning(diagnosis)
    assert told["warnings"] == doubts(diagnosis)
