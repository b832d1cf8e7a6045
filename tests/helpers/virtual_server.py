"""A server in virtual time, and a client that keeps as many calls in flight as a `Concurrency` allows."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from amorsize.schedule.task_count import MOST, Concurrency


@dataclass
class Server:
    """Serves ``serves`` calls at a time; others queue, up to ``bears`` in all; those beyond fail at once."""

    serves: int = MOST
    bears: int = 1 << 30
    service_s: float = 0.05
    # Seconds until a refused call has failed.
    refusal_s: float = 0.001
    # Network and client: seconds before a call arrives.
    travel_s: float = 0.0
    # Draws a factor of the seconds of service.
    noise: Callable[[random.Random], float] = lambda rng: 1.0
    # So many first calls take so much longer.
    cold: tuple[int, float] = (0, 1.0)
    # From a time on: ``serves`` and ``bears``.
    later: list[tuple[float, int, int]] = field(default_factory=list)
    # Share of calls that fail whatever the load.
    faulty: float = 0.0
    # True if a faulty call fails at once, instead of after its service.
    faulty_at_once: bool = False
    # Calls per second, and calls at once, of a token bucket; those beyond fail at once.
    per_s: float | None = None
    burst: float = 10.0
    # Seconds after which the client gives up a call; the server goes on with it.
    patience_s: float | None = None
    # A call's service takes longer by its index.
    weight: Callable[[int], float] = lambda index: 1.0
    # A call in service slows down the others: service takes ``(in service / crumbles) ** 2`` as long beyond this.
    crumbles: float | None = None


class Ran(NamedTuple):
    took_s: float
    # Calls that failed, repeats included, and items that failed for good.
    failed: int
    lost: int
    limits: list[tuple[float, int]]
    most: int


def drive(
    climb: Concurrency,
    server: Server,
    n_items: int,
    *,
    fixed: int | None = None,
    retries: int = 0,
    seed: int = 0,
    start_s: float = 0.0,
) -> Ran:
    """Run so many items."""
    rng = random.Random(seed)
    events: list[tuple[float, int, str, int]] = []
    serial = itertools.count()
    now = start_s
    queue: deque[int] = deque()
    serving = inside = asked = 0
    tokens, filled_s = server.burst, now
    later = sorted(server.later)
    serves, bears = server.serves, server.bears
    todo = deque(range(n_items))
    again: deque[int] = deque()
    tries: dict[int, int] = {}
    flying: dict[int, tuple[int, int]] = {}
    calls = itertools.count()
    failed = lost = most = 0
    done = 0
    limits = [(now, climb.limit)]
    look_s = -1.0

    def put(after_s: float, what: str, call: int) -> None:
        heapq.heappush(events, (now + after_s, next(serial), what, call))

    def serve() -> None:
        nonlocal serving
        while queue and serving < serves:
            call = queue.popleft()
            serving += 1
            slow = server.cold[1] if call < server.cold[0] else 1.0
            if server.crumbles is not None:
                slow *= max(1.0, (serving + len(queue)) / server.crumbles) ** 2
            index = flying[call][0] if call in flying else 0
            put(server.service_s * server.noise(rng) * slow * server.weight(index), "served", call)

    def end(call: int, well: bool) -> None:
        nonlocal failed, lost, done
        index, ticket = flying.pop(call)
        climb.ended(ticket, now, well=well)
        if not well:
            failed += 1
            tries[index] = tries.get(index, 0) + 1
            if tries[index] <= retries:
                again.append(index)
                return
            lost += 1
        done += 1

    while done < n_items:
        while again or todo:
            if fixed is not None:
                if len(flying) >= fixed:
                    break
            else:
                wait_s = climb.wait_s(now)
                if wait_s != 0.0:
                    if wait_s is not None and not now < look_s <= now + wait_s + 2e-9:
                        look_s = now + wait_s + 1e-9
                        put(wait_s + 1e-9, "look", -1)
                    break
            call = next(calls)
            flying[call] = (again.popleft() if again else todo.popleft(), climb.began(now))
            most = max(most, len(flying))
            put(server.travel_s, "arrives", call)
            if server.patience_s is not None:
                put(server.patience_s, "late", call)
        now, _, what, call = heapq.heappop(events)
        while later and later[0][0] <= now:
            _, serves, bears = later.pop(0)
        if what == "arrives":
            asked += 1
            if server.per_s is not None:
                tokens = min(server.burst, tokens + (now - filled_s) * server.per_s)
                filled_s = now
            refuses = inside >= bears or (server.per_s is not None and tokens < 1)
            if refuses or (server.faulty_at_once and rng.random() < server.faulty):
                put(server.refusal_s, "refused", call)
            else:
                tokens -= 1
                inside += 1
                queue.append(call)
        elif what == "served":
            serving -= 1
            inside -= 1
            if call in flying:
                end(call, server.faulty_at_once or not server.faulty or rng.random() >= server.faulty)
        elif what == "refused":
            if call in flying:
                end(call, False)
        elif what == "late" and call in flying:
            end(call, False)
        serve()
        if climb.limit != limits[-1][1]:
            limits.append((now, climb.limit))
    return Ran(now - start_s, failed, lost, limits, most)


def best(server: Server, n_items: int, *, counts: list[int], **options: int) -> tuple[float, int]:
    """Return the least seconds of any fixed count that loses no more than a thousandth, and that count."""
    tried = {n: drive(Concurrency(), server, n_items, fixed=n, **options) for n in counts}
    fitting = {n: ran for n, ran in tried.items() if ran.failed <= 1e-3 * n_items}
    n = min(fitting or tried, key=lambda n: tried[n].took_s)
    return tried[n].took_s, n
