"""Functions and data that are sent to worker processes: children import this module by its name."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from amorsize.backends.source import PATIENCE_S

state: object = None
"""The value that `set_state` has set in this process."""


def square(x: int) -> int:
    return x * x


def total(row: Any) -> float:
    return float(sum(row))


def text(x: object) -> str:
    return f"<{x}>"


def spin(x: int, seconds: float = 1e-3) -> int:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return x * x


def nap(x: int, seconds: float = 1e-3) -> int:
    time.sleep(seconds)
    return x * x


def where(_: object) -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


class Adder:
    """An object that is callable and has a bound method."""

    def __init__(self, n: int) -> None:
        self.n = n

    def add(self, x: int) -> int:
        return self.n + x

    def __call__(self, x: int) -> int:
        return self.n * x

    @staticmethod
    def double(x: int) -> int:
        return 2 * x

    @classmethod
    def named(cls, x: int) -> str:
        return f"{cls.__name__} {x}"


# -- data ------------------------------------------------------------------------------------------------------------


class Unsliceable(Sequence[int]):
    """A Sequence that takes one index at a time."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> int:
        if not isinstance(index, int):
            raise TypeError("one at a time")
        if not 0 <= index < self.n:
            raise IndexError(index)
        return 10 * index


class OldStyle:
    """Iterable through ``__getitem__`` alone."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __getitem__(self, index: int) -> int:
        if index >= self.n:
            raise IndexError(index)
        return 10 * index


class Torn(Unsliceable):
    """A Sequence in which one item cannot be read."""

    def __init__(self, n: int, torn: int) -> None:
        super().__init__(n)
        self.torn = torn

    def __getitem__(self, index: Any) -> int:
        if index == self.torn:
            raise LookupError("this page is torn")
        return super().__getitem__(index)


class CountedDict(dict[Any, Any]):
    """Counts its iterations."""

    iterated = 0

    def __iter__(self) -> Iterator[Any]:
        self.iterated += 1
        return super().__iter__()


class CountedSet(set[Any]):
    """Counts its iterations."""

    iterated = 0

    def __iter__(self) -> Iterator[Any]:
        self.iterated += 1
        return super().__iter__()


# -- failing ---------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """Pickles well."""

    def __init__(self, item: object, code: int = 0) -> None:
        super().__init__(item, code)
        self.item, self.code = item, code


class Twisted(Exception):
    """Cannot be rebuilt from its pickle: ``__init__`` needs more arguments than the pickle holds."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(f"{first} and {second}")


def refuse(bad: Sequence[int], x: int) -> int:
    if x in bad:
        raise Refused(x, 7)
    return x * x


def refuse_all(x: int) -> int:
    raise Refused(x)


def raise_at(bad: int, kind: type[BaseException], x: int) -> int:
    if x == bad:
        raise kind("no") if kind is not Twisted else Twisted(1, 2)
    return x * x


def attempts(folder: str, item: object) -> int:
    """Return the number of times that `fail_first` was tried with this item."""
    return len(list(Path(folder).glob(f"{item}-*")))


