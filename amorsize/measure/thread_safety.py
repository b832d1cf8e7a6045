"""Is a function safe in several threads at once? A look at all that it can reach, without calling anything.

A function that is right in a loop may be wrong in threads: two items write one global, one buffer, one connection. So
``backend="auto"`` runs it in threads only when `look` answers "safe". It walks through the function's bytecode and that
of every function written in Python that it calls, and follows where each value comes from
(`amorsize.measure.safety.values`). Compiled functions and types are looked up in tables with their sources
(`amorsize.measure.safety.tables`).

* **unsafe**: it writes what outlives the call, uses an object that is known not to be safe, or changes the process.
* **unknown**: a function, a type or an instruction of which nothing is known; or too much code to look at.
* **safe**: neither.

A look takes 0.3 ms (median), rarely more than 2. It never raises, and runs no code of the user's.
"""

from __future__ import annotations

import sys

from amorsize.formatting import count, seconds
from amorsize.frozen import Frozen
from amorsize.measure.safety.calls import Look
from amorsize.measure.safety.code import OddCodeError
from amorsize.measure.safety.ground import TooMuchError
from amorsize.measure.safety.state import State
from amorsize.measure.safety.types import SEQUENCES, Kinds, own_attributes
from amorsize.measure.safety.values import NOTHING, Item, Outer, Value, one
from amorsize.system.looks import attribute, is_array, is_interrupt, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final, Literal

    from amorsize.facts import Backend, Forecast

# guess: items whose types stand for all
LOOKED_AT: Final = 16
# To compare the identities of so many items takes 0.6 ms; to find the memory behind 500 of them, 1 ms.
MOST_COMPARED: Final = 10_000
MOST_BLOCKS: Final = 500
# guess: passes after which what things hold is no longer waited for
MOST_PASSES: Final = 6


class Safety(Frozen):
    """An answer of `look`.

    Attributes
    ----------
    answer : {"safe", "unsafe", "unknown"}
    why : str
        What the function does, as the end of a sentence that begins with it; empty if safe.
    where : str
        The line of the code, and the function if it is a helper; empty if safe.
    carries : bool
        True if what an item gives seems to depend on the items before it, or if it uses what forked processes would
        share (a file, a connection): then only the loop gives what ``map`` gives.
    """

    answer: Literal["safe", "unsafe", "unknown"]
    why: str = ""
    where: str = ""
    carries: bool = False

    @property
    def is_safe(self) -> bool:
        """True if the function may run in threads."""
        return self.answer == "safe"

    def __str__(self) -> str:
        return self.why + (f" ({self.where})" if self.where else "")


def look(func: Any, items: Sequence[Any] = (), data: Any = None) -> Safety:
    """Look at a function before threads run it.

    Parameters
    ----------
    func : callable
        Nothing of it is called.
    items : sequence
        Some of the items: methods of the items are judged by their types.
    data : object
        All items, if they can be had by index: a function that writes its item is safe only if no item comes twice.

    Examples
    --------
    >>> def right(x):
    ...     found = []
    ...     found.append(x)
    ...     return found
    >>> look(right, [1]).answer
    'safe'
    >>> seen = []
    >>> str(look(lambda x: seen.append(x), [1]))
    'changes, by `append`, the global `seen` (line 1)'
    """
    walk: Look | None = None
    try:
        walk = Look()
        return _look(walk, func, tuple(items[:LOOKED_AT]), data)
    except TooMuchError as ended:
        return _answer(walk, (ended.why, ended.where), ())
    except OddCodeError as odd:
        return _answer(walk, (f"cannot be read: {odd}", ""), ())
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return Safety(answer="unknown", why=f"cannot be looked at ({kind_of(exc)})")


