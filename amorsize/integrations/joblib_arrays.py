"""Large buffers in the arguments of joblib's calls: copied once to memory that all workers map.

joblib's loky writes arrays of ``max_nbytes`` and more to files in ``/dev/shm``. Here the memory has no name, so nothing
is left behind whatever ends the program. Whatever pickles its memory as an out-of-band buffer (PEP 574) is shared, at
any depth: arrays, the columns of a DataFrame, a fitted model's tables. In a worker they are read-only, as with
``mmap_mode="r"``.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
import tempfile
import weakref
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np

from amorsize.backends.workers import by_value, protocol

# guess: buffers that no call in flight holds, and that are kept for the next ones
KEPT: Final = 8
# guess: elements of a container that may be arrays in mapped files
FEW: Final = 64
ACCESS: Final = {"r": mmap.ACCESS_READ, "c": mmap.ACCESS_COPY}


class Ref(NamedTuple):
    """Where a worker finds a buffer: a path, its bytes, and how it is mapped."""

    path: str
    n_bytes: int
    access: int

    def open(self) -> mmap.mmap:
        """Return the memory, in a worker."""
        with open(self.path, "rb" if self.access != mmap.ACCESS_WRITE else "r+b") as file:
            return mmap.mmap(file.fileno(), self.n_bytes, access=self.access)


class Shared:
    """One buffer and its copy; as long as this lives, no other object can take the buffer's address."""

    def __init__(self, view: memoryview, folder: str | None, access: int) -> None:
        self._view = view
        # Calls in flight that use it, and all that have.
        self.flying = self.uses = 0
        fd, path, name = _nameless(folder)
        self.close = weakref.finalize(self, _close, fd, name)
        with open(fd, "wb", closefd=False) as file:
            file.write(view)
        self.ref = Ref(path, view.nbytes, access)


class Shares:
    """The buffers that the calls of one ``Parallel`` share; used by one thread at a time.

    Parameters
    ----------
    least_bytes : int or None
        Smaller buffers are sent; None: all are.
    mode : str or None
        joblib's ``mmap_mode``; None: all buffers are sent.
    folder : str or None
        Where the copies lie; by default in memory.
    """

    def __init__(self, least_bytes: int | None, mode: str | None, folder: str | None) -> None:
        self.least_bytes = least_bytes if mode is not None else None
        self._access = ACCESS.get(mode or "r", mmap.ACCESS_WRITE)
        self._folder = folder or os.environ.get("JOBLIB_TEMP_FOLDER")
        self._by_place: dict[tuple[int, int], Shared] = {}

    def take(self, view: memoryview) -> Shared:
        """Return the shared copy of a buffer, for one more call."""
        place = int(np.frombuffer(view, np.uint8).__array_interface__["data"][0]), view.nbytes
        shared = self._by_place.pop(place, None)
        if shared is None:
            shared = Shared(view, self._folder, self._access)
        # The last one in the order is the one that was used last.
        self._by_place[place] = shared
        shared.flying += 1
        shared.uses += 1
        return shared

    def give_back(self, used: list[Shared]) -> None:
        """Note that a call has ended. What only one call has used is dropped; of the rest the latest are kept."""
        for shared in used:
            shared.flying -= 1
        idle = [(place, one) for place, one in self._by_place.items() if not one.flying]
        kept = [place for place, one in idle if one.uses > 1][-KEPT:]
        for place, one in idle:
            if place not in kept:
                del self._by_place[place]
                one.close()

    def close(self) -> None:
        """Drop everything. Workers that still map a buffer keep its memory until they unmap it."""
        while self._by_place:
            self._by_place.popitem()[1].close()


class Packed(tuple[Any, ...]):
    """Arguments of a call that are pickled with references in the place of large buffers. ``used`` notes these."""

    shares: Shares
    used: list[Shared]
    by_value: bool

    def __reduce_ex__(self, protocol_number: Any) -> tuple[Any, ...]:
        parts = protocol.dumps(tuple(map(_mapped, self)), self.by_value)
        return unpack, (parts[0], [self._beside(memoryview(part)) for part in parts[1:]])

    def _beside(self, part: memoryview) -> Any:
        least = self.shares.least_bytes
        if least is None or part.nbytes < max(1, least):
            return pickle.PickleBuffer(part)
        shared = self.shares.take(part)
        self.used.append(shared)
        return shared.ref


def pack(args: tuple[Any, ...], shares: Shares, used: list[Shared], as_value: bool) -> Packed:
    """Return these arguments as `Packed`."""
    packed = Packed(args)
    packed.shares, packed.used, packed.by_value = shares, used, as_value
    return packed


def unpack(pickled: bytes, buffers: list[Any]) -> Any:
    """Rebuild arguments in a worker."""
    return by_value.loads([pickled, *(one.open() if type(one) is Ref else one for one in buffers)])


class Light:
    """Pickles what is sent of a call: all but the buffers that are shared. To weigh it."""

    def __init__(self, call: Any, shares: Shares, as_value: bool) -> None:
        self._of = call, shares.least_bytes, as_value

    def __reduce__(self) -> tuple[Any, ...]:
        call, least, as_value = self._of
        parts = protocol.dumps(call, as_value)
        small = [part for part in parts[1:] if least is None or memoryview(part).nbytes < least]
        return unpack, (parts[0], list(map(pickle.PickleBuffer, small)))


class _Mapped:
    """Stands for an array that lies in a file which the program has mapped: workers map the same file."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Any, ...]:
        from joblib import _memmapping_reducer as joblibs

        reduced: tuple[Any, ...] = joblibs._reduce_memmap_backed(self._array, joblibs._get_backing_memmap(self._array))
        return reduced


def _mapped(value: Any) -> Any:
    """Return the value; `_Mapped` for an array in a mapped file. Short lists, tuples and dicts are looked into."""
    kind = type(value)
    if kind in (list, tuple, dict) and len(value) <= FEW:
        inside = list(value.values() if kind is dict else value)
        mapped = list(map(_mapped, inside))
        if all(one is other for one, other in zip(inside, mapped, strict=True)):
            return value
        return dict(zip(value, mapped, strict=True)) if kind is dict else kind(mapped)
    if isinstance(value, np.ndarray) and _lies_in_a_file(value):
        return _Mapped(value)
    return value


def _lies_in_a_file(array: Any) -> bool:
    from joblib._memmapping_reducer import _get_backing_memmap

    backing = _get_backing_memmap(array)
    return isinstance(backing, np.memmap) and getattr(backing, "filename", None) is not None


def _nameless(folder: str | None) -> tuple[int, str, str]:
    """Return a new file: its descriptor, a path for other processes, and its name if it has one."""
    if os.path.isdir("/proc/self/fd"):
        if folder is None and hasattr(os, "memfd_create"):
            fd = os.memfd_create("amorsize")
        else:
            with tempfile.TemporaryFile(dir=folder) as file:
                fd = os.dup(file.fileno())
        return fd, f"/proc/{os.getpid()}/fd/{fd}", ""
    fd, path = tempfile.mkstemp(prefix="amorsize-", dir=folder)
    return fd, path, path


def _close(fd: int, name: str) -> None:
    with suppress(OSError):
        os.close(fd)
        if name:
            os.unlink(name)


def can_map(pid: int) -> bool:
    """Return True if this process may open the descriptors of another one; in a worker, of its caller's."""
    return sys.platform != "linux" or os.access(f"/proc/{pid}/fd", os.R_OK | os.X_OK)
