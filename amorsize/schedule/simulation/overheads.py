"""What running a map takes besides its items, as the simulator needs to know it: who pays, and when."""

from __future__ import annotations

from dataclasses import dataclass

from amorsize.facts import BackendCost, Sample


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


def overheads_of(cost: BackendCost, sample: Sample | None = None) -> Overheads:
    """The overheads that a backend's costs stand for, with what a sample says of carrying items and results.

    What starts cost is taken for the caller's own time, but for the constant.

    Examples
    --------
    >>> from amorsize.model.default_costs import recorded
    >>> overheads_of(recorded("team", "fork")).start_s
    0.0016
    """
    channel, threads = cost.channel, cost.start_method is None
    carried: dict[str, float] = {}
    if sample is not None and not threads:
        arg = 0.0 if channel.inherits else 1.0
        moved = arg * sample.arg_bytes + sample.result_bytes
        carried = {
            "send_item_s": arg * (sample.arg_pickle_s + sample.arg_bytes * channel.send_s_per_byte),
            "receive_item_s": sample.result_unpickle_s + sample.result_bytes * channel.recv_s_per_byte,
            "item_s": arg * sample.arg_unpickle_s + sample.result_pickle_s + moved * channel.worker_s_per_byte,
        }
    return Overheads(
        start_s=cost.start.per_worker_s,
        boot_wait_s=0.0 if threads else cost.start.base_s,
        once_s=cost.start.base_s if threads else 0.0,
        immediate=threads,
        send_s=channel.per_chunk_s / 2,
        receive_s=channel.per_chunk_s / 2,
        latency_s=0.0 if threads else max(0.0, channel.latency_s - channel.per_chunk_s) / 2,
        **carried,
    )
