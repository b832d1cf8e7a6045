"""The decisions of the memory guard, in virtual time."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.schedule.memory_pressure import (
    LEAK_BYTES,
    LONGEST_ROOM_S,
    ROOM_S,
    SETTLE_S,
    WINDOW_LOOKS,
    WINDOWS,
    Guarding,
    Held,
    Look,
    Shed,
    reserve_bytes,
)
from amorsize.schedule.messages import Recycle, Resize

MB = 1 << 20
LOOK_S = 0.25


class World:
    """Workers whose items hold memory while they run; the guard's advice is carried out as the schedule would."""

    def __init__(self, capacity_mb: int, workers: int, base_mb: int = 0) -> None:
        self.capacity = capacity_mb * MB
        self.base = base_mb * MB
        self.wanted = workers
        self.now_s = 0.0
        self.next = workers
        self.item = 0
        self.held = dict.fromkeys(range(workers), 0)
        self.at: dict[int, int | None] = dict.fromkeys(range(workers))
        self.guarding = Guarding()
        self.kills = 0
        self.log: list[tuple[float, object]] = []

    @property
    def available(self) -> int:
        return max(0, self.capacity - self.base - sum(self.held.values()))

    def hold(self, worker: int, megabytes: int, *, next_item: bool = True) -> None:
        self.held[worker] = megabytes * MB
        if next_item:
            self.item += 1
        self.at[worker] = self.item

    def look(self) -> list[object]:
        self.now_s += LOOK_S
        held = tuple(Held(n, size, self.at[n]) for n, size in self.held.items())
        advice = self.guarding.look(Look(self.now_s, self.available, self.capacity, self.wanted, held, self.kills))
        for one in advice:
            self.log.append((self.now_s, one))
            if isinstance(one, Resize):
                self.wanted = one.workers
            elif isinstance(one, Recycle | Shed):
                self.leave(one.worker)
        self.fit()
        return advice

    def leave(self, worker: int) -> None:
        del self.held[worker], self.at[worker]

    def fit(self) -> None:
        for worker in list(self.held)[self.wanted :]:
            self.leave(worker)
        while len(self.held) < self.wanted:
            self.held[self.next], self.at[self.next] = 0, None
            self.next += 1


def test_nothing_is_done_where_there_is_room():
    world = World(8000, 4)
    for _ in range(200):
        for worker in world.held:
            world.hold(worker, 100)
        assert world.look() == []


def test_fewer_workers_when_memory_gets_tight_and_more_when_there_is_room_again():
    world = World(1000, 8)
    for worker in world.held:
        world.hold(worker, 115)  # 920 of 1000: 80 left, 100 wanted
    world.look()
    assert world.wanted == 4
    for _ in range(200):
        for worker in world.held:
            world.hold(worker, 10)  # the heavy part of the data is over
        world.look()
    assert world.wanted == 8


def test_halved_again_only_when_it_had_time_to_work():
    world = World(1000, 8)
    world.base = 950 * MB
    changes = []
    for _ in range(40):
        for worker in list(world.held):
            world.hold(worker, 10)
        before = world.wanted
        world.look()
        if world.wanted != before:
            changes.append((world.now_s, world.wanted))
    assert [n for _, n in changes[:2]] == [4, 2]
    assert changes[1][0] - changes[0][0] >= SETTLE_S


def test_a_fall_is_seen_before_the_reserve_is_touched():
    world = World(1000, 4)
    for megabytes in (20, 50, 100, 150):  # 200 MB per look: 300 left, nothing after 0.4 s
        for worker in list(world.held):
            world.hold(worker, megabytes, next_item=False)
        world.look()
    assert world.wanted == 2


def test_others_memory_is_not_the_workers_fault():
    """Another program uses the memory: the workers hold next to nothing, so fewer of them would not help."""
    world = World(10_000, 4, base_mb=9_500)
    for _ in range(50):
        for worker in world.held:
            world.hold(worker, 1)
        assert world.look() == []


def test_growing_back_waits_longer_each_time_it_was_wrong():
    world = World(1000, 4)
    for _ in range(4000):
        for worker in list(world.held):
            world.hold(worker, 240 if world.wanted == 4 else 50)  # as if the heavy items came whenever four are at work
        world.look()
    grown = [at for at, one in world.log if isinstance(one, Resize) and one.workers > 3]
    gaps = [b - a for a, b in pairwise(grown)]
    assert len(grown) < 4000 * LOOK_S / LONGEST_ROOM_S + 8
    assert gaps[-1] > 4 * ROOM_S


