"""How the public functions are used, for type checkers: this file is checked, never run.

A line that ends in ``# error`` is wrong use, which a type checker must refuse there; no other line may be refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, assert_type

import amorsize
from amorsize import Failure, History, Limits, Machine, OptimizationResult, Plan, Validation
from amorsize.errors import WorkerLostError
from amorsize.events import ChunkDone, Event


def text(x: int) -> str:
    return str(x)


async def later(x: int) -> str:
    return str(x)


def both(x: int, y: str) -> bytes:
    return y.encode() * x


async def both_later(x: int, y: str) -> bytes:
    return y.encode() * x


class Model:
    def predict(self, x: float) -> list[float]:
        return [x]

    async def ask(self, x: int) -> bytes:
        return bytes(x)

    def __call__(self, x: int) -> float:
        return float(x)


async def numbers() -> AsyncIterator[int]:
    yield 1


def heard(event: Event) -> None:
    if isinstance(event, ChunkDone):
        assert_type(event.items, int)


def execute() -> None:
    assert_type(amorsize.execute(text, [1, 2]), list[str])
    assert_type(amorsize.execute(text, range(9)), list[str])
    assert_type(amorsize.execute(text, iter([1])), list[str])
    assert_type(amorsize.execute(text, {1: "a"}), list[str])
    assert_type(amorsize.execute(str.upper, ["a"]), list[str])
    assert_type(amorsize.execute(len, ["a", "b"]), list[int])
    assert_type(amorsize.execute(lambda x: x * 2, [1]), list[int])
    assert_type(amorsize.execute(partial(both, 2), ["a"]), list[bytes])
    assert_type(amorsize.execute(Model().predict, [0.5]), list[list[float]])
    assert_type(amorsize.execute(Model(), [1]), list[float])
    assert_type(amorsize.execute(int, ["1"]), list[int])
    assert_type(amorsize.execute(later, [1]), list[str])
    assert_type(amorsize.execute(Model().ask, [1]), list[bytes])
    assert_type(amorsize.execute(func=text, data=[1]), list[str])
    amorsize.execute(text, ["a"])  # error
    amorsize.execute(text, 5)  # error
    amorsize.execute(5, [1])  # error
    amorsize.execute(text)  # error
    amorsize.execute(both, [1])  # error
    amorsize.execute(text, [1], 4)  # error
    amorsize.execute(text, numbers())  # error


def options(executor: ThreadPoolExecutor, path: Path) -> None:
    amorsize.execute(text, [1], backend=executor)
    amorsize.execute(text, [1], backend=("serial", "threads"), max_workers=4, start_method="fork", memory_limit=1 << 30)
    amorsize.execute(text, [1], checkpoint=path, checkpoint_key="v1", limits=Limits(max_seconds=3), on_event=heard)
    amorsize.execute(text, [1], retries=2, retry_on=(OSError, ValueError), backoff=0.5, rate=10, timeout=3)
    amorsize.execute(text, [1], initializer=print, initargs=("a",), history=History("off"), sample="head")
    amorsize.execute(text, [1], n_jobs=4)  # error
    amorsize.execute(text, [1], max_workers="4")  # error
    amorsize.execute(text, [1], retries=None)  # error
    amorsize.execute(text, [1], retry_on="OSError")  # error
    amorsize.execute(text, [1], on_error="ignore")  # error
    amorsize.execute(text, [1], limits=3)  # error
    amorsize.execute(text, [1], on_event=3)  # error
    amorsize.execute(text, [1], sample="tail")  # error
    amorsize.execute(text, [1], max_ahead=3)  # error


def flags(plan: bool, on_error: Literal["raise", "collect"]) -> None:
    assert_type(amorsize.execute(text, [1], on_error="raise"), list[str])
    assert_type(amorsize.execute(text, [1], on_error="collect", max_failures=3), list[str | Failure])
    assert_type(amorsize.execute(later, [1], on_error="collect"), list[str | Failure])
    assert_type(amorsize.execute(text, [1], return_plan=False), list[str])
    assert_type(amorsize.execute(text, [1], return_plan=True), tuple[list[str], Plan])
    assert_type(amorsize.execute(text, [1], return_plan=True, on_error="collect"), tuple[list[str | Failure], Plan])
    assert_type(amorsize.execute(later, [1], return_plan=True), tuple[list[str], Plan])
    assert_type(amorsize.execute(text, [1], return_plan=plan), list[str] | tuple[list[str], Plan])
    assert_type(amorsize.execute(text, [1], on_error=on_error), list[str] | list[str | Failure])
    results, made = amorsize.execute(text, [1], return_plan=True)
    assert_type(results, list[str])
    assert_type(made, Plan)
    assert_type(made.predicted_s, float | None)
    _first, _second = amorsize.execute(text, [1])  # fine for a type checker: a list has any length
    amorsize.execute(text, [1], return_plan=plan).append("a")  # error
    for one in amorsize.execute(text, [1], on_error="collect"):
        assert_type(one if isinstance(one, Failure) else one.upper(), Failure | str)
        one.upper()  # error


def starmap(pairs: list[tuple[int, str]]) -> None:
    assert_type(amorsize.starmap(both, pairs), list[bytes])
    assert_type(amorsize.starmap(both, zip([1], ["a"], strict=True)), list[bytes])
    assert_type(amorsize.starmap(both_later, pairs), list[bytes])
    assert_type(amorsize.starmap(both, pairs, on_error="collect", max_workers=2), list[bytes | Failure])
    assert_type(amorsize.starmap(both, pairs, return_plan=True), tuple[list[bytes], Plan])
    amorsize.starmap(both, [1, 2])  # error
    amorsize.starmap(both, pairs, chunksize=3)  # error
    amorsize.starmap(3, pairs)  # error


def stream(on_error: Literal["raise", "collect"]) -> None:
    assert_type(amorsize.stream(text, range(9)), Generator[str, None, None])
    assert_type(amorsize.stream(text, iter(range(9)), ordered=False, max_ahead=9), Generator[str, None, None])
    assert_type(amorsize.stream(text, range(9), on_error="collect"), Generator[str | Failure, None, None])
    assert_type(next(amorsize.stream(text, range(9))), str)
    assert_type(list(amorsize.stream(text, range(9), max_ahead_bytes=1 << 20)), list[str])
    amorsize.stream(text, range(9)).close()
    amorsize.stream(text, ["a"])  # error
    amorsize.stream(text, range(9), checkpoint=3)  # error
    amorsize.stream(text, range(9), return_plan=True)  # error
    amorsize.stream(text, numbers())  # error


async def beside_a_loop(plan: bool) -> None:
    assert_type(await amorsize.execute_async(text, [1]), list[str])
    assert_type(await amorsize.execute_async(later, [1]), list[str])
    assert_type(await amorsize.execute_async(later, numbers()), list[str])
    assert_type(await amorsize.execute_async(text, numbers()), list[str])
    assert_type(await amorsize.execute_async(Model().ask, range(3)), list[bytes])
    assert_type(await amorsize.execute_async(lambda x: x + 1, [1]), list[int])
    assert_type(await amorsize.execute_async(later, [1], on_error="collect", checkpoint="a"), list[str | Failure])
    assert_type(await amorsize.execute_async(later, [1], return_plan=True), tuple[list[str], Plan])
    assert_type(await amorsize.execute_async(text, [1], return_plan=plan), list[str] | tuple[list[str], Plan])
    assert_type(
        await asyncio.gather(amorsize.execute_async(text, [1]), amorsize.execute_async(Model().ask, [1])),
        tuple[list[str], list[bytes]],
    )
    assert_type(asyncio.create_task(amorsize.execute_async(text, [1])), asyncio.Task[list[str]])
    amorsize.execute_async(text, [1])[0]  # error
    await amorsize.execute_async(later, ["a"])  # error
    await amorsize.execute_async(later, [1], ordered=True)  # error


async def streams_beside_a_loop() -> None:
    assert_type(amorsize.stream_async(text, range(9)), AsyncGenerator[str, None])
    assert_type(amorsize.stream_async(later, numbers(), ordered=False), AsyncGenerator[str, None])
    async for one in amorsize.stream_async(later, range(9), max_ahead=3):
        assert_type(one, str)
    async for two in amorsize.stream_async(text, numbers(), on_error="collect"):
        assert_type(two, str | Failure)
    await amorsize.stream_async(text, range(9)).aclose()
    for _three in amorsize.stream_async(text, range(9)):  # error
        pass
    await amorsize.stream_async(text, range(9))  # error
    amorsize.stream_async(text, range(9), return_plan=True)  # error
    amorsize.stream_async(text, ["a"])  # error


def plans() -> None:
    plan = amorsize.optimize(text, range(9), backend="threads", machine="there.json")
    assert_type(plan, Plan)
    kept: OptimizationResult = plan
    with kept.pool() as pool:
        pool.map(text, plan.data)
    assert_type(plan.n_jobs, int)
    assert_type(plan.to_dict(), dict[str, Any])
    assert_type(amorsize.machine(), Machine)
    assert_type(amorsize.machine().usable_cores, float)
    assert_type(amorsize.tune(text, [1], max_seconds=3), Plan)
    assert_type(amorsize.validate(text, [1]), Validation)
    plan.n_jobs = 3  # error
    amorsize.optimize(text, range(9), retries=3)  # error
    amorsize.optimise(text, range(9))  # error


def executor() -> None:
    with amorsize.Executor(2, timeout=3.0) as pool:
        assert_type(pool.submit(both, 1, "a").result(), bytes)
        assert_type(list(pool.map(text, [1])), list[str])
        pool.submit(both, 1)  # error
    amorsize.Executor(n_jobs=2)  # error
    try:
        amorsize.execute(text, [1])
    except WorkerLostError as lost:
        assert_type(lost.index, int | None)
    except amorsize.errors.ItemTimeoutError as late:
        assert_type(late.index, int | None)
