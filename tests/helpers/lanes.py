"""Repeat counts: few in `make test`, many in `make test-long`."""

from __future__ import annotations

import os


def repeats(short: int, long: int) -> int:
    return long if os.environ.get("AMORSIZE_LONG") == "1" else short
