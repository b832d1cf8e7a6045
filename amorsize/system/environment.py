"""The environment variables of amorsize. They are read at each call."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

HISTORY: Final = "AMORSIZE_HISTORY"
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
