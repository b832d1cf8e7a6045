"""A map in virtual time: the very `Schedule` that drives real workers, driven here by a model of workers and cores.

Nothing here reads a clock or draws by chance; what items take is given. So the same call always gives the same run,
and machines that are not here can be studied. Modelled are the cores (`amorsize.schedule.simulation.cores`), and:

- the caller is the one dispatcher. It starts workers one after the other and only then listens to them, as
  `amorsize.backends.processes` does; receiving a chunk's results and sending the next take its time;
- messages have a latency, and a worker takes time for each chunk and item besides the function's own;
- workers boot, items compute and wait. Where an item does both, it waits first.
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

LEAST_WAIT_S: Final = 1e-3  # between two ticks: a policy may want to be asked again at once


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items ``start`` to ``stop`` (exclusive), run by ``worker`` (`CALLER`: the caller) in this stretch of time."""

    worker: int
    start: int
    stop: int
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What happened.

    Attributes
    ----------
    makespan_s : float
        From the first instruction until the last worker has left.
    work_s : float
        What the items take one after the other.
    cpu_s : float
        CPU seconds of all.
    dispatcher_s : float
        Seconds that the caller was busy, with items of its own, too.
    ready_s : float or None
        Until the first worker could take items.
    chunks : tuple of Chunk
        In the order in which they ended.
    busy_s : dict of int to float
        For each worker that was started the seconds at its chunks; the caller's own under `CALLER`.
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
        """Times as fast as one after the other."""
        return self.work_s / self.makespan_s if self.makespan_s > 0 else 1.0

    @property
    def utilisation(self) -> float:
        """Share of all workers' time that they were at chunks."""
        workers = [busy_s for number, busy_s in self.busy_s.items() if number != CALLER]
        there_s = len(workers) * self.makespan_s
        return sum(workers) / there_s if there_s > 0 else 0.0


class Policy(Protocol):
    """What decides: the `Schedule`, or a textbook's way (`amorsize.schedule.simulation.textbook`)."""

    def begin(self, now_s: float = 0.0) -> list[Instruction]:
        """First instructions."""

    def handle(self, event: Event, now_s: float = 0.0) -> list[Instruction]:
        """What to do about an event."""

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until it wants to hear a `Tick`."""

    def left_over(self) -> list[tuple[int, int | None]]:
        """What the caller must run when it was told to `GiveUp` the others."""


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
        What each item takes alone, in seconds.
    workers : int
        Workers to start.
    item_cpu_s : sequence of float, optional
        For how many of them it computes; it waits for the others. Without it, items compute all the time.
    cores : float, optional
        Cores of the machine; None: as many as anybody wants.
    quota : float, optional
        CPU seconds that may be had per second, in periods of 100 ms.
    scaling : Scaling, optional
        What so many busy cores get done together.
    lock_share : float
        Share of computing in which an item holds a lock that it shares with all others (threads).
    overheads : Overheads, optional
        What starting, sending and receiving take; None: nothing.
    policy : Policy, optional
        Who decides, instead of a `Schedule` with ``workers`` and ``options``.
    **options
        As `Schedule` takes them: ``item_s``'s expectation under the name of ``expected_s``, ``fixed``, ``crew``, …

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
    """What items take.

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
        """What whoever runs these items does."""
        if self._only == "compute":
            yield "compute", self._sums[stop] - self._sums[start]
        elif self._only == "wait":
            yield "wait", self._sums[stop] - self._sums[start]
        else:
            for index in range(start, stop):
                yield "wait", self._waits[index]
                yield "compute", self._cpus[index]

    def cpu_s(self, start: int, stop: int) -> float:
        """For how long they compute."""
        return self._cpu_sums[stop] - self._cpu_sums[start]


class Simulator:
    """Carries out in virtual time what a policy says.

    Parameters
    ----------
    policy : Policy
        Who decides.
    work : Work
        What items take.
    machine : Cores
        Where they run.
    overheads : Overheads, optional
        What it takes besides; None: nothing.
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
        """To the end."""
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
        """What the caller does, as in `amorsize.backends.processes.ProcessDriver`."""
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
            for start, stop in self.policy.left_over():
                yield from self._run(CALLER, Span(start, self.work.length if stop is None else stop))
        while self.leaving:
            yield PARK

    def _idle(self) -> Program:
        """Until there is mail, or the policy wants to know that time has passed."""
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
            return  # it was sent away while this was on its way
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
        """Whether the policy has nothing more to say."""
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
        """Send what there is of a span."""
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
        """A worker has nothing to do."""

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
        """A message for the caller."""
        self.machine.later(self.overheads.latency_s, self._arrive, event)

    def _arrive(self, event: Event) -> None:
        self.mail.append(event)
        self.machine.wake(self.caller)
