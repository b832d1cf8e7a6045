"""Orders the tests of a suite for workers: the slowest groups first, and tests that share fixtures side by side.

pytest sets up a fixture of a module or class once where its tests follow one another, so groups are ordered and not
tests. A group that takes longer than a worker's share of all is cut. How pytest-xdist hands the tests out (3.6 to 3.8):

* ``worksteal`` gives each worker a block of equally many tests at the start, and moves the far half of the longest
  queue to a worker that is idle. The groups are dealt into these blocks, longest first, each to the block with the
  least seconds (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969).
* ``load`` gives each worker a smaller block at the start, and then tests in their order.
* ``loadscope``, ``loadfile`` and ``loadgroup`` give whole groups in their order.

All workers must find the same order: it depends on the ids, the seconds and the number of workers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# A group that must be cut is cut into parts of at most this share of a worker's seconds (a guess).
PART: Final = 0.25
WHOLE_GROUPS: Final = ("loadscope", "loadfile", "loadgroup")


def group_of(test: str, dist: str) -> str:
    """Return the group of a test's id: its ``xdist_group``, else its class or module; its file for ``loadfile``.

    Examples
    --------
    >>> group_of("a.py::C::t[x::y]", "load"), group_of("a.py::C::t", "loadfile"), group_of("a.py::t@db", "loadgroup")
    ('a.py::C', 'a.py', '@db')
    """
    if dist == "loadgroup" and test.rfind("@") > test.rfind("]"):
        return "@" + test.rsplit("@", 1)[1]
    if dist == "loadfile":
        return test.partition("::")[0]
    # A parameter may contain anything.
    return test.partition("[")[0].rpartition("::")[0] or test


def arranged(
    tests: Sequence[str], seconds: Mapping[str, float], workers: int, dist: str, most_at_once: int | None = None
) -> list[int]:
    """Return the positions of ``tests`` in the order in which they should be handed out.

    Parameters
    ----------
    tests : sequence of str
        Ids, as collected.
    seconds : Mapping
        What is known of their time; the others are taken as short.
    workers : int
        Number of workers.
    dist : str
        Distribution of pytest-xdist.
    most_at_once : int, optional
        pytest-xdist's ``--maxschedchunk``.

    Examples
    --------
    >>> tests = ["a.py::1", "a.py::2", "b.py::1", "b.py::2"]
    >>> [tests[at] for at in arranged(tests, {"b.py::2": 3.0}, 2, "worksteal")]
    ['b.py::2', 'b.py::1', 'a.py::1', 'a.py::2']
    """
    known = [max(0.0, seconds.get(test, 0.0)) for test in tests]
    if workers < 2 or not any(known) or dist in ("each", "no"):
        return list(range(len(tests)))
    groups: dict[str, list[int]] = {}
    for at, test in enumerate(tests):
        groups.setdefault(group_of(test, dist), []).append(at)
    units = list(groups.values())
    if dist not in WHOLE_GROUPS:
        share_s = sum(known) / workers
        units = [part for unit in units for part in _parts(unit, known, share_s)]
    # Of equal ones the first comes first.
    units.sort(key=lambda unit: -sum(known[at] for at in unit))
    if dist in WHOLE_GROUPS:
        return [at for unit in units for at in unit]
    if dist == "worksteal":
        return _in_blocks(units, known, _equal_blocks(len(tests), workers))
    return _first_and_rest(units, known, _first_blocks(len(tests), workers, most_at_once))


def _parts(unit: list[int], known: list[float], share_s: float) -> list[list[int]]:
    """Cut a group that takes longer than a worker's share: tests that follow one another stay so."""
    if sum(known[at] for at in unit) <= share_s:
        return [unit]
    parts: list[list[int]] = []
    left_s = 0.0
    for at in unit:
        if not parts or known[at] > left_s:
            parts.append([])
            left_s = PART * share_s
        parts[-1].append(at)
        left_s -= known[at]
    return parts


def _equal_blocks(tests: int, workers: int) -> list[int]:
    """Return how many tests each worker gets at the start from ``worksteal``."""
    return [tests // workers + (at >= workers - tests % workers) for at in range(workers)]


def _first_blocks(tests: int, workers: int, most_at_once: int | None) -> list[int]:
    """Return how many tests each worker gets at the start from ``load``."""
    if tests < 2 * workers:
        return [1] * min(tests, workers)
    return [max(2, min(tests // workers // 4, most_at_once or tests))] * workers


def _in_blocks(units: list[list[int]], known: list[float], sizes: list[int]) -> list[int]:
    """Deal all units to blocks of these sizes by their seconds; a block with too many tests gives short ones away."""
    blocks: list[list[int]] = [[] for _ in sizes]
    loads = [0.0] * len(sizes)
    for unit in units:
        block = min(range(len(sizes)), key=lambda at: (loads[at], len(blocks[at]) - sizes[at], at))
        blocks[block] += unit
        loads[block] += sum(known[at] for at in unit)
    spare: list[int] = []
    for at, (block_of, size) in enumerate(zip(blocks, sizes, strict=True)):
        # Of equal ones the last: the others still follow one another.
        ranked = sorted((known[test], -place) for place, test in enumerate(block_of))
        given = {-place for _, place in ranked[: max(0, len(block_of) - size)]}
        spare += [test for place, test in enumerate(block_of) if place in given]
        blocks[at] = [test for place, test in enumerate(block_of) if place not in given]
    for block_of, size in zip(blocks, sizes, strict=True):
        room = size - len(block_of)
        block_of += spare[:room]
        del spare[:room]
    return [at for block_of in blocks for at in block_of]


def _first_and_rest(units: list[list[int]], known: list[float], rooms: list[int]) -> list[int]:
    """Deal units to small blocks, each to the one with the least seconds; what is left follows in order."""
    blocks: list[list[int]] = [[] for _ in rooms]
    loads = [0.0] * len(rooms)
    rest: list[int] = []
    for unit in units:
        left = unit
        while left:
            open_ones = [at for at, room in enumerate(rooms) if room > len(blocks[at])]
            if not open_ones:
                rest += left
                break
            block = min(open_ones, key=lambda at: (loads[at], at))
            room = rooms[block] - len(blocks[block])
            blocks[block] += left[:room]
            loads[block] += sum(known[at] for at in left[:room])
            left = left[room:]
    return [at for block in blocks for at in block] + rest
