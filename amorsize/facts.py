"""Frozen records that pass between the stages: what was measured, and what the model made of it.

Units stand in the field names: ``_s`` seconds, ``_bytes`` bytes, ``_cores`` cores (a fraction counts: a quota of
1.5 is 1.5). Records hold plain numbers and strings only, so that they can be printed, stored as JSON, and written
down by hand for a machine that is not at hand.
"""

from __future__ import annotations

from amorsize.frozen import Frozen, field
from amorsize.loop_facts import MARGIN as MARGIN
from amorsize.loop_facts import RATE_WEIGHT as RATE_WEIGHT
from amorsize.loop_facts import WAITS as WAITS
from amorsize.loop_facts import Failure as Failure
from amorsize.loop_facts import ItemRecord as ItemRecord
from amorsize.loop_facts import Observation as Observation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    Backend = Literal["serial", "threads", "processes", "executor", "async"]
    StartMethod = Literal["fork", "forkserver", "spawn"]
else:
    Backend = StartMethod = str


class Machine(Frozen):
    """Resources of this machine that this process may use, read at one moment.

    Attributes
    ----------
    system : str
        ``platform.system()``: ``"Linux"``, ``"Darwin"``, ``"Windows"``.
    logical_cores : int
        Hardware threads that the operating system shows.
    physical_cores : int
        Cores behind the hardware threads that this process may use (two hyper-threads of one core count once).
    affinity_cores : int
        Hardware threads in this process's affinity mask (cpusets and Slurm show here).
    quota_cores : float or None
        CPU quota in cores: the tightest over the process's own cgroup and all its ancestors. None: no quota.
    usable_cores : float
        The least of affinity, quota and the caps of user and batch scheduler: how many cores' worth of CPU time this
        process can get.
    memory_total_bytes : int
        The machine's own memory.
    memory_limit_bytes : int or None
        The tightest hard limit (cgroup ``memory.max``, batch scheduler, ``ulimit -v``, Windows' job object) below the
        machine's own memory. None: no limit.
    memory_available_bytes : int
        What may still be used under every ancestor's limit; cache that can be reclaimed does not count as used.
    load : float or None
        Load average over the last minute, where the system tells one.
    start_methods : tuple of str
        How worker processes can be started here.
    default_start_method : str
        The interpreter's own default.
    python : str
        Implementation and version, such as ``"CPython 3.12.1"``.
    gil_enabled : bool
        False only in a free-threaded interpreter that runs without its global lock.
    sources : Mapping[str, str]
        For each field the file or call that said so; also what could not be read, as a warning.
    """

    system: str
    logical_cores: int
    physical_cores: int
    affinity_cores: int
    quota_cores: float | None
    usable_cores: float
    memory_total_bytes: int
    memory_limit_bytes: int | None
    memory_available_bytes: int
    load: float | None
    start_methods: tuple[str, ...]
    default_start_method: str
    python: str
    gil_enabled: bool
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def most_processes(self) -> int:
        """The most worker processes: 61 on Windows, where a program waits for 64 handles and three are taken."""
        return 61 if self.system == "Windows" else 1 << 16

    def __str__(self) -> str:
        return self._drawn("text")

    def _repr_html_(self) -> str:
        return self._drawn("html")

    def _drawn(self, how: str) -> str:
        # By its name: records know no module above them.
        from importlib import import_module

        drawn: str = getattr(import_module("amorsize.system.machine_text"), how)(self)
        return drawn


