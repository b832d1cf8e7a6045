"""The command line: diagnostics of this machine, the plan of a map, and the map itself.

Exit codes: 0; 1 if the user's function failed; 2 for bad usage, with a message of one line; 42 if a limit stopped the
run; 130 after Ctrl-C, 143 after SIGTERM: either ends the workers, completes the checkpoint and says how to go on. If
the reader of the output has closed it (``| head``), nothing is printed, and the code is the shell's for that, 141.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from amorsize import __version__
from amorsize.cli import curve, report
from amorsize.cli import execute as cli_execute
from amorsize.cli import history as cli_history
from amorsize.cli import measure as cli_measure
from amorsize.cli import watch as cli_watch
from amorsize.cli.completion import PrintCompletion
from amorsize.cli.diagnose import diagnose
from amorsize.cli.documents import FORMATS, check_format, document
from amorsize.cli.failing import LoadFailedError, OutputClosedError, OutputError, RunFailedError, UsageError
from amorsize.cli.items import add_items
from amorsize.cli.map_arguments import add_engine, backends, call_user_code, map_of, size, whole
from amorsize.cli.output import Output, complain, forget_stdout, print_anything, say, stdout_apart, to_file
from amorsize.cli.signals import StoppedError, how_ended, terminable
from amorsize.cli.spelling import Parser, spelled
from amorsize.errors import ResourceLimitError
from amorsize.frozen import plain
from amorsize.options import START_METHODS

if TYPE_CHECKING:
    from amorsize.plan.plan import Plan

FAILED: Final = 1
BAD_USAGE: Final = 2
LIMITED: Final = 42
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

FUNC is called with one item: a number, a line of a file without its newline, what a line holds as JSON, a row of a
table, or the name of a file. MODULE is looked for in the current directory too. Results go to stdout as they come; all
else, and what FUNC prints, goes to stderr.

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
        with terminable():
            print_anything()
            given = _parser().parse_args(argv)
            given.format = "json" if given.json else getattr(given, "format", "table")
            check_format(given.format)
            with ExitStack() as given.held, stdout_apart() as given.out:
                code: int = given.run(given)
    except UsageError as exc:
        return complain(str(exc), BAD_USAGE)
    except RunFailedError as exc:
        is_of_items = isinstance(exc.__cause__, TypeError) and not isinstance(exc, LoadFailedError)
        if is_of_items and getattr(given, "file", None) is not None:
            say("the items of --file are text; --jsonl takes each line as JSON: 1 is a number, [1, 2] a list")
        return FAILED
    except ResourceLimitError as exc:
        return complain(spelled(str(exc)), LIMITED)
    except KeyboardInterrupt as exc:
        word, code = how_ended(exc)
        return complain(": ".join((word, *(map(str, exc.args) if isinstance(exc, StoppedError) else ()))), code)
    except OutputError as exc:
        forget_stdout()
        return complain(str(exc), FAILED)
    except (OutputClosedError, BrokenPipeError):
        forget_stdout()
        return OUTPUT_CLOSED
    return code


# --------------------------------------------------------------------------------------------------------- arguments


def _parser() -> Parser:
    program = "python -m amorsize" if os.path.basename(sys.argv[0]) == "__main__.py" else "amorsize"
    parser = Parser(
        prog=program,
        description="How should this map run here? Without a command: what this machine offers and what it costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"amorsize {__version__}")
    parser.add_argument("--print-completion", action=PrintCompletion)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(output=None, quiet=False)
    parser.add_argument("--fresh", action="store_true", help="measure anew what diagnostics show")
    parser.set_defaults(run=_diagnostics)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    _add_diagnostics(commands)
    _add_optimize(_add_map(commands, "optimize", "say how map(FUNC, items) should run here", _optimize))
    _add_optimize(_add_map(commands, "explain", "the same, with what bounds it and what would help", _explain))
    about = "run map(FUNC, items) as fast as it runs here, and print each result when it is there"
    cli_execute.add_options(_add_map(commands, "execute", about, cli_execute.run))
    for name, about in cli_measure.ABOUT.items():
        cli_measure.add_options(name, _add_map(commands, name, about, partial(_measure, name)))
    about = "decide again and again, and say what has changed"
    cli_watch.add_options(_add_map(commands, "watch", about, cli_watch.run))
    _add_journal(commands)
    _add_history(commands)
    _add_help(commands)
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
        "--format", choices=FORMATS, default=argparse.SUPPRESS, help="table (the default), json, yaml or markdown"
    )
    command.add_argument("--output", metavar="FILE", default=argparse.SUPPRESS, help="write to FILE, not to stdout")
    command.add_argument("--quiet", action="store_true", default=argparse.SUPPRESS, help="tell of nothing but errors")


def _add_map(commands: Any, name: str, about: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    command.add_argument("function", metavar="MODULE:FUNC", help="such as math:sqrt or package.module:Class.method")
    add_items(command)
    command.add_argument("--backend", type=backends, default="auto", metavar="B", help=BACKEND_HELP)
    command.add_argument("--max-workers", type=whole(1), metavar="N", help="at most so many threads or processes")
    command.add_argument("--start-method", choices=START_METHODS, help="how processes start")
    command.add_argument("--memory-limit", type=size, metavar="B", help="bytes that all workers may add, such as 2G")
    command.add_argument("--history", metavar="FILE", help="where runs are recorded; off: nowhere")
    _add_json(command)
    command.set_defaults(run=run)
    return command


BACKEND_HELP: Final = "auto (the default), serial, threads or processes; several with commas between them"


def _add_optimize(command: argparse.ArgumentParser) -> None:
    add_engine(command)
    command.add_argument(
        "--on", metavar="FILE", help="plan for another machine: what python -m amorsize --json printed there"
    )
    report.add_option(command)


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


def _add_help(commands: Any) -> None:
    about = "what an error or a surprise means, and what helps"
    command = commands.add_parser("help", help=about, description=about)
    command.add_argument("topic", metavar="TOPIC", nargs="?", help="as an error's message names it, or a command; all")
    _add_json(command)
    command.set_defaults(run=_help, commands=commands.choices)


# ---------------------------------------------------------------------------------------------------------- commands


def _show(
    given: argparse.Namespace,
    title: str,
    data: Callable[[], Any],
    text: Callable[[], str],
    drawn: Callable[[Output], str] = lambda _: "",
) -> int:
    """Write the one document of a command; what is ``drawn`` for the output follows its text."""
    out = given.out if given.output is None else Output(given.output, None)
    made = document(given.format, f"amorsize {title}", data, lambda: text() + drawn(out))
    # The file is emptied only when there is something to write.
    with ExitStack() as stack:
        (given.out if given.output is None else stack.enter_context(to_file(given.output))).show(made)
    return 0


def _diagnostics(given: argparse.Namespace) -> int:
    from amorsize.cli.diagnostics import to_dict, to_text

    found = diagnose(fresh=given.fresh)
    drawn = partial(curve.of_machine, found)
    return _show(given, "diagnostics", partial(to_dict, found), partial(to_text, found), drawn)


def _optimize(given: argparse.Namespace) -> int:
    plan = _plan(given)
    report.write(given, "optimize", plan)
    return _show(given, "optimize", plan.to_dict, plan.explain, partial(curve.of_plan, plan))


def _explain(given: argparse.Namespace) -> int:
    plan = _plan(given)
    report.write(given, "explain", plan)

    def data() -> dict[str, Any]:
        more: dict[str, Any] = {"bound_by": plan.bound_by, "useful_cores": plan.useful_cores}
        more |= {"advice": [plain(one) for one in plan.advice], "what_if": [plain(one) for one in plan.what_if()]}
        return plan.to_dict() | more

    return _show(given, "explain", data, plan.explain, partial(curve.of_plan, plan))


def _plan(given: argparse.Namespace) -> Plan:
    from amorsize.api import optimize

    # Another machine may have other start methods; optimize() asks that one.
    asked, given.start_method = given.start_method, None if given.on else given.start_method
    func, data, options = map_of(given)
    if given.on is not None:
        options.update(machine=_there(given.on, asked), start_method=asked)
    return call_user_code(partial(optimize, func, data, **options))


def _there(path: str, start_method: str | None) -> str:
    """Check the file of ``--on``, and that machine's start methods; return its path."""
    from amorsize.measure.elsewhere import elsewhere

    try:
        elsewhere(path).start_method(start_method)
    except ValueError as exc:
        raise UsageError(str(exc).replace("machine:", "--on:", 1)) from exc
    return path


def _measure(name: str, given: argparse.Namespace) -> int:
    func, data, options = map_of(given)
    found = call_user_code(partial(cli_measure.RUN[name], func, data, options, given))
    report.write(given, name, found)
    return _show(given, name, found.to_dict, found.explain)


def _journal(given: argparse.Namespace) -> int:
    from amorsize.checkpoint.listing import look, to_dict, to_text
    from amorsize.errors import CheckpointError

    try:
        found = look(os.path.realpath(given.path), given.limit, results=given.results)
    except CheckpointError as exc:
        raise UsageError(spelled(str(exc))) from exc
    return _show(given, "journal", partial(to_dict, found), partial(to_text, found, given.failures))


def _help(given: argparse.Namespace) -> int:
    from amorsize.cli.topics import find

    return _show(given, "help", *find(given))


def _history(given: argparse.Namespace) -> int:
    try:
        found = cli_history.run(given)
    except (OSError, ValueError, TypeError, ImportError) as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        raise UsageError(str(exc)) from exc
    return 0 if found is None else _show(given, f"history {given.what}", *found)
