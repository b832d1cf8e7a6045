"""Run a map in virtual time: the same `Schedule` that drives real workers, with simulated workers and cores.

Nothing here reads a clock or a random number; the times of the items are given. So the same call always gives the same
run, and any machine can be studied. Besides the cores (`amorsize.schedule.simulation.cores`) the model has:

- the caller, which alone sends chunks. It starts the workers one after the other, and receives messages only when all
  are started, as `amorsize.backends.processes` does. Receiving results and sending a chunk take time in the caller;
- messages with a latency, and workers that take time for each chunk and item besides the function's own;
- workers that boot, and items that compute and wait. An item that does both waits first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import isfinite
from typing import Any, Final, Protocol

from amorsize.facts import Scaling
from amorsize.schedule.messages import (
    CALLER,
    Done,
    Event,
    Finish,
    GiveUp,
    Instruction,
    Kill,
    Ready,
    Retire,
    Send,
    SourceEnded,
    Span,
    Start,
    Tick,
)
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.simulation.cores import PARK, Cores, Process, Program
from amorsize.schedule.simulation.overheads import Overheads

# Shortest time between two ticks, because a policy may ask for the next one at once.
# guess
LEAST_WAIT_S: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items ``start`` to ``stop`` (exclusive), run by ``worker`` (`CALLER`: the caller) between two times."""

    worker: int
    start: int
    stop: int
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The record of a simulated run.

    Attributes
    ----------
    makespan_s : float
        From the first instruction until the last worker has left.
    work_s : float
        Time of all items one after the other.
    cpu_s : float
        CPU seconds of all processes.
    dispatcher_s : float
        Seconds that the caller was busy, including items that it ran itself.
    ready_s : float or None
        Time until the first worker could take items.
    chunks : tuple of Chunk
        The chunks in the order in which they ended.
    busy_s : dict of int to float
        Seconds that each started worker spent on its chunks; the caller's under `CALLER`.
    """

    makespan_s: float
    work_s: float
    cpu_s: float
    dispatcher_s: float
    ready_s: float | None
    chunks: tuple[Chunk, ...] = field(repr=False)
    busy_s: dict[int, float] = field(repr=False)

    @property
    def speedup(self) -> float:
        """Time of the items one after the other, divided by the makespan."""
        return self.work_s / self.makespan_s if self.makespan_s > 0 else 1.0

    @property
    def utilisation(self) -> float:
        """Share of the workers' time that was spent on chunks."""
        workers = [busy_s for number, busy_s in self.busy_s.items() if number != CALLER]
        there_s = len(workers) * self.makespan_s
        return sum(workers) / there_s if there_s > 0 else 0.0


class Policy(Protocol):
    """Decides on the instructions: a `Schedule`, or one of `amorsize.schedule.simulation.chunk_rules`."""

    def begin(self, now_s: float = 0.0) -> list[Instruction]:
        """Return the first instructions."""

    def handle(self, event: Event, now_s: float = 0.0) -> list[Instruction]:
        """Return the instructions that follow an event."""

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until the policy needs a `Tick`; None: never."""

    def left_over(self) -> list[tuple[int, int | None]]:
        """Return the ranges that the caller must run after `GiveUp`."""


def simulate(
    item_s: Sequence[float],
    workers: int,
    *,
    item_cpu_s: Sequence[float] | None = None,
    cores: float | None = None,
    quota: float | None = None,
    scaling: Scaling | None = None,
    lock_share: float = 0.0,
    overheads: Overheads | None = None,
    policy: Policy | None = None,
    **options: Any,
) -> Simulation:
    """Run a map in virtual time.

    Parameters
    ----------
    item_s : sequence of float
        Seconds that each item takes when it runs alone.
    workers : int
        Number of workers to start.
    item_cpu_s : sequence of float, optional
        Seconds of these that each item computes; it waits for the rest. None: items compute all the time.
    cores : float, optional
        Cores of the machine; None: no limit.
    quota : float, optional
        CPU seconds that may be used per second, in periods of 100 ms.
    scaling : Scaling, optional
        Throughput of several busy cores together.
    lock_share : float
        Share of computing in which an item holds a lock that all items need (threads).
    overheads : Overheads, optional
        Time for starting, sending and receiving; None: none.
    policy : Policy, optional
        The policy to use, instead of a `Schedule` with ``workers`` and ``options``.
    **options
        Options of the `Schedule`: ``fixed``, ``worker_count``, …; its ``item_s`` is called ``expected_s`` here.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError
        If an item takes less than nothing or for ever, or the two sequences differ in length.

    Notes
    -----
    Takes some 15 µs for each chunk and, where items both compute and wait, 3 µs for each item.

    Examples
    --------
    Ten items of one second on three workers, one at a time, on as many cores as they like and on two:

    >>> simulate([1.0] * 10, 3, fixed=1).makespan_s
    4.0
    >>> simulate([1.0] * 10, 3, fixed=1, cores=2).makespan_s
    5.5
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if policy is None:
        if "expected_s" in options:
            options["item_s"] = options.pop("expected_s")
        policy = Schedule([(0, len(item_s))], workers, **options)
    elif options:
        raise ValueError(f"options are the Schedule's, and a policy was given: {', '.join(options)}")
    machine = Cores(float("inf") if cores is None else cores, quota=quota, scaling=scaling, lock_share=lock_share)
    return Simulator(policy, Work(item_s, item_cpu_s), machine, overheads).run()


