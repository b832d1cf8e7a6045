"""Send the exception of an item from a worker to the caller: the code of both sides.

The worker turns the exception into an `ItemError`, which can always be sent. In the caller, `ItemError.rebuild`
restores the exception, with the worker's traceback as its cause. Workers load this module, so it imports next to
nothing.
"""

from __future__ import annotations

import io
import pickle

from amorsize.backends.workers import by_value
from amorsize.errors import RemoteError, RemoteTraceback
from amorsize.system.looks import (
    class_names_of,
    full_kind_of,
    is_interrupt,
    is_larger,
    note,
    set_cause,
    shorten,
    text_of,
    trace_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

# True in a worker that cannot import the caller's ``__main__``.
main_by_value = False


class ItemError:
    """An item's exception: pickled if it survives a round trip, else as text."""

    __slots__ = ("class_names", "index", "pickled", "text", "trace", "type_name")

    def __init__(self, index: int, exc: BaseException) -> None:
        self.index = index
        self.trace = trace_of(exc, ours=index < 0).replace("__mp_main__.", "__main__.")
        self.type_name = full_kind_of(exc)
        self.class_names = class_names_of(exc)
        self.text = text_of(exc)
        self.pickled = pickled_exception(exc)

    def __getstate__(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)

    def rebuild(self) -> BaseException:
        """Return the item's own exception if it can be rebuilt here, else a `RemoteError`."""
        exc: BaseException
        try:
            exc = self._as_text() if self.pickled is None else _loads(self.pickled)
        # Its class cannot be imported here, or raises while it is rebuilt.
        except BaseException as why:
            if is_interrupt(why):
                raise
            exc = self._as_text()
        from amorsize.hints import with_sources

        self.trace = with_sources(self.trace)
        set_cause(exc, RemoteTraceback(self.trace))
        return exc

    def _as_text(self) -> RemoteError:
        error = RemoteError(self.type_name, self.text, self.index if self.index >= 0 else None)
        error.class_names = self.class_names
        return error


def pickled_exception(exc: BaseException) -> bytes | None:
    """Pickle an exception; None if it does not survive a round trip."""
    try:
        try:
            pickled = _dumps(exc)
        except _TooLargeError:
            note(exc, "amorsize: on the way from its worker, texts stand for parts of it that are too large to be sent")
            pickled = _pickled_by(_Cutter, exc)
        again = _loads(pickled)
    # User code runs here.
    except BaseException as why:
        if is_interrupt(why):
            raise
        return None
    return pickled if type(again) is type(exc) else None


def _dumps(exc: BaseException) -> bytes:
    try:
        return _pickled_by(pickle.Pickler, exc)
    except Exception as why:
        if not main_by_value or type(why) is _TooLargeError:
            raise
    # The class was pickled by value; only cloudpickle can restore it.
    import cloudpickle

    return by_value.BY_VALUE + _pickled_by(cloudpickle.Pickler, exc)


def _loads(pickled: bytes) -> Any:
    if pickled.startswith(by_value.BY_VALUE):
        return by_value.loads([pickled])
    return _Unpickler(io.BytesIO(pickled)).load()


# -- large exceptions ------------------------------------------------------------------------------------------------

# A larger exception is sent without its large parts: a message or a useful attribute is never that large (guesses).
LARGE_ERROR_BYTES: Final = 10_000_000
LARGE_PART_BYTES: Final = 100_000


class _TooLargeError(Exception):
    """The pickle of an exception is larger than allowed."""


class _Sink:
    """A stream that takes `LARGE_ERROR_BYTES` bytes. It refuses a large part before copying it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.left = LARGE_ERROR_BYTES

    def write(self, part: Any) -> int:
        size = memoryview(part).nbytes
        self.left -= size
        if self.left < 0:
            raise _TooLargeError
        self.parts.append(bytes(part))
        return size


class _Cutter(pickle.Pickler):
    """A pickler that replaces large parts by short texts."""

    def persistent_id(self, obj: Any) -> str | None:
        return shorten(obj) if is_larger(obj, LARGE_PART_BYTES) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, text: str) -> str:
        return text


def _pickled_by(pickler: Callable[..., Any], exc: BaseException) -> bytes:
    sink = _Sink()
    pickler(sink, 5).dump(exc)
    return b"".join(sink.parts)
