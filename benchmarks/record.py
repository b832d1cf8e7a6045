"""Makes a row of the result file from the row's events. Pure; a row cut off by a hang or crash is handled, too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Event = dict[str, Any]
Row = dict[str, Any]


def contender_record(rounds: int) -> dict[str, Any]:
    """Return an empty record: ``seconds`` and ``facts`` by round (None: not run), and why a contender ended early."""
    return {
        "seconds": [None] * rounds,
        "facts": [None] * rounds,
        "failed": None,
        "sat_out_after_round": None,
        "left_out": None,
        "left_behind": [],
    }


def rounds_run(events: Iterable[Event], asked: int) -> int:
    """Return the number of rounds that ran: short rows have more than requested."""
    return max([asked, *(event["round"] + 1 for event in events if event["event"] == "time")])


def fold(events: Iterable[Event], rounds: int) -> Row:
    """Return the raw record of one row.

    ``items``: their number; ``item``: their facts (`benchmarks.items`); ``grid``: the oracle's first pass;
    ``contenders`` by name; ``plan`` of execute; ``done``: True if the row ran to its end.
    """
    row: Row = {"items": None, "item": None, "grid": None, "contenders": {}, "plan": None, "done": False}

    for event in events:
        name = event.get("contender")
        if name is not None:
            record = row["contenders"].setdefault(name, contender_record(rounds))
        match event["event"]:
            case "ready":
                row["items"] = event["items"]
                row["contenders"] = {each: contender_record(rounds) for each in event["contenders"]}
            case "items":
                row["items"], row["item"] = event["items"], event["item"]
            case "grid":
                row["grid"] = event["grid"]
            case "retimed":
                pass  # its record is made above: the winner of the grid is a contender from now on
            case "left_out":
                record["left_out"] = event["why"]
            case "time":
                record["seconds"][event["round"]] = event["seconds"]
                record["facts"][event["round"]] = event["facts"] or None
            case "failed":
                record["failed"] = event["message"]
            case "out":
                record["sat_out_after_round"] = event["round"]
            case "left":
                record["left_behind"] += event["what"]
            case "plan":
                row["plan"] = event["plan"]
            case "done":
                row["done"] = True
    return row


def in_flight(events: Iterable[Event]) -> str | None:
    """Return the contender that was running at the last event; None if there was none."""
    running: str | None = None
    for event in events:
        if event["event"] == "begin":
            running = event["contender"]
        elif event["event"] in ("time", "failed", "plan", "done"):
            running = None
    return running
