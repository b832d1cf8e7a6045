"""Where the one file of amorsize lies: what ``AMORSIZE_HISTORY`` says, and what kind of file system that is on."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Final

VARIABLE: Final = "AMORSIZE_HISTORY"
OFF: Final = "off"
FILE_NAME: Final = "history.sqlite"

# Where shared memory or locks may not reach every user of the file. Besides these, all of fuse.* but overlays: most
# are remote, and a wrong guess only costs a slower journal.
# fmt: off
_NETWORK_TYPES: Final = frozenset((
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs",
))
# fmt: on

_networks: dict[str, bool] = {}  # folders that were looked up


def setting() -> str:
    """What ``AMORSIZE_HISTORY`` says now: ``""`` (the user's cache folder), ``"off"``, or an absolute path."""
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return ""
    try:
        return OFF if value.lower() == OFF else os.path.abspath(os.path.expanduser(value))
    except OSError:  # a relative path, and the working directory is gone
        return OFF


def locate(place: str) -> Path | None:
    """The file that an answer of `setting` means; None: nothing is to be kept, or this user has no cache folder."""
    from pathlib import Path

    if place == OFF:
        return None
    if place:
        return Path(place)
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("amorsize"))
    except (OSError, RuntimeError, KeyError):  # no HOME, and a user id that nobody knows
        return None
    return folder / FILE_NAME if folder.is_absolute() else None


def default_path() -> Path | None:
    """The file that ``AMORSIZE_HISTORY`` names now; None when it says ``off``."""
    return locate(setting())


def is_network(path: str, mountinfo_text: str) -> bool:
    """Whether ``path`` (absolute, without links) is on a file system that several hosts or guests may share.

    Parameters
    ----------
    path : str
        A file or folder; it need not exist.
    mountinfo_text : str
        Content of ``/proc/self/mountinfo``. Lines that cannot be read are passed over.

    Examples
    --------
    >>> mounts = '''22 1 8:1 / / rw - ext4 /dev/sda1 rw
    ... 40 22 0:40 / /home rw,relatime shared:7 - nfs4 server:/home rw'''
    >>> is_network("/home/ada/.cache", mounts), is_network("/homes/.cache", mounts)
    (True, False)
    """
    longest, kind = -1, ""
    for line in mountinfo_text.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _unescape(fields[4]).rstrip("/")
        # Of two mounts on one point the later hides the earlier.
        if (path + "/").startswith(point + "/") and len(point) >= longest:
            longest, kind = len(point), right.split(" ")[0]
    return kind in _NETWORK_TYPES or (kind.startswith("fuse.") and "overlay" not in kind)


def on_network(folder: str) -> bool:
    known = _networks.get(folder)
    if known is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
                known = is_network(os.path.realpath(folder), stream.read())
        except OSError:  # not Linux
            known = False
        _networks[folder] = known
    return known


def _unescape(field: str) -> str:
    r"""Undo what the kernel does to blanks in mountinfo: ``/my\040disk`` is ``/my disk``."""
    for escaped, plain in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(escaped, plain)
    return field