def note_attempt(folder: str, item: object) -> int:
    """Make a file for this attempt, also from several processes at once; return its number, from 1 on."""
    number = 1
    while True:
        try:
            os.close(os.open(Path(folder) / f"{item}-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            number += 1
        else:
            return number


def fail_first(folder: str, times: int, x: int) -> int:
    """Raises the first ``times`` times that an odd item is tried."""
    if note_attempt(folder, x) <= times and x % 2:
        raise Refused(x)
    return x * x


class Busy(ConnectionError):
    """What a server says that is to be asked again later."""


class TwistedBusy(Busy):
    """Cannot be rebuilt from its pickle, as `Twisted`."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(f"{first} and {second}")


def busy_first(folder: str, times: int, kind: str, x: int) -> int:
    """Raises the first ``times`` times that every fourth item is tried; notes when each attempt began and ended."""
    began_s, attempt = time.monotonic(), note_attempt(folder, x)
    try:
        if attempt <= times and x % 4 == 1:
            if kind == "late":
                time.sleep(30)
            raise {"busy": Busy, "refused": Refused}[kind](x) if kind != "twisted" else TwistedBusy(x, x)
        return x * x
    finally:
        Path(folder, f"{x}-{attempt}").write_text(f"{began_s} {time.monotonic()}")


async def busy_first_async(folder: str, times: int, kind: str, x: int) -> int:
    """Do the same as a coroutine."""
    return busy_first(folder, times, kind, x)


def times_of(folder: str, item: object) -> list[tuple[float, float]]:
    """Return when the attempts of `busy_first` at this item began and ended, in order; an end is 0 if it was killed."""
    notes = [Path(folder, f"{item}-{attempt}").read_text() for attempt in range(1, attempts(folder, item) + 1)]
    return [(float(began), float(ended)) for began, ended in (note.split() for note in notes if note)]


def fail_once_at_the_end(folder: str, last: int, x: int) -> int:
    """Raises the first time that the last item of `slow_to_end` is tried, once nothing else is left to read."""
    while x == last and not Path(folder, "end").exists():
        time.sleep(1e-3)
    if x == last and note_attempt(folder, x) == 1:
        raise Refused(x)
    return x * x


def slow_to_end(folder: str, n: int) -> Iterator[int]:
    """Give ``n`` items at once; that there are no more takes longer than results are kept waiting for a read."""
    yield from range(n)
    Path(folder, "end").touch()
    time.sleep(5 * PATIENCE_S)


# -- objects that cannot be pickled ----------------------------------------------------------------------------------


class Stuck:
    """Cannot be pickled."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        raise TypeError("a Stuck stays where it is")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stuck) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


def value_of(x: Any) -> int:
    return int(getattr(x, "value", x))


def stuck_at(bad: Sequence[int], x: int) -> Any:
    return Stuck(x) if x in bad else x


def twisted_at(bad: Sequence[int], x: int) -> Any:
    """Return, not raise, an object that can be pickled but not rebuilt."""
    return Twisted(x, x) if x in bad else x


def describe(x: object) -> str:
    return f"{type(x).__name__}: {x}"


# -- initializers ----------------------------------------------------------------------------------------------------


def set_state(*value: object) -> None:
    global state
    state = value


def tell_state(x: int) -> tuple[object, int]:
    return state, x


def note_process(folder: str) -> None:
    note_attempt(folder, os.getpid())


def leave_unless(pid: int) -> None:
    """End each worker before its first item; an initializer."""
    if os.getpid() != pid:
        os._exit(7)


def raise_in_initializer() -> None:
    raise Refused("initializer")


# -- killing ---------------------------------------------------------------------------------------------------------


def die(how: str) -> None:
    """End this process in one of several ways that no ``except`` sees."""
    faulthandler.disable()  # pytest's own would print
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "half a frame":
        _send_half_a_frame()
        os._exit(3)
    raise AssertionError(how)


def _send_half_a_frame() -> None:
    """Announce 100 MB to the caller, and send some 100 kB of them."""
    from amorsize.backends.workers import child, protocol

    frame = sys._getframe()
    while frame.f_code is not child.serve.__code__:
        assert frame.f_back is not None
        frame = frame.f_back
    frame.f_locals["sock"].sendall(
        protocol.HEADER.pack(protocol.MARK, protocol.DONE, 0, 0, 1, 100 << 20) + bytes(100_000)
    )


def die_at(caller: int, how: str, bad: Sequence[int], x: int) -> int:
    """End the process at bad items; never the caller's."""
    if x in bad and os.getpid() != caller:
        die(how)
    return x * x


def die_once_at(caller: int, how: str, bad: Sequence[int], folder: str, x: int) -> int:
    """Do the same, at each bad item's first attempt only."""
    if x in bad and os.getpid() != caller and note_attempt(folder, x) == 1:
        die(how)
    return x * x


def die_while_pickled(caller: int, bad: int, x: int) -> Any:
    return Deadly(caller) if x == bad else x


class Deadly:
    """Ends the process that pickles it."""

    def __init__(self, caller: int) -> None:
        self.caller = caller

    def __reduce__(self) -> Any:
        if os.getpid() != self.caller:
            os._exit(3)
        return Deadly, (self.caller,)


# -- meeting ---------------------------------------------------------------------------------------------------------


def meet(folder: str, processes: int) -> None:
    """Wait until so many processes are here; give up after a long time, so that a failed test ends."""
    (Path(folder) / str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(os.listdir(folder)) < processes and time.monotonic() < until:
        time.sleep(1e-3)


def draw(folder: str, _: int) -> tuple[int, float]:
    """Return a number from numpy's global generator, once two processes draw."""
    import numpy as np

    meet(folder, 2)
    return os.getpid(), float(np.random.random())


def nested(_: int) -> tuple[int, list[int]]:
    """Return the worker's process id, and those in which a map within it runs its items."""
    import amorsize

    found = amorsize.execute(where, range(8), backend="processes", start_method="fork", max_workers=4)
    return os.getpid(), [pid for pid, _ in found]


def big(x: int) -> Any:
    import numpy as np

    return np.full(500_000, float(x))


def echo(x: object) -> object:
    return x


def blocked_signals(_: object) -> list[int]:
    return sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def note_call(folder: str, x: Any) -> Any:
    """Make a file that names the process."""
    note_attempt(folder, os.getpid())
    return x


def spin_stuck(x: int) -> Stuck:
    return Stuck(spin(x))


class OnlyHere:
    """A function that can be pickled, but rebuilt only in the process that it names."""

    def __init__(self, pid: int) -> None:
        if os.getpid() != pid:
            raise Refused("elsewhere")
        self.pid = pid

    def __call__(self, x: int) -> int:
        return x * x

    def __reduce__(self) -> Any:
        return OnlyHere, (self.pid,)


def raise_beside_an_endless_item(folder: str, x: int) -> int:
    """Raise at item 0 once item 1 has begun; item 1 never ends."""
    begun = Path(folder) / "begun"
    if x == 0:
        until = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < until:
            time.sleep(1e-3)
        raise Refused(x)
    begun.touch()
    while True:
        time.sleep(1e-3)


def plus_one_in_place(array: Any) -> Any:
    array += 1
    return array


def array_of(n: int) -> Any:
    import numpy as np

    kinds = (
        np.arange(n, dtype=float),
        np.arange(2 * n)[::2],
        np.ones((n, 3), order="F"),
        np.arange(n).astype("datetime64[s]"),
    )
    return kinds[n % 4]


def hang_at(bad: Sequence[int], x: int) -> int:
    """Never return for bad numbers."""
    while x in bad:
        time.sleep(100)
    return x * x


def hang_first(folder: str, bad: int, x: int) -> int:
    """Do not return for the bad number, at the first attempt."""
    while x == bad and note_attempt(folder, x) == 1:
        time.sleep(100)
    return x * x


def now(_: object) -> float:
    """Return the time of the call, on a clock that all processes share."""
    return time.monotonic()


def hang_at_odd(x: int) -> int:
    """Never return for odd numbers: in compiled code, which runs no handler."""
    while x % 2:
        time.sleep(100)
    return x * x


def tell_pid_but(caller: int, x: int) -> int:
    """Return the item in the caller, and minus the process id in a worker."""
    return x if os.getpid() == caller else -os.getpid()
