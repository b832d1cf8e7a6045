"""The events that a schedule takes in and the instructions that it returns, as frozen records.

Records needed once per chunk are tuples: made in 0.3 µs, not 0.8. Each such class takes 0.1 ms to define.
"""

from __future__ import annotations

from collections.abc import Collection

from amorsize.frozen import Frozen, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    Why = Literal["raised", "lost", "late"]
    """Why an item failed: it raised, its worker was lost, or it ran longer than ``timeout_s``."""
else:
    Why = str

CALLER: Final = -1
"""The caller's number among the workers: it takes small spans while no other worker is ready."""


class Span(Frozen, kw_only=False):
    """Items ``start`` to ``stop`` (exclusive).

    ``alone``: nothing else may be in flight at its worker. ``quiet``: nothing else may be in flight at any worker,
    because its items may need all the memory. ``lot``: number of the lot that the items belong to.
    """

    start: int
    stop: int
    alone: bool = False
    quiet: bool = False
    lot: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> Span:
        """Return some items of the span, under the same conditions."""
        return Span(start, stop, self.alone, self.quiet, self.lot)


# --- events -----------------------------------------------------------------------------------------------------


class Ready(Frozen, kw_only=False):
    """A worker can take items."""

    worker: int


class Done(NamedTuple):
    """A worker has ended its oldest span in ``wall_s`` seconds, ``cpu_s`` of them on a core.

    The items ``failed`` raised; those of them that are ``final`` raised what no repeat is allowed for. ``ran``: number
    of items run, if the worker stopped early. ``apart``: the span could not be sent, or its results could not, because
    of one unknown item; each item is to be sent apart from the others.
    """

    worker: int
    wall_s: float
    failed: tuple[int, ...] = ()
    ran: int | None = None
    apart: bool = False
    cpu_s: float | None = None
    final: Collection[int] = ()


class Lost(Frozen, kw_only=False):
    """A worker has died.

    ``item``: the item that it was running; None: unknown, or it had not begun one. ``idle``: it was running no span, so
    the spans on their way to it are not at fault. ``oom``: the kernel ended it because memory ran out. ``shed``: the
    memory guard ended it before the kernel would, so its item is not at fault. ``shared``: it had other spans,
    too, each of which may be at fault, so they are repeated one at a time.
    """

    worker: int
    item: int | None = None
    idle: bool = False
    oom: bool = False
    shed: bool = False
    shared: bool = False


class SourceEnded(Frozen, kw_only=False):
    """The source of items has ended; it held ``length`` items in all.

    ``answered``: workers answer for the spans beyond that they have been sent all the same.
    """

    length: int
    answered: bool = False


class ShortSend(Frozen, kw_only=False):
    """Of the span from ``start`` on only the items before ``stop`` were sent: the source has no more at the moment."""

    worker: int
    start: int
    stop: int


class ItemsAdded(NamedTuple):
    """Items ``start`` to ``stop`` of one lot were added. ``fixed``: items per chunk; None: the schedule chooses."""

    start: int
    stop: int
    lot: int = 0
    fixed: int | None = None


class ItemsDropped(Frozen, kw_only=False):
    """The items never sent are no longer wanted: those of one lot, or of every lot (None)."""

    lot: int | None = None


class Closed(Frozen, kw_only=False):
    """No more items will be added to an open schedule."""


class ResultsTaken(NamedTuple):
    """The reader has taken ``items`` results. ``window``: items that may be ahead of it, if that changes.

    Less than 0: so many results of items that ran before the schedule began wait for the reader.
    """

    items: int
    window: int | None = None


class Resize(Frozen, kw_only=False):
    """Set the number of workers (memory is tight, or there is room again)."""

    workers: int


class Recycle(Frozen, kw_only=False):
    """This worker is to leave after its spans, and a new one is to replace it."""

    worker: int


class Running(Frozen, kw_only=False):
    """A worker has been at this item for ``for_s`` seconds.

    ``item`` is None if it takes or sends the items from ``start`` on together, so that none can be named.
    """

    worker: int
    item: int | None
    for_s: float
    start: int | None = None


class Tick(Frozen, kw_only=False):
    """Time has passed; ``running``: the items being run, as far as they are known."""

    running: tuple[Running, ...] = ()


Event = (
    Ready
    | Done
    | Lost
    | SourceEnded
    | ShortSend
    | ItemsAdded
    | ItemsDropped
    | Closed
    | ResultsTaken
    | Resize
    | Recycle
    | Tick
)

# --- instructions -----------------------------------------------------------------------------------------------


class Send(NamedTuple):
    """Send this span to this worker."""

    worker: int
    span: Span


class Start(Frozen, kw_only=False):
    """Start a worker under this number."""

    worker: int


class Retire(Frozen, kw_only=False):
    """Let this worker leave: it has nothing more to do."""

    worker: int


class Kill(Frozen, kw_only=False):
    """End this worker at once, even while it runs an item; ignore all further messages from it."""

    worker: int


class Fail(Frozen, kw_only=False):
    """This item has failed for good."""

    index: int
    why: Why = "raised"
    lot: int = 0


class Finish(Frozen, kw_only=False):
    """Every item is done."""


class GiveUp(Frozen, kw_only=False):
    """The caller must run the items that are left, or fail: no worker can be kept alive, or they are unprofitable.

    ``slow``: the workers are alive, but slower than the caller alone would be.
    """

    slow: bool = False


Instruction = Send | Start | Retire | Kill | Fail | Finish | GiveUp