def examples(data: Any) -> list[Any]:
    """Return some items at even distances, where they can be had without running code of the user's."""
    if type(data) in Kinds(list, tuple, range) or is_array(data):
        return list(data[:: max(1, len(data) // LOOKED_AT)][:LOOKED_AT])
    return []


def warning(found: Safety, threads: Forecast | None = None) -> str:
    """Return what a plan says where threads are out; ``threads``: their forecast, where they would have been best."""
    what = "threads are out"
    if threads is not None:
        what = f"{count(threads.workers, 'thread')} should take {seconds(threads.total_s)}, but are out"
    also = ""
    if found.carries:
        also = (
            " Processes are out, too: its results seem to depend on the items before, or it uses what they would share."
        )
    return (
        f"{what}: func is not shown to be safe in threads, since it {found}.{also} If it is safe, allow them: "
        "backend='threads', or a tuple that names threads"
    )


def left_of(backends: tuple[Backend, ...], found: Safety) -> tuple[Backend, ...]:
    """Return the backends of "auto" that may run a function which is not shown to be safe in threads."""
    out = ("threads", "processes") if found.carries else ("threads",)
    return tuple(name for name in backends if name not in out) or ("serial",)


def _look(walk: Look, func: Any, items: tuple[Any, ...], data: Any) -> Safety:
    given = _as_value(walk, items)
    for _ in range(MOST_PASSES):
        walk.changed = False
        walk.passes += 1
        walk.forget_uses()
        gives = walk.call(walk.outer(func, "the function"), [given], {}, NOTHING)
        if not walk.changed:
            break
    else:
        raise TooMuchError("has values that cannot be followed", "")
    walk.note_kept(gives)
    if not (walk.found or walk.doubts) and walk.loggers:
        _look_at_handlers(walk)
    if walk.found or walk.doubts:
        returned = tuple(obj for thing in gives if isinstance(thing, Outer) for obj in thing.objs)
        return _answer(walk, walk.doubts[0] if walk.doubts else ("", ""), returned)
    handed_on = walk.handed_on()
    if handed_on is not None:
        return Safety(answer="unknown", why=handed_on[0], where=handed_on[1], carries=True)
    if walk.local_reads - walk.local_writes:
        names = sorted(name for _, name in walk.local_reads - walk.local_writes)
        return Safety(
            answer="unknown", why=f"reads `{names[0]}` of a threading.local, which other threads have not set"
        )
    if walk.writes_item and not (apart := _are_apart(data, items)):
        why = "writes the item, and the same object may come twice"
        return Safety(answer="unknown", why=why, carries=apart is False)
    return Safety(answer="safe")


def _look_at_handlers(walk: Look) -> None:
    """Look if handlers of loggers write what the function reads: what else they do leaves its results as they are."""
    state, walk.state = walk.state, State()
    walk.passes += 1
    walk.forget_uses()
    try:
        walk.use_handlers()
    except TooMuchError:
        # A library's handler: what it writes is its own.
        walk.frames.clear()
        walk.implied.clear()
    written = walk.state.written | {("parts", one_of) for one_of in walk.state.grown}
    walk.found, walk.state = None, state
    walk.doubts.clear()
    if written & state.first.keys():
        walk.unknown("reads what a handler of its logger writes")


def _answer(walk: Look | None, doubt: tuple[str, str], returned: tuple[Any, ...]) -> Safety:
    """Return the answer of a look that has found something, or has a doubt."""
    if walk is None or walk.found is None:
        return Safety(answer="unknown", why=doubt[0], where=doubt[1], carries=walk is not None and walk.carries)
    why, where = walk.found
    return Safety(answer="unsafe", why=why, where=where, carries=walk.carries or walk.state.carries(returned))


def _as_value(walk: Look, items: tuple[Any, ...]) -> Value:
    """Return the item as a value, with an example of each of its types."""
    kinds: dict[int, list[Any]] = {}
    for one_of in items:
        kinds.setdefault(id(type(one_of)), []).append(one_of)
    found: list[Any] = [Item(tuple(some[:4]), 0) for some in kinds.values()]
    walk.kept.append(items)
    return frozenset(found) if found else one(Item((), 0))


def _are_apart(data: Any, seen: tuple[Any, ...]) -> bool | None:
    """Return True if no two items are one object, or share memory or attributes; None: unknown."""
    scopes = [(id(one_of), id(scope)) for one_of in seen if (scope := own_attributes(one_of)) is not None]
    if len({scope for _, scope in scopes}) < len(set(scopes)):
        return False
    if is_array(data):
        # An array of objects may hold one of them twice.
        return (attribute(data, "base") is None and attribute(attribute(data, "dtype"), "hasobject") is False) or None
    if type(data) not in SEQUENCES or len(data) > MOST_COMPARED:
        return None
    if len(set(map(id, data))) < len(data):
        return False
    # By their ids: a metaclass may say anything of equality and hash.
    kinds = {id(kind): kind for kind in map(type, data)}.values()
    if not any(kind is memoryview or issubclass(kind, _array_type()) for kind in kinds):
        return True
    blocks = [_block_of(one_of) for one_of in data[:MOST_BLOCKS]]
    # Views of one block may show different parts of it.
    return (len(data) <= MOST_BLOCKS and None not in blocks and len(set(blocks)) == len(blocks)) or None


def _array_type() -> tuple[type, ...]:
    found: Any = (own_attributes(sys.modules.get("numpy")) or {}).get("ndarray")
    return (found,) if issubclass(type(found), type) else ()


def _block_of(obj: Any) -> int | None:
    """Return the id of the object that owns the memory of an item, or the item's own; None: it may be another's."""
    arrays, owner = _array_type(), obj
    while True:
        if type(owner) is memoryview:
            owner = attribute(owner, "obj")
        elif issubclass(type(owner), arrays) and attribute(owner, "base") is not None:
            owner = attribute(owner, "base")
        else:
            return id(owner) if owner is obj or issubclass(type(owner), (*arrays, bytearray)) else None
