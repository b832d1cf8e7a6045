"""The cost of pickling and unpickling real items and results, or the reason why it fails."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.functions import is_same
from amorsize.facts import Sample
from amorsize.system.looks import block_bytes, held_bytes, is_interrupt, plain_bytes, text_of

# guess: for all objects of one kind, beyond the first
BUDGET_S: Final = 0.3e-3
# guess: objects to pickle
WEIGHED: Final = 16
# guess: a block of more bytes is not pickled to learn its cost
BIG_BYTES: Final = 1 << 20
# guess: bytes of an object of many parts; pickling it takes 0.1 s and more
HUGE_BYTES: Final = 16 << 20
# guess: seconds after which the pickle of a huge one has told enough
LONG_S: Final = 20e-3
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
    except BaseException as exc:  # pickle raises anything
        if is_interrupt(exc):
            raise
        error = error or f"items {_first_bad(items, exc)}"
    try:
        result_bytes, result_dump_s, result_load_s = _weigh(results, in_band)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
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
    sink = Sink()
    try:
        pickle.Pickler(sink, 5, buffer_callback=lambda buffer: None).dump(item)
    except Enough:
        return max(float(sink.bytes), held_bytes(item))
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        # It need not travel.
        return 0.0
    return float(sink.bytes)


class Enough(Exception):  # noqa: N818
    """A pickler has written for long enough."""


class Sink:
    """Takes what a pickler writes, keeps none of it, and stops the pickler after a while."""

    def __init__(self) -> None:
        self.bytes = 0
        self._until_s = time.perf_counter() + LONG_S

    def write(self, data: Any) -> None:
        """Count some bytes."""
        self.bytes += len(data)
        if time.perf_counter() > self._until_s:
            raise Enough


def cannot(obj: object, what: str, in_band: bool) -> str | None:
    """Return why an object does not come out of a pickle as it went in; None if it does."""
    try:
        parts = _dump([obj], in_band)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return f"{what} cannot be pickled: {child.describe(obj, exc)}"
    if sum(memoryview(part).nbytes for part in parts) > BIG_BYTES:
        return None
    try:
        (again,) = protocol.loads(parts)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return f"{what} cannot be unpickled: {child.describe(obj, exc)}"
    return None if is_same(obj, again) else f"{what} is unpickled as another one: {child.describe(obj, LookupError())}"


def _weigh(objects: Sequence[Any], in_band: bool) -> tuple[float, float, float]:
    """Return bytes, seconds to pickle and to unpickle, each per object; pickled in one list, like a chunk."""
    if not len(objects):
        return 0.0, 0.0, 0.0
    if (size := plain_bytes(objects[0])) > BIG_BYTES:
        return float(size), size * (COPY_S_PER_BYTE if in_band else 0.0), size * (COPY_S_PER_BYTE if in_band else 0.0)
    if (held := held_bytes(objects[0])) > HUGE_BYTES and (found := _guessed(objects[0], held)) is not None:
        return found
    count = 1
    while True:
        some = list(objects[:count])
        size, dump_s, load_s = _timed(some, in_band)
        # Another program may have interrupted it.
        if dump_s + load_s > SLOW_S * count + SLOW_S_PER_BYTE * size:
            _, *again = _timed(some, in_band)
            dump_s, load_s = min(dump_s, again[0]), min(load_s, again[1])
        if count >= min(WEIGHED, len(objects)) or 2 * (dump_s + load_s) > BUDGET_S:
            break
        count = min(4 * count, WEIGHED, len(objects))
    return size / count, dump_s / count, load_s / count


def _guessed(obj: Any, held: float) -> tuple[float, float, float] | None:
    """Return the same of a huge object, from the first part of its pickle; None if all of it is there soon."""
    sink, began = Sink(), time.perf_counter()
    try:
        pickle.Pickler(sink, 5, buffer_callback=lambda buffer: None).dump(obj)
    except Enough:
        size = max(held, float(sink.bytes))
        took_s = (time.perf_counter() - began) * size / max(1, sink.bytes)
        return size, took_s, took_s
    return None


def _timed(objects: list[Any], in_band: bool) -> tuple[int, float, float]:
    """Return the bytes of all together, seconds to pickle and to unpickle them."""
    began = time.perf_counter()
    parts = _dump(objects, in_band)
    dumped = time.perf_counter()
    protocol.loads(parts)
    loaded = time.perf_counter()
    return sum(memoryview(part).nbytes for part in parts), dumped - began, loaded - dumped


def _dump(objects: list[Any], in_band: bool) -> list[Any]:
    if in_band:
        from multiprocessing.reduction import ForkingPickler

        return [bytes(ForkingPickler.dumps(objects))]
    return protocol.dumps(objects)


def _first_bad(objects: Sequence[Any], exc: BaseException) -> str:
    for obj in objects:
        try:
            pickled = pickle.dumps(obj)
        except BaseException as why:
            if is_interrupt(why):
                raise
            return f"cannot be pickled: {child.describe(obj, why)}"
        try:
            pickle.loads(pickled)
        except BaseException as why:
            if is_interrupt(why):
                raise
            return f"cannot be unpickled: {child.describe(obj, why)}"
    return f"cannot be pickled: {text_of(exc)}"
