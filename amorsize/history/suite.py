"""What history knows of the tests of one root folder: seconds, memory, and which have passed.

A `Suite` is packed into one JSON object under the key of its root folder (`key_of`), and is replaced as a whole within
one transaction (`amorsize.history.sqlite_file.Store.change_cost`), so that runs at the same time lose nothing of each
other. Reading is tolerant: what is not as expected is left out.

The ids of tests are stored by file, as most of an id is the file's path: 1,000 tests take some 60 kB.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from amorsize.frozen import Frozen, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FAMILY: Final = "pytest "
# Root folders that are kept; those not used for the longest time go first (a guess).
MOST_ROOTS: Final = 64
# Weight of the newest of several times of a test: one run on a busy machine must not rule the next choice (a guess).
NEWEST: Final = 0.5
# Significant digits that are stored.
DIGITS: Final = 4
LARGEST: Final = 1e15


class Timing(NamedTuple):
    """One test.

    Attributes
    ----------
    wall_s, cpu_s : float
        Seconds of set-up, call and tear-down: by the clock, less the time in which other processes had the core; and of
        CPU, with that of its child processes.
    raised_bytes : int
        By how much it raised the peak memory of its process; of several runs the most.
    passed : bool
        True if its latest run passed (or was skipped).
    words : tuple of str
        Names of its markers and other keywords that are not in its id, for ``-m`` and ``-k``.
    reports : int
        Reports that pytest makes of it: set-up, call, tear-down, and one of each subtest.
    """

    wall_s: float
    cpu_s: float = 0.0
    raised_bytes: int = 0
    passed: bool = False
    words: tuple[str, ...] = ()
    reports: int = 3


class Suite(Frozen):
    """The tests of one root folder.

    Attributes
    ----------
    tests : Mapping of str to Timing
        By pytest's ids.
    worker_s : float or None
        Seconds from the start of a worker until it collects, while it has a core; None: not measured yet.
    collect_s : float or None
        Seconds of collecting, for each test; None: not measured yet.
    process_bytes : int
        Most memory of one process that ran tests, in the latest run; 0: unknown.
    """

    tests: Mapping[str, Timing] = field(default_factory=dict, hash=False)
    worker_s: float | None = None
    collect_s: float | None = None
    process_bytes: int = 0

    def updated(
        self,
        ran: Mapping[str, Timing] | None = None,
        *,
        begun: Iterable[str] = (),
        gone: Collection[str] = (),
        worker_s: float | None = None,
        collect_s: float | None = None,
        process_bytes: int = 0,
    ) -> Suite:
        """Return the suite after (a part of) a run.

        Parameters
        ----------
        ran : Mapping of str to Timing
            Tests that have run since the last update.
        begun : iterable of str
            Tests that a run has begun with: they count as not passed until they pass.
        gone : collection of str
            Tests that exist no more.
        worker_s, collect_s, process_bytes
            As measured now, if they were.

        Examples
        --------
        >>> suite = Suite().updated({"a.py::t": Timing(2.0, passed=True)})
        >>> suite.updated({"a.py::t": Timing(1.0)}).tests
        {'a.py::t': Timing(wall_s=1.5, cpu_s=0.0, raised_bytes=0, passed=False, words=(), reports=3)}
        """
        tests = {test: known for test, known in self.tests.items() if test not in gone}
        for test in begun:
            if test in tests:
                tests[test] = tests[test]._replace(passed=False)
        for test, now in (ran or {}).items():
            tests[test] = _together(tests.get(test), now)
        return replace(
            self,
            tests=tests,
            worker_s=_blend(self.worker_s, worker_s),
            collect_s=_blend(self.collect_s, collect_s),
            process_bytes=process_bytes or self.process_bytes,
        )


def _together(before: Timing | None, now: Timing) -> Timing:
    if before is None:
        return now
    return now._replace(
        wall_s=before.wall_s + NEWEST * (now.wall_s - before.wall_s),
        cpu_s=before.cpu_s + NEWEST * (now.cpu_s - before.cpu_s),
        raised_bytes=max(before.raised_bytes, now.raised_bytes),
    )


def _blend(before: float | None, now: float | None) -> float | None:
    return now if before is None else before if now is None else before + NEWEST * (now - before)


def key_of(root: str) -> str:
    """Return the key of a root folder in amorsize's file."""
    return FAMILY + root


