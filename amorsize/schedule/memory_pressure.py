"""Detect tight memory and leaking workers: measurements go in, advice for the schedule comes out.

*Tight*: the available memory, less its expected fall until a reaction takes effect, is below a reserve, and the workers
hold enough memory that fewer workers would help. The number of workers is halved, and halved again after `SETTLE_S`,
because a worker leaves only after its spans. When there has been room for one more worker for some time, one is added.
Each time this was wrong, the next try waits twice as long.

*Critical*: almost no memory is left, or will be left at the next look, and several workers are busy. The worker that
holds most is ended before the kernel chooses a process (the largest, which may be the caller). Its item is repeated
while no other worker is busy.

*Leaking*: the lowest memory of a worker across items rises window after window, beyond a share of the room per worker.
The worker leaves after its spans and a new one replaces it; one at a time.
"""

from __future__ import annotations

from amorsize.frozen import NamedTuple
from amorsize.schedule.messages import Recycle, Resize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Reserve as a share of the memory that may be used (a guess).
RESERVE_SHARE: Final = 0.1
# Largest reserve (a guess).
RESERVE_BYTES: Final = 1 << 30
# Two looks: one to see the fall, one until fewer workers take effect.
AHEAD_S: Final = 0.5
# Seconds until the next check (a guess).
NEXT_LOOK_S: Final = 0.25
# Seconds between two reductions of the number of workers (a guess).
SETTLE_S: Final = 1.0
# Seconds for which there must be room before a worker is added (a guess).
ROOM_S: Final = 2.0
# The longest such wait after failed tries (a guess).
LONGEST_ROOM_S: Final = 64.0
# If memory gets tight within this time after a worker was added, that worker was one too many (a guess).
REGRET_S: Final = 10.0
# Share of the reserve (a guess). If the workers hold less, fewer workers would not help.
HELD_SHARE: Final = 0.25
# Share of the reserve below which memory is critical (a guess).
CRITICAL_SHARE: Final = 0.25

# Fewest checks in a window (a guess).
WINDOW_LOOKS: Final = 4
# Fewest changes of item in a window (a guess). The lowest memory must lie between items, because memory used within one
# item is no leak.
WINDOW_ITEMS: Final = 2
# Windows in a row that must rise (a guess).
WINDOWS: Final = 5
# Smallest rise that counts as a leak (a guess).
LEAK_BYTES: Final = 64 << 20
# Smallest rise that counts as a leak, as a share of the room per worker (a guess).
LEAK_SHARE: Final = 0.1


class Held(NamedTuple):
    """A worker's own memory, beyond what it shares with the caller, and its running item (None: unknown)."""

    worker: int
    own_bytes: int
    item: int | None = None


class Look(NamedTuple):
    """The measurements of one look.

    Attributes
    ----------
    now_s : float
        Time on any steady clock.
    available_bytes, capacity_bytes : int
        Memory that may still be used, and the total that may be used.
    wanted : int
        Number of workers that the schedule wants at present.
    held : tuple of Held
        Memory of the workers that are alive.
    kills : int
        Processes that the kernel has ended so far because memory ran out.
    """

    now_s: float
    available_bytes: int
    capacity_bytes: int
    wanted: int
    held: tuple[Held, ...] = ()
    kills: int = 0


class Shed(NamedTuple):
    """End this worker at once, before the kernel chooses a process to end."""

    worker: int


Advice = Resize | Recycle | Shed


def reserve_bytes(capacity_bytes: int) -> int:
    """Return the number of bytes that should stay available.

    Examples
    --------
    >>> reserve_bytes(500_000_000), reserve_bytes(1 << 40) == 1 << 30
    (50000000, True)
    """
    return int(min(RESERVE_SHARE * capacity_bytes, RESERVE_BYTES))


