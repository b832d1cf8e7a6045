from __future__ import annotations

import pickle

import pytest

from benchmarks import calibration, grid
from benchmarks.workloads import REGISTRY, register, scaled_to, tagged


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(calibration, "_adopted", 1_000_000.0)


def test_the_table_has_its_fourteen_rows():
    assert len(tagged("table")) == 14


@pytest.mark.parametrize("name", [name for name in REGISTRY if "arrays" not in name])
def test_functions_and_data_pickle_and_are_the_same_each_time(name):
    func, data = REGISTRY[name].make()
    assert isinstance(data, list)
    assert pickle.loads(pickle.dumps(func)) is func
    assert pickle.loads(pickle.dumps(data)) == data == REGISTRY[name].make()[1]


def test_work_follows_the_calibration_of_whoever_leads():
    calibration.adopt(2_000_000.0)
    assert calibration.iterations(0.5) == 1_000_000
    assert calibration.iterations(0.0) == 1


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="two workloads"):
        register("7 × 300 ms", "")(lambda: (abs, []))


def test_durations_add_up():
    assert sum(scaled_to(2.0, [1.0, 5.0, 0.1])) == pytest.approx(2.0)


def test_the_grid_has_one_of_each_setting():
    names = [rival.name for rival in grid.grid(200_000)]
    assert len(names) == len(set(names))
    assert not any(name.split(", ")[1] == "chunks of 1" for name in names)
    assert any(each.name.split(", ")[1] == "chunks of 1" for each in grid.grid(50))
