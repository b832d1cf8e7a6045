"""Send the function of a plan's pool to each worker once. Every chunk brings only a token that stands for it.

A ``multiprocessing.Pool`` pickles the function with every chunk: with a table of 10 MB in it, 40 chunks took 1.4 s
where the items took 0.5. Forked workers inherit the function, pickled or not. For others its pickle lies in anonymous
memory. Every worker, also one that replaces another, gets the descriptor of this memory when it starts. The bytes
themselves do not go through a pipe, because the caller would have to wait until each worker in turn has started and
read them. Large buffers (arrays) are not even copied: workers share their memory until they write to it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from amorsize.backends.workers import protocol
from amorsize.backends.workers.functions import sent
from amorsize.system.looks import is_interrupt, kind_of, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Arrays want their data at a multiple of this.
ALIGN: Final = 64


class Handed:
    """The function of one pool, sent to its workers as an argument of their initializer.

    Parameters
    ----------
    func : callable
    forks : bool
        True if the workers inherit it.
    by_value : bool
        True if they cannot import the main module.

    Attributes
    ----------
    key : bytes
        Identifies this pool.
    func : callable or None
        None once the pool is closed.
    goes_once : bool
        True if chunks bring only the token. False if each chunk brings the function itself as long as that can be
        pickled.
    """

    def __init__(self, func: Callable[..., Any], *, forks: bool, by_value: bool = False) -> None:
        self.func: Callable[..., Any] | None = func
        self.goes_once = True
        self.key = os.urandom(16)
        self._memory: int | None = None
        self._parts: list[bytes] = []
        self._sizes: list[int] = []
        if not forks:
            parts = [memoryview(part).cast("B") for part in protocol.dumps(sent(func, by_value), by_value)]
            self._sizes = [len(part) for part in parts]
            try:
                self._memory = _memory_of(parts)
            except OSError:
                # The memory is full or must not be used. Then the bytes go through the pipe.
                self._parts = [bytes(part) for part in parts]

    def __reduce__(self) -> tuple[Any, ...]:
        if self._memory is None:
            return _Arrived, (self.key, self._sizes, None, self._parts)
        # multiprocessing is what pickles it.
        reduction: Any = sys.modules["multiprocessing.reduction"]
        return _Arrived, (self.key, self._sizes, reduction.DupFd(self._memory), [])

    def token(self) -> Token:
        """Return what to send with every chunk."""
        return Token(self.key)

    def of_worker(self) -> Callable[..., Any]:
        """Return the function, in a forked worker."""
        assert self.func is not None
        return self.func

    def close(self) -> None:
        """Let go of the function and its pickle, once no worker starts any more."""
        self.func, self._parts = None, []
        memory, self._memory = self._memory, None
        if memory is not None:
            os.close(memory)

    def __del__(self) -> None:
        if getattr(self, "_memory", None) is not None:
            self.close()


class Token:
    """A placeholder that is pickled in place of a pool's function and unpickled in the worker as that function."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return found, (self.key,)


# -- in the caller ----------------------------------------------------------------------------------------------------


def _memory_of(parts: Sequence[memoryview]) -> int:
    """Return a descriptor of memory without a name that holds these parts, aligned."""
    if sys.platform == "win32":
        raise OSError("a worker inherits no descriptor here")
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("amorsize")
    else:
        from tempfile import TemporaryFile

        with TemporaryFile() as file:
            memory = os.dup(file.fileno())
    try:
        with os.fdopen(memory, "wb", closefd=False) as stream:
            for part in parts:
                stream.write(part)
                stream.write(bytes(-len(part) % ALIGN))
    except BaseException:
        os.close(memory)
        raise
    return memory


# -- in a worker ------------------------------------------------------------------------------------------------------


class _Arrived:
    """The pickle of a function in a worker, opened when the first chunk asks for it."""

    def __init__(self, key: bytes, sizes: list[int], memory: Any, parts: list[bytes]) -> None:
        self.key, self.sizes, self.parts = key, sizes, parts
        self.memory: int | None = None if memory is None else memory.detach()
        self.func: Callable[..., Any] | None = None

    def of_worker(self) -> Callable[..., Any]:
        if self.func is None:
            self.func = self._opened()
        return self.func

    def _opened(self) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = protocol.loads(self._loaded())
        # An exception here would end this worker, and the pool would start new workers without end.
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return Unfound(exc)
        return found

    def _loaded(self) -> list[Any]:
        if self.memory is None:
            given, self.parts = self.parts, []
            return list(given)
        from mmap import ACCESS_COPY, mmap

        # The memory is mapped instead of read, because all workers share one file position.
        whole = memoryview(mmap(self.memory, 0, access=ACCESS_COPY))
        os.close(self.memory)
        parts: list[Any] = []
        at = 0
        for size in self.sizes:
            parts.append(whole[at : at + size])
            at += size + -size % ALIGN
        return parts


class Unfound:
    """A callable that raises, in place of a function that could not be unpickled."""

    def __init__(self, exc: BaseException) -> None:
        self.why = text_of(exc) or kind_of(exc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise why."""
        from amorsize.errors import TransferError

        raise TransferError("func", None, f"it was pickled, and does not come out of its pickle ({self.why})")


def lost(*args: Any, **kwargs: Any) -> Any:
    """Raise in the place of a function whose pool is closed."""
    raise RuntimeError("the pool that this function was handed to is closed; map it in an open pool")


# This worker's own, and None in a process that is no worker of a plan's pool.
_mine: Handed | _Arrived | None = None


def hold(handed: Any) -> None:
    """Keep what the initializer of a worker was given."""
    global _mine
    _mine = handed


def found(key: bytes) -> Callable[..., Any]:
    """Return the function that a token leads to."""
    if _mine is None or _mine.key != key:
        return lost
    return _mine.of_worker()
