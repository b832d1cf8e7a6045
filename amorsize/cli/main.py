"""The command line: diagnostics of this machine, the plan of a map, and the map itself.

Exit codes: 0; 1 if the user's function failed; 2 for bad usage, with a message of one line; 42 if a limit stopped the
run; 130 after Ctrl-C, 143 after SIGTERM: either ends the workers, completes the checkpoint and says how to go on. If
the reader of the output has closed it (``| head``), nothing is printed, and the code is the shell's for that, 141.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from io import TextIOWrapper
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

from amorsize import __version__
from amorsize.cli import history as cli_history
from amorsize.cli import measure as cli_measure
from amorsize.cli import report
from amorsize.cli.map_arguments import (
    RunFailedError,
    UsageError,
    add_engine,
    backends,
    call_user_code,
    exceptions,
    item_range,
    jsonable,
    map_of,
    number_of,
    whole,
)
from amorsize.errors import ResourceLimitError
from amorsize.events import ChunkDone, Event
from amorsize.formatting import count, printable
from amorsize.frozen import plain
from amorsize.options import START_METHODS

if TYPE_CHECKING:
    from amorsize.cli.diagnostics import Diagnosis
    from amorsize.facts import BackendCost, Machine, Scaling
    from amorsize.limits import Limits
    from amorsize.plan.plan import Plan

    KnownCosts = tuple[tuple[BackendCost, ...], Scaling, tuple[str, ...]]  # and what is doubtful about them

FAILED: Final = 1
BAD_USAGE: Final = 2
LIMITED: Final = 42
INTERRUPTED: Final = 130
TERMINATED: Final = 143
OUTPUT_CLOSED: Final = 141

EPILOG: Final = """\
examples:
  python -m amorsize                                         what this machine really offers
  python -m amorsize optimize math:factorial --range 2000    how should this map run here?
  python -m amorsize optimize math:factorial --range 2000 --on server.json    and there (its amorsize --json)?
  python -m amorsize explain math:factorial --range 2000     what bounds it, and what would help?
  python -m amorsize validate math:factorial --range 2000    and does the clock agree?
  python -m amorsize execute zlib:crc32 --range 5            one that fails: the item and its traceback
  find . -name '*.py' | python -m amorsize execute os.path:getsize --file - --json

FUNC is called with one item: a number from A (or 0) up to N-1, or a line of the file without its newline. MODULE is
looked for in the current directory too. Results go to stdout, all else to stderr.

