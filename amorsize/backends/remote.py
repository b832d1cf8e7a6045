"""The half of a map that runs at the workers of an executor or a cluster. It stands alone: no import of amorsize.

Where workers have amorsize it is found by its name. Elsewhere it is sent as source (`amorsize.backends.shipping`), so
that a cluster needs no amorsize, and no certain version of it. Everything is unpickled here, inside the task: what is
unpickled in the engine's own transport ends its worker when it fails, and on some engines for ever. All that goes wrong
is part of an ordinary answer, which holds nothing but tuples, text, numbers and bytes.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BY_VALUE = b"N0"
# The text of this module, where it was made of that.
SOURCE = globals().get("TEXT", "")
# Evaluated in a process, once: a module made of the source, under a name that tells its contents.
LOADER = (
    "(lambda sys: sys.modules.get(name) or (lambda made: (made.__dict__.update(TEXT=source), "
    "exec(source, made.__dict__), sys.modules.setdefault(name, made))[2])(type(sys)(name)))(__import__('sys')).HALF"
)
# Attribute of the thread that runs a task; `amorsize.system.nested` has the same.
IN_TASK = "_amorsize_in_task"
# Functions that a worker keeps, of the latest maps (a guess).
KEPT = 4
# Items that take so long on average are measured one by one; shorter ones are not recorded.
LONG_S = 2e-3
# Records in an answer.
TOP = 10
# A larger exception is sent as text (a guess).
LARGE_ERROR_BYTES = 10000000

# Functions by the key of their map, and a lock around them.
_funcs: dict[str, Any] = {}
_lock = threading.Lock()


class Half:
    """The function of every task. It goes by value, so that it finds itself in a process without amorsize.

    It may be pickled again there: Dask's scheduler unpickles tasks before it hands them on.
    """

    __name__ = __qualname__ = "amorsize"

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Run a span; see `run`."""
        return run(*args, **named)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (LOADER, _source())


HALF = Half()


def _source() -> dict[str, str]:
    global SOURCE
    if not SOURCE:
        import inspect

        SOURCE = inspect.getsource(sys.modules[__name__])
    import hashlib

    name = "_amorsize_remote_" + hashlib.sha256(SOURCE.encode()).hexdigest()[:16]
    return {"name": name, "source": SOURCE}


def run(
    key: Any = None,
    func: Any = None,
    items: Any = None,
    start: int = 0,
    keep_going: bool = False,
    version: Any = None,
    limit_s: float | None = None,
) -> Any:
    """Run one span of items.

    Parameters
    ----------
    key : str
        Names the function of a map: a worker unpickles it once. None: only say hello, and send the items back.
    func, items : tuple of bytes, None, or an object with ``held``
        A pickle and its buffers; a function of None is one that this worker should have. If they have not crossed to
        another process, they come as they are.
    start : int
        Index of the first item.
    keep_going : bool
        Go on after an item that raised.
    version : tuple of int
        The caller's Python.
    limit_s : float
        Begin no further item after so many seconds.

    Returns
    -------
    tuple
        ``("hello", who, items)``, ``("missing",)``: the function is not here; ``("refused", what, detail)``: it, or
        the only item, cannot be unpickled; ``("apart",)``: one of several items cannot; or ``("done", results, errors,
        wall_s, cpu_s, peak_bytes, records, who)``.
    """
    who = (os.getpid(), threading.get_ident(), _host())
    if key is None:
        return "hello", who, items
    crossed = type(items) is tuple
    try:
        call = _func(key, func)
    except BaseException as exc:
        if isinstance(exc, (KeyboardInterrupt, GeneratorExit)):
            raise
        return "refused", "func", _why(func, version, exc)
    if call is None:
        return ("missing",)
    try:
        taken = _loads(items) if crossed else items.held
    except BaseException as exc:
        if isinstance(exc, (KeyboardInterrupt, GeneratorExit)):
            raise
        return "refused", "item", f"it cannot be rebuilt in a worker ({_name(type(exc))}: {_text(exc)})"
    thread = threading.current_thread()
    before = getattr(thread, IN_TASK, False)
    try:
        # An item may call amorsize, which must not take all cores (`amorsize.system.nested.share`).
        setattr(thread, IN_TASK, True)
        results, errors, wall_s, cpu_s, records = _run_items(call, taken, start, keep_going, limit_s)
    finally:
        setattr(thread, IN_TASK, before)
    if crossed:
        results = _send(results, errors, start)
    return "done", results, errors, wall_s, cpu_s, _peak(), records, who


def _func(key: str, func: Any) -> Any:
    if func is not None and type(func) is not tuple:
        return func.held
    with _lock:
        if key in _funcs:
            return _funcs[key]
        if func is None:
            return None
        call = _loads(func)
        while len(_funcs) >= KEPT:
            del _funcs[next(iter(_funcs))]
        _funcs[key] = call
        return call


