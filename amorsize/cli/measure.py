"""The commands that run a function many times: ``validate``, ``tune`` and ``compare``.

Each returns what the command prints; its arguments have been checked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from amorsize.cli import report
from amorsize.cli.failing import UsageError
from amorsize.cli.map_arguments import number_of, whole

if TYPE_CHECKING:
    from amorsize.plan.plan import Plan
    from amorsize.plan.trials.compare import Comparison, Setting
    from amorsize.plan.trials.validation import Validation

ABOUT: Final = {
    "validate": "hold the forecast and execute() against the clock, the loop and the usual rivals",
    "tune": "let the clock decide among the settings that the model thinks worth a trial",
    "compare": "run settings of your choice side by side",
}
# Default time limits (guesses).
SECONDS: Final = {"validate": 10.0, "tune": 30.0, "compare": 10.0}


def add_options(name: str, command: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    command.epilog = "FUNC runs many times on the same items, and its results are thrown away."
    command.add_argument(
        "--max-seconds",
        type=number_of("seconds", positive=True),
        default=SECONDS[name],
        metavar="S",
        help=f"about how long it may take (by default {SECONDS[name]:g})",
    )
    report.add_option(command)
    if name != "tune":
        command.add_argument("--rounds", type=whole(1), metavar="N", help="how often each is run; by default as fits")
    if name == "validate":
        command.add_argument("--profile", type=_profiler, metavar="P", help=PROFILE_HELP)
        command.add_argument("--speedscope", metavar="FILE", help="write the profile there, for speedscope.app")
    if name == "compare":
        command.add_argument(
            "--with",
            dest="settings",
            type=_setting,
            action="append",
            required=True,
            metavar="SETTING",
            help="serial, threads[:WORKERS[:CHUNKSIZE]], processes[:WORKERS[:CHUNKSIZE]], pool (multiprocessing.Pool "
            "as it is by default), execute or optimize; several times",
        )


PROFILE_HELP: Final = "also run some items under cProfile, pyinstrument or line_profiler (extra: profile)"


def _profiler(text: str) -> str | None:
    from amorsize.plan.trials.profiling import checked

    try:
        return checked(text)
    except (ValueError, ImportError) as exc:
        raise argparse.ArgumentTypeError(str(exc).removeprefix("profile: ")) from None


def _setting(text: str) -> Setting:
    from amorsize.plan.trials.compare import setting_of

    try:
        return setting_of(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


# ---------------------------------------------------------------------------------------------------------- commands


def validate(func: Callable[[Any], Any], data: Iterable[Any], options: dict[str, Any], given: Any) -> Validation:
    """Return the verdict."""
    from amorsize.api import validate as run
    from amorsize.plan.trials.profiling import checked

    if given.speedscope is not None and given.profile not in ("cProfile", "pyinstrument"):
        raise UsageError("--speedscope: needs --profile cProfile or --profile pyinstrument")
    try:
        checked(given.profile, func)
    except ValueError as exc:
        raise UsageError(f"--{exc}") from exc
    found = run(func, data, **options, max_seconds=given.max_seconds, rounds=given.rounds, profile=given.profile)
    if given.speedscope is not None and found.profile is not None:
        report.save("--speedscope", given.speedscope, json.dumps(found.profile.speedscope))
    return found


def tune(func: Callable[[Any], Any], data: Iterable[Any], options: dict[str, Any], given: Any) -> Plan:
    """Return the plan with its trials."""
    from amorsize.api import tune as run

    return run(func, data, **options, max_seconds=given.max_seconds)


def compare(func: Callable[[Any], Any], data: Iterable[Any], options: dict[str, Any], given: Any) -> Comparison:
    """Return what each setting took."""
    from amorsize.options import check
    from amorsize.plan.trials.compare import compare_settings

    settings = list(dict.fromkeys(given.settings))
    request = check(func, data, **options)
    return compare_settings(request, settings, max_seconds=given.max_seconds, rounds=given.rounds)


RUN: Final[dict[str, Callable[..., Any]]] = {"validate": validate, "tune": tune, "compare": compare}