exit codes: 0, 1 for a failed run, 2 for bad usage, 42 for a run that a limit stopped, 130 after Ctrl-C,
143 after SIGTERM
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default the program's own.

    Returns
    -------
    int
        The exit code.
    """
    try:
        with _terminable():
            _print_anything()
            arguments = _parser().parse_args(argv)
            arguments.json |= getattr(arguments, "format", None) == "json"
            with ExitStack() as arguments.held:
                code: int = arguments.run(arguments)
            sys.stdout.flush()
    except UsageError as exc:
        return _complain(str(exc), BAD_USAGE)
    except RunFailedError:
        return FAILED
    except ResourceLimitError as exc:
        return _complain(str(exc), LIMITED)
    except KeyboardInterrupt as exc:
        word, code = _how_ended(exc)
        return _complain(": ".join((word, *(map(str, exc.args) if isinstance(exc, StoppedError) else ()))), code)
    except BrokenPipeError:
        _forget_stdout()
        return OUTPUT_CLOSED
    return code


# ----------------------------------------------------------------------------------------------------------- signals


class TerminatedError(KeyboardInterrupt):
    """SIGTERM has come: what runs ends as after Ctrl-C."""


class StoppedError(KeyboardInterrupt):
    """A run was interrupted; its text says how far it came, and its cause by what."""


def _how_ended(exc: BaseException | None) -> tuple[str, int]:
    if isinstance(exc, StoppedError):
        exc = exc.__cause__
    return ("terminated", TERMINATED) if isinstance(exc, TerminatedError) else ("interrupted", INTERRUPTED)


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, unless this program has something else in mind for it."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, partial(_terminate, os.getpid()))
    try:
        yield
    finally:
        # If SIGTERM is ignored now, it has come once and may come again (see `_terminate`), so it stays ignored.
        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(owner: int, number: int, frame: object) -> None:
    if os.getpid() != owner:
        # A worker that a pool has forked, and ends by SIGTERM. In its first hooks an exception would be lost.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    # `timeout` sends SIGTERM to the process and then to its group. The second signal must not disturb the shutdown.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise TerminatedError


# --------------------------------------------------------------------------------------------------------- arguments


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def _parser() -> Parser:
    program = "python -m amorsize" if os.path.basename(sys.argv[0]) == "__main__.py" else "amorsize"
    parser = Parser(
        prog=program,
        description="How should this map run here? Without a command: what this machine offers and what it costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"amorsize {__version__}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--fresh", action="store_true", help="measure anew what diagnostics show")
    parser.set_defaults(run=_diagnostics)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    _add_diagnostics(commands)
    _add_optimize(_add_map(commands, "optimize", "say how map(FUNC, items) should run here", _optimize))
    _add_optimize(_add_map(commands, "explain", "the same, with what bounds it and what would help", _explain))
    _add_execute(_add_map(commands, "execute", "run map(FUNC, items) as fast as it runs here", _execute))
    for name, about in cli_measure.ABOUT.items():
        cli_measure.add_options(name, _add_map(commands, name, about, partial(_measure, name)))
    _add_journal(commands)
    _add_history(commands)
    return parser


def _add_diagnostics(commands: Any) -> None:
    about = "cores, memory and start methods, and what parallelism costs here"
    command = commands.add_parser("diagnostics", help=about, description=about)
    _add_json(command)
    command.add_argument("--fresh", action="store_true", default=argparse.SUPPRESS, help="measure anew")
    command.set_defaults(run=_diagnostics)


def _add_json(command: argparse.ArgumentParser) -> None:
    # Suppressed: otherwise the command's default would overwrite a --json before the command.
    command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    command.add_argument(
        "--format", choices=("table", "json"), default=argparse.SUPPRESS, help="table (the default), or json"
    )


def _add_map(commands: Any, name: str, about: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    command.add_argument("function", metavar="MODULE:FUNC", help="such as math:sqrt or package.module:Class.method")
    items = command.add_mutually_exclusive_group(required=True)
    items.add_argument("--range", type=item_range, metavar="[A:]N", help="the items are A (or 0), ... N-1")
    items.add_argument("--file", metavar="F", help="the items are the lines of F; - reads standard input")
    command.add_argument("--backend", type=backends, default="auto", metavar="B", help=BACKEND_HELP)
    command.add_argument("--max-workers", type=whole(1), metavar="N", help="at most so many threads or processes")
    command.add_argument("--start-method", choices=START_METHODS, help="how processes start")
    _add_json(command)
    command.set_defaults(run=run)
    return command


BACKEND_HELP: Final = "auto (the default), serial, threads or processes; several with commas between them"


RETRY_HELP: Final = "repeat only after these: OSError or package.module:Class; several with commas between them"


def _add_optimize(command: argparse.ArgumentParser) -> None:
    add_engine(command)
    command.add_argument(
        "--on", metavar="FILE", help="plan for another machine: what python -m amorsize --json printed there"
    )
    report.add_option(command)


def _add_execute(command: argparse.ArgumentParser) -> None:
    add_engine(command)
    command.add_argument("--retries", type=whole(0), default=0, metavar="N", help="repeats of an item that raises")
    command.add_argument("--retry-on", metavar="E", help=RETRY_HELP)
    command.add_argument(
        "--backoff", type=number_of("seconds"), default=0.0, metavar="X", help="wait up to X, 2X, 4X, … seconds between"
    )
    command.add_argument(
        "--on-error", choices=("raise", "collect"), default="raise", help="collect: go on, and show what failed"
    )
    command.add_argument("--checkpoint", metavar="PATH", help="keep there what is finished, and skip what is already")
    command.add_argument("--checkpoint-key", metavar="KEY", help="stands in for the function in the checkpoint")
    command.add_argument("--resume", action="store_true", help="go on with a checkpoint that must be there")
    command.add_argument("--progress", action="store_true", help="show a bar on stderr")
    for name, what in (
        ("seconds", "have passed"),
        ("memory-percent", "percent of the memory are in use"),
        ("cpu-percent", "percent of the usable cores have been busy for seconds"),
    ):
        command.add_argument(f"--max-{name}", type=float, metavar="X", help=f"stop when X {what}; exit code 42")


def _add_journal(commands: Any) -> None:
    about = "what is finished in a checkpoint, and what has failed"
    command = commands.add_parser("journal", help=about, description=about)
    command.add_argument("path", metavar="PATH", help="the file that checkpoint= names")
    command.add_argument("--failures", action="store_true", help="show each failed item with its traceback")
    command.add_argument("--results", action="store_true", help="show results too: unpickles them, so trust the file")
    command.add_argument("--limit", type=whole(0), metavar="N", help="at most so many of each")
    _add_json(command)
    command.set_defaults(run=_journal)


def _add_history(commands: Any) -> None:
    about = "what past runs have left, and how good forecasts have been"
    command = commands.add_parser("history", help=about, description=about)
    cli_history.add_commands(command, _add_json)
    command.set_defaults(run=_history)


# ---------------------------------------------------------------------------------------------------------- commands


def _diagnostics(arguments: argparse.Namespace) -> int:
    from amorsize.cli.diagnostics import to_dict, to_text

    found = diagnose(fresh=arguments.fresh)
    _show(json.dumps(to_dict(found), indent=2) if arguments.json else to_text(found))
    return 0


def _optimize(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    report.write(arguments, "optimize", plan)
    _show(plan.to_json(indent=2) if arguments.json else plan.explain())
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    report.write(arguments, "explain", plan)
    if arguments.json:
        more: dict[str, Any] = {"bound_by": plan.bound_by, "useful_cores": plan.useful_cores}
        more |= {"advice": [plain(one) for one in plan.advice], "what_if": [plain(one) for one in plan.what_if()]}
        _show(json.dumps(plan.to_dict() | more, indent=2))
    else:
        _show(plan.explain())
    return 0


def _plan(arguments: argparse.Namespace) -> Plan:
    from amorsize.api import optimize

    # Another machine may have other start methods; optimize() asks that one.
    asked, arguments.start_method = arguments.start_method, None if arguments.on else arguments.start_method
    func, data, options = map_of(arguments)
    if arguments.on is not None:
        options.update(machine=_there(arguments.on, asked), start_method=asked)
    return call_user_code(partial(optimize, func, data, **options))


def _there(path: str, start_method: str | None) -> str:
    """Check the file of ``--on``, and that machine's start methods; return its path."""
    from amorsize.measure.elsewhere import elsewhere

    try:
        elsewhere(path).start_method(start_method)
    except ValueError as exc:
        raise UsageError(str(exc).replace("machine:", "--on:", 1)) from exc
    return path


