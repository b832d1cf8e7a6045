"""The path of the one file of amorsize, by ``AMORSIZE_HISTORY``, and the time to wait for its lock."""

from __future__ import annotations

import os
import sys

from amorsize.system.environment import OFF, history_setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FILE_NAME: Final = "history.sqlite"

# 200 processes that write a row each at once are through in about 2 s on 2 cores.
PATIENCE_S: Final = 30.0
# A file that nothing has been written to for so long is held by a program that will not let go of it soon: a lock for
# a row is held for a millisecond. The end of a program must not wait for it (a guess).
STALLED_S: Final = 1.0


def locate(place: str) -> str | None:
    """Return the path of a setting's file; None if history is off, or this user has no cache folder.

    For ``place`` see `amorsize.system.environment.history_setting`.
    """
    if place == OFF:
        return None
    if place:
        return place
    folder = _plain_cache_folder() or _cache_folder()
    return os.path.join(folder, FILE_NAME) if folder is not None and os.path.isabs(folder) else None


def _plain_cache_folder() -> str | None:
    """Return what ``platformdirs`` would on Linux where one variable says it; loading that package takes 10 ms."""
    if sys.platform != "linux" or "ANDROID_ROOT" in os.environ:
        return None
    root = os.environ.get("XDG_CACHE_HOME", "") or os.path.join(os.environ.get("HOME", ""), ".cache")
    is_plain = os.path.isabs(root) and root == root.strip()
    return os.path.join(root, "amorsize") if is_plain else None


def _cache_folder() -> str | None:
    import platformdirs

    try:
        return platformdirs.user_cache_dir("amorsize")
    except (OSError, RuntimeError, KeyError):
        # No HOME, and a user id without an account.
        return None


def default_path() -> str | None:
    """Return the file that ``AMORSIZE_HISTORY`` names now; None when it says ``off``."""
    return locate(history_setting())
