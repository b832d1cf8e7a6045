"""Log records of amorsize: what was decided and why (INFO), what went wrong and was mended (WARNING).

`logging` is never imported here: a program that has not loaded it has nothing that could show a record, and the loop's
path and the workers load as little as they can. So a record costs one look into ``sys.modules`` then, 0.1 µs.
"""

from __future__ import annotations

import sys

from amorsize.system.critical import held_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def info(child: str, text: str, *values: object, **fields: Any) -> None:
    """Log a decision to the logger ``amorsize.<child>``; ``fields`` become attributes of the record."""
    _record("INFO", child, text, values, fields)


def warning(child: str, text: str, *values: object, **fields: Any) -> None:
    """Log a fault that was mended, or that the user should know of, in the same way."""
    _record("WARNING", child, text, values, fields)


def _record(level: str, child: str, text: str, values: tuple[object, ...], fields: dict[str, Any]) -> None:
    logging = sys.modules.get("logging")
    # It may be half imported, by another thread.
    if logging is None or not hasattr(logging, "NullHandler"):
        return
    # A user's filter or handler may raise.
    try:
        # To CPython 3.12, an interrupt here can leave the lock of `logging` taken for good, and then the next look for
        # a logger hangs in any other thread. For handlers no signal is held: they are the user's, and may block.
        with held_signals():
            ours = logging.getLogger("amorsize")
            if not ours.handlers:
                # Else a program that has set up no logging would print the warnings.
                ours.addHandler(logging.NullHandler())
            logger = ours.getChild(child)
            is_enabled = logger.isEnabledFor(getattr(logging, level))
        if is_enabled:
            logger.log(getattr(logging, level), text, *values, extra=fields)
    except Exception:  # noqa: BLE001  (whatever it is, no record is worth a result)
        return
