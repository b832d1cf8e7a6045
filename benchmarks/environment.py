"""The machine and the versions of a comparison, for its result file. No names of users, hosts or paths."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

import amorsize
from benchmarks.grid import usable_cores

PACKAGES = ("amorsize", "joblib", "mpire", "numpy", "cloudpickle", "psutil", "threadpoolctl")


def machine_facts() -> dict[str, Any]:
    """Return the platform's facts of the machine, and amorsize's own where it has them."""
    facts: dict[str, Any] = {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "cpu": cpu_model(),
        "logical_cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    read_machine = getattr(amorsize, "machine", None)
    if read_machine is None:
        return facts
    # The sources name files of this machine, of no use elsewhere.
    return {**facts, "amorsize": {k: v for k, v in dataclasses.asdict(read_machine()).items() if k != "sources"}}


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit measured, with a plus if files have changed since; None outside of a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def file_stem(date: str) -> str:
    """Return the stem of a result file, such as ``2030-01-31-linux-2c-py3.12``."""
    major, minor, _ = platform.python_version_tuple()
    return f"{date}-{platform.system().lower()}-{usable_cores()}c-py{major}.{minor}"
