"""What running a map takes besides its items, as the simulator needs to know it: who pays, and when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheads:
    """What running a map takes besides its items, in seconds.

    Attributes
    ----------
    start_s : float
        In the caller, for each worker that it starts.
    boot_cpu_s, boot_wait_s : float
        In each worker, from its start until it is ready: computing, and waiting for something else.
    immediate : bool
        Whether a worker counts as ready as soon as it was started (threads).
    send_s, receive_s : float
        In the caller, for each chunk out, and for each message back.
    send_item_s, receive_item_s : float
        In the caller, for each item out, and for each result back.
    latency_s : float
        A message on its way, in either direction.
    chunk_s, item_s : float
        In the worker, for each chunk and for each item besides the function's own time.
    leave_cpu_s, leave_wait_s : float
        In each worker when it leaves, computing and not; the caller waits for it in the end.
    once_s : float
        In the caller, before anything else.
    """

    start_s: float = 0.0
    boot_cpu_s: float = 0.0
    boot_wait_s: float = 0.0
    immediate: bool = False
    send_s: float = 0.0
    receive_s: float = 0.0
    send_item_s: float = 0.0
    receive_item_s: float = 0.0
    latency_s: float = 0.0
    chunk_s: float = 0.0
    item_s: float = 0.0
    leave_cpu_s: float = 0.0
    leave_wait_s: float = 0.0
    once_s: float = 0.0
