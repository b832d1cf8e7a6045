"""What a call may hand to the next without writing anything that threads share, and what threads hand to each other.

Each thread has its own attributes of a `threading.local` and its own context variables, so that they are safe to write.
But a loop runs in one thread: there an item sees what the last one left. Locks, events and queues are made for several
threads; what they say of each other's calls depends on the order in which the threads run.
"""

from __future__ import annotations

from amorsize.measure.safety.types import is_the_users, mro, names_of, own_attributes, python_method
from amorsize.measure.safety.uses import Uses
from amorsize.measure.safety.values import ATOM, Outer, Site, Thing, Value, one
from amorsize.system.looks import defined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_LOCAL_GET: Final = defined(__import__("_thread")._local, "__getattribute__")
_OF_EACH: Final = ("local", "variable", "kept")
_BETWEEN_THREADS: Final = frozenset(
    ["_thread", "threading", "queue", "_queue", "multiprocessing.synchronize", "concurrent.futures._base"]
)
_TELLS: Final = frozenset(
    ["put", "put_nowait", "set", "clear", "release", "notify", "notify_all", "task_done", "set_result"]
)
_ASKS: Final = frozenset(["qsize", "empty", "full", "is_set", "isSet", "locked", "wait", "done", "result"])
# What these give depends on the calls of other threads, whatever else the function does.
_TAKES: Final = frozenset(["get", "get_nowait"])


class Kept(Uses):
    """Attributes of each thread, context variables, locks, queues, handlers of loggers."""

    def __init__(self) -> None:
        super().__init__()
        # Attributes of a threading.local, by what they hold; what was put into one of them, and was read of it.
        self.local_sites: set[Site] = set()
        self.kept_grown: set[Site] = set()
        self.kept_read: set[Site] = set()
        # What operators have made: numbers, most often.
        self.computed: set[Thing] = set()
        self.asked: dict[int, tuple[str, str]] = {}
        self.told: set[int] = set()
        self.loggers: list[Any] = []

    # -- attributes of each thread ------------------------------------------------------------------------------------

    def get_local(self, obj: Any, thing: Outer, name: str, *, is_set: bool) -> Value:
        """Return what an attribute of a ``threading.local`` may hold in this thread."""
        if name == "__dict__":
            self.unknown(f"reads all attributes of {self.called(thing)}, a threading.local")
        self.reads(("local", id(obj), name))
        maker = python_method(type(obj), "__init__")
        if maker is None and not is_set:
            self.local_reads.add((id(obj), name))
        elif maker is not None:
            # It runs in each thread.
            self.call_function(maker, [one(thing)])
        held = self._local_site(obj, name)
        self.read(held)
        return one(held)

    def set_local(self, obj: Any, name: str, new: Value) -> None:
        """Note that an attribute of a ``threading.local`` is written."""
        self.local_writes.add((id(obj), name))
        key = ("local", id(obj), name)
        self.state.first.setdefault(key, "written")
        if any(self._is_number(thing) for thing in new):
            self.state.write(key)
        self.put(self._local_site(obj, name), new)

    def _is_number(self, thing: Thing) -> bool:
        if isinstance(thing, Outer):
            return thing.is_atom and not (thing.exact and thing.objs[0] is None)
        return thing is ATOM or thing in self.computed

    def _local_site(self, obj: Any, name: str) -> Site:
        made = self.site(("local", id(obj), name), None)
        self.local_sites.add(made)
        return made

    def note_kept(self, value: Value, *, grows: bool = False, fills: bool = False) -> None:
        """Note that what a thread keeps is read, is replaced, or gets other elements."""
        for thing in value if self.local_sites else ():
            if thing not in self.local_sites:
                continue
            if fills:
                self.state.write(("kept", thing))
                continue
            (self.kept_grown if grows else self.kept_read).add(thing)
            self.state.read(("kept", thing))

    def is_table(self, thing: Site) -> bool:
        """Return True if a thread keeps a dict there: a cache, most often."""
        return any(self.kind_of(one_of) is dict for one_of in thing.elements)

    # -- between threads ----------------------------------------------------------------------------------------------

    def between(self, owner: Thing, name: str, has_args: bool) -> None:
        """Note what a call asks or tells other threads by a lock, an event, a queue or a context variable."""
        if not isinstance(owner, Outer) or owner.kind is None:
            return
        obj = owner.objs[0] if owner.objs else owner
        if names_of(owner.kind)[1] == "ContextVar":
            if name == "get":
                self.state.read(("variable", id(obj)))
            elif name == "set":
                self.state.write(("variable", id(obj)))
            return
        if all(names_of(base)[0] not in _BETWEEN_THREADS for base in mro(owner.kind)):
            return
        why = f"asks {self.called(owner)}, by `{name}`, what other threads have done"
        if name in _TAKES or (name == "wait" and "Barrier" in names_of(owner.kind)[1]):
            self.unknown(why)
        elif name in _TELLS or name in ("acquire", "__enter__"):
            self.told.add(id(obj))
        if name in _ASKS or name.startswith("_") != name.startswith("__") or (name == "acquire" and has_args):
            self.asked.setdefault(id(obj), (self.how + why, self.where))

    def handed_on(self) -> tuple[str, str] | None:
        """Return what an item may see of another one, though nothing was found that threads share; None: nothing."""
        for asked in self.asked.keys() & self.told:
            return self.asked[asked]
        for key, first in self.state.first.items():
            if first == "read" and isinstance(key, tuple) and key[0] in _OF_EACH and key in self.state.written:
                what = "a context variable" if key[0] == "variable" else "what a threading.local holds"
                return f"reads {what} and writes it for the next item, which another thread does not see", ""
        if self.kept_grown & self.kept_read:
            return "adds to what a threading.local holds and reads it, which differs from thread to thread", ""
        return None

    # -- handlers of loggers ------------------------------------------------------------------------------------------

    def use_handlers(self) -> None:
        """Look into the user's own handlers of the loggers that are used."""
        seen: list[Any] = []
        for logger in self.loggers:
            while logger is not None and not any(logger is one_of for one_of in seen):
                seen.append(logger)
                held = own_attributes(logger) or {}
                for name in ("handlers", "filters"):
                    for hook in held.get(name) or () if type(held.get(name)) is list else ():
                        if is_the_users(type(hook)):
                            self.use(self.outer(hook, "a handler"))
                logger = held.get("parent")


def is_local(kind: type) -> bool:
    """Return True for ``threading.local`` and classes that derive from it."""
    return defined(kind, "__getattribute__") is _LOCAL_GET
