"""The environment variables of amorsize. They are read at each call."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

HISTORY: Final = "AMORSIZE_HISTORY"
MAX_WORKERS: Final = "AMORSIZE_MAX_WORKERS"
BACKENDS: Final = "AMORSIZE_BACKENDS"
PYTEST: Final = "AMORSIZE_PYTEST"
OFF: Final = "off"


def history_setting() -> str:
    """Read ``AMORSIZE_HISTORY`` now: ``""`` (the user's cache folder), ``"off"``, or an absolute path."""
    value = os.environ.get(HISTORY, "").strip()
    if not value:
        return ""
    try:
        return OFF if value.lower() == OFF else os.path.abspath(os.path.expanduser(value))
    except OSError:
        # A relative path, and the working directory is gone.
        return OFF


def backends_setting(known: tuple[str, ...]) -> tuple[str, ...] | None:
    """Read ``AMORSIZE_BACKENDS`` now: the names that ``backend="auto"`` chooses from; None if it is not set.

    Names stand with commas between them, as in ``serial,processes``. It takes 1 µs.

    Raises
    ------
    ValueError
        If one of them is not in ``known``.
    """
    text = os.environ.get(BACKENDS, "").strip()
    if not text:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(name in known for name in names):
        raise ValueError(
            f"{BACKENDS}: must hold names out of {known} with commas between them, or not be set, not {text!r}"
        )
    return tuple(name for name in known if name in names)


def stored() -> dict[bytes, bytes] | dict[str, str]:
    """Return a copy of all variables as they are stored, to compare with; in a tenth of the time of a decoded one."""
    return dict(getattr(os.environ, "_data", os.environ))


def max_workers_setting() -> int | None:
    """Read ``AMORSIZE_MAX_WORKERS`` now: the most workers of any call; None if it is not set. Takes 1 µs.

    Raises
    ------
    ValueError
        If it is no whole number of at least 1.
    """
    text = os.environ.get(MAX_WORKERS, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text):
        return int(text)
    raise ValueError(f"{MAX_WORKERS}: must be a whole number of at least 1, or not set, not {text!r}")


def plugin_setting() -> bool:
    """Read ``AMORSIZE_PYTEST`` now: True if it asks for the plugin of pytest. Takes 1 µs.

    Raises
    ------
    ValueError
        If it is neither 0 nor 1.
    """
    text = os.environ.get(PYTEST, "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"{PYTEST}: must be 0 or 1, or not set, not {text!r}")
    return text == "1"
