"""``python -m amorsize``: its output, the stream of it, and the exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runs import FUNCTIONS, PATIENCE_S, python_m, run

import amorsize
from amorsize.checkpoint.journal import read
from amorsize.cli import main as cli
from amorsize.cli.items import Records
from amorsize.facts import Scaling
from amorsize.frozen import as_dict
from amorsize.history.sqlite_file import Store
from amorsize.measure import cost_cache
from amorsize.measure.cost_cache import Curve, Found
from amorsize.model.default_costs import recorded
from amorsize.system.machine_text import WIDTH

# -------------------------------------------------------------------------------------------------------- diagnostics


def test_bare_it_tells_what_this_machine_offers():
    done = run()
    assert done.stderr == ""
    here = amorsize.machine()
    told = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert told[0] == f"amorsize {amorsize.__version__} with {here.python} on {here.system}"
    assert any(line.startswith(f"affinity {here.affinity_cores} ") for line in told)
    for method in here.start_methods:
        assert sum(line.startswith(f"Pool {method} ") for line in told) == 1
        assert sum(line.startswith(f"execute() {method} ") for line in told) == 1
    assert "What that means" in told
    assert max(map(len, done.stdout.splitlines())) <= WIDTH
    assert "\x1b" not in done.stdout


def remember_costs(path: Path, at_s: float) -> None:
    """Fill the store with costs of this machine, measured at ``at_s``."""
    here, store = amorsize.machine(), Store(path)
    ways = [(engine, method) for engine in ("team", "pool") for method in here.start_methods]
    for way in (*ways, ("threads", None), ("threadpool", None)):
        cost = replace(recorded(*way), measured=True, measured_at_s=at_s)
        cost_cache.keep(cost_cache.Wish(*way).key(here), cost_cache.Known(Found(cost, 0.0), at_s), store)
    curve = Curve(Scaling(points=((1, 1.0), (2, 1.77))), ("hm",))
    cost_cache.keep(cost_cache.Wish(cost_cache.SCALING).key(here), cost_cache.Known(curve, at_s), store)


@pytest.fixture
def history(tmp_path, monkeypatch) -> Path:
    """An empty store, with no costs in memory."""
    monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "history.sqlite"))
    cost_cache.forget()
    yield tmp_path / "history.sqlite"
    cost_cache.forget()


@pytest.fixture
def measured(monkeypatch) -> list[object]:
    """The stores of the requested measurements, which take no time here."""
    asked: list[object] = []

    def diagnose_all(machine, store=None, budget_s=0.0):
        asked.append(store)
        costs = (replace(recorded("pool", "spawn"), measured=True, measured_at_s=7.0),)
        return {"costs": costs, "scaling": Scaling(), "warnings": (), "took_s": 0.0}

    monkeypatch.setattr("amorsize.measure.calibrate.diagnose_all", diagnose_all)
    return asked


def test_what_was_measured_lately_is_not_measured_again(history, measured, capsys):
    at_s = float(int(time.time())) - 240
    remember_costs(history, at_s)
    cost_cache.forget()
    assert cli.main(["diagnostics", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not measured
    assert {cost["measured_at_s"] for cost in told["costs"]} == {at_s}
    assert told["scaling"] == [[1, 1.0], [2, 1.77]]
    assert "scaling: hm" in told["warnings"]


@pytest.mark.parametrize(("age_s", "arguments"), [(600, ["--fresh"]), (600, ["diagnostics", "--fresh"]), (1e7, [])])
def test_it_is_measured_again_when_asked_for_or_too_old(history, measured, capsys, age_s, arguments):
    remember_costs(history, time.time() - age_s)
    cost_cache.forget()
    assert cli.main([*arguments, "--json"]) == 0
    (cost,) = json.loads(capsys.readouterr().out)["costs"]
    assert cost["measured_at_s"] == 7.0
    assert [store.file for store in measured] == [str(history)]


def test_it_is_measured_when_anything_is_missing(history, measured, capsys):
    remember_costs(history, time.time())
    cost_cache.forget()
    with closing(sqlite3.connect(history)) as link, link:
        link.execute("DELETE FROM cost WHERE key LIKE 'threadpool%'")
    assert cli.main(["diagnostics"]) == 0
    assert len(measured) == 1
    assert "Pool        spawn" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ optimize and execute


@pytest.mark.usefixtures("steady")
def test_optimize_explains(module, capsys):
    assert cli.main(["optimize", f"{module}:square", "--range", "10"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("amorsize: an item takes ")
    assert "backend serial, n_jobs 1, chunksize 10" in out
    assert err == ""


@pytest.mark.usefixtures("steady")
def test_optimize_as_json_is_the_plan(module, capsys):
    assert cli.main(["optimize", f"{module}:square", "--range", "10", "--json", "--backend", "serial,threads"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["backend"], told["n_jobs"], told["sample"]["n_sampled"] > 0) == ("serial", 1, True)


@pytest.mark.usefixtures("steady")
def test_execute_prints_the_results_and_tells_of_the_run_elsewhere(module, capsys):
    assert cli.main(["execute", f"{module}:square", "--range", "0:5"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["0", "1", "4", "9", "16"]
    assert re.fullmatch(r"amorsize: 5 items in [0-9.]+ [mµn]?s by a plain loop\n", err)


def test_execute_as_json_holds_whatever_the_results_are(module, capsys):
    assert cli.main(["--json", "execute", f"{module}:odd", "--range", "3"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["result"] for one in told] == [[0, None, "é"], "{1, 2}", [2, None, "é"]]
    assert [one["index"] for one in told] == [0, 1, 2]


def test_a_dotted_function(module, capsys):
    assert cli.main(["execute", f"{module}:Tools.half", "--range", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == ["0.0", "0.5"]


@pytest.mark.parametrize("backend", ["serial", "threads", "processes", "serial, threads", "auto"])
def test_every_backend_gives_the_same(module, backend, capsys):
    assert cli.main(["execute", f"{module}:square", "--range", "50", "--backend", backend, "--max-workers", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(x * x) for x in range(50)]


def test_the_backend_is_the_one_asked_for(module, capsys):
    spec = f"{module}:where"
    assert cli.main(["execute", spec, "--range", "4", "--backend", "processes"]) == 0
    assert str(os.getpid()) not in capsys.readouterr().out
    assert cli.main(["execute", spec, "--range", "4", "--backend", "threads"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(os.getpid())] * 4


@pytest.mark.parametrize("method", amorsize.machine().start_methods)
def test_workers_find_a_module_in_the_current_directory(module, method):
    asked = ("execute", f"{module}:square", "--range", "4", "--backend", "processes", "--start-method", method)
    done = run(*asked, PYTHONSAFEPATH="1")  # as for a script: the interpreter itself does not look there
    assert done.stdout.splitlines() == ["0", "1", "4", "9"]
    assert f"({method})" in done.stderr


def test_no_items(module, capsys):
    assert cli.main(["execute", f"{module}:square", "--range", "3:3"]) == 0
    assert cli.main(["execute", f"{module}:square", "--range", "0"]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["optimize", f"{module}:square", "--range", "0"]) == 0
    assert "there are no items" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------------- items


def test_items_are_the_lines_of_a_file(module, tmp_path, capsys):
    # Neither a byte order mark nor what Python alone takes for the end of a line belongs to it.
    (tmp_path / "items.txt").write_bytes("\ufeffone\r\ntw\x0co\n\nthrée\u2028\nlast".encode())
    assert cli.main(["execute", f"{module}:shout", "--file", "items.txt"]) == 0
    expected = ["ONE", "TW\x0cO", "", "THRÉE\u2028", "LAST"]
    assert capsys.readouterr().out.splitlines() == [repr(line) for line in expected]


def test_bytes_that_are_no_text_survive(tmp_path):
    (tmp_path / "items.txt").write_bytes(b"a\xffb\n")
    (item,) = Records("--file", str(tmp_path / "items.txt"))
    assert os.fsencode(item) == b"a\xffb"


def test_items_from_standard_input(module):
    done = run("execute", f"{module}:shout", "--file", "-", stdin="a\nb\n")
    assert done.stdout.splitlines() == ["'A'", "'B'"]


# --------------------------------------------------------------------------------------------------------- exit codes


@pytest.mark.usefixtures("steady")
def test_a_function_that_raises_ends_in_1_with_its_traceback_and_the_item(module, capsys):
    assert cli.main(["execute", f"{module}:fails_at_3", "--range", "5"]) == 1
    out, err = capsys.readouterr()
    assert out.split() == ["0", "1", "2"]
    assert err.startswith("Traceback")
    assert 'raise LookupError("three is missing")' in err
    assert err.endswith("LookupError: three is missing\namorsize: raised at item 3: 3\n")
    assert "amorsize/cli" not in err


def test_the_same_from_a_worker(module, capsys):
    assert cli.main(["execute", f"{module}:fails_at_3", "--range", "5", "--backend", "processes"]) == 1
    err = capsys.readouterr().err
    assert 'raise LookupError("three is missing")' in err
    assert err.endswith("LookupError: three is missing\namorsize: raised at item 3: 3\n")


def test_optimize_of_a_function_that_raises_ends_in_1(module, capsys):
    # Every item fails: on a busy machine a sample may end with the first.
    assert cli.main(["optimize", f"{module}:shout", "--range", "5"]) == 1
    assert "has no attribute 'upper'" in capsys.readouterr().err


def test_a_bar_is_drawn_on_stderr(capsys):
    pytest.importorskip("tqdm")
    assert cli.main(["execute", "math:sqrt", "--range", "3", "--progress"]) == 0
    told = capsys.readouterr()
    assert "3/3" in told.err
    assert told.out.split() == ["0.0", "1.0", "1.4142135623730951"]


def test_without_what_draws_it_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert cli.main(["execute", "math:sqrt", "--range", "3", "--progress"]) == cli.BAD_USAGE
    assert "amorsize[progress]" in capsys.readouterr().err


def test_a_function_that_exits_does_not_pass_for_success(module, capsys):
    assert cli.main(["execute", f"{module}:leaves", "--range", "5", "--backend", "serial"]) == 1
    assert "SystemExit" in capsys.readouterr().err


@pytest.mark.usefixtures("steady")
def test_collected_failures_are_told_apart_from_the_results_and_end_in_1(module, capsys):
    spec = ["execute", f"{module}:fails_at_3", "--range", "5", "--on-error", "collect", "--retries", "1"]
    assert cli.main(spec) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == ["0", "1", "2", "4"]
    assert err.startswith("amorsize: item 3 failed: LookupError('three is missing')\n")
    assert err.endswith("; 1 item failed\n")
    assert cli.main([*spec, "--json"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"index": x, "result": x} for x in (0, 1, 2, 4)]
    told = json.loads(err.splitlines()[0])
    assert (told["index"], told["exception"]) == (3, "LookupError('three is missing')")
    assert 'raise LookupError("three is missing")' in told["traceback"]


@pytest.mark.parametrize(
    ("named", "code"), [("LookupError", 0), ("json:JSONDecodeError,LookupError", 0), ("json:JSONDecodeError", 1)]
)
def test_items_are_repeated_after_the_exceptions_that_are_named(module, capsys, named, code):
    spec = ["execute", f"{module}:fails_once_at_3", "--range", "5", "--backend", "serial"]
    assert cli.main([*spec, "--retries", "1", "--retry-on", named, "--backoff", "0.001"]) == code
    out, err = capsys.readouterr()
    assert out.split() == ["0", "1", "2", "3", "4"][: 3 if code else 5]
    assert ("three is missing" in err) == bool(code)


@pytest.mark.parametrize("text", ["1 / 0", "import a_dependency_that_is_not_there", "raise SystemExit(0)", "def"])
def test_a_module_that_breaks_when_it_is_imported_ends_in_1(module, tmp_path, text, capsys):
    (tmp_path / f"{module}_broken.py").write_text(text)
    assert cli.main(["execute", f"{module}_broken:f", "--range", "5"]) == 1
    err = capsys.readouterr().err
    assert f"{module}_broken.py" in err
    assert "frozen importlib" not in err.partition(f"{module}_broken.py")[0]


USAGE = {
    "no such command": (["optimise"], "invalid choice: 'optimise'. Did you mean optimize?"),
    "no such option": (["execute", "math:sqrt", "--range", "3", "--retrys", "1"], "Did you mean --retries?"),
    "of another tool": (["optimize", "math:sqrt", "--range", "3", "--n-jobs", "2"], "Did you mean --max-workers, "),
    "of another tool, misspelt": (["tune", "math:sqrt", "--range", "3", "--njob=2"], "Did you mean --max-workers, "),
    "short": (["execute", "math:sqrt", "--range", "3", "-j2"], "Did you mean --max-workers, "),
    "chunks": (["execute", "math:sqrt", "--range", "3", "--chunk-size", "2"], "2. The size of chunks is chosen from "),
    "not here": (["history", "list", "--n-jobs", "2"], "unrecognized arguments: --n-jobs 2 (see "),
    "a required one": (["execute", "math:sqrt", "--rnage", "3"], "--rnage. Did you mean --range? (see "),
    "shortened": (["execute", "math:sqrt", "--rang", "3"], "--rang. Did you mean --range? (see "),
    "shortened, of a command that deletes": (["history", "forget", "--al"], "--al. Did you mean --all? (see "),
    "items": (["execute", "math:sqrt", "--items", "f"], "Did you mean --file? (see "),
    "no command of history": (["history"], "required: COMMAND (choose from list, show, stats, fit, export, import, "),
    "no setting": (
        ["compare", "math:sqrt", "--range", "3"],
        "required: --with (serial, threads[:WORKERS[:CHUNKSIZE]], ",
    ),
    "no shell": (["--print-completion"], "--print-completion: expected one argument (choose from bash, zsh, fish)"),
    "no path": (["journal"], "required: PATH (the file that checkpoint= names)"),
    "no range": (
        ["watch", "math:sqrt", "--range"],
        "--range: expected one argument (the items are A (or 0), ... up to",
    ),
    "no such setting": (["compare", "math:sqrt", "--range", "3", "--with", "thraeds"], "Did you mean 'threads'? (see "),
    "no function": (["execute", "--range", "3"], "required: MODULE:FUNC (such as math:sqrt or package"),
    "no colon": (
        ["execute", "math.sqrt", "--range", "3"],
        "'math.sqrt' does not name a function as MODULE:FUNC, such as math:sqrt. Did you mean math:sqrt?",
    ),
    "nothing after it": (["execute", "math:", "--range", "3"], "'math:' does not name"),
    "a file": (["execute", "math.py:sqrt", "--range", "3"], "there is no module 'math.py'"),
    "a file elsewhere": (["execute", "./dir/m.py:sqrt", "--range", "3"], "Did you mean dir.m:sqrt?"),
    "a file alone": (["execute", "dir/m.py", "--range", "3"], "Did you mean dir.m:FUNC?"),
    "misspelt": (
        ["watch", "mahts:sqrt", "--range", "3"],
        "no module 'mahts' in the current directory or elsewhere on ",
    ),
    "relative": (["execute", ".math:sqrt", "--range", "3"], "'.math:sqrt' does not name"),
    "no such module": (["execute", "maths:sqrt", "--range", "3"], "there is no module 'maths'"),
    "no such submodule": (["execute", "json.maths:sqrt", "--range", "3"], "there is no module 'json.maths'"),
    "no package": (["execute", "math.x.y:sqrt", "--range", "3"], "there is no module 'math.x'"),
    "no such function": (
        ["execute", "math:sqroot", "--range", "3"],
        "math has no attribute 'sqroot'. Did you mean sqrt?",
    ),
    "no such method": (["execute", "json:JSONDecoder.x", "--range", "3"], "JSONDecoder has no attribute 'x'"),
    "no attribute of it": (["execute", "math:pi.x", "--range", "3"], "math:pi.x: float has no attribute 'x'"),
    "not callable": (["execute", "math:pi", "--range", "3"], "math:pi: cannot be called, its type is float"),
    "no items": (["execute", "math:sqrt"], "one of the arguments --range --file --jsonl --csv --glob is required"),
    "two kinds": (["execute", "math:sqrt", "--range", "3", "--file", "f"], "not allowed with"),
    "less than none": (["optimize", "math:sqrt", "--range", "-3"], "--range: must not be negative or run backwards"),
    "not a number": (
        ["optimize", "math:sqrt", "--range", "x"],
        "--range: must be N, A:N or A:N:STEP in whole numbers, not 'x'",
    ),
    "no such file": (["execute", "math:sqrt", "--file", "/no/such"], "--file /no/such: No such file or directory"),
    "a directory": (["execute", "math:sqrt", "--file", "."], "--file .: Is a directory"),
    "no such backend": (["execute", "math:sqrt", "--range", "3", "--backend", "gpu"], "backend: must be"),
    "auto and more": (["execute", "math:sqrt", "--range", "3", "--backend", "auto,serial"], "backend: must hold"),
    "no backend": (["execute", "math:sqrt", "--range", "3", "--backend", "serial,"], "backend: must hold"),
    "no workers": (["execute", "math:sqrt", "--range", "3", "--max-workers", "0"], "--max-workers: must be at least 1"),
    "no such method to start": (["execute", "math:sqrt", "--range", "3", "--start-method", "x"], "invalid choice: 'x'"),
    "no retries": (["execute", "math:sqrt", "--range", "3", "--retries", "-1"], "--retries: must be at least 0"),
    "no exception": (["execute", "math:sqrt", "--range", "3", "--retry-on", "len"], "--retry-on len: is no exception"),
    "no such exception": (["execute", "math:sqrt", "--range", "3", "--retry-on", "OSErr"], "no attribute 'OSErr'"),
    "backwards": (
        ["execute", "math:sqrt", "--range", "3", "--backoff", "-1"],
        "--backoff: must be a number of seconds",
    ),
    "not of optimize": (["optimize", "math:sqrt", "--range", "3", "--retries", "1"], "--retries 1"),
}


@pytest.mark.parametrize("command", ["optimize", "explain", "execute", "validate", "tune", "watch"])
@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda name: f"{name[:-1]}x:square", "Did you mean {}:square?"),
        (lambda name: f"{name[:-1]}x.py:square", "Did you mean {}:square?"),
        (lambda name: f"{name[:-1]}x:", "Did you mean {}:?"),
        (lambda name: f"{name}:sqaure", "{} has no attribute 'sqaure'. Did you mean square?"),
        (lambda name: f"{name}:root", "{} has no attribute 'root'. There are: square, square_and_say_goodbye, shout, "),
        (
            lambda name: f"{name}:",
            "'{}:' does not name a function as MODULE:FUNC, such as math:sqrt. There are: square, ",
        ),
        (lambda name: name, "'{}' does not name a function as MODULE:FUNC, such as math:sqrt. There are: square, "),
    ],
    ids=["module", "file", "module alone", "function", "no such function", "no function", "no colon"],
)
def test_a_misspelt_function_is_answered_with_what_is_there(module, command, change, hint, capsys):
    assert cli.main([command, change(module), "--range", "3"]) == 2
    err = capsys.readouterr().err
    assert hint.format(module) in err
    assert err.count("\n") == 1


def test_a_misspelt_submodule_is_answered_with_the_near_one(module, capsys, tmp_path):
    (tmp_path / f"{module}_package").mkdir()
    (tmp_path / f"{module}_package" / "__init__.py").touch()
    (tmp_path / f"{module}_package" / "inside.py").touch()
    assert cli.main(["execute", f"{module}_package.insdie:f", "--range", "3"]) == 2
    assert f"Did you mean {module}_package.inside:f?" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "why"), USAGE.values(), ids=USAGE.keys())
def test_bad_usage_ends_in_2_and_is_told_in_one_line(arguments, why, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("amorsize: ")
    assert err.count("\n") == 1
    assert why in err


def test_a_function_that_can_never_work_is_bad_usage(module, capsys):
    assert cli.main(["execute", f"{module}:later", "--range", "3"]) == 2
    assert capsys.readouterr().err.startswith("amorsize: func: is a coroutine function")


def test_version_and_help():
    assert run("--version").stdout == f"amorsize {amorsize.__version__}\n"
    told = run("--help").stdout
    assert all(command in told for command in ("diagnostics", "optimize", "execute", "exit codes", "examples:"))
    assert "--on-error" in run("execute", "--help").stdout
    assert "--on-error" not in run("optimize", "--help").stdout


def test_the_examples_of_the_help_do_what_they_say():
    assert "n_jobs" in run("optimize", "math:factorial", "--range", "200").stdout
    done = run("execute", "zlib:crc32", "--range", "5", code=1)
    assert "raised at item 0" in done.stderr


# ------------------------------------------------------------------------------------------------- pipes and terminals


@pytest.mark.skipif(os.name != "posix", reason="no process groups")
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_ctrl_c_ends_quietly_in_130(module, backend):
    program = python_m("execute", f"{module}:stands_still", "--range", "4", "--backend", backend)
    with subprocess.Popen(**program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stderr.readline() == "here\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert out == ""
    assert err.replace("here\n", "") == "amorsize: interrupted\n"


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_sigterm_keeps_all_that_is_done_ends_the_workers_and_says_how_to_go_on(module, backend, times, tmp_path):
    """As Ctrl-C: the checkpoint is whole, no worker lives on, exit code 143."""
    path = tmp_path / "checkpoint"
    command = ("execute", f"{module}:stands_still_at_30", "--range", "40", "--checkpoint", str(path))
    options = ("--backend", backend, "--max-workers", "2")
    program = python_m(*command, *options)
    with subprocess.Popen(**program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stderr.readline() == "here\n"
        workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert (len(workers) > 0) == (backend == "processes")
        for _ in range(times):
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 143, err
    assert out.split() == [str(x * x) for x in range(len(out.split()))]
    found = re.fullmatch(
        rf"amorsize: terminated: (\d+) of 40 items done, and kept in {path}; (at least )?(\d+) results? written to "
        r"standard output; the same command with --resume goes on from there\n",
        err,
    )
    assert found, err
    assert int(found[3]) <= len(out.split()) if found[2] else int(found[3]) == len(out.split())
    for pid in workers:
        limit = time.monotonic() + PATIENCE_S
        while not is_gone(pid):
            assert time.monotonic() < limit
            time.sleep(0.01)
    kept = read(str(path))[0].done
    assert kept == int(found[1])
    if backend == "serial":
        assert kept == 30
    Path("ran").write_text("")
    # Of another size: within one second, a compiled file is known by that alone.
    (tmp_path / f"{module}.py").write_text(FUNCTIONS.replace("x == 30", "x == 999"), encoding="utf-8")
    key = read(str(path))[0].identity
    done = run(*command, "--checkpoint-key", key, "--resume")
    assert done.stdout.split() == [str(x * x) for x in range(40)]
    assert f"; {kept} results more, of earlier runs, were in the checkpoint\n" in done.stderr
    assert len(Path("ran").read_text().split()) == 40 - kept
    assert not list(tmp_path.glob("*lock"))


@pytest.mark.skipif(os.name != "posix", reason="no such signals")
@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
@pytest.mark.parametrize("options", [(), ("--output", "results"), ("--backend", "processes", "--max-workers", "2")])
def test_without_a_checkpoint_the_last_line_says_what_is_written_and_what_is_lost(module, number, word, options):
    options = options if "--backend" in options else (*options, "--backend", "serial")
    program = python_m("execute", f"{module}:stands_still_at_30", "--range", "40", *options)
    with subprocess.Popen(**program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == "here\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    found = re.fullmatch(
        rf"amorsize: {word}: (at least )?(\d+) of 40 results written to (standard output|results)"
        r"(?:, (?:up to )?(\d+) more done and lost)?; "
        r"with --checkpoint PATH .* --resume .*\n",
        err,
    )
    assert found, err
    lines = len((Path("results").read_text() if "--output" in options else out).split())
    assert int(found[2]) <= lines if found[1] else int(found[2]) == lines
    if "serial" in options:
        assert int(found[2]) + int(found[4] or 0) == 30


@pytest.mark.skipif(os.name != "posix", reason="no such signals")
def test_what_the_caller_does_with_sigterm_is_put_back(module, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["execute", f"{module}:square", "--range", "3"]) == 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_ends_a_forked_worker_at_its_first_step():
    """An exception in the hooks of a fork is lost, and a pool would wait for its worker for ever."""
    script = """