def _execute(arguments: argparse.Namespace) -> int:
    from amorsize.api import execute
    from amorsize.facts import Failure
    from amorsize.plan import optimize as planning  # noqa: F401  (loaded before the clock starts)
    from amorsize.plan.plan_text import summary

    names = ("retries", "backoff", "on_error", "checkpoint", "checkpoint_key", "progress")
    more = {name: getattr(arguments, name) for name in names}
    if arguments.retry_on is not None:
        more["retry_on"] = exceptions(arguments.retry_on)
    func, data, options = map_of(arguments, **more, limits=_limits(arguments))
    _check_resume(arguments)
    began, done = perf_counter(), Done()
    try:
        results, plan = call_user_code(partial(execute, func, data, **options, on_event=done, return_plan=True))
    except KeyboardInterrupt as exc:
        if arguments.checkpoint is None and not done.items and not isinstance(exc, TerminatedError):
            # After an early Ctrl-C there is nothing to tell.
            raise
        raise StoppedError(done.told(arguments.checkpoint, len(data))) from exc
    took_s = perf_counter() - began
    failed = sum(isinstance(result, Failure) for result in results)
    if arguments.json:
        body = {"plan": plan.to_dict(), "seconds": took_s, "results": [jsonable(result) for result in results]}
        print(json.dumps(body))
    else:
        for result in results:
            print(repr(result))
    print(f"amorsize: {summary(plan, len(results), took_s, failed)}", file=sys.stderr)
    return FAILED if failed else 0


class Done:
    """A listener that counts what a run has done."""

    def __init__(self) -> None:
        self.items = 0

    def __call__(self, event: Event) -> None:
        """Count the items of a chunk."""
        if isinstance(event, ChunkDone):
            # An interrupted item counts as failed, and maybe not as run.
            self.items += max(0, event.items - event.failed)

    def told(self, checkpoint: str | None, items: int) -> str:
        """Say how much is done after an interrupt, and how to go on."""
        if checkpoint is None:
            return (
                f"{self.items:,} of {count(items, 'item')} done, and not kept; with --checkpoint PATH the same command "
                "goes on from there"
            )
        from amorsize.checkpoint.journal import read
        from amorsize.errors import CheckpointError

        path = os.path.realpath(checkpoint)
        try:
            kept = read(path, 0)[0].done
        except CheckpointError:
            # It had not begun.
            kept = 0
        return f"{kept:,} of {count(items, 'item')} done and kept in {path}; the same command goes on from there"


