"""The cost of pickling and unpickling real items and results, or the reason why it fails."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from types import FunctionType, MethodType

from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.functions import cells_of, is_same, pickle_by_name
from amorsize.facts import Sample
from amorsize.frozen import replace
from amorsize.model.decide import WEIGHED
from amorsize.system.looks import attribute, block_bytes, defined, held_bytes, is_interrupt, plain_bytes, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

ITEMS: Final = ("arg_bytes", "arg_pickle_s", "arg_unpickle_s")
FUNC: Final = ("func_bytes", "func_pickle_s", "func_unpickle_s")
# Seconds for pickling the objects of one kind after the first one (a guess).
BUDGET_S: Final = 0.3e-3
# guess: a block of more bytes is not pickled to learn its cost
BIG_BYTES: Final = 1 << 20
# guess: bytes of an object of many parts; pickling it takes 0.1 s and more
HUGE_BYTES: Final = 16 << 20
# Seconds after which the first part of the pickle of a huge object is enough for an estimate (a guess).
LONG_S: Final = 20e-3
# Pickling that takes longer, per object and per byte (nested dicts 10-20 ns), is timed a second time: one pause of the
# machine once made 16 small numbers seem so expensive that a map of 150,000 items stayed in the loop.
SLOW_S: Final = 30e-6
SLOW_S_PER_BYTE: Final = 30e-9
# A block inside a pickle is copied two or three times, into new memory: 60 MB took 0.09-0.2 s, unpickling 0.08.
IN_BAND_S_PER_BYTE: Final = 1.5e-9
# Counting references to a text copies the page that it begins in. That takes 3 µs, as long as touching so many bytes
# that are made of many objects (`amorsize.model.cost.COPY_TOUCHED_S_PER_BYTE`): 20,000 hashes of texts of 5.6 kB took
# 0.097 s in the loop, and 0.090 on two forked workers, of which the copies are 0.03 (medians of 7).
PAGE_BYTES: Final = 4096
PAGE_COUNTS: Final = 600.0
# In a list of 500,000 numbers. Of 16 by themselves the calls took ten times as long: 500,000 times abs() on two
# processes were forecast to take 0.16-0.37 s, and took 0.06.
LEAST_DUMP_S: Final = 10e-9
LEAST_LOAD_S: Final = 30e-9
# Into new memory: pickling 4 MB of bytes took 1.1 ms, unpickling 1.2 ms.
COPY_S_PER_BYTE: Final = 0.3e-9


def weigh(
    items: Sequence[Any],
    results: Sequence[Any],
    *,
    in_band: bool = False,
    func: Callable[..., Any] | None = None,
    known: Sample | None = None,
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
        If given, weighed, too (`weigh_func`).
    known : Sample or None
        What this function returned for the same ``func`` before: it is not weighed again.

    Returns
    -------
    Sample
        Only its fields about transfer count; ``transfer_error`` is the reason why pickling fails.
    """
    own = known or (Sample(n_sampled=0, item_s=0.0) if func is None else weigh_func(func, in_band=in_band))
    error = own.transfer_error
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
    return replace(
        own,
        arg_bytes=arg_bytes,
        result_bytes=result_bytes,
        arg_pickle_s=arg_dump_s,
        arg_unpickle_s=arg_load_s,
        result_pickle_s=result_dump_s,
        result_unpickle_s=result_load_s,
        transfer_error=error,
    )


def touched_bytes(item: Any) -> float:
    """Return the pickled size of an item made of many objects; of a single block, what its one page counts for.

    Takes as long as pickling it (0.3 ms for 70 kB).
    """
    if block := block_bytes(item):
        # The data of an array lie apart from the object whose references are counted.
        return PAGE_COUNTS * min(1.0, block / PAGE_BYTES) if issubclass(type(item), str | bytes) else 0.0
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


# CPU time of this thread: what looks heavy must not depend on other programs. Not every platform has it.
spent_s: Final[Callable[[], float]] = getattr(time, "thread_time", time.perf_counter)


class Enough(Exception):  # noqa: N818
    """A pickler has written for long enough."""


class Sink:
    """Takes what a pickler writes, keeps none of it, and stops the pickler after a while."""

    def __init__(self, most_s: float = LONG_S) -> None:
        self.bytes = self.beside_bytes = 0
        self._until_s = spent_s() + most_s

    def write(self, data: Any) -> None:
        """Count some bytes."""
        self.bytes += len(data)
        if len(data) > BIG_BYTES:
            self.beside_bytes += len(data)
        if spent_s() > self._until_s:
            raise Enough

    def beside(self, buffer: pickle.PickleBuffer) -> None:
        """Count an out-of-band buffer of the pickle."""
        self.beside_bytes += memoryview(buffer).nbytes
        self.bytes += memoryview(buffer).nbytes


