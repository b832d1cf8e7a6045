"""``python -m amorsize execute``: results as they come, failures apart, and a closing line that says how to go on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from json import JSONEncoder
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from amorsize.cli import report
from amorsize.cli.documents import check_lines
from amorsize.cli.failing import OutputClosedError, OutputError, RunFailedError, UsageError
from amorsize.cli.items import Records
from amorsize.cli.map_arguments import add_engine, call_user_code, exceptions, load, map_of, number_of, whole
from amorsize.cli.output import Output, say, to_file
from amorsize.cli.signals import StoppedError, TerminatedError
from amorsize.cli.spelling import spelled
from amorsize.errors import ResourceLimitError
from amorsize.events import ChunkDone, Event, WorkerLost, WorkerRetired, WorkerStarted
from amorsize.facts import Failure
from amorsize.formatting import count
from amorsize.system.looks import text_of

if TYPE_CHECKING:
    from amorsize.limits import Limits
    from amorsize.options import Request
    from amorsize.run.stream import Streaming

FAILED: Final = 1
LIMITED: Final = 42
RETRY_HELP: Final = "repeat only after these: OSError or package.module:Class; several with commas between them"


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of ``execute``."""
    add_engine(command)
    add = command.add_argument
    seconds = partial(number_of, "seconds")
    add("--unordered", action="store_true", help="print results as they are done, not in the order of the items")
    add("--retries", type=whole(0), default=0, metavar="N", help="repeats of an item that raises")
    add("--retry-on", metavar="E", help=RETRY_HELP)
    add("--backoff", type=seconds(), default=0.0, metavar="X", help="wait up to X, 2X, 4X, … seconds between")
    add("--on-error", choices=("raise", "collect"), help="collect: go on, and tell of what failed on stderr")
    add("--failed", metavar="FILE", help="collect, and write what failed to FILE as JSON lines")
    add("--max-failures", type=whole(0), metavar="N", help="collect, and stop when more than N items have failed")
    add("--timeout", type=seconds(positive=True), metavar="S", help="seconds that an item may run; needs processes")
    add("--rate", type=number_of("items per second", positive=True), metavar="R", help="items a second that may begin")
    add("--initializer", metavar="MODULE:FUNC", help="called once in each worker, before its first item")
    add("--max-ahead", type=whole(1), metavar="N", help="items that may be ahead of the reader of the output")
    add("--checkpoint", metavar="PATH", help="keep there what is finished, and skip what is already")
    add("--checkpoint-key", metavar="KEY", help="stands in for the function in the checkpoint")
    add("--resume", action="store_true", help="go on with a checkpoint that must be there")
    add("--progress", action="store_true", help="show a bar on stderr")
    add("--plan", metavar="FILE", help="write the plan that was carried out to FILE, as JSON")
    report.add_option(command)
    for name, what in (
        ("seconds", "have passed"),
        ("memory-percent", "percent of the memory are in use"),
        ("cpu-percent", "percent of the usable cores have been busy for seconds"),
    ):
        add(f"--max-{name}", type=float, metavar="X", help=f"stop when X {what}; exit code 42")


def run(given: argparse.Namespace) -> int:
    """Run the map; return the exit code."""
    check_lines(given)
    request, data = _request(given)
    _check_resume(given)
    from amorsize.run.stream import Streaming

    with ExitStack() as stack:
        out: Output = given.out if given.output is None else stack.enter_context(to_file(given.output))
        if isinstance(data, Records):
            stack.callback(data.close)
        failed = None if given.failed is None else stack.enter_context(to_file(given.failed))
        stream = Streaming(
            request,
            ordered=not given.unordered,
            max_ahead=given.max_ahead,
            arrivals=data if isinstance(data, Records) else None,
        )
        course = Course(stream, out, given.checkpoint)
        printed = partial(_print, course, failed, given.format == "json")
        try:
            call_user_code(printed)
        except KeyboardInterrupt as exc:
            if given.checkpoint is None and not course.done and not isinstance(exc, TerminatedError):
                # After an early Ctrl-C there is nothing to tell.
                raise
            raise StoppedError(course.told()) from exc
        except RunFailedError:
            if given.checkpoint is not None:
                say(course.told())
            raise
        except ResourceLimitError as exc:
            say(f"{spelled(str(exc))} {course.told()}")
            return LIMITED
        except OutputError as exc:
            raise OutputError(f"{exc}; {course.told()}") from exc
    return _close(given, course)


