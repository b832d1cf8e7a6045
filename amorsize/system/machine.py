"""The resources of this machine that this process may use, each with the file or call it comes from.

Every figure has a chain of sources, the best first: on Linux the kernel's files (fast, and without psutil), elsewhere
psutil, and at the end a guess that is marked as one. Nothing here raises: a source that cannot be read or parsed is
noted in ``Machine.sources`` as "unknown", and the next one is tried.

Cores: the affinity mask gives the hardware threads on which this process may run (cpusets and Slurm set it), control
groups the CPU time it gets on them (`amorsize.system.cgroups`), on Windows the job object
(`amorsize.system.job_object`), the kernel's topology which of them share a core. Variables of the user and of batch
schedulers cap them (`amorsize.system.caps`). Memory: the machine's own ``MemAvailable``, or less if the tightest group,
job object, scheduler or ``ulimit -v`` leaves less.

Sources: ``Documentation/filesystems/proc.rst`` (meminfo) and ``Documentation/admin-guide/cputopology.rst`` of Linux.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

from amorsize.facts import Machine
from amorsize.frozen import Frozen, replace
from amorsize.system import caps
from amorsize.system.cgroups import (
    Files,
    Finding,
    Groups,
    Reader,
    cpu_quota,
    is_whole,
    memory,
    own_groups,
    parse_number,
    read_text,
)
from amorsize.system.memory import resident_bytes
from amorsize.system.start_methods import available_start_methods, own_default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    from amorsize.system.job_object import Query

    T = TypeVar("T")

CPUS: Final = "/sys/devices/system/cpu"
MEMINFO: Final = "/proc/meminfo"
# No kernel numbers them higher: a larger number is not a CPU's.
MOST_CPUS: Final = 1 << 16
NAMED: Final = {"win32": "Windows", "android": "Android"}
# The same as `platform.system`, which takes 1.5 ms to load.
SYSTEM: Final = NAMED.get(sys.platform) or os.uname().sysname
# Systems with /proc, /sys and control groups.
KERNELS: Final = ("Linux", "Android")


class MemoryNow(Frozen, kw_only=False):
    """The machine's memory, the tightest hard limit below it, and the memory available, in bytes."""

    total: Finding[int]
    limit: Finding[int | None]
    available: Finding[int]


def machine() -> Machine:
    """Return the resources that this process may use: cores, memory, start methods of workers.

    Returns
    -------
    Machine
        Read anew at each call, since limits, load and memory change. Its ``sources`` name, for each field, the file
        or call it comes from, and sources that could not be read.

    Examples
    --------
    >>> here = machine()
    >>> 0 < here.usable_cores <= here.affinity_cores <= here.logical_cores
    True
    """
    return read_machine(read_text, SYSTEM)


# Reading takes 0.3 ms, and 0.75 with cold caches: too much for each map of some milliseconds.
LASTS_S: Final = 1.0

_latest: list[tuple[float, object, Machine]] = []


def lately() -> Machine:
    """Return the same as `machine`, at most `LASTS_S` old; anew if affinity, caps or process differ. Takes 9 µs."""
    now, who = monotonic(), (os.getpid(), _affinity()[0], caps.signature())
    for at, whose, found in _latest:
        if now - at < LASTS_S and whose == who:
            return found
    found = machine()
    _latest[:] = [(now, who, found)]
    return found


