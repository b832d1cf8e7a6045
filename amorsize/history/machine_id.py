"""What of a machine goes into history: the features that tell how fast it is, and a digest that names it.

Two machines with one digest are alike enough for what one has measured to hold for the other. Nothing in it names a
host or a user.
"""

from __future__ import annotations

from collections.abc import Mapping

from amorsize.system import nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.facts import Machine

TELLING: Final = (
    "system",
    "processor",
    "logical_cores",
    "physical_cores",
    "affinity_cores",
    "quota_cores",
    "usable_cores",
    "python",
    "gil_enabled",
)
"""What the digest covers: where one of these differs, seconds measured there are not seconds here."""

KEPT: Final = (*TELLING, "memory_total_bytes", "memory_limit_bytes", "start_methods", "default_start_method")


def features(machine: Machine | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What is kept of a machine: no load or memory of the moment, no paths.

    Examples
    --------
    >>> features({"system": "Linux", "usable_cores": 2.0, "load": 0.4})
    {'system': 'Linux', 'usable_cores': 2.0}
    """
    if machine is None:
        return None
    if isinstance(machine, Mapping):
        return {name: machine[name] for name in KEPT if name in machine}
    from amorsize.system.machine import processor

    found = {name: getattr(machine, name, None) for name in KEPT}
    return {**found, "processor": processor(), "start_methods": list(machine.start_methods)}


HERE: Final = "here"
"""Stands in a row for the machine that this process runs on, where nobody had to look at it for the run."""

_named: list[tuple[Machine, float | None, dict[str, Any]]] = []


def here() -> dict[str, Any]:
    """The features of this machine, as this process may use it, and its digest; read about once a second."""
    from amorsize.system.machine import lately

    machine, share = lately(), nested.cores_share
    for which, shared, found in _named:
        if which is machine and shared == share:
            return found
    found = features(machine) or {}
    if share is not None:  # a worker has its share of the cores
        found["usable_cores"] = min(found["usable_cores"], share)
    found["digest"] = digest_of(found)
    _named[:] = [(machine, share, found)]
    return found


def digest_of(kept: Mapping[str, Any] | None) -> str | None:
    """The name of a machine: 16 hexadecimal digits of what `features` says of it; None where nothing is known.

    Examples
    --------
    >>> one = {"system": "Linux", "usable_cores": 2.0}
    >>> digest_of(one) == digest_of({**one, "memory_total_bytes": 1 << 33})
    True
    >>> digest_of(one) == digest_of({**one, "usable_cores": 1.5})
    False
    """
    if not kept:
        return None
    from hashlib import blake2b

    told = repr([_as_float(kept.get(name)) for name in TELLING])
    return blake2b(told.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _as_float(value: object) -> object:
    """2 and 2.0 cores are the same."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
