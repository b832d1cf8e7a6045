"""A lock of one process on a file, by a second file beside it that is deleted on release."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from amorsize.errors import CheckpointError
from amorsize.history.sqlite_file import try_lock

# Descriptors. A forked child closes them: otherwise it would keep its parent's locks until it ends.
_held: set[int] = set()

# No program's own name: "poetry.lock" is a file of the user's, and so is "poetry".
SUFFIX: Final = ".amorsize-lock"
# What a lock file begins with; the number of the process that holds it follows.
MARK: Final = b"amorsize lock of process "
# A lock file is shorter.
MOST_BYTES: Final = 100


class FileLock:
    """An exclusive lock on ``file``, held from `acquire` to `release`; the kernel releases it when the process dies.

    The lock is on a file beside it: by POSIX, a lock on the file itself would end as soon as any code in the process
    closes the file. What stands there and is no lock of amorsize's, a link say, is neither written nor deleted.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.path = f"{file}{SUFFIX}"
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """True if this process holds the lock."""
        return self._descriptor in _held

    def acquire(self) -> None:
        """Take the lock, or raise `CheckpointError` at once."""
        while self._descriptor is None:
            descriptor = self._open()
            try:
                owner = self._owner(descriptor)
                self._lock(descriptor, owner)
                # The last owner may have deleted the file since it was opened.
                if not self._is_at_its_path(descriptor):
                    os.close(descriptor)
                    continue
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, MARK + str(os.getpid()).encode())
            except BaseException:
                os.close(descriptor)
                raise
            _hook_forks()
            _held.add(descriptor)
            self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock, if it is held."""
        descriptor, self._descriptor = self._descriptor, None
        # In a forked child it is closed already.
        if descriptor is None or descriptor not in _held:
            return
        # Before the unlock: a process that has opened the file checks that it still exists.
        with suppress(OSError):
            if self._is_at_its_path(descriptor):
                os.unlink(self.path)
        _held.discard(descriptor)
        os.close(descriptor)

    def _open(self) -> int:
        # Without O_TRUNC, and without following a link or waiting at a pipe: see what it is first.
        safely = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | safely, 0o600)
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise self._refusal("it is no regular file") from exc
            raise

    def _owner(self, descriptor: int) -> str:
        """Return the process that a lock file names, "unknown" if none; refuse any other file."""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise self._refusal("it is no regular file")
        # On Windows a lock also bars from reading.
        with suppress(PermissionError):
            text = os.read(descriptor, MOST_BYTES)
            if text and not (text.startswith(MARK) and len(text) < MOST_BYTES):
                raise self._refusal("it is no lock of amorsize's")
            return text.removeprefix(MARK).decode("ascii", "replace") or "unknown"
        return "unknown"

    def _refusal(self, why: str) -> CheckpointError:
        return CheckpointError(
            self.file, f"its lock would be {self.path}, but {why}. It was left as it is: move it, or use another path"
        )

    def _is_at_its_path(self, descriptor: int) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.lstat(self.path))
        return False

    def _lock(self, descriptor: int, owner: str) -> None:
        try:
            try_lock(descriptor)
        except (BlockingIOError, PermissionError) as exc:
            raise CheckpointError(
                self.file,
                f"process {owner} is running with it. Wait until that has ended, or use another path",
            ) from exc
        except OSError as exc:
            raise CheckpointError(
                self.file, f"it cannot be locked there ({exc}). Put it on another file system, a local one say"
            ) from exc


_hooked: list[None] = []


def _hook_forks() -> None:
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked.append(None)
        os.register_at_fork(after_in_child=_close_inherited)


def _close_inherited() -> None:
    for descriptor in list(_held):
        os.close(descriptor)
    _held.clear()
