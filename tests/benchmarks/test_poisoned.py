"""The summary of the instrument for poisoned histories."""

from __future__ import annotations

import pytest

from amorsize.facts import Sample
from benchmarks.poisoned import summary, told


def test_every_time_of_a_sample_is_wrong_by_as_much():
    true = Sample(n_sampled=3, item_s=1e-3, item_cpu_s=0.5e-3, item_max_s=2e-3, result_bytes=5.0)
    wrong = told(true, 100.0)
    assert (wrong.item_s, wrong.item_cpu_s, wrong.item_max_s) == pytest.approx((0.1, 0.05, 0.2))
    assert (wrong.waits, wrong.result_bytes, wrong.worker_s) == (true.waits, 5.0, None)


def test_each_way_is_held_against_its_own_base_turn_by_turn():
    def turn(sampled, up, execute, execute_up):
        seconds = {"sampled": sampled, "up": up, "execute": execute, "execute, up": execute_up}
        ways = {name: {"s": value} for name, value in seconds.items()}
        ways["up"] |= {"known": 5, "plan": ("processes", 2, 1), "surprise": True}
        return ways

    found = summary([turn(1.0, 1.1, 2.0, 2.0), turn(2.0, 2.4, 1.0, 1.5), turn(1.0, 1.5, 1.0, 1.1)])
    assert found["up"]["ratio"] == pytest.approx(1.2)
    assert found["up"]["more_ms"] == pytest.approx(400)
    assert (found["up"]["surprises"], found["up"]["known"], found["up"]["plans"]) == (3, [5, 5, 5], ["processes 2 1"])
    assert found["execute, up"]["ratio"] == pytest.approx(1.1)
    assert found["sampled"]["ratio"] == 1.0