# -- the function -----------------------------------------------------------------------------------------------------

# guess: seconds for pickling a function; one that takes longer is weighed by parts of what it holds
FUNC_S: Final = 5e-3
# A function of fewer bytes that takes less time counts as weightless, because the cost of a chunk was measured with
# such a function (guesses).
LIGHT_BYTES: Final = 4096
LIGHT_S: Final = 100e-6
# Number of elements that stand for all of a large container, and seconds for pickling and unpickling them (guesses).
ELEMENTS: Final = 1024
PART_S: Final = 1e-3
# Number of elements of a dict or a set among which those are chosen (a guess).
REACH: Final = 50_000
# A container of at most this many elements is inspected element by element; of a larger one, `SOME` elements (guesses).
FEW: Final = 64
SOME: Final = 4
# Largest depth of nested containers that is inspected, and seconds for all of them (guesses).
PARTS_DEPTH: Final = 5
LOOKS_S: Final = 10e-3

CONTAINERS: Final = (list, tuple, dict, set, frozenset, deque)

Cost = tuple[float, float, float]
"""Bytes, seconds to pickle, seconds to unpickle."""


def weigh_func(func: Callable[..., Any], *, in_band: bool = False) -> Sample:
    """Measure what it takes to send a function with all that it holds; at most some 10 ms.

    Returns
    -------
    Sample
        Only its fields about the function count, and ``transfer_error``; 0 for a light one. A heavy one is not pickled
        as a whole: parts stand for it, so that an object deep in it that cannot be pickled may be missed.
    """
    sink, began = Sink(FUNC_S), time.perf_counter()
    cost: Cost | None = None
    try:
        _dump_into(sink, func, in_band)
        if sink.bytes > BIG_BYTES:
            cost = _sunk(sink, time.perf_counter() - began, in_band)
    except Enough:
        cost = _by_parts(func, in_band, spent_s() + LOOKS_S)
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        # cloudpickle may do it.
    empty = Sample(n_sampled=0, item_s=0.0)
    if cost is None:
        if (error := cannot(func, "the function", in_band)) is not None:
            return replace(empty, transfer_error=error)
        cost = _timed_well([func], in_band)
        if cost[0] < LIGHT_BYTES and cost[1] + cost[2] < LIGHT_S:
            return empty
    return replace(empty, **dict(zip(FUNC, cost, strict=True)))


