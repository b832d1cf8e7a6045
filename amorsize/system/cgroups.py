"""The limits of Linux control groups for this process: CPU quota, memory, and how often memory ran out.

No file holds the limit in force. Each group from the process's own up to the root sets an upper bound, so the effective
one is the minimum over that chain, in every hierarchy (v1 has one for each controller, v2 one for all, a hybrid
both)::

    /proc/self/cgroup      which group        4:memory:/docker/c1
    /proc/self/mountinfo   where it is seen   ... /docker /sys/fs/cgroup/memory ... - cgroup cgroup rw,memory
    hence the chain                           /sys/fs/cgroup/memory/c1, /sys/fs/cgroup/memory

A mount shows one subtree, named by its root field, which is stripped from the path. If the path is not below it (a
cgroup namespace, an odd bind mount), the mount point itself is the nearest group visible.

Bounds: v1 ``cpu.cfs_quota_us / cpu.cfs_period_us`` and ``memory.limit_in_bytes`` (with
``hierarchical_memory_limit``, which includes groups above the mount); v2 ``cpu.max`` and ``memory.max``. Beyond
``memory.high`` a group is throttled to a crawl but not killed: it counts for what is still available, not as the
limit. Shares, weights, bursts, soft limits, ``memory.low`` and ``memory.min`` limit nothing.

Reading and parsing are separate: functions take ``read``, from a path to its text, so that a recorded tree can be
given. A missing file sets no bound; one that cannot be read or parsed sets none either, and causes a warning.

Sources: ``Documentation/admin-guide/cgroup-v2.rst``, ``cgroup-v1/memory.rst`` and ``scheduler/sched-bwc.rst`` of
Linux; ``cgroup_namespaces(7)``, ``proc_pid_mountinfo(5)``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from functools import lru_cache

from amorsize.frozen import Frozen
from amorsize.system import mounts as mounted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Generic, TypeVar

    T = TypeVar("T")
    Number = TypeVar("Number", int, float)
else:
    # Loading typing, and with it re and enum, would take 5 of the 40 ms of a program's first plan.
    T = None

    class Generic:
        """Stands for typing's."""

        def __class_getitem__(cls, _):
            return cls


Reader = Callable[[str], str]

OWN_GROUPS: Final = "/proc/self/cgroup"
# v2 in the place of a controller's name, as in its line "0::/path".
UNIFIED: Final = ""
DELETED: Final = " (deleted)"
# v1 shows "no limit" as 2**63 - 1 rounded down to a page, whose size varies.
NO_LIMIT: Final = 1 << 62
ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EOPNOTSUPP})


class Finding(Frozen, Generic[T], kw_only=False):
    """A value, the file or call it comes from, and warnings about sources that could not be read or parsed."""

    value: T
    source: str
    warnings: tuple[str, ...] = ()

    def said(self) -> str:
        """Return source and warnings as one line."""
        return "; ".join((self.source, *(f"unknown: {warning}" for warning in self.warnings)))


class Groups(Frozen, kw_only=False):
    """Directories from the process's own group up to the highest one visible, in each hierarchy used."""

    cpu: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    unified: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Memory(Frozen, kw_only=False):
    """The tightest hard limit, and the least memory that a group leaves available; None if unbounded."""

    limit: Finding[int | None]
    available: Finding[int | None]


class Mount(Frozen, kw_only=False):
    """A mounted hierarchy: ``point`` shows its subtree ``root``; ``controllers`` is ``{""}`` for v2."""

    root: str
    point: str
    controllers: frozenset[str]


