"""Items' records as users see them."""

from __future__ import annotations

from collections.abc import Iterable

from amorsize.facts import ItemRecord
from amorsize.records import Record


def items_of(records: Iterable[Record]) -> tuple[ItemRecord, ...]:
    """The records by name."""
    return tuple(ItemRecord(*record) for record in records)