class Work:
    """The times of the items.

    Parameters
    ----------
    item_s, item_cpu_s : sequence of float
        As for `simulate`.
    """

    def __init__(self, item_s: Sequence[float], item_cpu_s: Sequence[float] | None = None) -> None:
        walls = [float(seconds) for seconds in item_s]
        cpus = walls if item_cpu_s is None else [float(seconds) for seconds in item_cpu_s]
        for name, values in (("item_s", walls), ("item_cpu_s", cpus)):
            if not all(isfinite(value) and value >= 0.0 for value in values):
                raise ValueError(f"{name} must hold seconds: finite, and not less than 0")
        if len(cpus) != len(walls):
            raise ValueError(f"item_cpu_s must be as long as item_s: {len(cpus)}, not {len(walls)}")
        self.length = len(walls)
        self.total_s = sum(walls)
        self._cpus = [min(pair) for pair in zip(walls, cpus, strict=True)]
        self._waits = [wall - cpu for wall, cpu in zip(walls, self._cpus, strict=True)]
        computes, waits = any(self._cpus), any(self._waits)
        self._only = None if computes and waits else "wait" if waits else "compute"
        self._sums = [0.0, *accumulate(walls)]
        self._cpu_sums = self._sums if self._only == "compute" else [0.0, *accumulate(self._cpus)]

    def steps(self, start: int, stop: int) -> Program:
        """Yield the steps of running these items."""
        if self._only == "compute":
            yield "compute", self._sums[stop] - self._sums[start]
        elif self._only == "wait":
            yield "wait", self._sums[stop] - self._sums[start]
        else:
            for index in range(start, stop):
                yield "wait", self._waits[index]
                yield "compute", self._cpus[index]

    def cpu_s(self, start: int, stop: int) -> float:
        """Return the CPU seconds of items ``start`` to ``stop``."""
        return self._cpu_sums[stop] - self._cpu_sums[start]