def selected(
    tests: Mapping[str, Timing],
    places: Iterable[str] = (),
    ignored: Iterable[str] = (),
    wanted: Callable[[str, Timing], bool] | None = None,
) -> dict[str, Timing]:
    """Return the known tests that a command line names.

    Parameters
    ----------
    tests : Mapping of str to Timing
        All that are known.
    places, ignored : iterable of str
        Folders, files, classes or tests, as ids; none or ``""``: the whole root folder; ignored ones are left out.
    wanted : callable, optional
        Says of one test if it is wanted.

    Examples
    --------
    >>> tests = dict.fromkeys(["a/x.py::t[1]", "a/x.py::tt", "ab/y.py::C::t"], Timing(1.0))
    >>> [*selected(tests, ["a"])], [*selected(tests, ["a/x.py::t"])], [*selected(tests, [], ["ab/y.py::C"])]
    (['a/x.py::t[1]', 'a/x.py::tt'], ['a/x.py::t[1]'], ['a/x.py::t[1]', 'a/x.py::tt'])
    """
    places, ignored = tuple(places), tuple(ignored)
    found = {}
    for test, known in tests.items():
        if places and not any(_lies_in(test, place) for place in places):
            continue
        if any(_lies_in(test, place) for place in ignored):
            continue
        if wanted is None or wanted(test, known):
            found[test] = known
    return found


def _lies_in(test: str, place: str) -> bool:
    if not place or place == "." or test == place:
        return True
    return test.startswith(place) and test[len(place) :].startswith(("/", "::", "["))


# -- in the file -----------------------------------------------------------------------------------------------------


def pack(suite: Suite) -> dict[str, Any]:
    """Pack a suite for the file.

    Examples
    --------
    >>> packed = pack(Suite(tests={"a.py::t": Timing(1.5, 1.25, 0, True, ("slow",))}))
    >>> packed["words"], packed["files"]
    ([['slow']], {'a.py': {'t': [1.5, 1.25, 0, 1, 0]}})
    """
    words: dict[tuple[str, ...], int] = {}
    files: dict[str, dict[str, list[Any]]] = {}
    for test, known in suite.tests.items():
        file, _, name = test.partition("::")
        values = [_short(known.wall_s), _short(known.cpu_s), known.raised_bytes, int(known.passed)]
        if known.words or known.reports != 3:
            values.append(words.setdefault(known.words, len(words)))
        if known.reports != 3:
            values.append(known.reports)
        files.setdefault(file, {})[name] = values
    return {
        "worker_s": suite.worker_s,
        "collect_s": suite.collect_s,
        "bytes": suite.process_bytes,
        "words": [list(each) for each in words],
        "files": files,
    }


def unpack(body: object) -> Suite:
    """Return the suite of a packed body; what is not as expected is left out.

    Examples
    --------
    >>> unpack({"files": {"a.py": {"t": [1.5], "u": ["long"]}, "b.py": None}, "worker_s": "nan"}).tests
    {'a.py::t': Timing(wall_s=1.5, cpu_s=0.0, raised_bytes=0, passed=False, words=(), reports=3)}
    """
    if not isinstance(body, Mapping):
        return Suite()
    words = [tuple(map(str, each)) for each in _list(body.get("words")) if isinstance(each, list)]
    tests: dict[str, Timing] = {}
    files = body.get("files")
    for file, names in files.items() if isinstance(files, Mapping) else ():
        for name, values in names.items() if isinstance(names, Mapping) else ():
            known = _test(values, words)
            if known is not None:
                tests[f"{file}::{name}" if name else str(file)] = known
    worker_s, collect_s, process_bytes = map(_number, (body.get("worker_s"), body.get("collect_s"), body.get("bytes")))
    return Suite(tests=tests, worker_s=worker_s, collect_s=collect_s, process_bytes=int(process_bytes or 0))


def _test(values: object, words: list[tuple[str, ...]]) -> Timing | None:
    wall_s, cpu_s, raised, passed, which, reports = [*_list(values), *[None] * 6][:6]
    seconds = _number(wall_s)
    if seconds is None:
        return None
    told = words[which] if type(which) is int and 0 <= which < len(words) else ()
    return Timing(
        seconds, _number(cpu_s) or 0.0, int(_number(raised) or 0), passed == 1, told, int(_number(reports) or 3)
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float | None:
    """Return a finite number of 0 or more; else None."""
    sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return float(value) if sound else None  # type: ignore[arg-type]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