def _request(given: argparse.Namespace) -> tuple[Request, Any]:
    """Check the arguments."""
    from amorsize.options import check

    more: dict[str, Any] = {}
    if given.html is not None:
        given.events = []
        more["on_event"] = partial(_keep, given.events)
    names = ("retries", "backoff", "max_failures", "timeout", "rate", "checkpoint", "checkpoint_key", "progress")
    more |= {name: getattr(given, name) for name in names}
    is_collecting = given.failed is not None or given.max_failures is not None
    if is_collecting and given.on_error == "raise":
        raise UsageError("--on-error raise: ends at the first failure; leave it out, or --failed and --max-failures")
    more["on_error"] = "collect" if is_collecting else given.on_error or "raise"
    if given.retry_on is not None:
        more["retry_on"] = exceptions(given.retry_on)
    if given.initializer is not None:
        more["initializer"] = load(given.initializer)
    func, data, options = map_of(given, streamed=True, **more, limits=_limits(given))
    return check(func, data, **options), data


def _keep(kept: list[Event], event: Event) -> None:
    """Keep what a lane per worker is drawn of; the failures of an endless input are not."""
    if isinstance(event, (ChunkDone, WorkerStarted, WorkerRetired, WorkerLost)):
        kept.append(event)


def _check_resume(given: argparse.Namespace) -> None:
    if given.resume and given.checkpoint is None:
        raise UsageError("--resume: say with --checkpoint PATH from what")
    if given.resume and not os.path.exists(given.checkpoint):
        raise UsageError(f"--resume: there is nothing at {given.checkpoint} to go on with; leave it out to begin")


def _limits(given: argparse.Namespace) -> Limits | None:
    from amorsize.limits import Limits

    wanted = {name: getattr(given, name) for name in ("max_seconds", "max_memory_percent", "max_cpu_percent")}
    try:
        return Limits(**wanted) if any(value is not None for value in wanted.values()) else None
    except ValueError as exc:
        raise UsageError(spelled(str(exc))) from exc


# ----------------------------------------------------------------------------------------------------------- results


def _print(course: Course, failed: Output | None, is_json: bool) -> None:
    """Print each result when it is ready, and each failure apart."""
    stream = course.stream
    lines = _json_lines if is_json else _lines
    is_collecting = stream.execution.request.on_error == "collect"
    # Not in the loop's head alone, where an exception would end the generator, and that waits for running items.
    ready = stream.pieces()
    try:
        for pieces in ready:
            if is_collecting:
                pieces = list(_without_failures(pieces, partial(_tell, failed, is_json)))
            course.write("".join(lines(pieces)), sum(len(values) for _, values in pieces))
    except KeyboardInterrupt as exc:
        stream.close(exc)
        raise
    except (OutputClosedError, OutputError):
        stream.close(KeyboardInterrupt())
        raise


def _without_failures(
    pieces: list[tuple[int, list[Any]]], tell: Callable[[Failure], None]
) -> Iterator[tuple[int, list[Any]]]:
    """Take the failures out of the results."""
    for start, values in pieces:
        begin = 0
        for at, value in enumerate(values):
            if type(value) is Failure:
                tell(value)
                yield start + begin, values[begin:at]
                begin = at + 1
        yield start + begin, values[begin:]


def _tell(file: Output | None, is_json: bool, failure: Failure) -> None:
    """Tell of a failure in a line."""
    if file is None and not is_json:
        say(f"item {failure.index} failed: {failure.exception!r}")
        return
    text = encode({"index": failure.index, "exception": repr(failure.exception), "traceback": failure.traceback}) + "\n"
    if file is not None:
        file.write(text)
    else:
        import sys

        sys.stderr.write(text)
        sys.stderr.flush()


def _lines(pieces: list[tuple[int, list[Any]]]) -> Iterator[str]:
    for _, values in pieces:
        for value in values:
            yield f"{shown(value)}\n"


def _json_lines(pieces: list[tuple[int, list[Any]]]) -> Iterator[str]:
    for start, values in pieces:
        for index, value in enumerate(values, start):
            yield f'{{"index": {index}, "result": {encode(value)}}}\n'


def shown(result: Any) -> str:
    """Return the repr of a result; a line says so if there is none.

    Examples
    --------
    >>> shown([1]), shown(10**5000)[:66]
    ('[1]', '<int that cannot be shown: Exceeds the limit (4300 digits) for int')
    """
    try:
        return repr(result)
    except Exception as exc:  # noqa: BLE001  (whatever a __repr__ raises; the other results are worth more)
        return f"<{type(result).__name__} that cannot be shown: {text_of(exc)}>"