class StartCost(Frozen):
    r"""Cost of the start and end of ``p`` workers on ``C`` cores, from a caller of ``m`` bytes.

    .. math::

        start(p) = load + base + p (per\_worker + m \cdot per\_caller\_byte) + (boot + imports) \frac{p}{\min(p, C)}

    The caller starts one worker after the other; the workers boot and import at the same time, as far as there are
    cores for it.

    Attributes
    ----------
    base_s, per_worker_s : float
        Seconds of the caller from the decision until the workers take items, plus its wait for their end.
    per_caller_byte_s : float
        Seconds per worker and per byte of the caller's resident memory (fork copies its page tables).
    settle_s : float
        Seconds until started processes compute at the same time. Counts if a worker gets more than one chunk.
    spread : float
        Relative uncertainty of the sum: half the interquartile range over the median; 0.1 is ±10 %.
    load_s : float
        Seconds for modules that the caller has yet to load before it can start any worker.
    boot_s : float
        CPU seconds of each worker until it could take items.
    import_s : float
        CPU seconds for which each worker imports the program's main module and what that imports.
    """

    base_s: float
    per_worker_s: float
    per_caller_byte_s: float = 0.0
    spread: float = 0.25
    settle_s: float = 0.0
    load_s: float = 0.0
    boot_s: float = 0.0
    import_s: float = 0.0

    def total_s(self, workers: int, caller_rss_bytes: int = 0, cores: float | None = None) -> float:
        """Seconds to start and leave ``workers`` workers; ``cores``: usable ones (None: one for each worker).

        Examples
        --------
        >>> StartCost(base_s=0.25, per_worker_s=0.25, boot_s=1.0).total_s(4, cores=2)
        3.25
        """
        serial_s = workers * (self.per_worker_s + self.per_caller_byte_s * caller_rss_bytes)
        in_turns = max(1.0, workers / cores) if cores else 1.0
        return self.load_s + self.base_s + serial_s + (self.boot_s + self.import_s) * in_turns


class ChannelCost(Frozen):
    """Cost of handing work over, besides pickling (which the sample measures on the user's own items).

    Attributes
    ----------
    per_chunk_s : float
        CPU seconds that the caller (the one dispatcher) spends for each chunk.
    send_s_per_byte, recv_s_per_byte : float
        CPU seconds that the caller spends for each byte of items out, and of results back.
    worker_s_per_byte : float
        CPU seconds that a worker spends for each byte in or out.
    latency_s : float
        Seconds from the end of one chunk until the same worker begins its next one, if no chunk waits in its pipe.
    spread : float
        Relative uncertainty of ``per_chunk_s``.
    inherits : bool
        True if workers hold the items already (fork, threads), so that none is pickled on its way out.
    """

    per_chunk_s: float
    send_s_per_byte: float = 0.0
    recv_s_per_byte: float = 0.0
    worker_s_per_byte: float = 0.0
    latency_s: float = 0.0
    spread: float = 0.25
    inherits: bool = False


class BackendCost(Frozen):
    """Costs of one way to run a map: an engine and, for processes, how its workers start.

    Attributes
    ----------
    engine : str
        ``"pool"`` (``multiprocessing.Pool``), ``"team"`` (amorsize's own workers), ``"threadpool"``
        (``multiprocessing.pool.ThreadPool``) or ``"threads"`` (amorsize's own).
    start_method : str or None
        None for threads.
    measured : bool
        False: recorded bounds from another machine, not a measurement on this one.
    measured_at_s : float
        Seconds since the epoch; 0 when not measured.
    warnings : tuple of str
        What made the measurement doubtful.
    """

    engine: str
    start_method: str | None
    start: StartCost
    channel: ChannelCost
    measured: bool = False
    measured_at_s: float = 0.0
    warnings: tuple[str, ...] = ()


class Scaling(Frozen):
    """Throughput of ``p`` busy processes here, relative to one (hyper-threads, turbo, busy neighbours).

    Attributes
    ----------
    points : tuple of (int, float)
        ``(p, throughput)``, rising in ``p``, starting with ``(1, 1.0)``; between points one interpolates.
    """

    points: tuple[tuple[int, float], ...] = ((1, 1.0),)

    def throughput(self, busy: float) -> float:
        """Cores' worth of computing that ``busy`` processes get; linear beyond the last point measured.

        Examples
        --------
        >>> round(Scaling(points=((1, 1.0), (4, 3.4))).throughput(2), 3)
        1.8
        >>> Scaling().throughput(8)
        8.0
        """
        (p0, y0) = self.points[0]
        if len(self.points) == 1:
            return float(busy)
        for p1, y1 in self.points[1:]:
            if busy <= p1:
                break
            p0, y0 = p1, y1
        else:
            (p0, y0), (p1, y1) = self.points[-2:]
        return y0 + (y1 - y0) * (busy - p0) / (p1 - p0)


