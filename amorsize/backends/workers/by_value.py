"""Unpickle classes that cloudpickle has pickled by value, so that the process that made a class keeps its own.

cloudpickle finds a class again by a mark, and then sets everything on it that the pickle holds. In the process that
made the class these are copies of its methods, and their globals are copies, too: the class would no longer see what
its module sets. So only a class that has come from another process takes what a pickle holds.
"""

from __future__ import annotations

import io
import pickle
from functools import cache, partial
from types import CodeType
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

BY_VALUE: Final = b"N0"
"""The pickle instructions NONE and POP, which change nothing: before a pickle that cloudpickle has made."""

MODULE: Final = "cloudpickle.cloudpickle"
# The functions of cloudpickle that make a class, and the one that fills it.
MAKERS: Final = ("_make_skeleton_class", "_make_skeleton_enum")
FILLS: Final = "_class_setstate"

# Classes that a pickle has made here.
_foreign: WeakSet[type] = WeakSet()


def loads(parts: Sequence[Any]) -> Any:
    """Unpickle a pickle with its out-of-band buffers, as ``pickle.loads`` does except for classes pickled by value."""
    if parts[0][: len(BY_VALUE)] == BY_VALUE:
        return _Unpickler(io.BytesIO(parts[0]), buffers=parts[1:]).load()
    return pickle.loads(parts[0], buffers=parts[1:])


def dumps(obj: object, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """Pickle as ``cloudpickle.dumps`` does, but keep the file names of code, which tracebacks of workers name."""
    stream = io.BytesIO()
    _pickler()(stream, 5, buffer_callback).dump(obj)
    return stream.getvalue()


@cache
def _pickler() -> Any:
    import cloudpickle

    reduce = cloudpickle.Pickler.dispatch_table[CodeType]

    def with_file(code: CodeType) -> tuple[Any, ...]:
        make, parts = reduce(code)
        return make, tuple(
            code.co_filename if type(part) is str and part == "<dynamic-code>" else part for part in parts
        )

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: with_file})

    return Pickler


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if module == MODULE and name in MAKERS:
            return partial(_make, found)
        if module == MODULE and name == FILLS:
            return partial(_fill, found)
        return found


def _make(make: Callable[..., type], *args: Any) -> type:
    from cloudpickle import cloudpickle

    # The last but one argument of both makers.
    known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(args[-2])
    made = make(*args)
    if made is not known:
        _foreign.add(made)
    return made


def _fill(fill: Callable[[type, Any], type], made: type, state: Any) -> type:
    return fill(made, state) if made in _foreign else made
