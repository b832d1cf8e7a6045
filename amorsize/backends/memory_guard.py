"""Watches the memory of a team of worker processes, as a ticker of the driver's loop.

Each check reads the available memory and the resident memory of each worker. `amorsize.schedule.memory_pressure`
decides what follows from them. Four checks per second cost 0.06 % of a core with 2 workers and 0.3 % with 64 (Linux,
CPython 3.11, three control groups deep).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from amorsize.backends.workers.child import IDLE
from amorsize.schedule.memory_pressure import Guarding, Held, Look, Shed
from amorsize.schedule.messages import Event, Lost, Resize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from amorsize.backends.workers.team import Team
    from amorsize.schedule.schedule import Schedule


class Guard:
    """A ticker that keeps the workers within memory, and replaces workers that leak.

    Parameters
    ----------
    team : Team
    schedule : Schedule
        Gives the wanted number of workers.
    memory : callable
        Returns the bytes that are still available, and the bytes that may be used in all.
    resident : callable
        Returns the resident bytes of a process; None if unknown.
    kills : callable
        Returns the number of processes that the out-of-memory killer has killed so far; None if unknown.
    shared_bytes : int
        Bytes that each worker shares with the caller (a forked worker: all that the caller held).
    note : callable
        Called with a sentence for the user.
    """

    def __init__(
        self,
        team: Team,
        schedule: Schedule,
        *,
        memory: Callable[[], tuple[int, int]],
        resident: Callable[[int], int | None],
        kills: Callable[[], int | None] = lambda: None,
        shared_bytes: int = 0,
        note: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.team = team
        self.schedule = schedule
        self.memory = memory
        self.resident = resident
        self.kills = kills
        self.shared_bytes = shared_bytes
        self.note = note
        self.guarding = Guarding()
        self._noted = False

    def tick(self, now_s: float, pids: Sequence[int] = ()) -> Iterable[Event]:
        """Read the memory, and return events for the schedule."""
        available, capacity = self.memory()
        if capacity <= 0:
            return []
        wanted = self.schedule.wanted
        seen = Look(now_s, available, capacity, wanted, tuple(self._held()), self.kills() or 0)
        events: list[Event] = []
        for advice in self.guarding.look(seen):
            if isinstance(advice, Shed):
                events.append(self._shed(advice.worker))
                continue
            if isinstance(advice, Resize) and advice.workers < wanted:
                self._say(f"memory got tight: {wanted} worker processes became {advice.workers}")
            events.append(advice)
        return events

    def _held(self) -> Iterable[Held]:
        for number, handle in self.team.handles.items():
            resident = self.resident(handle.pid)
            if resident is not None:
                item, _ = handle.item_and_start()
                yield Held(number, max(0, resident - self.shared_bytes), item if item >= 0 else None)

    def _shed(self, number: int) -> Lost:
        handle = self.team.handles[number]
        self.team.end(number)
        at = handle.was_at
        self._say("memory was nearly used up: a worker process was ended before the kernel would end one")
        return Lost(number, at if at >= 0 else None, idle=at == IDLE, oom=True, shed=True)

    def _say(self, text: str) -> None:
        if not self._noted:
            self.note(text)
        self._noted = True