def test_after_a_kill_never_so_many_again():
    world = World(10_000, 8)
    world.look()
    world.kills = 1
    world.look()
    assert world.wanted == 4
    for _ in range(400):
        world.look()
    assert world.wanted == 7


def test_the_heaviest_goes_before_the_kernel_chooses():
    world = World(1000, 3)
    for worker, megabytes in ((0, 200), (1, 500), (2, 280)):
        world.hold(worker, megabytes)
    assert Shed(1) in world.look()


def test_who_is_at_work_alone_is_left_to_the_kernel():
    world = World(1000, 3)
    world.hold(1, 990)
    assert not any(isinstance(one, Shed) for one in world.look())


def test_others_who_say_fewer_are_believed():
    """The schedule itself has found that fewer are faster: the guard does not bring them back."""
    world = World(1000, 8)
    for worker in world.held:
        world.hold(worker, 115)
    world.look()
    world.wanted = 2
    world.fit()
    for _ in range(100):
        for worker in world.held:
            world.hold(worker, 1)
        world.look()
    assert world.wanted == 2


class TestLeaks:
    @staticmethod
    def run(world: World, looks: int, megabytes: object) -> list[object]:
        said: list[object] = []
        for k in range(looks):
            for worker in list(world.held):
                world.hold(worker, megabytes(worker, k))  # type: ignore[operator]
            said += world.look()
        return said

    def test_a_worker_that_grows_item_after_item_is_replaced(self):
        said = self.run(World(4000, 2), 60, lambda worker, k: 20 + 10 * k if worker == 1 else 20)
        assert said == [Recycle(1)]

    def test_one_at_a_time(self):
        world = World(40_000, 8)
        told = None
        for k in range(80):
            for worker in list(world.held):
                world.hold(worker, 30 * k)
            held = tuple(Held(n, size, k) for n, size in world.held.items())
            advice = world.guarding.look(Look(k * LOOK_S, world.available, world.capacity, 8, held))
            recycled = [one for one in advice if isinstance(one, Recycle)]
            assert len(recycled) <= 1
            assert not (recycled and told is not None)  # the first one has not left yet
            told = told or (recycled[0] if recycled else None)
        assert told is not None

    def test_a_cache_that_fills_up_is_no_leak(self):
        assert self.run(World(4000, 2), 200, lambda worker, k: min(400, 200 * k)) == []

    def test_an_item_that_builds_something_up_is_no_leak(self):
        world = World(8000, 1)
        for k in range(400):
            world.hold(0, 20 + 10 * (k % 40), next_item=k % 40 == 0)
            assert world.look() == []

    def test_a_little_is_no_leak(self):
        assert self.run(World(4000, 2), 200, lambda worker, k: 20 + k * (LEAK_BYTES // MB) // 300) == []

    def test_not_before_it_can_be_known(self):
        world = World(4000, 1)
        said = self.run(world, WINDOW_LOOKS * (WINDOWS - 1), lambda worker, k: 20 + 40 * k)
        assert not any(isinstance(one, Recycle) for one in said)


looks = st.lists(
    st.tuples(
        st.floats(0.05, 3.0),  # seconds since the last one
        st.integers(0, 2000),  # MB available
        st.lists(st.tuples(st.integers(0, 500), st.one_of(st.none(), st.integers(0, 5))), min_size=0, max_size=8),
        st.booleans(),  # whether the kernel has killed one
    ),
    max_size=60,
)


@given(looks=looks, workers=st.integers(1, 8))
@settings(deadline=None)
def test_whatever_is_seen(looks, workers):
    """Between one worker and the first number; never more while memory is tight; a lone busy worker is not shed."""
    guarding = Guarding()
    now_s, wanted, kills, changed_s = 0.0, workers, 0, float("-inf")
    capacity = 2000 * MB
    for wait_s, available, held, killed in looks:
        now_s += wait_s
        kills += killed
        seen = Look(
            now_s, available * MB, capacity, wanted, tuple(Held(n, s * MB, i) for n, (s, i) in enumerate(held)), kills
        )
        advice = guarding.look(seen)
        resized = [one.workers for one in advice if isinstance(one, Resize)]
        shed = [one for one in advice if isinstance(one, Shed)]
        assert len(resized) <= 1
        assert len(shed) <= 1
        if shed:
            assert sum(i is not None for _, i in held) >= 2
        for number in resized:
            assert 1 <= number <= workers
            if number > wanted:
                assert number == wanted + 1
                assert available * MB > 2 * reserve_bytes(capacity)
                assert now_s - changed_s >= ROOM_S
            changed_s, wanted = now_s, number