def read_machine(
    read: Reader,
    system: str,
    environ: Mapping[str, str] = os.environ,
    options: Mapping[str, object] | None = None,
    query: Query | None = None,
) -> Machine:
    """Return the machine; all that is asked may be recorded.

    ``system`` is as `platform.system` names it, ``options`` are the interpreter's, ``query`` asks Windows' job object
    (`amorsize.system.job_object.query_job` by default).
    """
    groups = own_groups(read) if system in KERNELS else None
    mask, affinity = _affinity()
    logical = _logical(read, system, affinity.value)
    quota: Finding[float | None] = _no_groups(system) if groups is None else cpu_quota(read, groups)
    if system == "Windows":
        from amorsize.system.job_object import job_quota, query_job

        query = query or query_job
        quota = job_quota(query, logical.value)
    cap = caps.core_cap(environ, caps.interpreter_options() if options is None else options)
    methods, default = _start_methods()
    slurm = caps.memory_cap(environ, affinity.value)
    now = _capped(memory_now(read, system, groups), slurm, read, system, query)
    found: dict[str, Finding[Any]] = {}

    def noted(name: str, finding: Finding[T]) -> T:
        found[name] = finding
        return finding.value

    return Machine(
        system=noted("system", Finding(system, "sys.platform" if sys.platform in NAMED else "os.uname()")),
        logical_cores=noted("logical_cores", logical),
        physical_cores=noted("physical_cores", _physical(read, system, mask, affinity.value)),
        affinity_cores=noted("affinity_cores", affinity),
        quota_cores=noted("quota_cores", quota),
        usable_cores=noted("usable_cores", _usable(affinity.value, quota.value, cap)),
        memory_total_bytes=noted("memory_total_bytes", now.total),
        memory_limit_bytes=noted("memory_limit_bytes", now.limit),
        memory_available_bytes=noted("memory_available_bytes", now.available),
        load=noted("load", _load()),
        start_methods=noted("start_methods", methods),
        default_start_method=noted("default_start_method", default),
        python=noted("python", _python()),
        gil_enabled=noted("gil_enabled", _gil()),
        sources={name: finding.said() for name, finding in found.items()},
    )


def _no_groups(system: str) -> Finding[T | None]:
    return Finding(None, f"{system} has no control groups")


def _first(tries: Iterable[tuple[str, Callable[[], T | None]]], guess: T, warnings: Sequence[str] = ()) -> Finding[T]:
    """Return the first value found, with warnings of sources that failed; else the guess, marked as one."""
    failed = list(warnings)
    for name, ask in tries:
        try:
            value = ask()
        except Exception as error:  # noqa: BLE001  (of the many ways in which a system can fail to tell, none is ours)
            failed.append(f"{name}: {error or type(error).__name__}")
            continue
        if value is not None:
            return Finding(value, name, tuple(failed))
    return Finding(guess, "a guess: no source knows" if guess else "no source knows", tuple(failed))


# ------------------------------------------------------------------------------------------------------------ cores


def _affinity() -> tuple[frozenset[int], Finding[int]]:
    """Return the mask (empty if the system has none) and its size."""
    masks = _first([("os.sched_getaffinity(0)", lambda: frozenset(os.sched_getaffinity(0)))], frozenset[int]())
    if masks.value:
        return masks.value, Finding(len(masks.value), masks.source)
    count: Callable[[], int | None] = getattr(os, "process_cpu_count", os.cpu_count)
    return frozenset(), _first([(f"os.{count.__name__}()", count)], 1)


def _logical(read: Reader, system: str, affinity: int) -> Finding[int]:
    """Return the number of hardware threads: at least those of the mask, since lxcfs may show a container fewer."""
    files, online = Files(read), f"{CPUS}/online"
    listed = files.get(online, parse_cpus) if system in KERNELS else None
    if listed:
        return Finding(max(len(listed), affinity), online)
    found = _first([("os.cpu_count()", os.cpu_count)], affinity, files.warnings)
    return replace(found, value=max(found.value, affinity))


def _usable(affinity: int, quota: float | None, cap: Finding[int | None]) -> Finding[float]:
    bounds = [(float(affinity), "affinity_cores")]
    bounds += [(quota, "quota_cores")] if quota is not None else []
    bounds += [(float(cap.value), cap.source)] if cap.value is not None else []
    # Of equal ones the first: a cap is named only where affinity shows more.
    value, source = min(bounds, key=lambda bound: bound[0])
    return Finding(value, source, cap.warnings)


def _physical(read: Reader, system: str, mask: frozenset[int], affinity: int) -> Finding[int]:
    """Return the cores of the mask, by the kernel's topology, ``lscpu`` or psutil; else as if none were shared."""
    files = Files(read)
    if system in KERNELS and mask:
        cores = _count_cores(files, mask)
        if cores is not None:
            return Finding(cores, f"{CPUS}/cpu*/topology")
        files.warnings.append(f"{CPUS}/cpu*/topology is not complete")
    tries: list[tuple[str, Callable[[], int | None]]] = [("psutil.cpu_count(logical=False)", _psutil_cores)]
    if system in KERNELS and mask:
        tries.insert(0, ("lscpu", lambda: parse_lscpu(_lscpu(), mask)))
    found = _first(tries, affinity, files.warnings)
    return replace(found, value=max(1, min(found.value, affinity)))


