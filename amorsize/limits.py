"""The limits on time, memory and CPU of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import SupportsFloat, SupportsIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Stop a run in order when it uses more than this: `execute` and `stream` then raise `ResourceLimitError`.

    The limits are checked about four times a second, between items. An item that runs in the caller or in a thread is
    finished first; worker processes are killed at once.

    Attributes
    ----------
    max_memory_percent : float, optional
        Memory in use, in percent of what this process may use: of the tightest control group's limit, or of the
        machine's memory. The memory of other processes counts too, since the kernel's out-of-memory killer counts it.
    max_cpu_percent : float, optional
        CPU time of this process and its workers, in percent of the usable cores, as the mean over the last 3 seconds
        (a shorter burst is allowed).
    max_seconds : float, optional
        Seconds since the call, or since the first result of a stream was requested.

    Raises
    ------
    TypeError, ValueError
        If a value is not a number or out of range: percentages must be above 0 and at most 100, seconds above 0.

    Examples
    --------
    >>> import amorsize
    >>> amorsize.execute(abs, [-1, 2], limits=amorsize.Limits(max_seconds=60))
    [1, 2]
    """

    max_memory_percent: float | None = None
    max_cpu_percent: float | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, most in (("max_memory_percent", 100.0), ("max_cpu_percent", 100.0), ("max_seconds", None)):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool | str) or not isinstance(value, SupportsFloat | SupportsIndex):
                raise TypeError(f"{name}: must be a number or None, not {type(value).__qualname__}")
            try:
                number = float(value)
            except OverflowError:
                number = float("inf")
            if not 0 < number < float("inf") or (most is not None and number > most):
                raise ValueError(f"{name}: must be above 0{f' and at most {most:g}' if most else ''}, not {number:g}")
            object.__setattr__(self, name, number)
