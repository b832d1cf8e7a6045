"""Caps that the user, the interpreter and batch schedulers set: on cores, and on memory.

They only ever lower what the affinity mask, the control groups and the machine allow: schedulers that bind their jobs
(cpusets, memory groups) show there already, and a variable that was left over from elsewhere raises nothing. A value
that makes no sense sets no cap, and causes a warning.

Sources: ``Doc/using/cmdline.rst`` of CPython 3.13 (``PYTHON_CPU_COUNT``, ``-X cpu_count``);
``loky/backend/context.py``; ``sbatch(1)`` of Slurm, "OUTPUT ENVIRONMENT VARIABLES" (memory in MB, 0: all of the
node's); ``qsub(1)`` of Grid Engine; ``pbs_job_attributes(7)``; "Environment variables" of IBM Spectrum LSF;
``getrlimit(2)``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from amorsize.frozen import replace
from amorsize.system.cgroups import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PYTHON: Final = "PYTHON_CPU_COUNT"
CORES: Final = (
    "LOKY_MAX_CPU_COUNT",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE",
    "NSLOTS",
    "PBS_NCPUS",
    "NCPUS",
    "LSB_DJOB_NUMPROC",
)
PER_NODE, PER_CPU = "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU"
CPUS_ON_NODE, CPUS_PER_TASK = "SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK"
MB: Final = 1 << 20
VARIABLES: Final = (PYTHON, *CORES, PER_NODE, PER_CPU)


def signature() -> tuple[str | None, ...]:
    """Return what the caps depend on, and may change while a program runs: 5 µs."""
    return tuple(map(os.environ.get, VARIABLES))


def core_cap(environ: Mapping[str, str], options: Mapping[str, object]) -> Finding[int | None]:
    """Return the least cap on the cores, and the variable that sets it; None: no cap.

    Parameters
    ----------
    environ : mapping
        The environment.
    options : mapping
        Of the interpreter (``sys._xoptions``); its ``cpu_count`` overrules ``PYTHON_CPU_COUNT``.

    Examples
    --------
    >>> core_cap({"NSLOTS": "4", "LOKY_MAX_CPU_COUNT": "2"}, {})
    Finding(value=2, source='LOKY_MAX_CPU_COUNT', warnings=())
    >>> core_cap({"SLURM_CPUS_PER_TASK": "all"}, {}).said()
    "no cap; unknown: SLURM_CPUS_PER_TASK holds 'all'"
    """
    texts = {name: environ[name] for name in CORES if name in environ}
    if "cpu_count" in options:
        texts["-X cpu_count"] = str(options["cpu_count"])
    elif PYTHON in environ:
        texts[PYTHON] = environ[PYTHON]
    if texts.get(PYTHON, texts.get("-X cpu_count")) == "default":
        texts = {name: text for name, text in texts.items() if text != "default"}
    return _least(texts, 1)


def memory_cap(environ: Mapping[str, str], cores: int) -> Finding[int | None]:
    """Return the bytes that Slurm gives this job on its node, and the variable that says so; None: no cap.

    ``cores``: of the affinity mask; memory per CPU is for so many, if Slurm does not tell their number.

    Examples
    --------
    >>> memory_cap({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "4"}, 64).value == 8 << 30
    True
    """
    texts = {PER_NODE: environ[PER_NODE]} if PER_NODE in environ else {}
    found = _least({name: text for name, text in texts.items() if text.strip() != "0"}, MB)
    if environ.get(PER_CPU, "0").strip() == "0":
        return found
    told = (_least({name: environ[name]}, 1).value for name in (CPUS_ON_NODE, CPUS_PER_TASK) if name in environ)
    each = _least({PER_CPU: environ[PER_CPU]}, MB * next((number for number in told if number), cores))
    least = min((one for one in (found, each) if one.value is not None), key=lambda one: one.value or 0, default=found)
    return replace(least, warnings=found.warnings + each.warnings)


def address_space() -> Finding[int | None]:
    """Return the bytes of address space that this process may have (``ulimit -v``); None: no limit."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit

        soft = getrlimit(RLIMIT_AS)[0]
    except (ImportError, OSError, ValueError) as error:
        return Finding(None, "no RLIMIT_AS", () if isinstance(error, ImportError) else (f"RLIMIT_AS: {error}",))
    # Some systems show "no limit" as the largest number there is.
    return (
        Finding(None, "no RLIMIT_AS") if soft == RLIM_INFINITY or not 0 < soft < 1 << 60 else Finding(soft, "RLIMIT_AS")
    )


def used_address_space(read: Callable[[str], str]) -> int:
    """Return the bytes of address space that this process has by now; 0 if unknown."""
    try:
        return int(read("/proc/self/statm").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _least(texts: Mapping[str, str], unit: int) -> Finding[int | None]:
    found: list[tuple[int, str]] = []
    warnings: list[str] = []
    for name, text in texts.items():
        number = text.strip()
        if number.isascii() and number.isdigit() and len(number) <= 18 and int(number):
            found.append((int(number) * unit, name))
        else:
            warnings.append(f"{name} holds {text if len(text) <= 40 else text[:37] + '...'!r}")
    value, source = min(found, default=(None, "no cap"))
    return Finding(value, source, tuple(warnings))


def interpreter_options() -> Mapping[str, object]:
    """Return the interpreter's ``-X`` options."""
    return getattr(sys, "_xoptions", {})
