"""Recorded trees: the files of ``/proc`` and ``/sys`` in many kinds of container, and the true facts there.

A tree maps paths to texts. Groups are written by `v1_cpu`, `v1_memory` and `v2`, with more files that limit nothing and
must be ignored.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no test has an upper bound on time
MIB, GIB = 1 << 20, 1 << 30
TOTAL, FREE = 16 * GIB, 12 * GIB  # of the machine
UNLIMITED = 9223372036854771712
ROOT = "/sys/fs/cgroup"
MEMINFO = {
    "/proc/meminfo": f"MemTotal:       {TOTAL // 1024} kB\nMemFree:         1048576 kB\n"
    f"MemAvailable:   {FREE // 1024} kB\nBuffers:            2048 kB\nHugePages_Total:       0\n"
}
Tree = dict[str, str]


@dataclass(frozen=True)
class Layout:
    """One machine or container; ``available`` None: no group limits it more than the machine itself."""

    name: str
    tree: Tree
    quota: float | None = None
    limit: int | None = None
    available: int | None = None
    oom_kills: int | None = None
    warns: tuple[str, ...] = field(default=())


def reader(tree: Tree):
    """Return a function that reads the tree like a file system; an exception in place of a text is raised."""

    def read(path: str) -> str:
        text = tree.get(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path))
        if isinstance(text, Exception):
            raise text
        return text

    return read


# ------------------------------------------------------------------------------------------ groups and their mounts


def v1_cpu(group: str, quota: int = -1, period: int = 100_000) -> Tree:
    return {
        f"{group}/cpu.cfs_quota_us": f"{quota}\n",
        f"{group}/cpu.cfs_period_us": f"{period}\n",
        f"{group}/cpu.cfs_burst_us": "20000\n",
        f"{group}/cpu.shares": "512\n",
        f"{group}/cpu.rt_runtime_us": "950000\n",
        f"{group}/cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 1000\n",
    }


def v1_memory(
    group: str, limit: int = UNLIMITED, used: int = GIB, cache: int = 0, above: int = UNLIMITED, oom: int = 0
):
    stat = f"cache 1\nrss 7\ninactive_file 5\nactive_file 5\nhierarchical_memory_limit {min(limit, above)}\n"
    return {
        f"{group}/memory.limit_in_bytes": f"{limit}\n",
        f"{group}/memory.usage_in_bytes": f"{used}\n",
        f"{group}/memory.soft_limit_in_bytes": f"{MIB}\n",
        f"{group}/memory.memsw.limit_in_bytes": f"{limit}\n",
        f"{group}/memory.kmem.limit_in_bytes": f"{MIB}\n",
        f"{group}/memory.use_hierarchy": "1\n",
        f"{group}/memory.stat": f"{stat}total_cache {cache}\ntotal_inactive_file {cache // 2}\n"
        f"total_active_file {cache - cache // 2}\n",
        f"{group}/memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {oom}\n",
    }


def v2_cpu(group: str, quota: int | str = "max", period: int = 100_000) -> Tree:
    return {
        f"{group}/cpu.max": f"{quota} {period}\n",
        f"{group}/cpu.max.burst": "50000\n",
        f"{group}/cpu.weight": "10\n",
        f"{group}/cpu.idle": "0\n",
        f"{group}/cpu.uclamp.max": "50.00\n",
    }


def v2_memory(
    group: str, limit: int | str = "max", used: int = GIB, cache: int = 0, high: int | str = "max", oom: int = 0
):
    return {
        f"{group}/memory.max": f"{limit}\n",
        f"{group}/memory.high": f"{high}\n",
        f"{group}/memory.low": f"{MIB}\n",
        f"{group}/memory.min": f"{MIB}\n",
        f"{group}/memory.swap.max": "0\n",
        f"{group}/memory.current": f"{used}\n",
        f"{group}/memory.stat": f"anon 4096\nfile {cache}\nshmem 0\ninactive_file {cache // 2}\n"
        f"active_file {cache - cache // 2}\nslab_reclaimable 0\n",
        f"{group}/memory.events": f"low 0\nhigh 4\nmax 9\noom 2\noom_kill {oom}\noom_group_kill 0\n",
    }


def groups(text: str) -> Tree:
    return {"/proc/self/cgroup": text}


def mounts(*lines: str) -> Tree:
    head = (
        "22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw",
        "23 27 0:22 / /sys rw,relatime shared:6 master:2 - sysfs sysfs rw",
    )
    return {"/proc/self/mountinfo": "".join(f"{line}\n" for line in (*head, *lines))}


def v2_mount(point: str = ROOT, root: str = "/") -> str:
    return f"31 23 0:28 {root} {point} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate"


def v1_mount(controllers: str, point: str | None = None, root: str = "/") -> str:
    return (
        f"33 31 0:30 {root} {point or f'{ROOT}/{controllers}'} rw,relatime shared:11 - cgroup cgroup rw,{controllers}"
    )


V1_TMPFS = "30 23 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755"
V1_SYSTEMD = "32 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd"
V1_CPUSET = "37 30 0:35 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset"
WSL_9P = (
    "2260 190 0:311 / /Docker/host rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;"
    "path=C:\\Program Files\\Docker - cgroup2 cgroup2\\resources;symlinkroot=/mnt/,mmap,access=client,trans=virtio"
)


def v1_mounts(root: str = "/") -> Tree:
    """As systemd and Docker mount version 1."""
    return mounts(V1_TMPFS, V1_SYSTEMD, V1_CPUSET, v1_mount("cpu,cpuacct", root=root), v1_mount("memory", root=root))


def v1_groups(path: str, memory: str | None = None) -> Tree:
    return groups(f"9:name=systemd:{path}\n5:cpuset:/\n4:memory:{memory or path}\n2:cpu,cpuacct:{path}\n0::{path}\n")


CPU, MEM = f"{ROOT}/cpu,cpuacct", f"{ROOT}/memory"
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f2e.slice/cri-containerd-77.scope"
ESCAPED = "/system.slice/dev-disk\\x2duuid.service"
HYBRID_MOUNTS = mounts(
    V1_TMPFS,
    v2_mount(f"{ROOT}/unified"),
    V1_SYSTEMD,
    *(v1_mount(name) for name in ("cpu", "cpuacct", "cpuset", "memory", "pids")),
)
HYBRID_GROUPS = "9:name=systemd:/\n8:pids:/\n4:memory:/job/7\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/job\n0::/\n"


def chain(path: str, top: str = ROOT) -> list[str]:
    """Directories of the groups on the way to ``path``, outermost first, the root not among them."""
    names = path.strip("/").split("/")
    return [f"{top}/{'/'.join(names[: depth + 1])}" for depth in range(len(names))]


def merged(*parts: Tree) -> Tree:
    return {path: text for part in parts for path, text in part.items()}


def open_v2(path: str, top: str = ROOT) -> Tree:
    """Return the groups on the way to ``path`` that set no limit."""
    return merged(*(merged(v2_cpu(group), v2_memory(group)) for group in chain(path, top)))


def open_v1(path: str) -> Tree:
    tree = merged(*(v1_cpu(group) for group in chain(path, CPU)), *(v1_memory(group) for group in chain(path, MEM)))
    return merged(v1_cpu(CPU), v1_memory(MEM), tree)


# ---------------------------------------------------------------------------------------------------------- layouts

VERSION_2 = [
    Layout("v2: machine's root group has no files", merged(groups("0::/\n"), mounts(v2_mount()))),
    Layout(
        "v2: root group, the machine's own count of kills",
        merged(groups("0::/\n"), mounts(v2_mount()), {"/proc/vmstat": "nr_free_pages 9\noom_kill 6\npgfault 3\n"}),
        oom_kills=6,
    ),
    Layout(
        "v2: Docker with a cgroup namespace",
        merged(groups("0::/\n"), mounts(v2_mount()), v2_cpu(ROOT, 150_000), v2_memory(ROOT, 2 * GIB, GIB, GIB // 2)),
        quota=1.5,
        limit=2 * GIB,
        available=GIB + GIB // 2,
        oom_kills=0,
    ),
    Layout(
        "v2: Docker without a cgroup namespace, all groups seen",
        merged(
            groups("0::/system.slice/docker-3f.scope\n"),
            mounts(v2_mount()),
            open_v2("/system.slice"),
            v2_cpu(f"{ROOT}/system.slice/docker-3f.scope", 50_000),
            v2_memory(f"{ROOT}/system.slice/docker-3f.scope", GIB, GIB // 4, oom=2),
        ),
        quota=0.5,
        limit=GIB,
        available=GIB - GIB // 4,
        oom_kills=2,
    ),
    Layout(
        "v2: subtree bind-mounted, the root field stripped",
        merged(
            groups("0::/system.slice/docker-3f.scope/worker\n"),
            mounts(v2_mount(root="/system.slice/docker-3f.scope")),
            v2_cpu(ROOT, 250_000),
            v2_memory(ROOT, 4 * GIB, GIB),
            v2_cpu(f"{ROOT}/worker", 75_000),
            v2_memory(f"{ROOT}/worker", GIB, GIB // 2),
        ),
        quota=0.75,
        limit=GIB,
        available=GIB // 2,
        oom_kills=0,
    ),
    Layout(
        "v2: Kubernetes, the pod's bounds tighter than the container's",
        merged(
            groups(f"0::{POD}\n"),
            mounts(v2_mount()),
            open_v2(POD),
            v2_cpu(chain(POD)[2], 120_000),
            v2_memory(chain(POD)[2], 3 * GIB, 2 * GIB, GIB),
            v2_cpu(chain(POD)[3], 400_000),
            v2_memory(chain(POD)[3], 8 * GIB, GIB),
        ),
        quota=1.2,
        limit=3 * GIB,
        available=2 * GIB,
        oom_kills=0,
    ),
    Layout(
        "v2: Kubernetes, another period",
        merged(groups(f"0::{POD}\n"), mounts(v2_mount()), open_v2(POD), v2_cpu(chain(POD)[3], 25_000, 10_000)),
        quota=2.5,
        oom_kills=0,
    ),
    Layout(
        "v2: systemd user slice bounded far above, the leaf without controller files",
        merged(
            groups("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r7.scope\n"),
            mounts(v2_mount()),
            open_v2("/user.slice"),
            v2_cpu(f"{ROOT}/user.slice/user-1000.slice", 300_000),
            v2_memory(f"{ROOT}/user.slice/user-1000.slice", 6 * GIB, 5 * GIB, GIB, oom=1),
        ),
        quota=3.0,
        limit=6 * GIB,
        available=2 * GIB,
        oom_kills=1,
    ),
    Layout(
        "v2: memory.high throttles, it is no hard limit",
        merged(groups("0::/a.service\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a.service", used=GIB, high=3 * GIB)),
        available=2 * GIB,
        oom_kills=0,
    ),
    Layout(
        "v2: memory.high below memory.max",
        merged(
            groups("0::/a.service\n"),
            mounts(v2_mount()),
            v2_memory(f"{ROOT}/a.service", 4 * GIB, used=GIB, high=3 * GIB),
        ),
        limit=4 * GIB,
        available=2 * GIB,
        oom_kills=0,
    ),
    Layout(
        "v2: the least left is not under the tightest limit",
        merged(
            groups("0::/a/b\n"),
            mounts(v2_mount()),
            v2_memory(f"{ROOT}/a", 8 * GIB, 8 * GIB - MIB),
            v2_memory(f"{ROOT}/a/b", 2 * GIB, GIB),
        ),
        limit=2 * GIB,
        available=MIB,
        oom_kills=0,
    ),
    Layout(
        "v2: more used than the limit, just lowered",
        merged(groups("0::/a\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a", GIB, 2 * GIB)),
        limit=GIB,
        available=0,
        oom_kills=0,
    ),
    Layout(
        "v2: reclaimable slab is no use either",
        merged(
            groups("0::/a\n"),
            mounts(v2_mount()),
            v2_memory(f"{ROOT}/a", 2 * GIB, GIB),
            {f"{ROOT}/a/memory.stat": f"anon 1\ninactive_file {MIB}\nactive_file {MIB}\nslab_reclaimable {MIB}\n"},
        ),
        limit=2 * GIB,
        available=GIB + 3 * MIB,
        oom_kills=0,
    ),
    Layout(
        "v2: limit above the machine's memory",
        merged(groups("0::/a\n"), mounts(v2_mount()), v2_memory(f"{ROOT}/a", 64 * GIB, GIB)),
        oom_kills=0,
    ),
    Layout(
        "v2: mounted elsewhere, by hand",
        merged(
            groups("0::/batch/job\n"),
            mounts(v2_mount("/mnt/my\\040groups")),
            open_v2("/batch", "/mnt/my groups"),
            v2_cpu("/mnt/my groups/batch/job", 80_000),
        ),
        quota=0.8,
        oom_kills=0,
    ),
    Layout(
        "v2: seen twice, as the host's tree and as the own subtree",
        merged(
            groups("0::/docker/c1\n"),
            mounts(v2_mount(root="/docker/c1"), v2_mount("/host/cgroup")),
            v2_cpu(ROOT, 200_000),
            v2_cpu("/host/cgroup/docker/c1", 200_000),
            v2_cpu("/host/cgroup/docker", 100_000),
        ),
        quota=1.0,
    ),
    Layout(
        "v2: another mount hides the first, in which the own path means somebody else",
        merged(
            groups("0::/a\n"),
            mounts(v2_mount(), v2_mount(root="/a")),
            v2_cpu(ROOT, 200_000),
            v2_cpu(f"{ROOT}/a", 10_000),
        ),
        quota=2.0,
    ),
    Layout(
        "v2: namespace, own group outside of it",
        merged(groups("0::/../../x\n"), mounts(v2_mount()), v2_cpu(ROOT, 90_000), v2_cpu(f"{ROOT}/x", 10_000)),
        quota=0.9,
        warns=("/../../x is not below /",),
    ),
    Layout(
        "v2: namespace, mount from outside of it",
        merged(groups("0::/\n"), mounts(v2_mount(root="/../..")), v2_cpu(ROOT, 700_000)),
        quota=7.0,
        warns=("/ is not below /../..",),
    ),
    Layout(
        "v2: namespace, mount and path both from outside and the one below the other",
        merged(groups("0::/../../x\n"), mounts(v2_mount(root="/../..")), v2_cpu(f"{ROOT}/x", 60_000)),
        quota=0.6,
    ),
    Layout(
        "v2: bind mount of a foreign subtree: the mount point is all there is",
        merged(groups("0::/docker/c2\n"), mounts(v2_mount(root="/docker/c1")), v2_cpu(ROOT, 110_000)),
        quota=1.1,
        warns=("/docker/c2 is not below /docker/c1",),
    ),
    Layout(
        "v2: a name that only begins like the root field",
        merged(groups("0::/docker/c12\n"), mounts(v2_mount(root="/docker/c1")), v2_cpu(f"{ROOT}2", 10_000)),
        warns=("/docker/c12 is not below /docker/c1",),
    ),
    Layout(
        "v2: path of the host, but the container's group mounted as the root (nspawn, some LXC)",
        merged(groups("0::/machine.slice/machine-c1.scope/payload\n"), mounts(v2_mount()), v2_cpu(ROOT, 130_000)),
        quota=1.3,
    ),
    Layout(
        "v2: LXC, init moved into a child",
        merged(
            groups("0::/.lxc\n"),
            mounts(v2_mount()),
            v2_cpu(ROOT, 400_000),
            v2_memory(ROOT, 2 * GIB, GIB),
            open_v2("/.lxc"),
        ),
        quota=4.0,
        limit=2 * GIB,
        available=GIB,
        oom_kills=0,
    ),
    Layout(
        "v2: colons in the path",
        merged(
            groups("0::/system.slice:docker:4a/kubepods:b\n"),
            mounts(v2_mount()),
            v2_cpu(f"{ROOT}/system.slice:docker:4a", 140_000),
            v2_cpu(f"{ROOT}/system.slice:docker:4a/kubepods:b"),
        ),
        quota=1.4,
    ),
    Layout(
        "v2: spaces, odd line ends and bytes in the path",
        merged(
            groups("0::/my jobs/ a\x0b\x1c\u2028b \udcff\n"),
            mounts(v2_mount()),
            v2_cpu(f"{ROOT}/my jobs/ a\x0b\x1c\u2028b \udcff", 160_000),
        ),
        quota=1.6,
    ),
    Layout(
        "v2: space in the root field, which mountinfo escapes",
        merged(groups("0::/my jobs/a\n"), mounts(v2_mount(root="/my\\040jobs")), v2_cpu(f"{ROOT}/a", 170_000)),
        quota=1.7,
    ),
    Layout(
        "v2: systemd's own escapes are part of the name",
        merged(
            groups(f"0::{ESCAPED}\n"),
            mounts(v2_mount(root=ESCAPED.replace("\\", "\\134"))),
            v2_cpu(ROOT, 180_000),
        ),
        quota=1.8,
    ),
    Layout(
        "v2: a name that looks like an escape",
        merged(groups("0::/a\\040b\n"), mounts(v2_mount()), v2_cpu(f"{ROOT}/a\\040b", 190_000)),
        quota=1.9,
    ),
    Layout(
        "v2: group deleted, its ancestors count",
        merged(groups("0::/batch/job (deleted)\n"), mounts(v2_mount()), v2_cpu(f"{ROOT}/batch", 100_000)),
        quota=1.0,
    ),
    Layout(
        "v2: group deleted by its line only",
        merged(groups("0::/batch/job (deleted)\n"), mounts(v2_mount()), v2_cpu(f"{ROOT}/batch/job", 30_000)),
        quota=0.3,
    ),
    Layout(
        "v2: group whose name really ends so",
        merged(groups("0::/old (deleted)\n"), mounts(v2_mount()), v2_cpu(f"{ROOT}/old (deleted)", 40_000)),
        quota=0.4,
    ),
    Layout(
        "v2: Slurm, memory bounded at the job, not the leaf",
        merged(
            groups("0::/system.slice/slurmstepd.scope/job_12/step_0/user/task_0\n"),
            mounts(v2_mount()),
            open_v2("/system.slice/slurmstepd.scope/job_12/step_0/user/task_0"),
            v2_memory(f"{ROOT}/system.slice/slurmstepd.scope/job_12", 5 * GIB, 2 * GIB, GIB),
        ),
        limit=5 * GIB,
        available=4 * GIB,
        oom_kills=0,
    ),
    Layout(
        "v2: mountinfo cannot be read, the usual place is tried",
        merged(groups("0::/a\n"), v2_cpu(f"{ROOT}/a", 210_000)),
        quota=2.1,
        warns=("cannot read /proc/self/mountinfo",),
    ),
    Layout(
        "v2: own groups unknown, the mount point is tried",
        merged(mounts(v2_mount()), v2_cpu(ROOT, 220_000)),
        quota=2.2,
        warns=("cannot read /proc/self/cgroup",),
    ),
    Layout(
        "v2: gVisor, an empty list of groups",
        merged(groups(""), mounts(v2_mount()), v2_cpu(ROOT, 230_000)),
        quota=2.3,
        warns=("/proc/self/cgroup holds ''",),
    ),
]

VERSION_1 = [
    Layout("v1: machine's root groups", merged(v1_groups("/"), v1_mounts(), v1_cpu(CPU), v1_memory(MEM)), oom_kills=0),
    Layout(
        "v1: Docker, root field stripped",
        merged(
            v1_groups("/docker/c1"),
            v1_mounts("/docker/c1"),
            v1_cpu(CPU, 150_000),
            v1_memory(MEM, 2 * GIB, GIB, GIB // 2, oom=3),
        ),
        quota=1.5,
        limit=2 * GIB,
        available=GIB + GIB // 2,
        oom_kills=3,
    ),
    Layout(
        "v1: Docker with the host's tree",
        merged(
            v1_groups("/docker/c1"),
            v1_mounts(),
            open_v1("/docker"),
            v1_cpu(f"{CPU}/docker/c1", 50_000),
            v1_memory(f"{MEM}/docker/c1", GIB, GIB // 4),
        ),
        quota=0.5,
        limit=GIB,
        available=GIB - GIB // 4,
        oom_kills=0,
    ),
    Layout(
        "v1: Docker with a cgroup namespace",
        merged(v1_groups("/"), v1_mounts(), v1_cpu(CPU, 40_000), v1_memory(MEM, GIB, 0)),
        quota=0.4,
        limit=GIB,
        available=GIB,
        oom_kills=0,
    ),
    Layout(
        "v1: Kubernetes, the pod's bounds tighter",
        merged(
            v1_groups(POD),
            v1_mounts(),
            open_v1(POD),
            v1_cpu(chain(POD, CPU)[2], 180_000),
            v1_memory(chain(POD, MEM)[2], 3 * GIB, 2 * GIB),
            v1_cpu(chain(POD, CPU)[3], 400_000),
            v1_memory(chain(POD, MEM)[3], 4 * GIB, GIB, above=3 * GIB),
        ),
        quota=1.8,
        limit=3 * GIB,
        available=GIB,
        oom_kills=0,
    ),
    Layout(
        "v1: Kubernetes seen from inside: memory.stat alone tells of the pod's limit",
        merged(v1_groups(POD), v1_mounts(POD), v1_cpu(CPU, 20_000), v1_memory(MEM, UNLIMITED, GIB, MIB, above=2 * GIB)),
        quota=0.2,
        limit=2 * GIB,
        available=GIB + MIB,
        oom_kills=0,
    ),
    Layout(
        "v1: quota 0 is none",
        merged(v1_groups("/a"), v1_mounts(), v1_cpu(f"{CPU}/a", 0), v1_memory(f"{MEM}/a")),
        oom_kills=0,
    ),
    Layout(
        "v1: no limit as a kernel with pages of 64 KiB writes it",
        merged(v1_groups("/a"), v1_mounts(), v1_memory(f"{MEM}/a", 9223372036854710272, above=9223372036854710272)),
        oom_kills=0,
    ),
    Layout(
        "v1: limit above the machine's memory",
        merged(v1_groups("/a"), v1_mounts(), v1_memory(f"{MEM}/a", 32 * GIB)),
        oom_kills=0,
    ),
    Layout(
        "v1: limit -1, as some emulations show it",
        merged(v1_groups("/a"), v1_mounts(), {f"{MEM}/a/memory.limit_in_bytes": "-1\n"}),
    ),
    Layout(
        "v1: cpu and cpuacct mounted together, no symlink called cpu",
        merged(
            groups("3:cpuacct,cpu:/job\n"),
            mounts(V1_TMPFS, v1_mount("cpuacct,cpu")),
            v1_cpu(f"{ROOT}/cpuacct,cpu/job", 110_000),
        ),
        quota=1.1,
    ),
    Layout(
        "v1: cpu and cpuacct apart, in different groups",
        merged(
            groups("3:cpuacct:/x\n2:cpu:/y\n1:cpuset:/z\n"),
            mounts(V1_TMPFS, v1_mount("cpuacct"), v1_mount("cpu"), v1_mount("cpuset")),
            v1_cpu(f"{ROOT}/cpu/y", 120_000),
            v1_cpu(f"{ROOT}/cpuacct/x", 10_000),
            v1_cpu(f"{ROOT}/cpu/x", 10_000),
        ),
        quota=1.2,
    ),
    Layout(
        "v1: all controllers in one odd place",
        merged(
            groups("1:cpuset,cpu,cpuacct,memory:/q\n"),
            mounts(v1_mount("cpuset,cpu,cpuacct,memory", "/cgroup")),
            v1_cpu("/cgroup/q", 130_000),
            v1_memory("/cgroup/q", GIB, MIB),
        ),
        quota=1.3,
        limit=GIB,
        available=GIB - MIB,
        oom_kills=0,
    ),
    Layout(
        "v1: hierarchies named like controllers",
        merged(
            groups("7:name=cpu:/a\n6:name=memory:/a\n2:cpu:/b\n"),
            mounts(
                "40 30 0:40 / /sys/fs/cgroup/named rw - cgroup cgroup rw,name=cpu",
                "41 30 0:41 / /sys/fs/cgroup/named2 rw - cgroup cgroup rw,name=memory",
                v1_mount("cpu"),
            ),
            v1_cpu(f"{ROOT}/named/a", 10_000),
            v1_cpu(f"{ROOT}/cpu/b", 140_000),
        ),
        quota=1.4,
    ),
    Layout(
        "v1: Slurm, memory bounded at the job and looser at the step",
        merged(
            v1_groups("/slurm/uid_1/job_2/step_0", "/slurm/uid_1/job_2/step_0/task_0"),
            v1_mounts(),
            open_v1("/slurm/uid_1/job_2/step_0/task_0"),
            v1_memory(f"{MEM}/slurm/uid_1/job_2", 4 * GIB, 2 * GIB, GIB),
            v1_memory(f"{MEM}/slurm/uid_1/job_2/step_0", 5 * GIB, GIB, above=4 * GIB),
        ),
        limit=4 * GIB,
        available=3 * GIB,
        oom_kills=0,
    ),
    Layout(
        "v1: use_hierarchy off, its ancestors count all the same",
        merged(
            v1_groups("/a/b"),
            v1_mounts(),
            v1_memory(f"{MEM}/a", GIB, MIB),
            {f"{MEM}/a/memory.use_hierarchy": "0\n"},
            v1_memory(f"{MEM}/a/b", 2 * GIB, MIB),
        ),
        limit=GIB,
        available=GIB - MIB,
        oom_kills=0,
    ),
    Layout(
        "v1: LXC, its own path",
        merged(
            v1_groups("/lxc/web"),
            v1_mounts("/lxc/web"),
            v1_cpu(CPU, 300_000),
            v1_memory(MEM, 512 * MIB, 500 * MIB, 100 * MIB),
        ),
        quota=3.0,
        limit=512 * MIB,
        available=112 * MIB,
        oom_kills=0,
    ),
    Layout(
        "v1: Docker in Docker, the inner path longer than the root field",
        merged(
            v1_groups("/docker/outer/docker/inner"),
            v1_mounts("/docker/outer"),
            v1_cpu(CPU, 200_000),
            v1_cpu(f"{CPU}/docker"),
            v1_cpu(f"{CPU}/docker/inner", 350_000),
        ),
        quota=2.0,
    ),
    Layout(
        "v1: path outside of the mount",
        merged(v1_groups("/elsewhere"), v1_mounts("/docker/c1"), v1_cpu(CPU, 150_000), v1_memory(MEM, GIB, MIB)),
        quota=1.5,
        limit=GIB,
        available=GIB - MIB,
        oom_kills=0,
        warns=("/elsewhere is not below /docker/c1",),
    ),
    Layout(
        "v1: colons, spaces and a deleted mark",
        merged(groups("2:cpu:/a:b c/d (deleted)\n"), mounts(v1_mount("cpu")), v1_cpu(f"{ROOT}/cpu/a:b c", 150_000)),
        quota=1.5,
    ),
    Layout(
        "v1: kernel before 4.13 counts no kills",
        merged(
            v1_groups("/a"),
            v1_mounts(),
            v1_memory(f"{MEM}/a", GIB, MIB),
            {f"{MEM}/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"},
        ),
        limit=GIB,
        available=GIB - MIB,
    ),
    Layout(
        "v1: mountinfo unreadable, the usual places are tried",
        merged(
            v1_groups("/a"),
            {"/proc/self/mountinfo": PermissionError(errno.EACCES, "Permission denied")},  # type: ignore[dict-item]
            v1_cpu(f"{CPU}/a", 150_000),
            v1_memory(f"{MEM}/a", GIB, MIB),
        ),
        quota=1.5,
        limit=GIB,
        available=GIB - MIB,
        oom_kills=0,
        warns=("cannot read /proc/self/mountinfo: Permission denied",),
    ),
]

HYBRID_AND_MORE = [
    Layout(
        "hybrid: v2 mounted without controllers",
        merged(
            groups(HYBRID_GROUPS),
            HYBRID_MOUNTS,
            v1_cpu(f"{ROOT}/cpu/job", 150_000),
            v1_memory(MEM),
            v1_memory(f"{MEM}/job", 2 * GIB, GIB, oom=1),
            v1_memory(f"{MEM}/job/7", oom=4, above=2 * GIB),
        ),
        quota=1.5,
        limit=2 * GIB,
        available=GIB,
        oom_kills=4,
    ),
    Layout(
        "hybrid: memory in v1, cpu in v2",
        merged(
            groups("4:memory:/job\n0::/job\n"),
            mounts(V1_TMPFS, v1_mount("memory"), v2_mount(f"{ROOT}/unified")),
            v1_memory(f"{MEM}/job", GIB, MIB),
            v2_cpu(f"{ROOT}/unified/job", 250_000),
        ),
        quota=2.5,
        limit=GIB,
        available=GIB - MIB,
        oom_kills=0,
    ),
    Layout(
        "hybrid: cpu in v1, memory in v2",
        merged(
            groups("2:cpu,cpuacct:/job\n0::/job\n"),
            mounts(V1_TMPFS, v1_mount("cpu,cpuacct"), v2_mount(f"{ROOT}/unified")),
            v1_cpu(f"{CPU}/job", 50_000),
            v2_memory(f"{ROOT}/unified/job", GIB, MIB, oom=8),
        ),
        quota=0.5,
        limit=GIB,
        available=GIB - MIB,
        oom_kills=8,
    ),
    Layout(
        "WSL2: a 9p mount with raw spaces, which even names cgroup2",
        merged(
            groups("4:memory:/docker/c1\n2:cpu:/docker/c1\n0::/\n"),
            mounts(WSL_9P, V1_TMPFS, v1_mount("cpu"), v1_mount("memory"), v2_mount(f"{ROOT}/unified"), WSL_9P),
            v1_cpu(f"{ROOT}/cpu/docker/c1", 150_000),
            v1_memory(f"{MEM}/docker/c1", GIB, MIB),
        ),
        quota=1.5,
        limit=GIB,
        available=GIB - MIB,
        oom_kills=0,
    ),
    Layout("no cgroup mounted at all", merged(groups("0::/\n"), mounts())),
    Layout(
        "malformed: text in cpu.max, the other groups count",
        merged(
            groups("0::/a/b\n"),
            mounts(v2_mount()),
            v2_cpu(f"{ROOT}/a", 150_000),
            {f"{ROOT}/a/b/cpu.max": "xyz\n"},
        ),
        quota=1.5,
        warns=(f"{ROOT}/a/b/cpu.max holds 'xyz\\n'",),
    ),
    Layout(
        "malformed: empty files",
        merged(
            groups("0::/a\n"),
            mounts(v2_mount()),
            {f"{ROOT}/a/{name}": "" for name in ("cpu.max", "memory.max", "memory.high", "memory.events")},
        ),
        warns=(f"{ROOT}/a/cpu.max holds ''", f"{ROOT}/a/memory.max holds ''"),
    ),
    Layout(
        "malformed: a quota without a period, a period of 0, a negative one",
        merged(
            groups("0::/a/b/c\n"),
            mounts(v2_mount()),
            {
                f"{ROOT}/a/cpu.max": "50000\n",
                f"{ROOT}/a/b/cpu.max": "50000 0\n",
                f"{ROOT}/a/b/c/cpu.max": "-50000 100000\n",
            },
        ),
        warns=("'50000\\n'", "'50000 0\\n'", "'-50000 100000\\n'"),
    ),
    Layout(
        "malformed: v1 quota without its period",
        merged(groups("2:cpu:/a\n"), mounts(v1_mount("cpu")), {f"{ROOT}/cpu/a/cpu.cfs_quota_us": "50000\n"}),
        warns=(f"cannot read {ROOT}/cpu/a/cpu.cfs_period_us",),
    ),
    Layout(
        "malformed: numbers beyond all reason",
        merged(
            groups("0::/a\n"),
            mounts(v2_mount()),
            {f"{ROOT}/a/cpu.max": "9" * 400 + " 1\n", f"{ROOT}/a/memory.max": "9" * 5000},
        ),
        warns=("999...'",),
    ),
    Layout(
        "malformed: limit known, use not: the limit bounds what is left",
        merged(groups("0::/a\n"), mounts(v2_mount()), {f"{ROOT}/a/memory.max": f"{GIB}\n"}),
        limit=GIB,
        available=GIB,
        warns=(f"cannot read {ROOT}/a/memory.current",),
    ),
    Layout(
        "unreadable: permission denied",
        merged(
            groups("0::/a\n"),
            mounts(v2_mount()),
            {f"{ROOT}/a/cpu.max": PermissionError(errno.EACCES, "Permission denied")},  # type: ignore[dict-item]
        ),
        warns=(f"cannot read {ROOT}/a/cpu.max: Permission denied",),
    ),
    Layout(
        "unreadable: the group went away in between",
        merged(
            groups("0::/a\n"),
            mounts(v2_mount()),
            {f"{ROOT}/a/cpu.max": OSError(errno.ENODEV, "No such device")},  # type: ignore[dict-item]
            v2_cpu(ROOT, 150_000),
        ),
        quota=1.5,
    ),
    Layout(
        "malformed: lines cut short in both lists",
        merged(
            groups("0::\n:\n5:cpu\n2:cpu:relative\n0::/a\n"),
            {"/proc/self/mountinfo": f"1 - cgroup2\n - cgroup\na b c d e f - cgroup\n\n{v2_mount()}\n"},
            v2_cpu(f"{ROOT}/a", 150_000),
        ),
        quota=1.5,
    ),
]

LAYOUTS = [*VERSION_2, *VERSION_1, *HYBRID_AND_MORE]
