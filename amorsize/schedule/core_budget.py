"""Share one budget of cores, and so of worker processes, among all calls of one process.

Calls are served first come, first served. A call asks for workers and gets them at once, or when other calls give
theirs back. A call that comes while no other call has workers gets all that it asks for. A call with several workers
gives some of them up while other calls wait, and gets more when no call waits. A call may wait in vain, because the
calls that have workers do not use them: their items wait, perhaps for the waiting call itself. Such a call is let in
with one worker.

This is a pure state machine: `Budget.ask`, `give_back`, `leave` and `let_in` return the tickets that they served.
"""

from __future__ import annotations

from math import ceil


class Budget:
    """The cores of this process, and the number of workers of each call on them.

    Attributes
    ----------
    cores : int
        Workers that may be busy at a time, as given in the latest `ask`.
    held : dict of int to int
        Workers that each call has, by ticket.
    queue : dict of int to int
        Workers that each waiting call wants, by ticket, in order of arrival.

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
        """Ask for ``wanted`` workers. Return the number of workers now given to each ticket."""
        self.cores = cores
        self.wanted[ticket] = wanted
        if not self.held and not self.queue:
            self.held[ticket] = wanted
            return {ticket: wanted}
        self.queue[ticket] = wanted
        return self._serve()

    def give_back(self, ticket: int) -> dict[int, int]:
        """Give back one worker of this ticket. Return the number of workers now given to each ticket."""
        if self.held.get(ticket, 0) > 1:
            self.held[ticket] -= 1
        return self._serve()

    def leave(self, ticket: int) -> dict[int, int]:
        """Remove a ticket that has ended or no longer waits. Return the number of workers now given to each ticket."""
        for place in (self.held, self.queue, self.wanted):
            place.pop(ticket, None)
        return self._serve()

    def let_in(self, ticket: int) -> dict[int, int]:
        """Give a waiting ticket at least one worker, even if none is free. Return what it was given."""
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
        """Return the number of workers that a ticket with workers should have from now on.

        The number falls while other calls wait; they are served as the workers of this ticket leave. It rises when no
        call waits and cores are free; the additional workers belong to the ticket at once.
        """
        has = self.held[ticket]
        if self.queue:
            return min(has, max(1, self.cores // (len(self.held) + len(self.queue))))
        hungry = sum(self.wanted[one] > held for one, held in self.held.items())
        if self.free > 0 and self.wanted[ticket] > has:
            self.held[ticket] = has = min(self.wanted[ticket], has + ceil(self.free / hungry))
        return has
