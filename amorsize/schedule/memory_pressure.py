"""When memory gets tight and which workers leak: what was seen goes in, what the schedule should hear comes out.

*Tight*: what is still available, less what the last fall of it will take until the answer shows, is below a reserve,
and the workers hold enough of it that fewer of them would help. Then there are half as many, and after `SETTLE_S` half
of these, since a worker leaves only after its spans. When there has been room for one more for a while, one more comes;
each time this was wrong, the next try waits twice as long.

*Critical*: hardly anything is left, or will be at the next look, and several are at work. The one that holds most is
ended before the kernel chooses one (the largest process, which may be the caller), and its item is repeated with
nobody else at work.

*Leaking*: what a worker holds at its lowest, item after item, rises window after window, beyond a share of the room
that each worker has. It leaves after its spans and a fresh one takes its place; one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from amorsize.schedule.messages import Recycle, Resize

RESERVE_SHARE: Final = 0.1  # of the memory that may be used
RESERVE_BYTES: Final = 1 << 30  # and no more than this
AHEAD_S: Final = 0.5  # two looks: one to see the fall, one until fewer workers show
NEXT_LOOK_S: Final = 0.25
SETTLE_S: Final = 1.0
ROOM_S: Final = 2.0
LONGEST_ROOM_S: Final = 64.0
REGRET_S: Final = 10.0  # memory that gets tight so soon after one worker more came: he was one too many
HELD_SHARE: Final = 0.25  # of the reserve: where workers hold less, fewer of them would not help
CRITICAL_SHARE: Final = 0.25  # of the reserve

WINDOW_LOOKS: Final = 4
WINDOW_ITEMS: Final = 2  # a window's lowest must lie between items, too: what one item builds up is no leak
WINDOWS: Final = 5
LEAK_BYTES: Final = 64 << 20
LEAK_SHARE: Final = 0.1  # of the room that each worker has


class Held(NamedTuple):
    """A worker's own memory, beyond what it shares with the caller, and the item it is at (None: nobody knows)."""

    worker: int
    own_bytes: int
    item: int | None = None


class Look(NamedTuple):
    """What was seen at one look.

    Attributes
    ----------
    now_s : float
        On any steady clock.
    available_bytes, capacity_bytes : int
        What may still be used, and what might be in all.
    wanted : int
        Workers that the schedule wants at present.
    held : tuple of Held
        The workers that are alive.
    kills : int
        How many processes the kernel has ended for want of memory so far.
    """

    now_s: float
    available_bytes: int
    capacity_bytes: int
    wanted: int
    held: tuple[Held, ...] = ()
    kills: int = 0


class Shed(NamedTuple):
    """End this worker at once, before the kernel ends one of its own choice."""

    worker: int


Advice = Resize | Recycle | Shed


def reserve_bytes(capacity_bytes: int) -> int:
    """What should stay available.

    Examples
    --------
    >>> reserve_bytes(500_000_000), reserve_bytes(1 << 40) == 1 << 30
    (50000000, True)
    """
    return int(min(RESERVE_SHARE * capacity_bytes, RESERVE_BYTES))


@dataclass(slots=True)
class _Trend:
    """The lowest that one worker held in each window so far: the first, and the last few."""

    first: int | None = None
    lows: list[int] = field(default_factory=list)
    low: int = 0
    looks: int = 0
    changes: int = 0
    item: int | None = None

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
    """By how many bytes per second less has become available."""
    if before is None or now.now_s <= before.now_s:
        return 0.0
    return max(0.0, (before.available_bytes - now.available_bytes) / (now.now_s - before.now_s))


class Guarding:
    """Decides from one look after the other."""

    def __init__(self) -> None:
        self.most: int | None = None  # workers before memory got tight
        self._set: int | None = None  # what was asked for last
        self._changed_s = self._grew_s = float("-inf")
        self._room_since_s: float | None = None
        self._patience_s = ROOM_S
        self._before: Look | None = None
        self._heaviest = 0
        self._trends: dict[int, _Trend] = {}
        self._worn_out: int | None = None  # told to leave, and still there

    def look(self, seen: Look) -> list[Advice]:
        """What to do now."""
        if self._set is not None and seen.wanted < self._set:
            self.most = self._set = seen.wanted  # others have found that so many are enough
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
        self.most = max(1, min(most, seen.wanted - 1)) if killed else most  # so many have been too many once
        if seen.now_s - self._grew_s < REGRET_S:
            self._patience_s = min(LONGEST_ROOM_S, 2 * self._patience_s)
        return self._resize(seen, max(1, seen.wanted // 2))

    def _resize(self, seen: Look, workers: int) -> list[Advice]:
        self._set, self._changed_s = workers, seen.now_s
        return [Resize(workers)] if workers != seen.wanted else []

    def _more(self, seen: Look, need: int) -> list[Advice]:
        has_room = seen.available_bytes > 2 * need + self._heaviest
        if self.most is None or seen.wanted >= self.most or not has_room or len(seen.held) > seen.wanted:
            self._room_since_s = None  # those that are to leave are still there: their memory is not to be had yet
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
            return []  # who works alone has nobody to make room for
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