class Files:
    """Reads and parses files, and collects failures in ``warnings``."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self.warnings: list[str] = []

    def get(self, path: str, parse: Callable[[str], T], *, needed: bool = False) -> T | None:
        """Parse the file; None if it is missing (a warning if ``needed``) or cannot be parsed (a warning)."""
        try:
            text = self._read(path)
        # ValueError: a path that no file can have.
        except (OSError, ValueError) as error:
            if needed or getattr(error, "errno", None) not in ABSENT:
                self.warnings.append(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
            return None
        try:
            return parse(text)
        except ValueError:
            self.warnings.append(f"{path} holds {text if len(text) <= 40 else text[:37] + '...'!r}")
            return None


def read_text(path: str) -> str:
    """Read a small file; bytes that are not text survive, so that a path in it can be opened."""
    with open(path, "rb", buffering=0) as file:
        return os.fsdecode(file.read())


# ---------------------------------------------------------------- parsing: text to values, ValueError for nonsense


def parse_number(text: str) -> int:
    """Return one whole number of at most 20 digits."""
    if not is_whole(text.strip().removeprefix("-")):
        raise ValueError(text)
    return int(text)


def is_whole(text: str) -> bool:
    """Return True for a whole number of at most 20 digits, without a sign."""
    return text.isascii() and text.isdigit() and len(text) <= 20


def parse_positive(text: str) -> int:
    """Return one number above zero."""
    if (number := parse_number(text)) <= 0:
        raise ValueError(text)
    return number


def parse_limit(text: str) -> int | None:
    """Return bytes; None for ``max``, for v1's number for no limit, and for negative numbers.

    Examples
    --------
    >>> parse_limit("1048576"), parse_limit("max"), parse_limit("9223372036854771712")
    (1048576, None, None)
    """
    number = NO_LIMIT if text.strip() == "max" else parse_number(text)
    return number if 0 <= number < NO_LIMIT else None


def parse_cpu_max(text: str) -> float | None:
    """Return the cores of v2's ``cpu.max`` (quota and period); None for no quota.

    Examples
    --------
    >>> parse_cpu_max("150000 100000"), parse_cpu_max("max 100000")
    (1.5, None)
    """
    quota, _, period = text.partition(" ")
    return None if quota.strip() == "max" else parse_positive(quota) / parse_positive(period)


def parse_table(text: str) -> dict[str, int]:
    """Return the numbers of ``name number`` lines (``memory.stat``); lines of another form are ignored."""
    lines = (line.split(" ") for line in text.split("\n"))
    table = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[0] and is_whole(line[1])}
    if not table:
        raise ValueError(text)
    return table


def parse_cgroup(text: str) -> dict[str, str]:
    r"""Return the process's group in each hierarchy, by controller (``""``: v2). Paths may hold colons and spaces.

    Examples
    --------
    >>> parse_cgroup("4:cpu,cpuacct:/a:b c\n0::/d\n")
    {'cpu': '/a:b c', 'cpuacct': '/a:b c', '': '/d'}
    """
    # splitlines() would cut at more than line ends.
    lines = (line.split(":", 2) for line in text.split("\n"))
    known = [line for line in lines if len(line) == 3 and line[2].startswith("/")]
    groups = {name: path for number, names, path in known for name in names.split(",") if name or number == "0"}
    if not groups:
        raise ValueError(text)
    return groups


# Each map reads the file, which hardly ever changes; to parse it again would cost 0.1 ms.
@lru_cache(maxsize=1)
def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    r"""Return the mounted cgroup hierarchies; of several at one point only the last, which hides the others.

    Examples
    --------
    >>> parse_mountinfo("25 20 0:22 /a\\040b /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (Mount(root='/a b', point='/sys/fs/cgroup', controllers=frozenset({''})),)
    """
    found: dict[str, Mount] = {}
    for root, point, kind, options in mounted.parse(text):
        if kind in ("cgroup", "cgroup2"):
            v1 = frozenset(options.split(",")) - {UNIFIED}
            found[point] = Mount(root, point, frozenset({UNIFIED}) if kind == "cgroup2" else v1)
    return tuple(found.values())


# --------------------------------------------------------------------------------- which groups this process is in

# Where distributions mount them, if mountinfo cannot be read.
GUESSED: Final = (
    Mount("/", "/sys/fs/cgroup", frozenset({UNIFIED})),
    Mount("/", "/sys/fs/cgroup/cpu", frozenset({"cpu"})),
    Mount("/", "/sys/fs/cgroup/cpu,cpuacct", frozenset({"cpu"})),
    Mount("/", "/sys/fs/cgroup/memory", frozenset({"memory"})),
)


def own_groups(read: Reader = read_text) -> Groups:
    """Return the groups of this process; valid until the process is moved to another group."""
    files = Files(read)
    paths = files.get(OWN_GROUPS, parse_cgroup, needed=True) or {}
    mounts = files.get(mounted.MOUNTS, parse_mountinfo, needed=True) or GUESSED
    cpu, memory, unified = (_chains(mounts, name, paths.get(name, "/"), files) for name in ("cpu", "memory", UNIFIED))
    return Groups(cpu, memory, unified, tuple(files.warnings))


def _chains(mounts: Iterable[Mount], controller: str, path: str, files: Files) -> tuple[str, ...]:
    """Return the chain, own group first. All mounts that show it are used: one may be hidden, another not."""
    mounted = [mount for mount in mounts if controller in mount.controllers]
    below = [(mount.point, _below(path, mount.root)) for mount in mounted]
    chains = [_chain(point, rest) for point, rest in below if rest is not None]
    if mounted and not chains:
        first = min(mounted, key=lambda mount: not mount.point.startswith("/sys/fs/cgroup"))
        there = f"not below {first.root}, all that is mounted at {first.point}"
        files.warnings.append(f"group {path} is {there}: read that instead")
        chains = [[first.point]]
    return tuple(dict.fromkeys(directory for chain in chains for directory in chain))


def _below(path: str, root: str) -> str | None:
    """Return the path as the mount shows it; None if it is outside.

    Examples
    --------
    >>> _below("/docker/c1/a", "/docker/c1"), _below("/docker/c2", "/docker/c1"), _below("/../x", "/")
    ('/a', None, None)
    """
    root = root.rstrip("/")
    rest = path[len(root) :]
    inside = path.startswith(root) and rest[:1] in ("", "/") and ".." not in rest.split("/")
    return rest if inside else None


def _chain(point: str, rest: str) -> list[str]:
    """Return the directories from the group up to the mount point; a deleted group under both names.

    Examples
    --------
    >>> _chain("/sys/fs/cgroup", "/a/b")
    ['/sys/fs/cgroup/a/b', '/sys/fs/cgroup/a', '/sys/fs/cgroup']
    """
    names = [name for name in rest.removesuffix(DELETED).split("/") if name]
    point = point.rstrip("/")
    chain = ["/".join((point, *names[:depth])) for depth in range(len(names), -1, -1)]
    return [point + rest, *chain] if rest.endswith(DELETED) else chain


# ---------------------------------------------------------------------------------------------------------- limits


def cpu_quota(read: Reader, groups: Groups) -> Finding[float | None]:
    """Return the cores that the tightest group allows, as a fraction; None: no quota."""
    files = Files(read)
    quotas = [(files.get(f"{group}/cpu.max", parse_cpu_max), f"{group}/cpu.max") for group in groups.unified]
    quotas += [(_cfs_quota(files, group), f"{group}/cpu.cfs_quota_us") for group in groups.cpu]
    known = [(cores, source) for cores, source in quotas if cores is not None]
    return _tightest(known, groups.cpu + groups.unified, groups.warnings + tuple(files.warnings))


def _cfs_quota(files: Files, group: str) -> float | None:
    quota = files.get(f"{group}/cpu.cfs_quota_us", parse_number)
    # -1 is no quota; some containers show 0.
    if quota is None or quota <= 0:
        return None
    period = files.get(f"{group}/cpu.cfs_period_us", parse_positive, needed=True)
    return None if period is None else quota / period


def memory(read: Reader, groups: Groups) -> Memory:
    """Return the tightest hard limit of the chain, and the least memory that a group of it leaves available."""
    files = Files(read)
    bounds = [bound for group in groups.unified for bound in _bounds_v2(files, group)]
    bounds += [bound for group in groups.memory for bound in _bounds_v1(files, group, top=group == groups.memory[-1])]
    asked, warnings = groups.memory + groups.unified, groups.warnings + tuple(files.warnings)
    limit = _tightest([(bound.limit, bound.source) for bound in bounds if bound.kills], asked, warnings)
    left = _tightest([(bound.left, f"{bound.source} less what is used") for bound in bounds], asked, warnings)
    return Memory(limit, left)


class _Bound(Frozen, kw_only=False):
    limit: int
    left: int
    source: str
    kills: bool = True


def _bounds_v2(files: Files, group: str) -> list[_Bound]:
    paths = (f"{group}/memory.max", f"{group}/memory.high")
    limits = [(path, limit) for path in paths if (limit := files.get(path, parse_limit)) is not None]
    if not limits:
        return []
    stat = files.get(f"{group}/memory.stat", parse_table) or {}
    cache = sum(stat.get(name, 0) for name in ("inactive_file", "active_file", "slab_reclaimable"))
    used = files.get(f"{group}/memory.current", parse_number, needed=True)
    return [_Bound(limit, _left(limit, used, cache), path, path.endswith("max")) for path, limit in limits]


def _bounds_v1(files: Files, group: str, *, top: bool) -> list[_Bound]:
    """Return the bound of a group; for ``top`` also those above it, which only ``memory.stat`` includes."""
    own = files.get(f"{group}/memory.limit_in_bytes", parse_limit)
    stat = (files.get(f"{group}/memory.stat", parse_table) or {}) if top or own is not None else {}
    above = stat.get("hierarchical_memory_limit", NO_LIMIT)
    limit, name = min((NO_LIMIT if own is None else own, "limit_in_bytes"), (above, "stat hierarchical_memory_limit"))
    if limit >= NO_LIMIT:
        return []
    cache = stat.get("total_inactive_file", 0) + stat.get("total_active_file", 0)
    used = files.get(f"{group}/memory.usage_in_bytes", parse_number, needed=True)
    return [_Bound(limit, _left(limit, used, cache), f"{group}/memory.{name}")]


def _left(limit: int, used: int | None, cache: int) -> int:
    """Return the bytes still available: file cache is freed on demand, and unknown use counts as 0."""
    return max(0, limit - max(0, (used or 0) - cache))


def _tightest(
    bounds: list[tuple[Number, str]], asked: tuple[str, ...], warnings: tuple[str, ...]
) -> Finding[Number | None]:
    if bounds:
        return Finding(*min(bounds), warnings)
    return Finding(None, f"none set from {asked[0]} up" if asked else "no control group is mounted", warnings)


def oom_kills(read: Reader = read_text, groups: Groups | None = None) -> int | None:
    """Return how many processes of this process's group the kernel has killed for lack of memory; None: unknown.

    The nearest group with a count is read: it counts its own processes whichever group's limit was hit, while the
    groups above it also count those of others. Outside of all groups the machine's count is read.
    """
    groups = own_groups(read) if groups is None else groups
    events = [f"{group}/memory.events" for group in groups.unified]
    events += [f"{group}/memory.oom_control" for group in groups.memory]
    files = Files(read)
    tables = (files.get(path, parse_table) or {} for path in (*events, "/proc/vmstat"))
    return next((table["oom_kill"] for table in tables if "oom_kill" in table), None)