def _run_items(call: Any, items: Any, start: int, keep_going: bool, limit_s: float | None) -> tuple[Any, ...]:
    results: list[Any] = []
    errors: list[Any] = []
    records: list[tuple[Any, ...]] = []
    pid, clock, cpu = os.getpid(), time.perf_counter, getattr(time, "thread_time", time.process_time)
    began, cpu_began = clock(), cpu()
    at, cpu_at, peak, unread_s = began, cpu_began, _peak(), 0.0
    for index, item in enumerate(items, start):
        try:
            results.append(call(item))
        except BaseException as exc:  # noqa: BLE001
            if os.getpid() != pid:
                _end_copy(exc)
            results.append(None)
            errors.append(_error(index, exc))
            if not (keep_going and isinstance(exc, Exception)):
                break
        if os.getpid() != pid:
            _end_copy(None)
        now = clock()
        if now - at >= LONG_S:
            cpu_now, peak_now = cpu(), _peak()
            # As `amorsize.backends.workers.item_times.Meter`.
            spent_s = max(0.0, min(now - at, cpu_now - cpu_at - unread_s))
            records.append((index, now - at, spent_s, peak_now, max(0, peak_now - peak)))
            cpu_at, peak, unread_s = cpu_now, peak_now, 0.0
        else:
            unread_s += now - at
            if unread_s >= LONG_S:
                cpu_at, unread_s = cpu(), 0.0
        at = now
        if limit_s is not None and now - began >= limit_s:
            break
    wall_s, cpu_s = clock() - began, cpu() - cpu_began
    if len(records) > TOP:
        longest = sorted(records, key=lambda one: one[1])[-TOP:]
        records = longest + [one for one in sorted(records, key=lambda one: one[4])[-TOP:] if one not in longest]
    return results, errors, wall_s, cpu_s, records


def _end_copy(exc: BaseException | None) -> None:
    """End this process: an item has forked the worker, and has returned or raised in the copy."""
    code = 0
    if isinstance(exc, SystemExit):
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    elif exc is not None:
        code = 1
        traceback.print_exception(type(exc), exc, exc.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001
            continue
    os._exit(code & 0xFF)


def _send(results: list[Any], errors: list[Any], start: int) -> tuple[bytes, ...]:
    """Return the pickle of the results; one that cannot be pickled becomes an error of its item."""
    try:
        return tuple(bytes(part) for part in _dumps(results))
    except BaseException as why:
        if isinstance(why, (KeyboardInterrupt, GeneratorExit)):
            raise
    for at, result in enumerate(results):
        try:
            _dumps(result)
        except BaseException as exc:
            if isinstance(exc, (KeyboardInterrupt, GeneratorExit)):
                raise
            results[at] = None
            detail = f"a {type(result).__name__} ({_text(exc) or type(exc).__name__})"
            errors.append((start + at, None, "", (), "", "", detail))
    return tuple(bytes(part) for part in _dumps(results))


def _error(index: int, exc: BaseException) -> tuple[Any, ...]:
    """Return an item's exception: pickled if it survives a round trip, and as text."""
    pickled = None
    try:
        sent = _pickled(exc)
        if len(sent) <= LARGE_ERROR_BYTES and type(_loads((sent,))) is type(exc):
            pickled = sent
    except BaseException as why:
        if isinstance(why, (KeyboardInterrupt, GeneratorExit)):
            raise
    below = exc.__traceback__ and exc.__traceback__.tb_next
    try:
        trace = "".join(traceback.format_exception(type(exc), exc, below))
    except Exception:  # noqa: BLE001
        trace = ""
    names = tuple(_name(one) for one in type(exc).__mro__)
    return index, pickled, _name(type(exc)), names, _text(exc), trace.replace("__mp_main__.", "__main__."), None


def _ours(name: str) -> Any:
    """Return a module of amorsize where this one was found by its name, or where it is loaded; else None."""
    if __name__.startswith("amorsize."):
        from importlib import import_module

        return import_module(name)
    return sys.modules.get(name)


def _loads(parts: Any) -> Any:
    # Where amorsize is loaded already, as in a forked worker or in the caller's own process, its own loads leaves the
    # classes alone that this process has made.
    ours = _ours("amorsize.backends.workers.by_value")
    # Arrays over bytes would be read-only.
    parts = (parts[0], *map(bytearray, parts[1:]))
    return pickle.loads(parts[0], buffers=parts[1:]) if ours is None else ours.loads(parts)


def _dumps(obj: Any) -> Any:
    ours = _ours("amorsize.backends.workers.protocol")
    return (_pickled(obj),) if ours is None else ours.dumps(obj)


def _pickled(obj: Any) -> bytes:
    pickled: bytes
    try:
        return pickle.dumps(obj, 5)
    except BaseException as exc:
        if isinstance(exc, (KeyboardInterrupt, GeneratorExit)):
            raise
        try:
            import cloudpickle
        except ImportError:
            raise exc from None
        pickled = cloudpickle.dumps(obj, protocol=5)
        return BY_VALUE + pickled


def _why(func: Any, version: Any, exc: BaseException) -> str:
    """Return in one line why the function cannot be rebuilt here."""
    here, text = tuple(sys.version_info[:2]), f"{_name(type(exc))}: {_text(exc)}"
    by_value = type(func) is tuple and func[0][:2] == BY_VALUE
    if by_value and version is not None and here != tuple(version):
        ours, theirs = (f"{major}.{minor}" for major, minor in (version, here))
        return f"the workers run Python {theirs}, and code that is sent needs the caller's {ours} ({text})"
    if isinstance(exc, ImportError):
        return f"the workers cannot import what it needs: install it there, or keep it beside the program ({text})"
    return f"it cannot be rebuilt in a worker ({text})"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".replace("__mp_main__.", "__main__.")


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001
        return ""


def _host() -> str:
    uname = getattr(os, "uname", None)
    return "" if uname is None else uname().nodename


def _peak() -> int:
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
