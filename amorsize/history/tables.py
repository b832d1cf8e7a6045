"""The tables of amorsize's SQLite file, their migrations, and the statements that read and write them.

Each function and each machine is stored once, and runs refer to them by number: a run takes some 0.4 kB. All else is
JSON and never pickled: a file that another user could write must not be able to run code.

The functions here work on a connection within a transaction. `amorsize.history.sqlite_file` opens, locks and repairs
the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import isfinite

from amorsize.frozen import Frozen, as_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any, Final

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE cost (key TEXT PRIMARY KEY, measured_at_s REAL NOT NULL, body TEXT NOT NULL)",
        "CREATE TABLE run (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, function TEXT NOT NULL, body TEXT NOT NULL)",
        "CREATE INDEX run_function ON run (function)",
    ),
    # Functions and machines once each; the source of each row; a number that equivalent rows share (`surplus`).
    (
        "CREATE TABLE function (id INTEGER PRIMARY KEY, mark TEXT NOT NULL UNIQUE, name TEXT NOT NULL)",
        "CREATE TABLE machine (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, body TEXT NOT NULL)",
        "ALTER TABLE run RENAME TO run_1",
        "DROP INDEX run_function",
        (
            "CREATE TABLE run (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, function INTEGER NOT NULL, machine INTEGER, "
            "source TEXT NOT NULL, alike INTEGER NOT NULL, body TEXT NOT NULL)"
        ),
        "INSERT INTO function (mark, name) SELECT DISTINCT function, '' FROM run_1",
        (
            "INSERT INTO run SELECT run_1.id, at_s, function.id, NULL, 'execute', function.id, body "
            "FROM run_1 JOIN function ON mark = function"
        ),
        "DROP TABLE run_1",
        "CREATE INDEX run_known ON run (function, machine)",
        "CREATE INDEX run_source ON run (source)",
    ),
)
"""Statements from each version of the schema (``PRAGMA user_version``) to the next; only ever appended to."""

EXECUTE: Final = "execute"
# Keys of a row that have a column of their own; the others are in its body.
COLUMNS: Final = ("at_s", "function", "source", "machine", "alike")
# Thinning deletes one row in so many: of 100,000 rows it takes 0.2 s, once per 10,000 new rows.
ROOM: Final = 10

_SELECT: Final = (
    "SELECT run.at_s, function.mark, function.name, run.source, machine.body, run.body FROM run "
    "JOIN function ON function.id = run.function LEFT JOIN machine ON machine.id = run.machine"
)


# -- runs ------------------------------------------------------------------------------------------------------------


def insert(link: sqlite3.Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Append rows; return their number.

    ``at_s``, ``function`` (its fingerprint), ``source``, ``machine`` (a mapping, with its ``digest``) and ``alike``
    (a number that equivalent rows share) have columns of their own. ``name`` is stored with the function, all else as
    JSON.
    """
    functions: dict[str, tuple[int, str]] = {}
    machines: dict[str, int] = {}
    values = []
    for row in rows:
        mark, name = text(row.get("function") or ""), text(row.get("name") or "")
        if mark not in functions:
            functions[mark] = _function(link, mark, name)
        function, usual_name = functions[mark]
        body = {key: value for key, value in row.items() if key not in COLUMNS and key != "name"}
        if name != usual_name:
            body["name"] = name
        machine = _machine(link, row.get("machine"), machines)
        source = text(row.get("source") or EXECUTE)
        values.append((_time(row.get("at_s")), function, machine, source, row.get("alike") or function, dumps(body)))
    link.executemany("INSERT INTO run (at_s, function, machine, source, alike, body) VALUES (?, ?, ?, ?, ?, ?)", values)
    return len(values)


def _function(link: sqlite3.Connection, mark: str, name: str) -> tuple[int, str]:
    """Return the number and the stored name of a function; insert a new one."""
    link.execute("INSERT OR IGNORE INTO function (mark, name) VALUES (?, ?)", (mark, name))
    number, usual_name = link.execute("SELECT id, name FROM function WHERE mark = ?", (mark,)).fetchone()
    return number, usual_name


