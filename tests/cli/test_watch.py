"""``python -m amorsize watch``: the decision again and again, and what has changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.cli import main as cli
from amorsize.cli import watch
from amorsize.cli.watch import Look, drift

LOOK = Look(1.0, "processes", 2, "fork", 1.0, 0.01, 2.0)

looks = st.builds(
    Look,
    st.floats(0, 1e9),
    st.sampled_from(["serial", "threads", "processes"]),
    st.integers(1, 64),
    st.none(),
    st.none(),
    st.none() | st.floats(1e-9, 1e3),
    st.sampled_from([1.0, 1.5, 64.0]),
)


@given(looks, looks)
def test_it_is_the_same_way_back(before, now):
    assert len(drift(before, now)) == len(drift(now, before))
    assert drift(before, before._replace(at_s=5.0, predicted_s=9.0)) == ()


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (LOOK._replace(item_s=0.012), ()),
        (LOOK._replace(item_s=0.03), ("an item takes 30 ms, and took 10 ms",)),
        (LOOK._replace(n_jobs=4, usable_cores=4.0), ("2 processes (fork) has become 4 processes (fork)",
                                                     "4 cores are usable, and 2 were")),
    ],
)  # fmt: skip
def test_what_counts_as_drift(now, told):
    assert drift(LOOK, now) == told


@pytest.fixture
def decisions(monkeypatch):
    """Decisions that come one by one; the pauses between them take no time."""
    pauses: list[float] = []
    monkeypatch.setattr(watch, "sleep", pauses.append)

    def give(*found):
        todo = iter(found)
        monkeypatch.setattr(watch, "_decide", lambda *_: next(todo))
        return pauses

    return give


def test_it_tells_each_decision_and_what_has_changed_since_it_changed_last(decisions, capsys):
    slower = LOOK._replace(item_s=0.03)
    pauses = decisions(LOOK, LOOK, slower, slower, LOOK)
    asked = ["watch", "math:sqrt", "--range", "3", "--times", "5", "--every", "7"]
    assert cli.main([*asked, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(one["drift"]) for one in told] == [0, 0, 1, 0, 1]
    assert pauses == [7.0] * 4
    decisions(LOOK, slower)
    assert cli.main([*asked[:-4], "--times", "2", "--quiet"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("  2 processes (fork), 1 s in all; drift: an item takes 30 ms, and took 10 ms")


@pytest.mark.usefixtures("steady")
def test_it_decides_by_what_the_items_take_now(capsys):
    assert cli.main(["watch", "math:factorial", "--range", "50", "--times", "2", "--every", "0", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(told) == 2
    assert all(one["item_s"] > 0 and one["backend"] == "serial" for one in told)
    assert cli.main(["watch", "math:factorial", "--range", "50", "--format", "yaml"]) == 2
