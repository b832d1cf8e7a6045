"""``python -m amorsize validate``, ``tune`` and ``compare``."""

from __future__ import annotations

import json
import re

import pytest

from amorsize.cli import main as cli

MAP = ["math:factorial", "--range", "60", "--max-seconds", "0.5"]


def test_validate_tells_its_verdict(capsys):
    assert cli.main(["validate", *MAP, "--rounds", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("amorsize: ")
    assert "multiprocessing.Pool(" in out
    assert err == ""


@pytest.mark.usefixtures("steady")
def test_validate_as_json(capsys):
    assert cli.main(["--json", "validate", *MAP, "--rounds", "2", "--backend", "serial", "--max-seconds", "100"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rounds"], told["n_used"], told["same_results"]) == (2, 60, True)
    assert told["verdict"]


def test_tune(capsys):
    assert cli.main(["tune", *MAP]) == 0
    assert "trial      rung 0" in capsys.readouterr().out
    assert cli.main(["tune", *MAP, "--json", "--backend", "serial"]) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 1


SETTINGS = ["serial", "threads", "threads:2:5", "processes:2", "processes:1:60", "pool", "execute", "optimize"]


def test_compare_runs_every_setting(capsys):
    named = [word for setting in SETTINGS for word in ("--with", setting)]
    assert cli.main(["compare", *MAP, "--rounds", "1", *named]) == 0
    out = capsys.readouterr().out
    # Where an item has stood still, fewer of them fit into the time.
    assert re.match(r"amorsize: factorial over (all 60|[0-9]+ of 60, evenly spread), 1 round, ", out)
    rows = [line.split()[0] for line in out.splitlines() if "█" in line]
    assert [row.split(":")[0] for row in rows] == [setting.split(":")[0] for setting in SETTINGS]
    assert "threads:2:5" in rows


def test_compare_as_json(capsys):
    assert cli.main(["compare", *MAP, "--rounds", "3", "--with", "serial", "--with", "threads:2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["contenders"]] == ["serial", "threads:2"]
    assert all(len(one["times_s"]) == 3 and one["same"] for one in told["contenders"])


def test_a_setting_named_twice_is_run_once(capsys):
    assert cli.main(["compare", *MAP, "--rounds", "1", "--with", "serial", "--with", "serial", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["contenders"]) == 1


def test_compare_of_nothing(capsys):
    assert cli.main(["compare", "math:sqrt", "--range", "0", "--with", "serial"]) == 0
    assert "there are no items" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["validate"], ["tune"], ["compare", "--with", "serial"]])
def test_a_function_that_raises_ends_in_1(command, capsys):
    assert cli.main([command[0], "zlib:crc32", "--range", "5", *command[1:]]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    # Which item is the first to run, the sample decides.
    assert re.search(r"amorsize: raised at item (\d): \1", err)


BAD = {
    "no settings": (["compare", *MAP], "--with"),
    "unknown": (["compare", *MAP, "--with", "joblib"], "must be serial, threads"),
    "numbers for the loop": (["compare", *MAP, "--with", "serial:2"], "serial takes no numbers"),
    "no workers": (["compare", *MAP, "--with", "threads:0"], "whole numbers above 0, not 'threads:0'"),
    "no number": (["compare", *MAP, "--with", "processes:two"], "not 'processes:two'"),
    "too many numbers": (["compare", *MAP, "--with", "processes:2:3:4"], "not 'processes:2:3:4'"),
    "no time": (
        ["validate", "math:sqrt", "--range", "3", "--max-seconds", "0"],
        "must be a positive number of seconds",
    ),
    "no rounds": (["validate", *MAP, "--rounds", "0"], "--rounds: must be at least 1"),
    "rounds of tune": (["tune", *MAP, "--rounds", "3"], "--rounds 3"),
    "settings of validate": (["validate", *MAP, "--with", "serial"], "--with serial"),
}


@pytest.mark.parametrize(("arguments", "why"), BAD.values(), ids=BAD.keys())
def test_bad_usage_ends_in_2_and_is_told_in_one_line(arguments, why, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("amorsize: ")
    assert err.count("\n") == 1
    assert why in err
