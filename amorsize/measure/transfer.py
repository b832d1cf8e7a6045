"""The cost of pickling and unpickling real items and results, or the reason why it fails."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.functions import is_same
from amorsize.facts import Sample

# guess: for all objects of one kind, beyond the first
BUDGET_S: Final = 0.3e-3
# guess: objects to pickle
MOST: Final = 16
# guess: elements of a container whose memory is measured
LOOKED_AT: Final = 8
# guess: a block of more bytes is not pickled to learn its cost
BIG_BYTES: Final = 1 << 20
# Pickling that takes longer, per object and per byte (nested dicts 10-20 ns), is timed a second time: one pause of the
# machine once made 16 small numbers seem so expensive that a map of 150,000 items stayed in the loop.
SLOW_S: Final = 30e-6
SLOW_S_PER_BYTE: Final = 30e-9
# Into new memory: pickling 4 MB of bytes took 1.1 ms, unpickling 1.2 ms.
COPY_S_PER_BYTE: Final = 0.3e-9


def weigh(
    items: Sequence[Any], results: Sequence[Any], *, in_band: bool = False, func: Callable[..., Any] | None = None
) -> Sample:
    """Measure the pickled sizes and times of some items and results.

    Parameters
    ----------
    items, results : sequence
        Objects to weigh; no items if they are not sent (a forked worker inherits them).
    in_band : bool
        True: as ``multiprocessing.Pool`` pickles (all bytes inside the pickle), not as amorsize's own workers do (large
        buffers beside it).
    func : callable or None
        If given, also checked whether it can be pickled.

    Returns
    -------
    Sample
        Only its fields about transfer count; ``transfer_error`` is the reason why pickling fails.
    """
    error = None
    if func is not None:
        error = cannot(func, "the function", in_band)
    arg_bytes = arg_dump_s = arg_load_s = result_bytes = result_dump_s = result_load_s = 0.0
    try:
        arg_bytes, arg_dump_s, arg_load_s = _weigh(items, in_band)
    except Exception as exc:  # noqa: BLE001  (pickle raises anything)
        error = error or f"items {_first_bad(items, exc)}"
    try:
        result_bytes, result_dump_s, result_load_s = _weigh(results, in_band)
    except Exception as exc:  # noqa: BLE001
        error = error or f"results {_first_bad(results, exc)}"
    return Sample(
        n_sampled=0,
        item_s=0.0,
        arg_bytes=arg_bytes,
        result_bytes=result_bytes,
        arg_pickle_s=arg_dump_s,
        arg_unpickle_s=arg_load_s,
        result_pickle_s=result_dump_s,
        result_unpickle_s=result_load_s,
        transfer_error=error,
    )


def touched_bytes(item: Any) -> float:
    """Return the pickled size of an item made of many objects; 0 for a single block of memory (text, an array).

    Takes as long as pickling it (0.3 ms for 70 kB).
    """
    if block_bytes(item):
        return 0.0
    try:
        return float(len(pickle.dumps(item, protocol=5, buffer_callback=lambda buffer: None)))
    except Exception:  # noqa: BLE001  (it need not travel)
        return 0.0


def block_bytes(obj: Any) -> int:
    """Return the bytes of an object that is a single block of memory, like text and arrays; 0 for others."""
    return sys.getsizeof(obj) if isinstance(obj, str | int | float | complex | None) else _plain_bytes(obj)


def held_bytes(obj: Any, depth: int = 4) -> float:
    """Return the memory of an object, with the parts that belong to it alone; takes about 30 µs.

    A container's size is estimated from a few elements at even distances. An element with other references (an item
    passed on, a small number) counts as 0.

    Examples
    --------
    >>> held_bytes([1, 2, 3]) < 200 < 150_000 < held_bytes([{"x": float(i)} for i in range(1_000)]) < 400_000
    True
    """
    size = float(_plain_bytes(obj) or sys.getsizeof(obj, 0))
    if not depth or not isinstance(obj, dict | list | tuple | set | frozenset) or not obj:
        return size
    stride = -(-len(obj) // LOOKED_AT)
    for part in (obj.keys(), obj.values()) if isinstance(obj, dict) else (obj,):
        looked = list(islice(part, 0, None, stride))
        # The container, the list, the variable and the call hold one reference each; any more is another owner's.
        size += len(obj) * sum(held_bytes(one, depth - 1) for one in looked if sys.getrefcount(one) <= 4) / len(looked)
    return size


def cannot(obj: object, what: str, in_band: bool) -> str | None:
    """Return why an object does not come out of a pickle as it went in; None if it does."""
    try:
        parts = _dump([obj], in_band)
    except Exception as exc:  # noqa: BLE001
        return f"{what} cannot be pickled: {child.describe(obj, exc)}"
    if sum(memoryview(part).nbytes for part in parts) > BIG_BYTES:
        return None
    try:
        (again,) = protocol.loads(parts)
    except Exception as exc:  # noqa: BLE001
        return f"{what} cannot be unpickled: {child.describe(obj, exc)}"
    return None if is_same(obj, again) else f"{what} is unpickled as another one: {child.describe(obj, LookupError())}"


def _weigh(objects: Sequence[Any], in_band: bool) -> tuple[float, float, float]:
    """Return bytes, seconds to pickle and to unpickle, each per object; pickled in one list, like a chunk."""
    if not len(objects):
        return 0.0, 0.0, 0.0
    if (size := _plain_bytes(objects[0])) > BIG_BYTES:
        return float(size), size * (COPY_S_PER_BYTE if in_band else 0.0), size * (COPY_S_PER_BYTE if in_band else 0.0)
    count = 1
    while True:
        some = list(objects[:count])
        size, dump_s, load_s = _timed(some, in_band)
        # Another program may have interrupted it.
        if dump_s + load_s > SLOW_S * count + SLOW_S_PER_BYTE * size:
            _, *again = _timed(some, in_band)
            dump_s, load_s = min(dump_s, again[0]), min(load_s, again[1])
        if count >= min(MOST, len(objects)) or 2 * (dump_s + load_s) > BUDGET_S:
            break
        count = min(4 * count, MOST, len(objects))
    return size / count, dump_s / count, load_s / count


def _timed(objects: list[Any], in_band: bool) -> tuple[int, float, float]:
    """Return the bytes of all together, seconds to pickle and to unpickle them."""
    began = time.perf_counter()
    parts = _dump(objects, in_band)
    dumped = time.perf_counter()
    protocol.loads(parts)
    loaded = time.perf_counter()
    return sum(memoryview(part).nbytes for part in parts), dumped - began, loaded - dumped


def _plain_bytes(obj: object) -> int:
    """Return the bytes of an object that is one block of memory, whose cost is known without pickling; else 0."""
    if isinstance(obj, bytes | bytearray):
        return len(obj)
    kind = getattr(getattr(obj, "dtype", None), "kind", "O")
    return int(obj.nbytes) if kind != "O" and hasattr(obj, "nbytes") else 0


def _dump(objects: list[Any], in_band: bool) -> list[Any]:
    if in_band:
        from multiprocessing.reduction import ForkingPickler

        return [bytes(ForkingPickler.dumps(objects))]
    return protocol.dumps(objects)


def _first_bad(objects: Sequence[Any], exc: BaseException) -> str:
    for obj in objects:
        try:
            pickled = pickle.dumps(obj)
        except Exception as why:  # noqa: BLE001
            return f"cannot be pickled: {child.describe(obj, why)}"
        try:
            pickle.loads(pickled)
        except Exception as why:  # noqa: BLE001
            return f"cannot be unpickled: {child.describe(obj, why)}"
    return f"cannot be pickled: {exc}"