import os, signal
from amorsize.cli.signals import terminable
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
with terminable():
    if (child := os.fork()) == 0:
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("-15\n", "")


@pytest.mark.skipif(os.name != "posix", reason="no broken pipes")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_has_gone_is_no_reason_to_complain(module, form):
    asked = ("execute", f"{module}:square_and_say_goodbye", "--range", "200000", "--backend", "serial")
    program = python_m(*asked, *form)
    with subprocess.Popen(**program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(1) in ("0", "{")
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(PATIENCE_S) == 141
    assert err == ""


def test_a_narrow_encoding_is_no_reason_to_fail(module):
    done = run("execute", f"{module}:odd", "--range", "1", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines() == [r"(0, None, '\xe9')"]
    told = run("optimize", f"{module}:square", "--range", "3", PYTHONIOENCODING="ascii").stdout
    # What is ours is put into ASCII.
    assert re.search(r"an item takes [\d.]+ (us|ns|ms)", told)
    assert told.isascii()
    assert "\\x" not in told


def test_optimize_plans_for_the_machine_of_a_file(tmp_path):
    server = replace(
        amorsize.machine(), logical_cores=64, affinity_cores=64, usable_cores=64.0, start_methods=("spawn",)
    )
    body = {"machine": {**as_dict(server), "default_start_method": "spawn"}, "costs": [], "scaling": [[1, 1.0]]}
    path = tmp_path / "server.json"
    path.write_text(json.dumps(body))
    asked = ("optimize", "math:factorial", "--range", "2000", "--on", str(path), "--start-method", "spawn", "--json")
    assert json.loads(run(*asked).stdout)["machine"]["usable_cores"] == 64.0
    assert "--on: cannot read" in run(*asked[:5], str(tmp_path / "none.json"), code=2).stderr
    assert "not to be had there" in run(*asked[:7], "fork", code=2).stderr