class Costs(Frozen):
    """All that the model needs to know about the backends it may choose from.

    Attributes
    ----------
    threads, processes : BackendCost or None
        None: not to be had here, or not asked for.
    scaling : Scaling
        The machine's scaling curve.
    """

    threads: BackendCost | None = None
    processes: BackendCost | None = None
    scaling: Scaling = Scaling()


# guess
OWN_THREADS: float = 1.2
"""Process CPU time over wall time, above which a function runs threads of its own."""


class Sample(Frozen):
    """Measurements of the user's function on a few real items. Means are per item.

    Attributes
    ----------
    n_sampled : int
        Items that were run.
    item_s, item_std_s, item_max_s : float
        Wall seconds: mean (without the first call's excess), standard deviation between items, longest seen.
    item_cpu_s : float
        CPU seconds of the calling thread.
    last_s : float
        Wall seconds near the end of the data, where positions are spread (costs may rise along the data).
    first_call_s : float
        What the first call took beyond the others (a model load, a cold cache).
    error_s : float
        Standard error of ``item_s``.
    arg_bytes, result_bytes : float
        Pickled sizes.
    arg_pickle_s, arg_unpickle_s, result_pickle_s, result_unpickle_s : float
        Seconds for one item and one result.
    touched_bytes : float
        Pickled size of an item that is made of many objects. A forked worker that counts references to them must copy
        the memory that they lie in. A text counts for the page that it begins in, 600 at most.
    worker_s : float or None
        Wall seconds of an item in a worker process, where earlier runs have shown it; None: as in the caller.
    gil_held : float or None
        Share of an item's time in which it holds the interpreter's lock; None: not measured.
    own_threads : float
        CPU seconds of the whole process per wall second while items ran: above 1.2 the function runs threads itself.
    rss_growth_bytes : float
        Growth of resident memory per item while sampling.
    kept_s : float
        Seconds per item that keeping all results takes beyond what the sample saw: memory touched for the first time.
    longest_s : float
        Wall seconds of the longest item that sampling ran by itself; 0: not noted.
    func_bytes, func_pickle_s, func_unpickle_s : float
        Pickled size of the function with all that it holds, and seconds for it; 0 where it need not be sent.
    transfer_error : str or None
        Why the function, an item or a result cannot be pickled; None when it can (or it need not be).
    """

    n_sampled: int
    item_s: float
    item_std_s: float = 0.0
    item_max_s: float = 0.0
    item_cpu_s: float = 0.0
    last_s: float = 0.0
    first_call_s: float = 0.0
    error_s: float = 0.0
    arg_bytes: float = 0.0
    result_bytes: float = 0.0
    arg_pickle_s: float = 0.0
    arg_unpickle_s: float = 0.0
    result_pickle_s: float = 0.0
    result_unpickle_s: float = 0.0
    touched_bytes: float = 0.0
    worker_s: float | None = None
    gil_held: float | None = None
    own_threads: float = 0.0
    rss_growth_bytes: float = 0.0
    kept_s: float = 0.0
    longest_s: float = 0.0
    func_bytes: float = 0.0
    func_pickle_s: float = 0.0
    func_unpickle_s: float = 0.0
    transfer_error: str | None = None

    @property
    def waits(self) -> float:
        """Share of an item's time in which it waits instead of computing (0: computes all the time)."""
        return 0.0 if self.item_s <= 0 else min(1.0, max(0.0, 1.0 - self.item_cpu_s / self.item_s))


