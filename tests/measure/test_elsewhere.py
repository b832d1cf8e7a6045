"""Machines that are not here: read from files, whole or not at all, and planned for."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import hands
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amorsize
from amorsize.cli.diagnostics import Diagnosis, to_dict
from amorsize.facts import Scaling
from amorsize.measure.elsewhere import elsewhere
from amorsize.model.default_costs import recorded
from amorsize.testing import a_machine

SCALING = Scaling(points=((1, 1.0), (32, 30.0), (64, 40.0)))
DEAR = recorded("pool", "fork")
DEAR = replace(DEAR, measured=True, measured_at_s=1.0, start=replace(DEAR.start, base_s=0.5, per_worker_s=0.0))
COSTS = (DEAR, recorded("team", "fork"), recorded("threadpool", None), recorded("threads", None))
SERVER = replace(a_machine(64, memory_bytes=1 << 38), load=3.5)


def body_of(machine=SERVER):
    found = Diagnosis(machine=machine, costs=COSTS, scaling=SCALING, doubts=(), version="1", at_s=2.0)
    return json.loads(json.dumps(to_dict(found)))


@pytest.fixture
def written(tmp_path):
    def write(body, text=None):
        path = tmp_path / "server.json"
        path.write_text(json.dumps(body) if text is None else text)
        return path

    return write


work = partial(hands.spin, seconds=300e-6)


@pytest.fixture
def timed(monkeypatch):
    """The items take as long as they say."""
    monkeypatch.setenv("AMORSIZE_HISTORY", "off")
    with hands.virtual_time(monkeypatch):
        yield


# -- files -----------------------------------------------------------------------------------------------------------


def test_what_the_diagnostics_printed_comes_back(written):
    found = elsewhere(written(body_of()))
    assert found.machine == replace(SERVER, sources=found.machine.sources)
    assert found.scaling == SCALING
    assert found.costs_for(threads=True, start_method="fork").processes == DEAR
    assert found.costs_for(threads=True, start_method="fork").threads == recorded("threadpool", None)


def test_costs_that_were_not_measured_there_are_the_recorded_ones(written):
    body = body_of()
    del body["costs"], body["scaling"]
    found = elsewhere(written(body))
    assert found.costs_for(threads=False, start_method="spawn").processes == recorded("pool", "spawn")
    assert found.costs_for(threads=False, start_method=None) == amorsize.facts.Costs(scaling=Scaling())


BROKEN = {
    "no JSON": (None, "{", "no JSON"),
    "no machine": ({"costs": []}, None, "no machine"),
    "a list": ([], None, "no machine"),
    "a fact is missing": ("usable_cores", KeyError, "does not tell usable_cores"),
    "a fact of another kind": ("logical_cores", "many", "logical_cores cannot be 'many'"),
    "no cores": ("usable_cores", 0, "usable_cores cannot be 0"),
    "not a number": ("memory_available_bytes", float("nan"), "memory_available_bytes"),
    "no methods": ("start_methods", "fork", "start_methods cannot be 'fork'"),
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_broken_file_is_refused_by_name_and_says_how_to_make_one(written, which):
    what, value, text = BROKEN[which]
    if isinstance(what, str):
        body = body_of()
        if value is KeyError:
            del body["machine"][what]
        else:
            body["machine"][what] = value
        path = written(body)
    else:
        path = written(what, value)
    with pytest.raises(ValueError, match=r"^machine: ") as caught:
        amorsize.optimize(abs, [1], machine=path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)
    assert "python -m amorsize --json" in str(caught.value)


def test_damaged_costs_and_curves_are_refused(written):
    for damage in ({"scaling": [[1, 1.0], [2, 9.0]]}, {"costs": [{"engine": "pool", "start_method": "fork"}]}):
        with pytest.raises(ValueError, match="machine: "):
            elsewhere(written({**body_of(), **damage}))


def test_what_is_no_machine_and_no_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        amorsize.optimize(abs, [1], machine=tmp_path / "none.json")
    for nonsense in (7, b"file", [SERVER]):
        with pytest.raises(TypeError, match="machine: must be"):
            amorsize.optimize(abs, [1], machine=nonsense)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.sampled_from(["machine", "costs", "scaling", *body_of()["machine"]]), json_values)
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, name, value):
    body = body_of()
    (body if name in body else body["machine"])[name] = value
    path = tmp_path_factory.getbasetemp() / "some.json"
    path.write_text(json.dumps(body))
    try:
        found = elsewhere(path)
    except ValueError:
        return
    assert found.machine.usable_cores > 0
    assert found.scaling.throughput(64) > 0


# -- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("timed")
def test_a_plan_for_a_larger_machine_uses_its_cores_and_its_costs(written):
    for machine in (SERVER, written(body_of())):
        plan = amorsize.optimize(work, range(200_000), machine=machine, backend=("serial", "processes"))
        assert (plan.backend, plan.start_method) == ("processes", "fork")
        assert plan.n_jobs > 8
        assert plan.machine.usable_cores == 64
        assert "timed on this one" in " ".join(plan.warnings)
        assert "n_jobs" in plan.explain()
        assert json.loads(plan.to_json())["machine"]["usable_cores"] == 64
        with pytest.raises(ValueError, match="machine that is not here"):
            plan.pool()
    # A fork also copies the page tables of this process, whatever the tests have loaded into it.
    assert 0.5 <= plan.breakdown.start_s < 2.0


@pytest.mark.usefixtures("timed")
def test_the_other_machines_load_start_methods_and_interpreter_count():
    busy, idle = (replace(a_machine(4), load=load) for load in (12.0, 0.0))
    free = replace(idle, system="Windows", start_methods=("spawn",), default_start_method="spawn")
    times = [amorsize.optimize(work, range(20_000), machine=one).predicted_s for one in (busy, idle)]
    assert times[0] > 2 * times[1]
    options = {"machine": free, "backend": "processes"}
    assert amorsize.optimize(work, range(20_000), **options).start_method == "spawn"
    with pytest.raises(ValueError, match="start_method: 'fork' is not to be had there"):
        amorsize.optimize(work, range(10), start_method="fork", **options)


@pytest.mark.usefixtures("timed")
def test_no_items_and_one_item():
    for items in ([], [1]):
        plan = amorsize.optimize(work, items, machine=SERVER)
        assert plan.backend == "serial"
        with pytest.raises(ValueError, match="not here"):
            plan.pool()
