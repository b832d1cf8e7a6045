"""An item's exception on its way from a worker to the caller: both ends.

The worker makes an `ItemError` of it, which always arrives. In the caller `ItemError.rebuild` makes the exception
again, with the worker's traceback as its cause. Workers load this module: it imports next to nothing.
"""

from __future__ import annotations

import pickle

from amorsize.errors import RemoteError, RemoteTraceback
from amorsize.system.looks import full_kind_of, is_interrupt, set_cause, text_of, trace_of

# True in a worker that cannot import the caller's ``__main__``.
main_by_value = False


class ItemError:
    """An item's exception: pickled if it survives a round trip, else as text."""

    __slots__ = ("index", "pickled", "text", "trace", "type_name")

    def __init__(self, index: int, exc: BaseException) -> None:
        self.index = index
        self.trace = trace_of(exc).replace("__mp_main__.", "__main__.")
        self.type_name = full_kind_of(exc)
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
            exc = self._as_text() if self.pickled is None else pickle.loads(self.pickled)
        # Its class cannot be imported here, or raises while it is rebuilt.
        except BaseException as why:
            if is_interrupt(why):
                raise
            exc = self._as_text()
        set_cause(exc, RemoteTraceback(self.trace))
        return exc

    def _as_text(self) -> RemoteError:
        return RemoteError(self.type_name, self.text, self.index if self.index >= 0 else None)


def pickled_exception(exc: BaseException) -> bytes | None:
    """Pickle an exception; None if it does not survive a round trip."""
    try:
        pickled = _dumps(exc)
        again = pickle.loads(pickled)
    # User code runs here.
    except BaseException as why:
        if is_interrupt(why):
            raise
        return None
    return pickled if type(again) is type(exc) else None


def _dumps(exc: BaseException) -> bytes:
    try:
        return pickle.dumps(exc, protocol=5)
    except Exception:
        if not main_by_value:
            raise
    # The class was pickled by value; only cloudpickle can restore it.
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(exc)
    return pickled