def on_a_core_s(item_s: float, workers: float, cores: float) -> float:
    """Return what an item takes on a core of its own: ``item_s`` was seen where the workers that compute shared cores.

    Examples
    --------
    >>> on_a_core_s(3.0, 3, 2.0), on_a_core_s(3.0, 2, 2.0)
    (2.0, 3.0)
    """
    return item_s * min(1.0, cores / max(workers, 1.0))


class Breakdown(Frozen):
    """The parts of the forecast seconds, which add up to the forecast.

    Attributes
    ----------
    start_s : float
        Starting and leaving workers.
    compute_s : float
        The user's function, spread over the workers.
    transfer_s : float
        Pickling and moving items and results, as far as it is not hidden behind computing.
    dispatch_s : float
        Handing out chunks, as far as it is not hidden behind computing.
    tail_s : float
        Waiting for the last worker while the others are done.
    """

    start_s: float = 0.0
    compute_s: float = 0.0
    transfer_s: float = 0.0
    dispatch_s: float = 0.0
    tail_s: float = 0.0


class Forecast(Frozen):
    """Forecast of the model for one candidate.

    Attributes
    ----------
    backend, workers, chunksize, start_method
        The candidate. ``workers`` and ``chunksize`` belong to ``backend``; ``start_method`` is None unless processes.
    total_s : float
        Expected seconds, start to end.
    low_s, high_s : float
        An interval meant to hold the clock in 80 % of runs.
    breakdown : Breakdown
        Where the seconds go.
    refused : str or None
        Why this candidate must not run (memory, pickling); None: it may.
    """

    backend: Backend
    workers: int
    chunksize: int
    start_method: str | None
    total_s: float
    low_s: float
    high_s: float
    breakdown: Breakdown
    refused: str | None = None


class Trial(Frozen):
    """Measured time of one candidate on a slice of the data (`amorsize.tune`).

    Attributes
    ----------
    backend, workers, chunksize
        The candidate. Where the slice was so short that chunks had to be cut, ``chunksize`` is that of all the data.
    items : int
        Length of the slice.
    seconds : float
        By the clock, start to end.
    forecast_s : float
        What the model had expected of this slice.
    total_s : float
        Seconds for all items: ``seconds`` times the forecast for all items, divided by the forecast for the slice.
    rung : int
        Number of the round, from 0.
    """

    backend: Backend
    workers: int
    chunksize: int
    items: int
    seconds: float
    forecast_s: float
    total_s: float
    rung: int


class Ran(Frozen):
    """Measured times and counts of a parallel run.

    Attributes
    ----------
    wall_s : float
        From the first instruction until every result was here.
    ready_s : float or None
        Until the first worker could take items.
    work_s, work_cpu_s : float
        Seconds that workers spent in the user's function, added up: by the clock, and of CPU.
    items, chunks : int
        What was handed out.
    lost : int
        Workers that died.
    slowest, hungriest : tuple of ItemRecord
        The items of the whole run that took longest, and that raised their process's memory the most.
    """

    wall_s: float = 0.0
    ready_s: float | None = None
    work_s: float = 0.0
    work_cpu_s: float = 0.0
    items: int = 0
    chunks: int = 0
    lost: int = 0
    slowest: tuple[ItemRecord, ...] = ()
    hungriest: tuple[ItemRecord, ...] = ()


class Attempt(Frozen):
    """A backend that a run has tried and left again.

    Attributes
    ----------
    backend, workers, start_method
        As in `Forecast`.
    items : int
        Items that it ran; their results were kept.
    wall_s : float
        Seconds from its start until it was left.
    cost_s : float
        Seconds that the attempt took beyond what the loop takes for these items; 0 if it took no more.
    ready_s : float or None
        Seconds until the first worker could take items; None if none could.
    why : str
        Why it was left.
    """

    backend: Backend
    workers: int
    start_method: str | None
    items: int
    wall_s: float
    cost_s: float
    ready_s: float | None = None
    why: str = ""
