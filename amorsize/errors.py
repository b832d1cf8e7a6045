"""Every exception that amorsize raises of itself, in one tree.

::

    AmorsizeError
    ├── WorkerLostError          a worker process died at an item
    ├── ItemTimeoutError         (also TimeoutError) an item ran longer than timeout=
    ├── TransferError            (also pickle.PicklingError) something cannot cross to or from a worker
    ├── ResourceLimitError       the run used more than limits= allows
    ├── RemoteError              an item's exception that cannot be rebuilt in the caller
    └── CheckpointError          the file of checkpoint= cannot be used
        └── CheckpointMismatchError    it holds something else: another function, other data, or no checkpoint at all

What the user's own function raises is re-raised as it is, with its type; bad arguments are plain ``TypeError`` and
``ValueError``. Each message says what happened, likely why, and what to do, and ends with the command
that prints more (`see`); the facts stand in attributes too, and every exception survives pickling.
"""

from __future__ import annotations

# Not from pickle, which takes 3 ms to load.
try:
    from _pickle import PicklingError
except ImportError:
    from pickle import PicklingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


def see(topic: str) -> str:
    """Return how a message ends: with the command that prints its part of docs/howto/troubleshooting.md."""
    return f" (python -m amorsize help {topic})"


class AmorsizeError(Exception):
    """Base of every exception that amorsize raises of itself."""

    # Its topic of ``python -m amorsize help``; none if the user's code raises it.
    _anchor: ClassVar[str] = ""

    def __str__(self) -> str:
        return f"{self._text()}{see(self._anchor) if self._anchor else ''}"

    def __repr__(self) -> str:
        # A collected failure shows its exception, whose arguments alone tell nobody anything.
        return f"{type(self).__name__}({str(self)!r})"

    def _text(self) -> str:
        return super().__str__()


class WorkerLostError(AmorsizeError):
    """A worker process died while it ran an item, and died again when that item was repeated alone.

    Attributes
    ----------
    index : int or None
        Position in ``data`` of the item that was running; None when the worker died before its first item.
    exitcode : int or None
        The worker's exit code; None when it was ended by a signal, or when the exit is unknown.
    signal : int or None
        The number of the signal that ended it (9 is SIGKILL).
    oom : bool
        True if the kernel's out-of-memory killer is known to have been at work.
    call : str or None
        Of an `Executor`: the name of the function that was called; ``index`` is then None unless it was a ``map``.
    fault : str
        If its connection was disturbed, so that it had to be ended: by what.
    refused : str or None
        Why the system did not start it, and what to do.
    engine : str
        What the user's executor or cluster said, if the worker was one of its own.
    """

    _anchor = "workerlosterror"

    def __init__(
        self,
        index: int | None,
        exitcode: int | None = None,
        signal: int | None = None,
        oom: bool = False,
        call: str | None = None,
        fault: str = "",
        refused: str | None = None,
        engine: str = "",
    ) -> None:
        self.index, self.exitcode, self.signal, self.oom, self.call = index, exitcode, signal, oom, call
        self.fault, self.refused, self.engine = fault, refused, engine
        super().__init__(index, exitcode, signal, oom, call, fault, refused, engine)

    def _text(self) -> str:
        if self.refused is not None:
            return f"a worker process could not be started: {self.refused}. Or use backend='auto'."
        at_item = self.index is not None or self.call is not None
        where = f"at {_place(self.index, self.call)}, also when repeated alone" if at_item else "before its first item"
        keep = " on_error='collect' keeps all other results." if at_item and self.call is None else ""
        if self.oom:
            why = "the kernel ended it for want of memory"
            advice = "Use fewer workers (max_workers=), smaller items, or set memory_limit=."
        elif self.engine:
            why = f"the engine says {self.engine}"
            advice = "A crash or a lack of memory is likely: run func on that item alone, and read the engine's logs."
        elif self.fault:
            why = self.fault
            advice = (
                "Look in func for os.close(), os.closerange(), os.write() or os.fdopen() on descriptors that are not "
                "its own, and for copies of the process that os.fork() made."
            )
        elif self.signal is not None:
            why = f"it was ended by {_signal_name(self.signal)}"
            advice = _SIGNAL_ADVICE.get(self.signal, _CRASH_ADVICE)
        elif self.exitcode is None:
            why = "nobody can tell how it ended" if at_item else "it could not be started"
            advice = "Look for limits on processes and memory (ulimit -u, pids.max), or use backend='auto'."
        elif not at_item:
            why = f"it exited with code {self.exitcode}"
            advice = (
                "What it printed may say why. Workers that are not forked import the program's main module again: "
                "guard what starts work there with if __name__ == '__main__'."
            )
        else:
            why = f"it exited with code {self.exitcode}"
            advice = "Something in func called os._exit() or a C library ended it: run func on that item alone."
        return f"a worker process was lost {where}: {why}. {advice}{keep}"


