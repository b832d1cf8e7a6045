"""Sizes of the files that items name, asked for only where the answer comes at once: on a disk of this machine.

A look at a path may hang where a network server does not answer, and an automounter may mount what the path names. So
each step of a path is compared with the list of mounts before it is asked for, those that a link leads to as well.
Without such a list (`amorsize.system.mounts`) no file is asked for.
"""

from __future__ import annotations

import os
from collections import deque
from stat import S_ISLNK, S_ISREG

from amorsize.system.looks import is_interrupt
from amorsize.system.mounts import MOUNTS, is_local, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

MOST_CHARS: Final = 4096  # Linux: of a path
MOST_LINKS: Final = 40  # Linux: on the way to a file


class LocalFiles:
    """Looks up files, for a few milliseconds: a mount that comes meanwhile is not noticed."""

    def __init__(self, mountinfo: str = MOUNTS) -> None:
        self._kinds: dict[str, str] = {}
        self._folders: dict[str, str | None] = {}
        try:
            with open(mountinfo, encoding="utf-8", errors="surrogateescape") as stream:
                # Of two mounts at one point the later hides the earlier.
                self._kinds = {point: kind for _, point, kind, _ in parse(stream.read())}
        except OSError:
            return

    def __call__(self, item: Any) -> float | None:
        """Return the bytes of the regular file that a str or a `pathlib` path names; None: of no local file."""
        try:
            # The __fspath__ of another class may do anything: fetch the file from a cloud, say.
            if type(item) is not str:
                item = os.fspath(item) if type(item).__module__.partition(".")[0] == "pathlib" else ""
            if not 0 < len(item) <= MOST_CHARS or "\0" in item or "\n" in item:
                return None
            folder, _, name = os.path.join(os.getcwd(), item).rpartition("/")
            if folder not in self._folders:
                self._folders[folder] = self._walk("/", folder)
            at = self._folders[folder]
            path = None if at is None else self._walk(at, name)
            found = None if path is None else os.lstat(path)
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return None
        return float(found.st_size) if found is not None and S_ISREG(found.st_mode) else None

    def names(self, items: Sequence[Any]) -> bool:
        """Return True if each of these items names a local file."""
        return bool(items and self._kinds) and all(self(item) is not None for item in items)

    def _walk(self, at: str, path: str) -> str | None:
        """Return a path, relative to the folder ``at``, without links; None if a step on the way is not local."""
        steps, links = deque(path.split("/")), 0
        if not is_local(self._kinds.get("/", "autofs")):
            return None
        while steps:
            step = steps.popleft()
            if step in ("", "."):
                continue
            if step == "..":
                at = os.path.dirname(at)
                continue
            there = os.path.join(at, step)
            if not is_local(self._kinds.get(there, "")):
                return None
            if not S_ISLNK(os.lstat(there).st_mode):
                at = there
                continue
            links += 1
            if links > MOST_LINKS:
                return None
            target = os.readlink(there)
            at = "/" if target.startswith("/") else at
            steps.extendleft(reversed(target.split("/")))
        return at
