"""Calls to a server that has a limit: ``python -m benchmarks.server_limit [--rounds N] [--only REGEX] [--out PATH]``.

A server of its own process serves 40 calls at a time, 50 ms each, and bears 120 (`benchmarks.limited_server`). 800
calls are made by `amorsize.execute_async`, without and with retries, by ``asyncio.gather`` behind a semaphore of
several sizes; in turn, several rounds. Prints the median seconds and failures of each, and the
seconds over those of the best semaphore that loses no call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import amorsize
from benchmarks import environment, results_files

ROOT: Final = Path(__file__).parents[1]
CALLS: Final = 800
SERVES: Final = 40
ANSWER_S: Final = 50e-3
SEMAPHORES: Final = (32, 48, 64, 96, 128)
# Name: what the server bears, what it does with more, seconds after which a call is given up.
SERVERS: Final[dict[str, tuple[int, str, float | None]]] = {
    "refuses beyond 120": (120, "refuses", None),
    "resets connections beyond 120": (120, "resets", None),
    "refuses beyond 40": (40, "refuses", None),
    "queues, calls time out after 0.2 s": (10_000, "refuses", 0.2),
    "queues without a limit": (10_000, "refuses", None),
}


class RefusedError(Exception):
    """The server refused a call."""


@contextmanager
def server(bears: int, what: str) -> Iterator[int]:
    """Run a server; yield its port."""
    command = [sys.executable, "-m", "benchmarks.limited_server", str(SERVES), str(bears), str(ANSWER_S), what]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def caller(port: int) -> Callable[[int], Awaitable[None]]:
    """Return a coroutine function that makes one call."""

    async def call(_: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"please\n")
            if await reader.readline() != b"fine\n":
                raise RefusedError
        finally:
            writer.close()

    return call


async def by_amorsize(port: int, timeout_s: float | None, retries: int) -> int:
    results = await amorsize.execute_async(
        caller(port), range(CALLS), timeout=timeout_s, retries=retries, on_error="collect"
    )
    return sum(isinstance(result, amorsize.Failure) for result in results)


async def by_semaphore(port: int, timeout_s: float | None, size: int) -> int:
    call, slots = caller(port), asyncio.Semaphore(size)

    async def one(number: int) -> bool:
        async with slots:
            try:
                async with asyncio.timeout(timeout_s):
                    await call(number)
            except (RefusedError, OSError):
                return False
        return True

    return (await asyncio.gather(*map(one, range(CALLS)))).count(False)


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Return seconds and failures of each way, by round."""
    bears, what, timeout_s = SERVERS[name]
    ways: dict[str, Callable[[int], Awaitable[int]]] = {
        "amorsize": lambda port: by_amorsize(port, timeout_s, 0),
        "amorsize, retries=5": lambda port: by_amorsize(port, timeout_s, 5),
        **{
            f"semaphore {size}": lambda port, size=size: by_semaphore(port, timeout_s, size)  # type: ignore[misc]
            for size in SEMAPHORES
        },
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    failed: dict[str, list[int]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in list(ways)[:: 1 if turn % 2 else -1]:
            with server(bears, what) as port:
                began = time.perf_counter()
                failed[way].append(asyncio.run(run(ways[way], port)))
                seconds[way].append(round(time.perf_counter() - began, 4))
    middle = {way: statistics.median(times) for way, times in seconds.items()}
    losing = 1e-3 * CALLS
    best = min(
        (way for way in ways if way.startswith("sem") and statistics.median(failed[way]) <= losing), key=middle.get
    )
    return {
        "best": best,
        "ways": {
            way: {
                "median_s": middle[way],
                "over_best": round(middle[way] / middle[best], 3),
                "median_failed": statistics.median(failed[way]),
                "most_failed": max(failed[way]),
                "seconds": seconds[way],
                "failed": failed[way],
            }
            for way in ways
        },
    }


async def run(way: Callable[[int], Awaitable[int]], port: int) -> int:
    return await way(port)


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="regular expression: only these servers")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started = datetime.now(UTC)
    found = {name: measure(name, arguments.rounds) for name in SERVERS if re.search(arguments.only, name)}
    for name, row in found.items():
        print(f"\n{name} (best: {row['best']})")
        for way, figures in row["ways"].items():
            print(
                f"  {way:22} {figures['median_s']:7.3f} s  {figures['over_best']:5.2f} x  "
                f"{figures['median_failed']:5.0f} failed (at most {figures['most_failed']})"
            )
    result = {
        "started": started.isoformat(timespec="seconds"),
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        "commit": environment.commit(),
        "calls": CALLS,
        "serves": SERVES,
        "answer_s": ANSWER_S,
        "turns": arguments.rounds,
        "servers": found,
    }
    stem = f"{environment.file_stem(started.date().isoformat())}-server-limit"
    path = arguments.out or results_files.free_path(results_files.FOLDER, stem)
    results_files.write(path, result)
    print(json.dumps({"file": path.name}))


if __name__ == "__main__":
    main()
