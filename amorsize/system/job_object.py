"""Windows: the limits of the job object that this process belongs to (containers, batch schedulers, CI).

Reading and parsing are separate: functions take ``query``, from the number of an information class and a size to the
bytes that the system answers, so that a recorded answer can be given.

Sources: "QueryInformationJobObject", "JOBOBJECT_CPU_RATE_CONTROL_INFORMATION" and
"JOBOBJECT_EXTENDED_LIMIT_INFORMATION" of Microsoft's winnt.h; .NET reads the same (``gcenv.windows.cpp``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from amorsize.system.cgroups import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

Query = Callable[[int, int], bytes]

CPU_RATE: Final = 15
EXTENDED_LIMITS: Final = 9
CPU_RATE_BYTES: Final = 8
# On 64 bits, where SIZE_T and ULONG_PTR have 8 bytes.
EXTENDED_BYTES: Final = 144
ENABLED, HARD_CAP, MIN_MAX = 0x1, 0x4, 0x10
PROCESS_MEMORY, JOB_MEMORY = 0x100, 0x200
# A rate of 10,000 is all the CPU time of the machine.
WHOLE: Final = 10_000


def query_job(kind: int, size: int) -> bytes:
    """Ask the system about this process's own job.

    Raises
    ------
    OSError
        If the process belongs to no job, or this is not Windows.
    """
    import ctypes

    library = getattr(ctypes, "WinDLL", None)
    if library is None:
        raise OSError("this is not Windows")
    answer = ctypes.create_string_buffer(size)
    ask = library("kernel32").QueryInformationJobObject
    ask.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p)
    if not ask(None, kind, answer, size, None):
        raise OSError("the process belongs to no job, or may not ask")
    return bytes(answer.raw)


def job_quota(query: Query, logical_cores: int) -> Finding[float | None]:
    """Return the cores' worth of CPU time that the job may use, as a hard cap; None: no cap.

    Examples
    --------
    A hard cap of a quarter of eight cores:

    >>> job_quota(lambda kind, size: struct.pack("<II", ENABLED | HARD_CAP, 2500), 8).value
    2.0
    """
    source = "the job object's CPU rate"
    try:
        flags, rate = struct.unpack("<II", query(CPU_RATE, CPU_RATE_BYTES))
    except (OSError, struct.error) as error:
        return Finding(
            None, "no job object has a CPU rate", () if isinstance(error, OSError) else (f"{source}: {error}",)
        )
    if flags & ENABLED and flags & MIN_MAX:
        rate >>= 16
    elif not (flags & ENABLED and flags & HARD_CAP):
        return Finding(None, "the job object caps no CPU time")
    if not 0 < rate <= WHOLE:
        return Finding(None, "no job object has a CPU rate", (f"{source} is {rate}",))
    return Finding(rate / WHOLE * logical_cores, source)


def job_memory(query: Query) -> tuple[Finding[int | None], int]:
    """Return the bytes that the job, or each of its processes, may commit (None: no limit).

    And the most bytes that the job has committed so far: as much may be in use.
    """
    if struct.calcsize("P") != 8:
        return Finding(None, "job objects are read on 64 bits only"), 0
    try:
        answer = query(EXTENDED_LIMITS, EXTENDED_BYTES)
        (flags,) = struct.unpack_from("<I", answer, 16)
        of_process, of_job, _, peak = struct.unpack_from("<QQQQ", answer, 112)
    except (OSError, struct.error) as error:
        said = () if isinstance(error, OSError) else (f"the job object's limits: {error}",)
        return Finding(None, "no job object limits memory", said), 0
    limits = [(of_job, "the job object's JobMemoryLimit")] if flags & JOB_MEMORY else []
    limits += [(of_process, "the job object's ProcessMemoryLimit")] if flags & PROCESS_MEMORY else []
    limits = [one for one in limits if one[0] > 0]
    return (Finding(*min(limits)), peak) if limits else (Finding(None, "no job object limits memory"), 0)
