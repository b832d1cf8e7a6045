"""What it costs to pickle real items and results, both ways, and whether that can be done at all."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from amorsize.backends.workers import child, protocol
from amorsize.facts import Sample

BUDGET_S: Final = 0.3e-3  # for all objects of one kind, beyond the first
MOST: Final = 16  # objects looked at
LOOKED_AT: Final = 8  # elements of a container
BIG_BYTES: Final = 1 << 20
SLOW_S: Final = 30e-6  # for an object, and …
SLOW_S_PER_BYTE: Final = 30e-9  # … for a byte of it (nested dicts 10-20): what takes longer is timed a second time. One
# pause of the machine had made 16 small numbers so dear that a loop over 150,000 items was settled
COPY_S_PER_BYTE: Final = 0.3e-9  # into fresh memory: pickling 4 MB of bytes took 1.1 ms, unpickling 1.2 ms


def weigh(
    items: Sequence[Any], results: Sequence[Any], *, in_band: bool = False, func: Callable[..., Any] | None = None
) -> Sample:
    """Pickled sizes and times of some items and results.

    Parameters
    ----------
    items, results : sequence
        Objects to weigh; no items: they need not travel (a forked worker inherits them).
    in_band : bool
        As ``multiprocessing.Pool`` pickles (all bytes inside the pickle), not as amorsize's own workers do (large
        buffers beside it).
    func : callable or None
        Also asked for whether it can be pickled.

    Returns
    -------
    Sample
        Of which only the fields about transfer count; ``transfer_error`` says in words what cannot be pickled.
    """
    error = None
    if func is not None:
        error = _cannot(func, "the function", in_band)
    arg_bytes = arg_dump_s = arg_load_s = result_bytes = result_dump_s = result_load_s = 0.0
    try:
        arg_bytes, arg_dump_s, arg_load_s = _weigh(items, in_band)
    except Exception as exc:  # noqa: BLE001  (pickle raises anything)
        error = error or f"items cannot be pickled: {_first_bad(items, exc)}"
    try:
        result_bytes, result_dump_s, result_load_s = _weigh(results, in_band)
    except Exception as exc:  # noqa: BLE001
        error = error or f"results cannot be pickled: {_first_bad(results, exc)}"
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
    """Pickled size of an item made of many objects; 0 for one that lies in a single block, as text and arrays do.

    Takes as long as pickling it (0.3 ms for 70 kB).
    """
    if block_bytes(item):
        return 0.0
    try:
        return float(len(pickle.dumps(item, protocol=5, buffer_callback=lambda buffer: None)))
    except Exception:  # noqa: BLE001  (it need not travel)
        return 0.0


def block_bytes(obj: Any) -> int:
    """Bytes of an object that lies in a single block of memory, as text and arrays do; 0 where it is made of many."""
    return sys.getsizeof(obj) if isinstance(obj, str | int | float | complex | None) else _plain_bytes(obj)


def held_bytes(obj: Any, depth: int = 4) -> float:
    """Memory that an object takes, with what belongs to it alone; about 30 µs.

    Of a container's elements a few at even distances stand for all. One that somebody else holds, too (an item that was
    handed on, a small number), takes none.

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
        # The container, the list, the variable and the call hold one each; more is somebody else.
        size += len(obj) * sum(held_bytes(one, depth - 1) for one in looked if sys.getrefcount(one) <= 4) / len(looked)
    return size


def _cannot(obj: object, what: str, in_band: bool) -> str | None:
    try:
        _dump([obj], in_band)
    except Exception as exc:  # noqa: BLE001
        return f"{what} cannot be pickled: {child.describe(obj, exc)}"
    return None


def _weigh(objects: Sequence[Any], in_band: bool) -> tuple[float, float, float]:
    """Bytes, seconds to pickle and to unpickle, each per object: in one list, as a chunk travels."""
    if not len(objects):
        return 0.0, 0.0, 0.0
    if (size := _plain_bytes(objects[0])) > BIG_BYTES:
        return float(size), size * (COPY_S_PER_BYTE if in_band else 0.0), size * (COPY_S_PER_BYTE if in_band else 0.0)
    count = 1
    while True:
        some = list(objects[:count])
        size, dump_s, load_s = _timed(some, in_band)
        if dump_s + load_s > SLOW_S * count + SLOW_S_PER_BYTE * size:  # another program may have had its turn
            _, *again = _timed(some, in_band)
            dump_s, load_s = min(dump_s, again[0]), min(load_s, again[1])
        if count >= min(MOST, len(objects)) or 2 * (dump_s + load_s) > BUDGET_S:  # four times as many take longer
            break
        count = min(4 * count, MOST, len(objects))
    return size / count, dump_s / count, load_s / count


def _timed(objects: list[Any], in_band: bool) -> tuple[int, float, float]:
    """Bytes of them all, seconds to pickle and to unpickle them."""
    began = time.perf_counter()
    parts = _dump(objects, in_band)
    dumped = time.perf_counter()
    protocol.loads(parts)
    loaded = time.perf_counter()
    return sum(memoryview(part).nbytes for part in parts), dumped - began, loaded - dumped


def _plain_bytes(obj: object) -> int:
    """Bytes of an object that is one block of memory, so that its pickle need not be made to know its cost."""
    if isinstance(obj, bytes | bytearray):
        return len(obj)
    kind = getattr(getattr(obj, "dtype", None), "kind", "O")
    return int(obj.nbytes) if kind != "O" and hasattr(obj, "nbytes") else 0


def _dump(objects: list[Any], in_band: bool) -> list[Any]:
    if in_band:  # what multiprocessing's ForkingPickler does, but for its few extra types
        from multiprocessing.reduction import ForkingPickler

        return [bytes(ForkingPickler.dumps(objects))]
    return protocol.dumps(objects)


def _first_bad(objects: Sequence[Any], exc: BaseException) -> str:
    for obj in objects:
        try:
            pickle.dumps(obj)
        except Exception as why:  # noqa: BLE001
            return child.describe(obj, why)
    return str(exc)
