"""``python -m amorsize execute``: results as they come, items of any form, failures and prints apart."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_runs import PATIENCE_S, python_m, run

from amorsize.checkpoint.journal import read
from amorsize.cli import main as cli
from amorsize.cli.execute import encode
from amorsize.history.history import History

TALKS = """
import os, sys, threading

def talk(x):
    print("said", x)
    os.system("echo shouted")
    return x

def fails_at_odd(x):
    if x % 2:
        raise LookupError(x)
    return x

def same(item):
    return item

def stands_still_at_0(x):
    if x == 0:
        os.write(2, b"here\\n")
        threading.Event().wait()
    return "x" * 200_000

begun = []
def begin():
    begun.append(1)

def is_begun(x):
    return len(begun)
"""


@pytest.fixture
def functions(module, tmp_path) -> str:
    """Add functions to the module; return its name."""
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write(TALKS)
    return module


@pytest.fixture
def call(capsys):
    def call(*arguments, code=0):
        assert cli.main([*map(str, arguments)]) == code
        return capsys.readouterr()

    return call


def of_json(text):
    return [json.loads(line) for line in text.splitlines()]


# ---------------------------------------------------------------------------------------------------- while they come


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_result_is_there_before_the_next_item_is(module, backend):
    """The writer of the items waits for each result, so that reading ahead would wait for ever."""
    program = python_m("execute", f"{module}:shout", "--file", "-", "--backend", backend, "--max-workers", "2")
    with subprocess.Popen(**program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        late = threading.Timer(PATIENCE_S, process.kill)
        late.start()
        for word in ("a", "b", "c"):
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{word.upper()!r}\n"
        process.stdin.write("last")
        out, err = process.communicate(timeout=PATIENCE_S)
        late.cancel()
    assert (process.returncode, out) == (0, "'LAST'\n")
    assert err.startswith("amorsize: 4 items in ")


@pytest.mark.skipif(os.name != "posix", reason="no such signals")
def test_of_a_pipe_that_is_left_open_the_closing_line_names_no_total(module, tmp_path):
    path = tmp_path / "checkpoint"
    program = python_m("execute", f"{module}:shout", "--file", "-", "--backend", "serial", "--checkpoint", str(path))
    with subprocess.Popen(**program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write("a\nb\n")
        process.stdin.flush()
        assert process.stdout.readline() == "'A'\n"
        assert process.stdout.readline() == "'B'\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 143
        err = process.stderr.read()
    # The signal may come before the end of the write that the reader has seen.
    told = rf"amorsize: terminated: 2 items done, and kept in {path}; (at least 1 result|2 results) written to "
    assert re.match(rf"{told}standard output; the same command with --resume goes on from there\n", err), err


@pytest.mark.skipif(os.name != "posix", reason="no such signals")
@pytest.mark.parametrize("ends", ["a signal", "a reader that has gone"])
def test_no_end_waits_for_an_item_that_stands_still(functions, ends):
    """The results are larger than a pipe, so that the program is writing one when the end comes."""
    asked = (
        f"{functions}:stands_still_at_0",
        "--range",
        "9",
        "--unordered",
        "--backend",
        "processes",
        "--max-workers",
        "2",
    )
    program = python_m("execute", *asked)
    with subprocess.Popen(**program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        late = threading.Timer(PATIENCE_S, process.kill)
        late.start()
        assert process.stderr.readline() == "here\n"
        assert process.stdout.read(1) == "'"
        if ends == "a signal":
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 143
        else:
            process.stdout.close()
            assert process.wait() == 141
            assert process.stderr.read() == ""
        late.cancel()


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_what_func_prints_goes_to_stderr(functions, backend):
    done = run("execute", f"{functions}:talk", "--range", "3", "--json", "--backend", backend)
    assert of_json(done.stdout) == [{"index": x, "result": x} for x in range(3)]
    lines = done.stderr.splitlines()
    assert lines.count("shouted") == 3
    assert {"said 0", "said 1", "said 2"} <= set(lines)


def test_what_func_prints_does_not_break_a_document(functions, call):
    told = call("optimize", f"{functions}:talk", "--range", "3", "--json")
    assert json.loads(told.out)["backend"]
    assert "said " in told.err
    assert "said " not in told.out


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_unordered_results_keep_their_index(module, backend, call):
    told = call("execute", f"{module}:square", "--range", 500, "--unordered", "--json", "--backend", backend)
    found = of_json(told.out)
    assert sorted(one["index"] for one in found) == list(range(500))
    assert all(one["result"] == one["index"] ** 2 for one in found)


# -------------------------------------------------------------------------------------------------------------- items


@pytest.mark.parametrize(
    ("text", "items"),
    [("4", range(4)), ("2:5", range(2, 5)), ("0:10:4", (0, 4, 8)), ("3:0:-1", (3, 2, 1)), ("1:-2:-1", (1, 0, -1))],
)
def test_numbers(module, call, text, items):
    assert call("execute", f"{module}:square", f"--range={text}").out.split() == [str(x * x) for x in items]


@pytest.mark.parametrize(
    ("option", "text", "items"),
    [
        ("--jsonl", '{"a": 1}\n[2]\n\n"x"', None),
        ("--jsonl", '{"a": 1}\n[2]\n"x"', [{"a": 1}, [2], "x"]),
        ("--csv", 'a,b\n1,"two\nlines"\n3,\n', [{"a": "1", "b": "two\nlines"}, {"a": "3", "b": ""}]),
        ("--file", "", []),
        ("--file", "\n", [""]),
        ("--file", "a\r\n\r\nb", ["a", "", "b"]),
    ],
)
def test_records(functions, call, tmp_path, option, text, items):
    (tmp_path / "items").write_bytes(text.encode())
    asked = ("execute", f"{functions}:same", option, "items", "--json")
    if items is None:
        told = "amorsize: --jsonl items: line 3 cannot be read as JSON: Expecting value at column 1: ''\n"
        assert call(*asked, code=2).err == told
    else:
        assert [one["result"] for one in of_json(call(*asked).out)] == items


def test_a_broken_line_of_a_pipe_ends_the_run_after_the_items_before_it(functions):
    done = run("execute", f"{functions}:same", "--jsonl", "-", stdin="1\n2\noops\n4\n", code=2)
    assert done.stdout.split() == ["1", "2"]
    told = "amorsize: --jsonl -: line 3 cannot be read as JSON: Expecting value at column 1: 'oops'"
    assert told in done.stderr


@pytest.mark.parametrize(
    ("option", "line", "why"),
    [
        ("--jsonl", "[1, 2" + ", 3" * 100 + " oops]", "Expecting ',' delimiter at column 307: '…"),
        ("--jsonl", "[" * 100_000, "maximum recursion depth exceeded"),
        ("--jsonl", "9" * 5000, "Exceeds the limit (4300 digits)"),
        ("--csv", "9" * 200_000, "field larger than field limit (131072): '9"),
    ],
    ids=["long", "deep", "digits", "field"],
)
def test_a_broken_line_is_told_by_its_number_and_what_is_wrong(functions, call, tmp_path, option, line, why):
    (tmp_path / "items").write_text(f"1\n{line}\n")
    told = call("execute", f"{functions}:same", option, "items", code=2).err
    assert re.match(rf"amorsize: {option} items: line 2 cannot be read( as JSON)?: {re.escape(why)}", told)
    assert told.count("line ") == 1
    assert told.count("\n") == 1
    assert len(told) < 220


def test_what_comes_by_a_pipe_is_asked_for(functions):
    done = run("execute", f"{functions}:same", stdin="1\n2\n", code=2)
    assert "is required; standard input is no terminal: --file - takes its lines as the items" in done.stderr
    assert done.stderr.count("\n") == 1


def test_text_for_a_function_of_numbers_is_hinted_at(functions, call, tmp_path):
    (tmp_path / "numbers").write_text("4\n9\n")
    hint = "amorsize: the items of --file are text; --jsonl takes each line as JSON: 1 is a number, [1, 2] a list\n"
    assert call("execute", "math:sqrt", "--file", "numbers", code=1).err.endswith(hint)
    assert call("execute", "math:sqrt", "--jsonl", "numbers").out == "2.0\n3.0\n"
    assert hint not in call("execute", "math:factorial", "--range=-1:1", code=1).err


def test_a_nul_ends_items_that_hold_newlines(functions):
    done = run("execute", f"{functions}:same", "--file", "-", "--null", stdin="a\nb\0c\0")
    assert done.stdout.splitlines() == [repr("a\nb"), repr("c")]


def test_names_of_files(functions, call, tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.txt", "d.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    told = call("execute", f"{functions}:same", "--glob", "**/*.txt", "--glob", "*.md", "--glob", "a.*")
    assert told.out.splitlines() == [repr(name) for name in ("a.txt", "b.txt", "d.md", os.path.join("sub", "c.txt"))]


# ------------------------------------------------------------------------------------------------------------ options


def test_failures_go_to_a_file_and_are_collected(functions, call, tmp_path):
    told = call("execute", f"{functions}:fails_at_odd", "--range", 6, "--failed", "failed.jsonl", code=1)
    assert told.out.split() == ["0", "2", "4"]
    assert told.err.count("\n") == 1
    assert [one["index"] for one in of_json((tmp_path / "failed.jsonl").read_text())] == [1, 3, 5]


def test_too_many_failures_end_the_run(functions, call):
    told = call(
        "execute", f"{functions}:fails_at_odd", "--range", 100, "--max-failures", 2, "--backend", "serial", code=1
    )
    assert "LookupError: 1" in told.err
    assert "more than --max-failures 2 items have failed; this is the first" in told.err
    assert len(told.out.split()) < 50


def test_the_plan_goes_to_a_file(module, call, tmp_path):
    call("execute", f"{module}:square", "--range", 9, "--plan", "plan.json", "--backend", "serial")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert (plan["backend"], plan["chunksize"]) == ("serial", 9)


def test_results_go_to_a_file_and_quiet_tells_nothing(module, call, tmp_path):
    told = call("execute", f"{module}:square", "--range", 4, "--output", "out.txt", "--quiet")
    assert (told.out, told.err) == ("", "")
    assert (tmp_path / "out.txt").read_text().split() == ["0", "1", "4", "9"]


@pytest.mark.usefixtures("steady")
def test_a_document_goes_to_a_file(module, call, tmp_path):
    assert call("optimize", f"{module}:square", "--range", 4, "--output", "plan.json", "--json").out == ""
    assert json.loads((tmp_path / "plan.json").read_text())["backend"] == "serial"


def test_a_file_keeps_what_is_in_it_if_there_is_nothing_to_write(module, call, tmp_path, monkeypatch):
    def fails(plan, out):
        raise RuntimeError("no curve")

    (tmp_path / "plan.txt").write_text("of before")
    monkeypatch.setattr("amorsize.cli.curve.of_plan", fails)
    with pytest.raises(RuntimeError, match="no curve"):
        call("optimize", f"{module}:square", "--range", 4, "--output", "plan.txt")
    assert (tmp_path / "plan.txt").read_text() == "of before"


def test_an_initializer(functions, call):
    told = call(
        "execute", f"{functions}:is_begun", "--range", 3, "--initializer", f"{functions}:begin", "--backend", "serial"
    )
    assert told.out.split() == ["1", "1", "1"]


def test_an_item_that_takes_too_long(module, call):
    told = call("execute", f"{module}:stands_still", "--range", 1, "--timeout", "0.2", "--on-error", "collect", code=1)
    assert "item 0 failed: ItemTimeoutError" in told.err


def test_a_limit_ends_in_42_and_says_how_to_go_on(module, call, tmp_path):
    path = tmp_path / "checkpoint"
    command = ("execute", f"{module}:square", "--range", 10_000_000, "--backend", "serial", "--checkpoint", path)
    told = call(*command, "--max-seconds", "0.3", code=42)
    assert told.err.startswith("amorsize: --max-seconds: ")
    assert f"{read(str(path))[0].done:,} of 10,000,000 items done" in told.err
    assert told.err.endswith("the same command with --resume goes on from there\n")


def test_a_limit_without_a_checkpoint_says_what_is_written(module, call):
    command = ("execute", f"{module}:square", "--range", 10_000_000, "--backend", "serial")
    told = call(*command, "--max-seconds", "0.3", code=42)
    lines = told.out.count("\n")
    assert f" {lines:,} of 10,000,000 results written to standard output; with --checkpoint PATH" in told.err


def test_a_failed_run_says_what_the_checkpoint_holds(functions, call, tmp_path):
    path = tmp_path / "checkpoint"
    command = ("execute", f"{functions}:fails_at_odd", "--checkpoint", path, "--backend", "serial", "--range")
    told = call(*command, 5, code=1)
    assert told.err.splitlines()[-1].startswith("amorsize: 1 of 5 items done, and kept in ")
    told = call(*command, 5, "--on-error", "collect", "--resume", code=1)
    assert told.out.split() == ["0", "2", "4"]
    end = (
        "; 2 items failed; 1 result more, of earlier runs, was in the checkpoint; the same command with --resume runs "
    )
    assert f"{end}what failed again\n" in told.err


@pytest.mark.parametrize("where", ["off", "runs.sqlite"])
def test_where_runs_are_recorded(module, call, monkeypatch, where, tmp_path):
    monkeypatch.setenv("AMORSIZE_HISTORY", str(tmp_path / "default.sqlite"))
    call("execute", f"{module}:square", "--range", 7, "--history", where)
    assert len(History(tmp_path / "default.sqlite")) == 0
    if where != "off":
        (row,) = History(tmp_path / where).runs()
        assert (row.n_items, row.outcome) == (7, "ok")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--on-error", "raise", "--max-failures", "1"], "--on-error raise: "),
        (["--timeout", "3", "--backend", "threads"], "--backend threads has none"),
        (["--checkpoint-key", "k"], "use it with --checkpoint PATH"),
        (["--resume"], "--resume: say with --checkpoint PATH from what"),
        (["--null"], "--null: says what ends an item of --file"),
        (["--format", "yaml"], "--format"),
        (["--memory-limit", "x"], "--memory-limit"),
        (["--rate", "0"], "--rate"),
        (["--max-seconds", "0"], "--max-seconds: must be above 0"),
        (["--initializer", "math:pi"], "math:pi: cannot be called"),
    ],
)
def test_bad_usage_is_told_as_the_shell_spells_it(module, call, options, why):
    told = call("execute", f"{module}:square", "--range", "3", *options, code=2)
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert why in told.err
    assert "_" not in told.err.replace(module, "")


# ------------------------------------------------------------------------------------------------------------- output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
@pytest.mark.parametrize(
    "command", [("execute", "--json"), ("execute", "--backend", "processes"), ("optimize",), ("history", "list")]
)
def test_a_full_disk_is_told_in_one_line(module, command):
    name, *options = command
    program = python_m(name, *([f"{module}:square", "--range", "3000"] if name != "history" else []), *options)
    with open("/dev/full", "w") as full:
        done = subprocess.run(**program, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("amorsize: standard output cannot be written: No space left on device")
    assert done.stderr.count("\n") == 1
    assert ("; at least 0 of 3,000 results written to standard output, up to " in done.stderr) == (name == "execute")


@pytest.mark.usefixtures("steady")
def test_markdown(module, call):
    told = call("optimize", f"{module}:square", "--range", 4, "--format", "markdown").out
    assert told.startswith("# amorsize optimize\n\n| | |\n|---|---|\n| backend | serial |\n")
    assert "\n## machine\n" in told


@pytest.mark.parametrize("option", [["--print-completion", "bash"], ["diagnostics", "--format", "yaml"]])
def test_without_a_package_the_extra_is_named(option, call, monkeypatch):
    for name in ("shtab", "yaml"):
        monkeypatch.setitem(sys.modules, name, None)
    told = call(*option, code=2)
    assert "pip install 'amorsize[cli]'" in told.err
    assert told.err.count("\n") == 1


class Odd:
    def __repr__(self):
        return "<odd\x07>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (True, "true"),
        (None, "null"),
        (0.5, "0.5"),
        (float("inf"), '"inf"'),
        ("é\n", '"\\u00e9\\n"'),
        ([float("nan")], '"[nan]"'),
        ((1, {"a": 2}), '[1, {"a": 2}]'),
        (Odd(), '"<odd\\u0007>"'),
    ],
)
def test_a_result_as_json(value, text):
    assert encode(value) == text


def test_a_result_of_numpy_as_json():
    numpy = pytest.importorskip("numpy")
    assert encode(numpy.arange(3)) == "[0, 1, 2]"
    assert encode(numpy.float64(0.5)) == "0.5"
