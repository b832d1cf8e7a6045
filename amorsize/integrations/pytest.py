"""The plugin of pytest: ``pytest -p amorsize.integrations.pytest -n auto``.

It is registered with every pytest that runs where amorsize is installed (entry point ``pytest11``). So this file
imports next to nothing and only declares options. The work is done by `amorsize.integrations.pytest_run`, which is
loaded if the plugin was asked for: by ``-p amorsize.integrations.pytest`` (or ``PYTEST_PLUGINS``), by
``AMORSIZE_PYTEST=1``, or by one of its options.
"""

from __future__ import annotations

import os

from amorsize.integrations.pytest_options import MAX_MEMORY_PERCENT, MAX_SECONDS, RESUME
from amorsize.system.environment import plugin_setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    import pytest

NAME: Final = "amorsize.integrations.pytest"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; each of them also activates the plugin."""
    group = parser.getgroup("amorsize", "number of workers, limits, resuming")
    group.addoption(
        "--amorsize-max-seconds",
        dest=MAX_SECONDS,
        type=_limit("max_seconds"),
        metavar="S",
        help="Stop in order, with exit code 42, once so many seconds have passed; the test that runs is finished",
    )
    group.addoption(
        "--amorsize-max-memory-percent",
        dest=MAX_MEMORY_PERCENT,
        type=_limit("max_memory_percent"),
        metavar="P",
        help="Stop in order, with exit code 42, once so much of the available memory is in use by all programs",
    )
    group.addoption(
        "--amorsize-resume",
        dest=RESUME,
        action="store_true",
        help="Leave out what has passed since the last run without this option; once all has passed, begin anew",
    )


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Load the plugin proper if it was asked for; in time for pytest-xdist's ``-n auto``."""
    try:
        asked = is_asked(vars(early_config.known_args_namespace), os.environ.get("PYTEST_PLUGINS", ""))
    except ValueError as error:
        import pytest

        raise pytest.UsageError(str(error)) from None
    if not asked:
        return
    from amorsize.integrations.pytest_run import register

    register(early_config)


def is_asked(options: dict[str, Any], plugins: str = "") -> bool:
    """Return True if the options, ``PYTEST_PLUGINS`` or ``AMORSIZE_PYTEST`` ask for the plugin.

    Examples
    --------
    >>> is_asked({"plugins": []}), is_asked({"plugins": ["amorsize.integrations.pytest"]})
    (False, True)
    """
    named: Iterable[str] = [*(options.get("plugins") or ()), *plugins.split(",")]
    if NAME in [name.strip() for name in named]:
        return True
    given = (options.get(MAX_SECONDS), options.get(MAX_MEMORY_PERCENT), options.get(RESUME) or None)
    return any(value is not None for value in given) or plugin_setting()


def _limit(name: str) -> Callable[[str], float]:
    """Return a reader of an option's value that accepts what `amorsize.Limits` does."""

    def read(text: str) -> float:
        from argparse import ArgumentTypeError

        from amorsize.limits import Limits

        try:
            return float(getattr(Limits(**{name: float(text)}), name))
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read