_SIGNAL_ADVICE = {
    9: "SIGKILL often means the kernel ran out of memory: use fewer workers (max_workers=).",
    15: "Something asked it to end: a supervisor, a time limit, or func itself.",
}
_CRASH_ADVICE = "A crash in compiled code is likely: run func on that item alone with python -X faulthandler."


class ItemTimeoutError(AmorsizeError, TimeoutError):
    """An item ran longer than ``timeout``; its worker was ended.

    Attributes
    ----------
    index : int or None
        Position in ``data`` of the item.
    timeout_s : float
        How long it was allowed to run, in seconds.
    call : str or None
        Of an `Executor`: the name of the function that was called; ``index`` is then None unless it was a ``map``.
    """

    _anchor = "itemtimeouterror"

    def __init__(self, index: int | None, timeout_s: float, call: str | None = None) -> None:
        self.index, self.timeout_s, self.call = index, timeout_s, call
        super().__init__(index, timeout_s, call)

    def _text(self) -> str:
        others = ", repeat it (retries=), or keep all other results with on_error='collect'" if not self.call else ""
        return (
            f"{_place(self.index, self.call)} ran longer than timeout={self.timeout_s:g} s, and was ended. "
            "It may wait for something that never comes: run func on that item alone. Give it more time "
            f"(timeout=){others}."
        )


class TransferError(AmorsizeError, PicklingError):
    """The function, an item, a result or an initializer argument cannot be pickled to or from a worker process.

    Attributes
    ----------
    what : str
        Which object it was: ``"func"``, ``"item"``, ``"result"`` or ``"initializer"``; of an `Executor` ``"call"``.
    index : int or None
        Position in ``data`` of the item concerned, if one is.
    detail : str
        What pickle said of it.
    """

    _anchor = "transfererror"

    def __init__(self, what: str, index: int | None = None, detail: str = "") -> None:
        self.what, self.index, self.detail = what, index, detail
        super().__init__(what, index, detail)

    def _text(self) -> str:
        named = {"func": "func"}
        if self.index is not None:
            named |= {"item": f"item {self.index}", "result": f"the result of item {self.index}"}
        return (
            f"{named.get(self.what, f'the {self.what}')} cannot be pickled to cross between processes: {self.detail}. "
            "Open files, locks, sockets and generators cannot: pass what is needed to build them (a path, say) and "
            "build them in func, or run with backend='threads' or 'serial', which need no pickling."
        )


class ResourceLimitError(AmorsizeError):
    """A run used more than ``limits=`` allows, and was stopped.

    Attributes
    ----------
    name : str
        Which limit: ``"max_seconds"``, ``"max_memory_percent"`` or ``"max_cpu_percent"``.
    value : float
        What was seen, in the limit's unit.
    limit : float
        What was allowed.
    """

    _anchor = "resourcelimiterror"

    def __init__(self, name: str, value: float, limit: float) -> None:
        self.name, self.value, self.limit = name, value, limit
        super().__init__(name, value, limit)

    def _text(self) -> str:
        unit, what, advice = _LIMITS.get(self.name, ("", "", ""))
        return (
            f"{self.name}: {self.value:.3g}{unit} {what}, and limits= allows {self.limit:g}{unit}, so the run was "
            f"stopped. {advice} What was done so far is in the checkpoint, if there is one (checkpoint=)."
        )


