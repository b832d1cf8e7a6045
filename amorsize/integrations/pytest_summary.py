"""The lines that the plugin adds to pytest's summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amorsize.formatting import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.history.suite import Timing

# Tests in each list (a guess).
TOP: Final = 3
# Shorter tests, and less memory, are not worth a line.
LEAST_S: Final = 0.05
LEAST_BYTES: Final = 1 << 20


def lines(
    why: Iterable[str], ran: Mapping[str, Timing], predicted_s: float | None = None, took_s: float | None = None
) -> list[str]:
    r"""Return the lines: why so many workers, forecast and clock, the slowest and the hungriest tests.

    Examples
    --------
    >>> from amorsize.history.suite import Timing
    >>> print(*lines(["2 workers: the user's"], {"a.py::t": Timing(1.5, raised_bytes=5 << 20)}, 2.0, 2.25), sep="\n")
    2 workers: the user's
    forecast 2.0 s, took 2.2 s
    slowest    1.50 s  a.py::t
    hungriest    5 MB  a.py::t
    """
    found = [printable(line) for line in why]
    if predicted_s is not None and took_s is not None:
        found.append(f"forecast {predicted_s:.1f} s, took {took_s:.1f} s")
    slowest = sorted(ran, key=lambda test: -ran[test].wall_s)[:TOP]
    found += [
        f"slowest {ran[test].wall_s:7.2f} s  {printable(test)}" for test in slowest if ran[test].wall_s >= LEAST_S
    ]
    hungriest = sorted(ran, key=lambda test: -ran[test].raised_bytes)[:TOP]
    found += [
        f"hungriest {ran[test].raised_bytes / (1 << 20):4.0f} MB  {printable(test)}"
        for test in hungriest
        if ran[test].raised_bytes >= LEAST_BYTES
    ]
    return found
