"""Mounted file systems, as Linux lists them, and which of them several hosts may share.

Source: ``proc_pid_mountinfo(5)``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

MOUNTS: Final = "/proc/self/mountinfo"

# Where shared memory or locks may not reach every user of the file. Besides these, all of fuse.* but overlays: most
# are remote, and a wrong guess only costs a slower journal.
# fmt: off
_NETWORK_TYPES: Final = frozenset((
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs",
))
# fmt: on

_networks: dict[str, bool] = {}


def parse(text: str) -> Iterator[tuple[str, str, str, str]]:
    r"""Read mountinfo: of each mount the subtree shown, the mount point, the type of file system, its options.

    Of two mounts at one point the later hides the earlier. Lines of another form are ignored.

    Fields are counted from the lone dash: optional ones stand before it, and raw spaces (WSL2) only behind it.

    Examples
    --------
    >>> list(parse("25 20 0:22 /a\\040b /mnt rw - ext4 /dev/sda1 rw"))
    [('/a b', '/mnt', 'ext4', 'rw')]
    """
    # splitlines() would cut at more than line ends.
    for fields in (line.split(" ") for line in text.split("\n")):
        if "-" in fields[6:-1]:
            kind = fields[fields.index("-", 6) + 1]
            yield _unescape(fields[3]), _unescape(fields[4]), kind, fields[-1]


def _unescape(field: str) -> str:
    if "\\" not in field:
        return field
    # It takes 3 ms, and hardly any field needs it.
    import re

    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def is_network(path: str, mountinfo_text: str) -> bool:
    """Return True if ``path`` (absolute, without links) is on a file system that several hosts or guests may share.

    Parameters
    ----------
    path : str
        A file or folder; it need not exist.
    mountinfo_text : str
        Content of ``/proc/self/mountinfo``.

    Examples
    --------
    >>> mounts = '''22 1 8:1 / / rw - ext4 /dev/sda1 rw
    ... 40 22 0:40 / /home rw,relatime shared:7 - nfs4 server:/home rw'''
    >>> is_network("/home/ada/.cache", mounts), is_network("/homes/.cache", mounts)
    (True, False)
    """
    longest, kind = -1, ""
    for _, point, type_, _ in parse(mountinfo_text):
        folder = point.rstrip("/") + "/"
        if (path + "/").startswith(folder) and len(folder) >= longest:
            longest, kind = len(folder), type_
    return _is_network_type(kind)


def _is_network_type(kind: str) -> bool:
    return kind in _NETWORK_TYPES or (kind.startswith("fuse.") and "overlay" not in kind)


def is_local(kind: str) -> bool:
    """Return True if a file system of this type answers at once: neither a network nor an automounter behind it."""
    return kind not in ("autofs", "fuse") and not _is_network_type(kind)


def on_network(folder: str) -> bool:
    """Return True if several hosts may share the folder's file system; looked up once for each folder."""
    known = _networks.get(folder)
    if known is None:
        try:
            with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as stream:
                known = is_network(os.path.realpath(folder), stream.read())
        except OSError:
            known = False
        _networks[folder] = known
    return known
