"""Maps of one function on one loop share a window and take turns."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref

import pytest

import amorsize
from amorsize.backends import shared_windows
from amorsize.backends.shared_windows import Window, join
from amorsize.schedule.task_count import MOST, START


def nothing():
    pass


async def same(x):
    return x


class Client:
    async def get(self, x):
        return x


def window_of(func):
    share = join(func, MOST, nothing)
    share.leave()
    return share.window


def test_the_same_function_has_the_same_window():
    async def main():
        here, there = Client(), Client()
        assert window_of(same) is window_of(same)
        assert window_of(here.get) is window_of(here.get)
        assert window_of(here.get) is not window_of(there.get)
        assert window_of(functools.partial(same, 1)) is window_of(functools.partial(same, 1))
        assert window_of(functools.partial(same, here)) is not window_of(functools.partial(same, there))
        assert window_of(functools.partial(same, x=here)) is window_of(functools.partial(same, x=here))

    asyncio.run(main())


def test_each_loop_has_its_own():
    async def main():
        return window_of(same)

    assert asyncio.run(main()) is not asyncio.run(main())


def test_a_function_is_not_kept_alive():
    async def main():
        client = Client()
        seen = weakref.ref(client)
        window_of(client.get)
        del client
        gc.collect()
        assert seen() is None
        # The next map drops what nothing can use any more.
        window_of(same)
        assert len(shared_windows._windows[asyncio.get_running_loop()]) == 1

    asyncio.run(main())


def test_a_window_is_dropped_some_time_after_its_last_map(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(shared_windows, "perf_counter", lambda: now_s)

    async def main():
        nonlocal now_s
        first = window_of(same)
        now_s += shared_windows.KEEP_S
        second = window_of(same)
        now_s += shared_windows.KEEP_S + 1
        assert first is second is not window_of(same)

    asyncio.run(main())


def test_maps_take_turns():
    window = Window()
    woken = []
    here, there = (window.join(MOST, functools.partial(woken.append, name)) for name in ("here", "there"))
    tickets = []
    while here.wait_s(0.0) == 0.0:
        tickets.append(here.began(0.0))
        if there.wait_s(0.0) == 0.0:
            there.began(0.0)
    assert here.in_flight == there.in_flight == START // 2
    assert there.wait_s(0.0) is None
    woken.clear()
    here.ended(tickets[0], 1.0, well=True)
    assert woken == ["here"]
    assert there.wait_s(1.0) is None
    assert here.wait_s(1.0) == 0.0
    here.began(1.0)
    # Its turn is over.
    here.ended(tickets[1], 1.0, well=True)
    assert woken[-1] == "there"
    assert here.wait_s(1.0) is None
    there.passes()
    assert here.wait_s(1.0) == 0.0


def test_each_map_keeps_to_its_own_most():
    window = Window()
    few, many = window.join(2, nothing), window.join(3, nothing)
    assert window.climb.most == 5
    for share in (few, many, few, many, few, many):
        if share.wait_s(0.0) == 0.0:
            share.began(0.0)
    assert few.in_flight == 2
    assert few.wait_s(0.0) is None
    many.leave()
    assert window.climb.most == 2


@pytest.mark.parametrize("maps", [1, 3])
def test_together_they_stay_below_what_the_server_bears(maps):
    """The server refuses a ninth call. Together the maps may not try more than one map does."""
    inside = refused = most = 0

    async def ask(x):
        nonlocal inside, refused, most
        if inside >= 12:
            refused += 1
            raise ConnectionError
        inside += 1
        most = max(most, inside)
        try:
            await asyncio.sleep(1e-3)
        finally:
            inside -= 1
        return x

    async def main():
        runs = (amorsize.execute_async(ask, range(300 // maps), retries=20) for _ in range(maps))
        return await asyncio.gather(*runs)

    assert asyncio.run(main()) == [list(range(300 // maps))] * maps
    assert refused < 100


def test_a_map_without_items_for_now_holds_up_no_other():
    async def slowly():
        for x in range(3):
            await asyncio.sleep(1e-3)
            yield x

    async def main():
        return await asyncio.gather(
            amorsize.execute_async(same, slowly()), amorsize.execute_async(same, range(200), rate=1e5)
        )

    assert asyncio.run(main()) == [[0, 1, 2], list(range(200))]


def test_a_cancelled_map_gives_its_places_back():
    async def forever(x):
        if x:
            await asyncio.Event().wait()
        return x

    async def main():
        endless = asyncio.ensure_future(amorsize.execute_async(forever, [1] * 100))
        await asyncio.sleep(0)
        while not shared_windows._windows[asyncio.get_running_loop()]:
            await asyncio.sleep(0)
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless
        assert await amorsize.execute_async(forever, [0] * 50) == [0] * 50
        (window,) = shared_windows._windows[asyncio.get_running_loop()].values()
        assert window.climb.in_flight == 0

    asyncio.run(main())


async def count_nodes(path):
    children = [[*path, i] for i in range(3)] if len(path) < 4 else []
    return 1 + sum(await amorsize.execute_async(count_nodes, children))


def test_a_map_within_an_item_of_the_same_function_ends():
    assert asyncio.run(count_nodes([])) == 121


async def even(n):
    return n == 0 or (await amorsize.execute_async(odd, [n - 1] * 2))[0]


async def odd(n):
    return n != 0 and (await amorsize.execute_async(even, [n - 1] * 2))[0]


def test_functions_that_map_each_other_end():
    assert asyncio.run(amorsize.execute_async(even, [4] * 20)) == [True] * 20


def test_a_map_may_wait_for_another_one_of_the_same_function():
    async def both():
        told = asyncio.Event()

        async def item(x):
            if x == "tells":
                told.set()
            await told.wait()
            return x

        waiting = asyncio.ensure_future(amorsize.execute_async(item, ["waits"] * 50))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await amorsize.execute_async(item, ["tells"]), len(await waiting)

    assert asyncio.run(both()) == (["tells"], 50)