_LIMITS = {
    "max_seconds": (" s", "have passed", "Allow more, or give it fewer items."),
    "max_memory_percent": (" %", "of the memory is in use", "Use fewer workers (max_workers=) or smaller items."),
    "max_cpu_percent": (" %", "of the usable cores were busy for seconds", "Use fewer workers (max_workers=)."),
}


class RemoteError(AmorsizeError):
    """An item raised an exception that cannot be rebuilt here: its type's name and its text stand for it.

    Attributes
    ----------
    type_name : str
        Qualified name of the exception's type, such as ``"mypkg.errors.ParseError"``.
    text : str
        What ``str()`` gave for it in the worker.
    index : int or None
        Position in ``data`` of the item, if an item raised it.
    class_names : tuple of str
        Qualified names of the exception's type and of its bases (``"builtins.OSError"``); ``retry_on=`` goes by them.
    """

    _anchor = "remoteerror"

    class_names: tuple[str, ...] = ()

    def __init__(self, type_name: str, text: str, index: int | None = None) -> None:
        self.type_name, self.text, self.index = type_name, text, index
        super().__init__(type_name, text, index)

    def _text(self) -> str:
        return (
            f"{self.type_name}: {self.text} (raised in a worker; this exception does not survive pickling, usually "
            "since its __init__ takes arguments that it does not hand to super().__init__)"
        )


class CheckpointError(AmorsizeError):
    """The file of ``checkpoint=`` cannot be used: another process runs with it, or it cannot be written.

    Attributes
    ----------
    path : str
        The file.
    detail : str
        What is wrong, and what to do.
    """

    _anchor = "checkpointerror"

    def __init__(self, path: str, detail: str) -> None:
        self.path, self.detail = path, detail
        super().__init__(path, detail)

    def __str__(self) -> str:
        # The key with which to go on stays at the end: programs take it from there.
        text, key = f"checkpoint {self.path}: {self.detail}.", "; if its results still hold"
        before, found, after = text.rpartition(key)
        place = see(self._anchor)
        return f"{before}{place}{key}{after}" if found else text + place


class CheckpointMismatchError(CheckpointError):
    """The file of ``checkpoint=`` holds another function's results, other data's, or something else altogether.

    Nothing was run, and the file is as it was.

    Attributes
    ----------
    path : str
        The file.
    detail : str
        What differs, and what to do.
    index : int or None
        Position in ``data`` of the first item that differs, if that is what it is.
    """

    _anchor = "checkpointmismatcherror"

    def __init__(self, path: str, detail: str, index: int | None = None) -> None:
        super().__init__(path, detail)
        self.index = index
        self.args = (path, detail, index)


class StopRun(AmorsizeError):  # noqa: N818  (it is no error: it is how an observer ends a run)
    """Raise this in ``on_event=`` or ``progress=`` to end the run in order: it is raised to the caller of the run.

    Workers end, and a checkpoint is written. Any other exception of an observer is logged, and the run goes on.
    """


class RemoteTraceback(Exception):  # noqa: N818  (it is never raised: it only shows as the __cause__ of what is)
    """Carries a worker's traceback as text, shown as the cause of the exception that is raised in the caller."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"in the worker:\n{self.text}"


def _place(index: int | None, call: str | None) -> str:
    item = "" if index is None else f"item {index}"
    return item if call is None else f"{item} of a map of {call}" if item else f"a call of {call}"


def _signal_name(number: int) -> str:
    import signal

    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
