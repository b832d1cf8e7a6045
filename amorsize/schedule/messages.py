"""What a schedule hears and what it says: frozen records, compared and printed by the tests as they are.

Those of which each chunk needs one are tuples: made in 0.3 µs, not 0.8. Each such class takes 0.1 ms to define.
"""

from __future__ import annotations

from typing import NamedTuple

from amorsize.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    Why = Literal["raised", "lost", "late"]
    """Why an item failed: it raised, its worker died at it, or it ran longer than it may."""
else:
    Why = str

CALLER: Final = -1
"""The caller's own number among the workers: it takes small spans while no other is ready."""


class Span(Frozen, kw_only=False):
    """Items ``start`` to ``stop`` (exclusive).

    ``alone``: nothing else may be in flight at its worker. ``quiet``: nothing else may be in flight at all, since its
    items are suspected of taking the memory that others need. ``lot``: which of the schedule's lots it is from.
    """

    start: int
    stop: int
    alone: bool = False
    quiet: bool = False
    lot: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


# --- events -----------------------------------------------------------------------------------------------------


class Ready(Frozen, kw_only=False):
    """A worker can take items."""

    worker: int


class Done(NamedTuple):
    """A worker has ended its oldest span in ``wall_s`` seconds, ``cpu_s`` of them on a core.

    The items ``failed`` raised. ``ran`` counts the items that were run, if the worker stopped early. ``apart``: the
    span got lost on its way there or back, by the fault of one item that nobody can name; each is to be tried apart
    from the others.
    """

    worker: int
    wall_s: float
    failed: tuple[int, ...] = ()
    ran: int | None = None
    apart: bool = False
    cpu_s: float | None = None


class Lost(Frozen, kw_only=False):
    """A worker is gone.

    ``item``: what it was running; None: before its first item, or nobody knows. ``idle``: it was at no span, so that
    those on their way to it are not to blame. ``oom``: the kernel ended it for want of memory. ``shed``: we did, before
    the kernel would, and its item is not to blame either.
    """

    worker: int
    item: int | None = None
    idle: bool = False
    oom: bool = False
    shed: bool = False


class SourceEnded(Frozen, kw_only=False):
    """The source of items turned out to hold ``length`` items in all."""

    length: int


class ShortSend(Frozen, kw_only=False):
    """The span from ``start`` on went to ``worker`` only as far as ``stop``: the source has no more at the moment."""

    worker: int
    start: int
    stop: int


class ItemsAdded(NamedTuple):
    """New items have come: ``start`` to ``stop``, of one lot. ``fixed``: items per chunk, if they are settled."""

    start: int
    stop: int
    lot: int = 0
    fixed: int | None = None


class ItemsDropped(Frozen, kw_only=False):
    """Items that were never handed out are no longer wanted: those of one lot, or (None) of every lot."""

    lot: int | None = None


class Closed(Frozen, kw_only=False):
    """No more items will come to a schedule that was ``open``."""


class ResultsTaken(NamedTuple):
    """So many results were taken away by whoever reads them; ``window`` items may be ahead of him from now on."""

    items: int
    window: int | None = None


class Resize(Frozen, kw_only=False):
    """So many workers are wanted from now on (memory is tight, or there is room again)."""

    workers: int


class Recycle(Frozen, kw_only=False):
    """This worker is to leave after its spans, and another is to come in its place."""

    worker: int


class Running(Frozen, kw_only=False):
    """A worker has been at this item for ``for_s`` seconds."""

    worker: int
    item: int
    for_s: float


class Tick(Frozen, kw_only=False):
    """Time has passed; ``running``: who is at what, as far as that can be seen."""

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
    """Give this span to this worker."""

    worker: int
    span: Span


class Start(Frozen, kw_only=False):
    """Start a worker under this number."""

    worker: int


class Retire(Frozen, kw_only=False):
    """This worker has nothing more to do: let it leave."""

    worker: int


class Kill(Frozen, kw_only=False):
    """End this worker at once, whatever it is at; nothing it says counts any more."""

    worker: int


class Fail(Frozen, kw_only=False):
    """This item has failed for good."""

    index: int
    why: Why = "raised"
    lot: int = 0


class Finish(Frozen, kw_only=False):
    """Every item is done."""


class GiveUp(Frozen, kw_only=False):
    """The caller must run what is left, or give up: workers cannot be kept alive here, or they only lose time.

    ``slow``: they are alive, and slower than the caller alone would be.
    """

    slow: bool = False


Instruction = Send | Start | Retire | Kill | Fail | Finish | GiveUp
