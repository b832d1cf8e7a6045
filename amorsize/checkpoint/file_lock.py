"""A lock of one process on a file, by a second file beside it that is deleted on release."""

from __future__ import annotations

import os
from contextlib import suppress

from amorsize.errors import CheckpointError
from amorsize.history.sqlite_file import try_lock

# Descriptors. A forked child closes them: otherwise it would keep its parent's locks until it ends.
_held: set[int] = set()


class FileLock:
    """An exclusive lock on ``file``, held from `acquire` to `release`; the kernel releases it when the process dies.

    The lock is on a file beside it (``file.lock``): by POSIX, a lock on the file itself would end as soon as any code
    in the process closes the file.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.path = f"{file}.lock"
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """True if this process holds the lock."""
        return self._descriptor in _held

    def acquire(self) -> None:
        """Take the lock, or raise `CheckpointError` at once."""
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                self._lock(descriptor)
                # The last owner may have deleted the file since it was opened.
                if not os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                    raise FileNotFoundError
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
            except FileNotFoundError:
                os.close(descriptor)
                continue
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
        if descriptor not in _held:
            return
        # Before the unlock: a process that has opened the file checks that it still exists.
        with suppress(OSError):
            os.unlink(self.path)
        _held.discard(descriptor)
        os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            try_lock(descriptor)
        except (BlockingIOError, PermissionError) as exc:
            with suppress(OSError):
                owner = os.read(descriptor, 20).decode("ascii", "replace")
                raise CheckpointError(
                    self.file,
                    f"process {owner or 'unknown'} is running with it. Wait until that has ended, or use another path",
                ) from exc
            raise
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
