"""tqdm: the bar of ``progress=True``, and `process_map` and `thread_map` as in `tqdm.contrib.concurrent`.

To use amorsize in a program that has ``from tqdm.contrib.concurrent import process_map``, import it from here instead.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sized
from functools import partial
from operator import length_hint
from typing import Any

from amorsize.api import stream
from amorsize.errors import ResourceLimitError
from amorsize.hints import Needs
from amorsize.limits import Limits

with Needs("amorsize.integrations.tqdm", "tqdm", "progress"):
    from tqdm.contrib.concurrent import ensure_lock

__all__ = ["process_map", "thread_map"]

# Arguments that say how chunks and workers are made. Here these are chosen from what items take.
UNUSED = ("buffersize", "max_tasks_per_child", "thread_name_prefix")


# -- in place of tqdm.contrib.concurrent -------------------------------------------------------------------------------


def process_map(
    fn: Callable[..., Any], *iterables: Iterable[Any], lock_name: str = "mp_lock", **tqdm_kwargs: Any
) -> list[Any]:
    """Return ``list(map(fn, *iterables))``, run in worker processes beside a bar that counts items.

    Takes what `tqdm.contrib.concurrent.process_map` takes. ``fn`` may be a lambda; chunks find themselves.

    Parameters
    ----------
    fn : callable
        Takes one item of each iterable.
    *iterables : iterable
        The shortest tells the number of items.
    lock_name : str
        Member of ``tqdm_class.get_lock()`` to use.
    **tqdm_kwargs
        ``max_workers``: the most workers. ``timeout``: seconds from the call until TimeoutError is raised.
        ``mp_context``: a context of multiprocessing, for its start method. ``tqdm_class``: by default
        ``tqdm.auto.tqdm``. ``chunksize``, ``max_tasks_per_child`` and ``buffersize`` are accepted and not used: chunks
        are sized by what items take, and a worker whose memory grows is replaced. All others go to ``tqdm_class``.

    Returns
    -------
    list

    Raises
    ------
    TimeoutError
        If it takes longer than ``timeout``.
    Exception
        What fn raises: that of the first item in order.

    Examples
    --------
    >>> from amorsize.integrations.tqdm import process_map
    >>> process_map(pow, [2, 3], [4, 5], disable=True)
    [16, 243]
    """
    if tqdm_kwargs.get("chunksize", 1) < 1:
        raise ValueError("chunksize must be >= 1.")
    context = tqdm_kwargs.pop("mp_context", None)
    method = context if context is None or isinstance(context, str) else context.get_start_method()
    return _map("processes", fn, iterables, tqdm_kwargs, lock_name=lock_name, start_method=method)


def thread_map(fn: Callable[..., Any], *iterables: Iterable[Any], **tqdm_kwargs: Any) -> list[Any]:
    """Return ``list(map(fn, *iterables))``, run in threads beside a bar that counts items.

    Takes what `tqdm.contrib.concurrent.thread_map` takes. How many threads is found by measuring, up to
    ``max_workers``; the first items run in the calling thread.

    Parameters
    ----------
    fn, *iterables
        As in `process_map`. To call this is your word that fn is safe in threads.
    **tqdm_kwargs
        As in `process_map`; ``thread_name_prefix`` is accepted and not used.

    Returns
    -------
    list

    Raises
    ------
    TimeoutError, Exception
        As in `process_map`.

    Examples
    --------
    >>> from amorsize.integrations.tqdm import thread_map
    >>> thread_map(pow, [2, 3], [4, 5], disable=True)
    [16, 243]
    """
    return _map("threads", fn, iterables, tqdm_kwargs, lock_name=tqdm_kwargs.pop("lock_name", ""))


def _map(
    backend: str,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    keywords: dict[str, Any],
    *,
    lock_name: str,
    start_method: str | None = None,
) -> list[Any]:
    """Run the map beside a bar; ``keywords`` are those of tqdm's own function."""
    keywords = {"smoothing": 0.0, "total": _shortest(iterables), **keywords}
    max_workers, timeout = keywords.pop("max_workers", None), keywords.pop("timeout", None)
    kind = keywords.pop("tqdm_class", None) or _class_of_here()
    for name in ("chunksize", *UNUSED):
        keywords.pop(name, None)
    func, data = (fn, iterables[0]) if len(iterables) == 1 else (partial(_spread, fn), _zipped(iterables))
    # The bar is moved here ten times a second, so its class needs no thread that looks after it.
    with ensure_lock(kind, lock_name=lock_name), _without_monitor(kind)(**keywords) as bar:
        before = 0

        def move(done: int, total: int | None) -> None:
            nonlocal before
            bar.update(done - before)
            before = done

        limits = None if timeout is None else Limits(max_seconds=max(timeout, 1e-9))
        try:
            # As a stream, so that the first exception in the order of the items is raised, as from tqdm.
            results = stream(
                func,
                data,
                backend=backend,
                max_workers=max_workers,
                start_method=start_method,
                limits=limits,
                progress=move,
            )
            return list(results)
        except ResourceLimitError as exc:
            raise TimeoutError(f"the map has not ended within timeout={timeout} seconds") from exc


def _spread(fn: Callable[..., Any], items: tuple[Any, ...]) -> Any:
    return fn(*items)


def _zipped(iterables: tuple[Iterable[Any], ...]) -> Iterable[tuple[Any, ...]]:
    """Return the items of each call: a list, whose items workers inherit, if all iterables have a length."""
    together = zip(*iterables)  # noqa: B905  (the shortest ends it)
    return list(together) if all(isinstance(one, Sized) for one in iterables) else together


def _shortest(iterables: tuple[Iterable[Any], ...]) -> int:
    """Return the number of items that the shortest of these has, as far as they tell; 0 if none tells."""
    return min((n for one in iterables if (n := length_hint(one, -1)) >= 0), default=0)


# -- the bar of progress=True ------------------------------------------------------------------------------------------


class _Bar:
    """A bar drawn by tqdm, whose time left is the forecast of the run."""

    def __init__(self, file: Any, total: int | None, done: int, desc: str) -> None:
        class Forecast(_without_monitor(_class_of_here())):  # type: ignore[misc]  # it is not typed
            """A tqdm that shows the run's own forecast instead of what the past of the bar says."""

            per_item_s: float | None = None

            @property
            def format_dict(self) -> dict[str, Any]:
                facts: dict[str, Any] = super().format_dict
                return facts if self.per_item_s is None else {**facts, "rate": 1 / self.per_item_s}

        self._bar = Forecast(
            total=total, initial=done, desc=desc or None, unit="item", file=file, mininterval=0, miniters=0
        )

    def show(self, done: int, failed: int, per_item_s: float | None) -> None:
        """Move the bar."""
        if failed:
            self._bar.set_postfix(failed=failed, refresh=False)
        self._bar.per_item_s = per_item_s
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is, with the rate of the whole run."""
        self._bar.per_item_s = None
        self._bar.close()


open_display = _Bar


def _class_of_here() -> Any:
    """Return the class that draws on a terminal, or the one for a notebook there."""
    if "ipykernel" in sys.modules:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm


def _without_monitor(kind: Any) -> Any:
    """Return a class like this one, without its monitor thread, beside which no process can be forked safely."""
    if not isinstance(kind, type):
        return kind
    quiet = type(kind.__name__, (kind,), {"monitor_interval": 0})
    if not hasattr(quiet, "_lock"):
        # Else it would make a lock of multiprocessing's.
        quiet.set_lock(threading.RLock())  # type: ignore[attr-defined]
    return quiet
