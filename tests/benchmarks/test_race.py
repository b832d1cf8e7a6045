from __future__ import annotations

import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from amorsize.history.this_process import THIS_PROCESS, Memory
from benchmarks import functions, measure, rivals, verify
from benchmarks.grid import Setting
from benchmarks.record import fold, in_flight, rounds_run
from benchmarks.rivals import Rival

SQUARES = list(range(50))


def race(contenders, rounds=2, func=functions.square, data=SQUARES, **options):
    events: list[dict] = [{"event": "ready", "items": None, "contenders": [each.name for each in contenders]}]
    measure.Race(func, data, contenders, events.append, **options).run(rounds)
    return events


def only(*names):
    return [rivals.by_name()[name] for name in names]


def test_loop_and_pool_run_a_tiny_workload():
    row = fold(race(only("loop", "Pool"), thrifty=False), rounds=2)
    assert row["items"] == 50
    assert set(row["contenders"]) == {"loop", "Pool"}
    for record in row["contenders"].values():
        assert record["failed"] is None
        assert all(seconds > 0 for seconds in record["seconds"])


def test_rounds_go_to_and_fro():
    events = race(only("loop", "threads"), rounds=3, thrifty=False)
    begun = [event["contender"] for event in events if event["event"] == "begin"]
    assert begun == ["loop", "threads", "threads", "loop", "loop", "threads"]


def wrong_order(func, data, facts):
    return [func(item) for item in reversed(data)]


def refuses(func, data, facts):
    raise OSError("no more processes")


@pytest.mark.parametrize(
    ("run", "message"),
    [(wrong_order, "result 0 differs"), (refuses, "OSError: no more processes"), (lambda f, d, facts: (), "tuple")],
)
def test_a_contender_that_fails_is_recorded_and_runs_no_more(run, message):
    events = race([*only("loop"), Rival("bad", run)], rounds=3)
    record = fold(events, rounds=3)["contenders"]["bad"]
    assert message in record["failed"]
    assert record["seconds"] == [None] * 3
    assert sum(event["event"] == "begin" and event["contender"] == "bad" for event in events) == 1


def test_the_items_are_looked_at_before_the_rounds():
    row = fold(race(only("loop")), rounds=2)
    assert row["item"]["mean_s"] > 0
    assert row["item"]["first_call_s"] == 0.0


def test_data_that_is_a_generator_is_new_for_each_turn():
    row = fold(race(only("loop", "Pool", "threads"), data=lambda: iter(SQUARES), thrifty=False), rounds=2)
    assert row["items"] == 50
    assert all(each["failed"] is None and None not in each["seconds"] for each in row["contenders"].values())


def test_before_each_turn_the_workload_forgets():
    forgot = []
    row = fold(race(only("loop", "threads"), 3, before_turn=lambda: forgot.append(1), thrifty=False), rounds=3)
    assert len(forgot) == 1 + 2 * 3  # before the items are looked at, and before every turn
    assert row["item"]["first_call_s"] >= 0.0


def test_who_takes_minutes_over_many_items_is_left_out_and_the_record_says_so():
    few = Rival("few", rivals.loop, most_items=49)
    record = fold(race([*only("loop"), few]), rounds=2)["contenders"]["few"]
    assert record["left_out"] == "more than 49 items"
    assert record["seconds"] == [None, None]
    record = fold(race([*only("loop"), few], thrifty=False), rounds=2)["contenders"]["few"]
    assert record["left_out"] is None
    assert None not in record["seconds"]


def test_two_rounds_are_the_least_and_a_limit_ends_the_rest():
    events: list[dict] = [{"event": "ready", "items": None, "contenders": ["loop"]}]
    measure.Race(functions.square, SQUARES, only("loop"), events.append).run(5, limit_s=0.0)
    seconds = fold(events, rounds=5)["contenders"]["loop"]["seconds"]
    assert [each is not None for each in seconds] == [True, True, False, False, False]


def test_the_grids_winners_compete_in_the_rounds():
    settings = [Setting("Pool", 2, 25, 1), Setting("ThreadPool", 2, 1, 0)]
    row = fold(race(only("loop"), rounds=2, settings=lambda n: settings, thrifty=False), rounds=2)
    assert set(row["grid"]["seconds"]) == {"loop", *(each.name for each in settings)}
    winners = {row["grid"]["best"], row["grid"]["best_pool"]}
    assert set(row["contenders"]) == {"loop"} | winners
    assert all(None not in row["contenders"][name]["seconds"] for name in winners)