def _measure(name: str, arguments: argparse.Namespace) -> int:
    func, data, options = map_of(arguments)
    _show(call_user_code(partial(cli_measure.RUN[name], func, data, options, arguments)))
    return 0


def _check_resume(arguments: argparse.Namespace) -> None:
    if arguments.resume and arguments.checkpoint is None:
        raise UsageError("--resume: say with --checkpoint PATH from what")
    if arguments.resume and not os.path.exists(arguments.checkpoint):
        raise UsageError(f"--resume: there is nothing at {arguments.checkpoint} to go on with; leave it out to begin")


def _journal(arguments: argparse.Namespace) -> int:
    from amorsize.checkpoint.listing import look, to_dict, to_text
    from amorsize.errors import CheckpointError

    try:
        found = look(os.path.realpath(arguments.path), arguments.limit, results=arguments.results)
    except CheckpointError as exc:
        raise UsageError(str(exc)) from exc
    _show(json.dumps(to_dict(found), indent=2) if arguments.json else to_text(found, arguments.failures))
    return 0


def _history(arguments: argparse.Namespace) -> int:
    try:
        text = cli_history.run(arguments)
    except (OSError, ValueError, TypeError, ImportError) as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        raise UsageError(str(exc)) from exc
    if text:
        _show(text)
    return 0


def _limits(arguments: argparse.Namespace) -> Limits | None:
    from amorsize.limits import Limits

    given = {name: getattr(arguments, name) for name in ("max_seconds", "max_memory_percent", "max_cpu_percent")}
    try:
        return Limits(**given) if any(value is not None for value in given.values()) else None
    except ValueError as exc:
        raise UsageError(f"--{str(exc).replace('_', '-', 2)}") from exc


def diagnose(*, fresh: bool = False) -> Diagnosis:
    """Read this machine and, from the store, its costs of parallelism; measure them if one is missing or outdated."""
    from time import time

    from amorsize.api import machine
    from amorsize.cli.diagnostics import Diagnosis

    here = machine()
    costs, scaling, doubts = (None if fresh else _recalled_costs(here)) or _measured_costs(here)
    return Diagnosis(machine=here, costs=costs, scaling=scaling, doubts=doubts, version=__version__, at_s=time())


def _measured_costs(here: Machine) -> KnownCosts:
    from amorsize.history.sqlite_file import default_store
    from amorsize.measure.calibrate import diagnose_all

    found = diagnose_all(here, store=default_store(), budget_s=DIAGNOSE_S)
    return found["costs"], found["scaling"], found["warnings"]


def _recalled_costs(here: Machine) -> KnownCosts | None:
    """Return the costs that the store holds; None if any is missing."""
    from time import time

    from amorsize.history.sqlite_file import default_store
    from amorsize.measure.calibrate import cached_cost, cached_scaling
    from amorsize.measure.cost_cache import SCALING, Wish, recalled

    store, now_s = default_store(), time()
    engines = [Wish(engine, method) for engine in ("team", "pool") for method in here.start_methods]
    engines += [Wish("threads"), Wish("threadpool")]
    known = [recalled(wish, wish.key(here), store, now_s) for wish in (Wish(SCALING), *engines)]
    if known[0] is None or not all(known):
        return None
    costs = tuple(cached_cost(wish.engine, wish.start_method, here, store=store) for wish in engines)
    return costs, cached_scaling(here, store=store), getattr(known[0].value, "warnings", ())


# Seconds of measuring: about 2 s with the start of the interpreter and the reading of the machine.
DIAGNOSE_S: Final = 1.6


# ------------------------------------------------------------------------------------------------------------ output


def _complain(text: str, code: int) -> int:
    print(f"amorsize: {printable(text)}", file=sys.stderr)
    return code


def _show(text: str) -> None:
    """Print text that may quote names and messages from elsewhere."""
    print(printable(text, lines=True))


def _print_anything() -> None:
    """Print characters that the output's encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """Discard further output, since its reader has closed it; also what the interpreter flushes when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