def _machine(link: sqlite3.Connection, machine: object, known: dict[str, int]) -> int | None:
    """Return the number of a machine; insert a new one."""
    if not isinstance(machine, Mapping) or not machine:
        return None
    digest = machine.get("digest")
    features = {key: value for key, value in machine.items() if key != "digest"}
    mark = text(digest) if digest else dumps(features)
    if mark not in known:
        link.execute("INSERT OR IGNORE INTO machine (digest, body) VALUES (?, ?)", (mark, dumps(features)))
        known[mark] = link.execute("SELECT id FROM machine WHERE digest = ?", (mark,)).fetchone()[0]
    return known[mark]


def select(
    link: sqlite3.Connection,
    function: str | None = None,
    limit: int | None = None,
    source: str | None = None,
    machine: str | None = None,
) -> list[dict[str, Any]]:
    """Return the newest ``limit`` rows (of that function, source, machine), oldest first."""
    asked = {
        "run.function = (SELECT id FROM function WHERE mark = ?)": function,
        "run.machine = (SELECT id FROM machine WHERE digest = ?)": machine,
        "run.source = ?": source,
    }
    where = [condition for condition, value in asked.items() if value is not None]
    values: list[Any] = [text(value) for value in asked.values() if value is not None]
    query = _SELECT + (" WHERE " + " AND ".join(where) if where else "") + " ORDER BY run.id DESC"
    if limit is not None:
        query, values = query + " LIMIT ?", [*values, limit]
    found = link.execute(query, values).fetchall()
    machines = {text: loads(text) or {} for text in {row[4] for row in found} if text is not None}
    return [row for row in (_row(values, machines) for values in reversed(found)) if row is not None]


def _row(found: tuple[float, str, str, str, str | None, str], machines: Mapping[str, Any]) -> dict[str, Any] | None:
    at_s, mark, name, source, machine, body = found
    row = loads(body)
    if row is None:
        return None
    row = {"at_s": at_s, "function": mark, **({"name": name} if name else {}), **row}
    if source != EXECUTE:
        row["source"] = source
    if machine is not None:
        row["machine"] = machines[machine]
    return row


def count(link: sqlite3.Connection, source: str | None = None) -> int:
    """Return the number of rows (of that source)."""
    query = "SELECT count(*) FROM run" + ("" if source is None else " WHERE source = ?")
    return int(link.execute(query, () if source is None else (source,)).fetchone()[0])


def forget(link: sqlite3.Connection, function: str | None = None, before_s: float | None = None) -> int:
    """Delete runs (of that function; that ended before that time) and overwrite their bytes; return their number."""
    link.execute("PRAGMA secure_delete = ON")
    where, values = ["1"], []
    if function is not None:
        where.append("function = (SELECT id FROM function WHERE mark = ?)")
        values.append(text(function))
    if before_s is not None:
        where.append("at_s < ?")
        values.append(before_s)  # type: ignore[arg-type]
    gone = link.execute(f"DELETE FROM run WHERE {' AND '.join(where)}", values).rowcount
    for table in ("function", "machine"):
        link.execute(f"DELETE FROM {table} WHERE id NOT IN (SELECT {table} FROM run WHERE {table} IS NOT NULL)")
    return gone