def test_a_choice_between_pool_and_loop_does_as_it_says():
    record = fold(race(only("loop", "optimize + Pool"), thrifty=False), rounds=2)["contenders"]["optimize + Pool"]
    assert record["failed"] is None
    assert {"optimize_s", "map_s", "backend", "sample"} <= set(record["facts"][0])


def naps(x):
    time.sleep(2e-3)
    return x


def test_an_unknown_function_is_unknown_each_time_and_teaches_nobody(monkeypatch):
    recalled, few = [], SQUARES[:20]
    recall = Memory.recall

    def noted(self, func, data):
        known = recall(self, func, data)
        recalled.append(known is not None)
        return known

    monkeypatch.setattr(Memory, "recall", noted)
    row = fold(race(only("loop", "execute, unknown function"), rounds=3, func=naps, data=few), rounds=3)
    assert None not in row["contenders"]["execute, unknown function"]["seconds"]
    assert recalled == [False] * 3
    assert THIS_PROCESS.recall(naps, few) is None
    recalled.clear()
    race(only("loop", "amorsize.execute", "execute, unknown function"), rounds=3, func=naps, data=few)
    assert recalled == [False, False, False, True, False, True]  # to and fro, then from another start


def test_the_context_of_a_contender_is_off_the_clock():
    clock, now = [], time.perf_counter

    @contextmanager
    def around():
        clock.append("in")
        yield
        clock.append("out")

    def run(func, data, facts):
        clock.append("run")
        return list(map(func, data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure.time, "perf_counter", lambda: clock.append("clock") or now())
        measure.timed(Rival("around", run, around=around), functions.square, SQUARES)
    assert clock == ["in", "clock", "run", "clock", "out"]


def test_what_a_plan_said_is_kept_with_its_round():
    def planned(func, data, facts):
        facts.update(plan=SimpleNamespace(backend="serial", predicted_interval_s=(1.0, 2.0)), map_s=1.5)
        return list(map(func, data))

    record = fold(race([*only("loop"), Rival("plans", planned)], thrifty=False), rounds=2)["contenders"]["plans"]
    assert record["facts"] == [{"backend": "serial", "predicted_interval_s": [1.0, 2.0], "map_s": 1.5}] * 2


def test_who_is_far_behind_sits_out_but_never_the_loop_nor_amorsize():
    times = {
        "loop": [9.0],
        "amorsize.execute": [9.0],
        "execute, unknown function": [9.0],
        "slow": [9.0],
        "near": [1.2],
        "best": [1.0],
    }
    assert measure.hopeless(times, 1) == ["slow"]


def test_who_is_behind_by_milliseconds_stays():
    assert measure.hopeless({"loop": [0.001], "slow": [0.1]}, 2) == []


def test_a_mild_laggard_gets_a_second_round():
    times = {"best": [1.0], "mild": [1.7]}
    assert measure.hopeless(times, 1) == []
    assert measure.hopeless(times, 2) == ["mild"]


def test_events_that_break_off_name_the_culprit():
    events = race(only("loop"), rounds=1)
    assert in_flight(events) is None
    assert in_flight([*events, {"event": "begin", "contender": "hangs", "round": 1}]) == "hangs"


def test_essences_tell_arrays_apart_without_keeping_them():
    import numpy as np

    reference = verify.essences([np.zeros(1000), np.ones(1000)])
    assert verify.difference([np.zeros(1000), np.ones(1000)], reference) is None
    assert verify.difference([np.zeros(1000), np.full(1000, 2.0)], reference) == "result 1 differs from the loop's"
    assert verify.difference([np.zeros(1000)], reference) == "returned 1 results for 2 items"
    assert verify.difference([np.zeros(1000), np.ones(1000, dtype=int)], reference) is not None


def test_floats_may_differ_in_their_last_bits_and_numbers_not_in_type():
    assert verify.difference([0.1 + 0.2], [0.3]) is None
    assert verify.difference([0.3001], [0.3]) is not None
    assert verify.difference([1.0], [1]) is not None


@pytest.mark.parametrize(("short_s", "rounds"), [(float("inf"), measure.MOST_ROUNDS), (0.0, 5)])
def test_a_short_row_has_more_rounds_than_asked_for(monkeypatch, short_s, rounds):
    monkeypatch.setattr(measure, "SHORT_S", short_s)
    events = race(only("loop"), rounds=5, thrifty=False)
    assert rounds_run(events, 5) == rounds
    seconds = fold(events, rounds_run(events, 5))["contenders"]["loop"]["seconds"]
    assert None not in seconds
