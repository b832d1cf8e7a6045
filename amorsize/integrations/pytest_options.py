"""The names of the plugin's options, as pytest keeps their values."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_SECONDS: Final = "amorsize_max_seconds"
MAX_MEMORY_PERCENT: Final = "amorsize_max_memory_percent"
RESUME: Final = "amorsize_resume"
