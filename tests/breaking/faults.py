"""Random fault schedules over backends, start methods, options and entry points, against `model`."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import modes
from lateness import only_late

import amorsize
from amorsize.run import deciding as engine

from . import functions as fn
from . import harness, model
from .harness import demand

METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]
ENTRIES = ("execute", "stream", "unordered", "async", "submit", "map")
TIMEOUT_S = 2.0
HARMLESS = ("slow", "large", *fn.RAISES)


@dataclass
class Case:
    """One call."""

    entry: str
    mode: modes.Mode
    n: int
    shape: str
    script: dict[int, list[str]]
    odd_items: dict[int, type[fn.Stuck]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def only_processes(self) -> bool:
        """Whether func runs in no other place than a worker process."""
        return self.entry in ("submit", "map") or self.mode.backend == "processes"

    @property
    def inherits(self) -> bool:
        """Whether workers have the items without a pickle."""
        indexed = self.shape in ("list", "tuple", "range", "array")
        return self.entry not in ("submit", "map") and self.mode.start_method == "fork" and indexed

    def __str__(self) -> str:
        return (
            f"{self.entry} {self.mode.name} {self.n} items as {self.shape} {self.options} "
            f"script {self.script} odd {self.odd_items}"
        )


# -- making one ------------------------------------------------------------------------------------------------------


def make(seed: int, folder: str) -> Case:
    rng = random.Random(seed)
    entry = rng.choice(ENTRIES)
    if entry in ("submit", "map"):
        mode = modes.Mode("processes", rng.choice(METHODS))
    else:
        choices = [modes.SERIAL, modes.THREADS, modes.AUTO, modes.TO_THREADS, *modes.TO_PROCESSES, modes.EITHER]
        weight = [1] * len(choices) + [4] * len(METHODS)
        mode = rng.choices([*choices, *(modes.Mode("processes", method) for method in METHODS)], weight)[0]
    n = rng.choice((0, 1, 2, rng.randrange(3, 30), rng.randrange(3, 30), rng.randrange(30, 400)))
    case = Case(entry, mode, n, rng.choice(("list", "tuple", "range", "generator", "slow generator", "array")), {})
    words = list(HARMLESS)
    if rng.random() < 0.15:
        words += fn.FATAL
    if case.only_processes:
        words += [*fn.DEATHS * 2, "stuck", "crooked"]
    # EITHER may choose processes, and has no loop to fall back on.
    elif mode.turns != "processes" and mode != modes.EITHER:
        words += ["stuck", "crooked"]
    hangs = case.only_processes and rng.random() < 0.15
    for index in rng.sample(range(n), min(n, rng.choice((0, 1, 2, 3, rng.randrange(12))))):
        case.script[index] = _words(rng, words)
    if hangs and n:
        case.script[rng.randrange(n)] = ["hang"] * rng.choice((1, 2)) + ["ok"]
    takes_odd = case.shape in ("list", "tuple", "generator", "slow generator") and mode != modes.EITHER
    if takes_odd and n and rng.random() < 0.2:
        for index in rng.sample(range(n), min(n, rng.randrange(1, 4))):
            if index not in case.script:
                case.odd_items[index] = rng.choice((fn.Stuck, fn.Crooked))
    _options(rng, case, hangs, folder)
    return case


def _words(rng: random.Random, words: Sequence[str]) -> list[str]:
    kind = rng.choice(words)
    if rng.random() < 0.4:
        return [kind]
    return [kind] * rng.randrange(1, 4) + [rng.choice((*words, "ok", "ok"))]


def _options(rng: random.Random, case: Case, hangs: bool, folder: str) -> None:
    options = case.options
    options["max_workers"] = rng.randrange(1, 5)
    if hangs:
        options["timeout"] = TIMEOUT_S
    elif case.only_processes and rng.random() < 0.15:
        options["timeout"] = 300.0
    if rng.random() < 0.15:
        options.update(initializer=fn.set_up, initargs=(folder,))
    if case.entry in ("submit", "map"):
        return
    options["retries"] = rng.choice((0, 0, 1, 3))
    if rng.random() < 0.6:
        options["on_error"] = "collect"
        if rng.random() < 0.3:
            options["max_failures"] = rng.randrange(5)
    if rng.random() < 0.15:
        options["rate"] = rng.choice((100.0, 1000.0, 1e6))
    if case.entry == "execute" and rng.random() < 0.2:
        options["checkpoint"] = os.path.join(folder, "checkpoint")
    if case.entry in ("stream", "unordered") and rng.random() < 0.3:
        options["max_ahead"] = rng.randrange(1, 40)


def data_of(case: Case) -> Any:
    items: list[Any] = [case.odd_items.get(index, int)(index) for index in range(case.n)]
    match case.shape:
        case "tuple":
            return tuple(items)
        case "range":
            return range(case.n)
        case "array":
            import numpy as np

            return np.arange(case.n)
        case "generator":
            return iter(items)
        case "slow generator":
            return _slowly(items)
    return items


def _slowly(items: Sequence[Any]) -> Iterator[Any]:
    for index, item in enumerate(items):
        if index % 10 == 3:
            # Of the longer ones, results are not kept waiting for the next read.
            time.sleep(0.015 if index % 50 == 23 else 0.005)
        yield item
    time.sleep(0.015)


# -- what must come out ----------------------------------------------------------------------------------------------


def expected(case: Case) -> model.Expected:
    retries = case.options.get("retries", 0)
    words = {word for some in case.script.values() for word in some}
    # A worker that is lost or ended takes finished items along; what cannot be rebuilt makes its span run once more;
    # "auto" takes back to the loop what could not travel, and what raised in a trial.
    again = bool(words & {*fn.DEATHS, "hang", "stuck", "crooked", "twisted"}) or bool(case.odd_items)
    again = again or not (case.only_processes or case.mode.backend in ("serial", "threads"))
    items: dict[int, Sequence[model.Fate]] = {}
    for index in range(case.n):
        items[index] = model.fates(
            case.script.get(index, ["ok"]), index, again=again, retries=retries, travels=case.only_processes
        )
        kind = case.odd_items.get(index)
        if kind is not None and case.only_processes and not case.inherits:
            items[index] = [model.Bad((amorsize.errors.TransferError,))]
    return model.Expected(items, case.options.get("on_error") == "collect", case.options.get("max_failures"))


# -- running it ------------------------------------------------------------------------------------------------------


@contextmanager
def turned(mode: modes.Mode) -> Iterator[None]:
    """The opening of ``auto`` turns to what the mode says after two items."""
    before = engine.Decider
    if mode.turns is not None:
        engine.Decider = modes.turning(mode.turns)
    try:
        yield
    finally:
        engine.Decider = before


def trial(seed: int, folder: str) -> None:
    case = make(seed, folder)
    expect = expected(case)
    func = fn.Scripted(folder, case.script)
    hanging = [index for index, words in case.script.items() if "hang" in words]
    try:
        # On a busy machine any other item may be late, too.
        with turned(case.mode), only_late(hanging):
            if case.entry in ("submit", "map"):
                _executor(case, func, expect)
            elif case.entry in ("stream", "unordered"):
                stream(case, func, expect)
            else:
                call(case, func, expect)
    except BaseException as exc:
        exc.add_note(f"in {case}")
        raise
    if "checkpoint" in case.options:
        _resume(case, expect)


def call(case: Case, func: Any, expect: model.Expected) -> None:
    arguments = {**case.mode.arguments, **case.options}
    try:
        if case.entry == "async":
            found = asyncio.run(amorsize.execute_async(func, data_of(case), **arguments))
        else:
            found = amorsize.execute(func, data_of(case), **arguments)
    except BaseException as exc:
        expect.check_raised(exc)
    else:
        expect.check_list(found)


def stream(case: Case, func: Any, expect: model.Expected) -> None:
    arguments = {**case.mode.arguments, **case.options, "ordered": case.entry == "stream"}
    found: list[Any] = []
    raised: BaseException | None = None
    try:
        for one in amorsize.stream(func, data_of(case), **arguments):
            found.append(one)  # noqa: PERF402  (what came before an exception counts)
    except BaseException as exc:
        raised = exc
    if case.entry == "unordered":
        _check_bag(case, expect, found, complete=raised is None)
    else:
        for index, one in enumerate(found):
            expect.check_one(index, one)
    if raised is not None:
        expect.check_raised(raised)
        if case.entry == "stream" and not expect.collect and isinstance(raised, Exception):
            raised = model.unwrapped(raised)
            demand(model.item_of(raised) == len(found), f"{len(found)} results before item {model.item_of(raised)}")
    elif case.entry == "stream":
        expect.check_list(found)
    else:
        demand(not expect.must_raise(), "no exception was raised")


def _check_bag(case: Case, expect: model.Expected, found: Sequence[Any], *, complete: bool) -> None:
    """Each result belongs to an item of its own."""
    left = {index: list(fates) for index, fates in expect.items.items()}
    for one in found:
        index = one.index if isinstance(one, amorsize.Failure) else _owner(one, left)
        demand(index in left, f"{one!r} belongs to no item, or was given before")
        expect.check_one(index, one)
        del left[index]
    demand(not complete or not left, f"no result of {sorted(left)}")


def _owner(value: Any, left: dict[int, list[model.Fate]]) -> int | None:
    return next((index for index, fates in left.items() if any(model.fits(value, fate) for fate in fates)), None)


def _executor(case: Case, func: Any, expect: model.Expected) -> None:
    context = multiprocessing.get_context(case.mode.start_method)
    with amorsize.Executor(mp_context=context, **case.options) as executor:
        if case.entry == "submit":
            futures = [executor.submit(func, item) for item in data_of(case)]
            for index, future in enumerate(futures):
                _check_future(expect, index, future)
            return
        results = executor.map(func, data_of(case))
        for index in range(case.n):
            try:
                value = next(results)
            except BaseException as exc:
                _fits_raised(expect, index, exc)
                return
            expect.check_one(index, value)


def _check_future(expect: model.Expected, index: int, future: Any) -> None:
    exc = future.exception()
    if exc is None:
        expect.check_one(index, future.result())
    else:
        _fits_raised(expect, index, exc)


def _fits_raised(expect: model.Expected, index: int, exc: BaseException) -> None:
    exc = model.unwrapped(exc)
    if not any(isinstance(one, model.Bad) and isinstance(exc, one.kinds) for one in expect.items[index]):
        raise harness.Wrong(f"item {index} raised {exc!r} instead of {expect.items[index]}") from exc


def _resume(case: Case, expect: model.Expected) -> None:
    """The next call with the same checkpoint runs what is missing; here all goes well from now on."""
    arguments = {**case.mode.arguments, **case.options, "on_error": "collect", "max_failures": None}
    func = fn.Scripted(os.path.dirname(case.options["checkpoint"]), case.script)
    hanging = [index for index, words in case.script.items() if "hang" in words]
    try:
        with turned(case.mode), only_late(hanging):
            found = amorsize.execute(func, data_of(case), **arguments)
    except BaseException as exc:
        exc.add_note(f"when resuming {case}")
        fatal = any(isinstance(one, model.Bad) and one.fatal for fates in expect.items.values() for one in fates)
        if not fatal or isinstance(exc, Exception):
            raise
        return
    demand(len(found) == case.n, f"resumed: {len(found)} results of {case.n} items")
    for index, one in enumerate(found):
        later = [
            model.fate(
                case.script.get(index, ["ok"])[k:],
                index,
                retries=case.options.get("retries", 0),
                travels=case.only_processes,
            )
            for k in range(len(case.script.get(index, ["ok"])))
        ]
        fates = [*expect.items[index], *(later if index not in case.odd_items else ())]
        demand(any(model.fits(one, fate) for fate in fates), f"resumed: item {index}: {one!r} instead of {fates}")


if __name__ == "__main__":
    harness.main("faults")
