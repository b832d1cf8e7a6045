"""What items took themselves, when other calls in the same process were at work at the same time.

A thread that wants to compute waits for the interpreter's lock while another has it; by the clock that looks as if its
items waited for something of their own, a server say. It cannot have waited for the lock longer than the others
computed, nor longer than their turns: whoever wants the lock has it after one switch interval from each of the others,
and an item that computes for that long loses it again.
"""

from __future__ import annotations

from amorsize.facts import Observation
from amorsize.frozen import replace


def alone(seen: Observation, others: int, switch_s: float, queued_s: float = 0.0) -> Observation:
    """What these items would have taken without the ``others``.

    Parameters
    ----------
    seen : Observation
        What they took.
    others : int
        Threads that may have wanted the lock, too.
    switch_s : float
        The interpreter's switch interval.
    queued_s : float
        Seconds in which the thread was ready to run, yet no core was free.

    Examples
    --------
    An item computes for 5 ms beside three others that do the same, and one sleeps for 20 ms beside nobody who computes:

    >>> computed = alone(Observation(0, 1, wall_s=20e-3, cpu_s=5e-3, process_cpu_s=20e-3), 3, 5e-3)
    >>> slept = alone(Observation(0, 1, wall_s=20e-3, cpu_s=0.1e-3, process_cpu_s=0.4e-3), 3, 5e-3)
    >>> round(computed.wall_s, 4), round(slept.wall_s, 4)
    (0.005, 0.0197)
    """
    waited_s = max(0.0, seen.wall_s - seen.cpu_s)
    by_others_s = max(0.0, seen.process_cpu_s - seen.cpu_s)
    turns_s = others * (switch_s * seen.items + seen.cpu_s)
    lost_s = min(waited_s, min(by_others_s, turns_s) + queued_s)
    if lost_s <= 0.0:
        return seen
    return replace(seen, wall_s=seen.wall_s - lost_s, process_cpu_s=seen.cpu_s)
