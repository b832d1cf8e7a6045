"""Format durations, dates, sizes and counts as text, and make texts from other sources safe to print on a terminal."""

from __future__ import annotations

UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
# Characters of a quoted text: what fits into a line (a guess)
EXCERPT = 60


def seconds(value: float | None) -> str:
    """Format a duration with three significant digits and a fitting unit.

    Examples
    --------
    >>> seconds(0.0000123), seconds(0.0456), seconds(7.891), seconds(None)
    ('12.3 µs', '45.6 ms', '7.89 s', 'unknown')
    """
    if value is None:
        return "unknown"
    # Round before the unit is chosen: 0.9999 s is 1 s, not 1000 ms.
    rounded = float(f"{value:.3g}")
    unit, size = next(((u, z) for u, z in UNITS if abs(rounded) >= z), UNITS[-1 if rounded else 0])
    number = f"{rounded / size:.3g}"
    return f"{rounded:,.0f} {unit}" if "e" in number else f"{number} {unit}"


def size(value: float | None) -> str:
    """Format a number of bytes with a fitting unit.

    Examples
    --------
    >>> size(1536), size(8 << 30), size(None)
    ('1.5 kB', '8.6 GB', 'none')
    """
    if value is None:
        return "none"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def count(number: int, word: str) -> str:
    """Format a count with its word in singular or plural.

    Examples
    --------
    >>> count(1, "process"), count(2, "process"), count(1000, "item")
    ('1 process', '2 processes', '1,000 items')
    """
    return f"{number:,} {word}{'' if number == 1 else 'es' if word.endswith('s') else 's'}"


def date(at_s: float) -> str:
    """Format a time since the epoch, to the second, in local time; as a number if no calendar has it.

    Examples
    --------
    >>> date(1e18)
    '1e+18 s'
    """
    from time import localtime, strftime

    try:
        return strftime("%Y-%m-%d %H:%M:%S", localtime(at_s))
    except (OverflowError, ValueError, OSError):
        return f"{at_s:g} s"


def excerpt(text: str, at: int = 0) -> str:
    """Quote a part of a text, with the character ``at`` in it.

    Examples
    --------
    >>> excerpt("short"), len(excerpt("x" * 1000, 500))
    ("'short'", 64)
    """
    start = max(0, at - EXCERPT // 3)
    part = text[start : start + EXCERPT]
    return repr(f"{'…' if start else ''}{part}{'…' if len(text) > start + EXCERPT else ''}")


def json_fault(exc: Exception) -> str:
    """Return what `json` has against a text of one line, and quote it; its own message counts lines, too.

    Examples
    --------
    >>> import json
    >>> try: json.loads("[1, oops]")
    ... except ValueError as exc: print(json_fault(exc))
    Expecting value at column 5: '[1, oops]'
    """
    # An integer of too many digits, or too many brackets, has no position.
    at: int | None = getattr(exc, "pos", None)
    if at is None:
        return str(exc)
    # Some of its messages end with "at".
    return f"{exc.msg.removesuffix(' at')} at column {at + 1}: {excerpt(exc.doc.rstrip(), at)}"  # type: ignore[attr-defined]


def printable(text: str, *, lines: bool = False) -> str:
    r"""Escape the characters that a terminal would act on: control characters and marks of the writing direction.

    A name or a message may come from another machine's history, a file or an item, and hold anything. ``lines=True``
    keeps line breaks and tabs.

    Examples
    --------
    >>> printable("café \x1b[2J\u202e\n")
    'café \\x1b[2J\\u202e\\n'
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        each if each.isprintable() or each in kept else each.encode("unicode_escape").decode("ascii") for each in text
    )
