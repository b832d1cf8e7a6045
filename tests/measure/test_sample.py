"""The items that ``optimize`` samples, by a clock that only the items advance."""

import pytest

from amorsize.backends.source import source_of
from amorsize.measure import sample as sampling
from amorsize.measure.sample import BUDGET_S, DEAR_SHARE, Sampler
from amorsize.system import memory
from amorsize.system.clock import Clock


class Work:
    """A function whose items take as long as ``cost`` says, by its own clock."""

    def __init__(self, cost):
        self.cost, self.now, self.ran = cost, 0.0, []
        self.clock = Clock(self.read, self.read, self.read)

    def read(self):
        return self.now

    def __call__(self, item):
        self.ran.append(item)
        self.now += self.cost(item)
        return item


def sampled(cost, data, **options):
    work = Work(cost)
    sampler = Sampler(work, source_of(data), **{"spread": True, "watch": False, **options})
    sampler.loop.clock = work.clock
    return sampler.take(), work


def test_each_item_is_run_once():
    found, work = sampled(lambda x: 1e-4, list(range(1_000)))
    assert len(set(work.ran)) == len(work.ran) == found.n_sampled


def test_costs_that_go_with_sizes_are_known_of_all_items():
    data = [float(i + 1) for i in range(400)]
    found, _ = sampled(lambda x: x * 2e-5, data)
    assert found.item_s == pytest.approx(sum(data) / 400 * 2e-5, rel=0.01)
    assert found.item_max_s == pytest.approx(400 * 2e-5, rel=0.01)


def test_few_dear_items_among_many_are_seen():
    data = [3_000 if i % 20 == 7 else 50 for i in range(800)]
    found, work = sampled(lambda x: x * 6e-6, data)
    assert 3_000 in work.ran
    assert found.item_s == pytest.approx(6e-6 * sum(data) / 800, rel=0.05)


@pytest.mark.parametrize(
    "data",
    [
        [3_000 if i % 20 == 7 else 50 for i in range(800)],
        [float(i + 1) for i in range(400)],
        [400.0 - i for i in range(400)],
        [40] * 150 + [800] * 150,
        [100] * 2_000,
        [50_000, *[100] * 2_000],
    ],
)
def test_the_sample_keeps_to_its_budget_but_for_the_longest_item(data):
    found, work = sampled(lambda x: x * 6e-6, data)
    total_s = 6e-6 * sum(data)
    assert found.longest_s == pytest.approx(max(map(work.cost, work.ran)))
    assert work.now - found.longest_s <= max(BUDGET_S, 0.01 * total_s)


def test_not_even_one_item_may_be_too_dear():
    data = [50] * 10 + [40_000] + [50] * 600
    _, work = sampled(lambda x: x * 6e-6, data)
    assert 40_000 not in work.ran
    assert DEAR_SHARE * 6e-6 * sum(data) < 0.2


def test_short_items_are_looked_at_in_groups():
    found, work = sampled(lambda x: 10e-6, list(range(1_000, 1_100)))
    assert work.now < 0.8e-3
    assert found.item_s == pytest.approx(10e-6)


class Robbed:
    """A machine whose cores are shared: each item takes 10 ms by the clock, 4 of them on a core."""

    def __init__(self, gives_up):
        self.now, self.counts, self.gives_up = 0.0, (0, 0), gives_up
        self.clock = Clock(lambda: self.now, lambda: 0.4 * self.now, lambda: 0.4 * self.now, lambda: (*self.counts, 0))

    def __call__(self, item):
        self.now += 10e-3
        self.counts = self.counts[0] + self.gives_up, self.counts[1] + 1


@pytest.mark.parametrize(("gives_up", "waits"), [(0, 0.0), (1, 0.6)])
def test_who_only_waits_for_a_core_does_not_wait(gives_up, waits):
    work = Robbed(gives_up)
    sampler = Sampler(work, source_of(list(range(50))), spread=True, watch=False)
    sampler.loop.clock = work.clock
    assert sampler.take().waits == pytest.approx(waits)


def test_numbers_that_mean_nothing_do_not_mislead():
    found, _ = sampled(lambda x: 1e-3, [10**6 + 37 * i * i for i in range(500)])
    assert found.item_s == pytest.approx(1e-3)


def test_one_item_of_many_sizes_is_a_guess(tmp_path):
    texts = ["x" * 40_000, *("x" * 39_000 for _ in range(3)), "x" * 500]
    found, work = sampled(lambda text: len(text) * 1e-6, texts)
    assert len(work.ran) == 1
    assert 0.5 * 40e-3 < found.item_s < 40e-3
    assert found.error_s > 0


def test_far_positions_cost_nothing_to_keep():
    _, work = sampled(lambda x: 1e-6, list(range(200_000)))
    assert max(work.ran) > 100_000


def test_results_that_will_need_new_memory_are_counted(monkeypatch):
    monkeypatch.setattr(memory, "touch_s_per_byte", lambda: 1e-9)
    monkeypatch.setattr(sampling, "resident_bytes", lambda: 0)  # the sampled ones came from memory that lay ready

    def make(x):
        work.now += 1e-4
        return bytes(4_000_000)

    work = Work(None)
    sampler = Sampler(make, source_of(list(range(100))), spread=True, watch=False)
    sampler.loop.clock = work.clock
    assert sampler.take().kept_s == pytest.approx(memory.WARMED * 4e-3, rel=0.01)
    few = Sampler(make, source_of(list(range(4))), spread=True, watch=False)
    few.loop.clock = work.clock
    assert few.take().kept_s == 0.0


def test_touching_memory_takes_some_time():
    assert 0 < memory.touch_s_per_byte() < 1e-6