def _count_cores(files: Files, cpus: frozenset[int]) -> int | None:
    """Count the sets of hardware threads that share a core; None if the topology of one is unknown."""
    cores, seen = 0, set[object]()
    for cpu in sorted(cpus):
        if cpu in seen:
            continue
        core = _siblings(files, cpu) or _core_id(files, cpu)
        if core is None:
            return None
        cores += core.isdisjoint(seen)
        seen |= core
    return cores


def _siblings(files: Files, cpu: int) -> frozenset[object] | None:
    """Return the hardware threads of one core (``thread_siblings_list`` is the name before Linux 5.3)."""
    for name in ("core_cpus_list", "thread_siblings_list"):
        siblings = files.get(f"{CPUS}/cpu{cpu}/topology/{name}", parse_cpus)
        if siblings and cpu in siblings:
            return frozenset(siblings)
    return None


def _core_id(files: Files, cpu: int) -> frozenset[object] | None:
    """Return a core's name, unique on this machine: its id is unique only in its package, -1 is no id."""
    names = ("physical_package_id", "core_id")
    package, core = (files.get(f"{CPUS}/cpu{cpu}/topology/{name}", parse_number) for name in names)
    return None if package is None or core is None or core < 0 else frozenset({(package, core)})


def parse_cpus(text: str) -> set[int]:
    """Parse the kernel's list of CPUs.

    Examples
    --------
    >>> sorted(parse_cpus("0-2,8"))
    [0, 1, 2, 8]
    """
    cpus = set[int]()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        low, high = parse_number(first), parse_number(last or first)
        if not 0 <= low <= high < MOST_CPUS:
            raise ValueError(text)
        cpus.update(range(low, high + 1))
    return cpus


def parse_lscpu(text: str, cpus: frozenset[int]) -> int:
    r"""Count the cores of these CPUs in the output of ``lscpu -p=CPU,CORE,SOCKET``.

    Examples
    --------
    >>> parse_lscpu("# CPU,Core,Socket\n0,0,0\n1,0,0\n2,1,0\n", frozenset({0, 1, 2}))
    2
    """
    import re

    rows = re.findall(r"^([0-9]{1,9}),([0-9]{1,9}),([0-9]*)$", text, re.MULTILINE)
    cores = {int(cpu): (core, socket) for cpu, core, socket in rows}
    if not cpus <= cores.keys():
        raise ValueError("it does not list every CPU")
    return len({cores[cpu] for cpu in cpus})


