"""The path of the one file of amorsize, by ``AMORSIZE_HISTORY``, and the time to wait for its lock."""

from __future__ import annotations

from amorsize.system.environment import OFF, history_setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Final

FILE_NAME: Final = "history.sqlite"

# 200 processes that write a row each at once are through in about 2 s on 2 cores.
PATIENCE_S: Final = 30.0
# A file that nothing has been written to for so long is held by a program that will not let go of it soon: a lock for
# a row is held for a millisecond. The end of a program must not wait for it (a guess).
STALLED_S: Final = 1.0


def locate(place: str) -> Path | None:
    """Return the file of a setting; None if history is off, or this user has no cache folder.

    For ``place`` see `amorsize.system.environment.history_setting`.
    """
    from pathlib import Path

    if place == OFF:
        return None
    if place:
        return Path(place)
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("amorsize"))
    except (OSError, RuntimeError, KeyError):
        # No HOME, and a user id without an account.
        return None
    return folder / FILE_NAME if folder.is_absolute() else None


def default_path() -> Path | None:
    """Return the file that ``AMORSIZE_HISTORY`` names now; None when it says ``off``."""
    return locate(history_setting())
