"""A team of worker processes: its messages in states that are rare in a real map."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator

import engine_functions as ef
import pytest

from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.team import Handle, Message, Team

METHODS = ["fork", "forkserver", "spawn"]


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; give up after a long time, so that a failed test ends."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1e-3)


@pytest.fixture(params=METHODS)
def team(request) -> Iterator[Team]:
    made = Team(child.Setup(ef.hang_at_odd), list(range(10)) if request.param == "fork" else None, request.param)
    yield made
    made.kill()


def start(team: Team, number: int) -> Handle:
    team.start(number)
    (ready,) = hear(team, 1)
    assert (ready.worker, ready.kind) == (number, protocol.READY)
    return team.handles[number]


def hear(team: Team, messages: int) -> list[Message]:
    heard: list[Message] = []
    while len(heard) < messages:
        heard += team.wait(60)
    return heard


def send(team: Team, number: int, first: int) -> None:
    if team.data is None:
        team.send_items(number, first, first + 1, [first])
    else:
        team.send_range(number, first, first + 1)


def kill(handle: Handle) -> None:
    os.kill(handle.pid, signal.SIGKILL)
    assert handle.pidfd is not None
    select.select([handle.pidfd], [], [])


def test_the_slot_tells_what_a_worker_is_at(team):
    handle = start(team, 0)
    assert handle.slot.words[0] == child.IDLE
    send(team, 0, 3)
    until(lambda: handle.slot.words[0] == 3)


def test_who_was_at_what_is_known_though_another_has_the_slot_by_now(team):
    first, second = start(team, 0), start(team, 1)
    send(team, 0, 3)
    send(team, 1, 5)
    until(lambda: (first.slot.words[0], second.slot.words[0]) == (3, 5))
    kill(first)
    kill(second)
    gone = hear(team, 2)
    team.start(2)
    team.start(3)
    assert {m.worker: m.parts[0].was_at for m in gone} == {0: 3, 1: 5}
    assert {m.parts[0].exitcode for m in gone} == {-9}


def test_results_sent_before_death_are_heard_first_and_what_is_sent_after_it_is_dropped(team):
    handle = start(team, 0)
    send(team, 0, 4)
    select.select([handle.sock], [], [])
    until(lambda: handle.slot.words[0] == child.IDLE)
    kill(handle)
    done, gone = hear(team, 2)
    assert (done.kind, gone.kind) == (protocol.DONE, None)
    assert protocol.loads(done.parts)[1] == [16]
    assert gone.parts[0].was_at == child.IDLE
    send(team, 0, 6)  # the caller may send more between the results and the news of the death
    team.retire(0)


def test_a_worker_that_hangs_on_its_way_out_is_killed(team):
    handle = start(team, 0)
    send(team, 0, 3)
    until(lambda: handle.slot.words[0] == 3)
    team.close()
    assert handle.exitcode == -9


def test_slots_are_given_back(team):
    for number in range(5):
        kill(start(team, number))
        hear(team, 1)


@pytest.mark.parametrize("team", METHODS[1:], indirect=True)
def test_sending_more_than_a_socket_holds_does_not_block(team):
    """The worker runs an item, and does not read."""
    handle = start(team, 0)
    send(team, 0, 3)
    until(lambda: handle.slot.words[0] == 3)
    team.send_items(0, 4, 5, [bytes(5_000_000)])
    assert handle.outbox
    assert team.wait(0) == []
