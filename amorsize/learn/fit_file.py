"""Where the fit of a history is kept: beside its file. Loads nothing, so that a plan without a fit pays for none."""

from __future__ import annotations

from amorsize.history.history import file_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.history.history import History

# The fit's file is named like the history, with this suffix.
SUFFIX: Final = ".fit.json"


def fit_path(history: History | None) -> str | None:
    """Return the path of a history's fit; None if history is off."""
    file = file_of(history)
    return None if file is None else f"{file}{SUFFIX}"