_encode: Final = JSONEncoder(allow_nan=False).encode
# The shortest way for the commonest types: 0.1 µs instead of 1.
_FAST: Final[dict[type, Callable[[Any], str]]] = {
    int: int.__repr__,
    str: encode_basestring_ascii,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    float: lambda value: float.__repr__(value) if isfinite(value) else f'"{value!r}"',
}


def encode(result: Any) -> str:
    """Return a result as JSON; an object that JSON cannot hold becomes its repr.

    Examples
    --------
    >>> encode({"a": [1, None]}), encode({1, 2}), encode(float("nan"))
    ('{"a": [1, null]}', '"{1, 2}"', '"nan"')
    """
    fast = _FAST.get(type(result))
    if fast is not None:
        try:
            return fast(result)
        except ValueError:  # an integer of too many digits
            return encode_basestring_ascii(shown(result))
    if type(result).__module__ == "numpy" and hasattr(result, "tolist"):
        result = result.tolist()
    try:
        return _encode(result)
    except (TypeError, ValueError, RecursionError):
        return encode_basestring_ascii(shown(result))


# ------------------------------------------------------------------------------------------------------ closing line


class Course:
    """How far a run has come."""

    def __init__(self, stream: Streaming, out: Output, checkpoint: str | None) -> None:
        self.stream = stream
        self.out = out
        self.checkpoint = checkpoint
        self.written = 0
        self.is_writing = False

    def write(self, text: str, results: int) -> None:
        """Write the lines of so many results."""
        self.is_writing = True
        self.out.write(text)
        self.written += results
        self.is_writing = False

    @property
    def skipped(self) -> int:
        """Number of items whose results the checkpoint had."""
        checkpoint = self.stream.state.checkpoint
        return 0 if checkpoint is None else checkpoint.skipped

    @property
    def done(self) -> int:
        """Number of items that this run has made a result of."""
        flow = self.stream.flow
        return max(0, flow.size - self.skipped - flow.n_collected)

    def told(self) -> str:
        """Say what is done after a run that has not come to its end, and how to go on."""
        length = self.stream.state.source.length
        of = "" if length is None else f" of {length:,}"
        # An interrupted write may have written more.
        at_least, up_to = ("at least ", "up to ") if self.is_writing else ("", "")
        to = f"written to {self.out.name}"
        if self.checkpoint is None:
            lost = max(0, self.done - self.written)
            more = f", {up_to}{lost:,} more done and lost" if lost else ""
            return (
                f"{at_least}{self.written:,}{of} results {to}{more}; "
                "with --checkpoint PATH all that is done is kept, and the same command with --resume goes on from there"
            )
        from amorsize.checkpoint.journal import read
        from amorsize.errors import CheckpointError

        path = os.path.realpath(self.checkpoint)
        try:
            kept = read(path, 0)[0].done
        except CheckpointError:
            # It had not begun.
            kept = 0
        before = f", {self.skipped:,} of them by earlier runs" if self.skipped else ""
        return (
            f"{kept:,}{of} items done{before}, and kept in {path}; {at_least}{count(self.written, 'result')} {to}; "
            "the same command with --resume goes on from there"
        )


def _close(given: argparse.Namespace, course: Course) -> int:
    """Print the closing line after a run that came to its end, and write its plan; return the exit code."""
    execution, flow = course.stream.execution, course.stream.flow
    failed = flow.n_failed
    code = FAILED if failed else 0
    if course.stream.state.source.indexable:
        # Of a pipe, the time tells how fast its writer was.
        execution.record("ok")
    if given.quiet and given.plan is None and given.html is None:
        return code
    from amorsize.plan.of_run import plan_of
    from amorsize.plan.plan_text import summary

    plan = plan_of(execution)
    if given.plan is not None:
        with to_file(given.plan) as file:
            file.write(plan.to_json(indent=2) + "\n")
    if given.html is not None:
        report.write(given, "execute", plan, events=given.events)
    if not given.quiet:
        text = summary(plan, course.done + failed, execution.wall_s, failed)
        if course.skipped:
            text += (
                f"; {count(course.skipped, 'result')} more, of earlier runs, {_were(course.skipped)} in the checkpoint"
            )
        if failed and given.checkpoint is not None:
            text += "; the same command with --resume runs what failed again"
        say(text)
    return code


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