class Simulator:
    """Carry out the instructions of a policy in virtual time.

    Parameters
    ----------
    policy : Policy
    work : Work
    machine : Cores
    overheads : Overheads, optional
        Time that is spent besides the items; None: none.
    """

    def __init__(self, policy: Policy, work: Work, machine: Cores, overheads: Overheads | None = None) -> None:
        self.policy = policy
        self.work = work
        self.machine = machine
        self.overheads = overheads or Overheads()
        self.finished = self.abandoned = False
        self.ready_s: float | None = None
        self.chunks: list[Chunk] = []
        self.busy_s: dict[int, float] = {}
        self.dispatcher_s = 0.0
        self.workers: dict[int, Process] = {}
        self.inboxes: dict[int, deque[Span]] = {}
        self.mail: deque[Event] = deque()
        self.mine: Span | None = None
        self.leaving = 0
        self._alarm_s: float | None = None
        self.caller = machine.run(self._count_busy(self._dispatch()), first=True)

    def run(self) -> Simulation:
        """Run to the end. Return the record."""
        while not self.caller.over:
            if not self.machine.advance():
                raise RuntimeError("the simulated run has come to a standstill: its policy waits for nothing")
        return Simulation(
            makespan_s=self.machine.now_s,
            work_s=self.work.total_s,
            cpu_s=self.machine.used_s,
            dispatcher_s=self.dispatcher_s,
            ready_s=self.ready_s,
            chunks=tuple(self.chunks),
            busy_s=self.busy_s,
        )

    # -- the caller ----------------------------------------------------------------------------------------------

    def _count_busy(self, program: Program) -> Program:
        for step in program:
            if step is PARK:
                yield step
                continue
            began_s = self.machine.now_s
            yield step
            self.dispatcher_s += self.machine.now_s - began_s

    def _dispatch(self) -> Program:
        """Yield the caller's steps, as in `amorsize.backends.processes.ProcessDriver`."""
        yield "compute", self.overheads.once_s
        yield from self._obey(self.policy.begin(self.machine.now_s))
        while not self.is_over:
            if self.mine is not None:
                yield from self._run_mine()
            elif self.mail:
                yield from self._receive(self.mail.popleft())
            else:
                yield from self._idle()
        if self.abandoned:
            yield from self._take_over()
        while self.leaving:
            yield PARK

    def _take_over(self) -> Program:
        """Run what is left in the caller."""
        for start, stop in self.policy.left_over():
            yield from self._run(CALLER, Span(start, self.work.length if stop is None else stop))

    def _idle(self) -> Program:
        """Wait until there is mail, or until the policy needs a `Tick`."""
        wait_s = self.policy.wait_s(self.machine.now_s)
        if wait_s is not None:
            self._set_alarm(self.machine.now_s + max(wait_s, LEAST_WAIT_S))
        yield PARK
        if wait_s is not None and not self.mail:
            yield from self._tell(Tick())

    def _set_alarm(self, at_s: float) -> None:
        if self._alarm_s is None or at_s < self._alarm_s:
            self._alarm_s = at_s
            self.machine.later(at_s - self.machine.now_s, self._ring, at_s)

    def _ring(self, at_s: float) -> None:
        if self._alarm_s == at_s:
            self._alarm_s = None
            self.machine.wake(self.caller)

    def _receive(self, event: Event) -> Program:
        if isinstance(event, Ready | Done) and event.worker not in self.workers:
            # The worker was retired or ended while this message was on its way.
            return
        yield "compute", self.overheads.receive_s
        if isinstance(event, Done):
            yield "compute", self.overheads.receive_item_s * (event.ran or 0)
        elif isinstance(event, Ready) and self.ready_s is None:
            self.ready_s = self.machine.now_s
        yield from self._tell(event)

    def _run_mine(self) -> Program:
        span, self.mine = self.mine, None
        assert span is not None
        began_s = self.machine.now_s
        yield from self._run(CALLER, span)
        yield from self._tell(self._done(CALLER, span, self.machine.now_s - began_s))

    def _tell(self, event: Event) -> Program:
        if not self.is_over:
            yield from self._obey(self.policy.handle(event, self.machine.now_s))

    @property
    def is_over(self) -> bool:
        """True if the policy has reached its end."""
        return self.finished or self.abandoned

    def _obey(self, instructions: list[Instruction]) -> Program:
        for instruction in instructions:
            yield from self._carry_out(instruction)

    def _carry_out(self, instruction: Instruction) -> Program:
        match instruction:
            case Start(number):
                yield from self._start(number)
            case Send(number, span):
                yield from self._send(number, span)
            case Retire(number) | Kill(number):
                self._end(number)
            case Finish():
                self.finished = True
            case GiveUp():
                self.mine = None
                self.abandoned = True

    def _start(self, number: int) -> Program:
        yield "compute", self.overheads.start_s
        self.busy_s.setdefault(number, 0.0)
        self.inboxes[number] = deque()
        self.workers[number] = self.machine.run(self._work(number))
        if self.overheads.immediate:
            self.ready_s = self.machine.now_s if self.ready_s is None else self.ready_s
            yield from self._tell(Ready(number))

    def _send(self, number: int, span: Span) -> Program:
        """Send those items of a span that exist."""
        length = self.work.length
        items = max(0, min(span.stop, length) - span.start)
        if number == CALLER:
            self.mine = Span(span.start, span.start + items) if items else None
        elif items:
            yield "compute", self.overheads.send_s + self.overheads.send_item_s * items
            self.machine.later(self.overheads.latency_s, self._deliver, number, Span(span.start, span.start + items))
        if span.stop > length:
            yield from self._tell(SourceEnded(length))

    def _deliver(self, number: int, span: Span) -> None:
        if number in self.workers:
            self.inboxes[number].append(span)
            self.machine.wake(self.workers[number])

    def _end(self, number: int) -> None:
        if (process := self.workers.pop(number, None)) is not None:
            self.machine.stop(process)
            self.leaving += 1
            self.machine.run(self._leave())

    # -- a worker ------------------------------------------------------------------------------------------------

    def _work(self, number: int) -> Program:
        chunk_s, each_s = self.overheads.chunk_s, self.overheads.item_s
        if not self.overheads.immediate:
            yield from self._boot(number)
        inbox = self.inboxes[number]
        while True:
            while not inbox:
                self._starve(number)
                yield PARK
            span = inbox.popleft()
            yield "compute", chunk_s + each_s * len(span)
            began_s = self.machine.now_s
            yield from self._run(number, span)
            self._post(self._done(number, span, self.machine.now_s - began_s))

    def _starve(self, number: int) -> None:
        """Called when a worker becomes idle, for subclasses."""

    def _boot(self, number: int) -> Program:
        yield "compute", self.overheads.boot_cpu_s
        yield "wait", self.overheads.boot_wait_s
        self._post(Ready(number))

    def _leave(self) -> Program:
        yield "compute", self.overheads.leave_cpu_s
        yield "wait", self.overheads.leave_wait_s
        self.leaving -= 1
        if not self.leaving:
            self.machine.wake(self.caller)

    def _run(self, number: int, span: Span) -> Program:
        began_s = self.machine.now_s
        yield from self.work.steps(span.start, span.stop)
        ended_s = self.machine.now_s
        self.chunks.append(Chunk(number, span.start, span.stop, began_s, ended_s))
        self.busy_s[number] = self.busy_s.get(number, 0.0) + ended_s - began_s

    def _done(self, number: int, span: Span, wall_s: float) -> Event:
        return Done(number, wall_s, ran=len(span), cpu_s=self.work.cpu_s(span.start, span.stop))

    def _post(self, event: Event) -> None:
        """Send a message to the caller."""
        self.machine.later(self.overheads.latency_s, self._arrive, event)

    def _arrive(self, event: Event) -> None:
        self.mail.append(event)
        self.machine.wake(self.caller)
