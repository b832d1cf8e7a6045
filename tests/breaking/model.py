"""What must come out: ``list(map(func, data))``, with failures as ``on_error``, ``retries`` and ``timeout`` say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amorsize.errors import ItemTimeoutError, RemoteError, TransferError, WorkerLostError
from amorsize.facts import Failure

from . import functions as fn
from .harness import Wrong, demand


@dataclass(frozen=True)
class Good:
    """A result."""

    value: Any


@dataclass(frozen=True)
class Bad:
    """A failure of one of these types; a fatal one ends the call even where failures are collected."""

    kinds: tuple[type[BaseException], ...]
    fatal: bool = False


Fate = Good | Bad


def fate(words: Sequence[str], index: int, *, retries: int, travels: bool) -> Fate:
    """What becomes of one item by its script.

    ``travels``: its result must cross to another process, so one that cannot be pickled is a failure.
    """
    deaths = failures = 0
    step = 0
    while True:
        word = words[min(step, len(words) - 1)]
        step += 1
        if word in fn.DEATHS:
            deaths += 1
            if deaths > 1:
                return Bad((WorkerLostError,))
            continue
        bad = _bad(word, travels)
        if bad is None:
            return Good(fn.act(word, index))
        if bad.fatal:
            return bad
        failures += 1
        if failures > retries:
            return bad


def _bad(word: str, travels: bool) -> Bad | None:
    if word in fn.FATAL:
        return Bad((fn.FATAL[word],), fatal=True)
    if word == "hang":
        return Bad((ItemTimeoutError,))
    if word in ("stuck", "crooked"):
        return Bad((TransferError,)) if travels else None
    if word in ("glued", "twisted"):
        return Bad((fn.RAISES[word], RemoteError))
    if word in fn.RAISES:
        return Bad((fn.RAISES[word],))
    return None


def fates(words: Sequence[str], index: int, *, again: bool, **how: Any) -> list[Fate]:
    """All that may become of an item. ``again``: results and errors of it may be lost, and it is run once more."""
    starts = range(len(words)) if again else (0,)
    return [fate(words[start:], index, **how) for start in starts]


def same(found: Any, value: Any) -> bool:
    return type(found) is type(value) and bool(found == value)


def fits(found: Any, fate: Fate) -> bool:
    """Whether a result, or a `Failure`, is this fate."""
    if isinstance(fate, Good):
        return same(found, fate.value)
    return isinstance(found, Failure) and isinstance(found.exception, fate.kinds)


def unwrapped(exc: BaseException) -> BaseException:
    """The user's exception: generators and coroutines cannot raise StopIteration, and Python makes it RuntimeError."""
    cause = exc.__cause__
    return cause if isinstance(exc, RuntimeError) and isinstance(cause, StopIteration) else exc


def item_of(exc: BaseException) -> int | None:
    """The item that an exception names in its note."""
    for note in getattr(exc, "__notes__", ()):
        if match := re.match(r"amorsize: (?:raised at|interrupted in) item (\d+)", note):
            return int(match[1])
    return None


@dataclass
class Expected:
    """What may come out of one call.

    Attributes
    ----------
    items : mapping of int to list of Fate
        By index; all of one item's fates are right.
    collect : bool
    most : int or None
        ``max_failures``.
    """

    items: Mapping[int, Sequence[Fate]]
    collect: bool
    most: int | None = None

    def must_raise(self) -> bool:
        certain = [f for fates in self.items.values() if all(isinstance(f, Bad) for f in fates) for f in fates[:1]]
        if not self.collect:
            return bool(certain)
        fatal = any(all(isinstance(f, Bad) and f.fatal for f in fates) for fates in self.items.values())
        return fatal or (self.most is not None and len(certain) > self.most)

    def check_list(self, found: Sequence[Any]) -> None:
        demand(len(found) == len(self.items), f"{len(found)} results of {len(self.items)} items")
        demand(not self.must_raise(), "no exception was raised")
        for index, one in enumerate(found):
            self.check_one(index, one)

    def check_one(self, index: int, found: Any) -> None:
        if not any(fits(found, fate) for fate in self.items[index]):
            raise Wrong(f"item {index}: {_short(found)} instead of {[_short(one) for one in self.items[index]]}")
        if isinstance(found, Failure):
            demand(self.collect, f"item {index}: a Failure, where failures are raised")
            demand(found.index == index, f"item {index}: a Failure of item {found.index}")
            demand(isinstance(found.traceback, str), f"item {index}: traceback {found.traceback!r}")

    def check_raised(self, exc: BaseException) -> None:
        """That this exception may be raised, and that it names an item which failed so."""
        exc = unwrapped(exc)
        index = item_of(exc)
        if index is None:
            raise exc
        demand(index in self.items, f"item {index} does not exist")
        bads = [one for one in self.items[index] if isinstance(one, Bad) and isinstance(exc, one.kinds)]
        if not bads:
            raise Wrong(f"item {index} raised {exc!r} instead of {self.items[index]}") from exc
        if self.collect and not any(one.fatal for one in bads):
            failing = sum(any(isinstance(one, Bad) for one in fates) for fates in self.items.values())
            demand(self.most is not None and failing > self.most, f"{exc!r} was raised, not collected")


def _short(obj: object) -> str:
    return repr(obj)[:200]
