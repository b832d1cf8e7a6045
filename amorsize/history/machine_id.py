"""A machine as history stores it: the features that determine its speed, and a digest of them.

A measurement on one machine holds for every machine with the same digest. The digest identifies no host and no user.
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
"""Features that the digest covers: if one differs, timings of one machine do not hold on the other."""

KEPT: Final = (*TELLING, "memory_total_bytes", "memory_limit_bytes", "start_methods", "default_start_method")


def features(machine: Machine | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Select the features to store: without the current load and free memory, without paths.

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


_named: list[tuple[Machine, float | None, dict[str, Any]]] = []


def here() -> dict[str, Any]:
    """Return the features of this machine, as this process may use it, and its digest; read about once a second."""
    from amorsize.system.machine import lately

    machine, share = lately(), nested.share()
    for which, shared, found in _named:
        if which is machine and shared == share:
            return found
    found = features(machine) or {}
    if share is not None:
        # A worker process may use its share of the cores.
        found["usable_cores"] = min(found["usable_cores"], share)
    found["digest"] = digest_of(found)
    _named[:] = [(machine, share, found)]
    return found


def digest_of(kept: Mapping[str, Any] | None) -> str | None:
    """Digest the features of a machine to 16 hexadecimal digits; None if there are none.

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
    from amorsize.system.blake2 import blake2b

    told = repr([_as_float(kept.get(name)) for name in TELLING])
    return blake2b(told.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _as_float(value: object) -> object:
    """2 and 2.0 cores are the same."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64 else value
