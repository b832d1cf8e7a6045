"""Half-read streams, threads and event loops at a time: no call waits for ever, and all results are right."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import modes

import amorsize

from . import functions as fn
from . import harness
from .harness import demand

MODES = [modes.SERIAL, modes.THREADS, modes.AUTO, *modes.PROCESSES[:1] * 4, modes.PROCESSES[-1]]


def pause(item: Any) -> int:
    time.sleep(0.5e-3)
    return fn.plain(item)


def arguments(rng: random.Random) -> dict[str, Any]:
    return {**rng.choice(MODES).arguments, "max_workers": rng.randrange(1, 5)}


def check(found: list[Any], n: int) -> None:
    demand(found == [fn.plain(item) for item in range(n)], f"wrong results: {found[:20]} of {n}")


def call(rng: random.Random) -> None:
    n = rng.randrange(1, 40)
    check(amorsize.execute(pause, range(n), **arguments(rng)), n)


async def call_async(rng: random.Random) -> None:
    n = rng.randrange(1, 40)
    check(await amorsize.execute_async(pause, range(n), **arguments(rng)), n)


def begun(rng: random.Random) -> Generator[Any, None, None]:
    """A stream of which some has been read."""
    n = rng.randrange(2, 60)
    results = amorsize.stream(pause, range(n), max_ahead=rng.choice((None, 1, 5)), **arguments(rng))
    for item in range(rng.randrange(1, n)):
        demand(next(results) == fn.plain(item), "wrong result")
    return results


def finish(results: Generator[Any, None, None]) -> None:
    for _ in results:
        pass


def in_threads(rng: random.Random, count: int, work: Callable[[random.Random], object]) -> list[threading.Thread]:
    errors: list[BaseException] = []

    def run(one: random.Random) -> None:
        try:
            work(one)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(random.Random(rng.random()),)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return threads


# -- scenes ----------------------------------------------------------------------------------------------------------


def await_in_the_body(rng: random.Random) -> None:
    async def main() -> None:
        for item, one in enumerate(amorsize.stream(pause, range(rng.randrange(1, 12)), **arguments(rng))):
            demand(one == fn.plain(item), "wrong result")
            await call_async(rng)

    asyncio.run(main())


def stream_in_the_body(rng: random.Random) -> None:
    for item, one in enumerate(amorsize.stream(pause, range(rng.randrange(1, 6)), **arguments(rng))):
        demand(one == fn.plain(item), "wrong result")
        n = rng.randrange(1, 9)
        check(list(amorsize.stream(pause, range(n), **arguments(rng))), n)


def call_in_the_body(rng: random.Random) -> None:
    for _ in amorsize.stream(pause, range(rng.randrange(1, 9)), **arguments(rng)):
        call(rng)


def half_read_and_calls_in_threads(rng: random.Random) -> None:
    results = [begun(rng) for _ in range(rng.randrange(1, 4))]
    in_threads(rng, rng.randrange(1, 5), call)
    for one in results:
        rng.choice((finish, Generator.close))(one)


def half_read_and_a_loop(rng: random.Random) -> None:
    results = [begun(rng) for _ in range(rng.randrange(1, 4))]

    async def main() -> None:
        await asyncio.gather(*(call_async(rng) for _ in range(rng.randrange(1, 5))))

    asyncio.run(main())
    for one in results:
        one.close()


def handed_to_another_thread(rng: random.Random) -> None:
    results = begun(rng)
    in_threads(rng, 1, lambda _: finish(results))
    call(rng)


def streams_in_threads(rng: random.Random) -> None:
    def work(one: random.Random) -> None:
        results = begun(one)
        call(one)
        one.choice((finish, Generator.close))(results)

    in_threads(rng, rng.randrange(2, 6), work)


def dropped_in_a_cycle(rng: random.Random) -> None:
    """Only the collector ends these, wherever it may run."""
    for _ in range(rng.randrange(1, 4)):
        cycle: list[Any] = [begun(rng)]
        cycle.append(cycle)
        del cycle
    in_threads(rng, 2, call)


def cancelled(rng: random.Random) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(call_async(rng))
        await asyncio.sleep(rng.uniform(0.0, 0.03))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await call_async(rng)

    results = begun(rng)
    asyncio.run(main())
    results.close()


def executor_beside(rng: random.Random) -> None:
    results = begun(rng)
    with amorsize.Executor(2) as executor:
        futures = [executor.submit(pause, item) for item in range(9)]
        in_threads(rng, 2, call)
        check([future.result() for future in futures], 9)
        finish(results)


def nested_in_items(rng: random.Random) -> None:
    check(amorsize.execute(_inner, range(6), **arguments(rng)), 6)


def _inner(item: int) -> int:
    demand(amorsize.execute(pause, range(4), max_workers=2) == [fn.plain(x) for x in range(4)], "wrong inner results")
    return fn.plain(item)


SCENES = [
    await_in_the_body,
    stream_in_the_body,
    call_in_the_body,
    half_read_and_calls_in_threads,
    half_read_and_a_loop,
    handed_to_another_thread,
    streams_in_threads,
    dropped_in_a_cycle,
    cancelled,
    executor_beside,
    nested_in_items,
]


def trial(seed: int, folder: str) -> None:
    scene = SCENES[seed % len(SCENES)]
    try:
        scene(random.Random(seed))
    except BaseException as exc:
        exc.add_note(f"in {scene.__name__}")
        raise


if __name__ == "__main__":
    harness.main("streams")
