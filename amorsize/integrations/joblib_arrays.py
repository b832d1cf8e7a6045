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
    """The copy of one buffer."""

    def __init__(self, view: memoryview, folder: str | None, access: int) -> None:
        fd, path, name = _nameless(folder)
        self.close = weakref.finalize(self, _close, fd, name)
        with open(fd, "wb", closefd=False) as file:
            file.write(view)
        self.ref = Ref(path, view.nbytes, access)


class Shares:
    """The buffers that the calls of one ``Parallel`` share. A copy lives as long as the object that it is of.

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
        # By address and size, with the reference that ends it: until then no other object can have that address.
        self._by_place: dict[tuple[int, int], tuple[Shared, weakref.ref[Any]]] = {}

    def ref(self, view: memoryview) -> Ref | None:
        """Return where workers find a buffer. None: it is sent, as it is small, or its owner's end would not show."""
        if self.least_bytes is None or view.nbytes < max(1, self.least_bytes):
            return None
        place = int(np.frombuffer(view, np.uint8).__array_interface__["data"][0]), view.nbytes
        known = self._by_place.get(place)
        if known is not None:
            return known[0].ref
        owner: Any = view.obj
        while isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        try:
            lives = weakref.ref(owner, lambda _: self._drop(place))
        except TypeError:
            return None
        shared = Shared(view, self._folder, self._access)
        self._by_place[place] = shared, lives
        return shared.ref

    def _drop(self, place: tuple[int, int]) -> None:
        known = self._by_place.pop(place, None)
        if known is not None:
            known[0].close()

    def close(self) -> None:
        """Drop everything. Workers that still map a buffer keep its memory until they unmap it."""
        for place in list(self._by_place):
            self._drop(place)


class Packed(tuple[Any, ...]):
    """A call that is pickled with references in the place of large buffers."""

    shares: Shares
    by_value: bool

    def __reduce_ex__(self, protocol_number: Any) -> tuple[Any, ...]:
        parts = protocol.dumps(tuple(map(_mapped, self)), self.by_value)
        return unpack, (parts[0], [self._beside(memoryview(part)) for part in parts[1:]])

    def _beside(self, part: memoryview) -> Any:
        return self.shares.ref(part) or pickle.PickleBuffer(part)


def pack(call: tuple[Any, ...], shares: Shares, as_value: bool) -> Packed:
    """Return this call as `Packed`."""
    packed = Packed(call)
    packed.shares, packed.by_value = shares, as_value
    return packed


def unpack(pickled: bytes, buffers: list[Any]) -> Any:
    """Rebuild a call in a worker."""
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
