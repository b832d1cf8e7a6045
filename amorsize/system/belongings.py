"""Notes of what amorsize has started and opened in this process, to find it when it is lost.

The notes own nothing and decide nothing. `amorsize.testing.left_behind` compares them with what the system says, so a
worker or a descriptor that no object knows any more is still told apart from the main program's own.

A descriptor is noted by the inode of its socket, pipe or file: numbers are used again, these inodes hardly ever. So
nothing needs to be taken back when it is closed.
"""

from __future__ import annotations

import os
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# guess: far more than one process has open at a time; 100 bytes each
MOST_NOTES: Final = 4096

Inode = tuple[int, int]

processes: dict[int, str] = {}
"""Description of each child that has been started and not been reaped, by process id."""

groups: OrderedDict[int, None] = OrderedDict()
"""The process groups of children that were killed, the latest last: no program in them may live on."""

descriptors: OrderedDict[Inode, str] = OrderedDict()
"""Description of each descriptor that has been opened, by device and inode, the latest last."""


def started(pid: int, what: str = "worker") -> None:
    """Note a child. To be called where no signal can come between the start and the note."""
    processes[pid] = what


def killed(pid: int) -> None:
    """Note that a child is killed, and with it the group that it leads."""
    groups[pid] = None
    if len(groups) > MOST_NOTES:
        groups.popitem(last=False)


def reaped(pid: int) -> None:
    """Note that a child has gone and has been waited for."""
    processes.pop(pid, None)


def opened(what: str, *fds: int) -> None:
    """Note descriptors (1 µs each)."""
    for fd in fds:
        status = os.fstat(fd)
        descriptors[status.st_dev, status.st_ino] = what
        if len(descriptors) > MOST_NOTES:
            descriptors.popitem(last=False)
