"""The time that running a map takes besides its items, as the simulator needs it: in which process, and when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheads:
    """The time that running a map takes besides its items, in seconds.

    Attributes
    ----------
    start_s : float
        In the caller, for each worker that it starts.
    boot_cpu_s, boot_wait_s : float
        In each worker, from its start until it is ready: computing, and waiting.
    immediate : bool
        True if a worker is ready as soon as it was started (threads).
    send_s, receive_s : float
        In the caller, for each chunk sent, and for each message received.
    send_item_s, receive_item_s : float
        In the caller, for each item sent, and for each result received.
    latency_s : float
        Between sending and arrival of a message, in either direction.
    chunk_s, item_s : float
        In the worker, for each chunk and for each item, besides the function's own time.
    leave_cpu_s, leave_wait_s : float
        In each worker when it leaves: computing, and waiting. The caller waits for it at the end.
    once_s : float
        In the caller, before the first instruction.
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
