"""Items' records as users see them."""

from __future__ import annotations

from collections.abc import Iterable

from amorsize.backends.workers.item_times import Record
from amorsize.facts import ItemRecord


def items_of(records: Iterable[Record]) -> tuple[ItemRecord, ...]:
    """The records by name."""
    return tuple(ItemRecord(*record) for record in records)