def _lscpu() -> str:
    import subprocess

    command = ["lscpu", "-p=CPU,CORE,SOCKET"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def _psutil_cores() -> int | None:
    import psutil

    return psutil.cpu_count(logical=False)


def _load() -> Finding[float | None]:
    """Return the load average; none on Windows, where psutil would start a thread that samples."""
    if not hasattr(os, "getloadavg"):
        return Finding(None, f"{SYSTEM} has no load average")
    return _first([("os.getloadavg()", lambda: os.getloadavg()[0])], None)


# ----------------------------------------------------------------------------------------------------------- memory


def memory_now(read: Reader = read_text, system: str = SYSTEM, groups: Groups | None = None) -> MemoryNow:
    """Return memory alone, for frequent calls: keep ``groups`` (`amorsize.system.cgroups.own_groups`) between them."""
    total, free = _machine_memory(read, system)
    if system not in KERNELS:
        return MemoryNow(total, _no_groups(system), free)
    of_groups = memory(read, own_groups(read) if groups is None else groups)
    limit, left = of_groups.limit, of_groups.available
    if limit.value is not None and 0 < total.value <= limit.value:
        limit = replace(limit, value=None, source=f"{limit.source} is no less than the machine's memory")
    if left.value is not None and (left.value < free.value or not total.value):
        free = Finding(left.value, left.source, free.warnings)
    return MemoryNow(total, limit, replace(free, warnings=free.warnings + left.warnings))


def _capped(now: MemoryNow, slurm: Finding[int | None], read: Reader, system: str, query: Query | None) -> MemoryNow:
    """Return the memory, capped by the batch scheduler, ``ulimit -v`` and Windows' job object."""
    space = caps.address_space()
    found = [(slurm, resident_bytes() if slurm.value is not None else 0)]
    found.append((space, caps.used_address_space(read) if space.value is not None else 0))
    if system == "Windows":
        from amorsize.system.job_object import job_memory, query_job

        found.append(job_memory(query or query_job))
    for cap, used in found:
        limit, available = now.limit, now.available
        if cap.value is not None and not 0 < now.total.value <= cap.value:
            left = max(0, cap.value - used)
            if limit.value is None or cap.value < limit.value:
                limit = Finding[int | None](cap.value, cap.source, limit.warnings)
            if left < available.value or not now.total.value:
                available = Finding(left, f"{cap.source} less what is used", available.warnings)
        now = MemoryNow(now.total, replace(limit, warnings=limit.warnings + cap.warnings), available)
    return now


def _machine_memory(read: Reader, system: str) -> tuple[Finding[int], Finding[int]]:
    """Return total and available memory, without control groups."""
    files = Files(read)
    table = files.get(MEMINFO, parse_meminfo, needed=True) if system in KERNELS else None
    if table is None:
        return (
            _first([("psutil.virtual_memory().total", lambda: _psutil_memory()[0])], 0, files.warnings),
            _first([("psutil.virtual_memory().available", lambda: _psutil_memory()[1])], 0, files.warnings),
        )
    total, available = table
    return Finding(total, f"{MEMINFO} MemTotal"), Finding(min(available, total), f"{MEMINFO} MemAvailable")


def parse_meminfo(text: str) -> tuple[int, int]:
    r"""Return total and available bytes; the latter before Linux 3.14 as the sum of free memory and caches.

    Examples
    --------
    >>> parse_meminfo("MemTotal:  16 kB\nMemFree: 1 kB\nMemAvailable:  8 kB\n")
    (16384, 8192)
    """
    lines = (line.split() for line in text.split("\n"))
    kib = {line[0].removesuffix(":"): line[1] for line in lines if line[2:] == ["kB"]}
    table = {name: int(number) * 1024 for name, number in kib.items() if is_whole(number)}
    if not table.get("MemTotal"):
        raise ValueError(text)
    rough = sum(table.get(name, 0) for name in ("MemFree", "Buffers", "Cached")) - table.get("Shmem", 0)
    return table["MemTotal"], table.get("MemAvailable", max(0, rough))


def _psutil_memory() -> tuple[int, int]:
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available


# ------------------------------------------------------------------------------------------------------ interpreter


def _start_methods() -> tuple[Finding[tuple[str, ...]], Finding[str]]:
    """Return the start methods and the default one.

    ``multiprocessing.get_start_method()`` fixes an unset default for good, so that the program's own
    ``set_start_method`` would fail later; hence ``allow_none``, and the first of all methods, which is documented to be
    the default. While multiprocessing, which takes 8 ms, is not loaded, they are as the platform has it.
    """
    if "multiprocessing" not in sys.modules:
        known = "the interpreter's own, since multiprocessing is not loaded"
        return Finding(available_start_methods(), known), Finding(own_default(), known)
    import multiprocessing

    every, unknown = "multiprocessing.get_all_start_methods()", tuple[str, ...]()
    here = available_start_methods()
    named = lambda: tuple(name for name in multiprocessing.get_all_start_methods() if name in here)  # noqa: E731
    methods = _first([(every, named)], unknown)
    tries: list[tuple[str, Callable[[], str | None]]] = [
        ("multiprocessing.get_start_method()", lambda: multiprocessing.get_start_method(allow_none=True)),
        (f"{every}[0]", lambda: methods.value[0]),
    ]
    return methods, _first(tries, "spawn")


def _python() -> Finding[str]:
    name = sys.implementation.name
    known = {"cpython": "CPython", "pypy": "PyPy"}
    return Finding(f"{known.get(name, name)} {sys.version.split()[0]}", "sys.implementation, sys.version")


def _gil() -> Finding[bool]:
    """Return True if the interpreter has its lock; Python before 3.13 always has."""
    if not hasattr(sys, "_is_gil_enabled"):
        return Finding(True, "Python before 3.13 always has it")
    return Finding(bool(sys._is_gil_enabled()), "sys._is_gil_enabled()")


_names: dict[str, str] = {}


def processor() -> str:
    """Return the processor's model, read once."""
    if "processor" not in _names:
        _names["processor"] = _processor_in("/proc/cpuinfo")
    return _names["processor"]


def _processor_in(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file.read(4096).splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    # 1.5 ms.
    import platform

    return platform.processor() or platform.machine()