def _by_parts(obj: Any, in_band: bool, until_s: float, depth: int = PARTS_DEPTH) -> Cost:
    """Return bytes, seconds to pickle and to unpickle an object, estimated from parts of it.

    After ``until_s`` of CPU time the parts looked at stand for the others.
    """
    if (size := plain_bytes(obj)) > BIG_BYTES:
        rate = IN_BAND_S_PER_BYTE if in_band else 0.0
        return float(size), size * rate, size * rate
    parts, count, kind = _parts_of(obj) if depth else (None, 0, list)
    if parts is None:
        return _measured(obj, in_band)
    light: list[Any] = []
    found: list[Cost] = []
    are_all = count <= len(parts) <= 2 * FEW
    for part in parts if are_all else parts[:: max(1, len(parts) // SOME)][:SOME]:
        if _is_heavy(part, in_band):
            found.append(_by_parts(part, in_band, until_s, depth - 1))
        else:
            light.append(part)
        if found and spent_s() > until_s:
            break
    looked = len(found) + len(light)
    if not found and not are_all:
        light, looked = parts, len(parts)
    if light:
        measured, cost = _measured_some(light, in_band, kind)
        found.append(_times(cost, len(light) / measured))
    return _times(_sum(found), count / looked if looked else 0.0)


def _is_heavy(obj: Any, in_band: bool) -> bool:
    """Return True if pickling an object takes long, or makes many bytes."""
    if plain_bytes(obj) > BIG_BYTES:
        return True
    sink = Sink(PART_S)
    try:
        _dump_into(sink, obj, in_band)
    except Enough:
        return True
    return sink.bytes > BIG_BYTES


def _times(cost: Cost, factor: float) -> Cost:
    return cost[0] * factor, cost[1] * factor, cost[2] * factor


def _sum(costs: Sequence[Cost]) -> Cost:
    return sum(one[0] for one in costs), sum(one[1] for one in costs), sum(one[2] for one in costs)


def _parts_of(obj: Any) -> tuple[list[Any] | None, int, Callable[[Any], Any]]:
    """Return what an object holds, or evenly spaced elements of it; how many there are; a container to put some into.

    None: it has no parts.
    """
    kind = type(obj)
    base: Any = next((base for base in CONTAINERS if issubclass(kind, base)), None)
    if base is not None:
        count = base.__len__(obj)
        if base in (list, tuple):
            stride = max(1, count // ELEMENTS) if count > FEW else 1
            return list(base.__getitem__(obj, slice(0, stride * ELEMENTS, stride))), count, list
        if base is dict and count <= FEW:
            return [part for pair in dict.items(obj) for part in pair], 2 * count, list
        elements = dict.items(obj) if base is dict else base.__iter__(obj)
        some = islice(elements, 0, REACH, max(1, min(count, REACH) // ELEMENTS))
        return list(islice(some, ELEMENTS)), count, dict if base is dict else list
    held: list[Any] | None = None
    if issubclass(kind, partial):
        held = [obj.func, *obj.args, *obj.keywords.values()]
    elif kind is MethodType:
        held = [obj.__self__]
    elif kind is FunctionType:
        held = [*cells_of(obj), *(obj.__defaults__ or ()), *(obj.__kwdefaults__ or {}).values()]
    elif not any(_is_users(kind, name) for name in ("__getstate__", "__reduce__", "__reduce_ex__")):
        own = attribute(obj, "__dict__")
        if type(own) is dict and own:
            held = list(own.values())
    return held, len(held or ()), list


def _is_users(kind: type, name: str) -> bool:
    """Return True if a class says itself what is pickled of it."""
    return defined(kind, name) is not defined(object, name)


def _measured(obj: Any, in_band: bool) -> Cost:
    """Return bytes, seconds to pickle and to unpickle an object whose parts are unknown."""
    sink, began = Sink(), time.perf_counter()
    try:
        _dump_into(sink, obj, in_band)
    except Enough:
        size = max(held_bytes(obj), float(sink.bytes))
        took_s = (time.perf_counter() - began) * size / max(1, sink.bytes)
        return size, took_s, took_s
    return _sunk(sink, time.perf_counter() - began, in_band) if sink.bytes > BIG_BYTES else _timed_well([obj], in_band)


def _sunk(sink: Sink, took_s: float, in_band: bool) -> Cost:
    """Return bytes, seconds to pickle and to unpickle an object that went into a sink without its large buffers."""
    took_s += sink.beside_bytes * (IN_BAND_S_PER_BYTE if in_band else 0.0)
    return float(sink.bytes), took_s, took_s


def _measured_some(parts: Sequence[Any], in_band: bool, kind: Callable[[Any], Any]) -> tuple[int, Cost]:
    """Pickle evenly spaced elements in one container of this kind. Return their number and the cost."""
    count = min(FEW, len(parts))
    while True:
        some = parts[:: max(1, len(parts) // count)][:count]
        found = _timed_well([kind(some)], in_band)
        if count >= len(parts) or 4 * (found[1] + found[2]) > PART_S:
            return len(some), found
        count = min(4 * count, len(parts))


def _timed_well(objects: list[Any], in_band: bool) -> Cost:
    """Return `_timed` of all objects together; a slow one is timed again."""
    size, dump_s, load_s = _timed(objects, in_band)
    if dump_s + load_s > SLOW_S * len(objects) + SLOW_S_PER_BYTE * size:
        _, *again = _timed(objects, in_band)
        dump_s, load_s = min(dump_s, again[0]), min(load_s, again[1])
    return float(size), dump_s, load_s


def _dump_into(sink: Sink, obj: object, in_band: bool) -> None:
    """Pickle into a sink, which may raise `Enough`."""
    if in_band:
        from multiprocessing.reduction import ForkingPickler

        # Large buffers are counted only.
        ForkingPickler(sink, 5, True, sink.beside).dump(obj)
    else:
        pickle_by_name(obj, sink, sink.beside)


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


def _weigh(objects: Sequence[Any], in_band: bool) -> Cost:
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
        total, dump_s, load_s = _timed_well(some, in_band)
        if count >= min(WEIGHED, len(objects)) or 2 * (dump_s + load_s) > BUDGET_S:
            break
        count = min(4 * count, WEIGHED, len(objects))
    if dump_s + load_s < LIGHT_S:
        # What each call takes is part of the cost of a chunk.
        (_, *one), (_, *other) = _timed([], in_band), _timed([], in_band)
        dump_s = max(dump_s - min(one[0], other[0]), count * LEAST_DUMP_S)
        load_s = max(load_s - min(one[1], other[1]), count * LEAST_LOAD_S)
    return total / count, dump_s / count, load_s / count


def _guessed(obj: Any, held: float) -> Cost | None:
    """Estimate bytes and seconds of a huge object from the begin of its pickle; None if the whole takes no longer."""
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
