"""Whose turn it is to have worker processes: one budget of cores for all calls of one process.

First come, first served: a call asks for workers and gets them at once, or when others give theirs back. Who comes
while nobody else has any gets all that it asks for. Who has several gives some of them up when others wait, and gets
more when nobody does. Who waits in vain, since those that have workers do not use them (their items wait for something,
perhaps for the very call that waits here), is let in with one.

A pure state machine: `Budget.ask`, `give_back`, `leave` and `let_in` say which tickets have been served by it.
"""

from __future__ import annotations

from math import ceil


class Budget:
    """The cores of this process, and who has how many workers on them.

    Attributes
    ----------
    cores : int
        Workers that may be busy at a time, as the last who asked has seen it.
    held : dict of int to int
        Workers by ticket.
    queue : dict of int to int
        Workers wanted by those who wait, by ticket, in the order in which they came.

    Examples
    --------
    >>> budget = Budget()
    >>> budget.ask(1, wanted=2, cores=2), budget.ask(2, wanted=2, cores=2)
    ({1: 2}, {})
    >>> budget.leave(1)
    {2: 2}
    """

    def __init__(self) -> None:
        self.cores = 1
        self.held: dict[int, int] = {}
        self.queue: dict[int, int] = {}
        self.wanted: dict[int, int] = {}

    @property
    def free(self) -> int:
        """Workers that may still be started."""
        return self.cores - sum(self.held.values())

    def ask(self, ticket: int, wanted: int, cores: int) -> dict[int, int]:
        """Somebody wants so many workers. Returns who has now been given how many."""
        self.cores = cores
        self.wanted[ticket] = wanted
        if not self.held and not self.queue:
            self.held[ticket] = wanted
            return {ticket: wanted}
        self.queue[ticket] = wanted
        return self._serve()

    def give_back(self, ticket: int) -> dict[int, int]:
        """One of its workers has gone."""
        if self.held.get(ticket, 0) > 1:
            self.held[ticket] -= 1
        return self._serve()

    def leave(self, ticket: int) -> dict[int, int]:
        """It has ended, or does not want to wait any longer."""
        for place in (self.held, self.queue, self.wanted):
            place.pop(ticket, None)
        return self._serve()

    def let_in(self, ticket: int) -> dict[int, int]:
        """Give this one a worker though none is free."""
        if self.queue.pop(ticket, None) is None:
            return {}
        self.held[ticket] = max(1, min(self.wanted[ticket], self.free))
        return {ticket: self.held[ticket]}

    def _serve(self) -> dict[int, int]:
        served: dict[int, int] = {}
        while self.queue and self.free > 0:
            ticket = next(iter(self.queue))
            each = ceil(self.free / len(self.queue))
            wanted = self.queue.pop(ticket)
            served[ticket] = self.held[ticket] = wanted if not (self.held or self.queue) else min(wanted, each)
        return served

    def share(self, ticket: int) -> int:
        """Workers that one who has some should have from now on; those that are more are his at once.

        Fewer while others wait (the others come as his workers go), more when nobody does and cores are free.
        """
        has = self.held[ticket]
        if self.queue:
            return min(has, max(1, self.cores // (len(self.held) + len(self.queue))))
        hungry = sum(self.wanted[one] > held for one, held in self.held.items())
        if self.free > 0 and self.wanted[ticket] > has:
            self.held[ticket] = has = min(self.wanted[ticket], has + ceil(self.free / hungry))
        return has
