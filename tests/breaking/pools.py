"""Random sequences of calls of a `Pool`, whose workers are killed: ``python -m tests.breaking.pools --runs N``.

Each trial makes a pool and calls its methods in a random order, from several threads, with items that raise, end their
worker, or have results that cannot be sent; a worker may also be killed from outside, and the pool be terminated at any
time. Each call must give what a plain loop gives.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress

from amorsize import Pool
from amorsize.errors import TransferError, WorkerLostError

from . import harness

METHODS = [m for m in ("fork", "forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]


def act(item):
    """Do what an item says: return it, raise, end the worker, or return what cannot be sent."""
    kind, x = item
    if kind == "raises":
        raise ValueError(x)
    if kind == "ends":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    if kind == "leaves":
        os._exit(3)
    if kind == "odd":
        return (y for y in ())
    if kind == "sleeps":
        time.sleep(0.005)
    return x * x


def act_star(kind, x):
    return act((kind, x))


def outcome(item):
    """Return what a call with this item must give: a result, or the type of an exception."""
    return {"raises": ValueError, "ends": WorkerLostError, "leaves": WorkerLostError, "odd": TransferError}.get(
        item[0], item[1] * item[1]
    )


def found(call):
    try:
        return call()
    except (ValueError, WorkerLostError, TransferError) as exc:
        if exc.args == ("Pool not running",):
            # Not an item's: another thread has terminated the pool.
            raise
        return next(kind for kind in (TransferError, WorkerLostError, ValueError) if isinstance(exc, kind))


def of_map(items):
    """Return what a map must give: the results, or the type of the first failing item's exception."""
    outcomes = [outcome(item) for item in items]
    return next((one for one in outcomes if isinstance(one, type)), outcomes)


def taken(results):
    out = []
    while True:
        try:
            out.append(found(results.next))
        except StopIteration:
            return out


def items_of(draw):
    kinds = ["fine"] * 40 + ["sleeps"] * 4 + draw.choice([[], ["raises"], ["odd"], ["ends", "leaves", "raises"]])
    return [(draw.choice(kinds), draw.randrange(1000)) for _ in range(draw.choice([0, 1, 3, 10, 60]))]


def one_call(pool, draw):
    """Make one random call; return None, or what was wrong."""
    items, chunksize = items_of(draw), draw.choice([None, None, 1, 2, 7])
    data = draw.choice([list, tuple, iter, lambda one: (x for x in one)])(items)
    name = draw.choice(["map", "starmap", "map_async", "imap", "imap_unordered", "apply", "apply_async", "half"])
    if name in ("map", "map_async"):
        got, wanted = found(lambda: getattr(pool, name)(act, data, chunksize)), of_map(items)
        got = found(got.get) if name == "map_async" and not isinstance(got, type) else got
    elif name == "starmap":
        got, wanted = found(lambda: pool.starmap(act_star, data, chunksize)), of_map(items)
    elif name in ("imap", "imap_unordered"):
        got, wanted = taken(getattr(pool, name)(act, data, chunksize)), [outcome(item) for item in items]
        if name == "imap_unordered":
            got, wanted = sorted(got, key=str), sorted(wanted, key=str)
    elif name == "half":
        more = 2000 if pool._maxtasksperchild is None else 10
        results = pool.imap(act, itertools.chain(data, itertools.repeat(("fine", 2), more)), chunksize)
        wanted = [outcome(item) for item in items[:2]]
        got = [found(results.next) for _ in wanted]
    else:
        results = [pool.apply_async(act, (item,)) for item in items]
        got, wanted = [found(one.get) for one in results], [outcome(item) for item in items]
    return None if got == wanted else f"{name}({items}, {chunksize}): {got}, not {wanted}"


def trial(seed: int, folder: str) -> None:
    draw = random.Random(seed)
    context = multiprocessing.get_context(draw.choice(METHODS))
    wrong: list = []
    pool = Pool(draw.choice([1, 2, 3]), maxtasksperchild=draw.choice([None, None, None, 1, 5]), context=context)
    calls, terminates = draw.randrange(1, 6), draw.random() < 0.2

    def use(number):
        own = random.Random(f"{seed}-{number}")
        try:
            wrong.extend(one_call(pool, own) for _ in range(calls))
        except (CancelledError, ValueError) as exc:
            wrong.append(None if terminates else repr(exc))
        except BaseException as exc:
            wrong.append(repr(exc))

    users = [threading.Thread(target=use, args=(k,)) for k in range(draw.choice([1, 1, 3]))]
    for user in users:
        user.start()
    time.sleep(draw.uniform(0, 0.1))
    # Only once: an item that loses two workers fails, whatever ended them.
    if draw.random() < 0.5 and (handles := [one for one in pool._pool if not one.has_ended and not one.reaped]):
        with suppress(ProcessLookupError):
            os.kill(draw.choice(handles).pid, signal.SIGKILL)
    if terminates:
        pool.terminate()
    for user in users:
        user.join()
    pool.close()
    (pool.join if draw.random() < 0.5 else pool.terminate)()
    pool.join()
    harness.demand(not any(wrong), *filter(None, wrong))


if __name__ == "__main__":
    harness.main("pools")
