"""``python -m amorsize watch``: the decision again and again, and what has changed since it changed last."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from time import sleep, time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.cli.documents import check_lines
from amorsize.cli.map_arguments import call_user_code, map_of, number_of, whole
from amorsize.formatting import date, printable, seconds

if TYPE_CHECKING:
    from amorsize.plan.plan import Plan

EVERY_S: Final = 60.0
# guess: times of items that differ by less are noise
DRIFT: Final = 0.25


class Look(NamedTuple):
    """One decision, and what it was made from."""

    at_s: float
    backend: str
    n_jobs: int
    start_method: str | None
    predicted_s: float | None
    item_s: float | None
    usable_cores: float


def drift(before: Look, now: Look) -> tuple[str, ...]:
    """Return what has changed between two decisions, each in a few words.

    Examples
    --------
    >>> now = Look(0.0, "processes", 2, "fork", 1.0, 0.004, 2.0)
    >>> drift(now._replace(backend="serial", n_jobs=1, start_method=None, item_s=0.001), now)
    ('a plain loop has become 2 processes (fork)', 'an item takes 4 ms, and took 1 ms')
    """
    from amorsize.plan.plan_text import way

    changes = []
    ways = [way(look.backend, look.n_jobs, look.start_method) for look in (before, now)]
    if ways[0] != ways[1]:
        changes.append(f"{ways[0]} has become {ways[1]}")
    if before.item_s and now.item_s and abs(now.item_s - before.item_s) > DRIFT * min(before.item_s, now.item_s):
        changes.append(f"an item takes {seconds(now.item_s)}, and took {seconds(before.item_s)}")
    if before.usable_cores != now.usable_cores:
        changes.append(f"{now.usable_cores:g} cores are usable, and {before.usable_cores:g} were")
    return tuple(changes)


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    command.add_argument(
        "--every",
        type=number_of("seconds"),
        default=EVERY_S,
        metavar="S",
        help=f"seconds between two decisions (by default {EVERY_S:g})",
    )
    command.add_argument("--times", type=whole(1), metavar="N", help="end after so many; by default at Ctrl-C")


def run(given: argparse.Namespace) -> int:
    """Decide, print a line, wait; again and again."""
    from contextlib import nullcontext

    from amorsize.cli.output import to_file

    check_lines(given)
    func, data, options = map_of(given)
    with nullcontext(given.out) if given.output is None else to_file(given.output) as out:
        for look, changes in _looks(given, partial(_decide, func, data, options)):
            if not given.quiet or changes:
                out.write(f"{_line(look, changes, is_json=given.format == 'json')}\n")
    return 0


def _decide(func: Any, data: Any, options: dict[str, Any]) -> Look:
    from amorsize.api import optimize

    # Only the first items of a known function are run anew each time.
    plan: Plan = call_user_code(partial(optimize, func, data, **options, sample="head"))
    sample, machine = plan.sample, plan.machine
    return Look(
        time(),
        plan.backend,
        plan.n_jobs,
        plan.start_method,
        plan.predicted_s,
        None if sample is None else sample.item_s,
        0.0 if machine is None else machine.usable_cores,
    )


def _looks(given: argparse.Namespace, decide: Any) -> Iterator[tuple[Look, tuple[str, ...]]]:
    """Yield each decision with what has changed since the first one, or since the latest change."""
    before = decide()
    yield before, ()
    done = 1
    while done != given.times:
        sleep(given.every)
        now = decide()
        changes = drift(before, now)
        if changes:
            before = now
        yield now, changes
        done += 1


def _line(look: Look, changes: tuple[str, ...], *, is_json: bool) -> str:
    from amorsize.plan.plan_text import way

    if is_json:
        return json.dumps(look._asdict() | {"drift": list(changes)})
    told = f"{date(look.at_s)}  {way(look.backend, look.n_jobs, look.start_method)}, {seconds(look.predicted_s)} in all"
    return printable(f"{told}; drift: {'; '.join(changes)}" if changes else told)
