"""Repeat counts: few in `make test`, many in `make test-long`."""

from __future__ import annotations

import os


def is_long() -> bool:
    return os.environ.get("AMORSIZE_LONG") == "1"


def repeats(short: int, long: int) -> int:
    return long if is_long() else short