def thin(link: sqlite3.Connection, most: int, added: int) -> None:
    """Delete rows if there are more than ``most``, after so many were added.

    Counting takes some ms, so rows are counted once per hundredth of ``most``.
    """
    last = link.execute("SELECT max(id) FROM run").fetchone()[0] or 0
    step = max(1, most // 100)
    if last // step == (last - added) // step or count(link) <= most:
        return
    found = link.execute("SELECT id, alike FROM run ORDER BY id").fetchall()
    gone = surplus([alike for _, alike in found], most - most // ROOM)
    link.executemany("DELETE FROM run WHERE id = ?", [(found[at][0],) for at in gone])


# -- costs -----------------------------------------------------------------------------------------------------------


def get_cost(link: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    """Return what was put last under a key, with ``measured_at_s``; None if there is nothing."""
    found = link.execute("SELECT measured_at_s, body FROM cost WHERE key = ?", (text(key),)).fetchone()
    body = None if found is None else loads(found[1])
    return None if body is None else {**body, "measured_at_s": found[0]}


def put_cost(link: sqlite3.Connection, key: str, body: Mapping[str, Any], at_s: float) -> bool:
    """Put a body under a key in place of what was there; return True."""
    values = (text(key), float(at_s), dumps(body))
    return bool(link.execute("INSERT OR REPLACE INTO cost (key, measured_at_s, body) VALUES (?, ?, ?)", values))


def drop_costs(link: sqlite3.Connection, family: str, keep: int) -> None:
    """Delete the bodies whose keys begin with ``family``, but for the newest ``keep``."""
    link.execute(
        "DELETE FROM cost WHERE substr(key, 1, ?) = ? AND key NOT IN "
        "(SELECT key FROM cost WHERE substr(key, 1, ?) = ? ORDER BY measured_at_s DESC LIMIT ?)",
        (len(family), family, len(family), family, keep),
    )


# -- values ----------------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """Return a string that SQLite takes: lone surrogates (from file names, say) become escapes."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _time(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) and isfinite(value) else 0.0
    except OverflowError:
        return 0.0


def dumps(body: Mapping[str, Any] | Sequence[Any]) -> str:
    """Encode anything as JSON: records as objects, numpy's numbers as numbers, other objects as their type's name."""
    import json

    try:
        return json.dumps(body, default=_encoded, skipkeys=True, separators=(",", ":"))
    except Exception:  # noqa: BLE001  (it contains itself, or has a property that raises)
        items = body.items() if isinstance(body, Mapping) else ()
        plain = {str(key): value for key, value in items if isinstance(value, str | int | float | None)}
        return json.dumps(plain, separators=(",", ":"))


def _encoded(value: Any) -> object:
    """Return the JSON form of a value that JSON has no type for."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Frozen):
        return as_dict(value)
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, set | frozenset):
        return list(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    return f"<{type(value).__qualname__}>"


def loads(text: object) -> dict[str, Any] | None:
    """Decode a JSON object; None when the text is broken or holds something else."""
    import json

    try:
        body = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def surplus(groups: Sequence[Hashable], keep: int) -> list[int]:
    """Choose the rows to delete so that ``keep`` are left: every group keeps its newest rows, up to an equal share.

    Parameters
    ----------
    groups : sequence
        The group of each row, oldest row first.
    keep : int
        How many rows may stay.

    Returns
    -------
    list of int
        Positions in ``groups``, in order.

    Examples
    --------
    >>> surplus("aaaab", 3)  # not the five oldest but one: b keeps its only row
    [0, 1]
    >>> surplus("abc", 3), surplus("abc", 2)
    ([], [0])
    """
    if len(groups) <= keep:
        return []
    share = _share(sorted(Counter(groups).values()), keep)
    seen: Counter[Hashable] = Counter()
    going: list[int] = []
    # The newest row of each group that is beyond its share.
    next_in_line: list[int] = []
    for at in range(len(groups) - 1, -1, -1):
        group = groups[at]
        seen[group] += 1
        if seen[group] == share + 1:
            next_in_line.append(at)
        elif seen[group] > share:
            going.append(at)
    room = keep - (len(groups) - len(going) - len(next_in_line))
    return sorted(going + next_in_line[room:])


def _share(sizes: Sequence[int], keep: int) -> int:
    """Return the most rows that each group may keep, given the groups' sizes in rising order."""
    left = keep
    for at, size in enumerate(sizes):
        share = left // (len(sizes) - at)
        if size > share:
            return share
        left -= size
    return sizes[-1] if sizes else 0
