"""Which calls of joblib have been faster at workers than in the caller's loop, in this process.

A later call of the same function on similar arguments goes to the workers at once: the loop would tell nothing new, and
while its tasks hold the interpreter's lock, the workers wait for the thread that serves them (5 ms each time).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize.history.this_process import MOST, SURPRISE, code_of
from amorsize.system.looks import ATOMS, attribute, is_interrupt, size_of

if TYPE_CHECKING:
    from amorsize.executor.calls import Call
    from amorsize.facts import Backend

# guess: at the workers a task must take at most this share of its time in the loop
PAYS: Final = 0.9


class Known(NamedTuple):
    """What is known of similar calls.

    Attributes
    ----------
    backend : str or None
        The one that was faster than the loop; None: threads were not, so that processes are next.
    loop_s : float
        Seconds per task in the loop.
    threads_s : float or None
        Seconds per task of a whole call in threads; None: there was none.
    """

    backend: Backend | None
    loop_s: float
    threads_s: float | None = None


_known: OrderedDict[object, Known] = OrderedDict()


def key_of(call: Call) -> object:
    """Return what similar calls have in common: the code, and the types and rough sizes of the arguments. Takes 5 µs.

    scikit-learn wraps each function in a new object, which holds it as ``function``. None if the types cannot be keys.
    """
    function, args, keywords = call
    inner = attribute(function, "function")
    code = code_of(function if inner is None else inner)
    try:
        key = code, tuple(map(_look, args)), tuple((name, _look(value)) for name, value in keywords.items())
        hash(key)
    # The metaclass of an argument may do anything.
    except Exception as exc:
        if is_interrupt(exc):
            raise
        return None
    return key


def _look(value: Any) -> object:
    size = None if type(value) in ATOMS else size_of(value)
    return type(value), size and int(size).bit_length()


def recall(key: object) -> Known | None:
    """Return what is known of similar calls; None if nothing is."""
    return None if key is None else _known.get(key)


def note(key: object, backend: Backend, loop_s: float, wall_s: float, tasks: int, worker_s: float) -> None:
    """Note what tasks took at workers.

    Parameters
    ----------
    key : object
    backend : {"threads", "processes"}
    loop_s : float
        Seconds per task in the loop.
    wall_s, tasks : float, int
        Seconds in which the workers have run so many tasks.
    worker_s : float
        Seconds per task in a worker. If tasks are far shorter than they were in the loop, they are others.
    """
    if key is None:
        return
    before = _known.pop(key, None)
    if not tasks or worker_s * SURPRISE < loop_s:
        return
    took_s = wall_s / tasks
    threads_s = took_s if backend == "threads" else before and before.threads_s
    if threads_s is not None and threads_s < took_s:
        # Processes came next, and were slower still.
        _known[key] = Known("threads", loop_s, threads_s)
    elif took_s < PAYS * loop_s:
        _known[key] = Known(backend, loop_s, threads_s)
    elif backend == "threads":
        _known[key] = Known(None, loop_s, threads_s)
    while len(_known) > MOST:
        _known.popitem(last=False)


def note_loop(key: object, loop_s: float) -> None:
    """Note what tasks took in a call that stayed in the loop; if threads have been faster, they are next."""
    known = recall(key)
    if known is not None and known.threads_s is not None and known.threads_s < PAYS * loop_s:
        _known[key] = Known("threads", loop_s, known.threads_s)