class _Trend:
    """The lowest memory of one worker in each window: the first window and the last few."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.lows: list[int] = []
        self.low = self.looks = self.changes = 0
        self.item: int | None = None

    def saw(self, held: Held) -> None:
        self.low = held.own_bytes if not self.looks else min(self.low, held.own_bytes)
        self.looks += 1
        if held.item is not None and held.item != self.item:
            self.changes += 1
            self.item = held.item
        if self.looks >= WINDOW_LOOKS and self.changes >= WINDOW_ITEMS:
            if self.first is None:
                self.first = self.low
            self.lows = [*self.lows[-WINDOWS + 1 :], self.low]
            self.looks = self.changes = 0

    def leaks(self, bound_bytes: float) -> bool:
        rises = all(a < b for a, b in zip(self.lows, self.lows[1:], strict=False))
        return (
            self.first is not None and len(self.lows) == WINDOWS and rises and self.lows[-1] - self.first > bound_bytes
        )


def _fall_per_s(before: Look | None, now: Look) -> float:
    """Return the fall of the available memory, in bytes per second; at least 0."""
    if before is None or now.now_s <= before.now_s:
        return 0.0
    return max(0.0, (before.available_bytes - now.available_bytes) / (now.now_s - before.now_s))


class Guarding:
    """Give advice from successive looks at memory."""

    def __init__(self) -> None:
        # Number of workers before memory got tight.
        self.most: int | None = None
        # Number of workers in the latest `Resize`.
        self._set: int | None = None
        self._changed_s = self._grew_s = float("-inf")
        self._room_since_s: float | None = None
        self._patience_s = ROOM_S
        self._before: Look | None = None
        self._heaviest = 0
        self._trends: dict[int, _Trend] = {}
        # The worker that was told to leave and is still alive.
        self._worn_out: int | None = None

    def look(self, seen: Look) -> list[Advice]:
        """Take in one look. Return the advice for the schedule."""
        if self._set is not None and seen.wanted < self._set:
            # The schedule has found for another reason that fewer workers are enough.
            self.most = self._set = seen.wanted
        self._heaviest = max([self._heaviest, *(h.own_bytes for h in seen.held)])
        need = reserve_bytes(seen.capacity_bytes)
        before, self._before = self._before, seen
        killed = before is not None and seen.kills > before.kills
        falls = _fall_per_s(before, seen)
        helps = sum(h.own_bytes for h in seen.held) >= HELD_SHARE * need
        tight = helps and seen.available_bytes - falls * AHEAD_S < need
        out: list[Advice] = []
        if seen.available_bytes - falls * NEXT_LOOK_S < CRITICAL_SHARE * need:
            out += self._shed(seen, need)
        if killed or tight or out:
            self._room_since_s = None
            if killed or seen.now_s - self._changed_s >= SETTLE_S:
                out += self._fewer(seen, killed)
        else:
            out += self._more(seen, need)
        return out + self._recycle(seen)

    def _fewer(self, seen: Look, killed: bool) -> list[Advice]:
        most = seen.wanted if self.most is None else self.most
        # The kernel ended a process at this number of workers, so never go back to it.
        self.most = max(1, min(most, seen.wanted - 1)) if killed else most
        if seen.now_s - self._grew_s < REGRET_S:
            self._patience_s = min(LONGEST_ROOM_S, 2 * self._patience_s)
        return self._resize(seen, max(1, seen.wanted // 2))

    def _resize(self, seen: Look, workers: int) -> list[Advice]:
        self._set, self._changed_s = workers, seen.now_s
        return [Resize(workers)] if workers != seen.wanted else []

    def _more(self, seen: Look, need: int) -> list[Advice]:
        has_room = seen.available_bytes > 2 * need + self._heaviest
        if self.most is None or seen.wanted >= self.most or not has_room or len(seen.held) > seen.wanted:
            # Workers that are to leave may still be alive; their memory is not free yet.
            self._room_since_s = None
            return []
        if self._room_since_s is None:
            self._room_since_s = seen.now_s
        if seen.now_s - max(self._room_since_s, self._changed_s) < self._patience_s:
            return []
        self._room_since_s, self._grew_s = None, seen.now_s
        return self._resize(seen, seen.wanted + 1)

    @staticmethod
    def _shed(seen: Look, need: int) -> list[Advice]:
        busy = [h for h in seen.held if h.item is not None]
        largest = max(busy, key=lambda h: h.own_bytes, default=None)
        if largest is None or len(busy) < 2 or largest.own_bytes < HELD_SHARE * need:
            # A worker that is busy alone need not make room for another.
            return []
        return [Shed(largest.worker)]

    def _recycle(self, seen: Look) -> list[Advice]:
        alive = {h.worker for h in seen.held}
        self._trends = {worker: trend for worker, trend in self._trends.items() if worker in alive}
        for held in seen.held:
            self._trends.setdefault(held.worker, _Trend()).saw(held)
        if self._worn_out in alive or not seen.held:
            return []
        room = seen.available_bytes + sum(h.own_bytes for h in seen.held)
        bound = max(LEAK_BYTES, LEAK_SHARE * room / len(seen.held))
        self._worn_out = next((worker for worker, trend in self._trends.items() if trend.leaks(bound)), None)
        return [] if self._worn_out is None else [Recycle(self._worn_out)]
